"""Reductions along dimensions."""

from __future__ import annotations

import builtins
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtypes, return_types
from ..kernels import twin
from ..kernels.scalar import Var
from ..kernels.scalar import mean as mean_over_units
from ..strides import at
from ..tape import entitled
from .arithmetic import add, div, plain, sub
from .common import (
    Op,
    TensorBase,
    axes,
    axis,
    cast,
    expect_tensor,
    floating,
    into,
    number,
    numpy_names,
    record,
    run,
    sizes,
    unsupported,
    wrap,
)
from .elementwise import maximum, minimum

kernels, places = twin("reduce"), twin("index")


def spread(g: np.ndarray, reduced: tuple[int, ...], keepdim: bool) -> np.ndarray:
    """The gradient of a reduction's result, with the reduced axes back (of size one)."""
    return g if keepdim else with_axes(g, reduced)


def with_axes(a: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """`a` with `axes` of size one."""
    shape = list(a.shape)
    for i in axes:
        shape.insert(i, 1)
    return a.reshape(shape)


def repeated(g: np.ndarray, axes: tuple[int, ...], keepdim: bool, shape: tuple[int, ...]) -> np.ndarray:
    """The gradient of a sum's result for each element that was added up: a view of it."""
    if not g.shape:
        return at(g, shape, (0,) * len(shape))
    if not g.flags.c_contiguous:
        return np.broadcast_to(spread(g, axes, keepdim), shape)
    strides = list(g.strides)
    for i in axes:
        strides[i : i + keepdim] = (0,)
    return at(g, shape, strides)  # what np.broadcast_to does, ten times faster


class Sum(Op):
    bare = True

    @staticmethod
    def forward(a, *, axes, keepdim, dtype=None):
        out = kernels.sum(a, axes)
        if dtype is not None and out.dtype != dtype:  # integers: int64, unless another type was asked for
            out = out.astype(dtype)
        return (with_axes(out, axes) if keepdim else out), (a.shape, axes, keepdim)

    @staticmethod
    def backward(saved, needs, g):
        shape, axes, keepdim = saved
        return repeated(g, axes, keepdim, shape)


class Mean(Op):
    bare = True

    @staticmethod
    def forward(a, *, axes, keepdim):
        count = math.prod([a.shape[i] for i in axes])
        out = kernels.sum(a, axes)
        out /= a.dtype.type(count) if count else np.nan
        return (with_axes(out, axes) if keepdim else out), (a.shape, axes, keepdim, count)

    @staticmethod
    def backward(saved, needs, g):
        shape, axes, keepdim, count = saved
        return repeated(np.asarray(g / g.dtype.type(count), like=g), axes, keepdim, shape)


def prepared(input: Any, dtype: dtypes.dtype | None, call: str, out: Any = None) -> tuple[Any, np.dtype | None]:
    """The input of a sum or its like, cast to the type that `dtype` or `out` asks for; and that type, or None."""
    expect_tensor(input, call)
    if dtype is None and out is not None:
        dtype = expect_tensor(out, call, "out").dtype
    return (input, None) if dtype is None else (cast(input, dtype.numpy), dtype.numpy)


@numpy_names
def sum(
    input: Any, dim: Any = None, keepdim: bool = False, *, dtype: dtypes.dtype | None = None, out: Any = None
) -> Any:
    """The sum over `dim` (an int, several, or all)."""
    input, kind = prepared(input, dtype, "sum", out)
    over = axes(dim, input.array.ndim)
    found = record(Sum, (input,), Sum.forward(input.array, axes=over, keepdim=keepdim, dtype=kind))
    if dim is not None:
        entitled(found, "SumBackward1")
    return found if out is None else into(out, found, "sum")


@numpy_names
def mean(
    input: Any, dim: Any = None, keepdim: bool = False, *, dtype: dtypes.dtype | None = None, out: Any = None
) -> Any:
    """The mean over `dim` (an int, several, or all) of floating-point numbers."""
    if isinstance(input, Var):  # inside a recurrent cell's step, where values are recorded
        return mean_over_units(input, dim, keepdim, dtype=dtype, out=out)
    input, _ = prepared(input, dtype, "mean")
    if input.array.dtype.kind != "f":
        raise RuntimeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. "
            f"Got: {dtypes.word(input.array.dtype)}"
        )
    over = axes(dim, input.array.ndim)
    result = record(Mean, (input,), Mean.forward(input.array, axes=over, keepdim=keepdim))
    if dim is not None:
        entitled(result, "MeanBackward1")
    return result if out is None else into(out, result, "mean")


