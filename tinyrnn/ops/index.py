"""Reading and writing by index: slices are views, tensors of indices gather copies."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from .common import Op, apply, axis, check_writable, expect_tensor, run, wrap, write
from .reduce import Pick, result
from .shape import reshape


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
            raise IndexError(out_of_range(a.shape, index) or str(error)) from None

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


def out_of_range(shape: tuple[int, ...], index: tuple) -> str | None:
    """torch's words for the first index that is out of range."""
    for dim, i in enumerate(index):
        if isinstance(i, np.ndarray):
            wrong = i[(i < -shape[dim]) | (i >= shape[dim])]
            if wrong.size:
                return f"index {wrong.flat[0]} is out of bounds for dimension {dim} with size {shape[dim]}"
    return None


class Put(Op):
    """A copy of a tensor with other values at some places."""

    @staticmethod
    def forward(a, value, *, index, accumulate):
        out = a.copy()
        try:
            if accumulate:
                np.add.at(out, index, value)
            else:
                out[index] = value
        except IndexError as error:
            raise IndexError(out_of_range(a.shape, index) or str(error)) from None
        return out, (index, accumulate)

    @staticmethod
    def backward(saved, needs, g):
        index, accumulate = saved
        da = g
        if not accumulate:
            da = g.copy()
            da[index] = 0
        return da, g[index]


def split_index(a: np.ndarray, index: Any) -> tuple[tuple, tuple | None]:
    """An index as (a basic index, an index with arrays for what that leaves or None).

    torch applies integers and slices first, and tensors of indices to the view that they leave.
    """
    items = list(index) if isinstance(index, tuple) else [index]
    items = [convert(i) for i in items]
    used = sum(
        i.ndim if isinstance(i, np.ndarray) and i.dtype == bool else 1
        for i in items
        if i is not None and i is not Ellipsis
    )
    if used > a.ndim:
        raise IndexError(
            "invalid index of a 0-dim tensor. Use `tensor.item()` to convert a 0-dim tensor to a Python number"
            if a.ndim == 0
            else f"too many indices for tensor of dimension {a.ndim}"
        )
    if sum(i is Ellipsis for i in items) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    if Ellipsis not in [i if not isinstance(i, np.ndarray) else 0 for i in items]:
        items.append(Ellipsis)
    at = next(k for k, i in enumerate(items) if i is Ellipsis)
    items[at : at + 1] = [slice(None)] * (a.ndim - used)
    basic: list[Any] = []
    advanced: list[Any] = []
    dim = 0
    for i in items:
        if i is None:
            basic.append(None)
            advanced.append(slice(None))
        elif isinstance(i, np.ndarray):
            if i.dtype == bool:
                if a.shape[dim : dim + i.ndim] != i.shape:
                    wrong = next(k for k in range(i.ndim) if a.shape[dim + k] != i.shape[k])
                    raise IndexError(
                        f"The shape of the mask {list(i.shape)} at index {wrong} does not match the "
                        "shape of the indexed tensor "
                        f"{list(a.shape)} at index {dim + wrong}"
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


def convert(i: Any) -> Any:
    """One item of an index as an int, a slice of ints, None, Ellipsis, or an array of integers or booleans."""
    if i is None or i is Ellipsis or type(i) is int:
        return i
    if isinstance(i, slice):
        step = 1 if i.step is None else operator.index(i.step)
        if step <= 0:
            raise ValueError("step must be greater than zero")
        start, stop = (None if v is None else operator.index(v) for v in (i.start, i.stop))
        return slice(start, stop, step)
    if isinstance(i, (bool, np.bool_)):
        return np.asarray(i)
    if hasattr(i, "array"):
        array = i.array
        if array.dtype == np.uint8:
            array = array.astype(bool)
        if array.dtype.kind == "f":
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
        return int(array) if array.ndim == 0 and array.dtype.kind in "iu" else array
    if isinstance(i, (list, tuple, range, np.ndarray)):
        array = np.asarray([convert_item(x) for x in i] if not isinstance(i, np.ndarray) else i)
        if array.size == 0:
            array = array.astype(np.int64)
        if array.dtype.kind not in "iub":
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
        return array
    try:
        return operator.index(i)
    except TypeError:
        raise TypeError(
            "only integers, slices (`:`), ellipsis (`...`), None and long or bool Variables are valid indices "
            f"(got {type(i).__name__})"
        ) from None


def convert_item(x: Any) -> Any:
    return x.array if hasattr(x, "array") else x


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
    basic, advanced = split_index(input.array, index)
    check_writable(input, getattr(value, "requires_grad", False))
    target = run(Slice, (input,), (input.array,), index=basic)
    dtype = input.array.dtype
    if not hasattr(value, "array"):
        value = wrap(np.asarray(value, dtype))
    try:
        shape = target.array.shape if advanced is None else target.array[advanced].shape
    except IndexError as error:
        raise IndexError(out_of_range(target.array.shape, advanced or ()) or str(error)) from None
    have = value.array.shape
    while len(have) > len(shape) and have[0] == 1:
        have = have[1:]
    if have != value.array.shape:
        value = reshape(value, have)
    try:
        np.broadcast_to(value.array, shape)
    except ValueError:
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(value.array.shape)} cannot be broadcast to "
            "indexing result of shape "
            f"{list(shape)}"
        ) from None
    if advanced is None:
        write(target, value.expand(shape) if value.array.shape != shape else value)
    else:
        array = value.array.astype(dtype, copy=False)
        write(target, run(Put, (target, value), (target.array, array), index=advanced, accumulate=False))


