"""Order that need not be stable: which of equal elements comes first.

torch sorts and selects with the algorithms of the C++ library, whose answer among equals is whatever their swaps make
of it.  These are the same algorithms, comparison for comparison (Musser 1997, "Introspective sorting and selection
algorithms", as GNU's libstdc++ has them; Press et al., "Numerical recipes", for `kth`), so that the answer is the same.
Where no two elements are equal any sort will do, and those of `order` are faster.

    sorted_rows(keys (R, n))          std::sort
    top_rows(keys (R, n), k, sorted)  std::partial_sort for small k, else std::nth_element
    kth_rows(keys (R, n), k)          quickselect

`keys` are those of `order`; the answer holds the positions of the elements, the smallest first (as far as they were
sorted).  What is compared and swapped is an element's rank among those that differ, and its position, in one word; a
row may have 2^31 elements.  Threads divide the rows.

    row     (n,) int64           rank << 32 | position; at the end the position alone
    ranges  (32, 2) int64        on the stack: what is still to be sorted, first << 32 | last, and its depth
"""

from __future__ import annotations

import numpy as np
from numba import int64

from .arrays import data, extent
from .jit import inlined, kernel, njit
from .order import argsort
from .pool import split
from .scratch import words
from .simd import get, put

SMALL = 16  # elements that are left to insertion sort
LEAST = 500  # elements that are some 10 microseconds of work


@inlined
def at(row, i):
    return get(int64, row + 8 * i)


@inlined
def becomes(row, i, word):
    put(int64, row + 8 * i, word)


@inlined
def less(a, b):
    """Whether one word comes before another: of equals none does."""
    return (a >> 32) < (b >> 32)


@inlined
def swap(row, i, j):
    a, b = at(row, i), at(row, j)
    becomes(row, i, b)
    becomes(row, j, a)


@njit
def sift(row, hole, size, value):
    """Put `value` into a heap of `size` elements, from `hole` down and up again."""
    top = child = hole
    while child < (size - 1) // 2:
        child = 2 * (child + 1)
        if less(at(row, child), at(row, child - 1)):
            child -= 1
        becomes(row, hole, at(row, child))
        hole = child
    if size % 2 == 0 and child == (size - 2) // 2:
        child = 2 * child + 1
        becomes(row, hole, at(row, child))
        hole = child
    parent = (hole - 1) // 2
    while hole > top and less(at(row, parent), value):
        becomes(row, hole, at(row, parent))
        hole = parent
        parent = (hole - 1) // 2
    becomes(row, hole, value)


