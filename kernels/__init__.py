"""Loops: arrays in, arrays out.  No tensor, no tape.

This folder is installed as `tinyrnn.kernels`; another project owns the name `kernels`.
"""

import importlib
from typing import Any

if __name__ != "tinyrnn.kernels":
    raise ImportError(
        f"this folder is the package 'tinyrnn.kernels', but it was imported as '{__name__}': "
        "write 'import tinyrnn.kernels' (from a checkout, run Python in its top folder)"
    )


class Lazy:
    """A module of this package that is imported when a name of it is first read: importing Numba takes 0.3 seconds."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, name: str) -> Any:
        value = getattr(importlib.import_module(self._name), name)
        setattr(self, name, value)  # found without this function from now on
        return value


def lazy(name: str) -> Any:
    """`name` is cpu.gemm, say."""
    return Lazy(f"{__name__}.{name}")
