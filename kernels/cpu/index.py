"""Index: gathering rows, and adding rows up where several go to one place, always in the same order.

    gather_rows(table (V, W), ids (n,))               -> (n, W)
    scatter_add_rows(out (V, W), ids (n,), g (n, W))  out[ids[k]] += g[k], k = 0, 1, ...
    scatter_add(out (n,), positions (m,), g (m,))     out[positions[k]] += g[k]

Indices are checked by the caller; `out` and `g` are contiguous.  Threads divide the rows that are gathered.  Where rows
are added up they divide the columns, so that each place is one thread's, which takes all indices in order.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace

import numpy as np
from numba import int64

from .arrays import data, extent, size, stride
from .jit import kernel, njit
from .pool import split
from .simd import get, lanes, load_next, put, store_next

LEAST = 20_000  # numbers that are some 10 microseconds of work


@functools.cache
def kernels(real) -> SimpleNamespace:
    """The kernels for numpy.float32 or numpy.float64."""
    L, S = lanes(real), real().itemsize

    @kernel
    def gather(first, last, n, table, step, ids, out):
        for k in range(first, last):
            p, q = table + step * get(int64, ids + 8 * k), out + S * n * k
            for j in range(0, n, L):
                store_next(real, q + S * j, load_next(real, p + S * j, S, n - j), n - j)

    @kernel
    def scatter_columns(first, last, n, count, ids, g, out):
        """Columns `first` to `last` of all rows."""
        for k in range(count):
            p, q = g + S * n * k, out + S * n * get(int64, ids + 8 * k)
            for j in range(first, last, L):
                v = load_next(real, q + S * j, S, last - j) + load_next(real, p + S * j, S, last - j)
                store_next(real, q + S * j, v, last - j)

    all_gather, all_columns = split(gather), split(scatter_columns)

    @njit
    def gather_rows(table, ids, out):
        n = extent(table, 1)
        all_gather(size(ids), LEAST // max(n, 1), 1, n, data(table), stride(table, 0), data(ids), data(out))

    @njit
    def scatter_add_rows(out, ids, g):
        n, count = extent(out, 1), size(ids)
        all_columns(n, max(4 * L, LEAST // max(count, 1)), L, n, count, data(ids), data(g), data(out))

    @njit
    def scatter_add(out, positions, g):
        q, at, p = data(out), data(positions), data(g)
        for k in range(size(positions)):
            place = q + S * get(int64, at + 8 * k)
            put(real, place, get(real, place) + get(real, p + S * k))

    return SimpleNamespace(gather_rows=gather_rows, scatter_add_rows=scatter_add_rows, scatter_add=scatter_add)


def gather_rows(table: np.ndarray, ids: np.ndarray) -> np.ndarray:
    if table.dtype.kind != "f" or table.strides[1] != table.itemsize:
        return table.take(ids, axis=0)
    ids = np.asarray(ids, np.int64, order="C")
    out = np.empty((*ids.shape, table.shape[1]), table.dtype)
    kernels(table.dtype.type).gather_rows(id(table), id(ids), id(out))
    return out


def scatter_add_rows(out: np.ndarray, ids: np.ndarray, g: np.ndarray) -> None:
    if out.dtype.kind != "f":
        np.add.at(out, ids, g)
        return
    ids = np.asarray(ids, np.int64, order="C")
    kernels(out.dtype.type).scatter_add_rows(id(out), id(ids), id(g))


def scatter_add(out: np.ndarray, positions: np.ndarray, g: np.ndarray) -> None:
    if out.dtype.kind != "f":
        np.add.at(out, positions, g)
        return
    positions = np.asarray(positions, np.int64, order="C")
    kernels(out.dtype.type).scatter_add(id(out), id(positions), id(g))
