"""The table behind test_ops.py: how a row is written, what it is asked, and how the answers are compared.

    Row("add", "2,3 2,3; 2,1 3; 2:i -", "_(x, y)", "_(x, y, alpha=2)", "x + y")

A row names an op, lists the inputs of each case ("2,3 3" is a matrix and a vector, "-" a 0-d tensor, a letter after
the colon says what is in it: see `numbers`) and the calls; every call is made in every case.  A call is an expression
of the inputs x, y and z, of `t`, which is torch or tinyrnn, and of `_`, the op: t.add here, or F.add of nn.functional,
or x.add(y) for _(x, y), where there is no such function.

What torch says is asked once, in float64: results, gradients, whether a result is a view, or the class of an exception.
The numbers are small multiples of 1/64, exact in float32 too, so the same answer serves for both types.
"""

import inspect
import json
import math
import operator
import re
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

import tinyrnn

TOLERANCE = {"float64": (1e-12, 1e-10), "float32": (1e-5, 1e-4)}  # of results and of gradients, relative to the largest


class Row:
    """One op; `rough` if its result is not continuous; `without` the forms that it does not have, of "strided" (it asks
    for contiguous memory), "method" (which has another self than the first argument), "in-place" and "out".
    """

    def __init__(self, name: str, cases: str, *calls: str, rough: bool = False, without: str = ""):
        self.name, self.rough, self.without = name, rough, without
        self.calls = [compiled(name, text) for text in calls]
        self.cases = [case.split() for case in cases.split(";")]
        if name.isidentifier() and name[0] != "_":
            assert all(re.search(rf"\b_\b|\.{name}\b", text) for text in calls), f"a call is not of {name}"

    def arrays(self, case: int) -> list[np.ndarray]:
        """The inputs of a case, the same in every run."""
        rng = np.random.default_rng(zlib.crc32(f"{self.name} {case}".encode()))
        return [numbers(rng, *spec.partition(":")[::2], k / 64) for k, spec in enumerate(self.cases[case])]


def compiled(name: str, text: str) -> Callable:
    """The function (t, x, y, z) that a text stands for."""
    code = compile(text, f"<{text}>", "eval")

    def call(t, *inputs):
        here = {"t": t, "F": t.nn.functional, "_": getattr(t, name, None)}
        return eval(code, {**SCOPE, **here, **dict(zip("xyz", inputs, strict=False))})

    call.__name__ = text
    return call


def put(x: Any, index: Any, value: Any) -> Any:
    """x, with x[index] = value."""
    x[index] = value
    return x


def seeded(t: Any) -> Any:
    """The library with its random stream at a known place."""
    t.manual_seed(42)
    return t


def drawn(t: Any, x: Any) -> Any:
    """A tensor to be overwritten with random numbers: of floating-point ones double, whatever x is."""
    seeded(t)
    return (x.double() if x.is_floating_point() else x).detach().clone()


def leaf(t: Any) -> Any:
    """A tensor that requires a gradient."""
    return t.tensor([1.0, 2.0], requires_grad=True)


SCOPE = {
    "np": np, "s": np.s_, "operator": operator, "inf": math.inf, "nan": math.nan,
    "put": put, "seeded": seeded, "drawn": drawn, "leaf": leaf,
}  # fmt: skip


def numbers(rng: np.random.Generator, shape: str, kind: str, shift: float) -> np.ndarray:
    """An array of a shape such as "2,3", filled by its kind (none: different numbers, no integers, of both signs)."""
    size = [int(n) for n in shape.split(",")] if shape != "-" else []
    n = int(np.prod(size))
    m = 2 ** max(n - 1, 15).bit_length()  # at least 16 different numbers
    flat = {
        "": lambda: (rng.permutation(2 * m)[:n] - m) * 2.0 / m + 1 / 16 + shift,
        "p": lambda: (rng.permutation(2 * m)[:n] + 1) * 2.0 / m + 1 / 16 + shift,  # positive
        "u": lambda: (rng.permutation(m)[:n] + 0.5) / m,  # between 0 and 1
        "t": lambda: rng.integers(-1, 2, n) * 1.0,  # ties and zeros
        "s": lambda: np.resize([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 2.5], n),  # special
        "i": lambda: rng.integers(-3, 4, n),
        "k": lambda: rng.integers(0, 4, n),  # counting numbers
        "n": lambda: rng.choice([-3, -2, -1, 1, 2, 3], n),  # not zero
        "h": lambda: rng.integers(-3, 4, n).astype(np.int32),
        "y": lambda: rng.integers(0, 4, n).astype(np.uint8),
        "b": lambda: rng.integers(0, 2, n).astype(bool),
    }[kind]()
    return flat.reshape(size)


def strided(array: np.ndarray) -> np.ndarray:
    """The same numbers, transposed in memory and with gaps."""
    wide = np.zeros([2 * n for n in reversed(array.shape)], array.dtype)
    view = wide.transpose()[(*(slice(None, None, 2) for _ in array.shape), ...)]
    view[...] = array
    return view


