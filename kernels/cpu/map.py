"""Map: n arrays -> m arrays, element by element, with broadcasting.  The loop's body is a derived formula.

    forward(formula, inputs, numbers, over)      -> the results, arrays of the broadcast shape
    backward(formula, saved, numbers, g, wanted) -> the gradient of each wanted input, of the broadcast shape
    arithmetic(ufunc, a, b, out)                 what NumPy's add, subtract, multiply or divide gives
    update(formula, groups, numbers) -> whether it was done: overwrites the first arrays of each group with the results

All arrays of a call have one floating-point type.  A kernel sees the results as (planes, rows, columns), contiguous,
and each input at an address with three steps in bytes: from plane to plane, from row to row, and from column to column
(arrays.place).  The last is the size of a number, or 0 for a number that counts in all columns of its row.  Arrays of
the shape of the result are one row; a bias is the same row again and again; some of a matrix's columns are rows that
lie farther apart; (B, T, H) beside (T, B, H) are planes.  What is no such thing is copied first.  The formula's
statements are printed once, in a loop that takes a vector of columns at a time, whole or masked at the end of a row:
what becomes of an element does not depend on where it lies, nor on what a thread does.

An update runs over all groups of arrays as if they were one, in one launch.

    places  64 words on the stack            what arrays.place writes
    table   (groups + 1, 1 + arrays) int64   how many elements the groups before have; the address of each array
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import chain
from types import ModuleType

import numpy as np

from .. import cache
from ..formulas import ARITHMETIC, Formula
from ..layouts import in_order, inverse, order_of
from ..scalar import Var, lines, needed, spell
from .copies import contiguous
from .scratch import WORDS

HEADER = '''"""{title}, derived from

{source}"""
from numba import int64
from numpy import {dtype} as real

from tinyrnn.kernels.cpu.arrays import alike, data, item, length, place, size
from tinyrnn.kernels.cpu.jit import kernel, njit
from tinyrnn.kernels.cpu.pool import split
from tinyrnn.kernels.cpu.scratch import words
from tinyrnn.kernels.cpu.simd import {functions}

LANES, SIZE = lanes(real), real().itemsize
inf, nan = real("inf"), real("nan")


@kernel
def loop(first, last, {parameters}):
'''

MAP = '''\
    row = first // columns
    column = first - row * columns
    plane = row // rows
    row -= plane * rows
    while first < last:
        end, done = min(columns, column + last - first), SIZE * (first - column)
        for k in range(column, end, LANES):
{body}
        first += end - column
        column, row = 0, row + 1
        if row == rows:
            plane, row = plane + 1, 0


whole = split(loop)


@njit
def run(arrays, outs, {numbers}):
    """False, and nothing is done, for arrays that are no planes of rows of neighbours."""
    out, places = item(outs, 0), words()
    place(arrays, out, SIZE, places)
    columns, rows = get(int64, places), get(int64, places + 8)
    if columns < 0:
        return False
    whole(size(out), {least} * columns // (columns + 64), LANES, columns, rows, {all})  # beginning a row takes time
    return True
'''

UPDATE = '''\
    for group in range(groups):
        row = table + 8 * width * group
        column = first - get(int64, row)
        end = get(int64, row + 8 * width) - get(int64, row)
        if 0 <= column < end and first < last:
            end = min(end, column + last - first)
            first += end - column
{addresses}
            for k in range(column, end, LANES):
{body}


whole = split(loop)


@njit
def update(arrays, width, table, {arguments}):
    """The arrays of all groups, `width` each; False, and nothing is done, if those of a group are not alike."""
    groups, n, row = length(arrays) // width, 0, data(table)
    for group in range(groups):
        first = item(arrays, width * group)
        put(int64, row, n)
        for k in range(width):
            array = item(arrays, width * group + k)
            if not alike(array, first):
                return False
            put(int64, row + 8 * k + 8, data(array))
        n += size(first)
        row += 8 * width + 8
    put(int64, row, n)
    whole(n, {least}, LANES, data(table), groups, width + 1, {arguments})
    return True
'''


# ---------------------------------------------------------------------------------------------------
# Printing
# ---------------------------------------------------------------------------------------------------
def block(statements: Iterable[str], depth: int) -> str:
    return "\n".join("    " * depth + s for s in statements)


def print_module(formula: Formula, what: str, dtype: str, parameters: Sequence[str], text: str) -> str:
    """The source of a kernel with these parameters; `text` is what follows its header."""
    source = "".join(f"    {line}".rstrip() + "\n" for line in formula.source.replace('"""', "'''").splitlines())
    vectors = [f"{v.name} = splat(real, in_{name})" for name, v in formula.recording.keywords.items()]
    here = [
        "alike", "data", "item", "length", "loop", "min", "place", "range", "real", "run", "size", "split", "update",
        "whole", "words",
    ]  # fmt: skip
    functions = {"lanes", *re.findall(r"(\w+)\(", "\n".join((text, *vectors)))}.difference(here)
    header = HEADER.format(
        title=f"{formula.name}: {what}",
        source=source,
        dtype=dtype,
        functions=", ".join(sorted(functions)),
        parameters=", ".join(parameters),
    )
    return f"{header}{block(vectors, 1)}\n{text}" if vectors else header + text


