"""Where the result of an operation on elements lies in memory: where torch's does, which draws numbers in that order.

    order_of(shape, *layouts)    its axes, from the largest steps in memory to the smallest; None if they are in order
    inverse(axes)                the permutation that takes axes in this order back
    in_order(strides)            a quick yes for most of those that are: a first operand with them decides all

`layouts` are the shapes and strides of the operands, which broadcast to `shape`.  Of two axes, the first operand that
has steps along both tells which one is inside; an axis along which an operand is repeated has none.
"""

from __future__ import annotations

import functools

Layout = tuple[tuple[int, ...], tuple[int, ...]]


@functools.lru_cache(4096)
def order_of(shape: tuple[int, ...], *layouts: Layout) -> tuple[int, ...] | None:
    ndim = len(shape)
    steps = []
    for sizes, strides in layouts:
        own = [0 if n == 1 != shape[k - len(sizes)] else s for k, (n, s) in enumerate(zip(sizes, strides, strict=True))]
        steps.append((*(0,) * (ndim - len(sizes)), *own))

    def compare(inner: int, outer: int) -> int:
        """1 if the two axes have to change places, -1 if not, 0 if nothing tells."""
        for along in steps:
            a, b = along[inner], along[outer]
            if a and b and (a != b or shape[inner] > shape[outer]):
                return 1 if a >= b else -1
        return 0

    axes = list(range(ndim))[::-1]  # from the innermost on: sorted by insertion, where what nothing tells stays
    for k in range(1, ndim):
        at = k
        for inner in range(k - 1, -1, -1):
            found = compare(axes[inner], axes[at])
            if found < 0:
                break
            if found > 0:
                axes[inner], axes[at] = axes[at], axes[inner]
                at = inner
    order = tuple(axes[::-1])
    return None if order == tuple(range(ndim)) else order


@functools.cache
def inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple([axes.index(k) for k in range(len(axes))])


def in_order(strides: tuple[int, ...]) -> bool:
    last = strides[0] + 1
    for step in strides:
        if not 0 < step < last:
            return False
        last = step
    return True
