"""Zoneout and recurrent dropout of every recurrent layer, against a loop over tensors with the same masks."""

import copy
import inspect
import pickle

import numpy as np
import pytest
from stories import flat
from test_cell import every_kind, gru, lstm, rnn_tanh, whole_and_outer

import tinyrnn as torch
from tinyrnn import nn
from tinyrnn.autograd import gradcheck
from tinyrnn.nn import functional as F
from tinyrnn.nn.utils import rnn


def rnn_relu(a):
    return torch.relu(a)


def blend(f, x_n, h_n, h, c, *, p):
    """A whole gate, a split gate, h itself, a further state and a learned vector."""
    f = torch.sigmoid(f + p * c)
    c = f * c + (1 - f) * torch.tanh(x_n + f * h_n)
    return 0.5 * h + torch.tanh(c), c


def three(a, b, fast, slow):
    fast, slow = 0.5 * fast + torch.tanh(a) * slow, 0.9 * slow - 0.1 * fast + torch.sigmoid(b)
    return torch.tanh(fast - slow), fast, slow


def means(a, b, h, c):
    """Means over the units, of gates and of states."""
    c = 0.5 * c + torch.tanh(a - a.mean(-1, keepdim=True))
    return torch.sigmoid(b) * (h - h.mean(-1, keepdim=True) + c), c


BLEND, THREE = nn.cell(blend), nn.cell(three)
KINDS = {  # layer class, options, step, gates, states
    "RNN": (nn.RNN, {}, rnn_tanh, "a", "h"),
    "RNN_RELU": (nn.RNN, {"nonlinearity": "relu"}, rnn_relu, "a", "h"),
    "GRU": (nn.GRU, {}, gru, "r z n", "h"),
    "LSTM": (nn.LSTM, {}, lstm, "i f g o", "h c"),
    "LSTM_PROJ": (nn.LSTM, {"proj_size": 2}, lstm, "i f g o", "h c"),
    "blend": (BLEND, {}, blend, "f n", "h c"),
    "three": (THREE, {}, three, "a b", "h fast slow"),
    "three_PROJ": (THREE, {"proj_size": 3}, three, "a b", "h fast slow"),
    "every_kind": (nn.cell(every_kind), {}, every_kind, "a f n b", "h c"),
    "means": (nn.cell(means), {}, means, "a b", "h c"),
    "outer_PROJ": (nn.cell(whole_and_outer), {"proj_size": 2}, whole_and_outer, "f a", "h c"),
}


def layer_of(kind, width=3, hidden=5, dtype=torch.float64, **options):
    """A layer with weights that are nowhere zero or equal."""
    cls, more, *_ = KINDS[kind]
    layer = cls(width, hidden, dtype=dtype, **options, **more)
    numbers = np.random.default_rng(1)
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.from_numpy(numbers.uniform(-0.6, 0.6, tuple(p.shape))))
    return layer


def tensor(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).requires_grad_()


def states_of(kind, layer, B):
    """Initial states, as the layer takes them."""
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    names = KINDS[kind][4].split()
    sizes = [layer.proj_size or layer.hidden_size] + [layer.hidden_size] * (len(names) - 1)
    hx = tuple(tensor(10 + k, rows, B, size) for k, size in enumerate(sizes))
    return hx if len(hx) > 1 else hx[0]


