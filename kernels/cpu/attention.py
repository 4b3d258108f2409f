"""Attention: softmax(scale Q K^T + mask) V and its gradients, with no matrix of all scores kept.

    forward(q, k, v, mask, keep, causal, scale, factor, out) -> stats
    backward(q, k, v, mask, keep, causal, scale, factor, out, stats, g, dq, dk, dv, d_mask)

    q, out, g  (B, H, L, D), (B, H, L, V), (B, H, L, V)   queries, results, and the results' gradients
    k, v       (B, G, S, D), (B, G, S, V)                 keys and values; H / G heads share them
    mask       (B, H, L, S) or None                       truth values, or numbers of q's type that are added
    keep       (B, H, L, S) or None                       which weights dropout keeps, times `factor`; truth values
    stats      (2, B, H, L)                               of each row the largest score and 1 / the sum of exponentials

The numbers of a row are neighbours in memory, or, in the mask, one and the same; other strides are free.

Forward (Milakov and Gimelshein 2018, https://arxiv.org/abs/1805.02867): a job is some queries of a head.  It
takes the keys a block at a time: scores, their exponentials, and these times the values, added to what was there.
When a row's largest score grows, what was added before is scaled down.

Backward (Dao et al. 2022, https://arxiv.org/abs/2205.14135, algorithm 4): a job is a part of the keys of a head.  For a
block of keys and one of queries it computes the weights P again, and with delta = the sum over V of g out

    dV += P^T g,    dS = P (g V^T - delta),    dK += scale dS^T Q,    dQ += scale dS K

Each job has gradients of its own: the parts of a head's keys have a dQ each, which are added up at the end.  What
is in the gradients before does not matter: the first block that adds to a row writes it.  How heads are cut into jobs
depends on the shapes alone, so the bits are the same for any number of threads.
"""

from __future__ import annotations

import functools
import math
from types import SimpleNamespace

import numpy as np

from . import gemm
from .arrays import data, extent, stride
from .gemm import FINER, SMALL
from .jit import kernel, njit
from .lanes import BIAS, LOG2_E, MANTISSA, Lanes, integers
from .pool import split
from .scratch import SIZE, address_of, borrow, free, give_back, malloc
from .simd import (
    choose_first,
    elementary,
    fma,
    get,
    lanes,
    largest,
    load,
    load_next,
    next_truths,
    put,
    somewhere,
    splat,
    store,
    store_next,
    total,
    where,
)
from .tile import ROWS, VECTORS_WIDE, tile

JOBS = 8  # at least, if there are enough queries or keys


def exp_down(x: Lanes) -> Lanes:
    """e**x for x <= 0, and 0 where that is no normal number.  Half the work of `lanes.exp`, and as exact near 0.

    x = n ln 2 + r; adding the magic number rounds to n, and leaves n's bits, with the bias, in the lowest places.  As
    ln 2 is one number of x's type, the error grows with n: 1 ulp down to x = -1, 5 (float64: 27) at -87, where a weight
    is nothing beside the largest.
    """
    width, bias = MANTISSA[x.single], BIAS[x.single]
    magic = 1.5 * 2.0**width + bias
    shifted = (x * LOG2_E) + magic
    r = (shifted - magic).fma(-math.log(2.0), x)
    power = x.from_bits(x.b.shl(shifted.bits(), integers(x.integer, width)))
    result = r.polynomial(*(NEAR_1 if x.single else [1.0 / math.factorial(k) for k in range(14)])) * power
    return x.of(0.0).where(x < (-87.3 if x.single else -708.3), result)


# The polynomial of degree 6 whose largest relative distance from e**r, for |r| <= ln(2) / 2, is least: 2e-9.
NEAR_1 = (1.0, 1.0000000322586298, 0.49999994191646646, 0.16666430800352128, 0.04166800472640171, 0.008374195619481177,
          0.001384360666498137)  # fmt: skip
exp = elementary(exp_down)


