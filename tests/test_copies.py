"""Copies in order, scans and what is found along an axis: NumPy's elements, for arrays that lie in any way."""

import numpy as np
import pytest

import tinyrnn
from tinyrnn.kernels.cpu import copies, index, scan, select


def somehow(rng, dtype):
    """An array of some shape whose axes are permuted, cut, reversed or expanded."""
    ndim = rng.integers(1, 7)
    most = [6000, 90, 25, 12, 8, 6][ndim - 1]
    a = rng.integers(0, 100, rng.integers(1, most + 1, ndim)).astype(dtype).transpose(rng.permutation(ndim))
    a = a[tuple(slice(None, None, int(rng.choice([1, 1, 1, 2, -1, -3]))) for _ in range(ndim))]
    if rng.random() < 0.3:
        a = np.broadcast_to(a[..., :1], (*a.shape[:-1], 37))
    return np.broadcast_to(a, (3, *a.shape)).swapaxes(0, -1) if rng.random() < 0.2 else a


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "bool"])
def test_a_copy_in_order_is_numpys(dtype):
    rng = np.random.default_rng(5)
    for _ in range(60):
        a = somehow(rng, dtype)
        found = copies.contiguous(a)
        assert found.flags.c_contiguous and found.dtype == a.dtype and np.array_equal(found, a), (a.shape, a.strides)
        assert (found is a) == a.flags.c_contiguous


def test_a_copy_moves_bits():
    odd = np.array([0x7F800001, 0xFFC12345, 0x80000000, 1], np.uint32)  # signalling and other NaN, -0, a tiny number
    a = np.resize(odd, (80, 90)).view(np.float32).T
    assert copies.contiguous(a).tobytes() == a.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "bool"])
def test_a_copy_into_another_array_is_numpys(dtype, monkeypatch):
    monkeypatch.setattr(copies, "LARGE", 1)
    rng = np.random.default_rng(7)
    for _ in range(80):
        a = somehow(rng, dtype)
        to = np.full(2 * np.array(a.shape) + 1, 1, dtype)
        order = rng.permutation(a.ndim)
        to = to.transpose(order).copy().transpose(np.argsort(order))  # any axis may be the one of neighbours
        expected = to.copy()
        places = tuple(slice(0, 2 * n, 2) if rng.random() < 0.5 else slice(n + 1, None) for n in a.shape)
        source = a[0] if rng.random() < 0.2 else a
        copies.copyto(to[places], source)
        expected[places] = source
        assert np.array_equal(to, expected), (a.shape, a.strides, to.strides)
        for how in "CK":
            found, wanted = copies.copied(a, how), a.copy(how)
            assert np.array_equal(found, wanted)
            assert how == "K" or found.flags.c_contiguous


def test_a_copy_onto_itself_and_of_another_type_is_numpys(monkeypatch):
    monkeypatch.setattr(copies, "LARGE", 1)
    a = np.arange(200.0, dtype=np.float32)
    expected = a.copy()
    np.copyto(expected[50:150], expected[:100])
    copies.copyto(a[50:150], a[:100])
    assert np.array_equal(a, expected)
    copies.copyto(a[:20], np.arange(20))
    assert np.array_equal(a[:20], np.arange(20))


def test_an_array_of_more_axes_than_the_table_holds():
    a = np.zeros((2,) * 24, np.float32).transpose(*range(1, 24, 2), *range(0, 24, 2))[..., ::-1]
    a[(1,) * 23] = 3, 4
    assert np.array_equal(copies.contiguous(a), a)


def test_reshape_of_what_lies_apart():
    x = tinyrnn.arange(2 * 70 * 4 * 16.0).reshape(2, 70, 4, 16).requires_grad_()
    y = x.transpose(1, 2).reshape(2, 4, -1)
    assert np.array_equal(y.detach().numpy(), x.detach().numpy().transpose(0, 2, 1, 3).reshape(2, 4, -1))
    y.backward(y.detach())
    assert np.array_equal(x.grad.numpy(), x.detach().numpy())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_running_sums_and_products_are_kept_in_float64(dtype):
    rng = np.random.default_rng(3)
    for shape, axis in [((1000,), 0), ((7, 300), 1), ((300, 70), 0), ((5, 40, 3), 1), ((0, 4), 0), ((3, 0), 1)]:
        a = rng.uniform(0.5, 1.5, shape).astype(dtype)
        for x in (a, a[::-1], a.T.copy().T):
            for name, function in (("cumsum", np.cumsum), ("cumprod", np.cumprod)):
                exact = function(x.astype(np.float64), axis).astype(dtype)
                assert np.array_equal(scan.cumulative(name, x, axis, x.dtype), exact), (name, shape)


