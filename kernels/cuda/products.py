"""Products of vectors, matrices and arrays: matmul, dot, tensordot."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import gemm
from .answers import as_array, given, of
from .array import Array


def matmul(a: Any, b: Any) -> Array:
    """a @ b, of vectors and matrices, by NumPy's rules."""
    a, b = as_array(a), as_array(b)
    if not a.ndim or not b.ndim:
        raise ValueError("matmul: Input operand 0 or 1 does not have enough dimensions (has 0, requires at least 1)")
    left, right = a if a.ndim > 1 else a[None], b if b.ndim > 1 else b[:, None]
    if left.shape[-1] != right.shape[-2]:
        raise ValueError(
            "matmul: Input operand 1 has a mismatch in its core dimension 0, with gufunc signature "
            f"(n?,k),(k,m?)->(n?,m?) (size {right.shape[-2]} is different from {left.shape[-1]})"
        )
    kind = np.result_type(a.dtype, b.dtype)
    if kind.kind == "b":
        return matmul(a.astype(np.int64), b.astype(np.int64)).astype(bool)
    out = gemm.matmul(left.astype(kind, copy=False), right.astype(kind, copy=False))
    out = out if a.ndim > 1 else out[..., 0, :]
    return out if b.ndim > 1 else out[..., 0]


@of(np.dot)
def dot(a: Any, b: Any, out: Any = None) -> Array:
    a, b = as_array(a), as_array(b)
    if not a.ndim or not b.ndim:
        return given(np.multiply(a, b), out)
    if b.ndim <= 2:
        return given(matmul(a, b), out)
    return given(tensordot(a, b, ([-1], [-2])), out)


@of(np.inner)
def inner(a: Any, b: Any) -> Array:
    a, b = as_array(a), as_array(b)
    return tensordot(a, b, ([-1], [-1])) if a.ndim and b.ndim else np.multiply(a, b)


@of(np.vdot)
def vdot(a: Any, b: Any) -> Array:
    return matmul(as_array(a).reshape(-1), as_array(b).reshape(-1))


@of(np.outer)
def outer(a: Any, b: Any, out: Any = None) -> Array:
    return given(np.multiply(as_array(a).reshape(-1, 1), as_array(b).reshape(-1)), out)


@of(np.tensordot)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Array:
    a, b = as_array(a), as_array(b)
    if isinstance(axes, (int, np.integer)):
        axes = (range(a.ndim - axes, a.ndim), range(axes))
    left, right = (
        np.lib.array_utils.normalize_axis_tuple(x, y.ndim, allow_duplicate=False)
        for x, y in zip(axes, (a, b), strict=True)
    )
    if [a.shape[k] for k in left] != [b.shape[k] for k in right]:
        raise ValueError("shape-mismatch for sum")
    mine = [k for k in range(a.ndim) if k not in left]
    other = [k for k in range(b.ndim) if k not in right]
    n = math.prod(a.shape[k] for k in left)
    flat = matmul(
        a.transpose([*mine, *left]).reshape(math.prod(a.shape[k] for k in mine), n),
        b.transpose([*right, *other]).reshape(n, math.prod(b.shape[k] for k in other)),
    )
    return flat.reshape([*(a.shape[k] for k in mine), *(b.shape[k] for k in other)])
