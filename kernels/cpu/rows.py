"""Rows: softmax, cross-entropy, layer norm and RMS norm, a row of a matrix (R, C) at a time.

    softmax(x), log_softmax(x)                            (R, C) -> (R, C), and their backwards from the result
    softmax_columns(x) ...                                the same four of each column of (N, R, C)
    cross_entropy(x, target, weight, ignored, smoothing)  (R, C), (R,) -> the loss of each row (R,), and its logsumexp
                                                          (R,) in float64: large scores leave float32 no digits for it
    layer_norm(x, weight, bias, eps, centred)             (R, C) -> (R, C), mean (R,), 1 / standard deviation (R,),
                                                          both in float64; for an RMS norm, zeros, and 1 / the root of
                                                          the mean square

All arrays are contiguous and of one floating-point type but for those; absent weights are arrays of size zero.  A
kernel takes a row a vector at a time, the last one masked, and passes over it again while it lies in the cache; or as
many columns as a vector has lanes.  Sums
are kept in float64, one in each lane of some vectors (`lower` and `upper`).  A number in float64 that counts for a
whole row is taken apart (`parts`) into two of the row's type, so that x - mean has all its digits.

Threads divide the rows.  The gradients of layer norm's weight and bias are sums over rows: over GROUP rows in the
rows' own type, over the groups of a block in float64, and over the blocks in order.  How rows are cut into blocks
depends on their number and length alone.

    groups  (blocks, 2, C)            the gradients of the weight and of the bias of a few rows
    sums    (blocks, 2, C) float64    those of a block of rows
"""

from __future__ import annotations

import functools
import math
from types import SimpleNamespace

import numpy as np
from numba import float64, int64

from .arrays import data, extent, size
from .jit import inlined, kernel, njit
from .pool import split
from .simd import (
    choose_first,
    exp,
    get,
    lanes,
    largest,
    load,
    load_next,
    log,
    lower,
    narrowed,
    put,
    splat,
    store_next,
    total,
    upper,
    where,
)

GROUP, BLOCKS, SHORT, LONG = 16, 32, 32, 2048
# Elements that are some 10 microseconds of work: with a function to compute, with a variance, with neither.
EXPENSIVE, NORMAL, CHEAP = 15_000, 25_000, 60_000


