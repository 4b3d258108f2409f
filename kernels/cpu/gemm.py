"""Gemm: matrix products, with an optional bias row and batches.

    matmul(a, b)              (..., M, K) @ (..., K, N) -> (..., M, N), batch axes broadcast
    linear(x, w, bias=None)   x @ w.T + bias, for x (..., K), w (N, K), bias (N,)
    accumulate(out, a, b, rows)   inside other kernels: out += a @ b on the first rows

Arrays of one floating-point type, of any strides.  The inner loop runs along contiguous rows of b and of the result;
a block of ROWS x DEPTH elements of a is held in registers, so that each load of b serves ROWS products.
"""

from __future__ import annotations

import math

import numpy as np

from .jit import njit


@njit
def accumulate(out, a, b, rows):
    """out[:rows] += a[:rows] @ b for contiguous a (M, K), b (K, N), out (M, N)."""
    depth, columns = b.shape
    whole = depth - depth % 4
    pairs = rows - rows % 2
    for i in range(0, pairs, 2):
        c, d = out[i], out[i + 1]
        for k in range(0, whole, 4):
            a0, a1, a2, a3 = a[i, k], a[i, k + 1], a[i, k + 2], a[i, k + 3]
            e0, e1, e2, e3 = a[i + 1, k], a[i + 1, k + 1], a[i + 1, k + 2], a[i + 1, k + 3]
            b0, b1, b2, b3 = b[k], b[k + 1], b[k + 2], b[k + 3]
            for j in range(columns):
                c[j] += a0 * b0[j] + a1 * b1[j] + (a2 * b2[j] + a3 * b3[j])
                d[j] += e0 * b0[j] + e1 * b1[j] + (e2 * b2[j] + e3 * b3[j])
        for k in range(whole, depth):
            for j in range(columns):
                c[j] += a[i, k] * b[k, j]
                d[j] += a[i + 1, k] * b[k, j]
    for i in range(pairs, rows):
        for k in range(depth):
            for j in range(columns):
                out[i, j] += a[i, k] * b[k, j]


@njit
def batched(out, a, b):
    """out[n] += a[n] @ b[n] for contiguous arrays of three axes."""
    for n in range(out.shape[0]):
        accumulate(out[n], a[n], b[n], out.shape[1])


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(..., M, K) @ (..., K, N) -> (..., M, N); batch axes broadcast as in NumPy."""
    (m, k), n = a.shape[-2:], b.shape[-1]
    if a.ndim == b.ndim == 2:
        out = np.zeros((m, n), a.dtype)
        accumulate(out, np.ascontiguousarray(a), np.ascontiguousarray(b), m)
        return out
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    count = math.prod(batch)
    out = np.zeros((count, m, n), a.dtype)
    a = np.ascontiguousarray(np.broadcast_to(a, (*batch, m, k))).reshape(count, m, k)
    b = np.ascontiguousarray(np.broadcast_to(b, (*batch, k, n))).reshape(count, k, n)
    batched(out, a, b)
    return out.reshape(*batch, m, n)


def linear(x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """x (..., K) @ w.T + bias for w (N, K), bias (N,) -> (..., N)."""
    (n, k), rows = w.shape, math.prod(x.shape[:-1])
    out = np.empty((rows, n), x.dtype)
    out[...] = 0 if bias is None else bias
    accumulate(out, np.ascontiguousarray(x).reshape(rows, k), np.ascontiguousarray(w.T), rows)
    return out.reshape(*x.shape[:-1], n)
