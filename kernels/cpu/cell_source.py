"""The source of a cell's kernels: one step's scalar math, printed into the loops over time.

    print_kernel(cell, dtype, ...)     the text of a module with two kernels, `forward` and `backward`

Both take a job (cell_job.py, which has the names and shapes of all buffers) and the number of a part: that part's
sequences go through all steps, and nothing waits for another part.  For each step, `block` rows at a time:

    forward     the products of x and the hidden state with the packed weights (x may be multiplied for some steps
                ahead, or before the loop, and always is for a cell with no product of the hidden state; neither product
                is here for a single step), then the cell, vector by vector: it reads pre-activations and states, and
                writes the states straight to the rows of the next step, or, for a sequence that ends, to `last`
    backward    from the last step to the first, the derivative of the cell: it computes the activations anew from the
                pre-activations and turns the gradients of the states into those of the gates; then the product of
                these with the weights, which is the gradient of the hidden state that the step before gave (for a
                single step, after the loop).  What the cell will read in the next step is fetched from memory
                meanwhile: the processor does not foresee a walk back through several arrays

A mean over all hidden units, in a cell that takes one, is a loop of its own over the units of a row, before the one
that computes the states or gradients: first the means that need no other, then those that need these, and so on.  What
takes long to compute and is used in a later loop, too, is kept in `scratch`.

Around the cell there may be

    a projection         out = w_hr h, P numbers, which the next step and the layer above get instead of h
    zoneout              a state stays what it was where a mask says so: in the cell's math (see Cell.zoned) but for the
                         hidden state of a projection, which no longer is about hidden units
    recurrent dropout    the hidden state enters the product times a mask, one for each sequence
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..cells import Cell
from ..scalar import CONDITIONS, Var, lines, needed, spell, stages
from .cell_job import ARRAYS, AT, KEPT, NUMBERS, SPARE

HEADER = '''"""The recurrent cell {name} over a whole sequence, forward and backward: see kernels/cpu/cell_source.py."""

# Derived from
#
{source}
from numba import int64
from numpy import {dtype} as real

from tinyrnn.kernels.cpu.jit import kernel
from tinyrnn.kernels.cpu.cell_driver import shared
from tinyrnn.kernels.cpu.simd import {functions}

LANES, SIZE = lanes(real), real().itemsize
product, multiply_ahead = shared(real).product, shared(real).multiply_ahead
one, inf, nan = real(1), real("inf"), real("nan")
SCRATCH = {scratch}  # numbers of each unit that forward and backward keep from one loop over the units to the next
'''

DRIVER = {"product", "multiply_ahead"}  # what the kernels call of cell_driver.py
QUICK = {"add", "sub", "mul", "neg", "where"} | CONDITIONS  # what is computed again sooner than loaded

FORWARD = """

@kernel
def forward(job, part):
{fields}
    low, high = get(int64, cuts + 8 * part), get(int64, cuts + 8 * part + 8)
    for step in range(T):
        t = T - 1 - step if reverse else step
        row, alive = get(int64, offsets + 8 * t), min(high, get(int64, sizes + 8 * t))
        gates_top = row if lasting else step % turns * B
        staying, next_row = 0, 0  # rows that have another step, and where these rows are
        if step < T - 1:
            following = t - 1 if reverse else t + 1
            staying, next_row = get(int64, sizes + 8 * following), get(int64, offsets + 8 * following)
        if ahead and step % ahead == 0:
            multiply_ahead(job, step, low, high)
        for top in range(low, alive, block):
            rows, r, gates_row = min(alive - top, block), row + top, gates_top + top
{products}
            for b in range(top, top + rows):
                r, gates_row = row + b, gates_top + b
                place, width = (next_row + b, N) if b < staying else (b, B)
                after = states if b < staying else last
{pointers}
{means}
                for j in range(0, H, LANES):
                    n, here = H - j, SIZE * j
{cell}
{projection}"""

BACKWARD = """