def multiplied(a: np.ndarray, axis: int, dtype: np.dtype) -> np.ndarray:
    """The product along an axis, which stays: of many numbers half by half, so that whole vectors are multiplied."""
    a = a.astype(dtype, copy=False)
    before = (slice(None),) * axis
    while type(a) is np.ndarray and dtype.kind == "f" and a.shape[axis] > 32:
        half, odd = divmod(a.shape[axis], 2)
        product = plain(np.multiply, a[(*before, slice(half))], a[(*before, slice(half, 2 * half))])
        if odd:
            product[(*before, slice(1))] *= a[(*before, slice(-1, None))]
        a = product
    return np.multiply.reduce(a, axis, dtype=dtype, keepdims=True)


class Prod(Op):
    """The product along an axis, or of all.  If there are zeros, the gradient is the product of the elements before and
    of those behind; as torch has it, else it is the product divided by the element.
    """

    @staticmethod
    def forward(a, *, axis, keepdim, dtype, whole):
        out = multiplied(a, axis, dtype)
        out = np.asarray(out if keepdim else out.squeeze(axis), order="C", like=a)
        return out, (a, out, axis, keepdim, whole)

    @staticmethod
    def backward(saved, needs, g):
        a, out, axis, keepdim, whole = saved
        zeros, g = np.count_nonzero(a == 0), spread(g, (axis,), keepdim)
        if zeros == 0:
            return g * spread(out, (axis,), keepdim) / a
        if whole and zeros > 1:
            return np.zeros_like(a)
        a = np.moveaxis(a, axis, 0)
        others = np.ones_like(a)
        others[1:] = np.cumprod(a[:-1], 0)
        others[:-1] *= np.cumprod(a[:0:-1], 0)[::-1]
        return np.moveaxis(others, 0, axis) * g


@numpy_names
def prod(
    input: Any, dim: Any = None, keepdim: bool = False, *, dtype: dtypes.dtype | None = None, out: Any = None
) -> Any:
    """The product of all elements, or along `dim`; of integers in int64 unless `dtype` says otherwise."""
    input, kind = prepared(input, dtype, "prod", out)
    over = axis(0 if dim is None else dim, input.array.ndim)
    kind = kind or (input.array.dtype if input.array.dtype.kind == "f" else np.dtype(np.int64))
    if input.array.ndim == 0:
        return into(out, cast(input, kind) if kind != input.array.dtype else input.clone(), "prod")
    a = input.reshape(-1) if dim is None else input
    how = {"axis": over if dim is not None else 0, "keepdim": keepdim and dim is not None, "dtype": kind}
    found = run(Prod, (a,), (a.array,), (), **how, whole=dim is None)
    return into(out, found, "prod")


class WithoutNan(Op):
    """Zeros in place of NaN; as in torch, an infinite gradient becomes NaN there."""

    @staticmethod
    def forward(a):
        known = a == a
        return np.where(known, a, a.dtype.type(0)), (known,)

    @staticmethod
    def backward(saved, needs, g):
        with np.errstate(invalid="ignore"):
            return g * saved[0]


@numpy_names
def nansum(
    input: Any, dim: Any = None, keepdim: bool = False, *, dtype: dtypes.dtype | None = None, out: Any = None
) -> Any:
    """The sum over `dim` of what is not NaN."""
    known = expect_tensor(input, "nansum")
    if out is not None and input.array.dtype.kind == "f" != expect_tensor(out, "nansum", "out").array.dtype.kind:
        raise unsupported("nansum", out.array.dtype)
    if input.array.dtype.kind == "f":
        known = run(WithoutNan, (input,), (input.array,))
    if out is not None:
        return sum(known, dim, keepdim, dtype=dtype, out=out)
    return entitled(sum(known, dim, keepdim, dtype=dtype), "NansumBackward0")


@numpy_names
def nanmean(
    input: Any, dim: Any = None, keepdim: bool = False, *, dtype: dtypes.dtype | None = None, out: Any = None
) -> Any:
    """The mean over `dim` of what is not NaN."""
    a = expect_tensor(input, "nanmean").array
    if a.dtype.kind != "f":
        raise RuntimeError(f"nanmean(): expected input to have floating point or complex dtype but got {input.dtype}")
    known = np.count_nonzero(~np.isnan(a), axes(dim, a.ndim), keepdims=keepdim)
    if out is not None and expect_tensor(out, "nanmean", "out").array.dtype.kind != "f":
        raise unsupported("nansum", out.array.dtype)
    return into(out, div(nansum(input, dim, keepdim, dtype=dtype), wrap(known)), "nanmean")


