"""The scalar tape: a formula written once as ordinary math becomes a forward and a backward program.

A formula is a Python function of numbers, such as one step of an LSTM:

    def lstm(i, f, g, o, c):
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return sigmoid(o) * tanh(c), c

`record` calls it once on `Var`s and keeps the instructions; `differentiate` walks them in reverse and
appends the instructions of the gradient; `lines` prints the instructions that given results need, as
Python statements that Numba compiles for the CPU and for CUDA threads alike.
"""

from __future__ import annotations

import inspect
import linecache
import math
import numbers
import re
import traceback
from collections.abc import Callable, Sequence
from typing import NamedTuple


class NotRecordable(TypeError):
    """A formula asked for something that a tape of scalar instructions cannot hold."""


class Var:
    """A value on a scalar tape: an input, a constant or the result of one instruction.

    `rule`, where `ruled` gave it one, is (arguments, derivative); `alike` tells whether the value is the same for all
    hidden units, being made of means over them and constants.
    """

    __slots__ = ("tape", "op", "args", "name", "value", "rule", "alike")

    def __init__(self, tape: Tape, op: str, args: tuple[Var, ...] = (), name: str = "", value: float = 0.0):
        self.tape, self.op, self.args, self.name, self.value = tape, op, args, name, value
        self.rule: tuple[tuple[Var, ...], Callable] | None = None
        self.alike: bool = op in ("mean", "constant") or (bool(args) and all(a.alike for a in args))

    # fmt: off
    def __add__(self, other): return emit("add", self, other)
    def __radd__(self, other): return emit("add", other, self)
    def __sub__(self, other): return emit("sub", self, other)
    def __rsub__(self, other): return emit("sub", other, self)
    def __mul__(self, other): return emit("mul", self, other)
    def __rmul__(self, other): return emit("mul", other, self)
    def __truediv__(self, other): return emit("div", self, other)
    def __rtruediv__(self, other): return emit("div", other, self)
    def __pow__(self, other): return emit("pow", self, other)
    def __rpow__(self, other): return emit("pow", other, self)
    def __neg__(self): return emit("neg", self)
    def __pos__(self): return self
    def __abs__(self): return absolute(self)
    def mean(self, *args, **kwargs): return mean(self, *args, **kwargs)
    def __lt__(self, other): return emit("lt", self, other)
    def __le__(self, other): return emit("le", self, other)
    def __gt__(self, other): return emit("gt", self, other)
    def __ge__(self, other): return emit("ge", self, other)
    def __eq__(self, other): return emit("eq", self, other)
    def __ne__(self, other): return emit("ne", self, other)
    # fmt: on

    __hash__ = object.__hash__  # in dictionaries and sets, a value is itself

    def __bool__(self):
        # The tape remembers it: whatever a program does then, it has not seen the other branch.
        self.tape.branched = NotRecordable(
            "it branches or loops on a value, which is not known yet; use where(condition, a, b)"
        )
        raise self.tape.branched

    def __float__(self):
        raise NotRecordable(
            "it turns a value into a Python number (by int, float or a function of the math module), but the value is "
            "not known yet; use the functions of tinyrnn"
        )

    __int__ = __index__ = __float__

    def __str__(self):
        raise NotRecordable("it prints a value or makes a text of it, but the value is not known yet")

    def __format__(self, form):
        return str(self)

    def _logic(self, *other):
        raise NotRecordable("it joins conditions by &, |, ^ or ~; put one where(condition, a, b) into another")

    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __invert__ = _logic

    def __array__(self, *args, **kwargs):
        raise NotRecordable("it turns a value into a NumPy array, but the value is not known yet")

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        """A NumPy number on the left of an operator comes by here; the functions of NumPy are refused."""
        if method == "__call__" and ufunc.__name__ in UFUNCS:
            return emit(UFUNCS[ufunc.__name__], *inputs)
        raise NotRecordable(f"it calls numpy.{ufunc.__name__}; use the function of tinyrnn")

    def __getattr__(self, name: str):
        if name == "array" or name.endswith("_") and not name.startswith("_"):
            raise AttributeError("a value is no tensor, and cannot be overwritten in place: use what functions return")
        from .formulas import UNARY

        written = f"functions are written tinyrnn.{name}(value)" if name in UNARY else (
            "it is one number of each kind, that of one hidden unit at one step, and is used by + - * / **, "
            "comparisons, where(), mean(-1, keepdim=True) and functions such as tinyrnn.tanh(value)"
        )  # fmt: skip
        raise AttributeError(f"a value has no .{name}; {written}")


