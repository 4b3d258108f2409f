"""What answers NumPy's functions of arrays of the device: a table, and what its entries share.

    @of(np.concatenate)
    def concatenate(arrays, axis=0): ...

The entries are in making, joining, choosing, reducing, products and several; protocol looks them up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import mapped
from .array import Array, download, upload
from .elementwise import assign

FUNCTIONS: dict[Any, Callable] = {}
TWO_DEVICES = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"


def of(*functions: Any) -> Callable:
    """The decorated function is what these functions of NumPy do on the device."""

    def remember(own: Callable) -> Callable:
        for function in functions:
            FUNCTIONS[function] = own
        return own

    return remember


def unsupported(call: str) -> TypeError:
    return TypeError(f"numpy.{call} is not supported for arrays on the GPU")


def as_array(a: Any) -> Array:
    """An argument as an array of the device: a number or a list of numbers may come from the host, an array not."""
    if isinstance(a, Array):
        return a
    if isinstance(a, np.ndarray) and a.ndim:
        raise RuntimeError(TWO_DEVICES)
    if isinstance(a, (list, tuple)) and any(isinstance(x, Array) for x in a):
        return FUNCTIONS[np.stack](a)
    return upload(np.asarray(a))


def given(result: Array, out: Any) -> Array:
    """A result, or `out` with it."""
    out = out[0] if isinstance(out, tuple) else out
    if out is None:
        return result
    if out.shape != result.shape:
        raise ValueError(f"output array has shape {out.shape}, but the result has shape {result.shape}")
    assign(out, result)
    return out


def ordered(make: Callable, shape: Any, dtype: Any, order: str = "C") -> Array:
    """A new array of a shape, its axes in memory from the first to the last, or (order F) the other way."""
    shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    return make(shape[::-1], dtype).T if order == "F" else make(shape, dtype)


def on_host(function: Callable, args: Any, kwargs: dict) -> Any:
    """A function of copies, whose result goes back to the device."""
    kwargs = dict(kwargs)
    out = kwargs.pop("out", None)
    host = function(*mapped(download, Array, args), **{k: mapped(download, Array, v) for k, v in kwargs.items()})
    result = mapped(lambda x: upload(np.asarray(x)), (np.ndarray, np.generic), host)
    return result if out is None else given(result, out)
