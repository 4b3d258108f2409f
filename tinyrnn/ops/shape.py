"""Views and copies that only move elements: NumPy's, under torch's names and rules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes
from .common import Op, apply, axis, expect_tensor, run, sizes


class View(Op):
    """The same memory in another shape."""

    view = True

    @staticmethod
    def forward(a, *, shape):
        return a.reshape(shape), (a.shape,)

    @staticmethod
    def backward(saved, needs, g):
        return g.reshape(saved[0])


def resolve(shape: Sequence[int], a: np.ndarray) -> tuple[int, ...]:
    """`shape` with its -1 filled in; torch's RuntimeError if it does not fit."""
    known = math.prod(n for n in shape if n != -1)
    unknown = sum(n == -1 for n in shape)
    if unknown > 1:
        raise RuntimeError("only one dimension can be inferred")
    if any(n < -1 for n in shape):
        raise RuntimeError(f"invalid shape dimension {next(n for n in shape if n < -1)}")
    if unknown and known == 0 and a.size == 0:
        raise RuntimeError(
            f"cannot reshape tensor of 0 elements into shape {list(shape)} because the unspecified dimension size -1 "
            "can be any value and is ambiguous"
        )
    if a.size % known if unknown and known else a.size != known:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {a.size}")
    return tuple(a.size // known if n == -1 else n for n in shape)


def view(input: Any, *shape: Any) -> Any:
    """The same memory in another shape; RuntimeError if only a copy could have it.  view(dtype) reinterprets the
    bytes.
    """
    if len(shape) == 1 and isinstance(shape[0], dtypes.dtype):
        return apply(Bytes, input, dtype=shape[0].numpy)
    a = input.array
    size = resolve(sizes(shape, "view"), a)
    try:
        np.reshape(a, size, copy=False)
    except ValueError:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
            "contiguous subspaces). Use .reshape(...) instead."
        ) from None
    return run(View, (input,), (a,), shape=size)


class Bytes(Op):
    view = True

    @staticmethod
    def forward(a, *, dtype):
        return a.view(dtype), ()

    @staticmethod
    def backward(saved, needs, g):
        return None