@kernel
def backward(job, part):
{fields}
    low, high = get(int64, cuts + 8 * part), get(int64, cuts + 8 * part + 8)
    for step in range(T):
        t = first_step + step if reverse else first_step - step
        row, alive = get(int64, offsets + 8 * t), min(high, get(int64, sizes + 8 * t))
        d_out_t = d_out + get(int64, d_offsets + 8 * t)
        far, far_out = 0, 0  # from a row to that of the next step in the walk; from its d_out, in bytes
        if step < T - 1:
            following = t + 1 if reverse else t - 1
            far = get(int64, offsets + 8 * following) - row
            far_out = get(int64, d_offsets + 8 * following) - get(int64, d_offsets + 8 * t)
        for top in range(low, alive, block):
            rows = min(alive - top, block)
{projection}
            for b in range(top, top + rows):
                r, chunk_row = row + b, row + b - first_row
                gates_row = r
{pointers}
{means}
                for j in range(0, H, LANES):
                    n, here = H - j, SIZE * j
{cell}
{products}
"""

# The hidden state as it enters the product, and back.
DROP = """
for b in range(top, top + rows):
    for j in range(0, P, LANES):
        n, here = P - j, SIZE * ((row + b) * P + j)
        mask = load_first(real, drop + SIZE * (b * P + j), n)
        store_first(real, entering + here, load_first(real, carried + here, n) * mask, n)"""
D_DROP = """
for b in range(top, top + rows):
    for j in range(0, P, LANES):
        n, here = P - j, SIZE * (b * P + j)
        d = load_first(real, d_entering + here, n) * load_first(real, drop + here, n)
        store_first(real, d_carried + here, load_first(real, d_carried + here, n) + d, n)"""

# The projection, and what it does to the next step's hidden state, with zoneout or without.
PROJECT = """
r = row + top
product(spread, rows, P, H, full + SIZE * r * H, SIZE * H, w_r, 0, 0, 0, 0, zeros, 0, out + SIZE * r * P, SIZE * P)
for b in range(top, top + rows):
    r = row + b
    to = carried + SIZE * (next_row + b) * P if b < staying else last_carried + SIZE * b * P
    for j in range(0, P, LANES):
        n, here = P - j, SIZE * (r * P + j)
        new = load_first(real, out + here, n){zoned}
        store_first(real, to + SIZE * j, new, n)"""
ZONED = """
        zone = load_first(real, zone_carried + SIZE * (zone_row * r * P + j), n)
        new = zone * load_first(real, carried + here, n) + (one - zone) * new
        store_first(real, out + here, new, n)"""
D_PROJECT = """
for b in range(top, top + rows):
    r, chunk_row = row + b, row + b - first_row
    for j in range(0, P, LANES):
        n, here = P - j, SIZE * (b * P + j)
        d = load_first(real, d_carried + here, n) + load_first(real, d_out_t + b * d_out_row + SIZE * j, n){zoned}
