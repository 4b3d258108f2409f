"""Index: reading and writing by arrays of indices, and adding up where several go to one place.

    gather_rows, scatter_add_rows, scatter_add      the twins of kernels.cpu.index
    take(a, index), put(a, index, value)            a[index] and a[index] = value, by NumPy's rules
    at(ufunc, a, index, value)                      ufunc.at(a, index, value)
    take_along(a, ids, axis), put_along(a, ids, value, axis)
    raveled(index, shape), argsort(a, axis)

Where several values go to one place, radix sort brings them together, in the order in which they came.  Of values that
are put the last one stays.  Values that are added are summed up in pieces of the sorted order, each by a thread,
and what the pieces say of one place is added from left to right: as parallel when all go to one place as when each
goes to its own, and with the same bits in every run.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from .array import Array, download, empty, upload, zeros
from .elementwise import assign, copy, where
from .index_kernels import (
    combiners,
    coordinate,
    each,
    encoder,
    examples,
    last_of_equal,
    locate,
    lowest,
    movers,
    plan,
    steps_of,
    walked,
)
from .indices import Index, as_ids, check_host, check_mask, is_mask, ramp, understood
from .radix import ordered

__all__ = [
    "at",
    "argsort",
    "examples",
    "forwards",
    "gather_rows",
    "put",
    "put_along",
    "raveled",
    "scatter_add",
    "scatter_add_rows",
    "take",
    "take_along",
]

FAR = 2**62  # more than any index
MANY, SHORTEST, LONGEST = 1 << 20, 8, 64  # numbers to be added up; of these a thread's, at least and at most
COMBINED = {np.add: "add", np.multiply: "multiply", np.maximum: "maximum", np.minimum: "minimum"}


# ------------------------------------------------------------------------------------------ reading
def take(a: Array, index: Any, sure: bool = False) -> Array:
    """a[index]; `sure`: see `understood`."""
    found = understood(a, index, sure)
    view, shape = found.view, found.shape
    if not found.ids:  # integers alone
        return copy(view)
    if len(found.ids) > 1 or not math.prod(shape):
        ids, n, step = located(found, steps_of(view)), FAR, 1
        found.sure = True
    else:
        (ids,), (axis,) = found.ids, found.axes
        n, step = view.shape[axis], steps_of(view)[axis]
    walk = walked(shape, found.steps(), found.along_lot(ids))
    if walk is None:
        return take(copy(a), index, sure)
    out, wrong = read(view, shape, walk, ids, n, step)
    found.check(wrong)
    return out


def read(a: Array, shape: tuple[int, ...], walk: tuple, ids: Array, n: int, step: int) -> tuple[Array, Array]:
    """The elements that `gather` finds in an array, in a new one; and whether an index was wrong, not 0 if so."""
    out, wrong = empty(shape, a.dtype), zeros(1, np.int64)
    if out.size:
        address, start = lowest(a)
        movers(a.itemsize).gather.launch(*plan(walk[0]), address, start, ids, n, step, *walk, out, wrong)
    return out, wrong


def forwards(a: Array) -> Array:
    """A copy of an array, whose axes may go backwards in memory."""
    walk = walked(a.shape, steps_of(a), (0,) * a.ndim)
    if walk is None:
        backwards = [axis for axis, step in enumerate(a.strides) if step < 0]
        return upload(np.flip(download(Array(a.block, np.flip(a.header, backwards))), backwards))
    return read(a, a.shape, walk, zeros(1, np.int64), FAR, 1)[0]


def located(index: Index, steps: tuple[int, ...]) -> Array:
    """Where the elements that the arrays name are, with such steps along the axes; raises IndexError."""
    out, wrong = empty(index.lot, np.int64), zeros(1, np.int64)
    if not out.size:
        return out
    for k, (ids, axis) in enumerate(zip(index.ids, index.axes, strict=True)):
        add_located(out, ids, index.view.shape[axis], steps[axis], k == 0, wrong)
    index.check(wrong)
    return out


def add_located(out: Array, ids: Array, n: int, step: int, first: bool, wrong: Array, around: bool = True) -> None:
    """Add the step times each index to `out`, or put it there; see `locate`."""
    walk = walked(out.shape, steps_of(ids, out.shape))
    if walk is None:
        ids = copy(np.broadcast_to(ids, out.shape))
        walk = walked(out.shape, steps_of(ids))
    locate.launch(*plan(walk[0]), ids, n, step, around, first, *walk, out, wrong)


def take_along(a: Array, ids: Any, axis: int | None) -> Array:
    """np.take_along_axis."""
    if axis is None:
        return take_along(a.reshape(-1), ids, 0)
    axis, ids, shape = check_along(a, ids, axis)
    if (
        ids.shape[:axis] + ids.shape[axis + 1 :] == a.shape[:axis] + a.shape[axis + 1 :]
        and (numbers := slices(ids, axis)) is not None
    ):
        return take(a, (*(slice(None),) * axis, numbers))
    n, step = a.shape[axis], steps_of(a)[axis]
    edge = a.at((*a.shape[:axis], 1, *a.shape[axis + 1 :]), a.strides)
    walk = walked(shape, steps_of(edge, shape), steps_of(ids, shape))
    if walk is None:
        whole = np.broadcast_to(a, (*shape[:axis], n, *shape[axis + 1 :]))
        return take_along(copy(whole), copy(np.broadcast_to(ids, shape)), axis)
    out, wrong = read(a, shape, walk, ids, n, step)
    if wrong:
        check_host(download(ids), n, axis)
    return out


def slices(ids: Array, axis: int) -> Array | None:
    """The vector of indices, if they are the same wherever one looks along `axis`."""
    same = all(s == 0 or n == 1 for d, (s, n) in enumerate(zip(ids.strides, ids.shape, strict=True)) if d != axis)
    return ids[tuple([slice(None) if d == axis else 0 for d in range(ids.ndim)])] if same and ids.size else None


def check_along(a: Array, ids: Any, axis: int) -> tuple[int, Array, tuple[int, ...]]:
    """The axis, the indices on the device, and the shape of the result of take_along_axis."""
    if ids.dtype.kind not in "iu":
        raise IndexError("`indices` must be an integer array")
    if ids.ndim != a.ndim:
        raise ValueError("`indices` and `arr` must have the same number of dimensions")
    axis = np.lib.array_utils.normalize_axis_index(axis, a.ndim)
    shape = np.broadcast_shapes(ids.shape, (*a.shape[:axis], 1, *a.shape[axis + 1 :]))
    return axis, as_ids(ids), shape


# ------------------------------------------------------------------------------------------ writing
def put(a: Array, index: Any, value: Any) -> None:
    """a[index] = value; of several values for one place the last one."""
    if isinstance(index, Array) and is_mask(index) and 0 < index.ndim <= a.ndim and np.ndim(value) == 0:
        check_mask(a, index, 0)
        mask = index[(..., *(None,) * (a.ndim - index.ndim))]
        assign(a, where(mask, as_value(value, a.dtype), a))
    else:
        scattered(understood(a, index), value)


def put_along(a: Array, ids: Any, value: Any, axis: int | None) -> None:
    """np.put_along_axis."""
    if axis is None:
        raise TypeError("put_along_axis: an array on the device needs an axis")
    axis, ids, _ = check_along(a, ids, axis)
    others = [ramp(n).reshape([-1 if d == k else 1 for d in range(a.ndim)]) for k, n in enumerate(a.shape)]
    scattered(understood(a, (*others[:axis], ids, *others[axis + 1 :])), value)


def as_value(value: Any, dtype: np.dtype) -> Array:
    """A value of that type, on the device."""
    if isinstance(value, Array):
        return value.astype(dtype, copy=False)
    if np.ndim(value):
        return upload(np.asarray(value).astype(dtype, copy=False))
    out = empty((), dtype)
    assign(out, value)
    return out


def scattered(index: Index, value: Any) -> None:
    view, shape = index.view, index.shape
    if not index.ids:
        return assign(view, value)
    value = as_value(value, view.dtype)
    while value.ndim > len(shape) and value.shape[0] == 1:
        value = value[0]
    try:
        np.broadcast_to(value.header, shape)
    except ValueError:
        raise ValueError(
            f"shape mismatch: value array of shape {value.shape} could not be broadcast to indexing result of shape "
            f"{shape}"
        ) from None
    keys, step, bits = keys_of(index)
    if not math.prod(shape):
        return
    if overlap(value, view):
        value = copy(value)
    walk = walked(shape, index.steps(), index.along_lot(keys), steps_of(value, shape))
    if walk is None:
        whole, value = copy(view), copy(np.broadcast_to(value, shape))
        scattered(replace(index, view=whole), value)
        assign(view, whole)
        return
    choosy = not index.distinct and value.size > 1
    kept = last_ones(keys, bits) if choosy else zeros(1, bool)
    address, start = lowest(view)
    movers(view.itemsize).scatter.launch(*plan(walk[0]), address, start, keys, step, kept, choosy, *walk, value)


def overlap(a: Array, b: Array) -> bool:
    return np.may_share_memory(a.header, b.header)


def keys_of(index: Index) -> tuple[Array, int, int]:
    """A number for each place that the arrays name; the step from one to the next; how many bits of them differ."""
    sizes, steps = index.view.shape, steps_of(index.view)
    step = math.gcd(*[steps[axis] for axis in index.axes if sizes[axis] > 1]) or 1
    steps = tuple([s // step for s in steps])
    far = sum(max(sizes[axis] - 1, 0) * abs(steps[axis]) for axis in index.axes)
    return located(index, steps), step, far.bit_length() + any(steps[axis] < 0 for axis in index.axes)


def last_ones(keys: Array, bits: int) -> Array:
    """Which keys are not followed by an equal one."""
    order, in_order = ordered(keys.reshape(-1), bits)
    out = empty(order.size, bool)
    each(last_of_equal, out.size, in_order, order, out.size, out)
    return out


# ------------------------------------------------------------------------------------------ adding up
def at(ufunc: np.ufunc, a: Array, index: Any, value: Any, sure: bool = False) -> None:
    """ufunc.at(a, index, value) for add, multiply, maximum, minimum; `sure`: see `understood`."""
    combined(ufunc, understood(a, index, sure), value)


def combined(ufunc: np.ufunc, index: Index, value: Any) -> None:
    view, dtype = index.view, index.view.dtype
    if not index.ids:
        ufunc(view, value, out=view)
        return
    if not np.can_cast(kind := np.result_type(value), dtype, "same_kind"):
        raise TypeError(
            f"Cannot cast ufunc '{ufunc.__name__}' output from {kind!r} to {dtype!r} with casting rule 'same_kind'"
        )
    value = np.broadcast_to(as_value(value, dtype), index.shape)
    keys, step, bits = keys_of(index)
    width = math.prod(index.sizes_of_others)
    if not keys.size * width:
        return
    walk = walked(index.sizes_of_others, index.steps_of_others)
    if walk is None:
        whole = copy(view)
        combined(ufunc, replace(index, view=whole), value)
        assign(view, whole)
        return
    value = np.moveaxis(value, range(index.place, index.place + len(index.lot)), range(len(index.lot)))
    if not value.flags.c_contiguous or overlap(value, view):
        value = copy(value)
    name = COMBINED[ufunc]
    if dtype.kind == "b":  # truth values add up to whether one holds
        name = {"add": "maximum", "multiply": "minimum"}.get(name, name)
    kernels = combiners(name, dtype)
    order, keys = ordered(keys.reshape(-1), bits)
    n = keys.size
    long = length(n, width)
    pieces = -(-n // long)
    seams = empty((pieces, 2, width) if pieces > 1 else 1, dtype)
    where_to = (*lowest(view), *walk, seams)
    each(kernels.within, pieces * width, keys, step, order, n, long, width, value, *where_to)
    each(kernels.across, (pieces - 1) * width, keys, step, n, long, width, *where_to)


def length(n: int, width: int) -> int:
    """How many of n rows of values one thread adds up: few, if there are not many."""
    return min(LONGEST, max(SHORTEST, 1 << (n * width // MANY).bit_length()))


# ------------------------------------------------------------------------------------------ kernels.cpu.index
def gather_rows(table: Array, ids: Array) -> Array:
    return take(table, ids, sure=True)


def scatter_add_rows(out: Array, ids: Array, g: Array) -> None:
    at(np.add, out, ids, g, sure=True)


def add_bags(table: Array, ids: Array, bags: Array, count: int, weights: Array | None) -> Array:
    rows, out = gather_rows(table, ids), np.zeros((count, table.shape[1]), table.dtype, like=table)
    scatter_add_rows(out, bags, rows if weights is None else rows * weights[:, None])
    return out


def scatter_add(out: Array, positions: Array, g: Array) -> None:
    at(np.add, out, positions, g, sure=True)


def add_along(out: Array, ids: Array, g: Array, axis: int) -> None:
    """out[i, ids[i, k, j], j] += g[i, k, j] for axis 1, and so on; `out` may be longer than `ids` along other axes."""
    g = np.broadcast_to(g, ids.shape)
    ndim = ids.ndim
    if (
        ids.shape[:axis] + ids.shape[axis + 1 :] == out.shape[:axis] + out.shape[axis + 1 :]
        and (numbers := slices(ids, axis)) is not None
    ):
        at(np.add, out, (*(slice(None),) * axis, numbers), g, sure=True)
        return
    places = [ramp(n).reshape([-1 if d == k else 1 for d in range(ndim)]) for k, n in enumerate(ids.shape)]
    places[axis] = ids
    at(np.add, out, tuple(places), g, sure=True)


# ------------------------------------------------------------------------------------------ positions
def raveled(index: tuple, shape: tuple[int, ...]) -> Array:
    """np.ravel_multi_index: arrays of either device."""
    if len(index) != len(shape):
        raise ValueError(f"parameter multi_index must be a sequence of length {len(shape)}")
    ids = [as_ids(i if isinstance(i, Array) else np.asarray(i)) for i in index]
    out, wrong = empty(np.broadcast_shapes(*[i.shape for i in ids]), np.int64), zeros(1, np.int64)
    if out.size:
        below = math.prod(shape)
        for k, (i, n) in enumerate(zip(ids, shape, strict=True)):
            below //= max(n, 1)
            add_located(out, i, n, below, k == 0, wrong, around=False)
        if wrong:
            raise ValueError("invalid entry in coordinates array")
    return out


# ------------------------------------------------------------------------------------------ order
def argsort(a: Array, axis: int = -1) -> Array:
    """Where the elements along an axis are in ascending order, NaN last; equal ones stay in order."""
    rows = np.moveaxis(a, axis, -1)
    n = rows.shape[-1]
    if not rows.size:
        return empty(a.shape, np.int64)
    dense = rows if rows.flags.c_contiguous else copy(rows)
    keys = empty(dense.size, np.int64)
    each(encoder(a.dtype), dense.size, dense.view(f"i{a.itemsize}"), dense.size, keys)
    order, _ = ordered(keys, 8 * a.itemsize)
    many = a.size // n
    if many > 1:  # row after row, each in the order of all
        row = empty(order.size, np.int64)
        each(coordinate, order.size, order, order.size, n, many, row)
        flat, _ = ordered(row, (many - 1).bit_length(), order)
        order = empty(flat.size, np.int64)
        each(coordinate, flat.size, flat, flat.size, 1, n, order)
    order = np.moveaxis(order.reshape(rows.shape), -1, axis)
    return order if order.flags.c_contiguous else copy(order)
