"""What the kernels of all cells have in common: packing, the products within the loop over time, and the walk itself.

    forward(function, job, arrays, parts)    pack the weights, set the initial states, run a cell's forward in `parts`
                                             threads
    backward(function, job, arrays, parts)   run a cell's backward on chunks of steps, and after each add up what it
                                             adds to the weights' gradients

A job is the array of words that cell_job.py describes, `arrays` the tuple that goes with it, and `function` the address
of a kernel that cell_source.py printed.  Blocking: a step's product goes in tiles of HIGH rows and WIDE columns, strip
by strip of the packed weights, so that a strip is read once for all rows, and while that is going on the next one is
fetched into the second cache, and what the next tile is added to into the first: large weights, and the sums of all
steps, come from further away in every step.  One or two rows go in tiles of three strips.  The backward takes as many
steps at a time as have about `chunk` rows: the gradients of their gates are still in the cache when the weights'
gradients are made of them, as products over all rows of the chunk.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace

from numba import int64

from . import gemm
from .arrays import data, item, length, stride
from .cell_job import AT
from .gemm import fetch_row
from .jit import deferred, inlined, kernel, njit
from .pool import run, split
from .simd import BYTES, get, lanes, load_first, put, splat, store_first, word
from .tile import LINE, ROWS, tile

# Tiles are wider than those of gemm.py: the rows of one step and a strip do not fit into the first cache together, and
# the fewer strips there are, the less often the rows are read.
HIGH, STRIP = (4, 3) if ROWS == 6 else (8, 3)
MIDDLE, LOW = HIGH * 3 // 4, HIGH // 2
PACKED = 20_000  # weights that some 10 microseconds pack


@inlined
def aligned(address):
    """The next address where a line begins: a vector that lies across two lines takes twice as long to load."""
    return (address + LINE - 1) // LINE * LINE


@functools.cache
def shared(real) -> SimpleNamespace:
    """The driver for numpy.float32 or numpy.float64: forward, backward, product, and the width of a strip.

    Addresses and steps are in bytes.
    """
    L, S = lanes(real), real().itemsize
    WIDE = STRIP * L
    high, middle, low = (tile(real, rows, STRIP, 2, fetch=True) for rows in (HIGH, MIDDLE, LOW))
    two_wide, one_wide = (tile(real, HIGH, vectors, 2) for vectors in (2, 1))  # of what is left of a last strip
    row = tile(real, 1, 3 * STRIP, 2, strips=STRIP)
    pack, multiply = gemm.packing(real), gemm.kernels(real).product
    FIRST_ARRAY, FIRST_KEPT, FIRST_SPARE, FIRST_NUMBER = AT.kept, AT.gates, AT.w_x, AT.T

    # ------------------------------------------------------------------------------ products and sums
    @deferred
    def two_rows(first, last, m, k, a, a_row, b, k2, a2, a2_row, b2, initial, initial_step, c, c_step):
        """`columns` for one or two rows."""
        for i in range(m):
            for j in range(first, last, 3 * WIDE):
                row(
                    1, last - j, initial + i * initial_step + S * j, 0, c + i * c_step + S * j, 0,
                    k, a + i * a_row, 0, S, b + S * j * k, S * WIDE,
                    k2, a2 + i * a2_row, 0, S, b2 + S * j * k2, S * WIDE,
                )  # fmt: skip

    @deferred
    def edge(j, n, m, k, a, a_row, b, k2, a2, a2_row, b2, initial, initial_step, c, c_step):
        """`columns` for what is left of a last strip, n columns from j on: two vectors, or one."""
        strip, strip2 = b + S * j * k, b2 + S * j * k2
        for i in range(0, m, HIGH):
            tall, rows, rows2 = min(m - i, HIGH), a + i * a_row, a2 + i * a2_row
            start, to = initial + i * initial_step + S * j, c + i * c_step + S * j
            if n <= L:
                one_wide(
                    tall, n, start, initial_step, to, c_step,
                    k, rows, a_row, S, strip, S * WIDE, k2, rows2, a2_row, S, strip2, S * WIDE,
                )  # fmt: skip
            else:
                two_wide(
                    tall, n, start, initial_step, to, c_step,
                    k, rows, a_row, S, strip, S * WIDE, k2, rows2, a2_row, S, strip2, S * WIDE,
                )  # fmt: skip

    @deferred
    def strips(first, last, m, k, a, a_row, b, k2, a2, a2_row, b2, initial, initial_step, c, c_step):
        """`columns` for any number of whole strips and of rows."""
        for j in range(first, last, WIDE):
            strip, strip2, right = b + S * j * k, b2 + S * j * k2, last - j
            if right <= 2 * L:
                edge(j, right, m, k, a, a_row, b, k2, a2, a2_row, b2, initial, initial_step, c, c_step)
                return
            following = j + WIDE if right > WIDE else first
            ahead, ahead2 = b + S * following * k, b2 + S * following * k2
            i = 0
            while i < m:
                left = m - i
                tall = min(left, MIDDLE if left <= MIDDLE or HIGH < left <= MIDDLE + LOW else HIGH)
                start, to = initial + i * initial_step + S * j, c + i * c_step + S * j
                if initial_step:  # the sums that the next tile goes on from may come from far away
                    below = start + tall * initial_step if tall < left else initial + S * following
                    for r in range(HIGH):
                        fetch_row(below + r * initial_step, S * WIDE)
                rows, rows2 = a + i * a_row, a2 + i * a2_row
                if tall > MIDDLE:
                    high(
                        tall, right, start, initial_step, to, c_step,
                        k, rows, a_row, S, strip, S * WIDE, ahead, k2, rows2, a2_row, S, strip2, S * WIDE, ahead2,
                    )  # fmt: skip
                elif tall > LOW:
                    middle(
                        tall, right, start, initial_step, to, c_step,
                        k, rows, a_row, S, strip, S * WIDE, ahead, k2, rows2, a2_row, S, strip2, S * WIDE, ahead2,
                    )  # fmt: skip
                else:
                    low(
                        tall, right, start, initial_step, to, c_step,
                        k, rows, a_row, S, strip, S * WIDE, ahead, k2, rows2, a2_row, S, strip2, S * WIDE, ahead2,
                    )  # fmt: skip
                # Each tile fetches its part of the next strip; the last ones have nothing left to fetch.
                ahead = min(ahead + LINE * k, b + S * (following + WIDE) * k)
                ahead2 = min(ahead2 + LINE * k2, b2 + S * (following + WIDE) * k2)
                i += tall

    @kernel
    def columns(first, last, m, k, a, a_row, b, k2, a2, a2_row, b2, initial, initial_step, c, c_step):
        """Columns first ... last - 1 of `product`; `first` is where a strip begins."""
        if m <= 2:
            two_rows(first, last, m, k, a, a_row, b, k2, a2, a2_row, b2, initial, initial_step, c, c_step)
        elif last - first <= 2 * L:
            edge(first, last - first, m, k, a, a_row, b, k2, a2, a2_row, b2, initial, initial_step, c, c_step)
        else:
            strips(first, last, m, k, a, a_row, b, k2, a2, a2_row, b2, initial, initial_step, c, c_step)

    all_columns = split(columns)

    @kernel
    def product(spread, m, n, k, a, a_row, b, k2, a2, a2_row, b2, initial, initial_step, c, c_step):
        """c (m, n) = initial + a (m, k) @ b + a2 (m, k2) @ b2 for packed b and b2; `spread` over threads or not."""
        if spread:
            all_columns(n, 2 * WIDE, WIDE, m, k, a, a_row, b, k2, a2, a2_row, b2, initial, initial_step, c, c_step)
        else:
            columns(0, n, m, k, a, a_row, b, k2, a2, a2_row, b2, initial, initial_step, c, c_step)

    @deferred
    def multiply_ahead(job, step, first, last):
        """What x adds to the gates of some steps, from `step` of the walk on, for sequences first ... last - 1: each
        strip of the weights is read once for all of them."""
        I, n, bias = word(job, AT.I), word(job, AT.columns), word(job, AT.bias)
        x, w_x, gates = word(job, AT.inputs), word(job, AT.w_x), word(job, AT.gates)
        sizes, offsets, reverse = word(job, AT.sizes), word(job, AT.offsets), word(job, AT.reverse)
        T, B, lasting, turns = word(job, AT.T), word(job, AT.B), word(job, AT.lasting), word(job, AT.turns)
        for j in range(0, n, WIDE):
            for s in range(step, min(step + word(job, AT.ahead), T)):
                t = T - 1 - s if reverse else s
                rows, top = min(last, get(int64, sizes + 8 * t)) - first, get(int64, offsets + 8 * t)
                to = gates + S * ((top if lasting else s % turns * B) + first) * n
                here = x + S * (top + first) * I
                columns(j, min(j + WIDE, n), rows, I, here, S * I, w_x, 0, 0, 0, 0, bias, 0, to, S * n)

    @kernel
    def sum_columns(first, last, rows, a, a_row, initial, out):
        """out[j] = initial[j] + the sum over rows of a[:, j], in their order."""
        for j in range(first, last, 4 * L):  # neighbours: rows may be a page apart
            n0, n1, n2, n3 = last - j, last - j - L, last - j - 2 * L, last - j - 3 * L
            start, at, to = initial + S * j, a + S * j, out + S * j
            s0, s1 = load_first(real, start, n0), load_first(real, start + BYTES, n1)
            s2, s3 = load_first(real, start + 2 * BYTES, n2), load_first(real, start + 3 * BYTES, n3)
            for _ in range(rows):
                s0, s1 = s0 + load_first(real, at, n0), s1 + load_first(real, at + BYTES, n1)
                s2 = s2 + load_first(real, at + 2 * BYTES, n2)
                s3 = s3 + load_first(real, at + 3 * BYTES, n3)
                at += a_row
            store_first(real, to, s0, n0)
            store_first(real, to + BYTES, s1, n1)
            store_first(real, to + 2 * BYTES, s2, n2)
            store_first(real, to + 3 * BYTES, s3, n3)

    all_sums = split(sum_columns)

    # ------------------------------------------------------------------------------ setting up
    @kernel
    def copy_row(n, source, step, to):
        """n numbers, `step` bytes apart, to neighbours; zeros for a source of 0."""
        if source == 0:
            for j in range(0, n, L):
                store_first(real, to + S * j, splat(real, 0.0), n - j)
        elif step == S:
            for j in range(0, n, L):
                store_first(real, to + S * j, load_first(real, source + S * j, n - j), n - j)
        else:
            for j in range(n):
                put(real, to + S * j, get(real, source + j * step))

    @kernel
    def resolve(job, arrays):
        """The identities of the initial states and of the strided arrays, the addresses of the others, 0 for None; and
        the addresses of the places within two of them."""
        states, none = word(job, AT.states_count), word(job, AT.none)
        for k in range(length(arrays)):
            array = item(arrays, k)
            known = 0 if array == none else array
            at = AT.initial + 8 * k if k < states else 8 * (k - states)
            put(int64, job + at, data(known) if known and FIRST_ARRAY <= at < FIRST_KEPT else known)
        kept, spare = aligned(word(job, AT.kept)), aligned(word(job, AT.spare))
        for at in range(FIRST_KEPT, FIRST_SPARE, 8):
            put(int64, job + at, word(job, at) + kept)
        for at in range(FIRST_SPARE, FIRST_NUMBER, 8):
            put(int64, job + at, word(job, at) + spare)

    @kernel
    def set_states(job, rows, first, others):
        """The initial states into the rows of the first steps; or, with no `rows`, one after the other."""
        B, P, H, N = word(job, AT.B), word(job, AT.P), word(job, AT.H), word(job, AT.N)
        for k in range(word(job, AT.states_count)):
            given, width = word(job, AT.initial + 8 * k), H if k else P
            to = others + S * H * (k - 1) * (N if rows else B) if k else first
            for b in range(B):
                source, step = 0, 0
                if given:
                    source, step = data(given) + b * stride(given, 0), stride(given, 1)
                place = get(int64, rows + 8 * b) if rows else b
                copy_row(width, source, step, to + S * width * place)

    @kernel
    def pack_strips(first, last, k, b, b_row, b_column, to):
        """Columns first ... last - 1 of b (k, n)."""
        pack(last - first, k, b + first * b_column, b_row, b_column, WIDE, to + S * first * k)

    all_strips = split(pack_strips)

    @kernel
    def pack_all(n, k, b, b_row, b_column, to):
        """b (k, n), on all threads."""
        if n:
            all_strips(n, PACKED // max(k, 1), WIDE, k, b, b_row, b_column, to)

    @kernel
    def pack_rows(w, width, whole, others, to, to_split):
        """The weights (whole + others, width), transposed: those of whole gates, and those of the others."""
        pack_all(whole, width, data(w), stride(w, 1), stride(w, 0), to)
        pack_all(others, width, data(w) + whole * stride(w, 0), stride(w, 1), stride(w, 0), to_split)

    @kernel
    def set_biases(job):
        """The sums of both biases; of a split gate, b_hh goes with the other half."""
        whole, bias, bias_split = word(job, AT.whole), word(job, AT.bias), word(job, AT.bias_split)
        b_ih, b_hh = word(job, AT.b_ih), word(job, AT.b_hh)
        halves = word(job, AT.halves)
        copy_row(word(job, AT.columns), data(b_ih) if b_ih else 0, stride(b_ih, 0) if b_ih else 0, bias)
        if b_hh:
            for j in range(whole):
                put(real, bias + S * j, get(real, bias + S * j) + get(real, data(b_hh) + j * stride(b_hh, 0)))
            copy_row(halves, data(b_hh) + whole * stride(b_hh, 0), stride(b_hh, 0), bias_split)
        else:
            copy_row(halves, 0, 0, bias_split)

    # ------------------------------------------------------------------------------ forward
    @deferred
    def multiply_hidden(job):
        """What the hidden state adds to the gates of a single step."""
        B, P, columns, whole = word(job, AT.B), word(job, AT.P), word(job, AT.columns), word(job, AT.whole)
        w_hh, h, gates, row = word(job, AT.w_hh), word(job, AT.carried), word(job, AT.gates), S * columns
        up, across, halves = stride(w_hh, 0), stride(w_hh, 1), word(job, AT.halves)
        multiply(B, whole, P, h, S * P, S, data(w_hh), across, up, gates, row, gates, row)
        multiply(
            B, halves, P, h, S * P, S, data(w_hh) + whole * up, across, up, word(job, AT.bias_split), 0,
            word(job, AT.hidden), S * halves,
        )  # fmt: skip

    @kernel
    def forward(function, job, arrays, parts):
        resolve(job, arrays)
        I, P, H = word(job, AT.I), word(job, AT.P), word(job, AT.H)
        columns, whole = word(job, AT.columns), word(job, AT.whole)
        w_ih, w_hr = word(job, AT.w_ih), word(job, AT.w_hr)
        set_biases(job)
        set_states(job, word(job, AT.firsts), word(job, AT.carried), word(job, AT.states))
        if not word(job, AT.single):
            pack_rows(word(job, AT.w_hh), P, whole, word(job, AT.halves), word(job, AT.w_h), word(job, AT.w_h_split))
        if w_hr:
            pack_all(P, H, data(w_hr), stride(w_hr, 1), stride(w_hr, 0), word(job, AT.w_r))
        if word(job, AT.fused):
            pack_rows(w_ih, I, whole, columns - whole, word(job, AT.w_x), word(job, AT.w_x_split))
        elif word(job, AT.ahead):
            pack_all(columns, I, data(w_ih), stride(w_ih, 1), stride(w_ih, 0), word(job, AT.w_x))
        else:
            multiply(
                word(job, AT.N), columns, I, word(job, AT.inputs), S * I, S, data(w_ih), stride(w_ih, 1),
                stride(w_ih, 0), word(job, AT.bias), 0, word(job, AT.gates), S * columns,
            )  # fmt: skip
        if word(job, AT.single):
            multiply_hidden(job)
        run(function, job, parts)

    # ------------------------------------------------------------------------------ backward
    @kernel
    def weights_gradients(job, top, rows, again):
        """The gradients of x, weights and biases from `rows` rows of gates, from row `top` on.

        Each sum goes on from what the chunks before gave, if `again`: c = c + ..., or zeros + ... at first.
        """
        I, P, H = word(job, AT.I), word(job, AT.P), word(job, AT.H)
        columns, whole, zeros = word(job, AT.columns), word(job, AT.whole), word(job, AT.zeros)
        d_gates, d_hidden, d_projected = word(job, AT.d_gates), word(job, AT.d_hidden), word(job, AT.d_projected)
        w_ih, x, d_x = word(job, AT.w_ih), word(job, AT.inputs), word(job, AT.d_x)
        d_w_ih, d_w_hh, d_w_hr = word(job, AT.d_w_ih), word(job, AT.d_w_hh), word(job, AT.d_w_hr)
        d_b_ih, d_b_hh, halves = word(job, AT.d_b_ih), word(job, AT.d_b_hh), word(job, AT.halves)
        if d_x:
            multiply(
                rows, I, columns, d_gates, S * columns, S, data(w_ih), stride(w_ih, 0), stride(w_ih, 1),
                zeros, 0, d_x + S * top * I, S * I,
            )  # fmt: skip
        if word(job, AT.apart):
            return
        multiply(
            columns, I, rows, d_gates, S, S * columns, x + S * top * I, S * I, S,
            d_w_ih if again else zeros, S * I * again, d_w_ih, S * I,
        )  # fmt: skip
        h = word(job, AT.entering) + S * top * P
        multiply(
            whole, P, rows, d_gates, S, S * columns, h, S * P, S,
            d_w_hh if again else zeros, S * P * again, d_w_hh, S * P,
        )  # fmt: skip
        least = 1 + 100_000 // max(rows, 1)
        all_sums(columns, least, 4 * L, rows, d_gates, S * columns, d_b_ih if again else zeros, d_b_ih)
        if halves:
            lower = d_w_hh + S * P * whole
            multiply(
                halves, P, rows, d_hidden, S, S * halves, h, S * P, S,
                lower if again else zeros, S * P * again, lower, S * P,
            )  # fmt: skip
            lower = d_b_hh + S * whole
            all_sums(halves, least, 4 * L, rows, d_hidden, S * halves, lower if again else zeros, lower)
        if d_w_hr:
            multiply(
                P, H, rows, d_projected, S, S * P, word(job, AT.full) + S * top * H, S * H, S,
                d_w_hr if again else zeros, S * H * again, d_w_hr, S * H,
            )  # fmt: skip

    @kernel
    def backward(function, job, arrays, parts):
        resolve(job, arrays)
        T, B, P, H, V = word(job, AT.T), word(job, AT.B), word(job, AT.P), word(job, AT.H), word(job, AT.vectors_count)
        whole, zeros = word(job, AT.whole), word(job, AT.zeros)
        w_hh, w_hr, d_vectors = word(job, AT.w_hh), word(job, AT.w_hr), word(job, AT.d_vectors)
        columns, halves = word(job, AT.columns), word(job, AT.halves)
        lower = data(w_hh) + whole * stride(w_hh, 0)
        if not word(job, AT.single):
            pack_all(P, whole, data(w_hh), stride(w_hh, 0), stride(w_hh, 1), word(job, AT.w_h))
            pack_all(P, halves, lower, stride(w_hh, 0), stride(w_hh, 1), word(job, AT.w_h_split))
        if w_hr:
            pack_all(H, P, data(w_hr), stride(w_hr, 0), stride(w_hr, 1), word(job, AT.w_r))
        set_states(job, 0, word(job, AT.d_carried), word(job, AT.d_states))
        copy_row(B * V * H, 0, 0, d_vectors)
        sizes, offsets, reverse = word(job, AT.sizes), word(job, AT.offsets), word(job, AT.reverse)
        done = 0
        while done < T:
            rows, count = 0, 0
            first = done if reverse else T - 1 - done
            while done + count < T and (count == 0 or rows < word(job, AT.chunk)):
                rows += get(int64, sizes + 8 * (first + count if reverse else first - count))
                count += 1
            top = get(int64, offsets + 8 * (first if reverse else first - count + 1))
            put(int64, job + AT.T, count)
            put(int64, job + AT.first_step, first)
            put(int64, job + AT.first_row, top)
            run(function, job, parts)
            if word(job, AT.single):
                d_h, up, across = word(job, AT.d_carried), stride(w_hh, 0), stride(w_hh, 1)
                multiply(
                    B, P, whole, word(job, AT.d_gates), S * columns, S, data(w_hh), up, across,
                    d_h, S * P, d_h, S * P,
                )  # fmt: skip
                multiply(B, P, halves, word(job, AT.d_hidden), S * halves, S, lower, up, across, d_h, S * P, d_h, S * P)
            weights_gradients(job, top, rows, done > 0)
            done += count
        if not word(job, AT.apart):
            copy_row(whole, word(job, AT.d_b_ih), S, word(job, AT.d_b_hh))
        if V:
            sum_columns(0, V * H, B, d_vectors, S * V * H, zeros, word(job, AT.d_vectors_sum))

    @njit
    def launch_forward(function, job, arrays, parts):
        forward(function, data(job), arrays, parts)

    @njit
    def launch_backward(function, job, arrays, parts):
        backward(function, data(job), arrays, parts)

    return SimpleNamespace(
        product=product, multiply_ahead=multiply_ahead, forward=launch_forward, backward=launch_backward, wide=WIDE
    )
