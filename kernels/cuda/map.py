"""Map on the device: kernels of the same formulas as those of kernels.cpu.map, under the same names.

forward(formula, inputs, numbers)            -> the results, arrays of the broadcast shape
backward(formula, saved, numbers, g, wanted) -> the gradient of each wanted input, of the broadcast shape
arithmetic(ufunc, a, b)                      what NumPy's add, subtract, multiply or divide gives
update(formula, groups, numbers)             overwrites the first arrays of each group with the results
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import cache
from ..formulas import BINARY, LOSSES, UNARY, UPDATES, Formula
from ..layouts import order_of
from ..scalar import Var, lines, spell
from . import elementwise
from .array import Array, empty, empty_as
from .driver import driver
from .jit import Kernel
from .loops import Body, Input, Result, kernel_of, run
from .tables import CHUNK, table_of

UPDATE = '''"""{title}"""
from numba import cuda
from numba.cuda import types
from numpy import {dtype} as real

from tinyrnn.kernels.cuda.functions import *
from tinyrnn.kernels.cuda.jit import kernel, pointer
from tinyrnn.kernels.cuda.ptx import numbers_at
from tinyrnn.kernels.cuda.tables import group_of

inf, nan, numbers = real("inf"), real("nan"), numbers_at("{dtype}")


@kernel
def {name}(table: pointer("int64"), groups: types.int64, chunks: types.int64, {parameters}):
    for chunk in range(cuda.blockIdx.x, chunks, cuda.gridDim.x):
        row = {width} * group_of(chunk, table, groups, {width})
        n = table[row + 1]
        first = {chunk} * (chunk - table[row])
{arrays}
        for k in range(first + cuda.threadIdx.x, min(first + {chunk}, n), cuda.blockDim.x):
{body}
'''


# ---------------------------------------------------------------------------------------------------
# Printing
# ---------------------------------------------------------------------------------------------------
def body_of(
    formula: Formula,
    what: str,
    given: Sequence[Var],
    memory: Sequence[np.dtype | None],
    results: Sequence[Var],
    dtype: np.dtype,
) -> Body:
    """What computes `results` of arrays and numbers, those `given` first, then the formula's numbers."""
    inputs = [Input(v.name, m and m.name, dtype.name) for v, m in zip(given, memory, strict=True)]
    inputs += [Input(v.name, None, dtype.name) for v in formula.recording.keywords.values()]
    return Body(
        f"{formula.name}_{what}_{dtype.name}",
        f"{formula.name}: {what}, derived from\n\n{formula.source}".replace('"""', "'''"),
        tuple(inputs),
        tuple(lines(results, given=tuple(given))),
        tuple([Result(spell(v), dtype.name, dtype.name) for v in results]),
        dtype.name,
    )


@functools.cache
def forward_body(formula: Formula, dtype: np.dtype, memory: tuple[np.dtype | None, ...]) -> Body:
    r = formula.recording
    return body_of(formula, "forward", tuple(r.inputs.values()), memory, r.outputs, dtype)


@functools.cache
def backward_body(
    formula: Formula, dtype: np.dtype, memory: tuple[np.dtype | None, ...], wanted: tuple[bool, ...]
) -> Body:
    given = (*saved_by(formula), formula.derivative[0])
    results = [g for g, want in zip(formula.derivative[1], wanted, strict=True) if want]
    return body_of(formula, "backward", given, memory, results, dtype)


def saved_by(formula: Formula) -> list[Var]:
    """The inputs and results that a forward keeps for its backward."""
    r = formula.recording
    return [v for v, saved in zip((*r.inputs.values(), *r.outputs), formula.saves, strict=True) if saved]


@functools.cache
def update_kernel(formula: Formula, dtype: str) -> Kernel:
    """The kernel that overwrites the first input, and those from the third on, with the results."""
    r = formula.recording
    inputs = list(r.inputs.values())
    outs = [k for k in range(len(inputs)) if k != 1]
    arrays = [f"in{k} = numbers(table[row + {2 + k}], n)" for k in range(len(inputs))]
    body = [f"{v.name} = in{k}[k]" for k, v in enumerate(inputs)] + lines(r.outputs)
    body += [f"in{k}[k] = {spell(v)}" for k, v in zip(outs, r.outputs, strict=True)]
    name = f"{formula.name}_update_{dtype}"
    text = UPDATE.format(
        title=f"{formula.name}: update, derived from\n\n{formula.source}".replace('"""', "'''"),
        name=name,
        dtype=dtype,
        parameters=", ".join(f"{v.name}: types.{dtype}" for v in r.keywords.values()),
        width=2 + len(inputs),
        chunk=CHUNK,
        arrays="\n".join(f"        {line}" for line in arrays),
        body="\n".join(f"            {line}" for line in body),
    )
    return vars(cache.load_source(f"cuda_{name}", text))[name]


