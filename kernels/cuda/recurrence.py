"""Recurrence: a derived cell over a whole sequence, forward and backward, on the GPU.

    forward(cell, x, steps, initial, weights, vectors, reverse, noise, keep)       -> out, last, saved
    backward(cell, saved, weights, vectors, reverse, d_out, d_last, needs_x, apart) -> gradients

Arguments and results are those of cpu/recurrence.py.  What comes from x is one product of all rows before the steps,
and the gradients of x and the weights are products of all rows after them.  Between, all T steps are one launch
(cell_kernels.py), if the device has room for the weights in its shared memory; if not, for a single step, with a
projection, or if the cell takes means over its units, each step is a product and a launch.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from ..cells import GRU, LSTM, PLAIN, Cell, Noise
from ..cpu.recurrence import Steps, steps_of
from ..scalar import sigmoid, sqrt
from . import gemm, reduce
from .array import Array, empty, upload, zeros
from .cell_kernels import APART, THREADS, copies, kernels
from .cell_math import step
from .driver import driver
from .jit import Kernel
from .team import WARP, up_to

__all__ = ["Geometry", "Kept", "Steps", "backward", "examples", "forward", "geometry", "reordered", "steps_of"]


class Geometry(NamedTuple):
    """How one launch for all steps is divided among blocks; see cell_kernels.py."""

    units: int
    broad: int
    tall: int
    depth: int
    length: int
    splits: int
    high: int
    wide: int
    threads: int
    blocks: tuple[int, int]  # for the units, for the batch
    shared: int  # bytes


# high x wide sums of a warp, by the bytes of a number and how many rows there are; more would not fit into registers.
TILES = {(4, 1): ((4, 1),), (4, 4): ((4, 4),), (4, 8): ((4, 8),)}
TILES |= {(8, 1): ((4, 1),), (8, 4): ((4, 4),), (8, 8): ((4, 4),)}


def arranged(
    H: int, B: int, R: int, size: int, back: bool, units: int, broad: int, tile: tuple[int, int], threads: int,
    most: int, limit: int,
) -> Geometry | None:  # fmt: skip
    """The geometry for blocks of so many units and rows of the batch; there can be `most`, of `limit` bytes."""
    high, wide = tile
    count, depth = (units, R * H) if back else (R * units, H)
    tall, broad = -(-count // high) * high, -(-broad // wide) * wide
    groups, tiles = -(-H // units), -(-B // broad)
    if groups > most or units * broad > threads:
        return None
    splits = max(1, min(threads // 32 // (tall // high * (broad // wide)), depth // 128))
    lengths = [depth, *(n for n in (2048, 1024, 512, 256, 128, 64, 32) if n < depth)]
    for length in lengths:
        shared = size * (tall * depth + broad * length + -(-depth // length) * splits * broad * tall)
        if shared <= limit:
            blocks = groups, min(tiles, most // groups)
            return Geometry(units, broad, tall, depth, length, splits, high, wide, threads, blocks, shared)
    return None


def cycles(g: Geometry, H: int, B: int, size: int) -> float:
    """About how long a step takes: the sums, the states that are copied, and what is waited for."""
    groups, tiles, copies = -(-H // g.units), -(-B // g.broad), -(-g.depth // g.length)
    sums = g.tall * g.broad
    multiply = sums * g.depth * max(1 / 128, (1 / g.high + 1 / g.wide) / 32) + sums * g.splits * copies
    copy = g.broad * g.depth / 16
    waiting = 700 * copies + 200
    return -(-tiles // g.blocks[1]) * ((multiply + copy) * size / 4 + waiting) + (1500 if groups > 1 else 0)


@functools.lru_cache(1024)
def geometry(
    H: int, B: int, R: int, size: int, back: bool, multiprocessors: int, threads: int, limit: int
) -> Geometry | None:
    """The best geometry on a device whose blocks have `threads` threads and `limit` bytes; None if there is none."""
    wide = 1 if B == 1 else 4 if B <= 4 else 8
    choices = [
        arranged(H, B, R, size, back, units, broad, tile, threads, multiprocessors, limit)
        for units in {-(-H // multiprocessors), *(1 << k for k in range(9) if 1 << k < 2 * H)}
        for broad in (wide << k for k in range(8) if wide << k < B + wide)
        for tile in TILES[size, wide]
    ]
    return min((g for g in choices if g), key=lambda g: (cycles(g, H, B, size), *g), default=None)


def unconnected(H: int, B: int, size: int, threads: int) -> Geometry:
    """The geometry for a cell with no product, of which no unit needs another."""
    units = min(H, 32)
    broad = threads // units
    blocks = -(-H // units), min(-(-B // broad), 1 << 15)
    high, wide = TILES[size, 1][0]
    return Geometry(units, broad, 0, 0, 1, 1, high, wide, threads, blocks, 0)


def plan(cell: Cell, steps: Steps, H: int, size: int, projected: bool, back: bool) -> Geometry | None:
    """The geometry of one launch for all steps; None where each step has launches of its own."""
    if projected or cell.means or steps.T == 1 or steps.N == 0:
        return None
    device = driver()
    threads, R = min(device.threads, THREADS), len(cell.inner)
    if R == 0:
        return unconnected(H, steps.B, size, threads)
    if not device.cooperative:
        return None
    return geometry(H, steps.B, R, size, back, device.multiprocessors, threads, device.shared_limit)


class Kept(NamedTuple):
    """What the forward keeps for the backward; see cell_kernels.py."""

    x: Array
    steps: Steps
    noise: Noise
    gates: Array
    hidden: Array
    carried: Array
    entering: Array
    states: Array
    full: Array


_numbers: WeakKeyDictionary[Steps, dict[Any, Array]] = WeakKeyDictionary()


def on_device(steps: Steps, name: str) -> Array:
    """sizes, offsets, first rows or last rows of sequences, on the device."""
    known = _numbers.setdefault(steps, {})
    key = (driver(), name)
    if key not in known:
        known[key] = upload(np.ascontiguousarray(getattr(steps, name), np.int64))
    return known[key]


def dense(a: Array) -> Array:
    return a if a.flags.c_contiguous else a.copy()


def aligned(depth: int, size: int, *arrays: Array) -> bool:
    """Whether rows of `depth` numbers can be copied 16 bytes at a time."""
    return depth * size % 16 == 0 and all(a.address % 16 == 0 for a in arrays)


def reordered(cell: Cell, weights: Sequence[Array | None], back: bool = False) -> list[Array | None]:
    """Weights and biases, in turns (G*H, ...) and (R*H, ...), with their gates in the kernels' order, or back in the
    cell's."""
    if cell.in_order:
        return list(weights)
    orders = [np.argsort(order).tolist() for order in cell.orders] if back else cell.orders

    def moved(w: Array, order: list[int]) -> Array:
        H = len(w) // max(len(order), 1)
        return np.concatenate([w[g * H : (g + 1) * H] for g in order]) if order else w

    return [w if w is None else moved(w, orders[k % 2]) for k, w in enumerate(weights)]


