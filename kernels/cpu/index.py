"""Index: gathering rows, and adding rows up where several go to one place, always in the same order.

    gather_rows(table (V, W), ids (n,))               -> (n, W)
    scatter_add_rows(out (V, W), ids (n,), g (n, W))  out[ids[k]] += g[k], k = 0, 1, ...
    scatter_add(out (n,), positions (m,), g (m,))     out[positions[k]] += g[k]

Indices are checked by the caller.
"""

from __future__ import annotations

import numpy as np

from .jit import njit


def gather_rows(table: np.ndarray, ids: np.ndarray) -> np.ndarray:
    return table.take(ids, axis=0)


@njit
def scatter_add_rows(out, ids, g):
    for k in range(ids.size):
        row = ids[k]
        for j in range(out.shape[1]):
            out[row, j] += g[k, j]


@njit
def scatter_add(out, positions, g):
    for k in range(positions.size):
        out[positions[k]] += g[k]
