"""nn.cell: layers made of a user's step, against the same step run on tensors, one time step after the other."""

import copy
import functools
import inspect
import math
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

import tinyrnn as torch
from tinyrnn import nn
from tinyrnn.autograd import gradcheck
from tinyrnn.kernels import cells
from tinyrnn.kernels.scalar import record, stages
from tinyrnn.nn import functional as F
from tinyrnn.nn.utils import rnn
from tinyrnn.ops import common

RATE = 0.25


# ---------------------------------------------------------------------------------- the cells
def minimal(f, x_n, h_n, h):
    """A minimal gated unit, https://arxiv.org/abs/1603.09420."""
    f = torch.sigmoid(f)
    return (1 - f) * h + f * torch.tanh(x_n + f * h_n)


def peephole(i, f, g, o, c, *, p_i, p_f, p_o):
    """An LSTM whose gates see the cell, Gers and Schmidhuber 2000."""
    c = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
    return torch.sigmoid(o + p_o * c) * torch.tanh(c), c


def coupled(f, g, o, c):
    """An LSTM that forgets what it writes over, Greff et al. 2017."""
    f = torch.sigmoid(f)
    c = f * c + (1 - f) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def three(a, b, fast, slow):
    fast, slow = 0.5 * fast + torch.tanh(a) * slow, 0.9 * slow - 0.1 * fast + torch.sigmoid(b)
    return torch.tanh(fast - slow), fast, slow


def leaky(a, h):
    """A leaky unit reads its state, and a number from outside."""
    return h + RATE * (torch.tanh(a) - h)


def no_input_from_the_past_state(x_a, h_a, *, bias_of_my_own):
    return torch.sin(x_a) * torch.cos(h_a) + bias_of_my_own


def collide(
    t, b, j, T, one, v0, exp, gates, lambda_, t_, d_out0, h, states, d_states, *, H, k, in_x, product, tanh, v1
):
    """Every name here means something else in the printed kernels."""
    first = torch.tanh(t * H + b * k - j) + torch.exp(-one * one) * v0 + in_x * exp / (2 + gates * gates)
    second = torch.sigmoid(lambda_ - t_) * states + d_out0 * torch.sigmoid(T) * product
    third = torch.sin(second * tanh) - v1 * d_states
    return first + 0.5 * h, second, third


def functions(a, b, h):
    u = abs(a) + torch.abs(b) + 0.5
    low = torch.log(u) + torch.log1p(u) - torch.sqrt(u) + torch.expm1(-u) + torch.erf(b)
    waves = torch.sin(a) * torch.cos(b) + torch.sinh(a / 4) / torch.cosh(b / 4) + torch.tan(a / 9)
    soft = F.softplus(a) + F.silu(b) + F.elu(a, 0.5) + F.leaky_relu(b, 0.2) + F.gelu(a) + F.logsigmoid(b)
    bounds = torch.maximum(a, b) - torch.minimum(a, h) + torch.clamp(b, -0.5, 0.5) + torch.square(h)
    return torch.tanh(low + waves + soft + bounds + torch.relu(h) + torch.rsqrt(u) + torch.reciprocal(u))


def operators(a, b, h):
    powers = a**2 - (+b) ** 3 + 2 ** (-b) + (a * a + 1) ** b + h**0 + 1.5 ** (a * 0.5)
    quotients = 1 / (2 + a * a) - a / 4 + (3 - b) / 7
    return torch.tanh(powers * 0.1 + quotients + 0.5 * a + b * np.sqrt(2.0) + h)


def choices(a, b, h):
    larger = torch.where(a > b, a, b)
    inside = torch.where(abs(h) <= 0.5, h, torch.where(h < 0, -0.5, 0.5))
    return torch.tanh(larger) + (a >= 0.1) * inside + torch.where(b == a, a, -b) * 0.1 + (b != b) * a


def of_the_input_alone(x_z, x_n, h):
    """A minimal GRU: Feng et al. 2024, https://arxiv.org/abs/2410.01201."""
    z = torch.sigmoid(x_z)
    return (1 - z) * h + z * x_n


def simple_unit(x_u, x_f, x_r, x_s, c, *, v_f, v_r):
    """A simple recurrent unit: Lei et al. 2018, https://arxiv.org/abs/1709.02755."""
    f, r = torch.sigmoid(x_f + v_f * c), torch.sigmoid(x_r + v_r * c)
    c = f * c + (1 - f) * x_u
    return r * c + (1 - r) * x_s, c


def every_kind(x_a, f, x_n, h_n, x_b, h, c):
    """Whole, split and outer gates, in another order than that of the kernels."""
    c = torch.sigmoid(f) * c + torch.tanh(x_n + x_a * h_n)
    return 0.5 * h + torch.tanh(c) * torch.sigmoid(x_b), c


def whole_and_outer(f, x_a, c):
    f = torch.sigmoid(f)
    c = f * c + (1 - f) * x_a
    return torch.tanh(c), c


def split_and_outer(x_a, x_n, h_n):
    return torch.tanh(x_n) * torch.sigmoid(h_n) + x_a


def normal(v, scale, shift):
    v = v - torch.mean(v, -1, keepdim=True)
    return v * torch.rsqrt((v * v).mean(dim=-1, keepdim=True) + 0.1) * scale + shift