@pytest.mark.parametrize("dtype", ["float32", "int64"])
@pytest.mark.parametrize("shape", [(600,), (40, 9), (9, 40), (3, 30, 20), (3, 30, 2)])
def test_running_extrema(dtype, shape):
    rng = np.random.default_rng(len(shape))
    a = np.round(rng.normal(size=shape) * 3).astype(dtype)
    if dtype == "float32":
        a[rng.random(shape) < 0.02] = np.nan
        a[rng.random(shape) < 0.02] = np.inf
    for axis in range(a.ndim):
        for largest, ufunc in ((True, np.maximum), (False, np.minimum)):
            values, places = scan.extremes(a, axis, largest)
            assert np.array_equal(values, ufunc.accumulate(a, axis), equal_nan=dtype == "float32")
            assert np.array_equal(np.take_along_axis(a, places, axis), values, equal_nan=dtype == "float32")
            along = np.moveaxis(places, axis, -1)
            again = np.moveaxis((a == values) | (a != a), axis, -1)  # the last of equals, the last NaN
            assert np.array_equal(along[again], np.broadcast_to(np.arange(along.shape[-1]), along.shape)[again])


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_along_an_axis(dtype):
    rng = np.random.default_rng(7)
    for _ in range(40):
        a = somehow(rng, dtype)
        axis = int(rng.integers(a.ndim))
        shape = (*a.shape[:axis], int(rng.integers(0, 9)), *a.shape[axis + 1 :])
        ids = rng.integers(0, a.shape[axis], shape)
        assert np.array_equal(index.take_along(a, ids, axis), np.take_along_axis(a, ids, axis))
        assert np.array_equal(index.take_along(a, ids, axis - a.ndim), np.take_along_axis(a, ids, axis))
        out, expected, values = a.copy(order="A"), a.copy(), rng.integers(0, 2, shape).astype(dtype)
        for given in (values, values[..., :1, :1, :1] if a.ndim > 3 else values, 1):
            index.put_along(out, ids, given, axis)
            np.put_along_axis(expected, ids, np.broadcast_to(np.asarray(given, dtype), shape), axis)
            assert np.array_equal(out, expected)


