"""Matrix products."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import dtypes
from ..kernels import twin
from ..tape import entitled
from .arithmetic import add, mul, sub
from .common import (
    Op,
    TensorBase,
    axis,
    cast,
    expect_tensor,
    into,
    number,
    record,
    run,
    unsupported,
    wrap,
)
from .elementwise import where
from .old_forms import in_old_form
from .reduce import norm, sum

gemm, reduce = twin("gemm"), twin("reduce")


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b: our kernel for floating-point numbers, NumPy for integers."""
    if a.dtype.kind == "f":
        return gemm.matmul(a, b)
    if a.dtype.kind == "b":
        raise unsupported("matmul", a.dtype)
    return np.asarray(np.matmul(a, b), order="C", like=a)


class MatMul(Op):
    """(..., M, K) @ (..., K, N), batch axes broadcast; a lone vector is a row on the left, a column on the right."""

    keeps = ((1,), (0,), (0, 1))
    piles = True

    @staticmethod
    def forward(a, b):
        dims = a.ndim, b.ndim
        if 1 not in dims:
            return product(a, b), (a, b, dims)
        y = product(a[None] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b)
        if b.ndim == 1:
            y = y[..., 0]
        if a.ndim == 1:
            y = y[..., 0, :] if b.ndim > 1 else y[0]
        return y, (a, b, dims)

    @staticmethod
    def backward(saved, needs, g):
        a, b, (m, n) = saved
        if m == 1:
            a, g = a if a is None else a[None], np.expand_dims(g, -1 if n == 1 else -2)
        if n == 1:
            b, g = b if b is None else b[:, None], np.expand_dims(g, -1)
        da = db = None
        if needs[0]:
            if needs[0] is not True and m == g.ndim == 2:
                needs[0].add_product(g.T, b.T)
            else:
                da = product(g, b.swapaxes(-1, -2))
                da = da[..., 0, :] if m == 1 else da
        if needs[1]:
            if n == 2 and m > 2:
                rows = math.prod(a.shape[:-1])
                a, g = a.reshape(rows, a.shape[-1]), g.reshape(rows, g.shape[-1])
            if needs[1] is not True and n == 2:
                needs[1].add_product(a, g)
            else:
                db = product(a.swapaxes(-1, -2), g)
                db = db[..., 0] if n == 1 else db
        return da, db


def checked(op: type[Op], call: str, a: Any, b: Any) -> Any:
    """`op` on two tensors of one dtype."""
    if a.array.dtype != b.array.dtype:
        raise RuntimeError(f"{call}: expected m1 and m2 to have the same dtype, but got: {a.dtype} != {b.dtype}")
    return record(op, (a, b), op.forward(a.array, b.array))


def matmul(input: Any, other: Any, *, out: Any = None) -> Any:
    """The matrix product, with vectors and batches as in NumPy: (..., M, K) @ (..., K, N) -> (..., M, N)."""
    x, y = expect_tensor(input, "matmul").array.shape, expect_tensor(other, "matmul", "other").array.shape
    if not x or not y:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {len(x)}D and {len(y)}D")
    if x[:-2] != y[:-2]:
        try:
            np.broadcast_shapes(x[:-2], y[:-2])
        except ValueError:
            raise RuntimeError(
                f"matmul(): the batch dimensions {list(x[:-2])} and {list(y[:-2])} do not broadcast"
            ) from None
    if x[-1] != (y[-2] if len(y) > 1 else y[0]):
        shapes = f" (the shapes are {list(x)} and {list(y)})" if max(len(x), len(y)) > 2 else ""
        raise RuntimeError(unlike(x, y) + shapes)
    result = checked(MatMul, "matmul", input, other)
    return result if out is None else into(out, result, "matmul")


