"""Reading and writing by index: slices are views, tensors of indices gather copies."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from .. import dtypes
from .common import (
    Op,
    TensorBase,
    apply,
    axis,
    check_broadcast,
    check_writable,
    converted,
    expect_tensor,
    into,
    numpy_names,
    run,
    wrap,
    write,
)
from .reduce import Pick, result
from .shape import expand, reshape


class Slice(Op):
    """Integers, slices, None and Ellipsis: a view."""

    view = True

    @staticmethod
    def forward(a, *, index):
        out = a[index]
        if type(out) is not np.ndarray:  # NumPy gives a number where torch gives a 0-d view
            out = a[(*index, ...)]
        return out, (a.shape, index)

    @staticmethod
    def backward(saved, needs, g):
        shape, index = saved
        out = np.zeros(shape, g.dtype)
        out[index] = g
        return out


class Gather(Op):
    """Arrays of integers in some axes, the same for all others: a copy."""

    @staticmethod
    def forward(a, *, index):
        try:
            return a[index], (a.shape, index)
        except IndexError as error:
            index = of_nothing(a.shape, index, error)
            return a[index], (a.shape, index)

    @staticmethod
    def backward(saved, needs, g):
        from ..kernels.cpu import index as kernels

        shape, index = saved
        out = np.zeros(shape, g.dtype)
        if isinstance(index[0], np.ndarray) and all(isinstance(i, slice) for i in index[1:]):
            ids = np.where(index[0] < 0, index[0] + shape[0], index[0]).reshape(-1)
            width = out[0].size if shape[0] else 0
            kernels.scatter_add_rows(
                out.reshape(shape[0], width), ids, np.ascontiguousarray(g).reshape(ids.size, width)
            )
        else:
            positions = np.arange(out.size).reshape(shape)[index]
            kernels.scatter_add(out.reshape(-1), positions.reshape(-1), np.ascontiguousarray(g).reshape(-1))
        return out


def of_nothing(shape: tuple[int, ...], index: tuple, error: IndexError) -> tuple:
    """An index in place of one that is out of range, if the result has no elements; else torch's IndexError."""
    allowed = tuple(np.zeros_like(i) if isinstance(i, np.ndarray) else i for i in index)
    try:
        if np.broadcast_to(np.zeros((), bool), shape)[allowed].size == 0:
            return allowed
    except IndexError:
        pass
    for dim, i in enumerate(index):
        if isinstance(i, np.ndarray):
            wrong = i[(i < -shape[dim]) | (i >= shape[dim])]
            if wrong.size:
                error = IndexError(f"index {wrong.flat[0]} is out of bounds for dimension {dim} with size {shape[dim]}")
                break
    raise error from None


class Put(Op):
    """A copy of a tensor with other values at some places."""

    @staticmethod
    def forward(a, value, *, index):
        out = a.copy()
        out[index] = value
        return out, (index,)

    @staticmethod
    def backward(saved, needs, g):
        (index,) = saved
        da = g.copy()
        da[index] = 0
        return da, g[index]