chunk_row = row + top - first_row
product(spread, rows, H, P, d_projected + SIZE * chunk_row * P, SIZE * P, w_r, 0, 0, 0, 0,
        zeros, 0, d_full + SIZE * top * H, SIZE * H)"""
D_PLAIN = """
        store_first(real, d_projected + SIZE * (chunk_row * P + j), d, n)
        store_first(real, d_carried + here, splat(real, 0.0), n)"""
D_ZONED = """
        zone = load_first(real, zone_carried + SIZE * (zone_row * r * P + j), n)
        store_first(real, d_projected + SIZE * (chunk_row * P + j), (one - zone) * d, n)
        store_first(real, d_carried + here, zone * d, n)"""


def print_kernel(
    cell: Cell, dtype: str, projected: bool = False, zoned: Sequence[bool] = (), dropped: bool = False
) -> str:
    """The source of a cell's forward and backward: with a projection, with zoneout of some of its states, and with
    recurrent dropout, or without.

    Raises TypeError for what is no Cell (that of a layer is layer.cell), ValueError for another type than float32 and
    float64.
    """
    if not isinstance(cell, Cell):
        raise TypeError(f"print_kernel(): expected a Cell, layer.cell, say, got {type(cell).__name__}")
    if dtype not in ("float32", "float64"):
        raise ValueError(f"print_kernel(): expected dtype to be 'float32' or 'float64', got {dtype!r}")
    held = bool(zoned) and projected and zoned[0]
    if any(zoned):
        cell = cell.zoned((zoned[0] and not projected, *zoned[1:]))
    printer = Printer(cell, projected, held, dropped)
    texts, scratch = zip(printer.forward(), printer.backward(), strict=True)
    code = "".join(t.replace("{fields}", _fields(t)) for t in texts)
    called = set(re.findall(r"(\w+)\(", code)) - {*DRIVER, "real", "range", "min", "forward", "backward"}
    header = HEADER.format(
        name=re.sub(r"\W", "_", cell.name),
        source="\n".join(f"#     {line}".rstrip() for line in cell.source.splitlines()),
        dtype=dtype,
        functions=", ".join(sorted(called | {"lanes"})),
        scratch=scratch,
    )
    return header + code


class Printer:
    """A cell, and what is printed of it.

    A value of the cell's math has a pointer to its row: gate_k, hidden_k, state_k, vector_k, zone_k are read, after_k,
    out_0, d_gate_k, d_hidden_k, d_state_k, d_vector_k written.
    """

    def __init__(self, cell: Cell, projected: bool, held: bool, dropped: bool):
        self.cell, self.projected, self.held, self.dropped = cell, projected, held, dropped
        self.gates, self.halves, self.whole = len(cell.gates), len(cell.split), len(cell.inner) - len(cell.split)
        self.states, self.vectors = len(cell.states), len(cell.vectors)
        self.parameters = {**cell.recording.inputs, **cell.recording.keywords}
        G, Q = self.gates, self.halves
        self.inputs = {f"gate_{k}": f"gates + SIZE * (gates_row * {G} * H + {k} * H)" for k in range(G)}
        self.inputs |= {f"hidden_{k}": f"hidden + SIZE * (gates_row * {Q} * H + {k} * H)" for k in range(Q)}
        self.inputs |= {f"state_{k}": f"states + SIZE * ({k - 1} * N + r) * H" for k in range(1, self.states)}
        self.inputs |= {"state_0": "carried + SIZE * r * H"}
        self.inputs |= {f"vector_{k}": f"vectors + SIZE * {k} * H" for k in range(self.vectors)}
        self.inputs |= {
            f"zone_{k}": f"zone_states + SIZE * ({k - 1} * (N if zone_row else 1) + zone_row * r) * H"
            for k in range(1, self.states)
        }
        self.inputs |= {"zone_0": "zone_carried + SIZE * zone_row * r * H"}

    def pointer(self, name: str) -> str:
        """Where a parameter is read: a pre-activation, a state before the step, or a learned vector."""
        cell = self.cell
        if name in cell.vectors:
            return f"vector_{cell.vectors.index(name)}"
        if name in cell.states:
            return f"state_{cell.states.index(name)}"
        gate, part = next((g, part) for n, g, part in cell.inputs if n == name)
        return f"hidden_{cell.split.index(gate)}" if part == "h" else f"gate_{cell.order.index(gate)}"

    def reads(self) -> dict:
        """Each value that is read, by its Var, and its pointer."""
        return {v: self.pointer(name) for name, v in self.parameters.items()} | {
            v: f"zone_{k}" for k, v in self.cell.zones.items()
        }

    def math(
        self, results: Sequence[Var], loads: dict[Var, str], fetched: Sequence[str] = ()
    ) -> tuple[list[str], list[str], dict[str, str]]:
        """Statements before the loop over the units that computes `results`, those in it, and pointers that they use.

        `loads` has an expression for each value that may be read; `fetched` are statements to be put into the loop.
        """
        found = stages(results)
        means = {m for stage in found for m in stage}
        goals = [*([m.args[0] for m in stage] for stage in found), results]
        wanted = [set(needed(goal, means)[0]) for goal in goals]
        before: list[str] = []
        kept: dict[Var, str] = {}
        for k, stage in enumerate(found):
            body = self._computed(goals[k], means, loads, kept)
            later = set().union(*wanted[k + 1 :]) - set(kept)
            for v in needed(goals[k], means | set(kept))[0]:
                # What is alike for all units is computed once for a loop, whatever stands in it.
                if v in later and v.op not in QUICK and not v.alike:
                    kept[v] = f"kept_{len(kept)}"
                    body.append(_store(kept[v], v.name))
            body += [
                f"sum_{i} = sum_{i} + choose_first({spell(a)}, n, splat(real, 0.0))" for i, a in enumerate(goals[k])
            ]
            before += [f"sum_{i} = splat(real, 0.0)" for i in range(len(stage))]
            before += ["for j in range(0, H, LANES):", *_indented(["n, here = H - j, SIZE * j", *body])]
            before += [f"{m.name} = splat(real, total(sum_{i}) / real(H))" for i, m in enumerate(stage)]
        pointers = {name: f"scratch + SIZE * (part * {len(kept)} + {k}) * H" for k, name in enumerate(kept.values())}
        return before, self._computed(results, means, loads, kept, fetched), pointers

    def _computed(
        self,
        results: Sequence[Var],
        means: set[Var],
        loads: dict[Var, str],
        kept: dict[Var, str],
        fetched: Sequence[str] = (),
    ) -> list[str]:
        """Statements that compute `results` for some units, given the means and what was kept."""
        given = means | set(kept)
        _, read = needed(results, given)
        known = loads | {v: _load(pointer) for v, pointer in kept.items()}
        return [*(f"{v.name} = {text}" for v, text in known.items() if v in read), *fetched, *lines(results, given)]

    def forward(self) -> tuple[str, int]:
        """The text, and how many numbers of each unit are kept in `scratch`."""
        G, W, Q = self.gates, self.whole, self.halves
        products = []
        if W:
            products += [
                f"pre = gates + SIZE * gates_row * {G} * H",
                f"product(spread, rows, {W} * H, I if fused else 0, inputs + SIZE * r * I, SIZE * I, w_x,",
                "        P, entering + SIZE * r * P, SIZE * P, w_h,",
                f"        bias if fused else pre, 0 if fused else SIZE * {G} * H, pre, SIZE * {G} * H)",
            ]
        if G > W:
            products += [
                "if fused:",
                f"    product(spread, rows, {G - W} * H, I, inputs + SIZE * r * I, SIZE * I, w_x_split, 0, 0, 0, 0,",
                f"            bias + SIZE * {W} * H, 0, gates + SIZE * (gates_row * {G} + {W}) * H, SIZE * {G} * H)",
            ]
        if Q:
            products += [
                f"product(spread, rows, {Q} * H, P, entering + SIZE * r * P, SIZE * P, w_h_split, 0, 0, 0, 0,",
                f"        bias_split, 0, hidden + SIZE * gates_row * {Q} * H, SIZE * {Q} * H)",
            ]
        products = (DROP.splitlines()[1:] if self.dropped else []) + products
        products = ["if not single:", *_indented(products)] if W + Q else []
        outputs = self.cell.recording.outputs
        means, body, kept = self.math(outputs, {v: _load(pointer) for v, pointer in self.reads().items()})
        after = {f"after_{k}": f"after + SIZE * ({k - 1} * width + place) * H" for k in range(1, self.states)}
        if self.projected:
            after["after_0"] = "full + SIZE * r * H"
        else:
            after["after_0"] = "(carried if b < staying else last_carried) + SIZE * place * H"
            after["out_0"] = "out + SIZE * r * H"
            body += [_store("out_0", spell(outputs[0]))]
        body += [_store(f"after_{k}", spell(v)) for k, v in enumerate(outputs)]
        projection = PROJECT.replace("{zoned}", ZONED if self.held else "").splitlines()[1:] if self.projected else []
        text = FORWARD.format(
            fields="{fields}",
            products=_block(products, 3),
            pointers=_block(_defined(self.inputs | after | kept, means + body), 4),
            means=_block(means, 4),
            cell=_block(body, 5),
            projection=_block(projection, 3),
        )
        return text, len(kept)

    def backward(self) -> tuple[str, int]:
        """The same of the backward."""
        G, W, Q, V = self.gates, self.whole, self.halves, self.vectors
        seeds, gradients = self.cell.derivative
        gradient = dict(zip(self.parameters, gradients, strict=True))
        loads = {v: _load(pointer) for v, pointer in self.reads().items()}
        _, read = needed(gradients)
        fetched = []
        widths = {"gate": f"{G} * H", "hidden": f"{Q} * H", "state": "H", "zone": "zone_row * H"}
        for v, pointer in self.reads().items():
            if v in read and (width := widths.get(pointer.partition("_")[0])):
                fetched += [f"fetch({pointer} + SIZE * far * {width} + here)"]
        d_states = {f"d_state_{k}": f"d_states + SIZE * ({k - 1} * B + b) * H" for k in range(1, self.states)}
        if self.projected:
            d_states["d_state_0"] = "d_full + SIZE * b * H"
            loads[seeds[0]] = _load("d_state_0")
        else:
            d_states |= {"d_state_0": "d_carried + SIZE * b * H", "d_out_0": "d_out_t + b * d_out_row"}
            loads[seeds[0]] = f"{_load('d_state_0')} + {_load('d_out_0')}"
            fetched += ["fetch(d_out_0 + far_out + here)"]
        loads |= {v: _load(f"d_state_{k}") for k, v in enumerate(seeds) if k}
        means, body, kept = self.math(gradients, loads, fetched)
        d_gates = {f"d_gate_{k}": f"d_gates + SIZE * (chunk_row * {G} * H + {k} * H)" for k in range(G)}
        d_gates |= {f"d_hidden_{k}": f"d_hidden + SIZE * (chunk_row * {Q} * H + {k} * H)" for k in range(Q)}
        d_gates |= {f"d_vector_{k}": f"d_vectors + SIZE * (b * {V} + {k}) * H" for k in range(V)}
        body += [_store(f"d_{self.pointer(name)}", spell(gradient[name])) for name, _, _ in self.cell.inputs]
        for k, state in enumerate(self.cell.states):
            if k or not self.projected:
                body += [_store(f"d_state_{k}", spell(gradient[state]) if state else "real(0)")]
        for k, vector in enumerate(self.cell.vectors):
            body += [_store(f"d_vector_{k}", f"{_load(f'd_vector_{k}')} + {spell(gradient[vector])}")]
        start, to = (
            ("zeros, 0", "d_entering") if self.dropped else ("d_carried + SIZE * top * P, SIZE * P", "d_carried")
        )
        products = [
            "chunk_row = row + top - first_row",
            f"product(spread, rows, P, {W} * H, d_gates + SIZE * chunk_row * {G} * H, SIZE * {G} * H, w_h,",
            f"        {Q} * H, d_hidden + SIZE * chunk_row * {Q} * H, SIZE * {Q} * H, w_h_split,",
            f"        {start}, {to} + SIZE * top * P, SIZE * P)",
        ]
        products += D_DROP.splitlines()[1:] if self.dropped else []
        products = ["if not single:", *_indented(products)] if W + Q else []
        projection = D_PROJECT.replace("{zoned}", D_ZONED if self.held else D_PLAIN).splitlines()[1:]
        text = BACKWARD.format(
            fields="{fields}",
            projection=_block(projection if self.projected else [], 3),
            pointers=_block(_defined(self.inputs | d_states | d_gates | kept, means + body), 4),
            means=_block(means, 4),
            cell=_block(body, 5),
            products=_block(products, 3),
        )
        return text, len(kept)


def _load(pointer: str) -> str:
    return f"load_first(real, {pointer} + here, n)"


def _store(pointer: str, value: str) -> str:
    return f"store_first(real, {pointer} + here, {value}, n)"


def _names(text: str) -> set[str]:
    return set(re.findall(r"[A-Za-z_]\w*", text))


def _defined(pointers: dict[str, str], body: list[str]) -> list[str]:
    """Statements that define the pointers that `body` uses."""
    used = _names("\n".join(body))
    return [f"{name} = {where}" for name, where in pointers.items() if name in used]


def _indented(statements: list[str]) -> list[str]:
    return [f"    {s}" for s in statements]


def _block(statements: list[str], depth: int) -> str:
    return "\n".join(" " * 4 * depth + s for s in statements)


def _fields(text: str) -> str:
    """Statements that read from the job what `text` uses."""
    used = _names(text)
    names = [n for n in (*ARRAYS, *KEPT, *SPARE, *NUMBERS) if n in used]
    return _block([f"{n} = get(int64, job + {getattr(AT, n)})" for n in names], 1)
