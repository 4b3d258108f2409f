"""Sorting by digits: NumPy's stable order, NaN last, zeros of both signs equal, for any number of threads."""

import numpy as np
import pytest
from conftest import needs_torch

import tinyrnn
from tinyrnn.kernels.cpu import order, unstable

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
                several = np.any(neighbours[:, 1:] == neighbours[:, :-1], 1)
                assert np.array_equal(equal, several) if several.any() else equal is None


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "uint8"])
def test_the_foremost_are_the_first_in_order(dtype):
    rng = np.random.default_rng(8)
    for n, k in [(1, 1), (5, 1), (5, 5), (200, 3), (order.STRIDE, 2), (1000, 40), (70, 60), (3000, 300), (30_000, 256)]:
        a = numbers(rng, (4, n), dtype).astype(dtype)
        a[0] = rng.permutation(n) % 251 if dtype == "uint8" else rng.permutation(n)  # no equal ones, if they fit
        for descending in (False, True):
            at, equal = order.foremost(a, k, descending)
            keys = order.keys(a, descending)
            expected = np.sort(keys, 1)
            assert np.array_equal(np.take_along_axis(keys, at, 1), expected[:, :k]), (n, k, descending)
            begun = expected[:, : k + 1]
            several = np.any(begun[:, 1:] == begun[:, :-1], 1)
            if equal is None:
                equal = np.zeros(len(a), bool)
            assert np.all(equal >= several)  # where all are sorted, equal ones farther back count too
            assert n > 251 or not equal[0]


@needs_torch
@pytest.mark.parametrize("n", [2, 3, 16, 17, 40, 65, 1000, 3000])
def test_equal_ones_come_as_torch_has_them(n):
    import torch

    rng = np.random.default_rng(n)
    for most in (1, 3, n // 2 + 1, 50 * n):
        for shape in ((3, n), (n,), (n, 2)):
            a = rng.integers(0, most, shape).astype(np.float32)
            a[rng.random(shape) < 0.05] = np.nan
            over = 0 if shape == (n, 2) else -1
            x, y = tinyrnn.tensor(a), torch.tensor(a)
            for call in (
                lambda t, d: t.sort(d), lambda t, d: t.sort(d, descending=True), lambda t, d: t.topk(n // 2, d),
                lambda t, d: t.topk(1 + n // 100, d), lambda t, d: t.topk(n, d, largest=False),
                lambda t, d: t.topk(1 + n // 3, d, sorted=False), lambda t, d: t.kthvalue(n // 2 + 1, d),
                lambda t, d: t.kthvalue(1, d), lambda t, d: t.kthvalue(n, d),
            ):  # fmt: skip
                found, expected = call(x, over), call(y, over)
                assert found.indices.tolist() == expected.indices.tolist()
                assert np.array_equal(found.values.numpy(), expected.values.numpy(), equal_nan=True)


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
            parts = [
                order.argsort(a, False)[0],
                order.foremost(a, 20, True)[0],
                unstable.sorted_rows(a.astype(np.int64)),
            ]
            found.append(b"".join(part.tobytes() for part in parts))
    finally:
        tinyrnn.set_num_threads(before)
    assert found[0] == found[1] == found[2]
