"""Plain arithmetic and comparisons: NumPy's ufuncs, with torch's promotion and broadcasting."""

from __future__ import annotations

from typing import Any

import numpy as np

from .common import Op, binary, expect_tensor, into, number, run, wrap


class Add(Op):
    @staticmethod
    def forward(a, b):
        return a + b if a.dtype.kind != "b" else a | b, ()

    @staticmethod
    def backward(saved, needs, g):
        return g, g


class Sub(Op):
    @staticmethod
    def forward(a, b):
        return a - b, ()

    @staticmethod
    def backward(saved, needs, g):
        return g if needs[0] else None, -g if needs[1] else None


class Mul(Op):
    keeps = ((1,), (0,))

    @staticmethod
    def forward(a, b):
        return a * b, (a, b)

    @staticmethod
    def backward(saved, needs, g):
        a, b = saved
        return g * b if needs[0] else None, g * a if needs[1] else None


class Div(Op):
    keeps = ((1,), (0, 1))

    @staticmethod
    def forward(a, b):
        with np.errstate(all="ignore"):
            return a / b, (a, b)

    @staticmethod
    def backward(saved, needs, g):
        a, b = saved
        return g / b if needs[0] else None, -g * ((a / b) / b) if needs[1] else None


class Neg(Op):
    @staticmethod
    def forward(a):
        return -a, ()

    @staticmethod
    def backward(saved, needs, g):
        return -g


class Pow(Op):
    keeps = ((0, 1), (0, 1), (1,))

    @staticmethod
    def forward(a, b):
        with np.errstate(all="ignore"):
            y = np.power(a, b)
        return y, (a, b, y)

    @staticmethod
    def backward(saved, needs, g):
        a, b, y = saved
        da = db = None
        if needs[0]:
            da = g * np.where(b == 0, 0, b * np.power(a, b - 1)).astype(g.dtype, copy=False)
        if needs[1]:
            db = g * np.where((a == 0) & (b >= 0), 0, y * np.log(a)).astype(g.dtype, copy=False)
        return da, db


class Remainder(Op):
    """a - b * floor(a / b): the sign is the divisor's."""

    keeps = ((1,), (1,))

    @staticmethod
    def forward(a, b):
        with np.errstate(all="ignore"):
            return np.remainder(a, b), (a, b)

    @staticmethod
    def backward(saved, needs, g):
        a, b = saved
        return g, -g * np.floor_divide(a, b) if needs[1] else None


class FloorDivide(Op):
    """floor(a / b), without a gradient."""

    @staticmethod
    def forward(a, b):
        if a.dtype.kind in "iu" and np.any(b == 0):
            raise RuntimeError("ZeroDivisionError")
        with np.errstate(all="ignore"):
            return np.floor_divide(a, b), ()

    @staticmethod
    def backward(saved, needs, g):
        return None, None


def add(input: Any, other: Any, *, alpha: float = 1, out: Any = None) -> Any:
    """input + alpha * other, with broadcasting and type promotion."""
    if alpha != 1:
        other = mul(other, alpha) if not isinstance(other, (int, float)) else other * alpha
    return into(out, binary(Add, input, other, "add"), "add")


def sub(input: Any, other: Any, *, alpha: float = 1, out: Any = None) -> Any:
    """input - alpha * other, with broadcasting and type promotion."""
    if any(getattr(x, "dtype", None) is not None and x.array.dtype.kind == "b" for x in (input, other)) or isinstance(
        other, bool
    ):
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a "
            "mask, use the `~` or `logical_not()` operator instead."
        )
    if alpha != 1:
        other = mul(other, alpha) if not isinstance(other, (int, float)) else other * alpha
    return into(out, binary(Sub, input, other, "sub"), "sub")


def rsub(input: Any, other: Any, *, alpha: float = 1) -> Any:
    """other - alpha * input."""
    return binary(Sub, other, input if alpha == 1 else mul(input, alpha), "rsub")


def mul(input: Any, other: Any, *, out: Any = None) -> Any:
    """input * other, with broadcasting and type promotion."""
    return into(out, binary(Mul, input, other, "mul"), "mul")