def examples() -> list[Kernel]:
    """The kernels of the longest formulas, and of some that every program has."""
    kernels = [update_kernel(UPDATES["adam_amsgrad"], "float32"), update_kernel(UPDATES["nadam"], "float64")]
    for formula, name in (
        (UNARY["gelu"], "float32"),
        (UNARY["gelu"], "float64"),
        (BINARY["floor_divide"], "float32"),
        (LOSSES["binary_cross_entropy_with_logits"], "float32"),
    ):
        dtype = np.dtype(name)
        memory, n = (dtype,) * (sum(formula.saves) + 1), len(formula.recording.inputs)
        kernels.append(kernel_of(forward_body(formula, dtype, (dtype,) * n), 2))
        kernels.append(kernel_of(backward_body(formula, dtype, memory, (True,) * n)))
    return kernels


# ---------------------------------------------------------------------------------------------------
# Running
# ---------------------------------------------------------------------------------------------------
def memory_of(inputs: Sequence[Any]) -> tuple[np.dtype | None, ...]:
    return tuple([a.dtype if type(a) is Array else None for a in inputs])


def forward(
    formula: Formula, inputs: tuple[Any, ...], numbers: tuple[float, ...] = (), over: Array | None = None
) -> tuple[Array, ...]:
    """`over`: an array that the result may overwrite, if it is the first input; the others share no memory with it."""
    inputs = tuple(map(elementwise.operand, inputs))
    arrays = [a for a in inputs if type(a) is Array]
    first = arrays[0]
    body = forward_body(formula, first.dtype, memory_of(inputs))
    shape = first.shape if len(arrays) == 1 else np.broadcast_shapes(*[a.shape for a in arrays])
    order = None
    if not first.flags.c_contiguous or first.shape != shape:
        order = order_of(shape, *[(a.shape, a.strides) for a in arrays])
    if over is inputs[0] and over is first and first.shape == shape and order is None:
        outs: tuple[Array, ...] = (first,)
    else:
        outs = tuple([empty_as(first, shape, order=order) for _ in range(formula.results)])
    run(body, (*inputs, *numbers), outs)
    return outs


def backward(
    formula: Formula, saved: tuple[Any, ...], numbers: tuple[float, ...], g: Array, wanted: tuple[bool, ...]
) -> tuple[Array | None, ...]:
    """`saved` holds what `formula.saves` marks, in that order."""
    inputs = (*map(elementwise.operand, saved), g)
    body = backward_body(formula, g.dtype, memory_of(inputs), tuple(wanted))
    outs = tuple([empty(g.shape, g.dtype) if want else None for want in wanted])
    run(body, (*inputs, *numbers), [out for out in outs if out is not None])
    return outs


def arithmetic(ufunc: np.ufunc, a: Any, b: Any, out: Array | None = None) -> Array:
    """ufunc(a, b, out) for np.add, subtract, multiply or divide."""
    return elementwise.ufunc(ufunc, (a, b), out)


def update(formula: Formula, groups: Sequence[Sequence[Array]], numbers: tuple[float, ...]) -> bool:
    """Each group holds arrays in the order of the formula's parameters, a parameter, say, its gradient and its state.
    All but the second are overwritten.  Those of a group have to be contiguous and of one shape and type: where they
    are not, nothing is done, and the answer is False.
    """
    for first, *rest in groups:
        shape, dtype = first.shape, first.dtype
        if any(not a.flags.c_contiguous or a.shape != shape or a.dtype != dtype for a in (first, *rest)):
            return False
    table = table_of(groups) if groups else None
    if table is not None and table.chunks:
        kernel = update_kernel(formula, groups[0][0].dtype.name)
        kernel.launch(table.blocks(), driver().threads, table.array, table.groups, table.chunks, *map(float, numbers))
    return True
