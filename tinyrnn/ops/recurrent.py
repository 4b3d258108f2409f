"""A derived cell over whole sequences: one node for each layer and direction."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels import twin
from ..kernels.cells import PLAIN, Cell, Noise
from ..strides import contiguous
from .common import Op, is_grad_enabled, record

recurrence = twin("recurrence")


class Recurrence(Op):
    """x (T, B, I), (B, I) for a single step, or packed (N, I), S initial states or None, 5 weights or None, V vectors
    -> hidden states (T, B, P), (B, P) or (N, P), S last states (B, P) and (B, H).

    `batch_first` says of x and of the hidden states whether the batch is the first of their axes; `layered`, whether
    the last states are (1, B, .).
    """

    @staticmethod
    def forward(
        x, *arrays, cell: Cell, sizes, reverse: bool, batch_first: tuple[bool, bool], layered: bool, noise: Noise,
        keep: bool,
    ):  # fmt: skip
        given, x = x, x.swapaxes(0, 1) if batch_first[0] else x
        if sizes is not None:
            steps = recurrence.Steps(sizes)
        else:
            steps = recurrence.steps_of(*x.shape[:2]) if x.ndim == 3 else recurrence.steps_of(1, x.shape[0])
        count = len(cell.states)
        initial, weights, vectors = arrays[:count], arrays[count : count + 5], arrays[count + 5 :]
        if weights[1] is None:  # the kernels take no rows instead, as wide as the hidden state
            width = weights[0].shape[0] // len(cell.gates) if weights[4] is None else weights[4].shape[0]
            weights = weights[0], weights[0].T[:0, :width], *weights[2:]
        stacked = np.stack(vectors) if vectors else weights[0][:0]  # no rows, of whatever width
        rows, shape = contiguous(x), x.shape
        if len(shape) == 3:
            rows = rows.reshape(steps.N, shape[2])
        out, last, kept = recurrence.forward(cell, rows, steps, initial, weights, stacked, reverse, noise, keep)
        if len(shape) == 3:
            out = out.reshape(*shape[:2], out.shape[1])
        if batch_first[1]:
            out = out.swapaxes(0, 1)
        if layered:
            last = [state[None] for state in last]
        w_ih, w_hh, _, _, w_hr = weights
        # x and the vectors are saved besides what the backward reads, so that the tape sees a write to them.
        return (out, *last), (kept, stacked, cell, reverse, batch_first, w_ih, w_hh, w_hr, given, *vectors)

    @staticmethod
    def backward(saved, needs, d_out, *d_last):
        return flat(gradients(saved, needs, d_out, d_last))


class LargeStep(Recurrence):
    """A single step with so many weights that it takes longer to make and add their gradients than to pile them up."""

    piles = True
    LEAST = 1 << 17  # weights

    @staticmethod
    def backward(saved, needs, d_out, *d_last):
        first = 1 + len(saved[2].states)
        wanted = needs[first : first + 5]
        if True in wanted or not any(wanted):
            return flat(gradients(saved, needs, d_out, d_last))
        d_x, d_first, d_weights, d_vectors = gradients(saved, needs, d_out, d_last, apart=True)
        for pile, factors in zip(wanted, d_weights, strict=True):
            if pile:
                pile.add_product(*factors)
        return flat((d_x, d_first, [None] * 5, d_vectors))


def gradients(saved: tuple, needs: tuple, d_out: Any, d_last: tuple, apart: bool = False) -> tuple:
    """The gradients of x, the initial states, the weights (or, `apart`, what they are products of) and the vectors."""
    kept, stacked, cell, reverse, batch_first, w_ih, w_hh, w_hr, x, *_ = saved
    if d_out is not None and batch_first[1]:
        d_out = d_out.swapaxes(0, 1)
    d_states = [d if d is None or d.ndim == 2 else d[0] for d in d_last]
    d_x, *others = recurrence.backward(
        cell, kept, (w_ih, w_hh, w_hr), stacked, reverse, d_out, d_states, needs[0], apart
    )
    if d_x is not None:
        shape = x.swapaxes(0, 1).shape if batch_first[0] else x.shape
        d_x = d_x.reshape(shape).swapaxes(0, 1) if batch_first[0] else d_x.reshape(shape)
    return (d_x, *others)


def flat(found: tuple) -> tuple:
    """Gradients in the order of the op's inputs."""
    d_x, d_first, d_weights, d_vectors = found
    return (d_x, *d_first, *d_weights, *d_vectors)


def run_cell(
    cell: Cell,
    x: Any,
    initial: tuple,
    weights: tuple,
    vectors: tuple = (),
    sizes: np.ndarray | None = None,
    reverse: bool = False,
    batch_first: tuple[bool, bool] = (False, False),
    layered: bool = True,
    noise: Noise = PLAIN,
) -> tuple[Any, tuple]:
    """Run `cell` over x (T, B, I), over (B, I) for a single step, or over the packed rows (N, I) of sequences sorted by
    length, longest first.

    Returns (hidden states, (T, B, P), (B, P) or (N, P); the last states of each sequence, (1, B, P) and (1, B, H)).
    `weights` are (w_ih, w_hh, b_ih, b_hh, w_hr): the biases may be None, and so may w_hh, for a cell whose gates are
    all of the input alone, and w_hr (P, H), which projects the hidden state; without it P = H.  `initial` may hold None
    for zeros.  `sizes` (T,) int64 tells how many rows each step has of packed ones; `batch_first`, whether x and the
    hidden states are (B, T, .) instead; without `layered` the last states are (B, P) and (B, H).  `noise` has the masks
    of zoneout and recurrent dropout, their rows in the order of packed ones.  Shapes and types are for the caller to
    check: the kernels do not.
    """
    inputs = (x, *initial, *weights, *vectors)
    called = Recurrence.forward(
        *[None if t is None else t.array for t in inputs],
        cell=cell,
        sizes=sizes,
        reverse=reverse,
        batch_first=batch_first,
        layered=layered,
        noise=noise,
        keep=is_grad_enabled(),
    )
    op = Recurrence
    count = weights[0].array.size + (0 if weights[1] is None else weights[1].array.size)
    if count >= LargeStep.LEAST and sizes is None:
        shape = x.array.shape
        if len(shape) == 2 or shape[1 if batch_first[0] else 0] == 1:
            op = LargeStep
    out, *last = record(op, inputs, called)
    return out, tuple(last)
