"""Matrix products: every size and layout against NumPy in float64, and the same bits for any number of threads."""

import functools

import numpy as np
import pytest
from test_simd import guarded

import tinyrnn  # noqa: F401  (makes tinyrnn.kernels importable from a checkout)
from tinyrnn.kernels.cpu import gemm, pool
from tinyrnn.kernels.cpu.arrays import data, extent, stride
from tinyrnn.kernels.cpu.gemm import linear, matmul
from tinyrnn.kernels.cpu.jit import njit

TYPES = ["float32", "float64"]
SIZES = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 255, 256, 257, 300]


@pytest.fixture
def threads():
    """set_threads, put back afterwards."""
    before = pool.get_threads()
    yield pool.set_threads
    pool.set_threads(before)


# How a matrix may lie in memory; each makes an array with the same numbers.
def plain(x):
    return x.copy()


def transposed(x):
    return x.swapaxes(-1, -2).copy().swapaxes(-1, -2)


def wide(x):
    """Some of the columns of a wider matrix."""
    room = np.full((*x.shape[:-1], x.shape[-1] + 5), np.nan, x.dtype)
    room[..., 2:-3] = x
    return room[..., 2:-3]


def stepped(x):
    """Every second row and every third column."""
    room = np.full((*x.shape[:-2], 2 * x.shape[-2], 3 * x.shape[-1]), np.nan, x.dtype)
    room[..., ::2, ::3] = x
    return room[..., ::2, ::3]


def upside_down(x):
    return x[..., ::-1, :].copy()[..., ::-1, :]


def backwards(x):
    return x[..., ::-1].copy()[..., ::-1]


def both_backwards(x):
    return transposed(x[..., ::-1, ::-1])[..., ::-1, ::-1]


LAYOUTS = [plain, transposed, wide, stepped, upside_down, backwards, both_backwards]


def check(found, a, b, start=0.0):
    """Each number against the exact sum, as near as its rounding errors allow: |error| <= (K + 1) u sum |a b|."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    exact, size = a @ b + start, np.abs(a) @ np.abs(b) + np.abs(start)
    assert found.shape == exact.shape and found.flags.c_contiguous
    allowed = (min(a.shape[-1], 30) + 2) * np.finfo(found.dtype).eps * size  # errors do not all have the same sign
    wrong = np.argwhere(~(np.abs(found - exact) <= allowed))  # NaN too
    assert not wrong.size, (a.shape, b.shape, wrong[:5])


def sizes(random):
    return [int(random.choice(SIZES)) if random.random() < 0.7 else int(random.integers(301)) for _ in range(3)]


@pytest.mark.parametrize("dtype", TYPES)
def test_products_of_all_sizes_and_layouts_are_numpys(dtype):
    random = np.random.default_rng(1)
    for left in LAYOUTS:
        for right in LAYOUTS:
            for _ in range(2):
                m, k, n = sizes(random)
                a, b = random.normal(size=(m, k)).astype(dtype), random.normal(size=(k, n)).astype(dtype)
                check(matmul(left(a), right(b)), a, b)
            m, k, n = random.integers(0, 20, 3)
            a, b = random.normal(size=(m, k)).astype(dtype), random.normal(size=(k, n)).astype(dtype)
            check(matmul(left(a), right(b)), a, b)


@pytest.mark.parametrize("dtype", TYPES)
def test_products_of_few_rows_or_columns_are_numpys(dtype):
    random = np.random.default_rng(2)
    few = [(1, 300, 300), (2, 257, 31), (3, 600, 9), (300, 7, 1), (1, 1, 1), (17, 1, 33), (1, 2000, 3)]
    few += [(25, 300, 70), (32, 512, 40), (20, 512, 700)]
    few += [(16, 1100, 16), (40, 1030, 20), (250, 600, 17), (65, 2000, 5)]
    for m, k, n in few:
        for left in LAYOUTS:
            for right in (plain, transposed, stepped, backwards):
                a, b = random.normal(size=(m, k)).astype(dtype), random.normal(size=(k, n)).astype(dtype)
                check(matmul(left(a), right(b)), a, b)


@pytest.mark.parametrize("dtype", TYPES)
def test_products_larger_than_every_block_are_numpys(dtype):
    random = np.random.default_rng(3)
    for m, k, n in [(300, 530, 70), (70, 40, 1100), (2, 530, 1030), (140, 257, 513)]:
        for left, right in [(plain, plain), (transposed, plain), (plain, transposed), (stepped, backwards)]:
            a, b = random.normal(size=(m, k)).astype(dtype), random.normal(size=(k, n)).astype(dtype)
            check(matmul(left(a), right(b)), a, b)


BATCHES = [
    ((3,), (3,)), ((3,), ()), ((), (3,)), ((2, 1), (1, 3)), ((2, 3), (3,)), ((1,), (4,)), ((2, 1, 2), (3, 1)),
    ((0,), (1,)), ((2, 0), (1,)), ((), (2, 0)), ((1, 1), ()), ((70,), (70,)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", TYPES)
def test_batches_broadcast_as_numpys(dtype):
    random = np.random.default_rng(4)
    for of_a, of_b in BATCHES:
        for m, k, n in [(5, 7, 9), (1, 6, 3), (20, 0, 3), (0, 4, 3), (3, 4, 0), (17, 33, 20)]:
            left, right = random.choice(LAYOUTS, 2)
            a = random.normal(size=(*of_a, m, k)).astype(dtype)
            b = random.normal(size=(*of_b, k, n)).astype(dtype)
            check(matmul(left(a), right(b)), a, b)
    a, b = random.normal(size=(4, 5, 6)).astype(dtype), random.normal(size=(2, 4, 6, 3)).astype(dtype)
    check(matmul(a[::-1], b[::-1, ::2].repeat(2, 1)), a[::-1], b[::-1, ::2].repeat(2, 1))
    spread = np.broadcast_to(a[0, 0], (4, 5, 6))  # a step of zero
    check(matmul(spread, b), spread, b)
    check(matmul(np.broadcast_to(a[0, :, :1], (5, 6)), b[0, 0]), np.broadcast_to(a[0, :, :1], (5, 6)), b[0, 0])


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("left", LAYOUTS)
@pytest.mark.parametrize("right", LAYOUTS)
def test_batches_of_columns(left, right, dtype):
    """As an attention's scores are: (B, T, H) @ (B, H, 1); also where T is more than there are zeros at hand."""
    random = np.random.default_rng(7)
    for m, k in [(1, 1), (1, 130), (5, 7), (2, 33), (40, 64), (70, 300), (3, 1), (2 * gemm._zeros.size + 5, 3)]:
        a, b = random.normal(size=(5, m, k)).astype(dtype), random.normal(size=(5, k, 1)).astype(dtype)
        check(matmul(left(a), right(b)), a, b)


