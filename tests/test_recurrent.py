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
from stories import close, flat, make, same, states, story, tensor

import tinyrnn
from tinyrnn import nn
from tinyrnn.nn.utils import rnn
from tinyrnn.ops.recurrent import Recurrence

KINDS = ["RNN", "RNN_RELU", "GRU", "LSTM"]  # LSTM_PROJ and cells of a user's own are in test_conformance.py


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


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_batch(oracle, kind, batch_first):
    def body(torch):
        layer = make(torch, kind, 2, 3, num_layers=2, bidirectional=True, batch_first=batch_first)
        x = tensor(torch, 2, 0, 4, 2) if batch_first else tensor(torch, 2, 4, 0, 2)
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
    assert sum(getattr(node, "op", None) is Recurrence for node in nodes) == 6


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


def test_flat_weights_stand_in_for_parameters():
    """The WeightDrop of AWD-LSTM: forward takes what was assigned, and the raw weights get the gradient."""
    tinyrnn.manual_seed(0)
    layer = nn.LSTM(2, 3)
    x, raw = tinyrnn.ones(4, 1, 2), layer.weight_hh_l0
    plain = layer(x)[0].tolist()
    dropped = nn.functional.dropout(raw, 0.5)

    def place():
        weights = list(layer._flat_weights)
        weights[1] = dropped
        layer._flat_weights = weights

    place()
    placed = layer(x)[0]
    assert placed.tolist() != plain and layer._flat_weights[1] is dropped
    assert layer.weight_hh_l0 is raw is layer.all_weights[0][1] and len([*layer.parameters()]) == 4
    (gradient,) = tinyrnn.autograd.grad(placed.sum(), raw)
    assert gradient.ne(0).equal(dropped.ne(0))
    same = nn.LSTM(2, 3)
    same.load_state_dict({**layer.state_dict(), "weight_hh_l0": dropped.detach()})
    assert placed.equal(same(x)[0])

    layer.bias_hh_l0 = nn.Parameter(layer.bias_hh_l0.detach())  # another parameter: the weight stays
    assert layer._flat_weights[1] is dropped and layer._flat_weights[3] is layer.bias_hh_l0
    layer.weight_hh_l0 = raw  # the parameter itself: it counts again
    assert layer._flat_weights[1] is raw and layer(x)[0].tolist() == plain
    place()
    assert layer.double()._flat_weights[1] is raw
    with pytest.raises(RuntimeError, match="LSTM: _flat_weights needs 4 weights, got 3"):
        layer._flat_weights = layer._flat_weights[:3]


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