def test_adding_along_an_axis_and_where_an_index_is_wrong():
    rng = np.random.default_rng(8)
    for shape, size in [((30, 5), (12, 5)), ((4, 30, 6), (4, 50, 3)), ((3, 4), (2, 2)), ((9,), (40,))]:
        axis = len(shape) - 2 if len(shape) > 1 else 0
        ids, g = rng.integers(0, shape[axis], size), rng.integers(0, 9, size).astype(np.float32)
        out, expected = np.ones(shape, np.float32), np.ones(shape, np.float32)
        index.add_along(out, ids, g, axis)
        lines = list(np.ogrid[tuple(slice(n) for n in size)])
        lines[axis] = ids
        np.add.at(expected, tuple(lines), g)
        assert np.array_equal(out, expected)
    for n in (1, 255, 256, 257, 1000):
        ids = np.arange(n) % 5
        assert index.outside(ids, 5) == -1 and index.outside(ids.astype(np.int32)[::-1], 5) == -1
        for wrong in (-1, 5, 2**40):
            ids[[n // 2, n - 1]] = wrong
            assert index.outside(ids, 5) == n // 2
    assert index.outside(np.zeros((0, 3), np.int64), 0) == -1


def test_the_same_bits_for_any_number_of_threads():
    rng = np.random.default_rng(9)
    a, ids = rng.normal(size=(90, 70, 33)).astype(np.float32), rng.integers(0, 70, (90, 80, 33))

    def results():
        out = a.copy()
        index.add_along(out, ids, a.repeat(2, 1)[:, :80], 1)
        parts = [scan.cumulative("cumsum", a, axis, a.dtype) for axis in range(3)] + [out, *scan.extremes(a, 2, True)]
        return b"".join(x.tobytes() for x in [*parts, copies.contiguous(a.T), index.take_along(a, ids, 1)])

    before = tinyrnn.get_num_threads()
    try:
        found = []
        for n in (1, 2, 3):
            tinyrnn.set_num_threads(n)
            found.append(results())
    finally:
        tinyrnn.set_num_threads(before)
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_select_is_numpys_where(dtype):
    rng = np.random.default_rng(11)
    for _ in range(60):
        ndim = int(rng.integers(1, 6))
        shape = rng.integers(1, [9000, 120, 30, 12, 9][ndim - 1] + 1, ndim)

        def operand(kind, shape=shape, ndim=ndim):
            own = [1 if rng.random() < 0.3 else n for n in shape][
                int(rng.integers(0, 2)) * int(rng.integers(0, ndim)) :
            ]
            a = rng.integers(0, 2 if kind == "bool" else 99, own).astype(kind)
            if rng.random() < 0.3:
                a = np.asarray(a.T, order="C").T
            return a.reshape(-1)[0] if rng.random() < 0.2 else a

        mask, x, y = np.asarray(operand("bool")), operand(dtype), operand(dtype)
        found, expected = select.where(mask, x, y), np.where(mask, x, y)
        assert found.flags.c_contiguous and found.dtype == expected.dtype and np.array_equal(found, expected)
    odd = rng.integers(0, 4, 5000).astype(np.uint8).view(bool)  # as a view of other bytes may have them
    assert np.array_equal(select.where(odd, 1.0, np.zeros(5000)), (odd.view(np.uint8) > 0).astype(float))
    many = np.arange(2**12, dtype=np.float32).reshape((2,) * 12)[..., ::-1].T
    assert np.array_equal(select.where(many > 9, many, many.T), np.where(many > 9, many, many.T))


def test_nothing_is_taken_put_and_added():
    none, no_ids = np.zeros((0, 4), np.float32), np.zeros((0, 4), np.int64)
    a = np.ones((3, 4), np.float32)
    for x in (none, a):
        assert index.take_along(x, no_ids, 0).shape == (0, 4) and scan.extremes(x[:0], 0, True)[0].shape == (0, 4)
        index.put_along(x, no_ids, 2.0, 0)
        index.add_along(x, no_ids, none, 0)
    assert (a == 1).all()
    assert tinyrnn.zeros(0).sort().values.tolist() == [] and tinyrnn.zeros(0, 3).sort(0).indices.shape == (0, 3)


def test_slices_by_an_index_with_gaps():
    x, i = tinyrnn.arange(12.0).reshape(3, 4), tinyrnn.tensor([2, 9, 0, 9])[::2]
    assert x.index_select(0, i).tolist() == [[8, 9, 10, 11], [0, 1, 2, 3]] and x.index_select(1, i)[0].tolist() == [
        2,
        0,
    ]
    added = tinyrnn.zeros(3, 4).index_add(0, i, x[:2])
    assert added.tolist() == [[4, 5, 6, 7], [0] * 4, [0, 1, 2, 3]]
    assert tinyrnn.zeros(3, 4).index_reduce(0, i, x[:2], "amax")[0].tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize("count", [0, 1, 300, index.BLOCK, index.BLOCK + 1, 30 * index.BLOCK + 17])
def test_the_first_index_that_is_outside(count):
    rng = np.random.default_rng(count)
    ids = rng.integers(0, 50, count)
    assert index.outside(ids, 50) == -1
    for wrong in (-1, 50, -(2**63), 2**63 - 1):
        for k in {0, count // 3, count - 1} - {-1} if count else ():
            spoilt = ids.copy()
            spoilt[k] = wrong
            spoilt[k + 1 :: 7] = wrong
            assert index.outside(spoilt, 50) == k
            assert index.outside(spoilt[None].repeat(2, 0), 50) == k
    assert index.outside(ids, 0) == (0 if count else -1)


@pytest.mark.parametrize("dtype", ["bool", "float32", "int64"])
def test_nonzero_is_numpys(dtype):
    rng = np.random.default_rng(13)
    for shape in [(3,), (select.FEW,), (select.BLOCK,), (3 * select.BLOCK + 1,), (70, 90), (9, 40, 33), (0, 5), ()]:
        for part in (0.0, 0.01, 0.5, 1.0):
            a = (rng.random(shape) < part).astype(dtype)
            for x in (a, a.T, a[..., ::2] if shape else a):
                expected = np.nonzero(np.atleast_1d(x))
                found = select.nonzero(np.atleast_1d(x))
                assert len(found) == len(expected)
                assert all(np.array_equal(i, j) and i.dtype == np.int64 for i, j in zip(found, expected, strict=True))


def test_any_byte_but_zero_is_true():
    a = np.zeros(3 * select.FEW, np.uint8)
    a[[5, 700, 5999]] = 2, 255, 1
    assert select.nonzero(a.view(bool))[0].tolist() == [5, 700, 5999]


def test_a_mask_writes_a_number_to_what_lies_anyhow():
    rng = np.random.default_rng(14)
    for shape in ((40, 50), (200, 300)):
        a, mask = rng.normal(size=shape).astype(np.float32), rng.random(shape) < 0.3
        x = tinyrnn.tensor(a)
        x[tinyrnn.tensor(mask)] = 7
        x.t()[tinyrnn.tensor(mask.T)] *= 2
        x[:, ::2][tinyrnn.tensor(mask[:, ::2])] = -1.5
        expected = np.where(mask, np.float32(14), a)
        expected[:, ::2][mask[:, ::2]] = -1.5
        assert np.array_equal(x.numpy(), expected)
