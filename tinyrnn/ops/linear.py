"""Matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes
from .arithmetic import add, mul
from .common import Op, cast, expect_tensor, into, run


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b: our kernel for floating-point numbers, NumPy for integers."""
    if a.dtype.kind != "f":
        return np.matmul(a, b)
    from ..kernels.cpu import gemm

    return gemm.matmul(a, b)


class MatMul(Op):
    """(..., M, K) @ (..., K, N), batch axes broadcast; a lone vector is a row on the left, a column on the right."""

    keeps = ((1,), (0,), (0, 1))

    @staticmethod
    def forward(a, b):
        y = product(a[None] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b)
        if b.ndim == 1:
            y = y[..., 0]
        if a.ndim == 1:
            y = y[..., 0, :] if b.ndim > 1 else y[0]
        return y, (a, b, (a.ndim, b.ndim))

    @staticmethod
    def backward(saved, needs, g):
        a, b, (a_ndim, b_ndim) = saved
        if b_ndim == 1:
            g = np.expand_dims(g, -1)
        if a_ndim == 1:
            g = np.expand_dims(g, -2)
        da = db = None
        if needs[0]:
            da = product(g, (b[:, None] if b_ndim == 1 else b).swapaxes(-1, -2))
            da = da[..., 0, :] if a_ndim == 1 else da
        if needs[1]:
            db = product((a[None] if a_ndim == 1 else a).swapaxes(-1, -2), g)
            db = db[..., 0] if b_ndim == 1 else db
        return da, db


def checked(op: type[Op], call: str, a: Any, b: Any) -> Any:
    """`op` on two tensors of one dtype."""
    if a.array.dtype != b.array.dtype:
        raise RuntimeError(f"{call}: expected m1 and m2 to have the same dtype, but got: {a.dtype} != {b.dtype}")
    return run(op, (a, b), (a.array, b.array))


def matmul(input: Any, other: Any, *, out: Any = None) -> Any:
    """The matrix product, with vectors and batches as in NumPy: (..., M, K) @ (..., K, N) -> (..., M, N)."""
    x, y = expect_tensor(input, "matmul").array.shape, expect_tensor(other, "matmul", "other").array.shape
    if not x or not y:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {len(x)}D and {len(y)}D")
    inner = y[-2] if len(y) > 1 else y[0]
    if x[-1] != inner:
        if len(x) <= 2 and len(y) <= 2:
            left = x if len(x) == 2 else (1, *x)
            right = y if len(y) == 2 else (*y, 1)
            raise RuntimeError(
                f"mat1 and mat2 shapes cannot be multiplied ({left[0]}x{left[1]} and {right[0]}x{right[1]})"
            )
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [.., {x[-1]}] but got: [.., {inner}]; the "
            f"shapes are {list(x)} and {list(y)}"
        )
    try:
        np.broadcast_shapes(x[:-2], y[:-2])
    except ValueError:
        raise RuntimeError(
            f"matmul(): the batch dimensions {list(x[:-2])} and {list(y[:-2])} do not broadcast"
        ) from None
    return into(out, checked(MatMul, "matmul", input, other), "matmul")


def with_ndim(call: str, m: int, n: int, doc: str) -> Any:
    """matmul for operands of `m` and `n` dimensions only."""

    def function(input: Any, mat2: Any, *, out: Any = None) -> Any:
        for name, x, ndim in (("input", input, m), ("mat2", mat2, n)):
            if expect_tensor(x, call, name).array.ndim != ndim:
                raise RuntimeError(
                    f"{call}: argument '{name}' must be a {ndim}-D tensor, got one of shape {list(x.array.shape)}"
                )
        if call == "bmm" and input.array.shape[0] != mat2.array.shape[0]:
            raise RuntimeError(
                "Expected size for first two dimensions of batch2 tensor to be: "
                f"[{input.array.shape[0]}, {input.array.shape[2]}] but got: {list(mat2.array.shape[:2])}."
            )
        return matmul(input, mat2, out=out)

    function.__name__ = function.__qualname__ = call
    function.__doc__ = doc
    return function


