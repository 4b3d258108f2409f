"""Reduce: sums, extrema and logsumexp along axes, always in the same order.

    sum(a, axes)          -> a without `axes`
    extreme(a, axis, max) -> (values, indices) without `axis`; the first NaN wins, as in torch
    logsumexp(a, axis)    -> a without `axis`

Each kernel sees the array as (outer, reduced, inner), contiguous.  Sums of floating-point numbers are kept in
float64 and rounded once.
"""

from __future__ import annotations

import math

import numpy as np

from .jit import njit


def _fold(a: np.ndarray, axes: tuple[int, ...]) -> tuple[np.ndarray, tuple[int, ...]]:
    """`a` as (outer, reduced, inner), and the shape of the result; copies unless `axes` lie together."""
    shape = tuple(n for i, n in enumerate(a.shape) if i not in axes)
    first, last = axes[0], axes[-1]
    if last - first + 1 != len(axes):
        a = a.transpose([i for i in range(a.ndim) if i not in axes] + list(axes))
        first, last = a.ndim - len(axes), a.ndim - 1
    sizes = [math.prod(part) for part in (a.shape[:first], a.shape[first : last + 1], a.shape[last + 1 :])]
    return np.ascontiguousarray(a).reshape(sizes), shape


@njit
def _sum(a, out):
    """out[o, i] = the sum of a[o, :, i]."""
    outer, n, inner = a.shape
    if inner == 1:
        for o in range(outer):
            s0 = s1 = s2 = s3 = 0.0
            whole = n - n % 4
            for k in range(0, whole, 4):
                s0 += a[o, k, 0]
                s1 += a[o, k + 1, 0]
                s2 += a[o, k + 2, 0]
                s3 += a[o, k + 3, 0]
            for k in range(whole, n):
                s0 += a[o, k, 0]
            out[o, 0] = (s0 + s1) + (s2 + s3)
        return
    total = np.empty(inner, np.float64)
    for o in range(outer):
        total[:] = 0.0
        for k in range(n):
            for i in range(inner):
                total[i] += a[o, k, i]
        for i in range(inner):
            out[o, i] = total[i]


def sum(a: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The sum over `axes` (sorted, not negative); integers and booleans add up to int64."""
    if a.dtype.kind != "f":
        return np.asarray(np.add.reduce(a, axes, dtype=np.int64))
    if not axes:
        return np.array(a)
    folded, shape = _fold(a, axes)
    out = np.empty((folded.shape[0], folded.shape[2]), a.dtype)
    _sum(folded, out)
    return out.reshape(shape)


@njit
def _extreme(a, values, indices, largest):
    outer, n, inner = a.shape
    for o in range(outer):
        for i in range(inner):
            best, where = a[o, 0, i], 0
            for k in range(1, n):
                x = a[o, k, i]
                if best == best and (x != x or (x > best if largest else x < best)):
                    best, where = x, k
            values[o, i] = best
            indices[o, i] = where


def extreme(a: np.ndarray, axis: int, largest: bool) -> tuple[np.ndarray, np.ndarray]:
    """The largest or smallest elements along `axis`, and where they are (the first of equals)."""
    folded, shape = _fold(a, (axis,))
    values = np.empty((folded.shape[0], folded.shape[2]), a.dtype)
    indices = np.empty(values.shape, np.int64)
    _extreme(folded, values, indices, largest)
    return values.reshape(shape), indices.reshape(shape)


@njit
def _logsumexp(a, out):
    outer, n, inner = a.shape
    for o in range(outer):
        for i in range(inner):
            top = -np.inf
            for k in range(n):
                top = max(top, a[o, k, i]) if a[o, k, i] == a[o, k, i] else np.nan
                if top != top:
                    break
            if not np.isfinite(top):
                out[o, i] = top
                continue
            total = 0.0
            for k in range(n):
                total += math.exp(a[o, k, i] - top)
            out[o, i] = top + math.log(total)


def logsumexp(a: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """log of the sum of exponentials over `axes`, with no overflow."""
    folded, shape = _fold(a, axes)
    out = np.empty((folded.shape[0], folded.shape[2]), a.dtype)
    _logsumexp(folded, out)
    return out.reshape(shape)
