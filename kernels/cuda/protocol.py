"""NumPy's two protocols for arrays of the device: which kernels answer a ufunc, and a function.

    ufunc(ufunc, method, inputs, kwargs)   np.add(a, b), np.maximum.reduce(a), np.add.at(a, index, b), ...
    function(function, args, kwargs)       np.where(c, a, b), np.moveaxis(a, 0, 1), np.zeros(3, like=a), ...

A function is a view of memory, which NumPy makes of an array's header (VIEWS); one of kernels (`answers`);
or so rare that it runs on copies on the host (HOST).  Any other raises TypeError.  Results are arrays of the device
where NumPy gives arrays or its own numbers, and Python's where NumPy gives these.  A host array with axes among the
arguments is refused, except where it says places: an index, a shape, or which of something.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from . import choosing, elementwise, index, joining, making, mapped, several  # noqa: F401 (for what they answer)
from .answers import FUNCTIONS, TWO_DEVICES, as_array, given, of, on_host, unsupported
from .array import Array
from .elementwise import assign, copy
from .index import forwards, put, take
from .making import kept_order
from .products import matmul
from .reducing import accumulated, reduced

__all__ = ["assign", "copy", "forwards", "function", "put", "take", "ufunc"]


def function(function: Any, args: tuple, kwargs: dict) -> Any:
    """NumPy's `function`, of arguments among which is an array of the device, or an array `like` which it is to be."""
    if function in VIEWS:
        return view(function, args, kwargs)
    if function in FUNCTIONS:
        return FUNCTIONS[function](*args, **kwargs)
    if function in HOST:
        return on_host(function, args, kwargs)
    raise unsupported(f"{function.__name__}()")


# ------------------------------------------------------------------------------------------ ufuncs
REDUCED = {
    np.add: "sum",
    np.multiply: "prod",
    np.maximum: "max",
    np.minimum: "min",
    np.logical_and: "all",
    np.logical_or: "any",
}
ACCUMULATED = {
    np.add: "cumsum",
    np.multiply: "cumprod",
    np.maximum: "cummax",
    np.minimum: "cummin",
    np.logaddexp: "logaddexp",
}


def ufunc(ufunc: np.ufunc, method: str, inputs: tuple, kwargs: dict) -> Any:
    """A ufunc or one of its methods; `kwargs` are NumPy's."""
    if method == "__call__":
        return called(ufunc, *inputs, **kwargs)
    if method == "reduce" and ufunc in REDUCED:
        return reduced(REDUCED[ufunc], *inputs, **{"axis": 0, **kwargs} if len(inputs) < 2 else kwargs)
    if method == "accumulate" and ufunc in ACCUMULATED:
        return accumulated(ACCUMULATED[ufunc], *inputs, **kwargs)
    if method == "at" and ufunc in index.COMBINED and isinstance(inputs[0], Array):
        return index.at(ufunc, *inputs)
    if method == "outer":
        a, b = map(as_array, inputs)
        return called(ufunc, a.reshape((*a.shape, *(1,) * b.ndim)), b, **kwargs)
    if method in ("reduce", "accumulate", "reduceat"):
        return on_host(getattr(ufunc, method), inputs, kwargs)
    raise unsupported(f"{ufunc.__name__}.{method}()")


def called(
    ufunc: np.ufunc, *inputs: Any, out: Any = None, where: Any = True, dtype: Any = None, casting: str = "same_kind"
) -> Any:
    """ufunc(*inputs)."""
    if len(inputs) > ufunc.nin:
        out, inputs = inputs[ufunc.nin :], inputs[: ufunc.nin]
    outs = out if isinstance(out, tuple) else (out,)
    if not all(x is None or isinstance(x, Array) for x in outs):
        raise RuntimeError(TWO_DEVICES)
    if ufunc is np.matmul:
        return given(matmul(*inputs), out)
    if ufunc.nout > 1:
        results = elementwise.ufunc(ufunc, inputs, None, dtype)
        return tuple(given(r, x) for r, x in zip(results, outs * ufunc.nout if out is None else outs, strict=True))
    (target,) = outs
    if where is True and casting == "same_kind":
        return elementwise.ufunc(ufunc, inputs, target, dtype)
    result = elementwise.ufunc(ufunc, inputs, None, dtype)
    if target is not None and where is not True:
        result = elementwise.where(where, result, target)
    return result if target is None else given(result, target)


