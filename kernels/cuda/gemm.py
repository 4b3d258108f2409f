"""Gemm: matrix products on the GPU, for arrays of one type and of any strides.

    matmul(a, b)                 (..., M, K) @ (..., K, N) -> (..., M, N), batch axes broadcast
    linear(x, w, bias=None)      x (..., K) @ w.T + bias for w (N, K), bias (N,) -> (..., N)

A block of threads computes a tile of the result, which stays in their registers, `depth` steps of k at a time: while
it multiplies one pair of strips of A and B from shared memory, the next pair is on its way there.  Strips are copied
number by number, neighbouring threads taking neighbours in memory whichever axis they lie along, so that one kernel
serves all strides and transposes; zeros stand for what lies outside of the matrices.  In shared memory the numbers of
one k are neighbours, and a thread reads those that it needs 16 bytes at a time.

Where the result has too few tiles to keep the device busy, K is cut into parts, whose products a second kernel adds in
order.  The same shapes on the same device give the same bits.

float32 is multiplied in float32, unless a program has allowed TF32 (`allowed.tf32`): then large products go to the
tensor cores, which take 10 of the 23 bits after the point.  cuBLAS, where it is installed, takes over large products
(cublas.py).
"""

import functools
import math
from typing import NamedTuple

import numpy as np
from numba import cuda

from .. import allowed
from . import cublas
from .array import Array, empty
from .driver import driver
from .jit import boolean, device, int64, kernel, pointer, several
from .ptx import arrived, copy_later, load, multiply_tf32, store, tf32

AXES = 3  # of a batch, in one launch


class Tile(NamedTuple):
    """What a block computes, rows x columns, what of it a thread does, tall x wide, and the steps of k at a time."""

    rows: int
    columns: int
    depth: int
    tall: int
    wide: int
    speed: float  # how much of the device's arithmetic it reaches: an estimate
    tensor: bool = False  # on the tensor cores, where the 32 threads of a warp compute 8 tall x 4 wide together

    @property
    def threads(self) -> int:
        return self.rows * self.columns // (self.tall * self.wide)


FLOAT32 = (
    Tile(16, 16, 32, 2, 2, 0.2),
    Tile(32, 32, 32, 2, 4, 0.4),
    Tile(64, 64, 16, 4, 4, 0.6),
    Tile(128, 128, 16, 8, 8, 0.9),
)
FLOAT64 = (Tile(16, 16, 16, 2, 2, 0.15), Tile(32, 32, 16, 2, 4, 0.3), Tile(64, 64, 16, 4, 4, 0.5))
TF32 = (Tile(64, 64, 16, 4, 8, 2.0, True), Tile(128, 128, 16, 8, 8, 4.0, True))


@functools.cache
def strip(real, extent: int, width: int, depth: int, threads: int):
    """A function that copies a strip, `extent` numbers for each of `depth` steps of k, to shared memory."""
    copies = extent * depth // threads  # for each thread
    apart_i, apart_k = threads // depth, threads // extent
    copy = copy_later(1)
    assert threads % depth == threads % extent == extent * depth % threads == 0

    @device
    def fill(to, first, source, at, step, k_step, along_k, inside, left):
        """to[first + k * width + i] = source[at + i * step + k * k_step] for i < inside, k < left, else 0."""
        thread = cuda.threadIdx.x
        if along_k:  # neighbours are numbers of one row
            i, k = thread // depth, thread % depth
            hop, jump = apart_i, apart_i * step
            some = (inside - i + apart_i - 1) // apart_i if k < left else 0
        else:
            i, k = thread % extent, thread // extent
            hop, jump = apart_k * width, apart_k * k_step
            some = (left - k + apart_k - 1) // apart_k if i < inside else 0
        first += k * width + i
        at += i * step + k * k_step
        for q in range(copies):
            copy(to, first + q * hop, source, at, q < some)
            at += jump

    return fill