# ------------------------------------------------------------------------------------------ the forms of a call
class Functions:
    """`t` of a call: functions of a library, of its nn.functional, or methods where it has no such function."""

    def __init__(self, library: Any):
        self.library = library

    def __getattr__(self, name: str) -> Any:
        for place in (self.library, self.library.nn.functional):
            if hasattr(place, name):
                return getattr(place, name)
        return self.method(name)

    def method(self, name: str, otherwise: Any = None, copy: bool = False) -> Callable:
        """A function that calls a method of its first argument, which may be given as input=; `otherwise` is called
        if that is no tensor."""

        def call(*args, **kwargs):
            first, *rest = (kwargs.pop("input"), *args) if "input" in kwargs else args
            if otherwise and not isinstance(first, self.library.Tensor):
                return otherwise(first, *rest, **kwargs)
            return getattr(first.clone() if copy else first, name)(*rest, **kwargs)

        return call


class Methods(Functions):
    """x.name(...) for t.name(x, ...)."""

    def __getattr__(self, name: str) -> Any:
        function = getattr(self.library, name, None)
        both = callable(function) and hasattr(self.library.Tensor, name)
        return self.method(name, function) if both else super().__getattr__(name)


class InPlace(Functions):
    """x.name_(...) for t.name(x, ...), on a copy of x."""

    def __getattr__(self, name: str) -> Any:
        there = hasattr(self.library.Tensor, f"{name}_")
        return self.method(f"{name}_", getattr(self.library, name, None), True) if there else super().__getattr__(name)


class Out(Functions):
    """t.name(x, ..., out=) for t.name(x, ...), into empty tensors of the right type."""

    def __getattr__(self, name: str) -> Any:
        function = getattr(self.library, name)
        if not takes_out(name):
            return function

        def call(*args, **kwargs):
            plain = function(*args, **kwargs)
            several = isinstance(plain, tuple)
            out = [self.library.empty(0, dtype=y.dtype) for y in (plain if several else [plain])]
            result = function(*args, **kwargs, out=tuple(out) if several else out[0])
            assert all(y is z for y, z in zip(result if several else [result], out, strict=True)), "out= is returned"
            return result

        return call


def takes_out(name: str) -> bool:
    function = getattr(tinyrnn, name, None)
    return callable(function) and "out" in inspect.signature(function).parameters


# ------------------------------------------------------------------------------------------ questions and answers
def leaves(x: Any) -> list:
    """The results in nested tuples, in order."""
    nested = isinstance(x, (tuple, list)) and type(x).__name__ != "Size"
    return [y for part in x for y in leaves(part)] if nested else [x]


def seed(library: Any, y: Any) -> Any:
    """The gradient that is sent into a result: different for each element."""
    n = y.numel()
    return library.from_numpy(((np.arange(n) % 5 - 1.5) / 2).reshape(tuple(y.shape))).to(y.dtype)


def ask(library: Any, call: Callable, arrays: list, dtype: str, form: type = Functions, grad: bool = True) -> Any:
    """What a call does: [dtype, shape, traits, numbers] of each result and gradient, or the name of its exception.

    The traits are "g" for a result that requires a gradient, "v" for a view of the first input.
    """
    inputs = []
    for a in arrays:
        x = library.from_numpy(a)
        x = x.to(library.float32) if dtype == "float32" and a.dtype.kind == "f" else x
        inputs.append(x.requires_grad_(grad and a.dtype.kind == "f"))
    try:
        results = leaves(call(form(library), *inputs))
        sent = [y for y in results if getattr(y, "requires_grad", False)]
        if sent:
            library.autograd.backward(sent, [seed(library, y) for y in sent])
    except (NameError, AttributeError):  # a slip in the row
        raise
    except Exception as error:
        return type(error).__name__
    first = inputs[0].detach().numpy() if inputs else None
    answer = [described(y, first) for y in results]
    return answer + ["gradients", *(described(x.grad, None) for x in inputs if x.requires_grad)]


def described(y: Any, first: np.ndarray | None) -> Any:
    if isinstance(y, (np.ndarray, np.generic)):
        return f"NumPy {y.dtype} {y.tolist()}"
    if not hasattr(y, "numel") or not hasattr(y, "dtype"):
        return y if isinstance(y, (bool, int, float, type(None))) else str(y)
    array = y.detach().numpy(force=True)  # torch's gradient of sgn is no array yet
    view = first is not None and array.size and np.shares_memory(array, first)
    return [str(array.dtype), list(array.shape), "g" * y.requires_grad + "v" * bool(view), array.ravel().tolist()]


def answers(library: Any, row: Row) -> str:
    """What a library says to a row, as text: calls in float64, their in-place forms, and the types in float32."""
    lines = []
    for case in range(len(row.cases)):
        for call in row.calls:
            double, single = (ask(library, call, row.arrays(case), dtype) for dtype in ("float64", "float32"))
            there = None
            if hasattr(library.Tensor, f"{row.name}_"):
                there = ask(library, call, row.arrays(case), "float64", InPlace)
            types = single if isinstance(single, str) else [y[0] if isinstance(y, list) else y for y in single]
            lines.append([double, types, "same" if there == double else there])
    return json.dumps(lines, separators=(",", ":"))