@pytest.mark.parametrize("dtype", TYPES)
def test_linear_is_numpys(dtype):
    random = np.random.default_rng(5)
    for _ in range(60):
        m, k, n = sizes(random)
        x, w, bias = (random.normal(size=s).astype(dtype) for s in ((m, k), (n, k), (n,)))
        left, right = random.choice(LAYOUTS, 2)
        check(linear(left(x), right(w)), x, w.T)
        check(linear(left(x), right(w), bias), x, w.T, bias.astype(np.float64))
        check(linear(left(x), right(w), np.repeat(bias, 2)[::2]), x, w.T, bias.astype(np.float64))
    for shape in ((4,), (2, 3, 4), (2, 0, 4), (0, 4), (3, 1, 2, 4)):
        x, w, bias = (random.normal(size=s).astype(dtype) for s in (shape, (5, 4), (5,)))
        check(linear(x, w, bias), x, w.T, bias.astype(np.float64))
        check(linear(x[..., ::-1], w, bias), x[..., ::-1], w.T, bias.astype(np.float64))


@pytest.mark.parametrize("dtype", TYPES)
def test_nan_and_infinity_go_where_they_belong(dtype):
    random = np.random.default_rng(6)
    for m, k, n in [(1, 20, 40), (2, 300, 5), (9, 17, 33), (40, 300, 70)]:
        for left, right in [(plain, plain), (plain, transposed), (transposed, plain), (stepped, stepped)]:
            for special in (np.nan, np.inf, -np.inf):
                a, b = np.abs(random.normal(size=(m, k))).astype(dtype), np.abs(random.normal(size=(k, n)))
                b = b.astype(dtype)
                i, j = random.integers(m), random.integers(k)
                a[i, j] = special
                b[j, 0] = 0.0  # infinity times zero
                found = matmul(left(a), right(b))
                assert np.isfinite(np.delete(found, i, 0)).all()
                np.testing.assert_array_equal(found[i], [np.nan] + [special] * (n - 1))
                found = matmul(right(b.T.copy()), left(a.T.copy()))
                np.testing.assert_array_equal(found[:, i], [np.nan] + [special] * (n - 1))
                assert np.isfinite(np.delete(found, i, 1)).all()


