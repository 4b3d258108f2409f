"""The kernels of a cell over a whole sequence; recurrence.py plans and launches them.

    forward, backward            all steps in one launch: blocks that run at the same time and wait for one another
    step_forward, step_back      one step, after a product by gemm: for one step, or weights for which there is no room;
                                 of a cell that takes means over its units, those of cell_rows.py
    project, project_back        what is done with a projected hidden state, in steps that are launched one by one
    place                        initial states into the rows of the first steps

B batch, T time, H hidden, G gates, R of them with a product with the hidden state, of which W are whole and Q split, S
states, V learned vectors, P numbers of hidden state that go from step to step; N rows, those of a step one after the
other (cpu/cell_job.py).  Arrays are contiguous but for the gradient of the output; gates are in the order of the
kernels: whole ones, split ones, those of the input alone.

    w_hh (R*H, P)   b_hh (R*H,)   vectors (V, H)   sizes (T,), offsets (T + 1,), firsts (B,) int64
    gates (N, G*H)      before the step what x gives; after it the pre-activation, or of a split gate still that
    hidden (N, Q*H)     the other halves of the split gates
    carried (N, P)      the hidden state before the step; entering (N, P), as it enters the product with w_hh: the same
                        array, but with recurrent dropout, whose factors are drop (B, P)
    states (S-1, N, H)  the other states before the step; last (S-1, B, H), after the last one of each sequence
    out (N, P), last_carried (B, P), full (N, H): h after the step, where a projection makes `out` of it
    zone_carried (N, P), zone_states (S-1, N, H), how much zoneout keeps; one row for all with zone_row = 0
    d_rows (N, .)       the gradients of what was multiplied by w_ih, G*H numbers of a row; if Q, then those of what was
                        multiplied by w_hh, R*H; else the first of a row are these
    d_carried (B, P), d_states (S-1, B, H), d_vectors (B, V, H): from step to step, and what is left in the end

One launch for all steps: a block owns `units` hidden units, with all their gates, whose rows of w_hh lie in its shared
memory throughout (columns of it, in the backward), and some tiles of `broad` rows of the batch.  Of each step and tile
it waits until all blocks have written the hidden state before (the gradients of the gates after), copies it to shared
memory, multiplies, computes one unit of one row in each thread, and tells the others by a counter of the tile.  (A cell
with no product, R = 0, has nothing to wait for.)  What a thread alone needs goes from step to step through its own
places of the arrays, read ahead while others are waited for.

    shared memory: w (tall, depth), tall >= rows of w_hh here; the tile of states (broad, length), of which `length`
    numbers are there at a time; sums, (broad, tall), `splits` times for each length.  depth is H, R*H in the backward;
    tall and broad are rounded up to what the tiles of a product want
"""

import functools
from types import SimpleNamespace

from numba import cuda

from . import cell_rows
from .cell_math import Step
from .cell_product import product as tile_product
from .jit import boolean, inlined, int32, int64, kernel, pointer, uint32
from .ptx import acquire, arrived, copy_later, release

THREADS = 256  # of a block, at most
APART = 32  # counters, in as many numbers: two in one line of the cache would be slower


@functools.cache
def copies(real: type) -> SimpleNamespace:
    """Copies to shared memory, `fast` or number by number, and back from initial states."""
    V = 16 // real().itemsize
    several, single = copy_later(V), copy_later(1)

    @inlined
    def copy_row(memory, to, source, at, depth, some, first, step, fast):
        """`depth` numbers, or zeros unless `some`, by `step` threads, of which this is number `first`."""
        if fast:
            k = first * V
            while k < depth:
                several(memory, to + k, source, at + k, some)
                k += step * V
        else:
            k = first
            while k < depth:
                single(memory, to + k, source, at + k, some)
                k += step

    @inlined
    def copy_rows(memory, to, to_row, source, at, row, rows, depth, fast):
        """Rows of `depth` numbers, `row` apart: a warp for each, or all threads for one after the other."""
        thread, threads = cuda.threadIdx.x, cuda.blockDim.x
        b, warps, first, step = thread >> 5, threads >> 5, thread & 31, 32
        if rows < warps:
            b, warps, first, step = 0, 1, thread, threads
        while b < rows:
            copy_row(memory, to + b * to_row, source, at + b * row, depth, True, first, step, fast)
            b += warps

    @kernel
    def place(
        B: int64, width: int64, given: boolean, source: pointer(real), row: int64, column: int64,
        firsts: pointer(int64), to: pointer(real), dropped: boolean, drop: pointer(real), entering: pointer(real),
    ):  # fmt: skip
        """to[firsts[b]] = source[b], or zeros; with `dropped`, entering[firsts[b]] = drop[b] times that."""
        for i in range(cuda.grid(1), B * width, cuda.gridsize(1)):
            b, k = i // width, i % width
            value = source[b * row + k * column] if given else real(0)
            at = firsts[b] * width + k
            to[at] = value
            if dropped:
                entering[at] = value * drop[i]

    return SimpleNamespace(copy_row=copy_row, copy_rows=copy_rows, place=place)


