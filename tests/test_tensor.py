"""What a tensor is, how it is indexed, what types mix to, and how it meets Python and NumPy: all against torch."""

import copy
import importlib
import math
import pickle
import warnings

import numpy as np
import pytest
from conftest import needs_torch
from hypothesis import given, settings
from hypothesis import strategies as st
from phrases import check as check_phrases
from table import Row, ask, check, compare, put, torchs_answer

import tinyrnn
from tinyrnn import switches

pytestmark = pytest.mark.filterwarnings("ignore")  # torch warns of much that is right

# ------------------------------------------------------------------------------------------ indexing
# fmt: off
READS = [
    Row("basic index: __getitem__", "3,4,2; 5; -; 0,3; 3:i",
        "x[0]", "x[-1]", "x[1:]", "x[:-1]", "x[::2]", "x[-2:10]", "x[3:1]", "x[None]", "x[...]", "x[()]",
        "x[..., 0]", "x[..., None]", "x[1, :, None]", "x[:, 1:3, ::2]", "x[0, ..., -1]", "x[None, :, ..., None]",
        "x[np.int64(1)]", "x[t.tensor(1)]", "x[t.tensor(1):]", "x[:, t.tensor(1)]", "x[7]", "x[:, 5]",
        "x[0, 0, 0, 0]", "x[..., ...]", "x[::-1]", "x[::0]", "x[1.0]", "x['a']", "x[0.5:]"),
    Row("tensor index", "3,4,2; 5; -; 3:i",
        "x[t.tensor([0, 2])]", "x[t.tensor([-1, 0, 0])]", "x[t.tensor([[0, 1], [2, 0]])]", "x[[0, 2]]",
        "x[[[0, 1], [1, 2]]]", "x[(0, 1),]", "x[np.array([0, 1])]", "x[range(2)]", "x[t.tensor([], dtype=t.int64)]",
        "x[[]]", "x[t.tensor([1], dtype=t.int32)]", "x[:, t.tensor([0, 3])]",
        "x[t.tensor([0, 1]), t.tensor([1, 2])]", "x[t.tensor([0, 1]), :, t.tensor([1, 0])]",
        "x[:, t.tensor([0, 1]), t.tensor([1, 0])]", "x[t.tensor([[0], [1]]), t.tensor([1, 2])]",
        "x[0, t.tensor([1, 2])]", "x[t.tensor([1, 2]), 0]", "x[0, :, t.tensor([1, 0])]",
        "x[t.tensor([0, 1]), 1:, 0]", "x[t.tensor([0, 1]), None]", "x[None, t.tensor([0, 1])]",
        "x[..., t.tensor([1, 0])]", "x[t.tensor([0, 1]), ..., 0]", "x[t.tensor([0, 1]), None, t.tensor([1, 2])]",
        "x[[0, 1], [1, 0]]", "x[:, [0, 1], 1:]", "x[t.arange(3), t.tensor([0, 1, 0])]", "x[t.tensor([9])]",
        "x[:, t.tensor([9])][:0]", "x[t.tensor([0, 1, 2]), t.tensor([0, 1])]", "x[t.tensor([0.0])]", "x[[0.5]]",
        "x[['a']]"),
    Row("tensor index of nothing", "0,3; 3,0",
        "x[:, t.tensor([], dtype=t.int64)]", "x[t.tensor([], dtype=t.int64)]",
        "x[t.tensor([], dtype=t.int64), None]", "x[..., t.tensor([[0], [0]])[:0]]", "x[x > 0]",
        "x[:, t.tensor([5])]", "x[t.tensor([5])]", "put(x.clone(), (s[:], t.tensor([5])), 1.0)"),
    Row("mask index", "3,4; 3; 3,4,2; -; 3:i",
        "x[x > 0]", "x[t.tensor([True, False, True])]", "x[[True, False, True]]", "x[np.array([True, False, True])]",
        "x[t.tensor([False, False, False])]", "x[t.tensor([1, 0, 1], dtype=t.uint8)]",
        "x[:, t.tensor([True, False, True, True])]", "x[t.tensor([True, False, True]), 1]",
        "x[t.tensor([True, False, True]), 1:3]", "x[t.tensor([True, False, True]), t.tensor([1, 0])]",
        "x[t.tensor([True, False, True]), None]", "x[True]", "x[False]", "x[t.tensor(True)]",
        "x[None, t.tensor([True, False, True])]", "x[~(x > 0)]", "x[t.tensor([True, False])]", "x[t.ones(2, 2) > 0]"),
]
WRITES = [
    Row("write a number: __setitem__", "3,4; 5; -; 3:i; 3:b",
        "put(x.clone(), 0, 1.5)", "put(x.clone(), s[1:], 2)", "put(x.clone(), s[::2], True)",
        "put(x.clone(), ..., 3)", "put(x.clone(), s[0, 1:3], -1)", "put(x.clone(), s[:, -1], 0)",
        "put(x.clone(), None, 4)", "put(x.clone(), t.tensor([0, 2]), 5)", "put(x.clone(), [0, 2], 5)",
        "put(x.clone(), (t.tensor([0, 1]), t.tensor([1, 2])), 6)", "put(x.clone(), x > 0, 0)",
        "put(x.clone(), (s[:], t.tensor([True, False, True, False])), 7)", "put(x.clone(), t.tensor(1), 8)",
        "put(x.clone(), True, 9)", "put(x.clone(), False, 9)", "put(x.clone(), 0, nan)",
        "put(x.clone(), 0, np.float32(2.5))", "put(x.clone(), 9, 1)", "put(x.clone(), t.tensor([9]), 1)",
        "put(x.clone(), 0, '1')", "put(x.clone(), 0, None)", "put(x, 0, 1.0)"),
    Row("write a tensor", "3,4 4; 3,4 3,4; 3,4 1; 3,4 -; 3,4 2,4; 3,4 2; 3,4 4:i; 3:i 3; 3 2,3; 3,4 1,1,4",
        "put(x.clone(), 0, y)", "put(x.clone(), s[1:], y)", "put(x.clone(), ..., y)",
        "put(x.clone(), s[::2], y)", "put(x.clone(), s[:, 1:3], y)",
        "put(x.clone(), s[:, 0], y)", "put(x.clone(), t.tensor([0, 2]), y)",
        "put(x.clone(), (t.tensor([0, 2]), s[:]), y)", "put(x.clone(), (s[:], t.tensor([1, 0])), y)",
        "put(x.clone(), (t.tensor([0, 1]), t.tensor([1, 2])), y)",
        "put(x.clone(), t.tensor([True, False, True]), y)", "put(x.clone(), x > 0, y)", "put(x.clone(), None, y)",
        "put(x.detach().clone(), 0, y)", "put(x.clone(), 0, y.detach().numpy())", "put(x.clone(), 0, y.tolist())"),
    Row("write and read on", "3,4 4; 3,4 3,4",
        "put(x.clone(), 1, y)[1] * 2", "put(put(x.clone(), 1, y), 2, y * y).sum(0)",
        "put(x.clone(), s[:, 1], put(x.clone(), 0, 1.0)[:, 2])", "put(x.clone().t(), 1, x[:, 0] * 3)",
        "put(x.clone()[1:], 0, x[0])[0] + x[1]"),
]
# fmt: on
INDEXING = READS + WRITES


