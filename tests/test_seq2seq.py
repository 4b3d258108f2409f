"""Attention of Bahdanau and Luong, and the decoder built on it.

torch has neither: the scores are compared with the same equations written in torch, the searches with the enumeration
of all sequences.
"""

import copy
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from stories import same, story, tensor

import tinyrnn
from tinyrnn import nn
from tinyrnn.autograd import gradcheck
from tinyrnn.kernels.cpu import additive

B, L, S, Q, K, H = 3, 2, 5, 4, 6, 7
MASKS = {
    "none": None,
    "lengths": [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 1, 0]],
    "holes": [[0, 1, 0, 1, 1], [1, 0, 0, 0, 1], [0, 0, 0, 0, 1]],
}
KINDS = ["bahdanau", "dot", "general", "concat"]


def built(kind, key_size=K, dtype="float64"):
    """An attention with weights that are nowhere zero or equal."""
    options = {"dtype": getattr(tinyrnn, dtype)}
    if kind == "bahdanau":
        module = nn.BahdanauAttention(Q, key_size, H, **options)
    else:
        module = nn.LuongAttention(Q, key_size, kind, H if kind == "concat" else None, **options)
    numbers = np.random.default_rng(1)
    with tinyrnn.no_grad():
        for p in module.parameters():
            p.copy_(tinyrnn.from_numpy(numbers.uniform(-0.9, 0.9, tuple(p.shape))))
    return module


def equations(torch, kind, weights, query, keys, mask):
    """What the papers say, in torch."""
    query = query if query.dim() == 3 else query[:, None]
    if kind == "bahdanau":
        hidden = (query @ weights["W_q.weight"].T)[:, :, None] + (keys @ weights["W_k.weight"].T)[:, None]
        scores = torch.tanh(hidden) @ weights["v.weight"][0]
    elif kind == "concat":
        shape = (*query.shape[:2], keys.shape[1])
        pairs = torch.cat([query[:, :, None].expand(*shape, Q), keys[:, None].expand(*shape, keys.shape[2])], -1)
        scores = torch.tanh(pairs @ weights["W_a.weight"].T) @ weights["v_a.weight"][0]
    elif kind == "general":
        scores = torch.einsum("blq,kq,bsk->bls", query, weights["W_a.weight"], keys)
    else:
        scores = torch.einsum("blk,bsk->bls", query, keys)
    if mask is not None:
        scores = scores.masked_fill(~(mask if mask.dim() == 3 else mask[:, None]), -torch.inf)
    weights = torch.softmax(scores, -1)
    return torch.einsum("bls,bsk->blk", weights, keys), weights


def inputs(torch, kind, *steps, dtype="float64"):
    width = Q if kind == "dot" else K
    return tensor(torch, 2, B, *steps, Q, dtype=dtype), tensor(torch, 3, B, S, width, dtype=dtype)


# ------------------------------------------------------------------------------------------ values and gradients
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("steps", [(), (L,)], ids=["one step", "several steps"])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_equations(oracle, kind, mask, steps, dtype):
    module = built(kind, Q if kind == "dot" else K, dtype)

    def body(torch):
        query, keys = inputs(torch, kind, *steps, dtype=dtype)
        hidden = None if MASKS[mask] is None else torch.tensor(MASKS[mask]).bool()
        if torch is tinyrnn:
            return story(torch, module(query, keys, hidden), (query, keys), module)
        weights = {name: torch.from_numpy(p.detach().numpy()).requires_grad_() for name, p in module.named_parameters()}
        results = equations(torch, kind, weights, query, keys, hidden)
        results = results if steps else [r[:, 0] for r in results]
        return story(torch, results, (query, keys), SimpleNamespace(named_parameters=weights.items))

    same(oracle, body)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_more_than_a_vector_of_lanes(oracle, dtype):
    """Sizes that are no multiple of a vector's length, arrays that are not contiguous, and a mask for each step."""
    module = nn.BahdanauAttention(Q, 19, 35, dtype=getattr(tinyrnn, dtype))
    with tinyrnn.no_grad():
        for p in module.parameters():
            p.copy_(tinyrnn.from_numpy(np.random.default_rng(1).uniform(-0.9, 0.9, tuple(p.shape))))
    mask = np.random.default_rng(4).random((2, 3, 21)) < 0.7

    def body(torch):
        query, keys = tensor(torch, 2, 3, 2, Q, dtype=dtype), tensor(torch, 3, 21, 2, 19, dtype=dtype)
        turned = query.transpose(0, 1), keys.transpose(0, 1), torch.from_numpy(mask)
        if torch is tinyrnn:
            return story(torch, module(*turned), (query, keys), module)
        weights = {name: torch.from_numpy(p.detach().numpy()).requires_grad_() for name, p in module.named_parameters()}
        results = equations(torch, "bahdanau", weights, *turned)
        return story(torch, results, (query, keys), SimpleNamespace(named_parameters=weights.items))

    same(oracle, body)


