"""LazyLinear against torch: what it is before its first input, and that it is a Linear afterwards."""

import copy
import pickle

import numpy as np
import pytest

import tinyrnn
from tinyrnn import nn

PROBES = {
    "numel": lambda t: t.nn.LazyLinear(2).weight.numel(),
    "shape": lambda t: t.nn.LazyLinear(2).weight.shape,
    "arithmetic": lambda t: t.nn.LazyLinear(2).weight + 1,
    "init": lambda t: t.nn.init.ones_(t.nn.LazyLinear(2).weight),
    "count": lambda t: sum(p.numel() for p in t.nn.LazyLinear(2).parameters()),
    "load": lambda t: t.nn.Linear(2, 3).load_state_dict(t.nn.LazyLinear(3).state_dict()),
    "repr": lambda t: f"{t.nn.LazyLinear(3)} {t.nn.LazyLinear(2, bias=False)} {t.nn.LazyLinear(2).weight}",
    "type": lambda t: str(t.nn.LazyLinear(2).double().weight.dtype),
    "flags": lambda t: str([(p.requires_grad, p.grad, p.is_leaf) for p in t.nn.LazyLinear(2).parameters()]),
    "keys": lambda t: str(list(t.nn.LazyLinear(2).state_dict())),
}


def answer(t, name):
    try:
        return {"text": str(PROBES[name](t))}
    except Exception as error:
        return {"text": type(error).__name__}


@pytest.mark.parametrize("name", PROBES)
def test_before_the_first_input(name, oracle):
    assert answer(tinyrnn, name)["text"] == str(oracle(lambda t: answer(t, name))["text"])


def trained(t):
    """A model of lazy layers, whose optimizer is older than its weights, after two steps."""
    t.manual_seed(2)
    model = t.nn.Sequential(t.nn.LazyLinear(4), t.nn.Tanh(), t.nn.LazyLinear(1, bias=False))
    optimizer = t.optim.SGD(model.parameters(), lr=0.1)
    first = model[0].weight
    x = t.arange(6.0).view(2, 3)
    for _ in range(2):
        loss = model(x).pow(2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {
        "loss": loss.item(),
        "same": model[0].weight is first,
        "kind": type(model[0]) is t.nn.Linear and type(first) is t.nn.Parameter,
        "repr": str(model),
        **{name: value.numpy() for name, value in model.state_dict().items()},
    }


def test_training(oracle):
    theirs, ours = oracle(trained), trained(tinyrnn)
    assert ours["same"] and ours["kind"] and ours["repr"] == str(theirs["repr"])
    for name, value in theirs.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(ours[name], value, rtol=0, atol=1e-5 * np.abs(value).max())


def test_loading_gives_the_shape():
    source, lazy = nn.Linear(5, 3), nn.LazyLinear(3)
    lazy.load_state_dict(source.state_dict())
    assert not lazy.has_uninitialized_params() and lazy.weight.shape == (3, 5)
    x = tinyrnn.randn(2, 5)
    assert tinyrnn.equal(lazy(x), source(x))
    assert type(lazy) is nn.Linear and lazy.in_features == 5


def test_copies_wait_too():
    lazy = nn.LazyLinear(3).double()
    for other in (copy.deepcopy(lazy), pickle.loads(pickle.dumps(lazy))):
        assert other.has_uninitialized_params() and other.weight is not lazy.weight
        assert other(tinyrnn.ones(2, 4, dtype=tinyrnn.float64)).dtype == tinyrnn.float64
    assert lazy.has_uninitialized_params()


def test_hooks_stay():
    lazy, seen = nn.LazyLinear(3), []
    lazy.register_forward_hook(lambda module, args, out: seen.append(out.shape))
    lazy(tinyrnn.ones(2, 4))
    lazy(tinyrnn.ones(1, 4))
    assert seen == [(2, 3), (1, 3)]
