"""Generated cases for test_properties.py: tensors of all layouts, expressions, indices, programs; and their comparison.

A case is a dict of inputs (`Given`) and a list of lines of Python.  The lines run on torch and on tinyrnn, where each
must raise the same class of exception or none; then all tensors are compared, sent gradients, and these compared.
"""

import contextlib
import math
import re
import warnings
from typing import Any

import numpy as np
from hypothesis import strategies as st
from table import TOLERANCE, close, leaves, seed

import tinyrnn

FLOATS = ("float32", "float64")
DTYPES = (*FLOATS, "int64", "int32", "int16", "int8", "uint8", "bool")


# ------------------------------------------------------------------------------------------ inputs
class Given:
    """A tensor that both libraries get: the same numbers in the same places of memory."""

    def __init__(self, array: np.ndarray, layout: str = "plain", grad: bool = False):
        self.array, self.layout, self.grad = array, layout, grad and array.dtype.kind == "f"

    def make(self, library: Any) -> Any:
        return library.from_numpy(laid(self.array, self.layout)).requires_grad_(self.grad)

    def __repr__(self) -> str:
        layout = "" if self.layout == "plain" else f"  # {self.layout} in memory"
        grad = ", requires_grad=True" * self.grad
        shape = "" if self.array.size else f".reshape{self.array.shape}"
        return f"torch.tensor({self.array.tolist()}, dtype=torch.{self.array.dtype}{grad}){shape}{layout}"


def laid(array: np.ndarray, layout: str) -> np.ndarray:
    """A copy that lies in memory in another order, with gaps, or with its first rows on one place ("stretched")."""
    if layout == "transposed":
        return array.copy(order="F")
    if layout == "gaps" and array.ndim:
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    if layout == "stretched" and array.ndim and array.size:
        row = array[:1].copy()
        return np.lib.stride_tricks.as_strided(row, array.shape, (0, *row.strides[1:]))
    return array.copy()


def numbers(rng: np.random.Generator, shape: tuple, dtype: str, kind: str) -> np.ndarray:
    """Numbers of a kind: different ones of both signs, equal ones ("ties"), with infinities and NaN ("special"),
    "positive", or between 0 and 1 ("unit")."""
    n = math.prod(shape)
    if dtype == "bool":
        flat: Any = rng.integers(0, 2, n)
    elif dtype not in FLOATS:
        flat = rng.integers(0 if dtype == "uint8" or kind in ("positive", "unit") else -3, 4, n)
    elif kind == "ties":
        flat = rng.integers(-1, 2, n)
    elif kind == "special":
        flat = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 2.5], n)
    elif kind == "unit":
        flat = (rng.permutation(64)[:n] if n <= 64 else rng.integers(0, 64, n)) / 64 + 1 / 128
    else:
        flat = (rng.permutation(256)[:n] - 128) / 64 + 1 / 128 if n <= 256 else rng.integers(-128, 128, n) / 64
        flat = np.abs(flat) if kind == "positive" else flat
    return np.asarray(flat).reshape(shape).astype(dtype)


LAYOUTS = ["plain", "plain", "plain", "transposed", "gaps", "stretched"]
KINDS = ["plain", "plain", "plain", "ties", "special", "positive"]
SIZES = st.sampled_from([2, 3, 1, 4, 0])
SHAPES = st.lists(SIZES, max_size=4).map(tuple)
ANY = st.one_of(st.sampled_from(FLOATS), st.sampled_from(FLOATS), st.sampled_from(DTYPES))


