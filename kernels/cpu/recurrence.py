"""Recurrence: a derived cell over a whole sequence, forward and backward, one launch each.

    forward(cell, x, initial, weights, vectors, sizes, reverse)                            -> carried, states, saved
    backward(cell, x, carried, states, saved, weights, vectors, sizes, reverse, d_out, ...)  -> gradients

B batch, T time, I input, H hidden, G gates, S states, Q gates of which the step sees both halves.  Inside, time comes
first, so that a step is one contiguous block; the input projection of all steps is one product before the loop,
and the weights' gradients are one product each after it.

    x        (T, B, I)
    initial  [(B, P), S-1 times (B, H)]  the states before the first step, None for zeros
    weights  (w_ih (G*H, I), w_hh (G*H, P), b_ih (G*H,) or None, b_hh (G*H,) or None, w_hr (P, H) or None)
    vectors  (V, H)          the cell's learned vectors
    sizes    (T,) int64      how many rows are alive at each step: the batch is sorted, longest first
    states   (S, T+1, B, H)  step t leads from [:, t] to [:, t+1], or back from [:, t+1] to [:, t] if `reverse`;
                             a row that is not alive keeps its states
    carried  (T+1, B, P)     the hidden state that goes into the next step and out of the layer: states[0] itself, with
                             P = H; or, where there is a w_hr, its projection states[0] @ w_hr.T to P numbers (Sak et
                             al. 2014, https://arxiv.org/abs/1402.1128), for a cell whose step does not read h
    gates    (T, B, G*H)     the pre-activations; of a split gate, the half that comes from x
    hidden   (T, B, Q*H)     the other half of the split gates

The loop of each cell is printed from its recording, like every derived kernel, and kept on disk.
"""

from __future__ import annotations

import numpy as np

from .. import cache
from ..cells import Cell
from ..scalar import FUNCTIONS, lines, needed, spell
from . import gemm, reduce

HEADER = '''"""The recurrent cell {name} over a whole sequence, forward and backward."""

# Derived from
#
{source}
from math import {functions}

from numpy import {dtype} as real

from tinyrnn.kernels.cpu.gemm import accumulate
from tinyrnn.kernels.cpu.jit import njit

one = real(1)


@njit
def forward(gates, hidden, weight, bias, projection, vectors, states, carried, product, sizes, reverse):
    """product (B, G*H) is scratch; weight (P, G*H) is transposed; bias (G*H,) belongs to the product.

    projection (H, P) is transposed too; without rows there is none, and carried is states[0].
    Arrays are copied by loops: the check in a slice assignment takes Numba seconds to compile.
    """
    T, B, H = states.shape[1] - 1, states.shape[2], states.shape[3]
    for step in range(T):
        t = T - 1 - step if reverse else step
        before, after, alive = (t + 1, t, sizes[t]) if reverse else (t, t + 1, sizes[t])
        for b in range(alive):
            for k in range(bias.size):
                product[b, k] = bias[k]
        accumulate(product, carried[before], weight, alive)
        for b in range(alive):
            for j in range(H):
{forward}
        for k in range(states.shape[0]):
            for b in range(alive, B):
                for j in range(H):
                    states[k, after, b, j] = states[k, before, b, j]
        if projection.shape[0]:
            carried[after, :alive] = 0
            accumulate(carried[after], states[0, after], projection, alive)
            for b in range(alive, B):
                for p in range(carried.shape[2]):
                    carried[after, b, p] = carried[before, b, p]


@njit
def backward(gates, hidden, weight, projection, vectors, states, product, sizes, reverse,
             d_out, d_carried, d_states, d_projected, d_gates, d_hidden, d_vectors):
    """weight (G*H, P) and projection (P, H) as they are.

    d_carried (B, P), and d_states (S, B, H) but for its first, come in as the gradients of the last states and go out
    as those of the first.  Without a projection d_carried is d_states[0]; with one, d_projected (T, B, P) becomes the
    gradient of what was carried out of each step.
    """
    T, B, H = states.shape[1] - 1, states.shape[2], states.shape[3]
    for step in range(T):
        t = step if reverse else T - 1 - step
        before, alive = (t + 1, sizes[t]) if reverse else (t, sizes[t])
        for b in range(alive):
            for p in range(d_carried.shape[1]):
                d_carried[b, p] += d_out[t, b, p]
        if projection.shape[0]:
            for b in range(alive):
                for p in range(d_carried.shape[1]):
                    d_projected[t, b, p] = d_carried[b, p]
            d_projected[t, alive:] = 0
            d_carried[:alive] = 0
            d_states[0] = 0
            accumulate(d_states[0], d_projected[t], projection, alive)
        for b in range(alive):
            for j in range(H):
{backward}
        d_gates[t, alive:] = 0
        d_hidden[t, alive:] = 0
        accumulate(d_carried, product, weight, alive)
'''

