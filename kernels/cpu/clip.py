"""Clip: the 2-norm of many arrays taken as one vector, and their scaling, in one launch each.

    norm(arrays)            -> the norm, a float
    scale(arrays, factor)   the arrays, contiguous ones, times the factor, in place

All arrays have one floating-point type.  Each is cut into blocks of BLOCK numbers, whatever the number of threads;
squares are added up in float64, block by block in order.

    table     (arrays, 3) int64   of each array: its identity, which becomes its address; its first block; its size
    partial   (blocks,) float64   the sum of squares of each block
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
from numba import float64, int64

from .arrays import data, size
from .jit import kernel, njit
from .pool import split
from .simd import get, lanes, load_first, put, store_first

BLOCK = 16_384


@functools.cache
def kernels(real) -> SimpleNamespace:
    """The kernels for numpy.float32 or numpy.float64."""
    S, L = real().itemsize, lanes(real)

    @kernel
    def add_squares(first, last, table, count, partial):
        array = 0
        for block in range(first, last):
            while array + 1 < count and get(int64, table + 24 * array + 32) <= block:
                array += 1
            start = BLOCK * (block - get(int64, table + 24 * array + 8))
            p, n = get(int64, table + 24 * array) + S * start, min(BLOCK, get(int64, table + 24 * array + 16) - start)
            s0 = s1 = s2 = s3 = 0.0
            whole = n - n % 4
            for k in range(0, whole, 4):
                a, b = float64(get(real, p + S * k)), float64(get(real, p + S * k + S))
                c, d = float64(get(real, p + S * k + 2 * S)), float64(get(real, p + S * k + 3 * S))
                s0, s1, s2, s3 = s0 + a * a, s1 + b * b, s2 + c * c, s3 + d * d
            for k in range(whole, n):
                a = float64(get(real, p + S * k))
                s0 += a * a
            put(float64, partial + 8 * block, (s0 + s1) + (s2 + s3))

    @kernel
    def scale_blocks(first, last, table, count, factor: float):
        array, by = 0, real(factor)
        for block in range(first, last):
            while array + 1 < count and get(int64, table + 24 * array + 32) <= block:
                array += 1
            start = BLOCK * (block - get(int64, table + 24 * array + 8))
            p, n = get(int64, table + 24 * array) + S * start, min(BLOCK, get(int64, table + 24 * array + 16) - start)
            for k in range(0, n, L):
                store_first(real, p + S * k, load_first(real, p + S * k, n - k) * by, n - k)

    all_squares, all_scales = split(add_squares), split(scale_blocks)

    @njit
    def resolve(table, count):
        """Addresses, first blocks and sizes into the table; returns the number of blocks."""
        blocks = 0
        for k in range(count):
            row = data(table) + 24 * k
            n = size(get(int64, row))
            put(int64, row, data(get(int64, row)))
            put(int64, row + 8, blocks)
            put(int64, row + 16, n)
            blocks += (n + BLOCK - 1) // BLOCK
        return blocks

    @njit
    def least(table, count, blocks):
        """How many blocks are some 10 microseconds of work: they may be small."""
        total = 1
        for k in range(count):
            total += get(int64, data(table) + 24 * k + 16)
        return 1 + blocks * 40_000 // total

    @njit
    def norm(table, count, partial):
        blocks = resolve(table, count)
        all_squares(blocks, least(table, count, blocks), 1, data(table), count, data(partial))
        total = 0.0
        for k in range(blocks):
            total += get(float64, data(partial) + 8 * k)
        return total

    @njit
    def scale(table, count, factor):
        blocks = resolve(table, count)
        all_scales(blocks, least(table, count, blocks), 1, data(table), count, factor)

    return SimpleNamespace(norm=norm, scale=scale)


def table_of(arrays: Sequence[np.ndarray]) -> np.ndarray:
    table = np.empty((len(arrays), 3), np.int64)
    table[:, 0] = [id(a) for a in arrays]
    return table


def norm(arrays: Sequence[np.ndarray]) -> float:
    """The square root of the sum of all squares; arrays that are not contiguous are copied."""
    arrays = [np.ascontiguousarray(a) for a in arrays]
    table = table_of(arrays)
    partial = np.empty(sum([a.size // BLOCK + 1 for a in arrays]))
    return math.sqrt(kernels(arrays[0].dtype.type).norm(id(table), len(arrays), id(partial)))


def scale(arrays: Sequence[np.ndarray], factor: float) -> None:
    table = table_of(arrays)
    kernels(arrays[0].dtype.type).scale(id(table), len(arrays), float(factor))