def split_index(a: np.ndarray, index: Any) -> tuple[tuple, tuple | None]:
    """An index as (a basic index, an index with arrays for what that leaves or None).

    torch applies integers and slices first, and tensors of indices to the view that they leave.
    """
    items = list(index) if isinstance(index, tuple) or is_list_of_indices(index) else [index]
    try:
        items = [convert(i) for i in items]
    except TypeError:
        if a.ndim or isinstance(index, slice):
            raise
        raise IndexError("too many indices for tensor of dimension 0") from None
    used = sum(
        i.ndim if isinstance(i, np.ndarray) and i.dtype == bool else 1
        for i in items
        if i is not None and i is not Ellipsis
    )
    if used > a.ndim:
        raise IndexError(
            "invalid index of a 0-dim tensor. Use `tensor.item()` to convert a 0-dim tensor to a Python number"
            if a.ndim == 0
            else f"too many indices for tensor of dimension {a.ndim}: {used}"
        )
    at = next((k for k, i in enumerate(items) if i is Ellipsis), len(items))
    rest = [i for i in items[at + 1 :] if i is not Ellipsis]  # a second one stands for nothing
    basic: list[Any] = []
    advanced: list[Any] = []
    dim = 0
    for i in [*items[:at], *[slice(None)] * (a.ndim - used), *rest]:
        if i is None:
            basic.append(None)
            advanced.append(slice(None))
        elif isinstance(i, np.ndarray):
            if i.dtype == bool:
                if a.shape[dim : dim + i.ndim] != i.shape:
                    wrong = next(k for k in range(i.ndim) if a.shape[dim + k] != i.shape[k])
                    raise IndexError(
                        f"The shape of the mask {list(i.shape)} at index {wrong} does not match the shape of the "
                        f"indexed tensor {list(a.shape)} at index {dim + wrong}"
                    )
                if i.ndim == 0:  # a 0-d mask adds a dimension of size one or none
                    basic.append(None)
                    advanced.append(np.flatnonzero(i))
                    continue
                basic += [slice(None)] * i.ndim
                advanced += list(np.nonzero(i))
                dim += i.ndim
            else:
                basic.append(slice(None))
                advanced.append(i)
                dim += 1
        else:
            if isinstance(i, int):
                if not -a.shape[dim] <= i < a.shape[dim]:
                    raise IndexError(f"index {i} is out of bounds for dimension {dim} with size {a.shape[dim]}")
            else:
                advanced.append(slice(None))
            basic.append(i)
            dim += 1
    if not any(isinstance(i, np.ndarray) for i in advanced):
        return tuple(basic), None
    while isinstance(advanced[-1], slice):
        advanced.pop()
    return tuple(basic), tuple(advanced)


def is_list_of_indices(index: Any) -> bool:
    """Whether torch takes a list for a tuple: if it is short and has sequences, slices, tensors, None or ... in it."""
    return isinstance(index, list) and len(index) < 32 and any(isinstance(i, INDICES) for i in index)


INDICES = (TensorBase, list, tuple, range, str, np.ndarray, slice, type(None), type(Ellipsis))


def convert(i: Any) -> Any:
    """One item of an index as an int, a slice of ints, None, Ellipsis, or an array of integers or booleans."""
    if i is None or i is Ellipsis or type(i) is int:
        return i
    if isinstance(i, slice):
        step = 1 if i.step is None else operator.index(i.step)
        if step <= 0:
            raise ValueError(f"step must be greater than zero, got {step}")
        start, stop = (None if v is None else operator.index(v) for v in (i.start, i.stop))
        return slice(start, stop, step)
    if isinstance(i, (bool, np.bool_)):
        return np.asarray(i)
    if isinstance(i, TensorBase):
        array = i.array
        if array.dtype == np.uint8:
            array = array.astype(bool)
        if array.dtype.kind == "f":
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
        return int(array) if array.ndim == 0 and array.dtype.kind in "iu" else array
    if isinstance(i, (list, tuple, range, np.ndarray)):
        array = np.asarray(i if isinstance(i, np.ndarray) else [convert_item(x) for x in i])
        if array.dtype.kind not in "iufb":
            raise TypeError(f"new(): invalid data type in an index, {array.dtype}")
        return array if array.dtype == bool and array.size else array.astype(np.int64)
    try:
        return operator.index(i)
    except TypeError:
        if isinstance(i, str):
            raise TypeError("new(): invalid data type 'str' in an index") from None
        raise IndexError(
            "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices "
            f"(got {type(i).__name__})"
        ) from None


def convert_item(x: Any) -> Any:
    return x.array if isinstance(x, TensorBase) else x


