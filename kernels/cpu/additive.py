"""Additive attention: the scores v . tanh(query + projected keys), their softmax, and the mean of the keys.

    query (B, L, H), projected (B, S, H), v (1, H), keys (B, S, K), mask (B, L, S) or None
    forward  ->  context (B, L, K), weights (B, L, S)
    backward ->  the gradients of query, projected, v and keys, from those of context and weights, either of them None

All arrays are contiguous and of one floating-point type; the mask is bool, True where a key may be attended to.  What
it hides is not read: weights of 0, no gradient.  The tanh (B, L, S, H) is computed again in the backward, not kept.

Threads divide the B * L rows of the forward, and the B sequences of the backward, whose sums over L run in order.  The
gradient of v is a sum over the sequences, in order.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace

import numpy as np
from numba import float64, int8

from .arrays import data, extent, size
from .jit import kernel, njit
from .pool import split
from .simd import (
    choose_first,
    exp,
    get,
    lanes,
    load_next,
    lower,
    put,
    splat,
    store_next,
    tanh,
    total,
    upper,
)

EXPENSIVE = 15_000  # elements of tanh that are some 10 microseconds of work


@functools.cache
def kernels(real) -> SimpleNamespace:
    """The kernels for numpy.float32 or numpy.float64."""
    L, S = lanes(real), real().itemsize
    nothing = -real(np.inf)

    @njit
    def dot(n, x, y):
        """The sum of n products."""
        s = splat(real, real(0.0))
        for k in range(0, n, L):
            s = s + load_next(real, x + S * k, S, n - k) * load_next(real, y + S * k, S, n - k)
        return total(s)

    @njit
    def clear(n, x):
        for k in range(0, n, L):
            store_next(real, x + S * k, splat(real, real(0.0)), n - k)

    @njit
    def shown(mask, place):
        """Whether the mask, an address or 0, permits a place."""
        return mask == 0 or get(int8, mask + place) != 0

    @njit
    def score(n, q, p, v):
        """v . tanh(q + p)."""
        s = splat(real, real(0.0))
        for k in range(0, n, L):
            t = tanh(load_next(real, q + S * k, S, n - k) + load_next(real, p + S * k, S, n - k))
            s = s + load_next(real, v + S * k, S, n - k) * t
        return total(s)

    @kernel
    def rows(first, last, steps, places, hidden, width, query, projected, v, keys, mask, means, weights):
        for r in range(first, last):
            b = r // steps
            q, p, w = query + S * r * hidden, projected + S * b * places * hidden, weights + S * r * places
            most = nothing
            for s in range(places):
                found = nothing
                if shown(mask, r * places + s):
                    found = score(hidden, q, p + S * s * hidden, v)
                    most = found if found > most else most
                put(real, w + S * s, found)
            s0, s1 = splat(float64, 0.0), splat(float64, 0.0)
            for k in range(0, places, L):
                e = exp(load_next(real, w + S * k, S, places - k) - most)
                store_next(real, w + S * k, e, places - k)
                e = choose_first(e, places - k, splat(real, real(0.0)))
                s0, s1 = s0 + lower(e), s1 + upper(e)
            scale = real(1.0 / total(s0 + s1))
            for s in range(places):
                here = shown(mask, r * places + s)  # of a row that is hidden altogether, scale is NaN
                put(real, w + S * s, get(real, w + S * s) * scale if here else real(0.0))
            x, to = keys + S * b * places * width, means + S * r * width
            for k in range(0, width, L):
                mean = splat(real, real(0.0))
                for s in range(places):
                    if shown(mask, r * places + s):
                        mean = mean + load_next(real, x + S * (s * width + k), S, width - k) * get(real, w + S * s)
                store_next(real, to + S * k, mean, width - k)

    @kernel
    def sequences_back(first, last, steps, places, hidden, width, query, projected, v, keys, mask, weights,
                       d_context, d_weights, d_query, d_projected, d_v, d_keys, slopes):  # fmt: skip
        """`slopes` (B, L, S) is room for the gradients of the scores."""
        for b in range(first, last):
            x, dx = keys + S * b * places * width, d_keys + S * b * places * width
            p, dp, dv = projected + S * b * places * hidden, d_projected + S * b * places * hidden, d_v + S * b * hidden
            clear(places * width, dx)
            clear(places * hidden, dp)
            clear(hidden, dv)
            for r in range(b * steps, (b + 1) * steps):
                w, slope, dc = weights + S * r * places, slopes + S * r * places, d_context + S * r * width
                mean = 0.0
                for s in range(places):
                    d = real(0.0)
                    if shown(mask, r * places + s):
                        share = get(real, w + S * s)
                        if d_context:
                            d = dot(width, dc, x + S * s * width)
                            for k in range(0, width, L):
                                at = dx + S * (s * width + k)
                                g = load_next(real, dc + S * k, S, width - k) * share
                                store_next(real, at, load_next(real, at, S, width - k) + g, width - k)
                        if d_weights:
                            d += get(real, d_weights + S * (r * places + s))
                        mean += share * d
                    put(real, slope + S * s, d)
                for s in range(places):
                    put(real, slope + S * s, get(real, w + S * s) * (get(real, slope + S * s) - real(mean)))
                q, dq = query + S * r * hidden, d_query + S * r * hidden
                for k in range(0, hidden, L):
                    n = hidden - k
                    here, factor = load_next(real, q + S * k, S, n), load_next(real, v + S * k, S, n)
                    to_q, to_v = splat(real, real(0.0)), load_next(real, dv + S * k, S, n)
                    for s in range(places):
                        if shown(mask, r * places + s):
                            at, d = S * (s * hidden + k), get(real, slope + S * s)
                            t = tanh(here + load_next(real, p + at, S, n))
                            to_v = to_v + t * d
                            g = (factor * d) * (real(1.0) - t * t)
                            to_q = to_q + g
                            store_next(real, dp + at, load_next(real, dp + at, S, n) + g, n)
                    store_next(real, dq + S * k, to_q, n)
                    store_next(real, dv + S * k, to_v, n)

    all_rows, all_sequences_back = split(rows), split(sequences_back)

    @njit
    def present(array):
        """The address of an array's data, 0 for an array of size zero."""
        return data(array) if size(array) else 0

    @njit
    def forward(query, projected, v, keys, mask, context, weights):
        batch, steps, hidden = extent(query, 0), extent(query, 1), extent(query, 2)
        places, width = extent(keys, 1), extent(keys, 2)
        all_rows(
            batch * steps, EXPENSIVE // max(places * hidden, 1), 1, steps, places, hidden, width, data(query),
            data(projected), data(v), data(keys), present(mask), data(context), data(weights),
        )  # fmt: skip

    @njit
    def backward(query, projected, v, keys, mask, weights, d_context, d_weights, d_query, d_projected, d_v, d_keys,
                 slopes):  # fmt: skip
        batch, steps, hidden = extent(query, 0), extent(query, 1), extent(query, 2)
        places, width = extent(keys, 1), extent(keys, 2)
        all_sequences_back(
            batch, EXPENSIVE // max(steps * places * hidden, 1), 1, steps, places, hidden, width, data(query),
            data(projected), data(v), data(keys), present(mask), data(weights), present(d_context),
            present(d_weights), data(d_query), data(d_projected), data(d_v), data(d_keys), data(slopes),
        )  # fmt: skip

    return SimpleNamespace(forward=forward, backward=backward)


