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
import keyword
import math
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Var:
    """A value on a scalar tape: an input, a constant or the result of one instruction."""

    __slots__ = ("tape", "op", "args", "name", "value")

    def __init__(self, tape: Tape, op: str, args: tuple[Var, ...] = (), name: str = "", value: float = 0.0):
        self.tape, self.op, self.args, self.name, self.value = tape, op, args, name, value

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
    def __lt__(self, other): return emit("lt", self, other)
    def __le__(self, other): return emit("le", self, other)
    def __gt__(self, other): return emit("gt", self, other)
    def __ge__(self, other): return emit("ge", self, other)
    # fmt: on

    def __bool__(self):
        raise self.refused("a branch or loop on a value: it is not known yet; use where(condition, a, b)")

    def __float__(self):
        raise self.refused("a conversion to a Python number: the value is not known yet")

    __int__ = __index__ = __float__

    def __array__(self, *args, **kwargs):
        raise self.refused("a NumPy function")

    def refused(self, what: str) -> TypeError:
        """The error for something that cannot be recorded, naming the line of the formula that asked for it."""
        frame = inspect.currentframe()
        while frame is not None and frame.f_code is not self.tape.code:
            frame = frame.f_back
        where = f" ({self.tape.code.co_filename}:{frame.f_lineno})" if frame is not None else ""
        return TypeError(f"{self.tape.code.co_name}{where} cannot be derived: it uses {what}")


# Names that the printed kernels use for something else.
RESERVED = (
    r"v\d+|d_out\d*|out\d+|in_\w+|[TBHbjkt]|one|real|step|before|after|alive|gates|hidden|weight|bias|vectors|states|"
    r"product|sizes|reverse|d_states|d_gates|d_hidden|d_vectors|kernel|forward|backward|accumulate|njit|range|float|"
    r"cosh?|erf|exp|expm1|log|log1p|sinh?|sqrt|tanh"
)


class Tape:
    """The instructions of one formula, in the order in which they were recorded."""

    def __init__(self, code):
        self.code = code  # of the formula, for error messages
        self.instructions: list[Var] = []
        self.known: dict[tuple, Var] = {}  # instruction -> its result: the same is never computed twice

    def input(self, name: str) -> Var:
        """A new input, under a name that means nothing else in printed source."""
        if keyword.iskeyword(name) or re.fullmatch(RESERVED, name):
            name += "_"
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

PRIMITIVES = {
    "add": Primitive(lambda a, b: a + b, "{0} + {1}", lambda a, b, y, g: (g, g)),
    "sub": Primitive(lambda a, b: a - b, "{0} - {1}", lambda a, b, y, g: (g, -g)),
    "mul": Primitive(lambda a, b: a * b, "{0} * {1}", lambda a, b, y, g: (g * b, g * a)),
    "div": Primitive(lambda a, b: a / b, "{0} / {1}", lambda a, b, y, g: (g / b, -(g * y) / b)),
    "pow": Primitive(lambda a, b: a**b, "{0} ** {1}", lambda a, b, y, g: (g * b * a ** (b - ONE), g * y * log(a))),
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
    "sigmoid": Primitive(lambda a: 1.0 / (1.0 + math.exp(-a)), "one / (one + exp(-{0}))",
                         lambda a, y, g: (g * (y * (ONE - y)),)),
    "erf": Primitive(math.erf, "erf({0})", lambda a, y, g: (g * (TWO_OVER_SQRT_PI * exp(-(a * a))),)),
    # Comparisons have no gradient; `where` passes its gradient to the side that was chosen.
    "lt": Primitive(lambda a, b: a < b, "{0} < {1}", lambda a, b, y, g: (None, None)),
    "le": Primitive(lambda a, b: a <= b, "{0} <= {1}", lambda a, b, y, g: (None, None)),
    "gt": Primitive(lambda a, b: a > b, "{0} > {1}", lambda a, b, y, g: (None, None)),
    "ge": Primitive(lambda a, b: a >= b, "{0} >= {1}", lambda a, b, y, g: (None, None)),
    "where": Primitive(lambda c, a, b: a if c else b, "{1} if {0} else {2}",
                       lambda c, a, b, y, g: (None, where(c, g, 0.0), where(c, 0.0, g))),
}
# fmt: on