TINY = {"start": 0, "end": 1, "max_length": 3}
NO_SEARCH = {  # what is wrong: (arguments, error)
    "a length in parts": ({"max_length": 10.5}, "expected max_length to be an int, got 10.5"),
    "a width in parts": ({"beam_width": 2.0}, "expected beam_width to be an int, got 2.0"),
    "a token in parts": ({"start": 0.5}, "expected start to be an int, got 0.5"),
    "several tokens": ({"start": tinyrnn.tensor([0, 1])}, r"expected start to be an int, got tensor\(\[0, 1\]\)"),
    "no token": ({"end": None}, "expected end to be an int, got None"),
    "a token beyond": ({"end": 5}, "expected end to be a token from 0 to 4, got 5"),
    "no length": ({"max_length": 0}, "max_length must be at least 1, got 0"),
    "a penalty that is none": ({"length_penalty": float("nan")}, "length_penalty to be a finite number, got nan"),
    "a mask of another batch": ({"mask": tinyrnn.ones(3, S).bool()}, r"here \(B, L, S\) = \(2, 1, 5\), got \[3, 5\]"),
    "no tensor": ({"memory": [[1.0]]}, "argument 'memory' must be Tensor, not list"),
    "no state": ({"hx": "x"}, "argument 'hx' must be Tensor, not str"),
    "no states": ({"hx": []}, "argument 'hx' must be Tensor, not list"),
    "no axis": ({"memory": tinyrnn.tensor(1.0)}, r"expected memory of shape \(1, S, 4\), got \[\]"),
    "a penalty in words": ({"length_penalty": "long"}, "length_penalty to be a finite number, got 'long'"),
}


@pytest.mark.parametrize("case", NO_SEARCH)
def test_searches_refuse_what_they_cannot_use(case):
    decoder, memory = nn.AttentionDecoder(5, 3, 4).eval(), tinyrnn.randn(2, S, 4)
    given, words = NO_SEARCH[case]
    given = {"memory": memory, **TINY, **given}
    with pytest.raises((TypeError, ValueError, RuntimeError), match=words):
        decoder.beam_search(**given)
    if not {"beam_width", "length_penalty"} & given.keys():
        with pytest.raises((TypeError, ValueError, RuntimeError), match=words):
            decoder.greedy(**given)


def test_searches_take_one_mask_for_all_and_numbers_of_other_kinds():
    decoder, memory = nn.AttentionDecoder(5, 3, 4).eval(), tinyrnn.randn(2, S, 4)
    mask = tinyrnn.tensor([[True, True, False, True, False]])
    other = {"start": np.int64(0), "end": tinyrnn.tensor(1), "max_length": np.int32(3)}
    for search in (decoder.greedy, decoder.beam_search):
        whole, one = search(memory, None, mask.expand(2, S), **TINY), search(memory, None, mask, **other)
        assert (whole.sequences == one.sequences).all() and (whole.weights == one.weights).all()


