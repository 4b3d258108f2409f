"""CTC: the probability of labels over all their alignments with more steps, and its gradient.

    forward(logs, labels, steps, lengths)                                  -> losses (N,), alpha, jumps
    backward(logs, labels, steps, lengths, alpha, jumps, losses, g, zero)  -> dlogs (T, N, C)

    logs     (T, N, C)    logarithms of probabilities, contiguous, of one floating-point type
    labels   (N, L)       int64, blanks between them and at both ends; 2 length + 1 of a row count
    steps    (N,)         int64: how many steps of logs count
    losses   (N,)         -log of each probability, in float64
    alpha    (N, T, L+2)  float64: log of the probability of each prefix at each step, after two that are -inf
    jumps    (N, L+2)     float64: 0 where a label may follow the one before the last, else -inf

Graves et al. 2006, https://www.cs.toronto.edu/~graves/icml_2006.pdf; equation numbers are that paper's.  All is in
logarithms and in float64, a vector of labels at a time.  Threads divide the sequences.

    work     (N, 4, L+2) float64   of one step: scores, beta of it and of the one after it, and what each label adds
"""

from __future__ import annotations

import functools
import math
from types import SimpleNamespace

import numpy as np
from numba import float64, int64

from .arrays import data, extent
from .jit import inlined, kernel, njit
from .pool import split
from .simd import exp, get, lanes, load_next, log, put, splat, store_next, where

LEAST = 500  # labels of a step that are some 10 microseconds of work
NOTHING = -math.inf


