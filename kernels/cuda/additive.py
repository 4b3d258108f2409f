"""Additive attention on the GPU: the twin of cpu.additive, with its arrays and its formulas.

    query (B, L, H), projected (B, S, H), v (1, H), keys (B, S, K), mask (B, L, S) or None
    forward  ->  context (B, L, K), weights (B, L, S)
    backward ->  the gradients of query, projected, v and keys, from those of context and weights, either of them None

A block works on one row (b, l): each of its warps on one place s, with its threads along H; then each of its threads on
one column of the context, along S.  Backward, a second kernel has a block for each place (b, s), whose threads sum
along L: no two threads write to one number, and every sum has its order.  tanh is computed once more for it.  The
gradient of v is summed over the rows of a block, then over the blocks.
"""

import functools
import math
from types import SimpleNamespace

import numpy as np
from numba import cuda

from .array import Array, empty, empty_as
from .driver import driver
from .gemm import adding
from .jit import boolean, device, float64, int64, kernel, pointer

EVERYONE, WARP = 0xFFFFFFFF, 32
THREADS = 256  # of a block, at most
SHARES = 2  # blocks of each multiprocessor among which the rows are divided to sum the gradient of v


@device
def total(x):
    """The sum of x over a warp: the same bits for all of its threads."""
    for distance in (16, 8, 4, 2, 1):
        x += cuda.shfl_xor_sync(EVERYONE, x, distance)
    return x


@functools.cache
def kernels(real) -> SimpleNamespace:
    """The kernels for numpy.float32 or numpy.float64."""
    nothing, zero, one = real(-np.inf), real(0), real(1)

    @kernel(limit=THREADS)
    def attend(
        rows: int64, steps: int64, places: int64, hidden: int64, width: int64, query: pointer(real),
        projected: pointer(real), v: pointer(real), keys: pointer(real), masked: boolean, mask: pointer(np.bool_),
        context: pointer(real), weights: pointer(real),
    ):  # fmt: skip
        thread, threads = cuda.threadIdx.x, cuda.blockDim.x
        warp, lane, warps = thread // WARP, thread % WARP, threads // WARP
        for r in range(cuda.blockIdx.x, rows, cuda.gridDim.x):
            b = r // steps
            q, p, x, w = r * hidden, b * places * hidden, b * places * width, r * places
            for s in range(warp, places, warps):
                score = nothing
                if not masked or mask[w + s] != 0:
                    score = zero
                    for h in range(lane, hidden, WARP):
                        score += v[h] * math.tanh(query[q + h] + projected[p + s * hidden + h])
                    score = total(score)
                if lane == 0:
                    weights[w + s] = score
            cuda.syncthreads()
            # Each warp finds the largest score and the sum by itself: they find the same, and need not wait to hear it.
            most = nothing
            for s in range(lane, places, WARP):
                most = weights[w + s] if weights[w + s] > most else most
            for distance in (16, 8, 4, 2, 1):
                other = cuda.shfl_xor_sync(EVERYONE, most, distance)
                most = other if other > most else most
            mass = float64(0)
            for s in range(lane, places, WARP):
                mass += float64(math.exp(weights[w + s] - most))
            scale = real(float64(1) / total(mass))  # NaN for a row that is hidden altogether
            cuda.syncthreads()
            for s in range(thread, places, threads):
                shown = not masked or mask[w + s] != 0
                weights[w + s] = math.exp(weights[w + s] - most) * scale if shown else zero
            cuda.syncthreads()
            for k in range(thread, width, threads):
                mean = zero
                for s in range(places):
                    if not masked or mask[w + s] != 0:
                        mean += keys[x + s * width + k] * weights[w + s]
                context[r * width + k] = mean

    @kernel(limit=THREADS)
    def rows_back(
        rows: int64, share: int64, steps: int64, places: int64, hidden: int64, width: int64, query: pointer(real),
        projected: pointer(real), v: pointer(real), keys: pointer(real), masked: boolean, mask: pointer(np.bool_),
        weights: pointer(real), of_context: boolean, d_context: pointer(real), of_weights: boolean,
        d_weights: pointer(real), slopes: pointer(real), d_query: pointer(real), d_v: pointer(real),
    ):  # fmt: skip
        """slopes (B, L, S), the gradients of the scores; d_query; d_v (blocks, H), from `share` rows each."""
        thread, threads = cuda.threadIdx.x, cuda.blockDim.x
        warp, lane, warps = thread // WARP, thread % WARP, threads // WARP
        first = cuda.blockIdx.x * share
        to_v = cuda.blockIdx.x * hidden
        for h in range(thread, hidden, threads):
            d_v[to_v + h] = zero
        for r in range(first, min(first + share, rows)):
            b = r // steps
            q, p, x, w = r * hidden, b * places * hidden, b * places * width, r * places
            for s in range(warp, places, warps):
                d = zero
                if not masked or mask[w + s] != 0:
                    if of_context:
                        for k in range(lane, width, WARP):
                            d += d_context[r * width + k] * keys[x + s * width + k]
                        d = total(d)
                    if of_weights:
                        d += d_weights[w + s]
                if lane == 0:
                    slopes[w + s] = d
            cuda.syncthreads()
            mean = float64(0)
            for s in range(lane, places, WARP):
                mean += float64(weights[w + s] * slopes[w + s])
            mean = real(total(mean))
            cuda.syncthreads()
            for s in range(thread, places, threads):
                slopes[w + s] = weights[w + s] * (slopes[w + s] - mean)
            cuda.syncthreads()
            for h in range(thread, hidden, threads):
                here, sum_q, sum_v = query[q + h], zero, zero
                for s in range(places):
                    if not masked or mask[w + s] != 0:
                        t = math.tanh(here + projected[p + s * hidden + h])
                        sum_v += t * slopes[w + s]
                        sum_q += v[h] * slopes[w + s] * (one - t * t)
                d_query[q + h] = sum_q
                d_v[to_v + h] += sum_v

    @kernel(limit=THREADS)
    def places_back(
        sequences: int64, steps: int64, places: int64, hidden: int64, width: int64, query: pointer(real),
        projected: pointer(real), v: pointer(real), masked: boolean, mask: pointer(np.bool_), weights: pointer(real),
        of_context: boolean, d_context: pointer(real), slopes: pointer(real), d_projected: pointer(real),
        d_keys: pointer(real),
    ):  # fmt: skip
        thread, threads = cuda.threadIdx.x, cuda.blockDim.x
        for place in range(cuda.blockIdx.x, sequences * places, cuda.gridDim.x):
            b = place // places
            first = b * steps * places + place % places  # of the weights of this place
            for h in range(thread, hidden, threads):
                here, d = projected[place * hidden + h], zero
                for step in range(steps):
                    w = first + step * places
                    if not masked or mask[w] != 0:
                        t = math.tanh(query[(b * steps + step) * hidden + h] + here)
                        d += v[h] * slopes[w] * (one - t * t)
                d_projected[place * hidden + h] = d
            for k in range(thread, width, threads):
                d = zero
                for step in range(steps):
                    w = first + step * places
                    if of_context and (not masked or mask[w] != 0):
                        d += d_context[(b * steps + step) * width + k] * weights[w]
                d_keys[place * width + k] = d

    return SimpleNamespace(attend=attend, rows_back=rows_back, places_back=places_back)