def test_without_attention_there_need_be_no_memory():
    decoder, hx = nn.AttentionDecoder(5, 3, 4, attention=None).eval(), tinyrnn.randn(1, 2, 4)
    target, memory = tinyrnn.tensor([[0, 2], [0, 3]]), tinyrnn.randn(2, S, 4)
    assert (decoder(target, None, hx)[0] == decoder(target, memory, hx)[0]).all()
    for search in (decoder.greedy, decoder.beam_search):
        assert (search(None, hx, **TINY).sequences == search(memory, hx, **TINY).sequences).all()
        with pytest.raises(TypeError, match="needs memory or hx"):
            search(None, **TINY)
        with pytest.raises(RuntimeError, match=r"expected hx of shape \(1, 1, 4\), got \[4\]"):
            search(None, tinyrnn.zeros(4), **TINY)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_hidden_is_not_read(kind):
    """Anything may stand in the keys that the mask hides."""
    module = built(kind, Q if kind == "dot" else K)
    query, keys = inputs(tinyrnn, kind, L)
    with tinyrnn.no_grad():
        keys[1, 2:] = float("nan")
    mask = tinyrnn.tensor(MASKS["lengths"]).bool()
    context, weights = module(query, keys, mask, module.project_keys(keys))
    context.sum().backward()
    assert all(t.isfinite().all() for t in (context, weights, query.grad))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_of_any_size(kind, dtype):
    """exp of a large score is infinite, and the sum of exp of small ones zero: the largest score is subtracted."""
    module = built(kind, Q if kind == "dot" else K, dtype)
    query, keys = inputs(tinyrnn, kind, L, dtype=dtype)
    for sign in (1, -1):
        with tinyrnn.no_grad():
            for p in [*module.parameters()][-1:] or [query]:
                p.mul_(3e3 * sign)
        context, weights = module(query, keys, tinyrnn.tensor(MASKS["lengths"]).bool())
        context.sum().backward()
        tinyrnn.testing.assert_close(weights.sum(-1), tinyrnn.ones(B, L, dtype=weights.dtype))
        assert all(t.grad.isfinite().all() for t in (query, keys, *module.parameters()))


def test_a_change_in_place_before_the_backward_is_noticed():
    module = built("bahdanau")
    query, keys = inputs(tinyrnn, "bahdanau")
    for result in range(2):
        context, weights = module(query, keys)
        with tinyrnn.no_grad():
            (keys, weights)[result].mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            (context.sum() + weights.sum()).backward()


def test_the_same_bits_for_every_number_of_threads():
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal(shape, np.float32) for shape in [(9, 3, 60), (9, 30, 60), (1, 60), (9, 30, 50)]]
    mask, before, found = rng.random((9, 3, 30)) < 0.8, tinyrnn.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            tinyrnn.set_num_threads(threads)
            results = additive.forward(*arrays, mask)
            found.append([*results, *additive.backward(*arrays, mask, results[1], *results)])
    finally:
        tinyrnn.set_num_threads(before)
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_differences(kind):
    module = built(kind, Q if kind == "dot" else K)
    mask = tinyrnn.tensor(np.random.default_rng(4).random((B, L, S)) < 0.6)
    mask[1, 0] = False
    parameters = [*module.parameters()]
    assert gradcheck(lambda query, keys, *_: module(query, keys, mask), (*inputs(tinyrnn, kind, L), *parameters))