def narrow(input: Any, dim: int, start: int, length: int) -> Any:
    """The view of `length` slices along `dim`, from `start` on."""
    shape = expect_tensor(input, "narrow").array.shape
    along = axis(dim, len(shape))
    n = shape[along]
    if not -n <= start <= n:
        raise IndexError(f"start out of range (expected to be in range of [{-n}, {n}], but got {start})")
    start += n if start < 0 else 0
    if length < 0 or start + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return run(Slice, (input,), (input.array,), index=(*(slice(None),) * along, slice(start, start + length)))


def select(input: Any, dim: int, index: int) -> Any:
    """The slice number `index` along `dim`, as a view."""
    ndim = expect_tensor(input, "select").array.ndim
    return getitem(input, (*(slice(None),) * axis(dim, ndim), operator.index(index)))


def integers(index: Any, call: str) -> np.ndarray:
    array = expect_tensor(index, call, "index").array
    if array.dtype.kind not in "iu":
        raise RuntimeError(f"{call}(): Expected dtype int32/int64 for index, got {index.dtype}")
    return array


def index_select(input: Any, dim: int, index: Any) -> Any:
    """The slices along `dim` that `index` (a vector of integers) names."""
    ids = integers(index, "index_select").reshape(-1)
    along = axis(dim, expect_tensor(input, "index_select").array.ndim)
    n = input.array.shape[along] if input.array.ndim else 1
    if ids.size and (ids.min() < 0 or ids.max() >= n):
        raise IndexError(f"index out of range in self (index_select along a dimension of size {n})")
    return run(Gather, (input,), (input.array,), index=(*(slice(None),) * along, ids))


def masked_select(input: Any, mask: Any) -> Any:
    """The elements where `mask` (booleans) holds, as a vector."""
    if expect_tensor(mask, "masked_select", "mask").array.dtype != bool:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    shape = np.broadcast_shapes(input.array.shape, mask.array.shape)
    return getitem(input.expand(shape), wrap(np.broadcast_to(mask.array, shape)))


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


def along(a: np.ndarray, dim: int, index: Any, call: str) -> tuple[int, np.ndarray]:
    """Check dim and index of gather and scatter."""
    ids = integers(index, call)
    over = axis(dim, a.ndim)
    if ids.ndim != a.ndim:
        raise RuntimeError(
            f"Index tensor must have the same number of dimensions as input tensor ({call}(): {ids.ndim} and {a.ndim})"
        )
    if any(ids.shape[d] > a.shape[d] for d in range(a.ndim) if d != over) and call == "gather":
        raise RuntimeError(
            "Size does not match at dimension "
            f"{next(d for d in range(a.ndim) if d != over and ids.shape[d] > a.shape[d])} "
            f"expected index {list(ids.shape)} to be no larger than self {list(a.shape)} apart from dimension {over}"
        )
    if ids.size and (ids.min() < 0 or ids.max() >= a.shape[over]):
        wrong = ids[(ids < 0) | (ids >= a.shape[over])].flat[0]
        raise RuntimeError(f"index {wrong} is out of bounds for dimension {over} with size {a.shape[over]}")
    return over, ids.astype(np.int64, copy=False)


def gather(input: Any, dim: int, index: Any) -> Any:
    """out[i, j] = input[index[i, j], j] for dim 0, input[i, index[i, j]] for dim 1, and so on."""
    over, ids = along(expect_tensor(input, "gather").array, dim, index, "gather")
    cut = (
        input[tuple(slice(0, n) if d != over else slice(None) for d, n in enumerate(ids.shape))]
        if ids.ndim
        else reshape(input, 1)
    )
    return run(TakeAlong, (cut,), (cut.array,), index=ids if ids.ndim else ids.reshape(1), axis=over).reshape(ids.shape)


class Scatter(Op):
    """A copy of a tensor with values put at, or added to, the places that an index names along an axis."""

    @staticmethod
    def forward(a, src, *, index, axis, add):
        out = a.copy(order="C")
        part = np.broadcast_to(src, src.shape)[tuple(slice(0, n) for n in index.shape)] if src.ndim else src
        if add:
            add_along(out, index, part.astype(out.dtype, copy=False), axis)
        else:
            np.put_along_axis(
                out[tuple(slice(0, n) if d != axis else slice(None) for d, n in enumerate(index.shape))],
                index,
                part,
                axis,
            )
        return out, (index, axis, add, src.shape)

    @staticmethod
    def backward(saved, needs, g):
        index, axis, add, shape = saved
        cut = tuple(slice(0, n) if d != axis else slice(None) for d, n in enumerate(index.shape))
        da = g
        if not add:
            da = g.copy()
            np.put_along_axis(da[cut], index, 0, axis)
        dsrc = np.take_along_axis(g[cut], index, axis)
        if dsrc.shape != shape and shape:
            whole = np.zeros(shape, g.dtype)
            whole[tuple(slice(0, n) for n in index.shape)] = dsrc
            dsrc = whole
        return da, dsrc