def getitem(input: Any, index: Any) -> Any:
    """input[index], with all of torch's forms of an index."""
    a = input.array
    if type(index) is int and a.ndim and -a.shape[0] <= index < a.shape[0]:
        return run(Slice, (input,), (a,), index=(index,))
    basic, advanced = split_index(a, index)
    view = run(Slice, (input,), (a,), index=basic)
    return view if advanced is None else run(Gather, (view,), (view.array,), index=advanced)


def setitem(input: Any, index: Any, value: Any) -> None:
    """input[index] = value, with all of torch's forms of an index; the gradient goes to what was there and to what is
    now.
    """
    dtype = input.array.dtype
    if not isinstance(value, TensorBase):
        if not isinstance(value, (int, float, np.integer)):
            raise TypeError(f"can't assign a {type(value).__name__} to a torch.{dtypes.word(dtype)}Tensor")
        value = wrap(converted(value, dtype, "setitem"))
    basic, advanced = split_index(input.array, index)
    check_writable(input, value.requires_grad)
    target = run(Slice, (input,), (input.array,), index=basic)
    if advanced is None:
        shape = target.array.shape
    else:
        shape, advanced = places(target.array.shape, advanced)
        if value.array.dtype != dtype and not (value.array.size == 1 and masks_only(index)):
            raise RuntimeError(
                f"Index put requires the source and destination dtypes match, got {input.dtype} for the destination "
                f"and {value.dtype} for the source."
            )
    have = value.array.shape
    while len(have) > len(shape) and have[0] == 1:
        have = have[1:]
    if have != value.array.shape:
        value = reshape(value, have)
    if have != shape:
        value = expand(value, shape)
    if advanced is None:
        write(target, value)
    else:
        array = value.array.astype(dtype, copy=False)
        write(target, run(Put, (target, value), (target.array, array), index=advanced))


def places(shape: tuple[int, ...], index: tuple) -> tuple[tuple[int, ...], tuple]:
    """The shape that an index with arrays gives, and the index; IndexError if it is out of range or does not fit."""
    everywhere = np.broadcast_to(np.zeros((), bool), shape)
    try:
        return everywhere[index].shape, index
    except IndexError as error:
        index = of_nothing(shape, index, error)
        return everywhere[index].shape, index


def masks_only(index: Any) -> bool:
    """Whether the only tensors of an index are masks: then a lone value is cast, as masked_fill does."""
    items = [convert(i) for i in (index if isinstance(index, tuple) else (index,))]
    return all(i.dtype == bool for i in items if isinstance(i, np.ndarray))


@numpy_names
def narrow(input: Any, dim: int, start: Any, length: int) -> Any:
    """The view of `length` slices along `dim`, from `start` on."""
    shape = expect_tensor(input, "narrow").array.shape
    if not shape:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    over, start, length = axis(dim, len(shape)), operator.index(start), operator.index(length)
    n = shape[over]
    if length < 0:
        raise RuntimeError(f"narrow(): length must be non-negative, got {length}.")
    if not -n <= start <= n:
        raise IndexError(f"start out of range (expected to be in range of [{-n}, {n}], but got {start})")
    start += n if start < 0 else 0
    if start + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return run(Slice, (input,), (input.array,), index=(*(slice(None),) * over, slice(start, start + length)))


@numpy_names
def select(input: Any, dim: int, index: int) -> Any:
    """The slice number `index` along `dim`, as a view."""
    shape, place = expect_tensor(input, "select").array.shape, operator.index(index)
    if not shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    over = axis(dim, len(shape))
    if not -shape[over] <= place < shape[over]:
        raise IndexError(f"select(): index {place} out of range for tensor of size {list(shape)} at dimension {over}")
    return run(Slice, (input,), (input.array,), index=(*(slice(None),) * over, place))


def integers(index: Any, call: str) -> np.ndarray:
    array = expect_tensor(index, call, "index").array
    if array.dtype not in (np.int64, np.int32):
        raise RuntimeError(f"{call}(): Expected dtype int32/int64 for index, got {index.dtype}")
    return array.astype(np.int64, copy=False)


