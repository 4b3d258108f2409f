"""Running sums, products and extrema, and differences of neighbours."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtypes, return_types
from ..kernels import twin
from .arithmetic import ne, sub
from .common import Op, axis, cast, expect_tensor, inplace, into, numpy_names, run, unsupported, wrap
from .index import narrow
from .join import cat
from .rearrange import flip
from .reduce import all_into, prepared

kernels, places = twin("scan"), twin("index")


def sum_to_end(a: np.ndarray, axis: int) -> np.ndarray:
    """The sum of each element and all behind it."""
    return np.flip(kernels.cumulative("cumsum", np.flip(a, axis), axis, a.dtype), axis)


class CumSum(Op):
    label = "CumsumBackward0"

    @staticmethod
    def forward(a, *, axis, dtype):
        return kernels.cumulative("cumsum", a, axis, dtype), (axis,)

    @staticmethod
    def backward(saved, needs, g):
        return sum_to_end(g, saved[0])


class CumProd(Op):
    """Each result is a product of all elements up to it.  If there are zeros the gradient divides by none: with
    s[k] = g[k] + a[k + 1] s[k + 1] it is s[k] times the product of the elements before k.
    """

    label = "CumprodBackward0"

    @staticmethod
    def forward(a, *, axis, dtype):
        out = kernels.cumulative("cumprod", a, axis, dtype)
        return out, (a, out, axis)

    @staticmethod
    def backward(saved, needs, g):
        a, out, axis = saved
        if a.all():
            return sum_to_end(g * out, axis) / a
        a, s = np.moveaxis(a, axis, 0), np.moveaxis(g.copy(), axis, 0)
        for k in range(len(a) - 2, -1, -1):
            s[k] += a[k + 1] * s[k + 1]
        if len(a) > 1:
            s[1:] *= np.cumprod(a[:-1], 0)
        return np.moveaxis(s, 0, axis)


class LogCumSumExp(Op):
    label = "LogcumsumexpBackward0"

    @staticmethod
    def forward(a, *, axis, dtype):
        out = np.logaddexp.accumulate(a.astype(np.float64, copy=False), axis).astype(dtype, order="C")
        return out, (a, out, axis)

    @staticmethod
    def backward(saved, needs, g):
        a, out, axis = saved

        def part(share):
            """The gradient that a part of one sign sends back, in logarithms: no exponential overflows."""
            logs = np.where(share > 0, np.log(share) - out, -np.inf).astype(np.float64, copy=False)
            to_end = np.flip(np.logaddexp.accumulate(np.flip(logs, axis), axis), axis)
            return np.exp(to_end.astype(g.dtype) + a)

        with np.errstate(all="ignore"):
            return (part(np.maximum(g, 0)) - part(np.maximum(-g, 0))).astype(g.dtype)


def running(name: str, op: type[Op], words: str) -> Callable:
    """cumsum or cumprod."""

    @numpy_names
    def function(input: Any, dim: int, *, dtype: dtypes.dtype | None = None, out: Any = None) -> Any:
        input, kind = prepared(input, dtype, name, out)
        a, over = input.array, axis(dim, input.array.ndim)
        kind = kind or (a.dtype if a.dtype.kind == "f" else np.dtype(np.int64))
        if a.ndim == 0:
            return into(out, cast(input, kind) if kind != a.dtype else input.clone(), name)
        if kind.kind == "b" and a.size:
            raise unsupported(f"{name}_out", kind)
        return into(out, run(op, (input,), (a,), axis=over, dtype=kind), name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"The running {words} along `dim`; of integers in int64 unless `dtype` says otherwise."
    return function


cumsum, cumprod = running("cumsum", CumSum, "sum"), running("cumprod", CumProd, "product")


def in_place(function: Callable) -> Callable:
    """cumsum_ or cumprod_, which compute in the type of the tensor."""

    @numpy_names
    @functools.wraps(function)
    def compute(input: Any, dim: int, *, dtype: dtypes.dtype | None = None) -> Any:
        if dtype is not None and dtype != input.dtype:
            raise RuntimeError(
                f"Bad in-place call: input tensor dtype {input.dtype} and output tensor dtype {dtype} should match"
            )
        return function(input, dim, dtype=input.dtype)

    return inplace(compute)


cumsum_, cumprod_ = in_place(cumsum), in_place(cumprod)


@numpy_names
def logcumsumexp(input: Any, dim: int, *, out: Any = None) -> Any:
    """The logarithm of the running sum of e ** input along `dim`, with no overflow."""
    a, over = expect_tensor(input, "logcumsumexp").array, axis(dim, input.array.ndim)
    if a.dtype.kind != "f":
        raise unsupported("logcumsumexp_out", a.dtype)
    if a.ndim == 0:
        return into(out, input.clone(), "logcumsumexp")
    return into(out, run(LogCumSumExp, (input,), (a,), axis=over, dtype=a.dtype), "logcumsumexp")


class RunningExtreme(Op):
    """The extremum so far: the last of equals, or the last NaN."""

    @staticmethod
    def forward(a, *, values, indices, axis):
        return values, (a.shape, indices, axis)

    @staticmethod
    def backward(saved, needs, g):
        shape, indices, axis = saved
        out = np.zeros(shape, g.dtype, like=g)
        if g.size:
            places.add_along(out, indices, g, axis)
        return out


def running_extreme(name: str, largest: bool) -> Callable:
    """cummax or cummin."""
    op = RunningExtreme.called(f"{name.capitalize()}Backward0")
    kind = getattr(return_types, name)

    @numpy_names
    def function(input: Any, dim: int, *, out: Any = None) -> Any:
        a = expect_tensor(input, name).array
        over = axis(dim, a.ndim) if a.size else 0
        if a.ndim == 0:
            return all_into(out, kind(input.clone(), wrap(np.zeros((), np.int64, like=a))), name)
        values, indices = kernels.extremes(a, over, largest)
        chosen = wrap(indices)
        found = run(op, (input,), (a,), (chosen,), values=values, indices=indices, axis=over)
        return all_into(out, kind(found, chosen), name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"(values, indices) of the {name[3:]}imum of all elements so far along `dim`."
    return function


cummax, cummin = running_extreme("cummax", True), running_extreme("cummin", False)


def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """The powers N - 1, ..., 0 of each element of a vector, as a row; the other way round if `increasing`.

    `N` is the number of elements if it is not given.
    """
    if expect_tensor(x, "vander", "x").array.ndim != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    size = x.array.size
    n = size if N is None else operator.index(N)
    if n < 0:
        raise RuntimeError("N must be non-negative.")
    one = wrap(np.ones((size, 1), x.array.dtype, like=x.array))
    powers = narrow(cumprod(cat([one, x.unsqueeze(-1).expand(size, max(n - 1, 0))], 1), 1), 1, 0, n)
    return powers.clone() if increasing else flip(powers, 1)


# ------------------------------------------------------------------------------------------ neighbours
@numpy_names
def diff(input: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None, *, out: Any = None) -> Any:
    """The differences of neighbours along `dim`, taken `n` times; `prepend` and `append` are joined on before."""
    ndim = expect_tensor(input, "diff").array.ndim
    if ndim == 0:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    over, n = axis(dim, ndim), operator.index(n)
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    for name, more in (("prepend", prepend), ("append", append)):
        if more is not None and expect_tensor(more, "diff", name).array.ndim != ndim:
            raise RuntimeError(f"diff(): {name} must have as many dimensions as input: {more.array.ndim} and {ndim}")
    parts = [x for x in (prepend, input, append) if x is not None]
    found = cat(parts, over) if len(parts) > 1 and n else input
    take = ne if found.array.dtype.kind == "b" else sub
    for _ in range(min(n, found.array.shape[over])):
        size = max(found.array.shape[over] - 1, 0)
        found = take(narrow(found, over, 1 if size else 0, size), narrow(found, over, 0, size))
    return into(out, found if n else found.clone(), "diff", exact=not n)
