"""The math of a cell's step as functions that one thread runs for one hidden unit of one row of the batch.

`step(cell, real)` prints them from the cell's recording, as cpu/cell_source.py does, but for the loops around them:

    forward(in_values, out)     the states after the step
    backward(in_values, out)    the gradients of all that the step reads, by those of the states after it

or, for a step that takes means over the hidden units,

    forward_means(stage, in_values, means, out)     of what the means of a stage are to be taken
    backward_means(stage, in_values, means, out)    the same of those that the derivative needs
    forward(in_values, means, out), backward(in_values, means, out)

`in_values` and `out` are local arrays, which become registers.  `in_values` has, one after the other,

    G    the pre-activations of the gates: whole ones; of split ones, the half that comes from x; those of x alone
    Q    the other halves of the split gates
    S    the states before the step
    V    the learned vectors
    S    how much zoneout keeps of each state
    S    the gradients of the states after the step, for `backward`

and the `out` of `backward` the gradients of the first G + Q + S + V of these.  Every stage has as many places in
`means` and `out` as the largest.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from ..cache import digest, load_source
from ..cells import Cell
from ..scalar import Var, lines, needed, spell, stages

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
def {name}({arguments}):
{body}
"""


class Step(NamedTuple):
    """The functions of a step, and what a kernel has to know of it."""

    forward: Any
    backward: Any
    forward_means: Any  # None for a step without means
    backward_means: Any
    forward_stages: tuple[int, int]  # how many, and how many means each may have
    backward_stages: tuple[int, int]
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
    text, names, stages = print_step(cell, real.__name__)
    module = load_source(f"cuda_{cell.name}_{real.__name__}", text)
    functions = (name and getattr(module, name) for name in names)
    counts = map(len, (cell.gates, cell.inner, cell.split, cell.states, cell.vectors))
    return Step(*functions, *stages, *counts, tuple(cell.zones), cell.name)


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


def print_step(cell: Cell, dtype: str) -> tuple[str, list[str | None], list[tuple[int, int]]]:
    """The source of the functions; their names, which no other cell's have; and the stages of means of both directions,
    and their size."""
    count = len(cell.gates) + len(cell.split) + len(cell.states) + len(cell.vectors)
    where = places(cell)
    seeds, gradients = cell.derivative
    parameters = [*cell.recording.inputs.values(), *cell.recording.keywords.values()]
    by_place = {where[v]: g for v, g in zip(parameters, gradients, strict=True)}
    first = count + len(cell.states)
    code = ""
    found: dict[str, str | None] = {}
    sizes: list[tuple[int, int]] = []
    for kind, given, results in (
        ("forward", where, list(cell.recording.outputs)),
        ("backward", where | {v: first + k for k, v in enumerate(seeds)}, [by_place.get(k) for k in range(count)]),
    ):
        staged = stages([v for v in results if v is not None])
        wide = max(map(len, staged), default=1)
        means = {m: f"means[{k * wide + i}]" for k, stage in enumerate(staged) for i, m in enumerate(stage)}
        reads = {v: f"in_values[{k}]" for v, k in given.items()} | means
        bodies = {kind: ("in_values, means, out" if cell.means else "in_values, out", _body(reads, means, results))}
        found[f"{kind}_means"] = None
        if cell.means:
            wanted = [[m.args[0] for m in stage] + [None] * (wide - len(stage)) for stage in staged]
            branches = [f"    if stage == {k}:\n{_body(reads, means, w, 2)}" for k, w in enumerate(wanted)]
            bodies[f"{kind}_means"] = "stage, in_values, means, out", "\n".join(branches) or "    pass"
        for name, (arguments, body) in bodies.items():
            # The name is what the cache on disk tells functions by.
            found[name] = f"{name}_{digest(cell.name + dtype + body)}"
            code += FUNCTION.format(name=found[name], arguments=arguments, body=body)
        sizes.append((len(staged), wide))
    names = [found[name] for name in ("forward", "backward", "forward_means", "backward_means")]
    called = sorted(set(re.findall(r"(\w+)\(", code)) - {"real", *names})
    header = HEADER.format(
        name=re.sub(r"\W", "_", cell.name),
        source="\n".join(f"#     {line}".rstrip() for line in cell.source.splitlines()),
        dtype=dtype,
        functions=f"from tinyrnn.kernels.cuda.functions import {', '.join(called)}\n" if called else "",
    )
    return header + code, names, sizes


def _body(reads: dict[Var, str], means: Collection[Var], results: Sequence[Var | None], depth: int = 1) -> str:
    """Statements that write `results`, zeros for None, to `out`; `reads` says where each value is that is given."""
    wanted = [v for v in results if v is not None]
    _, read = needed(wanted, means)
    statements = [f"{v.name} = {place}" for v, place in reads.items() if v in read]
    statements += lines(wanted, means)
    statements += [f"out[{k}] = {'real(0.0)' if v is None else spell(v)}" for k, v in enumerate(results)]
    return "\n".join("    " * depth + s for s in statements)