@numpy_names
def index_select(input: Any, dim: int, index: Any, *, out: Any = None) -> Any:
    """The slices along `dim` that `index` (a vector of integers) names."""
    shape = expect_tensor(input, "index_select").array.shape
    ids = expect_tensor(index, "index_select", "index").array
    if ids.ndim > 1:
        raise IndexError(f"index_select(): Index is supposed to be a vector, got shape {list(ids.shape)}")
    ids, over = integers(index, "index_select").reshape(-1), axis(dim, len(shape))
    if not shape and ids.size != 1:
        raise RuntimeError(f"index_select(): Index to scalar can have only 1 value, got {ids.size} value(s)")
    n = shape[over] if shape else 1
    if ids.size and n == 0 and len(shape) > 1:
        raise RuntimeError(f"index_select(): self indexing axis dim should be positive, got shape {list(shape)}")
    wrong = ids[(ids < 0) | (ids >= n)]
    if wrong.size:
        raise IndexError(f"index out of range in self: index_select() got {wrong[0]} along a dimension of size {n}")
    if not shape:
        return into(out, input.clone(), "index_select")
    return into(out, run(Gather, (input,), (input.array,), index=(*(slice(None),) * over, ids)), "index_select")


def masked_select(input: Any, mask: Any, *, out: Any = None) -> Any:
    """The elements where `mask` (booleans) holds, as a vector."""
    a, truth = expect_tensor(input, "masked_select").array, expect_tensor(mask, "masked_select", "mask").array
    if truth.dtype != bool:
        raise RuntimeError(f"masked_select: expected BoolTensor for mask, got {mask.dtype}")
    shape = check_broadcast(a, truth)
    return into(out, getitem(input.expand(shape), wrap(np.broadcast_to(truth, shape))), "masked_select")


class TakeAlong(Op):
    @staticmethod
    def forward(a, *, index, axis):
        return np.take_along_axis(a, index, axis), (a.shape, index, axis)

    @staticmethod
    def backward(saved, needs, g):
        shape, index, axis = saved
        out = np.zeros(shape, g.dtype)
        add_along(out, index, g, axis)
        return out


def add_along(out: np.ndarray, index: np.ndarray, g: np.ndarray, axis: int) -> None:
    """out[..., index[i, j, k], ...] += g[i, j, k] in a fixed order; `out` is contiguous."""
    from ..kernels.cpu import index as kernels

    places: list[Any] = list(np.indices(index.shape, sparse=True))
    places[axis] = index
    positions = np.ravel_multi_index(tuple(np.broadcast_arrays(*places)), out.shape)
    kernels.scatter_add(
        out.reshape(-1), positions.reshape(-1), np.ascontiguousarray(np.broadcast_to(g, index.shape)).reshape(-1)
    )


def part(shape: tuple[int, ...], over: int | None = None) -> tuple[slice, ...]:
    """The index of the first elements along each dimension but `over`: as many as `shape` says."""
    return tuple(slice(None) if d == over else slice(0, n) for d, n in enumerate(shape))


def along(a: np.ndarray, dim: int, index: Any, call: str) -> tuple[int, np.ndarray]:
    """The dimension and the indices of gather and scatter, checked; 0-d tensors count as vectors."""
    ids, over = integers(index, call), axis(dim, a.ndim)
    if ids.size == 0:
        return over, ids
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
    wrong = ids[(ids < 0) | (ids >= shape[over])]
    if wrong.size:
        raise RuntimeError(f"index {wrong[0]} is out of bounds for dimension {over} with size {shape[over]}")
    return over, ids


