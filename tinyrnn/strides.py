"""Where arrays lie in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from .kernels import twin
from .kernels.layouts import inverse, order_of

copies = twin("copies")


def address(a: Any) -> int:
    """Where the first element of an array is, on its device."""
    return a.__array_interface__["data"][0] if type(a) is np.ndarray else a.address


def at(a: Any, shape: Sequence[int], strides: Sequence[int], offset: int = 0) -> Any:
    """The memory of an array in another shape, with other strides, `offset` bytes after its first element."""
    if type(a) is np.ndarray:
        return np.ndarray(shape, a.dtype, a, offset, strides)
    return a.at(shape, strides, offset)


def restrided(a: Any, shape: tuple[int, ...], strides: tuple[int, ...]) -> Any:
    """A view of the memory of an array, from its first element on, by shape and strides alone."""
    if type(a) is np.ndarray:
        return np.lib.stride_tricks.as_strided(a, shape, strides)
    return a.at(shape, strides)


def span(a: np.ndarray) -> tuple[int, int, int]:
    """The addresses at which the memory of an array begins, its first element lies, and the memory ends."""
    first = address(a)
    reach = [(n - 1) * stride for n, stride in zip(a.shape, a.strides, strict=True)] if a.size else []
    return first + sum(r for r in reach if r < 0), first, first + sum(r for r in reach if r > 0) + a.itemsize


def contiguous(a: Any) -> Any:
    """An array whose elements lie in order in memory: itself or a copy."""
    return a if a.flags.c_contiguous else copies.contiguous(a)


def copied(a: Any) -> Any:
    """A copy that lies in memory as the array does, but in order if elements share their places."""
    return copies.copied(a, order(a))


def copyto(to: Any, a: Any) -> None:
    """Overwrite an array with another, which is broadcast and cast; on all threads if they are large."""
    copies.copyto(to, a)


def reshaped(a: Any, shape: tuple[int, ...]) -> Any:
    """An array in another shape: a view where there is one, else a copy."""
    if type(a) is not np.ndarray or a.flags.c_contiguous or a.size < copies.FEW:
        return a.reshape(shape)
    try:
        return np.reshape(a, shape, copy=False)
    except ValueError:
        return contiguous(a).reshape(shape)


def overlaps(array: np.ndarray) -> bool:
    """Whether several elements share one place in memory, as those of an expanded tensor do."""
    places = zip(array.shape, array.strides, strict=True)
    return 0 in array.strides and array.size > 0 and any(stride == 0 and n > 1 for n, stride in places)


def separate(a: np.ndarray) -> bool:
    """Whether each element is sure to have a place of its own."""
    reach = 0
    for stride, n in sorted((abs(stride), n) for n, stride in zip(a.shape, a.strides, strict=True) if n > 1):
        if stride <= reach:
            return False
        reach += (n - 1) * stride
    return True


def places(shape: tuple[int, ...], offset: int, strides: tuple[int, ...], itemsize: int) -> np.ndarray:
    """Which elements of a flat stretch of memory an array shows, whose offset and strides are in bytes."""
    found = np.asarray(offset // itemsize)
    for n, stride in zip(shape, strides, strict=True):
        found = found[..., None] + np.arange(n) * (stride // itemsize)
    return found


def dense(a: np.ndarray) -> bool:
    """Whether the elements lie in one stretch of memory without gaps, each in a place of its own."""
    low, _, high = span(a)
    return high - low == a.nbytes and not overlaps(a)


def order(a: np.ndarray) -> Literal["C", "K"]:
    """In which order a copy lies in memory: as the array does, but in order if elements share their places."""
    return "C" if overlaps(a) else "K"


def window(base: np.ndarray, view: np.ndarray) -> tuple:
    """Where both arrays lie in a flat stretch of memory: its length, and a shape, offset and strides of each."""
    low, first, high = span(base)
    low_view, first_view, high_view = span(view)
    if view.size and not low <= low_view <= high_view <= high:
        raise RuntimeError("a view no longer lies in the memory of its base: the .data of one of them was replaced")
    size = (high - low) // base.itemsize
    return size, (base.shape, first - low, base.strides), (view.shape, first_view - low, view.strides)


def frames(window: tuple, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An array laid out as the base was, in the memory of `flat`, and the view of it."""
    around, inside = (
        at(flat, shape, strides, offset) if 0 not in shape else np.empty(shape, flat.dtype, like=flat)
        for shape, offset, strides in window[1:]
    )
    return around, inside


def memory_of(array: np.ndarray) -> np.ndarray:
    """The array that `array` is a view of in the end."""
    base = array.base
    while base is not None:
        if isinstance(base, np.ndarray):
            array = base
        base = getattr(base, "base", None)  # as_strided puts an object that is no array between the two
    return array


def memory_order(x: np.ndarray) -> tuple[int, ...]:
    """The axes of `x`, from the one with the largest steps in memory to the one with the smallest: the order in which
    torch draws numbers for it.  An axis that was expanded stays where it is.
    """
    return order_of(x.shape, (x.shape, x.strides)) or tuple(range(x.ndim))


def laid_as(out: Any, *operands: Any) -> Any:
    """The result of an operation on the elements of `operands` as torch's would lie in memory: itself or a copy."""
    axes = order_of(out.shape, *[(a.shape, a.strides) for a in operands])
    return contiguous(out) if axes is None else ordered(out, axes)


def ordered(a: Any, axes: tuple[int, ...]) -> Any:
    """An array whose axes lie in memory in this order, without gaps: itself or a copy."""
    moved = a.transpose(axes)
    return a if moved.flags.c_contiguous else contiguous(moved).transpose(inverse(axes))
