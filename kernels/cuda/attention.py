"""Attention on the GPU: softmax(scale Q K^T + mask) V and its gradients, with no matrix of all scores kept.

    forward(q, k, v, mask, keep, causal, scale, factor, out) -> stats
    backward(q, k, v, mask, keep, causal, scale, factor, out, stats, g, dq, dk, dv, d_mask)

The arrays are those of kernels.cpu.attention; so is the mathematics, which is told there.  Tiles of queries, keys and
values lie in shared memory, padded so that the rows that the threads of a warp read begin in different banks, and
zeros stand for what lies outside of the matrices.

    forward     a block of threads takes `rows` queries of a head and passes over the keys, `keys` at a time.  A thread
                has tall x wide scores; the `across` threads of a row are neighbours in a warp, which find its largest
                score together; through shared memory the exponentials reach the threads that multiply them by values.
    keys        a block takes `keys` keys of a head and passes over the queries of all heads that share them: dK, dV
    queries     a block takes `rows` queries and passes over the keys: dQ, and the gradient of the mask

Each gradient is the sum of one thread, in the order of the keys or queries: the same bits every time, and none of the
memory that adding up partial gradients would take; scores are computed twice in the backward for that.

Rows of more than WIDEST bytes are the host's business, on copies.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from ..cpu import attention as host
from . import functions
from .array import Array, download, empty, upload
from .driver import driver
from .elementwise import assign
from .jit import Kernel, boolean, device, int64, kernel, pointer, several
from .ptx import arrived, copy_later, load

WARP, ALL = 32, 0xFFFFFFFF  # threads; all of them


class Tile(NamedTuple):
    """The queries and keys of a block at a time, and how many of them a thread has the scores of."""

    rows: int
    keys: int
    tall: int
    wide: int

    @property
    def threads(self) -> int:
        return (self.rows // self.tall) * (self.keys // self.wide)


TILES = (Tile(64, 64, 4, 4), Tile(32, 64, 2, 4), Tile(32, 32, 2, 2), Tile(16, 16, 1, 1))
LEAST = Tile(8, 8, 1, 1)  # where there is no room for another
SMALL = (Tile(8, 8, 2, 2),)  # for devices with few threads, as the simulator
WIDTHS = (16, 32, 64, 128, 256, 512)
WIDEST = 2048  # bytes of a row for which there are kernels: of more, the numbers of a thread would not be registers


def apart(real, width: int) -> int:
    """The distance between rows of a tile in shared memory."""
    return width + 16 // real().itemsize


@functools.cache
def kernels(real, tile: Tile, width: int, values: int) -> dict[str, Kernel]:
    """The kernels for a type, a tile, and widths of keys and of values, to which narrower ones are padded."""
    rows, keys, tall, wide = tile
    threads, across, down = tile.threads, keys // wide, rows // tall
    number, at_once = pointer(real).dtype, 16 // real().itemsize
    step, v_step, p_step = apart(real, width), apart(real, values), apart(real, keys)
    high = keys // down  # keys of which a thread has gradients
    each, v_each = width // across, values // across  # columns of a thread
    some, v_some = min(at_once, each), min(at_once, v_each)  # that it reads at once
    high_once = min(at_once, high)
    load_k, load_columns, load_values, load_high = load(at_once), load(some), load(v_some), load(high_once)
    scores, row_room, key_room = tall * wide, tall * at_once, wide * at_once
    row_sums, key_sums, key_v_sums = tall * each, high * each, high * v_each
    row_v_sums = tall * v_each
    copy, exp = copy_later(1), functions.exp
    zero, nothing, one = real(0), real(-np.inf), real(1 - 2 * np.finfo(real).eps)

    @device
    def fill(to, first, width, step, n, source, at, row_step, inside, columns):
        """to[first + r * step + d] = source[at + r * row_step + d] for r < inside, d < columns, else 0; n rows."""
        for e in range(cuda.threadIdx.x, n * width, threads):
            r, d = e // width, e % width
            copy(to, first + r * step + d, source, at + r * row_step + d, r < inside and d < columns)

    @device
    def products(sums, columns, a, a_first, a_step, b, b_first, b_step, y, x):
        """sums[i, j] = row y * tall + i of a . row j * across + x of b, rows of numbers in shared memory."""
        p, q = cuda.local.array(row_room, real), cuda.local.array(key_room, real)
        for i in range(scores):
            sums[i] = zero
        for d in range(0, columns, at_once):
            for i in range(tall):
                load_k(p, i * at_once, a, a_first + (y * tall + i) * a_step + d)
            for j in range(wide):
                load_k(q, j * at_once, b, b_first + (j * across + x) * b_step + d)
            for i in range(tall):
                for j in range(wide):
                    for e in range(at_once):
                        sums[i * wide + j] += p[i * at_once + e] * q[j * at_once + e]

    @device
    def add_over_keys(sums, inside, each, some, load_some, p, p_first, b, b_first, b_step, y, x):
        """sums[i] += the sum over keys of p[row i, key] b[key], for the columns of a thread."""
        left, right = cuda.local.array(row_room, real), cuda.local.array(some, real)
        for n in range(0, inside, at_once):
            for i in range(tall):
                load_k(left, i * at_once, p, p_first + (y * tall + i) * p_step + n)
            for e in range(at_once):
                for c in range(0, each, some):
                    load_some(right, 0, b, b_first + (n + e) * b_step + c * across + x * some)
                    for i in range(tall):
                        for f in range(some):
                            sums[i * each + c + f] += left[i * at_once + e] * right[f]

    @device
    def add_over_rows(sums, inside, each, some, load_some, p, p_first, b, b_first, b_step, y, x):
        """sums[j] += the sum over rows of p[row, key j] b[row], for the columns of a thread."""
        left, right = cuda.local.array(high, real), cuda.local.array(some, real)
        for r in range(inside):
            for j in range(0, high, high_once):
                load_high(left, j, p, p_first + r * p_step + y * high + j)
            for c in range(0, each, some):
                load_some(right, 0, b, b_first + r * b_step + c * across + x * some)
                for j in range(high):
                    for f in range(some):
                        sums[j * each + c + f] += left[j] * right[f]

    @device
    def write(out, at, row_step, sums, n, each, some, x, first, inside, columns):
        """The columns of a thread in rows first ... first + n."""
        for i in range(n):
            if first + i < inside:
                for c in range(0, each, some):
                    for f in range(some):
                        d = c * across + x * some + f
                        if d < columns:
                            out[at + (first + i) * row_step + d] = sums[i * each + c + f]

    @device
    def put(memory, first, sums, y, x):
        """The scores of a thread, into shared memory."""
        for i in range(tall):
            for j in range(wide):
                memory[first + (y * tall + i) * p_step + j * across + x] = sums[i * wide + j]

    @device
    def multiply_rows_by(sums, memory, factors, y):
        for i in range(tall):
            for c in range(v_each):
                sums[i * v_each + c] *= memory[factors + y * tall + i]

    @device
    def largest(x):
        """The largest of the numbers that the threads of a row have."""
        other = 1
        while other < across:
            theirs = cuda.shfl_xor_sync(ALL, x, other)
            x = theirs if theirs > x else x
            other *= 2
        return x

    @device
    def sum_of(x):
        other = 1
        while other < across:
            x += cuda.shfl_xor_sync(ALL, x, other)
            other *= 2
        return x

    @device
    def scored(product, scale, truths, added, masked, at):
        """A score from the product of a query and a key."""
        if masked == 1:
            return product * scale if truths[at] != 0 else nothing
        return product * scale + added[at] if masked == 2 else product * scale

    @kernel(limit=threads)
    def attend(
        heads: int64, group: int64, length: int64, count: int64, columns: int64, v_columns: int64,
        q: pointer(real), q_steps: several(int64, 3), k: pointer(real), k_steps: several(int64, 3),
        v: pointer(real), v_steps: several(int64, 3), masked: int64, truths: pointer(bool), added: pointer(real),
        m_steps: several(int64, 4), dropped: boolean, keep: pointer(bool), keep_steps: several(int64, 4),
        causal: boolean, scale: number, factor: number, out: pointer(real), out_steps: several(int64, 3),
        stats: pointer(real), all_rows: int64,
    ):  # fmt: skip
        """`length` queries and `count` keys of width `columns`; values of `v_columns`.  Blocks: (head, rows)."""
        memory = cuda.shared.array(0, real, 16)
        q_first, k_first = 0, rows * step
        v_first = k_first + keys * step
        p_first = v_first + keys * v_step
        tops = p_first + rows * p_step
        totals, shrinks = tops + rows, tops + 2 * rows
        y, x = cuda.threadIdx.x // across, cuda.threadIdx.x % across
        tiles = (length + rows - 1) // rows
        head, tile_row = cuda.blockIdx.x % (cuda.gridDim.x // tiles), cuda.blockIdx.x // (cuda.gridDim.x // tiles)
        row = (tiles - 1 - tile_row) * rows  # where keys are cut off, the last rows are most work and begin first
        i, h = head // heads, head % heads
        c = h // group
        fill(memory, q_first, width, step, rows, q, i * q_steps[0] + h * q_steps[1] + row * q_steps[2], q_steps[2],
             length - row, columns)  # fmt: skip
        s, sums = cuda.local.array(scores, real), cuda.local.array(row_v_sums, real)
        for a in range(row_v_sums):
            sums[a] = zero
        for a in range(tall):
            memory[tops + y * tall + a], memory[totals + y * tall + a] = nothing, zero
        end = min(count, row + rows) if causal else count
        for key in range(0, end, keys):
            cuda.syncthreads()
            fill(memory, k_first, width, step, keys, k, i * k_steps[0] + c * k_steps[1] + key * k_steps[2], k_steps[2],
                 count - key, columns)  # fmt: skip
            fill(memory, v_first, values, v_step, keys, v, i * v_steps[0] + c * v_steps[1] + key * v_steps[2],
                 v_steps[2], count - key, v_columns)  # fmt: skip
            arrived()
            cuda.syncthreads()
            products(s, columns, memory, q_first, step, memory, k_first, step, y, x)
            put(memory, p_first, s, y, x)
            for a in range(tall):
                r, at = row + y * tall + a, p_first + (y * tall + a) * p_step + x
                m_at = i * m_steps[0] + h * m_steps[1] + r * m_steps[2]
                k_at = i * keep_steps[0] + h * keep_steps[1] + r * keep_steps[2]
                before = top = memory[tops + y * tall + a]
                for b in range(wide):
                    n, score = key + b * across + x, nothing
                    if n < count and r < length and (n <= r or not causal):
                        score = scored(memory[at + b * across], scale, truths, added, masked, m_at + n * m_steps[3])
                    memory[at + b * across] = score
                    top = score if score > top else top
                top = largest(top)
                shift, total = top if top > nothing else zero, zero
                for b in range(wide):
                    n, weight = key + b * across + x, exp(memory[at + b * across] - shift)
                    total += weight
                    if dropped and n < count and r < length and keep[k_at + n * keep_steps[3]] == 0:
                        weight = zero
                    memory[at + b * across] = weight
                total, shrink = sum_of(total), exp(before - shift)
                cuda.syncwarp()
                if x == 0:
                    memory[tops + y * tall + a], memory[shrinks + y * tall + a] = top, shrink
                    memory[totals + y * tall + a] = memory[totals + y * tall + a] * shrink + total
            cuda.syncwarp()
            multiply_rows_by(sums, memory, shrinks, y)
            seen = min(keys, count - key)
            add_over_keys(sums, seen, v_each, v_some, load_values, memory, p_first, memory, v_first, v_step, y, x)
        cuda.syncwarp()
        for a in range(x, tall, across):
            total, top, r = memory[totals + y * tall + a], memory[tops + y * tall + a], row + y * tall + a
            inverse = number(1) / total if total != zero else zero
            if r < length:
                stats[head * length + r] = top if top > nothing else zero
                stats[all_rows + head * length + r] = inverse
            memory[shrinks + y * tall + a] = inverse * factor
        cuda.syncwarp()
        multiply_rows_by(sums, memory, shrinks, y)
        at = i * out_steps[0] + h * out_steps[1] + row * out_steps[2]
        write(out, at, out_steps[2], sums, tall, v_each, v_some, x, y * tall, length - row, v_columns)

    @device
    def weigh(memory, p_first, d_first, y, x, i, h, head, row, key, length, count, masked, truths, added, m_steps,
              dropped, keep, keep_steps, causal, scale, factor, stats, all_rows, deltas):  # fmt: skip
        """Products of q and k, and of g and v, become the weights, after dropout, and the scores' gradients."""
        for a in range(tall):
            r, at = row + y * tall + a, (y * tall + a) * p_step + x
            m_at = i * m_steps[0] + h * m_steps[1] + r * m_steps[2]
            k_at = i * keep_steps[0] + h * keep_steps[1] + r * keep_steps[2]
            for b in range(wide):
                n, weight, slope = key + b * across + x, zero, zero
                if n < count and r < length and (n <= r or not causal):
                    score = scored(memory[p_first + at], scale, truths, added, masked, m_at + n * m_steps[3])
                    share = exp(score - stats[head * length + r]) * stats[all_rows + head * length + r]
                    weight, slope = share, memory[d_first + at]
                    if dropped:
                        kept = factor if keep[k_at + n * keep_steps[3]] != 0 else zero
                        weight, slope = share * kept, slope * kept
                    # Where the weight is 1, what is left of the difference is rounding errors.
                    slope = share * (slope - deltas[head * length + r]) if share < one else zero
                memory[p_first + at], memory[d_first + at] = weight, slope
                at += across

    @kernel(limit=threads)
    def keys_back(
        heads: int64, group: int64, length: int64, count: int64, columns: int64, v_columns: int64,
        q: pointer(real), q_steps: several(int64, 3), k: pointer(real), k_steps: several(int64, 3),
        v: pointer(real), v_steps: several(int64, 3), masked: int64, truths: pointer(bool), added: pointer(real),
        m_steps: several(int64, 4), dropped: boolean, keep: pointer(bool), keep_steps: several(int64, 4),
        causal: boolean, scale: number, factor: number, g: pointer(real), g_steps: several(int64, 3),
        stats: pointer(real), all_rows: int64, deltas: pointer(real), dk: pointer(real), dk_steps: several(int64, 3),
        dv: pointer(real), dv_steps: several(int64, 3),
    ):  # fmt: skip
        """The gradients of keys and values.  Blocks: (head of the keys, keys)."""
        memory = cuda.shared.array(0, real, 16)
        q_first, k_first = 0, rows * step
        v_first = k_first + keys * step
        g_first = v_first + keys * v_step
        p_first = g_first + rows * v_step
        d_first = p_first + rows * p_step
        y, x = cuda.threadIdx.x // across, cuda.threadIdx.x % across
        tiles = (count + keys - 1) // keys
        shared = heads // group
        both, key = cuda.blockIdx.x % (cuda.gridDim.x // tiles), cuda.blockIdx.x // (cuda.gridDim.x // tiles) * keys
        i, c = both // shared, both % shared
        fill(memory, k_first, width, step, keys, k, i * k_steps[0] + c * k_steps[1] + key * k_steps[2], k_steps[2],
             count - key, columns)  # fmt: skip
        fill(memory, v_first, values, v_step, keys, v, i * v_steps[0] + c * v_steps[1] + key * v_steps[2],
             v_steps[2], count - key, v_columns)  # fmt: skip
        s, k_sums = cuda.local.array(scores, real), cuda.local.array(key_sums, real)
        v_sums = cuda.local.array(key_v_sums, real)
        for a in range(key_sums):
            k_sums[a] = zero
        for a in range(key_v_sums):
            v_sums[a] = zero
        for h in range(c * group, (c + 1) * group):
            head = i * heads + h
            for row in range(key // rows * rows if causal else 0, length, rows):
                cuda.syncthreads()
                fill(memory, q_first, width, step, rows, q, i * q_steps[0] + h * q_steps[1] + row * q_steps[2],
                     q_steps[2], length - row, columns)  # fmt: skip
                fill(memory, g_first, values, v_step, rows, g, i * g_steps[0] + h * g_steps[1] + row * g_steps[2],
                     g_steps[2], length - row, v_columns)  # fmt: skip
                arrived()
                cuda.syncthreads()
                products(s, columns, memory, q_first, step, memory, k_first, step, y, x)
                put(memory, p_first, s, y, x)
                products(s, v_columns, memory, g_first, v_step, memory, v_first, v_step, y, x)
                put(memory, d_first, s, y, x)
                weigh(
                    memory, p_first, d_first, y, x, i, h, head, row, key, length, count, masked, truths, added, m_steps,
                    dropped, keep, keep_steps, causal, scale, factor, stats, all_rows, deltas,
                )  # fmt: skip
                cuda.syncthreads()
                some_rows = min(rows, length - row)
                add_over_rows(
                    v_sums, some_rows, v_each, v_some, load_values, memory, p_first, memory, g_first, v_step, y, x
                )
                add_over_rows(k_sums, some_rows, each, some, load_columns, memory, d_first, memory, q_first, step, y, x)
        for a in range(key_sums):
            k_sums[a] *= scale
        at = i * dk_steps[0] + c * dk_steps[1] + key * dk_steps[2]
        write(dk, at, dk_steps[2], k_sums, high, each, some, x, y * high, count - key, columns)
        at = i * dv_steps[0] + c * dv_steps[1] + key * dv_steps[2]
        write(dv, at, dv_steps[2], v_sums, high, v_each, v_some, x, y * high, count - key, v_columns)

    @kernel(limit=threads)
    def queries_back(
        heads: int64, group: int64, length: int64, count: int64, columns: int64, v_columns: int64,
        q: pointer(real), q_steps: several(int64, 3), k: pointer(real), k_steps: several(int64, 3),
        v: pointer(real), v_steps: several(int64, 3), masked: int64, truths: pointer(bool), added: pointer(real),
        m_steps: several(int64, 4), dropped: boolean, keep: pointer(bool), keep_steps: several(int64, 4),
        causal: boolean, scale: number, factor: number, g: pointer(real), g_steps: several(int64, 3),
        stats: pointer(real), all_rows: int64, deltas: pointer(real), dq: pointer(real), dq_steps: several(int64, 3),
        wanted: boolean, d_mask: pointer(real), dm_steps: several(int64, 4),
    ):  # fmt: skip
        """The gradients of queries and, where wanted, of the mask.  Blocks: (head, rows)."""
        memory = cuda.shared.array(0, real, 16)
        q_first, k_first = 0, rows * step
        v_first = k_first + keys * step
        g_first = v_first + keys * v_step
        p_first = g_first + rows * v_step
        d_first = p_first + rows * p_step
        y, x = cuda.threadIdx.x // across, cuda.threadIdx.x % across
        tiles = (length + rows - 1) // rows
        head, tile_row = cuda.blockIdx.x % (cuda.gridDim.x // tiles), cuda.blockIdx.x // (cuda.gridDim.x // tiles)
        row = (tiles - 1 - tile_row) * rows
        i, h = head // heads, head % heads
        c = h // group
        fill(memory, q_first, width, step, rows, q, i * q_steps[0] + h * q_steps[1] + row * q_steps[2], q_steps[2],
             length - row, columns)  # fmt: skip
        fill(memory, g_first, values, v_step, rows, g, i * g_steps[0] + h * g_steps[1] + row * g_steps[2], g_steps[2],
             length - row, v_columns)  # fmt: skip
        s, sums = cuda.local.array(scores, real), cuda.local.array(row_sums, real)
        for a in range(row_sums):
            sums[a] = zero
        end = min(count, row + rows) if causal else count
        for key in range(0, end, keys):
            cuda.syncthreads()
            fill(memory, k_first, width, step, keys, k, i * k_steps[0] + c * k_steps[1] + key * k_steps[2], k_steps[2],
                 count - key, columns)  # fmt: skip
            fill(memory, v_first, values, v_step, keys, v, i * v_steps[0] + c * v_steps[1] + key * v_steps[2],
                 v_steps[2], count - key, v_columns)  # fmt: skip
            arrived()
            cuda.syncthreads()
            products(s, columns, memory, q_first, step, memory, k_first, step, y, x)
            put(memory, p_first, s, y, x)
            products(s, v_columns, memory, g_first, v_step, memory, v_first, v_step, y, x)
            put(memory, d_first, s, y, x)
            weigh(
                memory, p_first, d_first, y, x, i, h, head, row, key, length, count, masked, truths, added, m_steps,
                dropped, keep, keep_steps, causal, scale, factor, stats, all_rows, deltas,
            )  # fmt: skip
            if wanted:
                for a in range(tall):
                    r = row + y * tall + a
                    at = i * dm_steps[0] + h * dm_steps[1] + r * dm_steps[2]
                    for n in range(x, min(keys, count - key), across):
                        if r < length:
                            d_mask[at + (key + n) * dm_steps[3]] = memory[d_first + (y * tall + a) * p_step + n]
            cuda.syncwarp()
            add_over_keys(
                sums, min(keys, count - key), each, some, load_columns, memory, d_first, memory, k_first, step, y, x
            )
        for a in range(row_sums):
            sums[a] *= scale
        at = i * dq_steps[0] + h * dq_steps[1] + row * dq_steps[2]
        write(dq, at, dq_steps[2], sums, tall, each, some, x, y * tall, length - row, columns)

    return {"attend": attend, "keys_back": keys_back, "queries_back": queries_back}


@functools.cache
def deltas_of(real) -> Kernel:
    """The kernel that multiplies rows of results and of their gradients."""
    zero = real(0)

    @kernel
    def multiply_rows(
        heads: int64, length: int64, columns: int64, all_rows: int64, out: pointer(real), out_steps: several(int64, 3),
        g: pointer(real), g_steps: several(int64, 3), deltas: pointer(real),
    ):  # fmt: skip
        """deltas[row] = out[row] . g[row]; a warp takes a row."""
        lane, number = cuda.threadIdx.x % WARP, cuda.grid(1) // WARP
        while number < all_rows:
            i, h, r = number // length // heads, number // length % heads, number % length
            at = i * out_steps[0] + h * out_steps[1] + r * out_steps[2]
            g_at = i * g_steps[0] + h * g_steps[1] + r * g_steps[2]
            total = zero
            for d in range(lane, columns, WARP):
                total += out[at + d] * g[g_at + d]
            other = 1
            while other < WARP:
                total += cuda.shfl_xor_sync(ALL, total, other)
                other *= 2
            if lane == 0:
                deltas[number] = total
            number += cuda.gridsize(1) // WARP

    return multiply_rows


# ------------------------------------------------------------------------------------------ which kernel
def padded(width: int) -> int:
    """The width for which there are kernels."""
    return next(w for w in WIDTHS if w >= width)


def room(real, tile: Tile, width: int, values: int, backward: bool) -> int:
    """The bytes of shared memory of a block."""
    step, v_step = apart(real, width), apart(real, values)
    both = tile.rows + tile.keys
    numbers = both * step + (both if backward else tile.keys) * v_step
    tiles = (2 if backward else 1) * tile.rows * apart(real, tile.keys)
    return real().itemsize * (numbers + tiles + (0 if backward else 3 * tile.rows))


def choose(real, width: int, values: int, heads: int, length: int, backward: bool) -> Tile:
    """The largest tile that the device has room for, or a smaller one that gives work to all of it."""
    device = driver()
    tall = 2 if max(width, values) > 64 else 4  # or the registers would not hold a thread's numbers
    tiles = [t for t in TILES if t.threads <= device.threads and t.tall <= tall] or SMALL
    fits = [t for t in tiles if room(real, t, width, values, backward) <= device.shared_limit] or [LEAST]
    return next((t for t in fits if heads * -(-length // t.rows) >= device.multiprocessors), fits[-1])


def steps(a: Array, axes: int = 3) -> tuple[int, ...]:
    """The distances between neighbours along the first axes, in numbers."""
    return tuple([step // a.itemsize for step in a.strides[:axes]])


def given(q, k, v, mask, keep, causal, scale, factor) -> tuple:
    """The arguments that all kernels take."""
    nothing = (0,) * 4
    masked = 0 if mask is None else 1 if mask.dtype == np.bool_ else 2
    m_steps = nothing if mask is None else steps(mask, 4)
    return (
        q.shape[1], q.shape[1] // max(1, k.shape[1]), q.shape[2], k.shape[2], q.shape[3], v.shape[3],
        q, steps(q), k, steps(k), v, steps(v), masked, mask if masked == 1 else q, mask if masked == 2 else q, m_steps,
        keep is not None, q if keep is None else keep, nothing if keep is None else steps(keep, 4), causal, scale,
        factor,
    )  # fmt: skip


def is_wide(q: Array, v: Array) -> bool:
    """Whether there is no kernel for rows of that length."""
    return max(q.shape[3], v.shape[3]) * q.itemsize > WIDEST


def on_host(function: Callable, given: Sequence[Any], outs: Sequence[Array | None]) -> Any:
    """A function of the CPU on copies of `given`; it fills what becomes `outs`."""
    copies = [np.ascontiguousarray(download(a)) if type(a) is Array else a for a in given]
    filled = [None if out is None else np.empty(out.shape, out.dtype) for out in outs]
    result = function(*copies, *filled)
    for out, numbers in zip(outs, filled, strict=True):
        if out is not None:
            assign(out, numbers)
    return result


def forward(q, k, v, mask, keep, causal: bool, scale: float, factor: float, out: Array) -> Array:
    """Fill `out`; the statistics of the rows, for the backward."""
    if is_wide(q, v):
        return upload(on_host(host.forward, (q, k, v, mask, keep, causal, scale, factor), (out,)))
    stats = empty((2, *q.shape[:3]), q.dtype)
    if not stats.size:
        return stats
    real, width, values, heads = q.dtype.type, padded(q.shape[3]), padded(v.shape[3]), q.shape[0] * q.shape[1]
    tile = choose(real, width, values, heads, q.shape[2], False)
    kernels(real, tile, width, values)["attend"].launch(
        heads * -(-q.shape[2] // tile.rows), tile.threads, *given(q, k, v, mask, keep, causal, scale, factor), out,
        steps(out), stats, heads * q.shape[2], shared=room(real, tile, width, values, False),
    )  # fmt: skip
    return stats


def backward(q, k, v, mask, keep, causal: bool, scale: float, factor: float, out, stats, g, dq, dk, dv, d_mask) -> None:
    """Fill the gradients dq, dk and dv, which are of the shapes of q, k and v, and d_mask, if there is one."""
    if is_wide(q, v):
        given_too = q, k, v, mask, keep, causal, scale, factor, out, stats, g
        return on_host(host.backward, given_too, (dq, dk, dv, d_mask))
    real, width, values, heads = q.dtype.type, padded(q.shape[3]), padded(v.shape[3]), q.shape[0] * q.shape[1]
    length, count, device = q.shape[2], k.shape[2], driver()
    all_rows, deltas = heads * length, empty(q.shape[:3], q.dtype)
    common = given(q, k, v, mask, keep, causal, scale, factor)
    if all_rows:
        deltas_of(real).launch(
            device.blocks(WARP * all_rows, device.threads), device.threads, q.shape[1], length, v.shape[3], all_rows,
            out, steps(out), g, steps(g), deltas,
        )  # fmt: skip
        tile = choose(real, width, values, heads, length, True)
        kernels(real, tile, width, values)["queries_back"].launch(
            heads * -(-length // tile.rows), tile.threads, *common, g, steps(g), stats, all_rows, deltas, dq, steps(dq),
            d_mask is not None, q if d_mask is None else d_mask, (0,) * 4 if d_mask is None else steps(d_mask, 4),
            shared=room(real, tile, width, values, True),
        )  # fmt: skip
    if k.shape[0] * k.shape[1] * count:
        shared = k.shape[0] * k.shape[1]
        tile = choose(real, width, values, shared, count, True)
        kernels(real, tile, width, values)["keys_back"].launch(
            shared * -(-count // tile.keys), tile.threads, *common, g, steps(g), stats, all_rows, deltas, dk, steps(dk),
            dv, steps(dv), shared=room(real, tile, width, values, True),
        )  # fmt: skip


def examples() -> list[Kernel]:
    """The kernels, for both types and some widths, as a GPU has them."""
    some = [(np.float32, TILES[0], 64, 64), (np.float32, TILES[1], 128, 128), (np.float32, TILES[2], 256, 256)]
    some += [(np.float64, TILES[1], 64, 64), (np.float32, LEAST, 512, 512), (np.float64, LEAST, 256, 256)]
    found = [deltas_of(np.float32), deltas_of(np.float64)]
    for real, tile, width, values in some:
        found += kernels(real, tile, width, values).values()
    return found