def loop(kind, layer, x, hx, sizes):
    """What `layer` computes for packed rows x (N, I), step by step, drawing masks as the layer says it does.

    Returns the rows of its output, and its last states, (layers * directions, B, .) each.
    """
    _, _, step, gates, names = KINDS[kind]
    gates, names, hx = gates.split(), names.split(), flat(hx)
    called = inspect.getfullargspec(step)
    inner = [gate for gate in gates if gate in called.args or f"h_{gate}" in called.args]
    starts, N, B, H = np.cumsum([0, *sizes]), sum(sizes), sizes[0], layer.hidden_size
    P = layer.proj_size or H
    given = layer.zoneout
    zoneout = dict(zip([*names[1:], "h"], given if isinstance(given, tuple) else [given] * len(names), strict=True))
    last = []
    for level in range(layer.num_layers):
        if level and layer.training and layer.dropout:
            x = F.dropout(x, layer.dropout)
        outputs = []
        for suffix in ("", "_reverse") if layer.bidirectional else ("",):
            drop = torch.ones(B, P, dtype=x.dtype)
            if layer.training and layer.recurrent_dropout:
                drop = F.dropout(drop, layer.recurrent_dropout)
            zones = {name: torch.full((N, P if name == "h" else H), zoneout[name], dtype=x.dtype) for name in names}
            for name, zone in zones.items():
                if layer.training and zoneout[name]:
                    zones[name] = (torch.rand(*zone.shape) < zoneout[name]).to(x.dtype)
            w_ih, w_hh, b_ih, b_hh, w_hr, vector = (
                getattr(layer, f"{name}_l{level}{suffix}", None)
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "p")
            )
            states = {name: list(h[len(last)].unbind()) for name, h in zip(names, hx, strict=True)}
            rows = [None] * N
            for t in reversed(range(len(sizes))) if suffix else range(len(sizes)):
                for b in range(sizes[t]):
                    r, old = starts[t] + b, {name: states[name][b] for name in names}
                    from_x = dict(zip(gates, (w_ih @ x[r] + b_ih).chunk(len(gates)), strict=True))
                    from_h = (w_hh @ (old["h"] * drop[b]) + b_hh).chunk(len(inner))
                    known = {f"x_{gate}": u for gate, u in from_x.items()}
                    for gate, v in zip(inner, from_h, strict=True):
                        known |= {gate: from_x[gate] + v, f"h_{gate}": v}
                    known |= old
                    new = step(*(known[name] for name in called.args), **dict.fromkeys(called.kwonlyargs, vector))
                    for name, value in zip(names, new if isinstance(new, tuple) else (new,), strict=True):
                        if name == "h" and w_hr is not None:
                            value = w_hr @ value
                        states[name][b] = zones[name][r] * old[name] + (1 - zones[name][r]) * value
                    rows[r] = states["h"][b]
            outputs.append(torch.stack(rows))
            last.append({name: torch.stack(states[name]) for name in names})
        x = torch.cat(outputs, -1)
    return x, [torch.stack([states[name] for states in last]) for name in names]


def gradients(results, leaves):
    """Of a random weighting of the results."""
    total = sum((r * tensor(40 + k, *r.shape).detach()).sum() for k, r in enumerate(results))
    return torch.autograd.grad(total, leaves, retain_graph=True)


def assert_the_same(got, expected, leaves, names):
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(
            a.detach().numpy(), b.detach().numpy(), rtol=0, atol=1e-12 * (1 + b.abs().max().item())
        )
    found = zip(names, gradients(got, leaves), gradients(expected, leaves), strict=True)
    for name, a, b in found:
        tolerance = 1e-10 * (1 + b.abs().max().item())
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol=tolerance, err_msg=name)


NOISE = {
    "zoneout": {"zoneout": 0.4},
    "recurrent dropout": {"recurrent_dropout": 0.4},
    "both": {"zoneout": 0.3, "recurrent_dropout": 0.5},
}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_is_its_loop(kind, noise, training):
    """Packed, in two layers and two directions, with dropout between the layers."""
    layer = layer_of(kind, num_layers=2, bidirectional=True, dropout=0.25, **NOISE[noise]).train(training)
    x, sizes = tensor(2, 8, 3), [3, 3, 1, 1]
    hx = states_of(kind, layer, 3)
    leaves = [x, *flat(hx), *layer.parameters()]
    names = ["x", *("h0" for _ in flat(hx)), *dict(layer.named_parameters())]
    packed = rnn.PackedSequence(x, torch.tensor(sizes))
    torch.manual_seed(3)
    out, last = layer(packed, hx)
    after = torch.rand(1)
    torch.manual_seed(3)
    expected, expected_last = loop(kind, layer, x, hx, sizes)
    assert torch.equal(torch.rand(1), after)  # as many numbers were drawn
    assert_the_same([out.data, *flat(last)], [expected, *expected_last], leaves, names)


