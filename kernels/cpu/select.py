"""Select: one of two numbers by a mask, and the places where a mask holds.

    where(mask, x, y) -> x where the mask holds, y elsewhere: contiguous, of the shape that all three broadcast to
    nonzero(a)        -> NumPy's: for each axis an index of each element that is not zero, in order

`mask` holds bool, x and y numbers of one type of 4 or 8 bytes, or one number each.  Axes that lie behind one another in
all three count as one; the last of them is a row, and threads divide the rows.  Bits are moved, whatever they mean.

    table   (count, 4) int64   of each axis, the last one first: how many; the bytes between neighbours in mask, x and y

Places are found in two passes over blocks of BLOCK truth values, which threads divide: how many hold in each block, and
once it is known where the places of a block begin, which.

    counts  (blocks,) int64    how many hold in each block; then how many hold in those before it and in it
"""

from __future__ import annotations

import functools
from types import SimpleNamespace

import numpy as np
from numba import int64, uint8

from .arrays import axes, data, extent, size, step
from .jit import inlined, kernel, njit
from .pool import split
from .scratch import WORDS, words
from .simd import get, put

LEAST = 40_000  # numbers that are some 10 microseconds of work
FEW = 2_000  # numbers that NumPy selects in less time than a call of the kernel takes
MOST = WORDS // 4
BLOCK = 4_096


@functools.cache
def kernels(whole) -> SimpleNamespace:
    """The kernel for the size of numpy.int32 or numpy.int64."""
    S = whole().itemsize

    @inlined
    def chosen(truth, a, b):
        """Without a branch, which a mask of no pattern would have mispredicted: a compiler makes one of any comparison.
        Any byte but zero, taken from zero and divided by 256, is -1 when rounded down."""
        return b ^ ((a ^ b) & (-whole(truth) >> 8))

    @kernel
    def rows(first, last, table, count, mask, x, y, out):
        """Numbers `first` to `last` of the result; the steps along a row are constants where that makes it fast."""
        n, m_step, x_step, y_step = (
            get(int64, table), get(int64, table + 8), get(int64, table + 16), get(int64, table + 24)
        )  # fmt: skip
        while first < last:
            rest = first // n
            left = first - rest * n
            right = min(n, left + last - first)
            m, p, r, q = mask, x, y, out + S * (first - left)
            first += right - left
            for axis in range(1, count):
                many, place = get(int64, table + 32 * axis), table + 32 * axis
                here = rest % many
                m += here * get(int64, place + 8)
                p += here * get(int64, place + 16)
                r += here * get(int64, place + 24)
                rest //= many
            if m_step == 1 and x_step == S and y_step == S:
                for j in range(left, right):
                    a, b = get(whole, p + S * j), get(whole, r + S * j)
                    put(whole, q + S * j, chosen(get(uint8, m + j), a, b))
            elif m_step == 1 and x_step == 0 and y_step == S:
                a = get(whole, p)
                for j in range(left, right):
                    b = get(whole, r + S * j)
                    put(whole, q + S * j, chosen(get(uint8, m + j), a, b))
            elif m_step == 1 and x_step == S and y_step == 0:
                b = get(whole, r)
                for j in range(left, right):
                    a = get(whole, p + S * j)
                    put(whole, q + S * j, chosen(get(uint8, m + j), a, b))
            else:
                for j in range(left, right):
                    a, b = get(whole, p + x_step * j), get(whole, r + y_step * j)
                    put(whole, q + S * j, chosen(get(uint8, m + m_step * j), a, b))

    all_rows = split(rows)

    @njit
    def select(mask, x, y, out):
        """False, and nothing is done, for an array of too many axes."""
        table, count = words(), 0
        for axis in range(axes(out) - 1, -1, -1):
            n, a, b, c = extent(out, axis), step(mask, axis, out), step(x, axis, out), step(y, axis, out)
            last = table + 32 * count - 32
            if n == 1:
                continue
            if count > 0:
                before = get(int64, last)
                if (
                    a == before * get(int64, last + 8)
                    and b == before * get(int64, last + 16)
                    and c == before * get(int64, last + 24)
                ):
                    put(int64, last, n * before)
                    continue
            if count == MOST:
                return False
            put(int64, last + 32, n)
            put(int64, last + 40, a)
            put(int64, last + 48, b)
            put(int64, last + 56, c)
            count += 1
        all_rows(size(out), LEAST, 16, table, count, data(mask), data(x), data(y), data(out))
        return True

    return SimpleNamespace(select=select)


@kernel
def count(first, last, n, mask, counts):
    for block in range(first, last):
        total = int64(0)
        for k in range(BLOCK * block, min(n, BLOCK * (block + 1))):
            total += int64(get(uint8, mask + k) != 0)
        put(int64, counts + 8 * block, total)


@kernel
def list_places(first, last, n, mask, counts, out):
    """Without a branch on what the mask holds: a place is written, and stays if it counts."""
    for block in range(first, last):
        found = get(int64, counts + 8 * block - 8) if block > 0 else 0
        end = get(int64, counts + 8 * block)
        for k in range(BLOCK * block, min(n, BLOCK * (block + 1))):
            if found == end:
                break
            put(int64, out + 8 * found, k)
            found += int64(get(uint8, mask + k) != 0)


count_all, list_all = split(count), split(list_places)


@njit
def counted(mask, counts):
    count_all(size(counts), 8, 1, size(mask), data(mask), data(counts))


@njit
def listed(mask, counts, out):
    list_all(size(counts), 2, 1, size(mask), data(mask), data(counts), data(out))


def nonzero(a: np.ndarray) -> tuple[np.ndarray, ...]:
    if a.size < FEW or a.ndim == 0:
        return np.nonzero(a)
    mask = np.ascontiguousarray(a if a.dtype == bool else a != 0)
    counts = np.empty(-(-a.size // BLOCK), np.int64)
    counted(id(mask), id(counts))
    np.cumsum(counts, out=counts)
    place = np.empty(counts[-1], np.int64)
    listed(id(mask), id(counts), id(place))
    found = []
    for n in a.shape[:0:-1]:
        before = place // n
        found.append(place - before * n)
        place = before
    return (place, *reversed(found))


def where(mask: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = np.asarray(x), np.asarray(y)
    shape = mask.shape
    if x.ndim and x.shape != shape or y.ndim and y.shape != shape:
        shape = np.broadcast_shapes(shape, x.shape, y.shape)
    out = np.empty(shape, x.dtype)
    fits = out.size >= FEW and x.dtype == y.dtype and mask.dtype == bool and x.itemsize in (4, 8)
    if fits and kernels(np.int32 if x.itemsize == 4 else np.int64).select(id(mask), id(x), id(y), id(out)):
        return out
    return np.asarray(np.where(mask, x, y), order="C")