def torchs_answer(row: Row, oracle: Callable) -> str:
    """What torch says to a row; recorded as bytes, which take a quarter of the room that NumPy gives to text."""
    found = oracle(lambda torch: {"": np.frombuffer(answers(torch, row).encode(), np.uint8)})
    return found[""].tobytes().decode()


# ------------------------------------------------------------------------------------------ the comparison
def check(row: Row, answer: str) -> None:
    """Hold tinyrnn to torch's answer: both types, strided memory, and every form that the op has."""
    expected = iter(json.loads(answer))
    for case in range(len(row.cases)):
        for call in row.calls:
            double, types, there = next(expected)
            single = types if isinstance(types, str) else retyped(double, types)

            def same(form, dtype, wanted, traits="gv", laid=np.copy, case=case, call=call, **how):
                where = f"{row.name}: {call.__name__} for {' '.join(row.cases[case])!r}, {dtype}, {form.__name__}"
                arrays = [laid(a) for a in row.arrays(case)]
                compare(ask(tinyrnn, call, arrays, dtype, form, **how), wanted, traits, where)

            same(Functions, "float64", double)
            same(Functions, "float32", single, "g")
            if "strided" not in row.without:
                same(Functions, "float64", double, "g", strided)
            if "method" not in row.without and hasattr(tinyrnn, row.name) and hasattr(tinyrnn.Tensor, row.name):
                same(Methods, "float64", double)
            if "in-place" not in row.without and hasattr(tinyrnn.Tensor, f"{row.name}_"):
                same(InPlace, "float64", double if there == "same" else there, "g")
            if "out" not in row.without and takes_out(row.name) and not isinstance(double, str):
                same(Out, "float64", double[: double.index("gradients") + 1], "", grad=False)


def retyped(answer: Any, types: list) -> Any:
    return [[kind, *y[1:]] if isinstance(y, list) else y for y, kind in zip(answer, types, strict=True)]


def compare(got: Any, wanted: Any, traits: str, where: str, scale: float = 0.0) -> None:
    """Two answers: exceptions, Python values and types must be equal, numbers close.

    `scale` is how large the numbers were from which the results came, where that is larger than the results.
    """
    if isinstance(wanted, str) or isinstance(got, str):
        assert got == wanted, f"{where}: {got} instead of {wanted}"
        return
    assert len(got) == len(wanted), f"{where}: {len(got)} results instead of {len(wanted)}"
    gradients = False
    for k, (mine, other) in enumerate(zip(got, wanted, strict=True)):
        what = f"{where}, {'gradient' if gradients else 'result'} {k}"
        gradients |= other == "gradients"
        if not (isinstance(mine, list) and isinstance(other, list)):
            assert mine == other or mine != mine and other != other, f"{what}: {mine} instead of {other}"
            continue
        assert mine[:2] == other[:2], f"{what}: {mine[:2]} instead of {other[:2]}"
        assert set(mine[2]) & set(traits) == set(other[2]) & set(traits), f"{what}: {mine[2]!r} instead of {other[2]!r}"
        tolerance = TOLERANCE[other[0]][gradients] if "float" in other[0] else 0
        close(np.array(mine[3]), np.array(other[3]), tolerance, scale, what)


def close(mine: np.ndarray, other: np.ndarray, tolerance: float, scale: float, what: str) -> None:
    """Equal but for `tolerance` times the largest number; NaN and infinities in the same places."""
    finite = np.isfinite(other) & np.isfinite(mine)
    distance = np.abs(np.where(finite, mine, 0) * 1.0 - np.where(finite, other, 0))
    near = finite & (distance <= tolerance * np.abs(other[finite]).max(initial=scale))
    right = near | (mine == other) | (mine != mine) & (other != other)
    assert right.all(), f"{what}:\n{mine}\ninstead of\n{other}"


def gradients_check(row: Row) -> int:
    """gradcheck for all calls of a row that give finite numbers, at different inputs; how many there were."""
    checked = 0
    for case, specs in enumerate(row.cases):
        if any(spec[-2:] in (":s", ":t") for spec in specs) or not all(a.size for a in row.arrays(case)):
            continue
        for call in row.calls:
            answer = ask(tinyrnn, call, row.arrays(case), "float64")
            found = [y for y in answer if isinstance(y, list)] if isinstance(answer, list) else []
            if any("g" in y[2] for y in found) and all(y[0] != "float32" and np.isfinite(y[3]).all() for y in found):
                inputs = [tinyrnn.from_numpy(a).requires_grad_(a.dtype.kind == "f") for a in row.arrays(case)]
                tinyrnn.autograd.gradcheck(lambda *x, call=call: leaves(call(Functions(tinyrnn), *x)), inputs)
                checked += 1
    return checked
