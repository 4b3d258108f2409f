"""Recurrence: a derived cell over a whole sequence, forward and backward.

    forward(cell, x, steps, initial, weights, vectors, reverse, noise, keep)       -> out, last, saved
    backward(cell, saved, weights, vectors, reverse, d_out, d_last, needs_x, apart) -> gradients

    x        (N, I)          the rows of all steps, one step after the other: N = T * B if all sequences are as long
    steps    Steps           which rows belong to which step
    initial  [(B, P), S-1 times (B, H)]  the states before the first step, None for zeros
    weights  (w_ih (G*H, I), w_hh (R*H, P), b_ih (G*H,) or None, b_hh (R*H,) or None, w_hr (P, H) or None); R of the
             G gates are not of the input alone
    vectors  (V, H)          the cell's learned vectors
    noise    Noise           the masks of zoneout and of recurrent dropout
    out      (N, P)          the hidden state after each step: h itself, P = H; or, where there is a w_hr, the
                             projection w_hr h (Sak et al. 2014, https://arxiv.org/abs/1402.1128), for a step that
                             does not read h
    last     [(B, P), S-1 times (B, H)]  the states after the last step of each sequence

B batch, T time, I input, H hidden, G gates, S states, V vectors; cell_job.py tells more, and what is kept.

Rows never meet in the loop over time, so each thread takes some sequences through all steps, and nothing waits
(cell_source.py); what comes before and after, the weights' gradients for one, is in cell_driver.py.  A few rows with
large weights are not divided; there the columns of each step's product are.  x and h are multiplied in one pass if both
weights fit into the second cache or are read for many rows, else x comes first: for some steps at a time, so that its
weights are read once for all of them, and what they give is still in the cache when its step comes; or, where the steps
have too few rows for that, in one product of all steps.  For a single step, packing the weights would take as long as
using them: its products are gemm's.

The step of each cell is printed from its recording, like every derived kernel, and kept on disk.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import cache
from ..cells import PLAIN, Cell, Noise
from . import gemm
from .cell_driver import HIGH, shared
from .cell_job import AT, Words
from .cell_source import print_kernel
from .copies import contiguous
from .memory import room
from .pool import get_threads
from .tile import LINE


class Steps:
    """Which rows belong to which step: sizes (T,), the first row of each step, and the numbers T, B, N."""

    def __init__(self, sizes: np.ndarray):
        self.sizes = sizes
        self.offsets = np.zeros(len(sizes) + 1, np.int64)
        np.cumsum(sizes, out=self.offsets[1:])
        self.T, self.B, self.N = len(sizes), int(sizes[0]), int(self.offsets[-1])
        self.even = self.N == self.T * self.B
        self.nowhere = np.zeros(self.T, np.int64)
        self.plans: dict[tuple, Plan] = {}
        self._cuts: dict[int, np.ndarray] = {}
        self._places: dict[tuple, np.ndarray] = {}

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """The number of steps of each sequence."""
        return self.T - np.searchsorted(self.sizes[::-1], np.arange(self.B), side="right")

    def firsts(self, reverse: bool) -> np.ndarray:
        """The row of each sequence's first step."""
        return self._last_rows if reverse else self._first_rows

    @functools.cached_property
    def _first_rows(self) -> np.ndarray:
        return np.arange(self.B)

    @functools.cached_property
    def _last_rows(self) -> np.ndarray:
        return self.offsets[self.lengths - 1] + np.arange(self.B)

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Where each step begins in (N, P), or in (T, B, P) with any strides, in bytes."""
        key = (rows.ndim, rows.strides[0])
        if key not in self._places:
            self._places[key] = (self.offsets[:-1] if rows.ndim == 2 else np.arange(self.T)) * rows.strides[0]
        return self._places[key]

    def cuts(self, parts: int) -> np.ndarray:
        """Where to divide the sequences so that all parts have about as many rows."""
        if parts not in self._cuts:
            done = np.concatenate([[0], np.cumsum(self.lengths)])
            self._cuts[parts] = np.searchsorted(done, np.arange(parts + 1) * self.N // parts).astype(np.int64)
        return self._cuts[parts]


@functools.lru_cache(256)
def steps_of(T: int, B: int) -> Steps:
    """The steps of B sequences of length T."""
    return Steps(np.full(T, B, np.int64))


_modules: dict[tuple, Any] = {}


def module(
    cell: Cell, dtype: np.dtype, projected: bool = False, zoned: tuple[bool, ...] = (), dropped: bool = False
) -> Any:
    """The compiled module of a cell: its `forward` and `backward`."""
    key = (cell, dtype, projected, zoned, dropped)
    if key not in _modules:
        text = print_kernel(cell, dtype.name, projected, zoned, dropped)
        _modules[key] = cache.load_source(f"cell_{cell.name}_{dtype.name}", text)
    return _modules[key]


CACHED = 1 << 20  # bytes of packed weights that stay in the second cache
MANY = 32  # rows of a step, for each thread, that make up for reading the weights of x again in every step
AHEAD = 64  # rows, for each thread, of which x is multiplied ahead
CHUNK = 1024  # rows of which the backward keeps the gates' gradients at a time


def division(steps: Steps, columns: int, weights: int, size: int) -> tuple[int, int, int]:
    """(parts, block, spread): how many threads divide the sequences, how many rows go through a step at a time, and
    whether instead each step's product is divided; a step has so many `columns` of gates and reads so many weights."""
    threads = get_threads()
    if threads > 1 and weights * size > CACHED // 2 and 4 * threads > steps.B:
        return 1, max(steps.B, 1), 1
    parts = max(1, min(threads, steps.B, steps.N * (weights + 16 * columns) // 2_000_000))
    if weights * size > CACHED // 8:
        return parts, max(steps.B, 1), 0
    return parts, max(HIGH, (1 << 15) // max(1, columns * size) // HIGH * HIGH), 0


class Plan(NamedTuple):
    """What two calls on sequences of the same lengths have in common."""

    parts: int
    places: tuple  # the steps' sizes, their offsets, the first rows and the cuts
    words: np.ndarray  # the job, but for what comes from outside
    kept: int  # bytes
    spare: int
    function: Any
    launch: Any


def plan(
    cell: Cell,
    dtype: np.dtype,
    steps: Steps,
    widths: tuple[int, int, int],
    projected: bool,
    reverse: bool,
    noise: Noise,
    forward: bool,
    keep: bool = True,
) -> Plan:
    """The plan of a forward or backward; made once for each kind of call and number of threads.  `widths`: I, P, H."""
    zoned, dropped = noise.zoned, noise.drop is not None
    key = (cell, dtype, widths, projected, reverse, zoned, dropped, forward, keep, get_threads())
    found = steps.plans.get(key)
    if found is not None:
        return found
    I, P, H = widths
    GH, RH, QH = (len(gates) * H for gates in (cell.gates, cell.inner, cell.split))
    WH, S, V, size, N, B = RH - QH, len(cell.states), len(cell.vectors), dtype.itemsize, steps.N, steps.B
    common, compiled = shared(dtype.type), module(cell, dtype, projected, zoned, dropped)
    single = steps.T == 1 and not dropped
    small = (I * GH + P * RH) * size <= CACHED or MANY * get_threads() * steps.T <= N
    fused = forward and RH > 0 and not single and small
    parts, block, spread = division(steps, GH, P * RH + fused * I * GH, size)
    chunk_rows = min(N, CHUNK + B)
    rows = N // max(steps.T * parts, 1)  # of a step, for each thread; steps in which few sequences are left count, too
    ahead = 0 if fused or single or spread or rows < HIGH else -(-AHEAD // rows)
    turns = max(ahead, 1)
    lasting = keep or not (fused or ahead)
    gates_rows = N if lasting else turns * B

    def strips(rows: int, columns: int) -> int:
        return rows * -(-columns // common.wide) * common.wide

    several = not single

    kept = {
        "gates": gates_rows * GH, "hidden": gates_rows * QH, "carried": N * P, "entering": dropped * N * P,
        "states": (S - 1) * N * H, "full": N * H * projected,
    }  # fmt: skip
    if forward:
        spare = {
            "w_x": strips(I, GH) if ahead else fused * strips(I, WH), "w_x_split": fused * strips(I, GH - WH),
            "w_h": several * strips(P, WH), "w_h_split": several * strips(P, QH), "w_r": projected * strips(H, P),
            "bias": GH, "bias_split": QH, "scratch": parts * compiled.SCRATCH[0] * H,
        }  # fmt: skip
    else:
        spare = {
            "w_h": several * strips(WH, P), "w_h_split": several * strips(QH, P), "w_r": projected * strips(P, H),
            "d_gates": chunk_rows * GH, "d_hidden": chunk_rows * QH, "d_projected": projected * chunk_rows * P,
            "d_full": projected * B * H, "d_vectors": B * V * H, "d_entering": dropped * B * P,
            "scratch": parts * compiled.SCRATCH[1] * H,
        }  # fmt: skip
    words = np.zeros(len(Words._fields) - 1 + S, np.int64)
    ends = []
    for places in (kept, spare):
        end = 0
        for name, count in places.items():
            words[getattr(AT, name) // 8] = end
            end += -(-count * size // LINE) * LINE
        ends.append(end + LINE)  # it may not begin where a line does
    if not dropped:
        words[AT.entering // 8] = words[AT.carried // 8]
    numbers = {
        "T": steps.T, "B": B, "N": N, "I": I, "P": P, "H": H, "reverse": reverse, "block": block, "spread": spread,
        "columns": GH, "whole": WH, "halves": QH, "fused": fused, "ahead": ahead, "turns": turns, "single": single,
        "lasting": lasting, "states_count": S, "vectors_count": V, "chunk": CHUNK, "none": id(None),
    }  # fmt: skip
    for name, number in numbers.items():
        words[getattr(AT, name) // 8] = number
    function = (compiled.forward if forward else compiled.backward).kernel.compile()
    places_of = steps.sizes, steps.offsets, steps.firsts(reverse) if forward else None, steps.cuts(parts)
    launch = common.forward if forward else common.backward
    found = steps.plans[key] = Plan(parts, places_of, words, *ends, function, launch)
    return found


def reordered(cell: Cell, weights: Sequence[np.ndarray | None], back: bool = False) -> list[np.ndarray | None]:
    """Weights and biases, in turns (G*H, ...) and (R*H, ...), with their gates in the kernels' order, or back in the
    cell's."""
    orders = [np.argsort(order).tolist() for order in cell.orders] if back else cell.orders

    def moved(w: np.ndarray, order: list[int]) -> np.ndarray:
        return np.concatenate([np.split(w, len(order))[g] for g in order]) if order else w

    return [w if w is None else moved(w, orders[k % 2]) for k, w in enumerate(weights)]


def forward(
    cell: Cell, x, steps: Steps, initial, weights, vectors, reverse: bool, noise: Noise = PLAIN, keep: bool = True
):
    """Run the cell over the sequences.  Returns (out, [the last states], what `backward` needs if `keep`)."""
    dtype, GH, P, w_hr = x.dtype, weights[0].shape[0], weights[1].shape[1], weights[4]
    H, S, B = GH // len(cell.gates), len(cell.states), steps.B
    parts, places, words, kept_size, spare_size, function, launch = plan(
        cell, dtype, steps, (x.shape[1], P, H), w_hr is not None, reverse, noise, True, keep
    )
    out, last_carried = np.empty((steps.N, P), dtype), np.empty((B, P), dtype)
    last = np.empty((S - 1, B, H), dtype) if S > 1 else None
    kept, spare = room(kept_size), room(spare_size)
    if not cell.in_order:
        weights = [*reordered(cell, weights[:4]), w_hr]
    arrays = (
        *initial, *weights, kept, spare, gemm.row_of_zeros(P), *places, x, vectors, *noise[1:], out, last, last_carried,
    )  # fmt: skip
    job = words.copy()
    if noise is not PLAIN:
        job[AT.zone_row // 8] = noise.by_row
    launch(function, id(job), id(arrays), parts)
    states = [last_carried] if last is None else [last_carried, *last]
    return out, states, (x, steps, kept, noise) if keep else None


def within(memory: np.ndarray, place: int, shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """The array that lies at a place of `kept` or `spare`."""
    address = memory.__array_interface__["data"][0]
    return np.ndarray(shape, dtype, memory, -address % LINE + int(place))


def backward(
    cell: Cell, saved: tuple, weights, vectors, reverse: bool, d_out, d_last, needs_x: bool, apart: bool = False
):
    """Gradients of x (None unless needs_x), the initial states (a list), the weights (a list) and vectors (V, H).

    weights: (w_ih, w_hh, w_hr).  d_out: the gradient of `out` (N, P), or of a dense one (T, B, P) with any strides;
    None for zeros.  d_last: those of the last states, or None.  `apart`, for a single step: in place of each weight's
    gradient two matrices, left.T @ right, or left and None where it is the sum of left's rows.
    """
    x, steps, kept, noise = saved
    w_ih, w_hh, w_hr = weights
    dtype, (GH, I), (RH, P) = x.dtype, w_ih.shape, w_hh.shape
    H, S, B = GH // len(cell.gates), len(cell.states), steps.B
    parts, places, words, _, spare_size, function, launch = plan(
        cell, dtype, steps, (I, P, H), w_hr is not None, reverse, noise, False
    )
    zeros = gemm.row_of_zeros(max(I, GH, P, vectors.size))
    if d_out is None:
        d_out, d_offsets, d_out_row = zeros, steps.nowhere, 0
    else:
        if d_out.strides[-1] != dtype.itemsize and d_out.shape[-1] > 1:
            d_out = contiguous(d_out)
        d_out_row, d_offsets = d_out.strides[-2], steps.places(d_out)
    if not cell.in_order:
        w_ih, w_hh = reordered(cell, (w_ih, w_hh))
    d_carried, d_states = np.empty((B, P), dtype), np.empty((S - 1, B, H), dtype) if S > 1 else None
    d_x = np.empty_like(x) if needs_x else None
    shapes = (GH, I), (RH, P), (GH,), (RH,)
    d_weights: list = [None if apart else np.empty(shape, dtype) for shape in shapes]
    d_w_hr = None if w_hr is None or apart else np.empty(w_hr.shape, dtype)
    d_vectors, spare = np.empty(vectors.shape, dtype), room(spare_size)
    arrays = (
        *d_last, w_ih, w_hh, None, None, w_hr, kept, spare, zeros, *places, x, vectors, *noise[1:], None, None, None,
        d_out, d_offsets, d_carried, d_states, d_x, *d_weights, d_w_hr, d_vectors,
    )  # fmt: skip
    job = words.copy()
    job[AT.d_out_row // 8] = d_out_row
    job[AT.apart // 8] = apart
    if noise is not PLAIN:
        job[AT.zone_row // 8] = noise.by_row
    launch(function, id(job), id(arrays), parts)
    if apart:
        d_weights = factors(cell, words, (B, H, P), x, kept, spare, w_hr is not None)
    else:
        d_weights = [*(d_weights if cell.in_order else reordered(cell, d_weights, back=True)), d_w_hr]
    return d_x, [d_carried] if d_states is None else [d_carried, *d_states], d_weights, d_vectors


def factors(
    cell: Cell, words: np.ndarray, sizes: tuple[int, int, int], x, kept, spare, projected: bool
) -> list[tuple | None]:
    """What the gradients of the weights of a single step are products of; sizes: B, H, P."""
    B, H, P = sizes
    columns, rows, halves = (len(gates) * H for gates in (cell.gates, cell.inner, cell.split))

    def found(memory: np.ndarray, name: str, width: int) -> np.ndarray:
        return within(memory, words[getattr(AT, name) // 8], (B, width), x.dtype)

    above = found(spare, "d_gates", columns)
    below = above[:, : rows - halves]
    if halves:
        below = np.concatenate([below, found(spare, "d_hidden", halves)], 1)
    if not cell.in_order:
        above, below = (d.T for d in reordered(cell, (above.T, below.T), back=True))
    h = found(kept, "entering", P)
    last = (found(spare, "d_projected", P), found(kept, "full", H)) if projected else None
    return [(above, x), (below, h), (above, None), (below, None), last]
