"""Batch, instance and RMS normalisation against torch; and the switches of torch.amp and torch.accelerator."""

import numpy as np
import pytest

import tinyrnn
from tinyrnn import nn
from tinyrnn.autograd import gradcheck

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
    "instance norm": (lambda nn: nn.InstanceNorm1d(4), (5, 4, 3)),
    "instance norm of one": (lambda nn: nn.InstanceNorm1d(4, affine=True), (4, 7)),
    "instance norm, moving": (lambda nn: nn.InstanceNorm1d(4, 1e-3, 0.3, True, True), (5, 4, 3)),
    "instance norm, still": (lambda nn: nn.InstanceNorm1d(4, momentum=None, track_running_stats=True), (5, 4, 3)),
    "instance norm without bias": (lambda nn: nn.InstanceNorm1d(4, affine=True, bias=False), (2, 4, 3)),
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


def by_hand(x, g, weight, bias, mean, variance, eps):
    """Batch norm and its gradients in float64; `mean` and `variance` None for the batch's."""
    x, g, weight, bias = (a.astype(np.float64) for a in (x, g, weight, bias))
    over, shape = (0, *range(2, x.ndim)), (-1, *[1] * (x.ndim - 2))
    batch = mean is None
    if batch:
        mean, variance = x.mean(over), x.var(over)
    scale = 1 / np.sqrt(variance.astype(np.float64) + eps).reshape(shape)
    normal = (x - mean.reshape(shape)) * scale
    dx = g * weight.reshape(shape)
    if batch:
        dx = dx - dx.mean(over, keepdims=True) - normal * (dx * normal).mean(over, keepdims=True)
    return normal * weight.reshape(shape) + bias.reshape(shape), dx * scale, (g * normal).sum(over), g.sum(over)


