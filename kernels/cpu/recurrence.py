"""Recurrence: a derived cell over a whole sequence, forward and backward.

    forward(cell, x, sizes, initial, weights, vectors, reverse)               -> out, last, saved
    backward(cell, saved, weights, vectors, d_out, d_last, needs_x)           -> gradients

B batch, T time, I input, H hidden, G gates, W of them whole and Q split (the step sees both halves), S states.
All steps of all sequences are rows of matrices, step by step, and within a step the rows that are alive: N rows,
T * B if all sequences are as long.  Sequences are sorted, longest first, so that the rows of a step are the first of
those of the step before.  This is the layout of a PackedSequence; a dense (T, B, I) is the same memory.

    x        (N, I)
    sizes    (T,) int64      the number of rows of each step, which does not increase
    initial  [(B, P), S-1 times (B, H)]  the states before the first step, None for zeros
    weights  (w_ih (G*H, I), w_hh (G*H, P), b_ih (G*H,) or None, b_hh (G*H,) or None, w_hr (P, H) or None)
    vectors  (V, H)          the cell's learned vectors
    out      (N, P)          the hidden state after each step: h itself, P = H; or, where there is a w_hr, the
                             projection w_hr h (Sak et al. 2014, https://arxiv.org/abs/1402.1128), for a step that
                             does not read h
    last     [(B, P), S-1 times (B, H)]  the states after the last step of each sequence

What the forward keeps for the backward, besides x:

    gates    (N, G*H)        pre-activations, whole gates first; of a split gate, the half that comes from x
    hidden   (N, Q*H)        the other half of the split gates
    carried  (N, P)          the hidden state before the step
    states   (S-1, N, H)     the other states before the step
    full     (N, H)          with a projection, h after the step

The activations are computed anew from the pre-activations.  Rows never meet in the loop over time, so each thread takes
some sequences through all steps, and nothing waits: for each step, a block of rows at a time, first the products with
the packed weights (tile.py; x and h in one pass if their weights fit into the second cache, else those of x in one
product before the loop), then the cell, vector by vector.  The backward goes in chunks of steps: the rows' gradients
against time, then the weights' gradients as products over all rows of the chunk, while these are in the cache.
A few rows with large weights are not divided; there the columns of each step's product are.

The step of each cell is printed from its recording, like every derived kernel, and kept on disk.
"""

from __future__ import annotations

import functools
import re
from collections import namedtuple
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numba import int64

from .. import cache
from ..cells import Cell
from ..scalar import lines, needed, spell
from . import gemm
from .arrays import data, stride
from .jit import kernel, njit
from .pool import get_threads, run, split
from .simd import get, lanes, load_first, put, store_first, word
from .tile import ROWS, VECTORS_WIDE, tile

# A job is an array of 64-bit words, by these names.  Arrays come as their identities; `resolve` makes addresses of all
# but those of any strides, and of the places within the arrays `kept` and `spare`.
STRIDED = ("w_ih", "w_hh", "b_ih", "b_hh", "w_hr")
ARRAYS = (
    "kept", "spare", "zeros", "sizes", "offsets", "firsts", "cuts", "inputs", "vectors", "out", "last", "last_carried",
    "d_out", "d_offsets", "d_carried", "d_states", "d_x", "d_w_ih", "d_w_hh", "d_b_ih", "d_b_hh", "d_w_hr",
    "d_vectors_sum",
)  # fmt: skip
KEPT = ("gates", "hidden", "carried", "states", "full")
SPARE = (
    "w_x", "w_x_split", "w_h", "w_h_split", "w_r", "bias", "bias_split", "d_gates", "d_hidden", "d_projected", "d_full",
    "d_vectors",
)  # fmt: skip
NUMBERS = (
    "T", "B", "N", "I", "P", "H", "reverse", "first_step", "first_row", "block", "spread", "d_out_row", "columns",
    "whole", "fused", "states_count", "vectors_count", "chunk",
)  # fmt: skip
Words = namedtuple("Words", [*STRIDED, *ARRAYS, *KEPT, *SPARE, *NUMBERS, "initial"])  # and one more for each state
AT = Words(*range(0, 8 * len(Words._fields), 8))  # where each word is, in bytes