def unlike(x: tuple[int, ...], y: tuple[int, ...]) -> str:
    """torch's words for operands of matmul whose inner sizes differ: matrices and vectors are told as it folds them."""
    if len(x) == len(y) == 1:
        return (
            f"inconsistent tensor size, expected tensor [{x[0]}] and src [{y[0]}] to have the same number of elements, "
            f"but got {x[0]} and {y[0]} elements respectively"
        )
    rows = math.prod(x[:-1])
    if len(y) == 1:
        return f"size mismatch, got input ({rows}), mat ({rows}x{x[-1]}), vec ({y[0]})"
    if len(y) == 2:
        return f"mat1 and mat2 shapes cannot be multiplied ({rows}x{x[-1]} and {y[0]}x{y[1]})"
    batch = math.prod(np.broadcast_shapes(x[:-2], y[:-2]))
    expected, got = [batch, x[-1]], [batch, y[-2]]
    return f"Expected size for first two dimensions of batch2 tensor to be: {expected} but got: {got}."


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
        result = matmul(input, right, out=out)
        return entitled(result, "BmmBackward0") if m == 3 else result

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


ger = outer


def plus_product(call: str, input: Any, product: Any, beta: Any, alpha: Any, as_input: bool = False) -> Any:
    """beta * input + alpha * product, which lies in memory as the product does, or `as_input`; where beta is 0, NaN in
    the input does not count."""
    dtype = product.array.dtype
    if expect_tensor(input, call).array.dtype != dtype:
        raise RuntimeError(f"{call}: expected the dtype of the matrices, {product.dtype}, in input, got {input.dtype}")
    beta, alpha = (number(v, call, n) for v, n in ((beta, "beta"), (alpha, "alpha")))
    if dtype.kind != "f":
        beta, alpha = int(beta), int(alpha)
    input = input.expand(product.array.shape)
    scaled = where(wrap(np.zeros((), bool)), input, 0) if beta == 0 else input if beta == 1 else mul(input, beta)
    product = product if alpha == 1 else mul(product, alpha)
    return add(scaled, product) if as_input else add(product, scaled)


def addmm(input: Any, mat1: Any, mat2: Any, *old: Any, beta: float = 1, alpha: float = 1, out: Any = None) -> Any:
    """beta * input + alpha * (mat1 @ mat2)."""
    if old:
        return in_old_form(addmm, input, mat1, mat2, *old, beta=beta, alpha=alpha, out=out)
    return into(out, entitled(plus_product("addmm", input, mm(mat1, mat2), beta, alpha), "AddmmBackward0"), "addmm")


def baddbmm(input: Any, batch1: Any, batch2: Any, *old: Any, beta: float = 1, alpha: float = 1, out: Any = None) -> Any:
    """beta * input + alpha * (batch1 @ batch2)."""
    if old:
        return in_old_form(baddbmm, input, batch1, batch2, *old, beta=beta, alpha=alpha, out=out)
    found = plus_product("baddbmm", input, bmm(batch1, batch2), beta, alpha)
    return into(out, entitled(found, "BaddbmmBackward0"), "baddbmm")


def addmv(input: Any, mat: Any, vec: Any, *old: Any, beta: float = 1, alpha: float = 1, out: Any = None) -> Any:
    """beta * input + alpha * (mat @ vec)."""
    if old:
        return in_old_form(addmv, input, mat, vec, *old, beta=beta, alpha=alpha, out=out)
    return into(out, entitled(plus_product("addmv", input, mv(mat, vec), beta, alpha), "AddmvBackward0"), "addmv")


def addbmm(input: Any, batch1: Any, batch2: Any, *old: Any, beta: float = 1, alpha: float = 1, out: Any = None) -> Any:
    """beta * input + alpha * the sum of the products of two batches of matrices."""
    if old:
        return in_old_form(addbmm, input, batch1, batch2, *old, beta=beta, alpha=alpha, out=out)
    product = bmm(batch1, batch2)
    found = plus_product("addbmm", input, sum(product, 0, dtype=product.dtype), beta, alpha)
    return into(out, entitled(found, "AddbmmBackward0"), "addbmm")


