"""Reading and writing by index: slices are views, tensors of indices gather copies."""

from __future__ import annotations

import operator
import warnings
from typing import Any

import numpy as np

from .. import dtypes, return_types
from ..devices import TWO_DEVICES, array_types, check_same, host, of, put
from ..gradients import Part
from ..kernels import twin
from ..kernels.layouts import order_of
from ..strides import at, contiguous, copyto, ordered, overlaps
from ..tape import entitled, is_grad_enabled
from .common import (
    Op,
    TensorBase,
    axis,
    change,
    check_broadcast,
    check_writable,
    converted,
    expect_tensor,
    fresh,
    into,
    numpy_names,
    record,
    run,
    shares,
    wrap,
    write,
)
from .shape import expand, reshape

kernels, selecting = twin("index"), twin("select")
MANY = 1 << 14  # elements that are all written again in less time than some of them


class Slice(Op):
    """Integers, slices, None and Ellipsis: a view."""

    view = bare = True

    @staticmethod
    def forward(a, *, index):
        out = a[index]
        if type(out) not in array_types:  # NumPy gives a number where torch gives a 0-d view
            out = a[(*index, ...)]
        return out, (a.shape, index)

    @staticmethod
    def backward(saved, needs, g):
        return Part(saved[1], g)


class Gather(Op):
    """Arrays of integers in some axes, the same for all others: a copy."""

    @staticmethod
    def forward(a, *, index):
        try:
            out = a[index]
        except IndexError as error:
            index = of_nothing(a.shape, index, error)
            out = a[index]
        simple = a.flags.c_contiguous and all(type(i) is slice or i.ndim < 2 or i.flags.c_contiguous for i in index)
        axes = None if simple else axes_of(a, index, out.shape)
        # NumPy's result may lie in memory in another order than torch's.
        return np.asarray(out, order="C", like=a) if axes is None else ordered(out, axes), (a.shape, index)

    @staticmethod
    def backward(saved, needs, g):
        shape, index = saved
        out = np.zeros(shape, g.dtype, like=g)
        if not g.size:
            return out
        if any(type(i) is slice for i in index):
            rows = np.arange(out.size, like=g).reshape(shape)[index]
        else:
            rows = numbers_of(index, shape)
        width = g.size // rows.size
        if width == 1:
            kernels.scatter_add(out.reshape(-1), rows.reshape(-1), contiguous(g).reshape(-1))
        else:
            kernels.scatter_add_rows(out.reshape(-1, width), rows.reshape(-1), contiguous(g).reshape(-1, width))
        return out


