"""Views and copies that only move elements: NumPy's, under torch's names and rules."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes
from .common import (
    Op,
    TensorBase,
    axes,
    axis,
    expect_tensor,
    into,
    numpy_names,
    run,
    sizes,
    unsupported,
    wrap,
)


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


def view(input: Any, *size: Any, **named: Any) -> Any:
    """The same memory in another shape; RuntimeError if only a copy could have it.  view(dtype) reinterprets the
    bytes.
    """
    a = input.array
    dtype = named["dtype"] if not size and set(named) == {"dtype"} else size[0] if len(size) == 1 else None
    if isinstance(dtype, dtypes.dtype):
        return as_bytes(input, dtype.numpy)
    size = resolve(sizes(size, "view", named), a)
    try:
        np.reshape(a, size, copy=False)
    except ValueError:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
            "contiguous subspaces). Use .reshape(...) instead."
        ) from None
    return run(View, (input,), (a,), shape=size)


def as_bytes(input: Any, dtype: np.dtype) -> Any:
    """The same memory as elements of another type; no gradient flows."""
    a = input.array
    try:
        array = a.view(dtype)
    except ValueError:
        raise RuntimeError(
            f"view(): the last dimension of shape {list(a.shape)} ({a.itemsize} bytes an element, strides "
            f"{list(a.strides)} bytes) cannot be seen as elements of {dtype.itemsize} bytes"
        ) from None
    alias = input.detach()
    alias.array = array
    return alias


def reshape(input: Any, *shape: Any, **named: Any) -> Any:
    """The same elements in another shape: a view if possible, else a copy."""
    a = expect_tensor(input, "reshape").array
    return run(View, (input,), (a,), shape=resolve(sizes(shape, "reshape", named, "shape"), a))


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Dimensions start_dim to end_dim as one."""
    shape = expect_tensor(input, "flatten").array.shape
    start, end = axis(start_dim, len(shape)), axis(end_dim, len(shape))
    if not shape:
        return reshape(input, 1)
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    return reshape(input, (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


@numpy_names
def unflatten(input: Any, dim: int, sizes: Sequence[int]) -> Any:
    """Dimension `dim` as several."""
    shape = expect_tensor(input, "unflatten").array.shape
    at = axis(dim, len(shape))
    if not shape:
        raise RuntimeError("unflatten(): the tensor has no dimensions")
    if not sizes:
        raise RuntimeError("unflatten: sizes must be non-empty")
    known = math.prod(n for n in sizes if n != -1)
    if -1 not in sizes and known != shape[at]:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {at} ({shape[at]}) in the "
            "input tensor"
        )
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


def permute(input: Any, *dims: Any, **named: Any) -> Any:
    """The dimensions in another order."""
    ndim = expect_tensor(input, "permute").array.ndim
    order = sizes(dims, "permute", named, "dims")
    if len(order) != ndim:
        raise RuntimeError(
            f"permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired "
            f"ordering of dimensions i.e. input.dim() = {ndim} is not equal to len(dims) = {len(order)}"
        )
    order = tuple(axis(d, ndim) for d in order)
    if len(set(order)) != ndim:
        raise RuntimeError(f"permute(): duplicate dims are not allowed. Got {list(dims)}")
    return run(Permute, (input,), (input.array,), order=order)


def transpose(input: Any, dim0: int, dim1: int) -> Any:
    """Dimensions dim0 and dim1 swapped."""
    ndim = expect_tensor(input, "transpose").array.ndim
    i, j = axis(dim0, ndim), axis(dim1, ndim)
    order = list(range(ndim))
    if ndim:
        order[i], order[j] = j, i
    return run(Permute, (input,), (input.array,), order=tuple(order))


def swapaxes(input: Any, axis0: int, axis1: int) -> Any:
    """Dimensions axis0 and axis1 swapped."""
    return transpose(input, axis0, axis1)


def t(input: Any) -> Any:
    """The transpose of a matrix; a vector as it is."""
    ndim = expect_tensor(input, "t").array.ndim
    if ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {ndim}D")
    return run(Permute, (input,), (input.array,), order=(1, 0) if ndim == 2 else tuple(range(ndim)))


def movedim(input: Any, source: Any, destination: Any) -> Any:
    """Dimension `source` moved to `destination`, or several of them."""
    ndim = expect_tensor(input, "movedim").array.ndim
    moves = [x if isinstance(x, (tuple, list)) else (x,) for x in (source, destination)]
    if len(moves[0]) != len(moves[1]):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({list(moves[0])} dims) should contain the same "
            f"number of dims as destination ({list(moves[1])} dims)"
        )
    origin, target = ([axis(d, ndim) for d in x] for x in moves)
    for name, x in (("source", origin), ("destination", target)):
        if len(set(x)) != len(x):
            raise RuntimeError(f"movedim: repeated dim in `{name}` ({x})")
    order = [i for i in range(ndim) if i not in origin]
    for there, here in sorted(zip(target, origin, strict=True)):
        order.insert(there, here)
    return permute(input, order[:ndim])


@numpy_names
def unsqueeze(input: Any, dim: int) -> Any:
    """A dimension of size one more, at `dim`."""
    shape = expect_tensor(input, "unsqueeze").array.shape
    at = axis(dim, len(shape) + 1)
    return run(View, (input,), (input.array,), shape=(*shape[:at], 1, *shape[at:]))


