"""What an index means, by NumPy's rules; and positions: where something holds, and where that is along each axis."""

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .array import Array, download, empty, upload
from .elementwise import copy
from .index_kernels import coordinate, count_up, each, steps_of
from .radix import held


@dataclass
class Index:
    """`view` of an array with arrays of indices for its axes `axes`; they are broadcast to the shape `lot`.

    The result has the axes of `lot` at `place` among the other axes of `view`.
    """

    view: Array
    axes: list[int]
    ids: list[Array]  # of int64
    origins: list[int]  # which axes of the array, not of the view, `axes` are
    lot: tuple[int, ...]
    place: int
    distinct: bool  # no place is named twice
    sure: bool  # all indices are known to be in range

    @functools.cached_property
    def others(self) -> list[int]:
        return [axis for axis in range(self.view.ndim) if axis not in self.axes]

    @property
    def sizes_of_others(self) -> tuple[int, ...]:
        return tuple([self.view.shape[axis] for axis in self.others])

    @property
    def steps_of_others(self) -> tuple[int, ...]:
        steps = steps_of(self.view)
        return tuple([steps[axis] for axis in self.others])

    def spread(self, in_lot: tuple[int, ...], in_others: tuple[int, ...]) -> tuple[int, ...]:
        """What belongs to the axes of `lot` and what to the others, in the order of the result's axes."""
        return (*in_others[: self.place], *in_lot, *in_others[self.place :])

    @property
    def shape(self) -> tuple[int, ...]:
        return self.spread(self.lot, self.sizes_of_others)

    def steps(self) -> tuple[int, ...]:
        """The steps of `view` along the result's axes."""
        return self.spread((0,) * len(self.lot), self.steps_of_others)

    def along_lot(self, ids: Array) -> tuple[int, ...]:
        """The steps of an array of the shape `lot` along the result's axes."""
        return self.spread(steps_of(ids, self.lot), (0,) * len(self.others))

    def check(self, wrong: Array) -> None:
        """IndexError for the first wrong index, if the device has found one."""
        if not self.sure and wrong:
            for ids, axis, origin in zip(self.ids, self.axes, self.origins, strict=True):
                check_host(download(ids), self.view.shape[axis], origin)


def understood(a: Array, index: Any, sure: bool = False) -> Index:
    """An index with arrays, by NumPy's rules; raises IndexError, in NumPy's words.

    `sure`: the caller knows that all are in range, which the device would have to be asked for.
    """
    items = [as_item(i) for i in (index if type(index) is tuple else (index,))]
    if sum(i is Ellipsis for i in items) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    used = sum(i.ndim if is_mask(i) else 1 for i in items if i is not None and i is not Ellipsis)
    if used > a.ndim:
        raise IndexError(f"too many indices for array: array is {a.ndim}-dimensional, but {used} were indexed")
    at = next((k for k, i in enumerate(items) if i is Ellipsis), len(items))
    fill = [slice(None)] * (a.ndim - used)
    rest = items[at + 1 :]
    basic: list[Any] = []  # makes the view
    axes: list[int] = []
    ids: list[Any] = []
    numbers: list[int] = []  # of the items that are arrays or integers
    origins: list[int] = []
    axis = ndim = place = 0
    for number, i in enumerate([*items[:at], *(fill or [Ellipsis]), *rest]):
        if i is Ellipsis:
            continue
        if i is None or isinstance(i, slice):
            basic.append(i)
            axis += i is not None
            ndim += 1
            continue
        place = place if numbers else ndim
        numbers.append(number)
        if isinstance(i, np.ndarray) and i.ndim == 0 and i.dtype.kind != "b":
            check_host(i, a.shape[axis], axis)
            basic.append(int(i))
            axis += 1
            continue
        if is_mask(i):
            check_mask(a, i, axis)
        for array in as_numbers(i):
            basic.append(slice(None) if i.ndim or not is_mask(i) else None)
            axes.append(ndim)
            origins.append(axis)
            ids.append(array)
            ndim += 1
            axis += basic[-1] is not None
    try:
        lot = np.broadcast_shapes(*[i.shape for i in ids])
    except ValueError:
        shapes = " ".join(str(i.shape).replace(" ", "") for i in ids)
        raise IndexError(
            f"shape mismatch: indexing arrays could not be broadcast together with shapes {shapes} "
        ) from None
    view = a._part(tuple(basic))
    for i, k, origin in zip(ids, axes, origins, strict=True):
        if isinstance(i, np.ndarray):
            check_host(i, view.shape[k], origin)
    together = numbers[-1] - numbers[0] == len(numbers) - 1
    distinct = [is_mask(i) for i in items if isinstance(i, Array) or isinstance(i, np.ndarray) and i.ndim] == [True]
    sure = sure or not any(isinstance(i, Array) and not is_mask(i) for i in items)
    return Index(view, axes, [as_ids(i) for i in ids], origins, lot, place if together else 0, distinct, sure)