def least(statements: Sequence[str]) -> int:
    """How many elements are some 10 microseconds of work."""
    return 20_000 if any(re.search(r"\b(?!real|where)\w+\(", s) for s in statements) else 30_000


def print_map(formula: Formula, what: str, dtype: str, given: dict[str, Var], results: Sequence[Var]) -> str:
    """The source of a kernel that reads `given` (name -> Var) and the formula's numbers, and writes `results`."""
    numbers = [f"in_{name}" for name in formula.recording.keywords]
    outs = [f"out{k}" for k in range(len(results))]
    steps = [s for name in given for s in (name, f"{name}_plane", f"{name}_row", f"{name}_step")]
    statements = lines(results, given=tuple(given.values()))
    _, read = needed(results, given=tuple(given.values()))
    body = [
        f"{v.name} = load_next(real, {name} + plane * {name}_plane + row * {name}_row + k * {name}_step, "
        f"{name}_step, end - k)"
        for name, v in given.items()
        if v in read
    ]
    body += statements
    body += [
        f"store_next(real, {out} + done + SIZE * k, {spell(v)}, end - k)" for out, v in zip(outs, results, strict=True)
    ]
    places = [f"get(int64, places + {16 + 8 * k})" for k in range(len(steps))]
    addresses = [f"data(item(outs, {k}))" for k in range(len(outs))]
    assert 2 + len(steps) <= WORDS
    text = MAP.format(
        body=block(body, 3),
        least=least(statements),
        numbers=", ".join(numbers),
        all=", ".join([*places, *numbers, *addresses]),
    )
    parameters = ["columns", "rows", *steps, *(f"{n}: float" for n in numbers), *outs]
    return print_module(formula, what, dtype, parameters, text)


def print_update(formula: Formula, dtype: str) -> str:
    """The source of a kernel that overwrites the first input, and those from the third on, with the results."""
    r = formula.recording
    numbers = [f"in_{name}" for name in r.keywords]
    outs = [name for k, name in enumerate(r.inputs) if k != 1]
    body = [f"{v.name} = load_next(real, in_{name} + SIZE * k, SIZE, end - k)" for name, v in r.inputs.items()]
    body += (statements := lines(r.outputs))
    body += [
        f"store_next(real, in_{name} + SIZE * k, {spell(v)}, end - k)" for name, v in zip(outs, r.outputs, strict=True)
    ]
    text = UPDATE.format(
        body=block(body, 4),
        addresses=block((f"in_{name} = get(int64, row + {8 * k})" for k, name in enumerate(r.inputs, 1)), 3),
        least=least(statements),
        arguments=", ".join(numbers),
    )
    parameters = ["table", "groups", "width", *(f"{n}: float" for n in numbers)]
    return print_module(formula, "update", dtype, parameters, text)


# ---------------------------------------------------------------------------------------------------
# Running
# ---------------------------------------------------------------------------------------------------
LARGE = 1 << 16  # contiguous numbers that NumPy adds or multiplies in less time than several threads

_modules: dict[tuple, ModuleType] = {}


def forward_module(formula: Formula, dtype: np.dtype) -> ModuleType:
    module = _modules.get((formula, dtype))
    if module is None:
        given = {f"in_{name}": v for name, v in formula.recording.inputs.items()}
        text = print_map(formula, "forward", dtype.name, given, formula.recording.outputs)
        module = _modules[formula, dtype] = cache.load_source(f"{formula.name}_forward_{dtype.name}", text)
    return module


def backward_module(formula: Formula, dtype: np.dtype, wanted: tuple[bool, ...]) -> ModuleType:
    module = _modules.get((formula, dtype, wanted))
    if module is None:
        r = formula.recording
        seed, gradients = formula.derivative
        names = [*(f"in_{n}" for n in r.inputs), "in_result"]
        values = zip(names, [*r.inputs.values(), *r.outputs], formula.saves, strict=True)
        given = {name: v for name, v, saved in values if saved} | {"in_gradient": seed}
        results = [g for g, want in zip(gradients, wanted, strict=True) if want]
        text = print_map(formula, "backward", dtype.name, given, results)
        which = "".join("01"[w] for w in wanted)
        name = f"{formula.name}_backward_{which}_{dtype.name}"
        module = _modules[formula, dtype, wanted] = cache.load_source(name, text)
    return module


