"""Sorting by digits: NumPy's stable order, NaN last, zeros of both signs equal, for any number of threads."""

import numpy as np
import pytest

import tinyrnn
from tinyrnn.kernels.cpu import order

LENGTHS = [0, 1, 2, order.FEW, order.FEW + 1, 300, order.MANY - 1, order.MANY, 3000]


def numbers(rng, shape, dtype):
    """Many sizes, many equals, and all that is not an ordinary number."""
    if dtype == "bool":
        return rng.random(shape) < 0.5
    if dtype == "uint8":
        return rng.integers(0, 256, shape).astype(dtype)
    if dtype.startswith("int"):
        ends = np.iinfo(dtype)
        return np.where(rng.random(shape) < 0.5, rng.integers(ends.min, ends.max, shape), rng.integers(-3, 3, shape))
    a = (rng.normal(size=shape) * 10.0 ** rng.integers(-30, 30, shape)).astype(dtype)
    special = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, np.finfo(dtype).tiny / 4], dtype)
    return np.where(rng.random(shape) < 0.2, rng.choice(special, shape), a)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "uint8", "bool"])
def test_rows_are_sorted_as_numpy_sorts_them(dtype):
    rng = np.random.default_rng(4)
    for n in LENGTHS:
        for rows in (0, 1, 5):
            a = numbers(rng, (rows, n), dtype).astype(dtype)
            for descending in (False, True):
                at, equal = order.argsort(a, descending)
                x = a[:, ::-1] if descending else a
                expected = np.argsort(x, 1, kind="stable")
                expected = (n - 1 - expected)[:, ::-1] if descending else expected
                assert np.array_equal(at, expected), (n, rows, descending)
                keys = order.keys(a, descending)
                neighbours = np.take_along_axis(keys, at, 1)
                assert np.all(neighbours[:, 1:] >= neighbours[:, :-1])
                assert np.array_equal(equal, np.any(neighbours[:, 1:] == neighbours[:, :-1], 1))


def test_keys_of_special_numbers():
    for dtype in ("float32", "float64"):
        a = np.array([[np.nan, -np.nan, 0.0, -0.0, np.inf, np.finfo(dtype).max, -np.inf]], dtype)
        nan, negative, zero, minus, inf, most, least = order.keys(a, False)[0]
        assert nan == negative > inf > most > zero == minus > least
        assert np.array_equal(order.keys(a, True), ~order.keys(a, False))


def test_sorting_has_the_same_result_for_any_number_of_threads():
    a = np.random.default_rng(6).normal(size=(200, 700)).astype(np.float32)
    before = tinyrnn.get_num_threads()
    try:
        found = []
        for n in (1, 2, 3):
            tinyrnn.set_num_threads(n)
            found.append(order.argsort(a, False)[0].tobytes())
    finally:
        tinyrnn.set_num_threads(before)
    assert found[0] == found[1] == found[2]