def reshape(input: Any, *shape: Any) -> Any:
    """The same elements in another shape: a view if possible, else a copy."""
    expect_tensor(input, "reshape")
    return run(View, (input,), (input.array,), shape=resolve(sizes(shape, "reshape"), input.array))


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Dimensions start_dim to end_dim as one."""
    shape = expect_tensor(input, "flatten").array.shape
    if not shape:
        return reshape(input, 1)
    start, end = axis(start_dim, len(shape)), axis(end_dim, len(shape))
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    return reshape(input, (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


def unflatten(input: Any, dim: int, sizes: Sequence[int]) -> Any:
    """Dimension `dim` as several."""
    shape = expect_tensor(input, "unflatten").array.shape
    at = axis(dim, len(shape))
    parts = resolve(tuple(sizes), np.empty(shape[at], bool))
    return reshape(input, (*shape[:at], *parts, *shape[at + 1 :]))


class Permute(Op):
    view = True

    @staticmethod
    def forward(a, *, order):
        return a.transpose(order), (order,)

    @staticmethod
    def backward(saved, needs, g):
        return g.transpose(np.argsort(saved[0]))


def permute(input: Any, *dims: Any) -> Any:
    """The dimensions in another order."""
    ndim = expect_tensor(input, "permute").array.ndim
    order = [axis(d, ndim) for d in sizes(dims, "permute")]
    if len(order) != ndim:
        raise RuntimeError(
            f"permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired "
            f"ordering of dimensions i.e. input.dim() = {ndim} is not equal to len(dims) = {len(order)}"
        )
    if len(set(order)) != ndim:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return run(Permute, (input,), (input.array,), order=tuple(order))


def transpose(input: Any, dim0: int, dim1: int) -> Any:
    """Dimensions dim0 and dim1 swapped."""
    ndim = expect_tensor(input, "transpose").array.ndim
    i, j = axis(dim0, ndim), axis(dim1, ndim)
    order = list(range(ndim))
    if ndim:
        order[i], order[j] = j, i
    return run(Permute, (input,), (input.array,), order=tuple(order))


def t(input: Any) -> Any:
    """The transpose of a matrix; a vector as it is."""
    ndim = expect_tensor(input, "t").array.ndim
    if ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {ndim}D")
    return run(Permute, (input,), (input.array,), order=(1, 0) if ndim == 2 else tuple(range(ndim)))


def movedim(input: Any, source: int, destination: int) -> Any:
    """Dimension `source` moved to `destination`."""
    ndim = expect_tensor(input, "movedim").array.ndim
    order = [i for i in range(ndim) if i != axis(source, ndim)]
    order.insert(axis(destination, ndim), axis(source, ndim))
    return permute(input, order)


def unsqueeze(input: Any, dim: int) -> Any:
    """A dimension of size one more, at `dim`."""
    shape = expect_tensor(input, "unsqueeze").array.shape
    at = axis(dim, len(shape) + 1)
    return run(View, (input,), (input.array,), shape=(*shape[:at], 1, *shape[at:]))


def squeeze(input: Any, dim: Any = None) -> Any:
    """Without its dimensions of size one, or without those in `dim` that have size one."""
    shape = expect_tensor(input, "squeeze").array.shape
    chosen = (
        range(len(shape))
        if dim is None
        else [axis(d, len(shape)) for d in (dim if isinstance(dim, (tuple, list)) else [dim])]
    )
    return run(View, (input,), (input.array,), shape=tuple(n for i, n in enumerate(shape) if n != 1 or i not in chosen))


class Expand(Op):
    view = True

    @staticmethod
    def forward(a, *, shape):
        # np.broadcast_to marks its result read-only; writes are refused by check_writable, with torch's error
        return np.lib.stride_tricks.as_strided(a, shape, np.broadcast_to(a, shape).strides), ()

    @staticmethod
    def backward(saved, needs, g):
        return g  # the tape sums it to the input's shape


def expand(input: Any, *shape: Any) -> Any:
    """A view with dimensions of size one repeated, and new dimensions in front; -1 keeps a size."""
    a = expect_tensor(input, "expand").array
    size = sizes(shape, "expand")
    if len(size) < a.ndim:
        raise RuntimeError(
            f"expand: the number of sizes provided ({len(size)}) must be greater or equal to the "
            "number of dimensions in "
            f"the tensor ({a.ndim})"
        )
    offset = len(size) - a.ndim
    target = []
    for i, n in enumerate(size):
        have = a.shape[i - offset] if i >= offset else None
        if n == -1:
            if have is None:
                raise RuntimeError(
                    f"The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension {i}"
                )
            n = have
        elif have not in (None, 1, n):
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({have}) at "
                "non-singleton dimension "
                f"{i}.  Target sizes: {list(size)}.  Tensor sizes: {list(a.shape)}"
            )
        target.append(n)
    return run(Expand, (input,), (a,), shape=tuple(target))


def expand_as(input: Any, other: Any) -> Any:
    """input, expanded to the shape of `other`."""
    return expand(input, other.array.shape)


class Repeat(Op):
    @staticmethod
    def forward(a, *, repeats):
        return np.tile(a, repeats), (a.shape, repeats)

    @staticmethod
    def backward(saved, needs, g):
        shape, repeats = saved
        shape = (1,) * (len(repeats) - len(shape)) + shape
        split = g.reshape([n for pair in zip(repeats, shape, strict=True) for n in pair])
        return split.sum(axis=tuple(range(0, split.ndim, 2)))


def repeat(input: Any, *repeats: Any) -> Any:
    """The tensor laid side by side, repeats[i] times along dimension i."""
    counts = sizes(repeats, "repeat")
    if len(counts) < input.array.ndim:
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    if any(n < 0 for n in counts):
        raise RuntimeError(f"Trying to create tensor with negative dimension in repeat: {list(counts)}")
    return run(Repeat, (input,), (input.array,), repeats=counts)


class Cat(Op):
    @staticmethod
    def forward(*arrays, axis):
        return np.concatenate(arrays, axis), (axis, [a.shape[axis] for a in arrays])

    @staticmethod
    def backward(saved, needs, g):
        axis, widths = saved
        return tuple(np.split(g, np.cumsum(widths)[:-1], axis))


def tensors_of(tensors: Any, call: str) -> list[Any]:
    """A sequence of tensors, promoted to one type; torch's errors if it is none or empty."""
    if isinstance(tensors, (str, dict)) or not isinstance(tensors, Sequence):
        raise TypeError(
            f"{call}(): argument 'tensors' (position 1) must be tuple of Tensors, not {type(tensors).__name__}"
        )
    for i, x in enumerate(tensors):
        if not hasattr(x, "array"):
            raise TypeError(f"expected Tensor as element {i} in argument 0, but got {type(x).__name__}")
    return list(tensors)


