"""Softmax, cross-entropy and layer norm on the device, in the simulator: held to the kernels of the host."""

import itertools

import numpy as np
import pytest

pytest.importorskip("numba_cuda")
pytest.importorskip("greenlet")

import tinyrnn  # noqa: E402, F401
from tinyrnn.kernels.cpu import rows as host  # noqa: E402
from tinyrnn.kernels.cuda import rows  # noqa: E402
from tinyrnn.kernels.cuda.array import Array, download, upload  # noqa: E402

TYPES = ["float32", "float64"]
TOLERANCE = {"float32": 4e-6, "float64": 2e-14}
SHAPES = [(1, 1), (7, 3), (5, 10), (3, 37), (2, 130), (40, 4), (3, 600)]  # 600: a team of several warps
few = pytest.mark.parametrize("dtype", TYPES)
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
pytestmark = pytest.mark.filterwarnings("ignore")  # NumPy's, of what overflows
inf, nan = np.inf, np.nan


def normal(*shape, dtype="float64", seed=0):
    return np.random.default_rng(seed + sum(shape)).normal(size=shape).astype(dtype)


def both(name, *args):
    """The results of a function on the device, and of its twin on the host."""
    there = [upload(a) if isinstance(a, np.ndarray) else a for a in args]
    found, expected = getattr(rows, name)(*there), getattr(host, name)(*args)
    many = isinstance(expected, tuple)
    return [download(f) for f in (found if many else (found,))], list(expected if many else (expected,))


def check(name, *args, terms=None):
    """Both results are the same but for some units in the last place of a row's largest number, or of the largest of the
    terms that it is made of; NaN and infinities are where they are.
    """
    tolerance = TOLERANCE[args[0].dtype.name]
    for found, expected in zip(*both(name, *args), strict=True):
        assert found.dtype == expected.dtype and found.shape == expected.shape and found.strides == expected.strides
        finite = np.isfinite(expected)
        large = np.where(finite, expected, 0) if terms is None else terms
        scale = np.abs(large).max(-1, initial=0, keepdims=True)
        np.testing.assert_array_equal(found[~finite], expected[~finite])
        assert (np.abs(found - expected) <= tolerance * scale)[finite].all()


def odd_rows(dtype):
    """Rows of scores, some of which are not finite."""
    rows = [
        [1, 2, 3, 4, 5, 6], [inf, 1, 2, inf, 3, 0], [-inf] * 6, [-inf, 2, -inf, 1, 0, -inf], [nan, 1, 2, 3, 4, 5],
        [nan, inf, -inf, 0, 0, 0], [1e30, -1e30, 1e30, 0, 0, 0], [88, -104, 88, 0, 1, 2], [1e4] * 6, [0, -0.0] * 3,
    ]  # fmt: skip
    return np.array(rows, dtype)


# ------------------------------------------------------------------------------------------ softmax
@few
@shapes
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(gpu, name, shape, dtype):
    x, g = 3 * normal(*shape, dtype=dtype), normal(*shape, dtype=dtype, seed=1)
    check(name, x)
    check(f"{name}_backward", getattr(host, name)(x), g, terms=g)


@few
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("shape", [(1, 5, 3), (2, 7, 40), (3, 70, 2)], ids=str)
def test_softmax_of_columns(gpu, name, shape, dtype):
    x, g = 3 * normal(*shape, dtype=dtype), normal(*shape, dtype=dtype, seed=1)
    check(f"{name}_columns", x)
    check(f"{name}_columns_backward", getattr(host, f"{name}_columns")(x), g, terms=g)


@few
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_of_what_is_not_finite(gpu, name, dtype):
    x = odd_rows(dtype)
    check(name, x)
    check(f"{name}_backward", getattr(host, name)(x), normal(*x.shape, dtype=dtype))
    check(name, np.ascontiguousarray(np.repeat(x, 3, axis=1)[:, 5:]))


def test_no_rows_and_no_columns(gpu):
    for shape in ((0, 3), (0, 0), (4, 0)):
        x = np.zeros(shape, np.float32)
        for name in ("softmax", "log_softmax"):
            check(name, x)
        for found, expected in zip(*both("layer_norm", x, x[:1].ravel(), x[:1].ravel(), 1e-5), strict=True):
            assert found.shape == expected.shape
        zeros = np.zeros(shape[0])
        for found, expected in zip(
            *both("layer_norm_backward", x, np.ones(shape[1], "f4"), zeros, zeros, x), strict=True
        ):
            np.testing.assert_array_equal(found, expected)
    check("cross_entropy", np.zeros((0, 3), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32), -100, 0.0)


# ------------------------------------------------------------------------------------------ cross-entropy
@few
@shapes
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy(gpu, shape, weighted, smoothing, dtype):
    x, g = 3 * normal(*shape, dtype=dtype), normal(shape[0], dtype=dtype, seed=1)
    target = np.random.default_rng(0).integers(0, shape[1], shape[0])
    weight = np.abs(normal(shape[1] if weighted else 0, dtype=dtype))
    for ignored in (-100, int(target[-1])):
        target[0] = ignored
        check("cross_entropy", x, target, weight, ignored, smoothing)
        _, lse = host.cross_entropy(x, target, weight, ignored, smoothing)
        check("cross_entropy_backward", x, target, weight, ignored, smoothing, lse, g)