@numpy_names
def gather(input: Any, dim: int, index: Any, *, sparse_grad: bool = False, out: Any = None) -> Any:
    """out[i, j] = input[index[i, j], j] for dim 0, input[i, index[i, j]] for dim 1, and so on."""
    over, ids = along(expect_tensor(input, "gather").array, dim, index, "gather")
    if ids.size == 0:
        return into(out, reshape(input, -1)[:0].reshape(ids.shape), "gather")
    cut = (input if input.array.ndim else reshape(input, 1))[part(ids.shape, over)]
    found = run(TakeAlong, (cut,), (cut.array,), index=ids, axis=over)
    return into(out, found if index.array.ndim else reshape(found, ()), "gather")


class Scatter(Op):
    """A copy of a tensor with values put at, added to or multiplied with what is at, the places that an index names."""

    @staticmethod
    def forward(a, src, *, index, axis, reduce):
        out = a.copy(order="C")
        values = src[part(index.shape)] if src.ndim else src
        if reduce == "add":
            add_along(out, index, values.astype(out.dtype, copy=False), axis)
        elif reduce == "multiply":
            places = list(np.indices(index.shape, sparse=True))
            places[axis] = index
            np.multiply.at(out, tuple(places), values)
        else:
            np.put_along_axis(out[part(index.shape, axis)], index, values, axis)
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
            np.put_along_axis(da[cut], index, 0, axis)
        dsrc = np.take_along_axis(g[cut], index, axis)
        if dsrc.shape != shape and shape:
            whole = np.zeros(shape, g.dtype)
            whole[part(index.shape)] = dsrc
            dsrc = whole
        return da, dsrc


def scattered(input: Any, dim: int, index: Any, src: Any, reduce: str | None, call: str) -> Any:
    """scatter and scatter_add."""
    over, ids = along(expect_tensor(input, call).array, dim, index, call)
    values = src.array if isinstance(src, TensorBase) else converted(src, input.array.dtype, call)
    if not isinstance(src, TensorBase):
        src = None
    else:
        values = values if values.ndim else values.reshape(1)
        if values.dtype != input.array.dtype:
            raise RuntimeError(
                f"{call}(): Expected self.dtype to be equal to src.dtype, got {input.dtype} and {values.dtype}"
            )
        if ids.size and (ids.ndim != values.ndim or any(n > m for n, m in zip(ids.shape, values.shape, strict=True))):
            raise RuntimeError(
                f"Expected index {list(ids.shape)} to be no larger than self {list(input.array.shape)} apart from "
                f"dimension {over} and to be no larger size than src {list(values.shape)}"
            )
    if ids.size == 0:
        return input.clone()
    if input.array.ndim:
        return run(Scatter, (input, src), (input.array, values), index=ids, axis=over, reduce=reduce)
    a, b = reshape(input, 1), None if src is None else reshape(src, 1)
    return reshape(run(Scatter, (a, b), (a.array, values), index=ids, axis=0, reduce=reduce), ())


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
    return into(out, scattered(input, dim, index, value if src is None else src, reduce, "scatter"), "scatter")


@numpy_names
def scatter_add(input: Any, dim: int, index: Any, src: Any, *, out: Any = None) -> Any:
    """A copy of input with src[i, j] added to out[index[i, j], j] for dim 0, and so on."""
    expect_tensor(src, "scatter_add", "src")
    return into(out, scattered(input, dim, index, src, "add", "scatter_add"), "scatter_add")


def nonzero(input: Any, *, as_tuple: bool = False, out: Any = None) -> Any:
    """Where the elements are not zero: (n, ndim) indices, or a tuple of one vector for each dimension."""
    a = expect_tensor(input, "nonzero").array
    if as_tuple:
        return tuple(wrap(i) for i in np.nonzero(np.atleast_1d(a)))
    return into(out, wrap(np.argwhere(a)), "nonzero")


def in_order(a: np.ndarray, over: int, descending: bool) -> np.ndarray:
    """The stable order of the elements along an axis; NaN counts as the largest."""
    if not descending:
        return np.argsort(a, over, kind="stable")
    flipped = np.flip(a, over)
    return (
        a.shape[over] - 1 - np.flip(np.argsort(flipped, over, kind="stable"), over) if a.size else np.argsort(a, over)
    )