def normalised_lstm(x_i, h_i, f, g, o, c, *, s_i, b_i, s_f, b_f, s_g, b_g, s_o, b_o, s_c, b_c):
    """Ba et al. 2016, https://arxiv.org/abs/1607.06450; one of the norms is of the product with h alone."""
    i, f = torch.sigmoid(x_i + normal(h_i, s_i, b_i)), torch.sigmoid(normal(f, s_f, b_f))
    g, o = torch.tanh(normal(g, s_g, b_g)), torch.sigmoid(normal(o, s_o, b_o))
    c = f * c + i * g
    return o * torch.tanh(normal(c, s_c, b_c)), c


def a_mean_of_several_gates(i, f, g, c, *, s):
    """The norm is of all gates' numbers at once; and a mean of a mean, of a learned vector, and of a choice."""
    middle = (i.mean(-1, keepdim=True) + f.mean(-1, keepdim=True) + g.mean(-1, keepdim=True)) / 3
    i, f, g = i - middle, f - middle, g - middle
    size = torch.rsqrt((i * i + f * f + g * g).mean(-1, keepdim=True) / 3 + 0.1)
    size = size.mean(-1, keepdim=True) * (1 + s.mean(-1, keepdim=True))
    c = torch.sigmoid(f * size) * c + torch.sigmoid(i * size) * torch.tanh(g * size) * s
    return torch.tanh(c) * torch.where(c > 0, c, 0 * c).mean(-1, keepdim=True), c


def competing(x_a, x_b, h, *, u):
    """What the units share out among them, and a mean that has no gradient."""
    e = torch.exp(torch.tanh(x_a + u * h))
    h = 0.5 * h + torch.tanh(x_b) * e / e.mean(-1, keepdim=True)
    return torch.where(x_a < x_a.mean(-1, keepdim=True), 0.9 * h, h)


CELLS = {  # step: gates, states
    minimal: ("f n", "h"),
    peephole: ("i f g o", "h c"),
    coupled: ("f g o", "h c"),
    three: ("a b", "h fast slow"),
    leaky: ("a", "h"),
    no_input_from_the_past_state: ("a", "h"),
    collide: ("t b j T one v0 exp gates lambda_ t_ d_out0", "h states d_states"),
    functions: ("a b", "h"),
    operators: ("a b", "h"),
    choices: ("a b", "h"),
    of_the_input_alone: ("z n", "h"),
    simple_unit: ("u f r s", "h c"),
    every_kind: ("a f n b", "h c"),
    whole_and_outer: ("f a", "h c"),
    split_and_outer: ("a n", "h"),
    normalised_lstm: ("i f g o", "h c"),
    a_mean_of_several_gates: ("i f g", "h c"),
    competing: ("a b", "h"),
}
NAMES = [step.__name__ for step in CELLS]
LAYERS = {step.__name__: nn.cell(step) for step in CELLS}


# ---------------------------------------------------------------------------------- the reference
def filled(layer):
    """The layer with weights that are nowhere zero or equal."""
    numbers = np.random.default_rng(1)
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.from_numpy(numbers.uniform(-0.6, 0.6, p.shape)))
    return layer


def tensor(seed, *shape, dtype="float64"):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(dtype)).requires_grad_()


def step_by_step(layer, x, hx):
    """What `layer` computes for x (T, B, I) and a tuple of states, by tensor ops alone; no dropout."""
    gates, state_names = (names.split() for names in CELLS[layer.step])
    signature = inspect.signature(layer.step).parameters
    inner = [gate for gate in gates if gate in signature or f"h_{gate}" in signature]
    last = []
    for level in range(layer.num_layers):
        outputs = []
        for suffix in ("", "_reverse") if layer.bidirectional else ("",):
            parts = [
                getattr(layer, f"{name}_l{level}{suffix}", 0)
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            ]
            states, results = dict(zip(state_names, (h[len(last)] for h in hx), strict=True)), []
            for t in reversed(range(len(x))) if suffix else range(len(x)):
                from_x = dict(zip(gates, (x[t] @ parts[0].T + parts[2]).chunk(len(gates), 1), strict=True))
                known = {f"x_{gate}": a for gate, a in from_x.items()}
                if inner:
                    from_h = (states["h"] @ parts[1].T + parts[3]).chunk(len(inner), 1)
                    for gate, b in zip(inner, from_h, strict=True):
                        known |= {gate: from_x[gate] + b, f"h_{gate}": b}
                known |= states
                arguments, vectors = [], {}
                for name, parameter in signature.items():
                    if parameter.kind is parameter.KEYWORD_ONLY:
                        vectors[name] = getattr(layer, f"{name}_l{level}{suffix}")
                    else:
                        arguments.append(known[name])
                new = layer.step(*arguments, **vectors)
                states = dict(zip(state_names, new if isinstance(new, tuple) else (new,), strict=True))
                if layer.proj_size:
                    states["h"] = states["h"] @ getattr(layer, f"weight_hr_l{level}{suffix}").T
                results.append(states["h"])
            outputs.append(torch.stack(results[::-1] if suffix else results))
            last.append(states)
        x = torch.cat(outputs, 2)
    return x, tuple(torch.stack([states[name] for states in last]) for name in state_names)


def flat(result):
    return [t for part in result for t in flat(part)] if isinstance(result, (tuple, list)) else [result]


