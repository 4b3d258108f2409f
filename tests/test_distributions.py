"""Distributions against torch: samples of the same stream, probabilities, moments, gradients, errors."""

import numpy as np
import pytest

import tinyrnn

CASES = {
    "categorical": "D.Categorical(x.exp())",
    "categorical_logits": "D.Categorical(logits=x)",
    "categorical_one": "D.Categorical(x[0].softmax(-1))",
    "bernoulli": "D.Bernoulli(x.sigmoid())",
    "bernoulli_logits": "D.Bernoulli(logits=x[0])",
    "bernoulli_number": "D.Bernoulli(0.25)",
    "normal": "D.Normal(x, x.exp())",
    "normal_broadcast": "D.Normal(x[0], 2.0)",
    "normal_number": "D.Normal(0, 1)",
    "uniform": "D.Uniform(x, x + x.exp())",
    "uniform_number": "D.Uniform(-1.0, 3.0)",
}
MOMENTS = ["mean", "variance", "stddev", "mode"]


def inputs(t, dtype="float32"):
    values = np.random.RandomState(0).randn(2, 3).astype(dtype)
    return t.tensor(values, requires_grad=True)


def made(t, case, dtype="float32"):
    x = inputs(t, dtype)
    return eval(CASES[case], {"D": t.distributions, "x": x}), x


def answers(t, case, dtype):
    """All that a distribution tells, and the gradients, as arrays."""
    d, x = made(t, case, dtype)
    t.manual_seed(5)
    out = {"repr": repr(d), "shapes": str((d.batch_shape, d.event_shape))}
    out["samples"] = d.sample((4,)).detach().numpy()
    one = d.sample()
    out["one"], out["free"] = one.numpy(), not one.requires_grad
    out["log_prob"] = d.log_prob(one).detach().numpy()
    out["entropy"], out["perplexity"] = d.entropy().detach().numpy(), d.perplexity().detach().numpy()
    for name in MOMENTS:
        out[name] = getattr(d, name).detach().numpy()
    total = d.log_prob(d.sample((2,))).sum() + d.entropy().sum()
    if d.has_rsample:
        total = total + (d.rsample((3,)) ** 2).sum()
        out["cdf"] = d.cdf(one).detach().numpy()
        out["icdf"] = d.icdf(t.tensor(0.25, dtype=one.dtype)).detach().numpy()
    if d.has_enumerate_support:
        out["values"] = d.enumerate_support().numpy()
        out["values_narrow"] = d.enumerate_support(expand=False).numpy()
    if total.requires_grad:
        total.backward()
        out["gradient"] = x.grad.numpy()
    return out


@pytest.mark.parametrize("dtype, near", [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("case", CASES)
def test_against_torch(case, dtype, near, oracle):
    theirs = oracle(lambda t: answers(t, case, dtype))
    ours = {name: np.asarray(value) for name, value in answers(tinyrnn, case, dtype).items()}
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        if value.dtype.kind in "fiu":
            assert ours[name].dtype == value.dtype, name
            scale = np.abs(value[np.isfinite(value)]).max(initial=1.0)
            close = max(near, 1e-5) if value.dtype == np.float32 else near  # numbers alone make float32
            np.testing.assert_allclose(ours[name], value, rtol=0, atol=close * scale, err_msg=name)
        else:
            assert str(ours[name]) == str(value), name


PAIRS = {
    "categorical": "D.Categorical(x.exp()), D.Categorical(logits=x.flip(0))",
    "certain": "D.Categorical(c), D.Categorical(c.flip(0))",
    "same": "D.Categorical(c), D.Categorical(c)",
    "bernoulli": "D.Bernoulli(logits=x), D.Bernoulli(x.flip(0).sigmoid())",
    "normal": "D.Normal(x, 1.0), D.Normal(0.5, x.exp())",
    "uniform": "D.Uniform(0.25, 0.75), D.Uniform(0.0, 1.0)",
    "outside": "D.Uniform(0.25, 1.75), D.Uniform(0.0, 1.0)",
}


def divergence(t, pair):
    x, c = inputs(t, "float64"), t.tensor([0.0, 1.0, 0.0], dtype=t.float64)
    kl = t.distributions.kl_divergence(*eval(PAIRS[pair], {"D": t.distributions, "x": x, "c": c}))
    if not kl.requires_grad:
        return {"kl": kl.numpy()}
    kl.sum().backward()
    return {"kl": kl.detach().numpy(), "gradient": x.grad.numpy()}


@pytest.mark.parametrize("pair", PAIRS)
def test_divergence(pair, oracle):
    theirs, ours = oracle(lambda t: divergence(t, pair)), divergence(tinyrnn, pair)
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-6 if pair == "uniform" else 1e-10, atol=1e-12)


def test_a_divergence_of_ones_own():
    D = tinyrnn.distributions

    class Mine(D.Normal):
        pass

    with pytest.raises(NotImplementedError, match="p type Normal and q type Categorical"):
        D.kl_divergence(D.Normal(0, 1), D.Categorical(tinyrnn.ones(2)))
    assert D.kl_divergence(Mine(0.0, 1.0), D.Normal(0.0, 1.0)) == 0
    D.register_kl(Mine, Mine)(lambda p, q: "ours")
    assert D.kl_divergence(Mine(0.0, 1.0), Mine(0.0, 1.0)) == "ours"


WRONG = [
    "D.Categorical()",
    "D.Categorical(x, x)",
    "D.Categorical(x)",
    "D.Categorical(x[0, 0])",
    "D.Categorical(logits=x / 0)",
    "D.Categorical(x.exp()).log_prob(t.tensor([5]))",
    "D.Categorical(x.exp()).log_prob(t.tensor([0.5]))",
    "D.Categorical(x.exp()).log_prob(t.zeros(3))",
    "D.Categorical(x.exp()).log_prob(1)",
    "D.Categorical(x.exp()).rsample()",
    "D.Bernoulli(1.5)",
    "D.Bernoulli(0.5).log_prob(t.tensor(0.5))",
    "D.Normal(0, -1.0)",
    "D.Normal('a', 1)",
    "D.Normal(t.zeros(2), t.ones(3))",
    "D.Normal(0, 1).log_prob(t.tensor(float('nan')))",
    "D.Uniform(1.0, 0.0)",
    "D.Uniform(0.0, 1.0).log_prob(t.tensor(3.0))",
]


def raised(t, text):
    try:
        eval(text, {"t": t, "D": t.distributions, "x": inputs(t).detach()})
    except Exception as error:
        return {"class": type(error).__name__, "text": str(error).partition("(Tensor of shape")[0]}
    return {"class": "none"}


@pytest.mark.parametrize("text", WRONG)
def test_errors(text, oracle):
    theirs, ours = oracle(lambda t: raised(t, text)), raised(tinyrnn, text)
    assert ours["class"] == str(theirs["class"])
    if ours["class"] == "ValueError" and "'a'" not in text:
        assert ours["text"] == str(theirs["text"])


def test_unchecked():
    D = tinyrnn.distributions
    assert D.Normal(0.0, -1.0, validate_args=False).scale == -1
    D.Distribution.set_default_validate_args(False)
    try:
        assert D.Bernoulli(1.5).probs == 1.5
    finally:
        D.Distribution.set_default_validate_args(True)
    with pytest.raises(ValueError, match=r"probs \(Tensor of shape \(\)\) of distribution Bernoulli\(probs: 1.5\)"):
        D.Bernoulli(1.5)
