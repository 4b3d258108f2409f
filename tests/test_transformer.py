"""Multi-head attention and the Transformer against torch: every option and mask, training with dropout, evaluation."""

import copy
import io
import itertools
import pickle
import warnings

import numpy as np
import pytest
from conftest import needs_torch, torch

import tinyrnn
from tinyrnn import nn
from tinyrnn.ops import multihead

DTYPES = ["float32", "float64"]
TOLERANCE = {"float32": (1e-5, 1e-4), "float64": (1e-12, 1e-10)}
N, L, S, E, H = 2, 3, 4, 6, 2  # batch, target and source length, width, heads


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """These models are small: torch's threads would only wait for each other."""
    if torch is None:
        yield
    else:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)


# ------------------------------------------------------------------------------------------ both libraries
def story(t, make, call, dtype, training=True):
    """A layer from one seed, what `call(t, layer, tensor)` makes of it, and the gradients of what `tensor` gave.

    Returns texts, and lists of arrays: of the weights as they begin the sum and the first, results, gradients.
    """
    rng, kind = np.random.default_rng(3), getattr(t, dtype)
    t.manual_seed(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = make(t).to(kind).train(training)
    begins = [t.stack([p.detach().sum(), p.detach().flatten()[0]]) for p in layer.parameters()]
    with t.no_grad():
        for p in layer.parameters():  # no bias may stay zero
            p.add_(t.tensor(0.2 * rng.standard_normal(tuple(p.shape))).to(kind))
    inputs = []

    def tensor(*shape):
        inputs.append(t.tensor(rng.standard_normal(shape), dtype=kind, requires_grad=True))
        return inputs[-1]

    t.manual_seed(6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = call(t, layer, tensor)
    results = [r for r in (results if isinstance(results, tuple) else (results,)) if r is not None]
    ends = [*inputs, *layer.parameters()]
    loss = sum((r * t.tensor(rng.standard_normal(tuple(r.shape)), dtype=kind)).sum() for r in results)
    gradients = [g for g in t.autograd.grad(loss, ends, allow_unused=True) if g is not None]
    arrays = {"begins": begins, "results": results, "gradients": gradients}
    texts = {"printed": str(layer), "keys": " ".join(layer.state_dict()), "next": f"{t.rand(1).item():.6f}"}
    return texts, {name: [x.detach().numpy() for x in found] for name, found in arrays.items()}


def flat(told):
    """A story as the oracle keeps it: the texts and the shapes as one, and each list of arrays as one."""
    texts, arrays = told
    shapes = [[a.shape for a in found] for found in arrays.values()]
    return {"texts": f"{texts} {shapes}"} | {n: np.concatenate([a.ravel() for a in v]) for n, v in arrays.items()}


def check(told, expected, dtype):
    """That our story is the expected one, each array within the tolerance of its scale."""
    assert flat(told)["texts"] == str(expected["texts"])
    for name, found in told[1].items():
        theirs = np.split(expected[name], np.cumsum([a.size for a in found])[:-1])
        for number, (a, b) in enumerate(zip(found, theirs, strict=True)):
            assert a.dtype == b.dtype == dtype, name
            bound = TOLERANCE[dtype][name == "gradients"] * max(np.abs(np.nan_to_num(b)).max(initial=0), 1e-2)
            np.testing.assert_allclose(a.ravel(), b, rtol=0, atol=bound, err_msg=f"{name} {number}")


def padding(t, kind=None):
    """(N, S): the last positions of the second sequence are padding."""
    mask = t.tensor([[False] * S, [False] * (S - 2) + [True] * 2])
    return mask if kind is None else t.zeros(N, S, dtype=kind).masked_fill(mask, float("-inf"))


def bias(t, tensor, *shape, forbidden=()):
    """Numbers to add to the scores, -inf in the places that are forbidden."""
    mask = np.zeros(shape, bool)
    for place in forbidden:
        mask[place] = True
    return tensor(*shape).masked_fill(t.from_numpy(mask), float("-inf"))


# ------------------------------------------------------------------------------------------ MultiheadAttention
OPTIONS = {
    "plain": {},
    "batch first": {"batch_first": True},
    "no bias": {"bias": False},
    "one key more": {"add_bias_kv": True},
    "zeros": {"add_zero_attn": True, "batch_first": True},
    "both more": {"add_bias_kv": True, "add_zero_attn": True},
    "widths": {"kdim": 5, "vdim": 7, "batch_first": True},
    "widths without bias": {"kdim": 5, "bias": False, "add_bias_kv": True},
    "dropout": {"dropout": 0.4},
    "dropout, batch first": {"dropout": 0.4, "batch_first": True},
}
MASKS = {  # of keys that are S long; `kind` is the type of the query
    "none": lambda t, tensor, kind: {},
    "padding": lambda t, tensor, kind: {"key_padding_mask": padding(t)},
    "float padding": lambda t, tensor, kind: {"key_padding_mask": bias(t, tensor, N, S, forbidden=[(1, -1)])},
    "2d": lambda t, tensor, kind: {"attn_mask": t.tensor([[False, True, False, True]] * L)},
    "float 2d": lambda t, tensor, kind: {"attn_mask": bias(t, tensor, L, S, forbidden=[(1, 2), (0, 0)])},
    "3d": lambda t, tensor, kind: {"attn_mask": t.arange(N * H * L * S).reshape(N * H, L, S) % 5 == 2},
    "float 3d": lambda t, tensor, kind: {"attn_mask": bias(t, tensor, N * H, L, S, forbidden=[(3, 1)[:1] + (1, 2)])},
    "both": lambda t, tensor, kind: {
        "attn_mask": t.ones(L, S, dtype=t.bool).triu(2), "key_padding_mask": padding(t)
    },
    "both float": lambda t, tensor, kind: {
        "attn_mask": bias(t, tensor, N * H, L, S), "key_padding_mask": padding(t, kind)
    },
    "mixed": lambda t, tensor, kind: {"attn_mask": bias(t, tensor, L, S), "key_padding_mask": padding(t)},
    "hint": lambda t, tensor, kind: {"attn_mask": t.ones(L, S, dtype=t.bool).triu(1), "is_causal": True},
    "hint and padding": lambda t, tensor, kind: {
        "attn_mask": t.ones(L, S, dtype=t.bool).triu(1), "key_padding_mask": padding(t), "is_causal": True
    },
}  # fmt: skip
WEIGHTS = {"average": {}, "each head": {"average_attn_weights": False}, "no weights": {"need_weights": False}}


def inputs(layer, tensor, which):
    """Query, key and value: one tensor, two, or three."""
    shapes = [(L, layer.embed_dim), (S, layer.kdim), (S, layer.vdim)]
    query, key, value = ((N, *s) if layer.batch_first else (s[0], N, s[1]) for s in shapes)
    if which == "self":
        x = tensor(*((N, S, E) if layer.batch_first else (S, N, E)))
        return x, x, x
    if which == "memory":
        memory = tensor(*key)
        return tensor(*query), memory, memory
    return tensor(*query), tensor(*key), tensor(*value)


def attention(options, mask, weights, which="three"):
    """(make, call) of a MultiheadAttention."""

    def call(t, layer, tensor):
        given = inputs(layer, tensor, which)
        masks = MASKS[mask](t, tensor, given[0].dtype)
        return layer(*given, **masks, **WEIGHTS[weights])

    return lambda t: t.nn.MultiheadAttention(E, H, **OPTIONS[options]), call


@needs_torch
@pytest.mark.parametrize("options", OPTIONS)
def test_attention_with_every_mask(options):
    for number, (mask, weights) in enumerate(itertools.product(MASKS, WEIGHTS)):
        which = "three" if "kdim" in OPTIONS[options] or number % 2 else "memory"
        dtype, training = DTYPES[number // 2 % 2], number % 5 > 0
        make, call = attention(options, mask, weights, which)
        theirs = story(torch, make, call, dtype, training)
        try:
            check(story(tinyrnn, make, call, dtype, training), flat(theirs), dtype)
        except AssertionError as error:
            raise AssertionError(f"{mask}, {weights}, {which}, {dtype}, training={training}") from error


SOME = [
    ("plain", "padding", "average", "memory", "float64"),
    ("batch first", "both float", "no weights", "three", "float32"),
    ("both more", "mixed", "each head", "memory", "float64"),
    ("widths", "3d", "no weights", "three", "float64"),
    ("dropout, batch first", "2d", "average", "memory", "float32"),
    ("dropout", "hint and padding", "no weights", "memory", "float32"),
]


@pytest.mark.parametrize("case", SOME, ids=", ".join)
def test_attention(oracle, case):
    *case, dtype = case
    make, call = attention(*case)
    check(story(tinyrnn, make, call, dtype), oracle(lambda t: flat(story(t, make, call, dtype))), dtype)


def self_attention(mask):
    """(make, call) of self-attention over S positions, with `mask`(t, tensor) and without weights."""

    def call(t, layer, tensor):
        x = tensor(N, S, E)
        return layer(x, x, x, need_weights=False, **mask(t, tensor))

    return lambda t: t.nn.MultiheadAttention(E, H, dropout=0.3, batch_first=True), call


def single(t, layer, tensor):
    """One sequence, without a batch."""
    x, mask = tensor(S, E), t.ones(H, S, S, dtype=t.bool).triu(1)
    a, weights = layer(x, x, x, attn_mask=mask, key_padding_mask=padding(t)[1])
    return a, weights, layer(tensor(L, E), x, x, need_weights=False)[0]


def fixed(t, layer, tensor):
    """The function, with keys and values that were projected before."""
    k, v = tensor(N * H, S, E // H), tensor(N * H, S, E // H)
    x = tensor(L, N, E)
    return t.nn.functional.multi_head_attention_forward(
        x, x, x, E, H, layer.in_proj_weight, layer.in_proj_bias, None, None, True, 0.5, layer.out_proj.weight,
        layer.out_proj.bias, training=False, key_padding_mask=t.tensor([[False] * S, [True] + [False] * (S - 1)]),
        static_k=k, static_v=v,
    )  # fmt: skip


@pytest.mark.parametrize("need_weights", [False, True])
def test_an_empty_batch_with_padding(need_weights):
    layer, x = nn.MultiheadAttention(E, H), tinyrnn.zeros(S, 0, E, requires_grad=True)
    mask = tinyrnn.zeros(0, S, dtype=tinyrnn.bool)
    out, weights = layer(x, x, x, key_padding_mask=mask, need_weights=need_weights)
    out.sum().backward()
    assert out.shape == x.grad.shape == x.shape
    assert (weights.shape == (0, S, S)) if need_weights else weights is None


SELF = {
    "self": self_attention(lambda t, tensor: {}),
    "self, causal": self_attention(
        lambda t, tensor: {"attn_mask": t.nn.Transformer.generate_square_subsequent_mask(S), "is_causal": True}
    ),
    "a row without keys": self_attention(lambda t, tensor: {"key_padding_mask": t.tensor([[False] * S, [True] * S])}),
    "single": (lambda t: t.nn.MultiheadAttention(E, H, batch_first=True), single),
    "fixed keys and values": (lambda t: t.nn.MultiheadAttention(E, H), fixed),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SELF)
def test_self_attention(oracle, name, dtype):
    make, call = SELF[name]
    check(story(tinyrnn, make, call, dtype), oracle(lambda t: flat(story(t, make, call, dtype))), dtype)


def test_a_row_without_keys_has_weights_nan_and_attention_zero(oracle):
    def ask(t):
        t.manual_seed(0)
        layer, x = t.nn.MultiheadAttention(E, H, bias=False), t.ones(S, N, E)
        mask = t.zeros(S, S, dtype=t.bool)
        mask[1] = True
        found, weights = layer(x, x, x, attn_mask=mask)
        without = layer(x, x, x, attn_mask=mask, need_weights=False)[0]
        return {
            "found": found.isnan().numpy(), "weights": weights.isnan().numpy(), "without": (without == 0).numpy()
        }  # fmt: skip

    expected = oracle(ask)
    for name, value in ask(tinyrnn).items():
        assert (value == expected[name]).all(), name
    assert expected["weights"][:, 1].all() and expected["without"][1].all()


@pytest.mark.parametrize("which, products", [("self", 2), ("memory", 3), ("three", 4)])
def test_each_tensor_is_projected_once(monkeypatch, which, products):
    seen = []
    monkeypatch.setattr(multihead, "linear", lambda x, w, b: (seen.append(x), nn.functional.linear(x, w, b))[1])
    for batch_first in (True, False):
        layer = nn.MultiheadAttention(E, H, batch_first=batch_first)
        layer(*inputs(layer, tinyrnn.randn, which), need_weights=False)
        assert len(seen) == products
        assert all(x.is_contiguous() for x in seen)  # in memory as the caller has them
        seen.clear()


# ------------------------------------------------------------------------------------------ layers and stacks
FORMS = {
    "plain": {},
    "batch first": {"batch_first": True},
    "norm first": {"norm_first": True, "batch_first": True},
    "gelu": {"activation": "gelu", "norm_first": True},
    "no bias": {"bias": False, "layer_norm_eps": 1e-3},
    "own activation": {"activation": lambda x: x * x.sigmoid()},
}


def modules(t, options, p=0.3):
    """Builders of the layers and stacks, by name."""
    n, sizes = t.nn, {"d_model": E, "nhead": H, "dim_feedforward": 8, "dropout": p, **options}
    return {
        "encoder layer": lambda: n.TransformerEncoderLayer(**sizes),
        "decoder layer": lambda: n.TransformerDecoderLayer(**sizes),
        "encoder": lambda: n.TransformerEncoder(n.TransformerEncoderLayer(**sizes), 2, n.LayerNorm(E)),
        "decoder": lambda: n.TransformerDecoder(n.TransformerDecoderLayer(**sizes), 2),
        "transformer": lambda: n.Transformer(**sizes, num_encoder_layers=1, num_decoder_layers=2),
    }


def called(name, options, masks):
    """What calls such a module, with names of masks as in `encoder_masks` and `decoder_masks`."""

    def call(t, layer, tensor):
        def sequence(length):
            return tensor(*((N, length, E) if options.get("batch_first") else (length, N, E)))

        if name in ("encoder layer", "encoder"):
            return layer(sequence(S), **encoder_masks(t, tensor, masks, "src_mask" if "layer" in name else "mask"))
        kwargs = decoder_masks(t, tensor, masks)
        if name == "transformer":
            kwargs |= encoder_masks(t, tensor, masks, "src_mask", "src_is_causal")
        first, second = (S, L) if name == "transformer" else (L, S)
        return layer(sequence(first), sequence(second), **kwargs)

    return call


def encoder_masks(t, tensor, masks, name, hint="is_causal"):
    return {
        "none": lambda: {},
        "padding": lambda: {"src_key_padding_mask": padding(t)},
        "causal": lambda: {name: t.nn.Transformer.generate_square_subsequent_mask(S)},
        "hints": lambda: {name: t.ones(S, S, dtype=t.bool).triu(1), hint: True},
        "all": lambda: {name: t.ones(N * H, S, S, dtype=t.bool).triu(2), "src_key_padding_mask": padding(t)},
        "float": lambda: {name: bias(t, tensor, S, S)},
    }[masks]()


def decoder_masks(t, tensor, masks):
    return {
        "none": lambda: {},
        "padding": lambda: {"tgt_key_padding_mask": padding(t)[:, 1:], "memory_key_padding_mask": padding(t)},
        "causal": lambda: {"tgt_mask": t.nn.Transformer.generate_square_subsequent_mask(L)},
        "hints": lambda: {"tgt_mask": t.ones(L, L, dtype=t.bool).triu(1), "tgt_is_causal": True},
        "all": lambda: {
            "tgt_mask": t.ones(L, L, dtype=t.bool).triu(1), "memory_mask": t.ones(L, S, dtype=t.bool).triu(2),
            "tgt_key_padding_mask": padding(t)[:, 1:], "memory_key_padding_mask": padding(t),
        },
        "float": lambda: {"tgt_mask": bias(t, tensor, L, L), "memory_mask": bias(t, tensor, L, S)},
    }[masks]()  # fmt: skip


NAMES = ["encoder layer", "decoder layer", "encoder", "decoder", "transformer"]
KINDS = ["none", "padding", "causal", "hints", "all", "float"]


def layer_story(name, form, masks):
    options = FORMS[form]
    return lambda t: modules(t, options)[name](), called(name, options, masks)


@needs_torch
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_layers_with_every_mask(name, form):
    for number, masks in enumerate(KINDS):
        dtype, training = DTYPES[(number + len(form)) % 2], number % 4 < 3
        make, call = layer_story(name, form, masks)
        theirs = flat(story(torch, make, call, dtype, training))
        try:
            check(story(tinyrnn, make, call, dtype, training), theirs, dtype)
        except AssertionError as error:
            raise AssertionError(f"{masks}, {dtype}, training={training}") from error


LAYERS = [
    ("encoder layer", "batch first", "all", "float64"),
    ("decoder layer", "gelu", "all", "float32"),
    ("encoder", "norm first", "causal", "float32"),
    ("decoder", "plain", "hints", "float64"),
    ("transformer", "batch first", "padding", "float32"),
    ("transformer", "no bias", "float", "float64"),
]


@pytest.mark.parametrize("case", LAYERS, ids=", ".join)
def test_layers(oracle, case):
    *case, dtype = case
    make, call = layer_story(*case)
    check(story(tinyrnn, make, call, dtype), oracle(lambda t: flat(story(t, make, call, dtype))), dtype)


# ------------------------------------------------------------------------------------------ training
def losses(t, name, batch_first, steps=50):
    """The losses of 50 steps of Adam with dropout, on one batch of random sequences of words."""
    t.manual_seed(11)
    options = {"batch_first": batch_first, "norm_first": name == "decoder"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = modules(t, options, p=0.2)[name]()
    words, head = t.nn.Embedding(9, E), t.nn.Linear(E, 9)
    every = t.nn.ModuleList([model, words, head])
    source, target = t.randint(0, 9, (5, 7)), t.randint(0, 9, (5, 6))
    pad = t.arange(7) >= t.tensor([7, 7, 5, 3, 2])[:, None]
    if not batch_first:
        source, target = source.t(), target.t()
    mask = t.nn.Transformer.generate_square_subsequent_mask(6)
    optimizer = t.optim.Adam(every.parameters(), lr=0.01)
    found = []
    for _ in range(steps):
        x, y = words(source), words(target)
        if name == "encoder":
            out, goal = model(x, src_key_padding_mask=pad), source
        elif name == "decoder":
            out, goal = model(y, x, tgt_mask=mask, memory_key_padding_mask=pad), target.roll(-1, 1)
        else:
            out = model(x, y, tgt_mask=mask, src_key_padding_mask=pad, memory_key_padding_mask=pad)
            goal = target.roll(-1, 1)
        loss = t.nn.functional.cross_entropy(head(out).flatten(0, 1), goal.flatten())
        optimizer.zero_grad()
        loss.backward()
        t.nn.utils.clip_grad_norm_(every.parameters(), 1.0)
        optimizer.step()
        found.append(loss.item())
    return {"losses": np.array(found)}


@pytest.mark.parametrize("batch_first", [True, False], ids=["batch first", "time first"])
@pytest.mark.parametrize("name", ["encoder", "decoder", "transformer"])
def test_training_with_dropout(oracle, name, batch_first):
    expected = oracle(lambda t: losses(t, name, batch_first))["losses"]
    got = losses(tinyrnn, name, batch_first)["losses"]
    assert np.abs(got - expected).max() < 1e-4
    assert expected[-1] < 0.8 * expected[0]


# ------------------------------------------------------------------------------------------ evaluation
PADDED = {
    "at the end": [[0, 0, 0, 0], [0, 0, 1, 1]],
    "of all": [[0, 0, 0, 1], [0, 1, 1, 1]],
    "a whole sequence": [[0, 0, 0, 1], [1, 1, 1, 1]],
    "at the beginning": [[0, 0, 0, 0], [1, 1, 0, 0]],
}


def evaluated(t, mask, numbers=False, causal=False, frozen=False, norm=None, **options):
    """What an encoder without dropout makes of padded sequences, without gradients."""
    t.manual_seed(2)
    layer = t.nn.TransformerEncoderLayer(E, H, 8, batch_first=True)
    encoder = t.nn.TransformerEncoder(layer, 2, t.nn.LayerNorm(E) if norm else None, **options).eval()
    x, mask = t.randn(N, S, E), t.tensor(mask) == 1
    if numbers:
        mask = t.zeros(N, S).masked_fill(mask, -1e9)
    look = {"mask": t.nn.Transformer.generate_square_subsequent_mask(S)} if causal else {}
    if frozen:
        return {"y": encoder.requires_grad_(False)(x, src_key_padding_mask=mask, **look).numpy()}
    with t.no_grad():
        return {"y": encoder(x, src_key_padding_mask=mask, **look).numpy()}


WAYS = {
    "plain": {},
    "numbers": {"numbers": True},
    "frozen": {"frozen": True},
    "norm": {"norm": True},
    "causal": {"causal": True},
    "unchecked": {"mask_check": False},
    "not nested": {"enable_nested_tensor": False},
}
BLIND = [("a whole sequence", "causal"), ("a whole sequence", "not nested"), ("at the beginning", "causal")]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("where", PADDED)
def test_padding_comes_out_of_an_encoder_as_torchs_does(oracle, where, way):
    expected = oracle(lambda t: evaluated(t, PADDED[where], **WAYS[way]))["y"]
    got = evaluated(tinyrnn, PADDED[where], **WAYS[way])["y"]
    # Of a position that sees nothing torch's fused form of evaluation makes NaN; ours makes there what training makes.
    blind = np.isnan(expected)
    assert not np.isnan(got).any()
    assert blind.any() == ((where, way) in BLIND)
    np.testing.assert_allclose(got[~blind], expected[~blind], atol=2e-5)


def test_the_switch_for_padding():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(E, H, 8, batch_first=True), 1).eval()
    x, mask = tinyrnn.randn(N, S, E), padding(tinyrnn)
    try:
        for on in (True, False):
            tinyrnn.backends.mha.set_fastpath_enabled(on)
            assert tinyrnn.backends.mha.get_fastpath_enabled() is on
            with tinyrnn.no_grad():
                y = encoder(x, src_key_padding_mask=mask)
            assert bool((y[1, -1] == 0).all()) is on
    finally:
        tinyrnn.backends.mha.set_fastpath_enabled(True)


def test_attention_of_evaluation_lies_in_order():
    layer, x = nn.MultiheadAttention(E, H, batch_first=True), tinyrnn.randn(N, S, E)
    assert layer(x, x, x)[0].stride() == (E, N * E, 1)  # in which torch's dropout draws
    with tinyrnn.no_grad():
        assert layer.eval()(x, x, x)[0].is_contiguous()


# ------------------------------------------------------------------------------------------ what is refused
def attend(t, *shapes, options=None, **kwargs):
    kwargs = {k: v(t) if callable(v) else v for k, v in kwargs.items()}
    return t.nn.MultiheadAttention(E, H, **(options or {}))(*(t.ones(*s) for s in shapes), **kwargs)


Q, K = (L, N, E), (S, N, E)
REFUSED = {
    "width 0": lambda t: t.nn.MultiheadAttention(0, 2),
    "heads -1": lambda t: t.nn.MultiheadAttention(4, -1),
    "heads that do not divide": lambda t: t.nn.MultiheadAttention(5, 2),
    "layer of them": lambda t: t.nn.TransformerEncoderLayer(5, 2),
    "activation": lambda t: t.nn.TransformerEncoderLayer(4, 2, activation="tanh"),
    "activation of a decoder": lambda t: t.nn.TransformerDecoderLayer(4, 2, activation="swish"),
    "4 dimensions": lambda t: attend(t, (1, *Q), (1, *K), (1, *K)),
    "1 dimension": lambda t: attend(t, (E,), (E,), (E,)),
    "keys without batch": lambda t: attend(t, Q, (S, E), (S, E)),
    "keys with batch": lambda t: attend(t, (L, E), K, K),
    "width of the query": lambda t: attend(t, (L, N, E + 2), K, K),
    "width of the keys": lambda t: attend(t, Q, (S, N, E + 2), (S, N, E + 2)),
    "keys and values": lambda t: attend(t, Q, K, (S + 1, N, E)),
    "batches": lambda t: attend(t, Q, (S, N + 1, E), (S, N + 1, E)),
    "key width": lambda t: attend(t, Q, K, K, options={"kdim": 5}),
    "separate lengths": lambda t: attend(t, Q, (S, N, 5), (S + 1, N, E), options={"kdim": 5}),
    "padding of a batch": lambda t: attend(t, Q, K, K, key_padding_mask=lambda t: t.zeros(S)),
    "padding of one": lambda t: attend(t, (L, E), (S, E), (S, E), key_padding_mask=lambda t: t.zeros(N, S)),
    "padding's length": lambda t: attend(t, Q, K, K, key_padding_mask=lambda t: t.zeros(N, S + 1)),
    "padding's batch": lambda t: attend(t, Q, K, K, key_padding_mask=lambda t: t.zeros(N + 1, S)),
    "whole numbers": lambda t: attend(t, Q, K, K, key_padding_mask=lambda t: t.zeros(N, S, dtype=t.int64)),
    "mask of whole numbers": lambda t: attend(t, Q, K, K, attn_mask=lambda t: t.zeros(L, S, dtype=t.int32)),
    "mask of whole numbers, said to be causal": lambda t: attend(
        t, Q, K, K, attn_mask=lambda t: t.zeros(L, S, dtype=t.int64), is_causal=True, need_weights=False
    ),
    "mask of 1 dimension": lambda t: attend(t, Q, K, K, attn_mask=lambda t: t.zeros(S)),
    "mask of 4": lambda t: attend(t, Q, K, K, attn_mask=lambda t: t.zeros(N, H, L, S)),
    "2d mask": lambda t: attend(t, Q, K, K, attn_mask=lambda t: t.zeros(S, L)),
    "3d mask": lambda t: attend(t, Q, K, K, attn_mask=lambda t: t.zeros(N, L, S)),
    "3d mask of one": lambda t: attend(t, (L, E), (S, E), (S, E), attn_mask=lambda t: t.zeros(1, L, S)),
    "mask's type": lambda t: attend(t, Q, K, K, attn_mask=lambda t: t.zeros(L, S, dtype=t.float64)),
    "hint without mask": lambda t: attend(t, Q, K, K, is_causal=True),
    "another type": lambda t: t.nn.MultiheadAttention(E, H).double()(t.ones(Q), t.ones(K), t.ones(K)),
    "no tensors": lambda t: t.nn.MultiheadAttention(E, H)(1, 2, 3),
    "no layers": lambda t: t.nn.TransformerEncoder(t.nn.TransformerEncoderLayer(E, H), 0)(t.ones(Q)),
    "transformer's batches": lambda t: t.nn.Transformer(E, H, 1, 1, 8)(t.ones(Q), t.ones(S, N + 1, E)),
    "transformer's width": lambda t: t.nn.Transformer(E, H, 1, 1, 8)(t.ones(Q), t.ones(S, N, E + 1)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(oracle, name):
    def refused(t):
        with pytest.raises(Exception) as caught:  # noqa: PT011, B017  (which one is the answer)
            REFUSED[name](t)
        return {"class": caught.type.__name__}

    assert refused(tinyrnn)["class"] == oracle(refused)["class"]


def function(t, **changed):
    """multi_head_attention_forward with other arguments."""
    given = {
        "query": t.ones(L, N, E), "key": t.ones(S, N, E), "value": t.ones(S, N, E), "embed_dim_to_check": E,
        "num_heads": H, "in_proj_weight": t.ones(3 * E, E), "in_proj_bias": None, "bias_k": None, "bias_v": None,
        "add_zero_attn": False, "dropout_p": 0.0, "out_proj_weight": t.ones(E, E), "out_proj_bias": None,
    }  # fmt: skip
    return t.nn.functional.multi_head_attention_forward(**given | {k: v(t) for k, v in changed.items()})


MISUSED = {
    "no weight": {"in_proj_weight": lambda t: None},
    "no separate weights": {"use_separate_proj_weight": lambda t: True},
    "half of a bias": {"bias_k": lambda t: t.ones(1, 1, E)},
    "bias and fixed keys": {
        "bias_k": lambda t: t.ones(1, 1, E), "bias_v": lambda t: t.ones(1, 1, E),
        "static_k": lambda t: t.ones(N * H, S, 3),
    },
    "heads": {"num_heads": lambda t: 4},
    "fixed keys": {"static_k": lambda t: t.ones(N, S, E // H)},
    "fixed values": {"static_v": lambda t: t.ones(N * H, S, E)},
}  # fmt: skip


@pytest.mark.parametrize("name", MISUSED)
def test_misuse_of_the_function_is_refused(oracle, name):
    def refused(t):
        with pytest.raises(Exception) as caught:  # noqa: PT011, B017  (which one is the answer)
            function(t, **MISUSED[name])
        return {"class": caught.type.__name__}

    assert refused(tinyrnn)["class"] == oracle(refused)["class"]


WARNED = {
    "types of masks": lambda t: attend(
        t, Q, K, K, attn_mask=lambda t: t.zeros(L, S), key_padding_mask=lambda t: padding(t)
    ),
    "types of an encoder's masks": lambda t: t.nn.TransformerEncoderLayer(E, H)(
        t.ones(S, N, E), t.zeros(S, S), padding(t)
    ),
    "not batch first": lambda t: t.nn.TransformerEncoder(t.nn.TransformerEncoderLayer(E, H), 1),
    "norm first": lambda t: t.nn.TransformerEncoder(
        t.nn.TransformerEncoderLayer(E, H, norm_first=True, batch_first=True), 1
    ),
    "odd": lambda t: t.nn.TransformerEncoder(t.nn.TransformerEncoderLayer(E, 3, batch_first=True), 1),
    "no bias": lambda t: t.nn.TransformerEncoder(t.nn.TransformerEncoderLayer(E, H, batch_first=True, bias=False), 1),
    "another activation": lambda t: t.nn.TransformerEncoder(
        t.nn.TransformerEncoderLayer(E, H, activation=t.tanh, batch_first=True), 1
    ),
    "another layer": lambda t: t.nn.TransformerEncoder(t.nn.Linear(2, 2), 1),
    "no wish": lambda t: t.nn.TransformerEncoder(t.nn.TransformerEncoderLayer(E, H), 1, enable_nested_tensor=False),
    "nothing": lambda t: t.nn.TransformerEncoder(t.nn.TransformerEncoderLayer(E, H, batch_first=True), 1),
}


@pytest.mark.parametrize("name", WARNED)
def test_warnings(oracle, name):
    def warned(t):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            WARNED[name](t)
        return {"warned": "\n".join(f"{w.category.__name__}: {w.message}" for w in seen)}

    assert warned(tinyrnn)["warned"] == str(oracle(warned)["warned"])


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("activation", ["GELU", "ReLU"])
def test_copies_of_a_decoder_layer_forget_an_activation_that_is_a_module(oracle, activation):
    """As torch's do: the numbers of a program, and those of a checkpoint, are torch's.  Here a warning says so."""

    def body(t):
        t.manual_seed(0)
        model = t.nn.Transformer(E, H, 1, 1, 8, dropout=0.0, activation=getattr(t.nn, activation)(), dtype=t.float64)
        x = t.linspace(-2, 2, L * N * E, dtype=t.float64).reshape(L, N, E)
        decoder, encoder = (copy.deepcopy(stack.layers[0]) for stack in (model.decoder, model.encoder))
        return {"out": t.stack([model(x, x), decoder(x, x), encoder(x)]).detach().numpy()}

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        mine = body(tinyrnn)["out"]
    np.testing.assert_allclose(mine, oracle(body)["out"], rtol=1e-10)
    told = [str(w.message) for w in seen if "uses relu where the layer has" in str(w.message)]
    assert bool(told) == (activation == "GELU")


# ------------------------------------------------------------------------------------------ the rest
def test_the_causal_mask():
    mask = nn.Transformer.generate_square_subsequent_mask(3)
    assert mask.tolist() == [[0, -np.inf, -np.inf], [0, 0, -np.inf], [0, 0, 0]]
    assert nn.Transformer.generate_square_subsequent_mask(2, dtype=tinyrnn.float64).dtype == tinyrnn.float64


def test_layers_of_a_stack_begin_alike_and_go_apart():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(E, H, 8, batch_first=True), 2)
    first, second = encoder.layers
    assert tinyrnn.equal(first.linear1.weight, second.linear1.weight)
    with tinyrnn.no_grad():
        first.linear1.weight.fill_(0)
    assert not tinyrnn.equal(first.linear1.weight, second.linear1.weight)


def test_custom_stacks():
    class Twice(nn.Module):
        def forward(self, src, mask=None, src_key_padding_mask=None, is_causal=None):
            return 2 * src

    model = nn.Transformer(E, H, 1, 1, 8, dropout=0.0, custom_encoder=Twice())
    src, tgt = tinyrnn.randn(S, N, E), tinyrnn.randn(L, N, E)
    assert tinyrnn.equal(model(src, tgt), model.decoder(tgt, 2 * src))


def test_hooks_see_the_parts():
    seen = []
    layer = nn.TransformerEncoderLayer(E, H, 8, batch_first=True).eval()
    for name, part in layer.named_children():
        part.register_forward_hook(lambda module, args, result, name=name: seen.append(name))
    with tinyrnn.no_grad():
        layer(tinyrnn.randn(N, S, E))
    assert seen == ["self_attn", "dropout1", "norm1", "linear1", "dropout", "linear2", "dropout2", "norm2"]


def test_a_model_is_pickled():
    model = nn.Transformer(E, H, 1, 1, 8, activation="gelu", batch_first=True).eval()
    again = pickle.loads(pickle.dumps(model))
    src, tgt = tinyrnn.randn(N, S, E), tinyrnn.randn(N, L, E)
    assert tinyrnn.equal(model(src, tgt), again(src, tgt)) and str(again) == str(model)


@needs_torch
@pytest.mark.filterwarnings("ignore")
def test_weights_go_to_torch_and_back():
    theirs = torch.nn.Transformer(E, H, 2, 2, 8, batch_first=True).eval()
    ours = nn.Transformer(E, H, 2, 2, 8, batch_first=True).eval()
    file = io.BytesIO()
    torch.save(theirs.state_dict(), file)
    file.seek(0)
    ours.load_state_dict(tinyrnn.load(file))
    src, tgt = torch.randn(N, S, E), torch.randn(N, L, E)
    found = ours(*(tinyrnn.from_numpy(x.numpy()) for x in (src, tgt)))
    np.testing.assert_allclose(found.detach().numpy(), theirs(src, tgt).detach().numpy(), atol=1e-5)
    file = io.BytesIO()
    tinyrnn.save(ours.state_dict(), file)
    file.seek(0)
    other = torch.nn.Transformer(E, H, 2, 2, 8, batch_first=True).eval()
    other.load_state_dict(torch.load(file))
    assert torch.equal(other(src, tgt), theirs(src, tgt))


@needs_torch
def test_signatures_are_torchs():
    import inspect

    def told(function):
        return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]

    functions = ["multi_head_attention_forward"]
    names = [
        "MultiheadAttention",
        *(f"Transformer{k}" for k in ("", "Encoder", "Decoder", "EncoderLayer", "DecoderLayer")),
    ]
    pairs = [(getattr(torch.nn.functional, f), getattr(nn.functional, f)) for f in functions]
    for name in names:
        theirs, ours = getattr(torch.nn, name), getattr(nn, name)
        pairs += [(theirs.forward, ours.forward)]
        theirs, ours = ([p for p in told(c.__init__) if p[0] != "activation"] for c in (theirs, ours))
        assert theirs == ours, name
    for theirs, ours in pairs:
        assert told(theirs) == told(ours)