@pytest.mark.parametrize("row", INDEXING, ids=[row.name for row in INDEXING])
def test_indexing(row, oracle):
    check(row, torchs_answer(row, oracle))


# ------------------------------------------------------------------------------------------ which type comes out
DTYPES = ("uint8", "int8", "int16", "int32", "int64", "float32", "float64", "bool")
MIXED = {
    "add": lambda t, a, b: a + b,
    "sub": lambda t, a, b: a - b,
    "mul": lambda t, a, b: a * b,
    "div": lambda t, a, b: a / b,
    "pow": lambda t, a, b: a**b,
    "floor_divide": lambda t, a, b: a // b,
    "remainder": lambda t, a, b: a % b,
    "where": lambda t, a, b: t.where(t.tensor([True, False]), a, b),
    "maximum": lambda t, a, b: t.maximum(a, b),
    "lt": lambda t, a, b: a < b,
    "eq": lambda t, a, b: t.eq(a, b),
    "logical_and": lambda t, a, b: t.logical_and(a, b),
    "bitwise_or": lambda t, a, b: a | b,
    "cat": lambda t, a, b: t.cat([a.reshape(-1), b.reshape(-1)]),
    "stack": lambda t, a, b: t.stack([a.reshape(-1)[:1], b.reshape(-1)[:1]]),
    "add_": lambda t, a, b: a.clone().add_(b),
    "div_": lambda t, a, b: a.clone().div_(b),
    "result_type": lambda t, a, b: t.zeros(0, dtype=t.result_type(a, b)),
}


def mixtures(t):
    """Every pair of a tensor, a 0-d tensor or a number, of all types."""
    kinds = [t.ones(shape, dtype=getattr(t, d)) for d in DTYPES for shape in ((2,), ())] + [True, 3, 2.5]
    return [(a, b) for a in kinds for b in kinds if isinstance(a, t.Tensor) or isinstance(b, t.Tensor)]


def types_of(t, op) -> str:
    def kind(a, b):
        try:
            return str(op(t, a, b).dtype).removeprefix("torch.")
        except Exception as error:
            return type(error).__name__

    return " ".join(kind(a, b) for a, b in mixtures(t))


