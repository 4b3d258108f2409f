"""Reductions along dimensions."""

from __future__ import annotations

import builtins
import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import dtypes
from .arithmetic import div
from .common import Op, axes, axis, cast, expect_tensor, floating, into, number, numpy_names, run, wrap
from .elementwise import maximum, minimum


def spread(g: np.ndarray, reduced: tuple[int, ...], keepdim: bool) -> np.ndarray:
    """The gradient of a reduction's result, with the reduced axes back (of size one)."""
    return np.asarray(g) if keepdim else np.expand_dims(g, reduced)


class Sum(Op):
    @staticmethod
    def forward(a, *, axes, keepdim, dtype=None):
        from ..kernels.cpu import reduce

        out = reduce.sum(a, axes)
        if dtype is not None and out.dtype != dtype:  # integers: int64, unless another type was asked for
            out = out.astype(dtype)
        return (np.expand_dims(out, axes) if keepdim else out), (a.shape, axes, keepdim)

    @staticmethod
    def backward(saved, needs, g):
        shape, axes, keepdim = saved
        return np.broadcast_to(spread(g, axes, keepdim), shape)


def prepared(input: Any, dtype: dtypes.dtype | None, call: str) -> Any:
    """The input of a sum or mean, cast to `dtype`."""
    expect_tensor(input, call)
    return input if dtype is None else cast(input, dtype.numpy)


@numpy_names
def sum(
    input: Any, dim: Any = None, keepdim: bool = False, *, dtype: dtypes.dtype | None = None, out: Any = None
) -> Any:
    """The sum over `dim` (an int, several, or all)."""
    input = prepared(input, dtype, "sum")
    over = axes(dim, input.array.ndim)
    as_type = None if dtype is None else dtype.numpy
    return into(out, run(Sum, (input,), (input.array,), axes=over, keepdim=keepdim, dtype=as_type), "sum")


@numpy_names
def mean(
    input: Any, dim: Any = None, keepdim: bool = False, *, dtype: dtypes.dtype | None = None, out: Any = None
) -> Any:
    """The mean over `dim` (an int, several, or all) of floating-point numbers."""
    input = prepared(input, dtype, "mean")
    if input.array.dtype.kind != "f":
        raise RuntimeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. "
            f"Got: {dtypes.word(input.array.dtype)}"
        )
    over = axes(dim, input.array.ndim)
    count = math.prod(input.array.shape[i] for i in over)
    total = run(Sum, (input,), (input.array,), axes=over, keepdim=keepdim)
    return into(out, div(total, count), "mean")


class Values(NamedTuple):
    values: Any
    indices: Any

    def __repr__(self) -> str:
        return f"torch.return_types.{type(self).__name__}(\nvalues={self.values!r},\nindices={self.indices!r})"


def result(name: str) -> type[Values]:
    """The class of a named pair (values, indices), printed as torch prints it."""
    return type(name, (Values,), {})


class Pick(Op):
    """The elements at `indices` along an axis: what max, min, sort and topk return."""

    @staticmethod
    def forward(a, *, values, indices, axis, keepdim):
        return values, (a.shape, indices, axis, keepdim)

    @staticmethod
    def backward(saved, needs, g):
        shape, indices, axis, keepdim = saved
        out = np.zeros(shape, g.dtype)
        np.put_along_axis(out, indices if keepdim else np.expand_dims(indices, axis), spread(g, (axis,), keepdim), axis)
        return out


class Extreme(Op):
    """The extremum over several axes; equal elements share the gradient.  Where it is NaN, so is the gradient."""

    @staticmethod
    def forward(a, *, ufunc, axes, keepdim):
        out = np.asarray(ufunc.reduce(a, axes, keepdims=keepdim))
        return out, (a, out, axes, keepdim)

    @staticmethod
    def backward(saved, needs, g):
        a, out, axes, keepdim = saved
        hit = a == spread(out, axes, keepdim)
        return (spread(g, axes, keepdim) * hit / hit.sum(axes, keepdims=True)).astype(g.dtype, copy=False)


class Extremum(Extreme):
    """The extremum of all elements; equal elements share the gradient, NaN among them."""

    @staticmethod
    def backward(saved, needs, g):
        a, out, *_ = saved
        hit = (a == out) | ((a != a) & (out != out))
        return np.where(hit, g / np.count_nonzero(hit), 0).astype(g.dtype, copy=False)


