"""Matrix products."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import dtypes
from .arithmetic import add, mul
from .common import Op, TensorBase, cast, expect_tensor, into, number, run, unsupported, wrap
from .elementwise import where
from .reduce import sum


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b: our kernel for floating-point numbers, NumPy for integers."""
    if a.dtype.kind == "b":
        raise unsupported("matmul", a.dtype)
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


def with_ndim(call: str, second: str, m: int, n: int, doc: str) -> Any:
    """matmul for operands of `m` and `n` dimensions only; torch calls the other one `second`."""

    def function(input: Any, *other: Any, out: Any = None, **named: Any) -> Any:
        if len(other) + len(named) != 1 or (named and second not in named):
            raise TypeError(f"{call}() takes two tensors, 'input' and '{second}'")
        right = named[second] if named else other[0]
        x, y = expect_tensor(input, call).array, expect_tensor(right, call, second).array
        for name, a, ndim in (("input", x, m), (second, y, n)):
            if a.ndim != ndim:
                raise RuntimeError(
                    f"{call}: argument '{name}' must be a {ndim}-D tensor, got one of shape {list(a.shape)}"
                )
        if m == 3 and x.shape[0] != y.shape[0]:
            raise RuntimeError(
                "Expected size for first two dimensions of batch2 tensor to be: "
                f"[{x.shape[0]}, {x.shape[2]}] but got: {list(y.shape[:2])}."
            )
        return matmul(input, right, out=out)

    function.__name__ = function.__qualname__ = call
    function.__doc__ = doc
    return function


mm = with_ndim("mm", "mat2", 2, 2, "The product of two matrices: (M, K) @ (K, N) -> (M, N).")
bmm = with_ndim("bmm", "mat2", 3, 3, "The products of two batches of matrices: (B, M, K) @ (B, K, N) -> (B, M, N).")
mv = with_ndim("mv", "vec", 2, 1, "The product of a matrix and a vector: (M, K) @ (K,) -> (M,).")
dot = with_ndim("dot", "tensor", 1, 1, "The dot product of two vectors: (K,) @ (K,) -> ().")


def outer(input: Any, vec2: Any, *, out: Any = None) -> Any:
    """The products of all pairs of elements of two vectors: (M,), (N,) -> (M, N)."""
    for name, x in (("input", input), ("vec2", vec2)):
        if expect_tensor(x, "outer", name).array.ndim != 1:
            raise RuntimeError(f"outer: Expected 1-D argument {name}, but got {x.array.ndim}-D")
    return into(out, mul(input.unsqueeze(1), vec2), "outer")


def plus_product(call: str, input: Any, product: Any, beta: Any, alpha: Any) -> Any:
    """beta * input + alpha * product; where beta is 0, NaN in the input does not count."""
    dtype = product.array.dtype
    if expect_tensor(input, call).array.dtype != dtype:
        raise RuntimeError(f"{call}: expected the dtype of the matrices, {product.dtype}, in input, got {input.dtype}")
    beta, alpha = (number(v, call, n) for v, n in ((beta, "beta"), (alpha, "alpha")))
    if dtype.kind != "f":
        beta, alpha = int(beta), int(alpha)
    input = input.expand(product.array.shape)
    scaled = where(wrap(np.zeros((), bool)), input, 0) if beta == 0 else input if beta == 1 else mul(input, beta)
    return add(scaled, product if alpha == 1 else mul(product, alpha))


def addmm(input: Any, mat1: Any, mat2: Any, *, beta: float = 1, alpha: float = 1, out: Any = None) -> Any:
    """beta * input + alpha * (mat1 @ mat2)."""
    return into(out, plus_product("addmm", input, mm(mat1, mat2), beta, alpha), "addmm")


def baddbmm(input: Any, batch1: Any, batch2: Any, *, beta: float = 1, alpha: float = 1, out: Any = None) -> Any:
    """beta * input + alpha * (batch1 @ batch2)."""
    return into(out, plus_product("baddbmm", input, bmm(batch1, batch2), beta, alpha), "baddbmm")


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
        count = math.prod(g.shape[:-1])
        rows = g.reshape(count, g.shape[-1])
        dx = gemm.matmul(rows, w).reshape(*g.shape[:-1], w.shape[1]) if needs[0] else None
        dw = gemm.matmul(rows.T, x.reshape(count, x.shape[-1])) if needs[1] else None
        return dx, dw, reduce.sum(rows, (0,)) if needs[2] else None


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """input (..., I) @ weight (O, I).T + bias (O,): the result is (..., O).

    Raises RuntimeError if the last dimension of `input` is not I, or the dtypes differ.
    """
    x, w = expect_tensor(input, "linear").array, expect_tensor(weight, "linear", "weight").array
    if bias is not None:
        expect_tensor(bias, "linear", "bias")
    if w.ndim == 1 and bias is None:
        return matmul(input, weight)
    if w.ndim != 2:
        raise RuntimeError(f"linear(): weight must have 2 dimensions (or 1, without a bias), got shape {list(w.shape)}")
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
    """The contraction of several operands, no index repeated within one of them."""

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


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def as_equation(operands: tuple) -> tuple[str, tuple]:
    """einsum(x, [0, 1], y, [1, 2], [0, 2]) as an equation and tensors."""

    def spelled(places: Any) -> str:
        return "".join("..." if i is Ellipsis else LETTERS[i] for i in places)

    pairs = len(operands) // 2 * 2
    terms = ",".join(spelled(places) for places in operands[1:pairs:2])
    return terms + (f"->{spelled(operands[-1])}" if len(operands) > pairs else ""), operands[:pairs:2]