@pytest.mark.parametrize("name", MIXED)
def test_types_are_promoted_as_torch_does(name, oracle):
    theirs = str(oracle(lambda torch: {"": types_of(torch, MIXED[name])})[""]).split()
    ours = types_of(tinyrnn, MIXED[name]).split()
    wrong = [
        f"{describe(a)}, {describe(b)}: {mine} instead of {other}"
        for (a, b), mine, other in zip(mixtures(tinyrnn), ours, theirs, strict=True)
        if mine != other
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("default", ["float32", "float64"])
def test_the_default_type_stands_for_floating_point(default, oracle):
    def types(t) -> str:
        t.set_default_dtype(getattr(t, default))
        try:
            made = [
                t.tensor(1.5), t.tensor([]), t.zeros(1), t.rand(1), t.linspace(0, 1, 2), t.full((1,), 0.5),
                t.arange(0.5), t.arange(2), t.tensor([1]) / 2, t.tensor(1) + 0.5, t.tensor([True]) * 1.5,
                t.sin(t.tensor(1)), t.ones(1, dtype=t.float32) + 0.5, t.tensor(np.float32(1)), t.Tensor([1]),
                t.FloatTensor([1]),
            ]  # fmt: skip
            return " ".join(str(x.dtype) for x in made)
        finally:
            t.set_default_dtype(t.float32)

    assert types(tinyrnn) == str(oracle(lambda torch: {"": types(torch)})[""])


def describe(x) -> str:
    return f"{x.dtype} {x.ndim}-d" if isinstance(x, tinyrnn.Tensor) else repr(x)


# ------------------------------------------------------------------------------------------ Python, NumPy, memory
# fmt: off
PAIRS = [
    ("t.ones(2)", "np.ones(2)"), ("np.ones(2)", "t.ones(2)"), ("leaf(t)", "np.ones(2)"), ("np.ones(2)", "leaf(t)"),
    ("t.arange(2)", "np.arange(2)"), ("np.arange(2)", "t.arange(2)"), ("t.tensor(2.0)", "np.ones(2)"),
    ("t.ones(2)", "np.float64(2)"), ("np.float64(2)", "t.ones(2)"), ("np.float32(2)", "t.ones(2)"),
    ("np.int64(2)", "t.ones(2)"), ("t.arange(2)", "np.float32(2)"), ("t.arange(2)", "np.int32(2)"),
    ("t.ones(2)", "[1.0, 2.0]"), ("[1.0, 2.0]", "t.ones(2)"), ("t.ones(2)", "None"), ("t.ones(2)", "'a'"),
]
PROTOCOLS = [
    Row("a number from it: __float__ __int__ __bool__ __index__", "",
        *[f"{kind}({x})" for kind in ("float", "int", "bool", "operator.index", "t.Tensor.item", "abs", "complex")
          for x in ("t.tensor(2)", "t.tensor([-1.5])", "t.tensor(True)", "t.ones(2)", "t.ones(0)", "leaf(t)[0]",
                    "t.tensor([[3]])", "t.tensor(0.0)")]),
    Row("where Python wants an integer", "",
        "list(range(t.tensor(3)))", "[5, 6, 7][t.tensor(1)]", "'ab' * t.tensor(2)", "t.zeros(t.tensor(2), 3).shape",
        "[1][t.tensor(0.0)]"),
    Row("length and iteration: __len__ __iter__ __reversed__", "",
        "len(t.ones(2, 3))", "len(t.ones(0, 3))", "len(t.tensor(1.0))", "list(t.arange(3))", "list(t.ones(2, 2))",
        "list(t.ones(0, 2))", "iter(t.tensor(1.0))", "[y.requires_grad for y in leaf(t)]", "sum(t.arange(4))",
        "max(t.tensor([1.0, 3.0]))", "sorted(t.tensor([2, 1]))", "reversed(t.arange(3))",
        "dict(zip('ab', t.arange(2), strict=True))['b']", "[a for a, b in t.ones(2, 2)]",
        "(lambda a, *b: b)(*t.arange(3))"),
    Row("what is in it: __contains__", "",
        "1 in t.arange(3)", "7.5 in t.arange(3)", "t.tensor(2) in t.arange(3)", "t.arange(3) in t.arange(3)",
        "'a' in t.arange(3)", "None in t.arange(3)"),
    Row("as text: __format__ __repr__", "",
        "f'{t.tensor(1.25):.1f}'", "f'{leaf(t)[0]:8.3f}|'", "f'{t.tensor(3):5d}|'", "f'{t.tensor(2)}'",
        "f'{t.ones(2)}'", "f'{t.ones(2):.2f}'", "'%.2f' % t.tensor(1.5)", "'%d' % t.tensor(3)", "repr(t.ones(2, 2))",
        "str(t.tensor([1, 2]))", "t.ones(2).type()", "str(t.ones(2).dtype)", "str(t.ones(2).device)",
        "str(t.ones(2).layout)", "repr(t.ones(2, 3).shape)"),
    Row("as a list: tolist()", "",
        "str(t.ones(2, 2).tolist())", "t.tensor(1.5).tolist()", "t.ones(0, 2).tolist()",
        "str(t.tensor([True]).tolist())", "str(leaf(t).tolist())", "str(t.arange(3).tolist())"),
    Row("equality and hash: __eq__ __hash__", "",
        "t.ones(2) == None", "t.ones(2) != None", "t.ones(2) == 'a'", "t.ones(2) == [1, 1]",
        "len({t.ones(1), t.ones(1)})", "t.ones(2) < None", "t.ones(2) in [1.0, 2.0]"),
    Row("its shape and size", "",
        "t.ones(2, 3).size()", "t.ones(2, 3).size(-1)", "t.ones(2, 3).size(dim=0)", "t.ones(2, 3).size(2)",
        "t.tensor(1.0).size(0)", "t.ones(2, 3).shape[1:]", "t.ones(2, 3).shape + (4,)",
        "t.ones(2, 3).shape == (2, 3)", "t.ones(2, 3).shape.numel()", "type(t.ones(2, 3).shape[0]).__name__",
        "t.Size([1, 2]) * 2", "t.Size((2,)) == t.Size([2])", "t.ones(2, 3).ndim", "t.ones(2, 3).dim()",
        "t.ones(2, 3).numel()", "t.ones(2, 3).nelement()", "t.numel(t.ones(0, 3))", "t.ones(2).element_size()",
        "t.ones(2).double().itemsize", "t.ones(2, 3).nbytes", "t.numel([1])"),
    Row("what it is", "",
        "t.is_tensor(t.ones(1))", "t.is_tensor([1])", "t.is_floating_point(t.arange(2))",
        "t.ones(2).is_floating_point()", "t.ones(2).is_complex()", "t.ones(2).is_cuda", "t.ones(2).is_sparse",
        "t.ones(2).is_quantized", "t.ones(2).get_device()", "isinstance(t.ones(2), t.Tensor)", "t.ones(2).is_leaf",
        "leaf(t).is_leaf", "(leaf(t) * 2).is_leaf", "leaf(t).retains_grad", "leaf(t).grad",
        "t.result_type(t.ones(1), 2)", "t.promote_types(t.int32, t.float32)", "t.promote_types(t.uint8, t.int8)",
        "t.get_default_dtype()", "t.set_default_dtype(t.int64)"),
    Row("strides and contiguity", "",
        *[f"({x}.stride(), {x}.is_contiguous(), {x}.contiguous().stride(), {x}.clone().stride())" for x in (
            "t.ones(2, 3)", "t.ones(2, 3).t()", "t.ones(0, 3)", "t.ones(3, 0)", "t.ones(2, 0, 3)", "t.tensor(1.0)",
            "t.ones(2, 3)[:, ::2]", "t.ones(2, 3)[None]", "t.ones(2, 3)[:, None]", "t.ones(2, 3)[1]",
            "t.ones(2, 3, 4).permute(2, 0, 1)", "t.ones(2, 3).unsqueeze(-1)", "t.ones(2, 3, 4).transpose(1, 2)[0]")],
        "t.ones(3, 1).expand(3, 4).stride()", "t.ones(3, 1).expand(3, 4).is_contiguous()", "t.ones(2, 3).stride(0)",
        "t.ones(2, 3).stride(-1)", "t.ones(2, 3).stride(2)", "t.ones(4)[::2][None].stride()"),
    Row("views and copies", "",
        "t.ones(2, 3).t().view(3, 2)", "t.ones(2, 3).t().view(6)", "t.ones(2, 3).t().reshape(6)",
        "t.ones(4, 3)[::2].view(2, 3)", "t.ones(4, 3)[::2].view(6)", "t.ones(2, 3, 4)[:, 1].view(2, 2, 2)",
        "t.ones(2, 3, 4).transpose(0, 1).view(3, 8)", "t.ones(2, 3, 4).transpose(0, 1).view(3, 2, 2, 2)",
        "t.ones(3, 1).expand(3, 4).view(12)", "t.ones(1, 3).expand(2, 3).view(2, 3)",
        "(lambda x: x[1:].data_ptr() - x.data_ptr())(t.ones(3, 2))",
        "(lambda x: (put(x.view(6), 0, 5.0), x)[1])(t.ones(2, 3))",
        "(lambda x: (x.t().add_(1), x)[1])(t.ones(2, 3))", "(lambda x: (x[0].zero_(), x)[1])(t.ones(2, 3))",
        "(lambda x: (x.expand(2, 3).add_(1), x)[1])(t.ones(3))",
        "(lambda x: (x.flatten().mul_(2), x)[1])(t.ones(2, 3))",
        "(lambda x: (x.t().flatten().mul_(2), x)[1])(t.ones(2, 3))", "(lambda x: (x.data.mul_(3), x)[1])(leaf(t))",
        "(lambda x: (x.detach().mul_(3), x)[1])(leaf(t))", "leaf(t)[:1].mul_(2)", "(leaf(t) * 1)[:1].mul_(2)",
        "leaf(t).detach_().requires_grad", "(leaf(t) * 1)[:1].detach_()"),
    Row("to NumPy: numpy() __array__", "",
        "t.ones(2).numpy()", "t.tensor(1).numpy()", "t.tensor([True]).numpy()", "leaf(t).numpy()",
        "leaf(t).detach().numpy()", "leaf(t).numpy(force=True)", "np.asarray(t.ones(2))", "np.array(t.arange(2))",
        "np.asarray(t.ones(2), np.int64)", "np.asarray(leaf(t))", "np.array([t.tensor(1.5), t.tensor(2.0)])",
        "np.stack([t.ones(2)] * 2)", "t.ones(2).__array__(np.float64)", "np.float64(t.tensor(1.5))",
        "np.array_equal(t.ones(2), [1, 1])", "(lambda x: (x.numpy().__setitem__(0, 5.0), x)[1])(t.ones(2))",
        "(lambda a: (t.from_numpy(a).mul_(3), a)[1])(np.ones(2))",
        "(lambda a: (t.as_tensor(a).mul_(3), a)[1])(np.ones(2))",
        "(lambda a: (t.tensor(a).mul_(3), a)[1])(np.ones(2))", "t.ones(2, 3).t().numpy().flags['C_CONTIGUOUS']"),
    Row("NumPy's functions: __array_wrap__", "",
        "np.sin(t.ones(2))", "np.greater(t.arange(2), 0)", "np.add(t.ones(2), t.ones(2))", "np.exp(t.arange(2))",
        "np.add.reduce(t.ones(2))", "np.sin(leaf(t))", "np.multiply(2, t.ones(2))",
        "np.maximum(t.ones(2), np.ones(2))", "np.concatenate([t.ones(2)] * 2)",
        "np.where(t.ones(2) > 0, t.ones(2), 0)", "np.matmul(t.ones(2), t.ones(2))", "np.argmax(t.arange(3))",
        "np.isnan(t.ones(2))", "np.dot(t.ones(2), t.ones(2))"),
    *[Row(f"{op} with NumPy", "", *[f"{left} {op} {right}" for left, right in PAIRS])
      for op in ("+", "-", "*", "/", "//", "%", "**", "@", "==", "!=", "<", ">=", "&")],
]
# fmt: on


@pytest.mark.parametrize("row", PROTOCOLS, ids=[row.name for row in PROTOCOLS])
def test_protocols(row, oracle):
    check(row, torchs_answer(row, oracle))


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(protocol):  # __reduce_ex__
    leaf = tinyrnn.ones(2, requires_grad=True)
    for x in (tinyrnn.arange(6).reshape(2, 3).t(), leaf, leaf * 2, tinyrnn.tensor(True), tinyrnn.ones(0, 3)):
        y = pickle.loads(pickle.dumps(x, protocol))
        assert tinyrnn.equal(x, y) and (x.dtype, x.requires_grad) == (y.dtype, y.requires_grad) and y.is_leaf


def test_deepcopy():  # __deepcopy__
    x = tinyrnn.ones(2, 3, requires_grad=True)
    (x * 2).sum().backward()
    shared = [x, x, {"x": x}]
    a, b, c = copy.deepcopy(shared)
    assert a is b is c["x"] and a is not x
    assert tinyrnn.equal(a, x) and tinyrnn.equal(a.grad, x.grad) and a.requires_grad and a.is_leaf
    with tinyrnn.no_grad():
        a.mul_(2), a.grad.mul_(2)
    assert x.sum() == 6 and x.grad.sum() == 12
    assert copy.deepcopy(tinyrnn.arange(6).reshape(2, 3).t()).stride() == (1, 3)
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(x * 2)


def test_copy_shares_memory():
    x = tinyrnn.ones(2)
    copy.copy(x)[0] = 5
    assert x.tolist() == [5, 1]


# ------------------------------------------------------------------------------------------ anything, against torch
def as_torch(call, *arrays, traits="gv", scale=0.0):
    """The same call of torch and of tinyrnn gives the same: numbers, types, views, gradients, exceptions."""
    import torch

    wanted = ask(torch, call, [np.copy(a) for a in arrays], "float64")
    compare(ask(tinyrnn, call, [np.copy(a) for a in arrays], "float64"), wanted, traits, "generated", scale)


def numbers(shape, seed=0):
    """Different numbers, none of them zero."""
    n = int(np.prod(shape))
    return (np.random.default_rng([seed, n]).permutation(n) + 0.25).reshape(shape) - n // 2


few = settings(max_examples=200, deadline=None, derandomize=True)
sizes = st.lists(st.integers(0, 4), max_size=4).map(tuple)
full_sizes = st.lists(st.integers(1, 4), max_size=4).map(tuple)


def item(draw, kind: str, n: int) -> tuple:
    """One item of an index into a dimension of size n."""
    within, end = st.integers(-n, n - 1), st.none() | st.integers(-n - 2, n + 2)
    if kind == "int":
        return "int", draw(st.integers(-n - 1, n) if draw(st.integers(0, 9)) == 0 else within)
    if kind == "slice":
        return "slice", draw(end), draw(end), draw(st.integers(1, 3))
    if kind == "mask":
        return "mask", draw(st.lists(st.booleans(), min_size=n, max_size=n))
    if kind == "list":
        return "list", draw(st.lists(within, min_size=1, max_size=3))
    places = draw(st.lists(within, min_size=2, max_size=2))
    return "tensor", [[i] for i in places] if kind == "grid" else places


@st.composite
def shape_and_index(draw):
    """A shape and an index for it: most are valid, some are not."""
    shape = draw(full_sizes)
    items, dim = [], 0
    while dim < len(shape) and draw(st.integers(0, 5)):
        kind = draw(st.sampled_from(["int", "slice", "none", "ellipsis", "list", "tensor", "mask", "grid"]))
        if kind == "none":
            items.append(("none",))
        elif kind == "ellipsis" and ("ellipsis",) not in items:
            items.append(("ellipsis",))
            dim = draw(st.integers(dim, len(shape)))
        else:
            items.append(item(draw, "slice" if kind == "ellipsis" else kind, shape[dim]))
            dim += 1
    return shape, items


def index_of(t, items) -> tuple:
    make = {"int": lambda i: i, "slice": slice, "none": lambda: None, "ellipsis": lambda: ..., "list": lambda i: i,
            "tensor": t.tensor, "mask": t.tensor}  # fmt: skip
    return tuple(make[kind](*arguments) for kind, *arguments in items)


@needs_torch
@few
@given(shape_and_index())
def test_any_index_reads(case):
    shape, items = case
    as_torch(lambda t, x: x[index_of(t, items)], numbers(shape))


@needs_torch
@few
@given(shape_and_index(), st.booleans(), st.integers(0, 3))
def test_any_index_writes(case, with_number, leading):
    shape, items = case

    def write(t, x, y):
        there = x.detach()[index_of(t, items)]
        value = 7.5 if with_number else y[: there.numel()].reshape(there.shape)
        value = value if with_number or leading != 1 or not there.ndim else value[:1]
        x = x * 1
        x[index_of(t, items)] = value[None] if leading == 2 and not with_number else value
        return x

    reads = [kind for kind, *_ in items if kind in ("list", "tensor", "mask")]
    y = numbers((500,), 1)
    if len(reads) < 2 or with_number:  # where places repeat, the value that stays is anybody's choice
        as_torch(write, numbers(shape), y)


REDUCTIONS = ("sum", "mean", "amax", "amin", "max", "min", "argmax", "argmin", "all", "any", "var", "std", "logsumexp",
              "norm", "cumsum", "sort", "softmax", "flip", "unbind", "squeeze", "unsqueeze")  # fmt: skip


@needs_torch
@few
@given(sizes, st.sampled_from(REDUCTIONS), st.data())
def test_any_reduction(shape, name, data):
    one = st.integers(-len(shape) - 1, len(shape))
    several = ("sum", "mean", "amax", "amin", "all", "any", "var", "std", "logsumexp", "norm", "flip", "squeeze")
    least = 1 if name in ("var", "std", "logsumexp") else 0  # torch computes something else for dim=()
    inside = st.integers(-len(shape), len(shape) - 1) if shape else one
    dim = data.draw(one | st.lists(inside, min_size=least, max_size=3).map(tuple) if name in several else one)
    keepdim = data.draw(st.booleans())
    takes = name in several[:-2] or name in ("max", "min", "argmax", "argmin")
    order = {"p": data.draw(st.sampled_from([1, 2, 3.0, float("inf")]))} if name == "norm" else {}
    as_torch(lambda t, x: getattr(x, name)(dim=dim, **({"keepdim": keepdim} if takes else {}), **order), numbers(shape))


@st.composite
def two_shapes(draw):
    """Two shapes that broadcast, as a rule."""
    shape = draw(sizes)

    def part():
        return tuple(1 if draw(st.integers(0, 3)) == 0 else n for n in shape)[draw(st.integers(0, len(shape))) :]

    return part(), part() if draw(st.integers(0, 9)) else draw(sizes)


ARITHMETIC = {
    **{name: lambda t, x, y, name=name: getattr(x, name)(y)
       for name in ("add", "sub", "mul", "div", "maximum", "minimum", "lt", "expand_as")},
    **{name: lambda t, x, y, name=name: getattr(x.clone(), name)(y) for name in ("add_", "mul_", "sub_", "copy_")},
    "pow": lambda t, x, y: x.abs() ** y,
    "where": lambda t, x, y: t.where(x > 0, x, y),
    "lerp": lambda t, x, y: t.lerp(x, y, 0.25),
    "addcmul": lambda t, x, y: t.addcmul(x, x, y, value=2),
    "clamp": lambda t, x, y: t.clamp(x, min=y),
    "masked_fill": lambda t, x, y: x.masked_fill(y > 0, 1.5),
    "stack": lambda t, x, y: t.stack([x + y, y * x], -1),
}  # fmt: skip


@needs_torch
@few
@given(two_shapes(), st.sampled_from(sorted(ARITHMETIC)), st.booleans())
def test_any_broadcast(shapes, name, transposed):
    def call(t, x, y):
        if transposed:
            x, y = (v.permute(*reversed(range(v.dim()))) if v.dim() else v for v in (x, y))
        return ARITHMETIC[name](t, x, y)

    as_torch(call, numbers(shapes[0]), numbers(shapes[1], 2) + 0.125)


STEPS = {  # what a step of a program does: x is the last value, n a number that steers it
    "transpose": lambda t, x, n: x.transpose(n % x.dim(), -1),
    "flatten": lambda t, x, n: x.flatten().reshape(-1, *x.shape[-1:]),
    "slice": lambda t, x, n: x[n % 2 :],
    "last": lambda t, x, n: x[..., -1:],
    "step": lambda t, x, n: x[..., ::2],
    "expand": lambda t, x, n: x[None].expand(2, *x.shape),
    "sum": lambda t, x, n: x.sum(n % x.dim(), keepdim=True),
    "max": lambda t, x, n: x.max(n % x.dim(), keepdim=True)[0],
    "tanh": lambda t, x, n: x.tanh(),
    "square": lambda t, x, n: x * x,
    "cat": lambda t, x, n: t.cat([x, x * n], n % x.dim()),
    "stack": lambda t, x, n: t.stack([x, x.sin()], n % x.dim()),
    "gather": lambda t, x, n: x.index_select(n % x.dim(), t.tensor([0, 0])),
    "mask": lambda t, x, n: x.masked_fill(x > n / 8, 0.5),
    "cumsum": lambda t, x, n: x.cumsum(n % x.dim()) / 4,
    "softmax": lambda t, x, n: x.softmax(n % x.dim()),
    "write": lambda t, x, n: put(x.clone(), 0, x[-1] * n),
    "write to a view": lambda t, x, n: (lambda y: (y.transpose(0, -1)[:1].mul_(n), y)[1])(x.clone()),
    "add to itself": lambda t, x, n: x.clone().add_(x, alpha=0.5),
    "fill a part": lambda t, x, n: (lambda y: (y[..., :1].fill_(n), y)[1])(x * 1.0),
    "matmul": lambda t, x, n: x @ x.transpose(-1, -2) / 8 if x.dim() > 1 else x,
    "einsum": lambda t, x, n: t.einsum("...i,...i->...i", x, x.cos()),
    "split": lambda t, x, n: sum(part.sum() for part in x.split(1, n % x.dim())) * x,
    "roll": lambda t, x, n: x.roll(n, n % x.dim()),
}


@needs_torch
@few
@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple),
    st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 5)), min_size=1, max_size=6),
)
def test_any_program(shape, steps):
    def call(t, x):
        for name, n in steps:
            x = STEPS[name](t, x, n)
        return x

    as_torch(call, numbers(shape) / 4, traits="g", scale=1.0)  # what cancels out leaves the rounding of what it was


