"""Gradients on their way: brought to the shape and type of an input, and added up; written out only where they must be.

Where a program reads a sequence or uses a layer's weights step by step, the gradient of each step is added to one
array, and none of the whole size is made for it: a `Part` stands for one that is zero but for a part, and a `Pile`
takes in what is to be added to the gradient of a weight that is used again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .devices import array_types
from .kernels import twin

gemm, index, reduce = twin("gemm"), twin("index"), twin("reduce")


class Part:
    """A gradient that is zero but for `values` at `index`, slices and integers."""

    __slots__ = ("index", "values")
    shape = None  # as that of no array

    def __init__(self, index: tuple, values: np.ndarray):
        self.index, self.values = index, values

    def whole(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """The gradient as an array of its own."""
        out = np.zeros(shape, dtype, like=self.values)
        out[self.index] = self.values
        return out


class Pile:
    """What is added to the gradient of a leaf that has one; arrival: [leaf, gradient, whether the array is ours, ...].

    Small products are not multiplied out one by one: their rows are put below those of the step before, and one product
    is made of them all; and so with sums.  Rows are copied, for they may be written over before the walk is over.  What
    comes first is added at once, since most weights that are used again are used twice; so is what is long to copy.
    """

    __slots__ = ("arrival", "leaves", "left", "right", "count", "begun")
    ROOM = 1 << 19  # numbers on all piles of a walk, which stay in the cache; more only on those of larger weights

    def __init__(self, arrival: list, leaves: dict[int, list]):
        self.arrival = arrival
        self.leaves = leaves  # of all leaves that have a gradient; each may have a pile
        self.left: Any = None  # (rows, A)
        self.right: Any = None  # (rows, B), of products
        self.count = 0
        self.begun = False

    def add_product(self, left: np.ndarray, right: np.ndarray | None) -> None:
        """left.T @ right, for left (N, A), right (N, B) and a weight (A, B); the sum of left's rows without `right`."""
        if right is None:
            self.add_sum(left)
            return
        (A, B), count = self.arrival[1].shape, len(left)
        most = max(self.ROOM // len(self.leaves), A * B // 4) // max(A + B, 1)
        if not self.begun or count * (A + B) > A * B or 2 * count > most:
            self.begun = True
            self._add(gemm.matmul(left.T, right))
            return
        rows = self._next(left, right, most)
        self.left[rows], self.right[rows] = left, right

    def add_sum(self, rows: np.ndarray) -> None:
        """The sum of rows (N, A), for a weight (A,) or one that broadcasts to that."""
        shape, room = self.arrival[1].shape, self.ROOM // len(self.leaves)
        if not self.begun or 8 * rows.size > room or rows.shape[1:] != shape or not rows.size:
            self.begun = True
            self._add(fitted(reduce.sum(rows, (0,)), shape, rows.dtype))
            return
        place = self._next(rows, None, room // rows.shape[1])
        self.left[place] = rows

    def add_rows(self, ids: np.ndarray, values: np.ndarray, without: int | None = None) -> None:
        """values (N, W) to the rows `ids` (N,) of a table, but nothing to row number `without`."""
        total, ours = self.arrival[1:3]
        if not ours or not total.flags.c_contiguous:
            total = np.array(total, order="C", like=total)
            self.arrival[1], self.arrival[2] = total, True
        kept = None if without is None else total[without].copy()
        index.scatter_add_rows(total, ids, values)
        if kept is not None:
            total[without] = kept

    def settle(self) -> None:
        """Multiply out, and add up, what is on the pile."""
        if self.count:
            left, right = self.left[: self.count], self.right
            if right is None:
                self._add(reduce.sum(left, (0,)))
            else:
                self._add(gemm.matmul(left.T, right[: self.count]))
            self.count = 0

    def _next(self, left: np.ndarray, right: np.ndarray | None, most: int) -> slice:
        """Where the next rows go.  There is room for a few at first, then for more, but not for more than `most`."""
        first, count, rows = self.count, len(left), 0 if self.left is None else len(self.left)
        if first + count > rows:
            self.settle()
            first = 0
            if rows < most:
                rows = min(most, 4 * max(rows, count))
                self.left = np.empty((rows, left.shape[1]), left.dtype, like=left)
                self.right = None if right is None else np.empty((rows, right.shape[1]), left.dtype, like=left)
        self.count = first + count
        return slice(first, first + count)

    def _add(self, g: np.ndarray) -> None:
        """Add an array that nobody else holds."""
        self.arrival[1], self.arrival[2] = np.add(self.arrival[1], g, out=g), True


def fitted(g: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A gradient with the shape and type of the input it belongs to."""
    if type(g) not in array_types:
        g = np.asarray(g)
    if g.shape != shape:
        g = unbroadcast(g, shape)
    return g if g.dtype == dtype else g.astype(dtype)


def unbroadcast(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum `g` over the axes along which an input of `shape` was broadcast."""
    extra = g.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(i + extra for i, n in enumerate(shape) if n == 1 and g.shape[i + extra] != 1)
    return reduce.sum(g, axes).reshape(shape)


def add_to(total: np.ndarray, g: Any) -> None:
    """Add a gradient, or the `Part` that is not zero, to an array."""
    if type(g) is Part:
        total[g.index] += g.values
    else:
        np.add(total, g, out=total)


def sum_of(a: np.ndarray, g: Any) -> np.ndarray:
    """A new array: the sum of two gradients, the second of which may be a `Part`."""
    if type(g) is not Part:
        return np.asarray(a + g, like=a)
    total = a.copy()
    total[g.index] += g.values
    return total
