"""One step in a launch for a cell that takes means over its hidden units: a block for each row.

    kernels(real, step, parts)    step_forward and step_back, with the arguments of cell_kernels.py

The threads of a block pass over the units of a row once for each stage of means (see kernels/scalar.py), those of which
need only the stages before, and once more for the states or gradients; what a unit reads, and what leads to a mean, is
computed anew in every pass.  Sums are in a fixed order: over the units of a thread, its warp, and the warps.

    shared memory: `found` (WIDE, WARPS), the sums of the warps; means (stages * WIDE,), of the row.  A stage has WIDE
    places, some of which may be zeros.
"""

from types import SimpleNamespace
from typing import Any

from numba import cuda

from .cell_math import Step
from .jit import boolean, inlined, int64, kernel, pointer
from .team import EVERYONE, WARP, WARPS


def averages(real: type, stages: int, wide: int) -> Any:
    """The function that makes means of the sums of all threads, for one of `stages` of `wide` means."""
    ROOM = wide * WARPS

    @inlined
    def average(sums, means, stage, H):
        found = cuda.shared.array(ROOM, real)
        thread, warps = cuda.threadIdx.x, cuda.blockDim.x // WARP
        for k in range(wide):
            total = sums[k]
            total += cuda.shfl_xor_sync(EVERYONE, total, 16)
            total += cuda.shfl_xor_sync(EVERYONE, total, 8)
            total += cuda.shfl_xor_sync(EVERYONE, total, 4)
            total += cuda.shfl_xor_sync(EVERYONE, total, 2)
            total += cuda.shfl_xor_sync(EVERYONE, total, 1)
            if thread % WARP == 0:
                found[k * WARPS + thread // WARP] = total
        cuda.syncthreads()
        for k in range(thread, wide, cuda.blockDim.x):
            total = real(0)
            for warp in range(warps):
                total += found[k * WARPS + warp]
            means[stage * wide + k] = total / real(H)
        cuda.syncthreads()

    return average


def kernels(real: type, step: Step, parts: Any) -> SimpleNamespace:
    """The kernels of a step; `parts`: the functions of cell_kernels.py that read and write, and how many numbers."""
    math, back, before, before_back = step.forward, step.backward, step.forward_means, step.backward_means
    STAGES, WIDE = step.forward_stages
    STAGES_BACK, WIDE_BACK = step.backward_stages
    COUNT, RESULTS, RESULTS_BACK = parts.count, max(parts.states, WIDE), max(parts.seeds, WIDE_BACK)
    MEANS, MEANS_BACK = STAGES * WIDE, max(STAGES_BACK, 1) * WIDE_BACK
    OLD, PROJECTED = parts.old, parts.projected
    average, average_back = averages(real, STAGES, WIDE), averages(real, STAGES_BACK, WIDE_BACK)
    read_step, write_step, gradient_of_h = parts.read_step, parts.write_step, parts.gradient_of_h
    read_gradients, write_gradients, write_rows = parts.read_gradients, parts.write_gradients, parts.write_rows

    @kernel
    def step_forward(
        rows: int64, row: int64, staying: int64, following: int64, B: int64, N: int64, H: int64, P: int64,
        sums: pointer(real), b_hh: pointer(real), biased: boolean, vectors: pointer(real),
        zone_carried: pointer(real), zone_states: pointer(real), zone_row: int64, drop: pointer(real),
        gates: pointer(real), hidden: pointer(real), carried: pointer(real), entering: pointer(real),
        states: pointer(real), out: pointer(real), last_carried: pointer(real), last: pointer(real),
        full: pointer(real),
    ):  # fmt: skip
        values, results = cuda.local.array(COUNT, real), cuda.local.array(RESULTS, real)
        totals, means = cuda.local.array(WIDE, real), cuda.shared.array(MEANS, real)
        for b in range(cuda.blockIdx.x, rows, cuda.gridDim.x):
            r = row + b
            for stage in range(STAGES):
                for k in range(WIDE):
                    totals[k] = real(0)
                for unit in range(cuda.threadIdx.x, H, cuda.blockDim.x):
                    read_step(
                        values, b, r, unit, N, H, P, sums, b_hh, biased, vectors, gates, hidden, carried, states,
                        zone_carried, zone_states, zone_row,
                    )  # fmt: skip
                    before(stage, values, means, results)
                    for k in range(WIDE):
                        totals[k] += results[k]
                average(totals, means, stage, H)
            for unit in range(cuda.threadIdx.x, H, cuda.blockDim.x):
                read_step(
                    values, b, r, unit, N, H, P, sums, b_hh, biased, vectors, gates, hidden, carried, states,
                    zone_carried, zone_states, zone_row,
                )  # fmt: skip
                math(values, means, results)
                write_step(
                    values, results, b, r, unit, N, B, H, P, staying, following, drop, gates, hidden, carried, entering,
                    states, out, last_carried, last, full,
                )  # fmt: skip

    @kernel
    def step_back(
        rows: int64, others: int64, row: int64, B: int64, N: int64, H: int64, P: int64,
        sums: pointer(real), vectors: pointer(real),
        zone_carried: pointer(real), zone_states: pointer(real), zone_row: int64, drop: pointer(real),
        gates: pointer(real), hidden: pointer(real), carried: pointer(real), states: pointer(real),
        given: boolean, d_out: pointer(real), d_start: int64, d_row: int64, d_column: int64,
        d_carried: pointer(real), d_states: pointer(real), d_vectors: pointer(real), d_rows: pointer(real),
    ):  # fmt: skip
        values, results = cuda.local.array(COUNT, real), cuda.local.array(RESULTS_BACK, real)
        totals, means = cuda.local.array(WIDE_BACK, real), cuda.shared.array(MEANS_BACK, real)
        for b in range(cuda.blockIdx.x, max(rows, others), cuda.gridDim.x):
            r = row + b
            for stage in range(STAGES_BACK if b < rows else 0):
                for k in range(WIDE_BACK):
                    totals[k] = real(0)
                for unit in range(cuda.threadIdx.x, H, cuda.blockDim.x):
                    read_gradients(
                        values, gradient_of_h(b * H + unit, b, others, sums, drop, d_carried), b, r, unit, B, N, H, P,
                        vectors, zone_carried, zone_states, zone_row, gates, hidden, carried, states, given, d_out,
                        d_start, d_row, d_column, d_states,
                    )  # fmt: skip
                    before_back(stage, values, means, results)
                    for k in range(WIDE_BACK):
                        totals[k] += results[k]
                average_back(totals, means, stage, H)
            for unit in range(cuda.threadIdx.x, H, cuda.blockDim.x):
                d = gradient_of_h(b * H + unit, b, others, sums, drop, d_carried)
                if b < rows:
                    read_gradients(
                        values, d, b, r, unit, B, N, H, P, vectors, zone_carried, zone_states, zone_row, gates, hidden,
                        carried, states, given, d_out, d_start, d_row, d_column, d_states,
                    )  # fmt: skip
                    back(values, means, results)
                    write_rows(results, r, unit, H, d_rows)
                    write_gradients(results, b, unit, B, H, d_states, d_vectors)
                    d = results[OLD]
                if not PROJECTED:
                    d_carried[b * H + unit] = d

    return SimpleNamespace(step_forward=step_forward, step_back=step_back)
