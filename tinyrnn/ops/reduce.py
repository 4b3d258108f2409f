"""Reductions along dimensions."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import dtypes
from .arithmetic import div, mul, sub
from .common import Op, axes, axis, cast, expect_tensor, floating, into, run, wrap
from .elementwise import maximum, minimum, sqrt


def spread(g: np.ndarray, reduced: tuple[int, ...], keepdim: bool) -> np.ndarray:
    """The gradient of a reduction's result, with the reduced axes back (of size one)."""
    return np.asarray(g) if keepdim else np.expand_dims(g, reduced)


class Sum(Op):
    @staticmethod
    def forward(a, *, axes, keepdim):
        from ..kernels.cpu import reduce

        out = reduce.sum(a, axes)
        return (np.expand_dims(out, axes) if keepdim else out), (a.shape, axes, keepdim)

    @staticmethod
    def backward(saved, needs, g):
        shape, axes, keepdim = saved
        return np.broadcast_to(spread(g, axes, keepdim), shape)


def prepared(input: Any, dtype: dtypes.dtype | None, call: str) -> Any:
    """The input of a sum or mean, cast to `dtype`."""
    expect_tensor(input, call)
    return input if dtype is None else cast(input, dtype.numpy)


def sum(
    input: Any, dim: Any = None, keepdim: bool = False, *, dtype: dtypes.dtype | None = None, out: Any = None
) -> Any:
    """The sum over `dim` (an int, several, or all)."""
    input = prepared(input, dtype, "sum")
    return into(out, run(Sum, (input,), (input.array,), axes=axes(dim, input.array.ndim), keepdim=keepdim), "sum")


def mean(
    input: Any, dim: Any = None, keepdim: bool = False, *, dtype: dtypes.dtype | None = None, out: Any = None
) -> Any:
    """The mean over `dim` (an int, several, or all) of floating-point numbers."""
    input = prepared(input, dtype, "mean")
    if input.array.dtype.kind != "f":
        raise RuntimeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. "
            f"Got: {str(input.dtype).replace('torch.int64', 'Long').replace('torch.bool', 'Bool')}"
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
    """The extremum over several axes; equal elements share the gradient."""

    @staticmethod
    def forward(a, *, ufunc, axes, keepdim):
        if builtins.any(a.shape[i] == 0 for i in axes):
            raise RuntimeError(
                "max(), min(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction "
                "dim with the 'dim' argument."
            )
        out = np.asarray(ufunc.reduce(a, axes, keepdims=keepdim))
        return out, (a, out, axes, keepdim)

    @staticmethod
    def backward(saved, needs, g):
        a, out, axes, keepdim = saved
        best = spread(out, axes, keepdim)
        hit = (a == best) | (np.isnan(a) & np.isnan(best))
        return np.where(hit, spread(g, axes, keepdim) / hit.sum(axes, keepdims=True), 0).astype(g.dtype, copy=False)


def extremes(name: str, largest: bool) -> tuple[Callable, Callable]:
    """torch's `max` or `min`, in all its forms, and amax or amin."""
    pair, ufunc = result(name), np.maximum if largest else np.minimum
    elementwise = maximum if largest else minimum

    def function(input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None, out: Any = None) -> Any:
        expect_tensor(input, name)
        other = dim if hasattr(dim, "array") else other
        if other is not None:
            return elementwise(input, other, out=out)
        a = input.array
        if dim is None:
            return into(out, run(Extreme, (input,), (a,), ufunc=ufunc, axes=tuple(range(a.ndim)), keepdim=False), name)
        over = axis(dim, a.ndim)
        if a.ndim == 0:
            return pair(run(Extreme, (input,), (a,), ufunc=ufunc, axes=(), keepdim=False), wrap(np.zeros((), np.int64)))
        if a.shape[over] == 0:
            raise IndexError(f"{name}(): Expected reduction dim {over} to have non-zero size.")
        from ..kernels.cpu import reduce

        values, indices = reduce.extreme(a, over, largest)
        if keepdim:
            values, indices = np.expand_dims(values, over), np.expand_dims(indices, over)
        picked = run(Pick, (input,), (a,), values=values, indices=indices, axis=over, keepdim=keepdim)
        found = pair(picked, wrap(indices))
        return found if out is None else pair(into(out[0], found.values, name), into(out[1], found.indices, name))

    def several(input: Any, dim: Any = (), keepdim: bool = False, *, out: Any = None) -> Any:
        expect_tensor(input, f"a{name}")
        over = axes(dim, input.array.ndim)
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
    def function(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
        from ..kernels.cpu import reduce

        a = expect_tensor(input, name).array
        if a.size == 0 and dim is None:
            raise IndexError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim "
                "with the 'dim' argument."
            )
        if dim is None:
            indices = reduce.extreme(a.reshape(-1), 0, largest)[1]
            return wrap(indices.reshape((1,) * a.ndim) if keepdim else indices)
        over = axis(dim, a.ndim)
        if a.ndim == 0:
            return wrap(np.zeros((), np.int64))
        if a.shape[over] == 0:
            raise IndexError(f"{name}(): Expected reduction dim {over} to have non-zero size.")
        indices = reduce.extreme(a, over, largest)[1]
        return wrap(np.expand_dims(indices, over) if keepdim else indices)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Where the {'largest' if largest else 'smallest'} element is (the first of equals): int64."
    return function