def test_forms_of_lengths_and_values(oracle):
    """What packing and padding take besides lists and floats, and in which memory layout the result lies."""

    def told(value):
        if isinstance(value, (tuple, list)):
            return f"{type(value).__name__}({', '.join(map(told, value))})"
        if value is None:
            return "None"
        return f"{value.tolist()} {value.dtype} {value.is_contiguous()} {value.requires_grad}"

    def body(torch):
        utils, f, T = torch.nn.utils.rnn, torch.arange, torch.tensor
        x, xs = f(12.0).view(3, 2, 2), [f(3.0), f(2.0), f(1.0)]
        pack, pad, pads = utils.pack_padded_sequence, utils.pad_packed_sequence, utils.pad_sequence
        sort, unsort = pack(x, [3, 2]), pack(x, [2, 3], enforce_sorted=False)
        found = [
            *(
                pack(x, n)
                for n in ((3, 2), np.array([3, 2]), T([3, 2]).int(), [3.0, 2.0], T([3.7, 2.2]), range(3, 1, -1))
            ),
            *(pack(x, n) for n in ([T(3), T(2)], (T(3), T(2)), T([True, True]))),
            pack(x > 3, [3, 2]),
            pack(x.clone().requires_grad_(), [3, 2]),
            pack(f(3.0)[:, None], [3]),
            pack(x, [3], enforce_sorted=False),
            pack(f(40.0).view(2, 20), [1, 2] * 10, enforce_sorted=False),  # more than 16, with ties: not stable
            *(pad(p, first) for p in (sort, unsort) for first in (False, True)),
            *(pad(sort, total_length=n) for n in (3, 5, T(4))),
            *(pad(sort, padding_value=v) for v in (-1, T(1.0), True)),
            pad(sort.long(), padding_value=2.7),
            pad(pack(x > 3, [3, 2]), padding_value=1),
            *(pads(s) for s in (tuple(xs), iter(xs), x, [f(3.0), f(2)], [f(3), f(2.0) + 0.5], [f(0.0), f(2.0)])),
            *(pads(s, True) for s in ([f(0.0), f(0.0)], [x, x[:1, :, :1]], [x, f(2.0)], xs[:1])),
            *(pads(xs, False, v, "left") for v in (2, T(2.0), True)),
            pads([f(3), f(2)], False, 1.7),
            pads([f(3) > 1, f(2) > 0], False, 0.5),
            pads([f(3.0).requires_grad_(), f(2.0)]),
            *(utils.unpad_sequence(pads(xs, True), T(n), True) for n in ([3, 0, 9], [3, -1, 1], [3, 1.5, 1])),
            utils.unpack_sequence(utils.pack_sequence(xs[::-1], False)),
            utils.pack_sequence(tuple(xs)),
            utils.pack_sequence(x),
            utils.invert_permutation(T([2, 0, 1])),
            utils.invert_permutation(None),
            utils.PackedSequence([f(3.0), T([2, 1])]),
            utils.PackedSequence(f(3.0), T([2, 1]), None, T([1, 0])),
            sort.cpu(torch.float64),
            sort.to(x.double()),
            unsort._replace(data=f(2)),
            copy.deepcopy(unsort),
            pickle.loads(pickle.dumps(unsort)),
        ]
        padded = pads(xs).repeat(1, 1)
        found += [utils.unpad_sequence(padded, T([3, 2, 1])), padded]  # which is transposed in place
        first = utils.unpad_sequence(padded, T([3, 2, 1]), True)[0].fill_(9)  # a copy
        found += [first, padded]
        same = [sort.to("cpu") is sort, sort.to() is sort, sort.cpu("cpu") is sort, sort.is_pinned(), sort._fields]
        return {"told": "\n".join([*map(told, found), str(same), repr(unsort)])}

    ours, theirs = body(tinyrnn)["told"].split("\n"), str(oracle(body)["told"]).split("\n")
    for a, b in zip(ours, theirs, strict=True):
        assert a == b


def test_half_precision_is_refused_by_name():
    with pytest.raises(NotImplementedError, match="float16"):
        rnn.pack_sequence([tinyrnn.ones(2)]).half()


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

        def st(*shape, kind=kind, **options):
            return (f(*shape, **options), f(*shape, **options)) if kind == "LSTM" else f(*shape, **options)

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
    """A message in the words that torch's RNN, GRU and LSTM have in common."""
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


