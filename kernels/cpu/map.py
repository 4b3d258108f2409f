"""Map: n arrays -> m arrays, element by element, with broadcasting.  The loop's body is a derived formula.

    forward(formula, inputs, numbers)           -> the results, arrays of the broadcast shape
    update(formula, arrays, numbers)            the first arrays are overwritten with the results (optimizers)
    backward(formula, saved, numbers, g, wanted) -> the gradient of each wanted input, of the broadcast shape

All arrays of a call have one floating-point type.  The kernels run over flat contiguous arrays; what is
not contiguous, or smaller than the result, is copied first.
"""

from __future__ import annotations

import numpy as np

from .. import cache
from ..formulas import Formula
from ..scalar import FUNCTIONS, lines, needed, spell

_kernels: dict[tuple, object] = {}

HEADER = '''"""{title}, derived from

{source}"""
from math import {functions}

from numpy import {dtype} as real

from tinyrnn.kernels.cpu.jit import njit

one = real(1)


@njit
def kernel({parameters}):
'''


def print_kernel(formula: Formula, dtype: str, title: str, given, results, numbers) -> str:
    """The source of a loop that reads `given` (name -> Var) and writes `results` to out0, out1 ..."""
    _, read = needed(results, given=tuple(given.values()))
    outs = [f"out{k}" for k in range(len(results))]
    quoted = "".join(f"    {line}".rstrip() + "\n" for line in formula.source.replace('"""', "'''").splitlines())
    parameters = ", ".join([*given, *numbers, *outs])
    text = HEADER.format(title=title, source=quoted, functions=FUNCTIONS, dtype=dtype, parameters=parameters)
    body = [f"{name} = real({name})" for name, v in numbers.items() if v in read]
    body += ["for k in range(out0.size):"]
    body += [f"    {v.name} = {name}[k]" for name, v in given.items() if v in read]
    body += [f"    {line}" for line in lines(results, given=tuple(given.values()))]
    body += [f"    {out}[k] = {spell(v)}" for out, v in zip(outs, results, strict=True)]
    return text + "".join(f"    {line}\n" for line in body)


def _forward_kernel(formula: Formula, dtype: np.dtype):
    key = (formula, dtype)
    if key not in _kernels:
        r = formula.recording
        given = {f"in_{name}": v for name, v in r.inputs.items()}
        text = print_kernel(formula, dtype.name, f"{formula.name}: forward", given, r.outputs, r.keywords)
        _kernels[key] = cache.load_source(f"{formula.name}_forward_{dtype.name}", text).kernel
    return _kernels[key]


def _backward_kernel(formula: Formula, dtype: np.dtype, wanted: tuple[bool, ...]):
    key = (formula, dtype, wanted)
    if key not in _kernels:
        r = formula.recording
        seed, gradients = formula.derivative
        values = zip(
            [*(f"in_{n}" for n in r.inputs), "in_result"], [*r.inputs.values(), *r.outputs], formula.saves, strict=True
        )
        given = {name: v for name, v, saved in values if saved} | {"in_gradient": seed}
        results = [g for g, want in zip(gradients, wanted, strict=True) if want]
        which = "".join("01"[w] for w in wanted)
        text = print_kernel(formula, dtype.name, f"{formula.name}: backward", given, results, r.keywords)
        _kernels[key] = cache.load_source(f"{formula.name}_backward_{which}_{dtype.name}", text).kernel
    return _kernels[key]


def _flat(a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if a.shape != shape:
        a = np.broadcast_to(a, shape)
    return np.ascontiguousarray(a).reshape(-1)


def transposed(a: np.ndarray) -> tuple[int, ...] | None:
    """The axes in the order in which they lie in memory, if that is another one: results will lie as `a` does."""
    if 0 in a.strides:
        return None
    order = tuple(sorted(range(a.ndim), key=lambda i: -abs(a.strides[i])))
    return order if order != tuple(range(a.ndim)) else None


def forward(
    formula: Formula, inputs: tuple[np.ndarray, ...], numbers: tuple[float, ...] = ()
) -> tuple[np.ndarray, ...]:
    shape = inputs[0].shape if len(inputs) == 1 else np.broadcast_shapes(*(a.shape for a in inputs))
    dtype = inputs[0].dtype
    if not inputs[0].flags.c_contiguous and inputs[0].shape == shape and (order := transposed(inputs[0])):
        moved = forward(formula, tuple(np.broadcast_to(a, shape).transpose(order) for a in inputs), numbers)
        return tuple(out.transpose(np.argsort(order)) for out in moved)
    outs = tuple(np.empty(shape, dtype) for _ in formula.recording.outputs)
    _forward_kernel(formula, dtype)(*(_flat(a, shape) for a in inputs), *numbers, *(o.reshape(-1) for o in outs))
    return outs


def update(formula: Formula, arrays: tuple[np.ndarray, ...], numbers: tuple[float, ...]) -> None:
    """`arrays` in the order of the formula's parameters: the parameter, its gradient, then its state.

    The parameter and the state are overwritten: they must be contiguous.
    """
    p, g, *state = arrays
    flat = [a.reshape(-1) for a in (p, *state)]
    _forward_kernel(formula, p.dtype)(flat[0], _flat(g, p.shape), *flat[1:], *numbers, *flat)


def backward(
    formula: Formula, saved: tuple[np.ndarray, ...], numbers: tuple[float, ...], g: np.ndarray, wanted: tuple[bool, ...]
) -> tuple[np.ndarray | None, ...]:
    """`saved` holds what `formula.saves` marks, in that order."""
    kernel = _backward_kernel(formula, g.dtype, wanted)
    outs = tuple(np.empty(g.shape, g.dtype) for _ in range(sum(wanted)))
    kernel(*(_flat(a, g.shape) for a in saved), _flat(g, g.shape), *numbers, *(o.reshape(-1) for o in outs))
    fresh = iter(outs)
    return tuple(next(fresh) if want else None for want in wanted)
