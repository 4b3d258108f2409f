"""The printed form of a tensor is torch's, character for character."""

import numpy as np
import pytest
from conftest import needs_torch

from tinyrnn import dtypes, printing
from tinyrnn.printing import get_printoptions, printoptions, set_printoptions, tensor_repr
from tinyrnn.tape import wrap
from tinyrnn.tensor import Tensor

PI = np.arange(1, 25).reshape(4, 6) * np.pi
WIDE = np.arange(24.0).reshape(2, 3, 4)

CASES = {  # name -> (values, dtype, print options)
    "whole numbers": ([0, 1, -20], "float32", {}),
    "fractions": ([0, 0.5, -20], "float32", {}),
    "a wide range": ([0.001, 1000], "float32", {}),
    "a range that is just not wide": ([0.01, 10], "float64", {}),
    "small": ([0.0001, 0.0002], "float32", {}),  # in float32 the first is just under 1e-4
    "small in double": ([0.0001, 0.0002], "float64", {}),
    "large whole numbers": ([1, 100000000], "float32", {}),
    "too large": ([100000001.0], "float64", {}),
    "denormal": ([1e-42], "float32", {}),
    "extremes": ([5e-324, 1.7e308], "float64", {}),
    "rounded up": ([9.99999, 0.99996], "float32", {}),
    "minus zero": ([-0.0, 0.0], "float32", {}),
    "not finite": ([np.nan, np.inf, -np.inf], "float32", {}),
    "not finite among whole numbers": ([1, np.nan, -np.inf, 0], "float32", {}),
    "not finite among fractions": ([1.5, np.nan, -np.inf, 0], "float32", {}),
    "not finite among powers": ([1e-9, np.nan, -np.inf, 0], "float32", {}),
    "integers": ([[1, -200], [3, 4]], "int64", {}),
    "small integers": ([1, 2], "int32", {}),
    "bytes": ([1, 255], "uint8", {}),
    "truth": ([[True, False]], "bool", {}),
    "a number": (1.5, "float32", {}),
    "a whole number": (2, "float32", {}),
    "an integer": (2, "int64", {}),
    "a truth value": (True, "bool", {}),
    "a double": (1e-7, "float64", {}),
    "empty": ([], "float32", {}),
    "empty integers": ([], "int64", {}),
    "empty rows": (np.zeros((0, 3)), "float32", {}),
    "empty columns": (np.zeros((2, 0, 3)), "bool", {}),
    "two dimensions": (PI, "float32", {}),
    "three dimensions": (WIDE, "float32", {}),
    "four dimensions": (WIDE.reshape(2, 3, 2, 2), "float64", {}),
    "a long line": (np.arange(40), "float32", {}),
    "a long line of doubles": (np.arange(11) / 7, "float64", {}),  # the suffix goes to a line of its own
    "1000 elements": (np.arange(1000).reshape(50, 20) % 7, "int64", {}),
    "1001 elements": (np.arange(1001), "int64", {}),
    "a large matrix": (np.arange(2500).reshape(50, 50), "float32", {}),
    "a tall matrix": (np.arange(2000).reshape(1000, 2), "float32", {}),
    "a large block": (np.arange(8000).reshape(20, 20, 20), "float32", {}),
    "the ends alone decide": (np.where(np.arange(2000) == 1000, 0.5, 1.0), "float32", {}),
    "precision": (PI, "float32", {"precision": 2}),
    "no precision": (PI, "float32", {"precision": 0}),
    "threshold": (PI, "float32", {"threshold": 5, "edgeitems": 1}),
    "line width": (PI, "float32", {"linewidth": 30}),
    "no line width": (PI, "float32", {"linewidth": 1}),
    "always scientific": ([1.0, 2.0], "float32", {"sci_mode": True}),
    "never scientific": ([1e-9, 2e9], "float32", {"sci_mode": False}),
    "no edge": (PI, "float32", {"edgeitems": 0, "threshold": 1}),
    "no edge, nothing left out": ([1, 2], "float32", {"edgeitems": 0}),
    "short": (np.arange(1200) / 7, "float32", {"profile": "short"}),
    "full": (np.arange(1200) % 3, "int64", {"profile": "full"}),
}


@pytest.fixture(autouse=True)
def usual_options():
    yield
    set_printoptions(profile="default")
    dtypes.set_default_dtype(dtypes.float32)


@pytest.mark.parametrize("name", CASES)
def test_prints_as_torch(oracle, name):
    values, dtype, options = CASES[name]

    def question(torch):
        torch.set_printoptions(**options or {"profile": "default"})
        text = repr(torch.tensor(np.array(values, dtype)))
        torch.set_printoptions(profile="default")
        return {"text": text}

    set_printoptions(**options)
    assert repr(wrap(np.array(values, dtype))) == str(oracle(question)["text"])


def test_suffixes(oracle):
    def ask(tensor, requires, double):
        x = tensor([0.5, 1.0]).requires_grad_()
        long = tensor([[0.5] * 8]).requires_grad_()
        texts = {
            "leaf": repr(x),
            "result": repr(x * 2),
            "number": repr((x * 2).sum()),
            "detached": repr((x * 2).detach()),
            "long": repr(long),
            "long result": repr(long * 2),
            "double": repr(double(x).detach().requires_grad_()),
            "empty": repr(x[:0]),
            "text": f"{x} {x[0]} {x[0]:.2f}",
        }
        requires(long, False)
        return {**texts, "again without": repr(long)}

    expected = oracle(lambda torch: ask(torch.tensor, torch.Tensor.requires_grad_, torch.Tensor.double))
    ours = ask(lambda values: wrap(np.array(values, "float32")), Tensor.requires_grad_, Tensor.double)
    for name, text in expected.items():
        assert ours[name] == str(text), name


