"""Recurrence: a derived cell over a whole sequence, forward and backward, one launch each.

    forward(cell, x, initial, weights, vectors, sizes, reverse)       -> states, saved
    backward(cell, saved, weights, vectors, d_states, d_last, ...)    -> gradients

B batch, T time, I input, H hidden, G gates, S states, Q gates of which the step sees both halves.  Inside, time comes
first, so that a step is one contiguous block; the input projection of all steps is one product before the loop,
and the weights' gradients are one product each after it.

    x        (T, B, I)
    initial  (S, B, H)       the states before the first step
    weights  (w_ih (G*H, I), w_hh (G*H, H), b_ih, b_hh (G*H,) or None)
    vectors  (V, H)          the cell's learned vectors
    sizes    (T,) int64      how many rows are alive at each step: the batch is sorted, longest first
    states   (S, T+1, B, H)  step t leads from [:, t] to [:, t+1], or back from [:, t+1] to [:, t] if `reverse`;
                             a row that is not alive keeps its states
    gates    (T, B, G*H)     the pre-activations; of a split gate, the half that comes from x
    hidden   (T, B, Q*H)     the other half of the split gates

The loop of each cell is printed from its recording, like every derived kernel, and kept on disk.
"""

from __future__ import annotations

import numpy as np

from .. import cache
from ..cells import Cell
from ..scalar import lines, needed, spell
from . import gemm, reduce

HEADER = '''"""The recurrent cell {name} over a whole sequence, forward and backward."""

# Derived from
#
{source}
from math import cos, cosh, erf, exp, expm1, log, log1p, sin, sinh, sqrt, tanh

from numpy import {dtype} as real

from tinyrnn.kernels.cpu.gemm import accumulate
from tinyrnn.kernels.cpu.jit import njit

one = real(1)


@njit
def forward(gates, hidden, weight, bias, vectors, states, product, sizes, reverse):
    """product (B, G*H) is scratch; weight (H, G*H) is transposed; bias (G*H,) belongs to the product.

    Arrays are copied by loops: the check in a slice assignment takes Numba seconds to compile.
    """
    T, B, H = states.shape[1] - 1, states.shape[2], states.shape[3]
    for step in range(T):
        t = T - 1 - step if reverse else step
        before, after, alive = (t + 1, t, sizes[t]) if reverse else (t, t + 1, sizes[t])
        for b in range(alive):
            for k in range(bias.size):
                product[b, k] = bias[k]
        accumulate(product, states[0, before], weight, alive)
        for b in range(alive):
            for j in range(H):
{forward}
        for k in range(states.shape[0]):
            for b in range(alive, B):
                for j in range(H):
                    states[k, after, b, j] = states[k, before, b, j]


@njit
def backward(gates, hidden, weight, vectors, states, product, sizes, reverse,
             d_out, d_states, d_gates, d_hidden, d_vectors):
    """d_states (S, B, H) comes in as the gradient of the last states and goes out as that of the first."""
    T, B, H = states.shape[1] - 1, states.shape[2], states.shape[3]
    for step in range(T):
        t = step if reverse else T - 1 - step
        before, alive = (t + 1, sizes[t]) if reverse else (t, sizes[t])
        for b in range(alive):
            for j in range(H):
{backward}
        d_gates[t, alive:] = 0
        d_hidden[t, alive:] = 0
        accumulate(d_states[0], product, weight, alive)
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
    backward += [f"{seeds[0].name} = d_states[0, b, j] + d_out[t, b, j]"]
    backward += [f"{v.name} = d_states[{s}, b, j]" for s, v in enumerate(seeds) if s]
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
    return HEADER.format(name=cell.name, source=source, dtype=dtype, forward=block(forward), backward=block(backward))


def kernel(cell: Cell, dtype: np.dtype):
    """The compiled module of a cell: its `forward` and `backward`."""
    key = (cell, dtype)
    if key not in _kernels:
        text = print_kernel(cell, dtype.name)
        _kernels[key] = cache.load_source(f"cell_{cell.name}_{dtype.name}", text)
    return _kernels[key]


def forward(cell: Cell, x, initial, weights, vectors, sizes, reverse: bool):
    """Run the cell over the sequence.  Returns (states, saved); saved is for `backward`."""
    w_ih, w_hh, b_ih, b_hh = weights
    (T, B, _), H = x.shape, w_hh.shape[1]
    gates = gemm.linear(x, w_ih, b_ih)
    hidden = np.empty((T, B, len(cell.split) * H), x.dtype)
    states = np.empty((len(cell.states), T + 1, B, H), x.dtype)
    states[:, -1 if reverse else 0] = initial
    bias = np.zeros(w_hh.shape[0], x.dtype) if b_hh is None else b_hh
    product = np.empty((B, w_hh.shape[0]), x.dtype)
    kernel(cell, x.dtype).forward(
        gates, hidden, np.ascontiguousarray(w_hh.T), bias, vectors, states, product, sizes, reverse
    )
    return states, (gates, hidden)


def backward(cell: Cell, x, saved, states, weights, vectors, sizes, reverse: bool, d_out, d_last, needs_x: bool):
    """d_out (T, B, H) or None; d_last (S, B, H), the gradient of the last states.

    Returns the gradients of x (None unless `needs_x`), initial, w_ih, w_hh, the two biases, and vectors.
    """
    w_ih, w_hh, _, _ = weights
    gates, hidden = saved
    (T, B, _), (G, H) = x.shape, w_hh.shape
    d_gates, d_hidden = np.empty_like(gates), np.empty_like(hidden)
    d_vectors, d_states = np.zeros_like(vectors), np.array(d_last, order="C")
    d_out = np.zeros((T, B, H), x.dtype) if d_out is None else np.ascontiguousarray(d_out)
    kernel(cell, x.dtype).backward(
        gates,
        hidden,
        np.ascontiguousarray(w_hh),
        vectors,
        states,
        np.empty((B, G), x.dtype),
        sizes,
        reverse,
        d_out,
        d_states,
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
    before = states[0, 1:] if reverse else states[0, :-1]
    rows = T * B
    d_w_ih = gemm.matmul(d_gates.reshape(rows, G).T, x.reshape(rows, x.shape[2]))
    d_w_hh = gemm.matmul(d_product.reshape(rows, G).T, before.reshape(rows, H))
    d_b_ih = reduce.sum(d_gates, (0, 1))
    d_b_hh = reduce.sum(d_product, (0, 1)) if cell.split else d_b_ih.copy()
    d_x = gemm.matmul(d_gates.reshape(rows, G), w_ih).reshape(x.shape) if needs_x else None
    return d_x, d_states, d_w_ih, d_w_hh, d_b_ih, d_b_hh, d_vectors