# ------------------------------------------------------------------------------------------ drawing
class Draw:
    """How a case draws its parts: with at most one oddity, as nobody promises which of two mistakes is told first."""

    def __init__(self, draw: Any):
        self.draw, self.left = draw, draw(st.integers(0, 25))

    def __call__(self, strategy: Any) -> Any:
        return self.draw(strategy)

    def odd(self, strategy: Any, otherwise: Any) -> Any:
        """`otherwise`; or, at the one place that is odd, a value of `strategy`."""
        self.left -= 1
        return self.draw(strategy) if self.left == 0 else otherwise

    def one(self, options: Any) -> Any:
        """One of several; of the words of a text."""
        return self.draw(st.sampled_from(options.split() if isinstance(options, str) else options))

    def number(self, least: int, most: int) -> int:
        return self.draw(st.integers(least, most))

    def chance(self, n: int = 2) -> bool:
        """True in one of n cases."""
        return self.draw(st.integers(1, n)) == n

    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.draw(st.integers(0, 99)))

    def tensor(self, shape=None, dtype=None, kinds=KINDS, layouts=LAYOUTS, grad=None) -> Given:
        """A tensor; what is not said, is drawn."""
        shape = self(SHAPES) if shape is None else tuple(shape)
        dtype = self.one(FLOATS) if dtype is None else self(dtype) if isinstance(dtype, st.SearchStrategy) else dtype
        array = numbers(self.rng(), shape, dtype, self.one(kinds) if isinstance(kinds, list) else kinds)
        layout = self.one(layouts)
        return Given(laid(array, layout).copy(), layout, self.chance() if grad is None else grad)

    def dim(self, ndim: int) -> int:
        """A dimension of a tensor with `ndim` of them."""
        return self.odd(st.integers(-5, 5), self.number(-max(ndim, 1), max(ndim, 1) - 1))

    def dims(self, ndim: int) -> tuple:
        """Several different dimensions."""
        some = st.lists(st.integers(0, max(ndim, 1) - 1), max_size=ndim, unique=True)
        some = [d - ndim * self.chance() for d in self(some)]
        wrong = st.one_of(st.lists(st.integers(-5, 5), max_size=3, unique=True).map(tuple), st.just((0, 0)))
        return self.odd(wrong, tuple(some))


def cases(body: Any) -> Any:
    """A strategy of cases, from a function of a Draw."""
    return st.composite(lambda draw: body(Draw(draw)))()


def alike(draw: Draw, count: int) -> list[tuple]:
    """Shapes that broadcast to each other."""
    whole = draw(SHAPES)
    shapes = []
    for _ in range(count):
        cut = draw.one([0, 0, 0, 1, 2, 4])
        shapes.append(draw.odd(SHAPES, tuple(1 if draw.chance() else n for n in whole)[cut:]))
    return shapes


def factors(draw: Draw, n: int) -> list[int]:
    """Sizes with the product n, one of them perhaps as -1."""
    sizes = [0, *draw(st.lists(SIZES, max_size=2))] if n == 0 else []
    for p in (2, 2, 2, 3, 3, 2, 3, n):
        if n and n % p == 0 and p > 1:
            n //= p
            if sizes and draw.chance():
                sizes[-1] *= p
            else:
                sizes.append(p)
    sizes = draw(st.permutations([*sizes, *[1] * draw.chance()]))
    if sizes and draw.chance(3) and (0 not in sizes or draw.chance(9)):
        sizes[draw.number(0, len(sizes) - 1)] = -1
    return draw.odd(st.lists(st.integers(-2, 4), max_size=4), sizes)


# ------------------------------------------------------------------------------------------ calls
def calls(text: str) -> list[str]:
    """The calls in a text: one from each line, or several with | between them."""
    return [call.strip() for line in text.splitlines() for call in line.split(" | ") if call.strip()]


