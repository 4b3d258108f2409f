"""Functions derived from the table of scalar formulas: `derived` makes an op of a row of the table."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ..kernels.formulas import BINARY, UNARY, Formula
from ..kernels.scalar import Var
from .common import Op, binary, check_broadcast, expect_tensor, floating, into, number, operands, run


@cache
def derived(formula: Formula) -> type[Op]:
    """The op of a formula: its forward kernel, and the backward kernel derived from the same text."""

    class Derived(Op):
        @staticmethod
        def forward(*arrays, numbers=()):
            from ..kernels.cpu import map

            (out,) = map.forward(formula, arrays, numbers)
            return out, (*(a for a, keep in zip((*arrays, out), formula.saves, strict=True) if keep), numbers)

        @staticmethod
        def backward(saved, needs, g):
            from ..kernels.cpu import map

            *arrays, numbers = saved
            return map.backward(formula, tuple(arrays), numbers, np.asarray(g), tuple(needs))

    Derived.__name__ = Derived.__qualname__ = "".join(part.capitalize() for part in formula.name.split("_"))
    return Derived


def unary(name: str, doc: str) -> Callable:
    """The public function of a formula of one argument; integers and booleans become floating-point numbers."""
    formula = UNARY[name]
    op = derived(formula)

    def function(input: Any, *, out: Any = None) -> Any:
        if isinstance(input, Var):  # inside a recurrent cell's step, where values are recorded
            return formula.function(input)
        t = floating(expect_tensor(input, name))
        result = run(op, (t,), (t.array,))
        return result if out is None else into(out, result, name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


exp = unary("exp", "e ** input.")
expm1 = unary("expm1", "e ** input - 1, exact near zero.")
log = unary("log", "The natural logarithm; nan below zero.")
log1p = unary("log1p", "log(1 + input), exact near zero.")
sqrt = unary("sqrt", "The square root; nan below zero.")
rsqrt = unary("rsqrt", "1 / sqrt(input).")
reciprocal = unary("reciprocal", "1 / input.")
sin = unary("sin", "The sine; input in radians.")
cos = unary("cos", "The cosine; input in radians.")
tan = unary("tan", "The tangent; input in radians.")
sinh = unary("sinh", "The hyperbolic sine.")
cosh = unary("cosh", "The hyperbolic cosine.")
tanh = unary("tanh", "The hyperbolic tangent.")
sigmoid = unary("sigmoid", "1 / (1 + e ** -input).")
erf = unary("erf", "The error function.")


def square(input: Any) -> Any:
    """input * input."""
    if expect_tensor(input, "square").array.dtype.kind != "f":
        return input * input
    return run(derived(UNARY["square"]), (input,), (input.array,))


def abs(input: Any) -> Any:
    """The absolute value."""
    if isinstance(input, Var):
        return UNARY["abs"].function(input)
    if expect_tensor(input, "abs").array.dtype.kind != "f":
        return run(Unrecorded, (input,), (input.array,), ufunc=np.abs)
    return run(derived(UNARY["abs"]), (input,), (input.array,))


class Unrecorded(Op):
    """A NumPy function of integers: there is no gradient."""

    @staticmethod
    def forward(*arrays, ufunc):
        return ufunc(*arrays), ()


# ------------------------------------------------------------------------------------------ activations
def activation(name: str, input: Any, *numbers: float) -> Any:
    """An activation function of the table; like torch's, it refuses integers."""
    if isinstance(input, Var):
        formula = UNARY[name]
        return formula.function(input, **dict(zip(formula.recording.keywords, numbers, strict=True)))
    if expect_tensor(input, name).array.dtype.kind != "f":
        raise RuntimeError(f"{name}(): expected floating-point numbers, got {input.dtype}")
    return run(derived(UNARY[name]), (input,), (input.array,), numbers=numbers)


def relu(input: Any) -> Any:
    """max(input, 0)."""
    if not isinstance(input, Var) and expect_tensor(input, "relu").array.dtype.kind in "iu":
        return run(Unrecorded, (input,), (input.array,), ufunc=lambda a: np.maximum(a, 0))
    return activation("relu", input)


def leaky_relu(input: Any, negative_slope: float = 0.01) -> Any:
    """input where it is positive, negative_slope * input elsewhere."""
    return activation("leaky_relu", input, number(negative_slope, "leaky_relu", "negative_slope"))


def elu(input: Any, alpha: float = 1.0) -> Any:
    """input where it is positive, alpha * (e ** input - 1) elsewhere."""
    return activation("elu", input, number(alpha, "elu", "alpha"))


def gelu(input: Any, *, approximate: str = "none") -> Any:
    """input * Phi(input), Phi the normal distribution function, or its 'tanh' approximation (Hendrycks and Gimpel
    2016).
    """
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"approximate argument must be either none or tanh, got {approximate!r}")
    return activation("gelu" if approximate == "none" else "gelu_tanh", input)