argmax, argmin = positions("argmax", True), positions("argmin", False)


def truth(name: str, ufunc: np.ufunc) -> Callable:
    def function(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
        a = expect_tensor(input, name).array
        return wrap(ufunc.reduce(a != 0, axes(dim, a.ndim), keepdims=keepdim))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Whether {'all elements are' if name == 'all' else 'an element is'} not zero."
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


def logsumexp(input: Any, dim: Any, keepdim: bool = False, *, out: Any = None) -> Any:
    """log(sum(e ** input)) over `dim`, with no overflow."""
    input = floating(expect_tensor(input, "logsumexp"))
    over = axes(dim, input.array.ndim)
    return into(out, run(LogSumExp, (input,), (input.array,), axes=over, keepdim=keepdim), "logsumexp")


def var(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: int | None = None
) -> Any:
    """The variance over `dim`: the squared distances from the mean, divided by n - correction (1 unless given)."""
    if isinstance(dim, bool):  # var(unbiased)
        dim, unbiased = None, dim
    if unbiased is not None:
        correction = int(unbiased)
    correction = 1 if correction is None else correction
    if expect_tensor(input, "var").array.dtype.kind != "f":
        raise RuntimeError("std and var only support floating point and complex dtypes")
    over = axes(dim, input.array.ndim)
    count = math.prod(input.array.shape[i] for i in over)
    distance = sub(input, mean(input, over or None, keepdim=True))
    total = sum(mul(distance, distance), over or None, keepdim)
    return div(total, float(count - correction) if count > correction else 0.0)


def std(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: int | None = None
) -> Any:
    """The square root of the variance: see var."""
    return sqrt(var(input, dim, unbiased, keepdim, correction=correction))


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
            return np.zeros_like(a)
        if np.isinf(p):
            hit = np.abs(a) == norm
            return np.where(hit, np.sign(a) * (g / hit.sum(axes, keepdims=True)), 0).astype(a.dtype)
        scale = np.where(norm == 0, 0, a if p == 2 else np.sign(a) * np.abs(a) ** (p - 1))
        return (g * scale / np.where(norm == 0, 1, norm ** (p - 1))).astype(a.dtype, copy=False)


def norm(input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False) -> Any:
    """The vector norm of order `p` ('fro' is 2) over `dim`."""
    if expect_tensor(input, "norm").array.dtype.kind != "f":
        raise RuntimeError("linalg.vector_norm: Expected a floating point or complex tensor as input. Got Long")
    if p not in ("fro", None) and not isinstance(p, (int, float)):
        raise RuntimeError(f"norm(): expected p to be a number or 'fro', got {p!r}")
    order = 2.0 if p in ("fro", None) else float(p)
    return run(Norm, (input,), (input.array,), p=order, axes=axes(dim, input.array.ndim), keepdim=keepdim)


class CumSum(Op):
    @staticmethod
    def forward(a, *, axis):
        return (np.cumsum(a, axis) if a.dtype.kind == "f" else np.cumsum(a, axis, dtype=np.int64)), (axis,)

    @staticmethod
    def backward(saved, needs, g):
        (axis,) = saved
        return np.flip(np.cumsum(np.flip(g, axis), axis), axis)


def cumsum(input: Any, dim: int, *, dtype: dtypes.dtype | None = None) -> Any:
    """The running sum along `dim`."""
    input = prepared(input, dtype, "cumsum")
    if input.array.ndim == 0:
        axis(dim, 0)
        return input.clone()
    return run(CumSum, (input,), (input.array,), axis=axis(dim, input.array.ndim))
