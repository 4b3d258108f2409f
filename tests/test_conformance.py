"""What every recurrence must do, however it is computed: RNN, GRU, LSTM, LSTM with projections, cells of a user's own.

Weights and biases are random, nowhere zero, nowhere equal.
"""

import copy
import itertools

import numpy as np
import pytest
from conftest import needs_torch
from stories import close, flat, make, projected, same, states, story, tensor

import tinyrnn
from tinyrnn import nn
from tinyrnn.autograd import gradcheck
from tinyrnn.nn.utils import rnn

try:
    import torch
except ImportError:
    torch = None


@nn.cell
def everything(f, x_n, h_n, h, c, *, p):
    """A whole gate, a split gate, h itself, a further state and a learned vector."""
    f = tinyrnn.sigmoid(f + p * c)
    c = f * c + (1 - f) * tinyrnn.tanh(x_n + f * h_n)
    return 0.5 * h + tinyrnn.tanh(c), c


@nn.cell
def coupled(f, x_g, h_g, o, c, *, p):
    """A step that does not read h can be projected."""
    f = tinyrnn.sigmoid(f + p * c)
    c = f * c + (1 - f) * tinyrnn.tanh(x_g + f * h_g)
    return tinyrnn.sigmoid(o) * tinyrnn.tanh(c), c


OWN = {"everything": (everything, {}), "coupled_PROJ": (coupled, {"proj": True})}
TORCHS = ["RNN", "RNN_RELU", "GRU", "LSTM", "LSTM_PROJ"]
KINDS = [*TORCHS, *OWN]


def layer_of(kind, width, hidden, dtype="float64", **options):
    """A layer of tinyrnn with random weights, of torch's kinds or a user's own."""
    if kind not in OWN:
        return make(tinyrnn, kind, width, hidden, dtype=dtype, **options)
    cls, how = OWN[kind]
    if how:
        options["proj_size"] = projected(hidden)
    layer = cls(width, hidden, dtype=getattr(tinyrnn, dtype), **options)
    numbers = np.random.default_rng(1)
    with tinyrnn.no_grad():
        for p in layer.parameters():
            p.copy_(tinyrnn.from_numpy(numbers.uniform(-0.6, 0.6, tuple(p.shape))))
    return layer


def states_of(kind, *shape, dtype="float64"):
    """Initial states: all that the kind has, as the layer takes them."""
    if kind not in OWN:
        return states(tinyrnn, kind, *shape, dtype=dtype)
    return states(tinyrnn, "LSTM_PROJ" if kind.endswith("PROJ") else "LSTM", *shape, dtype=dtype)


def each(hx, change):
    """The states, each of them changed, in the form in which they were."""
    return tuple(map(change, hx)) if isinstance(hx, tuple) else change(hx)


def gradients(results, weights, inputs, layer):
    """The gradients of a weighted sum of `results`, by name: of inputs and parameters."""
    for t in (*flat(inputs), *layer.parameters()):
        t.grad = None
    sum((r * w).sum() for r, w in zip(results, weights, strict=True)).backward()
    named = [*((f"input {k}", t) for k, t in enumerate(flat(inputs))), *layer.named_parameters()]
    return {f"gradient of {name}": t.grad.numpy().copy() for name, t in named}


def values(results):
    return {f"result {k}": r.detach().numpy() for k, r in enumerate(results)}


def like(results):
    """Random weights for results of these shapes."""
    return [tensor(tinyrnn, 50 + k, *r.shape, grad=False).to(r.dtype) for k, r in enumerate(results)]


def fresh(t):
    """A leaf with the same content."""
    return t.detach().clone().requires_grad_()