def bits(*arrays):
    return b"".join(a.tobytes() for a in arrays)


@pytest.mark.parametrize("dtype", TYPES)
def test_the_same_bits_for_any_number_of_threads_and_every_time(threads, dtype):
    random = np.random.default_rng(7)
    products = []
    for m, k, n in [(3, 300, 401), (401, 300, 3), (150, 170, 190), (1, 700, 601), (2, 601, 301), (64, 64, 64)]:
        for left, right in [(plain, plain), (plain, transposed), (transposed, plain), (backwards, stepped)]:
            a, b = random.normal(size=(m, k)).astype(dtype), random.normal(size=(k, n)).astype(dtype)
            products.append(functools.partial(matmul, left(a), right(b)))
    a, b = random.normal(size=(7, 30, 20)).astype(dtype), random.normal(size=(7, 20, 40)).astype(dtype)
    products.append(functools.partial(matmul, a, b))
    products.append(functools.partial(linear, a, random.normal(size=(35, 20)).astype(dtype), b[0, 0, :35]))
    expected = None
    for n in (1, 2, 3, 3, 2, 1):
        threads(n)
        found = [bits(product()) for product in products]
        expected = expected or found
        assert found == expected


@pytest.mark.parametrize("dtype", TYPES)
def test_a_product_is_added_to_what_is_there(dtype):
    product = gemm.kernels(np.dtype(dtype).type).product

    @njit
    def add(c, a, b):
        product(
            extent(c, 0), extent(c, 1), extent(a, 1), data(a), stride(a, 0), stride(a, 1), data(b), stride(b, 0),
            stride(b, 1), data(c), stride(c, 0), data(c), stride(c, 0),
        )  # fmt: skip

    random = np.random.default_rng(10)
    for m, k, n in [(1, 30, 40), (2, 30, 40), (7, 20, 300), (40, 300, 37), (64, 128, 50), (70, 300, 90), (50, 90, 1)]:
        for left in (plain, transposed):
            for right in (plain, transposed):
                a, b, c = (random.normal(size=size).astype(dtype) for size in ((m, k), (k, n), (m, n)))
                found, x, y = c.copy(), left(a), right(b)
                add(id(found), id(x), id(y))
                check(found, a, b, c.astype(np.float64))


@pytest.mark.parametrize("dtype", TYPES)
def test_nothing_but_the_result_is_written(threads, dtype):
    """The result is some of the rows and columns of an array, and all around it stays as it was."""
    threads(3)
    random = np.random.default_rng(8)
    matrix, zeros = gemm.kernels(np.dtype(dtype).type).matrix, gemm.row_of_zeros(600)
    for _ in range(60):
        m, k, n = sizes(random)
        a, b = random.normal(size=(m, k)).astype(dtype), random.normal(size=(k, n)).astype(dtype)
        left, right = random.choice(LAYOUTS, 2)
        room = np.full((m + 4, n + 40), 7, dtype)
        result = room[2 : m + 2, 20 : n + 20]
        x, y = left(a), right(b)
        matrix(id(result), id(x), id(y), id(zeros))
        check(result.copy(), a, b)
        result[:] = 7
        assert (room == 7).all()


@pytest.mark.parametrize("dtype", TYPES)
def test_nothing_beyond_the_matrices_is_read(dtype):
    """Each matrix ends where memory that may not be touched begins: a mask that is too wide ends the process."""
    random = np.random.default_rng(9)

    def at_the_end(x):
        room = guarded(x.size, np.dtype(dtype).type).reshape(x.shape)
        room[:] = x
        return room

    def columns_at_the_end(x):
        return at_the_end(x.T).T

    for m, k, n in [
        (1, 5, 7), (2, 37, 9), (3, 5, 77), (9, 5, 3), (30, 21, 35), (40, 270, 70), (70, 3, 1), (5, 33, 21), (33, 77, 60),
    ]:  # fmt: skip
        for left in (at_the_end, columns_at_the_end):
            for right in (at_the_end, columns_at_the_end):
                a, b = random.normal(size=(m, k)).astype(dtype), random.normal(size=(k, n)).astype(dtype)
                check(matmul(left(a), right(b)), a, b)
