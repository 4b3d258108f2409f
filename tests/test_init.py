"""nn.init: torch's values, from torch's stream."""

import math
import warnings

import numpy as np
import pytest

import tinyrnn

SHAPES = [(3, 4), (8, 4), (7, 5), (2, 3, 4), (3,), (0, 2)]  # around 16, from where the stream of normals differs
FILLS = {
    "uniform_": [{}, {"a": -2.0, "b": 3.0}],
    "normal_": [{}, {"mean": 1.0, "std": 0.02}],
    "trunc_normal_": [{}, {"std": 0.02}, {"a": 0.5, "b": 0.6}, {"mean": 3.0, "a": -1.0}, {"a": 1.0, "b": 1.0}],
    "constant_": [{"val": 0.3}, {"val": -math.inf}],
    "ones_": [{}],
    "zeros_": [{}],
    "eye_": [{}],
    "xavier_uniform_": [{}, {"gain": 5 / 3}],
    "xavier_normal_": [{}, {"gain": 5 / 3}],
    "kaiming_uniform_": [{}, {"a": math.sqrt(5)}, {"mode": "fan_out", "nonlinearity": "relu"}],
    "kaiming_normal_": [{}, {"a": 0.2, "mode": "FAN_OUT"}, {"nonlinearity": "tanh"}],
    "sparse_": [{"sparsity": 0.3}, {"sparsity": 0.9, "std": 1.0}],
}


def filled(torch, function, shape, options, dtype="float32"):
    """What a function puts into a tensor, and what the stream gives afterwards; or the error."""
    torch.manual_seed(5)
    t = torch.zeros(shape, dtype=getattr(torch, dtype))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            assert getattr(torch.nn.init, function)(t, **options) is t
        except (ValueError, RuntimeError) as error:
            return f"{type(error).__name__}: {error}"
    return np.append(t.numpy().ravel(), torch.rand(1).numpy())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", FILLS)
def test_the_same_bits_as_torch(oracle, function, dtype):
    def body(torch):
        story = {}
        for options in FILLS[function]:
            results = [filled(torch, function, shape, options, dtype) for shape in SHAPES]
            story[f"values {options}"] = np.concatenate([r for r in results if not isinstance(r, str)])
            story[f"errors {options}"] = "; ".join(r for r in results if isinstance(r, str))
        return story

    expected = oracle(body)
    for name, value in body(tinyrnn).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3), (2, 3, 2), (1, 4)])
def test_orthogonal(oracle, shape, dtype):
    ask = lambda torch: {"q": filled(torch, "orthogonal_", shape, {"gain": 2.0}, dtype)}
    q = ask(tinyrnn)["q"]
    np.testing.assert_allclose(q, oracle(ask)["q"], atol=2e-6 if dtype == "float32" else 1e-14)
    q = q[:-1].reshape(shape[0], -1) / 2
    product = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-6)


def test_gain(oracle):
    names = ("linear", "conv2d", "conv_transpose1d", "sigmoid", "tanh", "relu", "leaky_relu", "selu", "gelu", None)
    arguments = [*((name,) for name in names), ("relu", 3), *(("leaky_relu", slope) for slope in (0.2, 1, True, "a"))]

    def body(torch):
        def gain(args):
            try:
                return repr(float(torch.nn.init.calculate_gain(*args)))
            except ValueError as error:
                return str(error)

        return {str(args): gain(args) for args in arguments}

    assert body(tinyrnn) == {name: str(value) for name, value in oracle(body).items()}


@pytest.mark.parametrize(
    "function, options",
    [
        ("kaiming_uniform_", {"mode": "fan"}),
        ("kaiming_normal_", {"nonlinearity": "gelu"}),
        ("uniform_", {"a": 2, "b": 1}),
        ("normal_", {"std": -1.0}),
        ("xavier_uniform_", {"gain": -1.0}),
        ("trunc_normal_", {"a": 2.0, "b": 1.0}),
    ],
)
def test_wrong_arguments(oracle, function, options):
    ask = lambda torch: {"told": filled(torch, function, (2, 2), options)}
    assert str(oracle(ask)["told"]) == ask(tinyrnn)["told"]


def test_fans():
    init = tinyrnn.nn.init
    weight = tinyrnn.empty(3, 4, 2)
    assert init._calculate_fan_in_and_fan_out(weight) == (8, 6)
    assert [init._calculate_correct_fan(weight, mode) for mode in ("fan_in", "FAN_OUT")] == [8, 6]
    with pytest.raises(ValueError, match=r"Mode fan not supported, please use one of \['fan_in', 'fan_out'\]"):
        init._calculate_correct_fan(weight, "fan")
    for fan in (init._calculate_fan_in_and_fan_out, lambda t: init._calculate_correct_fan(t, "fan_in")):
        with pytest.raises(ValueError, match="can not be computed for tensor with fewer than 2 dimensions"):
            fan(weight[0, 0])


def test_warnings(oracle):
    def body(torch):
        init, t = torch.nn.init, torch.zeros(2, 2)
        calls = {
            "no elements": lambda: init.kaiming_uniform_(torch.zeros(0, 2)),
            "far": lambda: init.trunc_normal_(t, 9.0),
            "uniform": lambda: init.uniform(t),
            "normal": lambda: init.normal(t),
            "eye": lambda: init.eye(t),
            "constant": lambda: init.constant(t, 1),
            "xavier_uniform": lambda: init.xavier_uniform(t),
            "xavier_normal": lambda: init.xavier_normal(t),
            "kaiming_uniform": lambda: init.kaiming_uniform(t),
            "kaiming_normal": lambda: init.kaiming_normal(t),
            "orthogonal": lambda: init.orthogonal(t),
            "sparse": lambda: init.sparse(t, 0.5),
            "nothing": lambda: init.xavier_uniform_(t),
        }

        def warned(call):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                call()
            return [f"{w.category.__name__}: {w.message}" for w in caught]

        return {name: warned(call) for name, call in calls.items()}

    expected = oracle(body)
    assert body(tinyrnn) == {name: [str(text) for text in texts] for name, texts in expected.items()}


RANDOM = [name for name in FILLS if name not in ("constant_", "ones_", "zeros_", "eye_")]


@pytest.mark.parametrize("function", [*RANDOM, "orthogonal_"])
def test_a_generator_of_ones_own(oracle, function):
    """It is drawn from, and the default one is not (but by sparse_, as in torch)."""

    def body(torch):
        torch.manual_seed(1)
        t = torch.zeros(3, 4)
        options = {"sparsity": 0.3} if function == "sparse_" else {}
        getattr(torch.nn.init, function)(t, generator=torch.Generator().manual_seed(9), **options)
        return {"drawn": t.numpy(), "default": torch.rand(1).numpy()}

    expected = oracle(body)
    for name, value in body(tinyrnn).items():
        np.testing.assert_allclose(value, expected[name], atol=1e-6 if function == "orthogonal_" else 0, err_msg=name)


@pytest.mark.parametrize("function", [*FILLS, "orthogonal_"])
def test_parameters_are_filled_unrecorded(function):
    """A write that counts: a backward that needs the old values notices it."""
    p = tinyrnn.nn.Parameter(tinyrnn.ones(3, 3))
    y = (p * p).sum()
    options = {"sparse_": {"sparsity": 0.3}, "constant_": {"val": 3.0}}.get(function, {})
    getattr(tinyrnn.nn.init, function)(p, **options)
    assert p.is_leaf
    assert p.requires_grad
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()
