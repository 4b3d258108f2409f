"""Formulas that NumPy's ufuncs compute on the host: on the device they have kernels as all others do.

forward and backward are called as those of map are; their results lie in memory as those of NumPy's ufuncs do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..formulas import BINARY, UNARY, Formula
from ..scalar import needed
from .array import Array
from .elementwise import operand
from .jit import Kernel
from .loops import Body, kept, kernel_of, run
from .map import backward_body, forward_body, memory_of, saved_by


def examples() -> list[Kernel]:
    kernels = []
    for formula in (UNARY["acosh"], UNARY["atan"], BINARY["xlogy"]):
        dtype = np.dtype("float32")
        kernels.append(kernel_of(forward_body(formula, dtype, (dtype,) * len(formula.recording.inputs)), 3))
    return kernels


def computed(body: Body, inputs: Sequence[Any], numbers: tuple[float, ...], read: Sequence[Any], shape: tuple) -> Array:
    """The result, which lies as the arrays do that are `read`."""
    arrays = [a for a in read if type(a) is Array]
    out = kept(arrays, shape, body.results[0].memory)
    run(body, (*inputs, *numbers), (out,))
    return out


def forward(
    formula: Formula, inputs: tuple[Any, ...], numbers: tuple[float, ...] = (), over: Any = None
) -> tuple[Array, ...]:
    inputs = tuple(map(operand, inputs))
    arrays = [a for a in inputs if type(a) is Array]
    shape = np.broadcast_shapes(*[a.shape for a in arrays])
    body = forward_body(formula, arrays[0].dtype, memory_of(inputs))
    return (computed(body, inputs, numbers, inputs, shape),)


def backward(
    formula: Formula, saved: tuple[Any, ...], numbers: tuple[float, ...], g: Array, wanted: tuple[bool, ...]
) -> tuple[Array | None, ...]:
    seed, gradients = formula.derivative
    inputs = (*map(operand, saved), g)
    given = dict(zip((*saved_by(formula), seed), inputs, strict=True))

    def one(k: int) -> Array:
        body = backward_body(formula, g.dtype, memory_of(inputs), tuple([j == k for j in range(len(wanted))]))
        _, read = needed([gradients[k]], given=tuple(given))
        return computed(body, inputs, numbers, [a for v, a in given.items() if v in read] or [g], g.shape)

    return tuple([one(k) if want else None for k, want in enumerate(wanted)])
