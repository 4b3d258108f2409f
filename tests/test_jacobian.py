"""torch.autograd.functional against torch: Jacobians and vector-Jacobian products; what needs two backwards is refused."""

import numpy as np
import pytest

import tinyrnn
from tinyrnn.autograd import functional


def tensors(t):
    make = np.random.default_rng(0)
    return [t.from_numpy(make.normal(size=shape)) for shape in ((4,), (2, 2), (3, 4), (2,))]


def leaves(x):
    return [y for part in x for y in leaves(part)] if isinstance(x, tuple) else [x]


CALLS = {
    "jacobian": lambda F, v, m, w, p: F.jacobian(lambda x: (w @ x).tanh(), v),
    "vectorized": lambda F, v, m, w, p: F.jacobian(lambda x: (w @ x).tanh(), v, vectorize=True),
    "forward": lambda F, v, m, w, p: F.jacobian(lambda x: w @ x, v, vectorize=True, strategy="forward-mode"),
    "two inputs": lambda F, v, m, w, p: F.jacobian(lambda a, b: a * b.sum(), (p, m)),
    "two outputs": lambda F, v, m, w, p: F.jacobian(lambda a: (a.exp().unsqueeze(0), a.sum()), m),
    "both": lambda F, v, m, w, p: F.jacobian(lambda a, b: (a * b.sum(), b.exp(), a.sum()), (p, m)),
    "constant": lambda F, v, m, w, p: F.jacobian(lambda a: w.sum(0), v),
    "independent": lambda F, v, m, w, p: F.jacobian(lambda a, b: a * 2, (p, v)),
    "a tuple of one": lambda F, v, m, w, p: F.jacobian(lambda a: (a * 2,), (p,)),
    "vjp": lambda F, v, m, w, p: F.vjp(lambda x: (w @ x).tanh(), v, w[:, 0]),
    "vjp of a scalar": lambda F, v, m, w, p: F.vjp(lambda x: x.pow(3).sum(), v),
    "vjp of two": lambda F, v, m, w, p: F.vjp(lambda a, b: (a * b.sum(), b.exp()), (p, m), (p, m)),
    "vjp of the independent": lambda F, v, m, w, p: F.vjp(lambda a, b: a * 2, (p, v), p),
    "strict": lambda F, v, m, w, p: F.jacobian(lambda a: w.sum(0), v, strict=True),
    "strict in an input": lambda F, v, m, w, p: F.vjp(lambda a, b: a * 2, (p, v), p, strict=True),
    "a list": lambda F, v, m, w, p: F.jacobian(lambda a: [a], v),
    "a number": lambda F, v, m, w, p: F.jacobian(lambda a: a, 3.0),
    "no such strategy": lambda F, v, m, w, p: F.jacobian(lambda a: a, v, strategy="sideways"),
    "strategy without vectorize": lambda F, v, m, w, p: F.jacobian(lambda a: a, v, strategy="forward-mode"),
    "strict and vectorize": lambda F, v, m, w, p: F.jacobian(lambda a: a, v, vectorize=True, strict=True),
    "v left out": lambda F, v, m, w, p: F.vjp(lambda a: a, v),
    "v of another shape": lambda F, v, m, w, p: F.vjp(lambda a: a, v, p),
    "v of another length": lambda F, v, m, w, p: F.vjp(lambda a: a, v, (v, v)),
    "v of numbers": lambda F, v, m, w, p: F.vjp(lambda a: a, v, [1.0]),
}


def answer(t, name):
    try:
        found = leaves(CALLS[name](t.autograd.functional, *tensors(t)))
    except Exception as error:
        return {"error": type(error).__name__}
    assert not any(x.requires_grad for x in found)
    return {str(k): x.numpy() for k, x in enumerate(found)}


@pytest.mark.parametrize("name", CALLS)
def test_as_torch(name, oracle):
    ours, theirs = answer(tinyrnn, name), oracle(lambda t: answer(t, name))
    assert list(ours) == list(theirs), (ours, theirs)
    for key, value in theirs.items():
        if key == "error":
            assert ours[key] == str(value)
        else:
            assert (ours[key].shape, ours[key].dtype) == (value.shape, value.dtype)
            np.testing.assert_allclose(ours[key], value, rtol=1e-12, atol=1e-12)


def test_second_derivatives_are_refused():
    for name in ("hessian", "hvp", "jvp", "vhp"):
        with pytest.raises(NotImplementedError, match=rf"functional\.{name}\(\) differentiates twice"):
            getattr(functional, name)(lambda x: x, tinyrnn.ones(1))
    for call in (functional.jacobian, functional.vjp):
        with pytest.raises(NotImplementedError, match="create_graph"):
            call(lambda x: x, tinyrnn.ones(1), create_graph=True)
