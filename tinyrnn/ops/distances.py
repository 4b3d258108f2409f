"""How far vectors are apart, and the losses that are made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import dtypes
from ..kernels import twin
from ..tape import entitled
from .arithmetic import plain
from .common import Op, axes, cast, check_broadcast, expect_tensor, number, run
from .elementwise import minimum, where
from .linear import product
from .reduce import with_axes
from .rows import by_reduction, reduction_of

sums = twin("reduce")


class Cosine(Op):
    """The sum of products of a / max(|a|, eps) and b / max(|b|, eps); as in torch, eps is no part of the derivative."""

    label = "SumBackward1"

    @staticmethod
    def forward(a, b, *, axes, eps):
        units, norms, lengths = [], [], []
        for x in (a, b):
            norms.append(np.sqrt(with_axes(sums.squares(x, axes), axes)))
            lengths.append(np.maximum(norms[-1], x.dtype.type(eps)))
            units.append(plain(np.divide, x, lengths[-1]))
        out = sums.sum(plain(np.multiply, *units), axes)
        return out, (*units, *norms, *lengths, out, axes)

    @staticmethod
    def backward(saved, needs, g):
        a, b, a_norm, b_norm, a_length, b_length, out, axes = saved
        g, out = with_axes(g, axes), with_axes(out, axes)

        def gradient(x, other, norm, length):
            back = out * np.where(norm == 0, 0, length / np.where(norm == 0, 1, norm)).astype(g.dtype)
            return plain(np.multiply, other - x * back, g / length)

        return (
            gradient(a, b, a_norm, a_length) if needs[0] else None,
            gradient(b, a, b_norm, b_length) if needs[1] else None,
        )


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    """x1 . x2 / (max(|x1|, eps) max(|x2|, eps)) along `dim` of the common shape.

    Raises RuntimeError for tensors that are no floating-point numbers.
    """
    call = "cosine_similarity"
    a, b = expect_tensor(x1, call, "x1"), expect_tensor(x2, call, "x2")
    dtype = dtypes.promote(a.array, b.array)
    if dtype.kind != "f":
        raise RuntimeError(f"expected common dtype to be floating point, yet common dtype is {dtypes.word(dtype)}")
    shape = check_broadcast(a.array, b.array)
    a, b = cast(a, dtype).expand(shape), cast(b, dtype).expand(shape)
    over = axes(dim, len(shape))
    return run(Cosine, (a, b), (a.array, b.array), axes=over, eps=number(eps, call, "eps"))


def pairwise_distance(x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Any:
    """The norm of order `p` of x1 - x2 + eps over the last dimension."""
    call = "pairwise_distance"
    apart = expect_tensor(x1, call, "x1") - expect_tensor(x2, call, "x2") + eps
    return entitled(apart.norm(p, -1, keepdim), "NormBackward1")


class Cdist(Op):
    """The p-norm of each difference between a row of a and a row of b, (..., P, M) and (..., R, M): (..., P, R)."""

    @staticmethod
    def forward(a, b, *, p):
        found = np.zeros((*a.shape[:-1], b.shape[-2]), a.dtype, like=a)
        for some in blocks(a, b):
            d = np.abs(a[..., some, None, :] - b[..., None, :, :])
            if p == 0:
                found[..., some, :] = np.count_nonzero(d, -1)
            elif p == np.inf:
                found[..., some, :] = d.max(-1, initial=0)
            else:
                found[..., some, :] = (d**p).sum(-1) ** (1 / p)
        return found, (a, b, found, p)

    @staticmethod
    def backward(saved, needs, g):
        a, b, found, p = saved
        da, db = np.zeros_like(a), np.zeros_like(b)
        for some in blocks(a, b) if p else ():
            d, far = a[..., some, None, :] - b[..., None, :, :], found[..., some, :, None]
            if p == np.inf:
                slope = np.sign(d) * (np.abs(d) == far)
            else:
                slope = np.sign(d) * np.abs(d / np.where(far, far, 1)) ** (p - 1)
            slope = np.where(d, slope, 0).astype(g.dtype, copy=False) * g[..., some, :, None]
            da[..., some, :] = slope.sum(-2)
            db -= slope.sum(-3)
        return da, db


def blocks(a: np.ndarray, b: np.ndarray) -> Iterator[slice]:
    """Rows of `a`, some at a time, so that their differences from all rows of `b` take some megabytes at most."""
    rows = max(1, 2**20 // max(b.size, 1))
    for first in range(0, a.shape[-2], rows):
        yield slice(first, first + rows)


class EuclideanDist(Op):
    """The distances that Cdist gives for p = 2, from |a|^2 - 2 a.b + |b|^2, which is one product of matrices: far
    quicker, and less exact where rows are near each other.
    """

    @staticmethod
    def forward(a, b):
        aa, bb = (a * a).sum(-1, keepdims=True), (b * b).sum(-1, keepdims=True)
        left = np.concatenate([a * a.dtype.type(-2), aa, np.ones_like(aa)], -1)
        right = np.concatenate([b, np.ones_like(bb), bb], -1)
        found = np.sqrt(np.maximum(product(left, right.swapaxes(-1, -2)), a.dtype.type(0)))
        return found, (a, b, found)

    @staticmethod
    def backward(saved, needs, g):
        a, b, found = saved
        ratio = np.where(found == 0, g.dtype.type(0), g / found)
        da = db = None
        if needs[0]:
            da = a * ratio.sum(-1)[..., None] - product(ratio, b)
        if needs[1]:
            db = b * ratio.sum(-2)[..., None] - product(ratio.swapaxes(-1, -2), a)
        return da, db


MODES = {
    "use_mm_for_euclid_dist_if_necessary": None,
    "use_mm_for_euclid_dist": True,
    "donot_use_mm_for_euclid_dist": False,
}


def cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: str = "use_mm_for_euclid_dist_if_necessary") -> Any:
    """The distance of order `p` of each row of x1 (..., P, M) and each row of x2 (..., R, M): (..., P, R).

    The dimensions in front broadcast.  For p = 2 a product of matrices gives the distances if P or R is above 25, as
    `compute_mode` "use_mm_for_euclid_dist_if_necessary" says, always with "use_mm_for_euclid_dist", and never with
    "donot_use_mm_for_euclid_dist", which is exact where rows are near each other.
    """
    if compute_mode not in MODES:
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    a, b = expect_tensor(x1, "cdist", "x1").array, expect_tensor(x2, "cdist", "x2").array
    for name, x in (("X1", a), ("X2", b)):
        if x.dtype.kind != "f":
            raise RuntimeError(f"cdist only supports floating-point dtypes, {name} got: {dtypes.word(x.dtype)}")
        if x.ndim < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, {name} got: {x.ndim}D")
    if a.shape[-1] != b.shape[-1]:
        raise RuntimeError(f"X1 and X2 must have the same number of columns. X1: {a.shape[-1]} X2: {b.shape[-1]}")
    if a.dtype != b.dtype:
        raise RuntimeError(f"expected scalar type {dtypes.word(a.dtype)} but found {dtypes.word(b.dtype)} (cdist())")
    if p < 0:
        raise RuntimeError("cdist only supports non-negative p values")
    lead = check_broadcast(np.empty(a.shape[:-2]), np.empty(b.shape[:-2]))
    first, second = x1.expand(*lead, *a.shape[-2:]), x2.expand(*lead, *b.shape[-2:])
    p, arrays = float(p), (first.array, second.array)
    many = MODES[compute_mode] if MODES[compute_mode] is not None else max(a.shape[-2], b.shape[-2]) > 25
    if p == 2 and many and a.size and b.size:
        return entitled(run(EuclideanDist, (first, second), arrays), "ViewBackward0")
    return run(Cdist, (first, second), arrays, p=p)


def cosine_embedding_loss(
    input1: Any,
    input2: Any,
    target: Any,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """1 - cos for a target of 1, max(0, cos - margin) for -1: vectors (N, D) or (D), targets (N) or ()."""
    call = "cosine_embedding_loss"
    reduction = reduction_of(size_average, reduce, reduction)
    a, b = expect_tensor(input1, call, "input1"), expect_tensor(input2, call, "input2")
    if expect_tensor(target, call, "target").ndim > 1:
        raise RuntimeError(f"{call}: 0D or 1D target tensor expected, multi-target not supported")
    if {a.ndim, b.ndim} != {target.ndim + 1}:
        raise RuntimeError(
            f"{call}: {target.ndim}D target tensor expects {target.ndim + 1}D input tensors, but found inputs with "
            f"sizes {list(a.shape)} and {list(b.shape)}."
        )
    small = 1e-12
    lengths = ((a * a).sum(-1) + small) * ((b * b).sum(-1) + small)
    cosine = (a * b).sum(-1) / lengths.sqrt()
    apart = (cosine - margin).clamp(min=0)
    zero = cosine.new_zeros(())
    return by_reduction(where(target == 1, 1 - cosine, zero) + where(target == -1, apart, zero), reduction, call)


def triplet_margin_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """max(0, margin + |anchor - positive| - |anchor - negative|) over the last dimension (Balntas et al. 2016).

    swap: the negative's distance is that to the nearer of anchor and positive.
    """
    reduction = reduction_of(size_average, reduce, reduction)
    return triplets(
        "triplet_margin_loss",
        lambda a, b: pairwise_distance(a, b, p, eps),
        (anchor, positive, negative),
        margin,
        swap,
        reduction,
    )


def triplet_margin_with_distance_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    *,
    distance_function: Callable[[Any, Any], Any] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Any:
    """triplet_margin_loss with any distance of two tensors."""
    call = "triplet_margin_with_distance_loss"
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return triplets(call, distance_function or pairwise_distance, (anchor, positive, negative), margin, swap, reduction)


def triplets(
    call: str,
    distance: Callable[[Any, Any], Any],
    tensors: tuple[Any, Any, Any],
    margin: float,
    swap: bool,
    reduction: str,
) -> Any:
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    names = ("anchor", "positive", "negative")
    dims = [expect_tensor(t, call, name).ndim for name, t in zip(names, tensors, strict=True)]
    if len(set(dims)) > 1:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: "
            f"anchor {dims[0]}D, positive {dims[1]}D, and negative {dims[2]}D inputs"
        )
    anchor, positive, negative = tensors
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = minimum(far, distance(positive, negative))
    return by_reduction((margin + near - far).clamp(min=0), reduction, call)
