"""scaled_dot_product_attention against torch, and against the formula written out in NumPy."""

import importlib
import itertools
import tracemalloc

import numpy as np
import pytest
from conftest import needs_torch

import tinyrnn

DTYPES = ["float32", "float64"]
TOLERANCE = {"float32": (1e-5, 1e-4), "float64": (1e-12, 1e-10)}
INF = float("inf")


def attend(torch, shapes, dtype, mask=None, mask_grad=False, shift=0.0, **options):
    """What a call gives: the result, its strides, and the gradients of all inputs that have one."""
    rng = np.random.default_rng(5)
    real = getattr(torch, dtype)
    inputs = [torch.tensor(rng.standard_normal(s) + shift, dtype=real, requires_grad=True) for s in shapes]
    if mask is not None:
        mask = torch.tensor(mask) if mask.dtype == bool else torch.tensor(mask, dtype=real, requires_grad=mask_grad)
        inputs.append(mask)
    torch.manual_seed(7)
    out = torch.nn.functional.scaled_dot_product_attention(*inputs, **options)
    (out * torch.tensor(rng.standard_normal(tuple(out.shape)), dtype=real)).sum().backward()
    answer = {"out": out.detach().numpy(), "strides": np.array(out.stride()), "next": torch.rand(3).numpy()}
    names = [name for name, x in zip("qkvm", inputs, strict=False) if x.requires_grad]
    return answer | {f"grad {n}": inputs["qkvm".index(n)].grad.numpy() for n in names}


def flat(answer, dtype):
    """All arrays of an answer as one, which takes less room when it is recorded."""
    return {"": np.concatenate([np.ravel(x).astype(dtype) for x in answer.values()])}


def same(got, expected, dtype):
    """Hold an answer to the flat form of another."""
    assert sum(x.size for x in got.values()) == expected.size
    start = 0
    for key, mine in got.items():
        value = expected[start : start + mine.size].reshape(mine.shape)
        start += mine.size
        if key in ("strides", "next"):
            assert np.array_equal(mine, value) or key == "strides" and got["out"].size == 0, key
            continue
        assert mine.dtype == dtype, key
        scale = max(np.abs(value).max(initial=0.0), 1e-3)
        assert np.abs(mine - value).max(initial=0.0) <= TOLERANCE[dtype][key != "out"] * scale, key


def some(shape, seed=1, share=0.6):
    """Truth values; the first row sees nothing."""
    mask = np.random.default_rng(seed).random(shape) < share
    if len(shape) > 1 and shape[-2] > 1:
        mask[..., 0, :] = False
    return mask