def split_equation(equation: str, shapes: list[tuple[int, ...]]) -> tuple[list[str], str]:
    """The indices of each operand and of the result, with letters for "..."; torch's errors for what does not fit."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise RuntimeError(
            f"einsum(): the equation {equation!r} has {len(terms)} operands, but {len(shapes)} tensors were given"
        )
    for term in (*terms, result):
        if wrong := set(term.replace("...", "", 1)) - set(LETTERS):
            raise RuntimeError(
                f"einsum(): invalid subscript {min(wrong)!r} in the equation {equation!r}; they must be in [a-zA-Z]"
            )
    missing = [len(shape) - len(term.replace("...", "")) for term, shape in zip(terms, shapes, strict=True)]
    for k, (term, shape) in enumerate(zip(terms, shapes, strict=True)):
        if missing[k] < 0 or (missing[k] and "..." not in term):
            raise RuntimeError(
                f"einsum(): the number of subscripts in {term!r} does not match the number of dimensions "
                f"({len(shape)}) for operand {k}"
            )
    widest = max((n for n, term in zip(missing, terms, strict=True) if "..." in term), default=0)
    dots = "".join([c for c in LETTERS if c not in equation][:widest])
    if not arrow:
        result = "..." * ("..." in left) + "".join(sorted(c for c in set(left) - set(",.") if left.count(c) == 1))
    terms = [term.replace("...", dots[widest - n :]) for term, n in zip(terms, missing, strict=True)]
    result = result.replace("...", dots)
    for c in result:
        if result.count(c) > 1 or not any(c in term for term in terms):
            fault = "appears more than once in the output" if result.count(c) > 1 else "does not appear in any operand"
            raise RuntimeError(f"einsum(): output subscript {c} {fault} of the equation {equation!r}")
    return terms, result


def einsum(equation: Any, *operands: Any) -> Any:
    """Sums of products by Einstein's convention, e.g. einsum("bij,bjk->bik", a, b)."""
    if isinstance(equation, TensorBase):
        equation, operands = as_equation((equation, *operands))
    elif len(operands) == 1 and isinstance(operands[0], (tuple, list)):
        operands = tuple(operands[0])
    tensors = [expect_tensor(x, "einsum", "operands") for x in operands]
    terms, result = split_equation(equation, [x.array.shape for x in tensors])
    for k, term in enumerate(terms):
        for c in sorted(set(term)):
            while term.count(c) > 1:  # a repeated index takes the diagonal
                i, j = term.index(c), term.rindex(c)
                m, n = tensors[k].array.shape[i], tensors[k].array.shape[j]
                if m != n:
                    raise RuntimeError(
                        f"einsum(): subscript {c} is repeated for operand {k} but the sizes don't match, {n} != {m}"
                    )
                tensors[k] = run(Diagonal, (tensors[k],), (tensors[k].array,), axis1=i, axis2=j)
                term = term[:i] + term[i + 1 : j] + term[j + 1 :] + c
        terms[k] = term
    if len(tensors) == 1:
        (x,), (term,) = tensors, terms
        lost = tuple(i for i, c in enumerate(term) if c not in result)
        kept = [c for c in term if c in result]
        return (sum(x, lost) if lost else x).permute([kept.index(c) for c in result])
    extent: dict[str, int] = {}
    for k, (x, term) in enumerate(zip(tensors, terms, strict=True)):
        for c, n in zip(term, x.array.shape, strict=True):
            if extent.setdefault(c, n) != n and 1 not in (n, extent[c]):
                raise RuntimeError(
                    f"einsum(): subscript {c} has size {n} for operand {k} which does not broadcast with previously "
                    f"seen size {extent[c]}"
                )
            extent[c] = n if extent[c] == 1 else extent[c]
    dtype = dtypes.promote(*(x.array for x in tensors))
    ready = [cast(x.expand([extent[c] for c in term]), dtype) for x, term in zip(tensors, terms, strict=True)]
    return run(Einsum, ready, [x.array for x in ready], terms=terms, result=result)


class Diagonal(Op):
    """The diagonal over two dimensions, as a last dimension: a view."""

    view = True

    @staticmethod
    def forward(a, *, axis1, axis2):
        rest = [d for d in range(a.ndim) if d not in (axis1, axis2)]
        shape, strides = ([x[d] for d in rest] for x in (a.shape, a.strides))
        step = a.strides[axis1] + a.strides[axis2]
        out = np.lib.stride_tricks.as_strided(a, (*shape, a.shape[axis1]), (*strides, step))
        return out, (a.shape, axis1, axis2)

    @staticmethod
    def backward(saved, needs, g):
        shape, axis1, axis2 = saved
        out = np.zeros(shape, g.dtype)
        steps = np.arange(g.shape[-1])
        np.moveaxis(out, (axis1, axis2), (-2, -1))[..., steps, steps] = g
        return out
