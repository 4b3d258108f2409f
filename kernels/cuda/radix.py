"""Radix sort: the order of whole numbers, equal ones in the order in which they came.

One warp takes a run of the numbers, 32 at a time.  It counts how often each value of eight bits occurs in its run;
the counts of all runs, added up in the order (value, run), say where its first number of each value goes; and it puts
its numbers there, lane by lane.  Eight bits after eight bits, the lowest first (Knuth 1998, "The art of computer
programming" 3, 5.2.5, algorithm R).  The same three steps with one bit find which elements of a mask hold.

    ordered(keys (n,) int64, bits)  -> order (n,), keys[order] (n,); of the keys the lowest `bits` bits count
    held(mask (n,) bool)            -> the positions where it holds, in order
"""

import numpy as np
from numba import cuda

from .array import Array, empty, zeros
from .driver import driver
from .jit import int64, kernel, pointer

WARP, DIGITS, BITS = 32, 256, 8
LEAST, MOST = 512, 8192  # numbers in a run, at least; runs, at most


@kernel
def count(keys: pointer(int64), n: int64, run: int64, shift: int64, counts: pointer(int64)):
    """counts[digit, block] of each block's run."""
    block, lane = cuda.blockIdx.x, cuda.threadIdx.x
    found = cuda.shared.array(DIGITS, int64)
    for digit in range(lane, DIGITS, WARP):
        found[digit] = 0
    cuda.syncwarp()
    for i in range(block * run + lane, min(n, (block + 1) * run), WARP):
        cuda.atomic.add(found, (keys[i] >> shift) & (DIGITS - 1), 1)
    cuda.syncwarp()
    for digit in range(lane, DIGITS, WARP):
        counts[digit * cuda.gridDim.x + block] = found[digit]


@kernel
def scan(counts: pointer(int64), rows: int64, n: int64, totals: pointer(int64)):
    """Each row of n counts as running sums of what came before; its sum.  A block takes a row."""
    t, threads = cuda.threadIdx.x, cuda.blockDim.x
    sums = cuda.shared.array(1024, int64)
    part = (n + threads - 1) // threads
    for row in range(cuda.blockIdx.x, rows, cuda.gridDim.x):
        first, last = row * n + min(n, t * part), row * n + min(n, (t + 1) * part)
        own = 0
        for i in range(first, last):
            own += counts[i]
        sums[t] = own
        cuda.syncthreads()
        reach = 1
        while reach < threads:
            before = sums[t - reach] if t >= reach else 0
            cuda.syncthreads()
            sums[t] += before
            cuda.syncthreads()
            reach *= 2
        running = sums[t] - own
        for i in range(first, last):
            here = counts[i]
            counts[i] = running
            running += here
        if t == threads - 1:
            totals[row] = running
        cuda.syncthreads()


@kernel
def place(
    keys: pointer(int64),
    order: pointer(int64),
    numbered: int64,
    n: int64,
    run: int64,
    shift: int64,
    counts: pointer(int64),
    totals: pointer(int64),
    new_keys: pointer(int64),
    new_order: pointer(int64),
):
    """Move each number of a block's run, and its place in the first order, to where its digit goes."""
    block, lane = cuda.blockIdx.x, cuda.threadIdx.x
    starts = cuda.shared.array(DIGITS, int64)
    each = DIGITS // WARP
    own = 0
    for k in range(each):
        own += totals[lane * each + k]
    upto = own
    reach = 1
    while reach < WARP:
        before = cuda.shfl_up_sync(0xFFFFFFFF, upto, reach)
        if lane >= reach:
            upto += before
        reach *= 2
    upto -= own
    for k in range(each):
        digit = lane * each + k
        starts[digit] = upto + counts[digit * cuda.gridDim.x + block]
        upto += totals[digit]
    cuda.syncwarp()
    for first in range(block * run, min(n, (block + 1) * run), WARP):
        i = first + lane
        inside = i < n and i < (block + 1) * run
        key = keys[i] if inside else 0
        digit = (key >> shift) & (DIGITS - 1)
        same = cuda.ballot_sync(0xFFFFFFFF, inside) & 0xFFFFFFFF  # the lanes with this digit
        for bit in range(BITS):
            mine = (digit >> bit) & 1
            ones = cuda.ballot_sync(0xFFFFFFFF, mine != 0) & 0xFFFFFFFF
            same &= ones if mine != 0 else ~ones
        rank = cuda.popc(same & ((1 << lane) - 1))
        to = starts[digit] + rank
        cuda.syncwarp()
        if inside:
            new_keys[to] = key
            new_order[to] = order[i] if numbered != 0 else i
            if rank == 0:
                starts[digit] += cuda.popc(same)
        cuda.syncwarp()


