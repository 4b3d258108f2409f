"""torch.testing: assert_close."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import dtypes
from .devices import host, of
from .tape import TensorBase, wrap
from .tensor import Size

__all__ = ["assert_allclose", "assert_close"]

TOLERANCES = {np.dtype("f4"): (1.3e-6, 1e-5), np.dtype("f8"): (1e-7, 1e-7)}  # relative and absolute, by default
Number = (int, float, bool, np.number, np.bool_)


def assert_close(
    actual: Any,
    expected: Any,
    *,
    allow_subclasses: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    msg: Any = None,
) -> None:
    """Raise AssertionError unless |actual - expected| <= atol + rtol * |expected| for every element.

    actual, expected: tensors, arrays, numbers, or sequences and mappings of these.  Tolerances that are not given are
    1.3e-6 and 1e-5 for float32, 1e-7 and 1e-7 for float64, 0 for integers.  msg: a text, or a function of the usual
    one.  Raises TypeError for what cannot be compared, ValueError if only one tolerance is given.
    """
    if (rtol is None) != (atol is None):
        given, lacking = ("rtol", "atol") if atol is None else ("atol", "rtol")
        raise ValueError(
            f"Both 'rtol' and 'atol' must be either specified or omitted, but got no {lacking} (with {given})."
        )
    fault = _fault(
        actual, expected, (rtol, atol), equal_nan, check_device, check_dtype, check_stride, allow_subclasses, ""
    )
    if fault is not None:
        raise AssertionError(msg(fault) if callable(msg) else msg or fault)


def assert_allclose(
    actual: Any, expected: Any, rtol: float | None = None, atol: float | None = None, **kw: Any
) -> None:
    """assert_close that asks for no type: torch's older form."""
    expected = expected if isinstance(expected, TensorBase) else wrap(np.asarray(expected))
    actual = actual if isinstance(actual, TensorBase) else wrap(np.asarray(actual))
    assert_close(actual, expected, rtol=rtol, atol=atol, check_dtype=False, check_stride=False, **kw)


def _fault(
    a: Any, b: Any, given: tuple, equal_nan: bool, device: bool, dtype: bool, stride: bool, subclasses: bool, at: str
) -> Any:
    """What is wrong, as a sentence, or None; `at` says where in the containers."""
    rest = (given, equal_nan, device, dtype, stride, subclasses)
    item = f"\n\nThe failure occurred for item {at}" if at else ""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        if a.keys() != b.keys():
            here, there = (sorted(x - y, key=str) for x, y in ((a.keys(), b.keys()), (b.keys(), a.keys())))
            told = "".join(
                f"\n{what} keys in the actual mapping: {keys}"
                for what, keys in (("Missing", there), ("Additional", here))
                if keys
            )
            return f"The keys of the mappings do not match:{told}{item}"
        return next((f for k in b if (f := _fault(a[k], b[k], *rest, f"{at}[{k!r}]"))), None)
    if all(isinstance(x, Sequence) and not isinstance(x, str) for x in (a, b)):
        if len(a) != len(b):
            return f"The length of the sequences mismatch: {len(a)} != {len(b)}{item}"
        return next((f for k in range(len(b)) if (f := _fault(a[k], b[k], *rest, f"{at}[{k}]"))), None)
    if a is None and b is None:
        return None
    if (a is None) != (b is None):
        return f"None mismatch: {a} is not {b}{item}"
    if isinstance(a, (bool, np.bool_)) and isinstance(b, (bool, np.bool_)):
        return None if bool(a) == bool(b) else f"Booleans mismatch: {a} is not {b}{item}"
    scalar = isinstance(a, Number) and isinstance(b, Number)
    if scalar and dtype and kind_of(a) is not kind_of(b):
        return f"The (d)types do not match: {kind_of(a)} != {kind_of(b)}.{item}"
    comparable = all(isinstance(x, (TensorBase, np.ndarray, *Number)) for x in (a, b))
    if not comparable or not subclasses and type(a) is not type(b) or isinstance(a, Number) != isinstance(b, Number):
        raise TypeError(f"No comparison pair was able to handle inputs of type {type(a)} and {type(b)}.")
    x, y = (v.array if isinstance(v, TensorBase) else np.asarray(v) for v in (a, b))
    if device and type(x) is not type(y):
        return f"The values for attribute 'device' do not match: {of(x)} != {of(y)}.{item}"
    x, y = host(x), host(y)
    if x.shape != y.shape:
        return f"The values for attribute 'shape' do not match: {Size(x.shape)} != {Size(y.shape)}.{item}"
    if dtype and x.dtype != y.dtype:
        return f"The values for attribute 'dtype' do not match: {dtypes.of(x.dtype)} != {dtypes.of(y.dtype)}.{item}"
    if stride and wrap(x).stride() != wrap(y).stride():
        return f"The values for attribute 'stride()' do not match: {wrap(x).stride()} != {wrap(y).stride()}.{item}"
    fault = _difference(x, y, given, equal_nan)
    return fault and fault + item


def kind_of(number: Any) -> type:
    """Python's type of a number."""
    return next(
        kind for kind in (bool, int, float) if isinstance(number.item() if hasattr(number, "item") else number, kind)
    )


def apart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far apart whole numbers are, which may be more than their type holds."""
    distance = np.maximum(x, y).astype(np.uint64) - np.minimum(x, y).astype(np.uint64)
    return distance if distance.size == 0 or distance.max() > 2**63 - 1 else distance.astype(np.int64)


def _difference(x: np.ndarray, y: np.ndarray, given: tuple, equal_nan: bool) -> str | None:
    """How two arrays of one shape differ by more than they may."""
    found = [TOLERANCES.get(v.dtype, (0.0, 0.0)) for v in (x, y)]
    rtol, atol = (max(pair) if g is None else g for g, pair in zip(given, zip(*found, strict=True), strict=True))
    common = np.result_type(x, y)
    x, y = (v.astype(np.int64 if common == np.bool_ else common) for v in (x, y))
    with np.errstate(all="ignore"):
        distance = np.abs(x - y) if common.kind == "f" else apart(x, y)
        same = (x == y) | (np.isfinite(y) & np.isfinite(x) & (distance <= atol + rtol * np.abs(y)))
        if equal_nan:
            same |= (x != x) & (y != y)
        if same.all():
            return None
        relative = distance / np.abs(y)
        if common.kind != "f" and x.ndim:
            relative = relative.astype(np.float32)
    word = "equal" if rtol == atol == 0 else "close"
    allowed = [f" (up to {t:g} allowed)" if word == "close" else "" for t in (atol, rtol)]
    if not x.ndim:
        return (
            f"Scalars are not {word}!\n\nExpected {y.item()} but got {x.item()}.\n"
            f"Absolute difference: {distance.item()}{allowed[0]}\nRelative difference: {relative.item()}{allowed[1]}"
        )
    wrong = np.count_nonzero(~same)
    lines = [f"Tensor-likes are not {word}!\n\nMismatched elements: {wrong} / {x.size} ({wrong / x.size:.1%})"]
    for name, values, bound in (("absolute", distance, allowed[0]), ("relative", relative, allowed[1])):
        ranks = np.where(same, -1, values)
        place = np.unravel_index(np.argmax(np.where(values != values, math.inf, ranks)), x.shape)
        shown = tuple(int(i) for i in place)
        lines.append(f"Greatest {name} difference: {values[place].item()} at index {shown}{bound}")
    return "\n".join(lines)