_kernels: dict[tuple, object] = {}


def _column(number: int) -> str:
    return "j" if number == 0 else f"{number} * H + j"


def print_kernel(cell: Cell, dtype: str) -> str:
    """The source of a cell's forward and backward loops."""
    recording = cell.recording

    parameters = {**recording.inputs, **recording.keywords}

    def load(name: str) -> str:
        """Read the value of a parameter in the backward, or of a state or vector in the forward."""
        v = parameters[name].name
        if name in cell.vectors:
            return f"{v} = vectors[{cell.vectors.index(name)}, j]"
        if name in cell.states:
            return f"{v} = states[{cell.states.index(name)}, before, b, j]"
        gate, part = next((g, part) for n, g, part in cell.inputs if n == name)
        if part == "h":
            return f"{v} = hidden[t, b, {_column(cell.split.index(gate))}]"
        return f"{v} = gates[t, b, {_column(gate)}]"

    forward = []
    for name, gate, part in cell.inputs:
        v = parameters[name].name
        if part == "both":
            forward += [
                f"{v} = gates[t, b, {_column(gate)}] + product[b, {_column(gate)}]",
                f"gates[t, b, {_column(gate)}] = {v}",
            ]
        elif part == "x":
            forward += [f"{v} = gates[t, b, {_column(gate)}]"]
        else:
            forward += [f"{v} = product[b, {_column(gate)}]", f"hidden[t, b, {_column(cell.split.index(gate))}] = {v}"]
    forward += [load(name) for name in (*cell.states, *cell.vectors) if name]
    forward += lines(recording.outputs)
    forward += [f"states[{s}, after, b, j] = {spell(v)}" for s, v in enumerate(recording.outputs)]

    seeds, gradients = cell.derivative
    gradient = dict(zip(parameters, gradients, strict=True))
    _, read = needed(gradients)
    backward = [load(name) for name, v in parameters.items() if v in read]
    backward += [f"{v.name} = d_states[{s}, b, j]" for s, v in enumerate(seeds)]
    backward += lines(gradients)
    for name, gate, part in cell.inputs:
        if part != "h":
            backward.append(f"d_gates[t, b, {_column(gate)}] = {spell(gradient[name])}")
        else:
            backward.append(f"d_hidden[t, b, {_column(cell.split.index(gate))}] = {spell(gradient[name])}")
        if part != "x":
            backward.append(f"product[b, {_column(gate)}] = {spell(gradient[name])}")
    for s, state in enumerate(cell.states):
        backward.append(f"d_states[{s}, b, j] = {spell(gradient[state]) if state else 'real(0)'}")
    backward += [f"d_vectors[{k}, j] += {spell(gradient[v])}" for k, v in enumerate(cell.vectors)]

    def block(statements):
        return "\n".join(" " * 16 + s for s in statements)

    source = "\n".join(f"#     {line}".rstrip() for line in cell.source.splitlines())
    loops = {"forward": block(forward), "backward": block(backward)}
    return HEADER.format(name=cell.name, source=source, functions=FUNCTIONS, dtype=dtype, **loops)


def kernel(cell: Cell, dtype: np.dtype):
    """The compiled module of a cell: its `forward` and `backward`."""
    key = (cell, dtype)
    if key not in _kernels:
        text = print_kernel(cell, dtype.name)
        _kernels[key] = cache.load_source(f"cell_{cell.name}_{dtype.name}", text)
    return _kernels[key]