@pytest.mark.parametrize("part", [0, 1], ids=["context", "weights"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_from_one_result_alone(oracle, kind, part):
    module = built(kind, Q if kind == "dot" else K)

    def body(torch):
        query, keys = inputs(torch, kind, L)
        if torch is tinyrnn:
            return story(torch, module(query, keys)[part], (query, keys))
        weights = {name: torch.from_numpy(p.detach().numpy()) for name, p in module.named_parameters()}
        return story(torch, equations(torch, kind, weights, query, keys, None)[part], (query, keys))

    same(oracle, body)


@pytest.mark.parametrize("kind", KINDS)
def test_what_nothing_may_look_at_is_zero_and_sends_nothing_back(kind):
    module = built(kind, Q if kind == "dot" else K)
    query, keys = inputs(tinyrnn, kind)
    mask = tinyrnn.tensor([[True] * S, [False] * S, [True] + [False] * (S - 1)])
    context, weights = module(query, keys, mask)
    assert not context[1].any() and not weights[1].any()
    assert tinyrnn.equal(weights[2], tinyrnn.eye(S, dtype=tinyrnn.float64)[0])
    tinyrnn.testing.assert_close(context[2], keys[2, 0])
    (context.sum() + (weights * tensor(tinyrnn, 5, B, S)).sum()).backward()
    assert not query.grad[1].any() and not keys.grad[1].any()
    assert all(p.grad.isfinite().all() for p in (query, keys, *module.parameters()))
    for p in module.parameters():
        p.grad = None
    context, weights = module(query[1:2], keys[1:2], mask[1:2])
    (context.sum() + weights.sum()).backward()
    assert not any(p.grad.any() for p in module.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind):
    """A sequence alone, and in a batch with longer ones whose rest is anything."""
    module, lengths = built(kind, Q if kind == "dot" else K), [5, 2, 4]
    query, keys = (x.detach() for x in inputs(tinyrnn, kind, L))
    for row, n in enumerate(lengths):
        keys[row, n:] = 1e4
    context, weights = module(query, keys, tinyrnn.arange(S) < tinyrnn.tensor(lengths).unsqueeze(1))
    for row, n in enumerate(lengths):
        alone, looks = module(query[row : row + 1], keys[row : row + 1, :n])
        tinyrnn.testing.assert_close(context[row : row + 1], alone, rtol=1e-12, atol=1e-12)
        tinyrnn.testing.assert_close(weights[row : row + 1, :, :n], looks, rtol=1e-12, atol=1e-12)
        assert not weights[row, :, n:].any()


@pytest.mark.parametrize("kind", KINDS)
def test_keys_projected_once_serve_every_step(kind):
    module = built(kind, Q if kind == "dot" else K)
    query, keys = inputs(tinyrnn, kind, L)
    mask = tinyrnn.tensor(MASKS["holes"]).bool()
    together = module(query, keys, mask)
    projected = module.project_keys(keys)
    assert (projected is None) == (kind in ("dot", "general"))
    steps = [module(query[:, k], keys, mask, projected) for k in range(L)]
    for whole, parts in zip(together, zip(*steps, strict=True), strict=True):
        tinyrnn.testing.assert_close(whole, tinyrnn.stack(parts, 1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_of_zero_and_one(kind):
    module = built(kind, Q)
    for batch, steps, keys in [(0, 2, 3), (2, 0, 3), (2, 3, 0), (1, 1, 1)]:
        query = tensor(tinyrnn, 1, batch, steps, Q)
        memory = tensor(tinyrnn, 2, batch, keys, Q)
        context, weights = module(query, memory)
        assert context.shape == (batch, steps, Q) and weights.shape == (batch, steps, keys)
        (context.sum() + weights.sum()).backward()
        assert query.grad.shape == query.shape and memory.grad.isfinite().all()
        assert keys or not context.any()


def test_sizes_that_were_not_given():
    assert {n: tuple(p.shape) for n, p in nn.BahdanauAttention(3).named_parameters()} == {
        "W_q.weight": (3, 3), "W_k.weight": (3, 3), "v.weight": (1, 3)
    }  # fmt: skip
    assert {n: tuple(p.shape) for n, p in nn.LuongAttention(3, 5).named_parameters()} == {"W_a.weight": (5, 3)}
    assert repr(nn.LuongAttention(3, score="dot")) == "LuongAttention(3, key_size=3, score='dot')"
    concat = nn.LuongAttention(3, 5, "concat")
    assert {n: tuple(p.shape) for n, p in concat.named_parameters()} == {"W_a.weight": (3, 8), "v_a.weight": (1, 3)}


def test_the_random_stream_is_that_of_linear_layers():
    tinyrnn.manual_seed(3)
    attention, after = nn.BahdanauAttention(4, 5, 6), tinyrnn.rand(1)
    tinyrnn.manual_seed(3)
    layers = [nn.Linear(4, 6, bias=False), nn.Linear(5, 6, bias=False), nn.Linear(6, 1, bias=False)]
    for mine, layer in zip(attention.parameters(), layers, strict=True):
        assert tinyrnn.equal(mine, layer.weight)
    assert tinyrnn.equal(after, tinyrnn.rand(1))


x, k = tinyrnn.zeros(2, 4), tinyrnn.zeros(2, 3, 6)
REFUSED = {
    "query width": (lambda: nn.BahdanauAttention(4, 6)(tinyrnn.zeros(2, 5), k), RuntimeError, r"\(B, L, 4\), got \[2, 5\]"),
    "query rank": (lambda: nn.BahdanauAttention(4, 6)(tinyrnn.zeros(4), k), RuntimeError, r"query of shape .* got \[4\]"),
    "key width": (lambda: nn.LuongAttention(4, 5)(x, k), RuntimeError, r"keys of shape \(B, S, 5\).* got \[2, 3, 6\]"),
    "batch": (lambda: nn.LuongAttention(4, 6)(x[:1], k), RuntimeError, r"B = 1, got \[2, 3, 6\]"),
    "dtypes": (lambda: nn.LuongAttention(4, 6)(x, k.double()), RuntimeError, "one dtype, got torch.float32 and torch.f"),
    "mask type": (lambda: nn.LuongAttention(4, 6)(x, k, tinyrnn.ones(2, 3)), RuntimeError, "torch.bool, True .*float32"),
    "mask shape": (lambda: nn.LuongAttention(4, 6)(x, k, tinyrnn.ones(2, 4) > 0), RuntimeError, r"\(2, 1, 3\), got \[2, 4\]"),
    "no tensor": (lambda: nn.BahdanauAttention(4, 6)([1.0], k), TypeError, "'query' must be Tensor, not list"),
    "projected": (lambda: nn.BahdanauAttention(4, 6)(x, k, None, k), RuntimeError, r"\[2, 3, 4\].* got \[2, 3, 6\]"),
    "score": (lambda: nn.LuongAttention(4, 6, "cosine"), ValueError, "dot, general, concat, got 'cosine'"),
    "projected, no tensor": (lambda: nn.BahdanauAttention(4, 6)(x, k, None, 3), TypeError, "'projected' must be Tensor"),
    "projected for dot": (lambda: nn.LuongAttention(6, score="dot")(k[:, 0], k, None, k), RuntimeError, "dot takes no projected"),
    "dropout": (lambda: nn.AttentionDecoder(5, 2, 3, dropout=2.0), ValueError, "dropout to be a number from 0 to 1, got 2.0"),
    "dropout in words": (lambda: nn.AttentionDecoder(5, 2, 3, dropout="a"), ValueError, "from 0 to 1, got 'a'"),
    "width of tokens": (lambda: nn.AttentionDecoder(5, None, 3), TypeError, "embedding_dim should be of type int"),
    "no pair": (lambda: decoder("luong", "LSTM")(tokens(3, 2), memory(3), ()), TypeError, r"pair of tensors \(h, c\).* got 0"),
    "one of a pair": (lambda: decoder("luong", "LSTM").greedy(memory(3), state("GRU", 3), start=0, end=1, max_length=2),
                      TypeError, r"pair of tensors \(h, c\), for an LSTM, got Tensor"),
    "sizes of dot": (lambda: nn.LuongAttention(4, 6, "dot"), ValueError, "query_size 4 and key_size 6"),
    "hidden size": (lambda: nn.LuongAttention(4, 6, "general", 7), ValueError, "belongs to the score concat"),
    "no size": (lambda: nn.BahdanauAttention(0), ValueError, "query_size must be greater than zero, got 0"),
    "half a size": (lambda: nn.BahdanauAttention(4, 2.5), TypeError, "key_size should be of type int, got: float"),
    "attention": (lambda: nn.AttentionDecoder(5, 2, 3, attention="self"), ValueError, "'luong' or None, got 'self'"),
    "cell": (lambda: nn.AttentionDecoder(5, 2, 3, cell="RNN"), ValueError, "'GRU' or 'LSTM', got 'RNN'"),
    "memory": (lambda: decoder()(tokens(3, 2), tinyrnn.zeros(3, 4, 9)), RuntimeError, r"\(3, S, 6\), got \[3, 4, 9\]"),
    "target": (lambda: decoder()(tokens(3), tinyrnn.zeros(3, 4, 6)), RuntimeError, r"\(B, T\), T > 0, got \[3\]"),
    "batch of hx": (lambda: decoder()(tokens(3, 2), memory(3), state("GRU", 4)), RuntimeError,
                    r"expected hx of shape \(1, 3, 4\), got \[1, 4, 4\]"),
    "rank of hx": (lambda: decoder().greedy(memory(3), state("GRU", 3)[0], start=0, end=1, max_length=2), RuntimeError,
                   r"expected hx of shape \(1, 3, 4\), got \[3, 4\]"),
    "width of hx": (lambda: decoder("luong", "LSTM").beam_search(
        memory(3), (state("GRU", 3), tinyrnn.zeros(1, 3, 6)), start=0, end=1, max_length=2), RuntimeError,
                    r"expected hx\[1\] of shape \(1, 3, 4\), got \[1, 3, 6\]"),
    "start": (lambda: decoder().greedy(memory(), start=99, end=1, max_length=3), ValueError, "start to be a token from 0"),
    "beam width": (lambda: decoder().beam_search(memory(), start=0, end=1, max_length=3, beam_width=0), ValueError, "beam_width"),
    "length": (lambda: decoder().greedy(memory(), start=0, end=1, max_length=0), ValueError, "max_length must be at least 1"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_refused(what):
    call, error, words = REFUSED[what]
    with pytest.raises(error, match=words):
        call()


# ------------------------------------------------------------------------------------------ the decoder
V, START, END = 5, 0, 1
SIZES = (V, 3, 4, 6)  # tokens, width of their embedding, hidden units, width of the memory
DECODERS = [(a, c) for a in ("bahdanau", "luong", None) for c in ("GRU", "LSTM")]


def decoder(attention="bahdanau", cell="GRU", sharp=3.0, **options):
    """A decoder whose opinions are strong enough that its sequences differ and end."""
    tinyrnn.manual_seed(2)
    made = nn.AttentionDecoder(*SIZES, attention, cell=cell, dtype=tinyrnn.float64, **options)
    with tinyrnn.no_grad():
        for p in made.parameters():
            p.mul_(sharp)
        made.out.bias[END] += 0.8 * sharp
    return made.eval()


def memory(batch=3, length=4, seed=1):
    return tensor(tinyrnn, seed, batch, length, SIZES[3], grad=False)


def tokens(*shape):
    return tinyrnn.from_numpy(np.random.default_rng(7).integers(0, V, shape))


def state(cell, batch, layers=1):
    h, c = (tensor(tinyrnn, k, layers, batch, SIZES[2], grad=False) for k in (8, 9))
    return (h, c) if cell == "LSTM" else h


def parts(hx):
    return hx if isinstance(hx, tuple) else (hx,)


def near(a, b):
    tinyrnn.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("attention, cell", DECODERS)
def test_teacher_forcing_is_the_steps_one_after_another(attention, cell):
    made, target, seen = decoder(attention, cell, num_layers=2), tokens(3, 6), memory()
    mask = tinyrnn.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 0, 1]]).bool()
    hx = state(cell, 3, 2)
    logits, last, weights = made(target, seen, hx, mask)
    assert logits.shape == (3, 6, V) and (weights is None) == (attention is None)
    assert weights is None or (weights.shape == (3, 6, 4) and not weights.masked_select(~mask.unsqueeze(1)).any())
    for t in range(6):
        step, hx, looks = made(target[:, t : t + 1], seen, hx, mask)
        near(step[:, 0], logits[:, t])
        assert weights is None or near(looks[:, 0], weights[:, t]) is None
    for a, b in zip(parts(hx), parts(last), strict=True):
        near(a, b)


@pytest.mark.parametrize("attention", ["bahdanau", "luong", None])
def test_the_equations_of_a_step(attention):
    """One step of a GRU decoder, from its modules."""
    made, seen, h = decoder(attention), memory(), state("GRU", 3)
    logits, last, _ = made(tokens(3, 1), seen, h)
    x = made.embedding(tokens(3, 1))
    if attention == "bahdanau":
        context, _ = made.attention(h[-1], seen)
        out, _ = made.rnn(tinyrnn.cat([x, context.unsqueeze(1)], -1), h)
    else:
        out, _ = made.rnn(x, h)
        context = None if attention is None else made.attention(out[:, 0], seen)[0]
    out = out[:, 0]
    near(last[-1], out)
    near(logits[:, 0], made.out(out if context is None else made.combine(tinyrnn.cat([context, out], -1)).tanh()))


@pytest.mark.parametrize("attention, cell", DECODERS)
def test_the_decoders_gradients_are_those_of_differences(attention, cell):
    made = decoder(attention, cell, sharp=1.0)
    mask = tinyrnn.tensor([[1, 1, 0], [0, 0, 0]]).bool()
    hx = [h.requires_grad_() for h in parts(state(cell, 2))]

    def call(seen, *rest):
        given = tuple(rest[: len(hx)])
        logits, last, weights = made(tokens(2, 2), seen, given if cell == "LSTM" else given[0], mask)
        return (logits, *parts(last), *([] if weights is None else [weights]))

    seen = memory(2, 3).requires_grad_(attention is not None)
    own = [p for name, p in made.named_parameters() if not name.startswith(("rnn", "out"))]
    assert gradcheck(call, (seen, *hx, *own))


@pytest.mark.parametrize("search", ["greedy", "beam_search"])
@pytest.mark.parametrize("attention, cell", DECODERS)
def test_a_padded_batch_is_its_sequences_one_by_one(attention, cell, search):
    made, seen, lengths = decoder(attention, cell), memory(4, 6), [6, 1, 3, 4]
    for row, n in enumerate(lengths):
        seen[row, n:] = 50.0
    mask = tinyrnn.arange(6) < tinyrnn.tensor(lengths).unsqueeze(1)
    hx = tuple(3 * h for h in parts(state(cell, 4)))
    options = {"start": START, "end": END, "max_length": 7}
    found = getattr(made, search)(seen, hx if cell == "LSTM" else hx[0], mask, **options)
    assert search == "greedy" or len(set(found.lengths.flatten().tolist())) > 1
    for row, n in enumerate(lengths):
        one = tuple(h[:, row : row + 1] for h in hx)
        alone = getattr(made, search)(
            seen[row : row + 1, :n], one if cell == "LSTM" else one[0], mask[row : row + 1, :n], **options
        )
        near(found.scores[row : row + 1], alone.scores)
        size = alone.sequences.shape[-1]
        assert tinyrnn.equal(found.sequences[row : row + 1, ..., :size], alone.sequences)
        assert (found.sequences[row, ..., size:] == END).all()
        assert tinyrnn.equal(found.lengths[row : row + 1], alone.lengths)
        if attention is not None:
            near(found.weights[row : row + 1, ..., :size, :n], alone.weights)
            assert not found.weights[row, ..., n:].any() and not found.weights[row, ..., size:, :].any()


@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("attention, cell", DECODERS)
def test_a_beam_of_one_is_greedy(attention, cell, penalty):
    made, seen, hx = decoder(attention, cell), memory(6), state(cell, 6)
    options = {"start": START, "end": END, "max_length": 8}
    greedy = made.greedy(seen, hx, **options)
    beam = made.beam_search(seen, hx, **options, beam_width=1, length_penalty=penalty)
    assert tinyrnn.equal(beam.sequences[:, 0], greedy.sequences) and tinyrnn.equal(beam.lengths[:, 0], greedy.lengths)
    near(beam.scores[:, 0], greedy.scores / greedy.lengths**penalty)
    assert attention is None or near(beam.weights[:, 0], greedy.weights) is None


def sequences(length):
    """All sequences that end with END, or have `length` tokens."""
    others = [v for v in range(V) if v != END]
    for n in range(length):
        yield from ([*s, END] for s in itertools.product(others, repeat=n))
    yield from map(list, itertools.product(others, repeat=length))


def scored(made, seen, hx, sequence, penalty):
    """The log-probability of a sequence from one call with teacher forcing, and the weights."""
    read = tinyrnn.tensor([[START, *sequence[:-1]]])
    logits, _, weights = made(read, seen, hx)
    logs = logits[0].log_softmax(-1)
    return sum(logs[t, token].item() for t, token in enumerate(sequence)) / len(sequence) ** penalty, weights


@pytest.mark.parametrize("penalty", [0.0, 0.7, 2.0, -1.0])
@pytest.mark.parametrize("attention, cell", [("bahdanau", "GRU"), ("luong", "LSTM"), (None, "GRU")])
def test_a_wide_beam_finds_all_there_is(attention, cell, penalty):
    made, seen, hx, length = decoder(attention, cell, sharp=2.0), memory(1), state(cell, 1), 3
    truth = sorted(((scored(made, seen, hx, s, penalty)[0], s) for s in sequences(length)), reverse=True)
    found = made.beam_search(
        seen, hx, start=START, end=END, max_length=length, beam_width=len(truth) + 3, length_penalty=penalty
    )
    assert found.sequences.shape == (1, len(truth) + 3, length)
    assert (found.scores[0, len(truth) :] == -float("inf")).all()
    for k, (score, sequence) in enumerate(truth):
        assert found.scores[0, k].item() == pytest.approx(score, rel=1e-10)
        assert found.lengths[0, k] == len(sequence)
        assert found.sequences[0, k].tolist() == sequence + [END] * (length - len(sequence))
    if attention is not None:
        for k in (0, 3, len(truth) - 1):
            weights = scored(made, seen, hx, truth[k][1], penalty)[1][0]
            near(found.weights[0, k, : len(weights)], weights)


def test_a_wider_beam_finds_what_greedy_misses():
    """The scores of a narrow beam are those of its sequences; some are better than the greedy one."""
    made, seen = decoder(sharp=2.5), memory(20)
    options = {"start": START, "end": END, "max_length": 8}
    greedy = made.greedy(seen, **options).scores
    beam = made.beam_search(seen, **options, beam_width=4, length_penalty=0.0)
    assert (beam.scores[:, 0] >= greedy - 1e-9).float().mean() > 0.9 and (beam.scores[:, 0] > greedy + 1e-3).any()
    for row in range(5):
        for k in range(4):
            sequence = beam.sequences[row, k, : beam.lengths[row, k]].tolist()
            score, weights = scored(made, seen[row : row + 1], None, sequence, 0)
            assert beam.scores[row, k].item() == pytest.approx(score, rel=1e-10)
            near(beam.weights[row, k, : len(sequence)], weights[0])


def test_longer_sequences_win_with_a_larger_penalty():
    made, seen = decoder(sharp=1.0), memory(8)
    options = {"start": START, "end": END, "max_length": 8, "beam_width": 6}
    lengths = [
        made.beam_search(seen, **options, length_penalty=p).lengths[:, 0].float().mean().item() for p in (0.0, 1.0, 3.0)
    ]
    assert lengths[0] < lengths[1] <= lengths[2] == 8


def test_searching_records_nothing_and_takes_an_empty_batch():
    made = decoder()
    for search in (made.greedy, made.beam_search):
        found = search(memory().requires_grad_(), start=START, end=END, max_length=3)
        assert not any(t.requires_grad for t in found)
        empty = search(memory(0), start=START, end=END, max_length=3)
        assert empty.sequences.shape[0] == empty.scores.shape[0] == empty.weights.shape[0] == 0


def test_dropout_acts_in_training_only():
    made, seen, target = decoder(dropout=0.5, num_layers=2), memory(), tokens(3, 4)
    assert tinyrnn.equal(made(target, seen)[0], made(target, seen)[0])
    made.train()
    assert not tinyrnn.equal(made(target, seen)[0], made(target, seen)[0])


@pytest.mark.parametrize("attention, cell", DECODERS)
def test_state_dict_round_trip(attention, cell):
    made, seen = decoder(attention, cell), memory()
    other = nn.AttentionDecoder(*SIZES, attention, cell=cell, dtype=tinyrnn.float64)
    assert not tinyrnn.equal(other(tokens(3, 4), seen)[0], made(tokens(3, 4), seen)[0])
    other.load_state_dict(made.state_dict())
    assert tinyrnn.equal(other(tokens(3, 4), seen)[0], made(tokens(3, 4), seen)[0])
    assert tinyrnn.equal(copy.deepcopy(made)(tokens(3, 4), seen)[0], made(tokens(3, 4), seen)[0])


def test_the_decoders_modules_draw_as_they_are_named():
    tinyrnn.manual_seed(5)
    made, after = nn.AttentionDecoder(7, 3, 4, 6), tinyrnn.rand(1)
    tinyrnn.manual_seed(5)
    parts = {
        "embedding": nn.Embedding(7, 3), "rnn": nn.GRU(9, 4), "attention": nn.BahdanauAttention(4, 6),
        "combine": nn.Linear(10, 4), "out": nn.Linear(4, 7),
    }  # fmt: skip
    expected = {f"{n}.{m}": p for n, part in parts.items() for m, p in part.named_parameters()}
    assert [n for n, _ in made.named_parameters()] == [*expected]
    assert all(tinyrnn.equal(p, expected[n]) for n, p in made.named_parameters())
    assert tinyrnn.equal(after, tinyrnn.rand(1))
