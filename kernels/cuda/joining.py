"""Arrays put together, repeated, and their elements moved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .answers import as_array, of, on_host, ordered
from .array import Array, download, empty
from .elementwise import assign, copy
from .index import forwards, take


@of(np.concatenate)
def concatenate(
    arrays: Any, /, axis: int | None = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind"
) -> Array:
    arrays = [as_array(a) for a in arrays]
    if axis is None:
        arrays, axis = [a.reshape(-1) for a in arrays], 0
    first = arrays[0]
    if not first.ndim:
        raise ValueError("zero-dimensional arrays cannot be concatenated")
    axis = np.lib.array_utils.normalize_axis_index(axis, first.ndim)
    for k, a in enumerate(arrays):
        if a.ndim != first.ndim:
            raise ValueError(
                "all the input arrays must have same number of dimensions, but the array at index 0 has "
                f"{first.ndim} dimension(s) and the array at index {k} has {a.ndim} dimension(s)"
            )
        for d in range(a.ndim):
            if d != axis and a.shape[d] != first.shape[d]:
                raise ValueError(
                    "all the input array dimensions except for the concatenation axis must match exactly, but along "
                    f"dimension {d}, the array at index 0 has size {first.shape[d]} and the array at index {k} has "
                    f"size {a.shape[d]}"
                )
    shape = (*first.shape[:axis], sum(a.shape[axis] for a in arrays), *first.shape[axis + 1 :])
    if out is None:
        dtype = np.result_type(*[a.dtype for a in arrays]) if dtype is None else dtype
        alike = all(a.flags.f_contiguous and not a.flags.c_contiguous for a in arrays)
        out = ordered(empty, shape, dtype, "F" if alike else "C")
    elif out.shape != shape:
        raise ValueError("Output array is the wrong shape")
    start = 0
    before = (slice(None),) * axis
    for a in arrays:
        assign(out[(*before, slice(start, start + a.shape[axis]))], a)
        start += a.shape[axis]
    return out


@of(np.stack)
def stack(arrays: Any, axis: int = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind") -> Array:
    arrays = [as_array(a) for a in arrays]
    if len({a.shape for a in arrays}) != 1:
        raise ValueError("all input arrays must have the same shape")
    return concatenate([np.expand_dims(a, axis) for a in arrays], axis, out, dtype=dtype)


def joined(make: Any, axis: int) -> Callable:
    def join(arrays: Any, *, dtype: Any = None, casting: str = "same_kind") -> Array:
        arrays = [make(as_array(a)) for a in arrays]
        return concatenate(arrays, 0 if arrays[0].ndim == 1 else axis, dtype=dtype)

    return join


of(np.hstack)(joined(np.atleast_1d, 1))
of(np.vstack)(joined(np.atleast_2d, 0))


@of(np.append)
def append(arr: Any, values: Any, axis: int | None = None) -> Array:
    return concatenate((arr, values), axis)


@of(np.tile)
def tile(a: Array, reps: Any) -> Array:
    reps = (reps,) if isinstance(reps, (int, np.integer)) else tuple(reps)
    shape = (*(1,) * max(0, len(reps) - a.ndim), *a.shape)
    reps = (*(1,) * (len(shape) - len(reps)), *reps)
    parted = a.reshape([x for n in shape for x in (1, n)])
    spread = np.broadcast_to(parted, [x for r, n in zip(reps, shape, strict=True) for x in (r, n)])
    return copy(spread).reshape([r * n for r, n in zip(reps, shape, strict=True)])


@of(np.repeat)
def repeat(a: Array, repeats: Any, axis: int | None = None) -> Array:
    a = as_array(a) if axis is not None else as_array(a).reshape(-1)
    axis = np.lib.array_utils.normalize_axis_index(axis or 0, a.ndim)
    n = a.shape[axis]
    counts = download(repeats) if isinstance(repeats, Array) else np.asarray(repeats)
    if counts.size == 1:
        every = int(counts.reshape(()))
        spread = np.broadcast_to(np.expand_dims(a, axis + 1), (*a.shape[: axis + 1], every, *a.shape[axis + 1 :]))
        return copy(spread).reshape((*a.shape[:axis], n * every, *a.shape[axis + 1 :]))
    return take(a, (*(slice(None),) * axis, np.repeat(np.arange(n), counts)))


@of(np.pad)
def pad(array: Array, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Array:
    """A border of constants; other borders are copies of what places of the host say."""
    widths = np.broadcast_to(np.asarray(pad_width), (array.ndim, 2)).tolist()
    if mode == "constant" and np.ndim(kwargs.get("constant_values", 0)) == 0:
        out = empty([n + a + b for n, (a, b) in zip(array.shape, widths, strict=True)], array.dtype)
        assign(out, kwargs.get("constant_values", 0))
        assign(out[tuple([slice(a, a + n) for n, (a, _) in zip(array.shape, widths, strict=True)])], array)
        return out
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        return on_host(np.pad, (array, pad_width, mode), kwargs)
    for axis, (n, width) in enumerate(zip(array.shape, widths, strict=True)):
        if any(width):
            array = take(array, (*(slice(None),) * axis, np.pad(np.arange(n), width, mode, **kwargs)))
    return array


@of(np.roll)
def roll(a: Array, shift: Any, axis: Any = None) -> Array:
    if axis is None:
        return roll(a.reshape(-1), shift, 0).reshape(a.shape)
    shift, axis = np.broadcast_arrays(shift, axis)
    for by, over in zip(shift.reshape(-1).tolist(), axis.reshape(-1).tolist(), strict=True):
        over = np.lib.array_utils.normalize_axis_index(over, a.ndim)
        n, before = a.shape[over], (slice(None),) * over
        by %= max(n, 1)
        a = concatenate([a[(*before, slice(n - by, n))], a[(*before, slice(0, n - by))]], over)
    return a


@of(np.flip)
def flip(m: Array, axis: Any = None) -> Array:
    """A copy: no kernel walks memory backwards, but this one."""
    axes = range(m.ndim) if axis is None else np.lib.array_utils.normalize_axis_tuple(axis, m.ndim)
    turned = tuple([slice(None, None, -1 if k in axes else 1) for k in range(m.ndim)])
    return forwards(Array(m.block, m.header[(*turned, ...)]))


@of(np.unstack)
def unstack(x: Array, /, *, axis: int = 0) -> tuple[Array, ...]:
    return tuple(np.moveaxis(x, axis, 0))