def addr(input: Any, vec1: Any, vec2: Any, *old: Any, beta: float = 1, alpha: float = 1, out: Any = None) -> Any:
    """beta * input + alpha * outer(vec1, vec2), with type promotion."""
    if old:
        return in_old_form(addr, input, vec1, vec2, *old, beta=beta, alpha=alpha, out=out)
    dtype = dtypes.promote(*(expect_tensor(x, "addr").array for x in (input, vec1, vec2)))
    for name, value in (("beta", beta), ("alpha", alpha)):
        if isinstance(number(value, "addr", name), float) and dtype.kind != "f":
            raise RuntimeError(f"For integral input tensors, argument {name} must not be a floating point number.")
    product = outer(vec1, vec2)
    input = input.expand(product.array.shape)
    if dtype.kind == "b":
        return into(out, wrap(input.array & bool(beta) | product.array & bool(alpha)), "addr")
    found = plus_product("addr", cast(input, dtype), cast(product, dtype), beta, alpha, as_input=True)
    return into(out, found, "addr")


def vdot(input: Any, other: Any, *, out: Any = None) -> Any:
    """The dot product of two vectors, as dot: they differ for complex numbers."""
    return dot(input, other, out=out)


def check_same_dtype(call: str, a: Any, b: Any) -> None:
    if a.array.dtype != b.array.dtype:
        raise RuntimeError(f"{call}(): both inputs should have same dtype, got {a.dtype} and {b.dtype}")


def contracted(call: str, a: Any, b: Any, left: list[int], right: list[int]) -> Any:
    """The sum of products over dimensions `left` of a and `right` of b; what is left of a comes first."""
    x, y = a.array.shape, b.array.shape
    check_same_dtype(call, a, b)
    rows, columns = ([d for d in range(len(shape)) if d not in over] for shape, over in ((x, left), (y, right)))
    count = math.prod(x[d] for d in left)
    first = a.permute((*rows, *left)).reshape(math.prod(x[d] for d in rows), count)
    second = b.permute((*right, *columns)).reshape(count, math.prod(y[d] for d in columns))
    return mm(first, second).reshape([x[d] for d in rows] + [y[d] for d in columns])


def inner(input: Any, other: Any, *, out: Any = None) -> Any:
    """The sum of products over the last dimensions of both; the plain product with a 0-d tensor."""
    x, y = expect_tensor(input, "inner").array, expect_tensor(other, "inner", "other").array
    if not x.ndim or not y.ndim:
        return into(out, mul(input, other), "inner", exact=False)
    if x.shape[-1] != y.shape[-1]:
        raise RuntimeError(
            "inner() the last dimension must match on both input tensors but got shapes "
            f"{list(x.shape)} and {list(y.shape)}"
        )
    return into(out, contracted("inner", input, other, [x.ndim - 1], [y.ndim - 1]), "inner")


def tensordot(a: Any, b: Any, dims: Any = 2, out: Any = None) -> Any:
    """The sum of products over the last `dims` dimensions of a and the first of b, or over two lists of dimensions."""
    x, y = expect_tensor(a, "tensordot", "a").array, expect_tensor(b, "tensordot", "b").array
    if isinstance(dims, TensorBase):
        dims = dims.array.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(x.ndim, y.ndim):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        dims = [*range(x.ndim - dims, x.ndim)], [*range(dims)]
    elif not isinstance(dims, (tuple, list)) or len(dims) != 2:
        raise RuntimeError(f"tensordot expects dims to be an int or two lists of ints, but got dims={dims}")
    for name, places in zip(("dims_self", "dims_other"), dims, strict=True):
        if not isinstance(places, (tuple, list)):
            raise TypeError(f"tensordot(): argument '{name}' must be tuple of ints, not {type(places).__name__}")
    check_same_dtype("tensordot", a, b)
    if len(dims[0]) != len(dims[1]):
        raise RuntimeError(f"tensordot(): both dimension lists should have same length, got {dims[0]} and {dims[1]}")
    left, right = ([axis(d, v.ndim) for d in places] for places, v in zip(dims, (x, y), strict=True))
    for i, j in zip(left, right, strict=True):
        if left.count(i) > 1 or right.count(j) > 1:
            raise RuntimeError(f"tensordot(): a dimension appears multiple times in the list of dims {dims}")
        m, n = x.shape[i], y.shape[j]
        if 1 in (m, n) and m != n:  # a size of one is summed on the other side alone, as in torch
            kind = a.dtype
            a, b = (sum(a, i, True, dtype=kind), b) if n == 1 else (a, sum(b, j, True, dtype=kind))
        elif m != n:
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {m} in dim {i} and second has size {n} in "
                f"dim {j}"
            )
    return into(out, contracted("tensordot", a, b, left, right), "tensordot")