class Fields(dict):
    """The arguments of a call that looks at a tensor of some shape: drawn anew at each field."""

    def __init__(self, draw, shape):
        self.draw, self.shape, self.ndim = draw, shape, len(shape)

    def __missing__(self, name):
        draw, ndim, shape = self.draw, self.ndim, self.shape
        match name:
            case "d":
                return draw.dim(ndim)
            case "after":
                return draw.dim(ndim + 1)
            case "ds":
                return draw.dims(ndim)
            case "two":
                a, b = draw(st.permutations(range(max(ndim, 2))))[:2]
                return f"{draw.odd(st.integers(-4, 4), a)}, {b}"
            case "pair":
                ds = draw.dims(ndim)
                return f"({ds}, {draw.odd(st.just((0,)), draw(st.permutations(ds)))})"
            case "shifts":
                ds = draw.dims(ndim)
                return f"({[draw.number(-5, 5) for _ in ds]}, {ds})"
            case "k":
                return draw.number(-3, 4)
            case "n":
                return draw.odd(st.just(-1), draw.number(0, 3))
            case "sizes":
                return factors(draw, int(np.prod(shape)))
            case "parts":
                return factors(draw, draw.one(shape or [1])) or [1]
            case "order":
                return draw.odd(
                    st.lists(st.integers(-4, 4), max_size=4),
                    [d - ndim * draw.chance() for d in draw(st.permutations(range(ndim)))],
                )
            case "wider":
                sizes = [draw.one([n, -1, 3 if n == 1 else n]) for n in shape]
                wrong = st.lists(st.sampled_from([1, 2, 3, 4, -2]), max_size=4)
                return draw.odd(wrong, [*draw(st.lists(SIZES, max_size=2)), *sizes])
            case "counts":
                return [
                    draw.odd(st.just(-1), draw.number(0, 3)) if all(shape) else 2
                    for _ in range(draw.number(ndim, ndim + 1))
                ]
            case "widths":
                n = draw.one(shape or [2])
                cut = draw.number(0, n)
                right = draw.one([[cut, n - cut], [n], [1] * n])
                return draw.odd(st.lists(st.integers(-1, 3), max_size=3), right) if shape else right
            case "pads":
                return [draw.number(-1, 2) for _ in range(draw.odd(st.integers(0, 9), 2 * draw.number(0, ndim)))]
        raise KeyError(name)


# ------------------------------------------------------------------------------------------ what happens
def perform(library: Any, inputs: dict[str, Given], lines: list[str]) -> tuple[list[str], dict]:
    """Run the lines; the exceptions by their class, "" where there was none, and all names that are known then."""
    scope = {name: x.make(library) for name, x in inputs.items()}
    known = {"torch": library, "np": np, "F": library.nn.functional, "inf": math.inf, "nan": math.nan}
    raised = []
    for line in lines:
        if library is not tinyrnn:
            look_again(scope)
        try:
            exec(line, known, scope)
        except Exception as error:
            raised.append(error)
        else:
            raised.append(None)
    return raised, scope


def look_again(scope: dict) -> None:
    """torch looks for the new history of a view only when asked; its in-place functions forget to ask."""
    for t in scope.values():
        with contextlib.suppress(RuntimeError, AttributeError):
            t.grad_fn  # noqa: B018


def backward(library: Any, inputs: dict[str, Given], scope: dict) -> Exception | None:
    """Send gradients into all results; the exception or None."""
    results = [x for name, x in scope.items() if name not in inputs or not x.is_leaf]
    roots = [t for t in leaves(results) if getattr(t, "requires_grad", False)]
    try:
        if roots:
            library.autograd.backward(roots, [seed(library, t) for t in roots])
    except Exception as error:
        return error
    return None


