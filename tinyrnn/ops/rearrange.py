"""Copies with the elements in other places, or in several."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..devices import check_same, host, of, put
from ..kernels import twin
from ..strides import contiguous as ordered
from ..strides import copied, copyto, order
from ..tape import entitled
from .common import (
    Op,
    TensorBase,
    axes,
    axis,
    expect_tensor,
    numpy_names,
    run,
    sizes,
    unsupported,
    wrap,
)
from .shape import reshape, transpose

sums, indices = twin("reduce"), twin("index")


def laid(repeats: Sequence[int], shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A repeated array with an axis of its own for the copies along each axis that has several; and which these are."""
    found: list[int] = []
    over: list[int] = []
    for n, width in zip(repeats, (1,) * (len(repeats) - len(shape)) + shape, strict=True):
        if n != 1:
            over.append(len(found))
            found.append(n)
        found.append(width)
    return tuple(found), tuple(over)


class Repeat(Op):
    @staticmethod
    def forward(a, *, repeats):
        shape = (1,) * (len(repeats) - a.ndim) + a.shape
        out = np.empty(tuple(n * width for n, width in zip(repeats, shape, strict=True)), a.dtype, like=a)
        apart, over = laid(repeats, a.shape)
        if out.size:
            copyto(out.reshape(apart), a.reshape(tuple(1 if k in over else n for k, n in enumerate(apart))))
        return out, (a.shape, repeats)

    @staticmethod
    def backward(saved, needs, g):
        shape, repeats = saved
        apart, over = laid(repeats, shape)
        return sums.sum(ordered(g).reshape(apart), over).reshape(shape) if over else g.reshape(shape)


def repeat(input: Any, *repeats: Any, **named: Any) -> Any:
    """The tensor laid side by side, repeats[i] times along dimension i."""
    counts = sizes(repeats, "repeat", named, "repeats")
    if len(counts) < input.array.ndim:
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor "
            f"({len(counts)} and {input.array.ndim})"
        )
    if any(n < 0 for n in counts):
        raise RuntimeError(f"Trying to create tensor with negative dimension in repeat: {list(counts)}")
    return run(Repeat, (input,), (input.array,), repeats=counts)


class Copy(Op):
    @staticmethod
    def forward(a, *, in_order=False):
        return ordered(a) if in_order and not a.flags.c_contiguous else copied(a), ()

    @staticmethod
    def backward(saved, needs, g):
        return g


def clone(input: Any, *, memory_format: Any = None) -> Any:
    """A copy that the gradient flows through."""
    return run(Copy, (expect_tensor(input, "clone"),), (input.array,))


def contiguous(input: Any, memory_format: Any = None) -> Any:
    """The tensor itself if its elements lie in order in memory, else a copy in which they do."""
    return input if input.array.flags.c_contiguous else run(Copy, (input,), (input.array,), in_order=True)


class Flip(Op):
    @staticmethod
    def forward(a, *, axes):
        turned = np.flip(a, axes)
        if a.flags.c_contiguous and not turned.flags.c_contiguous:
            return ordered(turned), (axes,)
        out = np.empty_like(a, order=order(a))
        out[...] = turned
        return out, (axes,)

    @staticmethod
    def backward(saved, needs, g):
        return np.flip(g, saved[0]).copy()


def flip(input: Any, *dims: Any, **named: Any) -> Any:
    """The elements in reverse order along `dims`: a copy."""
    ndim = expect_tensor(input, "flip").array.ndim
    over = sizes(dims, "flip", named, "dims")
    return run(Flip, (input,), (input.array,), axes=axes(over, ndim) if over else ())


class Roll(Op):
    @staticmethod
    def forward(a, *, shifts, axes):
        return np.asarray(np.roll(a, shifts, axes), order="C", like=a), (shifts, axes)

    @staticmethod
    def backward(saved, needs, g):
        shifts, axes = saved
        return np.roll(g, tuple(-s for s in shifts) if isinstance(shifts, tuple) else -shifts, axes)


def roll(input: Any, shifts: Any, dims: Any = None) -> Any:
    """The elements moved by `shifts` along `dims`, around the end; over the flat tensor if `dims` is None."""
    a = expect_tensor(input, "roll").array
    shift = sizes((shifts,), "roll")
    over = () if dims is None else sizes((dims,), "roll")
    if not shift:
        raise RuntimeError("`shifts` required")
    if len(shift) != len(over) and (over or len(shift) > 1):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shift)}, dims:{len(over)}")
    if a.size == 0:
        return input.clone()
    for d in over:
        if a.ndim == 0:
            raise IndexError(f"Dimension specified as {d} but tensor has no dimensions")
    where = tuple(axis(d, a.ndim) for d in over)
    return run(Roll, (input,), (a,), shifts=shift if where else shift[0], axes=where or None)


