"""Order: sorting, equal elements in the order in which they were.

    keys(a (R, n), descending)          -> int64 in the order of the elements, or the opposite one; equal for equal
                                        elements, and for all NaN, which count as the largest
    argsort(a (R, n), descending)       -> the positions of the elements in order, where equal ones stay as they were;
                                        and of each row whether it has such, None if none has
    foremost(a (R, n), k, descending)   -> the positions of the first k of these; and of each row whether there are
                                        equal ones among the first k + 1, None if there are in none

These take floating-point numbers and integers.  Keys are sorted by their digits, the lowest first (Knuth 1998, "The
art of computer programming", volume 3, section 5.2.5): those that no two keys differ in are passed over.  The foremost
are kept in order while blocks of STRIDE elements are looked at, most of which have none that is smaller.  Threads
divide the rows.

    room    k, l, j (n,) int64             the keys; and where they and their positions go next
            counts (digits, values) int64  how many keys have each value of a digit, then where the next of them goes
"""

from __future__ import annotations

import functools
from types import SimpleNamespace

import numpy as np
from numba import float32, float64, int32, int64

from .arrays import data, extent, size
from .jit import inlined, kernel, njit
from .pool import split
from .scratch import free, malloc
from .simd import get, put

FEW, MANY = 32, 1024  # elements that are sorted by insertion, and that are worth tables of LONG digits
SHORT, LONG = 8, 11  # bits of a digit
NO_ROOM = 2
INSERTED = 256  # the most that are kept in order; for more, and for many of few, all are sorted
STRIDE = 128  # elements of which the smallest is found before they are looked at one by one
LEAST = 2_000  # numbers that are some 10 microseconds of work


@inlined
def key_of_float32(p):
    x, bits = get(float32, p), int64(get(int32, p))
    if x != x:
        return int64(0x7FFFFFFF)
    if x == 0:
        return int64(0)
    return bits if bits >= 0 else bits ^ 0x7FFFFFFF


@inlined
def key_of_float64(p):
    x, bits = get(float64, p), get(int64, p)
    if x != x:
        return int64(0x7FFFFFFFFFFFFFFF)
    if x == 0:
        return int64(0)
    return bits if bits >= 0 else bits ^ 0x7FFFFFFFFFFFFFFF


@inlined
def key_of_int64(p):
    return get(int64, p)


KEYS = {np.float32: key_of_float32, np.float64: key_of_float64, np.int64: key_of_int64}


