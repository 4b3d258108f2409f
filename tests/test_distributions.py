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
    "laplace": "D.Laplace(x, x.exp())",
    "laplace_number": "D.Laplace(0.5, 2)",
    "exponential": "D.Exponential(x.exp())",
    "exponential_number": "D.Exponential(2.5)",
    "log_normal": "D.LogNormal(x, x.exp() / 4)",
    "log_normal_number": "D.LogNormal(0, 0.5)",
    "one_hot": "D.OneHotCategorical(x.exp())",
    "one_hot_logits": "D.OneHotCategorical(logits=x[0])",
    "straight_through": "D.OneHotCategoricalStraightThrough(logits=x)",
    "independent": "D.Independent(D.Normal(x, x.exp()), 1)",
    "independent_of_all": "D.Independent(D.Bernoulli(logits=x), 2)",
    "independent_of_none": "D.Independent(D.Uniform(x, x + 1), 0)",
    "independent_of_vectors": "D.Independent(D.OneHotCategorical(x.exp()), 1)",
    "mixture": "D.MixtureSameFamily(D.Categorical(x.exp()), D.Normal(x, x.exp()))",
    "mixture_one": "D.MixtureSameFamily(D.Categorical(logits=x[0]), D.Exponential(x[0].exp()))",
    "mixture_of_vectors": "D.MixtureSameFamily(D.Categorical(logits=x), "
    "D.Independent(D.Normal(x[:, :, None] * y, y.exp()), 1))",
    "expanded_mixture": "D.MixtureSameFamily(D.Categorical(x[0].exp()), D.Normal(x[0], 2.0)).expand((2, 4))",
    "expanded_exponential": "D.Exponential(x[0].exp()).expand((2, 3))",
    "expanded_normal": "D.Normal(x[0], 2.0).expand((2, 3))",
    "expanded_uniform": "D.Uniform(x, x + 1).expand([2, 2, 3])",
    "expanded_bernoulli": "D.Bernoulli(logits=x[0]).expand((2, 3))",
    "expanded_categorical": "D.Categorical(x.exp()).expand((3, 2))",
    "expanded_laplace": "D.Laplace(0.5, x.exp()).expand((2, 3))",
    "expanded_log_normal": "D.LogNormal(x[0], 0.5).expand((2, 3))",
    "expanded_one_hot": "D.OneHotCategoricalStraightThrough(x.exp()).expand((3, 2))",
    "expanded_independent": "D.Independent(D.Normal(x, x.exp()), 1).expand((3, 2))",
}
MOMENTS = ["mean", "variance", "stddev"]


def inputs(t, dtype="float32"):
    values = np.random.RandomState(0).randn(2, 3).astype(dtype)
    return t.tensor(values, requires_grad=True)


def made(t, case, dtype="float32"):
    x = inputs(t, dtype)
    y = t.tensor(np.linspace(-1, 1, 4).astype(dtype))
    return eval(CASES[case], {"D": t.distributions, "x": x, "y": y}), x