@kernel
def count_held(mask: pointer(bool), n: int64, run: int64, counts: pointer(int64)):
    """counts[block] of each block's run."""
    block, lane = cuda.blockIdx.x, cuda.threadIdx.x
    found = 0
    for first in range(block * run, min(n, (block + 1) * run), WARP):
        i = first + lane
        holds = mask[i] != 0 if i < n and i < (block + 1) * run else False
        found += cuda.popc(cuda.ballot_sync(0xFFFFFFFF, holds) & 0xFFFFFFFF)
    if lane == 0:
        counts[block] = found


@kernel
def place_held(mask: pointer(bool), n: int64, run: int64, counts: pointer(int64), out: pointer(int64)):
    block, lane = cuda.blockIdx.x, cuda.threadIdx.x
    to = counts[block]
    for first in range(block * run, min(n, (block + 1) * run), WARP):
        i = first + lane
        holds = mask[i] != 0 if i < n and i < (block + 1) * run else False
        all_that_do = cuda.ballot_sync(0xFFFFFFFF, holds) & 0xFFFFFFFF
        if holds:
            out[to + cuda.popc(all_that_do & ((1 << lane) - 1))] = i
        to += cuda.popc(all_that_do)


KERNELS = (count, scan, place, count_held, place_held)


def runs(n: int) -> tuple[int, int]:
    """How many runs n numbers are taken in, and how long one is."""
    run = max(LEAST, -(-n // MOST))
    run = -(-run // WARP) * WARP
    return -(-n // run), run


def scanned(counts: Array) -> tuple[Array, Array]:
    """The running sums of each row (rows, n) before each count, in place; the sum of each row."""
    rows, n = counts.shape
    if n == 1:
        return zeros(counts.shape, np.int64), counts
    totals = empty(rows, np.int64)
    threads = min(driver().threads, 1024)
    scan.launch(driver().blocks(rows * threads, threads), threads, counts, rows, n, totals)
    return counts, totals


def ordered(keys: Array, bits: int, order: Array | None = None) -> tuple[Array, Array]:
    """The order of the keys, and the keys in it; `order`: the numbers that the keys have instead of 0, 1, ..."""
    n = keys.size
    blocks, run = runs(n)
    for shift in range(0, max(bits, 1) if n else 0, BITS):
        new_keys, new_order = empty(n, np.int64), empty(n, np.int64)
        counts = empty((DIGITS, blocks), np.int64)
        count.launch(blocks, WARP, keys, n, run, shift, counts)
        counts, totals = scanned(counts)
        numbers = keys if order is None else order
        place.launch(blocks, WARP, keys, numbers, order is not None, n, run, shift, counts, totals, new_keys, new_order)
        keys, order = new_keys, new_order
    return empty(0, np.int64) if order is None else order, keys


def held(mask: Array) -> Array:
    n = mask.size
    if not n:
        return empty(0, np.int64)
    blocks, run = runs(n)
    counts = empty((1, blocks), np.int64)
    count_held.launch(blocks, WARP, mask, n, run, counts)
    counts, total = scanned(counts)
    out = empty(total.item(), np.int64)
    if out.size:
        place_held.launch(blocks, WARP, mask, n, run, counts, out)
    return out