def refused_in_other_words(torch):
    """Calls that torch refuses where it happens to notice: only the class of the error is the same."""
    f, utils = torch.ones, torch.nn.utils.rnn
    wide = {"dtype": torch.float64}
    for kind in ("RNN", "GRU", "LSTM", "LSTM_PROJ"):
        layer = make(torch, kind, 3, 4, dtype="float32")

        def st(*shape, kind=kind, **options):
            h, c = f(*shape, 2 if kind == "LSTM_PROJ" else 4, **options), f(*shape, 4, **options)
            return (h, c) if kind.startswith("LSTM") else h

        yield f"{kind} state of another type", layer, f(5, 2, 3), st(1, 2, **wide)
        yield f"{kind} packed, other precision", layer, utils.pack_sequence([f(3, 3, **wide)])
        for hx in ("text", None, 3, (None, None), (st(1, 2),)):
            if hx is not None:
                yield f"{kind} hx {hx}", layer, f(5, 2, 3), hx
        if kind.startswith("LSTM"):
            h, c = st(1, 2)
            yield f"{kind} h alone", layer, f(5, 2, 3), h
            yield f"{kind} stacked", layer, f(5, 2, 3), f(2, 1, 2, 4)
            yield f"{kind} three states", layer, f(5, 2, 3), (h, c, c)
            yield f"{kind} h of the width of c", make(torch, "LSTM_PROJ", 3, 4, dtype="float32"), f(5, 2, 3), (c, c)
        else:
            yield f"{kind} a pair", layer, f(5, 2, 3), (st(1, 2), st(1, 2))
        yield f"{kind} input a list", layer, [f(2, 3)]
        yield f"{kind} input an array", layer, f(2, 3).numpy()
        yield f"{kind} no input", layer
        yield f"{kind} h0=", partial(layer, h0=st(1, 2)), f(5, 2, 3)
        yield f"{kind} batch sizes of int32", layer, utils.PackedSequence(f(3, 3), torch.tensor([2, 1]).int())
        yield f"{kind} batch sizes increase", layer, utils.PackedSequence(f(3, 3), torch.tensor([1, 2]))
        broken = make(torch, kind, 3, 4, dtype="float32")
        broken.weight_hh_l0 = None
        yield f"{kind} without a weight", broken, f(5, 2, 3)
    for kind in ("RNNCell", "GRUCell", "LSTMCell"):
        cell = make(torch, kind, 3, 4, dtype="float32")
        h = f(2, 4)
        hx = (h, h) if kind == "LSTMCell" else h
        for name, wrong in {
            "wide": (h.double(), h.double()) if kind == "LSTMCell" else h.double(),
            "text": "text",
            "one": (h,),
            "three": (h, h, h),
            "nothing": (None, None),
            "other form": h if kind == "LSTMCell" else (h, h),
            "numbers": (torch.tensor(1.0),) * 2 if kind == "LSTMCell" else torch.tensor(1.0),
            "c of another batch": (h, f(3, 4)),
            "c of another size": (h, f(2, 5)),
        }.items():
            yield f"{kind} hx {name}", cell, f(2, 3), wrong
        yield f"{kind} other precision", cell, f(2, 3).double(), hx
        yield f"{kind} integers", cell, f(2, 3).long()
        yield f"{kind} no input", cell, None
        yield f"{kind} bad size", getattr(torch.nn, kind), 3.0, 4
        yield f"{kind} negative size", getattr(torch.nn, kind), 3, -1
        broken = make(torch, kind, 3, 4, dtype="float32")
        broken.weight_hh = None
        yield f"{kind} without a weight", broken, f(2, 3)
        wrong = make(torch, kind, 3, 4, dtype="float32")
        wrong.weight_hh = torch.nn.Parameter(f(2, 2))
        yield f"{kind} with a wrong weight", wrong, f(2, 3)
    yield "RNNCell nonlinearity", torch.nn.RNNCell(3, 4, True, "cos"), f(2, 3)
    yield "RNNCellBase forward", torch.nn.RNNCellBase(3, 4, True, 2), f(2, 3)
    for mode in ("LSTM", "GRU", "RNN_TANH", "RNN_RELU"):
        yield f"RNNBase {mode} forward", torch.nn.RNNBase(mode, 3, 4), f(5, 2, 3)
    for value in ("a", None, 1.5):
        yield f"proj_size={value}", partial(torch.nn.LSTM, 3, 4, proj_size=value)
    for value in ("2", None, 2.0):
        yield f"num_layers={value}", torch.nn.LSTM, 3, 4, value
    yield "dropout of text", partial(torch.nn.LSTM, 3, 4, 2, dropout="0.5")
    yield "dropout None", partial(torch.nn.LSTM, 3, 4, 2, dropout=None)
    yield "no sizes", torch.nn.LSTM
    yield "one size", torch.nn.LSTM, 3
    yield "unknown option", partial(torch.nn.GRU, 3, 4, foo=1)
    x, pack, pad = f(3, 2, 2), utils.pack_padded_sequence, utils.pad_packed_sequence
    unsorted = partial(pack, enforce_sorted=False)
    yield "pack an array", pack, x.numpy(), [3, 2]
    yield "pack with one number", pack, x, 3
    yield "pack without lengths", pack, x, []
    yield "pack by nested lengths", pack, x, [[3, 2]]
    yield "pack a vector", pack, f(3), [3]
    yield "pack a number", pack, torch.tensor(1.0), [3]
    yield "pack a vector, unsorted", unsorted, f(3), [3]
    yield "pack an empty batch", pack, f(3, 0, 2), []
    yield "pack nothing wide", pack, f(3, 2, 0), [3, 2]
    yield "pack unsorted by zero", unsorted, x, [0, 3]
    yield "pack unsorted, two axes", unsorted, x, torch.tensor([[3, 2]])
    p = pack(x, [3, 2])
    yield "total of text", partial(pad, p, total_length="a")
    yield "total of a float", partial(pad, p, total_length=4.0)
    yield "padding of text", partial(pad, p, padding_value="a")
    yield "padding None", partial(pad, p, padding_value=None)
    yield "padding out of range", partial(pad, p.char(), padding_value=300)
    yield "pad a tensor", pad, x
    yield "pad no steps", pad, utils.PackedSequence(f(2, 1), torch.tensor([], dtype=torch.int64))
    yield "pad by floats", pad, utils.PackedSequence(f(3, 1), torch.tensor([2.0, 1.0]))
    for name, wrong in {
        "lists": ([[1, 2], [3]],),
        "arrays": ([f(2).numpy()],),
        "a dict": ({0: f(2)},),
        "numbers": ([torch.tensor(1.0)],),
        "None": ([f(2), None],),
        "other widths": ([f(2, 3), f(1, 2)],),
        "more axes": ([f(2), f(1, 2)],),
        "side None": ([f(2)], False, 0.0, None),
        "value of text": ([f(2), f(1)], False, "x"),
        "batch_first=1": ([f(2)], 1),
        "value out of range": ([f(2).char(), f(1).char()], False, 300),
        "an empty tensor": (f(0, 3),),
        "a missing list": (None,),
    }.items():
        yield f"pad {name}", utils.pad_sequence, *wrong
    yield "pack_sequence of lists", utils.pack_sequence, [[1, 2]]
    yield "pack_sequence of numbers", utils.pack_sequence, [torch.tensor(1.0)]
    yield "pack_sequence of nothing", utils.pack_sequence, []
    yield "pack_sequence, one empty", utils.pack_sequence, [f(2), f(0)]
    yield "pack_sequence, increasing", utils.pack_sequence, [f(1), f(2)]
    yield "unpack a tensor", utils.unpack_sequence, x
    yield "unpad by a list", utils.unpad_sequence, x, [1, 2, 3], True
    yield "unpad too few", utils.unpad_sequence, x, torch.tensor([1, 2]), True
    yield "unpad a vector", utils.unpad_sequence, f(3), torch.tensor([1, 1, 1]), True
    packed = utils.PackedSequence
    yield "three parts", packed, (f(3), torch.tensor([2, 1]), None)
    yield "no parts", packed
    yield "sizes in a list", packed, f(3), [2, 1]
    yield "wrong order", packed, f(3), torch.tensor([2, 1]), torch.tensor([1, 5])
    yield "copy", partial(p.to, torch.float64, copy=True)
    yield "device", p.to, "foo"
    yield "bool", lambda: p.bool()
    yield "invert int32", utils.invert_permutation, torch.tensor([1, 0]).int()
    yield "invert floats", utils.invert_permutation, torch.tensor([1.0, 0.0])


