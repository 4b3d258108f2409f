"""torch.linalg, as far as sequence models need it: norms and products; there are no factorisations and solvers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import dtypes
from .ops.arithmetic import mul
from .ops.common import Op, axis, cast, expect_tensor, into, run
from .ops.elementwise import abs
from .ops.linear import matmul, multi_dot
from .ops.reduce import amax, amin, sum
from .ops.reduce import norm as norm_of_elements

__all__ = ["matmul", "matrix_norm", "multi_dot", "norm", "vecdot", "vector_norm"]


def __getattr__(name: str):
    """The error for a name of torch's that is not here says why, where there is a reason."""
    from .facade import missing

    raise AttributeError(missing(f"torch.linalg.{name}"), name=name)


def floating(x: Any, dtype: dtypes.dtype | None, call: str) -> Any:
    """A tensor of floating-point numbers, of type `dtype` if that is given."""
    if expect_tensor(x, call).array.dtype.kind != "f":
        raise RuntimeError(
            f"linalg.{call}: Expected a floating point or complex tensor as input. Got {dtypes.word(x.array.dtype)}"
        )
    if dtype is None:
        return x
    if not dtype.is_floating_point or dtype.itemsize < x.array.itemsize:
        raise RuntimeError(
            f"linalg.{call}: the dtype of the input ({x.dtype}) should be convertible without narrowing to the "
            f"specified dtype ({dtype})"
        )
    return cast(x, dtype.numpy)


def vector_norm(
    x: Any,
    ord: float = 2,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: dtypes.dtype | None = None,
    out: Any = None,
) -> Any:
    """(sum |x| ** ord) ** (1 / ord) of the elements along `dim`, or of all; the largest for inf, how many for 0."""
    if not isinstance(ord, (int, float)):
        raise TypeError(f"linalg_vector_norm(): argument 'ord' must be Number, not {type(ord).__name__}")
    return into(out, norm_of_elements(floating(x, dtype, "vector_norm"), ord, dim, keepdim), "vector_norm")


class SingularValues(Op):
    """The singular values of matrices in the last two dimensions, the largest first."""

    @staticmethod
    def forward(a):
        u, s, vh = np.linalg.svd(a, full_matrices=False)
        return s, (u, vh)

    @staticmethod
    def backward(saved, needs, g):
        u, vh = saved
        return (u * g[..., None, :]) @ vh


def extreme(x: Any, ord: float, dim: int, keepdim: bool = False) -> Any:
    """The largest along a dimension for a positive `ord`, of nothing 0; the smallest for a negative one."""
    if ord > 0:
        return amax(x, dim, keepdim) if x.array.shape[dim] else sum(x.detach(), dim, keepdim)
    return amin(x, dim, keepdim)


def matrix_norm(
    A: Any,
    ord: Any = "fro",
    dim: Any = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: dtypes.dtype | None = None,
    out: Any = None,
) -> Any:
    """The norm of matrices: 'fro' of their elements, 'nuc', 2 and -2 of their singular values (the sum, the largest,
    the smallest), 1, -1, inf and -inf the largest or smallest sum of a column or row.
    """
    x = floating(A, dtype, "matrix_norm")
    if x.array.ndim < 2:
        raise RuntimeError("linalg.matrix_norm: The input tensor A must have at least 2 dimensions.")
    if not isinstance(dim, (tuple, list)) or len(dim) != 2:
        raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {dim}")
    row, column = (axis(d, x.array.ndim) for d in dim)
    if row == column:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got {tuple(dim)}")
    if ord == "fro":
        y = norm_of_elements(x, 2, (row, column), keepdim)
    elif ord in ("nuc", 2, -2):
        s = run(SingularValues, (moved := x.movedim((row, column), (-2, -1)),), (moved.array,))
        y = sum(s, -1) if ord == "nuc" else extreme(s, ord, -1)
        y = y.unsqueeze(min(row, column)).unsqueeze(max(row, column)) if keepdim else y
    elif ord in (1, -1, math.inf, -math.inf):
        along, over = (row, column) if ord in (1, -1) else (column, row)
        y = extreme(sum(abs(x), along, keepdim=True), ord, over, keepdim=True)
        y = y if keepdim else y.squeeze((row, column))
    else:
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    return into(out, y, "matrix_norm")


def norm(
    A: Any,
    ord: Any = None,
    dim: Any = None,
    keepdim: bool = False,
    *,
    out: Any = None,
    dtype: dtypes.dtype | None = None,
) -> Any:
    """vector_norm, or matrix_norm for two dimensions and an `ord`; of all elements if there is neither `ord` nor
    `dim`.
    """
    ndim = expect_tensor(A, "norm").array.ndim
    given = None if dim is None else tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    if given is not None and len(given) not in (1, 2):
        raise RuntimeError(f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(given)}")
    if given is None and ord is not None and ndim not in (1, 2):
        raise RuntimeError(f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {ndim}D.")
    if isinstance(ord, str) or (ord is not None and (ndim if given is None else len(given)) == 2):
        over = (dim if given and len(given) == 1 else given) if given else (-2, -1)
        return matrix_norm(A, ord, over, keepdim, dtype=dtype, out=out)
    return vector_norm(A, 2 if ord is None else ord, given, keepdim, dtype=dtype, out=out)


def vecdot(x: Any, y: Any, *, dim: int = -1, out: Any = None) -> Any:
    """The sum of products along `dim`, with broadcasting."""
    return into(out, sum(mul(floating(x, None, "vecdot"), floating(y, None, "vecdot")), dim), "vecdot")
