"""Recurrent layers against torch: one body runs on both, on random weights that are nowhere zero or equal."""

import copy
import hashlib
import inspect
import io
import json
import pickle
import re
from functools import partial

import numpy as np
import pytest

import tinyrnn
from tinyrnn import nn
from tinyrnn.nn.utils import rnn

KINDS = ["RNN", "RNN_RELU", "GRU", "LSTM"]


def make(torch, kind, *sizes, dtype="float64", **options):
    """A layer or a cell with weights from a fixed stream of numbers."""
    name, _, nonlinearity = kind.partition("_")
    if nonlinearity:
        options["nonlinearity"] = nonlinearity.lower()
    layer = getattr(torch.nn, name)(*sizes, dtype=getattr(torch, dtype), **options)
    numbers = np.random.default_rng(1)
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.from_numpy(numbers.uniform(-0.6, 0.6, tuple(p.shape))))
    return layer


def tensor(torch, seed, *shape, dtype="float64", grad=True):
    numbers = np.random.default_rng(seed).standard_normal(shape)
    return torch.from_numpy(numbers.astype(dtype)).requires_grad_(grad)


def states(torch, kind, *shape, dtype="float64"):
    """Initial states as the layer takes them."""
    h, c = (tensor(torch, seed, *shape, dtype=dtype) for seed in (10, 11))
    return (h, c) if kind.startswith("LSTM") else h


def flat(result):
    """The tensors in a nested result, in order."""
    if isinstance(result, (tuple, list)):
        return [t for part in result for t in flat(part)]
    return [result]


def story(torch, results, inputs, layer=None):
    """The results, and the gradients that flow from a random weighting of them to the inputs and every parameter."""
    results = flat(results)
    weights = [tensor(torch, 20 + k, *r.shape, grad=False).to(r.dtype) for k, r in enumerate(results)]
    sum((r * w).sum() for r, w in zip(results, weights, strict=True)).backward()
    told = {f"result {k}": r.detach().numpy() for k, r in enumerate(results)}
    named = [*enumerate(flat(inputs)), *(layer.named_parameters() if layer else ())]
    return told | {f"gradient of {name}": short(t.grad.numpy()) for name, t in named}


def short(gradient):
    """A large matrix is told by three random weightings of its rows, to keep the recorded answers small."""
    if gradient.size < 24 or gradient.ndim != 2:
        return gradient
    weights = np.random.default_rng(5).standard_normal((3, len(gradient)))
    return (weights @ gradient.astype("float64")).astype(gradient.dtype)


def close(got, expected):
    """Within 1e-5 (float64: 1e-12) of the expected array's scale; gradients 1e-4 (1e-10)."""
    assert got.keys() == expected.keys()
    for name, want in expected.items():
        have = np.asarray(got[name])
        assert have.dtype == want.dtype and have.shape == want.shape, (name, have.dtype, have.shape, want.shape)
        single, gradient = want.dtype == np.float32, name.startswith("gradient")
        tolerance = (1e-4 if gradient else 1e-5) if single else (1e-10 if gradient else 1e-12)
        scale = np.abs(want).max(initial=0.0)
        np.testing.assert_allclose(have, want, rtol=0, atol=tolerance * scale, err_msg=name)


def same(oracle, body):
    """What `body` tells of torch and of tinyrnn is close; all its arrays are recorded as one."""
    mine = {name: np.ascontiguousarray(value) for name, value in body(tinyrnn).items()}

    def answer(torch):
        theirs = {name: np.ascontiguousarray(value) for name, value in body(torch).items()}
        kinds = [[(name, a.dtype, a.shape) for name, a in arrays.items()] for arrays in (mine, theirs)]
        assert kinds[0] == kinds[1]
        return {"bytes": np.frombuffer(b"".join(a.tobytes() for a in theirs.values()), np.uint8)}

    data, expected = oracle(answer)["bytes"].tobytes(), {}
    for name, a in mine.items():
        expected[name] = np.frombuffer(data[: a.nbytes], a.dtype).reshape(a.shape)
        data = data[a.nbytes :]
    assert not data
    close(mine, expected)


def told(call):
    """What a call returned, or raised, as text."""
    try:
        return str(call())
    except Exception as error:
        return f"{type(error).__name__}: {error}"