def check(inputs: dict[str, Given], lines: list[str]) -> None:
    """Run a case on both libraries and compare all that is to be seen."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raised, theirs = perform(torch, inputs, lines)
        found, ours = perform(tinyrnn, inputs, lines)
        program = listing(inputs, lines, raised)
        for line, mine, other in zip(lines, found, raised, strict=True):
            if any(isinstance(mine, kind) and words in str(other) for words, kind in TOLERATED.items()):
                return
            if "masked_fill_" in line and "refers to a single memory location" in str(mine):
                return  # torch warns that it will refuse this, too
            assert class_of(mine) == class_of(other), f"{line}: tinyrnn {mine!r}, torch {other!r} in\n{program}"
            # Torch finds these mistakes while it writes, not before.
            late = isinstance(other, (IndexError, NotImplementedError)) or "out of bounds" in str(other)
            if late and re.search(r"_\(|\] =", line):
                return  # torch may have written a part
        compare = Comparison(inputs, lines, ours, theirs)
        assert list(ours) == list(theirs)
        for name in theirs:
            compare(ours[name], theirs[name], f"{name} in\n{program}", blind=("version",) if name == "r" else ())
        mine, other = backward(tinyrnn, inputs, ours), backward(torch, inputs, theirs)
        if mine is None and any(words in str(other) for words in LENIENT):
            return
        assert class_of(mine) == class_of(other), f"backward: tinyrnn {mine!r}, torch {other!r} in\n{program}"
        for name, given in inputs.items():
            if given.grad and other is None:  # after an error, torch keeps what had arrived by then
                compare(
                    ours[name].grad,
                    theirs[name].grad,
                    f"{name}.grad in\n{program}",
                    blind=("version", "shares memory with", "stride"),
                    gradient=True,
                )


def class_of(error: Exception | None) -> str:
    return type(error).__name__ if error is not None else "no exception"


def listing(inputs: dict[str, Given], lines: list[str], raised: list) -> str:
    """The case as a program to be pasted."""
    notes = [f"  # {class_of(e)}: {str(e)[:70]!r}" if e is not None else "" for e in raised]
    return "\n".join(
        [*(f"{k} = {x}" for k, x in inputs.items()), *(f"{a}{b}" for a, b in zip(lines, notes, strict=True))]
    )


# What torch refuses in these words, tinyrnn may refuse with another class of exception, or not at all.
NOTHING = type(None)
TOLERATED = {
    "some elements of the input tensor": NOTHING,  # tinyrnn takes care of that overlap
    "INTERNAL ASSERT FAILED": NOTHING,
    "is a view and": IndexError,  # two mistakes: the index, and the use of a view whose history is lost
    "is ambiguous": IndexError,
    "doesn't match the broadcast shape": NotImplementedError,  # two mistakes: the types, and the shapes
    "must be Tensor, not": RuntimeError,  # two mistakes: the argument, and what cannot be written to
}

# Where torch's backward fails for its own reasons, tinyrnn's need not: torch saved what was overwritten, has no
# derivative, or makes a gradient that does not fit (as of clamp with a small input, or of addcdiv with integers).
LENIENT = (
    "modified by an inplace operation",
    "derivative for aten::",
    "doesn't match the broadcast shape",
    "can't be cast to the desired output type",
    "returned an invalid gradient",
    "must match the size of tensor",
    "without overflow",
    "out of DATA bounds",
    "index out of range in self",
    "Subtraction, the `-` operator, with ",
    "INTERNAL ASSERT FAILED",
)


class Comparison:
    """Compares tensors, numbers, and tuples of them, of a case."""

    def __init__(self, inputs: dict[str, Given], lines: list[str], ours: dict, theirs: dict):
        self.held = [{name: scope[name].detach().numpy() for name in inputs} for scope in (ours, theirs)]
        arrays = [x.array for x in inputs.values()]
        # what a sum loses is relative to its largest term, and what is computed in float32 is no better for being cast
        self.scale = max((float(np.abs(a[np.isfinite(a)]).max(initial=0)) for a in arrays), default=0.0)
        # of an array in NumPy's layout with axes of size one, torch may take one for another
        self.clear = all(x.layout == "plain" or 1 not in x.array.shape for x in inputs.values())
        self.single = any(a.dtype == np.float32 for a in arrays) or any("float" in line for line in lines)
        for line in lines:  # whole numbers become float32 on their way to a float64 out=
            call, to, _ = line.partition("out=")
            used = [x.array.dtype.kind for name, x in inputs.items() if re.search(rf"\b{name}\b", call)]
            self.single |= bool(to) and "f" not in used

    def __call__(self, mine: Any, other: Any, what: str, blind: tuple = (), gradient: bool = False) -> None:
        kinds = [type(x).__name__ for x in (mine, other)]
        assert kinds[0] == kinds[1], f"a {kinds[0]} instead of a {kinds[1]}: {what}"
        if isinstance(other, (tuple, list)):
            assert len(mine) == len(other), f"{len(mine)} results instead of {len(other)}: {what}"
            for m, o in zip(mine, other, strict=True):
                self(m, o, what, blind, gradient)
        elif hasattr(other, "requires_grad"):
            lying = [[s for s, n in zip(t.stride(), t.shape, strict=True) if n > 1] for t in (mine, other)]
            assert lying[0] == lying[1] or not self.clear or 0 in mine.shape, f"strides {lying}: {what}"
            facts = [self.facts(t, held) for t, held in zip((mine, other), self.held, strict=True)]
            for fact, m in facts[0].items():
                o = facts[1][fact]
                told = m == o or fact == "is_leaf" and o == "RuntimeError"  # tinyrnn refuses where a history is needed
                assert told or fact in blind, f"{fact} is {m} instead of {o}: {what}"
            dtype = facts[1]["dtype"]
            tolerance = TOLERANCE["float32" if self.single else dtype][gradient] if "float" in dtype else 0
            scale = self.scale if "float" in dtype else 0
            close(mine.detach().numpy(), other.detach().numpy(), tolerance, scale, what)
        else:
            assert mine == other or str(mine) == str(other), f"{mine!r} instead of {other!r}: {what}"

    def facts(self, t: Any, held: dict[str, np.ndarray]) -> dict:
        """What a program can see of a tensor besides its numbers."""
        a = t.detach().numpy()
        try:
            leaf = t.is_leaf
        except RuntimeError as error:  # a view whose history cannot be told
            leaf = type(error).__name__
        shares = [name for name, x in held.items() if a.size and np.may_share_memory(a, x)]
        return {
            "dtype": a.dtype.name,
            "shape": tuple(t.shape),
            "requires_grad": t.requires_grad,
            "is_leaf": leaf,
            "version": t._version,
            "shares memory with": shares,
            "stride": [s for n, s in zip(t.shape, t.stride(), strict=True) if n > 1] if shares else None,
        }


# ------------------------------------------------------------------------------------------ indices
def span(draw: Draw, n: int) -> str:
    """A slice of a dimension of size n."""
    start, stop = ("" if draw.chance(3) else draw.number(-n - 1, n + 1) for _ in range(2))
    return f"{start}:{stop}" + draw.one(["", "", ":1", ":2", ":3"])


def masked(draw: Draw, shape: tuple) -> str:
    """A mask of a shape, as a tensor, an array or a list."""
    truth = (draw.rng().integers(0, 3, shape) > 0).tolist()
    if not all(shape):
        return f"torch.zeros({shape}, dtype=torch.bool)"
    forms = ["torch.tensor({}, dtype=torch.bool)", "np.array({}, dtype=bool)", "{}"]
    return draw.one(forms if len(shape) == 1 else forms[:1]).format(truth)


def index(draw: Draw, shape: tuple, basic: bool = False) -> str:
    """An index of a tensor of some shape; a basic one is made of integers, slices, None and `...` only."""
    common = draw.one([(2,), (3,), (1,), (), (2, 2), (0,), (2, 1)])
    items: list[str] = []
    left = list(shape)
    while left or draw.odd(st.just(True), False):
        kind = draw.one("int slice slice None ... end" + " ids mask list array 0-d odd" * (not basic))
        n = left[0] if left else 2
        least, most = draw.odd(st.just((-n - 1, n + 1)), (-n, n))
        size = tuple(1 if draw.chance(5) else m for m in common)
        size = draw.odd(st.sampled_from([(2,), (4,), (0,), (2, 3)]), size)
        ids = draw.rng().integers(least, max(most, least + 1), size).tolist()
        if kind == "end":
            break
        if kind in ("None", "...") or (kind == "odd" and draw.odd(st.just(True), False)):
            if kind != "..." or kind not in items:
                items.append(kind if kind != "odd" else draw.one(ODD))
            left = left[draw.number(0, len(left)) :] if kind == "..." else left[kind == "odd" :]
            continue
        if kind == "mask":
            used = draw.number(0, 2) if len(left) > 1 else 1
            items.append(masked(draw, draw.odd(SHAPES, tuple(left[:used]))))
            left = left[used:]
            continue
        dtype = draw.odd(st.sampled_from(DTYPES), draw.one("int64 int64 int32"))
        items.append(
            {
                "slice": lambda n=n: span(draw, n),
                "ids": lambda ids=ids, dtype=dtype: f"torch.tensor({ids}, dtype=torch.{dtype})",
                "list": lambda ids=ids: str(ids),
                "array": lambda ids=ids: f"np.array({ids}, dtype=np.int64)",
                "0-d": lambda a=least, b=most: f"torch.tensor({draw.number(a, max(b - 1, a))})",
            }.get(kind, lambda a=least, b=most: str(draw.number(a, max(b - 1, a))))()
        )
        left = left[1:]
    text = ", ".join(items)
    return f"{text}," if len(items) == 1 and draw.chance() else text or draw.one(["()", "...", "None", "True", "False"])


ODD = ["True", "False", "np.int64(0)", "range(1)", "(0, -1)", "1.0", "'a'", "[]", "...", "slice(None, None, -1)", "{}"]
