"""The table behind test_ops.py: how a row is written, what it is asked, and how the answers are compared.

    Row("add", "2,3 2,3; 2,1 3; 2:i -", lambda t, x, y: t.add(x, y), lambda t, x, y: t.add(x, y, alpha=2))

A row names an op, lists the inputs of each case ("2,3 3" is a matrix and a vector, "-" a 0-d tensor, a letter after the
colon says what is in it: see `numbers`) and the calls; every call is made in every case.  `t` is torch or tinyrnn; where
there is no function of a name, t.name(x, ...) is the method x.name(...).

What torch says is asked once, in float64: results, gradients, whether a result is a view, or the class of the exception.
The numbers are multiples of 1/16, exact in float32 too, so the same answer serves for both types.
"""

import inspect
import json
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

import tinyrnn

TOLERANCE = {"float64": (1e-12, 1e-10), "float32": (1e-5, 1e-4)}  # of results and of gradients, relative to the largest


class Row:
    """One op: `strided=False` if it is refused on strided memory; `rough=True` if its result is not continuous."""

    def __init__(self, name: str, cases: str, *calls: Callable, strided: bool = True, rough: bool = False):
        self.name, self.calls, self.strided, self.rough = name, calls, strided, rough
        self.cases = [case.split() for case in cases.split(";")]

    def arrays(self, case: int) -> list[np.ndarray]:
        """The inputs of a case, the same in every run."""
        rng = np.random.default_rng(zlib.crc32(f"{self.name} {case}".encode()))
        return [numbers(rng, *spec.partition(":")[::2]) for spec in self.cases[case]]


