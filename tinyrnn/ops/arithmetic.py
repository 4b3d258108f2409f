"""Plain arithmetic and comparisons: NumPy's ufuncs, with torch's promotion and broadcasting."""

from __future__ import annotations

import builtins
import functools
from typing import Any

import numpy as np

from .. import dtypes
from ..kernels import twin
from ..kernels.formulas import BINARY, POWER, POWERS, SCALED_ADD, SIGN, Formula
from ..strides import copied, laid_as
from ..tape import check_apart, check_writable, is_grad_enabled
from .common import (
    NO_BOOL,
    Number,
    Op,
    TensorBase,
    binary,
    cast,
    check_broadcast,
    expect_tensor,
    inplace,
    into,
    number,
    operands,
    refuse_bool,
    run,
    unsupported,
    wrap,
)
from .old_forms import in_old_form

maps = twin("map")
FEW, SOME = 1 << 14, 1 << 9  # elements that are never worth a kernel: of sums and products, and of powers


def plain(ufunc: np.ufunc, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """NumPy's add, subtract, multiply or divide; of large arrays on all threads."""
    return ufunc(a, b) if a.size < FEW and b.size < FEW else maps.arithmetic(ufunc, a, b)


def negated(a: np.ndarray) -> np.ndarray:
    return -a if a.size < FEW or a.dtype.kind != "f" else plain(np.multiply, a, a.dtype.type(-1))


class Add(Op):
    @staticmethod
    def forward(a, b):
        return plain(np.add, a, b) if a.dtype.kind != "b" else a | b, ()

    @staticmethod
    def backward(saved, needs, g):
        return g, g


class Sub(Op):
    @staticmethod
    def forward(a, b):
        return plain(np.subtract, a, b), ()

    @staticmethod
    def backward(saved, needs, g):
        return g if needs[0] else None, negated(g) if needs[1] else None


Rsub = Sub.called("RsubBackward1")


class Mul(Op):
    keeps = ((1,), (0,))

    @staticmethod
    def forward(a, b):
        return plain(np.multiply, a, b), (a, b)

    @staticmethod
    def backward(saved, needs, g):
        a, b = saved
        return plain(np.multiply, g, b) if needs[0] else None, plain(np.multiply, g, a) if needs[1] else None


class Div(Op):
    keeps = ((1,), (0, 1))

    @staticmethod
    def forward(a, b):
        with np.errstate(all="ignore"):
            return plain(np.divide, a, b), (a, b)

    @staticmethod
    def backward(saved, needs, g):
        a, b = saved
        return plain(np.divide, g, b) if needs[0] else None, -g * ((a / b) / b) if needs[1] else None


class Rdiv(Op):
    """A number divided by an array, as torch computes it: the reciprocal, times the number."""

    label = "MulBackward0"

    @staticmethod
    def forward(a, b):
        with np.errstate(all="ignore"):
            r = plain(np.divide, b.dtype.type(1), b)
        return plain(np.multiply, r, a), (a, r)

    @staticmethod
    def backward(saved, needs, g):
        a, r = saved
        return None, -(g * a) * (r * r)


class Neg(Op):
    @staticmethod
    def forward(a):
        return negated(a), ()

    @staticmethod
    def backward(saved, needs, g):
        return negated(g)


def power(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a ** b.  The exponents that have a function of their own use it, as torch does: -inf ** 0.5 is NaN, not inf."""
    if a.dtype.kind == "f" and np.ndim(b) == 0:
        match float(b):
            case 2.0:
                return a * a
            case 3.0:
                return a * a * a
            case 1.0:
                return copied(a)
            case 0.5:
                return np.sqrt(a)
            case -0.5:
                return 1 / np.sqrt(a)
            case -1.0:
                return 1 / a
            case -2.0:
                return 1 / (a * a)
    if a.dtype.kind != "f" and np.any(b < 0):  # 1 / a, without its fraction
        inverse = np.where(a == 1, 1, np.where(a == -1, 1 - 2 * (b & 1), 0)).astype(a.dtype)
        return np.where(b < 0, inverse, np.power(a, np.abs(b)))
    return np.power(a, b)


def power_formula(a: np.ndarray, b: np.ndarray) -> tuple[Formula, tuple[np.ndarray, ...]] | None:
    """The formula that computes a ** b, and what of both it takes; None where NumPy is as fast."""
    if a.dtype.kind != "f" or a.dtype != b.dtype or not all(isinstance(v, (np.ndarray, np.generic)) for v in (a, b)):
        return None
    a, b = np.asarray(a), np.asarray(b)  # what was a number for Python may be one for NumPy
    exponent = float(b) if b.ndim == 0 else None
    if exponent in POWERS:
        return (POWERS[exponent], (a,)) if a.size >= FEW else None
    simple = exponent in (0.0, 0.5, -0.5, 1.0)  # for which NumPy calls no pow()
    return None if simple or max(a.size, b.size) < SOME else (POWER, (a, b))


class Pow(Op):
    keeps = ((0, 1), (0, 1), (1,))

    @staticmethod
    def forward(a, b):
        if a.dtype.kind == "b":
            raise unsupported("pow", a.dtype)
        if found := power_formula(a, b):
            y = maps.forward(*found)[0]
        else:
            with np.errstate(all="ignore"):
                y = power(a, b)
        return y, (a, b, y)

    @staticmethod
    def backward(saved, needs, g):
        a, b, y = saved
        if found := power_formula(a, b):
            formula, arrays = found
            if formula is not POWER and not needs[1]:
                return maps.backward(formula, arrays, (), g, needs[:1])[0], None
            return maps.backward(POWER, (*map(np.asarray, (a, b)), g if y is None else y), (), g, needs)
        da = db = None
        with np.errstate(all="ignore"):
            if needs[0]:
                da = g * np.where(b == 0, 0, b * power(a, b - 1)).astype(g.dtype, copy=False)
            if needs[1]:
                db = g * np.where((a == 0) & (b >= 0), 0, y * np.log(a)).astype(g.dtype, copy=False)
        return da, db


def check_divisor(a: np.ndarray, b: np.ndarray, call: str) -> None:
    """torch's errors for dividing truth values, and integers by zero."""
    if a.dtype.kind == "b":
        raise unsupported(call, a.dtype)
    if a.dtype.kind in "iu" and a.size and (not b.all() if type(b) is np.ndarray else np.any(b == 0)):
        raise RuntimeError(f"ZeroDivisionError: {call}() of integers by 0")


def quotient(ufunc: np.ufunc, a: Any, b: Any, call: str) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """A whole quotient or what it leaves, by the formula of that name for floats and by NumPy for integers, and (a, b).

    A NumPy number becomes an array: kernels take nothing else.
    """
    a, b = (np.asarray(x) if isinstance(x, np.generic) else x for x in (a, b))
    check_divisor(a, b, call)
    return maps.forward(BINARY[ufunc.__name__], (a, b))[0] if a.dtype.kind == "f" else ufunc(a, b), (a, b)


class Remainder(Op):
    """a - b * floor(a / b): the sign is the divisor's."""

    keeps = ((1,), (0, 1))  # b tells torch's name for the call

    @staticmethod
    def forward(a, b):
        return quotient(np.remainder, a, b, "remainder")

    @staticmethod
    def backward(saved, needs, g):
        return maps.backward(BINARY["remainder"], saved, (), g, needs) if needs[1] else (g, None)


class RemainderOfNumber(Remainder):
    """A number modulo a tensor, which torch does not differentiate."""

    label = "torch::autograd::NotImplemented"

    @staticmethod
    def backward(saved, needs, g):
        raise RuntimeError("derivative for aten::remainder is not implemented")


class FloorDivide(Op):
    """floor(a / b), which torch does not differentiate."""

    label = "torch::autograd::NotImplemented"

    @staticmethod
    def forward(a, b):
        return quotient(np.floor_divide, a, b, "floor_divide")[0], ()

    @staticmethod
    def backward(saved, needs, g):
        raise RuntimeError("derivative for aten::floor_divide is not implemented")


class RoundedDiv(Op):
    """floor(a / b), or the quotient without its fraction: constant between its steps."""

    @staticmethod
    def forward(a, b, *, mode):
        call = f"div_{mode}"
        if mode == "floor":
            return quotient(np.floor_divide, a, b, call)[0], ()
        if a.dtype.kind == "f":
            with np.errstate(all="ignore"):
                return np.trunc(a / b), ()
        return quotient(np.floor_divide, a, b, call)[0] + ((a % b != 0) & ((a < 0) != (b < 0))), ()

    @staticmethod
    def backward(saved, needs, g):
        zero = np.zeros_like(g)
        return zero, zero


ONE = 1  # alpha unless given: what is that very object needs no look at its type or value


def scaled(input: Any, other: Any, alpha: Any, call: str) -> Any:
    """alpha * other, of the type that input + other has."""
    x, y = (getattr(v, "array", v) for v in (input, other))
    dtype = dtypes.promote(x, number(y, call, "other") if y is other else y)
    alpha = number(alpha, call, "alpha")
    if isinstance(alpha, bool) and dtype.kind != "b":
        raise RuntimeError(f"Boolean alpha only supported for Boolean results. ({call}(): the result is {dtype})")
    if isinstance(alpha, float) and dtype.kind != "f":
        raise RuntimeError(
            f"For integral input tensors, argument alpha must not be a floating point number. ({call}(): {alpha})"
        )
    if y is other:
        return other * alpha if dtype.kind != "b" else bool(other and alpha)
    return mul(cast(other, dtype), bool(alpha) if dtype.kind == "b" else alpha)


def add(input: Any, other: Any, *old: Any, alpha: float = ONE, out: Any = None) -> Any:
    """input + alpha * other, with broadcasting and type promotion."""
    if old:
        return in_old_form(add, input, other, *old, alpha=alpha, out=out)
    if alpha is not ONE:
        other = scaled(input, other, alpha, "add")
    result = binary(Add, input, other, "add")
    return result if out is None else into(out, result, "add")


def sub(input: Any, other: Any, *old: Any, alpha: float = ONE, out: Any = None) -> Any:
    """input - alpha * other, with broadcasting and type promotion."""
    if old:
        return in_old_form(sub, input, other, *old, alpha=alpha, out=out)
    if alpha is not ONE:
        refuse_bool("sub", input, other)
        other = scaled(input, other, alpha, "sub")
    result = binary(Sub, input, other, "sub", NO_BOOL)
    return result if out is None else into(out, result, "sub")


def rsub(input: Any, other: Any, *, alpha: float = 1) -> Any:
    """other - alpha * input."""
    expect_tensor(input, "rsub")
    if alpha != 1 or alpha is True:
        refuse_bool("rsub", input, other)
        input = scaled(other, input, alpha, "rsub")
    return binary(Rsub, other, input, "rsub", NO_BOOL)


def mul(input: Any, other: Any, *, out: Any = None) -> Any:
    """input * other, with broadcasting and type promotion."""
    result = binary(Mul, input, other, "mul")
    return result if out is None else into(out, result, "mul")


def div(input: Any, other: Any, *, rounding_mode: str | None = None, out: Any = None) -> Any:
    """input / other; integers are divided as floating-point numbers unless `rounding_mode` is 'floor' or 'trunc'."""
    if rounding_mode is None:
        result = binary(Div, input, other, "div", kinds="f")
        return result if out is None else into(out, result, "div")
    if rounding_mode not in ("floor", "trunc"):
        raise RuntimeError(
            f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'"
        )
    a, b, x, y = operands(input, other, "div")
    return into(out, run(RoundedDiv, (a, b), (x, y), mode=rounding_mode), "div")


def rdiv(input: Any, other: Any) -> Any:
    """other / input."""
    return binary(Rdiv, other, input, "div", kinds="f")


def floor_divide(input: Any, other: Any, *, out: Any = None) -> Any:
    """floor(input / other)."""
    return into(out, binary(FloorDivide, input, other, "floor_divide"), "floor_divide")


def remainder(input: Any, other: Any, *, out: Any = None) -> Any:
    """Python's modulus: the sign of the result is the divisor's."""
    op = Remainder if isinstance(input, TensorBase) else RemainderOfNumber
    return into(out, binary(op, input, other, "remainder"), "remainder")


def neg(input: Any, *, out: Any = None) -> Any:
    """-input."""
    if expect_tensor(input, "neg").array.dtype.kind == "b":
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, "
            "use the `~` or `logical_not()` operator instead."
        )
    return into(out, run(Neg, (input,), (input.array,)), "neg")


def pow(input: Any, exponent: Any, *, out: Any = None) -> Any:
    """input ** exponent, with broadcasting and type promotion."""
    if isinstance(exponent, int) and exponent < 0 and isinstance(input, TensorBase) and input.array.dtype.kind != "f":
        raise RuntimeError(f"Integers to negative integer powers are not allowed. (pow(): exponent {exponent})")
    if isinstance(exponent, bool) and isinstance(input, TensorBase) and input.array.dtype.kind == "b":
        return into(out, wrap(input.array | (not exponent)), "pow")
    return into(out, binary(Pow, input, exponent, "pow"), "pow")


def rpow(input: Any, base: Any) -> Any:
    """base ** input."""
    return pow(base, input)


def rfloordiv(input: Any, other: Any) -> Any:
    """floor(other / input)."""
    return binary(FloorDivide, other, input, "floor_divide")


def rmod(input: Any, other: Any) -> Any:
    """Python's other % input."""
    return remainder(other, input)


subtract, multiply, divide, true_divide, negative = sub, mul, div, div, neg


def overwriting(function: Any, ufunc: np.ufunc, *options: str) -> Any:
    """The in-place form of add, sub, mul or div.  Where nothing is recorded and nothing has to be cast, the result is
    written where the tensor lies.
    """
    overwrite = inplace(function)

    @functools.wraps(overwrite)
    def compute(self, other, *old, **given):
        a, alpha = self.array, given.get("alpha", ONE)
        if a.dtype.kind != "f" or old or not given.keys() <= allowed or type(alpha) not in PLAIN:
            return overwrite(self, other, *old, **given)
        if isinstance(other, TensorBase):
            b = other.array
            recorded = is_grad_enabled() and (self.requires_grad or other.requires_grad)
            here = b.dtype == a.dtype and type(b) is type(a) and (b.shape == a.shape or fits(b.shape, a.shape))
        else:
            b = other
            recorded, here = is_grad_enabled() and self.requires_grad, type(other) in PLAIN
        if recorded or not here:
            return overwrite(self, other, **given)
        check_writable(self, False)
        write_over(ufunc, a, b, alpha)
        self.wrote()
        return self

    allowed = set(options)
    return compute


def fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether what has a shape can be broadcast to another."""
    return len(shape) <= len(wanted) and all(m in (1, n) for m, n in zip(shape[::-1], wanted[::-1], strict=False))


def write_over(ufunc: np.ufunc, a: np.ndarray, b: Any, alpha: float) -> None:
    """`a` becomes ufunc(a, alpha * b); `b` is an array or a number."""
    if type(b) is not type(a):
        b = a.dtype.type(b if alpha is ONE else b * alpha)
    else:
        check_apart(a, b)
        if alpha is not ONE:
            scale = alpha if ufunc is np.add else -alpha
            if a.size >= FEW and b.shape == a.shape and maps.update(SCALED_ADD, ((a, b),), (scale,)):
                return
            b = plain(np.multiply, b, a.dtype.type(alpha))
    if ufunc is np.divide:
        with np.errstate(all="ignore"):
            maps.arithmetic(ufunc, a, b, a)
    elif a.size < FEW:
        ufunc(a, b, a)
    else:
        maps.arithmetic(ufunc, a, b, a)


PLAIN = (float, int)
add_, sub_ = overwriting(add, np.add, "alpha"), overwriting(sub, np.subtract, "alpha")
mul_, div_ = overwriting(mul, np.multiply), overwriting(div, np.divide)
subtract_, multiply_, divide_, true_divide_ = sub_, mul_, div_, div_


def operator(op: type[Op], call: str, kinds: str = "biuf", swapped: bool = False) -> Any:
    """The method that a tensor has for + or -, say: `op` of the tensor and the other operand, or of the two `swapped`.

    It goes straight to the op, for programs that compute step by step.
    """

    def operate(self, other):
        if not isinstance(other, OPERANDS):
            return NotImplemented  # Python asks the other side
        return binary(op, other, self, call, kinds) if swapped else binary(op, self, other, call, kinds)

    operate.__name__ = call
    return operate


OPERANDS = (TensorBase, *Number)


# ------------------------------------------------------------------------------------------ comparisons and logic
def comparison(name: str, ufunc: np.ufunc, doc: str) -> Any:
    """A comparison of two tensors, or a tensor and a number: a tensor of booleans, without a gradient."""

    class Compare(Op):
        @staticmethod
        def forward(a, b):
            return ufunc(a, b), ()

    def compare(input: Any, other: Any, *, out: Any = None) -> Any:
        return into(out, binary(Compare, expect_tensor(input, name), other, name), name)

    compare.__name__ = compare.__qualname__ = name
    compare.__doc__ = doc
    return compare


eq = comparison("eq", np.equal, "input == other, element by element.")
ne = not_equal = comparison("ne", np.not_equal, "input != other, element by element.")
lt = less = comparison("lt", np.less, "input < other, element by element.")
le = less_equal = comparison("le", np.less_equal, "input <= other, element by element.")
gt = greater = comparison("gt", np.greater, "input > other, element by element.")
ge = greater_equal = comparison("ge", np.greater_equal, "input >= other, element by element.")


def logical(name: str, ufunc: np.ufunc, doc: str) -> Any:
    """A comparison that takes no numbers."""
    compare = comparison(name, ufunc, doc)

    def function(input: Any, other: Any, *, out: Any = None) -> Any:
        return compare(input, expect_tensor(other, name, "other"), out=out)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


logical_and = logical("logical_and", np.logical_and, "Whether both are not zero.")
logical_or = logical("logical_or", np.logical_or, "Whether one is not zero.")
logical_xor = logical("logical_xor", np.logical_xor, "Whether exactly one is not zero.")


def logical_not(input: Any, *, out: Any = None) -> Any:
    """Whether each element is zero."""
    return into(out, wrap(np.logical_not(expect_tensor(input, "logical_not").array)), "logical_not")


def bitwise(name: str, ufunc: np.ufunc, doc: str) -> Any:
    """A bitwise operation on integers, a logical one on booleans."""

    class Bitwise(Op):
        @staticmethod
        def forward(a, b):
            if a.dtype.kind == "f":
                raise unsupported(name, a.dtype)
            return ufunc(a, b), ()

    def function(input: Any, other: Any, *, out: Any = None) -> Any:
        return into(out, binary(Bitwise, input, other, name), name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


bitwise_and = bitwise("bitwise_and", np.bitwise_and, "input & other.")
bitwise_or = bitwise("bitwise_or", np.bitwise_or, "input | other.")
bitwise_xor = bitwise("bitwise_xor", np.bitwise_xor, "input ^ other.")


def bitwise_not(input: Any, *, out: Any = None) -> Any:
    """~input: of integers the bits, of booleans the truth."""
    if expect_tensor(input, "bitwise_not").array.dtype.kind == "f":
        raise unsupported("bitwise_not", input.array.dtype)
    return into(out, wrap(np.invert(input.array)), "bitwise_not")


def isnan(input: Any) -> Any:
    """Whether each element is NaN."""
    return wrap(np.isnan(expect_tensor(input, "isnan").array))


def isinf(input: Any) -> Any:
    """Whether each element is infinite."""
    return wrap(np.isinf(expect_tensor(input, "isinf").array))


def isfinite(input: Any) -> Any:
    """Whether each element is neither NaN nor infinite."""
    return wrap(np.isfinite(expect_tensor(input, "isfinite").array))


def equal(input: Any, other: Any) -> bool:
    """Whether two tensors have the same shape and elements."""
    a, b = expect_tensor(input, "equal").array, expect_tensor(other, "equal", "other").array
    return a.shape == b.shape and bool(np.all(a == b))


def isclose(input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Any:
    """Whether |input - other| <= atol + rtol * |other|, element by element."""
    a, b = expect_tensor(input, "isclose").array, expect_tensor(other, "isclose", "other").array
    if a.dtype != b.dtype:
        raise RuntimeError(f"isclose(): expected two tensors of one dtype, got {input.dtype} and {other.dtype}")
    for name, value in (("rtol", rtol), ("atol", atol)):
        if number(value, "isclose", name) < 0:
            raise RuntimeError(f"{name} must be greater than or equal to zero, but got {value}")
    check_broadcast(a, b)
    return wrap(laid_as(np.isclose(a, b, rtol=rtol, atol=atol, equal_nan=equal_nan), a, b))


def allclose(input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether all elements are close: see isclose."""
    return bool(isclose(input, other, rtol, atol, equal_nan).array.all())


class Rounding(Op):
    """floor, ceil, round, trunc, sign: constant between their steps."""

    @staticmethod
    def forward(a, *, ufunc):
        return ufunc(a), ()

    @staticmethod
    def backward(saved, needs, g):
        return np.zeros_like(g)


def rounding(name: str, ufunc: np.ufunc, doc: str) -> Any:
    """A function that is the identity for integers."""
    op = Rounding.called(f"{name.capitalize()}Backward0")

    def function(input: Any, *, out: Any = None) -> Any:
        a = expect_tensor(input, name).array
        if a.dtype.kind == "b":
            raise unsupported(name, a.dtype)
        return into(out, run(op, (input,), (a,), ufunc=ufunc if a.dtype.kind == "f" else np.copy), name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


floor = rounding("floor", np.floor, "The largest integer that is not above each element.")
ceil = rounding("ceil", np.ceil, "The smallest integer that is not below each element.")
trunc = fix = rounding("trunc", np.trunc, "Each element without its fraction.")
to_integer = rounding("round", np.rint, "")


def round(input: Any, *, decimals: int = 0, out: Any = None) -> Any:
    """The nearest integer, the even one of two; or the nearest number with `decimals` decimals."""
    if decimals == 0:
        return to_integer(input, out=out)
    a = expect_tensor(input, "round").array
    if a.dtype.kind != "f":
        raise unsupported("round", a.dtype)
    ten = a.dtype.type(10.0 ** builtins.abs(decimals))
    there, back = (np.multiply, np.divide) if decimals > 0 else (np.divide, np.multiply)
    return into(out, run(Rounding, (input,), (a,), ufunc=lambda a: back(np.rint(there(a, ten)), ten)), "round")


Sign = Rounding.called("SignBackward0")


def sign(input: Any, *, out: Any = None) -> Any:
    """-1, 0 or 1; 0 for NaN."""
    a = expect_tensor(input, "sign").array
    return into(out, run(Sign, (input,), (a,), ufunc=np.copy if a.dtype.kind == "b" else signs), "sign")


def signs(a: np.ndarray) -> np.ndarray:
    """-1, 0 or 1, of few numbers by way of bytes."""
    if a.dtype.kind == "f" and a.size >= SOME:
        return maps.forward(SIGN, (a,))[0]
    return ((a > 0).astype(np.int8) - (a < 0).astype(np.int8)).astype(a.dtype)


sgn = sign  # which differ for complex numbers


class Frac(Op):
    @staticmethod
    def forward(a):
        with np.errstate(all="ignore"):
            return a - np.trunc(a), ()

    @staticmethod
    def backward(saved, needs, g):
        return g


def frac(input: Any, *, out: Any = None) -> Any:
    """The fraction of each element: input - trunc(input)."""
    a = expect_tensor(input, "frac").array
    if a.dtype.kind != "f":
        raise unsupported("frac", a.dtype)
    return into(out, run(Frac, (input,), (a,)), "frac")


def positive(input: Any) -> Any:
    """input itself; truth values are refused."""
    if expect_tensor(input, "positive").array.dtype.kind == "b":
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


class NanToNum(Op):
    @staticmethod
    def forward(a, *, nan, posinf, neginf):
        return np.nan_to_num(a, nan=nan, posinf=posinf, neginf=neginf), (a,)

    @staticmethod
    def backward(saved, needs, g):
        return np.where(np.isfinite(saved[0]), g, g.dtype.type(0))


def nan_to_num(
    input: Any,
    nan: float | None = None,
    posinf: float | None = None,
    neginf: float | None = None,
    *,
    out: Any = None,
) -> Any:
    """`nan` (or 0) for NaN, `posinf` and `neginf` (or the largest finite numbers) for the infinities."""
    a = expect_tensor(input, "nan_to_num").array
    values = {"nan": nan, "posinf": posinf, "neginf": neginf}
    numbers = {name: None if v is None else float(number(v, "nan_to_num", name)) for name, v in values.items()}
    if a.dtype.kind != "f":
        return into(out, wrap(a.copy()), "nan_to_num")
    return into(out, run(NanToNum, (input,), (a,), (), **numbers | {"nan": numbers["nan"] or 0.0}), "nan_to_num")