@few
def test_cross_entropy_of_what_is_not_finite(gpu, dtype):
    x, no = odd_rows(dtype), np.zeros(0, dtype)
    weight = np.array([0, 1, 2, 0.5, 1, 1], dtype)
    for row, at in itertools.product(x, (-1, 3, 4)):
        row, target = row[None], np.array([at])
        for w, smoothing in ((no, 0.0), (weight, 0.0), (no, 0.1), (weight, 0.1)):
            check("cross_entropy", row, target, w, -1, smoothing)
            _, lse = host.cross_entropy(row, target, w, -1, smoothing)
            check("cross_entropy_backward", row, target, w, -1, smoothing, lse, np.array([0.7], dtype))


def test_large_scores_keep_their_digits(gpu):
    x = np.array([[1e6, 1e6 + 1, 1e6 - 3]], np.float32)
    target, no = np.array([0]), np.zeros(0, np.float32)
    check("cross_entropy", x, target, no, -100, 0.0)
    _, lse = host.cross_entropy(x, target, no, -100, 0.0)
    check("cross_entropy_backward", x, target, no, -100, 0.0, lse, np.ones(1, np.float32))


# ------------------------------------------------------------------------------------------ layer norm
@few
@shapes
@pytest.mark.parametrize("affine", [False, True])
def test_layer_norm(gpu, shape, affine, dtype):
    x, g = normal(*shape, dtype=dtype), normal(*shape, dtype=dtype, seed=1)
    weight, bias = (normal(shape[1] if affine else 0, dtype=dtype, seed=k) for k in (2, 3))
    for centred, eps in (
        (True, 1e-5),
        (False, 0.5),
    ):  # of one number, a small eps would leave nothing but rounding errors
        check("layer_norm", x, weight, bias, eps, centred)
        _, mean, rstd = host.layer_norm(x, weight, bias, eps, centred)
        check("layer_norm_backward", x, weight, mean, rstd, g, centred)


def test_layer_norm_with_a_weight_alone(gpu):
    x, weight, no = normal(3, 5), normal(5), np.zeros(0)
    check("layer_norm", x, weight, no, 1e-5)
    check("layer_norm", x, no, weight, 1e-5)


@few
def test_layer_norm_far_from_zero(gpu, dtype):
    """Also of rows without spread, and of what is not finite."""
    x = normal(4, 30, dtype=dtype) + np.array([[1e4], [-1e3], [0], [5]], dtype)
    x[2] = 7
    weight = bias = np.zeros(0, dtype)
    check("layer_norm", x, weight, bias, 1e-5)
    _, mean, rstd = host.layer_norm(x, weight, bias, 1e-5)
    check("layer_norm_backward", x, weight, mean, rstd, normal(4, 30, dtype=dtype, seed=1))
    check("layer_norm", odd_rows(dtype), weight, bias, 1e-5)


@pytest.mark.parametrize("threads", [32, 128])
def test_gradients_of_weights_are_summed_in_chunks(gpu, monkeypatch, threads):
    monkeypatch.setattr(rows, "HEIGHT", 8)
    gpu.threads = threads
    x, g, weight = normal(45, 7, dtype="float32"), normal(45, 7, dtype="float32", seed=1), normal(7, dtype="float32")
    _, mean, rstd = host.layer_norm(x, weight, weight, 1e-5)
    check("layer_norm_backward", x, weight, mean, rstd, g)


# ------------------------------------------------------------------------------------------ all of them
@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_threads_gives_the_same_bits_without_races(gpu, monkeypatch, seed):
    monkeypatch.setattr(rows, "SHORT", 40)
    monkeypatch.setattr(rows, "HEIGHT", 2)
    gpu.threads = 64
    x, g, weight = (
        normal(5, 300, dtype="float32"),
        normal(5, 300, dtype="float32", seed=1),
        normal(300, dtype="float32"),
    )
    target, zeros = np.arange(5), np.zeros(5)
    calls = {
        "softmax": (x,), "log_softmax": (x,), "softmax_backward": (x, g), "log_softmax_backward": (x, g),
        "cross_entropy": (x, target, weight, 1, 0.1), "layer_norm": (x, weight, weight, 1e-5),
        "cross_entropy_backward": (x, target, weight, 1, 0.1, zeros, g[:, 0].copy()),
        "layer_norm_backward": (x, weight, zeros, zeros + 1, g),
    }  # fmt: skip

    def bits(name):
        args = [upload(a) if isinstance(a, np.ndarray) else a for a in calls[name]]
        found = getattr(rows, name)(*args)
        return [download(f).tobytes() for f in ((found,) if isinstance(found, Array) else found)]

    expected = {name: bits(name) for name in calls}
    gpu.seed, gpu.strict = seed + 1, seed == 0
    assert {name: bits(name) for name in calls} == expected
