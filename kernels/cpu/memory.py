"""Freed memory is kept for the next array.

A training step makes and drops the same arrays again and again.  The C library gives memory back to the system when
128 KB at its end are free, and the system then clears every page anew: a tenth of the time of a step.  After a large
array was freed the GNU library itself raises these limits, up to the ones below; here they are so from the start.
"""

import ctypes
import os
import sys

TRIM, MMAP = -1, -3  # the numbers of the settings in malloc.h
SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed() -> None:
    """Set the limits, where the C library has them and the user has not set them."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None and not any(name in os.environ for name in SETTINGS):
        mallopt(MMAP, 32 << 20)
        mallopt(TRIM, 64 << 20)