def check_not_empty(a: np.ndarray, over: tuple[int, ...] | None, call: str) -> None:
    """torch's errors for an extremum over no elements; `over` None is all axes."""
    if over is None:
        if a.size == 0:
            raise RuntimeError(
                f"{call}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim "
                f"with the 'dim' argument. (The input has shape {list(a.shape)}.)"
            )
        return
    for i in over:
        if a.ndim and a.shape[i] == 0:
            raise IndexError(f"{call}(): Expected reduction dim {i} to have non-zero size.")


def extremes(name: str, largest: bool) -> tuple[Callable, Callable]:
    """torch's `max` or `min`, in all its forms, and amax or amin."""
    pair, ufunc = result(name), np.maximum if largest else np.minimum
    elementwise = maximum if largest else minimum

    @numpy_names
    def function(input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None, out: Any = None) -> Any:
        expect_tensor(input, name)
        other = dim if hasattr(dim, "array") else other
        if other is not None:
            return elementwise(input, other, out=out)
        a = input.array
        if dim is None:
            check_not_empty(a, None, name)
            return into(out, run(Extremum, (input,), (a,), ufunc=ufunc, axes=tuple(range(a.ndim)), keepdim=False), name)
        over = axis(dim, a.ndim)
        check_not_empty(a, (over,), name)
        if a.ndim == 0:
            indices = np.zeros((), np.int64)
            picked = run(Extremum, (input,), (a,), ufunc=ufunc, axes=(), keepdim=False)
        else:
            from ..kernels.cpu import reduce

            values, indices = reduce.extreme(a, over, largest)
            if keepdim:
                values, indices = np.expand_dims(values, over), np.expand_dims(indices, over)
            picked = run(Pick, (input,), (a,), values=values, indices=indices, axis=over, keepdim=keepdim)
        found = pair(picked, wrap(indices))
        return found if out is None else pair(into(out[0], found.values, name), into(out[1], found.indices, name))

    @numpy_names
    def several(input: Any, dim: Any = (), keepdim: bool = False, *, out: Any = None) -> Any:
        a = expect_tensor(input, f"a{name}").array
        dims = dim if isinstance(dim, (tuple, list)) else (dim,)
        check_not_empty(a, tuple(axis(d, a.ndim) for d in dims) or None, f"a{name}")
        over = axes(dim, a.ndim)
        return into(out, run(Extreme, (input,), (input.array,), ufunc=ufunc, axes=over, keepdim=keepdim), f"a{name}")

    word = "largest" if largest else "smallest"
    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"The {word} element; with `dim`, a pair (values, indices) along it; with a second tensor, the {word} of "
        "each two elements."
    )
    several.__name__ = several.__qualname__ = f"a{name}"
    several.__doc__ = f"The {word} element over one or several dimensions; equal elements share the gradient."
    return function, several


max, amax = extremes("max", True)
min, amin = extremes("min", False)


