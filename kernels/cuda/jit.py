"""`@kernel` and `@device`: functions for the GPU, compiled when they are first launched.

    @kernel
    def scale(x: pointer(float32), n: int64, a: float32):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            x[i] = a * x[i]

    scale.launch(blocks, threads, array, array.size, 2.0)

A pointer is indexed like an array of one axis.  `arguments` are arrays of the device, their addresses, and numbers.

numba-cuda makes machine code of a kernel, with or without a GPU; this module keeps the code on disk, and the driver
launches it.  Numba's own launch would convert each argument anew by its type, and compile in every process.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import pickle
import threading
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numba import cuda
from numba.cuda import compiler, dispatcher, types
from numba.cuda.cudadrv import devices
from numba.cuda.np.numpy_support import from_dtype

from ..cache import digest, keep, recall
from ..cpu.jit import DiskCache
from .array import Array
from .driver import driver, version_of_compiler

boolean, float32, float64, int32, int64 = types.boolean, types.float32, types.float64, types.int32, types.int64
uint32 = types.uint32


@functools.cache
def pointer(dtype: Any) -> types.CPointer:
    """The address of numbers of a NumPy type, or of one of Numba's; truth values are bytes, 0 or 1."""
    kind = dtype if isinstance(dtype, types.Type) else from_dtype(np.dtype(dtype))
    return types.CPointer(types.uint8 if kind == boolean else kind)


def several(kind: types.Type, n: int) -> types.UniTuple:
    """A tuple of n numbers."""
    return types.UniTuple(kind, n)


def device(function: Any) -> Any:
    """A function that kernels call."""
    return cuda.jit(device=True)(function)


def inlined(function: Any) -> Any:
    """The same, copied into each kernel: a local array that is handed to it stays in registers."""
    return cuda.jit(device=True, forceinline=True)(function)


class Binary(NamedTuple):
    """The machine code of a kernel: the name of its entry, and a file as the CUDA driver loads it (a cubin)."""

    entry: str
    code: bytes


class Kernel:
    """A function of pointers and numbers that many threads run."""

    known: list[Kernel] = []

    def __init__(self, function: Any, limit: int | None = None):
        self.function, self.limit = function, limit
        self.name = function.__name__
        parameters = inspect.signature(function, eval_str=True).parameters.values()
        self.types = tuple([p.annotation for p in parameters])
        self.kinds = tuple([kind for given in self.types for kind in (given if is_tuple(given) else (given,))])
        Kernel.known.append(self)

    def __repr__(self) -> str:
        return f"<kernel {self.function.__module__}.{self.function.__qualname__}>"

    def binary(self, capability: tuple[int, int]) -> Binary:
        """The machine code for GPUs of a compute capability, from disk if it is there."""
        name = f"{self.name}-{digest(repr((self._identity, fingerprint(), capability)))}.cubin"
        if (kept := recall(name)) is not None:
            return Binary(*pickle.loads(kept))
        binary = compiled(self, capability)
        keep(name, pickle.dumps(tuple(binary)))
        return binary

    @functools.cached_property
    def _identity(self) -> tuple:
        """All that the machine code depends on, but for what the function calls."""
        return DiskCache(self.function).identity, taken_by(self.function), tuple(map(str, self.types)), self.limit

    def launch(self, blocks: Any, threads: Any, *arguments: Any, shared: int = 0, cooperative: bool = False) -> None:
        """Run on `blocks` x `threads` threads, numbers or tuples; `shared` bytes of memory for each block."""
        given = tuple([(a.address if a.size else 0) if type(a) is Array else a for a in arguments])
        driver().launch(self, blocks, threads, given, shared, cooperative)


def kernel(function: Any = None, *, limit: int | None = None) -> Any:
    """Make a Kernel; `limit` is the largest number of threads that a block will have, if it uses many registers."""
    return Kernel(function, limit) if function is not None else functools.partial(Kernel, limit=limit)


def taken_by(function: Any) -> tuple:
    """What `DiskCache` does not tell of the values that a function takes from around it: which of Numba's types they
    are; and of functions and intrinsics, of which two may have one name, where they begin and what they take.
    """
    found: list[Any] = []
    for value in [cell.cell_contents for cell in function.__closure__ or ()]:
        inner = getattr(value, "py_func", None) or getattr(value, "_defn", None)
        if inner is not None:
            found.append((inner.__module__, inner.__code__.co_firstlineno, taken_by(inner)))
        else:
            found.append(str(value) if isinstance(value, (types.Type, int)) else None)
    return tuple(found)


def is_tuple(kind: types.Type) -> bool:
    return isinstance(kind, types.UniTuple)


@functools.cache
def fingerprint() -> str:
    """A hash of what the machine code of every kernel depends on: this folder's source, and the compiler."""
    compiler = f"{version('numba-cuda')} {version('numba')} {cuda.runtime.get_version()} {version_of_compiler()}"
    hashed = hashlib.sha256(compiler.encode())
    root = Path(__file__).parent
    for source in sorted([*root.glob("*.py"), *root.parent.glob("*.py")]):
        hashed.update(source.read_bytes())
    return hashed.hexdigest()


_compiling = threading.RLock()


@contextmanager
def target(capability: tuple[int, int]):
    """In this block numba-cuda compiles for such a GPU, whether or not there is one: it asks the current device, of
    which only this is looked at.
    """
    device = SimpleNamespace(compute_capability=capability, id=0)
    context = SimpleNamespace(device=device)
    places = (
        (devices, "get_context", lambda number=None: context),
        (dispatcher, "get_current_device", lambda: device),
        (compiler, "get_current_device", lambda: device),
    )
    with _compiling:
        before = [getattr(module, name) for module, name, _ in places]
        for module, name, other in places:
            setattr(module, name, other)
        try:
            yield
        finally:
            for (module, name, _), own in zip(places, before, strict=True):
                setattr(module, name, own)


def compiled(kernel: Kernel, capability: tuple[int, int]) -> Binary:
    """The machine code of a kernel for GPUs of a compute capability."""
    with target(capability):
        made = dispatcher._Kernel(kernel.function, kernel.types, launch_bounds=kernel.limit)
        code = made._codelibrary.get_cubin()  # of the PTX that is there: with cc=capability all is compiled again
        return Binary(made.entry_name, bytes(code.code))