HEADER = '''"""The recurrent cell {name} over a whole sequence, forward and backward: see kernels/cpu/recurrence.py."""

# Derived from
#
{source}
from numba import int64
from numpy import {dtype} as real

from tinyrnn.kernels.cpu.jit import kernel
from tinyrnn.kernels.cpu.recurrence import shared
from tinyrnn.kernels.cpu.simd import {functions}

LANES, SIZE = lanes(real), real().itemsize
product = shared(real).product
one, inf, nan = real(1), real("inf"), real("nan")
'''

FORWARD = """

@kernel
def forward(job, part):
{fields}
    low, high = get(int64, cuts + 8 * part), get(int64, cuts + 8 * part + 8)
    for step in range(T):
        t = T - 1 - step if reverse else step
        row, alive = get(int64, offsets + 8 * t), min(high, get(int64, sizes + 8 * t))
        staying, next_row = 0, 0  # rows that have another step, and where these rows are
        if step < T - 1:
            following = t - 1 if reverse else t + 1
            staying, next_row = get(int64, sizes + 8 * following), get(int64, offsets + 8 * following)
        for top in range(low, alive, block):
            rows, r = min(alive - top, block), row + top
{products}
            for b in range(top, top + rows):
                r = row + b
                place, width = (next_row + b, N) if b < staying else (b, B)
                after = states if b < staying else last
{pointers}
                for j in range(0, H, LANES):
                    n, here = H - j, SIZE * j
{cell}
"""

BACKWARD = """

@kernel
def backward(job, part):
{fields}
    low, high = get(int64, cuts + 8 * part), get(int64, cuts + 8 * part + 8)
    for step in range(T):
        t = first_step + step if reverse else first_step - step
        row, alive = get(int64, offsets + 8 * t), min(high, get(int64, sizes + 8 * t))
        d_out_t = d_out + get(int64, d_offsets + 8 * t)
        for top in range(low, alive, block):
            rows = min(alive - top, block)
{before}
            for b in range(top, top + rows):
                r, chunk_row = row + b, row + b - first_row
{pointers}
                for j in range(0, H, LANES):
                    n, here = H - j, SIZE * j
{cell}
            chunk_row = row + top - first_row
{after}
"""


