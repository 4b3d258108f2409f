"""Attention on the device, in the simulator, against its twin on the CPU: all masks, shapes and layouts."""

import itertools

import numpy as np
import pytest

pytest.importorskip("numba_cuda")
pytest.importorskip("greenlet")

import tinyrnn  # noqa: E402
from tinyrnn.kernels.cpu import attention as on_host  # noqa: E402
from tinyrnn.kernels.cuda import attention  # noqa: E402
from tinyrnn.kernels.cuda.array import download, empty, upload  # noqa: E402
from tinyrnn.kernels.cuda.attention import LEAST, TILES, WIDEST, room  # noqa: E402
from tinyrnn.nn import functional as F  # noqa: E402

pytestmark = pytest.mark.usefixtures("gpu")
TOLERANCE = {"float32": 2e-6, "float64": 1e-14}  # of the largest number


def inputs(seed, heads, shared, length, count, width, values, dtype, batch=2):
    draw = np.random.default_rng(seed).standard_normal
    shapes = (heads, length, width), (shared, count, width), (shared, count, values), (heads, length, values)
    return [draw((batch, *shape)).astype(dtype) for shape in shapes]


def compare(arrays, mask=None, keep=None, causal=False, scale=0.3, factor=1.0, place=upload):
    """Both twins on the same arrays; raises where a result or a gradient differs."""
    q, k, v, g = arrays
    wanted = mask is not None and mask.dtype != np.bool_ and not causal  # beside is_causal a mask has no gradient
    settings = causal, scale, factor
    out = np.empty(g.shape, g.dtype)
    stats = on_host.forward(q, k, v, mask, keep, *settings, out)
    gradients = [np.empty_like(a) for a in (q, k, v)]
    d_mask = np.empty((*q.shape[:3], k.shape[2]), q.dtype) if wanted else None
    on_host.backward(q, k, v, mask, keep, *settings, out, stats, g, *gradients, d_mask)

    there = [place(a) for a in arrays[:3]]
    extra = [None if a is None else upload(np.ascontiguousarray(a)) for a in (mask, keep)]
    out_there = empty(out.shape, out.dtype)
    stats_there = attention.forward(*there, *extra, *settings, out_there)
    found = [empty(a.shape, a.dtype) for a in (q, k, v)]
    d_mask_there = empty(d_mask.shape, d_mask.dtype) if wanted else None
    attention.backward(*there, *extra, *settings, out_there, stats_there, place(g), *found, d_mask_there)
    for name, mine, other in zip(
        ("out", "stats", "dq", "dk", "dv", "d_mask"),
        (out_there, stats_there, *found, d_mask_there),
        (out, stats, *gradients, d_mask),
        strict=True,
    ):
        if other is not None and other.size:
            error = np.abs(download(mine) - other).max()
            assert error <= TOLERANCE[q.dtype.name] * max(1e-3, np.abs(other).max()), name
    return [download(a) for a in (out_there, *found)]


MASKS = {
    "none": lambda shape, random: None,
    "truths": lambda shape, random: random.random(shape) < 0.6,
    "added": lambda shape, random: random.standard_normal(shape),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("kind", [*MASKS, "causal", "causal truths", "causal added"])
def test_masks_and_dropout(kind, dropout, dtype):
    random = np.random.default_rng(1)
    shape = (2, 2, 11, 9)
    causal, kind = kind.startswith("causal"), kind.removeprefix("causal").strip() or "none"
    mask = MASKS[kind](shape, random)
    if kind == "truths":
        mask[0, 1, 3] = False  # a query that sees nothing
    mask = mask if mask is None or kind == "truths" else mask.astype(dtype)
    keep = random.random(shape) < 0.7 if dropout else None
    out, dq, *_ = compare(inputs(2, 2, 2, 11, 9, 6, 5, dtype), mask, keep, causal, factor=1 / 0.7 if dropout else 1.0)
    if kind == "truths":
        assert not out[0, 1, 3].any() and not dq[0, 1, 3].any()


@pytest.mark.parametrize(
    ("heads", "shared", "length", "count", "width", "values"),
    [(4, 2, 5, 9, 4, 8), (3, 1, 17, 8, 16, 16), (1, 1, 1, 1, 1, 1), (2, 2, 8, 16, 17, 33), (1, 1, 3, 0, 4, 4),
     (1, 1, 0, 3, 4, 4), (1, 1, 9, 3, 100, 20), (2, 2, 20, 4, 3, 2)],
)  # fmt: skip
@pytest.mark.parametrize("causal", [False, True])
def test_shapes(heads, shared, length, count, width, values, causal):
    compare(inputs(3, heads, shared, length, count, width, values, "float32"), causal=causal)


def test_strides():
    def as_in_a_layer(a):  # (B, H, L, D) as a view of (B, L, H, D), with gaps
        wide = np.zeros((a.shape[0], a.shape[2], a.shape[1], a.shape[3] + 3), a.dtype)
        there = upload(wide)[..., :-3].transpose(0, 2, 1, 3)
        there[...] = upload(a)
        return there

    compare(inputs(4, 2, 2, 9, 10, 6, 6, "float32"), place=as_in_a_layer)


@pytest.mark.parametrize("tile", [*TILES, LEAST])
@pytest.mark.parametrize("causal", [False, True])
def test_the_tiles_of_a_gpu(tile, causal, monkeypatch):
    monkeypatch.setattr(attention, "choose", lambda *_: tile)
    compare(inputs(5, 1, 1, tile.rows + 5, tile.keys - 3, 4, 4, "float32", batch=1), causal=causal)


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_threads_does_not_count(gpu, seed):
    random = np.random.default_rng(0)
    mask, arrays = random.random((2, 2, 9, 10)) < 0.6, inputs(6, 2, 1, 9, 10, 4, 4, "float32")
    expected = compare(arrays, mask)
    gpu.seed = seed + 1
    for mine, other in zip(compare(arrays, mask), expected, strict=True):
        assert (mine == other).all()


def test_room_in_shared_memory():
    """There is a tile for every width and type on any GPU, and one of more than 64 threads on an A100 and an H100."""
    for real, width, values in itertools.product((np.float32, np.float64), attention.WIDTHS, attention.WIDTHS):
        if max(width, values) * real().itemsize <= WIDEST:
            assert any(room(real, tile, width, values, True) <= 166_912 for tile in TILES[1:])
            assert room(real, LEAST, width, values, True) <= 101_376


@pytest.mark.parametrize(("width", "values", "dtype"), [(513, 3, "float32"), (2, 300, "float64")])
def test_rows_that_are_too_long_are_the_hosts(width, values, dtype):
    mask = np.random.default_rng(8).standard_normal((2, 2, 3, 5)).astype(dtype)
    compare(inputs(8, 2, 1, 3, 5, width, values, dtype), mask)


def test_through_the_public_function():
    arrays = inputs(7, 2, 2, 5, 6, 4, 4, "float32")
    results = []
    for device in ("cpu", "cuda"):
        q, k, v = (tinyrnn.tensor(a, device=device, requires_grad=True) for a in arrays[:3])
        out = F.scaled_dot_product_attention(q, k, v)
        out.backward(tinyrnn.tensor(arrays[3], device=device))
        results.append([t.detach().cpu().numpy() for t in (out, q.grad, k.grad, v.grad)])
    for mine, other in zip(*results, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)
