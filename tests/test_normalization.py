"""Batch and RMS normalisation against torch; and the switches of torch.amp and torch.accelerator."""

import numpy as np
import pytest

import tinyrnn
from tinyrnn import nn

DTYPES = ["float32", "float64"]
TOLERANCE = {"float32": (1e-5, 1e-4), "float64": (1e-12, 1e-10)}


def story(torch, make, shape, dtype, evaluate=False):
    """What a layer does to a batch in training, to its buffers and its gradients, and then in evaluation."""
    rng = np.random.default_rng(3)
    layer = make(torch.nn).to(getattr(torch, dtype))
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.tensor(rng.standard_normal(tuple(p.shape))))
    seen = {}
    for step in range(3):
        x = torch.tensor(3 + 2 * rng.standard_normal(shape), dtype=getattr(torch, dtype), requires_grad=True)
        if step == 2:
            layer.eval()
        y = layer(x)
        for p in layer.parameters():
            p.grad = None
        (y * torch.tensor(rng.standard_normal(shape), dtype=getattr(torch, dtype))).sum().backward()
        seen |= {f"y{step}": y.detach().numpy(), f"grad x{step}": x.grad.numpy()}
        seen |= {f"grad {n}{step}": p.grad.numpy() for n, p in layer.named_parameters()}
        seen |= {f"{n}{step}": b.detach().clone().numpy() for n, b in layer.named_buffers()}
    return seen | {"printed": str(layer), "keys": " ".join(layer.state_dict())}


LAYERS = {
    "batch norm": (lambda nn: nn.BatchNorm1d(4), (5, 4)),
    "batch norm over time": (lambda nn: nn.BatchNorm1d(4, eps=1e-3, momentum=0.3), (5, 4, 3)),
    "plain average": (lambda nn: nn.BatchNorm1d(4, momentum=None), (5, 4)),
    "no parameters": (lambda nn: nn.BatchNorm1d(4, affine=False), (5, 4)),
    "no running statistics": (lambda nn: nn.BatchNorm1d(4, track_running_stats=False), (5, 4)),
    "rms norm": (lambda nn: nn.RMSNorm(4), (5, 4)),
    "rms norm over two": (lambda nn: nn.RMSNorm((3, 4), eps=1e-3), (2, 3, 4)),
    "rms norm without weight": (lambda nn: nn.RMSNorm(4, elementwise_affine=False), (2, 3, 4)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer(oracle, name, dtype):
    make, shape = LAYERS[name]
    expected = oracle(lambda torch: story(torch, make, shape, dtype))
    got = story(tinyrnn, make, shape, dtype)
    assert set(got) == set(expected)
    for key, value in expected.items():
        if value.dtype.kind in "US":
            assert got[key] == str(value), key
            continue
        scale = max(float(np.abs(value).max()), 1.0)
        assert np.abs(got[key] - value).max() <= TOLERANCE[dtype]["grad" in key] * scale, key


WRONG = {
    "one value": lambda t: t.nn.BatchNorm1d(4)(t.ones(1, 4)),
    "channels": lambda t: t.nn.BatchNorm1d(4)(t.ones(3, 5)),
    "dimensions": lambda t: t.nn.BatchNorm1d(4)(t.ones(4)),
    "width": lambda t: t.nn.RMSNorm(4)(t.ones(3, 5)),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused(oracle, name):
    def refused(torch):
        with pytest.raises(Exception) as caught:  # noqa: PT011, B017  (which one is the answer)
            WRONG[name](torch)
        return {"class": caught.type.__name__}

    assert refused(tinyrnn)["class"] == oracle(refused)["class"]


def test_functional_forms_are_the_layers():
    x = tinyrnn.randn(5, 4)
    layer = nn.BatchNorm1d(4)
    mean, var = tinyrnn.zeros(4), tinyrnn.ones(4)
    assert tinyrnn.equal(layer(x), nn.functional.batch_norm(x, mean, var, layer.weight, layer.bias, training=True))
    assert tinyrnn.equal(layer.running_mean, mean) and tinyrnn.equal(layer.running_var, var)
    assert tinyrnn.equal(nn.RMSNorm(4)(x), nn.functional.rms_norm(x, (4,)))


def test_half_precision_is_refused_and_its_absence_accepted():
    with pytest.raises(RuntimeError, match="enabled=False"):
        tinyrnn.amp.autocast("cpu")
    with tinyrnn.amp.autocast("cpu", enabled=False):
        loss = (tinyrnn.ones(2, requires_grad=True) * 2).sum()
    scaler = tinyrnn.amp.GradScaler(enabled=False)
    assert scaler.scale(loss) is loss and not scaler.is_enabled()
    assert tinyrnn.accelerator.is_available() == tinyrnn.cuda.is_available()
    assert (tinyrnn.accelerator.current_accelerator() is None) == (not tinyrnn.cuda.is_available())
