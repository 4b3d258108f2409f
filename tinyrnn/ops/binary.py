"""Functions of two elements beyond plain arithmetic and comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtypes
from ..kernels.formulas import BINARY
from ..kernels.scalar import Var
from ..strides import laid_as
from ..tape import entitled
from .arithmetic import maps, mul, pow, quotient
from .common import (
    Op,
    TensorBase,
    binary,
    cast,
    expect_tensor,
    into,
    number,
    operands,
    run,
    unrecordable,
    unsupported,
    wrap,
)
from .elementwise import derived


def function_of_two(call: str, compute: Callable, doc: str, tensors: bool = True) -> Callable:
    """The public function `call`: `compute` on two tensors (unless `tensors`, one may be a number), and out=."""

    def function(input: Any, other: Any, *, out: Any = None) -> Any:
        if isinstance(input, Var) or isinstance(other, Var):
            if call not in BINARY:
                raise unrecordable(call)
            return into(out, BINARY[call](input, other), call)
        if tensors or not isinstance(other, TensorBase):
            expect_tensor(input, call)
        if tensors:
            expect_tensor(other, call, "other")
        return into(out, compute(input, other), call)

    function.__name__ = function.__qualname__ = call
    function.__doc__ = doc
    return function


def from_formula(name: str, doc: str, integers: bool = True, tensors: bool = True) -> Callable:
    """The function of a row of the table of formulas; integers become floating-point numbers, or are refused."""
    op = derived(BINARY[name])

    def compute(a: Any, b: Any) -> Any:
        if not integers:
            _, _, x, y = operands(a, b, name)
            if x.dtype.kind != "f":
                raise unsupported(name, x.dtype)
        return binary(op, a, b, name, kinds="f")

    return function_of_two(name, compute, doc, tensors)


atan2 = arctan2 = from_formula("atan2", "The angle of the point (other, input), from -pi to pi.")
hypot = from_formula("hypot", "The length of the hypotenuse, sqrt(input ** 2 + other ** 2).", integers=False)
xlogy = from_formula("xlogy", "input * log(other), and 0 where input is 0.", tensors=False)
logaddexp = from_formula("logaddexp", "log(exp(input) + exp(other)), with no overflow.", integers=False)
logaddexp2 = from_formula("logaddexp2", "log2(2 ** input + 2 ** other), with no overflow.", integers=False)


class Copysign(Op):
    @staticmethod
    def forward(a, b):
        y = np.copysign(a, b)
        return y, (a, y)

    @staticmethod
    def backward(saved, needs, g):
        a, y = saved
        with np.errstate(all="ignore"):
            return g * np.where(a == 0, 0, y / a).astype(g.dtype, copy=False), np.zeros_like(g) if needs[1] else None


class Fmod(Op):
    """a without the multiples of b: the sign is that of a."""

    keeps = ((1,), (0, 1))  # b tells torch's name for the call

    @staticmethod
    def forward(a, b):
        return quotient(np.fmod, a, b, "fmod")

    @staticmethod
    def backward(saved, needs, g):
        return maps.backward(BINARY["fmod"], saved, (), g, needs) if needs[1] else (g, None)


class Fmax(Op):
    """The larger of two elements, or the one that is not NaN; the first of two that are equal has the gradient."""

    @staticmethod
    def forward(a, b):
        first = (a >= b) | (b != b)
        return np.where(first, a, b), (first,)

    @staticmethod
    def backward(saved, needs, g):
        (first,) = saved
        zero = g.dtype.type(0)
        return np.where(first, g, zero), np.where(first, zero, g)


class Fmin(Fmax):
    @staticmethod
    def forward(a, b):
        first = (a <= b) | (b != b)
        return np.where(first, a, b), (first,)


class Nextafter(Op):
    @staticmethod
    def forward(a, b):
        if a.dtype.kind != "f":
            raise unsupported("nextafter", a.dtype)
        return np.nextafter(a, b), (a == b,)

    @staticmethod
    def backward(saved, needs, g):
        (same,) = saved
        return np.where(same, g.dtype.type(0), g), np.zeros_like(g)


copysign = function_of_two(
    "copysign",
    lambda a, b: binary(Copysign, expect_tensor(a, "copysign"), b, "copysign", kinds="f"),
    "The size of input with the sign of other.",
    tensors=False,
)
fmod = function_of_two(
    "fmod",
    lambda a, b: binary(Fmod, expect_tensor(a, "fmod"), b, "fmod"),
    "The remainder of input / other, of input's sign.",
    tensors=False,
)
fmax = function_of_two("fmax", lambda a, b: binary(Fmax, a, b, "fmax"), "The larger of two elements; NaN if both are.")
fmin = function_of_two("fmin", lambda a, b: binary(Fmin, a, b, "fmin"), "The smaller of two elements; NaN if both are.")
nextafter = function_of_two(
    "nextafter",
    lambda a, b: binary(Nextafter, a, b, "nextafter"),
    "The next floating-point number after input towards other.",
)


def scaled_by_power(a: Any, b: Any) -> Any:
    dtype = a.array.dtype if a.array.dtype.kind == "f" else dtypes.get_default_dtype().numpy
    return entitled(mul(a, pow(wrap(np.asarray(2.0, dtype)), b)), "LdexpBackward0")


ldexp = function_of_two("ldexp", scaled_by_power, "input * 2 ** other.")


def float_power(input: Any, exponent: Any, *, out: Any = None) -> Any:
    """input ** exponent in float64."""
    double = np.dtype(np.float64)
    a, b = (
        cast(x, double) if isinstance(x, TensorBase) else float(number(x, "float_power", name))
        for name, x in (("input", input), ("exponent", exponent))
    )
    return into(out, pow(a, b), "float_power")


class Integral(Op):
    """A function of integers, or one that torch does not differentiate."""

    @staticmethod
    def forward(a, b, *, call, ufunc, kinds):
        if a.dtype.kind not in kinds:
            raise unsupported(call, a.dtype)
        out = ufunc(a, b)
        return out if a.flags.c_contiguous else laid_as(out, a, b), (call,)

    @staticmethod
    def backward(saved, needs, g):
        raise RuntimeError(f"derivative for aten::{saved[0]} is not implemented")


def integral(call: str, ufunc: Callable, doc: str, tensors: bool = True) -> Callable:
    def compute(a: Any, b: Any) -> Any:
        a, b, x, y = operands(a, b, call)
        return run(Integral, (a, b), (x, y), call=call, ufunc=ufunc, kinds="iu")

    return function_of_two(call, compute, doc, tensors)


def shifted(a: np.ndarray, b: np.ndarray, left: bool) -> np.ndarray:
    """a shifted by b bits; all of them are lost where b is negative or as large as the type."""
    bits = 8 * a.dtype.itemsize
    inside = (b >= 0) & (b < bits)
    b = np.where(inside, b, 0)
    if left:
        return np.where(inside, np.left_shift(a, b), 0).astype(a.dtype)
    return np.where(inside, np.right_shift(a, b), np.where(a < 0, -1, 0)).astype(a.dtype)


gcd = integral("gcd", np.gcd, "The greatest common divisor.")
lcm = integral("lcm", np.lcm, "The least common multiple.")
bitwise_left_shift = integral(
    "bitwise_left_shift", lambda a, b: shifted(a, b, True), "input * 2 ** other, by its bits.", tensors=False
)
bitwise_right_shift = integral(
    "bitwise_right_shift", lambda a, b: shifted(a, b, False), "input // 2 ** other, by its bits.", tensors=False
)


def heaviside(input: Any, values: Any, *, out: Any = None) -> Any:
    """0 below zero, 1 above, and `values` at zero."""
    a, b = expect_tensor(input, "heaviside").array, expect_tensor(values, "heaviside", "values").array
    if a.dtype != b.dtype:
        raise RuntimeError(
            f"heaviside is not yet implemented for tensors with different dtypes, got {input.dtype} and {values.dtype}"
        )
    step = lambda a, b: np.where(a == 0, b, (a > 0).astype(a.dtype))
    first, second, x, y = operands(input, values, "heaviside")
    result = run(Integral, (first, second), (x, y), call="heaviside", ufunc=step, kinds="biuf")
    return into(out, result, "heaviside")


# ------------------------------------------------------------------------------------------ predicates of one element
def predicate(call: str, ufunc: Callable, doc: str, out: bool = True) -> Callable:
    """A function whose result is True or False."""

    def function(input: Any, *, out: Any = None) -> Any:
        return into(out, wrap(ufunc(expect_tensor(input, call).array)), call)

    def without_out(input: Any) -> Any:
        return function(input)

    chosen = function if out else without_out
    chosen.__name__ = chosen.__qualname__ = call
    chosen.__doc__ = doc
    return chosen


signbit = predicate(
    "signbit", lambda a: np.signbit(a) if a.dtype.kind == "f" else a < 0, "Whether each element is negative; -0.0 is."
)
isposinf = predicate("isposinf", lambda a: a == np.inf, "Whether each element is +infinity.")
isneginf = predicate("isneginf", lambda a: a == -np.inf, "Whether each element is -infinity.")
isreal = predicate(
    "isreal", lambda a: np.ones(a.shape, bool, like=a), "Whether each element is a real number: it is.", out=False
)