def numbers(shape, seed=2, hidden=0.0):
    """Numbers, and -inf in some places."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(shape) < hidden, -INF, rng.standard_normal(shape))


def sizes(batch, L, S, D, V=None, kv_batch=None):
    kv_batch = batch if kv_batch is None else kv_batch
    return (*batch, L, D), (*kv_batch, S, D), (*kv_batch, S, D if V is None else V)


FOUR = sizes((2, 2), 4, 5, 3)
CASES = {
    "plain": (FOUR, {}),
    "another width of the values": (sizes((2, 2), 4, 5, 3, 2), {}),
    "dropout, a mask of one dimension": (FOUR, {"mask": some((5,)), "dropout_p": 0.4}),
    "matrices": (sizes((), 4, 5, 3, 2), {}),
    "matrices with dropout": (sizes((), 4, 5, 3), {"dropout_p": 0.4}),
    "three dimensions": (sizes((2,), 4, 5, 3), {}),
    "five dimensions": (sizes((2, 1, 2), 4, 5, 3), {"mask": some((2, 1, 1, 4, 5))}),
    "one query": (sizes((2, 2), 1, 5, 3), {}),
    "wide heads": (sizes((1, 1), 2, 3, 256), {}),
    "batch axes broadcast": (((2, 1, 4, 3), (1, 2, 5, 3), (5, 2)), {}),
    "heads broadcast": (sizes((2, 2), 4, 5, 3, kv_batch=(2, 1)), {}),
    "causal": (sizes((2, 2), 4, 4, 3), {"is_causal": True}),
    "causal, more keys": (FOUR, {"is_causal": True}),
    "causal, more queries": (sizes((1, 2), 9, 4, 3), {"is_causal": True}),
    "causal with dropout": (FOUR, {"is_causal": True, "dropout_p": 0.5}),
    "scale": (FOUR, {"scale": 0.3}),
    "negative scale": (FOUR, {"scale": -0.7}),
    "no scale": (FOUR, {"scale": 0}),
    "mask": (FOUR, {"mask": some((4, 5))}),
    "mask of a vector": (sizes((2,), 4, 5, 3), {"mask": some((1, 5))[0]}),
    "mask of keys": (FOUR, {"mask": some((2, 1, 1, 5))}),
    "mask of queries": (FOUR, {"mask": some((2, 4, 1))}),
    "mask of everything": (FOUR, {"mask": some((2, 2, 4, 5))}),
    "mask with dropout": (FOUR, {"mask": some((4, 5)), "dropout_p": 0.25}),
    "added numbers": (FOUR, {"mask": numbers((4, 5))}),
    "added numbers with -inf": (FOUR, {"mask": numbers((2, 1, 4, 5), hidden=0.5)}),
    "rows of -inf": (FOUR, {"mask": np.where(some((4, 5)), 0.0, -INF)}),
    "a learned bias": (FOUR, {"mask": numbers((2, 4, 5)), "mask_grad": True}),
    "a learned bias of keys, dropout": (FOUR, {"mask": numbers((1, 5)), "mask_grad": True, "dropout_p": 0.3}),
    "a learned bias with rows of -inf": (FOUR, {"mask": np.where(some((4, 5)), 0.0, -INF), "mask_grad": True}),
    "dropout": (FOUR, {"dropout_p": 0.3}),
    "dropout, values of another width": (sizes((1, 2), 4, 20, 3, 2), {"dropout_p": 0.7}),
    "dropout of all": (FOUR, {"dropout_p": 1.0}),
    "grouped": (sizes((2, 4), 4, 5, 3, kv_batch=(2, 2)), {"enable_gqa": True}),
    "grouped, three dimensions, mask": (sizes((6,), 4, 5, 3, 2, (2,)), {"enable_gqa": True, "mask": some((6, 4, 5))}),
    "grouped, causal, dropout": (sizes((1, 4), 5, 5, 3, kv_batch=(1, 1)),
                                 {"enable_gqa": True, "is_causal": True, "dropout_p": 0.2}),
    "grouped, keys and values differently": (((1, 6, 4, 3), (1, 3, 5, 3), (1, 2, 5, 3)), {"enable_gqa": True}),
    "no heads, but keys": (((1, 0, 5, 4), (1, 2, 3, 4), (1, 2, 3, 4)), {"enable_gqa": True}),
    "no keys": (sizes((2, 3), 5, 0, 4), {}),
    "no keys, mask": (sizes((2, 3), 5, 0, 4), {"mask": some((5, 0))}),
    "no queries": (sizes((2, 3), 0, 5, 4), {}),
    "no batch": (sizes((0, 3), 5, 5, 4), {"dropout_p": 0.5}),
    "queries without width": (sizes((2, 3), 5, 7, 0, 3), {}),
    "values without width": (sizes((2, 3), 5, 7, 4, 0), {}),
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_as_torch(oracle, name, dtype):
    shapes, options = CASES[name]
    expected = oracle(lambda torch: flat(attend(torch, shapes, dtype, **options), dtype))
    same(attend(tinyrnn, shapes, dtype, **options), expected[""], dtype)


@needs_torch
@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"dropout_p": 0.2}, {"mask": some((260, 530))}])
@pytest.mark.parametrize("dtype", DTYPES)
def test_large_as_torch(options, dtype):
    import torch

    shapes = sizes((1, 2), 260, 530, 72)
    expected = flat(attend(torch, shapes, dtype, **options), dtype)
    same(attend(tinyrnn, shapes, dtype, **options), expected[""], dtype)


def formula(q, k, v, g, hidden, scale):
    """The result and the gradients of the products of matrices (..., L, D), (..., S, D), (..., S, V), (..., L, V)."""
    scores = np.where(hidden, -INF, scale * q @ k.swapaxes(-1, -2))
    weights = np.exp(scores - np.maximum(scores.max(-1, keepdims=True), -1e300))
    weights /= np.maximum(weights.sum(-1, keepdims=True), 1e-300)
    slopes = weights * (g @ v.swapaxes(-1, -2) - (g * (weights @ v)).sum(-1, keepdims=True)) * scale
    return weights @ v, slopes @ k, slopes.swapaxes(-1, -2) @ q, weights.swapaxes(-1, -2) @ g


# On both sides of the sizes of vectors, tiles and blocks.
LENGTHS = [(1, 1), (7, 33), (33, 8), (64, 129), (65, 128), (130, 257), (257, 130), (520, 40)]


@pytest.mark.parametrize("width, values, kv_heads", [
    (1, 21, 2), (17, 21, 2), (64, 21, 2), (136, 21, 2), (300, 21, 2), (16, 64, 1), (64, 16, 2), (32, 32, 1),
])  # fmt: skip
def test_sizes_around_those_of_blocks(width, values, kv_heads):
    for (rows, keys), causal, masked in itertools.product(LENGTHS, (False, True), (False, True)):
        if causal and masked:
            continue
        rng = np.random.default_rng(rows)
        shapes = sizes((1, 2), rows, keys, width, values, (1, kv_heads))
        q, k, v, g = (rng.standard_normal(s) for s in (*shapes, (*shapes[0][:-1], values)))
        hidden = np.zeros((rows, keys), bool)
        if causal:
            hidden = ~np.tri(rows, keys, dtype=bool)
        elif masked:
            hidden = rng.random((rows, keys)) < 0.7
        expected = formula(q, k, v, g, hidden, 0.25)
        if kv_heads == 1:  # both heads share them
            expected = *expected[:2], *(x.sum(1, keepdims=True) for x in expected[2:])
        tensors = [tinyrnn.tensor(x, requires_grad=True) for x in (q, k, v)]
        mask = tinyrnn.tensor(~hidden) if masked else None
        options = {"is_causal": causal, "scale": 0.25, "enable_gqa": kv_heads == 1}
        out = tinyrnn.nn.functional.scaled_dot_product_attention(*tensors, mask, **options)
        out.backward(tinyrnn.tensor(g))
        for mine, other in zip((out.detach(), *(t.grad for t in tensors)), expected, strict=True):
            assert np.abs(mine.numpy() - other).max() <= 1e-13 * max(np.abs(other).max(), 1.0) * width


@pytest.mark.parametrize("options", [{}, {"is_causal": True}])
def test_the_same_bits_for_any_number_of_threads(options):
    def bits(threads):
        tinyrnn.set_num_threads(threads)
        answers = [attend(tinyrnn, sizes(batch, 700, 900, 24), "float32", **options) for batch in ((1, 1), (3, 1))]
        return b"".join(a[key].tobytes() for a in answers for key in ("out", "grad q", "grad k", "grad v"))

    before = tinyrnn.get_num_threads()
    try:
        assert bits(1) == bits(2) == bits(3)
    finally:
        tinyrnn.set_num_threads(before)


def peak(length, **options):
    q, k, v = (tinyrnn.randn(1, 1, length, 16, requires_grad=True) for _ in range(3))
    tracemalloc.start()
    try:
        tinyrnn.nn.functional.scaled_dot_product_attention(q, k, v, **options).sum().backward()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_grows_with_the_length_not_with_its_square():
    peak(256)  # compiles, copies of large arrays too
    assert peak(4096) < 4096 * 16 * 4 * 24  # 24 arrays like the queries; all weights were 256 of them
    mask = tinyrnn.ones(4096, dtype=bool).expand(4096, 4096)
    assert peak(4096, attn_mask=mask) < 4096 * 16 * 4 * 24, "a mask that is broadcast is not copied"


@needs_torch
@pytest.mark.parametrize("amplitude", [1.0, 5.0])
def test_no_less_exact_than_torch(amplitude):
    import torch

    rng = np.random.default_rng(0)
    data = [rng.standard_normal((1, 2, 700, 64)).astype(np.float32) for _ in range(4)]
    data[0] *= np.float32(amplitude)

    def story(library, dtype):
        q, k, v, g = (library.tensor(x.astype(dtype), requires_grad=True) for x in data)
        out = library.nn.functional.scaled_dot_product_attention(q, k, v)
        out.backward(g.detach())
        return [x.detach().numpy().astype(float) for x in (out, q.grad, k.grad, v.grad)]

    exact = story(torch, "float64")
    for a, b, c in zip(story(tinyrnn, "float32"), story(torch, "float32"), exact, strict=True):
        assert np.sqrt(np.mean((a - c) ** 2)) <= 1.15 * np.sqrt(np.mean((b - c) ** 2))


# ---------------------------------------------------------------------------------- memory
def heads(x, count):
    return x.view(*x.shape[:2], count, -1).transpose(1, 2)


def test_parts_of_one_projection_as_torch(oracle):
    """Queries, keys and values that are views of one tensor; and the result, seen as (B, T, E) without a copy."""

    def story(torch):
        x = torch.tensor(np.random.default_rng(4).standard_normal((2, 5, 36)), requires_grad=True)
        q, k, v = (heads(part, 3) for part in x.split(12, 2))
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        flat = out.transpose(1, 2).view(2, 5, 12)
        flat.sum().backward()
        return {"flat": flat.detach().numpy(), "strides": list(out.stride()), "grad": x.grad.numpy()}

    expected, got = oracle(story), story(tinyrnn)
    assert got["strides"] == list(expected["strides"])
    assert np.allclose(got["flat"], expected["flat"], 1e-12) and np.allclose(got["grad"], expected["grad"], 1e-10)


@pytest.mark.parametrize("lay", [
    lambda x: x.transpose(-1, -2).contiguous().transpose(-1, -2),
    lambda x: x.flip(-2).contiguous().flip(-2),
    lambda x: tinyrnn.stack([x, x], -1)[..., 0],
    lambda x: x.transpose(0, 2).contiguous().transpose(0, 2),
])  # fmt: skip
def test_memory_of_any_layout(lay):
    shapes = (*sizes((2, 3), 9, 33, 5), (9, 33), (2, 3, 9, 5))
    *inputs, mask, g = (tinyrnn.randn(*s, dtype=tinyrnn.float64) for s in shapes)

    def story(lay):
        leaves = [x.clone().requires_grad_() for x in inputs]
        masks = mask > 0, mask
        found = []
        for m in masks:
            m = lay(m.expand(2, 3, 9, 33)) if m is mask else m.t().contiguous().t()
            out = tinyrnn.nn.functional.scaled_dot_product_attention(*(lay(x) for x in leaves), m)
            out.backward(lay(g))
            found.append(out.detach().numpy())
        return found + [x.grad.numpy() for x in leaves]

    for a, b in zip(story(lay), story(lambda x: x), strict=True):
        assert np.array_equal(a, b)


def test_large_scores_and_masks_overflow_nothing():
    q = tinyrnn.full((1, 1, 2, 4), 300.0)
    v = tinyrnn.arange(12.0).view(1, 1, 3, 4)
    F = tinyrnn.nn.functional
    assert tinyrnn.allclose(F.scaled_dot_product_attention(q, tinyrnn.full((1, 1, 3, 4), 300.0), v), v.mean(2))
    lowest = tinyrnn.full((2, 3), float(np.finfo(np.float32).min))  # hides nothing where it is the same for all keys
    assert tinyrnn.allclose(F.scaled_dot_product_attention(q, tinyrnn.randn(1, 1, 3, 4), v, lowest), v.mean(2))
    assert F.scaled_dot_product_attention(q, tinyrnn.full((1, 1, 3, 4), float("nan")), v).isnan().all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_query_that_sees_one_key_has_no_gradient(dtype):
    q, k, v = (tinyrnn.randn(2, 3, 4, 8, dtype=getattr(tinyrnn, dtype), requires_grad=True) for _ in range(3))
    mask = tinyrnn.eye(4, dtype=bool)
    out = tinyrnn.nn.functional.scaled_dot_product_attention(q * 9, k, v, mask, dropout_p=0.3)
    out.backward(tinyrnn.randn(2, 3, 4, 8, dtype=out.dtype))
    assert not q.grad.any() and not k.grad.any() and v.grad.any()


def test_what_is_written_to_before_the_backward_is_noticed():
    q = tinyrnn.randn(1, 2, 3, 4, requires_grad=True)
    k = tinyrnn.randn(1, 2, 3, 4)
    out = tinyrnn.nn.functional.scaled_dot_product_attention(q, k, k)
    k.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"scale": 0.7}, {"enable_gqa": True}, {"mask": True}])
def test_gradcheck(options):
    make = lambda *shape: tinyrnn.randn(*shape, dtype=tinyrnn.float64, requires_grad=True)
    tinyrnn.manual_seed(1)
    grouped, options = "enable_gqa" in options, dict(options)
    inputs = [make(2, 4, 3, 5), make(2, 4 - 2 * grouped, 6, 5), make(2, 4 - 2 * grouped, 6, 2)]
    if options.pop("mask", False):
        inputs.append(make(4, 1, 6))
    attention = tinyrnn.nn.functional.scaled_dot_product_attention
    assert tinyrnn.autograd.gradcheck(lambda *x: attention(*x, **options), inputs)


# ---------------------------------------------------------------------------------- errors
@pytest.mark.parametrize("library", ["tinyrnn", pytest.param("torch", marks=needs_torch)])
@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("lengths", [(4, 4), (3, 5), (9, 4), (1, 3), (70, 70)])
def test_a_mask_beside_is_causal_hides_further_keys(lengths, added, library):
    """Of four dimensions, that is: for others, see the test below."""
    t, (L, S) = importlib.import_module(library), lengths
    mask, lower = t.from_numpy(some((2, 1, L, S))), t.ones(L, S).tril() > 0
    both = mask & lower
    if added:
        mask = t.from_numpy(numbers((L, S), hidden=0.3))
        both = mask.masked_fill(~lower, -INF)
    found = []
    for options in ({"attn_mask": mask, "is_causal": True}, {"attn_mask": both}):
        rng = np.random.default_rng(3)
        qkv = [t.from_numpy(rng.standard_normal((2, 3, n, 6))).requires_grad_() for n in (L, S, S)]
        y = t.nn.functional.scaled_dot_product_attention(*qkv, **options)
        (y * y).sum().backward()
        found.append([y.detach().numpy(), *(x.grad.numpy() for x in qkv)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


FOUR_ALIKE = (2, 3, 4, 4)
ELSEWHERE = {
    "three dimensions": ((FOUR_ALIKE[1:],) * 3, (4, 4), {}),
    "five dimensions": (((1, *FOUR_ALIKE),) * 3, (4, 4), {}),
    "another width of the values": ((FOUR_ALIKE, FOUR_ALIKE, (2, 3, 4, 5)), (4, 4), {}),
    "heads broadcast": ((FOUR_ALIKE, (2, 1, 4, 4), (2, 1, 4, 4)), (4, 4), {}),
    "dropout": ((FOUR_ALIKE,) * 3, (4, 4), {"dropout_p": 0.5}),
    "a mask of three dimensions": ((FOUR_ALIKE,) * 3, (3, 4, 4), {}),
}


@pytest.mark.parametrize("library", ["tinyrnn", pytest.param("torch", marks=needs_torch)])
@pytest.mark.parametrize("case", ELSEWHERE)
def test_a_mask_beside_is_causal_is_refused_elsewhere(case, library):
    t = importlib.import_module(library)
    shapes, mask, options = ELSEWHERE[case]
    with pytest.raises(RuntimeError, match="xplicit attn_mask should not be set when is_causal=True"):
        t.nn.functional.scaled_dot_product_attention(
            *(t.ones(s) for s in shapes), attn_mask=t.ones(mask), is_causal=True, **options
        )


def refused(t, q, k, v, *more, dtypes=("float32",) * 3, **options):
    tensors = [t.ones(*s, dtype=getattr(t, d)) for s, d in zip((q, k, v), dtypes, strict=True)]
    more = [getattr(t, m[0])(*m[1:]) if isinstance(m, tuple) else m for m in more]
    with pytest.raises(Exception) as caught:  # noqa: PT011, B017  (which one is the answer)
        t.nn.functional.scaled_dot_product_attention(*tensors, *more, **options)
    return {"class": caught.type.__name__, "text": str(caught.value)}


WRONG = {
    "a vector": (((4,), (6, 4), (6, 4)), {}),
    "keys that are a vector": (((5, 4), (4,), (6, 4)), {}),
    "widths": (((5, 4), (6, 3), (6, 4)), {}),
    "lengths": (((5, 4), (6, 4), (7, 4)), {}),
    "batches": (((2, 5, 4), (3, 6, 4), (3, 6, 4)), {}),
    "heads": (((2, 6, 5, 4), (2, 3, 6, 4), (2, 3, 6, 4)), {}),
    "types": (((5, 4), (6, 4), (6, 4)), {"dtypes": ("float32", "float64", "float32")}),
    "integers": (((5, 4), (6, 4), (6, 4)), {"dtypes": ("int64",) * 3}),
    "mask and causal": (((5, 4), (6, 4), (6, 4), ("ones", 5, 6)), {"is_causal": True}),
    "size of the mask": (((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 4), ("ones", 5, 7)), {}),
    "batch of the mask": (((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 4), ("ones", 2, 5, 6)), {}),
    "a mask of a larger batch": (((1, 3, 5, 4), (1, 3, 6, 4), (1, 3, 6, 4), ("ones", 2, 3, 5, 6)), {}),
    "a mask of more dimensions": (((3, 5, 4), (3, 6, 4), (3, 6, 4), ("ones", 2, 3, 5, 6)), {}),
    "a mask of one dimension": (((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 4), ("ones", 6)), {}),
    "a mask of integers": (((5, 4), (6, 4), (6, 4), ("arange", 6)), {}),
    "a mask that is none": (((5, 4), (6, 4), (6, 4), [True]), {}),
    "probability above 1": (((5, 4), (6, 4), (6, 4)), {"dropout_p": 1.5}),
    "probability below 0": (((1, 1, 5, 4),) * 3, {"dropout_p": -0.5}),
    "probability": (((5, 4), (6, 4), (6, 4)), {"dropout_p": "0.1"}),
    "flag": (((5, 4), (6, 4), (6, 4)), {"is_causal": 1}),
    "other flag": (((5, 4), (6, 4), (6, 4)), {"enable_gqa": 1}),
    "scale": (((5, 4), (6, 4), (6, 4)), {"scale": "1"}),
    "scale by position": (((5, 4), (6, 4), (6, 4), None, 0.0, False, 1.0), {}),
    "groups": (((2, 5, 5, 4), (2, 3, 6, 4), (2, 3, 6, 4)), {"enable_gqa": True}),
    "groups without heads": (((5, 4), (6, 4), (6, 4)), {"enable_gqa": True}),
    "more heads of keys": (((2, 3, 5, 4), (2, 6, 6, 4), (2, 6, 6, 4)), {"enable_gqa": True}),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused(oracle, name):
    inputs, options = WRONG[name]
    expected = oracle(lambda torch: {"class": refused(torch, *inputs, **options)["class"]})
    mine = refused(tinyrnn, *inputs, **options)
    assert mine["class"] == str(expected["class"])
    assert "scaled_dot_product_attention" in mine["text"]


def test_keys_without_values_are_refused():
    """torch's own kernel for four dimensions reads memory that is not there."""
    assert refused(tinyrnn, (1, 1, 5, 4), (1, 1, 6, 4), (1, 1, 7, 4))["class"] == "RuntimeError"
