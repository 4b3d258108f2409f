"""Freed memory is kept for the next array.

A training step makes and drops the same arrays again and again.  The C library gives memory back to the system when
128 KB at its end are free, and the system then clears every page anew: a tenth of the time of a step.  After a large
array was freed the GNU library itself raises these limits, up to the ones below; here they are so from the start.
It always gives back what is larger than they are: `room` keeps that too.
"""

import ctypes
import os
import sys
import weakref

import numpy as np

LARGE = 32 << 20  # bytes
TRIM, MMAP = -1, -3  # the numbers of the settings in malloc.h
SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed() -> None:
    """Set the limits, where the C library has them and the user has not set them."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None and not any(name in os.environ for name in SETTINGS):
        mallopt(MMAP, LARGE)
        mallopt(TRIM, 2 * LARGE)


_free: dict[int, np.ndarray] = {}


def room(n: int) -> np.ndarray:
    """n bytes.  Large ones that were dropped come again; they are kept until another size is wanted."""
    if n < LARGE:
        return np.empty(n, np.uint8)
    for key, whole in tuple(_free.items()):
        if n <= whole.size <= n + n // 4 and _free.pop(key, None) is not None:  # another thread may have taken it
            break
    else:
        _free.clear()
        whole = np.empty(n, np.uint8)
    lent = np.frombuffer(memoryview(whole), np.uint8, n)  # views of it hold this array, not the whole
    weakref.finalize(lent, _free.__setitem__, id(whole), whole).atexit = False
    return lent