def forward(cell: Cell, x, initial, weights, vectors, sizes, reverse: bool):
    """Run the cell over the sequence.  Returns (carried, states, saved); saved is for `backward`."""
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    (T, B, _), (G, P) = x.shape, w_hh.shape
    H = P if w_hr is None else w_hr.shape[1]
    gates = gemm.linear(x, w_ih, b_ih)
    hidden = np.empty((T, B, len(cell.split) * H), x.dtype)
    states = np.empty((len(cell.states), T + 1, B, H), x.dtype)
    carried = states[0] if w_hr is None else np.empty((T + 1, B, P), x.dtype)
    for state, first in zip((carried, *states[1:]), initial, strict=True):
        state[-1 if reverse else 0] = 0 if first is None else first
    if w_hr is not None:
        states[0, -1 if reverse else 0] = 0  # no step reads it
    kernel(cell, x.dtype).forward(
        gates,
        hidden,
        np.ascontiguousarray(w_hh.T),
        np.zeros(G, x.dtype) if b_hh is None else np.ascontiguousarray(b_hh),
        np.empty((0, 0), x.dtype) if w_hr is None else np.ascontiguousarray(w_hr.T),
        vectors,
        states,
        carried,
        np.empty((B, G), x.dtype),
        sizes,
        reverse,
    )
    return carried, states, (gates, hidden)


def backward(cell: Cell, x, carried, states, saved, weights, vectors, sizes, reverse: bool, d_out, d_last, needs_x):
    """weights (w_ih, w_hh, w_hr); d_out (T, B, P) or None; d_last, the last states' gradients, each as in `initial`.

    Returns the gradients of x (None unless `needs_x`), initial (a list), the five weights (a list) and vectors.
    """
    w_ih, w_hh, w_hr = weights
    gates, hidden = saved
    (T, B, _), (G, P), H = x.shape, w_hh.shape, states.shape[3]
    d_gates, d_hidden = np.empty_like(gates), np.empty_like(hidden)
    d_vectors, d_states = np.zeros_like(vectors), np.zeros((len(d_last), B, H), x.dtype)
    d_carried = d_states[0] if w_hr is None else np.zeros((B, P), x.dtype)
    d_projected = np.empty((0, 0, 0) if w_hr is None else (T, B, P), x.dtype)
    d_first = [d_carried, *d_states[1:]]
    for state, last in zip(d_first, d_last, strict=True):
        if last is not None:
            state[...] = last
    kernel(cell, x.dtype).backward(
        gates,
        hidden,
        np.ascontiguousarray(w_hh),
        np.empty((0, 0), x.dtype) if w_hr is None else np.ascontiguousarray(w_hr),
        vectors,
        states,
        np.empty((B, G), x.dtype),
        sizes,
        reverse,
        np.zeros((T, B, P), x.dtype) if d_out is None else np.ascontiguousarray(d_out),
        d_carried,
        d_states,
        d_projected,
        d_gates,
        d_hidden,
        d_vectors,
    )
    # The product h @ w_hh.T has the gradient of the gates, but for split gates that of their own half.
    d_product = d_gates
    if cell.split:
        d_product = d_gates.copy()
        for q, gate in enumerate(cell.split):
            d_product[:, :, gate * H : gate * H + H] = d_hidden[:, :, q * H : q * H + H]
    before, after = (slice(1, None), slice(-1)) if reverse else (slice(-1), slice(1, None))

    def product(d, value):
        """The gradient of a weight: a sum over all steps and rows."""
        return gemm.matmul(d.reshape(T * B, d.shape[2]).T, value.reshape(T * B, value.shape[2]))

    d_b_ih = reduce.sum(d_gates, (0, 1))
    d_weights = [
        product(d_gates, x),
        product(d_product, carried[before]),
        d_b_ih,
        reduce.sum(d_product, (0, 1)) if cell.split else d_b_ih.copy(),
        None if w_hr is None else product(d_projected, states[0, after]),
    ]
    d_x = gemm.matmul(d_gates.reshape(T * B, G), w_ih).reshape(x.shape) if needs_x else None
    return d_x, d_first, d_weights, d_vectors