def test_the_type_that_goes_without_saying_is_the_default(oracle):
    def question(torch):
        torch.set_default_dtype(torch.float64)
        texts = {kind: repr(torch.ones(2, dtype=getattr(torch, kind))) for kind in ("float32", "float64", "int64")}
        torch.set_default_dtype(torch.float32)
        return texts

    dtypes.set_default_dtype(dtypes.float64)
    for kind, text in oracle(question).items():
        assert repr(wrap(np.ones(2, kind))) == str(text)


def test_a_subclass_prints_under_its_name():
    class Named(Tensor):
        pass

    named = object.__new__(Named)
    named.array = np.ones((2, 1), "f4")
    assert repr(named) == "Named([[1.],\n       [1.]])"
    assert tensor_repr(named, tensor_contents="...") == "Named(...)"


def test_format(oracle):
    def ask(tensor):
        return {
            "fixed": f"{tensor(2.345):.2f}",
            "plain": f"{tensor(2.5)}",
            "integer": f"{tensor(7):03d}",
            "padded": f"{tensor(1.5):>8}",
            "truth": f"{tensor(True)}",
            "list": f"{tensor([1.5])}",
        }

    expected = oracle(lambda torch: ask(torch.tensor))
    ours = ask(lambda values: wrap(np.array(values, np.asarray(values).dtype.name.replace("float64", "float32"))))
    assert ours == {name: str(text) for name, text in expected.items()}
    with pytest.raises(TypeError, match="unsupported format string passed to Tensor.__format__"):
        format(wrap(np.ones(1, "f4")), ".2f")
    with pytest.raises(ValueError, match="Unknown format code 'd'"):
        format(wrap(np.array(1.5, "f4")), "d")


def test_printoptions(oracle):
    def question(torch):
        options = torch._tensor_str.get_printoptions
        torch.set_printoptions(precision=2, sci_mode=True)
        torch.set_printoptions(linewidth=100)
        return {"after": repr(options()), "reset": repr([torch.set_printoptions(profile="default"), options()][1])}

    expected = oracle(question)
    set_printoptions(precision=2, sci_mode=True)
    set_printoptions(linewidth=100)
    assert repr(get_printoptions()) == str(expected["after"])
    set_printoptions(profile="default")
    assert repr(get_printoptions()) == str(expected["reset"])
    with pytest.raises(KeyError), printoptions(precision=1):
        assert repr(wrap(np.array(1.25))) == "tensor(1.2, dtype=torch.float64)"
        raise KeyError
    assert get_printoptions()["precision"] == 4


@needs_torch
def test_thousands_of_arrays_print_as_torch():
    import torch

    rng = np.random.default_rng(0)

    def values(shape, dtype):
        kind = rng.integers(8)
        sign = rng.choice([-1, 1], shape)
        if kind == 0:
            return rng.integers(-9, 9, shape).astype(rng.choice(["int64", "int32", "int16", "int8", "bool", "uint8"]))
        if kind == 1:
            return rng.integers(-(10**17), 10**17, shape) // 10 ** rng.integers(1, 17)
        if kind == 2:
            return (rng.integers(0, 10**12, shape) // 10 ** rng.integers(1, 12) * sign).astype(dtype)
        if kind == 3:
            return rng.standard_normal(shape).astype(dtype)
        if kind == 4:
            return (10 ** rng.uniform(-10, 10, shape) * sign).astype(dtype)
        if kind == 5:
            return (10 ** rng.uniform(*sorted(rng.uniform(-6, 9, 2)), shape) * sign).astype(dtype)
        if kind == 6:
            return (rng.standard_normal(shape) * 10.0 ** rng.integers(-320, 300)).astype(dtype)
        edges = [0, 1e-4, 0.001, 0.1, 1, 10, 999.99999, 1e3, 1e5, 1e8, 1e8 + 1, -1, -0.0, 9.99995]
        return rng.choice(edges, shape).astype(dtype)

    with np.errstate(all="ignore"):
        for number in range(3000):
            shape = tuple(rng.choice([0, 1, 2, 3, 5, 8, 30], rng.integers(5), p=[0.03, 0.22, 0.3, 0.2, 0.1, 0.1, 0.05]))
            array = values(shape, rng.choice(["float32", "float64"]))
            if array.dtype.kind == "f" and rng.random() < 0.3:
                odd = rng.choice([0.0, np.nan, np.inf, -np.inf])
                array = np.where(rng.random(shape) < 0.3, odd, array).astype(array.dtype)
            options = {"profile": "default"}
            if number % 2:
                choices = {
                    "precision": range(8),
                    "threshold": [0, 5, 50],
                    "edgeitems": range(5),
                    "linewidth": [5, 40, 120],
                    "sci_mode": [None, True, False],
                }
                options = {name: rng.choice(list(some)) for name, some in choices.items() if rng.random() < 0.4}
                options = {
                    name: some if some is None else some.item() if hasattr(some, "item") else some
                    for name, some in options.items()
                }
            torch.set_printoptions(**options)
            set_printoptions(**options)
            theirs = torch.tensor(array)
            ours = wrap(array)
            if array.dtype.kind == "f" and number % 3 == 0:
                theirs.requires_grad_()
                ours.requires_grad_()
            assert repr(ours) == repr(theirs), (array, printing.options)
        torch.set_printoptions(profile="default")
