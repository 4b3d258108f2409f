"""Channels: batch norm, for each channel of an array (N, C, I), I being 1 for a matrix (N, C).

    batch_norm(x, weight, bias, statistics, eps)                  -> out, mean (C,), variance (C,)
    batch_norm_backward(x, weight, mean, variance, eps, batch, g) -> dx, dweight (C,), dbias (C,)

All arrays are contiguous and of one floating-point type, but mean and variance are in float64; an absent weight or bias
is an array of size zero.  Mean and variance come from sums in float64 of differences from a channel's first number: of
numbers that lie far from zero they are exact.  What counts for a whole channel becomes some terms of the arrays' type,
with which each element of a result is made:

    out = (x - high) slope + rest
    dx  = (x - high) slope + rest + g factor

`high` is the mean, rounded; what that leaves out goes into `rest`.

Threads divide the channels.  In a matrix neighbours are of different channels: it is read in its order, some rows at a
time, and a vector of sums goes on for each vector of channels.  Else a thread reads one channel after the other.

    sums   (2, C) float64   of d = x - high, and of d^2; backward, of g, and of g d
    terms  (4, C)           high, slope, rest, factor
"""

from __future__ import annotations

import functools
import math
from types import SimpleNamespace

import numpy as np
from numba import float64

from .arrays import data, extent, size
from .jit import inlined, kernel, njit
from .pool import split
from .simd import choose_first, get, lanes, load_next, lower, put, splat, store_next, total, upper

GROUP = 8  # rows that are added up in registers
COSTLY, CHEAP = 30_000, 60_000  # elements that are some 10 microseconds of work: to add up, and to make
LINE = 64  # bytes that threads do not share