def story(results, inputs, layer):
    """The results, and the gradients that flow from a random weighting of them, zeros for none."""
    layer.zero_grad()
    for t in inputs:
        t.grad = None
    results = flat(results)
    weights = [tensor(40 + k, *r.shape).detach().to(r.dtype) for k, r in enumerate(results)]
    sum((r * w).sum() for r, w in zip(results, weights, strict=True)).backward()
    named = [*enumerate(inputs), *layer.named_parameters()]
    gradients = {f"gradient of {n}": torch.zeros_like(t) if t.grad is None else t.grad for n, t in named}
    return {f"result {k}": r for k, r in enumerate(results)} | gradients


def assert_close(got, expected, tolerance=1e-12):
    for name, want in expected.items():
        a, b = got[name].detach().numpy(), want.detach().numpy()
        assert a.shape == b.shape and a.dtype == b.dtype, name
        scale = tolerance * (1 + np.abs(b).max(initial=0.0))
        np.testing.assert_allclose(a, b, rtol=0, atol=scale, err_msg=name)


def inputs_for(layer, T=3, B=2, dtype="float64"):
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    hx = tuple(tensor(10 + k, rows, B, layer.hidden_size, dtype=dtype) for k in range(len(layer.cell.states)))
    return tensor(2, T, B, layer.input_size, dtype=dtype), hx


def run(layer, x, hx):
    out, last = layer(x, hx if len(hx) > 1 else hx[0])
    return out, last if isinstance(last, tuple) else (last,)


# ---------------------------------------------------------------------------------- forward and gradients
@pytest.mark.parametrize("name", NAMES)
def test_a_cell_is_its_step_run_on_tensors(name):
    layer = filled(LAYERS[name](3, 2, dtype=torch.float64))
    x, hx = inputs_for(layer)
    got = story(run(layer, x, hx), (x, *hx), layer)
    assert_close(got, story(step_by_step(layer, x, hx), (x, *hx), layer))


@pytest.mark.parametrize("name", NAMES)
def test_gradcheck(name):
    layer = filled(LAYERS[name](2, 2, dtype=torch.float64))
    x, hx = inputs_for(layer, 2, 1)
    assert gradcheck(lambda x, *rest: flat(run(layer, x, rest[: len(hx)])), (x, *hx, *layer.parameters()))


@pytest.mark.parametrize("name", ["minimal", "peephole", "functions", "every_kind", "normalised_lstm", "competing"])
def test_in_single_precision(name):
    layer = filled(LAYERS[name](3, 17))
    x, hx = inputs_for(layer, dtype="float32")
    got = story(run(layer, x, hx), (x, *hx), layer)
    assert_close(got, story(step_by_step(layer, x, hx), (x, *hx), layer), 1e-5)


OTHERS = ["of_the_input_alone", "simple_unit", "every_kind", "normalised_lstm", "competing"]
OPTIONS = [{"num_layers": 2}, {"bidirectional": True, "num_layers": 2}, {"bias": False}]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", ["peephole", "three", "no_input_from_the_past_state", *OTHERS])
def test_layers_and_directions(name, options):
    layer = filled(LAYERS[name](3, 2, dtype=torch.float64, **options))
    x, hx = inputs_for(layer)
    got = story(run(layer, x, hx), (x, *hx), layer)
    assert_close(got, story(step_by_step(layer, x, hx), (x, *hx), layer))


@pytest.mark.parametrize("name", ["peephole", "three", "minimal", *OTHERS])
def test_batch_first_unbatched_packed_and_without_a_state(name):
    layer = filled(LAYERS[name](3, 2, 2, bidirectional=True, dtype=torch.float64))
    x, hx = inputs_for(layer, 4, 3)
    out, last = run(layer, x, hx)

    layer.batch_first = True
    assert torch.equal(run(layer, x.transpose(0, 1), hx)[0], out.transpose(0, 1))
    layer.batch_first = False

    alone, alone_last = run(layer, x[:, 1], tuple(h[:, 1] for h in hx))
    assert_close(
        {"out": alone} | dict(enumerate(alone_last)), {"out": out[:, 1]} | {k: h[:, 1] for k, h in enumerate(last)}
    )

    packed, packed_last = run(layer, rnn.pack_padded_sequence(x, [2, 4, 1], enforce_sorted=False), hx)
    for k, row in enumerate(rnn.unpack_sequence(packed)):
        alone, alone_last = run(layer, x[: len(row), k], tuple(h[:, k] for h in hx))
        assert_close(
            {"out": row} | dict(enumerate(alone_last)), {"out": alone} | {n: h[:, k] for n, h in enumerate(packed_last)}
        )

    zeros = tuple(torch.zeros_like(h) for h in hx)
    assert torch.equal(layer(x)[0], run(layer, x, zeros)[0])


def test_dropout_is_the_one_of_the_built_in_layers():
    layer = filled(LAYERS["leaky"](3, 2, 2, dropout=0.5, dtype=torch.float64))
    first, second = filled(LAYERS["leaky"](3, 2, dtype=torch.float64)), LAYERS["leaky"](2, 2, dtype=torch.float64)
    first.load_state_dict({n: p for n, p in layer.state_dict().items() if n.endswith("l0")})
    second.load_state_dict({n.replace("l1", "l0"): p for n, p in layer.state_dict().items() if n.endswith("l1")})
    x = tensor(2, 5, 3, 3)
    torch.manual_seed(3)
    got = layer(x)[0]
    torch.manual_seed(3)
    assert torch.equal(got, second(F.dropout(first(x)[0], 0.5))[0])