SHAPES = [(2, 1), (9, 3), (4, 17), (33, 130), (70, 64), (2, 3, 1), (3, 5, 8), (4, 2, 37), (2, 3, 300), (2, 3, 4, 5)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("batch", [True, False])
def test_batch_norm_by_hand(shape, batch, dtype):
    """Of every layout in memory, with sizes that fill vectors and that do not."""
    rng = np.random.default_rng(sum(shape))
    C, order = shape[1], (*range(2, len(shape)), 1, 0)
    draw = rng.standard_normal
    x, g = (3 + 2 * draw(shape)).astype(dtype), draw(shape).astype(dtype)
    weight, bias, mean = (draw(C).astype(dtype) for _ in range(3))
    variance = rng.uniform(0.5, 2, C).astype(dtype)
    expected = by_hand(x, g, weight, bias, *((None, None) if batch else (mean, variance)), 1e-3)
    back = tuple(np.argsort(order))
    for way in (lambda t: t, lambda t: t.permute(order).contiguous().permute(back), lambda t: t.flip(0).flip(0)):
        a, w, b = (tinyrnn.tensor(v, requires_grad=True) for v in (x, weight, bias))
        running = tinyrnn.tensor(mean), tinyrnn.tensor(variance)
        y = nn.functional.batch_norm(way(a), *running, w, b, batch, 0.25, 1e-3)
        assert y.is_contiguous()
        y.backward(way(tinyrnn.tensor(g)))
        for found, wanted in zip((y.detach(), a.grad, w.grad, b.grad), expected, strict=True):
            scale = max(float(np.abs(wanted).max()), 1.0)
            assert found.numpy().dtype == dtype
            assert np.abs(found.numpy() - wanted).max() <= TOLERANCE[dtype][1] / 10 * scale
        over = (0, *range(2, len(shape)))
        if batch:
            moved = 0.75 * mean + 0.25 * x.mean(over), 0.75 * variance + 0.25 * x.var(over, ddof=1)
        for stat, wanted in zip(running, moved if batch else (mean, variance), strict=True):
            np.testing.assert_allclose(stat.numpy(), wanted, rtol=TOLERANCE[dtype][1] / 10)


@pytest.mark.parametrize("shape", [(40, 3), (5, 3, 40)])
def test_batch_norm_far_from_zero(shape):
    """All digits of x - mean are there; and channels without spread are zero."""
    x = (1e5 + np.random.default_rng(0).standard_normal(shape)).astype("float32")
    x[:, 1] = 12345.678
    g = (1 + np.random.default_rng(1).standard_normal(shape)).astype("float32")
    t, w, b = tinyrnn.tensor(x, requires_grad=True), tinyrnn.ones(3, requires_grad=True), tinyrnn.zeros(3)
    y = nn.functional.batch_norm(t, None, None, w, b, training=True)
    y.backward(tinyrnn.tensor(g))
    expected, dx, dw, _ = by_hand(x, g, np.ones(3), np.zeros(3), None, None, 1e-5)
    assert np.abs(y.detach().numpy() - expected).max() < 1e-5
    assert (y.detach().numpy()[:, 1] == 0).all()
    varied = [0, 2]  # what has no spread has enormous gradients
    assert np.abs(t.grad.numpy() - dx)[:, varied].max() < 1e-4
    assert np.abs(w.grad.numpy() - dw)[varied].max() < 1e-4


def test_batch_norm_in_evaluation_keeps_apart_what_is_not_finite():
    x = tinyrnn.tensor([[1.0, np.inf, np.nan], [2.0, 3.0, 4.0]], requires_grad=True)
    y = nn.functional.batch_norm(x, tinyrnn.zeros(3), tinyrnn.ones(3), eps=0.0)
    assert tinyrnn.equal(y.nan_to_num(), x.nan_to_num())
    y.backward(tinyrnn.ones(2, 3))
    assert tinyrnn.equal(x.grad, tinyrnn.ones(2, 3))


@pytest.mark.parametrize("affine", [True, False])
def test_gradients_of_norms_are_those_of_their_sums(affine):
    """Against differences of the function itself."""
    draw = lambda *shape: tinyrnn.randn(*shape, dtype=tinyrnn.float64, requires_grad=True)  # noqa: E731
    F, w, b = nn.functional, draw(4) if affine else None, draw(4) if affine else None
    given = tuple(p for p in (w, b) if p is not None)
    running = tinyrnn.zeros(4).double(), tinyrnn.ones(4).double()
    for x in (draw(5, 4), draw(3, 4, 2)):
        assert gradcheck(lambda x, *_: F.batch_norm(x, None, None, w, b, True), (x, *given))
        assert gradcheck(lambda x, *_: F.batch_norm(x, *running, w, b), (x, *given))
        assert gradcheck(lambda x, *_: F.group_norm(x, 2, w, b), (x, *given))
    for x in (draw(5, 4), draw(2, 3, 4)):
        assert gradcheck(lambda x, *_: F.rms_norm(x, (4,), w), (x, *given[:1]))


def test_odd_rms_norms():
    """Of rows of nothing, of numbers whose squares float32 has no room for, and with a weight of another type."""
    x = tinyrnn.tensor([[3e20, 4e20], [0.0, 0.0], [np.inf, 1.0]])
    y = nn.functional.rms_norm(x, (2,), eps=0.5).numpy()
    root = np.sqrt(0.5)
    np.testing.assert_allclose(y[:2], [[0.6 / root, 0.8 / root], [0, 0]], rtol=1e-6)
    assert np.isnan(y[2, 0]) and y[2, 1] == 0
    assert nn.functional.rms_norm(tinyrnn.ones(2, 0), (0,)).shape == (2, 0)
    assert nn.functional.rms_norm(x, (2,), tinyrnn.ones(2, dtype=tinyrnn.float64)).dtype == tinyrnn.float32
    with pytest.raises(NotImplementedError, match="rms_norm"):
        nn.functional.rms_norm(tinyrnn.ones(2, 3, dtype=tinyrnn.int64), (3,))


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4), (2, 3, 0)], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_of_nothing(shape, training):
    """As in torch: the statistics stay, and the gradients of weight and bias are zeros."""
    layer = nn.BatchNorm1d(3).train(training)
    x = tinyrnn.zeros(*shape, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert y.shape == x.grad.shape == shape
    assert tinyrnn.equal(layer.weight.grad, tinyrnn.zeros(3)) and tinyrnn.equal(layer.bias.grad, tinyrnn.zeros(3))
    assert tinyrnn.equal(layer.running_mean, tinyrnn.zeros(3)) and tinyrnn.equal(layer.running_var, tinyrnn.ones(3))
    assert layer.num_batches_tracked == training


def test_batch_norm_without_statistics_is_refused_in_evaluation():
    x, some = tinyrnn.ones(2, 3), tinyrnn.ones(3)
    for given, name in (((None, some), "running_mean"), ((some, None), "running_var")):
        with pytest.raises(RuntimeError, match=f"{name} must be defined in evaluation mode"):
            nn.functional.batch_norm(x, *given)
        nn.functional.batch_norm(x, *given, training=True)
    with pytest.raises(RuntimeError, match=r"group_norm\(\): expected weight of dtype torch.float32"):
        nn.functional.group_norm(x, 3, some.double())


WRONG = {
    "one value": lambda t: t.nn.BatchNorm1d(4)(t.ones(1, 4)),
    "channels": lambda t: t.nn.BatchNorm1d(4)(t.ones(3, 5)),
    "dimensions": lambda t: t.nn.BatchNorm1d(4)(t.ones(4)),
    "instance norm: one value": lambda t: t.nn.InstanceNorm1d(4)(t.ones(2, 4, 1)),
    "instance norm: channels": lambda t: t.nn.InstanceNorm1d(4, affine=True)(t.ones(2, 3, 5)),
    "instance norm: dimensions": lambda t: t.nn.InstanceNorm1d(4)(t.ones(1, 2, 4, 5)),
    "instance norm: weight": lambda t: t.nn.functional.instance_norm(t.ones(2, 3, 5), weight=t.ones(4)),
    "instance norm: half of the statistics": lambda t: t.nn.functional.instance_norm(t.ones(2, 3, 5), t.zeros(3)),
    "instance norm: a vector": lambda t: t.nn.functional.instance_norm(t.ones(3)),
    "instance norm: no statistics": lambda t: t.nn.functional.instance_norm(t.ones(2, 3, 5), use_input_stats=False),
    "width": lambda t: t.nn.RMSNorm(4)(t.ones(3, 5)),
    "rms norm: a number": lambda t: t.nn.functional.rms_norm(t.ones(2, 3), 3),
    "rms norm: no dimensions": lambda t: t.nn.functional.rms_norm(t.ones(2, 3), []),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused(oracle, name):
    def refused(torch):
        with pytest.raises(Exception) as caught:  # noqa: PT011, B017  (which one is the answer)
            WRONG[name](torch)
        return {"class": caught.type.__name__}

    assert refused(tinyrnn)["class"] == oracle(refused)["class"]


def test_instance_norm_warns_of_other_channels_than_it_was_made_for():
    with pytest.warns(UserWarning, match="does not match num_features"):
        y = nn.InstanceNorm1d(4)(tinyrnn.arange(30.0).reshape(2, 3, 5))
    assert y.shape == (2, 3, 5)


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


@pytest.mark.parametrize("version", [None, 1, 2])
def test_old_states_do_not_count_batches(version, oracle):
    """What torch saved before its version 2, and dicts without versions."""

    def loaded(torch):
        layer = torch.nn.BatchNorm1d(3)
        state = layer.state_dict()
        told = state._metadata[""]["version"]
        del state["num_batches_tracked"]
        state._metadata[""]["version"] = version
        layer.num_batches_tracked.add_(4)
        try:
            layer.load_state_dict(state)
        except RuntimeError:
            return {"version": told, "batches": -1}
        return {"version": told, "batches": layer.num_batches_tracked.item()}

    expected = oracle(loaded)
    assert {k: int(v) for k, v in expected.items()} == loaded(tinyrnn)
