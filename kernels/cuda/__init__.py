"""The CUDA twins of kernels.cpu: one module per family, with the same public functions.

Nothing here is imported before a program asks for a GPU, and only this folder imports numba.cuda.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from .array import Array, download, upload

# those that have a twin here
FAMILIES = (
    "additive",
    "attention",
    "channels",
    "clip",
    "copies",
    "gemm",
    "index",
    "map",
    "recurrence",
    "reduce",
    "rows",
    "scan",
    "select",
    "ufuncs",
)


def choose(family: str, name: str) -> Any:
    """The function `name` of a family, for arrays of either device."""
    here = importlib.import_module(f"..cpu.{family}", __name__)
    on_host = getattr(here, name)
    if not callable(on_host):
        return on_host
    there = importlib.import_module(f".{family}", __name__) if family in FAMILIES else None
    on_device = getattr(there, name, None) or through_host(on_host)

    @functools.wraps(on_host)
    def either(*args: Any, **kwargs: Any) -> Any:
        found = {type(a) for a in arrays_of((*args, *kwargs.values()))}
        if Array not in found:
            return on_host(*args, **kwargs)
        if np.ndarray in found:
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
            )
        return on_device(*args, **kwargs)

    return either


def arrays_of(values: Iterable[Any]) -> Iterator[Any]:
    """The arrays among values, in lists and tuples too; numbers without an axis do not count."""
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from arrays_of(value)
        elif type(value) is Array or (type(value) is np.ndarray and value.ndim):
            yield value


def mapped(function: Callable, kind: type, value: Any) -> Any:
    """`value` with `function` of all that is of a kind in it, in lists and tuples too."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(function, kind, v) for v in value))
    if isinstance(value, (list, tuple)):
        return type(value)([mapped(function, kind, v) for v in value])
    return function(value) if isinstance(value, kind) else value


def through_host(function: Callable) -> Callable:
    """A function for which the device has no kernel: on copies, which a program pays for.

    An array that it changes is the exception: what has no twin must not write to its arguments.
    """

    @functools.wraps(function)
    def copied(*args: Any, **kwargs: Any) -> Any:
        args = mapped(download, Array, args)
        kwargs = {name: mapped(download, Array, value) for name, value in kwargs.items()}
        return mapped(upload, np.ndarray, function(*args, **kwargs))

    return copied