def test_gates_of_the_input_alone_have_no_weights_for_the_hidden_state():
    shapes = {
        "every_kind": {"weight_ih_l0": (20, 3), "weight_hh_l0": (10, 5), "bias_ih_l0": (20,), "bias_hh_l0": (10,)},
        "of_the_input_alone": {"weight_ih_l0": (10, 3), "bias_ih_l0": (10,)},
    }
    for name, expected in shapes.items():
        assert {n: tuple(p.shape) for n, p in LAYERS[name](3, 5).named_parameters()} == expected
        bare = [n for n in expected if n.startswith("weight")]
        assert [n for n, _ in LAYERS[name](3, 5, bias=False).named_parameters()] == bare
    assert [*LAYERS["whole_and_outer"](3, 5, proj_size=2).state_dict()][1:] == [
        "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_hr_l0"
    ]  # fmt: skip
    layer = nn.cell(every_kind)(3, 5)
    assert repr(layer.cell) == "<cell every_kind: gates a, f, n, b (of the input alone: a, b); states h, c>"
    assert layer.cell.order == [1, 2, 0, 3]
    with pytest.raises(ValueError, match="of_the_input_alone: recurrent_dropout must be 0 for a cell whose gates"):
        LAYERS["of_the_input_alone"](3, 5, recurrent_dropout=0.5)


@pytest.mark.parametrize("name", ["simple_unit", "whole_and_outer", "normalised_lstm", "competing"])
@pytest.mark.parametrize("sizes", [(1, 6, 300, 200), (5, 40, 3, 16), (40, 1, 20, 33)], ids=str)
def test_sizes_that_have_ways_of_their_own(name, sizes):
    """One step with large weights, many rows, and a single one; projected, too."""
    T, B, width, hidden = sizes
    for proj_size in (0, 2) if LAYERS[name].cell.states[0] is None else (0,):
        layer = filled(LAYERS[name](width, hidden, proj_size=proj_size, dtype=torch.float64))
        x = tensor(2, T, B, width)
        hx = tuple(tensor(9 + k, 1, B, (not k and proj_size) or hidden) for k in range(len(layer.cell.states)))
        got = story(run(layer, x, hx), (x, *hx), layer)
        assert_close(got, story(step_by_step(layer, x, hx), (x, *hx), layer), 1e-11)


# ---------------------------------------------------------------------------------- the built-in ones are not special
def rnn_tanh(a):
    return torch.tanh(a)


def gru(r, z, x_n, h_n, h):
    r, z = torch.sigmoid(r), torch.sigmoid(z)
    return (1.0 - z) * torch.tanh(x_n + r * h_n) + z * h


def lstm(i, f, g, o, c):
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


@pytest.mark.parametrize("step, built_in", [(rnn_tanh, nn.RNN), (gru, nn.GRU), (lstm, nn.LSTM), (cells.lstm, nn.LSTM)])
def test_the_built_in_steps_give_the_same_bits(step, built_in):
    made = nn.cell(step)
    stories = []
    for cls in (made, built_in):
        torch.manual_seed(4)
        layer = cls(3, 5, 2, bidirectional=True)
        x, hx = inputs_for(layer, dtype="float32")
        stories.append(story(run(layer, x, hx), (x, *hx), layer))
    assert [*stories[0]] == [*stories[1]]
    for name in stories[0]:
        assert torch.equal(stories[0][name], stories[1][name]), name


# ---------------------------------------------------------------------------------- parameters, copies, words
def test_parameters():
    torch.manual_seed(6)
    layer = LAYERS["peephole"](3, 4, 2, bias=False, bidirectional=True)
    names = ["weight_ih", "weight_hh", "p_i", "p_f", "p_o"]
    places = ["_l0", "_l0_reverse", "_l1", "_l1_reverse"]
    assert [*layer.state_dict()] == [name + place for place in places for name in names]
    assert layer.weight_ih_l1.shape == (16, 8) and layer.p_f_l1_reverse.shape == (4,)
    assert all(p.abs().max() <= 0.5 and p.unique().numel() == p.numel() for p in layer.parameters())
    assert [*LAYERS["no_input_from_the_past_state"](1, 1, bias=False).state_dict()][2:] == ["bias_of_my_own_l0"]


def test_a_made_class_is_a_layer_class():
    made = LAYERS["minimal"]
    layer = made(3, 4, batch_first=True)
    assert isinstance(layer, nn.Module) and made.__name__ == "minimal" and made.__module__ == __name__
    assert made.__doc__ == minimal.__doc__ and made.step is minimal
    assert repr(layer) == "minimal(3, 4, batch_first=True)"
    assert repr(layer.cell) == "<cell minimal: gates f, n; states h>"
    assert (
        repr(LAYERS["peephole"].cell) == "<cell peephole: gates i, f, g, o; states h, c; learned vectors p_i, p_f, p_o>"
    )
    with pytest.raises(
        RuntimeError, match=r"Expected 3, got 5 \(minimal: the input, with its batch, has shape \[1, 2, 5\]"
    ):
        layer(torch.ones(2, 5))
    with pytest.raises(
        RuntimeError, match=r"all states should also be 2-D but got \(1-D, 1-D, 1-D\) tensors \(three\)"
    ):
        LAYERS["three"](3, 4)(torch.ones(2, 3), (torch.ones(4),) * 3)
    with pytest.raises(IndexError, match="three: hx must be a tuple of 3 tensors, got Tensor"):
        LAYERS["three"](3, 4)(torch.ones(2, 3), torch.ones(1, 4))


