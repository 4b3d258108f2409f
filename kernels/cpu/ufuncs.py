"""Formulas computed by NumPy's ufuncs, one instruction after the other over whole arrays: nothing has to be compiled.

forward and backward are called as those of map are; nothing is overwritten.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..formulas import Formula
from ..scalar import PRIMITIVES, Var, needed

NAMES = {
    "sub": "subtract", "mul": "multiply", "div": "divide", "pow": "power", "neg": "negative", "lt": "less",
    "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal", "asin": "arcsin",
    "acos": "arccos", "atan": "arctan", "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh", "atan2": "arctan2",
}  # fmt: skip
UFUNCS = {op: getattr(np, NAMES.get(op, op)) for op in PRIMITIVES if hasattr(np, NAMES.get(op, op))}
UFUNCS["pow"] = lambda a, b: np.exp2(b) if np.ndim(a) == 0 and a == 2.0 else np.power(a, b)  # a seventh of the time


def compute(results: Sequence[Var], known: dict[Var, np.ndarray], like: np.ndarray) -> tuple[np.ndarray, ...]:
    """The values of `results`, of the shape and type of `like`, from those of other variables."""
    values = dict(known)

    def value(v: Var) -> np.ndarray:
        return like.dtype.type(v.value) if v.op == "constant" else values[v]

    with np.errstate(all="ignore"):
        for v in needed(results, given=tuple(known))[0]:
            values[v] = UFUNCS[v.op](*map(value, v.args))
    return tuple(np.array(np.broadcast_to(value(v), like.shape)) for v in results)


def numbered(formula: Formula, numbers: tuple[float, ...], dtype: np.dtype) -> dict:
    """The values of the formula's keywords."""
    return dict(zip(formula.recording.keywords.values(), map(dtype.type, numbers), strict=True))


def forward(
    formula: Formula, inputs: tuple[np.ndarray, ...], numbers: tuple[float, ...] = (), over: Any = None
) -> tuple[np.ndarray, ...]:
    shape = np.broadcast_shapes(*(a.shape for a in inputs))
    dtype = inputs[0].dtype
    known = dict(zip(formula.recording.inputs.values(), inputs, strict=True)) | numbered(formula, numbers, dtype)
    return compute(formula.recording.outputs, known, np.broadcast_to(np.empty((), dtype), shape))


def backward(
    formula: Formula, saved: tuple[np.ndarray, ...], numbers: tuple[float, ...], g: np.ndarray, wanted: tuple[bool, ...]
) -> tuple[np.ndarray | None, ...]:
    seed, gradients = formula.derivative
    r = formula.recording
    kept = [v for v, keep in zip((*r.inputs.values(), *r.outputs), formula.saves, strict=True) if keep]
    known = dict(zip(kept, saved, strict=True)) | numbered(formula, numbers, g.dtype) | {seed: g}
    fresh = iter(compute([d for d, want in zip(gradients, wanted, strict=True) if want], known, g))
    return tuple(next(fresh) if want else None for want in wanted)