mm = with_ndim("mm", 2, 2, "The product of two matrices: (M, K) @ (K, N) -> (M, N).")
bmm = with_ndim("bmm", 3, 3, "The products of two batches of matrices: (B, M, K) @ (B, K, N) -> (B, M, N).")
mv = with_ndim("mv", 2, 1, "The product of a matrix and a vector: (M, K) @ (K,) -> (M,).")
dot = with_ndim("dot", 1, 1, "The dot product of two vectors: (K,) @ (K,) -> ().")


def outer(input: Any, vec2: Any) -> Any:
    """The products of all pairs of elements of two vectors: (M,), (N,) -> (M, N)."""
    for name, x in (("input", input), ("vec2", vec2)):
        if expect_tensor(x, "outer", name).array.ndim != 1:
            raise RuntimeError(f"outer: Expected 1-D argument {name}, but got {x.array.ndim}-D")
    return mul(input.unsqueeze(1), vec2)


def addmm(input: Any, mat1: Any, mat2: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """beta * input + alpha * (mat1 @ mat2)."""
    return add(mul(input, beta) if beta != 1 else input, mm(mat1, mat2), alpha=alpha)


def baddbmm(input: Any, batch1: Any, batch2: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """beta * input + alpha * (batch1 @ batch2)."""
    return add(mul(input, beta) if beta != 1 else input, bmm(batch1, batch2), alpha=alpha)


class Linear(Op):
    """x (..., I) @ w.T + bias for w (O, I) and bias (O,) or None: (..., O)."""

    keeps = ((1,), (0,))

    @staticmethod
    def forward(x, w, bias):
        from ..kernels.cpu import gemm

        return gemm.linear(x, w, bias), (x, w)

    @staticmethod
    def backward(saved, needs, g):
        from ..kernels.cpu import gemm, reduce

        x, w = saved
        rows = g.reshape(-1, g.shape[-1])
        dx = gemm.matmul(rows, w).reshape(*g.shape[:-1], w.shape[1]) if needs[0] else None
        dw = gemm.matmul(rows.T, x.reshape(-1, x.shape[-1])) if needs[1] else None
        return dx, dw, reduce.sum(rows, (0,)) if needs[2] else None


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """input (..., I) @ weight (O, I).T + bias (O,): the result is (..., O).

    Raises RuntimeError if the last dimension of `input` is not I, or the dtypes differ.
    """
    x, w = expect_tensor(input, "linear").array, expect_tensor(weight, "linear", "weight").array
    if w.ndim == 1:
        y = matmul(input, weight)
        return y if bias is None else add(y, bias)
    if w.ndim != 2:
        raise RuntimeError(f"linear(): weight must have 1 or 2 dimensions, got shape {list(w.shape)}")
    if x.ndim == 0 or x.shape[-1] != w.shape[1]:
        rows = f"{x.size // x.shape[-1] if x.ndim and x.shape[-1] else 1}x{x.shape[-1] if x.ndim else 1}"
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({rows} and {w.shape[1]}x{w.shape[0]}): "
            "linear() got an input of "
            f"shape {list(x.shape)}, whose last dimension must be the weight's {w.shape[1]} features"
        )
    if x.dtype != w.dtype:
        raise RuntimeError(
            f"mat1 and mat2 must have the same dtype, but got {input.dtype} and {weight.dtype} "
            "(linear(): input and weight)"
        )
    if bias is not None:
        if bias.array.dtype != w.dtype:
            raise RuntimeError(f"linear(): weight has dtype {weight.dtype}, but bias has {bias.dtype}")
        if bias.array.shape not in ((w.shape[0],), (1,), ()):
            raise RuntimeError(f"linear(): bias must have shape [{w.shape[0]}], got {list(bias.array.shape)}")
    if x.dtype.kind != "f":
        return matmul(input, weight.t()) if bias is None else add(matmul(input, weight.t()), bias)
    return run(Linear, (input, weight, bias), (x, w, None if bias is None else bias.array))


class Einsum(Op):
    """One contraction of two operands (or a rearrangement of one), no index repeated within an operand."""

    @staticmethod
    def forward(*arrays, terms, result):
        return np.einsum(f"{','.join(terms)}->{result}", *arrays, optimize=True), (*arrays, terms, result)

    @staticmethod
    def backward(saved, needs, g):
        *arrays, terms, result = saved
        gradients = []
        for k, (a, term) in enumerate(zip(arrays, terms, strict=True)):
            if not needs[k]:
                gradients.append(None)
                continue
            others = [(t, x) for i, (t, x) in enumerate(zip(terms, arrays, strict=True)) if i != k]
            have = set(result).union(*(t for t, _ in others))
            kept = "".join(c for c in term if c in have)
            spec = f"{','.join([result, *(t for t, _ in others)])}->{kept}"
            d = np.einsum(spec, g, *(x for _, x in others), optimize=True)
            lost = tuple(i for i, c in enumerate(term) if c not in have)
            gradients.append(np.array(np.broadcast_to(np.expand_dims(d, lost), a.shape)))
        return tuple(gradients)


def einsum(equation: str, *operands: Any) -> Any:
    """Sums of products by Einstein's convention, e.g. einsum("bij,bjk->bik", a, b)."""
    if len(operands) == 1 and isinstance(operands[0], (tuple, list)):
        operands = tuple(operands[0])
    tensors = [expect_tensor(x, "einsum", "operands") for x in operands]
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(tensors):
        raise ValueError(
            f"einsum(): the equation {equation!r} has {len(terms)} operands, but {len(tensors)} tensors were given"
        )
    free = [c for c in map(chr, range(65, 91)) if c not in equation] + [
        c for c in map(chr, range(97, 123)) if c not in equation
    ]
    ellipsis = max(
        (x.array.ndim - len(t.replace("...", "")) for x, t in zip(tensors, terms, strict=True) if "..." in t), default=0
    )
    letters = "".join(free[:ellipsis])
    if not arrow:
        once = sorted(c for c in set(left) - set(",.") if left.count(c) == 1)
        result = ("..." if "..." in left else "") + "".join(once)
    result = result.replace("...", letters)
    full, ready = [], []
    for x, term in zip(tensors, terms, strict=True):
        term = term.replace("...", letters[ellipsis - (x.array.ndim - len(term.replace("...", ""))) :])
        if len(term) != x.array.ndim:
            raise RuntimeError(
                f"einsum(): the operand {term!r} names {len(term)} dimensions, but its tensor has {x.array.ndim}"
            )
        for c in set(term):
            while term.count(c) > 1:  # a repeated index takes the diagonal
                i, j = term.index(c), term.rindex(c)
                x = diagonal(x, i, j)
                term = term[:i] + term[i + 1 : j] + term[j + 1 :] + c
        full.append(term)
        ready.append(x)
    extent: dict[str, int] = {}
    for x, term in zip(ready, full, strict=True):
        for c, n in zip(term, x.array.shape, strict=True):
            if extent.setdefault(c, n) != n and 1 not in (n, extent[c]):
                raise RuntimeError(
                    f"einsum(): operands do not broadcast with remapped shapes: index {c!r} has sizes "
                    f"{extent[c]} and {n}"
                )
            extent[c] = max(extent[c], n)
    ready = [x.expand(*(extent[c] for c in term)) for x, term in zip(ready, full, strict=True)]
    dtype = dtypes.promote(*(x.array for x in ready))
    ready = [cast(x, dtype) for x in ready]
    return run(Einsum, ready, [x.array for x in ready], terms=full, result=result)


class Diagonal(Op):
    @staticmethod
    def forward(a, *, axis1, axis2):
        return np.diagonal(a, 0, axis1, axis2).copy(), (a.shape, axis1, axis2)

    @staticmethod
    def backward(saved, needs, g):
        shape, axis1, axis2 = saved
        out = np.zeros(shape, g.dtype)
        steps = np.arange(g.shape[-1])
        np.moveaxis(out, (axis1, axis2), (-2, -1))[..., steps, steps] = g
        return out


def diagonal(input: Any, dim1: int, dim2: int) -> Any:
    """The diagonal over two dimensions, as a last dimension."""
    return run(Diagonal, (input,), (input.array,), axis1=dim1, axis2=dim2)
