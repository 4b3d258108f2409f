"""Copy on the device: the elements of an array in order, the last axis innermost.

contiguous(a) -> `a` itself if they lie so, else a copy in which they do
"""

from .array import Array


def contiguous(a: Array) -> Array:
    return a if a.flags.c_contiguous else a.copy()
