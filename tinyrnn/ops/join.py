"""Joining tensors, and taking them apart."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import dtypes
from ..devices import TWO_DEVICES, check_same
from .common import Op, TensorBase, axis, expect_tensor, into, numpy_names, record, run
from .create import empty
from .index import Slice
from .shape import atleast_1d, atleast_2d, atleast_3d, reshape


class Cat(Op):
    @staticmethod
    def forward(*arrays, axis):
        shapes = [a.shape for a in arrays]
        if (0,) in shapes:  # torch skips empty vectors
            arrays = [a for a in arrays if a.shape != (0,)] or arrays[:1]
        return np.asarray(np.concatenate(arrays, axis), order="C", like=arrays[0]), (axis, shapes)

    @staticmethod
    def backward(saved, needs, g):
        axis, shapes = saved
        at, parts, first = (slice(None),) * axis, [], 0
        for shape in shapes:
            width = 0 if shape == (0,) else shape[axis]
            part = g[(*at, slice(first, first + width))]
            parts.append(part if width or shape != (0,) else part.reshape(0))
            first += width
        return tuple(parts)


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


def alike(tensors: list[Any]) -> list[np.ndarray]:
    """The arrays of tensors, in the type that they have together."""
    arrays = [x.array for x in tensors]
    if len({a.dtype for a in arrays}) == 1:
        return arrays
    dtype = dtypes.promote(*arrays)
    return [a.astype(dtype, copy=False) for a in arrays]


def joined(out: Any, result: Any, call: str, tensors: Sequence[Any]) -> Any:
    """`into`, with the class of error that torch has here."""
    if out is not None and not dtypes.can_cast(result.dtype, expect_tensor(out, call, "out").dtype):
        raise TypeError(
            f"torch.{call}(): input types can't be cast to the desired output type {dtypes.word(out.array.dtype)}"
        )
    return into(out, result, call, apart=tensors)


@numpy_names
def cat(tensors: Any, dim: int = 0, *, out: Any = None) -> Any:
    """Tensors joined along an existing dimension."""
    chosen = tensors_of(tensors, "cat")
    if not chosen:
        raise ValueError("cat(): expected a non-empty list of Tensors")
    shapes = [x.array.shape for x in chosen]
    if () in shapes:
        raise RuntimeError(f"zero-dimensional tensor (at position {shapes.index(())}) cannot be concatenated")
    kept = [shape for shape in shapes if shape != (0,)] or shapes[:1]
    first = kept[0]
    ndim = len(first)
    along = axis(dim, ndim)
    for i, shape in enumerate(kept):
        if shape == first:
            continue
        if len(shape) != ndim:
            raise RuntimeError(f"Tensors must have same number of dimensions: got {ndim} and {len(shape)}")
        if shape[:along] != first[:along] or shape[along + 1 :] != first[along + 1 :]:
            m, n = next((m, n) for d, (m, n) in enumerate(zip(first, shape, strict=True)) if d != along and m != n)
            raise RuntimeError(
                f"Sizes of tensors must match except in dimension {along}. Expected size {m} but got size {n} for "
                f"tensor number {i} in the list."
            )
    return joined(out, run(Cat, chosen, alike(chosen), axis=along), "cat", chosen)


class Stack(Op):
    @staticmethod
    def forward(*arrays, axis):
        before = (slice(None),) * axis
        shape = arrays[0].shape
        out = np.empty((*shape[:axis], len(arrays), *shape[axis:]), arrays[0].dtype, like=arrays[0])
        here = type(out)
        if axis < len(shape) and here is np.ndarray and {*map(type, arrays)} == {here}:  # one after the other
            np.concatenate(arrays, axis, out=out.reshape(*shape[:axis], len(arrays) * shape[axis], *shape[axis + 1 :]))
            return out, (before,)
        for k, a in enumerate(arrays):
            if type(a) is not here:
                raise RuntimeError(TWO_DEVICES)
            out[(*before, k)] = a
        return out, (before,)

    @staticmethod
    def backward(saved, needs, g):
        (before,) = saved
        return tuple([g[(*before, k)] for k in range(len(needs))])


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
    return joined(out, run(Stack, chosen, alike(chosen), axis=along), "stack", chosen)


class Split(Op):
    """Consecutive parts along an axis, as views."""

    view = splits = True

    @staticmethod
    def forward(a, *, widths, axis):
        at, parts, start = (slice(None),) * axis, [], 0
        for w in widths:
            parts.append(a[(*at, slice(start, start + w))])
            start += w
        return tuple(parts), (a.shape, widths, axis)

    @staticmethod
    def backward(saved, needs, *gradients):
        shape, widths, axis = saved
        if any(g is None for g in gradients):
            some = next(g for g in gradients if g is not None)
            sizes = [(*shape[:axis], w, *shape[axis + 1 :]) for w in widths]
            gradients = [
                np.zeros(s, some.dtype, like=some) if g is None else g for g, s in zip(gradients, sizes, strict=True)
            ]
        return np.concatenate(gradients, axis)


SplitWithSizes = Split.called("SplitWithSizesBackward0")


def split(tensor: Any, split_size_or_sections: Any, dim: int = 0, _op: type[Op] = Split) -> tuple:
    """Consecutive parts along `dim`, as views: each of the given size (the last may be smaller), or of the given
    sizes.
    """
    shape = expect_tensor(tensor, "split", "tensor").array.shape
    if not shape:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    along = axis(dim, len(shape))
    n = shape[along]
    if isinstance(split_size_or_sections, (tuple, list)):
        widths, _op = list(split_size_or_sections), SplitWithSizes if _op is Split else _op
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
        widths = even(n, size) if n else [0]
    return record(_op, (tensor,), _op.forward(tensor.array, widths=widths, axis=along))


def even(n: int, size: int) -> list[int]:
    """The widths of n, in parts of a size; the last may be smaller."""
    return [size] * (n // size) + [n % size] * (n % size > 0)


@numpy_names
def chunk(input: Any, chunks: int, dim: int = 0, _op: type[Op] = Split) -> tuple:
    """At most `chunks` parts of equal size along `dim` (the last may be smaller), as views."""
    if chunks < 1:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    shape = expect_tensor(input, "chunk").array.shape
    if not shape:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    along = axis(dim, len(shape))
    n = shape[along]
    if not n:
        return split(input, [0] * chunks, along, _op)
    return record(_op, (input,), _op.forward(input.array, widths=even(n, -(-n // chunks)), axis=along))


class Unbind(Op):
    view = splits = True

    @staticmethod
    def forward(a, *, axis):
        at = (slice(None),) * axis
        return tuple(a[(*at, i, ...)] for i in range(a.shape[axis])), (a.shape, axis)

    @staticmethod
    def backward(saved, needs, *gradients):
        shape, axis = saved
        some = next(g for g in gradients if g is not None)
        rest = shape[:axis] + shape[axis + 1 :]
        return np.stack([np.zeros(rest, some.dtype, like=some) if g is None else g for g in gradients], axis)


@numpy_names
def unbind(input: Any, dim: int = 0) -> tuple:
    """The slices along `dim`, as views."""
    if expect_tensor(input, "unbind").array.ndim == 0:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return run(Unbind, (input,), (input.array,), axis=axis(dim, input.array.ndim))


# ------------------------------------------------------------------------------------------ by the kind of dimension
def stacked(name: str, dim: int, atleast: Callable, doc: str) -> Callable:
    """hstack, vstack or dstack: cat along `dim` of tensors that have at least that dimension."""

    def function(tensors: Any, *, out: Any = None) -> Any:
        if not tensors_of(tensors, name):
            raise RuntimeError(f"{name} expects a non-empty TensorList")
        several = [atleast(t) for t in tensors]
        return joined(out, cat(several, 0 if several[0].array.ndim == 1 else dim), name, several)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


hstack = stacked("hstack", 1, atleast_1d, "Tensors joined along the second dimension, vectors end to end.")
vstack = row_stack = stacked("vstack", 0, atleast_2d, "Tensors joined along the first dimension, vectors as rows.")
dstack = stacked("dstack", 2, atleast_3d, "Tensors joined along the third dimension.")


def column_stack(tensors: Any, *, out: Any = None) -> Any:
    """Matrices side by side, with vectors as columns."""
    if not tensors_of(tensors, "column_stack"):
        raise RuntimeError("column_stack expects a non-empty TensorList")
    return joined(out, hstack([t if t.array.ndim > 1 else reshape(t, -1, 1) for t in tensors]), "column_stack", tensors)


class BlockDiag(Op):
    """Matrices along the diagonal of a larger one, zeros elsewhere."""

    @staticmethod
    def forward(*arrays):
        ends = np.cumsum([(0, 0), *(a.shape for a in arrays)], 0).tolist()
        blocks = tuple((slice(i, m), slice(j, n)) for (i, j), (m, n) in itertools.pairwise(ends))
        found = np.zeros(ends[-1], arrays[0].dtype, like=arrays[0])
        for block, a in zip(blocks, arrays, strict=True):
            found[block] = a
        return found, (blocks,)

    @staticmethod
    def backward(saved, needs, g):
        return tuple(g[block] if wanted else None for block, wanted in zip(saved[0], needs, strict=True))


def block_diag(*tensors: Any) -> Any:
    """Matrices along the diagonal of a larger one; vectors and 0-d tensors count as matrices of one row."""
    chosen = tensors_of(tensors, "block_diag")
    for k, x in enumerate(chosen):
        if x.array.ndim > 2:
            raise RuntimeError(
                f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {k} has "
                f"{x.array.ndim} dimensions"
            )
    if not chosen:
        return empty(1, 0)
    for x in chosen:
        check_same(x.array, chosen[0].array)
    dtype = dtypes.promote(*(x.array for x in chosen))
    matrices = [atleast_2d(x) for x in chosen]
    return run(BlockDiag, matrices, [x.array.astype(dtype, copy=False) for x in matrices])


def split_with_sizes(input: Any, split_sizes: Sequence[int], dim: int = 0) -> tuple:
    """Consecutive parts of the given sizes along `dim`, as views."""
    return split(input, [operator.index(n) for n in split_sizes], dim)


class UnsafeSplit(Split):
    """Split, whose parts the tape takes for tensors of their own."""

    view = splits = False


def unsafe_split(tensor: Any, split_size_or_sections: Any, dim: int = 0) -> tuple:
    """`split`, whose parts the tape takes for tensors of their own though they share the memory."""
    return split(tensor, split_size_or_sections, dim, UnsafeSplit)


def unsafe_chunk(input: Any, chunks: int, dim: int = 0) -> tuple:
    """`chunk`, whose parts the tape takes for tensors of their own though they share the memory."""
    return chunk(input, chunks, dim, UnsafeSplit)


def tensor_split(
    input: Any, indices_or_sections: Any = None, dim: int = 0, *, indices: Any = None, sections: Any = None
) -> tuple:
    """Parts along `dim`, as views: so many, as equal as can be, or cut at the given indices."""
    where = next((x for x in (indices_or_sections, indices, sections) if x is not None), None)
    shape = expect_tensor(input, "tensor_split").array.shape
    if not isinstance(where, (tuple, list, TensorBase)) and not hasattr(where, "__index__"):
        raise TypeError(
            "tensor_split(): argument 'indices_or_sections' must be int, tuple of ints or Tensor, not "
            f"{type(where).__name__}"
        )
    if not shape:
        raise RuntimeError("tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims")
    over = axis(dim, len(shape))
    n = shape[over]
    if isinstance(where, TensorBase):
        if where.array.dtype != np.int64 or where.array.ndim > 1:
            raise RuntimeError(
                "tensor_split(): indices in a tensor must be int64, of no or of one dimension; they are "
                f"{where.array.dtype} of shape {list(where.array.shape)}"
            )
        where = where.array.tolist()
    if isinstance(where, (tuple, list)):
        bounds = [slice(*pair).indices(n)[:2] for pair in zip((None, *where), (*where, None), strict=True)]
    else:
        parts = operator.index(where)  # type: ignore[arg-type]
        if parts <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {parts}")
        size, more = divmod(n, parts)
        ends = np.cumsum([size + (k < more) for k in range(parts)]).tolist()
        bounds = list(zip([0, *ends], ends, strict=False))
    before = (slice(None),) * over
    return tuple(run(Slice, (input,), (input.array,), index=(*before, slice(*pair))) for pair in bounds)


def splitting(name: str, dims: int, over: Callable) -> Callable:
    """hsplit, vsplit or dsplit: tensor_split along a dimension that must be divisible."""

    def function(input: Any, indices_or_sections: Any = None, *, indices: Any = None, sections: Any = None) -> tuple:
        shape = expect_tensor(input, name).array.shape
        where = next((x for x in (indices_or_sections, indices, sections) if x is not None), None)
        if len(shape) < dims:
            raise RuntimeError(
                f"torch.{name} requires a tensor with at least {dims} dimension{'s' * (dims > 1)}, but got one of "
                f"shape "
                f"{list(shape)}"
            )
        dim = over(len(shape))
        if not isinstance(where, (tuple, list, TensorBase)) and (where == 0 or shape[dim] % where):
            raise RuntimeError(
                f"torch.{name} attempted to split along dimension {dim}, but the size of the dimension {shape[dim]} is "
                f"not divisible by the split_size {where}!"
            )
        return tensor_split(input, where, dim)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = "Equal parts along the {} dimension, or parts cut at the given indices, as views.".format(
        {"hsplit": "second (of a vector: only)", "vsplit": "first", "dsplit": "third"}[name]
    )
    return function


hsplit = splitting("hsplit", 1, lambda ndim: 0 if ndim == 1 else 1)
vsplit, dsplit = splitting("vsplit", 2, lambda ndim: 0), splitting("dsplit", 3, lambda ndim: 2)