# ---------------------------------------------------------------------------------- forward and every gradient
CASES = {  # (options, T, B, input_size, H), with B = 0 for unbatched
    "plain": ({}, 4, 2, 3, 4),
    "bidirectional": ({"bidirectional": True}, 4, 3, 2, 2),
    "three bidirectional layers": ({"num_layers": 3, "bidirectional": True}, 3, 2, 2, 2),
    "no bias": ({"bias": False, "num_layers": 2}, 3, 2, 2, 3),
    "batch first": ({"batch_first": True, "bidirectional": True, "num_layers": 2}, 3, 2, 2, 2),
    "unbatched": ({"bidirectional": True}, 3, 0, 2, 2),
    "unbatched, batch first": ({"batch_first": True}, 3, 0, 2, 2),
    "all sizes one": ({"bidirectional": True}, 1, 1, 1, 1),
    "one more than a vector of lanes": ({}, 2, 1, 2, 17),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_a_layer(oracle, kind, case, dtype):
    options, T, B, width, H = CASES[case]

    def body(torch):
        layer = make(torch, kind, width, H, dtype=dtype, **options)
        rows = layer.num_layers * (2 if layer.bidirectional else 1)
        batch = (B,) if B else ()
        x = tensor(torch, 2, *(*batch, T) if options.get("batch_first") else (T, *batch), width, dtype=dtype)
        hx = states(torch, kind, rows, *batch, H, dtype=dtype)
        return story(torch, layer(x, hx), (x, hx), layer)

    same(oracle, body)


@pytest.mark.parametrize("kind, part", [(kind, part) for kind in KINDS for part in range(2 + (kind == "LSTM"))])
def test_gradients_from_one_result_alone(oracle, kind, part):
    """From the output, from h_n, and from c_n: each must reach everything by itself."""

    def body(torch):
        layer = make(torch, kind, 2, 2, num_layers=2, bidirectional=True)
        x, hx = tensor(torch, 2, 3, 2, 2), states(torch, kind, 4, 2, 2)
        results = flat(layer(x, hx))
        return story(torch, results[part], (x, hx), layer)

    same(oracle, lambda torch: {name: told for name, told in body(torch).items() if "gradient" in name})


@pytest.mark.parametrize("kind", KINDS)
def test_no_state_is_a_state_of_zeros(kind):
    layer = make(tinyrnn, kind, 2, 3, num_layers=2, bidirectional=True)
    zeros = tinyrnn.zeros(4, 2, 3, dtype=tinyrnn.float64)
    stories = []
    for hx in (None, (zeros, zeros) if kind == "LSTM" else zeros):
        layer.zero_grad()
        x = tensor(tinyrnn, 2, 4, 2, 2)
        stories.append(story(tinyrnn, layer(x, hx), x, layer))
    for name in stories[0]:
        assert np.array_equal(stories[0][name], stories[1][name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_in_chunks_is_the_whole(kind):
    layer, x = make(tinyrnn, kind, 2, 3, num_layers=2), tensor(tinyrnn, 2, 7, 2, 2)
    whole, last = layer(x)
    hx, parts = None, []
    for chunk in x.split([3, 1, 3]):
        part, hx = layer(chunk, hx)
        parts.append(part)
    assert tinyrnn.equal(tinyrnn.cat(parts), whole)
    assert all(tinyrnn.equal(a, b) for a, b in zip(flat(hx), flat(last), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_the_batch_does_not_matter(kind):
    layer, x = make(tinyrnn, kind, 2, 3, bidirectional=True), tensor(tinyrnn, 2, 4, 5, 2)
    order = tinyrnn.tensor([3, 0, 4, 1, 2])
    close(
        {"result": layer(x[:, order])[0].detach().numpy()},
        {"result": layer(x)[0][:, order].detach().numpy()},
    )


@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck_through_two_bidirectional_layers(kind):
    layer = make(tinyrnn, kind, 2, 2, num_layers=2, bidirectional=True)
    x, hx = tensor(tinyrnn, 2, 3, 2, 2), flat(states(tinyrnn, kind, 4, 2, 2))
    inputs = (x, *hx, *layer.parameters())
    assert tinyrnn.autograd.gradcheck(
        lambda x, *rest: flat(layer(x, tuple(rest[: len(hx)]) if len(hx) > 1 else rest[0])), inputs
    )


@pytest.mark.parametrize("kind", KINDS)
def test_two_thousand_steps(oracle, kind):
    def body(torch):
        layer = make(torch, kind, 1, 2, dtype="float32")
        x = tensor(torch, 2, 2000, 1, 1, dtype="float32")
        out, last = layer(x)
        found = story(torch, (out[-1], last), x, layer)
        return {name: value[:5] for name, value in found.items()}

    same(oracle, body)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_batch(oracle, kind):
    def body(torch):
        layer = make(torch, kind, 2, 3, num_layers=2, bidirectional=True)
        x = tensor(torch, 2, 4, 0, 2)
        return story(torch, layer(x, states(torch, kind, 4, 0, 3)), x, layer)

    same(oracle, body)


def test_extreme_values_stay_finite(oracle):
    """The gates saturate; nothing overflows to nan."""

    def body(torch):
        found = {}
        for kind in ("RNN", "GRU", "LSTM"):
            layer, x = make(torch, kind, 1, 2, dtype="float32"), torch.tensor([[1e4], [-1e4], [1e30], [-1e30]])
            found |= {f"{name} ({kind})": value for name, value in story(torch, layer(x), [], layer).items()}
        return found

    same(oracle, body)


# ---------------------------------------------------------------------------------- the tape around a layer
@pytest.mark.parametrize("kind", KINDS)
def test_backward_twice(kind):
    layer, x = make(tinyrnn, kind, 2, 3, num_layers=2), tensor(tinyrnn, 2, 4, 2, 2)
    out = layer(x)[0].sum()
    out.backward(retain_graph=True)
    once = {name: p.grad.clone() for name, p in [("x", x), *layer.named_parameters()]}
    out.backward()
    for name, p in [("x", x), *layer.named_parameters()]:
        assert tinyrnn.equal(p.grad, 2 * once[name]), name
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        out.backward()


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_in_any_layout_frozen_parameters_and_inputs_without_gradient(oracle, kind):
    def body(torch):
        layer = make(torch, kind, 2, 3, num_layers=2)
        for name, p in layer.named_parameters():
            p.requires_grad_(name in ("weight_hh_l0", "bias_ih_l1"))
        wide = tensor(torch, 2, 2, 6, 5, grad=False)
        out, _ = layer(wide.transpose(0, 2)[:, ::3])  # (5, 2, 2), no axis contiguous
        out.backward(tensor(torch, 3, *out.shape, grad=False))
        return {"result": out.detach().numpy()} | {
            f"gradient of {n}": p.grad.numpy() for n, p in layer.named_parameters() if p.grad is not None
        }

    same(oracle, body)
    assert body(tinyrnn).keys() == {"result", "gradient of weight_hh_l0", "gradient of bias_ih_l1"}


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("layers", [1, 2])
def test_results_may_be_written_to(oracle, kind, layers):
    """torch keeps copies of what it hands out, and so do we: the gradients are those of the values then computed."""

    def body(torch):
        layer, x = make(torch, kind, 2, 3, num_layers=layers), tensor(torch, 2, 3, 2, 2)
        out, last = layer(x)
        for h in flat(last):
            h.mul_(3)
        return story(torch, (out, last), x, layer)

    same(oracle, body)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("what", ["weight", "input"])
def test_a_change_in_place_before_the_backward_is_noticed(batch_first, what):
    layer, x = make(tinyrnn, "GRU", 2, 3, batch_first=batch_first), tensor(tinyrnn, 2, 3, 2, 2, grad=False)
    out, _ = layer(x)
    with tinyrnn.no_grad():
        (layer.weight_hh_l0 if what == "weight" else x).mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_the_tape_holds_one_node_for_each_layer_and_direction():
    layer = make(tinyrnn, "LSTM", 2, 3, num_layers=3, bidirectional=True)
    nodes, todo = set(), [layer(tensor(tinyrnn, 2, 50, 2, 2))[0].grad_fn]
    while todo:
        node = todo.pop()
        if node not in nodes and node is not None:
            nodes.add(node)
            todo += [edge[0] for edge in getattr(node, "next_functions", ())]
    assert sum(node.name() == "RecurrenceBackward0" for node in nodes) == 6


def test_nothing_is_recorded_where_nothing_needs_a_gradient():
    layer = make(tinyrnn, "LSTM", 2, 3)
    with tinyrnn.no_grad():
        assert all(t.grad_fn is None and not t.requires_grad for t in flat(layer(tensor(tinyrnn, 2, 3, 2, 2))))


# ---------------------------------------------------------------------------------- parameters
@pytest.mark.parametrize("options", [{}, {"num_layers": 3, "bidirectional": True}, {"bias": False, "num_layers": 2}])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell"])
def test_parameters_are_torchs_bit_for_bit(oracle, kind, options):
    """Names, order, shapes, initial values, and what the stream of random numbers yields afterwards."""
    if kind.endswith("Cell"):
        options = {name: value for name, value in options.items() if name == "bias"}

    def body(torch):
        torch.manual_seed(5)
        layer = getattr(torch.nn, kind)(2, 3, **options)
        assert [*layer.state_dict()] == [name for name, _ in layer.named_parameters()]
        drawn = {**layer.state_dict(), "next": torch.rand(2)}
        bits = {name: hashlib.sha256(v.numpy().tobytes()).hexdigest()[:16] for name, v in drawn.items()}
        return {"told": "\n".join(f"{name} {tuple(v.shape)} {bits[name]}" for name, v in drawn.items())}

    assert body(tinyrnn)["told"] == str(oracle(body)["told"])


def test_all_weights():
    layer = nn.GRU(2, 3, 2, bias=False, bidirectional=True)
    assert [len(group) for group in layer.all_weights] == [2, 2, 2, 2]
    assert layer.all_weights[3][1] is layer.weight_hh_l1_reverse
    assert layer.flatten_parameters() is None


def test_tied_weights_collect_both_gradients(oracle):
    def body(torch):
        layer = make(torch, "LSTM", 3, 3, num_layers=2)
        layer.weight_hh_l1 = layer.weight_hh_l0
        layer.weight_ih_l1 = layer.weight_hh_l0
        x = tensor(torch, 2, 3, 2, 3)
        return story(torch, layer(x), x, layer)

    same(oracle, body)


@pytest.mark.parametrize("how", ["a new parameter", "new data", "a computed tensor"])
def test_replaced_weights(oracle, how):
    def body(torch):
        layer = make(torch, "GRU", 2, 3)
        w = tensor(torch, 7, 9, 3)
        if how == "a new parameter":
            layer.weight_hh_l0 = torch.nn.Parameter(w.detach())
        elif how == "new data":
            layer.weight_hh_l0.data = w.detach()
        else:
            del layer.weight_hh_l0
            layer.weight_hh_l0 = w * 2
        x = tensor(torch, 2, 3, 2, 2)
        return story(torch, layer(x), (x, w) if how == "a computed tensor" else x, layer)

    same(oracle, body)


WRONG_WEIGHTS = {
    "weight_hh_l0 has shape [9, 4]": lambda layer: setattr(layer, "weight_hh_l0", nn.Parameter(tinyrnn.ones(9, 4))),
    "bias_ih_l0 has shape [8]": lambda layer: setattr(layer, "bias_ih_l0", nn.Parameter(tinyrnn.ones(8))),
    "expected shape [9, 3] and the dtype of the input, torch.float32": lambda layer: setattr(
        layer, "weight_hh_l0", nn.Parameter(tinyrnn.ones(9, 3, dtype=tinyrnn.float64))
    ),
    "bias_hh_l0 must be a Tensor, not NoneType": lambda layer: setattr(layer, "bias_hh_l0", None),
    "no attribute 'weight_ih_l0'": lambda layer: delattr(layer, "weight_ih_l0"),
}


@pytest.mark.parametrize("message", WRONG_WEIGHTS)
def test_a_weight_that_does_not_fit_is_refused(message):
    layer = nn.GRU(2, 3)
    WRONG_WEIGHTS[message](layer)
    with pytest.raises((RuntimeError, TypeError, AttributeError), match=re.escape(message)):
        layer(tinyrnn.ones(4, 1, 2))


@pytest.mark.parametrize("kind", [*KINDS, "GRUCell", "LSTMCell"])
def test_copies(kind):
    options = {} if kind.endswith("Cell") else {"num_layers": 2, "bidirectional": True, "dropout": 0.5}
    layer = make(tinyrnn, kind, 2, 3, **options).eval()
    saved = io.BytesIO()
    tinyrnn.save(layer, saved)
    saved.seek(0)
    x = tensor(tinyrnn, 2, 4, 2, grad=False)
    for other in (
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
        tinyrnn.load(saved, weights_only=False),
    ):
        assert other.cell is layer.cell and repr(other) == repr(layer)
        for a, b in zip(flat(layer(x)), flat(other(x)), strict=True):
            assert tinyrnn.equal(a, b)
        with tinyrnn.no_grad():
            next(other.parameters()).add_(1)
        assert not tinyrnn.equal(next(other.parameters()), next(layer.parameters()))


def test_a_state_dict_goes_from_layer_to_layer():
    layer, other = make(tinyrnn, "LSTM", 2, 3, num_layers=2), nn.LSTM(2, 3, 2).double()
    other.load_state_dict(layer.state_dict())
    x = tensor(tinyrnn, 2, 3, 2, 2)
    assert tinyrnn.equal(layer(x)[0], other(x)[0])


def test_printed_forms(oracle):
    def body(torch):
        nn = torch.nn
        made = [
            nn.RNN(2, 3),
            nn.RNN(2, 3, 2, "relu", False, True, 0.25, True),
            nn.GRU(2, 3, num_layers=2, dropout=1),
            nn.LSTM(2, 3, batch_first=True, bidirectional=True),
            nn.LSTM(2, 3, bidirectional=False, bias=False),
            nn.RNNCell(2, 3),
            nn.RNNCell(2, 3, False, "relu"),
            nn.GRUCell(2, 3, bias=False),
            nn.LSTMCell(2, 3),
        ]
        return {"printed": "\n".join(map(repr, made))}

    assert body(tinyrnn)["printed"] == str(oracle(body)["printed"])


def test_attributes(oracle):
    def body(torch):
        names = ["mode", "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional"]
        made = [torch.nn.RNN(2, 3, nonlinearity="relu"), torch.nn.LSTM(2, 3, 2, dropout=1, batch_first=True)]
        told = [f"{name} {getattr(layer, name)!r}" for layer in made for name in (*names, "proj_size", "training")]
        return {"told": "\n".join([*told, made[0].nonlinearity, str(isinstance(made[0], torch.nn.RNNBase))])}

    assert body(tinyrnn)["told"] == str(oracle(body)["told"])


def test_the_default_dtype_decides():
    try:
        tinyrnn.set_default_dtype(tinyrnn.float64)
        assert {p.dtype for p in nn.LSTM(2, 3).parameters()} == {tinyrnn.float64}
    finally:
        tinyrnn.set_default_dtype(tinyrnn.float32)


# ---------------------------------------------------------------------------------- dropout
@pytest.mark.parametrize(
    "options", [{"bidirectional": True}, {"batch_first": True}, {"packed": True}, {"dropout": 1.0}]
)
@pytest.mark.parametrize("kind", ["RNN", "LSTM"])
def test_dropout_between_layers_draws_what_torch_draws(oracle, kind, options):
    def body(torch):
        chosen = {"dropout": 0.4} | options
        packed = chosen.pop("packed", False)
        layer = make(torch, kind, 2, 2, num_layers=3, **chosen)
        x = tensor(torch, 2, 4, 3, 2)
        torch.manual_seed(8)
        out, last = layer(torch.nn.utils.rnn.pack_padded_sequence(x, [4, 3, 1]) if packed else x)
        found = story(torch, (out.data if packed else out, last), x, layer)
        return found | {"next": torch.rand(2).numpy()}

    same(oracle, body)


def test_dropout_is_for_training_and_spares_the_last_layer():
    x = tensor(tinyrnn, 2, 20, 2, 2)
    layer = make(tinyrnn, "GRU", 2, 3, num_layers=2, dropout=0.5)
    assert not tinyrnn.equal(layer(x)[0], layer(x)[0])
    assert (layer(x)[0] != 0).all()
    assert tinyrnn.equal(layer.eval()(x)[0], make(tinyrnn, "GRU", 2, 3, num_layers=2)(x)[0])


def test_dropout_on_one_layer_warns():
    with pytest.warns(UserWarning, match="expects num_layers greater than 1, but got dropout=0.5 and num_layers=1"):
        nn.LSTM(2, 3, dropout=0.5)


# ---------------------------------------------------------------------------------- packed sequences
def ragged(torch, *lengths):
    return [tensor(torch, 30 + k, n, 2) for k, n in enumerate(lengths)]


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("lengths", [(4, 3, 1), (1, 4, 2, 4), (2, 2)])
def test_packed_sequences(oracle, kind, lengths):
    def body(torch):
        utils = torch.nn.utils.rnn
        layer, xs = make(torch, kind, 2, 2, num_layers=2, bidirectional=True), ragged(torch, *lengths)
        hx = states(torch, kind, 4, len(lengths), 2)
        out, last = layer(utils.pack_sequence(xs, enforce_sorted=list(lengths) == sorted(lengths)[::-1]), hx)
        padded, sizes = utils.pad_packed_sequence(out)
        return {"sizes": sizes.numpy()} | story(torch, (padded, last), (xs, hx), layer)

    same(oracle, body)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", [False, True])
def test_a_packed_sequence_is_each_one_by_itself(kind, given):
    layer = make(tinyrnn, kind, 2, 3, num_layers=2, bidirectional=True)
    xs, hx = ragged(tinyrnn, 2, 5, 1, 3), states(tinyrnn, kind, 4, 4, 3)
    out, last = layer(rnn.pack_sequence(xs, enforce_sorted=False), hx if given else None)
    for k, (x, y) in enumerate(zip(xs, rnn.unpack_sequence(out), strict=True)):
        alone = [h[:, k] for h in flat(hx)]
        alone_out, alone_last = layer(x, (tuple(alone) if len(alone) > 1 else alone[0]) if given else None)
        close({"result": y.detach().numpy()}, {"result": alone_out.detach().numpy()})
        for h, h_alone in zip(flat(last), flat(alone_last), strict=True):
            close({"result": h[:, k].detach().numpy()}, {"result": h_alone.detach().numpy()})


@pytest.mark.parametrize(
    "sizes, rows",
    [([1, 2], 3), ([1, 2], 2), ([2, 1], 4), ([2, 1], 2), ([2, 0], 2), ([], 0), ([[2, 1]], 3)],
)
def test_batch_sizes_that_do_not_fit_the_data_are_refused(sizes, rows):
    packed = rnn.PackedSequence(tinyrnn.ones(rows, 2), tinyrnn.tensor(sizes, dtype=tinyrnn.int64))
    with pytest.raises(RuntimeError, match="batch_sizes of a PackedSequence must be positive"):
        nn.GRU(2, 3)(packed)


def test_packing_and_padding(oracle):
    def body(torch):
        utils = torch.nn.utils.rnn
        x, xs = tensor(torch, 2, 3, 4, 2, grad=False), ragged(torch, 3, 1, 2)
        lengths = torch.tensor([2, 3, 1, 3])
        told = {}
        for name, packed in {
            "sorted": utils.pack_padded_sequence(x, [3, 2, 2, 1]),
            "unsorted": utils.pack_padded_sequence(x, lengths, enforce_sorted=False),
            "batch first": utils.pack_padded_sequence(x, [2, 3, 1], True, False),
            "all alike": utils.pack_padded_sequence(x.transpose(0, 1), [3, 3, 3, 3], True),
            "list": utils.pack_sequence(xs, False),
            "one axis": utils.pack_sequence([torch.tensor([1, 2]), torch.tensor([3])]),
            "three axes": utils.pack_padded_sequence(tensor(torch, 2, 3, 2, 2, 2, grad=False), [2, 1]),
        }.items():
            parts = [part for part in packed if part is not None]
            told |= {f"{name} {k}": part.detach().numpy() for k, part in enumerate(parts)}
            for options in ({}, {"batch_first": True, "padding_value": -1.0, "total_length": 5}):
                padded, sizes = utils.pad_packed_sequence(packed, **options)
                told |= {f"{name} padded {len(options)}": padded.detach().numpy(), f"{name} sizes": sizes.numpy()}
            told |= {f"{name} row {k}": r.detach().numpy() for k, r in enumerate(utils.unpack_sequence(packed))}
        for options in ({}, {"batch_first": True, "padding_value": 7}, {"padding_side": "left"}):
            told[f"padded {options}"] = utils.pad_sequence(xs, **options).detach().numpy()
        told["mixed"] = utils.pad_sequence([torch.tensor([1, 2]), torch.tensor([3.5])], True, 0.5).numpy()
        told["rows of a tensor"] = utils.pad_sequence(torch.ones(2, 3)).numpy()
        padded = utils.pad_sequence(xs, padding_side="left")
        return told | story(torch, padded, xs)

    same(oracle, body)


def test_a_packed_sequence_is_a_tuple_that_converts():
    packed = rnn.pack_sequence([tinyrnn.ones(2, 1), tinyrnn.zeros(1, 1)])
    data, batch_sizes, sorted_indices, unsorted_indices = packed
    assert batch_sizes.tolist() == [2, 1] and sorted_indices is unsorted_indices is None
    assert packed.to(tinyrnn.float32) is packed.cpu() is packed.float() is packed and not packed.is_cuda
    for name, dtype in {"double": "float64", "long": "int64", "int": "int32", "short": "int16", "char": "int8"}.items():
        other = getattr(packed, name)()
        assert other.data.dtype == getattr(tinyrnn, dtype) and other.batch_sizes is batch_sizes
    assert repr(rnn.PackedSequence((data, batch_sizes))) == repr(packed)
    assert rnn.PackedSequence(data, batch_sizes, tinyrnn.tensor([1, 0])).unsorted_indices.tolist() == [1, 0]


# ---------------------------------------------------------------------------------- single steps
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["RNNCell", "RNNCell_RELU", "GRUCell", "LSTMCell"])
def test_a_cell(oracle, kind, dtype):
    def body(torch):
        found = {}
        for batch, bias, given in (((2,), True, True), ((), True, True), ((3,), False, False), ((), False, False)):
            cell = make(torch, kind, 3, 2, bias=bias, dtype=dtype)
            x = tensor(torch, 2, *batch, 3, dtype=dtype)
            hx = states(torch, kind, *batch, 2, dtype=dtype) if given else None
            one = story(torch, cell(x, hx), (x, hx) if given else x, cell)
            found |= {f"{name} (batch {batch}, bias {bias}, hx {given})": value for name, value in one.items()}
        return found

    same(oracle, body)


def test_a_loop_of_cells_is_the_layer():
    for kind in KINDS:
        layer = make(tinyrnn, kind, 2, 3)
        cell = make(tinyrnn, kind.replace("RNN", "RNNCell") if "RNN" in kind else f"{kind}Cell", 2, 3)
        x, hx, outputs = tensor(tinyrnn, 2, 4, 2, 2), None, []
        for step in x:
            hx = cell(step, hx)
            outputs.append(flat(hx)[0])
        close({"result": tinyrnn.stack(outputs).detach().numpy()}, {"result": layer(x)[0].detach().numpy()})


# ---------------------------------------------------------------------------------- what is refused
def refused(torch):
    """Calls that torch refuses, by a name each."""
    f, utils = torch.ones, torch.nn.utils.rnn
    ints = {"dtype": torch.int64}
    for kind in ("RNN", "GRU", "LSTM"):
        layer, cell = getattr(torch.nn, kind)(3, 4), getattr(torch.nn, f"{kind}Cell")(3, 4)
        first = getattr(torch.nn, kind)(3, 4, batch_first=True)

        def st(*shape, kind=kind):
            return (f(*shape), f(*shape)) if kind == "LSTM" else f(*shape)

        yield f"{kind} four axes", layer, f(2, 2, 2, 3)
        yield f"{kind} one axis", layer, f(3)
        yield f"{kind} no axis", layer, torch.tensor(1.0)
        yield f"{kind} wrong features", layer, f(5, 2, 4)
        yield f"{kind} wrong features, unbatched", layer, f(5, 4)
        yield f"{kind} integers", layer, f(5, 2, 3, **ints)
        yield f"{kind} other precision", layer, f(5, 2, 3).double()
        yield f"{kind} no steps", layer, f(0, 2, 3)
        yield f"{kind} no steps, batch first", first, f(2, 0, 3)
        yield f"{kind} no steps, unbatched", layer, f(0, 3)
        yield f"{kind} nothing at all", layer, f(0, 0, 3)
        yield f"{kind} state of two axes", layer, f(5, 2, 3), st(2, 4)
        yield f"{kind} state of three axes, unbatched", layer, f(5, 3), st(1, 1, 4)
        yield f"{kind} state of another size", layer, f(5, 2, 3), st(1, 2, 5)
        yield f"{kind} state of another batch", layer, f(5, 2, 3), st(1, 1, 4)
        yield f"{kind} state of another depth", layer, f(5, 2, 3), st(2, 2, 4)
        if kind != "LSTM":  # torch's LSTM finds these later, in the product, with its message
            yield f"{kind} packed, three axes", layer, utils.pack_sequence([f(3, 2, 3)])
            yield f"{kind} packed, one axis", layer, utils.pack_sequence([f(3)])
            yield f"{kind} packed, wrong features", layer, utils.pack_sequence([f(3, 4)])
            yield f"{kind} packed, integers", layer, utils.pack_sequence([f(3, 3, **ints)])
            yield f"{kind} packed, another batch", layer, utils.pack_sequence([f(3, 3)]), st(1, 2, 4)
        yield f"{kind}Cell three axes", cell, f(1, 1, 3)
        yield f"{kind}Cell wrong features", cell, f(2, 4)
        yield f"{kind}Cell wrong features, unbatched", cell, f(4)
        yield f"{kind}Cell another batch", cell, f(2, 3), st(3, 4)
        yield f"{kind}Cell another size", cell, f(2, 3), st(2, 5)
        yield f"{kind}Cell state of three axes", cell, f(2, 3), st(1, 2, 4)
        yield f"{kind}Cell unbatched state", cell, f(2, 3), st(4)
        yield f"{kind}Cell batched state", cell, f(3), st(1, 4)
        for name, value in (("dropout", 1.5), ("dropout", -0.1), ("dropout", True), ("bias", 1), ("batch_first", 0)):
            yield f"{kind} {name}={value}", partial(getattr(torch.nn, kind), 3, 4, **{name: value})
        for sizes in ((3.0, 4), (3, "4"), (0, 4), (3, -1), (3, 4, 0)):
            yield f"{kind} {sizes}", getattr(torch.nn, kind), *sizes
    for kind, size in (("RNN", 0), ("GRU", 0), ("LSTM", -1), ("LSTM", 4)):
        yield f"{kind} proj_size={size}", partial(getattr(torch.nn, kind), 3, 4, proj_size=size)
    yield "RNN nonlinearity", torch.nn.RNN, 3, 4, 1, "cos"
    yield "RNNBase mode", torch.nn.RNNBase, "QRNN", 3, 4
    pack, pad = utils.pack_padded_sequence, utils.pad_sequence
    yield "lengths increase", pack, f(3, 2, 1), [2, 3]
    yield "a length of zero", pack, f(3, 2, 1), [2, 0]
    yield "a length is missing", pack, f(3, 2, 1), [2]
    yield "lengths of two axes", pack, f(3, 2, 1), torch.tensor([[3, 2]])
    yield "no steps to pack", pack, f(0, 2, 1), [1, 1]
    yield "nothing to pad", pad, []
    yield "pad a number", pad, 3
    yield "pad to the top", pad, [f(2)], False, 0.0, "top"
    yield "pad a text", pad, ["a"]
    yield "too short a total", utils.pad_packed_sequence, utils.pack_sequence([f(3, 1)]), False, 0.0, 2
    yield "only data", utils.PackedSequence, f(3, 1)


def plain(message):
    """A message, without the layer's own name for itself, and with what we add in brackets left out."""
    message = re.sub(r"\b(RNN|GRU|LSTM)(?= input dtype|: Expected)", "layer", message)
    return message.replace("D tensor instead", "D instead").replace(" if you do not need ONNX exportability", "")


def test_what_torch_refuses_is_refused_alike(oracle):
    """The same class of error, and a message that begins as torch's does."""

    def body(torch):
        return {"told": json.dumps({name: plain(told(partial(*call))) for name, *call in refused(torch)})}

    expected, got = json.loads(str(oracle(body)["told"])), json.loads(body(tinyrnn)["told"])
    assert [*got] == [*expected]
    for name, message in expected.items():
        assert "Error: " in message, name
        assert got[name][: len(message) - 1] == message[:-1] or name in OTHER_WORDS, (name, got[name], message)
        assert got[name].split(":")[0] == message.split(":")[0], (name, got[name], message)


OTHER_WORDS = {"lengths of two axes", "pad a text"}  # torch names types of its own there


def test_errors_say_what_came():
    x = tinyrnn.ones(5, 2, 3)
    for call, message in {
        lambda: nn.LSTM(3, 4)(tinyrnn.ones(5, 2, 4)): "Expected 3, got 4 (LSTM got an input of shape [5, 2, 4])",
        lambda: nn.LSTM(3, 4)(x, tinyrnn.ones(1, 2, 4)): "LSTM: hx must be a tuple of 2 tensors, got Tensor",
        lambda: nn.LSTM(3, 4)(x, (x, None)): "LSTM: hx must be a tuple of 2 tensors, got tuple of (Tensor, NoneType)",
        lambda: nn.GRU(3, 4)(x, (x, x)): "GRU: hx must be a tensor, got tuple of (Tensor, Tensor)",
        lambda: nn.GRUCell(3, 4)(x[0], "h"): "GRUCell: hx must be a tensor, got str",
        lambda: nn.GRU(3, 4)(x, tinyrnn.ones(1, 2, 4).double()): "GRU: hx has dtype torch.float64",
        lambda: nn.LSTM(3, 4, proj_size=2): "LSTM(proj_size=2): projections of the hidden state are not supported",
        lambda: nn.RNNCell(3, 4, nonlinearity="cos"): "Unknown nonlinearity: cos",
        lambda: rnn.pack_padded_sequence(x, [9, 1]): "a length is 9, but the padded sequences have 5 steps",
        lambda: rnn.pad_sequence([x, x[0]]): "got shapes [5, 2, 3] at entry 0 and [2, 3] at entry 1",
    }.items():
        assert message in told(call)


def test_a_failed_call_changes_nothing():
    layer = nn.LSTM(3, 4, 2, dropout=0.5)
    before, stream = copy.deepcopy(layer.state_dict()), tinyrnn.get_rng_state()
    for bad in (tinyrnn.ones(5, 2, 4), tinyrnn.ones(0, 2, 3)):
        with pytest.raises(RuntimeError):
            layer(bad)
    assert tinyrnn.equal(tinyrnn.get_rng_state(), stream)
    assert all(tinyrnn.equal(a, b) for a, b in zip(before.values(), layer.state_dict().values(), strict=True))


def test_signatures():
    names = "self, mode, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size"
    assert ", ".join(inspect.signature(nn.RNNBase.__init__).parameters) == f"{names}, device, dtype"
    assert [*inspect.signature(nn.LSTM.forward).parameters] == ["self", "input", "hx"]
    assert nn.RNN(2, 3, 1, "relu", False, True, 0.0, True).mode == "RNN_RELU"