@pytest.mark.parametrize("kind", KINDS)
def test_dense_batch_first_unbatched_and_one_step(kind):
    T, B = 4, 3
    layer = layer_of(kind, zoneout=0.5, recurrent_dropout=0.3)
    hx, x = states_of(kind, layer, B), tensor(2, T, B, 3)
    torch.manual_seed(3)
    expected, expected_last = loop(kind, layer, x.reshape(T * B, 3), hx, [B] * T)
    expected = expected.reshape(T, B, -1)
    leaves, names = [x, *layer.parameters()], ["x", *dict(layer.named_parameters())]
    torch.manual_seed(3)
    out, last = layer(x, hx)
    assert_the_same([out, *flat(last)], [expected, *expected_last], leaves, names)
    layer.batch_first = True
    torch.manual_seed(3)
    out, last = layer(x.transpose(0, 1), hx)
    assert_the_same([out.transpose(0, 1), *flat(last)], [expected, *expected_last], leaves, names)
    layer.batch_first = False

    for rows, given in ((T, x[:, 0]), (1, x[:1, 0])):
        first = tuple(h[:, :1] for h in flat(hx))
        torch.manual_seed(4)
        expected, expected_last = loop(kind, layer, given, first, [1] * rows)
        torch.manual_seed(4)
        alone = tuple(h[:, 0] for h in first)
        out, last = layer(given, alone if len(alone) > 1 else alone[0])
        assert_the_same([out, *flat(last)], [expected, *(h[:, 0] for h in expected_last)], leaves, names)


@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck(kind):
    layer = layer_of(kind, 2, 4, bidirectional=True, zoneout=0.4, recurrent_dropout=0.3)
    hx, x = states_of(kind, layer, 2), tensor(2, 3, 2, 2)

    def run(x, *rest):
        torch.manual_seed(5)
        given = rest[: len(flat(hx))]
        return flat(layer(x, given if len(given) > 1 else given[0]))

    assert gradcheck(run, (x, *flat(hx), *layer.parameters()))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", ["LSTM", "LSTM_PROJ", "three"])
@pytest.mark.parametrize("which", [0, -1, -2])
def test_zoneout_of_one_state_alone(kind, which, training):
    count = len(KINDS[kind][4].split())
    zoneout = [0.0] * count
    zoneout[which] = 0.5
    layer = layer_of(kind, zoneout=tuple(zoneout)).train(training)
    x, hx = tensor(2, 6, 3), states_of(kind, layer, 2)
    torch.manual_seed(3)
    expected, expected_last = loop(kind, layer, x, hx, [2, 2, 2])
    torch.manual_seed(3)
    out, last = layer(x.reshape(3, 2, 3), hx)
    leaves, names = [x, *layer.parameters()], ["x", *dict(layer.named_parameters())]
    assert_the_same([out.reshape(6, -1), *last], [expected, *expected_last], leaves, names)


@pytest.mark.parametrize("kind", KINDS)
def test_without_them_nothing_changes(kind):
    """The same bits, and the same random stream, as if the options did not exist."""
    plain, zero = layer_of(kind, num_layers=2), layer_of(kind, num_layers=2, zoneout=0.0, recurrent_dropout=0)
    x = tensor(2, 4, 3, 3)
    told = []
    for layer in (plain, zero):
        torch.manual_seed(3)
        out, last = layer(x)
        told.append([out, *flat(last), *gradients([out], [x, *layer.parameters()]), torch.rand(2)])
    assert all(torch.equal(a, b) for a, b in zip(*told, strict=True))
    assert repr(plain) == repr(zero)
    evaluated = layer_of(kind, num_layers=2, recurrent_dropout=0.5).eval()
    zoned = layer_of(kind, num_layers=2, zoneout=0.5).eval()
    torch.manual_seed(3)
    assert torch.equal(evaluated(x)[0], told[0][0]) and not torch.equal(zoned(x)[0], told[0][0])
    assert torch.equal(torch.rand(2), told[0][-1])  # nor does evaluation draw anything


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "blend"])
def test_the_seed_decides(kind):
    layer = layer_of(kind, 3, 20, dtype=torch.float32, zoneout=0.5, recurrent_dropout=0.5)
    x = torch.randn(6, 4, 3)
    outs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outs.append(layer(x)[0])
    assert torch.equal(outs[0], outs[1]) and not torch.equal(outs[0], outs[2])
    assert not torch.equal(layer(x)[0], layer(x)[0])


