"""Additive attention on the device, in the simulator, held to the kernels of the host."""

import numpy as np
import pytest

pytest.importorskip("numba_cuda")
pytest.importorskip("greenlet")

import tinyrnn  # noqa: E402, F401
from tinyrnn.kernels.cpu import additive as host  # noqa: E402
from tinyrnn.kernels.cuda import additive  # noqa: E402
from tinyrnn.kernels.cuda.array import download, upload  # noqa: E402

TYPES = ["float32", "float64"]
NEAR = {"float32": (1e-5, 1e-4), "float64": (1e-12, 1e-10)}  # of what comes out, of gradients

# (B, L, S, H, K): several rows for a block, more places, units and columns than a warp has threads; and nothing at all.
SHAPES = [(2, 3, 5, 7, 4), (1, 1, 1, 1, 1), (2, 2, 40, 35, 33), (7, 1, 3, 2, 2)]
EMPTY = [(0, 1, 2, 3, 4), (2, 0, 3, 4, 5), (2, 2, 0, 3, 3), (2, 2, 3, 0, 2), (2, 2, 3, 2, 0)]


def arrays(shape, dtype, masked):
    batch, steps, places, hidden, width = shape
    random = np.random.default_rng(sum(shape))
    sizes = (batch, steps, hidden), (batch, places, hidden), (1, hidden), (batch, places, width)
    mask = random.random((batch, steps, places)) < 0.6 if masked else None
    if masked and steps > 1:
        mask[:, 1] = False  # a row that is hidden altogether
    return [random.normal(size=size).astype(dtype) for size in sizes], mask


def on_device(*given):
    return [None if a is None else upload(a) for a in given]


def near(found, expected, tolerance):
    found = [download(a) for a in found]
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max(initial=1.0))


@pytest.mark.parametrize("masked", [False, True], ids=["open", "masked"])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", SHAPES + EMPTY, ids=str)
def test_both_directions_are_the_hosts(gpu, shape, dtype, masked):
    gpu.threads = 64
    given, mask = arrays(shape, dtype, masked)
    expected = host.forward(*given, mask)
    near(additive.forward(*on_device(*given, mask)), expected, NEAR[dtype][0])
    weights, random = expected[1], np.random.default_rng(1)
    slopes = [random.normal(size=a.shape).astype(dtype) for a in expected]
    for d_context, d_weights in (slopes, (slopes[0], None), (None, slopes[1])):
        given_all = *given, mask, weights, d_context, d_weights
        near(additive.backward(*on_device(*given_all)), host.backward(*given_all), NEAR[dtype][1])


@pytest.mark.parametrize("dtype", TYPES)
def test_what_is_hidden_is_not_read(gpu, dtype):
    (query, projected, v, keys), mask = arrays((2, 2, 4, 3, 2), dtype, False)
    mask = np.ones((2, 2, 4), bool)
    mask[:, :, 2] = False
    mask[1, 1] = False
    projected[:, 2], keys[:, 2] = np.nan, np.inf
    given = query, projected, v, keys, mask
    expected = host.forward(*given)
    assert np.isfinite(expected[0]).all()
    near(additive.forward(*on_device(*given)), expected, NEAR[dtype][0])
    slopes = [np.full(a.shape, 0.5, dtype) for a in expected]
    slopes[0][1, 1] = np.nan  # of a row that is hidden altogether
    given = *given, expected[1], *slopes
    found = additive.backward(*on_device(*given))
    assert all(np.isfinite(download(a)).all() for a in found)
    near(found, host.backward(*given), NEAR[dtype][1])


def test_nan_in_a_score_is_nan_in_its_row(gpu):
    (query, projected, v, keys), _ = arrays((2, 2, 3, 4, 2), "float32", False)
    query[1, 0, 2] = np.nan
    given = query, projected, v, keys, None
    for a, b in zip(map(download, additive.forward(*on_device(*given))), host.forward(*given), strict=True):
        assert np.isnan(a[1, 0]).all() and np.isnan(a).sum() == np.isnan(a[1, 0]).sum()
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_another_order_of_the_threads_gives_the_same_bits(gpu):
    """And none reads what another writes without a barrier."""
    gpu.threads, gpu.strict = 64, True
    given, mask = arrays((2, 3, 35, 5, 3), "float32", True)
    context, weights = host.forward(*given, mask)
    found = []
    for gpu.seed in (1, 2, 3):
        forward = additive.forward(*on_device(*given, mask))
        backward = additive.backward(*on_device(*given, mask, weights, context, weights))
        found.append(b"".join(download(a).tobytes() for a in (*forward, *backward)))
    assert len(set(found)) == 1