UFUNCS = {"add": "add", "subtract": "sub", "multiply": "mul", "divide": "div", "power": "pow"} | {
    "less": "lt", "less_equal": "le", "greater": "gt", "greater_equal": "ge", "equal": "eq", "not_equal": "ne"
}  # fmt: skip

# Names that the printed kernels use for something else; none ends in an underscore.
RESERVED = (
    r"v\d+|(out|gate|hidden|state|vector|zone|after)(_\d+|\d*)|in_\w*[^\W_]|\w+_next|"
    r"[TBNIHP]|[bjknrt]|one|inf|nan|real|int64|LANES|SIZE|SCRATCH|job|part|low|high|step|row|rows|top|alive|staying|following|next_row|far|far_out|fused|single|pre|place|width|"
    r"first|last|columns|column|end|here|to|block|spread|reverse|first_step|first_row|chunk_row|gates_row|gates_top|ahead|turns|lasting|table|loop|whole|rest|"
    r"size|sizes|offsets|cuts|zeros|inputs|w_x|w_h|w_r|w_x_split|w_h_split|bias|bias_split|vectors|gates|carried|entering|zone_carried|zone_states|zone_row|drop|mask|new|"
    r"states|full|last_carried|d(_\w*[^\W_])?|kept|spare|firsts|apart|chunk|none|halves|initial|\w+_count|[wb]_(ih|hh|hr)|"
    r"product|multiply_ahead|kernel|njit|forward|backward|shared|data|lanes|get|put|load|store|load_first|store_first|fetch|splat|where|"
    r"scratch|means?|stage|choose_first|total|(sum|kept)_\d+|range|min|float|sigmoid|a?(cos|sin|tan)h?|atan2|erfc?|exp|expm1|floor|fmod|hypot|log|log1p|log2|log10|sqrt"
)


class Tape:
    """The instructions of one formula, in the order in which they were recorded.

    The tape is `complete` when the formula is recorded: what comes then is derived from it.
    """

    def __init__(self) -> None:
        self.complete = False
        self.branched: NotRecordable | None = None  # the error of a branch on a value
        self.names: set[str] = set()  # of the inputs
        self.instructions: list[Var] = []
        self.known: dict[tuple, Var] = {}  # instruction -> its result: the same is never computed twice

    def input(self, name: str) -> Var:
        """A new input, under a name that means nothing else in printed source."""
        while name in self.names or re.fullmatch(RESERVED, name):
            name += "_"
        self.names.add(name)
        return Var(self, "input", name=name)

    def constant(self, value: float) -> Var:
        return self.known.setdefault(("constant", repr(float(value))), Var(self, "constant", value=float(value)))


# ---------------------------------------------------------------------------------------------------
# Primitives: how each is computed on numbers and printed, and its derivative.  A derivative rule takes
# the arguments, the result y and the gradient g of the result; it returns a gradient per argument.
# ---------------------------------------------------------------------------------------------------
class Primitive(NamedTuple):
    compute: Callable  # on Python floats
    text: str  # as printed, with {0}, {1} ... for the arguments
    derivative: Callable


# fmt: off
ONE = 1.0
TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)
LOG_2, LOG_10 = math.log(2.0), math.log(10.0)