def emit(op: str, *args):
    """The result of primitive `op`: a number if all `args` are numbers, else a Var on their tape.

    The identities that differentiation produces in plenty are folded: 0 + x, 1 * x, 0 * x, -(-x).
    """
    first = next((a for a in args if isinstance(a, Var)), None)
    if first is None:
        return PRIMITIVES[op].compute(*args)
    tape = first.tape
    for a in args:
        if not isinstance(a, (Var, int, float)):
            raise first.refused(f"a {type(a).__name__}, where only numbers and the step's own values can be used")
    values = tuple(a if isinstance(a, Var) else tape.constant(a) for a in args)
    if all(v.op == "constant" for v in values):
        return tape.constant(PRIMITIVES[op].compute(*(v.value for v in values)))
    is_zero, is_one = ([v.op == "constant" and v.value == k for v in values] for k in (0.0, 1.0))
    # fmt: off
    match op:
        case "add" if is_zero[0]: return values[1]  # noqa: E701
        case "add" | "sub" if is_zero[1]: return values[0]  # noqa: E701
        case "sub" if is_zero[0]: return emit("neg", values[1])  # noqa: E701
        case "mul" if any(is_zero): return tape.constant(0.0)  # noqa: E701
        case "mul" if is_one[0]: return values[1]  # noqa: E701
        case "mul" | "div" | "pow" if is_one[1]: return values[0]  # noqa: E701
        case "neg" if values[0].op == "neg": return values[0].args[0]  # noqa: E701
    # fmt: on
    key = (op, *map(id, values))
    if key not in tape.known:
        tape.known[key] = Var(tape, op, values, name=f"v{len(tape.instructions)}")
        tape.instructions.append(tape.known[key])
    return tape.known[key]


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
def where(condition, a, b): return emit("where", condition, a, b)


# The comparisons below are turned so that a NaN comes out as a NaN, and so that a tie has torch's gradient:
# nothing for relu and absolute at zero, one half for each side of maximum and minimum.
def relu(x): return where(x <= 0.0, 0.0, x)
def absolute(x): return where(x < 0.0, -x, where(x > 0.0, x, x * x))
def maximum(a, b): return where(a > b, a, where(b > a, b, 0.5 * a + 0.5 * b))
def minimum(a, b): return where(a < b, a, where(b < a, b, 0.5 * a + 0.5 * b))
# fmt: on


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

    Raises TypeError for a function that takes *args or **kwargs, returns something else than
    its values, or does something that cannot be recorded; the message names the line.
    """
    function = inspect.unwrap(function)
    tape = Tape(function.__code__)
    inputs, keywords = {}, {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(f"{function.__name__} cannot be derived: it takes *{name}; name each parameter")
        if name in static:
            continue
        (keywords if parameter.kind is parameter.KEYWORD_ONLY else inputs)[name] = tape.input(name)
    result = function(*inputs.values(), **keywords, **static)
    outputs = result if isinstance(result, tuple) else (result,)
    outputs = tuple(tape.constant(v) if isinstance(v, (int, float)) else v for v in outputs)
    for value in outputs:
        if not isinstance(value, Var) or value.tape is not tape:
            where = f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"
            raise TypeError(
                f"{function.__name__} ({where}) cannot be derived: it returns a {type(value).__name__}, "
                "not a value computed from its parameters"
            )
    return Recording(function.__name__, inputs, keywords, outputs)


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
        gradient[v] = gradient[v] + g if v in gradient else g

    for output, seed in zip(recording.outputs, seeds, strict=True):
        collect(output, seed)
    for v in reversed(forward):
        if v in gradient:
            wanted = [a.op != "constant" for a in v.args]
            if v.op == "pow" and not wanted[1]:  # the derivative by a constant exponent would need log(a)
                a, b = v.args
                collect(a, gradient[v] * (b * a ** (b.value - ONE)))
                continue
            parts = PRIMITIVES[v.op].derivative(*v.args, v, gradient[v])
            for arg, part, want in zip(v.args, parts, wanted, strict=True):
                if want and part is not None:
                    collect(arg, part)
    return seeds, [gradient.get(v, tape.constant(0.0)) for v in with_respect_to]


def needed(results: Sequence[Var], given: Sequence[Var] = ()) -> tuple[list[Var], set[Var]]:
    """The instructions that `results` need, in tape order, and the inputs they read; `given` values are known."""
    instructions: set[Var] = set()
    read: set[Var] = set()
    stack = list(results)
    while stack:
        v = stack.pop()
        if v.op == "input" or v in given:
            read.add(v)
        elif v.op != "constant" and v not in instructions:
            instructions.add(v)
            stack.extend(v.args)
    return sorted(instructions, key=lambda v: int(v.name[1:])), read


def spell(v: Var) -> str:
    """How a value is written in printed source; `real` is the element type there."""
    if v.op != "constant":
        return v.name
    if math.isfinite(v.value):
        return f"real({v.value!r})"
    return f"real(float('{v.value!r}'))"


def lines(results: Sequence[Var], given: Sequence[Var] = ()) -> list[str]:
    """Python statements that compute `results` from the inputs, one instruction a line."""
    order, _ = needed(results, given)
    return [f"{v.name} = {PRIMITIVES[v.op].text.format(*map(spell, v.args))}" for v in order]