def count_nonzero(input: Any, dim: Any = None) -> Any:
    """How many elements are not zero, over `dim` (an int, several, or all): int64."""
    a = expect_tensor(input, "count_nonzero").array
    over = axes(dim, a.ndim)
    return wrap(np.asarray(np.count_nonzero(a, over) if a.ndim else a != 0, np.int64, order="C", like=a))


def sum_to_size(input: Any, *size: Any) -> Any:
    """The sum over the dimensions along which a tensor of shape `size` would be broadcast to this one's."""
    shape, wanted = expect_tensor(input, "sum_to_size").array.shape, sizes(size, "sum_to_size")
    extra = len(shape) - len(wanted)
    if extra < 0 or builtins.any(n not in (1, m) for n, m in zip(wanted, shape[extra:], strict=True)):
        raise RuntimeError(f"size {{{list(wanted)}}} is not expandable to size {{{list(shape)}}}.")
    if not wanted:
        return sum(input)
    over = [i for i, m in enumerate(shape) if i < extra or (wanted[i - extra] == 1 and m != 1)]
    return sum(input, over).reshape(wanted) if over else input


def all_into(out: Any, found: Any, call: str, exact: bool = True, apart: tuple = ()) -> Any:
    """A named result, or the tensors in `out` after they were overwritten with it; `exact`: indices and their like, the
    second, must have the same type.
    """
    if out is None:
        return found
    if not isinstance(out, (tuple, list)) or len(out) != len(found):
        raise TypeError(f"{call}(): argument 'out' must be tuple of {len(found)} Tensors, not {type(out).__name__}")
    if not exact or out[1].array.dtype == found[1].array.dtype:
        return type(found)(*(into(o, f, call, apart=apart) for o, f in zip(out, found, strict=True)))
    raise RuntimeError(f"{call}(): expected {found[1].dtype} for the second tensor of out=, but got {out[1].dtype}")


class Pick(Op):
    """The elements at `indices` along an axis: what max, min, sort and topk return."""

    @staticmethod
    def forward(a, *, values, indices, axis, keepdim):
        return values, (a.shape, indices, axis, keepdim)

    @staticmethod
    def backward(saved, needs, g):
        shape, indices, axis, keepdim = saved
        out = np.zeros(shape, g.dtype, like=g)
        index = indices if keepdim else np.expand_dims(indices, axis)
        places.put_along(out, index, spread(g, (axis,), keepdim), axis)
        return out


class Extreme(Op):
    """The extremum over several axes; equal elements share the gradient.  Where it is NaN, so is the gradient."""

    @staticmethod
    def forward(a, *, ufunc, axes, keepdim):
        out = np.asarray(ufunc.reduce(a, axes, keepdims=keepdim), order="C", like=a)
        return out, (a, out, axes, keepdim)

    @staticmethod
    def backward(saved, needs, g):
        a, out, axes, keepdim = saved
        hit = (a == spread(out, axes, keepdim)).astype(g.dtype)
        return plain(np.multiply, hit, spread(g, axes, keepdim) / with_axes(kernels.sum(hit, axes), axes))


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
    pair, ufunc = getattr(return_types, name), np.maximum if largest else np.minimum
    elementwise = maximum if largest else minimum
    title = name.capitalize()
    whole, along = Extremum.called(f"{title}Backward1"), Pick.called(f"{title}Backward0")
    extreme = Extreme.called(f"A{name}Backward0")

    @numpy_names
    def function(input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None, out: Any = None) -> Any:
        expect_tensor(input, name)
        other = dim if hasattr(dim, "array") else other
        if other is not None:
            return elementwise(input, other, out=out)
        a = input.array
        if dim is None:
            check_not_empty(a, None, name)
            found = run(whole, (input,), (a,), ufunc=ufunc, axes=tuple(range(a.ndim)), keepdim=False)
            return into(out, found, name, exact=False)
        over = axis(dim, a.ndim)
        check_not_empty(a, (over,), name)
        if a.ndim == 0:
            indices = np.zeros((), np.int64, like=a)
            picked = run(whole, (input,), (a,), ufunc=ufunc, axes=(), keepdim=False)
        else:
            values, indices = kernels.extreme(a, over, largest)
            if keepdim:
                values, indices = np.expand_dims(values, over), np.expand_dims(indices, over)
        chosen = wrap(indices)
        if a.ndim:
            how = {"axis": over, "keepdim": keepdim}
            picked = run(along, (input,), (a,), (chosen,), values=values, indices=indices, **how)
        return all_into(out, pair(picked, chosen), name)

    @numpy_names
    def several(input: Any, dim: Any = (), keepdim: bool = False, *, out: Any = None) -> Any:
        a = expect_tensor(input, f"a{name}").array
        dims = dim if isinstance(dim, (tuple, list)) else () if dim is None else (dim,)
        check_not_empty(a, tuple(axis(d, a.ndim) for d in dims) or None, f"a{name}")
        over = axes(dim, a.ndim)
        return into(out, run(extreme, (input,), (input.array,), ufunc=ufunc, axes=over, keepdim=keepdim), f"a{name}")

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