@functools.cache
def kernels(kind, bits: int) -> SimpleNamespace:
    """The kernels for numpy.float32, float64 or int64, with digits of so many bits."""
    key, S = KEYS[kind], kind().itemsize
    passes = -(-8 * S // bits)
    top = 8 * S - bits * (passes - 1)  # bits of the highest digit, the first of which is the sign
    radix, sign = 1 << bits, 1 << (top - 1)

    @inlined
    def digit(k, number):
        shifted = k >> bits * number
        return shifted & (radix - 1) if number < passes - 1 else (shifted & (2 * sign - 1)) ^ sign

    @kernel
    def to_keys(first, last, a, flip, out):
        for k in range(first, last):
            put(int64, out + 8 * k, key(a + S * k) ^ flip)

    @kernel
    def sort_rows(first, last, n, a, flip, out, equal):
        room = malloc(24 * n + 8 * radix * passes)
        if room == 0:
            put(int64, equal + 8 * first, NO_ROOM)
            return
        counts = room + 24 * n
        for r in range(first, last):
            p, k, i, l, j = a + S * n * r, room, out + 8 * n * r, room + 8 * n, room + 16 * n
            if n <= FEW:
                for m in range(n):
                    value, at = key(p + S * m) ^ flip, m
                    while at > 0 and get(int64, k + 8 * at - 8) > value:
                        put(int64, k + 8 * at, get(int64, k + 8 * at - 8))
                        put(int64, i + 8 * at, get(int64, i + 8 * at - 8))
                        at -= 1
                    put(int64, k + 8 * at, value)
                    put(int64, i + 8 * at, m)
            else:
                for m in range(radix * passes):
                    put(int64, counts + 8 * m, 0)
                for m in range(n):
                    value = key(p + S * m) ^ flip
                    put(int64, k + 8 * m, value)
                    put(int64, i + 8 * m, m)
                    for number in range(passes):
                        count = counts + 8 * (radix * number + digit(value, number))
                        put(int64, count, get(int64, count) + 1)
                for number in range(passes):
                    mine = counts + 8 * radix * number
                    if get(int64, mine + 8 * digit(get(int64, k), number)) == n:
                        continue
                    total = 0
                    for m in range(radix):
                        count = get(int64, mine + 8 * m)
                        put(int64, mine + 8 * m, total)
                        total += count
                    for m in range(n):
                        value = get(int64, k + 8 * m)
                        place = mine + 8 * digit(value, number)
                        to = get(int64, place)
                        put(int64, place, to + 1)
                        put(int64, l + 8 * to, value)
                        put(int64, j + 8 * to, get(int64, i + 8 * m))
                    k, l, i, j = l, k, j, i
                if i != out + 8 * n * r:
                    for m in range(n):
                        put(int64, j + 8 * m, get(int64, i + 8 * m))
            for m in range(1, n):
                if get(int64, k + 8 * m) == get(int64, k + 8 * m - 8):
                    put(int64, equal + 8 * r, 1)
                    break
        free(room)

    @kernel
    def first_rows(first, last, n, count, a, flip, out, equal):
        """The first `count` of each row, in order."""
        best = malloc(8 * count)
        if best == 0:
            put(int64, equal + 8 * first, NO_ROOM)
            return
        for r in range(first, last):
            p, i, kept, most = a + S * n * r, out + 8 * count * r, 0, int64(0)
            for start in range(0, n, STRIDE):
                stop = min(n, start + STRIDE)
                if kept == count:
                    least = most
                    for m in range(start, stop):
                        least = min(least, key(p + S * m) ^ flip)
                    if least >= most:
                        continue
                for m in range(start, stop):
                    value = key(p + S * m) ^ flip
                    if kept == count and value >= most:
                        continue
                    at = min(kept, count - 1)
                    kept = min(kept + 1, count)
                    while at > 0 and get(int64, best + 8 * at - 8) > value:
                        put(int64, best + 8 * at, get(int64, best + 8 * at - 8))
                        put(int64, i + 8 * at, get(int64, i + 8 * at - 8))
                        at -= 1
                    put(int64, best + 8 * at, value)
                    put(int64, i + 8 * at, m)
                    most = get(int64, best + 8 * kept - 8)
            for m in range(1, count):
                if get(int64, best + 8 * m) == get(int64, best + 8 * m - 8):
                    put(int64, equal + 8 * r, 1)
                    break
        free(best)

    all_keys, all_rows, all_first = split(to_keys), split(sort_rows), split(first_rows)

    @njit
    def keys(a, flip, out):
        all_keys(size(a), 10 * LEAST, 1, data(a), flip, data(out))

    @njit
    def argsort(a, flip, out, equal):
        n = extent(a, 1)
        all_rows(extent(a, 0), LEAST // max(n, 1), 1, n, data(a), flip, data(out), data(equal))

    @njit
    def foremost(a, count, flip, out, equal):
        n = extent(a, 1)
        all_first(extent(a, 0), 5 * LEAST // max(n, 1), 1, n, count, data(a), flip, data(out), data(equal))

    return SimpleNamespace(keys=keys, argsort=argsort, foremost=foremost)


def sortable(a: np.ndarray) -> np.ndarray:
    """`a`, contiguous, in a type that there are kernels for."""
    return np.ascontiguousarray(a, a.dtype if a.dtype.kind == "f" else np.int64)


def keys(a: np.ndarray, descending: bool) -> np.ndarray:
    a = sortable(a)
    out = np.empty(a.shape, np.int64)
    kernels(a.dtype.type, SHORT).keys(id(a), -int(descending), id(out))
    return out


def argsort(a: np.ndarray, descending: bool) -> tuple[np.ndarray, np.ndarray | None]:
    a, equal = sortable(a), np.zeros(len(a), np.int64)
    out = np.empty(a.shape, np.int64)
    kernels(a.dtype.type, SHORT if a.shape[1] < MANY else LONG).argsort(id(a), -int(descending), id(out), id(equal))
    return out, rows_of(equal, f"no memory to sort {a.shape[1]} elements in")


def rows_of(equal: np.ndarray, failure: str) -> np.ndarray | None:
    """The rows in which there are equal elements, None if there are none."""
    if not equal.any():
        return None
    if NO_ROOM in equal:
        raise MemoryError(failure)
    return equal == 1


def foremost(a: np.ndarray, k: int, descending: bool) -> tuple[np.ndarray, np.ndarray | None]:
    a, equal = sortable(a), np.zeros(len(a), np.int64)
    count = min(k + 1, a.shape[1])
    if k > INSERTED or (k > FEW and 32 * k > a.shape[1]):
        order, equals = argsort(a, descending)
        return order[:, :k], equals
    out = np.empty((len(a), count), np.int64)
    kernels(a.dtype.type, SHORT).foremost(id(a), count, -int(descending), id(out), id(equal))
    return out[:, :k], rows_of(equal, f"no memory to keep {count} elements in")
