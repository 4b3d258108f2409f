"""A derived cell over a whole sequence: one node for each layer and direction."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels.cells import Cell
from .common import Op, apply


class Recurrence(Op):
    """x (T, B, I), S initial states (B, H) or None, 4 weights, V vectors -> hidden states (T, B, H), S last states."""

    @staticmethod
    def forward(x, *arrays, cell: Cell, sizes, reverse: bool):
        from ..kernels.cpu import recurrence

        count = len(cell.states)
        initial, weights, vectors = arrays[:count], arrays[count : count + 4], arrays[count + 4 :]
        (steps, batch, _), width = x.shape, weights[1].shape[1]
        start = np.zeros((count, batch, width), x.dtype)
        for k, state in enumerate(initial):
            if state is not None:
                start[k] = state
        stacked = np.stack(vectors) if vectors else np.zeros((0, width), x.dtype)
        states, saved = recurrence.forward(cell, np.ascontiguousarray(x), start, weights, stacked, sizes, reverse)
        last = states[:, 0 if reverse else steps]
        out = states[0, :steps] if reverse else states[0, 1:]
        # The states are kept for the backward, so what is handed out is a copy: it may be written to.
        return (out.copy(), *last.copy()), (x, saved, states, *weights, *vectors, stacked, cell, sizes, reverse)

    @staticmethod
    def backward(saved, needs, d_out, *d_last):
        from ..kernels.cpu import recurrence

        x, gates, states, *rest = saved
        weights, (stacked, cell, sizes, reverse) = rest[:4], rest[-4:]
        last = np.zeros((len(d_last), *states.shape[2:]), x.dtype)
        for k, d in enumerate(d_last):
            if d is not None:
                last[k] = d
        d_x, d_first, *d_weights, d_vectors = recurrence.backward(
            cell, np.ascontiguousarray(x), gates, states, weights, stacked, sizes, reverse, d_out, last, needs[0]
        )
        return (d_x, *d_first, *d_weights, *d_vectors)


def recurrence(
    cell: Cell,
    x: Any,
    initial: tuple,
    weights: tuple,
    vectors: tuple = (),
    sizes: np.ndarray | None = None,
    reverse: bool = False,
) -> tuple[Any, tuple]:
    """Run `cell` over x (T, B, I).  Returns (hidden states (T, B, H), the last states, each (B, H)).

    `initial` and the biases in `weights` (w_ih, w_hh, b_ih, b_hh) may be None; `sizes` (T,) tells how many rows are
    alive at each step (all, unless given), for a batch sorted by length, longest first.  Shapes and types are for the
    caller to check: the kernels do not.
    """
    if sizes is None:
        sizes = np.full(x.array.shape[0], x.array.shape[1], np.int64)
    out, *last = apply(Recurrence, x, *initial, *weights, *vectors, cell=cell, sizes=sizes, reverse=reverse)
    return out, tuple(last)
