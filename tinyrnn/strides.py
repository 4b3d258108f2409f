"""Where arrays lie in memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def span(a: np.ndarray) -> tuple[int, int, int]:
    """The addresses at which the memory of an array begins, its first element lies, and the memory ends."""
    first = a.__array_interface__["data"][0]
    reach = [(n - 1) * stride for n, stride in zip(a.shape, a.strides, strict=True)] if a.size else []
    return first + sum(r for r in reach if r < 0), first, first + sum(r for r in reach if r > 0) + a.itemsize


def overlaps(array: np.ndarray) -> bool:
    """Whether several elements share one place in memory, as those of an expanded tensor do."""
    places = zip(array.shape, array.strides, strict=True)
    return 0 in array.strides and array.size > 0 and any(stride == 0 and n > 1 for n, stride in places)


def dense(a: np.ndarray) -> bool:
    """Whether the elements lie in one stretch of memory without gaps, each in a place of its own."""
    low, _, high = span(a)
    return high - low == a.nbytes and not overlaps(a)


def window(base: np.ndarray, view: np.ndarray) -> tuple:
    """Where both arrays lie in a flat stretch of memory: its length, and a shape, offset and strides of each."""
    low, first, high = span(base)
    low_view, first_view, high_view = span(view)
    if view.size and not low <= low_view <= high_view <= high:
        raise RuntimeError("a view no longer lies in the memory of its base: the .data of one of them was replaced")
    size = (high - low) // base.itemsize
    return size, (base.shape, first - low, base.strides), (view.shape, first_view - low, view.strides)


def frames(window: tuple, make: Callable, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """A new array laid out as the base was, and the view of it."""
    size, *places = window
    flat = make(size, dtype)
    around, inside = (
        np.ndarray(shape, dtype, flat, offset, strides) if 0 not in shape else np.empty(shape, dtype)
        for shape, offset, strides in places
    )
    return around, inside