# ---------------------------------------------------------------------------------- by itself
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_no_state_is_a_state_of_zeros(kind, packed):
    layer = layer_of(kind, 2, 3, num_layers=2, bidirectional=True)
    zeros = each(states_of(kind, 4, 3, 3), tinyrnn.zeros_like)
    told = []
    for hx in (None, zeros):
        x = tensor(tinyrnn, 2, 4, 3, 2)
        given = rnn.pack_padded_sequence(x, [2, 4, 3], enforce_sorted=False) if packed else x
        out, last = layer(given, hx)
        layer.zero_grad()
        told.append(story(tinyrnn, (out.data if packed else out, last), x, layer))
    for name in told[0]:
        assert np.array_equal(told[0][name], told[1][name]), name


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_padded_and_masked_is_packed_is_one_by_one(kind, batch_first, given):
    """In one direction.  Values, last states, and the gradients of everything."""
    lengths, steps = [3, 5, 1, 5], 6
    layer = layer_of(kind, 2, 3, num_layers=2, batch_first=batch_first)
    swap = (lambda t: t.transpose(0, 1)) if batch_first else (lambda t: t)
    hx, x = states_of(kind, 2, 4, 3), tensor(tinyrnn, 2, *((4, steps, 2) if batch_first else (steps, 4, 2)))
    weights, told = None, []
    for way in ("padded", "packed", "one by one"):
        first, leaf = each(hx, fresh), fresh(x)
        if way == "padded":
            out, _ = layer(leaf, first if given else None)
            rows = [swap(out)[:n, k] for k, n in enumerate(lengths)]
        elif way == "packed":
            packed = rnn.pack_padded_sequence(leaf, lengths, batch_first, enforce_sorted=False)
            out, last = layer(packed, first if given else None)
            rows = rnn.unpack_sequence(out)
            for h, row in zip(flat(last)[0].unbind(1), rows, strict=True):
                assert tinyrnn.equal(h[-1], row[-1])
        else:
            alone = [each(first, lambda h, k=k: h[:, k]) if given else None for k in range(4)]
            rows = [layer(swap(leaf)[:n, k], alone[k])[0] for k, n in enumerate(lengths)]
        weights = weights or like(rows)
        inputs = (leaf, first) if given else leaf
        told.append(values(rows) | gradients(rows, weights, inputs, layer))
    close(told[1], told[0])
    close(told[2], told[0])


