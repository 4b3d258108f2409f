"""Search: where numbers belong in sorted ones.

    places(edges (R, n), values (R, m), right) -> (R, m) int64: before equal ones, or with `right` behind them

Each number is found by halving, with torch's comparisons, so that NaN, and edges that are not in order, give what torch
gives.  Threads divide the numbers.  Both arrays are contiguous, of one type: float32, float64 or int64.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace

import numpy as np
from numba import int64

from .arrays import data, extent, size
from .jit import kernel, njit
from .pool import split
from .simd import get, put

LEAST = 1_000  # numbers that are some 10 microseconds of work


@functools.cache
def kernels(kind) -> SimpleNamespace:
    """The kernel for numpy.float32, float64 or int64."""
    S = kind().itemsize

    @kernel
    def search(first, last, n, m, edges, values, right, out):
        for k in range(first, last):
            row, value = edges + S * n * (k // m), get(kind, values + S * k)
            low, high = 0, n
            while low < high:
                middle = low + (high - low) // 2
                edge = get(kind, row + S * middle)
                beyond = not (edge > value if right else edge >= value)
                low, high = middle + 1 if beyond else low, high if beyond else middle
            put(int64, out + 8 * k, low)

    search_all = split(search)

    @njit
    def places(edges, values, right, out):
        search_all(
            size(values), LEAST, 8, extent(edges, 1), extent(values, 1), data(edges), data(values), right, data(out)
        )

    return SimpleNamespace(places=places)


def places(edges: np.ndarray, values: np.ndarray, right: bool) -> np.ndarray:
    out = np.empty(values.shape, np.int64)
    kernels(edges.dtype.type).places(id(edges), id(values), int(right), id(out))
    return out