PRIMITIVES = {
    "add": Primitive(lambda a, b: a + b, "{0} + {1}", lambda a, b, y, g: (g, g)),
    "sub": Primitive(lambda a, b: a - b, "{0} - {1}", lambda a, b, y, g: (g, -g)),
    "mul": Primitive(lambda a, b: a * b, "{0} * {1}", lambda a, b, y, g: (g * b, g * a)),
    "div": Primitive(lambda a, b: a / b, "{0} / {1}", lambda a, b, y, g: (g / b, -(g * y) / b)),
    # As torch has it, the derivative by a is zero for b = 0, and the one by b is zero for a = 0 and b >= 0.
    "pow": Primitive(lambda a, b: a**b, "{0} ** {1}", lambda a, b, y, g: (
        where(b == 0.0, 0.0, g * b * a ** (b - ONE)),
        where(a == 0.0, where(b >= 0.0, 0.0, g * y * log(a)), g * y * log(a)))),
    "neg": Primitive(lambda a: -a, "-{0}", lambda a, y, g: (-g,)),
    "exp": Primitive(math.exp, "exp({0})", lambda a, y, g: (g * y,)),
    "expm1": Primitive(math.expm1, "expm1({0})", lambda a, y, g: (g * (y + ONE),)),
    "log": Primitive(math.log, "log({0})", lambda a, y, g: (g / a,)),
    "log1p": Primitive(math.log1p, "log1p({0})", lambda a, y, g: (g / (a + ONE),)),
    "sqrt": Primitive(math.sqrt, "sqrt({0})", lambda a, y, g: (g / (y + y),)),
    "sin": Primitive(math.sin, "sin({0})", lambda a, y, g: (g * cos(a),)),
    "cos": Primitive(math.cos, "cos({0})", lambda a, y, g: (-(g * sin(a)),)),
    "sinh": Primitive(math.sinh, "sinh({0})", lambda a, y, g: (g * cosh(a),)),
    "cosh": Primitive(math.cosh, "cosh({0})", lambda a, y, g: (g * sinh(a),)),
    "tanh": Primitive(math.tanh, "tanh({0})", lambda a, y, g: (g * (ONE - y * y),)),
    "sigmoid": Primitive(lambda a: 1.0 / (1.0 + math.exp(-a)), "sigmoid({0})",
                         lambda a, y, g: (g * (y * (ONE - y)),)),
    "erf": Primitive(math.erf, "erf({0})", lambda a, y, g: (g * (TWO_OVER_SQRT_PI * exp(-(a * a))),)),
    "erfc": Primitive(math.erfc, "erfc({0})", lambda a, y, g: (g * (-TWO_OVER_SQRT_PI * exp(-(a * a))),)),
    "log2": Primitive(math.log2, "log2({0})", lambda a, y, g: (g / (a * LOG_2),)),
    "log10": Primitive(math.log10, "log10({0})", lambda a, y, g: (g / (a * LOG_10),)),
    "asin": Primitive(math.asin, "asin({0})", lambda a, y, g: (g * (ONE / sqrt(ONE - a * a)),)),
    "acos": Primitive(math.acos, "acos({0})", lambda a, y, g: (-g * (ONE / sqrt(ONE - a * a)),)),
    "atan": Primitive(math.atan, "atan({0})", lambda a, y, g: (g / (a * a + ONE),)),
    "asinh": Primitive(math.asinh, "asinh({0})", lambda a, y, g: (g * (ONE / sqrt(a * a + ONE)),)),
    "acosh": Primitive(math.acosh, "acosh({0})", lambda a, y, g: (g * (ONE / sqrt(a * a - ONE)),)),
    "atanh": Primitive(math.atanh, "atanh({0})", lambda a, y, g: (g / (ONE - a * a),)),
    "atan2": Primitive(math.atan2, "atan2({0}, {1})", lambda a, b, y, g: (
        g * where(a * a + b * b == 0.0, 0.0, b / (a * a + b * b)),
        g * -where(a * a + b * b == 0.0, 0.0, a / (a * a + b * b)))),
    "hypot": Primitive(math.hypot, "hypot({0}, {1})", lambda a, b, y, g: (g * (a / y), g * (b / y))),
    "fmod": Primitive(math.fmod, "fmod({0}, {1})", lambda a, b, y, g: (g, -(g * ((a - y) / b)))),
    # Over all hidden units: what their copies of the mean give, they get back in equal parts.  Kernels have loops for
    # it instead of a function: see `stages`.
    "mean": Primitive(lambda a: a, "mean({0})", lambda a, y, g: (emit("mean", g),)),
    "floor": Primitive(math.floor, "floor({0})", lambda a, y, g: (None,)),
    # Comparisons have no gradient; `where` passes its gradient to the side that was chosen.
    "lt": Primitive(lambda a, b: a < b, "{0} < {1}", lambda a, b, y, g: (None, None)),
    "le": Primitive(lambda a, b: a <= b, "{0} <= {1}", lambda a, b, y, g: (None, None)),
    "gt": Primitive(lambda a, b: a > b, "{0} > {1}", lambda a, b, y, g: (None, None)),
    "ge": Primitive(lambda a, b: a >= b, "{0} >= {1}", lambda a, b, y, g: (None, None)),
    "eq": Primitive(lambda a, b: a == b, "{0} == {1}", lambda a, b, y, g: (None, None)),
    "ne": Primitive(lambda a, b: a != b, "{0} != {1}", lambda a, b, y, g: (None, None)),
    "where": Primitive(lambda c, a, b: a if c else b, "where({0}, {1}, {2})",
                       lambda c, a, b, y, g: (None, where(c, g, 0.0), where(c, 0.0, g))),
}
# fmt: on