def numbers(rng: np.random.Generator, shape: str, kind: str) -> np.ndarray:
    """An array of a shape such as "2,3", filled by its kind (none: different numbers, no integers, of both signs)."""
    size = [int(n) for n in shape.split(",")] if shape != "-" else []
    n = int(np.prod(size))
    m = 2 ** max(n - 1, 15).bit_length()  # at least 16 different numbers
    flat = {
        "": lambda: (rng.permutation(2 * m)[:n] - m) * 2.0 / m + 1 / 16,
        "p": lambda: (rng.permutation(2 * m)[:n] + 1) * 2.0 / m + 1 / 16,  # positive
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
    """`t` of a call: functions of a library, methods where it has no such function."""

    def __init__(self, library: Any, asked: set[str] | None = None):
        self.library, self.asked = library, set() if asked is None else asked

    def __getattr__(self, name: str) -> Any:
        self.asked.add(name)
        return getattr(self.library, name) if hasattr(self.library, name) else self.method(name)

    @property
    def F(self) -> Any:
        return Functions(self.library.nn.functional, self.asked)

    def method(self, name: str) -> Callable:
        """A function that calls the method `name` of its first argument, also where that is given as input=."""

        def call(*args, **kwargs):
            first, *rest = (kwargs.pop("input"), *args) if "input" in kwargs else args
            return getattr(first, name)(*rest, **kwargs)

        return call


class Methods(Functions):
    """x.name(...) for t.name(x, ...)."""

    def __getattr__(self, name: str) -> Any:
        return self.method(name) if hasattr(self.library.Tensor, name) else getattr(self.library, name)


class InPlace(Functions):
    """x.name_(...) for t.name(x, ...), on a copy of x."""

    def __getattr__(self, name: str) -> Any:
        if not hasattr(self.library.Tensor, f"{name}_"):
            return getattr(self.library, name)


        def call(*args, **kwargs):
            first, *rest = (kwargs.pop("input"), *args) if "input" in kwargs else args
            return getattr(first.clone(), f"{name}_")(*rest, **kwargs)

        return call


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
    return function is not None and "out" in inspect.signature(function).parameters


# ------------------------------------------------------------------------------------------ questions and answers
def leaves(x: Any) -> list:
    """The results in nested tuples, in order."""
    return [y for part in x for y in leaves(part)] if type(x) in (tuple, list) or hasattr(x, "_fields") else [x]


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
    except Exception as error:
        return type(error).__name__
    first = inputs[0].detach().numpy() if inputs else None
    answer = [described(y, first) for y in results]
    return answer + ["gradients", *(described(x.grad, None) for x in inputs if x.requires_grad)]


def described(y: Any, first: np.ndarray | None) -> Any:
    if not hasattr(y, "numel") or not hasattr(y, "dtype"):
        return y if isinstance(y, (bool, int, float, type(None))) else str(y)
    array = y.detach().numpy()
    view = first is not None and array.size and np.shares_memory(array, first)
    return [str(array.dtype), list(array.shape), "g" * y.requires_grad + "v" * bool(view), array.ravel().tolist()]


def answers(library: Any, row: Row) -> str:
    """What a library says to a row, as text: calls in float64, their in-place forms, and the types in float32."""
    lines = []
    for case in range(len(row.cases)):
        for call in row.calls:
            a = row.arrays(case)
            double, single = ask(library, call, a, "float64"), ask(library, call, a, "float32")
            there = ask(library, call, a, "float64", InPlace) if hasattr(library.Tensor, f"{row.name}_") else None
            types = single if isinstance(single, str) else [y[0] if isinstance(y, list) else y for y in single]
            lines.append([double, types, "same" if there == double else there])
    return json.dumps(lines, separators=(",", ":"))


# ------------------------------------------------------------------------------------------ the comparison
def check(row: Row, answer: str) -> None:
    """Hold tinyrnn to torch's answer: both types, strided memory, and every form that the op has."""
    expected = iter(json.loads(answer))
    asked: set[str] = set()

    def Spy(library):
        return Functions(library, asked)

    for case in range(len(row.cases)):
        for number, call in enumerate(row.calls):
            a = row.arrays(case)
            double, types, there = next(expected)
            single = types if isinstance(types, str) else retyped(double, types)

            def same(form, dtype, wanted, traits="gv", arrays=a, number=number, case=case, call=call, **how):
                where = f"{row.name}, call {number}, case {' '.join(row.cases[case])!r}, {dtype}, {form.__name__}"
                compare(ask(tinyrnn, call, arrays, dtype, form, **how), wanted, dtype, traits, where)

            same(Spy, "float64", double)
            same(Functions, "float32", single)
            if row.strided:
                same(Functions, "float64", double, "g", [strided(x) for x in a])
            if hasattr(tinyrnn, row.name) and hasattr(tinyrnn.Tensor, row.name):
                same(Methods, "float64", double)
            if hasattr(tinyrnn.Tensor, f"{row.name}_"):
                same(InPlace, "float64", double if there == "same" else there, "g")
            if takes_out(row.name) and not isinstance(double, str):
                same(Out, "float64", double[: double.index("gradients") + 1], "", grad=False)
    assert row.name in asked, f"the row {row.name} never calls {row.name}"


def retyped(answer: Any, types: list) -> Any:
    return [[kind, *y[1:]] if isinstance(y, list) else y for y, kind in zip(answer, types, strict=True)]


def compare(got: Any, wanted: Any, dtype: str, traits: str, where: str) -> None:
    """Two answers: exceptions, Python values and types must be equal, numbers close."""
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
        close(np.array(mine[3]), np.array(other[3]), TOLERANCE[other[0]][gradients] if "float" in other[0] else 0, what)


def close(mine: np.ndarray, other: np.ndarray, tolerance: float, what: str) -> None:
    """Equal but for `tolerance` times the largest number; NaN and infinities in the same places."""
    finite = np.isfinite(other)
    near = tolerance * np.abs(other[finite]).max(initial=0)
    right = (mine == other) | (mine != mine) & (other != other)
    right |= np.where(finite & np.isfinite(mine), np.abs(np.where(finite, mine, 0) * 1.0 - np.where(finite, other, 0)) <= near, False)
    assert right.all(), f"{what}:\n{mine}\ninstead of\n{other}"
