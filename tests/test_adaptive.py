"""AdaptiveLogSoftmaxWithLoss against torch."""

import numpy as np
import pytest

import tinyrnn


def trained(t, head_bias):
    t.manual_seed(4)
    layer = t.nn.AdaptiveLogSoftmaxWithLoss(16, 50, [10, 20, 40], div_value=2.0, head_bias=head_bias)
    optimizer = t.optim.SGD(layer.parameters(), lr=0.5)
    x, y = t.randn(12, 16).requires_grad_(), t.randint(50, (12,))
    found = {}
    for step in range(3):
        output, loss = layer(x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found[f"loss {step}"] = loss.item()
        found[f"output {step}"] = output.detach().numpy()
    found["x"] = x.grad.numpy()
    found["all"] = layer.log_prob(x).detach().numpy()
    found["best"] = layer.predict(x).numpy()
    found["one"] = layer(x[0], y[0]).output.item()
    found["text"] = f"{layer} {list(layer.state_dict())} {layer(x, y)._fields} {layer.cutoffs} {layer.head_size}"
    layer.reset_parameters()
    found["drawn"] = layer.tail[1][0].weight.detach().numpy()
    return found


@pytest.mark.parametrize("head_bias", [False, True])
def test_training(head_bias, oracle):
    ours, theirs = trained(tinyrnn, head_bias), oracle(lambda t: trained(t, head_bias))
    for name, value in theirs.items():
        if value.dtype.kind in "Ui":
            assert np.array_equal(ours[name], value), name
        else:
            np.testing.assert_allclose(ours[name], value, rtol=2e-5, atol=1e-6, err_msg=name)


def test_the_probabilities_of_all_classes_add_up_to_one():
    layer = tinyrnn.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [5, 12])
    x = tinyrnn.randn(6, 8)
    everything = layer.log_prob(x)
    np.testing.assert_allclose(everything.exp().sum(1).detach().numpy(), 1, rtol=1e-5)
    for k in (0, 4, 5, 11, 12, 19):
        output = layer(x, tinyrnn.full((6,), k)).output
        np.testing.assert_allclose(output.detach().numpy(), everything[:, k].detach().numpy(), rtol=1e-5)
    assert tinyrnn.equal(layer.predict(x), everything.argmax(1))


PROBES = {
    **{f"cutoffs {c}": lambda t, c=c: t.nn.AdaptiveLogSoftmaxWithLoss(4, 9, c)
       for c in ([], [5, 3], [0, 4], [4, 4], [9], [2.5], [12])},
    "class": lambda t: t.nn.AdaptiveLogSoftmaxWithLoss(4, 9, [3])(t.zeros(2, 4), t.tensor([1, 9])),
    "below": lambda t: t.nn.AdaptiveLogSoftmaxWithLoss(4, 9, [3])(t.zeros(2, 4), t.tensor([1, -1])),
    "length": lambda t: t.nn.AdaptiveLogSoftmaxWithLoss(4, 9, [3])(t.zeros(2, 4), t.tensor([1])),
    "vector": lambda t: t.nn.AdaptiveLogSoftmaxWithLoss(4, 9, [3])(t.zeros(4), t.tensor([1])),
    "number": lambda t: t.nn.AdaptiveLogSoftmaxWithLoss(4, 9, [3])(t.zeros(2, 4), t.tensor(1)),
    "matrix": lambda t: t.nn.AdaptiveLogSoftmaxWithLoss(4, 9, [3])(t.zeros(2, 4), t.tensor([[1, 2]])),
}  # fmt: skip


@pytest.mark.parametrize("name", PROBES)
def test_what_is_refused(name, oracle):
    def answer(t):
        try:
            PROBES[name](t)
        except Exception as error:
            return {"error": type(error).__name__}
        return {"error": "none"}

    assert answer(tinyrnn)["error"] == str(oracle(answer)["error"]) != "none"