CONDITIONS = {"lt", "le", "gt", "ge", "eq", "ne"}


def emit(op: str, *args):
    """The result of primitive `op`: a number if all `args` are numbers, else a Var on their tape.

    The identities that differentiation produces in plenty are folded: 0 + x, 1 * x, 0 * x, -(-x); and the mean of what
    is alike for all units.  Those that do not
    hold for all numbers (0 * inf is NaN, 0 - 0 is not -0) are left as they are in the formula itself.
    """
    tape = next((a.tape for a in args if isinstance(a, Var)), None)
    if tape is None:
        return PRIMITIVES[op].compute(*args)
    values = [operand(tape, a) for a in args]
    for k, v in enumerate(values):
        if op == "where" and k == 0:
            if v.op == "constant":
                return values[1] if v.value else values[2]
            if v.op not in CONDITIONS:
                raise NotRecordable("its where() has a number for a condition; compare it with another: x > 0, say")
        elif v.op in CONDITIONS:  # True and False count as 1 and 0
            values[k] = emit("where", v, ONE, 0.0)
    if all(v.op == "constant" for v in values):
        try:
            return tape.constant(PRIMITIVES[op].compute(*(v.value for v in values)))
        except (
            ArithmeticError,
            ValueError,
            TypeError,
        ):  # log(0), 1 / 0, a complex root: for the kernel, as IEEE has it
            pass
    is_zero, is_one = ([v.op == "constant" and v.value == k for v in values] for k in (0.0, 1.0))
    # fmt: off
    match op:
        case "add" if is_zero[0] and tape.complete: return values[1]  # noqa: E701
        case "add" if is_zero[1] and tape.complete: return values[0]  # noqa: E701
        case "sub" if is_zero[0] and tape.complete: return emit("neg", values[1])  # noqa: E701
        case "mul" if any(is_zero) and tape.complete: return tape.constant(0.0)  # noqa: E701
        case "sub" if is_zero[1]: return values[0]  # noqa: E701
        case "mul" if is_one[0]: return values[1]  # noqa: E701
        case "mul" | "div" | "pow" if is_one[1]: return values[0]  # noqa: E701
        case "mean" if values[0].alike: return values[0]  # noqa: E701
        case "neg" if values[0].op == "neg": return values[0].args[0]  # noqa: E701
        case "pow" if values[1].value == 2.0: return emit("mul", values[0], values[0])  # noqa: E701
        case "pow" if values[1].value == 3.0: return emit("mul", values[0] * values[0], values[0])  # noqa: E701
    # fmt: on
    key = (op, *map(id, values))
    if key not in tape.known:
        tape.known[key] = Var(tape, op, tuple(values), name=f"v{len(tape.instructions)}")
        tape.instructions.append(tape.known[key])
    return tape.known[key]


