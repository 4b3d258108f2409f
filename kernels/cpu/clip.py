"""Clip: the 2-norm of many arrays taken as one vector, and their scaling, in one launch each.

    norm(arrays)            -> the norm, a float
    scale(arrays, factor)   the arrays, times the factor, in place

All arrays are contiguous and of one floating-point type.  Each is cut into blocks of BLOCK numbers, whatever the number
of threads; squares are added up in float64, block by block in order.

    table     (arrays, 3) int64   of each array: its address; its first block; its size
    partial   (blocks,) float64   the sum of squares of each block
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from operator import attrgetter
from types import SimpleNamespace

import numpy as np
from numba import float64, int64

from .arrays import data, item, length, size
from .jit import inlined, kernel, njit
from .pool import split
from .simd import get, lanes, load_first, put, store_first

BLOCK = 16_384
size_of = attrgetter("size")


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

    @inlined
    def fill(arrays, table):
        """Addresses, first blocks and sizes into the table; returns the number of blocks, and how many of them are some
        10 microseconds of work: they may be small."""
        blocks, total, row = 0, 1, data(table)
        for k in range(length(arrays)):
            array = item(arrays, k)
            n = size(array)
            put(int64, row, data(array))
            put(int64, row + 8, blocks)
            put(int64, row + 16, n)
            blocks, total, row = blocks + (n + BLOCK - 1) // BLOCK, total + n, row + 24
        return blocks, 1 + blocks * 40_000 // total

    @njit
    def norm(arrays, table, partial):
        blocks, least = fill(arrays, table)
        all_squares(blocks, least, 1, data(table), length(arrays), data(partial))
        total = 0.0
        for k in range(blocks):
            total += get(float64, data(partial) + 8 * k)
        return total

    @njit
    def scale(arrays, table, factor):
        blocks, least = fill(arrays, table)
        all_scales(blocks, least, 1, data(table), length(arrays), factor)

    return SimpleNamespace(norm=norm, scale=scale)


def norm(arrays: Sequence[np.ndarray]) -> float:
    """The square root of the sum of all squares."""
    arrays = tuple(arrays)
    table = np.empty(3 * len(arrays), np.int64)
    partial = np.empty(sum(map(size_of, arrays)) // BLOCK + len(arrays))
    return math.sqrt(kernels(arrays[0].dtype.type).norm(id(arrays), id(table), id(partial)))


def scale(arrays: Sequence[np.ndarray], factor: float) -> None:
    arrays = tuple(arrays)
    table = np.empty(3 * len(arrays), np.int64)
    kernels(arrays[0].dtype.type).scale(id(arrays), id(table), float(factor))