@functools.cache
def kernels(real) -> SimpleNamespace:
    """The kernels for numpy.float32 or numpy.float64."""
    L, S = lanes(real), real().itemsize
    nothing = real(0)

    @inlined
    def add_to(sums, low, high, n):
        """The first n sums += the two halves of a vector."""
        store_next(float64, sums, load_next(float64, sums, 8, n) + low, n)
        if S == 4:
            rest, there = n - L // 2, sums + 4 * L
            store_next(float64, there, load_next(float64, there, 8, rest) + high, rest)

    # What follows is written twice, for rows of all channels (matrix) and for rows of one; sums of g are made in the
    # arrays' type at first, for a few numbers each.

    @kernel
    def add_matrix(first, last, rows, channels, x, g, terms, sums):
        for k in range(first, last):
            put(float64, sums + 8 * k, 0.0)
            put(float64, sums + 8 * (channels + k), 0.0)
        for top in range(0, rows, GROUP):
            bottom = min(top + GROUP, rows)
            for k in range(first, last, L):
                n, high = last - k, load_next(real, terms + S * k, S, last - k)
                if g:
                    a = b = splat(real, nothing)
                    for at in range(S * (top * channels + k), S * (bottom * channels + k), S * channels):
                        y = load_next(real, g + at, S, n)
                        a, b = a + y, b + y * (load_next(real, x + at, S, n) - high)
                    s0, s1, t0, t1 = lower(a), upper(a), lower(b), upper(b)
                else:
                    s0 = s1 = t0 = t1 = splat(float64, 0.0)
                    for at in range(S * (top * channels + k), S * (bottom * channels + k), S * channels):
                        d = load_next(real, x + at, S, n) - high
                        d0, d1 = lower(d), upper(d)
                        s0, s1, t0, t1 = s0 + d0, s1 + d1, t0 + d0 * d0, t1 + d1 * d1
                add_to(sums + 8 * k, s0, s1, n)
                add_to(sums + 8 * (channels + k), t0, t1, n)

    @kernel
    def add_channels(first, last, rows, channels, inner, x, g, terms, sums):
        for c in range(first, last):
            high = get(real, terms + S * c)
            s0 = s1 = t0 = t1 = splat(float64, 0.0)
            for r in range(rows):
                begin = S * inner * (r * channels + c)
                for start in range(0, inner, GROUP * L):
                    stop = min(start + GROUP * L, inner)
                    a = b = splat(real, nothing)
                    for k in range(start, stop, L):
                        at, n = begin + S * k, inner - k
                        d = load_next(real, x + at, S, n) - high
                        if g:
                            y = load_next(real, g + at, S, n)
                            a, b = a + y, b + y * choose_first(d, n, splat(real, nothing))
                        else:
                            d = choose_first(d, n, splat(real, nothing))
                            d0, d1 = lower(d), upper(d)
                            s0, s1, t0, t1 = s0 + d0, s1 + d1, t0 + d0 * d0, t1 + d1 * d1
                    if g:
                        s0, s1, t0, t1 = s0 + lower(a), s1 + upper(a), t0 + lower(b), t1 + upper(b)
            put(float64, sums + 8 * c, total(s0 + s1))
            put(float64, sums + 8 * (channels + c), total(t0 + t1))

    @kernel
    def add(first, last, rows, channels, inner, x, g, terms, sums):
        if inner == 1:
            add_matrix(first, last, rows, channels, x, g, terms, sums)
        else:
            add_channels(first, last, rows, channels, inner, x, g, terms, sums)

    # Where there is no x, or no g, there are no terms for it.

    @kernel
    def make_matrix(first, last, channels, inner, x, g, terms, out):
        """Rows of a matrix."""
        row = S * channels
        for r in range(first, last):
            for k in range(0, channels, L):
                at, here, n = S * (r * channels + k), terms + S * k, channels - k
                v = load_next(real, here + 2 * row, S, n)
                if x:
                    d = load_next(real, x + at, S, n) - load_next(real, here, S, n)
                    v = v + d * load_next(real, here + row, S, n)
                if g:
                    v = v + load_next(real, g + at, S, n) * load_next(real, here + 3 * row, S, n)
                store_next(real, out + at, v, n)

    @kernel
    def make_channels(first, last, channels, inner, x, g, terms, out):
        """Rows of one channel each."""
        row = S * channels
        for r in range(first, last):
            here, begin = terms + S * (r % channels), S * inner * r
            high, slope = get(real, here), get(real, here + row)
            rest, factor = get(real, here + 2 * row), get(real, here + 3 * row)
            for k in range(0, inner, L):
                at, n = begin + S * k, inner - k
                v = splat(real, rest)
                if x:
                    v = v + (load_next(real, x + at, S, n) - high) * slope
                if g:
                    v = v + load_next(real, g + at, S, n) * factor
                store_next(real, out + at, v, n)

    every_row, every_channel = split(make_matrix), split(make_channels)

    @kernel
    def make(rows, channels, inner, x, g, terms, out):
        if inner == 1:
            every_row(rows, CHEAP // max(channels, 1), 1, channels, inner, x, g, terms, out)
        else:
            every_channel(rows * channels, CHEAP // max(inner, 1), 1, channels, inner, x, g, terms, out)

    @njit
    def set_mean(c, terms, m):
        """The mean, rounded, and what that leaves out."""
        high = real(m)
        put(real, terms + S * c, high)
        return m - high if abs(high) < np.inf else 0.0

    @kernel
    def settle(first, last, rows, channels, inner, x, weight, bias, given, eps: float, mean, variance, sums, terms):
        """The terms of some channels; mean and variance are `given`, or written."""
        count, row = float64(rows * inner), S * channels
        if not given:
            for c in range(first, last):
                put(real, terms + S * c, get(real, x + S * c * inner))
            add(first, last, rows, channels, inner, x, 0, terms, sums)
        for c in range(first, last):
            if not given:
                distance = get(float64, sums + 8 * c) / count
                spread = get(float64, sums + 8 * (channels + c)) / count - distance * distance
                put(float64, mean + 8 * c, get(real, terms + S * c) + distance)
                put(float64, variance + 8 * c, 0.0 if spread < 0.0 else spread)
            low = set_mean(c, terms, get(float64, mean + 8 * c))
            slope = 1.0 / math.sqrt(get(float64, variance + 8 * c) + eps)
            if weight:
                slope *= get(real, weight + S * c)
            rest = -low * slope
            if bias:
                rest += get(real, bias + S * c)
            put(real, terms + row + S * c, real(slope))
            put(real, terms + 2 * row + S * c, real(rest))

    @kernel
    def settle_back(
        first, last, rows, channels, inner, x, weight, batch, eps: float, mean, variance, g, dw, db, sums, terms
    ):
        """The terms of some channels, and the gradients of weight and bias; `batch`: mean and variance are x's."""
        count, row = float64(rows * inner), S * channels
        for c in range(first, last):
            set_mean(c, terms, get(float64, mean + 8 * c))
        add(first, last, rows, channels, inner, x, g, terms, sums)
        for c in range(first, last):
            low = set_mean(c, terms, get(float64, mean + 8 * c))
            scale = 1.0 / math.sqrt(get(float64, variance + 8 * c) + eps)
            a = get(float64, sums + 8 * c)
            b = (get(float64, sums + 8 * (channels + c)) - low * a) * scale
            put(real, db + S * c, real(a))
            put(real, dw + S * c, real(b))
            factor = scale * get(real, weight + S * c) if weight else scale
            slope = rest = 0.0
            if batch:
                slope = -factor * scale * b / count
                rest = -factor * a / count - low * slope
            put(real, terms + row + S * c, real(slope))
            put(real, terms + 2 * row + S * c, real(rest))
            put(real, terms + 3 * row + S * c, real(factor))

    all_channels, all_channels_back = split(settle), split(settle_back)

    @inlined
    def present(array):
        """The address of an array's data, 0 for an array of size zero."""
        return data(array) if size(array) else 0

    @njit
    def batch_norm(x, weight, bias, given, eps, out, mean, variance, sums, terms):
        rows, channels, inner = extent(x, 0), extent(x, 1), extent(x, 2)
        all_channels(
            channels, COSTLY // max(rows * inner, 1), LINE // S, rows, channels, inner, data(x), present(weight),
            present(bias), given, eps, data(mean), data(variance), data(sums), data(terms),
        )  # fmt: skip
        make(rows, channels, inner, data(x), 0, data(terms), data(out))

    @njit
    def batch_norm_backward(x, weight, batch, eps, mean, variance, g, dx, dw, db, sums, terms):
        rows, channels, inner = extent(x, 0), extent(x, 1), extent(x, 2)
        all_channels_back(
            channels, COSTLY // max(rows * inner, 1), LINE // S, rows, channels, inner, data(x), present(weight),
            batch, eps, data(mean), data(variance), data(g), data(dw), data(db), data(sums), data(terms),
        )  # fmt: skip
        make(rows, channels, inner, data(x) if batch else 0, data(g), data(terms), data(dx))

    return SimpleNamespace(batch_norm=batch_norm, batch_norm_backward=batch_norm_backward)


def batch_norm(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, statistics: tuple[np.ndarray, np.ndarray] | None, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x - mean) / sqrt(variance + eps) * weight + bias of each channel, with the mean and variance that are given, or
    else x's; Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167."""
    channels = x.shape[1]
    mean, variance = (np.empty(channels), np.empty(channels)) if statistics is None else statistics
    out, sums, terms = np.empty_like(x), np.empty((2, channels)), np.empty((4, channels), x.dtype)
    kernels(x.dtype.type).batch_norm(
        id(x), id(weight), id(bias), statistics is not None, float(eps), id(out), id(mean), id(variance), id(sums),
        id(terms),
    )  # fmt: skip
    return out, mean, variance


def batch_norm_backward(
    x: np.ndarray, weight: np.ndarray, mean: np.ndarray, variance: np.ndarray, eps: float, batch: bool, g: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The gradients of x (N, C, I), weight (C,) and bias (C,); `batch`: mean and variance are x's."""
    channels = x.shape[1]
    dx, dw, db = np.empty_like(x), np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    sums, terms = np.empty((2, channels)), np.empty((4, channels), x.dtype)
    kernels(x.dtype.type).batch_norm_backward(
        id(x), id(weight), batch, float(eps), id(mean), id(variance), id(g), id(dx), id(dw), id(db), id(sums), id(terms)
    )
    return dx, dw, db
