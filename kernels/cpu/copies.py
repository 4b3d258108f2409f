"""Copy: the elements of an array in order, the last axis innermost, or into another array.

    contiguous(a)   -> `a` itself if they lie so, else a copy in which they do
    copied(a, how)  -> a copy; "C": in order, "K": as `a` lies in memory
    copyto(to, a)   as NumPy's: `a` is broadcast to the shape of `to`, and cast to its type

Axes that lie behind one another in both arrays count as one.  If the last one that is left has neighbours in the memory
of `a`, or is one number again and again, or no axis has neighbours, the elements are copied row by row, and threads
divide them.  Else the array is transposed: what are neighbours in `a` belongs to different rows of the copy, and both
are walked in squares of SIDE x SIDE, so that a cache line is used up before it goes; threads divide blocks of TALL
neighbours x WIDE columns.  Bits are moved, whatever they mean.

    table   (count, 3) int64   of each axis, the last one first: how many; the bytes between neighbours in `a`, and in
                               the copy
"""

from __future__ import annotations

import functools
import math
from types import SimpleNamespace
from typing import Literal

import numpy as np
from numba import int64

from .arrays import axes, data, extent, size, step, stride
from .jit import inlined, kernel, njit
from .pool import split
from .scratch import WORDS, words
from .simd import get, lanes, load_next, put, store_next

SIDE, TALL, WIDE = 8, 32, 256
LEAST = 20_000  # numbers that are some 10 microseconds of work
FEW = 2_000  # numbers that NumPy copies in less time than a call of the kernel takes
LARGE = 1 << 17  # neighbours that NumPy copies in less time than several threads
MOST = WORDS // 3


@functools.cache
def kernels(real) -> SimpleNamespace:
    """The kernels for the size of numpy.float32 or numpy.float64."""
    L, S = lanes(real), real().itemsize

    @inlined
    def copy_row(first, last, from_step, to_step, source, out):
        """Numbers `first` to `last` of a row; steps are constants where that makes it fast."""
        if to_step == S and (from_step == S or from_step == 0):
            for j in range(first, last, L):
                v = load_next(real, source + from_step * j, from_step, last - j)
                store_next(real, out + S * j, v, last - j)
        elif to_step == S:
            for j in range(first, last):
                put(real, out + S * j, get(real, source + from_step * j))
        else:
            for j in range(first, last):
                put(real, out + to_step * j, get(real, source + from_step * j))

    @kernel
    def row(first, last, from_step, to_step, source, out):
        copy_row(first, last, from_step, to_step, source, out)

    @kernel
    def rows(first, last, table, count, source, out):
        n, from_step, to_step = get(int64, table), get(int64, table + 8), get(int64, table + 16)
        inner, from_row, to_row = get(int64, table + 24), get(int64, table + 32), get(int64, table + 40)
        while first < last:
            rest = first // inner
            begin = first - rest * inner
            end = min(inner, begin + last - first)
            first += end - begin
            p, q = source, out
            for axis in range(2, count):
                place = table + 24 * axis
                many = get(int64, place)
                here = rest % many
                p += here * get(int64, place + 8)
                q += here * get(int64, place + 16)
                rest //= many
            for k in range(begin, end):
                copy_row(0, n, from_step, to_step, p + from_row * k, q + to_row * k)

    @kernel
    def squares(first, last, table, count, near, source, out):
        """Blocks of neighbours along axis `near` and of columns along axis 0."""
        n, from_step, to_step = get(int64, table), get(int64, table + 8), get(int64, table + 16)
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
                            put(real, q + jump * i + to_step * j, get(real, p + S * i + from_step * j))

    one_row, all_rows, all_squares = split(row), split(rows), split(squares)

    @njit
    def copy(a, out):
        """False, and nothing is done, for an array of too many axes."""
        table, count = words(), 0
        for axis in range(axes(out) - 1, -1, -1):
            n, here, there, last = extent(out, axis), step(a, axis, out), stride(out, axis), table + 24 * count - 24
            if n == 1:
                continue
            before = get(int64, last) if count > 0 else 0
            if count > 0 and here == before * get(int64, last + 8) and there == before * get(int64, last + 16):
                put(int64, last, n * before)
            elif count == MOST:
                return False
            else:
                put(int64, last + 24, n)
                put(int64, last + 32, here)
                put(int64, last + 40, there)
                count += 1
        if count == 0:
            return False
        near = 0
        for axis in range(count - 1, -1, -1):
            if get(int64, table + 24 * axis + 8) == S and get(int64, table + 8) != 0:
                near = axis
        n, whole = get(int64, table), size(out)
        if count == 1:
            one_row(n, LEAST, 16, get(int64, table + 8), get(int64, table + 16), data(a), data(out))
        elif near == 0:
            all_rows(whole // n, LEAST // n, 1, table, count, data(a), data(out))
        else:
            m = get(int64, table + 24 * near)
            blocks = ((n + WIDE - 1) // WIDE) * ((m + TALL - 1) // TALL)
            units = whole // (n * m) * blocks
            all_squares(units, LEAST * units // whole, 1, table, count, near, data(a), data(out))
        return True

    return SimpleNamespace(copy=copy)


def moved(out: np.ndarray, a: np.ndarray) -> bool:
    """Whether the kernel has copied `a`, which shares no memory with `out`."""
    if a.itemsize not in (4, 8):
        return False
    return kernels(np.float32 if a.itemsize == 4 else np.float64).copy(id(a), id(out))


def contiguous(a: np.ndarray) -> np.ndarray:
    if a.flags.c_contiguous:
        return a
    if a.size >= FEW:
        out = np.empty(a.shape, a.dtype)
        if moved(out, a):
            return out
    return a.copy("C")


def copied(a: np.ndarray, how: Literal["C", "K"]) -> np.ndarray:
    if a.size >= LARGE:
        out = np.empty_like(a, order=how)
        if moved(out, a):
            return out
    return a.copy(how)


def copyto(to: np.ndarray, a: np.ndarray) -> None:
    plain = to.size >= LARGE and type(a) is np.ndarray and to.dtype == a.dtype
    if not (plain and not np.may_share_memory(to, a) and moved(to, np.broadcast_to(a, to.shape))):
        np.copyto(to, a)


def folded(a: np.ndarray, axis: int) -> np.ndarray | None:
    """A view of `a` as (outer, its axis, inner), if there is one."""
    if a.ndim == 2:  # some microseconds less
        shape = (*a.shape, 1) if axis else (1, *a.shape)
    else:
        shape = math.prod(a.shape[:axis]), a.shape[axis], math.prod(a.shape[axis + 1 :])
    if a.flags.c_contiguous:
        return a.reshape(shape)
    try:
        return np.reshape(a, shape, copy=False)
    except ValueError:
        return None
