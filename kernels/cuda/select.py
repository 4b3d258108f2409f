"""Select on the device: one of two numbers by a mask, and the places where a mask holds.

where(mask, x, y) -> x where the mask holds, y elsewhere: contiguous, of the shape that all three broadcast to
nonzero(a)        -> NumPy's: for each axis an index of each element that is not zero, in order
"""

from typing import Any

import numpy as np

from .answers import as_array
from .array import Array
from .copies import contiguous
from .elementwise import where as chosen


def nonzero(a: Array) -> tuple[Array, ...]:
    return np.nonzero(a)  # type: ignore[arg-type, return-value]


def where(mask: Any, x: Any, y: Any) -> Array:
    return contiguous(chosen(as_array(mask), x, y))
