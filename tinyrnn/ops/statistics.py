"""Quantiles, counts in bins, covariance, and sums under a curve."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .. import dtypes
from ..tape import entitled
from .arithmetic import div, mul, sub
from .common import TensorBase, axis, expect_tensor, into, number, numpy_names, unsupported, wrap
from .cumulative import cumsum
from .diagonal import diagonal
from .elementwise import clamp, sqrt, where
from .index import narrow
from .linear import mm
from .order import sort
from .reduce import norm, sum
from .shape import reshape, t

# ------------------------------------------------------------------------------------------ quantiles
ROUND: dict[str, Any] = {"lower": np.floor, "higher": np.ceil, "nearest": np.round}


def quantiles(name: str, known: bool) -> Any:
    @numpy_names
    def function(
        input: Any,
        q: Any,
        dim: int | None = None,
        keepdim: bool = False,
        *,
        interpolation: str = "linear",
        out: Any = None,
    ) -> Any:
        a = expect_tensor(input, name).array
        if a.size == 0:
            raise RuntimeError(f"{name}() input tensor must be non-empty, but its shape is {list(a.shape)}")
        shares = q.array if isinstance(q, TensorBase) else np.asarray(number(q, name, "q"), a.dtype, like=a)
        if shares.ndim > 1:
            raise RuntimeError(f"{name}() q must be a scalar or 1D tensor, but its shape is {list(shares.shape)}")
        if a.dtype.kind != "f":
            raise RuntimeError(f"{name}() input tensor must be either float or double dtype, not {input.dtype}")
        if shares.dtype != a.dtype:
            raise RuntimeError(
                f"{name}() q tensor must be same dtype as the input tensor: {dtypes.of(shares.dtype)} and {input.dtype}"
            )
        if not np.all((shares >= 0) & (shares <= 1)):
            raise RuntimeError(f"{name}() q values must be in the range [0, 1], got {shares}")
        if interpolation not in (*ROUND, "linear", "midpoint"):
            raise RuntimeError(
                f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, but got "
                f"{interpolation}"
            )
        over = 0 if dim is None else axis(dim, a.ndim)
        flat = dim is None or a.ndim == 0
        rows = reshape(input, -1) if flat else input.movedim(over, -1)
        share = reshape(q, -1) if isinstance(q, TensorBase) else wrap(shares.reshape(-1))
        found = at_shares(sort(rows).values, share, known, interpolation)
        found = entitled(found.squeeze(-1), "SqueezeBackward4") if shares.ndim == 0 else found.movedim(-1, 0)
        if keepdim:
            left = (1 if flat or i == over else n for i, n in enumerate(a.shape))
            found = found.reshape((*shares.shape, *left))
        return into(out, found, name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"The element that a share `q` of all{' that are not NaN' * known} lies below, over `dim` or over all; between "
        "two elements by `interpolation`.  For a vector of shares, one result each along a new first dimension."
    )
    return function


def at_shares(rows: Any, shares: Any, known: bool, interpolation: str) -> Any:
    """The quantiles of sorted rows, along the last dimension."""
    a = rows.array
    absent = np.isnan(a)
    if known:
        last = np.count_nonzero(~absent, -1, keepdims=True) - 1
        ranks = clamp(mul(shares, wrap(last.astype(a.dtype))), 0)
    else:
        last = np.asarray(a.shape[-1] - 1, a.dtype)
        ranks = where(wrap(absent.any(-1, keepdims=True)), wrap(last), mul(shares, wrap(last)))
    if interpolation in ROUND:
        return rows.gather(-1, wrap(ROUND[interpolation](ranks.array).astype(np.int64)))
    below, above = (rounded(ranks.array).astype(np.int64) for rounded in (ROUND["lower"], ROUND["higher"]))
    weight = wrap(np.full_like(ranks.array, 0.5))
    if interpolation == "linear":
        weight = sub(ranks, wrap(below.astype(a.dtype)))
    return rows.gather(-1, wrap(below)).lerp(rows.gather(-1, wrap(above)), weight)


quantile, nanquantile = quantiles("quantile", False), quantiles("nanquantile", True)


def bincount(input: Any, weights: Any = None, minlength: int = 0) -> Any:
    """How often each of 0, 1, 2 ... is in a vector, or the sum of its weights."""
    a = expect_tensor(input, "bincount").array
    if a.dtype.kind not in "iu":
        raise unsupported("bincount", a.dtype)
    if minlength < 0:
        raise RuntimeError(f"minlength should be >= 0, got {minlength}")
    if a.size == 0 and a.ndim == 1:
        return wrap(np.zeros(minlength, np.int64, like=a))
    if a.ndim != 1 or a.min() < 0:
        raise RuntimeError(f"bincount only supports 1-d non-negative integral inputs, got shape {list(a.shape)}")
    if a.max() == np.iinfo(np.int64).max:  # one more is no number of bins
        raise RuntimeError(f"maximum value of input overflowed, it should be < {a.max()} but got {a.max()}")
    if weights is None:
        return wrap(np.bincount(a.astype(np.int64), minlength=minlength))
    w = expect_tensor(weights, "bincount", "weights").array
    if w.shape != a.shape:
        raise RuntimeError(
            f"weights should be 1-d and have the same length as input: {list(w.shape)} and {list(a.shape)}"
        )
    kind = w.dtype if w.dtype == np.float32 else np.float64
    return wrap(np.bincount(a.astype(np.int64), w, minlength).astype(kind))


def histc(input: Any, bins: int = 100, min: float = 0, max: float = 0, *, out: Any = None) -> Any:
    """How many elements lie in each of `bins` equal parts of min..max (of the range of the elements, if both are 0)."""
    a = expect_tensor(input, "histc").array.reshape(-1)
    if bins <= 0:
        raise RuntimeError(f"bins must be > 0, but got {bins} for dimension 0")
    low, high = (float(number(v, "histc", n)) for v, n in ((min, "min"), (max, "max")))
    if low == high and a.size:
        low, high = float(a.min()), float(a.max())
    if not np.isfinite(low) or not np.isfinite(high):
        raise RuntimeError(f"histc(): range of [{low}, {high}] is not finite")
    if low > high:
        raise RuntimeError(f"histc(): max must be larger than min, got {low} and {high}")
    if a.dtype.kind != "f":
        raise unsupported("histogram", a.dtype)
    if low == high:
        low, high = low - 1, high + 1
    inside = a[(a >= low) & (a <= high)].astype(np.float64)
    places = np.minimum(((inside - low) / (high - low) * bins).astype(np.int64), bins - 1)
    return into(out, wrap(np.bincount(places, minlength=bins).astype(a.dtype)), "histc")


# ------------------------------------------------------------------------------------------ covariance
def cov(input: Any, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Any:
    """The covariance matrix of variables, which are rows, over observations, which are columns; `fweights` counts an
    observation several times, `aweights` weighs it.
    """
    if expect_tensor(input, "cov").array.ndim > 2:
        raise RuntimeError(f"cov(): expected input to have two or fewer dimensions, got {input.array.ndim}")
    if input.array.dtype.kind == "b":
        raise RuntimeError("cov(): bool dtype is not supported for input")
    rows = input if input.array.ndim == 2 else reshape(input, 1, -1)
    n = rows.array.shape[1]
    weights = None
    for name, w, kinds in (("fweights", fweights, "iu"), ("aweights", aweights, "f")):
        if w is None:
            continue
        a = expect_tensor(w, "cov", name).array
        if a.ndim > 1:
            raise RuntimeError(
                f"cov(): expected {name} to have one or fewer dimensions but got {name} with {a.ndim} dimensions"
            )
        if a.dtype.kind not in kinds:
            raise RuntimeError(
                f"cov(): {name} must be {'integers' if kinds == 'iu' else 'of a floating-point type'}, got {w.dtype}"
            )
        if a.size != n:
            raise RuntimeError(
                f"cov(): {name} must have one element for each of the {n} observations, but has {a.size}"
            )
        if a.size and a.min() < 0:
            raise RuntimeError(f"cov(): {name} cannot be negative")
        weights = w if weights is None else mul(weights, w)
    if weights is not None and not weights.array.sum() > 0:
        raise RuntimeError("cov(): weights sum to zero, can't be normalized")
    total = n if weights is None else sum(weights)
    weighted = rows if weights is None else mul(rows, weights)
    away = sub(rows, reshape(div(sum(weighted, 1), total), -1, 1))
    freedom = (
        sub(total, div(mul(sum(mul(weights, aweights)), correction), total))
        if aweights is not None and correction
        else total - correction
    )
    if freedom.array <= 0 if isinstance(freedom, TensorBase) else freedom <= 0:
        warnings.warn(
            "cov(): degrees of freedom is <= 0. Correction should be strictly less than the number of observations.",
            stacklevel=2,
        )
        freedom = 0
    found = mm(away, t(away if weights is None else mul(away, weights).to(away.dtype)))
    return div(found, freedom).squeeze()


def corrcoef(input: Any) -> Any:
    """The correlation coefficients of variables, which are rows, over observations, which are columns."""
    if expect_tensor(input, "corrcoef").array.ndim > 2:
        raise RuntimeError(f"corrcoef(): expected input to have two or fewer dimensions, got {input.array.ndim}")
    c = cov(input)
    if c.array.ndim == 0:
        return div(c, c)
    deviation = sqrt(diagonal(c))
    return clamp(div(div(c, reshape(deviation, -1, 1)), deviation), -1, 1)


@numpy_names
def renorm(input: Any, p: float, dim: int, maxnorm: float, *, out: Any = None) -> Any:
    """Each slice along `dim`, scaled down to the p-norm `maxnorm` where it is larger."""
    a = expect_tensor(input, "renorm").array
    p, most = number(p, "renorm", "p"), number(maxnorm, "renorm", "maxnorm")
    if p <= 0:
        raise RuntimeError(f"renorm: non-positive-norm not supported (p={p})")
    if most < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {most}")
    if a.ndim < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {a.ndim} dimensions")
    over = axis(dim, a.ndim)
    if a.dtype.kind != "f":
        raise RuntimeError(f"renorm: expected a floating point tensor, got {input.dtype}")
    others = tuple(i for i in range(a.ndim) if i != over)
    large = wrap(norm(input.detach(), p, others, True).array > most)
    length = norm(where(large, input, 0.0), p, others, True)  # a NaN that is left as it is spoils no gradient
    found = mul(input, where(large, (length + 1e-7).reciprocal() * most, 1.0)).contiguous()
    return into(out, entitled(found, "RenormBackward0"), "renorm")


# ------------------------------------------------------------------------------------------ sums under a curve
def refuse_truth(y: Any, x: Any, call: str) -> None:
    for name, v in (("y", y), ("x", x)):
        if isinstance(v, TensorBase) and v.array.dtype.kind == "b":
            raise RuntimeError(f"{call}: received a bool input for `x` or `y`, but bool is not supported ({name})")


def strips(y: Any, x: Any, dx: Any, dim: int, call: str) -> tuple[Any, int]:
    """Twice the areas between neighbours along a dimension."""
    over = axis(dim, expect_tensor(y, call, "y").array.ndim)
    refuse_truth(y, x, call)
    n = y.array.shape[over]
    if x is None:
        width = dx
    else:
        if expect_tensor(x, call, "x").array.ndim == 1:
            if x.array.size != n:
                raise RuntimeError(
                    f"{call}: There must be one `x` value for each sample point, got {x.array.size} and {n}"
                )
            x = reshape(x, *(n if i == over else 1 for i in range(y.array.ndim)))
        elif x.array.ndim < y.array.ndim:
            x = reshape(x, *(1,) * (y.array.ndim - x.array.ndim), *x.array.shape)
        m = x.array.shape[over]
        width = sub(narrow(x, over, 1, max(m - 1, 0)), narrow(x, over, 0, max(m - 1, 0)))
    if n == 0:
        return y, over
    return mul(narrow(y, over, 1, n - 1) + narrow(y, over, 0, n - 1), width), over


def trapezoid(y: Any, x: Any = None, *, dx: Any = 1, dim: int = -1) -> Any:
    """The area under y along `dim` by the trapezoidal rule; the points lie at `x`, or `dx` apart."""
    areas, over = strips(y, x, dx, dim, "trapezoid")
    area = div(sum(areas, over), 2)
    return area if y.array.shape[over] else area.detach()


trapz = trapezoid


def cumulative_trapezoid(y: Any, x: Any = None, *, dx: Any = 1, dim: int = -1) -> Any:
    """The area under y up to each point along `dim` but the first."""
    refuse_truth(y, x, "cumulative_trapezoid")
    areas, over = strips(y, x, dx, dim, "cumulative_trapezoid")
    return div(cumsum(areas, over), 2)