def kron(input: Any, other: Any, *, out: Any = None) -> Any:
    """The Kronecker product: every element of input times the whole of other."""
    x, y = expect_tensor(input, "kron").array.shape, expect_tensor(other, "kron", "other").array.shape
    ndim = max(len(x), len(y))
    x, y = ((1,) * (ndim - len(s)) + s for s in (x, y))
    a = input.reshape([n for size in x for n in (size, 1)])
    b = other.reshape([n for size in y for n in (1, size)])
    found = mul(a, b).reshape([m * n for m, n in zip(x, y, strict=True)])
    return into(out, entitled(found, "UnsafeViewBackward0"), "kron")


def cheapest(shapes: list[tuple[int, ...]]) -> Any:
    """How to bracket a product of matrices with the fewest multiplications: nested pairs of their numbers."""
    sizes = [shapes[0][0], *(s[1] for s in shapes)]
    best: dict = {(i, i): (0, i) for i in range(len(shapes))}
    for length in range(1, len(shapes)):
        for i in range(len(shapes) - length):
            j = i + length
            best[i, j] = min(
                (
                    (best[i, k][0] + best[k + 1, j][0] + sizes[i] * sizes[k + 1] * sizes[j + 1], (i, k, j))
                    for k in range(i, j)
                ),
            )

    def tree(i: int, j: int) -> Any:
        return i if i == j else (tree(i, best[i, j][1][1]), tree(best[i, j][1][1] + 1, j))

    return tree(0, len(shapes) - 1)


def multi_dot(tensors: Any, *, out: Any = None) -> Any:
    """The product of two or more matrices, bracketed for the fewest multiplications; first and last may be vectors."""
    given = [expect_tensor(t, "multi_dot", "tensors") for t in tensors]
    if len(given) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(given)}")
    for k, t in enumerate(given):
        ndim = t.array.ndim
        if ndim != 2 and not (ndim == 1 and k in (0, len(given) - 1)):
            wanted = "1D or 2D" if k in (0, len(given) - 1) else "2D"
            raise RuntimeError(f"multi_dot(): tensor {k} must be {wanted} but got {ndim}D")
        if t.array.dtype != given[0].array.dtype:
            raise RuntimeError(
                f"multi_dot(): all tensors must be of the same dtype but tensor 0 is {given[0].dtype} and tensor {k} "
                f"{t.dtype}"
            )
    first, last = given[0].array.ndim == 1, given[-1].array.ndim == 1
    matrices = [given[0].unsqueeze(0) if first else given[0], *given[1:]]
    matrices[-1] = matrices[-1].unsqueeze(1) if last else matrices[-1]
    for k, (a, b) in enumerate(zip(matrices, matrices[1:], strict=False)):
        if a.array.shape[1] != b.array.shape[0]:
            raise RuntimeError(
                f"multi_dot(): tensors {k} and {k + 1} with shapes {list(given[k].array.shape)} and "
                f"{list(given[k + 1].array.shape)} cannot be multiplied"
            )

    def product(tree: Any) -> Any:
        return matrices[tree] if isinstance(tree, int) else mm(*map(product, tree))

    y = product(cheapest([m.array.shape for m in matrices]))
    y = y.squeeze(1) if last else y
    return into(out, y.squeeze(0) if first else y, "multi_dot")