@functools.cache
def kernels(real) -> SimpleNamespace:
    """The kernels for numpy.float32 or numpy.float64."""
    L, S, D = lanes(real), real().itemsize, lanes(np.float64)

    @inlined
    def log_sum(a, b, c):
        """log(e^a + e^b + e^c), -inf where all are."""
        most = where(b > a, b, a)
        most = where(c > most, c, most)
        most = where(most > NOTHING, most, splat(float64, 0.0))
        return log(exp(a - most) + exp(b - most) + exp(c - most)) + most

    @kernel
    def pick(size, row, labels, scores):
        """The logarithms of the labels at a step."""
        for s in range(size):
            put(float64, scores + 8 * s, float64(get(real, row + S * get(int64, labels + 8 * s))))

    @kernel
    def prefixes(first, last, T, N, C, wide, logs, labels, steps, lengths, jumps, alpha, work, losses):
        """Equations 5 to 8."""
        for n in range(first, last):
            count, size = get(int64, steps + 8 * n), 2 * get(int64, lengths + 8 * n) + 1
            own, jump, scores = labels + 8 * (wide - 2) * n, jumps + 8 * wide * n, work + 32 * wide * n
            for t in range(count):
                here = alpha + 8 * wide * (T * n + t) + 16
                put(float64, here - 16, NOTHING)
                put(float64, here - 8, NOTHING)
                pick(size, logs + S * C * (t * N + n), own, scores)
                if t == 0:
                    for s in range(size):
                        put(float64, here + 8 * s, get(float64, scores + 8 * s) if s < 2 else NOTHING)
                    continue
                for s in range(0, size, D):
                    p, rest = here + 8 * (s - wide), size - s
                    a, b = load_next(float64, p, 8, rest), load_next(float64, p - 8, 8, rest)
                    c = load_next(float64, p - 16, 8, rest) + load_next(float64, jump + 8 * s, 8, rest)
                    v = log_sum(a, b, c) + load_next(float64, scores + 8 * s, 8, rest)
                    store_next(float64, here + 8 * s, v, rest)
            loss = 0.0 if size == 1 else -NOTHING  # of no steps at all
            if count > 0:
                end = alpha + 8 * wide * (T * n + count - 1) + 16 + 8 * (size - 1)
                u, w = get(float64, end), get(float64, end - 8)  # before the only one there is -inf
                most = max(u, w)
                loss = -NOTHING
                if not (u == NOTHING and w == NOTHING):
                    loss = -(math.log(math.exp(u - most) + math.exp(w - most)) + most)
            put(float64, losses + 8 * n, loss)

    @kernel
    def gradients(first, last, T, N, C, wide, logs, labels, steps, lengths, jumps, alpha, losses, g, zero, work, out):
        """Equation 16, for logs that are a log-softmax; `zero`: infinite losses have none."""
        for n in range(first, last):
            count, size = get(int64, steps + 8 * n), 2 * get(int64, lengths + 8 * n) + 1
            own, jump, scores = labels + 8 * (wide - 2) * n, jumps + 8 * wide * n, work + 32 * wide * n
            beta, after, parts = scores + 8 * wide, scores + 16 * wide, scores + 24 * wide
            loss, scale = get(float64, losses + 8 * n), get(real, g + S * n)
            if zero and loss == -NOTHING:
                continue
            for t in range(count - 1, -1, -1):
                row, d = logs + S * C * (t * N + n), out + S * C * (t * N + n)
                here = alpha + 8 * wide * (T * n + t) + 16
                pick(size, row, own, scores)
                beta, after = after, beta
                put(float64, beta + 8 * size, NOTHING)
                put(float64, beta + 8 * size + 8, NOTHING)
                if t == count - 1:
                    for s in range(size):
                        put(float64, beta + 8 * s, get(float64, scores + 8 * s) if s >= size - 2 else NOTHING)
                for s in range(0, size, D):
                    p, rest = after + 8 * s, size - s
                    score = load_next(float64, scores + 8 * s, 8, rest)
                    if t < count - 1:
                        a, b = load_next(float64, p, 8, rest), load_next(float64, p + 8, 8, rest)
                        c = load_next(float64, p + 16, 8, rest) + load_next(float64, jump + 8 * (s + 2), 8, rest)
                        store_next(float64, beta + 8 * s, log_sum(a, b, c) + score, rest)
                    v = load_next(float64, here + 8 * s, 8, rest) + load_next(float64, beta + 8 * s, 8, rest)
                    store_next(float64, parts + 8 * s, exp(v - score + loss), rest)  # score has counted twice
                # What cannot be has no gradient, nor has a loss that is infinite: NaN, as torch has it.
                for k in range(0, C, L):
                    x = load_next(real, row + S * k, S, C - k)
                    y = exp(x) if loss < -NOTHING else splat(real, real(np.nan))
                    store_next(real, d + S * k, where(x > NOTHING, y, x - x) * scale, C - k)
                for s in range(size):
                    place = d + S * get(int64, own + 8 * s)
                    put(real, place, get(real, place) - real(get(float64, parts + 8 * s)) * scale)

    every_prefix, every_gradient = split(prefixes), split(gradients)

    @njit
    def forward(logs, labels, steps, lengths, jumps, alpha, work, losses):
        T, N, C, wide = extent(logs, 0), extent(logs, 1), extent(logs, 2), extent(jumps, 1)
        every_prefix(
            N, LEAST // max(T * wide, 1), 1, T, N, C, wide, data(logs), data(labels), data(steps), data(lengths),
            data(jumps), data(alpha), data(work), data(losses),
        )  # fmt: skip

    @njit
    def backward(logs, labels, steps, lengths, jumps, alpha, losses, g, zero, work, out):
        T, N, C, wide = extent(logs, 0), extent(logs, 1), extent(logs, 2), extent(jumps, 1)
        every_gradient(
            N, LEAST // max(T * wide, 1), 1, T, N, C, wide, data(logs), data(labels), data(steps), data(lengths),
            data(jumps), data(alpha), data(losses), data(g), zero, data(work), data(out),
        )  # fmt: skip

    return SimpleNamespace(forward=forward, backward=backward)


def forward(
    logs: np.ndarray, labels: np.ndarray, steps: np.ndarray, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    (batch, long), T = labels.shape, len(logs)
    jumps = np.full((batch, long + 2), NOTHING)
    jumps[:, 3:long:2][labels[:, 3::2] != labels[:, 1:-2:2]] = 0.0
    alpha, losses = np.empty((batch, T, long + 2)), np.empty(batch)
    work = np.empty((batch, 4, long + 2))
    kernels(logs.dtype.type).forward(
        id(logs), id(labels), id(steps), id(lengths), id(jumps), id(alpha), id(work), id(losses)
    )
    return losses, alpha, jumps


def backward(logs, labels, steps, lengths, alpha, jumps, losses, g, zero: bool) -> np.ndarray:
    """The gradient of logs (T, N, C) from that of each loss, g (N,); `zero`: infinite losses have none."""
    out, work = np.zeros_like(logs), np.empty((len(jumps), 4, jumps.shape[1]))
    kernels(logs.dtype.type).backward(
        id(logs), id(labels), id(steps), id(lengths), id(jumps), id(alpha), id(losses), id(g), zero, id(work), id(out)
    )
    return out