@nn.cell
def pickled(a, c):
    c = 0.5 * c + torch.tanh(a)
    return torch.sigmoid(c), c


def test_copies():
    layer = pickled(2, 3, 2)
    x = torch.randn(4, 2)
    for other in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        assert type(other) is pickled and other.cell is layer.cell
        assert torch.equal(other(x)[0], layer(x)[0])


# ---------------------------------------------------------------------------------- where a step may come from
def result_of(made):
    return filled(made(2, 3, dtype=torch.float64))(tensor(2, 4, 2))[0].detach()


def test_steps_from_anywhere():
    expected = result_of(LAYERS["leaky"])

    source = "def leaky(a, h):\n    '''Its text is nowhere to be found.'''\n    return h + 0.25 * (torch.tanh(a) - h)"
    names = {"torch": torch, "__name__": "nowhere"}
    exec(source, names)
    made = nn.cell(names["leaky"])
    assert made.cell.source == "def leaky(a, h): ...\n"

    def nested(a, h):
        return h + quarter * (torch.tanh(a) - h)

    quarter = 1 / 4

    class Holder:
        def step(self, a, h):
            return h + 0.25 * (torch.tanh(a) - h)

    def twice_half(step):
        @functools.wraps(step)
        def wrapper(*arguments):
            return 2 * step(*arguments)

        return wrapper

    @twice_half
    @twice_half
    def decorated(a, h):
        return 0.25 * (h + 0.25 * (torch.tanh(a) - h))

    def awkward(a, h):
        r"""A text with \x, \N{, a quote \""" and 'others' \'''."""
        return h + 0.25 * (torch.tanh(a) - h)

    shapes = nn.cell(lambda a, h: h + 0.25 * (torch.tanh(a) - h)), nn.cell(nested), nn.cell(Holder().step)
    for cls in (made, *shapes, nn.cell(decorated), nn.cell(awkward)):
        assert torch.equal(result_of(cls), expected), cls
    assert nn.cell(lambda a: a).__name__ == "<lambda>"


def test_numbers_of_numpy_and_inplace_operators():
    """On a number, an in-place operator gives a new value and leaves the old one alone; so it does here."""

    def inplace(a, c):
        old = c
        c *= np.float32(0.5)
        c += np.float64(2) * torch.tanh(a)
        c -= np.sqrt(0.25) * old
        c /= np.int64(2)
        return torch.sigmoid(c) * old, c

    def plain(a, c):
        new = (0.5 * c + 2.0 * torch.tanh(a) - 0.5 * c) / 2.0
        return torch.sigmoid(new) * c, new

    assert torch.equal(result_of(nn.cell(inplace)), result_of(nn.cell(plain)))


def test_cells_of_one_name_keep_apart():
    """Also with the same text, and no text at all: what counts is what was recorded."""

    def scaled(k):
        def step(a):
            return k * torch.tanh(a)

        return nn.cell(step)

    names = {"torch": torch}
    made = [scaled(1), scaled(2)]
    for factor in (3, 4):
        exec(f"def step(a): return {factor} * torch.tanh(a)", names)
        made.append(nn.cell(names["step"]))
    x = torch.ones(1, 1)
    for factor, cls in enumerate(made, 1):
        layer = cls(1, 1)
        with torch.no_grad():
            for p in layer.parameters():
                p.fill_(0.125)
        assert layer(x)[0].item() == pytest.approx(factor * math.tanh(0.375))


def test_numbers_from_outside_are_those_of_the_moment_the_class_is_made(monkeypatch):
    expected = result_of(LAYERS["leaky"])
    monkeypatch.setattr(sys.modules[__name__], "RATE", 100.0)
    assert torch.equal(result_of(LAYERS["leaky"]), expected)
    assert not torch.equal(result_of(nn.cell(leaky)), expected)


def test_the_printed_kernel_is_there_to_be_read():
    from tinyrnn.kernels.cpu import recurrence

    text = recurrence.print_kernel(LAYERS["minimal"].cell, "float32")
    assert "#         return (1 - f) * h + f * torch.tanh(x_n + f * h_n)" in text
    assert "from numpy import float32 as real" in text and "def backward(" in text
    module = recurrence.module(LAYERS["minimal"].cell, np.dtype("float64"))
    assert "def backward(" in Path(module.__file__).read_text()


# ---------------------------------------------------------------------------------- what is refused
W = torch.ones(3)


def branching(a, h):
    if a > h:  # here
        return a
    return h


def looping(a, h):
    while a < 1:  # here
        a = a + 1
    return a


def math_function(a):
    return math.tanh(a)  # here


def integer(a):
    return a * int(a)  # here


def numpy_function(a):
    b = a + 1
    return np.tanh(b)  # here


def numpy_where(a):
    return np.where(a > 0, a, 0)  # here


def numpy_array(a):
    return a * np.ones(3)  # here


def a_tensor_outside(a):
    return a * W  # here


def a_tensor_on_the_left(a):
    return W * a  # here


def a_function_of_tensors(a):
    return torch.softmax(a, 0)  # here


def a_function_of_two(a, h):
    return torch.copysign(a, h)  # here


def a_method(a, h):
    return h + a.tanh()  # here


def joined(a, h):
    return torch.where((a > 0) & (h > 0), a, h)  # here


def a_number_for_a_condition(a, h):
    return torch.where(h, a, h)  # here