def optional(a: Array | None, instead: Array) -> tuple[bool, Array]:
    """Whether there is such an array, and one that a kernel may have in its place."""
    return a is not None, instead if a is None else a


def forward(query: Array, projected: Array, v: Array, keys: Array, mask: Array | None) -> tuple[Array, Array]:
    """context (B, L, K) and weights (B, L, S)."""
    (batch, steps, hidden), (_, places, width), real = query.shape, keys.shape, query.dtype
    context, weights = empty((batch, steps, width), real), empty((batch, steps, places), real)
    rows, threads = batch * steps, driver().threads
    if rows:
        kernels(real.type).attend.launch(
            driver().blocks(rows * threads, threads), threads, rows, steps, places, hidden, width, query, projected, v,
            keys, *optional(mask, weights), context, weights,
        )  # fmt: skip
    return context, weights


def backward(query, projected, v, keys, mask, weights, d_context, d_weights) -> tuple[Array, ...]:
    """The gradients of query, projected, v and keys; those of context and weights may be None."""
    (batch, steps, hidden), (_, places, width), real = query.shape, keys.shape, query.dtype
    d_query, d_projected, d_keys, d_v = map(empty_as, (query, projected, keys, v))
    slopes = empty_as(weights)
    rows, threads, family = batch * steps, driver().threads, kernels(real.type)
    share = max(1, -(-rows // (SHARES * driver().multiprocessors)))
    blocks = -(-rows // share)
    parts = empty((max(1, blocks), hidden), real)
    mask, d_context, d_weights = (optional(a, weights) for a in (mask, d_context, d_weights))
    if rows:
        family.rows_back.launch(
            blocks, threads, rows, share, steps, places, hidden, width, query, projected, v, keys, *mask, weights,
            *d_context, *d_weights, slopes, d_query, parts,
        )  # fmt: skip
    if batch * places:
        family.places_back.launch(
            driver().blocks(batch * places * threads, threads), threads, batch, steps, places, hidden, width, query,
            projected, v, *mask, weights, *d_context, slopes, d_projected, d_keys,
        )  # fmt: skip
    if hidden:
        adding(real.type).launch(
            driver().blocks(hidden, threads), threads, d_v, hidden, hidden, parts, blocks, parts, 0, False
        )
    return d_query, d_projected, d_v, d_keys


def examples() -> list:
    """The kernels of this family."""
    return [kernel for real in (np.float32, np.float64) for kernel in vars(kernels(real)).values()]