def div(input: Any, other: Any, *, rounding_mode: str | None = None, out: Any = None) -> Any:
    """input / other; integers are divided as floating-point numbers unless `rounding_mode` is 'floor' or 'trunc'."""
    if rounding_mode is None:
        return into(out, binary(Div, input, other, "div", kinds="f"), "div")
    if rounding_mode == "floor":
        return into(out, floor_divide(input, other), "div")
    if rounding_mode == "trunc":
        quotient = binary(Div, input, other, "div", kinds="f")
        kind = binary(FloorDivide, input, other, "div").array.dtype
        return into(out, wrap(np.trunc(quotient.array).astype(kind)), "div")
    raise RuntimeError(f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'")


def rdiv(input: Any, other: Any) -> Any:
    """other / input."""
    return binary(Div, other, input, "div", kinds="f")


def floor_divide(input: Any, other: Any, *, out: Any = None) -> Any:
    """floor(input / other)."""
    return into(out, binary(FloorDivide, input, other, "floor_divide"), "floor_divide")


def remainder(input: Any, other: Any, *, out: Any = None) -> Any:
    """Python's modulus: the sign of the result is the divisor's."""
    return into(out, binary(Remainder, input, other, "remainder"), "remainder")


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
    if isinstance(exponent, int) and exponent < 0 and getattr(input, "array", np.zeros(0)).dtype.kind in "iu":
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    return into(out, binary(Pow, input, exponent, "pow", kinds="iuf"), "pow")


def rpow(input: Any, base: Any) -> Any:
    """base ** input."""
    return binary(Pow, base, input, "pow", kinds="iuf")


# ------------------------------------------------------------------------------------------ comparisons and logic
def comparison(name: str, ufunc: np.ufunc, doc: str) -> Any:
    """A comparison of two tensors, or a tensor and a number: a tensor of booleans, without a gradient."""

    class Compare(Op):
        @staticmethod
        def forward(a, b):
            return ufunc(a, b), ()

    def compare(input: Any, other: Any, *, out: Any = None) -> Any:
        return into(out, binary(Compare, input, other, name), name)

    compare.__name__ = compare.__qualname__ = name
    compare.__doc__ = doc
    return compare


eq = comparison("eq", np.equal, "input == other, element by element.")
ne = comparison("ne", np.not_equal, "input != other, element by element.")
lt = comparison("lt", np.less, "input < other, element by element.")
le = comparison("le", np.less_equal, "input <= other, element by element.")
gt = comparison("gt", np.greater, "input > other, element by element.")
ge = comparison("ge", np.greater_equal, "input >= other, element by element.")
logical_and = comparison("logical_and", np.logical_and, "Whether both are not zero.")
logical_or = comparison("logical_or", np.logical_or, "Whether one is not zero.")
logical_xor = comparison("logical_xor", np.logical_xor, "Whether exactly one is not zero.")


def logical_not(input: Any, *, out: Any = None) -> Any:
    """Whether each element is zero."""
    return into(out, wrap(np.logical_not(expect_tensor(input, "logical_not").array)), "logical_not")


def bitwise(name: str, ufunc: np.ufunc, doc: str) -> Any:
    """A bitwise operation on integers, a logical one on booleans."""

    class Bitwise(Op):
        @staticmethod
        def forward(a, b):
            if a.dtype.kind == "f":
                raise RuntimeError(
                    f"\"{name}_cpu\" not implemented for '{'Float' if a.dtype.itemsize == 4 else 'Double'}'"
                )
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
        raise RuntimeError("bitwise_not(): expected integers or booleans, got floating-point numbers")
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
    return wrap(np.isclose(a, b, rtol=rtol, atol=atol, equal_nan=equal_nan))


def allclose(input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether all elements are close: see isclose."""
    return bool(isclose(input, other, rtol, atol, equal_nan).array.all())


class Rounding(Op):
    """floor, ceil, round, trunc, sign: constant between their steps."""

    @staticmethod
    def forward(a, *, ufunc):
        return (ufunc(a) if a.dtype.kind == "f" or ufunc is np.sign else a.copy()), ()

    @staticmethod
    def backward(saved, needs, g):
        return np.zeros_like(g)


def floor(input: Any) -> Any:
    """The largest integer that is not above each element."""
    return run(Rounding, (expect_tensor(input, "floor"),), (input.array,), ufunc=np.floor)


def ceil(input: Any) -> Any:
    """The smallest integer that is not below each element."""
    return run(Rounding, (expect_tensor(input, "ceil"),), (input.array,), ufunc=np.ceil)


def round(input: Any, *, decimals: int = 0) -> Any:
    """The nearest integer, the even one of two; or the nearest number with `decimals` decimals."""
    expect_tensor(input, "round")
    if decimals:
        return div(run(Rounding, (input,), (input.array * 10.0**decimals,), ufunc=np.rint), 10.0**decimals)
    return run(Rounding, (input,), (input.array,), ufunc=np.rint)


def trunc(input: Any) -> Any:
    """Each element without its fraction."""
    return run(Rounding, (expect_tensor(input, "trunc"),), (input.array,), ufunc=np.trunc)


def sign(input: Any) -> Any:
    """-1, 0 or 1."""
    array = expect_tensor(input, "sign").array
    return wrap(array.copy()) if array.dtype.kind == "b" else run(Rounding, (input,), (array,), ufunc=np.sign)


def addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: float = 1) -> Any:
    """input + value * tensor1 * tensor2."""
    return add(input, mul(mul(tensor1, tensor2), number(value, "addcmul", "value")))


def addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: float = 1) -> Any:
    """input + value * tensor1 / tensor2."""
    return add(input, mul(div(tensor1, tensor2), number(value, "addcdiv", "value")))


def lerp(input: Any, end: Any, weight: Any) -> Any:
    """input + weight * (end - input)."""
    return add(input, mul(sub(end, input), weight))