def test_what_torch_refuses_in_its_own_words_is_an_error_of_the_same_class(oracle):
    def body(torch):
        calls = {name: told(partial(*call)) for name, *call in refused_in_other_words(torch)}
        return {"told": json.dumps({name: message.split(": ")[0] for name, message in calls.items()})}

    expected, got = json.loads(str(oracle(body)["told"])), json.loads(body(tinyrnn)["told"])
    assert all(name.endswith("Error") for name in expected.values()), expected
    assert got == expected


def test_errors_say_what_came():
    x = tinyrnn.ones(5, 2, 3)
    for call, message in {
        lambda: nn.LSTM(3, 4)(
            tinyrnn.ones(5, 2, 4)
        ): "Expected 3, got 4 (LSTM: the input, with its batch, has shape [5, 2, 4])",
        lambda: nn.LSTM(3, 4)(x, tinyrnn.ones(1, 2, 4)): "LSTM: hx must be a tuple of 2 tensors, got Tensor",
        lambda: nn.LSTM(3, 4)(x, (x, x, x)): "LSTM: hx must be a tuple of 2 tensors, got tuple of (Tensor, Tensor, Te",
        lambda: nn.LSTM(3, 4)(x, (x, None)): "LSTM: hx must be a tuple of 2 tensors, got tuple of (Tensor, NoneType)",
        lambda: nn.GRU(3, 4)(x, (x, x)): "GRU: hx must be a tensor, got tuple of (Tensor, Tensor)",
        lambda: nn.GRUCell(3, 4)(x[0], "h"): "GRUCell: hx must be a tensor, got str",
        lambda: nn.GRU(3, 4)(x, tinyrnn.ones(1, 2, 4).double()): "GRU: hx has dtype torch.float64",
        lambda: nn.GRU(3, 4, 1, True, False, 0.0, False, 2): "GRU: proj_size must be 0 for a cell whose step reads h",
        lambda: nn.RNN(3, 4, 1, "relu", True, False, 0.0, False, 2): "proj_size argument is only supported for LSTM",
        lambda: nn.RNNCell(3, 4, nonlinearity="cos")(x[0]): "Unknown nonlinearity: cos; RNNCell has tanh and relu",
        lambda: rnn.pack_padded_sequence(x, [9, 1]): "a length is 9, but the padded sequences have 5 steps",
        lambda: rnn.pad_sequence([x, tinyrnn.ones(3, 3)]): "(L, 2, 3) like the first, got shape [3, 3] at entry 1",
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


def test_arguments_in_every_form(oracle):
    """What the constructors and the methods around forward accept, and what they make of it."""

    def body(torch):
        nn, f, utils = torch.nn, torch.ones, torch.nn.utils.rnn
        sizes = torch.tensor([3, 2])
        shapes = [
            [list(t.shape) for t in flat(layer(f(*shape)))]
            for layer in (nn.LSTM(1, 3, proj_size=2, batch_first=True), nn.GRU(True, True))
            for shape in ((5, 2, 1), (5, 1), (0, 2, 1) if layer.batch_first else (2, 0, 1))
        ]
        told = [
            shapes,
            nn.RNN(3, 4, 1, "relu", bias=False).mode,
            nn.LSTMCell(3, 4, "x"),
            nn.RNNCell(3, 4, True, "cos"),
            nn.RNNCellBase(3, 4, True, 2),
            nn.LSTM(3, 4, 2, proj_size=2, bidirectional=True, dropout=1),
            nn.RNNBase("GRU", 3, 4, 2, False, True, 0.5, True),
            [isinstance(c, nn.RNNCellBase) for c in (nn.RNNCell(1, 1), nn.GRUCell(1, 1), nn.LSTMCell(1, 1))],
            [(n, list(p.shape)) for n, p in nn.RNNCellBase(3, 4, True, 2).named_parameters()],
            [list(p.shape) for p in nn.RNNCellBase(3, 4, False, num_chunks=2).parameters()],
            list(nn.RNNCell(3, 0)(f(2, 3)).shape),
            list(nn.GRUCell(0, 3)(f(2, 0)).shape),
            [list(t.shape) for t in nn.LSTM(3, 4)(f(5, 3), f(2, 1, 4))[1]],
            [list(t.shape) for t in nn.LSTMCell(3, 4)(f(3), f(2, 4))],
        ]
        for layer in (nn.RNN(3, 4), nn.GRU(3, 4, 2, batch_first=True), nn.LSTM(3, 4, bidirectional=True, proj_size=2)):
            told += [
                layer.get_expected_hidden_size(f(5, 2, 3), None),
                layer.get_expected_hidden_size(f(5, 3), sizes),
                layer.check_input(f(5, 2, 3), None),
                layer.check_hidden_size(f(5, 2), (5, 2)),
                layer._all_weights,
                layer._flat_weights_names,
                [list(w.shape) for w in layer._flat_weights],
                [list(w.shape) for w in flat(layer.all_weights)],
                layer.flatten_parameters(),
            ]
        told.append(layer.get_expected_cell_size(f(5, 2, 3), None))
        told.append([h.tolist() for h in layer.permute_hidden((sizes[None], sizes[None]), torch.tensor([1, 0]))])
        told.append(layer.check_forward_args(f(5, 2, 3), (f(2, 2, 2), f(2, 2, 4)), None))
        told.append([type(t).__name__ for t in layer(utils.pack_sequence([f(3, 3)]))])
        return {"told": "\n".join(map(str, told))}

    assert body(tinyrnn)["told"] == str(oracle(body)["told"])


def test_signatures():
    names = "self, mode, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size"
    ours = "zoneout, recurrent_dropout"
    assert ", ".join(inspect.signature(nn.RNNBase.__init__).parameters) == f"{names}, device, dtype, {ours}"
    assert [*inspect.signature(nn.LSTM.forward).parameters] == ["self", "input", "hx"]
    assert nn.RNN(2, 3, 1, "relu", False, True, 0.0, True).mode == "RNN_RELU"