def answers(t, case, dtype):
    """All that a distribution tells, and the gradients, as arrays."""
    d, x = made(t, case, dtype)
    t.manual_seed(5)
    out = {"repr": repr(d), "shapes": str((d.batch_shape, d.event_shape))}
    out["samples"] = d.sample((4,)).detach().numpy()
    one = d.sample()
    out["one"], out["free"] = one.numpy(), not one.requires_grad
    out["log_prob"] = d.log_prob(one).detach().numpy()
    total = d.log_prob(d.sample((2,))).sum()
    for name, tell in {"entropy": d.entropy, "perplexity": d.perplexity, "mode": lambda: d.mode}.items():
        try:
            out[name] = tell().detach().numpy()
        except NotImplementedError:
            out[name] = "not there"
    for name in MOMENTS:
        out[name] = getattr(d, name).detach().numpy()
    if type(out["entropy"]) is not str:
        total = total + d.entropy().sum()
    if d.has_rsample:
        total = total + (d.rsample((3,)) ** 2).sum()
    for name, value in (("cdf", one), ("icdf", t.tensor(0.25, dtype=one.dtype))):
        try:
            out[name] = getattr(d, name)(value).detach().numpy()
        except NotImplementedError:
            out[name] = "not there"
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
    "uniform and normal": "D.Uniform(x, x + 2), D.Normal(0.5, x.exp())",
    "laplace": "D.Laplace(x, 1.0), D.Laplace(0.5, x.exp())",
    "laplace and normal": "D.Laplace(x, 1.5), D.Normal(0.5, x.exp())",
    "normal and laplace": "D.Normal(x, 1.5), D.Laplace(0.5, x.exp())",
    "laplace and uniform": "D.Laplace(x, 1.5), D.Uniform(0.0, 1.0)",
    "normal and uniform": "D.Normal(x, 1.5), D.Uniform(0.0, 1.0)",
    "exponential": "D.Exponential(x.exp()), D.Exponential(0.5)",
    "exponential and normal": "D.Exponential(x.exp()), D.Normal(0.5, x.exp())",
    "exponential and uniform": "D.Exponential(x.exp()), D.Uniform(0.0, 1.0)",
    "uniform and exponential": "D.Uniform(x, x + 2), D.Exponential(0.5)",
    "normal and exponential": "D.Normal(x, 1.5), D.Exponential(0.5)",
    "laplace and exponential": "D.Laplace(x, 1.5), D.Exponential(0.5)",
    "log normal": "D.LogNormal(x, 1.0), D.LogNormal(0.5, x.exp())",
    "one hot": "D.OneHotCategorical(x.exp()), D.OneHotCategoricalStraightThrough(logits=x.flip(0))",
    "independent": "D.Independent(D.Normal(x, 1.0), 1), D.Independent(D.Normal(0.5, x.exp()), 1)",
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
    "D.Laplace(0, -1.0)",
    "D.LogNormal(0, -1.0)",
    "D.LogNormal(0, 1.0).log_prob(t.tensor(-1.0))",
    "D.LogNormal(0, 1.0).cdf(t.tensor(-1.0))",
    "D.OneHotCategorical()",
    "D.OneHotCategorical(x)",
    "D.OneHotCategorical(x.exp()).log_prob(t.ones(2, 3))",
    "D.OneHotCategorical(x.exp()).log_prob(t.ones(3, 2))",
    "D.OneHotCategorical(x.exp()).log_prob(t.ones(()))",
    "D.OneHotCategorical(x.exp()).rsample()",
    "D.OneHotCategorical(x.exp()).cdf(t.ones(3))",
    "D.Independent(D.Normal(x, 1.0), 3)",
    "D.Independent(D.Normal(x, 1.0), 1).log_prob(t.ones(2))",
    "D.Independent(D.Normal(x, 1.0), 1).log_prob(t.ones(3) * float('nan'))",
    "D.Independent(D.Bernoulli(logits=x), 1).enumerate_support()",
    "D.Independent(D.Bernoulli(logits=x), 1).rsample()",
    "D.Exponential(-x.exp())",
    "D.Exponential(x.exp()).log_prob(-x.exp())",
    "D.MixtureSameFamily(D.Normal(x, 1.0), D.Normal(x, 1.0))",
    "D.MixtureSameFamily(D.Categorical(x.exp()), x)",
    "D.MixtureSameFamily(D.Categorical(x.exp()), D.Normal(x[:, :2], 1.0))",
    "D.MixtureSameFamily(D.Categorical(x.exp()), D.Normal(t.zeros(4, 3), 1.0))",
    "D.MixtureSameFamily(D.Categorical(x.exp()), D.Exponential(x.exp())).log_prob(-t.ones(2))",
    "D.MixtureSameFamily(D.Categorical(x.exp()), D.Normal(x, 1.0)).log_prob(t.ones(3))",
    "D.MixtureSameFamily(D.Categorical(x.exp()), D.Normal(x, 1.0)).rsample()",
    "D.MixtureSameFamily(D.Categorical(x.exp()), D.Normal(x, 1.0)).entropy()",
    "D.Normal(x, 1.0).expand((4,))",
    "D.Normal(x, 1.0).enumerate_support()",
    "D.Bernoulli(0.5).icdf(x)",
    "D.kl_divergence(D.Independent(D.Normal(x, 1.0), 1), D.Independent(D.Normal(x, 1.0), 2))",
    "D.kl_divergence(D.Independent(D.Normal(x, 1.0), 1), D.Normal(x, 1.0))",
    "type('Mine', (D.Normal,), {'__init__': lambda self: D.Normal.__init__(self, 0.0, 1.0)})().expand((2,))",
]


def raised(t, text):
    t.distributions.Distribution.set_default_validate_args(True)  # torch.compile, in whatever test, turns it off
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


def test_supports_print_as_torchs(oracle):
    def ask(t):
        D, x = t.distributions, inputs(t).detach()
        made = [
            D.Normal(x, 1.0), D.Laplace(x, 1.0), D.LogNormal(x, 1.0), D.OneHotCategorical(x.exp()), D.Bernoulli(logits=x),
            D.Independent(D.Normal(x, 1.0), 1), D.Independent(D.Normal(x, 1.0), 0), D.Categorical(logits=x),
        ]  # fmt: skip
        return {str(i): getattr(d.support, "text", repr(d.support)) for i, d in enumerate(made)}

    assert ask(tinyrnn) == {name: str(text) for name, text in oracle(ask).items()}


def test_what_is_expanded_shares_memory_and_checks_as_before():
    D = tinyrnn.distributions
    normal = D.Normal(tinyrnn.zeros(3), 1.0, validate_args=False)
    expanded = normal.expand((2, 3))
    assert expanded.loc.data_ptr() == normal.loc.data_ptr() and not expanded._validate_args
    assert D.Normal(0.0, 1.0).expand((2,))._validate_args
    with pytest.raises(NotImplementedError, match="Distribution defines no expand"):
        D.Distribution().expand((2,))

    class Mine(D.Normal):
        pass

    assert type(Mine(0.0, 1.0).expand((2,))) is Mine
