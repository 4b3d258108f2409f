"""Products of vectors, matrices and arrays: matmul, dot, tensordot, einsum."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import gemm, reduce
from .answers import as_array, given, of, on_host
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


@of(np.einsum)
def einsum(subscripts: str, *operands: Any, out: Any = None, optimize: Any = False, **kwargs: Any) -> Array:
    """Sums of products of arrays, whose axes letters name: two arrays at a time, each time as products of matrices."""
    operands = tuple(map(as_array, operands))
    if kwargs or not isinstance(subscripts, str) or "." in subscripts or "->" not in subscripts:
        return given(on_host(np.einsum, (subscripts, *operands), kwargs), out)
    given_terms, result = subscripts.replace(" ", "").split("->")
    terms = given_terms.split(",")
    check_terms(subscripts, terms, operands)
    term, a = simple(terms[0], operands[0])
    for k in range(1, len(terms)):
        needed = set(result).union(*terms[k + 1 :])
        other, b = simple(terms[k], operands[k])
        term, a = product(term, a, other, b, needed)
    a = alone(term, a, set(result))[1]
    term = "".join(x for x in term if x in result)
    return given(a.transpose([term.index(x) for x in result]), out)


def check_terms(subscripts: str, terms: list[str], operands: tuple) -> None:
    sizes: dict[str, int] = {}
    if len(terms) != len(operands):
        raise ValueError(f"einsum: {subscripts!r} names {len(terms)} operands, got {len(operands)}")
    for term, a in zip(terms, operands, strict=True):
        if len(term) != a.ndim:
            raise ValueError(f"einsum: {term!r} in {subscripts!r} does not fit an operand of shape {a.shape}")
        for letter, n in zip(term, a.shape, strict=True):
            if sizes.setdefault(letter, n) != n and 1 not in (n, sizes[letter]):
                raise ValueError(f"einsum: {letter!r} in {subscripts!r} is {sizes[letter]} long and also {n}")
            sizes[letter] = max(sizes[letter], n)


def simple(term: str, a: Array) -> tuple[str, Array]:
    """A term in which no letter occurs twice: of such axes the diagonal."""
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            first = term.index(letter)
            second = term.index(letter, first + 1)
            a = a.diagonal(0, first, second)
            term = "".join(x for k, x in enumerate(term) if k not in (first, second)) + letter
    return term, a


def alone(term: str, a: Array, needed: set[str]) -> tuple[str, Array]:
    """Without the axes that nothing needs: their sums."""
    lost = tuple(k for k, letter in enumerate(term) if letter not in needed)
    if lost:
        a = reduce.along("sum", a, lost, False, a.dtype)
    return "".join(x for x in term if x in needed), a


def product(left: str, a: Array, right: str, b: Array, needed: set[str]) -> tuple[str, Array]:
    """Two terms as one: batches of what both have and something needs, sums over what both have and nothing needs."""
    left, a = alone(left, a, needed | set(right))
    right, b = alone(right, b, needed | set(left))
    size = {letter: n for t, x in ((left, a), (right, b)) for letter, n in zip(t, x.shape, strict=True) if n != 1}
    batch = [x for x in left if x in right and x in needed]
    summed = [x for x in left if x in right and x not in needed]
    rows, columns = [x for x in left if x not in right], [x for x in right if x not in left]
    count, m, n, k = (math.prod(size.get(x, 1) for x in letters) for letters in (batch, rows, columns, summed))
    a, b = (
        np.broadcast_to(
            x.transpose([term.index(letter) for letter in order]), [size.get(letter, 1) for letter in order]
        )
        for x, term, order in ((a, left, [*batch, *rows, *summed]), (b, right, [*batch, *summed, *columns]))
    )
    out = matmul(a.reshape(count, m, k), b.reshape(count, k, n))
    letters = [*batch, *rows, *columns]
    return "".join(letters), out.reshape([size.get(x, 1) for x in letters])
