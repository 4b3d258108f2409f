"""Reduce: sums, extrema and logsumexp along axes, always in the same order.

    sum(a, axes)          -> a without `axes`
    squares(a, axes)      -> the sum of a * a
    extreme(a, axis, max) -> (values, indices) without `axis`; the first NaN wins, as in torch
    logsumexp(a, axes)    -> a without `axes`

Each kernel sees the array as (outer, reduced, inner), at an address with a step in bytes for each of the three.  Where
the reduced numbers are neighbours ("rows") a vector holds LANES of one row, elsewhere ("columns") one of each of LANES
columns; what is neither is copied first.  Sums of floating-point numbers are kept in float64 and rounded once.

A sum is cut into blocks, of BLOCK numbers of a row or HEIGHT of a column or more, whatever the number of threads; what
is too short for that is one block and goes straight into the result.

    partial   (rows, blocks) or (outer, blocks, inner) float64    the sum of each block
"""

from __future__ import annotations

import functools
import math
from types import SimpleNamespace

import numpy as np
from numba import float64, int64

from ..layouts import order_of
from .arrays import data, extent, stride
from .copies import contiguous
from .jit import inlined, kernel, njit
from .pool import split
from .simd import (
    choose_first,
    exp,
    first_where,
    get,
    lanes,
    largest,
    load_next,
    log,
    lower,
    narrowed,
    put,
    splat,
    store_next,
    total,
    upper,
    where,
)

BLOCK, HEIGHT, BLOCKS = 32_768, 64, 32
EXPENSIVE, CHEAP = 15_000, 80_000  # elements that are some 10 microseconds of work, with a function to compute or not


def _fold(a: np.ndarray, axes: tuple[int, ...]) -> tuple[np.ndarray, tuple[int, ...]]:
    """`a` as (outer, reduced, inner), and the shape of the result; copies only what has no neighbours in rows or
    columns, or whose `axes` do not lie together."""
    if len(axes) == a.ndim and a.flags.c_contiguous:
        return a.reshape(1, a.size, 1), ()
    if axes == (0,) and a.ndim == 2:  # as for a bias, in every step: without the arithmetic below
        return a[None] if a.itemsize in a.strides else contiguous(a)[None], a.shape[1:]
    first, end = axes[0], axes[-1] + 1
    together = end - first == len(axes)
    if len(axes) > 1 and not (together and a.flags.c_contiguous):
        # In the order in which they lie in memory: what is (T, B, H) there but seen as (B, T, H) is summed as it lies.
        near = sorted(axes, key=lambda i: -abs(a.strides[i]))
        before = [i for i in range(first if together else a.ndim) if i not in axes]
        a = a.transpose([*before, *near, *(range(end, a.ndim) if together else ())])
        first, end = len(before), len(before) + len(axes)
    outer, reduced, inner = a.shape[:first], a.shape[first:end], a.shape[end:]
    shape = outer + inner
    folded = a.reshape(math.prod(outer), math.prod(reduced), math.prod(inner))
    if inner == () and folded.strides[0] == a.itemsize:  # columns, seen as rows
        folded = folded.transpose(2, 1, 0)
    if a.itemsize not in folded.strides[1:]:
        folded = contiguous(folded)
    return folded, shape