def chain_matmul(*matrices: Any, out: Any = None) -> Any:
    """The product of one or more matrices, bracketed for the fewest multiplications."""
    if not matrices:
        raise RuntimeError("chain_matmul(): Expected one or more matrices")
    for m in matrices:
        if expect_tensor(m, "chain_matmul", "matrices").array.ndim != 2:
            raise RuntimeError(f"chain_matmul(): Tensor dimension is {m.array.ndim}, expected 2 instead.")
    return into(out, matrices[0].clone(), "chain_matmul") if len(matrices) == 1 else multi_dot(matrices, out=out)


def dist(input: Any, other: Any, p: float = 2) -> Any:
    """The p-norm of input - other."""
    expect_tensor(input, "dist"), expect_tensor(other, "dist", "other")
    return entitled(norm(sub(input, other), p), "DistBackward0")


class Linear(Op):
    """x (..., I) @ w.T + bias for w (O, I) and bias (O,) or None: (..., O)."""

    keeps = ((1,), (0,))
    piles = True
    last_first = True  # the weight's gradient is transposed before it is the leaf's

    @staticmethod
    def forward(x, w, bias):
        return gemm.linear(x, w, bias), (x, w)

    @staticmethod
    def backward(saved, needs, g):
        x, w = saved
        rows = g if g.ndim == 2 else g.reshape(math.prod(g.shape[:-1]), g.shape[-1])
        dx = dw = dbias = None
        if needs[0]:
            dx = gemm.matmul(rows, w)
            dx = dx if g.ndim == 2 else dx.reshape(*g.shape[:-1], w.shape[1])
        if needs[1]:
            x = x if x.ndim == 2 else x.reshape(rows.shape[0], x.shape[-1])
            if needs[1] is True:
                dw = gemm.matmul(rows.T, x)
            else:
                needs[1].add_product(rows, x)
        if needs[2] is True:
            dbias = reduce.sum(rows, (0,))
        elif needs[2]:
            needs[2].add_sum(rows)
        return dx, dw, dbias


def broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Whether an array of a shape broadcasts to another, which stays as it is."""
    return len(shape) <= len(to) and all(m in (1, n) for m, n in zip(shape[::-1], to[::-1], strict=False))


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """input (..., I) @ weight (O, I).T + bias (O,): the result is (..., O).

    Raises RuntimeError if the last dimension of `input` is not I, or the dtypes differ.
    """
    x, w = expect_tensor(input, "linear").array, expect_tensor(weight, "linear", "weight").array
    if bias is not None:
        b = expect_tensor(bias, "linear", "bias").array
        n, k = w.shape if w.ndim == 2 else (-1, -1)
        if x.shape[-1:] == (k,) and b.shape == (n,) and x.dtype is w.dtype is b.dtype and x.dtype.kind == "f":
            return record(Linear, (input, weight, bias), Linear.forward(x, w, b))  # as most are: nothing to look at
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
        shape = (*x.shape[:-1], w.shape[0])
        theirs = bias.array.shape
        if theirs != (w.shape[0],) and not broadcasts(theirs, shape):
            raise RuntimeError(
                f"linear(): bias has shape {list(bias.array.shape)}, which does not broadcast to the result's "
                f"{list(shape)}; it should be [{w.shape[0]}]"
            )
    if x.dtype.kind != "f":
        return matmul(input, weight.t()) if bias is None else add(matmul(input, weight.t()), bias)
    if bias is not None and bias.array.shape not in ((w.shape[0],), (1,), ()):
        return add(run(Linear, (input, weight, None), (x, w, None)), bias)
    return run(Linear, (input, weight, bias), (x, w, None if bias is None else bias.array))