def an_index(a):
    return a[0]  # here


def a_remainder(a):
    return a % 2  # here


def an_error_of_its_own(a):
    return a / (1 - 1) + 1 / 0  # here


def printing(a):
    print(a)  # here
    return a


def a_text_of_a_value(a):
    assert f"{a}"  # here
    return a


def a_bound(a, h):
    for _ in range(a):  # here
        h = 0.5 * h
    return h


def layer_normalised(i, f, g, o, c):
    """How many hidden units there will be, a step does not know."""
    i = F.layer_norm(i, (4,))  # here
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def a_mean_of_everything(a):
    return a - torch.mean(a)  # here


def a_mean_of_rows(a):
    return a - a.mean(0, keepdim=True)  # here


def a_mean_without_its_axis(a):
    return a - a.mean(-1)  # here


def a_mean_of_another_type(a):
    return a - torch.mean(a, -1, keepdim=True, dtype=torch.float64)  # here


def numpys_mean(a):
    return a - np.mean(a)  # here


def a_sum(a):
    return a / a.sum(-1, keepdim=True)  # here


def a_matrix_product(a, h):
    return a @ h  # here


def into_a_tensor(a):
    return torch.exp(a, out=W)  # here


def unknown(a):
    return no_such_function(a)  # here # noqa: F821


def a_helper(a):
    return a if a > 0 else -a  # the helper's line


def bounded_by_branching(step):
    @functools.wraps(step)
    def bounded(*values):
        h = step(*values)
        return h if h < 1 else 1  # here

    return bounded


@bounded_by_branching
def wrapped(a, h):
    return torch.tanh(a) + h


def calls_a_helper(a):
    return a_helper(a)  # here


def an_operator_by_name(a, h):
    return torch.add(a, h)  # here


def one_in_place(a):
    return F.relu(a, inplace=True)  # here


def another_in_place(a):
    return torch.tanh_(a)  # here


def no_value(a):  # here
    return ()


def star(*gates):  # here
    return gates[0]


def two_stars(a, **vectors):  # here
    return a


def default(a, k=2.0):  # here
    return k * a


def keyword_default(a, *, k=2.0):  # here
    return k * a


def text(a):  # here
    return "a"


def nothing(a):  # here
    torch.tanh(a)


def a_list(a, c):  # here
    return [a, c]


def a_tensor(a):  # here
    return W


def generator(a):  # here
    yield a


def other_half(h_n):  # here
    return h_n


def whole_and_halves(x_n, h_n, n):  # here
    return x_n + h_n + n


def no_gate(h):  # here
    return 0.5 * h


def only_states(c):  # here
    return torch.tanh(c), c


def too_many_states(a):  # here
    return a, a, a


def states_in_the_wrong_order(i, c, h):  # here
    return h + i, c


def vector_with_a_weights_name(a, *, weight_ih):  # here
    return a * weight_ih


def vector_with_the_states_name(a, *, h):  # here
    return a * h


def caught_branch(a):
    try:
        return a if a > 0.0 else 0.0  # here
    except TypeError:
        return a


def a_shape(a):
    return a * len(a.shape)  # here


REFUSED = {
    caught_branch: "it branches or loops on a value",
    a_shape: "a value has no .shape; it is one number of each kind, that of one hidden unit at one step",
    branching: "it branches or loops on a value, which is not known yet; use where(condition, a, b)",
    looping: "it branches or loops on a value",
    math_function: "it turns a value into a Python number (by int, float or a function of the math module)",
    integer: "it turns a value into a Python number",
    numpy_function: "it calls numpy.tanh; use the function of tinyrnn",
    numpy_where: "it turns a value into a NumPy array",
    numpy_array: "it uses a ndarray, but only its own parameters, what is computed from them, and numbers",
    a_tensor_outside: "it uses a Tensor, but only its own parameters, what is computed from them, and numbers",
    a_tensor_on_the_left: "it uses a Tensor",
    a_function_of_tensors: "it calls softmax(), but it is about one number of each kind, that of one hidden unit",
    a_method: "a value has no .tanh; functions are written tinyrnn.tanh(value)",
    joined: "it joins conditions by &, |, ^ or ~; put one where(condition, a, b) into another",
    a_number_for_a_condition: "its where() has a number for a condition; compare it",
    an_index: "it fails with TypeError: 'Var' object is not subscriptable",
    a_remainder: "it fails with TypeError: unsupported operand type(s) for %",
    an_error_of_its_own: "it fails with ZeroDivisionError: division by zero",
    printing: "it prints a value or makes a text of it, but the value is not known yet",
    a_text_of_a_value: "it prints a value or makes a text of it",
    a_bound: "it turns a value into a Python number",
    layer_normalised: "it calls layer_norm(), but it is about one number of each kind",
    a_mean_of_everything: "it takes mean(dim=None, keepdim=False) of a value; there is mean(-1, keepdim=True), the mean",
    a_mean_of_rows: "it takes mean(dim=0, keepdim=True) of a value; there is mean(-1, keepdim=True), the mean over",
    a_mean_without_its_axis: "it takes mean(dim=-1, keepdim=False) of a value",
    a_mean_of_another_type: "it takes mean(dim=-1, keepdim=True, dtype=...) of a value",
    numpys_mean: "it takes mean(dim=None, keepdim=False) of a value",
    a_sum: "a value has no .sum; it is one number of each kind",
    a_function_of_two: "it calls copysign(), but it is about one number of each kind",
    a_matrix_product: "unsupported operand type(s) for @: 'Var' and 'Var'; a Var stands for one number",
    into_a_tensor: "it fails with AttributeError: a value has no .requires_grad",
    unknown: "it fails with NameError: name 'no_such_function' is not defined",
    calls_a_helper: "it branches or loops on a value",
    wrapped: "it branches or loops on a value",
    an_operator_by_name: "it calls add(); write a + b",
    one_in_place: "it calls relu() in place; a value cannot be overwritten: use what relu() returns",
    another_in_place: "a value is no tensor, and cannot be overwritten in place: use what functions return",
    no_value: "it returns no value",
    star: "it takes *gates; name each parameter",
    two_stars: "it takes **vectors; name each parameter",
    default: "its parameter k has a default",
    keyword_default: "its parameter k has a default",
    text: "it returns a str; it must return a value computed from its parameters, or a tuple of such values",
    nothing: "it returns a NoneType;",
    a_list: "it returns a list;",
    a_tensor: "it returns a Tensor;",
    generator: "it returns a generator;",
    other_half: "parameter h_n stands for the half of a gate that comes from h, but the other half, x_n, is missing",
    whole_and_halves: "gate n appears twice: whole, and in the halves x_n and h_n",
    no_gate: "it has no gate",
    only_states: "it has no gate, a positional parameter that is neither h nor another state; it returns 2 states, so c",
    too_many_states: "it returns 3 states; the first is h, and the other 2 as they were before the step must be its",
    states_in_the_wrong_order: "it returns 2 states; the first is h, and the other 1",
    vector_with_a_weights_name: "a learned vector (a keyword-only parameter) cannot be called weight_ih",
    vector_with_the_states_name: "a learned vector (a keyword-only parameter) cannot be called h",
}