def as_numbers(i: Any) -> tuple:
    """An array of indices, or those where a mask holds."""
    if not is_mask(i):
        return (i,)
    if i.ndim == 0:
        return (np.zeros(int(bool(i)), np.int64),)
    return nonzero(i) if isinstance(i, Array) else i.nonzero()


def as_item(i: Any) -> Any:
    """An item of an index as None, Ellipsis, a slice, or an array of whole numbers or truth values."""
    if i is None or i is Ellipsis or isinstance(i, slice):
        return i
    if not isinstance(i, Array):
        listed = isinstance(i, (list, tuple))
        i = np.asarray(i)
        if listed and not i.size:
            i = i.astype(np.int64)
    if i.dtype.kind not in "iub":
        if i.ndim:
            raise IndexError("arrays used as indices must be of integer (or boolean) type")
        raise IndexError(
            "only integers, slices (`:`), ellipsis (`...`), numpy.newaxis (`None`) and integer or boolean arrays are "
            "valid indices"
        )
    return i


def is_mask(i: Any) -> bool:
    return isinstance(i, (Array, np.ndarray)) and i.dtype.kind == "b"


def check_mask(a: Array, mask: Any, axis: int) -> None:
    for k, (have, want) in enumerate(zip(mask.shape, a.shape[axis:], strict=False)):
        if have != want:
            raise IndexError(
                f"boolean index did not match indexed array along axis {axis + k}; size of axis is {want} but size of "
                f"corresponding boolean axis is {have}"
            )


def check_host(i: np.ndarray, n: int, axis: int) -> None:
    """IndexError for the first index that is no element of an axis of n."""
    wrong = i[(i < -n) | (i >= n)]
    if wrong.size:
        raise IndexError(f"index {wrong.flat[0]} is out of bounds for axis {axis} with size {n}")


def as_ids(i: Any) -> Array:
    return upload(np.asarray(i, np.int64)) if isinstance(i, np.ndarray) else i.astype(np.int64, copy=False)


# ------------------------------------------------------------------------------------------ positions
def ramp(n: int, start: int = 0, step: int = 1) -> Array:
    """start, start + step, ..."""
    out = empty(n, np.int64)
    each(count_up, n, n, start, step, out)
    return out


def flat_nonzero(a: Array) -> Array:
    """The positions of the elements that are not zero, in order."""
    mask = a if a.dtype.kind == "b" else a != 0
    return held(mask if mask.flags.c_contiguous else copy(mask))


def nonzero(a: Array) -> tuple[Array, ...]:
    """np.nonzero."""
    if not a.ndim:
        raise ValueError("Calling nonzero on 0d arrays is not allowed. Use np.atleast_1d(scalar).nonzero() instead.")
    return unraveled(flat_nonzero(a), a.shape)


def unraveled(flat: Array, shape: tuple[int, ...]) -> tuple[Array, ...]:
    """np.unravel_index of positions that are in range."""
    if len(shape) == 1:
        return (flat,)
    out, below = [], math.prod(shape)
    for n in shape:
        below //= max(n, 1)
        out.append(empty(flat.shape, np.int64))
        each(coordinate, flat.size, flat, flat.size, below, n, out[-1])
    return tuple(out)