def silu(input: Any) -> Any:
    """input * sigmoid(input)."""
    return activation("silu", input)


def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + e ** (beta * input)) / beta; input itself where beta * input > threshold."""
    return activation("softplus", input, number(beta, "softplus", "beta"), number(threshold, "softplus", "threshold"))


def logsigmoid(input: Any) -> Any:
    """log(sigmoid(input)), with no underflow."""
    return activation("logsigmoid", input)


# ------------------------------------------------------------------------------------------ two or three arguments
def extremum(name: str, ufunc: np.ufunc, doc: str) -> Callable:
    class Extremum(Op):
        """Floating-point numbers go to the derived kernel, integers to NumPy."""

        @staticmethod
        def forward(a, b):
            return derived(BINARY[name]).forward(a, b) if a.dtype.kind == "f" else (ufunc(a, b), ())

        backward = staticmethod(derived(BINARY[name]).backward)

    Extremum.__name__ = name.capitalize()

    def function(input: Any, other: Any, *, out: Any = None) -> Any:
        expect_tensor(input, name)
        return into(out, binary(Extremum, input, expect_tensor(other, name, "other"), name), name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


maximum = extremum(
    "maximum", np.maximum, "The larger of two elements; NaN if one is NaN; equal elements share the gradient."
)
minimum = extremum(
    "minimum", np.minimum, "The smaller of two elements; NaN if one is NaN; equal elements share the gradient."
)


def clamp(input: Any, min: Any = None, max: Any = None, *, out: Any = None) -> Any:
    """Each element, but not below `min` and not above `max` (numbers or tensors)."""
    expect_tensor(input, "clamp")
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if hasattr(min, "array") or hasattr(max, "array"):
        result = input
        if min is not None:
            result = where(result < min, min, result)
        if max is not None:
            result = where(result > max, max, result)
        return into(out, result, "clamp")
    if input.array.dtype.kind != "f":
        if isinstance(min, float) or isinstance(max, float):
            input = floating(input)
        else:
            return into(out, run(Unrecorded, (input,), (input.array,), ufunc=lambda a: np.clip(a, min, max)), "clamp")
    bounds = (
        -np.inf if min is None else number(min, "clamp", "min"),
        np.inf if max is None else number(max, "clamp", "max"),
    )
    return into(out, activation("clamp", input, *map(float, bounds)), "clamp")


class Where(Op):
    """a where the condition holds, b elsewhere; each gets its part of the gradient."""

    @staticmethod
    def forward(condition, a, b):
        return np.where(condition, a, b), (condition,)

    @staticmethod
    def backward(saved, needs, g):
        (condition,) = saved
        zero = g.dtype.type(0)
        return (
            None,
            np.where(condition, g, zero) if needs[1] else None,
            np.where(condition, zero, g) if needs[2] else None,
        )


def where(condition: Any, input: Any = None, other: Any = None, *, out: Any = None) -> Any:
    """input where `condition` (booleans) holds, other elsewhere; with broadcasting.  With one argument: nonzero as a
    tuple.
    """
    if isinstance(condition, Var) or isinstance(input, Var) or isinstance(other, Var):
        from ..kernels.scalar import where as scalar_where

        return scalar_where(condition, input, other)
    expect_tensor(condition, "where", "condition")
    if input is None and other is None:
        from .index import nonzero

        return nonzero(condition, as_tuple=True)
    if condition.array.dtype.kind != "b":
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype}"
        )

    a, b, x, y = operands(input, other, "where")
    check_broadcast(condition.array, x, y)
    return into(out, run(Where, (None, a, b), (condition.array, x, y)), "where")


def masked_fill(input: Any, mask: Any, value: Any) -> Any:
    """input, with `value` (a number or a 0-d tensor) where `mask` (booleans) holds."""
    expect_tensor(input, "masked_fill")
    if expect_tensor(mask, "masked_fill", "mask").array.dtype.kind != "b":
        raise RuntimeError(f"masked_fill_ only supports boolean masks, but got mask with dtype {mask.dtype}")
    if hasattr(value, "array"):
        if value.array.ndim:
            raise RuntimeError(
                "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                f"{value.array.ndim} dimension(s)."
            )
        side: Any = value.array.astype(input.array.dtype)
    else:
        value_number = number(value, "masked_fill", "value")
        if isinstance(value_number, float) and input.array.dtype.kind != "f":
            raise RuntimeError(f"value cannot be converted to type {input.dtype} without loss of information")
        value, side = None, np.asarray(value_number, input.array.dtype)
    return run(Where, (None, value, input), (mask.array, side, input.array))