def scatter(input: Any, dim: int, index: Any, src: Any, *, add: bool = False) -> Any:
    """A copy of input with out[index[i, j], j] = src[i, j] for dim 0, and so on; `src` is a tensor or a number."""
    over, ids = along(expect_tensor(input, "scatter").array, dim, index, "scatter")
    if not hasattr(src, "array"):
        return run(
            Scatter, (input, None), (input.array, np.asarray(src, input.array.dtype)), index=ids, axis=over, add=add
        )
    if src.array.dtype != input.array.dtype:
        raise RuntimeError(
            f"scatter(): Expected self.dtype to be equal to src.dtype, got {input.dtype} and {src.dtype}"
        )
    if any(n > m for n, m in zip(ids.shape, src.array.shape, strict=True)):
        raise RuntimeError(f"Expected index {list(ids.shape)} to be no larger than src {list(src.array.shape)}")
    return run(Scatter, (input, src), (input.array, src.array), index=ids, axis=over, add=add)


def scatter_add(input: Any, dim: int, index: Any, src: Any) -> Any:
    """A copy of input with src[i, j] added to out[index[i, j], j] for dim 0, and so on."""
    return scatter(input, dim, index, src, add=True)


def nonzero(input: Any, *, as_tuple: bool = False) -> Any:
    """Where the elements are not zero: (n, ndim) indices, or a tuple of one vector for each dimension."""
    a = expect_tensor(input, "nonzero").array
    if as_tuple:
        return tuple(wrap(i) for i in np.nonzero(np.atleast_1d(a)))
    return wrap(np.argwhere(a))


def in_order(a: np.ndarray, over: int, descending: bool) -> np.ndarray:
    """The stable order of the elements along an axis; NaN counts as the largest."""
    if not descending:
        return np.argsort(a, over, kind="stable")
    flipped = np.flip(a, over)
    return (
        a.shape[over] - 1 - np.flip(np.argsort(flipped, over, kind="stable"), over) if a.size else np.argsort(a, over)
    )


Sorted, TopK = result("sort"), result("topk")


def sort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """(values, indices) in ascending or descending order along `dim`; equal elements keep their order."""
    a = expect_tensor(input, "sort").array
    over = axis(dim, a.ndim)
    if a.ndim == 0:
        return Sorted(input.clone(), wrap(np.zeros((), np.int64)))
    order = in_order(a, over, descending)
    values = np.take_along_axis(a, order, over)
    return Sorted(run(Pick, (input,), (a,), values=values, indices=order, axis=over, keepdim=True), wrap(order))


def argsort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """The indices that sort along `dim`."""
    return sort(input, dim, descending, stable).indices


def topk(input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """(values, indices) of the `k` largest or smallest elements along `dim`, in order."""
    a = expect_tensor(input, "topk").array
    over = axis(dim, a.ndim)
    n = a.shape[over] if a.ndim else 1
    if not 0 <= k <= n:
        raise RuntimeError(f"selected index k out of range (topk(): k={k}, but dimension {over} has size {n})")
    if a.ndim == 0:
        return TopK(input.clone(), wrap(np.zeros((), np.int64)))
    order = in_order(a, over, largest).take(range(k), over)
    values = np.take_along_axis(a, order, over)
    return TopK(run(Pick, (input,), (a,), values=values, indices=order, axis=over, keepdim=True), wrap(order))


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
    if table.ndim != 2:
        raise RuntimeError("'weight' must be 2-D")
    for name, value, plain in (
        ("max_norm", max_norm, None),
        ("scale_grad_by_freq", scale_grad_by_freq, False),
        ("sparse", sparse, False),
    ):
        if value is not plain and value != plain:
            raise NotImplementedError(f"embedding(): {name}={value!r} is not supported by tinyrnn")
    if padding_idx is not None:
        if not -table.shape[0] <= padding_idx < table.shape[0]:
            raise AssertionError("Padding_idx must be within num_embeddings")
        padding_idx %= table.shape[0]
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
        return np.pad(a, widths, constant_values=value), (a.shape, widths)

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


def unique(
    input: Any, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The different elements (or slices along `dim`) in ascending order; with inverse indices and counts on demand."""
    values, inverse, counts = np.unique(
        expect_tensor(input, "unique").array, return_inverse=True, return_counts=True, axis=dim
    )
    inverse = inverse.reshape(input.array.shape if dim is None else -1)
    found = [
        wrap(values),
        *([wrap(inverse.astype(np.int64))] if return_inverse else ()),
        *([wrap(counts.astype(np.int64))] if return_counts else ()),
    ]
    return found[0] if len(found) == 1 else tuple(found)