@pytest.mark.parametrize("step", REFUSED)
def test_what_cannot_be_derived_is_refused_naming_the_line(step):
    lines, first = inspect.getsourcelines(bounded_by_branching if step is wrapped else step)
    line = first + next(k for k, text in enumerate(lines) if "# here" in text)
    with pytest.raises(TypeError) as caught:
        nn.cell(step)
    message = str(caught.value)
    assert message.startswith(f"{step.__name__} ") and REFUSED[step] in message
    assert f"{__file__}:{line}, in `{lines[line - first].strip()}`" in message


def test_the_line_of_a_helper_is_named_too():
    lines, first = inspect.getsourcelines(a_helper)
    with pytest.raises(TypeError, match="called from") as caught:
        nn.cell(calls_a_helper)
    assert f"({__file__}:{first + 1}, in `{lines[1].strip()}`, called from " in str(caught.value)


def test_zeros_of_a_step_are_numbers_like_others():
    """Zero times infinity is no number, and 0 - 0 is not -0."""
    layer = nn.cell(lambda a, h: 0 * h + (0 - torch.relu(a)) + 0.0)(1, 2)
    out, _ = layer(torch.zeros(1, 1, 1), torch.tensor([[[math.inf, 3.0]]]))
    assert out[0, 0].isnan().tolist() == [True, False]
    layer = nn.cell(lambda a: 0 - 0 * a)(1, 1)
    assert math.copysign(1, layer(torch.ones(1, 1, 1))[0].item()) == 1


@pytest.mark.parametrize("step", [math.tanh, nn.LSTM, functools.partial(leaky), 3, "tanh", LAYERS["leaky"]])
def test_what_is_no_function_is_refused(step):
    with pytest.raises(TypeError, match="only a Python function can be derived, not "):
        nn.cell(step)


def test_a_value_kept_from_another_step_is_refused():
    kept = []

    def keeper(a):
        kept.append(a)
        return a

    nn.cell(keeper)
    with pytest.raises(TypeError, match="it uses a value of another formula"):
        nn.cell(lambda a: a + kept[0])
    with pytest.raises(TypeError, match="it returns a Var"):
        nn.cell(lambda a: kept[0])


OWN_GRADIENTS = {  # functions whose gradient, at some points, is not what their formula's derivation gives
    "a": F.logsigmoid, "b": torch.sinc, "c": F.hardswish, "d": F.hardsigmoid, "e": F.hardtanh, "f": F.relu6,
    "g": F.mish, "i": F.softshrink, "j": lambda x: torch.clamp(x, -1, 1), "k": lambda x: torch.logaddexp(x, -x),
    "l": lambda x: torch.maximum(x, -x), "m": lambda x: torch.xlogy(x, 2.0), "n": abs, "o": F.softsign,
    "p": lambda x: F.threshold(x, 0.0, 0.5), "q": lambda x: F.logsigmoid(x) * F.logsigmoid(x),
}  # fmt: skip


def of_all_gates(a, b, c, d, e, f, g, i, j, k, l, m, n, o, p, q):  # noqa: E741
    given = locals()
    return sum(function(given[name]) for name, function in OWN_GRADIENTS.items())