def test_how_often_and_for_how_long():
    """A unit zoned out keeps its value exactly; a dropped one is out of the product at every step."""
    layer = layer_of("LSTM", 4, 50, dtype=torch.float32, zoneout=(0.25, 0.75))
    out, _ = layer(torch.randn(200, 8, 4))
    kept = (out[1:] == out[:-1]).float().mean().item()
    assert kept == pytest.approx(0.75, abs=0.01)

    layer = nn.RNN(1, 40, bias=False, nonlinearity="relu", recurrent_dropout=0.25)
    with torch.no_grad():
        layer.weight_ih_l0.zero_()
        layer.weight_hh_l0.copy_(torch.eye(40))
        h, out = torch.ones(1, 30, 40), layer(torch.zeros(5, 30, 1), torch.ones(1, 30, 40))[0]
    share = (out[0] > 0).float().mean().item()
    assert share == pytest.approx(0.75, abs=0.04)
    for k in range(5):  # the same units, at every step, grow by 1 / (1 - p)
        np.testing.assert_allclose(out[k].numpy(), ((out[0] > 0) * h[0] / 0.75 ** (k + 1)).numpy(), rtol=1e-6)


def test_copies_and_older_layers():
    layer = layer_of("LSTM", zoneout=(0.1, 0.2), recurrent_dropout=0.3)
    x = tensor(2, 4, 2, 3)
    outs = []
    for other in (layer, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.manual_seed(1)
        outs.append(other(x)[0])
    assert torch.equal(outs[0], outs[1]) and torch.equal(outs[0], outs[2])
    del layer.__dict__["zoneout"], layer.__dict__["recurrent_dropout"]  # as it was before there were these options
    assert repr(layer) == "LSTM(3, 5)" and torch.equal(layer(x)[0], layer(x)[0])


def test_printed_forms():
    assert repr(nn.GRU(2, 3, zoneout=0.1)) == "GRU(2, 3, zoneout=0.1)"
    both = nn.LSTM(2, 3, 2, bidirectional=True, zoneout=(0.5, 0.05), recurrent_dropout=0.2)
    assert repr(both) == "LSTM(2, 3, num_layers=2, bidirectional=True, zoneout=(0.5, 0.05), recurrent_dropout=0.2)"
    assert repr(nn.LSTM(2, 3, zoneout=(0.0, 0))) == "LSTM(2, 3)"


@pytest.mark.parametrize("cls", [nn.RNN, nn.GRU, nn.LSTM, BLEND])
@pytest.mark.parametrize(
    "value", [1, 1.0, -0.1, 2, float("nan"), True, None, "0.5", (0.5,), (0.1, 0.2, 0.3), (0.1, 1.0)]
)
def test_values_outside_are_refused(cls, value):
    for option in ("zoneout", "recurrent_dropout"):
        with pytest.raises(ValueError, match=rf"^{cls.__name__}: {option} should be a number in range \[0, 1\)"):
            cls(2, 3, **{option: value})
        assert inspect.signature(nn.RNNBase.__init__).parameters[option].kind is inspect.Parameter.KEYWORD_ONLY
    with pytest.raises(ValueError, match=r"or a tuple of 2 such numbers, of the states c, h, got \(0.5, 1\)"):
        nn.LSTM(2, 3, zoneout=(0.5, 1))


def test_the_kernels_with_them_are_there_to_be_read():
    from tinyrnn.kernels.cpu.recurrence import print_kernel

    plain = print_kernel(nn.GRU(1, 1).cell, "float32")
    text = print_kernel(nn.GRU(1, 1).cell, "float32", zoned=(True,), dropped=True)
    assert "zone" not in plain and "drop" not in plain
    assert "zone_of_h * h" in text and "entering" in text