@functools.cache
def kernels(
    real: type, step: Step, projected: bool, held: bool, dropped: bool, high: int, wide: int
) -> SimpleNamespace:
    """The kernels of a step; `held`: with zoneout of a projected hidden state; high x wide, the tiles of products."""
    G, R, Q, S, V = step.gates, step.inner, step.halves, step.states, step.vectors
    W = R - Q
    OLD, LEARNED, ZONED, SEEDS = G + Q, G + Q + S, G + Q + S + V, G + Q + S + V + S
    COUNT, BIASES = SEEDS + S, max(R, 1)
    ZONES = sum(1 << k for k in step.zones)
    BELOW = G if Q else 0  # where in a row of d_rows, in times H, the gradients begin that are multiplied by w_hh
    ROW = BELOW + R if Q else G
    math, back = step.forward, step.backward
    copy_row, copy_rows = copies(real).copy_row, copies(real).copy_rows
    product = tile_product(real, high, wide)
    later = copy_later(1)

    # ------------------------------------------------------------------------------ one unit of one row
    @inlined
    def read_row(values, r, unit, N, H, P, gates, hidden, carried, states, zone_carried, zone_states, zone_row):
        """What the step reads of row r, but for the learned vectors."""
        for k in range(G):
            values[k] = gates[(r * G + k) * H + unit]
        for k in range(Q):
            values[G + k] = hidden[(r * Q + k) * H + unit]
        if not projected:
            values[OLD] = carried[r * P + unit]
        for k in range(1, S):
            values[OLD + k] = states[((k - 1) * N + r) * H + unit]
        rows = N if zone_row != 0 else 1
        if ZONES & 1:
            values[ZONED] = zone_carried[zone_row * r * P + unit]
        for k in range(1, S):
            if ZONES >> k & 1:
                values[ZONED + k] = zone_states[((k - 1) * rows + zone_row * r) * H + unit]

    @inlined
    def pass_on(value, b, k, B, P, staying, following, carried, entering, last_carried, drop):
        """A number of the hidden state after the step, to the next one or to the end."""
        if b < staying:
            at = (following + b) * P + k
            carried[at] = value
            if dropped:
                entering[at] = value * drop[b * P + k]
        else:
            last_carried[b * P + k] = value

    @inlined
    def keep_states(results, b, unit, N, B, H, staying, following, states, last):
        for k in range(1, S):
            if b < staying:
                states[((k - 1) * N + following + b) * H + unit] = results[k]
            else:
                last[((k - 1) * B + b) * H + unit] = results[k]

    @inlined
    def keep_gates(values, r, unit, H, gates, hidden):
        for k in range(W):
            gates[(r * G + k) * H + unit] = values[k]
        for k in range(Q):
            hidden[(r * Q + k) * H + unit] = values[G + k]

    @inlined
    def write_rows(results, r, unit, H, d_rows):
        """The gradients of the gates."""
        row = r * ROW * H + unit
        for k in range(G):
            d_rows[row + k * H] = results[k]
        if Q:
            row += BELOW * H
            for k in range(W):
                d_rows[row + k * H] = results[k]
            for k in range(Q):
                d_rows[row + (W + k) * H] = results[G + k]

    @inlined
    def write_gradients(results, b, unit, B, H, d_states, d_vectors):
        for k in range(1, S):
            d_states[((k - 1) * B + b) * H + unit] = results[OLD + k]
        for k in range(V):
            d_vectors[(b * V + k) * H + unit] += results[LEARNED + k]

    @inlined
    def rows_of(step, T, reverse, sizes, offsets):
        """(first row, number of rows) of a step, by its number in the order of the walk; none outside of it."""
        if step < 0 or step >= T:
            return int64(0), int64(0)
        t = T - 1 - step if reverse else step
        return offsets[t], sizes[t]

    # ------------------------------------------------------------------------------ all steps in one launch
    @kernel(limit=THREADS)
    def forward(
        T: int64, B: int64, N: int64, H: int64, reverse: boolean, sizes: pointer(int64), offsets: pointer(int64),
        units: int64, broad: int64, tall: int64, length: int64, splits: int64, fast: boolean, counters: pointer(int32),
        w_hh: pointer(real), b_hh: pointer(real), biased: boolean, vectors: pointer(real),
        zone_carried: pointer(real), zone_states: pointer(real), zone_row: int64, drop: pointer(real),
        gates: pointer(real), hidden: pointer(real), carried: pointer(real), entering: pointer(real),
        states: pointer(real), out: pointer(real), last_carried: pointer(real), last: pointer(real),
    ):  # fmt: skip
        memory = cuda.shared.array(0, real, 16)
        values, results, bias = cuda.local.array(COUNT, real), cuda.local.array(S, real), cuda.local.array(BIASES, real)
        thread, threads = cuda.threadIdx.x, cuda.blockDim.x
        groups = int64(cuda.gridDim.x)
        speaker = R > 0 and thread == 0 and groups > 1  # waits for other blocks, and tells them
        first, lead, teams = cuda.blockIdx.x * units, cuda.blockIdx.y, cuda.gridDim.y
        at_h, at_z = tall * H, tall * H + broad * length
        r = thread >> 5
        while r < tall:
            gate = int64(uint32(r) // uint32(units))
            unit = first + r - gate * units
            some = gate < R and unit < H
            copy_row(memory, r * H, w_hh, (gate * H + unit if some else 0) * H, H, some, thread & 31, 32, fast)
            r += threads >> 5
        b = int64(uint32(thread) // uint32(units))  # 32 bits are divided much faster than 64
        unit = first + thread - b * units
        if unit < H:
            for k in range(R):
                bias[k] = b_hh[k * H + unit] if biased else real(0)
            for k in range(V):
                values[LEARNED + k] = vectors[k * H + unit]
        for step in range(T):
            row, alive = rows_of(step, T, reverse, sizes, offsets)
            following, staying = rows_of(step + 1, T, reverse, sizes, offsets)
            tile, top = lead, lead * broad
            while top < B:
                rows = min(alive - top, broad)
                if rows > 0:
                    active = b < rows and unit < H
                    s = top + b
                    r = row + s
                    if active:
                        read_row(
                            values, r, unit, N, H, H, gates, hidden, carried, states, zone_carried, zone_states,
                            zone_row,
                        )  # fmt: skip
                    if speaker:
                        while acquire(counters, tile * APART) < step * groups:
                            pass
                    k, end = 0 if R else H, at_z
                    while k < H:
                        n = min(length, H - k)
                        cuda.syncthreads()
                        copy_rows(memory, at_h, length, entering, (row + top) * H + k, H, rows, n, fast)
                        arrived()
                        cuda.syncthreads()
                        product(memory, k, H, at_h, length, n, end, tall, broad, rows, splits, fast)
                        k, end = k + n, end + splits * broad * tall
                    cuda.syncthreads()
                    if active:
                        for k in range(R):
                            total = bias[k]
                            at = at_z + b * tall + k * units + unit - first
                            while at < end:
                                total += memory[at]
                                at += broad * tall
                            if k < W:
                                values[k] += total
                            else:
                                values[G - W + k] = total
                        math(values, results)
                        pass_on(results[0], s, unit, B, H, staying, following, carried, entering, last_carried, drop)
                    cuda.syncthreads()
                    if speaker:
                        release(counters, tile * APART)
                    if active:
                        out[r * H + unit] = results[0]
                        keep_states(results, s, unit, N, B, H, staying, following, states, last)
                        keep_gates(values, r, unit, H, gates, hidden)
                elif speaker:
                    release(counters, tile * APART)
                tile, top = tile + teams, top + teams * broad

    @kernel(limit=THREADS)
    def backward(
        T: int64, B: int64, N: int64, H: int64, reverse: boolean, sizes: pointer(int64), offsets: pointer(int64),
        units: int64, broad: int64, tall: int64, length: int64, splits: int64, fast: boolean, counters: pointer(int32),
        w_hh: pointer(real), vectors: pointer(real),
        zone_carried: pointer(real), zone_states: pointer(real), zone_row: int64, drop: pointer(real),
        gates: pointer(real), hidden: pointer(real), carried: pointer(real), states: pointer(real),
        given: boolean, d_out: pointer(real), d_row: int64, d_time: int64, d_column: int64,
        d_carried: pointer(real), d_states: pointer(real), d_vectors: pointer(real), d_rows: pointer(real),
    ):  # fmt: skip
        memory = cuda.shared.array(0, real, 16)
        values, results = cuda.local.array(COUNT, real), cuda.local.array(SEEDS, real)
        thread, threads = cuda.threadIdx.x, cuda.blockDim.x
        groups = int64(cuda.gridDim.x)
        speaker = R > 0 and thread == 0 and groups > 1  # waits for other blocks, and tells them
        first, lead, teams = cuda.blockIdx.x * units, cuda.blockIdx.y, cuda.gridDim.y
        depth = R * H
        at_d, at_z = tall * depth, tall * depth + broad * length
        k = int64(thread)
        while k < depth:
            for r in range(tall):
                some = r < units and first + r < H
                later(memory, r * depth + k, w_hh, k * H + first + r if some else 0, some)
            k += threads
        b = int64(uint32(thread) // uint32(units))  # 32 bits are divided much faster than 64
        unit = first + thread - b * units
        if unit < H:
            for k in range(V):
                values[LEARNED + k] = vectors[k * H + unit]
        for turn in range(T + 1):
            step = T - 1 - turn
            row, alive = rows_of(step, T, reverse, sizes, offsets)
            following, staying = rows_of(step + 1, T, reverse, sizes, offsets)
            t = T - 1 - step if reverse else step
            tile, top = lead, lead * broad
            while top < B:
                rows, others = min(alive - top, broad), min(staying - top, broad)
                if rows > 0 or others > 0:
                    active, added = b < rows and unit < H, b < others and unit < H
                    s = top + b
                    r = row + s
                    d, d_above, factor = real(0), real(0), real(1)
                    if active:
                        read_row(
                            values, r, unit, N, H, H, gates, hidden, carried, states, zone_carried, zone_states,
                            zone_row,
                        )  # fmt: skip
                        for k in range(1, S):
                            values[SEEDS + k] = d_states[((k - 1) * B + s) * H + unit]
                        if given:
                            d_above = d_out[r * d_row + t * d_time + unit * d_column]
                    if active or added:
                        d = d_carried[s * H + unit]
                        if dropped:
                            factor = drop[s * H + unit]
                    if R > 0 and others > 0:
                        if speaker:
                            while acquire(counters, tile * APART) < turn * groups:
                                pass
                        k, end = 0, at_z
                        at = ((following + top) * ROW + BELOW) * H
                        while k < depth:
                            n = min(length, depth - k)
                            cuda.syncthreads()
                            copy_rows(memory, at_d, length, d_rows, at + k, ROW * H, others, n, fast)
                            arrived()
                            cuda.syncthreads()
                            product(memory, k, depth, at_d, length, n, end, tall, broad, others, splits, fast)
                            k, end = k + n, end + splits * broad * tall
                        cuda.syncthreads()
                        if added:
                            total = real(0)
                            at = at_z + b * tall + unit - first
                            while at < end:
                                total += memory[at]
                                at += broad * tall
                            d += factor * total
                    if active:
                        values[SEEDS] = d + d_above
                        back(values, results)
                        write_rows(results, r, unit, H, d_rows)
                        d = results[OLD]
                    cuda.syncthreads()
                    if speaker:
                        release(counters, tile * APART)
                    if active or added:
                        d_carried[s * H + unit] = d
                    if active:
                        write_gradients(results, s, unit, B, H, d_states, d_vectors)
                elif speaker:
                    release(counters, tile * APART)
                tile, top = tile + teams, top + teams * broad

    # ------------------------------------------------------------------------------ one step in a launch
    @inlined
    def read_step(
        values, b, r, unit, N, H, P, sums, b_hh, biased, vectors, gates, hidden, carried, states, zone_carried,
        zone_states, zone_row,
    ):  # fmt: skip
        """What the step reads: row r, which is row b of the step's, and that of its product."""
        read_row(values, r, unit, N, H, P, gates, hidden, carried, states, zone_carried, zone_states, zone_row)
        for k in range(V):
            values[LEARNED + k] = vectors[k * H + unit]
        for k in range(R):
            total = sums[(b * R + k) * H + unit]
            if biased:
                total += b_hh[k * H + unit]
            if k < W:
                values[k] += total
            else:
                values[G - W + k] = total

    @inlined
    def write_step(
        values, results, b, r, unit, N, B, H, P, staying, following, drop, gates, hidden, carried, entering, states,
        out, last_carried, last, full,
    ):  # fmt: skip
        if projected:
            full[r * H + unit] = results[0]
        else:
            pass_on(results[0], b, unit, B, P, staying, following, carried, entering, last_carried, drop)
            out[r * H + unit] = results[0]
        keep_states(results, b, unit, N, B, H, staying, following, states, last)
        keep_gates(values, r, unit, H, gates, hidden)

    @inlined
    def gradient_of_h(i, b, others, sums, drop, d_carried):
        """Number i of what the step after gives to h; it is of row b."""
        if projected:
            return sums[i]
        d = d_carried[i]
        if b < others:
            d += sums[i] * (drop[i] if dropped else real(1))
        return d

    @inlined
    def read_gradients(
        values, d, b, r, unit, B, N, H, P, vectors, zone_carried, zone_states, zone_row, gates, hidden, carried,
        states, given, d_out, d_start, d_row, d_column, d_states,
    ):  # fmt: skip
        """What the step's derivative reads; d is what the step after gives to h."""
        read_row(values, r, unit, N, H, P, gates, hidden, carried, states, zone_carried, zone_states, zone_row)
        for k in range(V):
            values[LEARNED + k] = vectors[k * H + unit]
        for k in range(1, S):
            values[SEEDS + k] = d_states[((k - 1) * B + b) * H + unit]
        values[SEEDS] = d
        if given and not projected:
            values[SEEDS] += d_out[d_start + b * d_row + unit * d_column]

    @kernel
    def step_forward(
        rows: int64, row: int64, staying: int64, following: int64, B: int64, N: int64, H: int64, P: int64,
        sums: pointer(real), b_hh: pointer(real), biased: boolean, vectors: pointer(real),
        zone_carried: pointer(real), zone_states: pointer(real), zone_row: int64, drop: pointer(real),
        gates: pointer(real), hidden: pointer(real), carried: pointer(real), entering: pointer(real),
        states: pointer(real), out: pointer(real), last_carried: pointer(real), last: pointer(real),
        full: pointer(real),
    ):  # fmt: skip
        """`sums` (rows, R*H): the product of the hidden state with w_hh."""
        values, results = cuda.local.array(COUNT, real), cuda.local.array(S, real)
        for i in range(cuda.grid(1), rows * H, cuda.gridsize(1)):
            b, unit = i // H, i % H
            r = row + b
            read_step(
                values, b, r, unit, N, H, P, sums, b_hh, biased, vectors, gates, hidden, carried, states, zone_carried,
                zone_states, zone_row,
            )  # fmt: skip
            math(values, results)
            write_step(
                values, results, b, r, unit, N, B, H, P, staying, following, drop, gates, hidden, carried, entering,
                states, out, last_carried, last, full,
            )  # fmt: skip

    @kernel
    def project(
        rows: int64, row: int64, staying: int64, following: int64, B: int64, P: int64, sums: pointer(real),
        zone_carried: pointer(real), zone_row: int64, drop: pointer(real), carried: pointer(real),
        entering: pointer(real), out: pointer(real), last_carried: pointer(real),
    ):  # fmt: skip
        """`sums` (rows, P): the projection."""
        for i in range(cuda.grid(1), rows * P, cuda.gridsize(1)):
            b, k = i // P, i % P
            value, at = sums[i], row * P + i
            if held:
                zone = zone_carried[zone_row * (row + b) * P + k]
                value = zone * carried[at] + (real(1) - zone) * value
            out[at] = value
            pass_on(value, b, k, B, P, staying, following, carried, entering, last_carried, drop)

    @kernel
    def step_back(
        rows: int64, others: int64, row: int64, B: int64, N: int64, H: int64, P: int64,
        sums: pointer(real), vectors: pointer(real),
        zone_carried: pointer(real), zone_states: pointer(real), zone_row: int64, drop: pointer(real),
        gates: pointer(real), hidden: pointer(real), carried: pointer(real), states: pointer(real),
        given: boolean, d_out: pointer(real), d_start: int64, d_row: int64, d_column: int64,
        d_carried: pointer(real), d_states: pointer(real), d_vectors: pointer(real), d_rows: pointer(real),
    ):  # fmt: skip
        """`sums` (others, P): the gradients of the step after, times w_hh; or, if projected, (rows, H): those of h."""
        values, results = cuda.local.array(COUNT, real), cuda.local.array(SEEDS, real)
        for i in range(cuda.grid(1), max(rows, others) * H, cuda.gridsize(1)):
            b, unit = i // H, i % H
            r, d = row + b, gradient_of_h(i, b, others, sums, drop, d_carried)
            if b < rows:
                read_gradients(
                    values, d, b, r, unit, B, N, H, P, vectors, zone_carried, zone_states, zone_row, gates, hidden,
                    carried, states, given, d_out, d_start, d_row, d_column, d_states,
                )  # fmt: skip
                back(values, results)
                write_rows(results, r, unit, H, d_rows)
                write_gradients(results, b, unit, B, H, d_states, d_vectors)
                d = results[OLD]
            if not projected:
                d_carried[i] = d

    @kernel
    def project_back(
        rows: int64, others: int64, row: int64, P: int64, sums: pointer(real),
        zone_carried: pointer(real), zone_row: int64, drop: pointer(real),
        given: boolean, d_out: pointer(real), d_start: int64, d_row: int64, d_column: int64,
        d_carried: pointer(real), d_projected: pointer(real),
    ):  # fmt: skip
        """`sums` (others, P) as in `step_back`; with d_out they give d_projected (N, P), that of the projection."""
        for i in range(cuda.grid(1), max(rows, others) * P, cuda.gridsize(1)):
            b, k = i // P, i % P
            d = d_carried[i]
            if b < others:
                d += sums[i] * (drop[i] if dropped else real(1))
            if b < rows:
                if given:
                    d += d_out[d_start + b * d_row + k * d_column]
                zone = zone_carried[zone_row * (row + b) * P + k] if held else real(0)
                d_projected[row * P + i] = (real(1) - zone) * d
                d *= zone
            d_carried[i] = d

    if step.forward_means:
        by_row = cell_rows.kernels(
            real, step, SimpleNamespace(
                count=COUNT, states=S, seeds=SEEDS, old=OLD, projected=projected, read_step=read_step,
                write_step=write_step, gradient_of_h=gradient_of_h, read_gradients=read_gradients,
                write_gradients=write_gradients, write_rows=write_rows,
            ),
        )  # fmt: skip
        step_forward, step_back = by_row.step_forward, by_row.step_back
    return SimpleNamespace(
        forward=forward, backward=backward, step_forward=step_forward, step_back=step_back, project=project,
        project_back=project_back,
    )  # fmt: skip