@pytest.mark.parametrize("zoneout", [0.0, 0.25])
def test_functions_in_a_cell_have_the_gradients_of_the_functions(zoneout):
    """At all points, zero and the ends of their pieces too."""
    points = torch.tensor([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 6.0], dtype=torch.float64)
    layer = nn.cell(of_all_gates)(1, 8, zoneout=zoneout, dtype=torch.float64).eval()
    with torch.no_grad():
        for p in layer.parameters():
            p.zero_()
        layer.bias_ih_l0.copy_(points.repeat(16))
    layer(torch.zeros(1, 1, 1, dtype=torch.float64))[0].sum().backward()
    found = layer.bias_ih_l0.grad.view(16, 8) / (1 - zoneout)
    for gate, (name, function) in zip(found, OWN_GRADIENTS.items(), strict=True):
        x = points.clone().requires_grad_()
        function(x).sum().backward()
        torch.testing.assert_close(gate, x.grad, rtol=1e-12, atol=1e-12, msg=name)


def test_a_learned_vector_as_a_bound_has_a_gradient():
    def bounded(a, *, bound):
        return torch.clamp(a, max=bound)

    layer = nn.cell(bounded)(1, 2)
    with torch.no_grad():
        layer.bias_ih_l0.copy_(torch.tensor([5.0, -5.0]))
        layer.bound_l0.zero_()
    layer(torch.zeros(1, 1, 1))[0].sum().backward()
    assert layer.bound_l0.grad.tolist() == [1.0, 0.0]


def test_every_name_of_a_printed_kernel_is_reserved():
    """A parameter may have any name: one that the kernel uses itself is printed with an underscore."""
    import ast

    from tinyrnn.kernels.cpu import recurrence
    from tinyrnn.kernels.cpu.cell_job import Words
    from tinyrnn.kernels.scalar import Tape

    names = {*Words._fields}
    for name in ("peephole", "every_kind", "whole_and_outer", "normalised_lstm"):
        cell = LAYERS[name].cell
        for projected in (False, True) if cell.states[0] is None else (False,):
            tree = ast.parse(recurrence.print_kernel(cell, "float32", projected, (True, True), True))
            found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            found |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
            found |= {alias.asname or alias.name for node in ast.walk(tree) for alias in getattr(node, "names", ())}
            zoned = cell.zoned((not projected, True))
            inputs = *zoned.recording.inputs.values(), *zoned.recording.keywords.values(), *zoned.zones.values()
            names |= found - {v.name for v in inputs}
    for name in names:
        assert Tape().input(name).name == f"{name}_"


def test_a_cell_may_have_names_of_the_kernels_buffers():
    def step(kept, x_spare, states_count, *, chunk, d_x):
        return torch.tanh(kept) * x_spare * chunk + d_x, 0.5 * states_count + kept

    made = nn.cell(step)(2, 3)
    assert made(torch.ones(2, 2, 2))[0].isfinite().all()
    assert made.cell.gates == ["kept", "spare"]


def test_an_underscore_alone_makes_no_half_of_a_gate():
    assert nn.cell(lambda x_, h_: x_ * h_)(1, 2).cell.gates == ["x_", "h_"]


def test_a_mean_as_it_is_written_for_tensors():
    def forms(a, h):
        one, other = a.mean(axis=-1, keepdims=True), torch.mean(h, dim=-1, keepdim=True)
        return a - one + other - torch.mean(a, axis=-1, keepdim=True)

    cell = nn.cell(forms)(1, 2).cell
    assert [len(stage) for stage in stages(cell.recording.outputs)] == [2]
    # The mean of what is alike for all units is that: no stage is made for it.
    cell = nn.cell(lambda a: (torch.exp(a.mean(-1, keepdim=True)) + 1).mean(-1, keepdim=True) * a)(1, 2).cell
    assert [len(stage) for stage in stages(cell.recording.outputs)] == [1]


def test_functions_that_an_error_offers_are_there():
    """What the refusal of a step names, a step may call."""
    offered = (common.UNARY.keys() | common.OF_TWO) - common.INTERNAL
    assert str(common.unrecordable("max")).endswith(", ".join(sorted(offered)))
    for name in sorted(offered):
        function = getattr(torch, name, None) or getattr(nn.functional, name)
        more = {"threshold": (0.5, 0.0), "clamp": (-1.0, 1.0)}.get(name, ())
        step = (lambda a, h: function(a, h)) if name in common.OF_TWO else (lambda a, h: function(a, *more) * h)  # noqa: B023
        assert record(step).outputs


def test_a_kernel_is_printed_of_a_cell_in_a_type_that_there_is():
    from tinyrnn.kernels.cpu.recurrence import print_kernel

    layer = nn.LSTM(2, 2)
    with pytest.raises(TypeError, match="expected a Cell, layer.cell, say, got LSTM"):
        print_kernel(layer, "float32")
    with pytest.raises(ValueError, match="'float32' or 'float64', got 'float16'"):
        print_kernel(layer.cell, "float16")
    assert "def backward" in print_kernel(layer.cell, "float64")


def test_a_tensor_of_another_library_is_named():
    other = type("Tensor", (), {"__module__": "elsewhere", "dim": lambda self: 3})()
    for call in (lambda: nn.functional.relu(other), lambda: nn.LSTM(2, 2)(other), lambda: nn.Parameter(other)):
        with pytest.raises(TypeError, match="elsewhere.Tensor, a tensor of another library"):
            call()
    ours = torch.ones(2)
    with pytest.raises(TypeError, match=r"'alpha' must be Tensor or a number, not a Tensor of shape \[2\]$"):
        ours.add(ours, alpha=ours)
    with pytest.raises(TypeError, match=r"not a Tensor of shape \[\] that requires a gradient$"):
        ours.add(ours, alpha=torch.tensor(0.5, requires_grad=True))
