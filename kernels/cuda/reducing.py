"""Sums and their like, along any axes, by NumPy's names."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from . import elementwise, reduce, scan
from .answers import as_array, given, of, unsupported
from .array import Array
from .making import full


def reduced(
    name: str, a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False,
    initial: Any = np._NoValue, where: Any = True,
) -> Any:  # fmt: skip
    """np.sum and its like."""
    a = as_array(a)
    if where is not True and where is not np._NoValue:
        raise unsupported(f"{name}(where=...)")
    keepdims = keepdims is True
    extreme = name in ("max", "min")
    if initial is not np._NoValue and initial is not None and extreme:
        sizes = a.shape
        lost = range(a.ndim) if axis is None else np.lib.array_utils.normalize_axis_tuple(axis, a.ndim)
        if not all(sizes[k] for k in lost):
            shape = [1 if k in lost else n for k, n in enumerate(sizes) if keepdims or k not in lost]
            return given(full(tuple(shape), initial, a.dtype), out)
    result = reduce.along(name, a, axis, keepdims, dtype)
    if initial is not np._NoValue and initial is not None:
        merge = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}[name]
        result = elementwise.ufunc(merge, (result, initial), None, result.dtype)
    return given(result, out)


def reduction(name: str) -> Callable:
    """np.sum, np.prod: with a dtype; np.max, np.all, ...: without."""
    if name in ("sum", "prod"):
        return functools.partial(reduced, name)

    def without_dtype(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, **kwargs: Any) -> Any:
        return reduced(name, a, axis, None, out, keepdims, **kwargs)

    return without_dtype


for _name in ("sum", "prod", "max", "min", "all", "any", "argmax", "argmin"):
    of(getattr(np, _name))(reduction(_name))
of(np.amax)(reduction("max"))
of(np.amin)(reduction("min"))


@of(np.count_nonzero)
def count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> Array:
    a = as_array(a)
    return reduce.along("sum", a if a.dtype.kind == "b" else a != 0, axis, keepdims)


@of(np.mean)
def mean(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False) -> Array:
    a = as_array(a)
    kind = np.dtype(dtype or (a.dtype if a.dtype.kind == "f" else np.float64))
    total = reduce.along("sum", a, axis, keepdims is True, kind)
    return given(total / kind.type(a.size / max(total.size, 1) if a.size else 0), out)


@of(np.var)
def var(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0, keepdims: Any = False, **kwargs: Any
) -> Array:
    if kwargs:
        raise unsupported(f"var({', '.join(kwargs)}=...)")
    a = as_array(a)
    away = a - mean(a, axis, dtype, keepdims=True)
    total = reduce.along("sum", away * away, axis, keepdims is True)
    count = a.size // max(total.size, 1)
    return given(total / total.dtype.type(max(count - ddof, 0)), out)


@of(np.std)
def std(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, **kwargs: Any) -> Array:
    return given(np.sqrt(var(a, axis, dtype, **kwargs)), out)


def accumulated(name: str, a: Any, axis: Any = 0, dtype: Any = None, out: Any = None) -> Array:
    return given(scan.cumulative(name, as_array(a), axis, dtype), out)


@of(np.cumsum)
def cumsum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Array:
    return accumulated("cumsum", a, axis, dtype, out)


@of(np.cumprod)
def cumprod(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Array:
    return accumulated("cumprod", a, axis, dtype, out)


@of(np.trace)
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None) -> Array:
    return reduced("sum", a.diagonal(offset, axis1, axis2), -1, dtype, out)