class RepeatInterleave(Op):
    @staticmethod
    def forward(a, *, repeats, axis):
        if repeats.size == 1:
            n, shape = int(repeats.reshape(-1)[0]), a.shape
            out = np.empty((*shape[:axis], n * shape[axis], *shape[axis + 1 :]), a.dtype, like=a)
            if out.size:
                inner = math.prod(shape[axis + 1 :])
                copyto(out.reshape(-1, n, inner), a.reshape(-1, 1, inner))
            return out, (shape, repeats, axis)
        if type(a) is np.ndarray:
            return np.repeat(a, repeats, axis), (a.shape, repeats, axis)
        places = np.repeat(np.arange(a.shape[axis]), repeats)
        return np.take(a, put(places, of(a)), axis), (a.shape, repeats, axis)

    @staticmethod
    def backward(saved, needs, g):
        shape, repeats, axis = saved
        if repeats.size == 1 and g.size:
            n, inner = int(repeats.reshape(-1)[0]), math.prod(shape[axis + 1 :])
            return sums.sum(ordered(g).reshape(-1, n, inner), (1,)).reshape(shape)
        rest = (*shape[:axis], *shape[axis + 1 :])
        out = np.zeros((shape[axis], math.prod(rest)), g.dtype, like=g)
        if g.size:
            places = put(np.repeat(np.arange(shape[axis]), repeats), of(g))
            rows = ordered(np.moveaxis(g, axis, 0)).reshape(len(places), -1)
            indices.scatter_add_rows(out, places, rows)
        return ordered(np.moveaxis(out.reshape(shape[axis], *rest), 0, axis))


@numpy_names
def repeat_interleave(
    input: Any, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Any:
    """Each element (or slice along `dim`) repeated, `repeats` times or as often as a tensor of counts says.

    With one argument, a vector of counts: the position of each count, as often as it says.
    """
    expect_tensor(input, "repeat_interleave")
    if repeats is None:
        input, repeats, dim = wrap(np.arange(input.array.size, like=input.array)), input, 0
        if repeats.array.ndim != 1:
            raise RuntimeError(
                f"repeat_interleave only accept 1D vector as repeat, got one of shape {list(repeats.array.shape)}"
            )
    if isinstance(repeats, TensorBase):
        check_same(input.array, repeats.array)
    counts = host(repeats.array).copy() if isinstance(repeats, TensorBase) else np.asarray(operator.index(repeats))
    if counts.dtype not in (np.int64, np.int32):
        raise unsupported("repeat_interleave", counts.dtype)
    if counts.ndim > 1:
        raise RuntimeError(f"repeats must be 0-dim or 1-dim tensor, got one of shape {list(counts.shape)}")
    if np.any(counts < 0):
        raise RuntimeError(f"Repeats must be non-negative, got {counts.min()}")
    if dim is None:
        input, dim = reshape(input, -1), 0
    if input.array.ndim == 0:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    along = axis(dim, input.array.ndim)
    n = input.array.shape[along]
    if counts.size not in (1, n):
        raise RuntimeError(
            f"repeats must have the same size as input along dim, but got repeats.size(0) = {counts.size} and "
            f"input.size({along}) = {n}"
        )
    total = int(np.broadcast_to(counts, n).sum())
    if output_size is not None and output_size != total:
        raise RuntimeError(f"allocated size does not match required size ({output_size} and {total})")
    found = run(RepeatInterleave, (input,), (input.array,), repeats=counts, axis=along)
    return entitled(found, "IndexSelectBackward0" if isinstance(repeats, TensorBase) else "ViewBackward0")


def tile(input: Any, *dims: Any, **named: Any) -> Any:
    """The tensor laid side by side, dims[i] times along dimension i, counted from the last."""
    counts = sizes(dims, "tile", named, "dims")
    return repeat(input, (*(1,) * (expect_tensor(input, "tile").array.ndim - len(counts)), *counts))


def fliplr(input: Any) -> Any:
    """The columns in reverse order."""
    if expect_tensor(input, "fliplr").array.ndim < 2:
        raise RuntimeError(f"Input must be >= 2-d (fliplr() got {input.array.ndim}-d)")
    return flip(input, 1)


def flipud(input: Any) -> Any:
    """The rows in reverse order."""
    if expect_tensor(input, "flipud").array.ndim < 1:
        raise RuntimeError("Input must be >= 1-d (flipud() got 0-d)")
    return flip(input, 0)


def rot90(input: Any, k: int = 1, dims: Any = (0, 1)) -> Any:
    """Turned by 90 degrees, `k` times, from the first of `dims` towards the second."""
    ndim, over = expect_tensor(input, "rot90").array.ndim, sizes((dims,), "rot90")
    if len(over) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(over)}")
    if ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {ndim}")
    if axis(over[0], ndim) == axis(over[1], ndim):
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {over[0]} and dim1 = {over[1]}")
    match k % 4:
        case 1:
            turned = transpose(flip(input, over[1]), *over)
        case 2:
            turned = flip(input, over)
        case 3:
            turned = transpose(flip(input, over[0]), *over)
        case _:
            turned = run(Copy, (input,), (input.array,), in_order=True)
    return entitled(turned, "Rot90Backward0")