@functools.cache
def shared(real) -> SimpleNamespace:
    """What the kernels of all cells have in common, for numpy.float32 or numpy.float64."""
    L, S = lanes(real), real().itemsize
    WIDE = VECTORS_WIDE * L
    high, low = tile(real, ROWS, VECTORS_WIDE, 2), tile(real, ROWS // 2, VECTORS_WIDE, 2)
    row = tile(real, 1, 8, 2, strips=True)
    pack, multiply = gemm.kernels(real).pack_b, gemm.kernels(real).product
    FIRST_KEPT, FIRST_SPARE, FIRST_NUMBER = AT.gates, AT.w_x, AT.T
    FIRST_ARRAY = AT.kept

    @kernel
    def columns(first, last, m, k, a, a_row, b, k2, a2, a2_row, b2, initial, initial_step, c, c_step):
        if m <= 2:
            for i in range(m):
                for j in range(first, last, 4 * WIDE):
                    row(
                        1, last - j, initial + i * initial_step + S * j, 0, c + i * c_step + S * j, 0,
                        k, a + i * a_row, 0, S, b + S * j * k, S * WIDE,
                        k2, a2 + i * a2_row, 0, S, b2 + S * j * k2, S * WIDE,
                    )  # fmt: skip
            return
        for j in range(first, last, WIDE):
            for i in range(0, m, ROWS):
                start, to = initial + i * initial_step + S * j, c + i * c_step + S * j
                if m - i > ROWS // 2:
                    high(
                        min(m - i, ROWS), last - j, start, initial_step, to, c_step, k, a + i * a_row, a_row, S,
                        b + S * j * k, S * WIDE, k2, a2 + i * a2_row, a2_row, S, b2 + S * j * k2, S * WIDE,
                    )  # fmt: skip
                else:
                    low(
                        m - i, last - j, start, initial_step, to, c_step, k, a + i * a_row, a_row, S,
                        b + S * j * k, S * WIDE, k2, a2 + i * a2_row, a2_row, S, b2 + S * j * k2, S * WIDE,
                    )  # fmt: skip

    all_columns = split(columns)

    @kernel
    def product(spread, m, n, k, a, a_row, b, k2, a2, a2_row, b2, initial, initial_step, c, c_step):
        """c (m, n) = initial + a (m, k) @ b + a2 (m, k2) @ b2 for packed b and b2; `spread` over threads or not."""
        least = 4 * WIDE if spread else n
        all_columns(n, least, 4 * WIDE, m, k, a, a_row, b, k2, a2, a2_row, b2, initial, initial_step, c, c_step)

    @kernel
    def sum_columns(first, last, rows, a, a_row, initial, out):
        """out[j] = initial[j] + the sum over rows of a[:, j], in their order."""
        for j in range(first, last, L):
            n = last - j
            sums = load_first(real, initial + S * j, n)
            for i in range(rows):
                sums = sums + load_first(real, a + i * a_row + S * j, n)
            store_first(real, out + S * j, sums, n)

    all_sums = split(sum_columns)

    @kernel
    def copy_row(n, source, step, to):
        """n numbers, `step` bytes apart, to neighbours; zeros for a source of 0."""
        for j in range(n):
            put(real, to + S * j, get(real, source + j * step) if source else real(0))

    @kernel
    def resolve(job):
        """Addresses in place of the identities of arrays, and of the places within two of them."""
        for at in range(FIRST_ARRAY, FIRST_KEPT, 8):
            array = word(job, at)
            put(int64, job + at, data(array) if array else 0)
        for at in range(FIRST_KEPT, FIRST_SPARE, 8):
            put(int64, job + at, word(job, at) + word(job, AT.kept))
        for at in range(FIRST_SPARE, FIRST_NUMBER, 8):
            put(int64, job + at, word(job, at) + word(job, AT.spare))

    @kernel
    def set_states(job, rows, first, others):
        """The initial states into the rows of the first steps; or, with no `rows`, one after the other."""
        B, P, H, N = word(job, AT.B), word(job, AT.P), word(job, AT.H), word(job, AT.N)
        for k in range(word(job, AT.states_count)):
            given, width = word(job, AT.initial + 8 * k), H if k else P
            to = others + S * H * (k - 1) * (N if rows else B) if k else first
            for b in range(B):
                source, step = 0, 0
                if given:
                    source, step = data(given) + b * stride(given, 0), stride(given, 1)
                place = get(int64, rows + 8 * b) if rows else b
                copy_row(width, source, step, to + S * width * place)

    @kernel
    def forward(function, job, parts):
        """Pack the weights, set the initial states, and run `function`, a cell's forward."""
        resolve(job)
        I, P, H = word(job, AT.I), word(job, AT.P), word(job, AT.H)
        columns, whole, bias = word(job, AT.columns), word(job, AT.whole), word(job, AT.bias)
        w_ih, w_hh, w_hr = word(job, AT.w_ih), word(job, AT.w_hh), word(job, AT.w_hr)
        b_ih, b_hh = word(job, AT.b_ih), word(job, AT.b_hh)
        halves = columns - whole
        copy_row(columns, data(b_ih) if b_ih else 0, stride(b_ih, 0) if b_ih else 0, bias)
        if b_hh:
            for j in range(whole):
                put(real, bias + S * j, get(real, bias + S * j) + get(real, data(b_hh) + j * stride(b_hh, 0)))
            copy_row(halves, data(b_hh) + whole * stride(b_hh, 0), stride(b_hh, 0), word(job, AT.bias_split))
        else:
            copy_row(halves, 0, 0, word(job, AT.bias_split))
        pack(whole, P, data(w_hh), stride(w_hh, 1), stride(w_hh, 0), word(job, AT.w_h))
        lower = data(w_hh) + whole * stride(w_hh, 0)
        pack(halves, P, lower, stride(w_hh, 1), stride(w_hh, 0), word(job, AT.w_h_split))
        if w_hr:
            pack(P, H, data(w_hr), stride(w_hr, 1), stride(w_hr, 0), word(job, AT.w_r))
        if word(job, AT.fused):
            pack(whole, I, data(w_ih), stride(w_ih, 1), stride(w_ih, 0), word(job, AT.w_x))
            lower = data(w_ih) + whole * stride(w_ih, 0)
            pack(halves, I, lower, stride(w_ih, 1), stride(w_ih, 0), word(job, AT.w_x_split))
        else:
            multiply(
                word(job, AT.N), columns, I, word(job, AT.inputs), S * I, S,
                data(w_ih), stride(w_ih, 1), stride(w_ih, 0), bias, 0, word(job, AT.gates), S * columns,
            )  # fmt: skip
        set_states(job, word(job, AT.firsts), word(job, AT.carried), word(job, AT.states))
        run(function, job, parts)

    @kernel
    def backward(function, job, parts):
        """Run `function`, a cell's backward, on chunks of steps, and add up the weights' gradients of each chunk."""
        resolve(job)
        T, B, I, P, H = word(job, AT.T), word(job, AT.B), word(job, AT.I), word(job, AT.P), word(job, AT.H)
        columns, whole, zeros = word(job, AT.columns), word(job, AT.whole), word(job, AT.zeros)
        w_ih, w_hh, w_hr = word(job, AT.w_ih), word(job, AT.w_hh), word(job, AT.w_hr)
        halves, V = columns - whole, word(job, AT.vectors_count)
        pack(P, whole, data(w_hh), stride(w_hh, 0), stride(w_hh, 1), word(job, AT.w_h))
        lower = data(w_hh) + whole * stride(w_hh, 0)
        pack(P, halves, lower, stride(w_hh, 0), stride(w_hh, 1), word(job, AT.w_h_split))
        if w_hr:
            pack(H, P, data(w_hr), stride(w_hr, 0), stride(w_hr, 1), word(job, AT.w_r))
        set_states(job, 0, word(job, AT.d_carried), word(job, AT.d_states))
        copy_row(B * V * H, 0, 0, word(job, AT.d_vectors))
        sizes, offsets, reverse = word(job, AT.sizes), word(job, AT.offsets), word(job, AT.reverse)
        x, carried, full = word(job, AT.inputs), word(job, AT.carried), word(job, AT.full)
        d_x, d_gates, d_hidden = word(job, AT.d_x), word(job, AT.d_gates), word(job, AT.d_hidden)
        d_w_ih, d_w_hh, d_w_hr = word(job, AT.d_w_ih), word(job, AT.d_w_hh), word(job, AT.d_w_hr)
        d_b_ih, d_b_hh, d_projected = word(job, AT.d_b_ih), word(job, AT.d_b_hh), word(job, AT.d_projected)
        done = 0
        while done < T:
            rows, count = 0, 0
            first = done if reverse else T - 1 - done
            while done + count < T and (count == 0 or rows < word(job, AT.chunk)):
                rows += get(int64, sizes + 8 * (first + count if reverse else first - count))
                count += 1
            top = get(int64, offsets + 8 * (first if reverse else first - count + 1))
            put(int64, job + AT.T, count)
            put(int64, job + AT.first_step, first)
            put(int64, job + AT.first_row, top)
            run(function, job, parts)
            if d_x:
                multiply(
                    rows, I, columns, d_gates, S * columns, S, data(w_ih), stride(w_ih, 0), stride(w_ih, 1),
                    zeros, 0, d_x + S * top * I, S * I,
                )  # fmt: skip
            # Each sum goes on from what the chunks before gave: c = c + ..., or zeros + ... at first.
            again = done > 0
            multiply(
                columns, I, rows, d_gates, S, S * columns, x + S * top * I, S * I, S,
                d_w_ih if again else zeros, S * I * again, d_w_ih, S * I,
            )  # fmt: skip
            h = carried + S * top * P
            multiply(
                whole, P, rows, d_gates, S, S * columns, h, S * P, S,
                d_w_hh if again else zeros, S * P * again, d_w_hh, S * P,
            )  # fmt: skip
            least = 1 + 100_000 // max(rows, 1)
            all_sums(columns, least, 4 * L, rows, d_gates, S * columns, d_b_ih if again else zeros, d_b_ih)
            if halves:
                lower = d_w_hh + S * P * whole
                multiply(
                    halves, P, rows, d_hidden, S, S * halves, h, S * P, S,
                    lower if again else zeros, S * P * again, lower, S * P,
                )  # fmt: skip
                lower = d_b_hh + S * whole
                all_sums(halves, least, 4 * L, rows, d_hidden, S * halves, lower if again else zeros, lower)
            if w_hr:
                multiply(
                    P, H, rows, d_projected, S, S * P, full + S * top * H, S * H, S,
                    d_w_hr if again else zeros, S * H * again, d_w_hr, S * H,
                )  # fmt: skip
            done += count
        copy_row(whole, d_b_ih, S, d_b_hh)
        if V:
            sum_columns(0, V * H, B, word(job, AT.d_vectors), S * V * H, zeros, word(job, AT.d_vectors_sum))

    @njit
    def launch_forward(function, job, parts):
        forward(function, data(job), parts)

    @njit
    def launch_backward(function, job, parts):
        backward(function, data(job), parts)

    return SimpleNamespace(product=product, forward=launch_forward, backward=launch_backward, wide=WIDE)


# ---------------------------------------------------------------------------------------------------
# Printing a cell's kernels
# ---------------------------------------------------------------------------------------------------
def _names(text: str) -> set[str]:
    return set(re.findall(r"[A-Za-z_]\w*", text))


def _block(statements: list[str], depth: int) -> str:
    return "\n".join(" " * 4 * depth + s for s in statements)


def _fields(text: str) -> str:
    """Statements that read from the job what `text` uses."""
    used = _names(text)
    return _block(
        [f"{n} = get(int64, job + {getattr(AT, n)})" for n in (*ARRAYS, *KEPT, *SPARE, *NUMBERS) if n in used], 1
    )


def print_kernel(cell: Cell, dtype: str, projected: bool = False) -> str:
    """The source of a cell's forward and backward."""
    r = cell.recording
    parameters = {**r.inputs, **r.keywords}
    order = gate_order(cell)
    G, W, Q = len(cell.gates), len(cell.gates) - len(cell.split), len(cell.split)

    def pre_activation(name: str) -> str:
        gate, part = next((g, part) for n, g, part in cell.inputs if n == name)
        return f"hidden_{cell.split.index(gate)}" if part == "h" else f"gate_{order.index(gate)}"

    def load(pointer: str) -> str:
        return f"load_first(real, {pointer} + here, n)"

    def store(pointer: str, value: str) -> str:
        return f"store_first(real, {pointer} + here, {value}, n)"

    def before(name: str) -> str:
        """How a parameter is read: pre-activation, state before the step, or learned vector."""
        if name in cell.vectors:
            return load(f"vector_{cell.vectors.index(name)}")
        if name in cell.states:
            return load(f"state_{cell.states.index(name)}")
        return load(pre_activation(name))

    gates = {f"gate_{k}": f"gates + SIZE * (r * {G} * H + {k} * H)" for k in range(G)}
    halves = {f"hidden_{k}": f"hidden + SIZE * (r * {Q} * H + {k} * H)" for k in range(Q)}
    states = {f"state_{k}": f"states + SIZE * ({k - 1} * N + r) * H" for k in range(1, len(cell.states))}
    states |= {"state_0": "carried + SIZE * r * H"}
    vectors = {f"vector_{k}": f"vectors + SIZE * {k} * H" for k in range(len(cell.vectors))}
    inputs = gates | halves | states | vectors

    def defined(pointers: dict[str, str], text: str) -> list[str]:
        used = _names(text)
        return [f"{name} = {where}" for name, where in pointers.items() if name in used]

    # Forward
    products = [
        f"pre = gates + SIZE * r * {G} * H",
        f"product(spread, rows, {W} * H, I if fused else 0, inputs + SIZE * r * I, SIZE * I, w_x,",
        "        P, carried + SIZE * r * P, SIZE * P, w_h,",
        f"        bias if fused else pre, 0 if fused else SIZE * {G} * H, pre, SIZE * {G} * H)",
    ] * bool(W)
    if Q:
        products += [
            "if fused:",
            f"    product(spread, rows, {Q} * H, I, inputs + SIZE * r * I, SIZE * I, w_x_split, 0, 0, 0, 0,",
            f"            bias + SIZE * {W} * H, 0, gates + SIZE * (r * {G} * H + {W} * H), SIZE * {G} * H)",
            f"product(spread, rows, {Q} * H, P, carried + SIZE * r * P, SIZE * P, w_h_split, 0, 0, 0, 0,",
            f"        bias_split, 0, hidden + SIZE * r * {Q} * H, SIZE * {Q} * H)",
        ]
    body = [f"{v.name} = {before(name)}" for name, v in parameters.items()]
    body += lines(r.outputs)
    after = {f"after_{k}": f"after + SIZE * ({k - 1} * width + place) * H" for k in range(1, len(cell.states))}
    if projected:
        after["after_0"] = "full + SIZE * r * H"
    else:
        after["after_0"] = "(carried if b < staying else last_carried) + SIZE * place * H"
        after["out_0"] = "out + SIZE * r * H"
        body += [store("out_0", spell(r.outputs[0]))]
    body += [store(f"after_{k}", spell(v)) for k, v in enumerate(r.outputs)]
    pointers = defined(inputs | after, "\n".join(body))
    text = FORWARD.format(
        fields="{fields}", products=_block(products, 3), pointers=_block(pointers, 4), cell=_block(body, 5)
    )
    if projected:
        text += _block(
            [
                "r = row + top",
                "product(spread, rows, P, H, full + SIZE * r * H, SIZE * H, w_r, 0, 0, 0, 0, zeros, 0,",
                "        out + SIZE * r * P, SIZE * P)",
                "for b in range(top, top + rows):",
                "    to = carried + SIZE * (next_row + b) * P if b < staying else last_carried + SIZE * b * P",
                "    for j in range(P):",
                "        put(real, to + SIZE * j, get(real, out + SIZE * ((row + b) * P + j)))",
            ],
            3,
        )
    forward_text = text

    # Backward
    seeds, gradients = cell.derivative
    gradient = dict(zip(parameters, gradients, strict=True))
    _, read = needed(gradients)
    body = [f"{v.name} = {before(name)}" for name, v in parameters.items() if v in read]
    d_states = {f"d_state_{k}": f"d_states + SIZE * ({k - 1} * B + b) * H" for k in range(1, len(cell.states))}
    if projected:
        d_states["d_state_0"] = "d_full + SIZE * b * H"
        body += [f"{seeds[0].name} = {load('d_state_0')}"]
    else:
        d_states |= {"d_state_0": "d_carried + SIZE * b * H", "d_out_0": "d_out_t + b * d_out_row"}
        body += [f"{seeds[0].name} = {load('d_state_0')} + {load('d_out_0')}"]
    body += [f"{v.name} = {load(f'd_state_{s}')}" for s, v in enumerate(seeds) if s]
    body += lines(gradients)
    d_gates = {f"d_gate_{k}": f"d_gates + SIZE * (chunk_row * {G} * H + {k} * H)" for k in range(G)}
    d_gates |= {f"d_hidden_{k}": f"d_hidden + SIZE * (chunk_row * {Q} * H + {k} * H)" for k in range(Q)}
    d_gates |= {f"d_vector_{k}": f"d_vectors + SIZE * (b * {len(cell.vectors)} + {k}) * H" for k in range(len(vectors))}
    for name, _, _ in cell.inputs:
        body += [store(f"d_{pre_activation(name)}", spell(gradient[name]))]
    for s, state in enumerate(cell.states):
        if s or not projected:
            body += [store(f"d_state_{s}", spell(gradient[state]) if state else "real(0)")]
    for k, vector in enumerate(cell.vectors):
        body += [store(f"d_vector_{k}", f"{load(f'd_vector_{k}')} + {spell(gradient[vector])}")]
    pointers = defined(inputs | d_states | d_gates, "\n".join(body))
    first = []
    if projected:
        first = [
            "for b in range(top, top + rows):",
            "    for j in range(P):",
            "        d = get(real, d_carried + SIZE * (b * P + j)) + get(real, d_out_t + b * d_out_row + SIZE * j)",
            "        put(real, d_projected + SIZE * ((row + b - first_row) * P + j), d)",
            "        put(real, d_carried + SIZE * (b * P + j), real(0))",
            "product(spread, rows, H, P, d_projected + SIZE * (row + top - first_row) * P, SIZE * P, w_r, 0, 0, 0, 0,",
            "        zeros, 0, d_full + SIZE * top * H, SIZE * H)",
        ]
    back = [
        f"product(spread, rows, P, {W} * H, d_gates + SIZE * chunk_row * {G} * H, SIZE * {G} * H, w_h,",
        f"        {Q} * H, d_hidden + SIZE * chunk_row * {Q} * H, SIZE * {Q} * H, w_h_split,",
        "        d_carried + SIZE * top * P, SIZE * P, d_carried + SIZE * top * P, SIZE * P)",
    ]
    backward_text = BACKWARD.format(
        fields="{fields}",
        before=_block(first, 3),
        pointers=_block(pointers, 4),
        cell=_block(body, 5),
        after=_block(back, 3),
    )
    source = "\n".join(f"#     {line}".rstrip() for line in cell.source.splitlines())
    code = "".join(t.replace("{fields}", _fields(t)) for t in (forward_text, backward_text))
    called = set(re.findall(r"(\w+)\(", code)) - {"product", "real", "range", "min", "forward", "backward"}
    return (
        HEADER.format(name=cell.name, source=source, dtype=dtype, functions=", ".join(sorted(called | {"lanes"})))
        + code
    )


# ---------------------------------------------------------------------------------------------------
# Running them
# ---------------------------------------------------------------------------------------------------
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


def module(cell: Cell, dtype: np.dtype, projected: bool = False) -> Any:
    """The compiled module of a cell: its `forward` and `backward`."""
    key = (cell, dtype, projected)
    if key not in _modules:
        text = print_kernel(cell, dtype.name, projected)
        _modules[key] = cache.load_source(f"cell_{cell.name}_{dtype.name}", text)
    return _modules[key]


CACHED = 1 << 20  # bytes of packed weights that stay in the second cache
CHUNK = 1024  # rows of which the backward keeps the gates' gradients at a time


def division(steps: Steps, columns: int, width: int, size: int) -> tuple[int, int, int]:
    """(parts, block, spread): how many threads divide the sequences, how many rows go through a step at a time, and
    whether instead each step's product is divided."""
    threads, weights = get_threads(), columns * width * size
    if threads > 1 and weights > CACHED // 4 and 4 * threads > steps.B:
        return 1, max(steps.B, 1), 1
    parts = max(1, min(threads, steps.B, steps.N * columns * (width + 16) // 500_000))
    if weights > CACHED // 8:
        return parts, max(steps.B, 1), 0
    return parts, max(ROWS, (1 << 15) // max(1, columns * size) // ROWS * ROWS), 0


class Plan(NamedTuple):
    """What two calls on sequences of the same lengths have in common."""

    parts: int
    words: np.ndarray  # the job, but for what comes from outside
    kept: int  # bytes
    spare: int
    function: Any
    launch: Any


def plan(
    cell: Cell, dtype: np.dtype, steps: Steps, I: int, P: int, H: int, projected: bool, reverse: bool, forward: bool
) -> Plan:
    """The plan of a forward or backward; made once for each kind of call and number of threads."""
    key = (cell, dtype, I, P, H, projected, reverse, forward, get_threads())
    found = steps.plans.get(key)
    if found is not None:
        return found
    G, Q, S, V, size = len(cell.gates), len(cell.split), len(cell.states), len(cell.vectors), dtype.itemsize
    GH, QH, N, B = G * H, Q * H, steps.N, steps.B
    common = shared(dtype.type)
    fused = forward and (steps.T == 1 or (I + P) * GH * size <= CACHED)
    parts, block, spread = division(steps, GH, P + I if fused else P, size)
    chunk_rows = min(N, CHUNK + B)

    def strips(rows: int, columns: int) -> int:
        return rows * -(-columns // common.wide) * common.wide

    kept = {"gates": N * GH, "hidden": N * QH, "carried": N * P, "states": (S - 1) * N * H, "full": N * H * projected}
    if forward:
        spare = {
            "w_x": fused * strips(I, GH - QH), "w_x_split": fused * strips(I, QH), "w_h": strips(P, GH - QH),
            "w_h_split": strips(P, QH), "w_r": projected * strips(H, P), "bias": GH, "bias_split": QH,
        }  # fmt: skip
    else:
        spare = {
            "w_h": strips(GH - QH, P), "w_h_split": strips(QH, P), "w_r": projected * strips(P, H),
            "d_gates": chunk_rows * GH, "d_hidden": chunk_rows * QH, "d_projected": projected * chunk_rows * P,
            "d_full": projected * B * H, "d_vectors": B * V * H,
        }  # fmt: skip
    words = np.zeros(len(Words._fields) - 1 + S, np.int64)
    ends = []
    for places in (kept, spare):
        end = 0
        for name, count in places.items():
            words[getattr(AT, name) // 8] = end
            end += -(-count * size // 64) * 64
        ends.append(end)
    numbers = {
        "T": steps.T, "B": B, "N": N, "I": I, "P": P, "H": H, "reverse": reverse, "block": block, "spread": spread,
        "columns": GH, "whole": GH - QH, "fused": fused, "states_count": S, "vectors_count": V, "chunk": CHUNK,
    }  # fmt: skip
    for name, number in numbers.items():
        words[getattr(AT, name) // 8] = number
    compiled = module(cell, dtype, projected)
    function = (compiled.forward if forward else compiled.backward).kernel.compile()
    steps.plans[key] = Plan(parts, words, *ends, function, common.forward if forward else common.backward)
    return steps.plans[key]


def identities(arrays: Sequence[np.ndarray | None]) -> list[int]:
    return [0 if a is None else id(a) for a in arrays]


def gate_order(cell: Cell) -> list[int]:
    """The gates as the kernels have them, whole ones first."""
    return [g for g in range(len(cell.gates)) if g not in cell.split] + cell.split


def reordered(cell: Cell, weights: Sequence[np.ndarray | None], back: bool = False) -> list[np.ndarray | None]:
    """Weights and biases (G*H, ...) with their gates in the kernels' order, or back in the cell's."""
    order = gate_order(cell)
    if order == sorted(order):
        return list(weights)
    if back:
        order = [order.index(g) for g in range(len(order))]
    return [w if w is None else np.concatenate([np.split(w, len(order))[g] for g in order]) for w in weights]


def forward(cell: Cell, x, steps: Steps, initial, weights, vectors, reverse: bool):
    """Run the cell over the sequences.  Returns (out, [the last states], what `backward` needs)."""
    dtype, (GH, P), w_hr = x.dtype, weights[1].shape, weights[4]
    H, S, B, N = GH // len(cell.gates), len(cell.states), steps.B, steps.N
    p = plan(cell, dtype, steps, x.shape[1], P, H, w_hr is not None, reverse, True)
    out, last, last_carried = np.empty((N, P), dtype), np.empty((S - 1, B, H), dtype), np.empty((B, P), dtype)
    kept, spare = np.empty(p.kept, np.uint8), np.empty(p.spare, np.uint8)
    weights = [*reordered(cell, weights[:4]), w_hr]
    arrays = [
        *weights, kept, spare, gemm.row_of_zeros(P), steps.sizes, steps.offsets, steps.firsts(reverse),
        steps.cuts(p.parts), x, vectors, out, last, last_carried,
    ]  # fmt: skip
    job = p.words.copy()
    job[: len(arrays)] = identities(arrays)
    job[-S:] = identities(initial)
    p.launch(p.function, id(job), p.parts)
    return out, [last_carried, *last], (x, steps, kept)


def backward(cell: Cell, saved: tuple, weights, vectors, reverse: bool, d_out, d_last, needs_x: bool):
    """Gradients of x (None unless needs_x), the initial states (a list), the weights (a list) and vectors (V, H).

    weights: (w_ih, w_hh, w_hr).  d_out: the gradient of `out` (N, P), or of a dense one (T, B, P) with any strides;
    None for zeros.  d_last: those of the last states, or None.
    """
    x, steps, kept = saved
    w_ih, w_hh, w_hr = weights
    dtype, (GH, P) = x.dtype, w_hh.shape
    H, S, B = GH // len(cell.gates), len(cell.states), steps.B
    p = plan(cell, dtype, steps, x.shape[1], P, H, w_hr is not None, reverse, False)
    zeros = gemm.row_of_zeros(max(w_ih.shape[1], GH, P, vectors.size))
    if d_out is None:
        d_out, d_offsets, d_out_row = zeros, steps.nowhere, 0
    else:
        if d_out.strides[-1] != dtype.itemsize and d_out.shape[-1] > 1:
            d_out = np.ascontiguousarray(d_out)
        d_out_row, d_offsets = d_out.strides[-2], steps.places(d_out)
    w_ih, w_hh = reordered(cell, (w_ih, w_hh))
    d_carried, d_states = np.empty((B, P), dtype), np.empty((S - 1, B, H), dtype)
    d_x = np.empty_like(x) if needs_x else None
    d_w_ih, d_w_hh = np.empty(w_ih.shape, dtype), np.empty(w_hh.shape, dtype)
    d_b_ih, d_b_hh = np.empty(GH, dtype), np.empty(GH, dtype)
    d_w_hr = None if w_hr is None else np.empty(w_hr.shape, dtype)
    d_vectors, spare = np.empty(vectors.shape, dtype), np.empty(p.spare, np.uint8)
    arrays = [
        w_ih, w_hh, None, None, w_hr, kept, spare, zeros, steps.sizes, steps.offsets, None, steps.cuts(p.parts), x,
        vectors, None, None, None, d_out, d_offsets, d_carried, d_states, d_x, d_w_ih, d_w_hh, d_b_ih, d_b_hh, d_w_hr,
        d_vectors,
    ]  # fmt: skip
    job = p.words.copy()
    job[: len(arrays)] = identities(arrays)
    job[AT.d_out_row // 8] = d_out_row
    job[-S:] = identities(d_last)
    p.launch(p.function, id(job), p.parts)
    return (
        d_x,
        [d_carried, *d_states],
        [*reordered(cell, (d_w_ih, d_w_hh, d_b_ih, d_b_hh), back=True), d_w_hr],
        d_vectors,
    )