def cat(tensors: Any, dim: int = 0) -> Any:
    """Tensors joined along an existing dimension."""
    chosen = tensors_of(tensors, "cat")
    if not chosen:
        raise ValueError("cat(): expected a non-empty list of Tensors")
    for i, x in enumerate(chosen):
        if x.array.ndim == 0:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
    kept = [x for x in chosen if x.array.shape != (0,)] or chosen[:1]  # torch skips empty vectors
    ndim = kept[0].array.ndim
    along = axis(dim, ndim)
    for i, x in enumerate(kept):
        if x.array.ndim != ndim:
            raise RuntimeError(f"Tensors must have same number of dimensions: got {ndim} and {x.array.ndim}")
        for d, (m, n) in enumerate(zip(kept[0].array.shape, x.array.shape, strict=True)):
            if d != along and m != n:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {along}. Expected size {m} but got size {n} for "
                    f"tensor number {i} in the list."
                )
    dtype = dtypes.promote(*(x.array for x in chosen))
    return run(Cat, kept, [x.array.astype(dtype, copy=False) for x in kept], axis=along)


class Stack(Op):
    @staticmethod
    def forward(*arrays, axis):
        return np.stack(arrays, axis), (axis,)

    @staticmethod
    def backward(saved, needs, g):
        return tuple(np.moveaxis(g, saved[0], 0))


def stack(tensors: Any, dim: int = 0) -> Any:
    """Tensors of one shape joined along a new dimension."""
    chosen = tensors_of(tensors, "stack")
    if not chosen:
        raise RuntimeError("stack expects a non-empty TensorList")
    first = chosen[0].array.shape
    for i, x in enumerate(chosen):
        if x.array.shape != first:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(first)} at entry 0 and "
                f"{list(x.array.shape)} at "
                f"entry {i}"
            )
    dtype = dtypes.promote(*(x.array for x in chosen))
    return run(Stack, chosen, [x.array.astype(dtype, copy=False) for x in chosen], axis=axis(dim, len(first) + 1))


class Split(Op):
    """Consecutive parts along an axis, as views."""

    view = splits = True

    @staticmethod
    def forward(a, *, widths, axis):
        ends = np.cumsum(widths).tolist()
        at = (slice(None),) * axis
        return tuple(a[(*at, slice(e - w, e))] for w, e in zip(widths, ends, strict=True)), (a.shape, widths, axis)

    @staticmethod
    def backward(saved, needs, *gradients):
        shape, widths, axis = saved
        dtype = next(g.dtype for g in gradients if g is not None)
        zeros = [
            np.zeros((*shape[:axis], w, *shape[axis + 1 :]), dtype) if g is None else g
            for g, w in zip(gradients, widths, strict=True)
        ]
        return np.concatenate(zeros, axis)


def split(tensor: Any, split_size_or_sections: Any, dim: int = 0) -> tuple:
    """Consecutive parts along `dim`, as views: each of the given size (the last may be smaller), or of the given
    sizes.
    """
    shape = expect_tensor(tensor, "split", "tensor").array.shape
    if not shape:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    along = axis(dim, len(shape))
    n = shape[along]
    if isinstance(split_size_or_sections, (tuple, list)):
        widths = list(split_size_or_sections)
        if sum(widths) != n or any(w < 0 for w in widths):
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at "
                f"dimension {along}), "
                f"but got split_sizes={widths}"
            )
    else:
        size = split_size_or_sections
        if size < 0 or (size == 0 and n):
            raise RuntimeError(
                f"split expects split_size be non-negative, but got split_size={size}"
                if size < 0
                else f"split_size can only be 0 if dimension size is 0, but got dimension size of {n}"
            )
        widths = [min(size, n - start) for start in range(0, n, size)] if n else [0]
    return run(Split, (tensor,), (tensor.array,), widths=widths, axis=along)