def ruled(value, arguments: Sequence, derivative: Callable):
    """`value`, computed from `arguments`, with derivative(*arguments, value, g), a gradient for each argument, in place
    of what would be derived from how it was computed.
    """
    if not isinstance(value, Var) or not value.args:  # a number, or an argument as it is
        return value
    tape = value.tape
    again = Var(tape, value.op, value.args, name=f"v{len(tape.instructions)}")
    again.rule = tuple([operand(tape, a) for a in arguments]), derivative
    tape.instructions.append(again)
    return again


def operand(tape: Tape, a) -> Var:
    """An argument of an instruction, or a result of the formula, as a Var of `tape`."""
    if isinstance(a, Var) and a.tape is tape:
        return a
    if isinstance(a, numbers.Real):
        return tape.constant(float(a))
    kind = "value of another formula" if isinstance(a, Var) else type(a).__name__
    raise NotRecordable(
        f"it uses a {kind}, but only its own parameters, what is computed from them, and numbers can be recorded"
    )


# fmt: off
def exp(x): return emit("exp", x)
def expm1(x): return emit("expm1", x)
def log(x): return emit("log", x)
def log1p(x): return emit("log1p", x)
def sqrt(x): return emit("sqrt", x)
def sin(x): return emit("sin", x)
def cos(x): return emit("cos", x)
def sinh(x): return emit("sinh", x)
def cosh(x): return emit("cosh", x)
def tanh(x): return emit("tanh", x)
def sigmoid(x): return emit("sigmoid", x)
def erf(x): return emit("erf", x)
def erfc(x): return emit("erfc", x)
def log2(x): return emit("log2", x)
def log10(x): return emit("log10", x)
def asin(x): return emit("asin", x)
def acos(x): return emit("acos", x)
def atan(x): return emit("atan", x)
def asinh(x): return emit("asinh", x)
def acosh(x): return emit("acosh", x)
def atanh(x): return emit("atanh", x)
def atan2(y, x): return emit("atan2", y, x)
def hypot(x, y): return emit("hypot", x, y)
def fmod(x, y): return emit("fmod", x, y)
def floor(x): return emit("floor", x)
def where(condition, a, b): return emit("where", condition, a, b)


# The comparisons below are turned so that a NaN comes out as a NaN, and so that a tie has torch's gradient:
# nothing for absolute at zero, one half for each side of maximum and minimum.
def absolute(x): return where(x < 0.0, -x, where(x > 0.0, x, x - x))
def maximum(a, b): return where(a > b, a, where(b > a, b, 0.5 * a + 0.5 * b))
def minimum(a, b): return where(a < b, a, where(b < a, b, 0.5 * a + 0.5 * b))
# fmt: on


def relu(x):
    """Zero keeps its sign, as torch's does, and has no gradient."""
    return ruled(where(x < 0.0, 0.0, x), (x,), lambda x, y, g: (where(y <= 0.0, 0.0, g),))


