"""Which elements: by a condition, by position, in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import elementwise, index
from .answers import TWO_DEVICES, as_array, given, of, on_host
from .array import Array, zeros
from .elementwise import assign
from .index import take
from .indices import flat_nonzero, nonzero, ramp, unraveled
from .joining import stack


@of(np.where)
def where(condition: Any, *choices: Any) -> Any:
    return elementwise.where(as_array(condition), *choices) if choices else nonzero(as_array(condition))


@of(np.copyto)
def copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    if not isinstance(dst, Array):
        raise RuntimeError(TWO_DEVICES)
    if isinstance(src, Array) and not np.can_cast(src.dtype, dst.dtype, casting):
        raise TypeError(f"Cannot cast array data from {src.dtype!r} to {dst.dtype!r} according to the rule '{casting}'")
    if where is not True:
        src = elementwise.where(as_array(where), index.as_value(src, dst.dtype), dst)
    assign(dst, src)


@of(np.take)
def take_function(a: Any, indices: Any, axis: int | None = None, out: Any = None, mode: str = "raise") -> Array:
    a = as_array(a) if axis is not None else as_array(a).reshape(-1)
    over = np.lib.array_utils.normalize_axis_index(axis or 0, a.ndim)
    indices = indices if isinstance(indices, Array) else np.asarray(indices)
    if mode == "clip":
        indices = np.clip(indices, 0, max(a.shape[over] - 1, 0))
    elif mode == "wrap":
        indices = indices % max(a.shape[over], 1)
    return given(take(a, (*(slice(None),) * over, indices)), out)


of(np.take_along_axis)(lambda arr, indices, axis=-1: index.take_along(as_array(arr), indices, axis))
of(np.put_along_axis)(lambda arr, indices, values, axis: index.put_along(arr, indices, values, axis))
of(np.nonzero)(lambda a: nonzero(as_array(a)))
of(np.flatnonzero)(lambda a: flat_nonzero(as_array(a)))
of(np.unravel_index)(lambda indices, shape, order="C": unraveled(indices, tuple(shape)))


@of(np.ravel_multi_index)
def ravel_multi_index(multi_index: Any, dims: Any, mode: Any = "raise", order: str = "C") -> Array:
    if mode != "raise" or order != "C":
        return on_host(np.ravel_multi_index, (multi_index, dims, mode, order), {})
    return index.raveled(tuple(multi_index), tuple(dims))


@of(np.argwhere)
def argwhere(a: Array) -> Array:
    if not a.ndim:
        return argwhere(a[None])[:, :0]
    return stack(nonzero(a)).T


@of(np.ix_)
def ix(*args: Any) -> tuple:
    """Each vector along an axis of its own."""
    out = []
    for k, a in enumerate(args):
        a = a if isinstance(a, Array) else np.asarray(a)
        if a.dtype.kind == "b":
            (a,) = a.nonzero()
        out.append(a.reshape([-1 if d == k else 1 for d in range(len(args))]))
    return tuple(out)


@of(np.fill_diagonal)
def fill_diagonal(a: Array, val: Any, wrap: bool = False) -> None:
    if a.ndim < 2:
        raise ValueError("array must be at least 2-d")
    if a.ndim > 2 and len(set(a.shape)) != 1:
        raise ValueError("All dimensions of input must be of equal length")
    rows, columns = a.shape[0], a.shape[-1]
    steps = range(0, rows, columns + 1) if wrap and a.ndim == 2 and columns else range(1)
    for first in steps:
        part = a[first:]
        n = min(part.shape)
        if n:
            assign(part.at((n,), (sum(part.strides),)), val)


def half(name: str) -> Callable:
    """np.tril and np.triu."""

    def cut(m: Array, k: int = 0) -> Array:
        m = m if m.ndim > 1 else np.broadcast_to(m, (len(m), len(m)))
        rows, columns = ramp(m.shape[-2], k)[:, None], ramp(m.shape[-1])
        inside = rows >= columns if name == "tril" else rows <= columns
        return elementwise.where(inside, m, m.dtype.type(0))

    return cut


of(np.tril)(half("tril"))
of(np.triu)(half("triu"))


@of(np.bincount)
def bincount(x: Array, /, weights: Any = None, minlength: int = 0) -> Array:
    """How often each number from 0 on occurs, or the sum of its weights."""
    if x.ndim != 1:
        raise ValueError(
            "object too deep for desired array" if x.ndim else "object of too small depth for desired array"
        )
    if x.dtype.kind not in "iub":
        raise TypeError(f"Cannot cast array data from {x.dtype!r} to dtype('int64') according to the rule 'safe'")
    size = max(int(x.max()) + 1, minlength) if x.size else minlength
    if x.size and int(x.min()) < 0:
        raise ValueError("'list' argument must have no negative elements")
    out = zeros(size, np.int64 if weights is None else np.float64)
    index.at(np.add, out, x.astype(np.int64, copy=False), 1 if weights is None else as_array(weights))
    return out


# ------------------------------------------------------------------------------------------ order
@of(np.argsort)
def argsort(a: Any, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Array:
    a = as_array(a) if axis is not None else as_array(a).reshape(-1)
    return index.argsort(a, -1 if axis is None else axis)


@of(np.sort)
def sort(a: Any, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Array:
    a = as_array(a) if axis is not None else as_array(a).reshape(-1)
    axis = -1 if axis is None else axis
    return index.take_along(a, index.argsort(a, axis), axis)


@of(np.argpartition)
def argpartition(a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: Any = None) -> Array:
    """All in order, which every `kth` allows."""
    return argsort(a, axis)


@of(np.partition)
def partition(a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: Any = None) -> Array:
    return sort(a, axis)
