"""Scan: running sums, products and extrema along an axis, each of them in order.

    cumulative(name, a, axis, dtype)  -> the running sums ("cumsum") or products ("cumprod") of `a` as `dtype`, its own
                                         if it is floating-point
    extremes(a, axis, largest)        -> the largest or smallest elements so far, and where they are: the last of
                                         equals, or the last NaN

An array is taken as (outer, n, inner), the axis in the middle; results are contiguous.  Sums and products are kept in
float64 and rounded for each element, as torch does.  Threads divide the rows, ABREAST of them at a time, whose chains
of additions do not wait for one another; or, where inner numbers are neighbours, blocks of WIDTH columns.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace

import numpy as np
from numba import float64, int64

from .arrays import data, extent, stride
from .copies import contiguous, folded
from .jit import inlined, kernel, njit
from .pool import split
from .simd import get, lanes, load_next, lower, narrowed, put, splat, store_next, upper

ABREAST, WIDTH, FEW = 4, 64, 8
LEAST = 10_000  # numbers that are some 10 microseconds of work
UFUNCS = {"cumsum": np.cumsum, "cumprod": np.cumprod}


def fold(a: np.ndarray, axis: int) -> np.ndarray:
    """`a` as (outer, n, inner): a view, or a copy where there is none."""
    view = folded(a, axis)
    return folded(contiguous(a), axis) if view is None else view  # type: ignore[return-value]


@inlined
def begin(r, inner, outer_step, inner_step):
    """Where row r begins, in bytes."""
    return r // inner * outer_step + r % inner * inner_step


@functools.cache
def kernels(real, product: bool) -> SimpleNamespace:
    """The kernels for sums or products of numpy.float32 or numpy.float64."""
    L, S, start = lanes(real), real().itemsize, float(product)

    @kernel
    def rows(first, last, n, inner, a, outer_step, step, inner_step, out):
        for r in range(first, last, ABREAST):
            r1, r2, r3 = min(r + 1, last - 1), min(r + 2, last - 1), min(r + 3, last - 1)
            p0, q0 = a + begin(r, inner, outer_step, inner_step), out + begin(r, inner, S * n * inner, S)
            p1, q1 = a + begin(r1, inner, outer_step, inner_step), out + begin(r1, inner, S * n * inner, S)
            p2, q2 = a + begin(r2, inner, outer_step, inner_step), out + begin(r2, inner, S * n * inner, S)
            p3, q3 = a + begin(r3, inner, outer_step, inner_step), out + begin(r3, inner, S * n * inner, S)
            s0 = s1 = s2 = s3 = start
            for k in range(n):
                v0, v1 = float64(get(real, p0 + step * k)), float64(get(real, p1 + step * k))
                v2, v3 = float64(get(real, p2 + step * k)), float64(get(real, p3 + step * k))
                if product:
                    s0, s1, s2, s3 = s0 * v0, s1 * v1, s2 * v2, s3 * v3
                else:
                    s0, s1, s2, s3 = s0 + v0, s1 + v1, s2 + v2, s3 + v3
                to = S * inner * k
                put(real, q0 + to, real(s0))
                put(real, q1 + to, real(s1))
                put(real, q2 + to, real(s2))
                put(real, q3 + to, real(s3))

    @kernel
    def columns(first, last, n, inner, a, outer_step, step, out):
        across = (inner + WIDTH - 1) // WIDTH
        for unit in range(first, last):
            outer, left = unit // across, unit % across * WIDTH
            right = min(inner, left + WIDTH)
            for j in range(left, right, L):
                p, q = a + outer * outer_step + S * j, out + S * (outer * n * inner + j)
                s0 = s1 = splat(float64, start)
                for k in range(n):
                    v = load_next(real, p + step * k, S, right - j)
                    if product:
                        s0, s1 = s0 * lower(v), s1 * upper(v)
                    else:
                        s0, s1 = s0 + lower(v), s1 + upper(v)
                    store_next(real, q + S * inner * k, narrowed(real, s0, s1), right - j)

    all_rows, all_columns = split(rows), split(columns)

    @njit
    def scan(a, out):
        outer, n, inner = extent(a, 0), extent(a, 1), extent(a, 2)
        if stride(a, 2) == S and inner >= L // 2:
            units = outer * ((inner + WIDTH - 1) // WIDTH)
            all_columns(
                units, LEAST // (n * min(inner, WIDTH)), 1, n, inner, data(a), stride(a, 0), stride(a, 1), data(out)
            )
        else:
            all_rows(
                outer * inner, LEAST // n, ABREAST, n, inner, data(a), stride(a, 0), stride(a, 1), stride(a, 2),
                data(out),
            )  # fmt: skip

    return SimpleNamespace(scan=scan)


@functools.cache
def extreme_kernels(real, largest: bool) -> SimpleNamespace:
    """The kernels for the largest or the smallest of numpy.float32 or numpy.float64."""
    S = real().itemsize

    @kernel
    def rows(first, last, n, inner, a, outer_step, step, inner_step, values, places):
        for r in range(first, last):
            p, at = a + begin(r, inner, outer_step, inner_step), begin(r, inner, n * inner, 1)
            best, place, k = get(real, p), 0, 0
            while k < n:
                v = get(real, p + step * k)
                if v != v:
                    break
                if v >= best if largest else v <= best:
                    place = k
                best = (best if best > v else v) if largest else (best if best < v else v)  # one instruction
                put(real, values + S * (at + inner * k), best)
                put(int64, places + 8 * (at + inner * k), place)
                k += 1
            for last_nan in range(k, n):
                v = get(real, p + step * last_nan)
                if v != v:
                    best, place = v, last_nan
                put(real, values + S * (at + inner * last_nan), best)
                put(int64, places + 8 * (at + inner * last_nan), place)

    @kernel
    def columns(first, last, n, inner, a, outer_step, step, inner_step, values, places):
        across = (inner + WIDTH - 1) // WIDTH
        for unit in range(first, last):
            outer, left = unit // across, unit % across * WIDTH
            p, at = a + outer * outer_step, outer * n * inner
            for j in range(left, min(inner, left + WIDTH)):
                put(real, values + S * (at + j), get(real, p + inner_step * j))
                put(int64, places + 8 * (at + j), 0)
            for k in range(1, n):
                for j in range(left, min(inner, left + WIDTH)):
                    here, before = at + inner * k + j, at + inner * (k - 1) + j
                    v, best = get(real, p + step * k + inner_step * j), get(real, values + S * before)
                    if v != v or (v >= best if largest else v <= best):
                        put(real, values + S * here, v)
                        put(int64, places + 8 * here, k)
                    else:
                        put(real, values + S * here, best)
                        put(int64, places + 8 * here, get(int64, places + 8 * before))

    all_rows, all_columns = split(rows), split(columns)

    @njit
    def extremes(a, values, places):
        outer, n, inner = extent(a, 0), extent(a, 1), extent(a, 2)
        if inner < FEW:
            all_rows(
                outer * inner, LEAST // n, 1, n, inner, data(a), stride(a, 0), stride(a, 1), stride(a, 2),
                data(values), data(places),
            )  # fmt: skip
        else:
            all_columns(
                outer * ((inner + WIDTH - 1) // WIDTH), LEAST // (n * min(inner, WIDTH)), 1, n, inner, data(a),
                stride(a, 0), stride(a, 1), stride(a, 2), data(values), data(places),
            )  # fmt: skip

    return SimpleNamespace(extremes=extremes)


def cumulative(name: str, a: np.ndarray, axis: int, dtype: np.dtype) -> np.ndarray:
    if a.dtype != dtype or dtype.kind != "f":
        with np.errstate(all="ignore"):
            return np.asarray(UFUNCS[name](a, axis, dtype=dtype), order="C")
    out = np.empty(a.shape, dtype)
    if out.size:
        folded = fold(a, axis)
        kernels(dtype.type, name == "cumprod").scan(id(folded), id(out))
    return out


def extremes(a: np.ndarray, axis: int, largest: bool) -> tuple[np.ndarray, np.ndarray]:
    values, places = np.empty(a.shape, a.dtype), np.empty(a.shape, np.int64)
    if not a.size:
        return values, places
    if a.dtype.kind == "f":
        folded = fold(a, axis)
        extreme_kernels(a.dtype.type, largest).extremes(id(folded), id(values), id(places))
        return values, places
    values[...] = (np.maximum if largest else np.minimum).accumulate(a, axis)
    along = np.arange(a.shape[axis]).reshape([-1 if i == axis else 1 for i in range(a.ndim)])
    places[...] = np.maximum.accumulate(np.where(a == values, along, 0), axis)
    return values, places