def next_multiple(n: int, of: int) -> int:
    return -(-n // of) * of


@functools.cache
def kernels(real) -> SimpleNamespace:
    """The kernels for numpy.float32 or numpy.float64."""
    L, S = lanes(real), real().itemsize
    WIDE = VECTORS_WIDE * L
    KEYS, QUERIES, GROUP = next_multiple(1024 // S, WIDE), 8 * ROWS, 4 * ROWS  # of blocks of scores
    STEP = S * (KEYS + L)  # between their rows; not a power of two, so that columns spread over the cache
    high, low = (tile(real, rows, VECTORS_WIDE, late=True) for rows in (ROWS, ROWS // 2))
    pack_b = gemm.packing(real)
    NEAR = 1 << 14  # bytes, a part of the first cache
    NOTHING, FAR, ONE = real(-np.inf), 1 << 40, 1 - 2 * np.finfo(real).eps

    @njit
    def padded(n):
        return (n + WIDE - 1) // WIDE * WIDE

    @njit
    def place(array, i, j, row):
        return data(array) + i * stride(array, 0) + j * stride(array, 1) + row * stride(array, 2)

    @njit
    def keys_of_block(width, values):
        """So many that what is packed of them stays in the second cache."""
        return KEYS if width + values <= KEYS * S // 4 else KEYS // 2

    @njit
    def rows_of_job(rows, heads):
        """Many, since each job packs all keys; but not so many that there are fewer jobs than threads."""
        return max(GROUP, min(2048 // S, rows * heads // JOBS))

    @njit
    def zigzag(k, n):
        """0, n - 1, 1, n - 2 ...: of parts that are more work the later they come, two neighbours are average work."""
        return k // 2 if k % 2 == 0 else n - 1 - k // 2

    @njit
    def in_strips(n, width, at, step, room):
        """n rows in strips: the address, and the steps from row to row and from strip to strip.  Rows that are whole
        strips and stay in the first cache are used as they lie, others are copied to `room`."""
        if width % WIDE == 0 and n * abs(step) <= NEAR:
            return at, step, S * WIDE
        pack_b(width, n, at, step, S, WIDE, room)
        return room, S * WIDE, S * WIDE * n

    # Row r of a block sees its keys 0 ... r + offset; all of them if the offset is large.

    @kernel
    def products(m, n, offset, width, a, a_row, b, zeros, c):
        """c[r, j] = a[r] . b[j] for the j that r sees, and some more; b in strips of columns."""
        for j in range(0, n, WIDE):
            for r in range(max(0, j - offset) // ROWS * ROWS, m, ROWS):
                to, strip = c + STEP * r + S * j, b + S * j * width
                if m - r > ROWS // 2:
                    high(min(m - r, ROWS), WIDE, zeros, 0, to, STEP, width, a + r * a_row, a_row, S, strip, S * WIDE)
                else:
                    low(m - r, WIDE, zeros, 0, to, STEP, width, a + r * a_row, a_row, S, strip, S * WIDE)

    @kernel
    def add_seen(m, n, offset, width, p, b, b_row, b_strip, zeros, c, c_row):
        """c[r] += the sum of p[r, j] b[j] over the j that r sees, or = where there are `zeros`; b (n, width)."""
        for j in range(0, width, WIDE):
            for r in range(max(0, -offset) // ROWS * ROWS, m, ROWS):
                k, to = min(n, r + ROWS + offset), c + r * c_row + S * j
                start, step = (zeros, 0) if zeros else (to, c_row)
                if m - r > ROWS // 2:
                    high(min(m - r, ROWS), width - j, start, step, to, c_row, k, p + STEP * r, STEP, S, b, b_row)
                else:
                    low(m - r, width - j, start, step, to, c_row, k, p + STEP * r, STEP, S, b, b_row)
            b += b_strip

    @kernel
    def add_seeing(m, n, offset, width, p, b, b_row, b_strip, zeros, new, c, c_row):
        """c[j] += the sum of p[r, j] b[r] over the r that see j, or = in the tiles that begin at `new` or later;
        b (m, width)."""
        for j in range(0, width, WIDE):
            for i in range(0, min(n, m + offset), ROWS):
                r, to = max(0, i - offset), c + i * c_row + S * j
                start, step = (zeros, 0) if i >= new else (to, c_row)
                k, first, at = m - r, b + r * b_row, p + STEP * r + S * i
                if n - i > ROWS // 2:
                    high(min(n - i, ROWS), width - j, start, step, to, c_row, k, at, S, STEP, first, b_row)
                else:
                    low(n - i, width - j, start, step, to, c_row, k, at, S, STEP, first, b_row)
            b += b_strip

    @njit
    def scored(products, scale, added, truths, at, step, n):
        """Scores from products of queries and keys: scaled, with the mask at address `at`, if it is of either kind."""
        if truths:
            return where(next_truths(real, at, step, n), products * scale, splat(real, NOTHING))
        if added:
            return fma(products, scale, load_next(real, at, step, n))
        return products * scale

    @njit
    def softmax_row(n, width, s, scale, mask, step, truths, keep, sums, tops, acc, values):
        """Scores become exponentials, zeros from n to `width`; the row's statistics and its result so far follow."""
        zero, factor = splat(real, real(0.0)), real(scale)
        top = get(real, tops)
        highest = splat(real, top)
        for j in range(0, n, L):
            x = scored(load(real, s + S * j), factor, mask, truths, mask + step * j, step, n - j)
            if n - j < L:
                x = choose_first(x, n - j, splat(real, NOTHING))
            if mask:
                store(real, s + S * j, x)
            highest = where(x > highest, x, highest)
        sum = load(real, sums)
        if somewhere(highest > top):
            before, top = top, largest(highest)
            put(real, tops, top)
            if before > NOTHING:
                shrink = real(np.exp(before - top))
                sum = sum * shrink
                for j in range(0, values, L):
                    store(real, acc + S * j, load(real, acc + S * j) * shrink)
        shift = top if top > NOTHING else real(0.0)
        if mask:
            factor = real(1.0)
        for j in range(0, n, L):
            e = exp(fma(load(real, s + S * j), factor, -shift))  # as in the backward, to the bit
            if n - j < L:
                e = choose_first(e, n - j, zero)
            sum = sum + e
            if keep:
                e = where(next_truths(real, keep + j, 1, n - j), e, zero)
            store(real, s + S * j, e)
        store(real, sums, sum)
        for j in range((n + L - 1) // L * L, width, L):
            store(real, s + S * j, zero)

    @kernel
    def some_rows(first, last, q, k, v, mask, truths, keep, causal, scale: float, factor: float, out, stats):
        heads, rows, keys, width, values = extent(q, 1), extent(q, 2), extent(k, 2), extent(q, 3), extent(v, 3)
        all_rows, group = extent(q, 0) * heads * rows, heads // max(extent(k, 1), 1)
        most, block, across = rows_of_job(rows, extent(q, 0) * heads), keys_of_block(width, values), padded(values)
        parts = -(-rows // most)
        need = S * (block * (width + across) + GROUP * (KEYS + L) + most * (across + L + 1) + WIDE)
        room, memory = -1, 0
        if need <= SIZE:
            room = borrow()
            memory = address_of(room)
        else:
            memory = malloc(need)
        k_strips, zero = memory, splat(real, real(0.0))
        v_strips = k_strips + S * block * width
        scores = v_strips + S * block * across
        acc = scores + STEP * GROUP
        sums = acc + S * most * across
        tops = sums + S * most * L
        zeros = tops + S * most
        for j in range(0, WIDE, L):
            store(real, zeros + S * j, zero)
        for job in range(first, last):
            i, h = job // parts // heads, job // parts % heads
            start = zigzag(job % parts, parts) * most
            height = min(most, rows - start)
            for r in range(height):
                put(real, tops + S * r, NOTHING)
                store(real, sums + S * L * r, zero)
                for j in range(0, across, L):
                    store(real, acc + S * (r * across + j), zero)
            end = min(keys, start + height) if causal else keys
            for k0 in range(0, end, block):
                n = min(block, end - k0)
                pack_b(n, width, place(k, i, h // group, k0), S, stride(k, 2), WIDE, k_strips)
                v_at, v_step, v_strip = in_strips(n, values, place(v, i, h // group, k0), stride(v, 2), v_strips)
                for r0 in range(0, height, GROUP):
                    m, row = min(GROUP, height - r0), start + r0
                    offset = row - k0 if causal else FAR
                    if m + offset <= 0:
                        continue
                    products(m, n, offset, width, place(q, i, h, row), stride(q, 2), k_strips, zeros, scores)
                    for r in range(max(0, -offset) // ROWS * ROWS, m):
                        at, step, kept = 0, 0, 0
                        if mask:
                            step = stride(mask, 3)
                            at = place(mask, i, h, row + r) + step * k0
                        if keep:
                            kept = place(keep, i, h, row + r) + k0
                        softmax_row(
                            max(0, min(n, r + offset + 1)), n, scores + STEP * r, scale, at, step, truths, kept,
                            sums + S * L * (r0 + r), tops + S * (r0 + r), acc + S * (r0 + r) * across, values,
                        )  # fmt: skip
                    add_seen(m, n, offset, values, scores, v_at, v_step, v_strip, 0, acc + S * r0 * across, S * across)
            for r in range(height):
                top, sum = get(real, tops + S * r), total(load(real, sums + S * L * r))
                inverse = real(1.0) / sum if sum != real(0.0) else real(0.0)
                number = (i * heads + h) * rows + start + r
                put(real, data(stats) + S * number, top if top > NOTHING else real(0.0))
                put(real, data(stats) + S * (all_rows + number), inverse)
                to, inverse = place(out, i, h, start + r), inverse * real(factor)
                for j in range(0, values, L):
                    store_next(real, to + S * j, load(real, acc + S * (r * across + j)) * inverse, values - j)
        if room >= 0:
            give_back(room)
        else:
            free(memory)

    all_some_rows = split(some_rows, FINER)

    @njit
    def forward(q, k, v, mask, truths, keep, causal, scale, factor, out, stats):
        rows, keys, across = extent(q, 2), extent(k, 2), extent(q, 3) + extent(v, 3)
        heads = extent(q, 0) * extent(q, 1)
        most = rows_of_job(rows, heads)
        all_some_rows(
            heads * (-(-rows // most)), SMALL // max(1, min(rows, most) * keys * across), 1,
            q, k, v, mask, truths, keep, causal, scale, factor, out, stats,
        )  # fmt: skip

    @njit
    def weights_row(n, width, p, d, scale, mask, step, truths, keep, factor, top, inverse, delta, d_mask):
        """Products of q and k, and of g and v, become the weights, after dropout, and the products' gradients."""
        zero, scaling, dropping, sum = splat(real, real(0.0)), real(scale), real(factor), real(delta)
        shift, share = get(real, top), get(real, inverse)
        for j in range(0, n, L):
            x = load(real, p + S * j)
            if mask:
                x = scored(x, scaling, mask, truths, mask + step * j, step, n - j) - shift
            else:
                x = fma(x, scaling, -shift)
            weight, slope = exp(x) * share, load(real, d + S * j)
            if n - j < L:
                weight = choose_first(weight, n - j, zero)
            kept = weight
            if keep:
                kept_here = next_truths(real, keep + j, 1, n - j)
                kept, slope = where(kept_here, weight * dropping, zero), where(kept_here, slope * dropping, zero)
            slope = where(
                weight < ONE, weight * (slope - sum), zero
            )  # of a weight of 1, what is left is rounding errors
            if d_mask:
                store_next(real, d_mask + S * j, slope, n - j)
            store(real, p + S * j, kept)
            store(real, d + S * j, slope * scaling)
        for j in range((n + L - 1) // L * L, width, L):
            store(real, p + S * j, zero)
            store(real, d + S * j, zero)

    @njit
    def dot(n, a, b):
        sum = splat(real, real(0.0))
        for j in range(0, n, L):
            sum = fma(load_next(real, a + S * j, S, n - j), load_next(real, b + S * j, S, n - j), sum)
        return total(sum)

    @njit
    def clear(n, at):
        for j in range(0, n, L):
            store_next(real, at + S * j, splat(real, real(0.0)), n - j)

    @kernel
    def some_keys(
        first, last, parts, q, k, v, mask, truths, keep, causal, scale: float, factor: float, out, stats, g,
        dq, dk, dv, d_mask, more,
    ):  # fmt: skip
        heads, rows, keys, width, values = extent(q, 1), extent(q, 2), extent(k, 2), extent(q, 3), extent(v, 3)
        all_rows, shared = extent(q, 0) * heads * rows, extent(k, 1)
        group = heads // shared
        length = padded(-(-keys // parts))
        block, across = keys_of_block(width, values), padded(width)
        need = S * (block * (width + values + across) + QUERIES * (across + padded(values) + 2 * (KEYS + L)) + WIDE)
        room, memory = -1, 0
        if need <= SIZE:
            room = borrow()
            memory = address_of(room)
        else:
            memory = malloc(need)
        k_columns = memory
        v_columns = k_columns + S * block * width
        k_strips = v_columns + S * block * values
        q_strips = k_strips + S * block * across
        g_strips = q_strips + S * QUERIES * across
        weights = g_strips + S * QUERIES * padded(values)
        slopes = weights + STEP * QUERIES
        zeros = slopes + STEP * QUERIES
        for j in range(0, WIDE, L):
            store(real, zeros + S * j, splat(real, real(0.0)))
        for job in range(first, last):
            i, c, part = job // parts // shared, job // parts % shared, zigzag(job % parts, parts)
            end = min(keys, (part + 1) * length)
            seen = (rows if causal else keys) if rows * group > 0 else 0  # keys, by any query
            for j in range(max(part * length, seen), end):
                clear(width, place(dk, i, c, j))
                clear(values, place(dv, i, c, j))
            if keys == 0:
                for h in range(c * group, (c + 1) * group):
                    for r in range(rows):
                        clear(width, place(dq, i, h, r))
            for k0 in range(part * length, end, block):
                n = min(block, end - k0)
                pack_b(n, width, place(k, i, c, k0), S, stride(k, 2), WIDE, k_columns)
                pack_b(n, values, place(v, i, c, k0), S, stride(v, 2), WIDE, v_columns)
                k_at, k_step, k_strip = in_strips(n, width, place(k, i, c, k0), stride(k, 2), k_strips)
                for h in range(c * group, (c + 1) * group):
                    to, to_step = place(dq, i, h, 0), stride(dq, 2)
                    if part > 0:
                        to_step = S * width
                        to = data(more) + to_step * ((part - 1) * all_rows + (i * heads + h) * rows)
                    for q0 in range(k0 // QUERIES * QUERIES if causal else 0, rows, QUERIES):
                        m, offset = min(QUERIES, rows - q0), q0 - k0 if causal else FAR
                        q_row, g_row, out_row = place(q, i, h, q0), place(g, i, h, q0), place(out, i, h, q0)
                        q_at, q_step, q_strip = in_strips(m, width, q_row, stride(q, 2), q_strips)
                        g_at, g_step, g_strip = in_strips(m, values, g_row, stride(g, 2), g_strips)
                        products(m, n, offset, width, q_row, stride(q, 2), k_columns, zeros, weights)
                        products(m, n, offset, values, g_row, stride(g, 2), v_columns, zeros, slopes)
                        for r in range(m):
                            delta = dot(values, g_row + r * stride(g, 2), out_row + r * stride(out, 2))
                            at, step, kept, d_at = 0, 0, 0, 0
                            if mask:
                                step = stride(mask, 3)
                                at = place(mask, i, h, q0 + r) + step * k0
                            if keep:
                                kept = place(keep, i, h, q0 + r) + k0
                            if d_mask:
                                d_at = place(d_mask, i, h, q0 + r) + S * k0
                            number = data(stats) + S * ((i * heads + h) * rows + q0 + r)
                            weights_row(
                                max(0, min(n, r + offset + 1)), n, weights + STEP * r, slopes + STEP * r,
                                scale, at, step, truths, kept, factor, number, number + S * all_rows,
                                delta, d_at,
                            )  # fmt: skip
                        fresh = h == c * group and (causal or q0 == 0)
                        new = (offset if causal else 0) if fresh else FAR  # keys before it were seen by queries before
                        at = place(dv, i, c, k0)
                        add_seeing(m, n, offset, values, weights, g_at, g_step, g_strip, zeros, new, at, stride(dv, 2))
                        at = place(dk, i, c, k0)
                        add_seeing(m, n, offset, width, slopes, q_at, q_step, q_strip, zeros, new, at, stride(dk, 2))
                        at, start = to + q0 * to_step, 0 if k0 else zeros  # every query sees some of the first block
                        add_seen(m, n, offset, width, slopes, k_at, k_step, k_strip, start, at, to_step)
        if room >= 0:
            give_back(room)
        else:
            free(memory)

    @kernel
    def add_parts(first, last, parts, dq, more):
        """Rows of dq, numbered through all heads, plus those of the other parts."""
        heads, rows, width = extent(dq, 1), extent(dq, 2), extent(dq, 3)
        for number in range(first, last):
            to = place(dq, number // rows // heads, number // rows % heads, number % rows)
            for j in range(0, width, L):
                sum = load_next(real, to + S * j, S, width - j)
                for part in range(parts - 1):
                    at = data(more) + S * (width * (part * extent(dq, 0) * heads * rows + number) + j)
                    sum = sum + load_next(real, at, S, width - j)
                store_next(real, to + S * j, sum, width - j)

    all_some_keys, all_parts = split(some_keys, FINER), split(add_parts)

    @njit
    def backward(parts, q, k, v, mask, truths, keep, causal, scale, factor, out, stats, g, dq, dk, dv, d_mask, more):
        rows, keys, width, values = extent(q, 2), extent(k, 2), extent(q, 3), extent(v, 3)
        all_rows = extent(q, 0) * extent(q, 1) * rows
        all_some_keys(
            extent(q, 0) * extent(k, 1) * parts, SMALL // max(1, rows * (keys // parts) * (width + values)), 1,
            parts, q, k, v, mask, truths, keep, causal, scale, factor, out, stats, g, dq, dk, dv, d_mask, more,
        )  # fmt: skip
        if parts > 1:
            all_parts(all_rows, SMALL // max(1, parts * width), 1, parts, dq, more)

    return SimpleNamespace(forward=forward, backward=backward, keys=KEYS)


def identity(a: np.ndarray | None) -> int:
    return 0 if a is None else id(a)


def forward(q, k, v, mask, keep, causal: bool, scale: float, factor: float, out) -> np.ndarray:
    """Fill `out`; the statistics of the rows, for the backward."""
    stats = np.empty((2, *q.shape[:3]), q.dtype)
    truths = int(mask is not None and mask.dtype == np.bool_)
    kernels(q.dtype.type).forward(
        id(q), id(k), id(v), identity(mask), truths, identity(keep), int(causal), scale, factor, id(out), id(stats)
    )
    return stats


def backward(q, k, v, mask, keep, causal: bool, scale: float, factor: float, out, stats, g, dq, dk, dv, d_mask) -> None:
    """Fill the gradients dq, dk and dv, which are of the shapes of q, k and v, and d_mask, if there is one."""
    family = kernels(q.dtype.type)
    jobs = k.shape[0] * k.shape[1]
    parts = max(1, min(-(-JOBS // max(jobs, 1)), -(-k.shape[2] // family.keys)))
    more = np.zeros((parts - 1, *q.shape), q.dtype)  # queries that see no key of a part write nothing
    truths = int(mask is not None and mask.dtype == np.bool_)
    family.backward(
        parts, id(q), id(k), id(v), identity(mask), truths, identity(keep), int(causal), scale, factor,
        id(out), id(stats), id(g), id(dq), id(dk), id(dv), identity(d_mask), id(more),
    )  # fmt: skip
