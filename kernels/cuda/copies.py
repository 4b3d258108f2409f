"""Copy on the device: the elements of an array in order, the last axis innermost, or into another array.

contiguous(a)   -> `a` itself if they lie so, else a copy in which they do
copied(a, how)  -> a copy; "C": in order, "K": as `a` lies in memory
copyto(to, a)   as NumPy's: `a` is broadcast to the shape of `to`, and cast to its type
"""

from typing import Literal

import numpy as np

from .array import Array


def contiguous(a: Array) -> Array:
    return a if a.flags.c_contiguous else a.copy()


def copied(a: Array, how: Literal["C", "K"]) -> Array:
    return a.copy(how)


def copyto(to: Array, a: Array) -> None:
    np.copyto(to, a)  # type: ignore[arg-type]
