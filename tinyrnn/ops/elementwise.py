"""Functions derived from the table of scalar formulas: `derived` makes an op of a row of the table."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache, wraps
from operator import itemgetter
from typing import Any

import numpy as np

from .. import dtypes
from ..kernels import twin
from ..kernels.formulas import BINARY, UNARY, Formula
from ..kernels.scalar import Var
from ..strides import laid_as
from ..tape import check_writable, entitled, is_grad_enabled
from .common import (
    Op,
    TensorBase,
    binary,
    cast,
    changing,
    check_broadcast,
    converted,
    converted_to,
    expect_tensor,
    floating,
    inplace,
    into,
    number,
    operands,
    record,
    run,
    unsupported,
)

map, selecting, ufuncs = twin("map"), twin("select"), twin("ufuncs")


@cache
def derived(formula: Formula) -> type[Op]:
    """The op of a formula: its forward kernel, and the backward kernel derived from the same text."""

    loops = ufuncs if formula.ufuncs else map
    saves = [k for k, saved in enumerate(formula.saves) if saved]
    kept = itemgetter(*saves, -1) if saves else itemgetter(slice(-1, None))
    several = len(formula.recording.inputs) > 1

    class Derived(Op):
        keeps = formula.readers if several else ()

        @staticmethod
        def forward(*arrays, numbers=()):
            out = loops.forward(formula, arrays, numbers, changing.array)[0]
            return out, kept((*arrays, out, numbers))

        @staticmethod
        def backward(saved, needs, g):
            arrays = saved[:-1]
            if several:  # what only derivatives that nobody wants would have read is gone
                arrays = tuple([g if a is None else a for a in arrays])
            return loops.backward(formula, arrays, saved[-1], g, needs)

    Derived.__name__ = Derived.__qualname__ = "".join(part.capitalize() for part in formula.name.split("_"))
    return Derived


def unary(name: str, doc: str) -> Callable:
    """The public function of a formula of one argument; integers and booleans become floating-point numbers."""
    formula = UNARY[name]
    op = derived(formula)

    def function(input: Any, *, out: Any = None) -> Any:
        if not isinstance(input, TensorBase):
            if isinstance(input, Var):  # inside a recurrent cell's step, where values are recorded
                return into(out, formula(input), name)
            expect_tensor(input, name)
        a = input.array
        if a.dtype.kind != "f":
            input = floating(input)
            a = input.array
        result = record(op, (input,), op.forward(a))
        return result if out is None else into(out, result, name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


acos = arccos = unary("acos", "The angle whose cosine is input; nan outside [-1, 1].")
acosh = arccosh = unary("acosh", "The inverse of the hyperbolic cosine; nan below 1.")
asin = arcsin = unary("asin", "The angle whose sine is input; nan outside [-1, 1].")
asinh = arcsinh = unary("asinh", "The inverse of the hyperbolic sine.")
atan = arctan = unary("atan", "The angle whose tangent is input.")
atanh = arctanh = unary("atanh", "The inverse of the hyperbolic tangent; nan outside [-1, 1].")
deg2rad = unary("deg2rad", "Degrees as radians.")
rad2deg = unary("rad2deg", "Radians as degrees.")
exp = unary("exp", "e ** input.")
exp2 = unary("exp2", "2 ** input.")
expm1 = unary("expm1", "e ** input - 1, exact near zero.")
log = unary("log", "The natural logarithm; nan below zero.")
log1p = unary("log1p", "log(1 + input), exact near zero.")
log2 = unary("log2", "The logarithm to base 2, exact for powers of 2; nan below zero.")
log10 = unary("log10", "The logarithm to base 10; nan below zero.")
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
erfc = unary("erfc", "1 - erf(input), exact where that is small.")
erfinv = unary("erfinv", "The inverse of the error function; infinite at -1 and 1, nan beyond.")
sinc = unary("sinc", "sin(pi input) / (pi input), and 1 at zero.")


def logit(input: Any, eps: float | None = None, *, out: Any = None) -> Any:
    """log(input / (1 - input)); with `eps`, of input between eps and 1 - eps."""
    bound = -1.0 if eps is None else number(eps, "logit", "eps")
    t = input if isinstance(input, Var) else floating(expect_tensor(input, "logit"))
    return into(out, activation("logit", t, bound), "logit")


def square(input: Any, *, out: Any = None) -> Any:
    """input * input."""
    if isinstance(input, Var):
        return into(out, input * input, "square")
    kind = expect_tensor(input, "square").array.dtype.kind
    if kind == "f":
        return into(out, run(derived(UNARY["square"]), (input,), (input.array,)), "square")
    return into(out, input * input if kind != "b" else cast(input, np.dtype(np.int64)), "square")


def abs(input: Any, *, out: Any = None) -> Any:
    """The absolute value."""
    if isinstance(input, Var):
        return into(out, UNARY["abs"](input), "abs")
    a = expect_tensor(input, "abs").array
    if a.dtype.kind == "b":
        raise unsupported("abs", a.dtype)
    if a.dtype.kind != "f":
        return into(out, run(Unrecorded, (input,), (a,), ufunc=np.abs), "abs")
    return into(out, run(derived(UNARY["abs"]), (input,), (a,)), "abs")


absolute = abs


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
        return formula(input, **dict(zip(formula.recording.keywords, numbers, strict=True)))
    if expect_tensor(input, name).array.dtype.kind != "f":
        raise unsupported(name, input.array.dtype)
    op = derived(UNARY[name])
    return record(op, (input,), op.forward(input.array, numbers=numbers))


def overwritten(t: Any, formula: Formula, others: tuple = (), numbers: tuple[float, ...] = ()) -> bool:
    """Overwrite a tensor with the formula of it, of `others` and of numbers, if that is all there is to do: nothing to
    record, to cast, to broadcast or to copy.  Whether it was done.
    """
    a = t.array
    if a.dtype.kind != "f" or not a.flags.c_contiguous:
        return False
    if is_grad_enabled() and (t.requires_grad or any(x.requires_grad for x in others)):
        return False
    arrays = (a, *[x.array for x in others])
    for b in arrays[1:]:
        if b.dtype != a.dtype or b.shape != a.shape or type(b) is not type(a) or np.may_share_memory(a, b):
            return False
    check_writable(t, False)
    map.forward(formula, arrays, numbers, a)
    t.wrote()
    return True


def relu(input: Any) -> Any:
    """max(input, 0)."""
    if not isinstance(input, Var) and expect_tensor(input, "relu").array.dtype.kind != "f":
        if input.array.dtype.kind == "b":
            raise RuntimeError("Boolean inputs not supported for relu")
        return run(Unrecorded, (input,), (input.array,), ufunc=lambda a: np.maximum(a, 0))
    return activation("relu", input)


def leaky_relu(input: Any, negative_slope: float = 0.01) -> Any:
    """input where it is positive, negative_slope * input elsewhere."""
    return activation("leaky_relu", input, number(negative_slope, "leaky_relu", "negative_slope"))


def elu(input: Any, alpha: float = 1.0) -> Any:
    """input where it is positive, alpha * (e ** input - 1) elsewhere."""
    return activation("elu", input, number(alpha, "elu", "alpha"))


def gelu(input: Any, *, approximate: str = "none", out: Any = None) -> Any:
    """input * Phi(input), Phi the normal distribution function, or its 'tanh' approximation (Hendrycks and Gimpel
    2016).
    """
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"approximate argument must be either none or tanh, got {approximate!r}")
    return into(out, activation("gelu" if approximate == "none" else "gelu_tanh", input), "gelu")


def silu(input: Any) -> Any:
    """input * sigmoid(input)."""
    return activation("silu", input)


def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0, *, out: Any = None) -> Any:
    """log(1 + e ** (beta * input)) / beta; input itself where beta * input > threshold."""
    numbers = number(beta, "softplus", "beta"), number(threshold, "softplus", "threshold")
    return into(out, activation("softplus", input, *numbers), "softplus")


def logsigmoid(input: Any, *, out: Any = None) -> Any:
    """log(sigmoid(input)), with no underflow; in order in memory."""
    input = input if isinstance(input, Var) else expect_tensor(input, "logsigmoid").contiguous()
    return into(out, activation("logsigmoid", input), "logsigmoid")


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
        if isinstance(input, Var) or isinstance(other, Var):
            return into(out, BINARY[name](input, other), name)
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


class Clamp(Op):
    """Each element of x within bounds that are arrays; `high` wins where the bounds are the wrong way round."""

    @staticmethod
    def forward(x, low, high):
        y = x if low is None else np.maximum(x, low)
        y = np.array(y if high is None else np.minimum(y, high), like=x)
        return laid_as(y, x, *[b for b in (low, high) if b is not None]), (x, low, high)

    @staticmethod
    def backward(saved, needs, g):
        x, low, high = saved
        inside = (True if low is None else x >= low) & (True if high is None else x <= high)
        below = None if low is None else x < low if high is None else (x < low) & (low < high)
        above = None if high is None else x > high if low is None else (x > high) | (high < low)
        return tuple(None if part is None else np.where(part, g, g.dtype.type(0)) for part in (inside, below, above))


def lone(t: Any) -> bool:
    """Whether a tensor counts as a number where a number is expected."""
    return not t.array.shape and not t.requires_grad


def clamp(input: Any, min: Any = None, max: Any = None, *, out: Any = None) -> Any:
    """Each element, but not below `min` and not above `max`: two numbers or two tensors."""
    if isinstance(input, Var):
        low, high = -np.inf if min is None else min, np.inf if max is None else max
        return into(out, UNARY["clamp"](input, min=low, max=high), "clamp")
    expect_tensor(input, "clamp")
    bounds = [b for b in (min, max) if b is not None]
    if not bounds:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if len(bounds) == 2 and isinstance(min, TensorBase) != isinstance(max, TensorBase):  # torch has it for a number
        min, max = (b.array.item() if isinstance(b, TensorBase) and lone(b) else b for b in (min, max))
        bounds = [min, max]
    if any(isinstance(b, TensorBase) for b in bounds):
        low, high = (None if b is None else expect_tensor(b, "clamp", n) for b, n in ((min, "min"), (max, "max")))
        dtype = dtypes.promote(input.array, *(b.array for b in bounds))
        arrays = [None if t is None else converted_to(dtype, t.array) for t in (input, low, high)]
        check_broadcast(*(a for a in arrays if a is not None))
        return into(out, entitled(run(Clamp, (input, low, high), arrays), "ClampBackward0"), "clamp")
    least = None if min is None else number(min, "clamp", "min")
    most = None if max is None else number(max, "clamp", "max")
    dtype = input.array.dtype
    if dtype.kind != "f":
        dtype = dtypes.promote(input.array, *(b for b in (least, most) if b is not None))
    if dtype.kind == "b":
        raise unsupported("clamp", dtype)
    if dtype.kind != "f":
        x = input.array.astype(dtype, copy=False)
        low, high = (None if b is None else converted(b, dtype, "clamp") for b in (least, most))
        return into(out, run(Unrecorded, (input,), (x,), ufunc=lambda a: np.clip(a, low, high)), "clamp")
    low, high = -np.inf if least is None else float(least), np.inf if most is None else float(most)
    if low != low or high != high:  # NaN, which is then the result everywhere
        low = high = np.nan
        arrays = [input.array.astype(dtype, copy=False), *(np.asarray(b, dtype, like=input.array) for b in (low, high))]
        return into(out, entitled(run(Clamp, (input, None, None), arrays), "ClampBackward1"), "clamp")
    return into(out, activation("clamp", cast(input, dtype), low, high), "clamp")


def overwriting(function: Callable, at_once: Callable) -> Callable:
    """The in-place form of `function`: what at_once(self, ...) does, or if it answers False, what is slower."""
    overwrite = inplace(function)

    @wraps(overwrite)
    def compute(self, *args, **kwargs):
        return self if at_once(self, *args, **kwargs) else overwrite(self, *args, **kwargs)

    return compute


PLAIN = (float, int)


def clamped(self: Any, min: Any = None, max: Any = None, **unknown: Any) -> bool:
    """Whether the bounds are numbers, and `self` was overwritten at once."""
    low, high = -np.inf if min is None else min, np.inf if max is None else max
    plain = type(low) in PLAIN and type(high) in PLAIN and low == low and high == high and min is not max
    return plain and not unknown and overwritten(self, UNARY["clamp"], (), (low, high))


clip = clamp
clamp_ = clip_ = overwriting(clamp, clamped)


def clamp_min(input: Any, min: Any, *, out: Any = None) -> Any:
    """Each element, but not below `min`."""
    found = clamp(input, min=min, out=out)
    return found if isinstance(input, Var) else entitled(found, "ClampMinBackward0")


def clamp_max(input: Any, max: Any, *, out: Any = None) -> Any:
    """Each element, but not above `max`."""
    found = clamp(input, max=max, out=out)
    return found if isinstance(input, Var) else entitled(found, "ClampMaxBackward0")


class Where(Op):
    """a where the condition holds, b elsewhere; each gets its part of the gradient."""

    @staticmethod
    def forward(condition, a, b):
        in_order = condition.flags.c_contiguous and a.flags.c_contiguous and b.flags.c_contiguous
        if in_order:
            return selecting.where(condition, a, b), (condition,)
        return laid_as(np.where(condition, a, b), condition, a, b), (condition,)

    @staticmethod
    def backward(saved, needs, g):
        (condition,) = saved
        zero = g.dtype.type(0)
        return (
            None,
            selecting.where(condition, g, zero) if needs[1] else None,
            selecting.where(condition, zero, g) if needs[2] else None,
        )


class MaskedFill(Where):
    """The same, in order in memory."""

    @staticmethod
    def forward(condition, a, b):
        return selecting.where(condition, a, b), (condition,)


def where(condition: Any, input: Any = None, other: Any = None, *, out: Any = None) -> Any:
    """input where `condition` (booleans) holds, other elsewhere; with broadcasting.  With one argument: nonzero as a
    tuple.
    """
    if isinstance(condition, Var) or isinstance(input, Var) or isinstance(other, Var):
        from ..kernels.scalar import where as scalar_where

        return into(out, scalar_where(condition, input, other), "where")
    expect_tensor(condition, "where", "condition")
    if input is None and other is None:
        from .index import nonzero

        return nonzero(condition, as_tuple=True)
    a, b, x, y = operands(input, other, "where")
    for given in (input, other):
        if not isinstance(given, TensorBase):
            converted(given, x.dtype, "where")  # refuses what does not fit
    truth = condition.array
    if truth.dtype.kind != "b":
        if truth.dtype != np.uint8:
            raise RuntimeError(
                f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype}"
            )
        warnings.warn("where received a uint8 condition tensor, which is deprecated: use bool", stacklevel=2)
        truth = truth != 0
    check_broadcast(truth, x, y)
    return into(out, run(Where, (None, a, b), (truth, x, y), (condition,)), "where")


def masked_fill(input: Any, mask: Any, value: Any) -> Any:
    """input, with `value` (a number or a 0-d tensor) where `mask` (booleans) holds."""
    a = expect_tensor(input, "masked_fill").array
    truth = expect_tensor(mask, "masked_fill", "mask").array
    if isinstance(value, TensorBase):
        if value.array.ndim:
            raise RuntimeError(
                "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                f"{value.array.ndim} dimension(s)."
            )
        side: Any = converted(value.array.item(), a.dtype, "masked_fill")
    else:
        side = number(value, "masked_fill", "value")
    if truth.dtype.kind != "b":
        raise RuntimeError(f"masked_fill_ only supports boolean masks, but got mask with dtype {mask.dtype}")
    if not isinstance(value, TensorBase):
        value, side = None, converted(side, a.dtype, "masked_fill")
    check_broadcast(a, truth)
    found = run(MaskedFill, (None, value, input), (truth, side, a), (mask,))
    return entitled(found, f"MaskedFillBackward{int(value is not None)}")