@functools.cache
def tiled(real, tile: Tile):
    """The kernel for a type and a tile."""
    rows, columns, depth, tall, wide, _, tensor = tile
    threads, at_once = tile.threads, 16 // real().itemsize
    # The numbers of a thread: `high` rows that are `row_step` apart, the next ones after `row_group` rows, and so on.
    if tensor:
        high, row_step, row_group, broad, column_group = 2, 8, 16, 2, 8
        warps, padding = columns // (4 * wide), 8
    else:
        high, broad, row_step = min(tall, at_once), min(wide, at_once), 1
        across, down = columns // wide, rows // tall
        row_group, column_group = down * high, across * broad
        warps, padding = across // 8, at_once
    a_width, b_width = rows + padding, columns + padding  # padded, so that rows begin in different banks
    a_strip, b_strip, each = depth * a_width, depth * b_width, tall * wide
    a_room, b_room, x_room, y_room = 2 * a_strip, 2 * b_strip, 2 * tall, 2 * wide
    fill_a = strip(real, rows, a_width, depth, threads)
    fill_b = strip(real, columns, b_width, depth, threads)
    load_a, load_b, load_1, store_c = load(high), load(broad), load(1), store(broad)

    @device
    def place(thread):
        """The first row and column of a thread."""
        warp, lane = thread // 32, thread % 32
        if tensor:
            return warp // warps * 8 * tall + lane // 4, warp % warps * 4 * wide + lane % 4 * 2
        return (warp // warps * 4 + lane // 8) * high, (warp % warps * 8 + lane % 8) * broad

    @device
    def read(x, y, half, k, a, a_first, b, b_first):
        """Into one half of x and y, the numbers of a thread for step k of two strips."""
        for i in range(0, tall, high):
            load_a(x, half * tall + i, a, a_first + k * a_width + i // high * row_group)
        for j in range(0, wide, broad):
            load_b(y, half * wide + j, b, b_first + k * b_width + j // broad * column_group)

    @device
    def multiply(sums, a, a_first, b, b_first):
        """sums += strip of a @ strip of b.  The numbers for a step are read before those of the one before are used."""
        x, y = cuda.local.array(x_room, real), cuda.local.array(y_room, real)
        read(x, y, 0, 0, a, a_first, b, b_first)
        for k in range(0, depth, 2):
            for half in range(2):
                read(x, y, 1 - half, (k + half + 1) % depth, a, a_first, b, b_first)
                for i in range(tall):
                    for j in range(wide):
                        sums[i * wide + j] += x[half * tall + i] * y[half * wide + j]

    @device
    def multiply_on_tensor_cores(sums, a, a_first, b, b_first):
        """sums += strip of a @ strip of b, both rounded to TF32; a_first and b_first are a lane's."""
        x, y = cuda.local.array(x_room, real), cuda.local.array(wide, real)
        for k in range(0, depth, 8):
            for i in range(2 * tall):
                at = (k + i // 2 % 2 * 4) * a_width + i // 4 * row_group + i % 2 * row_step
                load_1(x, i, a, a_first + at)
                x[i] = tf32(x[i])
            for j in range(wide):
                load_1(y, j, b, b_first + (k + j % 2 * 4) * b_width + j // 2 * column_group)
                y[j] = tf32(y[j])
            for i in range(0, tall, 2):
                for j in range(0, wide, 2):
                    multiply_tf32(sums, i * wide + j, wide, x, 2 * i, y, j)

    @kernel(limit=threads)
    def product(
        c: pointer(real), m: int64, n: int64, k: int64, batch: several(int64, AXES), length: int64,
        a: pointer(real), a_row: int64, a_column: int64, a_steps: several(int64, AXES),
        b: pointer(real), b_row: int64, b_column: int64, b_steps: several(int64, AXES),
        bias: pointer(real), bias_step: int64, biased: boolean,
    ):  # fmt: skip
        """c[p, g] = a[g] @ b[g] + bias over `length` steps of k from p * length on; blocks: (column, row, g, p)."""
        tiles_across, tiles_down = (n + columns - 1) // columns, (m + rows - 1) // rows
        block = int64(cuda.blockIdx.x)
        column, block = block % tiles_across * columns, block // tiles_across
        row, block = block % tiles_down * rows, block // tiles_down
        c_at, a_at, b_at = block * m * n, row * a_row, column * b_column
        for axis in range(AXES):
            index, block = block % batch[axis], block // batch[axis]
            a_at, b_at = a_at + index * a_steps[axis], b_at + index * b_steps[axis]
        first = block * length
        last = min(first + length, k)

        a_strips, b_strips = cuda.shared.array(a_room, real, 16), cuda.shared.array(b_room, real, 16)
        sums = cuda.local.array(each, real)
        for i in range(each):
            sums[i] = real(0)
        y, x = place(cuda.threadIdx.x)
        a_along_k, b_along_k = a_column <= a_row, b_row <= b_column
        steps = (last - first + depth - 1) // depth
        for step in range(steps + 1):
            if step < steps:
                now, here = step % 2, first + step * depth
                left = last - here
                fill_a(a_strips, now * a_strip, a, a_at + here * a_column, a_row, a_column, a_along_k, m - row, left)
                fill_b(b_strips, now * b_strip, b, b_at + here * b_row, b_column, b_row, b_along_k, n - column, left)
            if step > 0:
                now = (step - 1) % 2
                if tensor:
                    k_lane = cuda.threadIdx.x % 4
                    multiply_on_tensor_cores(
                        sums, a_strips, now * a_strip + k_lane * a_width + y,
                        b_strips, now * b_strip + k_lane * b_width + x - k_lane * 2 + cuda.threadIdx.x % 32 // 4,
                    )  # fmt: skip
                else:
                    multiply(sums, a_strips, now * a_strip + y, b_strips, now * b_strip + x)
            arrived()
            cuda.syncthreads()

        whole = n % broad == 0
        for j in range(0, wide, broad):
            at = column + x + j // broad * column_group
            if biased:
                for q in range(broad):
                    if at + q < n:
                        extra = bias[(at + q) * bias_step]
                        for i in range(tall):
                            sums[i * wide + j + q] += extra
            for i in range(tall):
                below = row + y + i // high * row_group + i % high * row_step
                if below < m:
                    to = c_at + below * n + at
                    if whole:
                        if at < n:
                            store_c(c, to, sums, i * wide + j)
                    else:
                        for q in range(broad):
                            if at + q < n:
                                c[to + q] = sums[i * wide + j + q]

    return product


@functools.cache
def adding(real):
    """The kernel that adds the parts of a product."""

    @kernel
    def add_parts(
        c: pointer(real), size: int64, n: int64, found: pointer(real), parts: int64,
        bias: pointer(real), bias_step: int64, biased: boolean,
    ):  # fmt: skip
        """c[i] = the sum of found[p, i] over p, and bias[i % n]."""
        for i in range(cuda.grid(1), size, cuda.gridsize(1)):
            total = real(0)
            for p in range(parts):
                total += found[p * size + i]
            c[i] = total + bias[i % n * bias_step] if biased else total

    return add_parts


@functools.cache
def plain(kind):
    """The kernel for integers: a thread for each number of the result.  Sums wrap around."""
    narrow = pointer(kind).dtype

    @kernel
    def product_of_integers(
        c: pointer(kind), size: int64, m: int64, n: int64, k: int64, batch: several(int64, AXES),
        a: pointer(kind), a_row: int64, a_column: int64, a_steps: several(int64, AXES),
        b: pointer(kind), b_row: int64, b_column: int64, b_steps: several(int64, AXES),
    ):  # fmt: skip
        for i in range(cuda.grid(1), size, cuda.gridsize(1)):
            a_at, b_at, rest = i // n % m * a_row, i % n * b_column, i // n // m
            for axis in range(AXES):
                index, rest = rest % batch[axis], rest // batch[axis]
                a_at, b_at = a_at + index * a_steps[axis], b_at + index * b_steps[axis]
            total = int64(0)
            for z in range(k):
                total += int64(a[a_at + z * a_column]) * int64(b[b_at + z * b_row])
            c[i] = narrow(total)

    return product_of_integers


# ------------------------------------------------------------------------------------------ which kernel, how often
LATENCY, LANES, BYTES, LAUNCH = 800, 128, 1500, 3000  # cycles until a strip is there; a cycle's work; a launch's cycles
LEAST = 256  # steps of k that are worth a part of their own


@functools.lru_cache(4096)
def plan(processors: int, tiles: tuple[Tile, ...], size: int, m: int, n: int, k: int, count: int) -> tuple[Tile, int]:
    """The tile and the number of parts of k that should take the fewest cycles, for `count` matrices."""
    best = math.inf, tiles[0], 1
    for tile in tiles:
        blocks = -(-m // tile.rows) * -(-n // tile.columns) * count
        work = tile.rows * tile.columns * tile.depth / LANES / tile.speed
        parts = 1
        while parts == 1 or (k >= parts * LEAST and blocks * parts < 4 * processors):
            steps = -(-k // (parts * tile.depth))
            cycles = steps * max(LATENCY, work * -(-blocks * parts // processors))
            if parts > 1:
                cycles += LAUNCH + 2 * parts * m * n * count * size / BYTES
            if cycles < best[0]:
                best = cycles, tile, parts
            parts *= 2
    return best[1:]


class Matrix(NamedTuple):
    """Where the first matrix of a batch is: its address, and its steps in elements."""

    address: int
    row: int
    column: int

    @classmethod
    def of(cls, a: Array, ndim: int) -> tuple["Matrix", list[int]]:
        """Of an array, with the steps of a batch of ndim - 2 axes to which it is broadcast."""
        steps = [0 if n == 1 else step // a.itemsize for n, step in zip(a.shape, a.strides, strict=True)]
        return cls(a.address, *steps[-2:]), [0] * (ndim - a.ndim) + steps[:-2]

    def moved(self, size: int) -> "Matrix":
        """The one so many bytes further on."""
        return self._replace(address=self.address + size)


def folded(m: int, a_row: int, axes: list[tuple[int, int, int]]) -> tuple[int, int, list[tuple[int, int, int]]]:
    """The rows of A, the step between them and the axes of the batch, (length, step of A, step of B), outermost first:
    rows that one B multiplies are one matrix, and axes that follow on each other one axis.
    """
    axes = [axis for axis in axes if axis[0] != 1]
    while axes and axes[-1][2] == 0 and (m == 1 or axes[-1][1] == m * a_row):
        a_row = axes[-1][1] if m == 1 else a_row
        m *= axes.pop()[0]
    found: list[tuple[int, int, int]] = []
    for length, a_step, b_step in axes:
        if found and found[-1][1:] == (length * a_step, length * b_step):
            length *= found.pop()[0]
        found.append((length, a_step, b_step))
    return m, a_row, found


def multiply(c: Array, a: Array, b: Array, bias: Array | None = None) -> None:
    """c = a @ b + bias for a contiguous c (..., M, N), to whose batch axes those of a and b broadcast; bias (N,)."""
    if not c.size:
        return
    real, size, (m, n), k = c.dtype.type, c.itemsize, c.shape[-2:], a.shape[-1]
    (left, a_steps), (right, b_steps) = (Matrix.of(x, c.ndim) for x in (a, b))
    m, a_row, axes = folded(m, left.row, list(zip(c.shape[:-2], a_steps, b_steps, strict=True)))
    extra = (c.address, 0, False) if bias is None else (bias.address, bias.strides[0] // size, True)
    if not k:  # nothing is read: an empty array may be nowhere
        left, right = left._replace(address=c.address), right._replace(address=c.address)
    launch(real, c.address, (m, n, k), axes, left._replace(row=a_row), right, extra)


def launch(real, c: int, shape: tuple[int, int, int], axes, left: Matrix, right: Matrix, extra) -> None:
    """The same for addresses; `extra` are the bias's, its step, and whether there is one."""
    (m, n, k), size = shape, real().itemsize
    if len(axes) > AXES:
        (length, a_step, b_step), *axes = axes
        apart = m * n * math.prod(axis[0] for axis in axes) * size
        for i in range(length):
            a, b = left.moved(i * a_step * size), right.moved(i * b_step * size)
            launch(real, c + i * apart, shape, axes, a, b, extra)
        return
    count, threads = math.prod(axis[0] for axis in axes), driver().threads
    total = count * m * n
    if cublas.takes(real, shape, axes, left, right):
        if extra[2]:
            adding(real).launch(driver().blocks(total, threads), threads, c, total, n, c, 0, *extra)
        cublas.multiply(real, c, shape, axes, left, right, extra[2])
        return
    batch, a_steps, b_steps = zip(*axes[::-1], *[(1, 0, 0)] * (AXES - len(axes)), strict=True)
    operands = (*left, a_steps, *right, b_steps)
    if np.dtype(real).kind != "f":
        plain(real).launch(driver().blocks(total, threads), threads, c, total, m, n, k, batch, *operands)
        return
    tile, parts = plan(driver().multiprocessors, tiles_for(real), size, m, n, k, count)
    length = -(-k // parts // tile.depth) * tile.depth
    blocks = -(-m // tile.rows) * -(-n // tile.columns) * count * parts
    if parts == 1:
        tiled(real, tile).launch(blocks, tile.threads, c, m, n, k, batch, length, *operands, *extra)
        return
    found = empty(parts * total, real)
    tiled(real, tile).launch(blocks, tile.threads, found, m, n, k, batch, length, *operands, c, 0, False)
    adding(real).launch(driver().blocks(total, threads), threads, c, total, n, found, parts, *extra)


def tiles_for(real) -> tuple[Tile, ...]:
    """The tiles for a type, as a program has allowed."""
    if real is np.float64:
        return FLOAT64
    return FLOAT32 + TF32 if allowed.tf32 else FLOAT32


def matmul(a: Array, b: Array) -> Array:
    """(..., M, K) @ (..., K, N) -> (..., M, N); batch axes broadcast as in NumPy."""
    shape = a.shape[:-2] if a.shape[:-2] == b.shape[:-2] else np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    out = empty((*shape, a.shape[-2], b.shape[-1]), a.dtype)
    multiply(out, a, b)
    return out


def linear(x: Array, w: Array, bias: Array | None = None) -> Array:
    """x (..., K) @ w.T + bias for w (N, K), bias (N,) -> (..., N)."""
    out = empty((*x.shape[:-1], len(w)), x.dtype)
    lone = x.ndim == 1
    if bias is not None:
        bias = np.broadcast_to(bias, (len(w),)) if bias.shape != (len(w),) else bias
    multiply(out.reshape(1, -1) if lone else out, x.reshape(1, -1) if lone else x, w.T, bias)
    return out


def examples() -> list:
    """The kernels of this family."""
    tiles = [(np.float32, tile) for tile in FLOAT32 + TF32] + [(np.float64, tile) for tile in FLOAT64]
    return [*(tiled(*each) for each in tiles), *(adding(real) for real in (np.float32, np.float64)), plain(np.int64)]
