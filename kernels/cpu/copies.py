"""Copy: the elements of an array in order, the last axis innermost.

    contiguous(a) -> `a` itself if they lie so, else a copy in which they do

Axes that lie behind one another in memory count as one.  If the last one that is left has neighbours in memory, or
none has, the elements are copied row by row.  Else the array is transposed: what are neighbours in `a` belongs to
different rows of the copy, and both are walked in squares of SIDE x SIDE, so that a cache line is used up before it
goes.  Threads divide the rows, or blocks of TALL neighbours x WIDE columns.  Bits are moved, whatever they mean.

    table   (count, 3) int64   of each axis, the last one first: how many; the bytes between neighbours in `a`, and in
                               the copy
"""

from __future__ import annotations

import functools
import math
from types import SimpleNamespace

import numpy as np
from numba import int64

from .arrays import axes, data, extent, size, stride
from .jit import kernel, njit
from .pool import split
from .scratch import WORDS, words
from .simd import get, lanes, load_next, put, store_next

SIDE, TALL, WIDE = 8, 32, 256
LEAST = 20_000  # numbers that are some 10 microseconds of work
FEW = 2_000  # numbers that NumPy copies in less time than a call of the kernel takes
MOST = WORDS // 3


@functools.cache
def kernels(real) -> SimpleNamespace:
    """The kernels for the size of numpy.float32 or numpy.float64."""
    L, S = lanes(real), real().itemsize

    @kernel
    def rows(first, last, table, count, source, out):
        n, step = get(int64, table), get(int64, table + 8)
        inner = get(int64, table + 24) if count > 1 else 1
        between = get(int64, table + 32) if count > 1 else 0
        while first < last:
            outer = first // inner
            row = first - outer * inner
            end = min(inner, row + last - first)
            p, q, rest = source, out + S * n * first, outer
            for axis in range(2, count):
                many = get(int64, table + 24 * axis)
                p += rest % many * get(int64, table + 24 * axis + 8)
                rest //= many
            first += end - row
            for k in range(row, end):
                here = p + between * k
                if step == S or step == 0:
                    for j in range(0, n, L):
                        store_next(real, q + S * j, load_next(real, here + step * j, step, n - j), n - j)
                else:
                    for j in range(n):
                        put(real, q + S * j, get(real, here + step * j))
                q += S * n

    @kernel
    def squares(first, last, table, count, near, source, out):
        """Blocks of neighbours along axis `near` and of columns along axis 0."""
        n, step = get(int64, table), get(int64, table + 8)
        m, jump = get(int64, table + 24 * near), get(int64, table + 24 * near + 16)
        across, down = (n + WIDE - 1) // WIDE, (m + TALL - 1) // TALL
        for unit in range(first, last):
            left, rest = unit % across * WIDE, unit // across
            top = rest % down * TALL
            rest //= down
            p, q = source, out
            for axis in range(1, count):
                if axis != near:
                    many = get(int64, table + 24 * axis)
                    p += rest % many * get(int64, table + 24 * axis + 8)
                    q += rest % many * get(int64, table + 24 * axis + 16)
                    rest //= many
            right, bottom = min(n, left + WIDE), min(m, top + TALL)
            for j0 in range(left, right, SIDE):
                for i0 in range(top, bottom, SIDE):
                    for i in range(i0, min(bottom, i0 + SIDE)):
                        for j in range(j0, min(right, j0 + SIDE)):
                            put(real, q + jump * i + S * j, get(real, p + S * i + step * j))

    all_rows, all_squares = split(rows), split(squares)

    @njit
    def copy(a, out):
        """False, and nothing is done, for an array of too many axes."""
        table, count, apart = words(), 0, 1
        for axis in range(axes(a) - 1, -1, -1):
            n, step, last = extent(a, axis), stride(a, axis), table + 24 * count - 24
            if n == 1:
                continue
            if count > 0 and step == get(int64, last) * get(int64, last + 8):
                put(int64, last, n * get(int64, last))
            elif count == MOST:
                return False
            else:
                put(int64, last + 24, n)
                put(int64, last + 32, step)
                put(int64, last + 40, S * apart)
                count += 1
            apart *= n
        near = 0
        for axis in range(count - 1, -1, -1):
            if get(int64, table + 24 * axis + 8) == S:
                near = axis
        n, whole = get(int64, table), size(a)
        if near == 0:
            all_rows(whole // n, LEAST // n, 1, table, count, data(a), data(out))
        else:
            m = get(int64, table + 24 * near)
            blocks = ((n + WIDE - 1) // WIDE) * ((m + TALL - 1) // TALL)
            units = whole // (n * m) * blocks
            all_squares(units, LEAST * units // whole, 1, table, count, near, data(a), data(out))
        return True

    return SimpleNamespace(copy=copy)


def contiguous(a: np.ndarray) -> np.ndarray:
    if a.flags.c_contiguous:
        return a
    if a.size >= FEW and a.itemsize in (4, 8):
        out = np.empty(a.shape, a.dtype)
        if kernels(np.float32 if a.itemsize == 4 else np.float64).copy(id(a), id(out)):
            return out
    return a.copy("C")


def folded(a: np.ndarray, axis: int) -> np.ndarray | None:
    """A view of `a` as (outer, its axis, inner), if there is one."""
    shape = math.prod(a.shape[:axis]), a.shape[axis], math.prod(a.shape[axis + 1 :])
    if a.flags.c_contiguous:
        return a.reshape(shape)
    try:
        return np.reshape(a, shape, copy=False)
    except ValueError:
        return None
