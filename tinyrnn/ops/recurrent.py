"""A derived cell over a whole sequence: one node for each layer and direction."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels.cells import Cell
from .common import Op, apply


class Recurrence(Op):
    """x (T, B, I), S initial states or None, 5 weights or None, V vectors -> hidden states (T, B, P), S last states."""

    @staticmethod
    def forward(x, *arrays, cell: Cell, sizes, reverse: bool):
        from ..kernels.cpu import recurrence

        count = len(cell.states)
        initial, weights, vectors = arrays[:count], arrays[count : count + 5], arrays[count + 5 :]
        stacked = np.stack(vectors) if vectors else np.zeros((0, weights[0].shape[0] // len(cell.gates)), x.dtype)
        carried, states, gates = recurrence.forward(
            cell, np.ascontiguousarray(x), initial, weights, stacked, sizes, reverse
        )
        out, end = (carried[:-1], 0) if reverse else (carried[1:], -1)
        # The states are kept for the backward, so what is handed out is a copy: it may be written to.
        results = (out.copy(), carried[end].copy(), *states[1:, end].copy())
        w_ih, w_hh, _, _, w_hr = weights
        # The vectors are saved beside their stack so that the tape sees a write to them, as to the weights.
        return results, (x, carried, states, gates, stacked, cell, sizes, reverse, w_ih, w_hh, w_hr, *vectors)

    @staticmethod
    def backward(saved, needs, d_out, *d_last):
        from ..kernels.cpu import recurrence

        x, carried, states, gates, stacked, cell, sizes, reverse, *weights = saved
        d_x, d_first, d_weights, d_vectors = recurrence.backward(
            cell,
            np.ascontiguousarray(x),
            carried,
            states,
            gates,
            weights[:3],
            stacked,
            sizes,
            reverse,
            d_out,
            d_last,
            needs[0],
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
    """Run `cell` over x (T, B, I).  Returns (hidden states (T, B, P), the last states (B, P) and (B, H)).

    `weights` are (w_ih, w_hh, b_ih, b_hh, w_hr): the biases may be None, and so may w_hr (P, H), which projects the
    hidden state; without it P = H.  `initial` may hold None for zeros.  `sizes` (T,) tells how many rows are alive at
    each step (all, unless given), for a batch sorted by length, longest first.  Shapes and types are for the caller
    to check: the kernels do not.
    """
    if sizes is None:
        sizes = np.full(x.array.shape[0], x.array.shape[1], np.int64)
    out, *last = apply(Recurrence, x, *initial, *weights, *vectors, cell=cell, sizes=sizes, reverse=reverse)
    return out, tuple(last)