@numpy_names
def aminmax(input: Any, *, dim: int | None = None, keepdim: bool = False, out: Any = None) -> return_types.aminmax:
    """(min, max) of all elements, or along `dim`; equal elements share the gradient."""
    check_not_empty(
        expect_tensor(input, "aminmax").array, None if dim is None else (axis(dim, input.array.ndim),), "aminmax"
    )
    over = () if dim is None else (dim,)
    return all_into(out, return_types.aminmax(amin(input, over, keepdim), amax(input, over, keepdim)), "aminmax")


def positions(name: str, largest: bool) -> Callable:
    @numpy_names
    def function(input: Any, dim: int | None = None, keepdim: bool = False, *, out: Any = None) -> Any:
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
            return into(out, wrap(np.zeros((), np.int64, like=a)), name)
        if over is None:
            indices = kernels.extreme(a.reshape(-1), 0, largest)[1]
            return into(out, wrap(indices.reshape((1,) * a.ndim) if keepdim else indices), name)
        check_not_empty(a, (over,), name)
        indices = kernels.extreme(a, over, largest)[1]
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
        found = np.asarray(ufunc.reduce(a != 0, over, keepdims=keepdim), order="C", like=a)
        if out is not None and expect_tensor(out, name, "out").array.dtype not in (np.bool_, np.uint8):
            raise RuntimeError(f"{name} only supports bool tensor for result, got: {dtypes.word(out.array.dtype)}")
        kind = np.uint8 if a.dtype == np.uint8 or (out is not None and out.array.dtype == np.uint8) else np.bool_
        return into(out, wrap(found.astype(kind)), name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"Whether {'all elements are' if name == 'all' else 'an element is'} not zero: booleans, or uint8 for uint8."
    )
    return function


all, any = truth("all", np.logical_and), truth("any", np.logical_or)


class LogSumExp(Op):
    @staticmethod
    def forward(a, *, axes, keepdim):
        out = kernels.logsumexp(a, axes) if axes else a.copy()
        out = with_axes(out, axes) if keepdim else out
        return out, (a, out, axes, keepdim)

    @staticmethod
    def backward(saved, needs, g):
        a, out, axes, keepdim = saved
        with np.errstate(invalid="ignore"):  # NaN where the result is infinite, as in torch
            return spread(g, axes, keepdim) * np.exp(a - spread(out, axes, keepdim))


@numpy_names
def logsumexp(input: Any, dim: Any, keepdim: bool = False, *, out: Any = None) -> Any:
    """log(sum(e ** input)) over `dim`, with no overflow."""
    whole = expect_tensor(input, "logsumexp").array.dtype.kind != "f"
    input = floating(input)
    if isinstance(dim, (tuple, list)) and not dim and input.array.ndim and input.array.size and not keepdim:
        raise RuntimeError(f"logsumexp(): expected a dim to reduce a tensor of shape {list(input.array.shape)} over")
    over = axes(dim, input.array.ndim)
    if whole and out is not None:  # torch adds up in the type of out
        top = amax(input, over, True)
        terms = sum(sub(input, top).exp(), over, keepdim, dtype=expect_tensor(out, "logsumexp", "out").dtype)
        return into(out, add(terms.log(), top.reshape(terms.shape)), "logsumexp")
    return into(out, run(LogSumExp, (input,), (input.array,), axes=over, keepdim=keepdim), "logsumexp")