def place(given: Array | None, firsts: Array, to: Array, drop: Array | None = None, entering: Array | None = None):
    """Initial states (B, width), or zeros, into rows `firsts` of `to`; with `drop`, what enters the product, too."""
    B, width = len(firsts), to.shape[-1]
    size, device = to.itemsize, driver()
    row, column = (0, 0) if given is None else (s // size for s in given.strides)
    copies(to.dtype.type).place.launch(
        device.blocks(B * width, device.threads), device.threads, B, width, given is not None,
        to if given is None else given, row, column, firsts, to, drop is not None, to if drop is None else drop,
        to if entering is None else entering,
    )  # fmt: skip


def shape(cell: Cell, rows: int, H: int) -> tuple[int, int]:
    """(blocks, threads) of the launch for one step: a thread for each unit of each row, or a block for each row."""
    device = driver()
    if not cell.means:
        return device.blocks(rows * H, device.threads), device.threads
    threads = max(WARP, up_to(H, device.threads))
    return device.blocks(rows * threads, threads), threads


def family(
    cell: Cell, real: type, zoned: tuple[bool, ...], dropped: bool, projected: bool, tile: tuple[int, int] = (4, 8)
) -> Any:
    """The kernels of a cell: with zoneout of some states, with recurrent dropout, with a projection."""
    held = projected and bool(zoned) and zoned[0]
    return kernels(real, step(cell, real, zoned, projected), projected, held, dropped, *tile)


def forward(
    cell: Cell, x, steps: Steps, initial, weights, vectors, reverse: bool, noise: Noise = PLAIN, keep: bool = True,
    divided: Geometry | None = None,
):  # fmt: skip
    """Run the cell over the sequences.  Returns (out, [the last states], what `backward` needs if `keep`).

    `divided`, for tests, is the geometry to be used.
    """
    w_ih, w_hh, b_ih, b_hh = reordered(cell, weights[:4])
    w_hr = weights[4]
    P, dtype = w_hh.shape[1], x.dtype
    G, Q, S = len(cell.gates), len(cell.split), len(cell.states)
    H, B, N = len(w_ih) // G, steps.B, steps.N
    projected, dropped = w_hr is not None, noise.drop is not None
    w_hh, b_hh = dense(w_hh), b_hh if b_hh is None else dense(b_hh)
    gates = gemm.linear(x, w_ih, b_ih)
    out, carried, hidden = empty((N, P), dtype), empty((N, P), dtype), empty((N, Q * H), dtype)
    entering = empty((N, P), dtype) if dropped else carried
    full = empty((N, H), dtype) if projected else out
    states, last, last_carried = empty((S - 1, N, H), dtype), empty((S - 1, B, H), dtype), empty((B, P), dtype)
    firsts = on_device(steps, "_last_rows" if reverse else "_first_rows")
    place(initial[0], firsts, carried, noise.drop, entering)
    for given, state in zip(initial[1:], states, strict=True):
        place(given, firsts, state)

    def masks() -> list[Any]:
        carried_too, others, drop = (x if a is None else a for a in noise[1:])
        return [carried_too, others, noise.by_row, drop]

    bias, biased = x if b_hh is None else b_hh, b_hh is not None
    kept = [gates, hidden, carried, entering, states, out, last_carried, last]
    g = divided or plan(cell, steps, H, dtype.itemsize, projected, False)
    if g is not None:
        counters = zeros(APART * -(-B // g.broad), np.int32)
        family(cell, dtype.type, noise.zoned, noise.drop is not None, projected, (g.high, g.wide)).forward.launch(
            g.blocks, g.threads, steps.T, B, N, H, reverse, on_device(steps, "sizes"), on_device(steps, "offsets"),
            g.units, g.broad, g.tall, g.length, g.splits, aligned(H, dtype.itemsize, w_hh, entering), counters,
            w_hh, bias, biased, vectors, *masks(), *kept, shared=g.shared, cooperative=bool(cell.inner),
        )  # fmt: skip
    else:
        compute, device = family(cell, dtype.type, noise.zoned, noise.drop is not None, projected), driver()
        for row, rows, following, staying in walk(steps, reverse):
            sums = gemm.matmul(entering[row : row + rows], w_hh.T)
            compute.step_forward.launch(
                *shape(cell, rows, H), rows, row, staying, following, B, N, H, P,
                sums, bias, biased, vectors, *masks(), *kept, full,
            )  # fmt: skip
            if projected:
                sums = gemm.matmul(full[row : row + rows], w_hr.T)
                compute.project.launch(
                    device.blocks(rows * P, device.threads), device.threads, rows, row, staying, following, B, P, sums,
                    masks()[0], noise.by_row, masks()[3], carried, entering, out, last_carried,
                )  # fmt: skip
    saved = Kept(x, steps, noise, gates, hidden, carried, entering, states, full) if keep else None
    return out, [last_carried, *last], saved


def walk(steps: Steps, reverse: bool) -> list[tuple[int, int, int, int]]:
    """Of each step in its turn: its first row, its rows, and those of the step that follows."""
    found = list(zip(steps.offsets.tolist(), steps.sizes.tolist(), strict=False))
    if reverse:
        found.reverse()
    return [(*here, *after) for here, after in zip(found, [*found[1:], (0, 0)], strict=True)]


def backward(
    cell: Cell, saved: Kept, weights, vectors, reverse: bool, d_out, d_last, needs_x: bool, apart: bool = False,
    divided: Geometry | None = None,
):  # fmt: skip
    """Gradients of x (None unless needs_x), the initial states (a list), the weights (a list) and vectors (V, H).

    weights: (w_ih, w_hh, w_hr).  d_out: the gradient of `out` (N, P), or of a dense one (T, B, P) with any strides;
    None for zeros.  d_last: those of the last states, or None.  `apart`, for a single step: in place of each weight's
    gradient two matrices, left.T @ right, or left and None where it is the sum of left's rows.
    """
    x, steps, noise, gates, hidden, carried, entering, states, full = saved
    w_ih, w_hh = reordered(cell, weights[:2])
    w_hr, w_hh = weights[2], dense(w_hh)
    GH, (RH, P), dtype, size = len(w_ih), w_hh.shape, x.dtype, x.itemsize
    G, S, V = len(cell.gates), len(cell.states), len(cell.vectors)
    H, B, N = GH // G, steps.B, steps.N
    projected, twice = w_hr is not None, bool(cell.split)
    below = slice(GH, GH + RH) if twice else slice(0, RH)  # of d_rows, what is multiplied by w_hh
    d_carried, d_states = empty((B, P), dtype), empty((S - 1, B, H), dtype)
    d_vectors, d_rows = zeros((B, V, H), dtype), empty((N, GH + twice * RH), dtype)
    everyone = on_device(steps, "_first_rows")
    place(d_last[0], everyone, d_carried)
    for given, d in zip(d_last[1:], d_states, strict=True):
        place(given, everyone, d)
    given, d_time = d_out is not None, 0
    d_row, d_column = (d_out.strides[-2] // size, d_out.strides[-1] // size) if given else (0, 0)
    if given and d_out.ndim == 3:  # row t * B + b lies t * d_time further than rows of one matrix would
        d_time = d_out.strides[0] // size - B * d_row
    carried_too, others_too, drop = (x if a is None else a for a in noise[1:])
    kept = [gates, hidden, carried, states]
    from_above, to = d_out if given else x, [d_carried, d_states, d_vectors, d_rows]
    g = divided or plan(cell, steps, H, size, projected, True)
    d_projected = empty((N, P), dtype) if projected else d_carried
    if g is not None:
        counters = zeros(APART * -(-B // g.broad), np.int32)
        fast = aligned(GH, size, d_rows) and aligned(RH, size)
        family(cell, dtype.type, noise.zoned, noise.drop is not None, projected, (g.high, g.wide)).backward.launch(
            g.blocks, g.threads, steps.T, B, N, H, reverse, on_device(steps, "sizes"), on_device(steps, "offsets"),
            g.units, g.broad, g.tall, g.length, g.splits, fast, counters, w_hh, vectors,
            carried_too, others_too, noise.by_row, drop, *kept, given, from_above, d_row, d_time, d_column, *to,
            shared=g.shared, cooperative=bool(cell.inner),
        )  # fmt: skip
    else:
        compute, device = family(cell, dtype.type, noise.zoned, noise.drop is not None, projected), driver()
        sums, others = d_carried, 0
        turns = [(row, rows, index) for index, (row, rows, *_) in enumerate(walk(steps, reverse))][::-1]
        for row, rows, index in [*turns, (0, 0, 0)]:
            t = steps.T - 1 - index if reverse else index
            above = (given, from_above, row * d_row + t * d_time, d_row, d_column)
            if projected:
                compute.project_back.launch(
                    device.blocks(max(rows, others) * P, device.threads), device.threads, rows, others, row, P, sums,
                    carried_too, noise.by_row, drop, *above, d_carried, d_projected,
                )  # fmt: skip
                sums, others = gemm.matmul(d_projected[row : row + rows], w_hr), 0
            compute.step_back.launch(
                *shape(cell, max(rows, others), H), rows, others, row, B, N, H, P, sums, vectors,
                carried_too, others_too, noise.by_row, drop, *kept, *above, *to,
            )  # fmt: skip
            sums, others = gemm.matmul(d_rows[row : row + rows, below], w_hh), rows
    d_x_rows, d_h_rows = d_rows[:, :GH], d_rows[:, below]
    d_weights: list = [None] * 5
    if apart:
        d_above, d_below = (d.T for d in reordered(cell, (d_x_rows.T, d_h_rows.T), back=True))
        d_weights[:4] = (d_above, x), (d_below, entering), (d_above, None), (d_below, None)
        if projected:
            d_weights[4] = d_projected, full
    else:
        d_w_ih, d_w_hh = gemm.matmul(d_x_rows.T, x), gemm.matmul(d_h_rows.T, entering)
        d_b_ih = reduce.sum(d_x_rows, (0,))
        d_b_hh = reduce.sum(d_h_rows, (0,)) if twice else d_b_ih[:RH].copy()
        d_weights[:4] = reordered(cell, (d_w_ih, d_w_hh, d_b_ih, d_b_hh), back=True)
        if projected:
            d_weights[4] = gemm.matmul(d_projected.T, full)
    return (
        gemm.matmul(d_x_rows, w_ih) if needs_x else None,
        [d_carried, *d_states],
        d_weights,
        reduce.sum(d_vectors, (0,)) if V else empty((0, H), dtype),
    )


def examples() -> list[Kernel]:
    """Kernels of each kind, to be compiled where there is no GPU: those that need the most registers, and others."""

    def alone(x_z, x_n, h):
        """A cell with no product."""
        return sigmoid(x_z) * h + x_n

    def normalized(f, g, c, *, scale):
        """A cell that takes means."""
        deviation = g - g.mean(-1, keepdim=True)
        g = deviation / sqrt((deviation * deviation).mean(-1, keepdim=True)) * scale
        c = sigmoid(f) * c + g
        return c - c.mean(-1, keepdim=True), c

    found, single = [copies(np.float32).place], np.float32
    kinds = (LSTM, single, (4, 8)), (LSTM, np.float64, (4, 4)), (GRU, single, (4, 1)), (Cell(alone), single, (4, 1))
    for cell, real, tile in kinds:
        made = family(cell, real, (), False, False, tile)
        found += [made.forward, made.backward]
    one_by_one = family(LSTM, single, (True, True), True, True)
    found += [one_by_one.step_forward, one_by_one.step_back, one_by_one.project, one_by_one.project_back]
    by_row = family(Cell(normalized), single, (), False, False)
    return [*found, by_row.step_forward, by_row.step_back]
