"""What takes several ufuncs."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import elementwise
from .answers import as_array, given, of, on_host
from .array import Array
from .elementwise import assign, copy
from .joining import concatenate


@of(np.clip)
def clip(a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, *, min: Any = None, max: Any = None) -> Array:
    low, high = (x if y is None else y for x, y in ((a_min, min), (a_max, max)))
    result = as_array(a) if low is None else np.maximum(a, low)
    result = result if high is None else np.minimum(result, high)
    return given(copy(result, "K") if result is a else result, out)


@of(np.round, np.around)
def round_(a: Any, decimals: int = 0, out: Any = None) -> Array:
    a = as_array(a)
    if a.dtype.kind != "f":
        if decimals < 0:
            return given(on_host(np.round, (a, decimals), {}), out)
        return given(copy(a, "K"), out)
    if not decimals:
        return given(np.rint(a), out)
    scale = a.dtype.type(10.0 ** abs(decimals))
    return given(np.rint(a * scale) / scale if decimals > 0 else np.rint(a / scale) * scale, out)


@of(np.isclose)
def isclose(a: Any, b: Any, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> Array:
    a, b = as_array(a), as_array(b)
    near = np.abs(a.astype(np.float64) - b) <= atol + rtol * np.abs(b)
    out = (near & np.isfinite(b)) | (a == b)
    return out | (np.isnan(a) & np.isnan(b)) if equal_nan else out


@of(np.allclose)
def allclose(a: Any, b: Any, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> bool:
    return bool(isclose(a, b, rtol, atol, equal_nan).all())


@of(np.array_equal)
def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> bool:
    a, b = as_array(a1), as_array(a2)
    if a.shape != b.shape:
        return False
    same = a == b
    return bool((same | ((a != a) & (b != b)) if equal_nan else same).all())


@of(np.nan_to_num)
def nan_to_num(x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Array:
    a = as_array(x)
    out = elementwise.copy(a, "K") if copy else a
    if a.dtype.kind != "f":
        return out
    largest, kind = np.finfo(a.dtype).max, a.dtype.type
    for places, value in (
        (a != a, nan),
        (a == np.inf, largest if posinf is None else posinf),
        (a == -np.inf, -largest if neginf is None else neginf),
    ):
        assign(out, elementwise.where(places, kind(value), out))
    return out


@of(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = np._NoValue, append: Any = np._NoValue) -> Array:
    a = as_array(a)
    axis = np.lib.array_utils.normalize_axis_index(axis, a.ndim)
    edge = (*a.shape[:axis], 1, *a.shape[axis + 1 :])
    ends = [
        None if x is np._NoValue else np.broadcast_to(as_array(x), edge) if np.ndim(x) == 0 else as_array(x)
        for x in (prepend, append)
    ]
    parts = [x for x in (ends[0], a, ends[1]) if x is not None]
    a = concatenate(parts, axis) if len(parts) > 1 else a
    before = (slice(None),) * axis
    for _ in range(n):
        here, there = a[(*before, slice(1, None))], a[(*before, slice(None, -1))]
        a = here != there if a.dtype.kind == "b" else here - there
    return a


@of(np.real)
def real(val: Array) -> Array:
    return val