@njit
def heap_select(row, first, middle, last):
    """The foremost elements of first..last as a heap in first..middle."""
    heap, size = row + 8 * first, middle - first
    if size >= 2:
        for parent in range((size - 2) // 2, -1, -1):
            sift(heap, parent, size, at(heap, parent))
    for i in range(middle, last):
        value = at(row, i)
        if less(value, at(heap, 0)):
            becomes(row, i, at(heap, 0))
            sift(heap, 0, size, value)


@njit
def partial_sort(row, first, middle, last):
    heap_select(row, first, middle, last)
    for end in range(middle - 1, first, -1):
        value = at(row, end)
        becomes(row, end, at(row, first))
        sift(row + 8 * first, 0, end - first, value)


@inlined
def insert(row, i):
    """Move element i back to its place; something in front of it stops it."""
    value = at(row, i)
    while less(value, at(row, i - 1)):
        becomes(row, i, at(row, i - 1))
        i -= 1
    becomes(row, i, value)


@njit
def insertion_sort(row, first, last):
    for i in range(first + 1, last):
        value = at(row, i)
        if less(value, at(row, first)):
            for j in range(i, first, -1):
                becomes(row, j, at(row, j - 1))
            becomes(row, first, value)
        else:
            insert(row, i)


@njit
def partition(row, first, last):
    """Part first..last by the median of three, which goes to `first`; where the second part begins."""
    a, b, c = first + 1, first + (last - first) // 2, last - 1
    if less(at(row, a), at(row, b)):
        if less(at(row, b), at(row, c)):
            swap(row, first, b)
        elif less(at(row, a), at(row, c)):
            swap(row, first, c)
        else:
            swap(row, first, a)
    elif less(at(row, a), at(row, c)):
        swap(row, first, a)
    elif less(at(row, b), at(row, c)):
        swap(row, first, c)
    else:
        swap(row, first, b)
    pivot, low, high = at(row, first), first + 1, last
    while True:
        while less(at(row, low), pivot):
            low += 1
        high -= 1
        while less(pivot, at(row, high)):
            high -= 1
        if low >= high:
            return low
        swap(row, low, high)
        low += 1


@njit
def depth_of(n):
    """How often n elements may be parted before a heap takes over."""
    depth = 0
    while n > 1:
        n //= 2
        depth += 2
    return depth


@njit
def sort(row, first, last):
    ranges, count, low, high, depth = words(), 0, first, last, depth_of(last - first)
    while True:
        while high - low > SMALL:
            if depth == 0:
                partial_sort(row, low, high, high)
                break
            depth -= 1
            cut = partition(row, low, high)
            smaller = cut - low < high - cut  # goes on, so that few ranges wait: their order is all the same
            put(int64, ranges + 16 * count, cut << 32 | high if smaller else low << 32 | cut)
            put(int64, ranges + 16 * count + 8, depth)
            count += 1
            low, high = (low, cut) if smaller else (cut, high)
        if count == 0:
            break
        count -= 1
        waits, depth = get(int64, ranges + 16 * count), get(int64, ranges + 16 * count + 8)
        low, high = waits >> 32, waits & 0xFFFFFFFF
    insertion_sort(row, first, min(first + SMALL, last))
    for i in range(first + SMALL, last):
        insert(row, i)


@njit
def nth_element(row, first, nth, last):
    if first == last or nth == last:
        return
    depth = depth_of(last - first)
    while last - first > 3:
        if depth == 0:
            heap_select(row, first, nth + 1, last)
            swap(row, first, nth)
            return
        depth -= 1
        cut = partition(row, first, last)
        if cut <= nth:
            first = cut
        else:
            last = cut
    insertion_sort(row, first, last)


@njit
def top(row, n, k, in_order):
    if k * 64 <= n:
        partial_sort(row, 0, k, n)
    else:
        nth_element(row, 0, k - 1, n)
        if in_order:
            sort(row, 0, k - 1)


@njit
def quickselect(row, n, k):
    low, high = 0, n - 1
    while high > low + 1:
        swap(row, low + (high - low) // 2, low + 1)
        if less(at(row, high), at(row, low + 1)):
            swap(row, low + 1, high)
        if less(at(row, high), at(row, low)):
            swap(row, low, high)
        if less(at(row, low), at(row, low + 1)):
            swap(row, low + 1, low)
        i, j, pivot = low + 1, high, at(row, low)
        while True:
            i += 1
            while less(at(row, i), pivot):
                i += 1
            j -= 1
            while less(pivot, at(row, j)):
                j -= 1
            if j < i:
                break
            swap(row, i, j)
        swap(row, low, j)
        if j <= k:
            low = i
        if j >= k:
            high = j - 1
    if high == low + 1 and less(at(row, high), at(row, low)):
        swap(row, low, high)


SORT, TOP, KTH = range(3)


@kernel
def rows(first, last, n, what, k, in_order, keys, order, out):
    for r in range(first, last):
        key, place, row, rank = keys + 8 * n * r, order + 8 * n * r, out + 8 * n * r, 0
        for i in range(n):
            here = at(place, i)
            if i > 0 and at(key, here) != at(key, at(place, i - 1)):
                rank += 1
            becomes(row, here, rank << 32 | here)
        if what == SORT:
            sort(row, 0, n)
        elif what == TOP:
            top(row, n, k, in_order != 0)
        else:
            quickselect(row, n, k)
        for i in range(n):
            becomes(row, i, at(row, i) & 0xFFFFFFFF)


all_rows = split(rows)


@njit
def run(what, k, in_order, keys, order, out):
    n = extent(keys, 1)
    all_rows(extent(keys, 0), LEAST // max(n, 1), 1, n, what, k, in_order, data(keys), data(order), data(out))


def ordered(what: int, keys: np.ndarray, k: int = 0, in_order: bool = False) -> np.ndarray:
    keys, out = np.ascontiguousarray(keys), np.empty(keys.shape, np.int64)
    order = np.ascontiguousarray(argsort(keys, False)[0])
    run(what, k, int(in_order), id(keys), id(order), id(out))
    return out


def sorted_rows(keys: np.ndarray) -> np.ndarray:
    return ordered(SORT, keys)


def top_rows(keys: np.ndarray, k: int, in_order: bool) -> np.ndarray:
    return ordered(TOP, keys, k, in_order)


def kth_rows(keys: np.ndarray, k: int) -> np.ndarray:
    return ordered(KTH, keys, k)
