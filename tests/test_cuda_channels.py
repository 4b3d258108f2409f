"""Batch norm on the device, in the simulator: held to the kernels of the host."""

import itertools

import numpy as np
import pytest

pytest.importorskip("numba_cuda")
pytest.importorskip("greenlet")

import tinyrnn  # noqa: E402, F401
from tinyrnn.kernels.cpu import channels as host  # noqa: E402
from tinyrnn.kernels.cuda import channels  # noqa: E402
from tinyrnn.kernels.cuda.array import download, upload  # noqa: E402

TOLERANCE = {"float32": 4e-6, "float64": 2e-14}
SHAPES = [(2, 1, 1), (7, 3, 1), (5, 40, 1), (70, 5, 1), (2, 3, 4), (3, 2, 37), (4, 2, 200)]  # 800: several warps
EPS = 1e-5


def normal(*shape, dtype, seed=0):
    return np.random.default_rng(seed + sum(shape)).normal(3, 2, size=shape).astype(dtype)


def on_device(name, *args):
    def there(a):
        return tuple(map(there, a)) if isinstance(a, tuple) else upload(a) if isinstance(a, np.ndarray) else a

    return [download(a) for a in getattr(channels, name)(*map(there, args))]


def check(name, *args):
    """All results are the host's, but for some units in the last place of the largest number."""
    for found, expected in zip(on_device(name, *args), getattr(host, name)(*args), strict=True):
        assert found.dtype == expected.dtype and found.shape == expected.shape
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(found[~finite], expected[~finite])
        found, expected = found[finite], expected[finite]
        scale = np.abs(expected).max(initial=1)
        assert (np.abs(found - expected) <= TOLERANCE[args[0].dtype.name] * scale).all()


def arguments(shape, dtype, affine=True):
    """x, weight, bias, g, mean, variance."""
    x, g = normal(*shape, dtype=dtype), normal(*shape, dtype=dtype, seed=1)
    weight, bias = (normal(shape[1] if affine else 0, dtype=dtype, seed=k) for k in (2, 3))
    return x, weight, bias, g, normal(shape[1], dtype="float64"), 0.1 + normal(shape[1], dtype="float64") ** 2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("affine", [False, True])
def test_as_the_host(gpu, shape, affine, dtype):
    x, weight, bias, g, mean, variance = arguments(shape, dtype, affine)
    check("batch_norm", x, weight, bias, None, EPS)
    check("batch_norm", x, weight, bias, (mean, variance), EPS)
    check("batch_norm_backward", x, weight, mean, variance, EPS, False, g)
    _, mean, variance = host.batch_norm(x, weight, bias, None, EPS)
    check("batch_norm_backward", x, weight, mean, variance, EPS, True, g)


def test_a_weight_or_a_bias_alone(gpu):
    x, weight, bias, *_ = arguments((6, 3, 2), "float32")
    none = weight[:0]
    check("batch_norm", x, weight, none, None, EPS)
    check("batch_norm", x, none, bias, None, EPS)


@pytest.mark.parametrize("shape", [(5, 3, 1), (2, 3, 9)], ids=str)
def test_far_from_zero_without_spread_and_not_finite(gpu, shape):
    x, weight, bias, g, mean, variance = arguments(shape, "float32")
    x[:, 0] += 1e4
    x[:, 1] = 7
    check("batch_norm", x, weight, bias, None, EPS)
    check("batch_norm_backward", x, weight, *host.batch_norm(x, weight, bias, None, EPS)[1:], EPS, True, g)
    x[0, 2] = np.inf
    check("batch_norm", x, weight, bias, (mean, variance), EPS)
    check("batch_norm_backward", x, weight, mean, variance, EPS, False, g)


def test_nothing_at_all(gpu):
    for shape in ((0, 3, 1), (0, 3, 4), (2, 3, 0), (2, 0, 3)):
        x, weight, bias, g, mean, variance = arguments(shape, "float32")
        check("batch_norm", x, weight, bias, (mean, variance), EPS)
        check("batch_norm_backward", x, weight, mean, variance, EPS, False, g)


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_threads_gives_the_same_bits_without_races(gpu, monkeypatch, seed):
    monkeypatch.setattr(channels, "SHORT", 40)
    gpu.threads = 64

    def bits():
        found = []
        for shape, batch in itertools.product([(50, 5, 1), (5, 3, 60)], [False, True]):
            x, weight, bias, g, mean, variance = arguments(shape, "float32")
            found += on_device("batch_norm", x, weight, bias, None if batch else (mean, variance), EPS)
            found += on_device("batch_norm_backward", x, weight, mean, variance, EPS, batch, g)
        return [a.tobytes() for a in found]

    expected = bits()
    gpu.seed, gpu.strict = seed + 1, seed == 0
    assert bits() == expected