@numpy_names
def squeeze(input: Any, dim: Any = None) -> Any:
    """Without its dimensions of size one, or without those in `dim` that have size one."""
    shape = expect_tensor(input, "squeeze").array.shape
    chosen = axes(dim, len(shape)) if dim is None or not isinstance(dim, (tuple, list)) or dim else ()
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


def expand(input: Any, *size: Any, **named: Any) -> Any:
    """A view with dimensions of size one repeated, and new dimensions in front; -1 keeps a size."""
    a = expect_tensor(input, "expand").array
    size = sizes(size, "expand", named)
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


class Cat(Op):
    @staticmethod
    def forward(*arrays, axis):
        kept = [a for a in arrays if a.shape != (0,)] or arrays[:1]  # torch skips empty vectors
        return np.concatenate(kept, axis), (axis, [a.shape for a in arrays])

    @staticmethod
    def backward(saved, needs, g):
        axis, shapes = saved
        widths = [0 if shape == (0,) else shape[axis] for shape in shapes]
        parts = np.split(g, np.cumsum(widths)[:-1], axis)
        return tuple(p.reshape(0) if shape == (0,) else p for p, shape in zip(parts, shapes, strict=True))


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


@numpy_names
def cat(tensors: Any, dim: int = 0, *, out: Any = None) -> Any:
    """Tensors joined along an existing dimension."""
    chosen = tensors_of(tensors, "cat")
    if not chosen:
        raise ValueError("cat(): expected a non-empty list of Tensors")
    for i, x in enumerate(chosen):
        if x.array.ndim == 0:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
    kept = [x for x in chosen if x.array.shape != (0,)] or chosen[:1]
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
    return into(out, run(Cat, chosen, [x.array.astype(dtype, copy=False) for x in chosen], axis=along), "cat")


class Stack(Op):
    @staticmethod
    def forward(*arrays, axis):
        return np.stack(arrays, axis), (axis,)

    @staticmethod
    def backward(saved, needs, g):
        return tuple(np.moveaxis(g, saved[0], 0))


@numpy_names
def stack(tensors: Any, dim: int = 0, *, out: Any = None) -> Any:
    """Tensors of one shape joined along a new dimension."""
    chosen = tensors_of(tensors, "stack")
    if not chosen:
        raise RuntimeError("stack expects a non-empty TensorList")
    first = chosen[0].array.shape
    along = axis(dim, len(first) + 1)
    for i, x in enumerate(chosen):
        if x.array.shape != first:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(first)} at entry 0 and "
                f"{list(x.array.shape)} at "
                f"entry {i}"
            )
    dtype = dtypes.promote(*(x.array for x in chosen))
    return into(out, run(Stack, chosen, [x.array.astype(dtype, copy=False) for x in chosen], axis=along), "stack")


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


@numpy_names
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


@numpy_names
def unbind(input: Any, dim: int = 0) -> tuple:
    """The slices along `dim`, as views."""
    if expect_tensor(input, "unbind").array.ndim == 0:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
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


def flip(input: Any, *dims: Any, **named: Any) -> Any:
    """The elements in reverse order along `dims`: a copy."""
    ndim = expect_tensor(input, "flip").array.ndim
    over = sizes(dims, "flip", named, "dims")
    return run(Flip, (input,), (input.array,), axes=axes(over, ndim) if over else ())


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


class Triangle(Op):
    @staticmethod
    def forward(a, *, cut, diagonal):
        return cut(a, diagonal), (cut, diagonal)

    @staticmethod
    def backward(saved, needs, g):
        cut, diagonal = saved
        return cut(g, diagonal)


def tril(input: Any, diagonal: int = 0, *, out: Any = None) -> Any:
    """The lower triangle of each matrix: zero above the diagonal."""
    return into(out, triangle(input, np.tril, diagonal, "tril"), "tril")


def triu(input: Any, diagonal: int = 0, *, out: Any = None) -> Any:
    """The upper triangle of each matrix: zero below the diagonal."""
    return into(out, triangle(input, np.triu, diagonal, "triu"), "triu")


def triangle(input: Any, cut: Any, diagonal: int, call: str) -> Any:
    shape = expect_tensor(input, call).array.shape
    try:
        diagonal = operator.index(diagonal)
    except TypeError:
        raise TypeError(f"{call}(): argument 'diagonal' must be int, not {type(diagonal).__name__}") from None
    if len(shape) < 2:
        raise RuntimeError(f"{call}: input tensor must have at least 2 dimensions, got shape {list(shape)}")
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


@numpy_names
def repeat_interleave(
    input: Any, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Any:
    """Each element (or slice along `dim`) repeated, `repeats` times or as often as a tensor of counts says.

    With one argument, a vector of counts: the position of each count, as often as it says.
    """
    expect_tensor(input, "repeat_interleave")
    if repeats is None:
        input, repeats, dim = wrap(np.arange(input.array.size)), input, 0
        if repeats.array.ndim != 1:
            raise RuntimeError(
                f"repeat_interleave only accept 1D vector as repeat, got one of shape {list(repeats.array.shape)}"
            )
    counts = repeats.array if isinstance(repeats, TensorBase) else np.asarray(operator.index(repeats))
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
    return run(RepeatInterleave, (input,), (input.array,), repeats=counts, axis=along)