class Variance(Op):
    """The squared distances from the mean, summed up over axes and divided by n - correction; or the root of that."""

    @staticmethod
    def forward(a, *, axes, keepdim, correction, root, whole):
        n = math.prod(a.shape[i] for i in axes)
        with np.errstate(all="ignore"):
            distance = a - with_axes(np.asarray(kernels.sum(a, axes) / a.dtype.type(n), like=a), axes)
            out = kernels.squares(distance, axes) / a.dtype.type(builtins.max(n - correction, 0))
            if root and a.dtype == np.float32 and not ((out > 0) & (out < np.inf)).all():
                # The squares may have no room in float32, where the root has.
                out = kernels.squares(distance.astype(np.float64), axes) / np.float64(builtins.max(n - correction, 0))
            out = np.sqrt(out).astype(a.dtype, copy=False) if root else out
        out = with_axes(out, axes) if keepdim else out
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
        return into(out, run(Variance, (input,), (a,), (), **how, whole=dim is None or a.ndim == 0), name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"The {'square root of the ' * root}variance over `dim`: the squared distances from the mean, added up and "
        "divided by n - correction (1 unless given; 0 for unbiased=False)."
    )
    return function


var, std = deviation("var", False), deviation("std", True)


def with_mean(name: str, function: Callable) -> Callable:
    """var_mean or std_mean."""

    @numpy_names
    def pair(
        input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = None
    ) -> tuple:
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        spread = function(input, dim, unbiased, keepdim, correction=correction)
        title = f"{name.title().replace('_', '')}Backward0"
        return entitled(spread, title), entitled(mean(input, dim, keepdim), title)

    pair.__name__ = pair.__qualname__ = name
    pair.__doc__ = f"({function.__name__}, mean) over `dim`."
    return pair


var_mean, std_mean = with_mean("var_mean", var), with_mean("std_mean", std)


class Norm(Op):
    """(sum |a| ** p) ** (1 / p) over axes; at zero the gradient is zero."""

    @staticmethod
    def forward(a, *, p, axes, keepdim):
        if p == 2:
            if math.prod([a.shape[i] for i in axes]) == 1:  # the square of a single number may have no room
                out = np.abs(a).reshape([n for i, n in enumerate(a.shape) if i not in axes])
            else:
                out = np.sqrt(kernels.squares(a, axes))
        elif np.isinf(p):
            out = (np.maximum if p > 0 else np.minimum).reduce(np.abs(a), axes, initial=0 if p > 0 else None)
        elif p == 0:
            out = np.count_nonzero(a, axis=axes).astype(a.dtype) if axes else (a != 0).astype(a.dtype)
        else:
            out = kernels.sum(np.abs(a) ** p, axes) ** (1 / p)
        out = np.asarray(out, a.dtype, order="C", like=a)
        out = with_axes(out, axes) if keepdim else out
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
        if p == 2:
            return plain(np.multiply, a, np.where(norm == 0, g.dtype.type(0), g / np.where(norm == 0, 1, norm)))
        scale = np.where(norm == 0, 0, np.where(a == 0, 0, np.sign(a) * np.abs(a) ** (p - 1)))
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
    """The vector norm of order `p` ('fro' is 2) over `dim`, or for 'nuc' the sum of the singular values."""
    expect_tensor(input, "norm")
    for d in (input.dtype, dtype):
        if d is not None and not d.is_floating_point:
            raise RuntimeError(
                f"linalg.vector_norm: Expected a floating point tensor and dtype. Got {dtypes.word(d.numpy)}"
            )
    if isinstance(p, TensorBase):
        p = number(p, "norm", "p")
    if p not in ("fro", "nuc", None) and not isinstance(p, (int, float)):
        raise RuntimeError(f"norm(): expected p to be a number, 'fro' or 'nuc', got {p!r}")
    if dtype is not None:
        input = cast(input, dtype.numpy)
    if p == "nuc" or p == "fro" and isinstance(dim, (tuple, list)) and len(dim) > 2:  # these are of matrices
        from .. import linalg

        over = tuple(range(input.array.ndim)) if dim is None else dim
        return into(out, linalg.matrix_norm(input, p, over, keepdim), "norm")
    a, order, over = input.array, 2.0 if p in ("fro", None) else float(p), axes(dim, input.array.ndim)
    if order < 0 or order == math.inf:
        for i in over:
            if a.shape[i] == 0:
                raise RuntimeError(
                    f"linalg.vector_norm cannot compute the {order} norm on the dimension {i} because this dimension "
                    "is empty and the operation does not have an identity"
                )
    return into(out, run(Norm, (input,), (a,), p=order, axes=over, keepdim=keepdim), "norm")