ABSENT = np.empty(0)


def forward(query, projected, v, keys, mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """context (B, L, K) and weights (B, L, S)."""
    (batch, steps, _), (_, places, width), real = query.shape, keys.shape, query.dtype
    context, weights = np.empty((batch, steps, width), real), np.empty((batch, steps, places), real)
    mask = ABSENT if mask is None else mask
    kernels(real.type).forward(id(query), id(projected), id(v), id(keys), id(mask), id(context), id(weights))
    return context, weights


def backward(query, projected, v, keys, mask, weights, d_context, d_weights) -> tuple[np.ndarray, ...]:
    """The gradients of query, projected, v and keys; those of context and weights may be None."""
    d_query, d_projected, d_keys = map(np.empty_like, (query, projected, keys))
    d_v, slopes = np.empty((len(query), v.shape[1]), v.dtype), np.empty_like(weights)
    mask, d_context, d_weights = (ABSENT if a is None else a for a in (mask, d_context, d_weights))
    kernels(query.dtype.type).backward(
        id(query), id(projected), id(v), id(keys), id(mask), id(weights), id(d_context), id(d_weights),
        id(d_query), id(d_projected), id(d_v), id(d_keys), id(slopes),
    )  # fmt: skip
    return d_query, d_projected, d_v.sum(0, keepdims=True), d_keys