def mean(x, dim=None, keepdim=False, *, axis=None, keepdims=False, dtype=None, out=None):
    """The mean over all hidden units, the last axis of what a step is about; every unit sees the same number."""
    dim, keepdim = (dim if axis is None else axis), keepdim or keepdims
    if type(dim) is not int or dim != -1 or keepdim is not True or dtype is not None or out is not None:
        more = ", ".join(f"{name}=..." for name, value in (("dtype", dtype), ("out", out)) if value is not None)
        raise NotRecordable(
            f"it takes mean(dim={dim!r}, keepdim={keepdim!r}{more and f', {more}'}) of a value; there is "
            f"mean(-1, keepdim=True), the mean over the hidden units"
        )
    return emit("mean", x)


# ---------------------------------------------------------------------------------------------------
# Recording, differentiation, printing
# ---------------------------------------------------------------------------------------------------
class Recording(NamedTuple):
    """A formula after it was recorded: its parameters by kind, and its results."""

    name: str
    inputs: dict[str, Var]  # positional parameters
    keywords: dict[str, Var]  # keyword-only parameters
    outputs: tuple[Var, ...]


def record(function: Callable, **static: bool) -> Recording:
    """Run `function` once on Vars.

    Positional parameters and keyword-only ones become inputs; those given in `static` are switches:
    the function sees the plain value and may branch on it.

    Raises TypeError for a function that takes *args, **kwargs or defaults, returns something else than
    its values, or does something that cannot be recorded; the message names the line.
    """
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        raise TypeError(f"only a Python function can be derived, not {function!r}")
    tape = Tape()
    inputs, keywords = {}, {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name in static:
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise refusal(code, f"it takes {parameter}; name each parameter")
        if parameter.default is not parameter.empty:
            raise refusal(
                code,
                f"its parameter {name} has a default, which would never be used; let the function read a number that "
                f"is defined outside, or make it a parameter without a default",
            )
        (keywords if parameter.kind is parameter.KEYWORD_ONLY else inputs)[name] = tape.input(name)
    try:
        result = function(*inputs.values(), **keywords, **static)
        if tape.branched:
            raise tape.branched
    except Exception as error:
        why = str(error) if isinstance(error, NotRecordable) else f"it fails with {type(error).__name__}: {error}"
        if re.search(r"\bVar\b", why):
            why += "; a Var stands for one number, that of one hidden unit at one step, and for no tensor"
        raise refusal(code, why, error) from error
    outputs = []
    for value in result if isinstance(result, tuple) else (result,):
        if not isinstance(value, numbers.Real) and (not isinstance(value, Var) or value.tape is not tape):
            raise refusal(
                code,
                f"it returns a {type(value).__name__}; it must return a value computed from its parameters, or a tuple "
                "of such values",
            )
        v = operand(tape, value)
        outputs.append(emit("where", v, ONE, 0.0) if v.op in CONDITIONS else v)
    if not outputs:
        raise refusal(code, "it returns no value")
    tape.complete = True
    return Recording(function.__name__, inputs, keywords, tuple(outputs))


def replay(recording: Recording, tape: Tape, inputs: dict[str, Var]) -> tuple[Var, ...]:
    """The outputs of a recording, recorded again on another tape, of inputs of the same names there."""
    known = {v: inputs[name] for name, v in (*recording.inputs.items(), *recording.keywords.items())}
    rules = [v.rule for v in recording.outputs[0].tape.instructions if v.rule]

    def at(v: Var) -> Var:
        return tape.constant(v.value) if v.op == "constant" else known[v]

    for v in needed((*recording.outputs, *(a for arguments, _ in rules for a in arguments)))[0]:
        known[v] = emit(v.op, *map(at, v.args))
        if v.rule:
            arguments, derivative = v.rule
            known[v] = ruled(known[v], [*map(at, arguments)], derivative)
    return tuple(map(at, recording.outputs))


def refusal(code, why: str, error: Exception | None = None) -> TypeError:
    """The error for a function that cannot be derived, naming the line in which `error` was raised: one of the function
    itself, or one of what it calls or is wrapped in, and then the function's own line too.
    """
    here = __name__.partition(".")[0]
    places, own = [(code.co_filename, code.co_firstlineno)], []
    for frame, line in traceback.walk_tb(error.__traceback__ if error else None):
        if frame.f_globals.get("__name__", "").partition(".")[0] != here:
            places = [(frame.f_code.co_filename, line)]
            own = places if frame.f_code is code else own
    where = ", called from ".join(spot(*place) for place in dict.fromkeys(places + own))
    return TypeError(f"{code.co_name} cannot be derived: {why} ({where})")


def spot(file: str, line: int) -> str:
    """A line of a file, and what stands there."""
    text = linecache.getline(file, line).strip()
    return f"{file}:{line}, in `{text}`" if text else f"{file}:{line}"


def differentiate(recording: Recording, with_respect_to: Sequence[Var]) -> tuple[list[Var], list[Var]]:
    """Reverse mode on the scalar tape.

    Returns (seeds, gradients): a new input `d_<name or number>` for the gradient of each output, and the
    gradient of each variable in `with_respect_to` as an expression of inputs and seeds.
    """
    tape = (recording.outputs + tuple(with_respect_to))[0].tape
    forward = list(tape.instructions)
    seeds = [Var(tape, "input", name=f"d_out{k}") for k in range(len(recording.outputs))]
    gradient: dict[Var, Var] = {}

    def collect(v: Var, g):
        if v.op != "constant" and g is not None:
            gradient[v] = gradient[v] + g if v in gradient else operand(tape, g)

    for output, seed in zip(recording.outputs, seeds, strict=True):
        collect(output, seed)
    for v in reversed(forward):
        if v in gradient:
            if not v.rule and v.op == "pow" and v.args[1].op == "constant":  # a constant exponent needs no log(a)
                a, b = v.args
                collect(a, gradient[v] * (b * a ** (b.value - ONE) if b.value else 0.0))
                continue
            arguments, derivative = v.rule or (v.args, PRIMITIVES[v.op].derivative)
            for a, part in zip(arguments, derivative(*arguments, v, gradient[v]), strict=True):
                collect(a, part)
    return seeds, [gradient.get(v, tape.constant(0.0)) for v in with_respect_to]


def needed(results: Sequence[Var], given: Sequence[Var] = ()) -> tuple[list[Var], set[Var]]:
    """The instructions that `results` need, in tape order, and the inputs they read; `given` values are known."""
    known = set(given)
    instructions: set[Var] = set()
    read: set[Var] = set()
    stack = list(results)
    while stack:
        v = stack.pop()
        if v.op == "input" or v in known:
            read.add(v)
        elif v.op != "constant" and v not in instructions:
            instructions.add(v)
            stack.extend(v.args)
    return sorted(instructions, key=lambda v: int(v.name[1:])), read


def stages(results: Sequence[Var]) -> list[list[Var]]:
    """The means that `results` need, in the order in which they can be had: each stage needs those before it."""
    found: list[list[Var]] = []
    before: dict[Var, int] = {}  # how many stages must be done
    for v in needed(results)[0]:
        stage = max((before.get(a, 0) for a in v.args), default=0)
        if v.op == "mean":
            found += [[]] if stage == len(found) else []
            found[stage].append(v)
        before[v] = stage + (v.op == "mean")
    return found


def spell(v: Var) -> str:
    """How a value is written in printed source; `real` is the element type there."""
    if v.op != "constant":
        return v.name
    if math.isfinite(v.value):
        return f"real({v.value!r})"
    return repr(v.value)  # inf, -inf or nan, which printed source defines


def lines(results: Sequence[Var], given: Sequence[Var] = ()) -> list[str]:
    """Python statements that compute `results` from the inputs, one instruction a line."""
    order, _ = needed(results, given)
    return [f"{v.name} = {PRIMITIVES[v.op].text.format(*map(spell, v.args))}" for v in order]
