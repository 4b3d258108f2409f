"""The product within a recurrence: a few rows of weights and of states, both in shared memory, by one block of threads.

    product(real, high, wide)   a function (memory, w, w_row, h, h_row, depth, z, tall, broad, rows, splits, fast):

    memory[z + (split * broad + b) * tall + r] = the sum over one part of k of w[r, k] * h[b, k]

for r < tall and b < rows, rounded up to a multiple of `wide`; w (tall, depth) and h (broad, depth) are at these places
of `memory`, their rows w_row and h_row numbers apart; tall is a multiple of `high`, broad of `wide`.

Each warp takes a tile of high x wide sums, which are registers, and one of `splits` parts of k.  Its lanes take every
32nd k, or if `fast` 16 bytes of them, which lie in different banks; a number from shared memory serves a whole row or
column of the tile.  In the end the lanes' sums are added in a butterfly, which leaves each with a share of the tile:
high * wide - 1 exchanges for up to 32 sums.  The order of all sums is fixed.

`fast` wants all places, rows and the depth to be multiples of 16 bytes.
"""

import functools
from typing import Any

from numba import cuda

from .jit import inlined, int64, uint32
from .ptx import load

EVERY = 0xFFFFFFFF  # lane of a warp


@inlined
def share(sums, left, upper, distance):
    """Keep one half of 2 * left sums, or one sum, and add to it what the lane at a distance gives."""
    if left == 0:
        sums[0] += cuda.shfl_xor_sync(EVERY, sums[0], distance)
    for n in range(left):
        first, second = sums[n], sums[n + left]
        given, kept = first if upper else second, second if upper else first
        sums[n] = kept + cuda.shfl_xor_sync(EVERY, given, distance)


@functools.cache
def product(real: type, high: int, wide: int) -> Any:
    """The function for a type and a tile; `high` and `wide` are powers of two."""
    COUNT, HIGH_BITS, WIDE_BITS = high * wide, high.bit_length() - 1, wide.bit_length() - 1
    LEFT_16, LEFT_8, LEFT_4, LEFT_2, LEFT_1 = (COUNT >> k for k in range(1, 6))
    REST = max(LEFT_1, 1)

    def adder(V):
        load_some, SIZE = load(V), high * V

        @inlined
        def add(sums, memory, w, w_row, h, h_row, k, depth, step):
            """Add up every step-th V numbers from k on."""
            numbers, others = cuda.local.array(SIZE, real), cuda.local.array(V, real)
            while k < depth:
                for i in range(high):
                    load_some(numbers, i * V, memory, w + i * w_row + k)
                for j in range(wide):
                    load_some(others, 0, memory, h + j * h_row + k)
                    for v in range(V):
                        for i in range(high):
                            sums[j * high + i] += numbers[i * V + v] * others[v]
                k += step

        return add

    V = 16 // real().itemsize
    add_several, add_single = adder(V), adder(1)

    @inlined
    def multiply(memory, w, w_row, h, h_row, depth, z, tall, broad, rows, splits, fast):
        sums = cuda.local.array(COUNT, real)
        lane = cuda.threadIdx.x & 31
        down = tall >> HIGH_BITS
        jobs = down * ((rows + wide - 1) >> WIDE_BITS) * splits
        job = cuda.threadIdx.x >> 5
        while job < jobs:  # a range with a step that is not known would be divided by it
            tile = int64(uint32(job) // uint32(splits))  # 32 bits are divided much faster than 64
            column = int64(uint32(tile) // uint32(down))
            split, r, b = job - tile * splits, (tile - column * down) * high, column * wide
            from_w, from_h = w + r * w_row, h + b * h_row
            for n in range(COUNT):
                sums[n] = real(0)
            first, step = 32 * split + lane, 32 * splits
            if fast:
                add_several(sums, memory, from_w, w_row, from_h, h_row, first * V, depth, step * V)
            else:
                add_single(sums, memory, from_w, w_row, from_h, h_row, first, depth, step)
            share(sums, LEFT_16, lane & 16 != 0, 16)
            share(sums, LEFT_8, lane & 8 != 0, 8)
            share(sums, LEFT_4, lane & 4 != 0, 4)
            share(sums, LEFT_2, lane & 2 != 0, 2)
            share(sums, LEFT_1, lane & 1 != 0, 1)
            if lane * COUNT & 31 == 0:  # the others have copies
                for n in range(REST):
                    place = (lane * COUNT >> 5) + n
                    i, j = place & (high - 1), place >> HIGH_BITS
                    memory[z + (split * broad + b + j) * tall + r + i] = sums[n]
            job += cuda.blockDim.x >> 5

    return multiply
