"""Order: sorting, and which of equal elements comes first when the order need not be stable.

    keys(a (R, n), descending)          -> int64 in the order of the elements, or the opposite one; equal for equal
                                        elements, and for all NaN, which count as the largest
    argsort(a (R, n), descending)       -> the positions of the elements in order, where equal ones stay as they were;
                                        and of each row whether it has such

These take floating-point numbers and integers.  Keys are sorted by their digits, the lowest first (Knuth 1998, "The
art of computer programming", volume 3, section 5.2.5): those that no two keys differ in are passed over.  Threads
divide the rows.

    room    k, l, j (n,) int64             the keys; and where they and their positions go next
            counts (digits, values) int64  how many keys have each value of a digit, then where the next of them goes

torch sorts and selects with the algorithms of the C++ library, whose answer among equals is whatever their swaps make
of it.  These are the same algorithms, comparison for comparison (Musser 1997, "Introspective sorting and selection
algorithms", as GNU's libstdc++ has them; Press et al., "Numerical recipes", for `kth`), so that the answer is the same.
Where no two elements are equal any sort will do.

    sorted_rows(keys (R, n), at (R, n))          std::sort
    top_rows(keys (R, n), k, sorted, at (R, n))  std::partial_sort for small k, else std::nth_element
    kth_rows(keys (R, n), k, at (R, n))          quickselect

`keys` are int64 and stay as they are; `at` becomes the positions of the elements, the smallest first.
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

SMALL = 16  # elements that are left to insertion sort
FEW, MANY = 32, 1024  # elements that are sorted by insertion, and that are worth tables of LONG digits
SHORT, LONG = 8, 11  # bits of a digit
NO_ROOM = 2
LEAST = 2_000  # numbers that are some 10 microseconds of work


# ------------------------------------------------------------------------------------------ by digits
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

    all_keys, all_rows = split(to_keys), split(sort_rows)

    @njit
    def keys(a, flip, out):
        all_keys(size(a), 10 * LEAST, 1, data(a), flip, data(out))

    @njit
    def argsort(a, flip, out, equal):
        n = extent(a, 1)
        all_rows(extent(a, 0), LEAST // max(n, 1), 1, n, data(a), flip, data(out), data(equal))

    return SimpleNamespace(keys=keys, argsort=argsort)


def sortable(a: np.ndarray) -> np.ndarray:
    """`a`, contiguous, in a type that there are kernels for."""
    return np.ascontiguousarray(a, a.dtype if a.dtype.kind == "f" else np.int64)


def keys(a: np.ndarray, descending: bool) -> np.ndarray:
    a = sortable(a)
    out = np.empty(a.shape, np.int64)
    kernels(a.dtype.type, SHORT).keys(id(a), -int(descending), id(out))
    return out


def argsort(a: np.ndarray, descending: bool) -> tuple[np.ndarray, np.ndarray]:
    a, equal = sortable(a), np.zeros(len(a), np.int64)
    out = np.empty(a.shape, np.int64)
    kernels(a.dtype.type, SHORT if a.shape[1] < MANY else LONG).argsort(id(a), -int(descending), id(out), id(equal))
    if NO_ROOM in equal:
        raise MemoryError(f"no memory to sort {a.shape[1]} elements in")
    return out, equal == 1


# ------------------------------------------------------------------------------------------ as torch does


@njit
def swap(at, i, j):
    at[i], at[j] = at[j], at[i]


@njit
def sift(keys, at, first, hole, size, value):
    """Put `value` into a heap of `size` elements at `first`, from `hole` down and up again."""
    top = child = hole
    while child < (size - 1) // 2:
        child = 2 * (child + 1)
        if keys[at[first + child]] < keys[at[first + child - 1]]:
            child -= 1
        at[first + hole] = at[first + child]
        hole = child
    if size % 2 == 0 and child == (size - 2) // 2:
        child = 2 * child + 1
        at[first + hole] = at[first + child]
        hole = child
    parent = (hole - 1) // 2
    while hole > top and keys[at[first + parent]] < keys[value]:
        at[first + hole] = at[first + parent]
        hole = parent
        parent = (hole - 1) // 2
    at[first + hole] = value


@njit
def heap_select(keys, at, first, middle, last):
    """The foremost elements of first..last as a heap in first..middle."""
    size = middle - first
    if size >= 2:
        for parent in range((size - 2) // 2, -1, -1):
            sift(keys, at, first, parent, size, at[first + parent])
    for i in range(middle, last):
        if keys[at[i]] < keys[at[first]]:
            value = at[i]
            at[i] = at[first]
            sift(keys, at, first, 0, size, value)


@njit
def partial_sort(keys, at, first, middle, last):
    heap_select(keys, at, first, middle, last)
    for end in range(middle - 1, first, -1):
        value = at[end]
        at[end] = at[first]
        sift(keys, at, first, 0, end - first, value)


@njit
def insert(keys, at, i):
    """Move element i back to its place; something in front of it stops it."""
    value = at[i]
    while keys[value] < keys[at[i - 1]]:
        at[i] = at[i - 1]
        i -= 1
    at[i] = value


@njit
def insertion_sort(keys, at, first, last):
    for i in range(first + 1, last):
        if keys[at[i]] < keys[at[first]]:
            value = at[i]
            for j in range(i, first, -1):
                at[j] = at[j - 1]
            at[first] = value
        else:
            insert(keys, at, i)


@njit
def partition(keys, at, first, last):
    """Part first..last by the median of three, which goes to `first`; where the second part begins."""
    a, b, c = first + 1, first + (last - first) // 2, last - 1
    if keys[at[a]] < keys[at[b]]:
        if keys[at[b]] < keys[at[c]]:
            swap(at, first, b)
        elif keys[at[a]] < keys[at[c]]:
            swap(at, first, c)
        else:
            swap(at, first, a)
    elif keys[at[a]] < keys[at[c]]:
        swap(at, first, a)
    elif keys[at[b]] < keys[at[c]]:
        swap(at, first, c)
    else:
        swap(at, first, b)
    low, high = first + 1, last
    while True:
        while keys[at[low]] < keys[at[first]]:
            low += 1
        high -= 1
        while keys[at[first]] < keys[at[high]]:
            high -= 1
        if low >= high:
            return low
        swap(at, low, high)
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
def sort(keys, at, first, last):
    starts, ends, depths = [first], [last], [depth_of(last - first)]
    while starts:
        low, high, depth = starts.pop(), ends.pop(), depths.pop()
        while high - low > SMALL:
            if depth == 0:
                partial_sort(keys, at, low, high, high)
                break
            depth -= 1
            cut = partition(keys, at, low, high)
            starts.append(cut)
            ends.append(high)
            depths.append(depth)
            high = cut
    insertion_sort(keys, at, first, min(first + SMALL, last))
    for i in range(first + SMALL, last):
        insert(keys, at, i)


@njit
def nth_element(keys, at, first, nth, last):
    if first == last or nth == last:
        return
    depth = depth_of(last - first)
    while last - first > 3:
        if depth == 0:
            heap_select(keys, at, first, nth + 1, last)
            swap(at, first, nth)
            return
        depth -= 1
        cut = partition(keys, at, first, last)
        if cut <= nth:
            first = cut
        else:
            last = cut
    insertion_sort(keys, at, first, last)


@njit
def number(at):
    for i in range(at.size):
        at[i] = i


@njit
def sorted_rows(keys, at):
    for r in range(keys.shape[0]):
        number(at[r])
        sort(keys[r], at[r], 0, keys.shape[1])


@njit
def top_rows(keys, k, in_order, at):
    n = keys.shape[1]
    for r in range(keys.shape[0]):
        number(at[r])
        if k * 64 <= n:
            partial_sort(keys[r], at[r], 0, k, n)
        else:
            nth_element(keys[r], at[r], 0, k - 1, n)
            if in_order:
                sort(keys[r], at[r], 0, k - 1)


@njit
def kth_rows(keys, k, at):
    for r in range(keys.shape[0]):
        number(at[r])
        quickselect(keys[r], at[r], k)


@njit
def quickselect(keys, at, k):
    low, high = 0, at.size - 1
    while high > low + 1:
        swap(at, low + (high - low) // 2, low + 1)
        if keys[at[low + 1]] > keys[at[high]]:
            swap(at, low + 1, high)
        if keys[at[low]] > keys[at[high]]:
            swap(at, low, high)
        if keys[at[low + 1]] > keys[at[low]]:
            swap(at, low + 1, low)
        i, j, pivot = low + 1, high, at[low]
        while True:
            i += 1
            while keys[pivot] > keys[at[i]]:
                i += 1
            j -= 1
            while keys[at[j]] > keys[pivot]:
                j -= 1
            if j < i:
                break
            swap(at, i, j)
        swap(at, low, j)
        if j <= k:
            low = i
        if j >= k:
            high = j - 1
    if high == low + 1 and keys[at[low]] > keys[at[high]]:
        swap(at, low, high)