Sorted, TopK = result("sort"), result("topk")


@numpy_names
def sort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False, *, out: Any = None) -> Any:
    """(values, indices) in ascending or descending order along `dim`; equal elements keep their order."""
    a = expect_tensor(input, "sort").array
    over = axis(dim, a.ndim)
    if a.ndim == 0:
        found = Sorted(input.clone(), wrap(np.zeros((), np.int64)))
    else:
        order = in_order(a, over, descending)
        values = np.take_along_axis(a, order, over)
        found = Sorted(run(Pick, (input,), (a,), values=values, indices=order, axis=over, keepdim=True), wrap(order))
    return found if out is None else Sorted(*(into(o, f, "sort") for o, f in zip(out, found, strict=True)))


@numpy_names
def argsort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False, *, out: Any = None) -> Any:
    """The indices that sort along `dim`."""
    return into(out, sort(input, dim, descending, stable).indices, "argsort")


@numpy_names
def topk(input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True, *, out: Any = None) -> Any:
    """(values, indices) of the `k` largest or smallest elements along `dim`, in order.

    Of equal elements the first are taken; torch's choice among them is that of a partial sort, and may differ.
    """
    a = expect_tensor(input, "topk").array
    if a.dtype.kind == "b":
        raise RuntimeError("topk does not support bool dtypes on CPU")
    over, k = axis(dim, a.ndim), operator.index(k)
    n = a.shape[over] if a.ndim else 1
    if not 0 <= k <= n:
        raise RuntimeError(f"selected index k out of range (topk(): k={k}, but dimension {over} has size {n})")
    if a.ndim == 0:
        found = TopK(input.clone(), wrap(np.zeros((), np.int64)))
    else:
        order = in_order(a, over, largest).take(range(k), over)
        values = np.take_along_axis(a, order, over)
        found = TopK(run(Pick, (input,), (a,), values=values, indices=order, axis=over, keepdim=True), wrap(order))
    return found if out is None else TopK(*(into(o, f, "topk") for o, f in zip(out, found, strict=True)))


class Embedding(Op):
    """Rows of a table (V, W) by indices of any shape; the row `padding` gets no gradient."""

    @staticmethod
    def forward(table, *, ids, padding):
        from ..kernels.cpu import index as kernels

        return kernels.gather_rows(table, ids), (table.shape, ids, padding)

    @staticmethod
    def backward(saved, needs, g):
        from ..kernels.cpu import index as kernels

        shape, ids, padding = saved
        out = np.zeros(shape, g.dtype)
        kernels.scatter_add_rows(
            out, np.ascontiguousarray(ids).reshape(-1), np.ascontiguousarray(g).reshape(ids.size, shape[1])
        )
        if padding is not None:
            out[padding] = 0
        return out


def embedding(
    input: Any,
    weight: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    """The rows of `weight` (V, W) that the indices in `input` (int64 or int32, any shape) name: (*input.shape, W).

    Raises IndexError for an index outside the table, RuntimeError for indices that are not integers.
    """
    ids = expect_tensor(input, "embedding").array
    table = expect_tensor(weight, "embedding", "weight").array
    if ids.dtype not in (np.int64, np.int32):
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got "
            f"{input.type()} instead (while checking arguments for embedding)"
        )
    if padding_idx is not None:
        if not -table.shape[0] <= padding_idx < table.shape[0]:
            raise AssertionError(
                f"Padding_idx must be within num_embeddings (embedding(): {padding_idx} for {table.shape[0]} rows)"
            )
        padding_idx %= table.shape[0]
    if table.ndim != 2:
        raise RuntimeError(f"'weight' must be 2-D, got shape {list(table.shape)}")
    for name, value, plain in (
        ("max_norm", max_norm, None),
        ("scale_grad_by_freq", scale_grad_by_freq, False),
        ("sparse", sparse, False),
    ):
        if value is not plain and value != plain:
            raise NotImplementedError(f"embedding(): {name}={value!r} is not supported by tinyrnn")
    if ids.size and (ids.min() < 0 or ids.max() >= table.shape[0]):
        wrong = ids[(ids < 0) | (ids >= table.shape[0])].flat[0]
        raise IndexError(
            f"index out of range in self: embedding() got index {wrong}; the table has {table.shape[0]} rows"
        )
    return apply(Embedding, weight, ids=ids, padding=padding_idx)