def axes_of(a: np.ndarray, index: tuple, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """How torch's result a[index], of this shape, lies in memory, as strides.ordered takes it: the axes that are left
    of `a` as they lie there, those of the indices as they lie in the first that tells."""
    steps: list[int] = []
    places, dim = [], 0  # where there are indices, counted in the axes that are left
    for i in index:
        if type(i) is slice:
            steps.append(a.strides[dim])
            dim += 1
        else:
            places.append(len(steps))
            dim += i.ndim if i.dtype.kind == "b" else 1
    steps += a.strides[dim:]
    first = places[0] if len(set(places)) == 1 else 0
    last = first + len(shape) - len(steps)
    kept = *steps[:first], *[0] * (last - first), *steps[first:]
    layouts = [(shape, kept)]
    for i in index:
        if type(i) is not slice and i.dtype.kind != "b":
            named = np.broadcast_to(i, shape[first:last]).strides
            layouts.append((shape, (*[0] * first, *named, *[0] * (len(shape) - last))))
    return order_of(shape, *layouts)


def numbers_of(index: tuple, shape: tuple[int, ...]) -> np.ndarray:
    """The numbers, in 64 bits, of the rows that arrays of indices name, counted over the dimensions in front."""
    rows = np.zeros((), np.int64, like=index[0])
    for i, n in zip(index, shape, strict=False):
        rows = rows * n + np.where(i < 0, i + n, i)
    return rows


def of_nothing(shape: tuple[int, ...], index: tuple, error: IndexError) -> tuple:
    """An index in place of one that is out of range, if the result has no elements; else torch's IndexError."""
    allowed = nowhere(index)
    try:
        if np.broadcast_to(np.zeros((), bool), shape)[allowed].size == 0:
            return tuple(np.zeros_like(i) if type(i) in array_types else i for i in index)
    except IndexError:
        pass
    for dim, i in enumerate(index):
        if type(i) in array_types:
            i = host(i)
            wrong = i[(i < -shape[dim]) | (i >= shape[dim])]
            if wrong.size:
                error = IndexError(f"index {wrong.flat[0]} is out of bounds for dimension {dim} with size {shape[dim]}")
                break
    raise error from None


class Put(Op):
    """A copy of a tensor with other values at some places."""

    @staticmethod
    def forward(a, value, *, index):
        out = fresh(a)
        out[index] = value
        return out, (index,)

    @staticmethod
    def backward(saved, needs, g):
        (index,) = saved
        da = g.copy()
        da[index] = 0
        return da, g[index]


class Filled(Op):
    """A copy of a tensor with a number where a mask holds."""

    @staticmethod
    def forward(a, value, *, mask):
        return selecting.where(mask, value, a), (mask,)

    @staticmethod
    def backward(saved, needs, g):
        return selecting.where(saved[0], g.dtype.type(0), g), None


class Added(Op):
    """A copy of a tensor with other values added at some places, as often as an index names them."""

    @staticmethod
    def forward(a, value, *, index):
        out = fresh(a)
        np.add.at(out, index, value)
        return out, (index,)

    @staticmethod
    def backward(saved, needs, g):
        return g, g[saved[0]]


def split_index(a: np.ndarray, index: Any) -> tuple[tuple, tuple | None]:
    """An index as (a basic index, an index with arrays for what that leaves or None).

    torch applies integers and slices first, and tensors of indices to the view that they leave.
    """
    items = list(index) if isinstance(index, tuple) or is_list_of_indices(index) else [index]
    items = [convert_or_error(i) for i in items]
    if isinstance(index, slice) and isinstance(items[0], Exception):
        raise items[0]
    used = sum(
        i.ndim if type(i) in array_types and i.dtype == bool else 1
        for i in items
        if i is not None and i is not Ellipsis
    )
    if used > a.ndim:
        if isinstance(index, slice):
            raise IndexError("slice() cannot be applied to a 0-dim tensor.")
        raise IndexError(
            "invalid index of a 0-dim tensor. Use `tensor.item()` to convert a 0-dim tensor to a Python number"
            if a.ndim == 0 and not isinstance(index, tuple)
            else f"too many indices for tensor of dimension {a.ndim}: {used}"
        )
    at = next((k for k, i in enumerate(items) if i is Ellipsis), len(items))
    again = next((k for k, i in enumerate(items) if i is Ellipsis and k > at), len(items))
    rest = [i for i in items[at + 1 :] if i is not Ellipsis]
    if used < a.ndim and any(i is not Ellipsis for i in items[again:]):
        raise IndexError(f"Dimension out of range: a second ellipsis leaves none of {a.ndim} for what follows")
    basic: list[Any] = []
    advanced: list[Any] = []
    late: IndexError | None = None
    dim = 0
    for i in [*items[:at], *[slice(None)] * (a.ndim - used), *rest]:
        if isinstance(i, IndexError):  # torch looks at tensors after everything else
            late, i = late or i, slice(None)
        if isinstance(i, Exception):
            raise i
        if i is None:
            basic.append(None)
            advanced.append(slice(None))
        elif type(i) in array_types:
            if type(i) is not type(a):
                i = beside(a, i)
            if i.dtype == bool:
                if a.shape[dim : dim + i.ndim] != i.shape:
                    wrong = next(k for k in range(i.ndim) if a.shape[dim + k] != i.shape[k])
                    late = late or IndexError(
                        f"The shape of the mask {list(i.shape)} at index {wrong} does not match the shape of the "
                        f"indexed tensor {list(a.shape)} at index {dim + wrong}"
                    )
                if i.ndim == 0:  # a 0-d mask adds a dimension of size one or none
                    basic.append(None)
                    advanced.append(np.flatnonzero(i))
                    continue
                basic += [slice(None)] * i.ndim
                advanced += selecting.nonzero(i)
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
    if late is not None:
        raise late
    if not any(type(i) in array_types for i in advanced):
        return tuple(basic), None
    while isinstance(advanced[-1], slice):
        advanced.pop()
    return tuple(basic), tuple(advanced)


def is_list_of_indices(index: Any) -> bool:
    """Whether torch takes a list for a tuple: if it is short and has sequences, slices, tensors, None or ... in it."""
    return isinstance(index, list) and len(index) < 32 and any(isinstance(i, INDICES) for i in index)


INDICES = (TensorBase, list, tuple, range, str, np.ndarray, slice, type(None), type(Ellipsis))


def convert_or_error(i: Any) -> Any:
    """`convert`, or the error that it raises, which has its turn when that dimension has."""
    try:
        return convert(i)
    except (TypeError, ValueError, IndexError) as error:
        return error


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
            warnings.warn("indexing with dtype torch.uint8 is now deprecated: use torch.bool", stacklevel=5)
            array = array.astype(bool)
        if array.ndim == 0 and array.dtype.kind == "i":
            return int(array)
        if array.dtype not in (np.int64, np.int32, bool):
            raise IndexError(f"tensors used as indices must be long, int, byte or bool tensors, not {array.dtype}")
        return array
    if isinstance(i, (list, tuple, range, np.ndarray)):
        array = np.asarray(i if isinstance(i, np.ndarray) else [convert_item(x) for x in i])
        if array.ndim == 0 and array.dtype.kind in "iu":
            return int(array)
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
    return host(x.array) if isinstance(x, TensorBase) else x


def beside(a: Any, i: Any) -> Any:
    """An index that is not on the device of the array, brought there."""
    if type(a) is np.ndarray:
        raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
    return put(i, of(a))


def is_plain(index: tuple, shape: tuple[int, ...]) -> bool:
    """Whether an index is but None, ints in range and slices of ints without a step: NumPy reads it as torch does."""
    dim, ndim = 0, len(shape)
    for i in index:
        if i is None:
            continue
        if dim == ndim:
            return False
        if type(i) is slice:
            if i.step is not None or not (type(i.start) in BOUNDS and type(i.stop) in BOUNDS):
                return False
        elif type(i) is not int or not -shape[dim] <= i < shape[dim]:
            return False
        dim += 1
    return True


BOUNDS = (int, type(None))


def parts_of(a: np.ndarray, index: Any) -> tuple[tuple, tuple | None]:
    """split_index, and a quick answer for most indices."""
    if type(index) is int and a.ndim and -a.shape[0] <= index < a.shape[0]:
        return (index,), None
    items = index if type(index) is tuple else (index,)
    if is_plain(items, a.shape):
        return items, None
    if items[0] is Ellipsis or items[-1] is Ellipsis:
        named = items[1:] if items[0] is Ellipsis else items[:-1]
        others = (slice(None),) * (a.ndim - len(named) + sum([i is None for i in named]))
        whole = (*others, *named) if items[0] is Ellipsis else (*named, *others)
        if is_plain(whole, a.shape):
            return whole, None
    if items and len(items) <= a.ndim:
        arrays = []
        for i in items:
            if not isinstance(i, TensorBase):
                break
            i = i.array
            if i.dtype != np.int64 or not i.ndim or type(i) is not type(a):
                break
            arrays.append(i)
        else:
            return (), tuple(arrays)
    return split_index(a, index)


def getitem(input: Any, index: Any) -> Any:
    """input[index], with all of torch's forms of an index."""
    a = input.array
    basic, advanced = parts_of(a, index)
    if advanced is None or basic.count(slice(None)) != len(basic):
        input = record(Slice, (input,), Slice.forward(a, index=basic))
        if advanced is None:
            return input
    return record(Gather, (input,), Gather.forward(input.array, index=advanced), tensors_of(index))


def tensors_of(index: Any) -> list:
    """The tensors in an index."""
    return [i for i in (index if isinstance(index, (tuple, list)) else (index,)) if isinstance(i, TensorBase)]


def setitem(input: Any, index: Any, value: Any, accumulate: bool = False) -> None:
    """input[index] = value (+= for every value, with `accumulate`), with all of torch's forms of an index; the gradient
    goes to what was there and to what is now.
    """
    dtype, lone = input.array.dtype, not isinstance(value, TensorBase)
    if lone:
        if not isinstance(value, (int, float, np.integer)):
            raise TypeError(f"can't assign a {type(value).__name__} to a torch.{dtypes.word(dtype)}Tensor")
        value = wrap(converted(value, dtype, "setitem"))
    recorded = is_grad_enabled() and (input.requires_grad or value.requires_grad)
    if not accumulate and (mask := whole_mask(input, index)) is not None:
        if lone:
            fill(input, index, mask, value)
            return
        if not recorded and written(input, (), (mask,), value):
            return
    if index is False:
        return  # nothing is written, whatever the value's shape
    if index is True:
        index = None
    basic, advanced = parts_of(input.array, index)
    if not (recorded or accumulate) and written(input, basic, advanced, value):
        return
    target = record(Slice, (input,), Slice.forward(input.array, index=basic))
    if target.array.shape == input.array.shape:  # torch writes to the tensor itself, and else to this view
        check_writable(input, value.requires_grad)
    if advanced is None:
        shape = target.array.shape
    else:
        shape = shape_of(target.array.shape, advanced)
        if value.array.dtype != dtype and not (value.array.size == 1 and masks_only(index)):
            raise RuntimeError(
                f"Index put requires the source and destination dtypes match, got {input.dtype} for the destination "
                f"and {value.dtype} for the source."
            )
    if type(value.array) is not type(input.array):
        if advanced is not None and value.array.ndim:
            raise RuntimeError(TWO_DEVICES)
        value = value.to(input.device)
    have = value.array.shape
    while len(have) > len(shape) and have[0] == 1:
        have = have[1:]
    if have != value.array.shape:
        value = reshape(value, have)
    if have != shape and not (lone and advanced is None):  # writing spreads a number by itself
        value = expand(value, shape)
    if advanced is None:
        write(target, value)
    else:
        advanced = places(target.array.shape, advanced)
        array = value.array.astype(dtype, copy=False)
        op, pair = Added if accumulate else Put, (target.array, array)
        besides = tensors_of(index)
        check_writable(target, value.requires_grad)
        here = None if any(shares(target, t) for t in (value, *besides)) else target.array
        write(target, change(here, run, op, (target, value), pair, besides, index=advanced))
        if is_grad_enabled() and input._view is None and target.array.shape == input.array.shape:
            entitled(input, "IndexPutBackward0")


def written(input: Any, basic: tuple, advanced: tuple | None, value: Any) -> bool:
    """Whether `value` was written where an index points: with nothing to record, cast or refuse, it is done at once."""
    a, b = input.array, value.array
    if a.dtype != b.dtype or type(b) is not type(a) or overlaps(a) or (b.ndim and np.may_share_memory(a, b)):
        return False
    check_writable(input, False)
    part = a[(*basic, ...)] if basic else a
    try:
        if advanced is None:
            np.copyto(part, b) if part.size < MANY else copyto(part, b)
        else:
            part[advanced] = b
    except (IndexError, ValueError):  # nothing was written; what torch says to it is said by the long way
        return False
    input.wrote()
    return True


def whole_mask(input: Any, index: Any) -> Any:
    """The mask that an index is, as an array of the tensor's shape; None if it is another index."""
    if not isinstance(index, TensorBase) or index.array.dtype.kind != "b" or type(index.array) is not type(input.array):
        return None
    truth, shape = index.array, input.array.shape
    return truth if truth.shape == shape != () else None


def fill(input: Any, index: Any, mask: np.ndarray, value: Any) -> None:
    """input[index] = value, a number, for the mask of `whole_mask`."""
    check_writable(input, False)
    if is_grad_enabled() and input.requires_grad:
        write(input, run(Filled, (input, None), (input.array, value.array), (index,), mask=mask))
        if input._view is None:
            entitled(input, "IndexPutBackward0")
    else:
        a = input.array
        if type(a) is np.ndarray and a.size >= MANY and a.dtype == value.array.dtype:
            copyto(a, selecting.where(mask, value.array, a))  # on all threads
        else:
            np.copyto(a, value.array, where=mask)
        input.wrote()


def shape_of(shape: tuple[int, ...], index: tuple) -> tuple[int, ...]:
    """The shape that an index with arrays gives, whatever their elements are; IndexError if it does not fit."""
    return np.broadcast_to(np.zeros((), bool), shape)[nowhere(index)].shape


def nowhere(index: tuple) -> tuple:
    """An index with arrays of zeros, on the CPU, in place of its arrays."""
    return tuple(np.zeros(i.shape, np.int64) if type(i) in array_types else i for i in index)


def places(shape: tuple[int, ...], index: tuple) -> tuple:
    """An index with arrays, checked; IndexError if it is out of range, but for a result of no elements."""
    try:
        np.broadcast_to(np.zeros((), bool), shape)[tuple(host(i) if type(i) in array_types else i for i in index)]
        return index
    except IndexError as error:
        return of_nothing(shape, index, error)


def masks_only(index: Any) -> bool:
    """Whether the only tensors of an index are masks: then a lone value is cast, as masked_fill does."""
    items = [convert(i) for i in (index if isinstance(index, tuple) else (index,))]
    return all(i.dtype == bool and i.ndim > 0 for i in items if type(i) in array_types)


@numpy_names
def narrow(input: Any, dim: int, start: Any, length: int) -> Any:
    """The view of `length` slices along `dim`, from `start` on."""
    shape = expect_tensor(input, "narrow").array.shape
    if not shape:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    if isinstance(start, TensorBase) and (start.array.ndim or start.array.dtype.kind not in "iu"):
        raise RuntimeError(
            f"start must be an 0-dim integral Tensor, got shape {list(start.array.shape)} of {start.array.dtype}"
        )
    over, start, length = axis(dim, len(shape)), operator.index(start), operator.index(length)
    n = shape[over]
    if length < 0:
        raise RuntimeError(f"narrow(): length must be non-negative, got {length}.")
    if not -n <= start <= n:
        raise IndexError(f"start out of range (expected to be in range of [{-n}, {n}], but got {start})")
    start += n if start < 0 else 0
    if start + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    index = *(slice(None),) * over, slice(start, start + length)
    return record(Slice, (input,), Slice.forward(input.array, index=index))


@numpy_names
def select(input: Any, dim: int, index: int) -> Any:
    """The slice number `index` along `dim`, as a view."""
    shape, place = expect_tensor(input, "select").array.shape, operator.index(index)
    if not shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    over = axis(dim, len(shape))
    if not -shape[over] <= place < shape[over]:
        raise IndexError(f"select(): index {place} out of range for tensor of size {list(shape)} at dimension {over}")
    return record(Slice, (input,), Slice.forward(input.array, index=(*(slice(None),) * over, place)))


def integers(index: Any, call: str) -> np.ndarray:
    array = expect_tensor(index, call, "index").array
    if array.dtype not in (np.int64, np.int32):
        raise RuntimeError(f"{call}(): Expected dtype int32/int64 for index, got {index.dtype}")
    return array.astype(np.int64, copy=False)


class TakeAlong(Op):
    """The elements that an index names along an axis, which it is as long as the array along all others."""

    @staticmethod
    def forward(a, *, index, axis):
        return kernels.take_along(a, index, axis), (a.shape, index, axis)

    @staticmethod
    def backward(saved, needs, g):
        shape, index, axis = saved
        out = np.zeros(shape, g.dtype, like=g)
        kernels.add_along(out, index, g, axis)
        return out


def everywhere(ids: np.ndarray, shape: tuple[int, ...], over: int) -> np.ndarray:
    """The numbers of slices as an index of every element."""
    shape = shape or (1,)
    if not ids.size:
        return np.empty(shape, np.int64, like=ids)
    ids = contiguous(ids)
    return at(ids, shape, [ids.strides[0] if d == over else 0 for d in range(len(shape))])


@numpy_names
def index_select(input: Any, dim: int, index: Any, *, out: Any = None) -> Any:
    """The slices along `dim` that `index` (a vector of integers) names."""
    shape = expect_tensor(input, "index_select").array.shape
    ids = expect_tensor(index, "index_select", "index").array
    check_same(input.array, ids)
    if ids.ndim > 1:
        raise IndexError(f"index_select(): Index is supposed to be a vector, got shape {list(ids.shape)}")
    ids, over = integers(index, "index_select").reshape(-1), axis(dim, len(shape))
    if not shape and ids.size != 1:
        raise RuntimeError(f"index_select(): Index to scalar can have only 1 value, got {ids.size} value(s)")
    n = shape[over] if shape else 1
    if ids.size and n == 0 and len(shape) > 1:
        raise RuntimeError(f"index_select(): self indexing axis dim should be positive, got shape {list(shape)}")
    wrong = kernels.outside(ids, n)
    if wrong >= 0:
        found = host(ids)[wrong]
        raise IndexError(f"index out of range in self: index_select() got {found} along a dimension of size {n}")
    if not shape:
        return into(out, input.clone(), "index_select", apart=(input, index))
    places = everywhere(ids, (*shape[:over], ids.size, *shape[over + 1 :]), over)
    found = run(TakeAlong, (input,), (input.array,), (index,), index=places, axis=over)
    return into(out, entitled(found, "IndexSelectBackward0"), "index_select", apart=(input, index))


def masked_select(input: Any, mask: Any, *, out: Any = None) -> Any:
    """The elements where `mask` (booleans) holds, as a vector."""
    a, truth = expect_tensor(input, "masked_select").array, expect_tensor(mask, "masked_select", "mask").array
    if truth.dtype != bool:
        raise RuntimeError(f"masked_select: expected BoolTensor for mask, got {mask.dtype}")
    check_same(a, truth)
    shape = check_broadcast(a, truth)
    whole, where = (t if t.array.shape == shape else t.expand(shape) for t in (input, mask))
    found = entitled(getitem(whole, where), "MaskedSelectBackward0")
    return into(out, found, "masked_select", apart=(input, mask))


def nonzero(input: Any, *, as_tuple: bool = False, out: Any = None) -> Any:
    """Where the elements are not zero: (n, ndim) indices, or a tuple of one vector for each dimension."""
    a = expect_tensor(input, "nonzero").array
    if as_tuple:
        if out is not None:
            raise TypeError("nonzero(): argument 'out' is not taken with as_tuple=True")
        return tuple(wrap(i) for i in selecting.nonzero(np.atleast_1d(a)))
    if a.ndim == 0:
        return into(out, wrap(np.argwhere(a)), "nonzero")
    return into(out, wrap(np.stack(selecting.nonzero(a)).transpose()), "nonzero")  # as torch's lies in memory


def unravel_index(indices: Any, shape: Any) -> tuple:
    """The indices into a tensor of `shape` of elements that are counted in order: a tensor for each dimension."""
    ids = expect_tensor(indices, "unravel_index", "indices").array
    if ids.dtype.kind not in "iu":
        raise TypeError(f"expected 'indices' to be integer dtype, but got {indices.dtype}")
    counts = list(shape) if isinstance(shape, (tuple, list)) else [shape]
    for n in counts:
        if not hasattr(n, "__index__"):
            raise TypeError(f"expected 'shape' to be int or sequence of ints, but got {type(n).__name__}")
        if n < 0:
            raise ValueError(f"'shape' cannot have negative values, but got {counts}")
    if ids.size and 0 in counts:
        raise RuntimeError(f"ZeroDivisionError: unravel_index() into a shape without elements, {counts}")
    ids, found = ids.astype(np.int64), []
    for n in reversed(counts):
        found.append(wrap(ids % max(n, 1)))
        ids = ids // max(n, 1)
    return tuple(reversed(found))


Sorted, TopK = return_types.sort, return_types.topk


def one_hot(tensor: Any, num_classes: int = -1) -> Any:
    """int64 rows with a 1 where the index says: (*shape, num_classes); -1 takes the largest index + 1."""
    ids = expect_tensor(tensor, "one_hot", "tensor").array
    if ids.dtype != np.int64:
        raise RuntimeError(f"one_hot is only applicable to index tensor of type LongTensor. Got {tensor.dtype}")
    if ids.size == 0:
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        return wrap(np.zeros((*ids.shape, num_classes), np.int64, like=ids))
    if ids.min() < 0:
        raise RuntimeError("Class values must be non-negative.")
    if num_classes == -1:
        num_classes = int(ids.max()) + 1
    elif ids.max() >= num_classes:
        raise RuntimeError("Class values must be smaller than num_classes.")
    rows = np.zeros((*ids.shape, num_classes), np.int64, like=ids)
    kernels.put_along(rows, ids[..., None], 1, ids.ndim)
    return wrap(rows)


def argwhere(input: Any) -> Any:
    """Where the elements are not zero: (n, ndim) indices."""
    return nonzero(input)