# ------------------------------------------------------------------------------------------ types of lists
def scalar(value, dtype):
    return tinyrnn.tensor(value, dtype=getattr(tinyrnn, dtype))


# A list, and the type that it becomes while the default type is float32, and while it is float64.
LISTS = {
    "NumPy's float32 and an int": ([np.float32(1.5), 2], "float32", "float32"),
    "NumPy's int64 and a float": ([np.int64(3), 2.0], "float32", "float64"),
    "NumPy's uint8 and a float": ([2.0, np.uint8(3)], "float32", "float64"),
    "NumPy's float32 and int64": ([np.float32(1), np.int64(3)], "float32", "float32"),
    "NumPy's two floats": ([np.float32(1), np.float64(3)], "float64", "float64"),
    "NumPy's float64 and an int": ([[1], [np.float64(2)]], "float64", "float64"),
    "NumPy's uint8 and a bool": ([True, np.uint8(2)], "uint8", "uint8"),
    "NumPy's uint8 and int8": ([np.uint8(2), np.int8(2)], "int16", "int16"),
    "NumPy's uint8 and an int": ([np.uint8(2), 2], "int64", "int64"),
    "an array and a list": ([np.array([1, 2], np.int32), [3, 4.0]], "float32", "float64"),
    "an array of none": ([np.array([], np.int32)], "int32", "int32"),
    "an array of none and a list of none": ([np.array([], np.int32), []], "float32", "float64"),
    "a float64 tensor": ([scalar(1.0, "float64")], "float64", "float64"),
    "a float64 tensor and an int": ([scalar(1.1, "float64"), 2], "float64", "float64"),
    "a float32 tensor": ([[scalar(1.0, "float32")]], "float32", "float32"),
    "int32 tensors": ([scalar(1, "int32")] * 2, "int32", "int32"),
    "an int32 tensor and an int": ([scalar(1, "int32"), 2], "int64", "int64"),
    "an int32 tensor and a float64 tensor": ([scalar(1, "int32"), scalar(2.5, "float64")], "float64", "float64"),
    "a bool tensor and a bool": ([scalar(True, "bool"), False], "bool", "bool"),
    "an int that only a float can hold": ([2**70, 1.0], "float32", "float64"),
    "nothing": ([], "float32", "float64"),
    "bools, ints and floats": ([[True, 1], [2, 3.0]], "float32", "float64"),
    "bools and ints": ([[True, 1], [False, True]], "int64", "int64"),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_has_the_type_that_its_elements_are_promoted_to(name):
    data, *kinds = LISTS[name]
    for default, kind in zip(("float32", "float64"), kinds, strict=True):
        tinyrnn.set_default_dtype(getattr(tinyrnn, default))
        try:
            made = tinyrnn.tensor(data), tinyrnn.as_tensor(data)
        finally:
            tinyrnn.set_default_dtype(tinyrnn.float32)
        assert [str(x.dtype) for x in made] == [f"torch.{kind}"] * 2


def test_a_list_keeps_the_precision_of_its_elements():
    assert tinyrnn.tensor([scalar(1.1, "float64"), 2]).tolist() == [1.1, 2.0]
    assert tinyrnn.tensor([np.int64(2**62 + 1), np.uint8(3)]).tolist() == [2**62 + 1, 3]


@pytest.mark.parametrize("data", [[np.float16(1), 2], [np.datetime64("2020-01-01")], [np.array(1j)]])
def test_a_list_of_what_no_tensor_holds_is_refused(data):
    with pytest.raises(TypeError, match="no tensor can hold"):
        tinyrnn.tensor(data)


QUIET = {
    "to integers": lambda t, x: x.long(),
    "to a narrower type": lambda t, x: x.float(),
    "copied to integers": lambda t, x: t.zeros(4, dtype=t.int64).copy_(x),
    "copied to a narrower type": lambda t, x: t.zeros(4).copy_(x),
    "written in place": lambda t, x: t.zeros(4).add_(x),
    "written to a part": lambda t, x: t.zeros(2, 4, dtype=t.int32)[0].copy_(x),
    "with a narrower type": lambda t, x: t.zeros(4) + x[3],
    "a tensor's content": lambda t, x: t.zeros(1).new_tensor(x),
    "an array's content": lambda t, x: t.as_tensor(x.numpy(), dtype=t.int64),
    "summed up": lambda t, x: (x.cumsum(0), x.cumprod(0)),
    "contracted": lambda t, x: t.einsum("i,i", x, x),
}


@pytest.mark.parametrize("use", QUIET.values(), ids=QUIET)
def test_numbers_that_do_not_fit_are_no_warning(use):
    x = tinyrnn.tensor([float("inf"), -float("inf"), float("nan"), 1e300], dtype=tinyrnn.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        use(tinyrnn, x)


# ------------------------------------------------------------------------------------------ what a tensor tells
def test_attributes_as_torch(oracle):
    check_phrases(
        """
        type(x), type(nn.Parameter(x)), type(x.shape), isinstance(x, torch.FloatTensor), isinstance(i, \
            torch.FloatTensor)
        isinstance(nn.Parameter(x), torch.FloatTensor), issubclass(nn.Parameter, torch.Tensor), torch.FloatTensor.dtype
        x.type(), i.type(), b.type(), x.double().type(), x.type(torch.LongTensor), x.type("torch.DoubleTensor")
        x.type(torch.int32), x.type(torch.float32) is x, x.type(dtype=torch.float64)
        x.type("nothing")
        x.type(3)
        x.type(float)
        x.type(x)
        torch.Tensor(i), torch.Tensor([1, 2]), torch.Tensor(x).data_ptr() == x.data_ptr(), torch.Tensor().shape
        torch.tensor([1, None])
        x.storage_offset(), x[1].storage_offset(), x[:, 1:].storage_offset(), x.t().storage_offset(), \
            x[1][2].storage_offset()
        x.stride(), x.t().stride(), z.stride(), sc.stride(), x.stride(-1), x.t().is_contiguous(), x.is_contiguous()
        x.is_set_to(x), x.is_set_to(x.view(2, 3)), x.is_set_to(x.clone()), x.is_set_to(x.t()), x[0].is_set_to(x[1])
        x.is_same_size(g), torch.is_same_size(x, x * 2), sc.is_nonzero(), torch.is_nonzero(torch.zeros(1))
        x.is_nonzero()
        z.is_nonzero()
        torch.is_nonzero(3)
        x.is_signed(), b.is_signed(), i.byte().is_signed(), torch.is_signed(i), x.is_complex(), torch.is_complex(x)
        x.is_conj(), torch.is_conj(x), x.is_neg(), x.is_shared(), x.is_pinned(), x.is_inference(), torch.is_inference(x)
        x.is_cpu, x.is_cuda, x.is_xpu, x.is_mps, x.is_meta, x.is_mkldnn, x.is_sparse, x.is_sparse_csr, x.is_quantized
        x.is_nested, x.is_distributed(), x.layout, x.output_nr, n.output_nr, x.ndimension(), x.get_device()
        torch.get_device(x), x.unbind()[1].output_nr, n.unbind()[2].output_nr, x.volatile
        x.element_size(), x.nbytes, x.itemsize, x.numel(), torch.numel(x), x.dim(), x.ndim
        torch.numel(3)
        x.is_leaf, g.is_leaf, n.is_leaf, n.detach().is_leaf, x.retains_grad, g.retains_grad, n.retains_grad
        torch.detach(g), torch.is_tensor(x), torch.is_tensor(3), torch.is_tensor(nn.Parameter(x))
        torch.typename(x), torch.typename(i), torch.typename(3), torch.typename("a"), \
            torch.typename(torch.device("cpu"))
        torch.typename(nn.Parameter(x)), torch.typename(torch.Tensor), torch.typename(torch.FloatTensor)
        torch.Size([1, 2]) + (3,), (3,) + torch.Size([1]), torch.Size([1, 2]) * 2, torch.Size((1, 2)) == (1, 2)
        torch.Size(torch.tensor([1, 2])), torch.Size([torch.tensor(2)]), torch.Size(), x.shape[:1], x.shape.numel()
        torch.Size([1.5])
        torch.Size(3)
        x.T, x.mT, x.H, x.mH, sc.T, torch.ones(1, 2, 3).T.shape
        torch.ones(1, 2, 3).H
        x.conj() is x, x.real, x.resolve_conj(), x.resolve_neg()
        x.imag
        x.resize_(3, 2), x.resize_(2), x.resize_as_(i)
        g.resize_(1)
        x.resize_(-1)
        x.apply_(lambda v: v * 2), i.apply_(lambda v: v + 1), x.map_(x, lambda a, b: a + b)
        g.apply_(lambda v: v)
        copy.deepcopy(x), copy.deepcopy(g), copy.copy(n).grad_fn, copy.copy(x).data_ptr() == x.data_ptr()
        copy.deepcopy(n)
        x.mine = [1]; y = copy.deepcopy(x); r = y.mine, y.mine is x.mine
        pickle.loads(pickle.dumps(g)), pickle.loads(pickle.dumps(nn.Parameter(x))), pickle.loads(pickle.dumps(x.shape))
        np.from_dlpack(x), x.__dlpack_device__()[1], type(x.__dlpack__()).__name__
        torch.autograd.Variable(x), torch.autograd.Variable(x) is x, torch.autograd.Variable(g).requires_grad
        torch.autograd.Variable(x, requires_grad=True), torch.autograd.Variable(x, True), torch.autograd.Variable(x, \
            volatile=True)
        isinstance(x, torch.autograd.Variable), torch.autograd.Variable(n).grad_fn
        torch.autograd.Variable([1.0])
        n.grad_fn.name(), n.grad_fn, n.grad_fn.next_functions[0][0].name(), n.grad_fn.next_functions[0][0].variable is g
        n.grad_fn.next_functions, n.grad_fn.next_functions[0][0].next_functions
        f"{sc:.2f} {i[0]:d} {sc} {g[0]:.2f} {x} {sc:>8}", "%.3f" % sc, "%d" % i[0], "{:.3f}".format(n.sum())
        f"{x:.2f}"
        [1, 2, 3][torch.tensor(1)], operator.index(torch.tensor([2])), range(torch.tensor(3)), complex(sc)
        [1, 2, 3][sc]
        round(sc), round(sc, 1), math.floor(sc), math.ceil(sc), math.trunc(sc), abs(-sc)
        2.5 in x, 3 in i, sc in x
        "a" in x
        """,
        oracle,
    )


# ------------------------------------------------------------------------------------------ numbers without a gradient
LOSES = {  # whether torch warns that the number has no gradient
    "float(x)": True, "math.exp(x)": True, "'%f' % x": True, "complex(x)": True, "t.tensor([1.0, x])": True,
    "t.FloatTensor([x * 2])": True, "x.item()": False, "int(x)": False, "bool(x)": False, "'%d' % x": False,
    "f'{x:.2f}'": False, "str(x)": False, "x.tolist()": False, "float(x.detach())": False, "t.tensor([3.0])": False,
}  # fmt: skip


@pytest.mark.parametrize("library", ["tinyrnn", pytest.param("torch", marks=needs_torch)])
@pytest.mark.parametrize("text", LOSES)
def test_a_warning_tells_that_a_number_has_no_gradient(text, library):
    t = importlib.import_module(library)
    names = {"t": t, "math": math, "x": t.tensor(2.0, requires_grad=True)}
    t.set_warn_always(True)
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            eval(text, names)
            with t.no_grad():
                eval(text, names)
    finally:
        t.set_warn_always(False)
    assert len(told) == LOSES[text]
    for each in told:
        assert (each.category, each.filename) == (UserWarning, "<string>")
        assert str(each.message).partition(" (Triggered internally")[0] == (
            "Converting a tensor with requires_grad=True to a scalar may lead to unexpected behavior.\n"
            "Consider using tensor.detach() first."
        )


def test_that_warning_comes_once(monkeypatch):
    monkeypatch.setattr(switches, "_told", set())
    x = tinyrnn.tensor(2.0, requires_grad=True)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert [float(x) for _ in range(3)] == [2.0, 2.0, 2.0]
        assert math.isfinite(x)
    assert len(told) == 1 and told[0].filename == __file__


def test_what_shares_memory_and_what_does_not(oracle):
    check_phrases(
        """
        r = x.to(torch.float32, False, True) is x, x.to("cpu", torch.float32, False, True) is x, x.to(i, False, True)
        r = x.to("cpu") is x, x.to(torch.float32, True) is x, x.to(x) is x, x.to(None) is x, x.to() is x
        x.to(torch.int32, torch.float32)
        x.to("cpu", "cpu")
        x.to(torch.float32, dtype=torch.float64)
        x.to(torch.float32, False, True, None)
        x.to(torch.float32, nonblocking=True)
        m = copy.deepcopy([x, x[0], x.t(), x[1].detach()]); m[0][0, 1] = 9; m[3][0] = 7; r = m, x, [t.stride() for t in m]
        e = copy.deepcopy(torch.ones(1).expand(3)); r = e.stride(), e
        e = copy.deepcopy(torch.arange(8)[::2]); r = e.stride(), e
        r = copy.deepcopy([z, sc, torch.zeros(0, 3)])
        l = nn.Linear(2, 2); l.register_buffer("a", x); l.register_buffer("b", l.a[0]); c = copy.deepcopy(l); c.a.fill_(3); \
            r = c.b, l.b
        y = torch.from_dlpack(x); y[0, 1] = 50; r = x
        y = torch.from_dlpack(np.matrix([[1.0, 2.0]])); r = y.take(i[:1]), y.device, y.numpy()
        torch.from_dlpack(g)
        torch.as_tensor(np.ones(2), dtype=int), torch.as_tensor(x, dtype=float), torch.as_tensor(x, dtype=torch.float) is x
        torch.asarray(np.ones((0, 2)), copy=False), torch.asarray(np.ones(2), copy=False)
        torch.asarray(np.ones((0, 2)), copy=False, dtype=torch.int)
        y = torch.from_dlpack(x.t()); y[0, 1] = 50; r = x, y.stride()
        y = torch.utils.dlpack.from_dlpack(torch.utils.dlpack.to_dlpack(x)); y[0, 1] = 50; r = x
        y = torch.from_dlpack(torch.utils.dlpack.to_dlpack(torch.zeros(0, 2))); r = y.shape
        y = x; x += np.ones(3); r = x, y is x
        x += [1, 2, 3]
        x -= "a"
        x *= None
        y = x; x *= np.float32(2); x /= 2; x **= 2; x %= 5; x -= 1; r = x, y is x
        y = i; i //= 2; i <<= 1; i |= 1; i &= 7; i ^= 2; i >>= 1; r = i, y is i
        y = x.t(); r = y.resize_(6), y.stride()
        y = x.t(); r = y.resize_(3, 2), y.stride()
        y = torch.arange(10.0)[2:8]; r = y.resize_(2, 2), y.stride()
        y = torch.arange(10.0)[::2]; r = y.resize_(2, 2), y.stride()
        y = torch.arange(10.0)[2:6]; r = y.resize_(7), y.stride()
        y = torch.arange(12.0).reshape(3, 4)[:, 1:3]; r = y.resize_(2, 3), y.stride()
        r = x.resize_(2).clone(), x.resize_(6)
        """.replace("\\\n           ", ""),
        oracle,
    )


def test_tensors_of_one_number_where_numbers_are_meant(oracle):
    h, two = "torch.tensor(0.5)", "torch.tensor(2)"
    check_phrases(
        f"""
        x.add(x, alpha={h}), x.clone().add_(x, alpha=-{h} * 2), x.sub(x, alpha={two})
        x.add(x, alpha=torch.tensor(0.5, requires_grad=True))
        x.add(x, alpha=torch.tensor([0.5]))
        x.addcmul(x, x, value={h}), torch.addcdiv(x, x, x, value={h}), torch.full_like(x, {h}), torch.full((2,), {two})
        nn.functional.elu(-x, {h}), nn.functional.leaky_relu(-x, {h}), nn.functional.hardtanh(x, -{h}, {h})
        nn.functional.softplus(x, beta={two}), nn.functional.threshold(x, {two}, {h})
        nn.functional.huber_loss(x, -x, delta={h}), nn.functional.smooth_l1_loss(x, -x, beta={h})
        x.norm(p={two}), nn.functional.normalize(x, p={two}), nn.functional.cross_entropy(x, i[:2], label_smoothing={h})
        torch.addmm(x[0], x[:, :2], x, beta={h}, alpha={h}), i.index_add(0, i[:1], i[:1], alpha={two})
        torch.linspace(torch.tensor(0.0), {two}, 3), torch.arange({two}), nn.Linear({two}, {two}).weight.shape
        """,
        oracle,
    )