@functools.cache
def kernels(real) -> SimpleNamespace:
    """The kernels for numpy.float32 or numpy.float64."""
    L, S = lanes(real), real().itemsize

    @njit
    def top(n, x):
        """The largest of n numbers, NaN aside."""
        m0 = m1 = m2 = m3 = splat(real, real(-np.inf))
        many = n - n % (4 * L)
        for k in range(0, many, 4 * L):
            v0, v1 = load(real, x + S * k), load(real, x + S * (k + L))
            v2, v3 = load(real, x + S * (k + 2 * L)), load(real, x + S * (k + 3 * L))
            m0, m1 = where(v0 > m0, v0, m0), where(v1 > m1, v1, m1)
            m2, m3 = where(v2 > m2, v2, m2), where(v3 > m3, v3, m3)
        for k in range(many, n, L):
            v = choose_first(load_next(real, x + S * k, S, n - k), n - k, splat(real, real(-np.inf)))
            m0 = where(v > m0, v, m0)
        m0, m2 = where(m1 > m0, m1, m0), where(m3 > m2, m3, m2)
        return largest(where(m2 > m0, m2, m0))

    @inlined
    def parts(x):
        """A float64 number as the sum of two of type `real`; infinity and NaN in the first."""
        high = real(x)
        return high, real(x - high) if abs(high) < np.inf else real(0.0)

    @njit
    def exponentials(n, x, shift):
        """The sum of exp(x - shift) over n numbers."""
        s0, s1 = splat(float64, 0.0), splat(float64, 0.0)
        whole = n - n % L
        for k in range(0, whole, L):
            e = exp(load(real, x + S * k) - shift)
            s0, s1 = s0 + lower(e), s1 + upper(e)
        if whole < n:
            e = exp(load_next(real, x + S * whole, S, n - whole) - shift)
            e = choose_first(e, n - whole, splat(real, real(0.0)))
            s0, s1 = s0 + lower(e), s1 + upper(e)
        return total(s0 + s1)

    @kernel
    def softmax_rows(first, last, n, x, out):
        for r in range(first, last):
            p, q = x + r * n * S, out + r * n * S
            highest = top(n, p)
            s0, s1 = splat(float64, 0.0), splat(float64, 0.0)
            for k in range(0, n, L):
                e = exp(load_next(real, p + S * k, S, n - k) - highest)
                store_next(real, q + S * k, e, n - k)
                e = choose_first(e, n - k, splat(real, real(0.0)))
                s0, s1 = s0 + lower(e), s1 + upper(e)
            scale = real(1.0 / total(s0 + s1))
            for k in range(0, n, L):
                store_next(real, q + S * k, load_next(real, q + S * k, S, n - k) * scale, n - k)

    @kernel
    def log_softmax_rows(first, last, n, x, out):
        for r in range(first, last):
            p, q = x + r * n * S, out + r * n * S
            highest = top(n, p)
            shift = real(math.log(exponentials(n, p, highest)))
            for k in range(0, n, L):
                store_next(real, q + S * k, (load_next(real, p + S * k, S, n - k) - highest) - shift, n - k)

    @kernel
    def softmax_back(first, last, n, y, g, out):
        for r in range(first, last):
            p, d, q = y + r * n * S, g + r * n * S, out + r * n * S
            s0, s1 = splat(float64, 0.0), splat(float64, 0.0)
            for k in range(0, n, L):
                v, w = load_next(real, p + S * k, S, n - k), load_next(real, d + S * k, S, n - k)
                s0, s1 = s0 + lower(v) * lower(w), s1 + upper(v) * upper(w)
            shift = real(total(s0 + s1))
            for k in range(0, n, L):
                v, w = load_next(real, p + S * k, S, n - k), load_next(real, d + S * k, S, n - k)
                store_next(real, q + S * k, v * (w - shift), n - k)

    @kernel
    def log_softmax_back(first, last, n, y, g, out):
        for r in range(first, last):
            p, d, q = y + r * n * S, g + r * n * S, out + r * n * S
            s0, s1 = splat(float64, 0.0), splat(float64, 0.0)
            for k in range(0, n, L):
                w = load_next(real, d + S * k, S, n - k)
                s0, s1 = s0 + lower(w), s1 + upper(w)
            shift = real(total(s0 + s1))
            for k in range(0, n, L):
                v, w = load_next(real, p + S * k, S, n - k), load_next(real, d + S * k, S, n - k)
                store_next(real, q + S * k, w - exp(v) * shift, n - k)

    # A tile is a vector of columns: where it begins in x, and how many columns are left from there.

    @inlined
    def tile_of(index, rows, columns):
        """(where a tile begins, in bytes; how many columns are left)."""
        tiles = (columns + L - 1) // L
        k = index % tiles * L
        return S * (index // tiles * rows * columns + k), columns - k

    @kernel
    def softmax_tiles(first, last, rows, columns, x, out, logs):
        """Softmax, or its logarithm if `logs`."""
        for index in range(first, last):
            begin, n = tile_of(index, rows, columns)
            step, end = S * columns, begin + S * rows * columns
            highest = splat(real, real(-np.inf))
            for at in range(begin, end, step):
                v = load_next(real, x + at, S, n)
                highest = where(v > highest, v, highest)
            s0, s1 = splat(float64, 0.0), splat(float64, 0.0)
            for at in range(begin, end, step):
                e = exp(load_next(real, x + at, S, n) - highest)
                if not logs:
                    store_next(real, out + at, e, n)
                s0, s1 = s0 + lower(e), s1 + upper(e)
            if logs:
                shift = narrowed(real, log(s0), log(s1))
                for at in range(begin, end, step):
                    store_next(real, out + at, (load_next(real, x + at, S, n) - highest) - shift, n)
            else:
                scale = narrowed(real, 1.0 / s0, 1.0 / s1)
                for at in range(begin, end, step):
                    store_next(real, out + at, load_next(real, out + at, S, n) * scale, n)

    @kernel
    def softmax_tiles_back(first, last, rows, columns, y, g, out, logs):
        for index in range(first, last):
            begin, n = tile_of(index, rows, columns)
            step, end = S * columns, begin + S * rows * columns
            s0, s1 = splat(float64, 0.0), splat(float64, 0.0)
            for at in range(begin, end, step):
                w = load_next(real, g + at, S, n)
                w0, w1 = lower(w), upper(w)
                if not logs:
                    v = load_next(real, y + at, S, n)
                    w0, w1 = w0 * lower(v), w1 * upper(v)
                s0, s1 = s0 + w0, s1 + w1
            shift = narrowed(real, s0, s1)
            for at in range(begin, end, step):
                v, w = load_next(real, y + at, S, n), load_next(real, g + at, S, n)
                if logs:
                    v = w - exp(v) * shift
                else:
                    v = v * (w - shift)
                store_next(real, out + at, v, n)

    @kernel
    def losses_of_rows(first, last, n, x, target, weight, weights: float, ignored, smoothing: float, losses, lse):
        """`weight` is an address or 0; `weights` is the sum of the weights."""
        for r in range(first, last):
            p, t = x + r * n * S, get(int64, target + 8 * r)
            highest = top(n, p)
            log_total = math.log(exponentials(n, p, highest))
            put(float64, lse + 8 * r, highest + log_total)
            loss = 0.0
            if t != ignored:
                loss = (1.0 - smoothing) * (log_total - (get(real, p + S * t) - highest))
                if weight:
                    loss *= get(real, weight + S * t)
                if smoothing > 0.0:  # the sum of weight (log_total - (x - highest))
                    s0, s1 = splat(float64, 0.0), splat(float64, 0.0)
                    for k in range(0, n, L):
                        v = load_next(real, p + S * k, S, n - k) - highest
                        v = choose_first(v, n - k, splat(real, real(0.0)))
                        if weight:
                            w = load_next(real, weight + S * k, S, n - k)
                            s0, s1 = s0 + lower(v) * lower(w), s1 + upper(v) * upper(w)
                        else:
                            s0, s1 = s0 + lower(v), s1 + upper(v)
                    loss += smoothing / n * (weights * log_total - total(s0 + s1))
            put(real, losses + S * r, real(loss))

    @kernel
    def losses_back(first, last, n, x, target, weight, weights: float, ignored, smoothing: float, lse, g, out):
        for r in range(first, last):
            p, q, t = x + r * n * S, out + r * n * S, get(int64, target + 8 * r)
            hit = spread = 0.0
            if t != ignored:
                hit = get(real, g + S * r) * (1.0 - smoothing)
                if weight:
                    hit *= get(real, weight + S * t)
                spread = get(real, g + S * r) * smoothing / n
            scale, share = real(hit + spread * weights), real(spread)
            high, low = parts(get(float64, lse + 8 * r))
            for k in range(0, n, L):  # also of an ignored row, whose gradient is nan where its scores are, as torch's
                v = exp((load_next(real, p + S * k, S, n - k) - high) - low) * scale
                if smoothing > 0.0:
                    v = v - (load_next(real, weight + S * k, S, n - k) * share if weight else splat(real, share))
                store_next(real, q + S * k, v, n - k)
            if t != ignored:
                put(real, q + S * t, get(real, q + S * t) - real(hit))

    # Two vectors at a time: a sum in one register waits for itself.

    @kernel
    def normal_rows(first, last, n, x, weight, bias, centred, eps: float, out, mean, rstd):
        """`weight` and `bias` are addresses or 0.

        Mean and variance come from the sums of d and of d^2, d = x - the row's first number: of numbers that lie far
        from zero the differences are exact, and the first one is no farther from the mean than sqrt(n) deviations.
        Not `centred`, the mean counts as zero.
        """
        zero = splat(float64, 0.0)
        for r in range(first, last):
            p, q = x + r * n * S, out + r * n * S
            origin = get(real, p) if n and centred else real(0.0)
            nothing = splat(real, origin)
            s0 = s1 = s2 = s3 = t0 = t1 = t2 = t3 = zero
            for k in range(0, n, 2 * L):
                v, u = load_next(real, p + S * k, S, n - k), load_next(real, p + S * (k + L), S, n - k - L)
                if n - k < 2 * L:
                    v, u = choose_first(v, n - k, nothing), choose_first(u, n - k - L, nothing)
                v, u = v - origin, u - origin
                v0, v1, u0, u1 = lower(v), upper(v), lower(u), upper(u)
                s0, s1, s2, s3 = s0 + v0, s1 + v1, s2 + u0, s3 + u1
                t0, t1, t2, t3 = t0 + v0 * v0, t1 + v1 * v1, t2 + u0 * u0, t3 + u1 * u1
            distance = total((s0 + s1) + (s2 + s3)) / n if centred else 0.0
            variance = total((t0 + t1) + (t2 + t3)) / n - distance * distance
            if variance < 0.0:
                variance = 0.0
            m, scale = origin + distance, 1.0 / math.sqrt(variance + eps)
            put(float64, mean + 8 * r, m)
            put(float64, rstd + 8 * r, scale)
            high, low = parts(m)
            factor = real(scale)
            rest = -low * factor
            for k in range(0, n, L):
                v = (load_next(real, p + S * k, S, n - k) - high) * factor + rest
                if weight:
                    v = v * load_next(real, weight + S * k, S, n - k)
                if bias:
                    v = v + load_next(real, bias + S * k, S, n - k)
                store_next(real, q + S * k, v, n - k)

    @njit
    def flush(n, group, to, fresh):
        """to[k] += group[k], or =, for n numbers of a group of rows."""
        for k in range(0, n, L):
            v = load_next(real, group + S * k, S, n - k)
            v0, v1, rest = lower(v), upper(v), n - k - L // 2
            if not fresh:
                v0 = v0 + load_next(float64, to + 8 * k, 8, n - k)
                if S == 4:
                    v1 = v1 + load_next(float64, to + 8 * (k + L // 2), 8, rest)
            store_next(float64, to + 8 * k, v0, n - k)
            if S == 4:
                store_next(float64, to + 8 * (k + L // 2), v1, rest)

    @kernel
    def normal_blocks_back(first, last, height, rows, n, x, weight, centred, mean, rstd, g, dx, groups, sums):
        """Blocks of `height` rows."""
        nothing, one = splat(real, real(0.0)), splat(real, real(1.0))
        for block in range(first, last):
            group, end = groups + 2 * S * n * block, min(rows, (block + 1) * height)
            for r in range(block * height, end):
                inside = (r - block * height) % GROUP
                p, d, q = x + r * n * S, g + r * n * S, dx + r * n * S
                high, low = parts(get(float64, mean + 8 * r))
                factor = real(get(float64, rstd + 8 * r))
                rest = -low * factor
                a = b = 0.0
                for start in range(0, n, SHORT * L):
                    stop = min(n, start + SHORT * L)
                    a0 = a1 = b0 = b1 = nothing
                    for k in range(start, stop, 2 * L):
                        here, next = stop - k, stop - k - L
                        v = (load_next(real, p + S * k, S, here) - high) * factor + rest
                        u = (load_next(real, p + S * (k + L), S, next) - high) * factor + rest
                        y, z = load_next(real, d + S * k, S, here), load_next(real, d + S * (k + L), S, next)
                        if weight:
                            y = y * load_next(real, weight + S * k, S, here)
                            z = z * load_next(real, weight + S * (k + L), S, next)
                        if next < L:  # beyond the end, y and z are zero; the mean may be infinite
                            v, u = choose_first(v, here, one), choose_first(u, next, one)
                        a0, a1, b0, b1 = a0 + y, a1 + z, b0 + y * v, b1 + z * u
                    a0, b0 = a0 + a1, b0 + b1
                    a, b = a + total(lower(a0) + upper(a0)), b + total(lower(b0) + upper(b0))
                shift, slope = real(a / n if centred else 0.0), real(b / n)
                for k in range(0, n, L):
                    v = (load_next(real, p + S * k, S, n - k) - high) * factor + rest
                    y = load_next(real, d + S * k, S, n - k)
                    dweight, dbias = y * v, y
                    if inside:
                        dweight = dweight + load_next(real, group + S * k, S, n - k)
                        dbias = dbias + load_next(real, group + S * (n + k), S, n - k)
                    store_next(real, group + S * k, dweight, n - k)
                    store_next(real, group + S * (n + k), dbias, n - k)
                    if weight:
                        y = y * load_next(real, weight + S * k, S, n - k)
                    store_next(real, q + S * k, ((y - shift) - v * slope) * factor, n - k)
                if inside == GROUP - 1 or r + 1 == end:
                    flush(2 * n, group, sums + 16 * n * block, r < block * height + GROUP)

    @kernel
    def add_blocks(first, last, blocks, n, sums, out):
        """Numbers `first` to `last` of n sums, over all blocks, which have two rows of them each."""
        for k in range(first, last, L):
            s0, s1 = splat(float64, 0.0), splat(float64, 0.0)
            for block in range(blocks):
                p = sums + 8 * (2 * n * block + k)
                s0 = s0 + load_next(float64, p, 8, last - k)
                if S == 4:
                    s1 = s1 + load_next(float64, p + 4 * L, 8, last - k - L // 2)
            store_next(real, out + S * k, narrowed(real, s0, s1), last - k)

    all_softmax, all_log_softmax = split(softmax_rows), split(log_softmax_rows)
    all_softmax_back, all_log_softmax_back = split(softmax_back), split(log_softmax_back)
    all_tiles, all_tiles_back = split(softmax_tiles), split(softmax_tiles_back)
    all_losses, all_losses_back = split(losses_of_rows), split(losses_back)
    all_normal, all_normal_back, all_columns = split(normal_rows), split(normal_blocks_back), split(add_blocks)

    @njit
    def softmax(x, out):
        n = extent(x, 1)
        all_softmax(extent(x, 0), EXPENSIVE // max(n, 1), 1, n, data(x), data(out))

    @njit
    def log_softmax(x, out):
        n = extent(x, 1)
        all_log_softmax(extent(x, 0), EXPENSIVE // max(n, 1), 1, n, data(x), data(out))

    @njit
    def softmax_backward(y, g, out):
        n = extent(y, 1)
        all_softmax_back(extent(y, 0), CHEAP // max(n, 1), 1, n, data(y), data(g), data(out))

    @njit
    def log_softmax_backward(y, g, out):
        n = extent(y, 1)
        all_log_softmax_back(extent(y, 0), EXPENSIVE // max(n, 1), 1, n, data(y), data(g), data(out))

    @njit
    def softmax_columns(x, out, logs):
        rows, columns = extent(x, 1), extent(x, 2)
        tiles = extent(x, 0) * ((columns + L - 1) // L)
        all_tiles(tiles, EXPENSIVE // max(rows * L, 1), 1, rows, columns, data(x), data(out), logs)

    @njit
    def softmax_columns_backward(y, g, out, logs):
        rows, columns = extent(y, 1), extent(y, 2)
        tiles = extent(y, 0) * ((columns + L - 1) // L)
        all_tiles_back(tiles, EXPENSIVE // max(rows * L, 1), 1, rows, columns, data(y), data(g), data(out), logs)

    @inlined
    def present(array):
        """The address of an array's data, 0 for an array of size zero."""
        return data(array) if size(array) else 0

    @njit
    def sum_of_weights(weight, n):
        p = present(weight)
        if not p:
            return float64(n)
        weights = 0.0
        for k in range(n):
            weights += get(real, p + S * k)
        return weights

    @njit
    def cross_entropy(x, target, weight, ignored, smoothing, losses, lse):
        n = extent(x, 1)
        weights = sum_of_weights(weight, n) if smoothing > 0.0 else 0.0
        all_losses(
            extent(x, 0), EXPENSIVE // max(n, 1), 1, n, data(x), data(target), present(weight), weights,
            ignored, smoothing, data(losses), data(lse),
        )  # fmt: skip

    @njit
    def cross_entropy_backward(x, target, weight, ignored, smoothing, lse, g, out):
        n = extent(x, 1)
        weights = sum_of_weights(weight, n) if smoothing > 0.0 else 0.0
        all_losses_back(
            extent(x, 0), EXPENSIVE // max(n, 1), 1, n, data(x), data(target), present(weight), weights,
            ignored, smoothing, data(lse), data(g), data(out),
        )  # fmt: skip

    @njit
    def layer_norm(x, weight, bias, centred, eps, out, mean, rstd):
        n = extent(x, 1)
        all_normal(
            extent(x, 0), NORMAL // max(n, 1), 1, n, data(x), present(weight), present(bias), centred, eps,
            data(out), data(mean), data(rstd),
        )  # fmt: skip

    @njit
    def layer_norm_backward(height, x, weight, centred, mean, rstd, g, dx, groups, sums, dw, db):
        rows, n, blocks = extent(x, 0), extent(x, 1), extent(sums, 0)
        all_normal_back(
            blocks, NORMAL // max(n * height, 1), 1, height, rows, n, data(x), present(weight), centred, data(mean),
            data(rstd), data(g), data(dx), data(groups), data(sums),
        )  # fmt: skip
        all_columns(n, CHEAP // max(blocks, 1), 16, blocks, n, data(sums), data(dw))
        all_columns(n, CHEAP // max(blocks, 1), 16, blocks, n, data(sums) + 8 * n, data(db))

    return SimpleNamespace(
        softmax=softmax, log_softmax=log_softmax, softmax_backward=softmax_backward,
        log_softmax_backward=log_softmax_backward, softmax_columns=softmax_columns,
        softmax_columns_backward=softmax_columns_backward, cross_entropy=cross_entropy,
        cross_entropy_backward=cross_entropy_backward, layer_norm=layer_norm, layer_norm_backward=layer_norm_backward,
    )  # fmt: skip


def softmax(x: np.ndarray) -> np.ndarray:
    """exp(x) / sum(exp(x)) of each row of x (R, C)."""
    out = np.empty_like(x)
    kernels(x.dtype.type).softmax(id(x), id(out))
    return out


def log_softmax(x: np.ndarray) -> np.ndarray:
    """The logarithm of softmax, with no underflow."""
    out = np.empty_like(x)
    kernels(x.dtype.type).log_softmax(id(x), id(out))
    return out


def softmax_backward(y: np.ndarray, g: np.ndarray) -> np.ndarray:
    """The gradient of x from the result y and its gradient g: y (g - sum(g y))."""
    out = np.empty_like(y)
    kernels(y.dtype.type).softmax_backward(id(y), id(g), id(out))
    return out


def log_softmax_backward(y: np.ndarray, g: np.ndarray) -> np.ndarray:
    """The gradient of x from the result y and its gradient g: g - exp(y) sum(g)."""
    out = np.empty_like(y)
    kernels(y.dtype.type).log_softmax_backward(id(y), id(g), id(out))
    return out


def softmax_columns(x: np.ndarray) -> np.ndarray:
    """exp(x) / sum(exp(x)) of each column of x (N, R, C)."""
    out = np.empty_like(x)
    kernels(x.dtype.type).softmax_columns(id(x), id(out), False)
    return out


def log_softmax_columns(x: np.ndarray) -> np.ndarray:
    """The logarithm of softmax_columns."""
    out = np.empty_like(x)
    kernels(x.dtype.type).softmax_columns(id(x), id(out), True)
    return out


def softmax_columns_backward(y: np.ndarray, g: np.ndarray) -> np.ndarray:
    """The gradient of x (N, R, C) from the result y and its gradient g."""
    out = np.empty_like(y)
    kernels(y.dtype.type).softmax_columns_backward(id(y), id(g), id(out), False)
    return out


def log_softmax_columns_backward(y: np.ndarray, g: np.ndarray) -> np.ndarray:
    """The gradient of x (N, R, C) from the result y and its gradient g."""
    out = np.empty_like(y)
    kernels(y.dtype.type).softmax_columns_backward(id(y), id(g), id(out), True)
    return out


def cross_entropy(
    x: np.ndarray, target: np.ndarray, weight: np.ndarray, ignored: int, smoothing: float
) -> tuple[np.ndarray, np.ndarray]:
    """The loss of each row, and the logsumexp of each row."""
    losses, lse = np.empty(x.shape[0], x.dtype), np.empty(x.shape[0])
    kernels(x.dtype.type).cross_entropy(id(x), id(target), id(weight), ignored, float(smoothing), id(losses), id(lse))
    return losses, lse


def cross_entropy_backward(x, target, weight, ignored, smoothing, lse, g) -> np.ndarray:
    """The gradient of x (R, C) from the gradient g (R,) of each row's loss."""
    out = np.empty_like(x)
    kernels(x.dtype.type).cross_entropy_backward(
        id(x), id(target), id(weight), ignored, float(smoothing), id(lse), id(g), id(out)
    )
    return out


def layer_norm(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float, centred: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x - mean) / sqrt(variance + eps) * weight + bias of each row; Ba et al. 2016, https://arxiv.org/abs/1607.06450.

    Not `centred`, with a mean of zero: Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467."""
    rows, columns = x.shape
    out, mean, rstd = np.empty((rows, columns), x.dtype), np.empty(rows), np.empty(rows)
    kernels(x.dtype.type).layer_norm(id(x), id(weight), id(bias), centred, float(eps), id(out), id(mean), id(rstd))
    return out, mean, rstd


def layer_norm_backward(x, weight, mean, rstd, g, centred: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The gradients of x (R, C), weight (C,) and bias (C,)."""
    rows, columns = x.shape
    height = GROUP * max(2, -(-rows // (BLOCKS * GROUP)))
    if rows <= height and columns >= LONG:  # of few long rows, some are work enough for a thread
        height = GROUP // 2
    blocks = -(-rows // height)
    dx, dw, db = np.empty((rows, columns), x.dtype), np.empty(columns, x.dtype), np.empty(columns, x.dtype)
    groups, sums = np.empty((blocks, 2, columns), x.dtype), np.empty((blocks, 2, columns))
    kernels(x.dtype.type).layer_norm_backward(
        height, id(x), id(weight), centred, id(mean), id(rstd), id(g), id(dx), id(groups), id(sums), id(dw), id(db)
    )
    return dx, dw, db