# ------------------------------------------------------------------------------------------ views
VIEWS = {
    np.moveaxis, np.rollaxis, np.transpose, np.swapaxes, np.matrix_transpose, np.linalg.matrix_transpose,
    np.expand_dims, np.squeeze, np.atleast_1d, np.atleast_2d, np.atleast_3d,
    np.broadcast_to, np.broadcast_arrays,
    np.diagonal, np.linalg.diagonal, np.lib.stride_tricks.sliding_window_view,
    np.split, np.array_split, np.hsplit, np.vsplit, np.dsplit,
}  # fmt: skip
HEADERS = {
    np.may_share_memory, np.shares_memory, np.ndim, np.shape, np.size,
    np.result_type, np.can_cast, np.iscomplexobj, np.isrealobj, np.common_type,
}  # fmt: skip


def view(function: Any, args: tuple, kwargs: dict) -> Any:
    """What NumPy makes of the header of the array, as an array in its memory; host arrays beside it stay there."""
    if function is np.broadcast_arrays:
        shape = np.broadcast_shapes(*map(np.shape, args))
        return tuple(np.broadcast_to(a, shape) for a in args)
    if function in (np.atleast_1d, np.atleast_2d, np.atleast_3d) and len(args) > 1:
        return tuple(function(a) for a in args)
    if not args:  # the array was given by its name
        (name,) = [name for name, value in kwargs.items() if isinstance(value, Array)]
        a = kwargs.pop(name)
    else:
        a, args = args[0], args[1:]
    if not isinstance(a, Array):
        raise TypeError(f"numpy.{function.__name__}(): expected an array first, got {type(a).__name__}")
    return mapped(functools.partial(Array, a.block), np.ndarray, function(a.header, *args, **kwargs))


def of_header(function: Any) -> Callable:
    """A function that does not look at elements."""

    def ask(*args: Any, **kwargs: Any) -> Any:
        args = mapped(lambda a: a.header, Array, args)
        return function(*args, **{name: mapped(lambda a: a.header, Array, value) for name, value in kwargs.items()})

    return ask


for _function in HEADERS:
    of(_function)(of_header(_function))


def reshaped(a: Array, shape: Any, order: str) -> Array:
    if kept_order(a, order) != "F":
        return a.reshape(shape)
    return a.T.reshape(shape if isinstance(shape, (int, np.integer)) else tuple(shape)[::-1]).T


@of(np.ravel)
def ravel(a: Array, order: str = "C") -> Array:
    return reshaped(a, (-1,), order)


@of(np.reshape)
def reshape(
    a: Array, /, shape: Any = None, order: str = "C", *, newshape: Any = None, copy: bool | None = None
) -> Array:
    out = reshaped(a, newshape if shape is None else shape, order)
    if copy is False and out.block is not a.block:
        raise ValueError("Unable to avoid creating a copy while reshaping.")
    return out.copy(order) if copy and out.block is a.block else out


# ------------------------------------------------------------------------------------------ on the host
HOST_NAMES = """
    angle apply_along_axis apply_over_axes array2string array_repr array_str average block choose column_stack
    compress convolve corrcoef correlate cov cross cumulative_prod cumulative_sum delete diagflat digitize dstack
    ediff1d einsum einsum_path extract fix fliplr flipud gradient histogram histogram2d histogram_bin_edges
    histogramdd i0 imag insert interp intersect1d iscomplex isin isneginf isposinf isreal kron lexsort linspace
    logspace median meshgrid nanargmax nanargmin nancumprod nancumsum nanmax nanmean nanmedian nanmin nanpercentile
    nanprod nanquantile nanstd nansum nanvar packbits percentile piecewise polyval ptp quantile resize rot90
    searchsorted select setdiff1d setxor1d sinc trapezoid trim_zeros union1d unique unique_all unique_counts
    unique_inverse unique_values unpackbits unwrap vander linalg.cholesky linalg.cond linalg.cross linalg.det
    linalg.eig linalg.eigh linalg.eigvals linalg.eigvalsh linalg.inv linalg.lstsq linalg.matmul linalg.matrix_norm
    linalg.matrix_power linalg.matrix_rank linalg.multi_dot linalg.norm linalg.outer linalg.pinv linalg.qr
    linalg.slogdet linalg.solve linalg.svd linalg.svdvals linalg.tensordot linalg.tensorinv linalg.tensorsolve
    linalg.trace linalg.vecdot linalg.vector_norm
"""
HOST = {operator.attrgetter(name)(np) for name in HOST_NAMES.split()}
