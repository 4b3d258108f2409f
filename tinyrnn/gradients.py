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
    is made of them all; and so with sums.  Rows are copied, for they may be written over before the walk is over.
    """

    __slots__ = ("arrival", "left", "right", "count")
    ROOM = 1 << 18  # numbers on a pile, or as many as its weight has

    def __init__(self, arrival: list):
        self.arrival = arrival
        self.left: Any = None  # (rows, A)
        self.right: Any = None  # (rows, B), of products
        self.count = 0

    def add_product(self, left: np.ndarray, right: np.ndarray | None) -> None:
        """left.T @ right, for left (N, A), right (N, B) and a weight (A, B); the sum of left's rows without `right`."""
        if right is None:
            self.add_sum(left)
            return
        A, B = self.arrival[1].shape
        if len(left) * (A + B) > A * B:  # it would take longer to copy them
            self._add(gemm.matmul(left.T, right))
            return
        if self.left is None:
            rows = max(self.ROOM, A * B) // (A + B)
            self.left, self.right = (np.empty((rows, width), left.dtype, like=left) for width in (A, B))
        rows = self._next(len(left))
        self.left[rows], self.right[rows] = left, right

    def add_sum(self, rows: np.ndarray) -> None:
        """The sum of rows (N, A), for a weight (A,) or one that broadcasts to that."""
        shape = self.arrival[1].shape
        if rows.size > self.ROOM // 16 or rows.shape[1:] != shape:
            self._add(fitted(reduce.sum(rows, (0,)), shape, rows.dtype))
            return
        if self.left is None:
            self.left = np.empty((self.ROOM // max(1, *shape), *shape), rows.dtype, like=rows)
        self.left[self._next(len(rows))] = rows

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
            left = self.left[: self.count]
            right = None if self.right is None else self.right[: self.count]
            self.count = 0
            self._add(reduce.sum(left, (0,)) if right is None else gemm.matmul(left.T, right))

    def _next(self, count: int) -> slice:
        """The next `count` rows."""
        if self.count + count > len(self.left):
            self.settle()
        first = self.count
        self.count = last = first + count
        return slice(first, last)

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