def update_module(formula: Formula, dtype: np.dtype) -> ModuleType:
    module = _modules.get((formula, dtype, "update"))
    if module is None:
        text = print_update(formula, dtype.name)
        module = _modules[formula, dtype, "update"] = cache.load_source(f"{formula.name}_update_{dtype.name}", text)
    return module


def launch(
    module: ModuleType, arrays: tuple[np.ndarray, ...], numbers: Sequence[float], outs: tuple[np.ndarray, ...]
) -> None:
    """Run a kernel; `outs` share memory with `arrays` only if they are the same."""
    if not (module.run(id(arrays), id(outs), *map(float, numbers)) if numbers else module.run(id(arrays), id(outs))):
        dense = tuple([contiguous(a) for a in arrays])
        if not module.run(id(dense), id(outs), *map(float, numbers)):
            shape = outs[0].shape
            dense = tuple([contiguous(np.broadcast_to(a, shape)) for a in arrays])
            module.run(id(dense), id(outs), *map(float, numbers))


def forward(
    formula: Formula,
    inputs: tuple[np.ndarray, ...],
    numbers: tuple[float, ...] = (),
    over: np.ndarray | None = None,
) -> tuple[np.ndarray, ...]:
    """`over`: an array that the result may overwrite, if it is the first input; the others share no memory with it."""
    first = inputs[0]
    shape, dtype = first.shape, first.dtype
    for a in inputs:
        if a.shape != shape:
            shape = np.broadcast_shapes(*[a.shape for a in inputs])
            break
    axes = None
    if first.shape != shape or not (first.flags.c_contiguous or in_order(first.strides)):
        axes = order_of(shape, *[(a.shape, a.strides) for a in inputs])
        if axes is not None:
            inputs = tuple([(a if a.shape == shape else np.broadcast_to(a, shape)).transpose(axes) for a in inputs])
            shape = tuple([shape[k] for k in axes])
    outs: tuple[np.ndarray, ...]
    if over is first and first.shape == shape and first.flags.c_contiguous:
        outs = (first,)
    elif formula.results == 1:
        outs = (np.empty(shape, dtype),)
    else:
        outs = tuple([np.empty(shape, dtype) for _ in range(formula.results)])
    launch(forward_module(formula, dtype), inputs, numbers, outs)
    return outs if axes is None else tuple([out.transpose(inverse(axes)) for out in outs])


def backward(
    formula: Formula, saved: tuple[np.ndarray, ...], numbers: tuple[float, ...], g: np.ndarray, wanted: tuple[bool, ...]
) -> tuple[np.ndarray | None, ...]:
    """`saved` holds what `formula.saves` marks, in that order."""
    module = backward_module(formula, g.dtype, wanted)
    outs: tuple[np.ndarray, ...]
    if len(wanted) == 1:
        outs = (np.empty(g.shape, g.dtype),)
    else:
        outs = tuple([np.empty(g.shape, g.dtype) for want in wanted if want])
    launch(module, (*saved, g), numbers, outs)
    if len(outs) == len(wanted):
        return outs
    found = iter(outs)
    return tuple([next(found) if want else None for want in wanted])


def arithmetic(ufunc: np.ufunc, a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """ufunc(a, b, out) for np.add, subtract, multiply or divide; by NumPy where one thread is as fast."""
    a, b = np.asarray(a), np.asarray(b)
    dense = all(x.flags.c_contiguous or not any(x.strides) for x in (a, b))
    if a.dtype != b.dtype or a.dtype.kind != "f" or (dense and max(a.size, b.size) < LARGE):
        return np.asarray(ufunc(a, b, out))
    if out is None:
        return forward(ARITHMETIC[ufunc.__name__], (a, b))[0]
    if not out.flags.c_contiguous or any(x is not out and np.may_share_memory(x, out) for x in (a, b)):
        return np.asarray(ufunc(a, b, out))
    launch(forward_module(ARITHMETIC[ufunc.__name__], a.dtype), (a, b), (), (out,))
    return out


def update(formula: Formula, groups: Sequence[Sequence[np.ndarray]], numbers: tuple[float, ...]) -> bool:
    """Each group holds arrays in the order of the formula's parameters, a parameter, say, its gradient and its state.
    All but the second are overwritten.  Those of a group have to be contiguous and of one shape and type: where they
    are not, nothing is done, and the answer is False.
    """
    if not groups:
        return True
    arrays, width = tuple(chain.from_iterable(groups)), len(groups[0])
    table = np.empty((len(groups) + 1) * (width + 1), np.int64)
    run = update_module(formula, arrays[0].dtype).update
    return run(id(arrays), width, id(table), *map(float, numbers))
