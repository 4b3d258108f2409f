"""New arrays of the device, by NumPy's names: with `like`, from what the host has, and copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .answers import of, ordered
from .array import Array, empty, empty_as, upload, zeros
from .elementwise import assign, copy
from .indices import ramp
from .joining import stack


@of(np.zeros)
def zeros_of(shape: Any, dtype: Any = float, order: str = "C", **_: Any) -> Array:
    return ordered(zeros, shape, dtype, order)


@of(np.empty)
def empty_of(shape: Any, dtype: Any = float, order: str = "C", **_: Any) -> Array:
    return ordered(empty, shape, dtype, order)


@of(np.ones)
def ones(shape: Any, dtype: Any = None, order: str = "C", **_: Any) -> Array:
    return full(shape, 1, float if dtype is None else dtype, order)


@of(np.full)
def full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C", **_: Any) -> Array:
    dtype = np.result_type(fill_value) if dtype is None else dtype
    out = ordered(empty, shape, dtype, order)
    assign(out, fill_value if isinstance(fill_value, Array) else np.asarray(fill_value).astype(dtype))  # NaN too
    return out


@of(np.empty_like)
def empty_like(
    prototype: Array, /, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, **_: Any
) -> Array:
    """An array of another's shape and type, or of those given, with its axes in the same order in memory."""
    a, dtype = prototype, prototype.dtype if dtype is None else dtype
    shape = a.shape if shape is None else (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    c = order == "C" or a.flags.c_contiguous or len(shape) != a.ndim
    if order != "K" or c or a.flags.f_contiguous:
        return ordered(empty, shape, dtype, "C" if c and order != "F" else "F")
    axes = tuple(sorted(range(a.ndim), key=lambda k: -abs(a.strides[k])))
    return empty_as(a, shape, dtype, axes)


@of(np.zeros_like)
def zeros_like(a: Array, *args: Any, **kwargs: Any) -> Array:
    out = empty_like(a, *args, **kwargs)
    assign(out, 0)
    return out


@of(np.ones_like)
def ones_like(a: Array, *args: Any, **kwargs: Any) -> Array:
    out = empty_like(a, *args, **kwargs)
    assign(out, 1)
    return out


@of(np.full_like)
def full_like(a: Array, fill_value: Any, *args: Any, **kwargs: Any) -> Array:
    out = empty_like(a, *args, **kwargs)
    assign(out, fill_value)
    return out


@of(np.arange)
def arange(*args: Any, dtype: Any = None, **kwargs: Any) -> Array:
    """Whole numbers are counted on the device; others come from the host, where NumPy rounds them."""
    host = (dtype is not None and np.dtype(dtype) != np.int64) or kwargs
    if host or not 1 <= len(args) <= 3 or not all(isinstance(x, (int, np.integer)) for x in args):
        return upload(np.arange(*args, dtype=dtype, **kwargs))
    every = range(*map(int, args))
    return ramp(len(every), every.start, every.step)


def made_on_host(function: Any) -> Callable:
    """A function that makes an array of numbers."""
    return lambda *args, **kwargs: upload(function(*args, **kwargs))


for _function in (np.eye, np.identity, np.tri, np.frombuffer, np.fromiter, np.fromfunction):
    of(_function)(made_on_host(_function))


@of(np.asarray, np.asanyarray, np.array, np.require)
def array(a: Any, dtype: Any = None, *, order: str | None = "K", copy: bool | None = None, **_: Any) -> Array:
    """An array of the device: a host array, a list or a number is uploaded."""
    if isinstance(a, (list, tuple)) and any(isinstance(x, Array) for x in a):
        a = stack(a)
    if not isinstance(a, Array):
        host = np.asarray(a, dtype, order=None if order == "A" else order)
        if copy is False:
            raise ValueError("Unable to avoid copy while creating an array on the device as requested.")
        return upload(host)
    return a.astype(a.dtype if dtype is None else dtype, kept_order(a, order), copy=bool(copy))


def kept_order(a: Array, order: str | None) -> str:
    if order == "A":
        return "F" if a.flags.f_contiguous and not a.flags.c_contiguous else "C"
    return order or "K"


@of(np.array)
def array_copied(a: Any, dtype: Any = None, *, copy: bool | None = True, ndmin: int = 0, **kwargs: Any) -> Array:
    out = array(a, dtype, copy=copy if isinstance(a, Array) else None, **kwargs)
    return out.reshape((*(1,) * max(0, ndmin - out.ndim), *out.shape))


@of(np.ascontiguousarray)
def ascontiguousarray(a: Any, dtype: Any = None) -> Array:
    return np.atleast_1d(array(a, dtype, order="C"))


@of(np.asfortranarray)
def asfortranarray(a: Any, dtype: Any = None) -> Array:
    return np.atleast_1d(array(a, dtype, order="F"))


@of(np.copy)
def copy_of(a: Array, order: str = "K", subok: bool = False) -> Array:
    return copy(a, kept_order(a, order))


@of(np.astype)
def astype(x: Array, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Array:
    return x.astype(dtype, copy=copy)


@of(np.diag)
def diag(v: Array, k: int = 0) -> Array:
    """The diagonal of a matrix, as a view, or a matrix with a diagonal."""
    if v.ndim != 1:
        return v.diagonal(k)
    n = len(v) + abs(k)
    out = zeros((n, n), v.dtype)
    assign(out.diagonal(k), v)
    return out