def chunk(input: Any, chunks: int, dim: int = 0) -> tuple:
    """At most `chunks` parts of equal size along `dim` (the last may be smaller), as views."""
    if chunks < 1:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    shape = expect_tensor(input, "chunk").array.shape
    if not shape:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    n = shape[axis(dim, len(shape))]
    return split(input, -(-n // chunks), dim) if n else split(input, [0] * chunks, dim)


class Unbind(Op):
    view = splits = True

    @staticmethod
    def forward(a, *, axis):
        at = (slice(None),) * axis
        return tuple(np.asarray(a[(*at, i, ...)]) for i in range(a.shape[axis])), (a.shape, axis)

    @staticmethod
    def backward(saved, needs, *gradients):
        shape, axis = saved
        dtype = next(g.dtype for g in gradients if g is not None)
        rest = shape[:axis] + shape[axis + 1 :]
        return np.stack([np.zeros(rest, dtype) if g is None else g for g in gradients], axis)


def unbind(input: Any, dim: int = 0) -> tuple:
    """The slices along `dim`, as views."""
    if expect_tensor(input, "unbind").array.ndim == 0:
        raise RuntimeError("Dimension specified as 0 but tensor has no dimensions")
    return run(Unbind, (input,), (input.array,), axis=axis(dim, input.array.ndim))


class Copy(Op):
    @staticmethod
    def forward(a, *, order="K"):
        return a.copy(order), ()

    @staticmethod
    def backward(saved, needs, g):
        return g


def clone(input: Any, *, memory_format: Any = None) -> Any:
    """A copy that the gradient flows through."""
    return run(Copy, (expect_tensor(input, "clone"),), (input.array,))


def contiguous(input: Any, memory_format: Any = None) -> Any:
    """The tensor itself if its elements lie in order in memory, else a copy in which they do."""
    return input if input.array.flags.c_contiguous else run(Copy, (input,), (input.array,), order="C")


class Flip(Op):
    @staticmethod
    def forward(a, *, axes):
        return np.flip(a, axes).copy(), (axes,)

    @staticmethod
    def backward(saved, needs, g):
        return np.flip(g, saved[0]).copy()


def flip(input: Any, *dims: Any) -> Any:
    """The elements in reverse order along `dims`: a copy."""
    ndim = expect_tensor(input, "flip").array.ndim
    return run(Flip, (input,), (input.array,), axes=tuple(axis(d, ndim) for d in sizes(dims, "flip")))


class Roll(Op):
    @staticmethod
    def forward(a, *, shifts, axes):
        return np.roll(a, shifts, axes), (shifts, axes)

    @staticmethod
    def backward(saved, needs, g):
        shifts, axes = saved
        return np.roll(g, tuple(-s for s in shifts) if isinstance(shifts, tuple) else -shifts, axes)


def roll(input: Any, shifts: Any, dims: Any = None) -> Any:
    """The elements moved by `shifts` along `dims`, around the end; over the flat tensor if `dims` is None."""
    shift = tuple(shifts) if isinstance(shifts, (tuple, list)) else shifts
    over = tuple(dims) if isinstance(dims, (tuple, list)) else dims
    return run(Roll, (expect_tensor(input, "roll"),), (input.array,), shifts=shift, axes=over)


class Triangle(Op):
    @staticmethod
    def forward(a, *, cut, diagonal):
        return cut(a, diagonal), (cut, diagonal)

    @staticmethod
    def backward(saved, needs, g):
        cut, diagonal = saved
        return cut(g, diagonal)


def tril(input: Any, diagonal: int = 0) -> Any:
    """The lower triangle of each matrix: zero above the diagonal."""
    return triangle(input, np.tril, diagonal, "tril")


def triu(input: Any, diagonal: int = 0) -> Any:
    """The upper triangle of each matrix: zero below the diagonal."""
    return triangle(input, np.triu, diagonal, "triu")


def triangle(input: Any, cut: Any, diagonal: int, call: str) -> Any:
    if expect_tensor(input, call).array.ndim < 2:
        raise RuntimeError(f"{call}: input tensor must have at least 2 dimensions")
    return run(Triangle, (input,), (input.array,), cut=cut, diagonal=diagonal)


class RepeatInterleave(Op):
    @staticmethod
    def forward(a, *, repeats, axis):
        return np.repeat(a, repeats, axis), (a.shape, repeats, axis)

    @staticmethod
    def backward(saved, needs, g):
        shape, repeats, axis = saved
        out = np.zeros(shape, g.dtype)
        np.add.at(np.moveaxis(out, axis, 0), np.repeat(np.arange(shape[axis]), repeats), np.moveaxis(g, axis, 0))
        return out


def repeat_interleave(input: Any, repeats: Any, dim: int | None = None) -> Any:
    """Each element (or slice along `dim`) repeated, `repeats` times or as often as a tensor of counts says."""
    if dim is None:
        input, dim = reshape(input, -1), 0
    counts = repeats.array if hasattr(repeats, "array") else repeats
    along = axis(dim, input.array.ndim)
    n = input.array.shape[along]
    if np.ndim(counts) and np.size(counts) not in (1, n):
        raise RuntimeError(
            f"repeats must have the same size as input along dim, but got repeats.size(0) = {np.size(counts)} and "
            f"input.size({along}) = {n}"
        )
    if np.any(np.asarray(counts) < 0):
        raise RuntimeError("repeats can not be negative")
    return run(RepeatInterleave, (input,), (input.array,), repeats=counts, axis=along)
