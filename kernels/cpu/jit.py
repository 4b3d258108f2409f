"""`njit` for kernels: Numba's, with machine code kept on disk by `DiskCache`.

Numba's own disk cache dies of a damaged file, and two processes that compile the same function at the same time can
mix up its index.  This one has no index: the name of a file says what is in it.
"""

import pickle
from pathlib import Path

import numba
from numba.core import caching, compiler, serialize

from ..cache import digest, directory, keep, recall

# Division by zero gives inf or nan as IEEE 754 and torch have it, and a product and a sum may become
# one fused multiply-add.  Nothing else is relaxed: NaN and infinities mean what they say.
OPTIONS = {"error_model": "numpy", "fastmath": {"contract"}, "nogil": True}


def njit(function):
    """Compile `function` on its first call for each set of argument types; find it on disk the next time."""
    return _compile(function, OPTIONS)


def njit_exact(function):
    """`njit` for bits that must not change: every operation is rounded as written, nothing is fused."""
    return _compile(function, {**OPTIONS, "fastmath": False})


def _compile(function, options):
    dispatcher = numba.njit(**options)(function)
    if not numba.config.DISABLE_JIT:
        dispatcher._cache = DiskCache(function)
    return dispatcher


def _content(filename: str) -> str:
    """A hash of a source file; of nothing, for source that has no file."""
    try:
        return digest(Path(filename).read_text(encoding="utf-8"))
    except OSError:
        return ""


class DiskCache(caching.NullCache):
    """The machine code of one function, a file for each set of argument types.

    A file is found by all that the code depends on: the function and its source file, the argument types and the CPU.
    What the function calls is in the name of the directory.
    """

    def __init__(self, function):
        self.name = function.__name__
        self.identity = (function.__module__, function.__qualname__, _content(function.__code__.co_filename))

    @property
    def cache_path(self) -> str:
        return str(directory())

    def _file(self, signature, codegen) -> str:
        return f"{self.name}-{digest(repr((self.identity, signature, codegen.magic_tuple())))}.code"

    def load_overload(self, sig, target_context):
        target_context.refresh()
        data = recall(self._file(sig, target_context.codegen()))
        return None if data is None else compiler.CompileResult._rebuild(target_context, *pickle.loads(data))

    def save_overload(self, sig, data):
        if not data.library.has_dynamic_globals:  # an address in the code means nothing in another process
            keep(self._file(sig, data.codegen), serialize.dumps(data._reduce()))
