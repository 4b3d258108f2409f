"""Teams: threads that work on one row, and how they put together what each of them has found.

A block is (size, teams) threads: `threadIdx.x` is a thread's place in its team, `threadIdx.y` its team's in the block.
Sizes are powers of two.  Several teams are parts of warps and need no barrier; a team of more than a warp is a block.

What a thread has found are two numbers, a state; the second means something only where an operation has a use for it.
All threads of a block call `together` at the same time, those without a row too, and each gets its team's state.
"""

from typing import Any

from numba import cuda

from .driver import driver
from .jit import device

WARP, LARGEST = 32, 1024  # threads of a warp, and of a block at most
WARPS = LARGEST // WARP
EVERYONE = 0xFFFFFFFF


def together(merge: Any, first: Any, second: Any, pair: bool) -> Any:
    """The device function (a, b) -> (a, b) that merges the states of a team.

    merge(a, b, c, d) is the state for two of them; it gives the same bits for (c, d, a, b).  `first` and `second` are
    the types of a and b; unless `pair`, b counts nothing.
    """

    @device
    def merged(a, b):
        distance = min(cuda.blockDim.x, WARP) // 2
        while distance > 0:
            c = cuda.shfl_xor_sync(EVERYONE, a, distance)
            d = cuda.shfl_xor_sync(EVERYONE, b, distance) if pair else b
            a, b = merge(a, b, c, d)
            distance //= 2
        if cuda.blockDim.x > WARP:
            firsts = cuda.shared.array(WARPS, first)
            seconds = cuda.shared.array(WARPS, second)
            cuda.syncthreads()  # all have read what was found in the row before
            if cuda.threadIdx.x % WARP == 0:
                firsts[cuda.threadIdx.x // WARP] = a
                seconds[cuda.threadIdx.x // WARP] = b
            cuda.syncthreads()
            a, b = firsts[0], seconds[0]
            for warp in range(1, cuda.blockDim.x // WARP):
                a, b = merge(a, b, firsts[warp], seconds[warp])
        return a, b

    return merged


def up_to(n: int, most: int) -> int:
    """The smallest power of two that is not below n, but at most `most`."""
    return min(most, 1 << max(0, n - 1).bit_length())


def block(team: int) -> tuple[int, int]:
    """The shape of a block of teams of that size."""
    return team, 1 if team > WARP else driver().threads // team


def blocks(units: int, shape: tuple[int, int]) -> int:
    """How many blocks of teams take turns with that many rows."""
    across, teams = shape
    return driver().blocks(-(-units // teams) * across * teams, across * teams)