@pytest.mark.parametrize("kind", KINDS)
def test_packed_in_two_directions_is_one_by_one(kind):
    lengths = [2, 4, 1, 3]
    layer, hx = layer_of(kind, 2, 3, num_layers=2, bidirectional=True), states_of(kind, 4, 4, 3)
    xs = [tensor(tinyrnn, 30 + k, n, 2) for k, n in enumerate(lengths)]
    weights, told = None, []
    for way in ("packed", "one by one"):
        first, leaves = each(hx, fresh), [fresh(x) for x in xs]
        if way == "packed":
            out, last = layer(rnn.pack_sequence(leaves, enforce_sorted=False), first)
            results = [*rnn.unpack_sequence(out), *(h[:, k] for k in range(4) for h in flat(last))]
        else:
            alone = [layer(x, each(first, lambda h, k=k: h[:, k])) for k, x in enumerate(leaves)]
            results = [*(out for out, _ in alone), *(h for _, last in alone for h in flat(last))]
        weights = weights or like(results)
        told.append(values(results) | gradients(results, weights, (leaves, first), layer))
    close(told[1], told[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_in_chunks_is_the_whole(kind):
    """Also its gradient, through the states that are carried from chunk to chunk."""
    layer, hx, x = layer_of(kind, 2, 3, num_layers=2), states_of(kind, 2, 2, 3), tensor(tinyrnn, 2, 7, 2, 2)
    weights, told = None, []
    for sizes in ([7], [3, 1, 3], [1] * 7):
        first, leaf = each(hx, fresh), fresh(x)
        parts, carried = [], first
        for chunk in leaf.split(sizes):
            part, carried = layer(chunk, carried)
            parts.append(part)
        results = [tinyrnn.cat(parts), *flat(carried)]
        weights = weights or like(results)
        told.append(values(results) | gradients(results, weights, (leaf, first), layer))
    close(told[1], told[0])
    close(told[2], told[0])


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_the_batch_does_not_matter(kind):
    layer, hx, x = layer_of(kind, 2, 3, bidirectional=True), states_of(kind, 2, 5, 3), tensor(tinyrnn, 2, 4, 5, 2)
    order = tinyrnn.tensor([3, 0, 4, 1, 2])
    weights, told = None, []
    for shuffled in (False, True):
        first, leaf = each(hx, fresh), fresh(x)
        if shuffled:
            out, last = layer(leaf[:, order], each(first, lambda h: h[:, order]))
            back = tinyrnn.argsort(order)
            results = [t[:, back] for t in (out, *flat(last))]
        else:
            out, last = layer(leaf, first)
            results = [out, *flat(last)]
        weights = weights or like(results)
        told.append(values(results) | gradients(results, weights, (leaf, first), layer))
    close(told[1], told[0])


@pytest.mark.parametrize("kind", KINDS)
def test_the_two_directions_are_two_layers(kind):
    both = layer_of(kind, 2, 3, bidirectional=True)
    x, hx = tensor(tinyrnn, 2, 4, 2, 2), states_of(kind, 2, 2, 3)
    out, last = both(x, hx)
    halves = out.chunk(2, 2)
    for k, suffix in enumerate(("", "_reverse")):
        one = layer_of(kind, 2, 3)
        with tinyrnn.no_grad():
            for name, p in one.named_parameters():
                p.copy_(getattr(both, name + suffix))
        alone, alone_last = one(x.flip(0) if k else x, each(hx, lambda h, k=k: h[k : k + 1]))
        close(
            values([halves[k], *(h[k] for h in flat(last))]),
            values([alone.flip(0) if k else alone, *(h[0] for h in flat(alone_last))]),
        )


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck_through_two_bidirectional_layers(kind, packed):
    layer = layer_of(kind, 2, 2, num_layers=2, bidirectional=True)
    x, hx = tensor(tinyrnn, 2, 2, 2, 2), flat(states_of(kind, 4, 2, 2))

    def results(x, *rest):
        given = tuple(rest[: len(hx)]) if len(hx) > 1 else rest[0]
        out, last = layer(rnn.pack_padded_sequence(x, [1, 2], enforce_sorted=False) if packed else x, given)
        return [out.data if packed else out, *flat(last)]

    assert gradcheck(results, (x, *hx, *(layer.parameters() if not packed else ())))


@pytest.mark.parametrize("kind", KINDS)
def test_again_the_same_bits(kind):
    layer, hx, x = layer_of(kind, 5, 17, "float32"), states_of(kind, 1, 9, 17, dtype="float32"), None
    told = []
    for _ in range(2):
        x = tensor(tinyrnn, 2, 20, 9, 5, dtype="float32")
        layer.zero_grad()
        told.append(story(tinyrnn, layer(x, hx), x, layer))
    for name in told[0]:
        assert np.array_equal(told[0][name], told[1][name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_states_and_weights_in_any_layout(kind):
    """Slices, transposed and expanded arrays, views of one big weight, and gradients that are not contiguous."""
    plain = layer_of(kind, 4, 3, num_layers=2)
    x, hx = tensor(tinyrnn, 2, 5, 2, 4), states_of(kind, 2, 2, 3)
    out, last = plain(x, hx)
    results = (out, *flat(last))
    weights = like(results)
    expected = values(results) | gradients(results, weights, (x, hx), plain)

    other = copy.deepcopy(plain)
    for name, p in plain.named_parameters():
        wide = tinyrnn.zeros(*(2 * n for n in p.shape), dtype=tinyrnn.float64)
        place = wide[(slice(None, None, 2),) * p.dim()]
        place.copy_(p.detach())
        assert not place.is_contiguous()
        getattr(other, name).data = place
    big = tinyrnn.zeros(4, 2, 5, 2, dtype=tinyrnn.float64)
    big[:, :, :, 1] = x.detach().permute(2, 1, 0)
    leaf, first = big.requires_grad_(), each(hx, fresh)
    out, last = other(leaf[:, :, :, 1].permute(2, 1, 0), each(first, lambda h: h.mT.contiguous().mT))
    results = (out, *flat(last))
    tinyrnn.autograd.backward(results, [w.mT.contiguous().mT for w in weights])
    told = values(results) | {f"gradient of {n}": p.grad.numpy() for n, p in other.named_parameters()}
    told["gradient of input 0"] = leaf.grad.numpy()[:, :, :, 1].transpose(2, 1, 0)
    told |= {f"gradient of input {k + 1}": t.grad.numpy() for k, t in enumerate(flat(first))}
    close(told, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_an_expanded_batch_has_the_gradient_of_all_its_rows(kind):
    layer, x = layer_of(kind, 2, 3), tensor(tinyrnn, 2, 4, 1, 2)
    out, _ = layer(x.expand(4, 3, 2))
    alone, _ = layer(x)
    (w,) = like([out])
    close(
        values([out]) | gradients([out], [w], x, layer),
        values([alone.expand(4, 3, -1)]) | gradients([alone], [w.sum(1, keepdim=True)], x, layer),
    )


def needing(kind, *names):
    """A layer's result, and the leaves by name, of which only those in `names` require a gradient."""
    layer = layer_of(kind, 2, 3, num_layers=2)
    leaves = {"x": tensor(tinyrnn, 2, 4, 2, 2)} | {
        f"state {k}": t for k, t in enumerate(flat(states_of(kind, 2, 2, 3)))
    }
    hx = tuple(t for name, t in leaves.items() if name != "x")
    leaves |= dict(layer.named_parameters())
    for name, t in leaves.items():
        t.requires_grad_(name in names or not names)
    return layer(leaves["x"], hx if len(hx) > 1 else hx[0]), leaves


@pytest.mark.parametrize("kind", KINDS)
def test_any_one_leaf_alone_may_require_a_gradient(kind):
    """Its gradient is the same, and the others stay without."""
    (out, last), leaves = needing(kind)
    weights = like([out, *flat(last)])
    sum((r * w).sum() for r, w in zip([out, *flat(last)], weights, strict=True)).backward()
    for name, leaf in leaves.items():
        (out, last), others = needing(kind, name)
        assert out.requires_grad

        sum((r * w).sum() for r, w in zip([out, *flat(last)], weights, strict=True)).backward()
        assert [n for n, t in others.items() if t.grad is not None] == [name]
        assert tinyrnn.equal(others[name].grad, leaf.grad), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_write_to_what_the_backward_needs_is_noticed(kind):
    layer = layer_of(kind, 2, 3)
    for name, p in layer.named_parameters():
        x = tensor(tinyrnn, 2, 3, 2, 2, grad=False)
        out, last = layer(x)
        with tinyrnn.no_grad():
            p.add_(1)
        if name.startswith("bias_"):  # no gradient depends on a bias
            out.sum().backward()
            continue
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            out.sum().backward()
        out, _ = layer(x)
        out.sum().backward()
        with pytest.raises(RuntimeError, match="backward through the graph a second time"):
            out.sum().backward()
    out, _ = layer(x)
    with tinyrnn.no_grad():
        x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_of_the_optimizer_after_a_truncated_chunk(kind):
    """The states go on, detached, and the weights change in place between the chunks."""
    layer = layer_of(kind, 2, 3)
    optimizer = tinyrnn.optim.SGD(layer.parameters(), lr=0.1)
    x, hx, losses = tensor(tinyrnn, 2, 12, 2, 2, grad=False), None, []
    for chunk in x.split(4):
        out, hx = layer(chunk, hx)
        loss = out.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        hx = each(hx, lambda h: h.detach())
        losses.append(loss.item())
    assert len(set(losses)) == 3 and all(t.grad_fn is None for t in flat(hx))


def test_a_cell_that_reads_h_cannot_be_projected():
    with pytest.raises(ValueError, match="everything: proj_size must be 0 for a cell whose step reads h"):
        everything(3, 4, proj_size=2)
    layer = coupled(3, 4, 2, bidirectional=True, proj_size=2)
    assert repr(layer) == "coupled(3, 4, proj_size=2, num_layers=2, bidirectional=True)"
    assert [list(p.shape) for p in layer.all_weights[2]] == [[12, 4], [12, 2], [12], [12], [2, 4], [4]]
    assert [*layer._shapes[3]][4:] == ["weight_hr_l1_reverse", "p_l1_reverse"]


def test_a_projected_layer_is_its_steps_on_tensors():
    """A loop of tensor operations, with the projection written out."""
    layer, x = layer_of("coupled_PROJ", 2, 4), tensor(tinyrnn, 2, 3, 2, 2)
    h0, c0 = hx = states_of("coupled_PROJ", 1, 2, 4)
    out, last = layer(x, hx)
    results = [out, *last]
    weights = like(results)
    told = values(results) | gradients(results, weights, (x, hx), layer)
    h, c, rows = h0[0], c0[0], []
    for step in x:
        from_x = (step @ layer.weight_ih_l0.T + layer.bias_ih_l0).chunk(3, 1)
        from_h = (h @ layer.weight_hh_l0.T + layer.bias_hh_l0).chunk(3, 1)
        new, c = coupled.step(from_x[0] + from_h[0], from_x[1], from_h[1], from_x[2] + from_h[2], c, p=layer.p_l0)
        h = new @ layer.weight_hr_l0.T
        rows.append(h)
    results = [tinyrnn.stack(rows), h[None], c[None]]
    close(told, values(results) | gradients(results, weights, (x, hx), layer))


# ---------------------------------------------------------------------------------- against torch
PROJECTED = {  # (options, T, B, H), with B = 0 for unbatched
    "plain": ({}, 4, 2, 5),
    "three bidirectional layers": ({"num_layers": 3, "bidirectional": True}, 3, 2, 3),
    "no bias": ({"bias": False, "num_layers": 2}, 3, 2, 3),
    "batch first": ({"batch_first": True, "bidirectional": True, "num_layers": 2}, 3, 2, 2),
    "unbatched": ({"bidirectional": True, "batch_first": True}, 3, 0, 3),
    "packed": ({"bidirectional": True, "num_layers": 2, "dropout": 0.4}, 4, 3, 2),
    "one step of one row": ({}, 1, 1, 17),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", PROJECTED)
def test_projections(oracle, case, dtype):
    """Sak et al. 2014, https://arxiv.org/abs/1402.1128, as torch has it."""
    options, T, B, H = PROJECTED[case]

    def body(torch):
        layer = make(torch, "LSTM_PROJ", 2, H, dtype=dtype, **options)
        batch, rows = (B,) if B else (), layer.num_layers * (2 if layer.bidirectional else 1)
        x = tensor(torch, 2, *(*batch, T) if B and options.get("batch_first") else (T, *batch), 2, dtype=dtype)
        hx = states(torch, "LSTM_PROJ", rows, *batch, H, dtype=dtype)
        torch.manual_seed(8)
        if case == "packed":
            out, last = layer(torch.nn.utils.rnn.pack_padded_sequence(x, [2, 4, 1], enforce_sorted=False), hx)
            return story(torch, (out.data, last), (x, hx), layer) | {"next": torch.rand(2).numpy()}
        return story(torch, layer(x, hx), (x, hx), layer)

    same(oracle, body)


def test_projected_parameters_are_torchs_bit_for_bit(oracle):
    def body(torch):
        torch.manual_seed(5)
        layer = torch.nn.LSTM(2, 3, 2, bidirectional=True, proj_size=2)
        told = [
            f"{name} {tuple(p.shape)} {p.detach().numpy().tobytes().hex()[:24]}" for name, p in layer.named_parameters()
        ]
        names = [[list(p.shape) for p in group] for group in layer.all_weights]
        return {"told": "\n".join([*told, str(names), repr(layer), str(layer.proj_size), str(torch.rand(1).item())])}

    assert body(tinyrnn)["told"] == str(oracle(body)["told"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", TORCHS)
def test_five_thousand_steps(oracle, kind, dtype):
    def body(torch):
        layer = make(torch, kind, 1, 3, dtype=dtype)
        x = tensor(torch, 2, 5000, 1, 1, dtype=dtype)
        out, last = layer(x)
        found = story(torch, (out[::500], last), x, layer)
        return {name: value[:: 100 if len(value) == 5000 else 1] for name, value in found.items()}

    same(oracle, body)


def assert_alike(kind, T, B, width, H, dtype, seed, *, given=True, lengths=None, **options):
    """Results, gradients of everything and the state of the random numbers are torch's."""
    told = []
    for library in (torch, tinyrnn):
        layer = make(library, kind, width, H, dtype=dtype, **options)
        rows = layer.num_layers * (2 if layer.bidirectional else 1)
        batch = (B,) if B is not None else ()
        shape = (*batch, T) if B is not None and layer.batch_first else (T, *batch)
        x, hx = tensor(library, seed, *shape, width, dtype=dtype), states(library, kind, rows, *batch, H, dtype=dtype)
        library.manual_seed(seed)
        packed = x
        if lengths is not None:
            packed = library.nn.utils.rnn.pack_padded_sequence(x, lengths, layer.batch_first, enforce_sorted=False)
        out, last = layer(packed, hx if given else None)
        found = story(library, (out.data if lengths is not None else out, last), (x, hx) if given else x, layer)
        told.append(found | {"next": library.rand(2).numpy()})
    close(told[1], told[0])


SIZES = [
    (1, 1, 1, 2),
    (1, 4, 3, 5),
    (7, 1, 2, 15),
    (3, 3, 1, 16),
    (4, 2, 5, 17),
    (2, 9, 17, 33),
    (6, 5, 4, 3),
    (33, 2, 2, 2),
]


@needs_torch
@pytest.mark.parametrize("kind", TORCHS)
def test_sizes_and_options_in_all_combinations(kind):
    """Every choice of bias, layout, directions, layers and initial states, with padded, packed and lone sequences."""
    numbers = np.random.default_rng(3)
    choices = itertools.product((True, False), (False, True), (False, True), (1, 2), (True, False))
    for number, (bias, batch_first, bidirectional, layers, given) in enumerate(choices):
        T, B, width, H = SIZES[number % len(SIZES)]
        options = {"bias": bias, "batch_first": batch_first, "bidirectional": bidirectional, "num_layers": layers}
        if layers > 1:
            options["dropout"] = 0.3
        lengths = numbers.integers(1, T + 1, B).tolist()
        for batch, how in ((B, None), (B, lengths), (None, None)):
            dtype = ("float32", "float64")[numbers.integers(2)]
            assert_alike(kind, T, batch, width, H, dtype, number, given=given, lengths=how, **options)


@needs_torch
@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell"])
def test_the_samples_of_torchs_own_tests(name):
    """torch.testing._internal.common_modules: every sample, and every error that its tests expect."""
    from torch.testing._internal import common_modules as theirs

    (info,) = [i for i in theirs.module_db if i.module_cls is getattr(torch.nn, name)]
    ours, samples = getattr(nn, name), 0

    def over(value):
        """What torch's samples are made of, made of tinyrnn."""
        if isinstance(value, torch.nn.utils.rnn.PackedSequence):
            return rnn.PackedSequence(*map(over, value))
        if isinstance(value, torch.Tensor):
            return tinyrnn.from_numpy(value.detach().numpy().copy()).requires_grad_(value.requires_grad)
        if isinstance(value, torch.dtype):
            return getattr(tinyrnn, str(value).split(".")[1])
        if isinstance(value, torch.device):
            return "cpu"
        if isinstance(value, (tuple, list)):
            return type(value)(map(over, value))
        return {k: over(v) for k, v in value.items()} if isinstance(value, dict) else value

    for dtype, training in itertools.product((torch.float32, torch.float64), (True, False)):
        options = {"device": "cpu", "dtype": dtype, "requires_grad": True, "training": training}
        extra = {"with_packed_sequence": True} if name in ("RNN", "GRU") else {}
        for sample in info.module_inputs_func(info, **options, **extra):
            make_args, call_args = sample.constructor_input, sample.forward_input
            their = info.module_cls(*make_args.args, **make_args.kwargs).to(dtype).train(training)
            mine = ours(*over(make_args.args), **over(make_args.kwargs)).to(over(dtype)).train(training)
            mine.load_state_dict({k: over(v) for k, v in their.state_dict().items()})
            given, got = call_args.args, over(call_args.args)
            told = []
            for library, layer, args in ((torch, their, given), (tinyrnn, mine, got)):
                result = layer(*args, **call_args.kwargs)
                leaves = [t for t in flat(list(args)) if t is not None and t.is_leaf and t.requires_grad]
                results = [t for t in flat(result) if t is not None and t.is_floating_point()]
                told.append(story(library, results, leaves, layer))
            close(told[1], told[0])
            samples += 1
        for error in info.module_error_inputs_func(info, **options):
            make_args, call_args = error.module_error_input.constructor_input, error.module_error_input.forward_input
            with pytest.raises(error.error_type, match=error.error_regex):
                layer = ours(*over(make_args.args), **over(make_args.kwargs))
                assert error.error_on is theirs.ModuleErrorEnum.FORWARD_ERROR
                layer = layer.to(over(dtype)) if "dtype" not in make_args.kwargs else layer
                layer(*over(call_args.args), **over(call_args.kwargs))
            samples += 1
    assert samples >= 20


def test_batches_are_sorted_as_torch_sorts_them(oracle):
    """Of equal lengths, more than 16, torch's order is that of the C++ library's sort; dropout falls by it."""

    def body(torch):
        numbers, told = np.random.default_rng(4), []
        for n, most in ((16, 3), (17, 1), (20, 2), (64, 5), (65, 40), (500, 10)):
            lengths = torch.from_numpy(numbers.integers(1, most + 1, n))
            packed = torch.nn.utils.rnn.pack_padded_sequence(torch.zeros(most, n), lengths, enforce_sorted=False)
            told += [packed.sorted_indices, lengths.sort()[1], lengths.double().argsort(descending=True)]
        return {"told": torch.cat(told).numpy()}

    assert np.array_equal(body(tinyrnn)["told"], oracle(body)["told"])
