"""Clip on the device: the 2-norm of many arrays taken as one vector, and their scaling.

    norm(arrays)            -> the norm, an array without axes: the host does not wait for it
    scale(arrays, factor)   the arrays times the factor, in place; an array without axes as the factor makes nothing
                            larger

All arrays are contiguous and of one floating-point type.  Squares are added up in float64: each thread those of a chunk
that are its own, then the threads of the block in the order of a tree, then one block all chunks.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import cuda
from numpy import float64 as wide

from .array import Array, empty, upload
from .driver import driver
from .jit import Kernel, device, float64, int64, kernel, pointer
from .ptx import numbers_at
from .tables import CHUNK, group_of, table_of

THREADS = 256  # the most that a block here has: a power of 2


@device
def sum_of_block(value, thread, threads):
    """The sum over all threads of a block, for each of them; `threads` is a power of 2, THREADS at most."""
    sums = cuda.shared.array(THREADS, float64)
    sums[thread] = value
    half = threads >> 1
    while half > 0:
        cuda.syncthreads()
        if thread < half:
            sums[thread] += sums[thread + half]
        half >>= 1
    cuda.syncthreads()
    total = sums[0]
    cuda.syncthreads()  # before another call writes there
    return total


@functools.cache
def kernels(dtype: str) -> tuple[Kernel, Kernel, Kernel]:
    """(squares, norm, scale) for float32 or float64."""
    numbers = numbers_at(dtype)

    @kernel
    def add_squares(table: pointer("int64"), groups: int64, chunks: int64, partial: pointer("float64")):
        thread, threads = cuda.threadIdx.x, cuda.blockDim.x
        for chunk in range(cuda.blockIdx.x, chunks, cuda.gridDim.x):
            row = 3 * group_of(chunk, table, groups, 3)
            n, first = table[row + 1], CHUNK * (chunk - table[row])
            x = numbers(table[row + 2], n)
            total = wide(0.0)
            for k in range(first + thread, min(first + CHUNK, n), threads):
                total += wide(x[k]) * wide(x[k])
            total = sum_of_block(total, thread, threads)
            if thread == 0:
                partial[chunk] = total

    @kernel
    def root_of_sum(partial: pointer("float64"), chunks: int64, out: pointer(dtype)):
        thread, threads = cuda.threadIdx.x, cuda.blockDim.x
        total = wide(0.0)
        for k in range(thread, chunks, threads):
            total += partial[k]
        total = sum_of_block(total, thread, threads)
        if thread == 0:
            out[0] = math.sqrt(total)

    @kernel
    def scale_down(table: pointer("int64"), groups: int64, chunks: int64, factor: pointer(dtype), least: float64):
        by = factor[0]
        if not by >= least:
            for chunk in range(cuda.blockIdx.x, chunks, cuda.gridDim.x):
                row = 3 * group_of(chunk, table, groups, 3)
                n, first = table[row + 1], CHUNK * (chunk - table[row])
                x = numbers(table[row + 2], n)
                for k in range(first + cuda.threadIdx.x, min(first + CHUNK, n), cuda.blockDim.x):
                    x[k] *= by

    return add_squares, root_of_sum, scale_down


def examples() -> list[Kernel]:
    return [k for dtype in ("float32", "float64") for k in kernels(dtype)]


def norm(arrays: Sequence[Array]) -> Array:
    """The square root of the sum of all squares."""
    table, threads = table_of([[a] for a in arrays]), min(THREADS, driver().threads)
    dtype = arrays[0].dtype
    add_squares, root_of_sum, _ = kernels(dtype.name)
    partial, out = empty(table.chunks, wide), empty((), dtype)
    if table.chunks:
        add_squares.launch(table.blocks(), threads, table.array, table.groups, table.chunks, partial)
    root_of_sum.launch(1, threads, partial, table.chunks, out)
    return out


def scale(arrays: Sequence[Array], factor: Any) -> None:
    """`factor` is a number, which counts whatever it is, or an array without axes."""
    dtype, least = arrays[0].dtype, 1.0
    if type(factor) is not Array:
        factor, least = upload(np.asarray(factor, dtype)), math.inf
    table, threads = table_of([[a] for a in arrays]), min(THREADS, driver().threads)
    if table.chunks:
        *_, scale_down = kernels(dtype.name)
        scale_down.launch(table.blocks(), threads, table.array, table.groups, table.chunks, factor, least)
