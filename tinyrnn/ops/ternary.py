"""Functions of three elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtypes
from ..kernels.formulas import TERNARY, Formula
from ..tape import entitled
from .arithmetic import add, div, mul
from .common import TensorBase, cast, check_broadcast, expect_tensor, into, number, record, unsupported
from .elementwise import PLAIN, derived, overwriting, overwritten
from .old_forms import in_old_form


def alike(call: str, value: Any, *tensors: Any) -> tuple:
    """The tensors in the type that they have together, and `value` as a number of that type."""
    dtype = dtypes.promote(*(expect_tensor(x, call).array for x in tensors))
    value = number(value, call, "value")
    return *(cast(x, dtype) for x in tensors), value if dtype.kind == "f" else int(value)


def computed(call: str, tensors: tuple, *numbers: float) -> Any:
    """A row of the table of formulas, of tensors of one floating-point type; a number stands for itself."""
    op, arrays = derived(TERNARY[call]), [x.array for x in tensors]
    check_broadcast(*arrays)
    return record(op, tensors, op.forward(*arrays, numbers=numbers))


def addcmul(input: Any, tensor1: Any, tensor2: Any, *old: Any, value: float = 1, out: Any = None) -> Any:
    """input + value * tensor1 * tensor2."""
    if old:
        return in_old_form(addcmul, input, tensor1, tensor2, *old, value=value, out=out)
    x, y, z, value = alike("addcmul", value, input, tensor1, tensor2)
    if x.array.dtype.kind == "b":
        raise unsupported("addcmul", x.array.dtype)
    found = computed("addcmul", (x, y, z), value) if x.array.dtype.kind == "f" else add(x, mul(mul(y, z), value))
    return into(out, entitled(found, "AddcmulBackward0"), "addcmul")


def addcdiv(input: Any, tensor1: Any, tensor2: Any, *old: Any, value: float = 1, out: Any = None) -> Any:
    """input + value * tensor1 / tensor2."""
    if old:
        return in_old_form(addcdiv, input, tensor1, tensor2, *old, value=value, out=out)
    x, y, z, value = alike("addcdiv", value, input, tensor1, tensor2)
    if tensor1.array.dtype.kind != "f" and tensor2.array.dtype.kind != "f":
        raise RuntimeError(
            "Integer division with addcdiv is no longer supported, and in a future release addcdiv will perform a "
            f"true division of tensor1 and tensor2, got {tensor1.dtype} and {tensor2.dtype}."
        )
    found = computed("addcdiv", (x, y, z), value) if x.array.dtype.kind == "f" else add(x, mul(div(y, z), value))
    return into(out, entitled(found, "AddcdivBackward0"), "addcdiv")


def lerp(input: Any, end: Any, weight: Any, *, out: Any = None) -> Any:
    """input + weight * (end - input), exactly `end` for weight 1; `weight` is a number or a tensor."""
    a, b = expect_tensor(input, "lerp").array, expect_tensor(end, "lerp", "end").array
    third = weight if isinstance(weight, TensorBase) else None
    w = np.asarray(number(weight, "lerp", "weight")).astype(a.dtype) if third is None else third.array
    if third is not None and not w.ndim and a.dtype == b.dtype:  # a number as a tensor, of any type
        dtype = dtypes.promote(a, b, w)
        input, end, third = (cast(x, dtype) for x in (input, end, third))
        a, b, w = input.array, end.array, third.array
    for name, x in (("end", b), ("weight", w)):
        if x.dtype != a.dtype:
            raise RuntimeError(f"expected dtype {a.dtype} for `{name}` but got dtype {x.dtype}")
    if a.dtype.kind != "f":
        raise unsupported("lerp", a.dtype)
    if third is None:
        found = computed("lerp_by_number", (input, end), float(w))
    else:
        found = computed("lerp", (input, end, third))
    return into(out, entitled(found, f"LerpBackward{int(third is not None)}"), "lerp", exact=third is not None)


def in_one_pass(formula: Formula) -> Callable:
    """Whether `self` was overwritten at once with it and a product or a quotient of two tensors."""

    def at_once(self: Any, *tensors: Any, value: Any = 1, **unknown: Any) -> bool:
        plain = len(tensors) == 2 and type(value) in PLAIN and not unknown
        plain = plain and all(isinstance(x, TensorBase) for x in tensors)
        return plain and overwritten(self, formula, tensors, (value,))

    return at_once


def moved(self: Any, end: Any, weight: Any = None, **unknown: Any) -> bool:
    """Whether `weight` is a number, and `self` was overwritten at once."""
    plain = isinstance(end, TensorBase) and type(weight) in PLAIN and not unknown
    return plain and overwritten(self, TERNARY["lerp_by_number"], (end,), (weight,))


addcmul_ = overwriting(addcmul, in_one_pass(TERNARY["addcmul"]))
addcdiv_ = overwriting(addcdiv, in_one_pass(TERNARY["addcdiv"]))
lerp_ = overwriting(lerp, moved)