@functools.cache
def kernels(real, squared: bool = False) -> SimpleNamespace:
    """The kernels for numpy.float32 or numpy.float64; `squared`: sums are of squares."""
    L, S = lanes(real), real().itemsize

    @inlined
    def term(v):
        return v * v if squared else v

    @kernel
    def sum_rows(first, last, blocks, n, inner, a, a_outer, a_inner, partial, out):
        """Blocks of rows; to `out` if a row is one block."""
        for unit in range(first, last):
            row, block = unit // blocks, unit % blocks
            p = a + row // inner * a_outer + row % inner * a_inner + S * BLOCK * block
            length = min(n - BLOCK * block, BLOCK)
            s0 = s1 = s2 = s3 = splat(float64, 0.0)
            for k in range(0, length, 2 * L):
                v = term(load_next(real, p + S * k, S, length - k))
                w = term(load_next(real, p + S * (k + L), S, length - k - L))
                s0, s1, s2, s3 = s0 + lower(v), s1 + upper(v), s2 + lower(w), s3 + upper(w)
            s = total((s0 + s1) + (s2 + s3))
            if blocks == 1:
                put(real, out + S * row, real(s))
            else:
                put(float64, partial + 8 * unit, s)

    @kernel
    def sum_columns(first, last, blocks, height, width, n, inner, a, a_outer, a_step, partial, out):
        """Blocks of `height` numbers of `width` columns; to `out` if a column is one block."""
        across = (inner + width - 1) // width
        zero = splat(float64, 0.0)
        for unit in range(first, last):
            o, block, left = unit // across // blocks, unit // across % blocks, unit % across * width
            stop = min(n, (block + 1) * height)
            right = min(inner, left + width)
            for j in range(left, right, 2 * L):
                here, next = right - j, right - j - L
                s0 = s1 = s2 = s3 = zero
                for k in range(block * height, stop):
                    p = a + o * a_outer + k * a_step + S * j
                    v, w = term(load_next(real, p, S, here)), term(load_next(real, p + S * L, S, next))
                    s0, s1, s2, s3 = s0 + lower(v), s1 + upper(v), s2 + lower(w), s3 + upper(w)
                if blocks == 1:
                    q = out + S * (o * inner + j)
                    store_next(real, q, narrowed(real, s0, s1), here)
                    store_next(real, q + S * L, narrowed(real, s2, s3), next)
                else:
                    q = partial + 8 * ((o * blocks + block) * inner + j)
                    store_next(float64, q, s0, here)
                    store_next(float64, q + 8 * L, s2, next)
                    if S == 4:
                        store_next(float64, q + 4 * L, s1, here - L // 2)
                        store_next(float64, q + 12 * L, s3, next - L // 2)

    @njit
    def add_blocks(outer, blocks, inner, partial, out):
        for o in range(outer):
            for j in range(inner):
                s = 0.0
                for block in range(blocks):
                    s += get(float64, partial + 8 * ((o * blocks + block) * inner + j))
                put(real, out + S * (o * inner + j), real(s))

    @kernel
    def extreme_rows(first, last, n, inner, a, a_outer, a_inner, sign: float, values, indices):
        """The largest of sign * a; blocks of a few vectors are searched for its place only if they hold it."""
        lowest = splat(real, real(-np.inf))
        factor = real(sign)
        outer = first // inner
        j = first - outer * inner
        for row in range(first, last):
            p = a + outer * a_outer + j * a_inner
            j += 1
            if j == inner:
                outer, j = outer + 1, 0
            best, place = real(-np.inf), 0
            for start in range(0, n, 16 * L):
                stop = min(n, start + 16 * L)
                m = lowest
                for k in range(start, stop, L):
                    v = choose_first(load_next(real, p + S * k, S, stop - k) * factor, stop - k, lowest)
                    m = where(m == m, where(v <= m, m, v), m)
                most = largest(m)
                if most != most or most > best:
                    best, place = most, start
                    if most != most:
                        break
            if best == best:
                while True:
                    lane = first_where(load_next(real, p + S * place, S, n - place) * factor == best)
                    place += lane
                    if lane < L:
                        break
            else:
                while get(real, p + S * place) == get(real, p + S * place):
                    place += 1
            put(real, values + S * row, get(real, p + S * place))
            put(int64, indices + 8 * row, place)

    @kernel
    def extreme_columns(first, last, n, inner, a, a_outer, a_step, sign: float, values, indices):
        """Vectors of columns; the number of a row is kept as a number of type `real`."""
        across = (inner + L - 1) // L
        factor = real(sign)
        for unit in range(first, last):
            o, j = unit // across, unit % across * L
            p, rest = a + o * a_outer + S * j, inner - j
            best, place = load_next(real, p, S, rest) * factor, splat(real, real(0.0))
            for k in range(1, n):
                v = load_next(real, p + k * a_step, S, rest) * factor
                stays = where(best == best, where(v <= best, place, splat(real, real(k))), place)
                best, place = where(best == best, where(v <= best, best, v), best), stays
            to = values + S * (o * inner + j)
            store_next(real, to, place, rest)  # as a place to take its lanes apart
            for lane in range(min(rest, L)):
                put(int64, indices + 8 * (o * inner + j + lane), int64(get(real, to + S * lane)))
            store_next(real, to, best * factor, rest)

    @kernel
    def logsumexp_rows(first, last, n, inner, a, a_outer, a_inner, out):
        lowest = splat(real, real(-np.inf))
        for row in range(first, last):
            p = a + row // inner * a_outer + row % inner * a_inner
            m = lowest
            for k in range(0, n, L):
                v = choose_first(load_next(real, p + S * k, S, n - k), n - k, lowest)
                m = where(m == m, where(v <= m, m, v), m)
            top = largest(m)
            if not abs(top) < np.inf:
                put(real, out + S * row, top)
                continue
            s0, s1 = splat(float64, 0.0), splat(float64, 0.0)
            for k in range(0, n, L):
                e = exp(load_next(real, p + S * k, S, n - k) - top)
                e = choose_first(e, n - k, splat(real, real(0.0)))
                s0, s1 = s0 + lower(e), s1 + upper(e)
            put(real, out + S * row, real(top + math.log(total(s0 + s1))))

    @kernel
    def logsumexp_columns(first, last, n, inner, a, a_outer, a_step, out):
        across = (inner + L - 1) // L
        for unit in range(first, last):
            o, j = unit // across, unit % across * L
            p, rest = a + o * a_outer + S * j, inner - j
            top, one, zero = splat(real, real(-np.inf)), splat(real, real(1.0)), splat(real, real(0.0))
            s0, s1 = splat(float64, 0.0), splat(float64, 0.0)
            for start in range(0, n, HEIGHT):  # some rows at a time, which are still in the cache when read again
                stop, before = min(n, start + HEIGHT), top
                for k in range(start, stop):
                    v = load_next(real, p + k * a_step, S, rest)
                    top = where(top == top, where(v <= top, top, v), top)
                scale = where(before == top, one, exp(before - top))
                shift = where(top > -np.inf, top, zero)
                s0, s1 = s0 * lower(scale), s1 * upper(scale)
                for k in range(start, stop):
                    e = exp(load_next(real, p + k * a_step, S, rest) - shift)
                    s0, s1 = s0 + lower(e), s1 + upper(e)
            result = narrowed(real, lower(top) + log(s0), upper(top) + log(s1))
            finite = where(top > -np.inf, where(top < np.inf, result, top), top)
            store_next(real, out + S * (o * inner + j), finite, rest)

    all_sum_rows, all_sum_columns = split(sum_rows), split(sum_columns)
    all_extreme_rows, all_extreme_columns = split(extreme_rows), split(extreme_columns)
    all_logsumexp_rows, all_logsumexp_columns = split(logsumexp_rows), split(logsumexp_columns)

    @njit
    def rows_sum(blocks, a, partial, out):
        outer, n, inner = extent(a, 0), extent(a, 1), extent(a, 2)
        all_sum_rows(
            outer * inner * blocks, CHEAP // min(max(n, 1), BLOCK), 1, blocks, n, inner,
            data(a), stride(a, 0), stride(a, 2), data(partial), data(out),
        )  # fmt: skip
        if blocks > 1:
            add_blocks(outer * inner, blocks, 1, data(partial), data(out))

    @njit
    def columns_sum(blocks, height, width, a, partial, out):
        outer, n, inner = extent(a, 0), extent(a, 1), extent(a, 2)
        all_sum_columns(
            outer * blocks * ((inner + width - 1) // width), CHEAP // max(height * width, 1), 1, blocks, height, width,
            n, inner, data(a), stride(a, 0), stride(a, 1), data(partial), data(out),
        )  # fmt: skip
        if blocks > 1:
            add_blocks(outer, blocks, inner, data(partial), data(out))

    @njit
    def rows_extreme(a, sign, values, indices):
        outer, n, inner = extent(a, 0), extent(a, 1), extent(a, 2)
        all_extreme_rows(
            outer * inner, CHEAP // max(n, 1), 1, n, inner, data(a), stride(a, 0), stride(a, 2), sign,
            data(values), data(indices),
        )  # fmt: skip

    @njit
    def columns_extreme(a, sign, values, indices):
        outer, n, inner = extent(a, 0), extent(a, 1), extent(a, 2)
        all_extreme_columns(
            outer * ((inner + L - 1) // L), CHEAP // max(n * L, 1), 1, n, inner, data(a), stride(a, 0), stride(a, 1),
            sign, data(values), data(indices),
        )  # fmt: skip

    @njit
    def rows_logsumexp(a, out):
        outer, n, inner = extent(a, 0), extent(a, 1), extent(a, 2)
        all_logsumexp_rows(
            outer * inner, EXPENSIVE // max(n, 1), 1, n, inner, data(a), stride(a, 0), stride(a, 2), data(out)
        )

    @njit
    def columns_logsumexp(a, out):
        outer, n, inner = extent(a, 0), extent(a, 1), extent(a, 2)
        all_logsumexp_columns(
            outer * ((inner + L - 1) // L), EXPENSIVE // max(n * L, 1), 1, n, inner, data(a), stride(a, 0),
            stride(a, 1), data(out),
        )  # fmt: skip

    return SimpleNamespace(
        rows_sum=rows_sum, columns_sum=columns_sum, rows_extreme=rows_extreme, columns_extreme=columns_extreme,
        rows_logsumexp=rows_logsumexp, columns_logsumexp=columns_logsumexp,
    )  # fmt: skip


def sum(a: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The sum over `axes` (sorted, not negative); integers and booleans add up to int64."""
    if a.dtype.kind != "f":
        return np.asarray(np.add.reduce(a, axes, dtype=np.int64), order="C")
    return _sum(a, axes, kernels(a.dtype.type)) if axes else np.array(a)


def squares(a: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The sum of the squares over `axes` of floating-point numbers."""
    return _sum(a, axes, kernels(a.dtype.type, True)) if axes else a * a


def _sum(a: np.ndarray, axes: tuple[int, ...], family: SimpleNamespace) -> np.ndarray:
    if len(axes) == a.ndim and a.size <= BLOCK:  # as losses are: one block
        if not a.flags.c_contiguous and (order := order_of(a.shape, (a.shape, a.strides))):
            a = a.transpose(order)
        if a.flags.c_contiguous:
            folded, out = a.reshape(1, a.size, 1), np.empty((), a.dtype)
            family.rows_sum(1, id(folded), id(out), id(out))
            return out
    folded, shape = _fold(a, axes)
    outer, n, inner = folded.shape
    out = np.empty(shape, a.dtype)
    if folded.strides[1] == a.itemsize:
        blocks = max(1, -(-n // BLOCK))
        partial = np.empty(outer * inner * blocks) if blocks > 1 else out
        family.rows_sum(blocks, id(folded), id(partial), id(out))
    else:
        height, width = n, 128 if inner > 8 * n else 256
        if n > HEIGHT and width == 256:
            height = max(HEIGHT, -(-n // BLOCKS), 1 + BLOCK // max(inner, 1))
        blocks = -(-n // height) if n else 1
        partial = np.empty(outer * blocks * inner) if blocks > 1 else out
        family.columns_sum(blocks, height, width, id(folded), id(partial), id(out))
    return out


def _extreme(a: np.ndarray, values: np.ndarray, indices: np.ndarray, largest: bool) -> None:
    """`extreme` of integers and booleans, a folded array."""
    indices[...] = (np.argmax if largest else np.argmin)(a, 1).reshape(indices.shape)
    values[...] = np.take_along_axis(a, indices.reshape(a.shape[0], 1, a.shape[2]), 1).reshape(values.shape)


def extreme(a: np.ndarray, axis: int, largest: bool) -> tuple[np.ndarray, np.ndarray]:
    """The largest or smallest elements along `axis`, and where they are (the first of equals)."""
    folded, shape = _fold(a, (axis,))
    values, indices = np.empty(shape, a.dtype), np.empty(shape, np.int64)
    if a.dtype.kind != "f":
        _extreme(folded, values, indices, largest)
        return values, indices
    family, sign = kernels(a.dtype.type), 1.0 if largest else -1.0
    if folded.strides[1] != a.itemsize and folded.shape[1] > 1 << 24:  # more rows than float32 can number
        folded = contiguous(folded.transpose(0, 2, 1)).transpose(0, 2, 1)
    if folded.strides[1] == a.itemsize:
        family.rows_extreme(id(folded), sign, id(values), id(indices))
    else:
        family.columns_extreme(id(folded), sign, id(values), id(indices))
    return values, indices


def logsumexp(a: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """log of the sum of exponentials over `axes`, with no overflow."""
    folded, shape = _fold(a, axes)
    out = np.empty(shape, a.dtype)
    family = kernels(a.dtype.type)
    (family.rows_logsumexp if folded.strides[1] == a.itemsize else family.columns_logsumexp)(id(folded), id(out))
    return out
