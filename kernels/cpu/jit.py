"""`njit` for kernels: Numba's, with machine code cached in the directory that `cache` chooses."""

import threading

import numba

from .. import cache

# Division by zero gives inf or nan as IEEE 754 and torch have it, and a product and a sum may become
# one fused multiply-add.  Nothing else is relaxed: NaN and infinities mean what they say.
OPTIONS = {"error_model": "numpy", "fastmath": {"contract"}, "nogil": True}

_lock = threading.Lock()


def njit(function):
    """Compile `function` on its first call for each set of argument types; find it on disk the next time."""
    return _compile(function, OPTIONS)


def njit_exact(function):
    """`njit` for bits that must not change: every operation is rounded as written, nothing is fused."""
    return _compile(function, {**OPTIONS, "fastmath": False})


def _compile(function, options):
    with _lock:  # Numba reads the directory when the function is decorated, from a process-wide setting
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(cache.directory())
        try:
            return numba.njit(cache=True, **options)(function)
        finally:
            numba.config.CACHE_DIR = before