def positions(name: str, largest: bool) -> Callable:
    @numpy_names
    def function(input: Any, dim: int | None = None, keepdim: bool = False, *, out: Any = None) -> Any:
        from ..kernels.cpu import reduce

        a = expect_tensor(input, name).array
        if a.dtype.kind == "b" and (dim is None or isinstance(dim, int)):
            raise RuntimeError(f"{name}(): does not support bool input")
        over = None if dim is None else axis(dim, a.ndim)
        if a.size == 0 and over is None:
            raise IndexError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim "
                f"with the 'dim' argument. (The input has shape {list(a.shape)}.)"
            )
        if a.ndim == 0:
            return into(out, wrap(np.zeros((), np.int64)), name)
        if over is None:
            indices = reduce.extreme(a.reshape(-1), 0, largest)[1]
            return into(out, wrap(indices.reshape((1,) * a.ndim) if keepdim else indices), name)
        check_not_empty(a, (over,), name)
        indices = reduce.extreme(a, over, largest)[1]
        return into(out, wrap(np.expand_dims(indices, over) if keepdim else indices), name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Where the {'largest' if largest else 'smallest'} element is (the first of equals): int64."
    return function


argmax, argmin = positions("argmax", True), positions("argmin", False)


def truth(name: str, ufunc: np.ufunc) -> Callable:
    @numpy_names
    def function(input: Any, dim: Any = None, keepdim: bool = False, *, out: Any = None) -> Any:
        a = expect_tensor(input, name).array
        over = () if isinstance(dim, (tuple, list)) and not dim else axes(dim, a.ndim)
        found = np.asarray(ufunc.reduce(a != 0, over, keepdims=keepdim))
        return into(out, wrap(found.astype(np.uint8) if a.dtype == np.uint8 else found), name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"Whether {'all elements are' if name == 'all' else 'an element is'} not zero: booleans, or uint8 for uint8."
    )
    return function


all, any = truth("all", np.logical_and), truth("any", np.logical_or)


class LogSumExp(Op):
    @staticmethod
    def forward(a, *, axes, keepdim):
        from ..kernels.cpu import reduce

        out = reduce.logsumexp(a, axes) if axes else a.copy()
        out = np.expand_dims(out, axes) if keepdim else out
        return out, (a, out, axes, keepdim)

    @staticmethod
    def backward(saved, needs, g):
        a, out, axes, keepdim = saved
        shift = spread(out, axes, keepdim)
        return spread(g, axes, keepdim) * np.exp(a - np.where(np.isinf(shift), 0, shift))


@numpy_names
def logsumexp(input: Any, dim: Any, keepdim: bool = False, *, out: Any = None) -> Any:
    """log(sum(e ** input)) over `dim`, with no overflow."""
    input = floating(expect_tensor(input, "logsumexp"))
    if isinstance(dim, (tuple, list)) and not dim and input.array.ndim and input.array.size:
        raise RuntimeError(f"logsumexp(): expected a dim to reduce a tensor of shape {list(input.array.shape)} over")
    over = axes(dim, input.array.ndim)
    return into(out, run(LogSumExp, (input,), (input.array,), axes=over, keepdim=keepdim), "logsumexp")


class Variance(Op):
    """The squared distances from the mean, summed up over axes and divided by n - correction; or the root of that."""

    @staticmethod
    def forward(a, *, axes, keepdim, correction, root, whole):
        from ..kernels.cpu import reduce

        n = math.prod(a.shape[i] for i in axes)
        with np.errstate(all="ignore"):
            distance = a - np.expand_dims(reduce.sum(a, axes) / a.dtype.type(n), axes)
            out = reduce.sum(distance * distance, axes) / a.dtype.type(builtins.max(n - correction, 0))
            out = np.sqrt(out) if root else out
        out = np.expand_dims(out, axes) if keepdim else out
        return out, (distance, out if root else None, n - correction, axes, keepdim, whole)

    @staticmethod
    def backward(saved, needs, g):
        distance, root, freedom, axes, keepdim, whole = saved
        if root is not None:
            g = np.where(root == 0, 0, g / (2 * root))
        g = spread(g, axes, keepdim)
        if freedom <= 0 and whole:  # as torch has it where no dim is given: any distance is infinitely far
            return (g * np.where(distance == 0, np.nan, np.inf)).astype(distance.dtype)
        return (np.divide(2.0, freedom, dtype=distance.dtype) * g * distance).astype(distance.dtype, copy=False)


def deviation(name: str, root: bool) -> Callable:
    """torch's `var` or `std`."""

    @numpy_names
    def function(
        input: Any,
        dim: Any = None,
        unbiased: bool | None = None,
        keepdim: bool = False,
        *,
        correction: float | None = None,
        out: Any = None,
    ) -> Any:
        if isinstance(dim, bool):  # var(unbiased)
            dim, unbiased = None, dim
        if unbiased is not None:
            correction = int(unbiased)
        a = expect_tensor(input, name).array
        if a.dtype.kind != "f":
            raise RuntimeError(
                f"std and var only support floating point and complex dtypes ({name}() got {input.dtype})"
            )
        over = axes(dim, a.ndim)
        correction = 1 if correction is None else number(correction, name, "correction")
        if a.size and math.prod(a.shape[i] for i in over) <= correction:
            warnings.warn(
                f"{name}(): degrees of freedom is <= 0. Correction should be strictly less than the reduction factor "
                "(input numel divided by output numel).",
                stacklevel=3,
            )
        how = {"axes": over, "keepdim": keepdim, "correction": correction, "root": root}
        return into(out, run(Variance, (input,), (a,), **how, whole=dim is None or a.ndim == 0), name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"The {'square root of the ' * root}variance over `dim`: the squared distances from the mean, added up and "
        "divided by n - correction (1 unless given; 0 for unbiased=False)."
    )
    return function


var, std = deviation("var", False), deviation("std", True)


class Norm(Op):
    """(sum |a| ** p) ** (1 / p) over axes; at zero the gradient is zero."""

    @staticmethod
    def forward(a, *, p, axes, keepdim):
        from ..kernels.cpu import reduce

        if p == 2:
            out = np.sqrt(reduce.sum(a * a, axes))
        elif np.isinf(p):
            out = (np.maximum if p > 0 else np.minimum).reduce(np.abs(a), axes, initial=0 if p > 0 else None)
        elif p == 0:
            out = np.count_nonzero(a, axis=axes).astype(a.dtype) if axes else (a != 0).astype(a.dtype)
        else:
            out = reduce.sum(np.abs(a) ** p, axes) ** (1 / p)
        out = np.asarray(out, a.dtype)
        out = np.expand_dims(out, axes) if keepdim else out
        return out, (a, out, p, axes, keepdim)

    @staticmethod
    def backward(saved, needs, g):
        a, out, p, axes, keepdim = saved
        norm, g = spread(out, axes, keepdim), spread(g, axes, keepdim)
        if p == 0:
            return None
        if np.isinf(p):
            hit = np.abs(a) == norm
            return np.where(hit, np.sign(a) * (g / hit.sum(axes, keepdims=True)), 0).astype(a.dtype)
        if p == 1:
            return (g * np.where(a == a, np.sign(a), 0)).astype(a.dtype)
        scale = np.where(norm == 0, 0, a if p == 2 else np.where(a == 0, 0, np.sign(a) * np.abs(a) ** (p - 1)))
        return (g * scale / np.where(norm == 0, 1, norm ** (p - 1))).astype(a.dtype, copy=False)


@numpy_names
def norm(
    input: Any,
    p: Any = "fro",
    dim: Any = None,
    keepdim: bool = False,
    out: Any = None,
    dtype: dtypes.dtype | None = None,
) -> Any:
    """The vector norm of order `p` ('fro' is 2) over `dim`."""
    expect_tensor(input, "norm")
    for d in (input.dtype, dtype):
        if d is not None and not d.is_floating_point:
            raise RuntimeError(
                f"linalg.vector_norm: Expected a floating point tensor and dtype. Got {dtypes.word(d.numpy)}"
            )
    if p not in ("fro", None) and not isinstance(p, (int, float)):
        raise RuntimeError(f"norm(): expected p to be a number or 'fro', got {p!r}")
    if dtype is not None:
        input = cast(input, dtype.numpy)
    a, order, over = input.array, 2.0 if p in ("fro", None) else float(p), axes(dim, input.array.ndim)
    if math.isinf(order):
        for i in over:
            if a.shape[i] == 0:
                raise RuntimeError(
                    f"linalg.vector_norm cannot compute the {order} norm on the dimension {i} because this dimension "
                    "is empty and the operation does not have an identity"
                )
    return into(out, run(Norm, (input,), (a,), p=order, axes=over, keepdim=keepdim), "norm")


class CumSum(Op):
    @staticmethod
    def forward(a, *, axis, dtype):
        return np.cumsum(a, axis, dtype=dtype), (axis,)

    @staticmethod
    def backward(saved, needs, g):
        (axis,) = saved
        return np.flip(np.cumsum(np.flip(g, axis), axis), axis)


@numpy_names
def cumsum(input: Any, dim: int, *, dtype: dtypes.dtype | None = None, out: Any = None) -> Any:
    """The running sum along `dim`; of integers in int64 unless `dtype` says otherwise."""
    input = prepared(input, dtype, "cumsum")
    a, over = input.array, axis(dim, input.array.ndim)
    kind = a.dtype if a.dtype.kind == "f" or dtype is not None else np.dtype(np.int64)
    if a.ndim == 0:
        return into(out, cast(input, kind) if kind != a.dtype else input.clone(), "cumsum")
    return into(out, run(CumSum, (input,), (a,), axis=over, dtype=kind), "cumsum")
