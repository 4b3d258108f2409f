"""Gathering from, and scattering to, places that tensors of indices name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtypes
from ..devices import check_same, host
from ..kernels import twin
from ..kernels.layouts import inverse
from ..strides import memory_order
from ..tape import entitled, is_grad_enabled
from .common import (
    Op,
    TensorBase,
    axis,
    cast,
    check_broadcast,
    converted,
    expect_tensor,
    fresh,
    into,
    number,
    numpy_names,
    run,
    shares,
    unsupported,
    wrap,
)
from .diagonal import diagonal
from .elementwise import overwriting
from .index import Gather, Put, Slice, TakeAlong, everywhere, integers, select, setitem, whole_mask, written
from .rearrange import Copy
from .shape import expand, permute, reshape

kernels = twin("index")


def part(shape: tuple[int, ...], over: int | None = None) -> tuple[slice, ...]:
    """The index of the first elements along each dimension but `over`: as many as `shape` says."""
    return tuple(slice(None) if d == over else slice(0, n) for d, n in enumerate(shape))


def along(a: np.ndarray, dim: int, index: Any, call: str) -> tuple[int, np.ndarray]:
    """The dimension and the indices of gather and scatter, checked; 0-d tensors count as vectors."""
    ids, over = expect_tensor(index, call, "index").array, axis(dim, a.ndim)
    check_same(a, ids)
    if ids.size == 0:
        return over, ids
    ids = integers(index, call)
    shape = a.shape or (1,)
    ids = ids if ids.ndim else ids.reshape(1)
    if ids.ndim != len(shape):
        raise RuntimeError(
            f"Index tensor must have the same number of dimensions as self tensor ({call}(): {list(index.array.shape)} "
            f"and {list(a.shape)})"
        )
    for d, (m, n) in enumerate(zip(ids.shape, shape, strict=True)):
        if d != over and m > n:
            raise RuntimeError(
                f"Size does not match at dimension {d} expected index {list(ids.shape)} to be no larger than self "
                f"{list(shape)} apart from dimension {over} ({call}())"
            )
    wrong = kernels.outside(ids, shape[over])
    if wrong >= 0:
        found = host(ids).reshape(-1)[wrong]
        raise RuntimeError(f"index {found} is out of bounds for dimension {over} with size {shape[over]}")
    return over, ids


@numpy_names
def gather(input: Any, dim: int, index: Any, *, sparse_grad: bool = False, out: Any = None) -> Any:
    """out[i, j] = input[index[i, j], j] for dim 0, input[i, index[i, j]] for dim 1, and so on."""
    over, ids = along(expect_tensor(input, "gather").array, dim, index, "gather")
    if ids.size == 0:
        return into(out, reshape(input, -1)[:0].reshape(ids.shape), "gather")
    cut = input if input.array.ndim else reshape(input, 1)
    if ids.shape[:over] != cut.array.shape[:over] or ids.shape[over + 1 :] != cut.array.shape[over + 1 :]:
        cut = cut[part(ids.shape, over)]
    found = run(TakeAlong, (cut,), (cut.array,), (index,), index=ids, axis=over)
    return into(out, found if index.array.ndim else reshape(found, ()), "gather", apart=(input,))


class Scatter(Op):
    """A copy of a tensor with values put at, added to or multiplied with what is at, the places that an index names."""

    @staticmethod
    def forward(a, src, *, index, axis, reduce):
        out = fresh(a)
        values = src[part(index.shape)] if src.ndim else src
        if reduce == "add":
            kernels.add_along(out, index, values.astype(out.dtype, copy=False), axis)
        elif reduce == "multiply":
            np.multiply.at(out, grid(index, axis), values)
        else:
            kernels.put_along(out[part(index.shape, axis)], index, values, axis)
        return out, (index, axis, reduce, src.shape)

    @staticmethod
    def backward(saved, needs, g):
        index, axis, reduce, shape = saved
        if reduce == "multiply":
            raise RuntimeError("derivative for aten::scatter with reduce='multiply' is not implemented")
        cut = part(index.shape, axis)
        da = g
        if reduce is None:
            da = g.copy()
            kernels.put_along(da[cut], index, 0, axis)
        dsrc = kernels.take_along(g[cut], index, axis)
        if dsrc.shape != shape and shape:
            whole = np.zeros(shape, g.dtype, like=g)
            whole[part(index.shape)] = dsrc
            dsrc = whole
        return da, dsrc


class Untouched(Op):
    """A copy of a tensor into which nothing of `src` went."""

    @staticmethod
    def forward(a, src):
        return fresh(a), (src.shape,)

    @staticmethod
    def backward(saved, needs, g):
        return g, np.zeros(saved[0], g.dtype, like=g)


def checked(input: Any, dim: int, index: Any, src: Any, call: str) -> tuple[int, np.ndarray, np.ndarray]:
    """The dimension, the indices and the values (an array, 0-d for a number) of the scatter family, checked."""
    over, ids = along(expect_tensor(input, call).array, dim, index, call)
    if not isinstance(src, TensorBase):
        return over, ids, converted(src, input.array.dtype, call)
    values = src.array if src.array.ndim else src.array.reshape(1)
    check_same(input.array, values)
    if values.dtype != input.array.dtype:
        raise RuntimeError(
            f"{call}(): Expected self.dtype to be equal to src.dtype, got {input.dtype} and {values.dtype}"
        )
    if ids.size and (ids.ndim != values.ndim or any(n > m for n, m in zip(ids.shape, values.shape, strict=True))):
        raise RuntimeError(
            f"Expected index {list(ids.shape)} to be no larger than self {list(input.array.shape)} apart from "
            f"dimension {over} and to be no larger size than src {list(values.shape)}"
        )
    return over, ids, values


def placed(input: Any, index: Any, src: Any, values: np.ndarray, ids: np.ndarray, over: int, reduce: str | None) -> Any:
    """The result of scatter, scatter_add or index_add; `src` is the tensor that `values` came from, or a number, and
    `index` that of `ids`.
    """
    src = src if isinstance(src, TensorBase) else None
    if ids.size == 0:
        return run(Untouched, (input, src), (input.array, values))
    if input.array.ndim:
        return run(Scatter, (input, src), (input.array, values), (index,), index=ids, axis=over, reduce=reduce)
    a, b = reshape(input, 1), None if src is None else reshape(src, 1)
    return reshape(run(Scatter, (a, b), (a.array, values), (index,), index=ids, axis=0, reduce=reduce), ())


@numpy_names
def scatter(
    input: Any,
    dim: int,
    index: Any,
    src: Any = None,
    *,
    value: Any = None,
    reduce: str | None = None,
    out: Any = None,
) -> Any:
    """A copy of input with out[index[i, j], j] = src[i, j] for dim 0, and so on; `src` is a tensor or a number.

    With `reduce`, "add" or "multiply", the values are added to, or multiplied with, what is there.
    """
    if (src is None) == (value is None):
        raise TypeError("scatter(): expected either a tensor src or a number value")
    if reduce not in (None, "add", "multiply"):
        raise RuntimeError(f"reduce argument must be either add or multiply, got {reduce!r}.")
    src = value if src is None else src
    over, ids, values = checked(input, dim, index, src, "scatter")
    return into(out, placed(input, index, src, values, ids, over, reduce), "scatter", apart=(index,))


@numpy_names
def scatter_add(input: Any, dim: int, index: Any, src: Any, *, out: Any = None) -> Any:
    """A copy of input with src[i, j] added to out[index[i, j], j] for dim 0, and so on."""
    over, ids, values = checked(input, dim, index, expect_tensor(src, "scatter_add", "src"), "scatter_add")
    return into(out, placed(input, index, src, values, ids, over, "add"), "scatter_add", apart=(index,))


# ------------------------------------------------------------------------------------------ with a reduction
REDUCTIONS = {"sum": np.add, "prod": np.multiply, "mean": np.add, "amax": np.maximum, "amin": np.minimum}
UFUNCS = {**REDUCTIONS, "max": np.maximum, "min": np.minimum}  # which torch takes too, but not backward


class ScatterReduce(Op):
    """The values that go to one place, and with `own` what is there, reduced to one."""

    @staticmethod
    def forward(a, src, *, index, axis, reduce, own):
        places = grid(index, axis)
        out = fresh(a)
        if not own:
            out[places] = start(reduce, a.dtype)
        UFUNCS[reduce].at(out, places, src[part(index.shape)])
        if reduce == "mean":
            out = (np.floor_divide if a.dtype.kind in "iu" else np.divide)(out, counts(a.shape, places, own, out.dtype))
        return out, (a, src, out, index, axis, reduce, own)

    @staticmethod
    def backward(saved, needs, g):
        a, src, out, index, axis, reduce, own = saved
        if reduce not in REDUCTIONS:
            raise RuntimeError(
                f"derivative of scatter_reduce is not implemented for reduce={reduce!r}, but for amax and amin"
            )
        places, cut = grid(index, axis), part(index.shape)
        values = src[cut]
        if reduce == "sum":
            da, dsrc = g.copy(), g[places]
        elif reduce == "mean":
            da = g / counts(a.shape, places, own, g.dtype)
            dsrc = da[places]
        elif reduce == "prod":
            known = np.where(a == 0, 1, a)
            rest = ScatterReduce.forward(known, src, index=index, axis=axis, reduce=reduce, own=own)[0]
            da = g * rest / known
            zeros = np.zeros(a.shape, np.int64, like=a)
            np.add.at(zeros, places, values == 0)
            lone = (values == 0) & (zeros[places] == 1)  # the product of all others is what its gradient needs
            others = src.copy()
            others[cut] = np.where(lone, 1, values)
            others = ScatterReduce.forward(a, others, index=index, axis=axis, reduce=reduce, own=own)[0]
            dsrc = np.where(lone, (g * others)[places], (g * out)[places] / np.where(values == 0, 1, values))
        else:  # equal elements share the gradient
            hit, hits = a == out, values == out[places]
            number = hit.astype(g.dtype)
            np.add.at(number, places, hits)
            share = g / number
            da, dsrc = hit * share, hits * share[places]
        if not own:
            da[places] = 0
        if src.shape != dsrc.shape:
            whole = np.zeros(src.shape, g.dtype, like=g)
            whole[cut] = dsrc
            dsrc = whole
        return da, dsrc


def grid(index: np.ndarray, axis: int) -> tuple:
    """The places that an index along an axis stands for, as NumPy takes them."""
    ndim = index.ndim
    places = [
        np.arange(n, like=index).reshape([-1 if d == k else 1 for d in range(ndim)]) for k, n in enumerate(index.shape)
    ]
    places[axis] = index
    return tuple(places)


def start(reduce: str, dtype: np.dtype) -> Any:
    """What a reduction begins with."""
    if reduce in ("sum", "mean", "prod"):
        return int(reduce == "prod")
    if dtype.kind == "f":
        return -np.inf if reduce in ("amax", "max") else np.inf
    if dtype.kind == "b":
        return reduce in ("amin", "min")
    return np.iinfo(dtype).min if reduce in ("amax", "max") else np.iinfo(dtype).max


def counts(shape: tuple[int, ...], places: tuple, own: bool, dtype: np.dtype) -> np.ndarray:
    """How many values a mean has at each place: one where none came."""
    number = np.full(shape, int(own), dtype, like=places[0])
    np.add.at(number, places, number.dtype.type(1))
    return np.maximum(number, 1)


@numpy_names
def scatter_reduce(
    input: Any, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True, out: Any = None
) -> Any:
    """A copy of input in which the elements of `src` that go to one place, as in scatter, are reduced with what is
    there ('sum', 'prod', 'mean', 'amax', 'amin'); without include_self, only with one another.
    """
    if reduce not in (*REDUCTIONS, "max", "min"):
        raise RuntimeError(
            f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce} (scatter_reduce())"
        )
    over, ids, values = checked(input, dim, index, expect_tensor(src, "scatter_reduce", "src"), "scatter_reduce")
    if reduce == "mean" and values.dtype.kind == "b":
        raise unsupported("scatter_gather_tensor_cpu_reduce_mean", values.dtype)
    return into(
        out, reduced(input, index, src, values, ids, over, reduce, include_self), "scatter_reduce", apart=(index,)
    )


def reduced(
    input: Any, index: Any, src: Any, values: np.ndarray, ids: np.ndarray, over: int, reduce: str, own: bool
) -> Any:
    if ids.size == 0:
        return run(Untouched, (input, src), (input.array, values))
    how = {"index": ids, "reduce": reduce, "own": bool(own)}
    if input.array.ndim:
        return run(ScatterReduce, (input, src), (input.array, values), (index,), axis=over, **how)
    a, b = reshape(input, 1), reshape(src, 1)
    return reshape(run(ScatterReduce, (a, b), (a.array, b.array), (index,), axis=0, **how), ())


# ------------------------------------------------------------------------------------------ slices by their number
def slices(input: Any, dim: int, index: Any, source: Any, call: str) -> tuple[int, np.ndarray]:
    """The dimension and the indices of index_add, index_copy and index_reduce, checked."""
    a, b = expect_tensor(input, call).array, expect_tensor(source, call, "source").array
    over, ids = axis(dim, a.ndim), expect_tensor(index, call, "index").array
    if ids.ndim > 1:
        raise IndexError(f"{call}(): Index is supposed to be a vector, but got size {list(ids.shape)}")
    check_same(a, b)
    check_same(a, ids)
    ids = integers(index, call).reshape(-1)
    if a.dtype != b.dtype:
        raise RuntimeError(f"{call}(): self ({input.dtype}) and source ({source.dtype}) must have the same scalar type")
    if a.ndim and b.ndim and a.ndim != b.ndim and call == "index_copy":
        raise IndexError(
            f"index_copy(): self and source must have as many dimensions, got {list(a.shape)} and {list(b.shape)}"
        )
    rest = [(*x.shape[:over], *x.shape[over + 1 :]) for x in (a, b)]
    if (a.ndim and b.ndim and rest[0] != rest[1]) or (a.ndim != b.ndim and call != "index_copy"):
        raise RuntimeError(
            f"{call}(): source tensor shape must match self tensor shape, excluding the specified dimension. Got "
            f"self.shape = {list(a.shape)} source.shape = {list(b.shape)}"
        )
    if (a.ndim or call == "index_copy") and ids.size != (b.shape[over] if b.ndim else 1):
        kind = IndexError if call == "index_copy" else RuntimeError
        raise kind(
            f"{call}(): Number of indices ({ids.size}) should be equal to the size of source {list(b.shape)} in "
            f"dimension {over}"
        )
    n = a.shape[over] if a.ndim else 1
    wrong = ids[(ids < 0) | (ids >= n)]
    if wrong.size:
        kind = RuntimeError if a.ndim > 1 and call == "index_add" else IndexError
        raise kind(f"index {wrong[0]} is out of bounds for dimension {over} with size {n} ({call}())")
    return over, ids


@numpy_names
def index_add(input: Any, dim: int, index: Any, source: Any, *, alpha: float = 1, out: Any = None) -> Any:
    """A copy of input with the slices of `source`, times `alpha`, added to those along `dim` that `index` names."""
    over, ids = slices(input, dim, index, source, "index_add")
    source = source if alpha == 1 else source * number(alpha, "index_add", "alpha")
    values = source.array.astype(input.array.dtype, copy=False)
    places = everywhere(ids, values.shape, over)
    values = values.reshape(places.shape)
    found = entitled(placed(input, index, source, values, places, over, "add"), "IndexAddBackward0")
    return into(out, found, "index_add", apart=(index,))


@numpy_names
def index_copy(input: Any, dim: int, index: Any, source: Any, *, out: Any = None) -> Any:
    """A copy of input with the slices of `source` in place of those along `dim` that `index` names."""
    over, ids = slices(input, dim, index, source, "index_copy")
    a, b = (t if t.array.ndim else reshape(t, 1) for t in (input, source))
    found = run(Put, (a, b), (a.array, b.array), (index,), index=(*(slice(None),) * over, ids))
    entitled(found, "IndexCopyBackward0")
    return into(out, found if input.array.ndim else reshape(found, ()), "index_copy", apart=(index,))


@numpy_names
def index_reduce(
    input: Any, dim: int, index: Any, source: Any, reduce: str, *, include_self: bool = True, out: Any = None
) -> Any:
    """scatter_reduce of the slices of `source` to those along `dim` that `index` names."""
    if reduce not in REDUCTIONS or reduce == "sum":
        raise RuntimeError(f"reduce argument must be either prod, mean, amax or amin, got {reduce}.")
    over, ids = slices(input, dim, index, source, "index_reduce")
    places = everywhere(ids, source.array.shape, over)
    found = reduced(input, index, source, source.array.reshape(places.shape), places, over, reduce, include_self)
    return into(out, found, "index_reduce", apart=(index,))


@numpy_names
def index_fill(input: Any, dim: int, index: Any, value: Any) -> Any:
    """A copy of input with `value`, a number or a 0-d tensor, in the slices along `dim` that `index` names."""
    over, ids = (
        axis(dim, expect_tensor(input, "index_fill").array.ndim),
        expect_tensor(index, "index_fill", "index").array,
    )
    if isinstance(value, TensorBase) and value.array.ndim:
        raise RuntimeError(
            "index_fill_ only supports a 0-dimensional value tensor, but got tensor with "
            f"{value.array.ndim} dimension(s)."
        )
    if ids.dtype != np.int64:
        raise IndexError(f"index_fill_(): Expected dtype int64 for index, got {index.dtype}")
    if ids.ndim > 1:
        raise RuntimeError(f"Index has to be a vector/scalar, got shape {list(ids.shape)}")
    check_same(input.array, ids)
    value = cast(value, input.array.dtype) if isinstance(value, TensorBase) else value
    n = input.array.shape[over] if input.array.ndim else 1
    if n == 0 and ids.size:
        raise RuntimeError(
            f"index_fill_(): index {ids.reshape(-1)[0].item()} is out of bounds for dimension {over} with size 0"
        )
    outside = ids[(ids < -n) | (ids >= n)]
    if outside.size:
        raise IndexError(f"index {outside[0]} is out of bounds for dimension {over} with size {n} (index_fill_())")
    lone = not isinstance(value, TensorBase)
    filler = wrap(converted(value, input.array.dtype, "index_fill_")) if lone else value
    a, axes = input if input.array.ndim else reshape(input, 1), memory_order(input.array)
    if axes != tuple(range(len(axes))):  # the result lies in memory as the input does
        found = index_fill(permute(input, axes), axes.index(over), index, value)
        return entitled(permute(found, inverse(axes)), f"IndexFillBackward{int(isinstance(value, TensorBase))}")
    places = (*(slice(None),) * over, np.unique(ids % max(n, 1)))  # each once: the gradients of all are added up
    found = run(Put, (a, filler), (a.array, filler.array), (index,), index=places)
    entitled(found, f"IndexFillBackward{int(not lone)}")
    return found if input.array.ndim else reshape(found, ())


# ------------------------------------------------------------------------------------------ places by tensors
def index_put(input: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """A copy of input with input[indices] = values, or += for every value with `accumulate`."""
    target = expect_tensor(input, "index_put").clone()
    return index_put_(target, indices, values, accumulate)


def index_put_(input: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """input[indices] = values, or += for every value with `accumulate`, in this tensor itself."""
    for i in indices:
        if not isinstance(i, TensorBase):
            raise TypeError(f"index_put_(): argument 'indices' must be tuple of Tensors, but one is {type(i).__name__}")
    setitem(input, tuple(indices), expect_tensor(values, "index_put_", "values"), bool(accumulate))
    return input


def long_index(index: Any, call: str) -> np.ndarray:
    ids = expect_tensor(index, call, "index").array
    if ids.dtype != np.int64:
        raise RuntimeError(f"{call}(): Expected a long tensor for index, but got {index.dtype}")
    return ids


def flat_places(a: np.ndarray, ids: np.ndarray, call: str) -> np.ndarray:
    """Places in all elements, counted in order, checked; negative ones count from the end."""
    check_same(a, ids)
    if a.size == 0 and ids.size:
        raise IndexError(f"{call}(): tried to take from an empty tensor")
    wrong = ids[(ids < -a.size) | (ids >= a.size)]
    if wrong.size:
        raise IndexError(f"out of range: {call}() got the index {wrong[0]} for {a.size} elements")
    return np.where(ids < 0, ids + a.size, ids)


def take(input: Any, index: Any, *, out: Any = None) -> Any:
    """The elements at the places `index` of the flat tensor, in the shape of `index`."""
    ids = flat_places(expect_tensor(input, "take").array, long_index(index, "take"), "take")
    flat = reshape(input, -1)
    found = entitled(run(Gather, (flat,), (flat.array,), index=(ids,)), "TakeBackward0")
    return into(out, found, "take", True, (input, index))


def put(input: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    """A copy of input with `source` at, or added to, the places `index` of the flat tensor."""
    a, b = expect_tensor(input, "put").array, expect_tensor(source, "put", "source").array
    ids = long_index(index, "put_")
    if ids.size != b.size:
        raise IndexError(
            f"put_(): Expected source and index to have the same number of elements, but got {b.size} and {ids.size}"
        )
    check_same(a, b)
    if a.dtype != b.dtype:
        raise RuntimeError(
            f"put_(): self and source expected to have the same dtype, but got {input.dtype} and {source.dtype}"
        )
    ids = flat_places(a, ids, "put_")
    flat = index_put(reshape(input, -1), (wrap(ids.reshape(-1)),), reshape(source, -1), accumulate)
    return entitled(reshape(flat, a.shape), "PutBackward0")


@numpy_names
def take_along_dim(input: Any, indices: Any, dim: int | None = None, *, out: Any = None) -> Any:
    """gather, with input and indices broadcast but for `dim`; of the flat tensors without one."""
    expect_tensor(input, "take_along_dim")
    ids = expect_tensor(indices, "take_along_dim", "indices").array
    if ids.dtype.kind not in "iu" or ids.dtype != np.int64:
        raise RuntimeError(f"torch.take_along_dim(): dtype of indices should be Long but got {dtypes.word(ids.dtype)}")
    if dim is None:
        return into(out, gather(reshape(input, -1), 0, reshape(indices, -1)), "take_along_dim", apart=(input,))
    if ids.ndim == input.array.ndim == 0:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions (take_along_dim())")
    if ids.ndim != input.array.ndim:
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, but got "
            f"{input.array.ndim} dimensions for input, and {ids.ndim} dimensions for indices"
        )
    over = axis(dim, ids.ndim)
    n = input.array.shape[over] if ids.ndim else 1
    # A copy, as in torch, which counts around the end.
    indices = wrap(ids % max(n, 1) if kernels.outside(ids, n) >= 0 else ids.copy())
    shapes = [np.empty((*t.array.shape[:over], 1, *t.array.shape[over + 1 :]), bool) for t in (input, indices)]
    shape = check_broadcast(*shapes) if ids.ndim else ()
    a, b = (
        expand(t, (*shape[:over], t.array.shape[over], *shape[over + 1 :])) if ids.ndim else t for t in (input, indices)
    )
    return into(out, gather(a, over, b), "take_along_dim", apart=(input,))


def masked_scatter(input: Any, mask: Any, source: Any) -> Any:
    """A copy with the first elements of `source` where `mask` holds, in order."""
    truth, found = (
        expect_tensor(mask, "masked_scatter", "mask").array,
        expect_tensor(source, "masked_scatter", "source").array,
    )
    check_same(input.array, truth)
    check_same(input.array, found)
    if truth.dtype != np.bool_:
        raise RuntimeError(f"masked_scatter_ only supports boolean masks, but got mask with dtype {mask.dtype}")
    if found.dtype != input.array.dtype:
        raise RuntimeError(
            f"masked_scatter: expected self and source to have same dtypes but got {input.dtype} and {source.dtype}"
        )
    whole = expand(input, check_broadcast(input.array, truth))
    out = run(Copy, (whole,), (whole.array,), in_order=True)
    where = expand(mask, out.array.shape)
    count = np.count_nonzero(where.array)
    if count > found.size:
        raise RuntimeError(f"Number of elements of source < number of ones in mask ({found.size} < {count})")
    setitem(out, where, reshape(source, -1)[:count])
    return entitled(out, "MaskedScatterBackward0")


def filled(self: Any, mask: Any, source: Any) -> bool:
    """Whether `self` was overwritten at once where a mask of its shape holds: with nothing to record or to refuse."""
    if not isinstance(source, TensorBase) or (where := whole_mask(self, mask)) is None:
        return False
    if is_grad_enabled() and (self.requires_grad or source.requires_grad) or shares(self, mask):
        return False
    count, given = np.count_nonzero(where), source.array
    return count <= given.size and written(self, (), (where,), wrap(given.reshape(-1)[:count]))


masked_scatter_ = overwriting(masked_scatter, filled)


# ------------------------------------------------------------------------------------------ what a view would show
def embedded(name: str, view: Callable) -> Callable:
    """select_scatter and its like: a copy in which `src` stands where `view` would look."""

    def function(input: Any, src: Any, *where: Any, **named: Any) -> Any:
        target = expect_tensor(input, name).clone()
        place = view(target, *where, **named)
        if expect_tensor(src, name, "src").array.shape != place.array.shape:
            raise RuntimeError(
                f"{name}(): expected src to have the shape of what it replaces, {list(place.array.shape)}, but it has "
                f"{list(src.array.shape)}"
            )
        place.copy_(src)
        return target

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"A copy of input in which `src` takes the place of what {view.__name__} of it would show."
    return function


def slice_(input: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Any:
    """input[start:end:step] along `dim`."""
    if not input.array.ndim:
        raise IndexError("slice() cannot be applied to a 0-dim tensor.")
    over = axis(dim, input.array.ndim)
    if step <= 0:
        raise RuntimeError(f"slice step must be positive, got {step}")
    return run(Slice, (input,), (input.array,), index=(*(slice(None),) * over, slice(start, end, step)))


select_scatter, diagonal_scatter = embedded("select_scatter", select), embedded("diagonal_scatter", diagonal)
_slice_scatter = embedded("slice_scatter", slice_)


@numpy_names
def slice_scatter(
    input: Any,
    src: Any,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
    *,
    out: Any = None,
) -> Any:
    """A copy of input in which `src` takes the place of input[start:end:step] along `dim`."""
    return into(out, _slice_scatter(input, src, dim, start, end, step), "slice_scatter")
