"""Loops: arrays in, arrays out.  No tensor, no tape.

This folder is installed as `tinyrnn.kernels`; another project owns the name `kernels`.

`twin("map")` is where it is decided which device computes: the functions of kernels.cpu.map until a program asks for
CUDA (`wake`), and from then on those of kernels.cuda.map for arrays that lie on the GPU.
"""

import importlib
import threading
from types import SimpleNamespace
from typing import Any

if __name__ != "tinyrnn.kernels":
    raise ImportError(
        f"this folder is the package 'tinyrnn.kernels', but it was imported as '{__name__}': "
        "write 'import tinyrnn.kernels' (from a checkout, run Python in its top folder)"
    )


allowed = SimpleNamespace(tf32=False)  # what a program lets kernels do: products of float32 on tensor cores


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


class Twin(Lazy):
    """A family of kernels, for each call on the device on which its arrays are."""

    known: list["Twin"] = []
    awake = False
    switching = threading.Lock()

    def __init__(self, family: str):
        super().__init__(f"{__name__}.cpu.{family}")
        self._family = family
        Twin.known.append(self)

    def __getattr__(self, name: str) -> Any:
        awake = Twin.awake
        if awake:
            from .cuda import choose

            value = choose(self._family, name)
        else:
            value = getattr(importlib.import_module(self._name), name)
        with Twin.switching:
            if awake is Twin.awake:  # else another thread asked for CUDA meanwhile: this one is for this call alone
                setattr(self, name, value)
        return value


def twin(family: str) -> Any:
    """`family` is gemm, say."""
    return Twin(family)


def wake() -> None:
    """From now on arrays may lie on a GPU: what was found before is looked up again."""
    with Twin.switching:
        if not Twin.awake:
            Twin.awake = True
            for family in Twin.known:
                for name in [name for name in vars(family) if not name.startswith("_")]:
                    delattr(family, name)