def one_hot(tensor: Any, num_classes: int = -1) -> Any:
    """int64 rows with a 1 where the index says: (*shape, num_classes); -1 takes the largest index + 1."""
    ids = expect_tensor(tensor, "one_hot", "tensor").array
    if ids.dtype != np.int64:
        raise RuntimeError(f"one_hot is only applicable to index tensor of type LongTensor. Got {tensor.dtype}")
    if ids.size == 0:
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        return wrap(np.zeros((*ids.shape, num_classes), np.int64))
    if ids.min() < 0:
        raise RuntimeError("Class values must be non-negative.")
    if num_classes == -1:
        num_classes = int(ids.max()) + 1
    elif ids.max() >= num_classes:
        raise RuntimeError("Class values must be smaller than num_classes.")
    return wrap((ids[..., None] == np.arange(num_classes)).astype(np.int64))


class Pad(Op):
    @staticmethod
    def forward(a, *, widths, value):
        return np.pad(a, widths, constant_values=value) if a.ndim else a.copy(), (a.shape, widths)

    @staticmethod
    def backward(saved, needs, g):
        shape, widths = saved
        return g[tuple(slice(before, before + n) for (before, _), n in zip(widths, shape, strict=True))]


def pad(input: Any, pad: Any, mode: str = "constant", value: float | None = None) -> Any:
    """Constant padding: pairs (before, after) from the last dimension on; negative widths cut off."""
    if mode != "constant":
        raise NotImplementedError(f"pad(): mode={mode!r} is not supported by tinyrnn; 'constant' is")
    ndim = expect_tensor(input, "pad").array.ndim
    widths = [operator.index(w) for w in pad]
    if len(widths) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if len(widths) > 2 * ndim:
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got "
            f"padding length {len(widths)} "
            f"and input of dimension {ndim}"
        )
    pairs = [(0, 0)] * (ndim - len(widths) // 2) + [tuple(widths[i : i + 2]) for i in range(len(widths) - 2, -1, -2)]
    for d, (before, after) in enumerate(pairs):
        if before < 0 or after < 0:
            n = input.array.shape[d]
            input = narrow(input, d, max(-before, 0), n - max(-before, 0) - max(-after, 0))
    grow = tuple((max(before, 0), max(after, 0)) for before, after in pairs)
    return run(Pad, (input,), (input.array,), widths=grow, value=0 if value is None else value)


@numpy_names
def unique(
    input: Any, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The different elements (or slices along `dim`) in ascending order; with inverse indices and counts on demand."""
    a = expect_tensor(input, "unique").array
    if dim is not None:
        if a.ndim == 0:
            raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
        dim = axis(dim, a.ndim)
        if a.size == 0 and a.shape[dim]:
            raise RuntimeError(
                f"There are 0 sized dimensions, and they aren't selected, so unique cannot be applied (shape "
                f"{list(a.shape)}, dim {dim})"
            )
    values, inverse, counts = np.unique(a, return_inverse=True, return_counts=True, axis=dim)
    inverse = inverse.reshape(a.shape if dim is None else -1)
    found = [
        wrap(values),
        *([wrap(inverse.astype(np.int64))] if return_inverse else ()),
        *([wrap(counts.astype(np.int64))] if return_counts else ()),
    ]
    return found[0] if len(found) == 1 else tuple(found)
