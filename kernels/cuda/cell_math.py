"""The math of a cell's step as functions that one thread runs for one hidden unit of one row of the batch.

`step(cell, real)` prints them from the cell's recording, as cpu/cell_source.py does, but for the loops around them:

    forward(in_values, out)     the states after the step
    backward(in_values, out)    the gradients of all that the step reads, by those of the states after it

`in_values` and `out` are local arrays, which become registers.  `in_values` has, one after the other,

    G    the pre-activations of the gates: whole ones; of split ones, the half that comes from x; those of x alone
    Q    the other halves of the split gates
    S    the states before the step
    V    the learned vectors
    S    how much zoneout keeps of each state
    S    the gradients of the states after the step, for `backward`

and the `out` of `backward` the gradients of the first G + Q + S + V of these.
"""

from __future__ import annotations

import functools
import re
from typing import Any, NamedTuple

from ..cache import digest, load_source
from ..cells import Cell
from ..scalar import Var, lines, needed, spell

HEADER = '''"""One step of the recurrent cell {name}, forward and backward: see kernels/cuda/cell_math.py."""

# Derived from
#
{source}
from numpy import {dtype} as real

from tinyrnn.kernels.cuda.jit import inlined
{functions}
inf, nan = real("inf"), real("nan")
'''

FUNCTION = """

@inlined
def {name}(in_values, out):
{body}
"""


class Step(NamedTuple):
    """The functions of a step, and what a kernel has to know of it."""

    forward: Any
    backward: Any
    gates: int
    inner: int  # those that are not of the input alone, which come first
    halves: int  # the split gates, the last of these
    states: int
    vectors: int
    zones: tuple[int, ...]  # the states that have zoneout in the cell's math
    name: str


@functools.cache
def step(cell: Cell, real: type, zoned: tuple[bool, ...] = (), projected: bool = False) -> Step:
    """The step of a cell with zoneout of some of its states; that of a projected hidden state is not its business."""
    if any(zoned):
        cell = cell.zoned((zoned[0] and not projected, *zoned[1:]))
    text, names = print_step(cell, real.__name__)
    module = load_source(f"cuda_{cell.name}_{real.__name__}", text)
    functions = (getattr(module, name) for name in names)
    counts = map(len, (cell.gates, cell.inner, cell.split, cell.states, cell.vectors))
    return Step(*functions, *counts, tuple(cell.zones), cell.name)


def places(cell: Cell) -> dict[Var, int]:
    """Where in `in_values` each value is that the math reads, but for the gradients."""
    G, Q, S, V = len(cell.gates), len(cell.split), len(cell.states), len(cell.vectors)
    recording = cell.recording
    found = {v: G + Q + S + cell.vectors.index(name) for name, v in recording.keywords.items()}
    parts = {name: (gate, part) for name, gate, part in cell.inputs}
    for name, v in recording.inputs.items():
        if name in parts:
            gate, part = parts[name]
            found[v] = G + cell.split.index(gate) if part == "h" else cell.order.index(gate)
        else:
            found[v] = G + Q + cell.states.index(name)
    return found | {v: G + Q + S + V + k for k, v in cell.zones.items()}


def print_step(cell: Cell, dtype: str) -> tuple[str, list[str]]:
    """The source of the two functions, and their names, which no other cell's have."""
    count = len(cell.gates) + len(cell.split) + len(cell.states) + len(cell.vectors)
    where = places(cell)
    seeds, gradients = cell.derivative
    parameters = [*cell.recording.inputs.values(), *cell.recording.keywords.values()]
    by_place = {where[v]: g for v, g in zip(parameters, gradients, strict=True)}
    first = count + len(cell.states)
    forward = _body(where, list(cell.recording.outputs))
    backward = _body(where | {v: first + k for k, v in enumerate(seeds)}, [by_place.get(k) for k in range(count)])
    code = ""
    names = []
    for kind, body in (("forward", forward), ("backward", backward)):
        names.append(f"{kind}_{digest(cell.name + dtype + body)}")  # the name is what the cache on disk tells them by
        code += FUNCTION.format(name=names[-1], body=body)
    called = sorted(set(re.findall(r"(\w+)\(", code)) - {"real", *names})
    header = HEADER.format(
        name=re.sub(r"\W", "_", cell.name),
        source="\n".join(f"#     {line}".rstrip() for line in cell.source.splitlines()),
        dtype=dtype,
        functions=f"from tinyrnn.kernels.cuda.functions import {', '.join(called)}\n" if called else "",
    )
    return header + code, names


def _body(where: dict[Var, int], results: list[Var | None]) -> str:
    wanted = [v for v in results if v is not None]
    _, read = needed(wanted)
    statements = [f"{v.name} = in_values[{k}]" for v, k in where.items() if v in read]
    statements += lines(wanted)
    statements += [f"out[{k}] = {'real(0.0)' if v is None else spell(v)}" for k, v in enumerate(results)]
    return "\n".join("    " + s for s in statements)
