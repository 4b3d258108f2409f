"""Diagonals and triangles of matrices."""

from __future__ import annotations

import functools
import operator
from typing import Any

import numpy as np

from ..devices import of, put
from ..kernels import twin
from ..strides import at, contiguous
from ..tape import entitled
from .common import Number, Op, TensorBase, axis, converted, expect_tensor, into, run, unsupported
from .create import full_of, numpy_type
from .index import Put
from .rearrange import clone
from .reduce import sum
from .shape import permute, reshape

selecting = twin("select")


class Triangle(Op):
    @staticmethod
    def forward(a, *, upper, diagonal):
        return cut(a, upper, diagonal), (upper, diagonal)

    @staticmethod
    def backward(saved, needs, g):
        return cut(g, *saved)


def cut(a: np.ndarray, upper: bool, diagonal: int) -> np.ndarray:
    """Matrices with zeros on one side of a diagonal."""
    if type(a) is not np.ndarray or a.size == 0:
        return contiguous((np.triu if upper else np.tril)(a, diagonal))
    return selecting.where(kept_of(*a.shape[-2:], upper, diagonal), a, a.dtype.type(0))


@functools.lru_cache(64)
def kept_of(rows: int, columns: int, upper: bool, diagonal: int) -> np.ndarray:
    """Where a matrix keeps its elements.  That depends on column - row alone: all rows of the mask lie in one vector,
    each a place before the last.
    """
    side = np.arange(1 - rows, columns)
    kept = side >= diagonal if upper else side <= diagonal
    return at(kept, (rows, columns), (-1, 1), rows - 1)


def tril(input: Any, diagonal: int = 0, *, out: Any = None) -> Any:
    """The lower triangle of each matrix: zero above the diagonal."""
    return into(out, triangle(input, False, diagonal, "tril"), "tril")


def triu(input: Any, diagonal: int = 0, *, out: Any = None) -> Any:
    """The upper triangle of each matrix: zero below the diagonal."""
    return into(out, triangle(input, True, diagonal, "triu"), "triu")


def triangle(input: Any, upper: bool, diagonal: int, call: str) -> Any:
    shape = expect_tensor(input, call).array.shape
    try:
        diagonal = operator.index(diagonal)
    except TypeError:
        raise TypeError(f"{call}(): argument 'diagonal' must be int, not {type(diagonal).__name__}") from None
    if len(shape) < 2:
        raise RuntimeError(f"{call}: input tensor must have at least 2 dimensions, got shape {list(shape)}")
    return run(Triangle, (input,), (input.array,), upper=upper, diagonal=diagonal)


class Diagonal(Op):
    view = bare = True

    @staticmethod
    def forward(a, *, offset, axes):
        return diagonal_of(a, offset, axes), (a.shape, offset, axes)

    @staticmethod
    def backward(saved, needs, g):
        shape, offset, axes = saved
        out = np.zeros(shape, g.dtype, like=g)
        diagonal_of(out, offset, axes)[...] = g
        return out


def diagonal_of(a: np.ndarray, offset: int, axes: tuple[int, int]) -> np.ndarray:
    """The diagonal as a view that can be written to, as its last axis."""
    view = np.diagonal(a, offset, *axes)
    view.flags.writeable = a.flags.writeable
    return view


def check_different(dim1: int, dim2: int, ndim: int, call: str) -> tuple[int, int]:
    first, second = axis(dim1, ndim), axis(dim2, ndim)
    if first == second:
        raise RuntimeError(f"{call}(): diagonal dimensions cannot be identical {dim1}, {dim2}")
    return first, second


