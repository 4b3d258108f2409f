"""The types of tensor elements, and torch's rules for which type a mixture of them becomes."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np


class dtype:
    """The type of a tensor's elements, as torch names it.  `numpy` is NumPy's name for the same type."""

    __slots__ = ("name", "numpy", "is_floating_point", "is_complex", "is_signed", "itemsize")

    def __init__(self, name: str, numpy: type[np.generic]):
        self.name = name
        self.numpy = np.dtype(numpy)
        self.is_floating_point = self.numpy.kind == "f"
        self.is_complex = False
        self.is_signed = self.numpy.kind in "if"
        self.itemsize = self.numpy.itemsize

    def __repr__(self) -> str:
        return f"torch.{self.name}"  # as torch prints it, so that logs agree

    def __reduce__(self):
        return _by_name, (self.name,)


uint8 = dtype("uint8", np.uint8)
int8 = dtype("int8", np.int8)
int16 = short = dtype("int16", np.int16)
int32 = dtype("int32", np.int32)
int64 = long = dtype("int64", np.int64)
float32 = dtype("float32", np.float32)
float64 = double = dtype("float64", np.float64)
bool = dtype("bool", np.bool_)

ALL = (uint8, int8, int16, int32, int64, float32, float64, bool)
_names = {d.name: d for d in ALL}
_of_numpy = {d.numpy: d for d in ALL}
_words = dict(zip(_of_numpy, ("Byte", "Char", "Short", "Int", "Long", "Float", "Double", "Bool"), strict=True))
_default = float32


def _by_name(name: str) -> dtype:
    return _names[name]


def of(numpy: np.dtype) -> dtype:
    """The dtype of arrays of NumPy's type `numpy`."""
    try:
        return _of_numpy[numpy]
    except KeyError:
        supported = ", ".join(d.name for d in ALL)
        raise TypeError(
            f"no tensor can hold elements of NumPy's type {numpy}; the supported types are: {supported}"
        ) from None


def word(numpy: np.dtype) -> str:
    """How torch's messages call the elements of a type: Float, Double, Long ..."""
    return _words[numpy]


def get_default_dtype() -> dtype:
    """The type that floating-point tensors get when none is named: float32 unless set otherwise."""
    return _default


def set_default_dtype(d: dtype) -> None:
    """Make `d` (float32 or float64) the type of floating-point tensors for which none is named."""
    global _default
    if not isinstance(d, dtype) or not d.is_floating_point:
        raise TypeError(f"set_default_dtype(): only floating-point types are supported as the default type, got {d!r}")
    _default = d


_KIND_ORDER = {"b": 0, "u": 1, "i": 1, "f": 2}


def promote(*operands: Any) -> np.dtype:
    """NumPy's type for the result of combining arrays and Python numbers, by torch's rules.

    The highest category present (bool < integer < floating point) decides.  Within it, arrays with
    dimensions outrank 0-d arrays, which outrank Python numbers; Python numbers stand for the default
    type of their category.
    """
    arrays: list[np.dtype] = []
    scalars: list[np.dtype] = []
    numbers: list[np.dtype] = []
    for x in operands:
        if isinstance(x, np.ndarray):
            (arrays if x.ndim else scalars).append(x.dtype)
        elif isinstance(x, (builtins.bool, np.bool_)):
            numbers.append(bool.numpy)
        elif isinstance(x, (int, np.integer)):
            numbers.append(int64.numpy)
        elif isinstance(x, (float, np.floating)):
            numbers.append(_default.numpy)
        else:
            raise TypeError(f"expected a tensor or a number, got {type(x).__name__}")
    best: np.dtype | None = None
    for group in (arrays, scalars, numbers):
        if not group:
            continue
        here = group[0]
        for other in group[1:]:
            here = _promote_pair(here, other)
        if best is None or _KIND_ORDER[here.kind] > _KIND_ORDER[best.kind]:
            best = here
    assert best is not None
    return best


def _promote_pair(a: np.dtype, b: np.dtype) -> np.dtype:
    """Two types of one rank: the wider; an integer beside a float leaves the float as it is."""
    if a == b:
        return a
    order_a, order_b = _KIND_ORDER[a.kind], _KIND_ORDER[b.kind]
    if order_a == order_b:
        return np.promote_types(a, b)
    return a if order_a > order_b else b


def can_cast(a: dtype, b: dtype) -> builtins.bool:
    """Whether a result of type `a` may be written into a tensor of type `b`: not to a lower category."""
    order_a, order_b = _KIND_ORDER[a.numpy.kind], _KIND_ORDER[b.numpy.kind]
    return order_a <= order_b


def result_type(a: Any, b: Any) -> dtype:
    """torch.result_type: the type of `a + b`, for tensors and numbers."""
    return of(promote(*(getattr(x, "array", x) for x in (a, b))))


def promote_types(a: dtype, b: dtype) -> dtype:
    """torch.promote_types: the smallest type of the rules above that holds both."""
    return of(_promote_pair(a.numpy, b.numpy))
