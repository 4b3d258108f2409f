"""Order: which of equal elements comes first when the order need not be stable.

torch sorts and selects with the algorithms of the C++ library, whose answer among equals is whatever their swaps make
of it.  These are the same algorithms, comparison for comparison (Musser 1997, "Introspective sorting and selection
algorithms", as GNU's libstdc++ has them; Press et al., "Numerical recipes", for `kth`), so that the answer is the same.
Where no two elements are equal any sort would do, and callers need not come here.

    sorted_rows(keys (R, n), at (R, n))          std::sort
    top_rows(keys (R, n), k, sorted, at (R, n))  std::partial_sort for small k, else std::nth_element
    kth_rows(keys (R, n), k, at (R, n))          quickselect

`keys` are int64 and stay as they are; `at` becomes the positions of the elements, the smallest first.
"""

from __future__ import annotations

from .jit import njit

SMALL = 16  # elements that are left to insertion sort


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