def diagonal(input: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """The diagonal of dimensions dim1 and dim2, as the last dimension of a view; offset 1 is the one above."""
    a = expect_tensor(input, "diagonal").array
    over = check_different(dim1, dim2, a.ndim, "diagonal")
    return run(Diagonal, (input,), (a,), offset=operator.index(offset), axes=over)


def diag(input: Any, diagonal: int = 0, *, out: Any = None) -> Any:
    """A matrix with the vector on its diagonal, or the diagonal of a matrix."""
    ndim = expect_tensor(input, "diag").array.ndim
    if ndim not in (1, 2):
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {ndim}D")
    found = diag_embed(input, diagonal) if ndim == 1 else clone(_diagonal(input, diagonal))
    return into(out, found, "diag")


_diagonal = diagonal


class DiagEmbed(Op):
    @staticmethod
    def forward(a, *, offset):
        n = a.shape[-1] + abs(offset)
        out = np.zeros((*a.shape[:-1], n, n), a.dtype, like=a)
        diagonal_of(out, offset, (-2, -1))[...] = a
        return out, (offset,)

    @staticmethod
    def backward(saved, needs, g):
        return diagonal_of(g, saved[0], (-2, -1))


def diag_embed(input: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """Matrices, in dimensions dim1 and dim2, with the last dimension on their diagonals."""
    a = expect_tensor(input, "diag_embed").array
    first, second = check_different(dim1, dim2, a.ndim + 1, "diag_embed")
    if a.ndim == 0:
        raise IndexError("Dimension specified as -1 but tensor has no dimensions (diag_embed())")
    found = run(DiagEmbed, (input,), (a,), offset=operator.index(offset))
    order = list(range(a.ndim - 1))
    for place, source in sorted(((first, a.ndim - 1), (second, a.ndim))):
        order.insert(place, source)
    return permute(found, order) if order != sorted(order) else found


def diagflat(input: Any, offset: int = 0) -> Any:
    """A matrix with all elements on its diagonal."""
    return diag_embed(reshape(expect_tensor(input, "diagflat"), -1), offset)


def trace(input: Any) -> Any:
    """The sum of a matrix's diagonal."""
    if expect_tensor(input, "trace").array.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {input.array.ndim}")
    if input.array.dtype.kind == "b":
        raise unsupported("trace", input.array.dtype)
    return entitled(sum(diagonal(input)), "TraceBackward0")


def fill_diagonal(input: Any, fill_value: Any, wrap: bool = False) -> Any:
    """A copy with `fill_value` on the diagonal; with `wrap` it goes on in the rows below a square."""
    a = expect_tensor(input, "fill_diagonal_").array
    if a.ndim < 2:
        raise RuntimeError(f"dimensions must larger than 1, got {a.ndim}")
    if a.ndim > 2 and len(set(a.shape)) > 1:
        raise RuntimeError(f"all dimensions of input must be of equal length, got {list(a.shape)}")
    if isinstance(fill_value, TensorBase) and not fill_value.array.shape:
        fill_value = fill_value.array.item()
    if not isinstance(fill_value, Number):
        given = type(fill_value).__name__
        raise TypeError(f"fill_diagonal_(): argument 'fill_value' (position 1) must be Number, not {given}")
    value = put(converted(fill_value, a.dtype, "fill_diagonal_"), of(a))
    if wrap and a.ndim == 2 and a.size:
        flat, columns = np.arange(0, a.size, a.shape[1] + 1, like=a), a.shape[1]
        index: tuple = flat // columns, flat % columns
    else:
        index = (np.arange(min(a.shape), like=a),) * a.ndim
    return entitled(run(Put, (input, None), (a, value), index=index), "torch::autograd::CopySlices")


def corner(name: str, below: bool) -> Any:
    """tril_indices or triu_indices."""

    def function(row: int, col: int, offset: int = 0, *, dtype: Any = None, **options: Any) -> Any:
        if row < 0 or col < 0:
            raise RuntimeError(f"{name}(): row and col must be non-negative, got row={row} and col={col}")
        kind = numpy_type(dtype, np.dtype(np.int64))
        if kind not in (np.int64, np.int32):
            raise unsupported(name, kind)
        places = np.tri(row, col, offset if below else offset - 1, dtype=bool) == below
        return full_of(np.ascontiguousarray(np.argwhere(places).T, kind), name, **options)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"The places of the {'lower' if below else 'upper'} triangle of a (row, col) matrix: (2, n)."
    return function


tril_indices, triu_indices = corner("tril_indices", True), corner("triu_indices", False)
