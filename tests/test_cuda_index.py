"""Indexing on the device, in the simulator, held to NumPy on the host and to the kernels of the host."""

import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("numba_cuda")
pytest.importorskip("greenlet")

import simulator as simulation  # noqa: E402

import tinyrnn  # noqa: E402, F401
from tinyrnn.kernels.cpu import index as host  # noqa: E402
from tinyrnn.kernels.cuda import index, index_kernels, indices, radix  # noqa: E402
from tinyrnn.kernels.cuda.array import download, upload  # noqa: E402

SEEDS = range(3)


@pytest.fixture(autouse=True)
def simulator():
    with simulation.simulated() as device:
        yield device


@pytest.fixture
def short(monkeypatch):
    """Small pieces, so that few numbers make many."""
    monkeypatch.setattr(radix, "LEAST", 64)
    monkeypatch.setattr(index, "LONGEST", 4)
    monkeypatch.setattr(index, "SHORTEST", 4)


def random(seed=0):
    return np.random.default_rng(seed)


def normal(*shape, dtype=np.float32):
    return random(len(shape)).normal(size=shape).astype(dtype)


# ------------------------------------------------------------------------------------------ radix sort
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n, bits", [(1, 1), (70, 3), (130, 12)])
def test_radix_sort_is_stable(seed, n, bits, short):
    keys = random(n).integers(0, 1 << bits, n)
    with simulation.simulated(seed, strict=True):
        order, ordered = radix.ordered(upload(keys), bits)
        assert download(order).tolist() == np.argsort(keys, kind="stable").tolist()
        assert download(ordered).tolist() == np.sort(keys).tolist()


def test_radix_sort_of_the_defaults():
    keys = random().integers(0, 5, 2 * radix.LEAST + 1)
    assert download(radix.ordered(upload(keys), 3)[0]).tolist() == np.argsort(keys, kind="stable").tolist()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n", [0, 1, 31, 64, 200])
def test_where_a_mask_holds(seed, n, short):
    mask = random(n).random(n) < 0.4
    with simulation.simulated(seed, strict=True):
        assert download(radix.held(upload(mask))).tolist() == np.flatnonzero(mask).tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"])
@pytest.mark.parametrize("axis", [0, 1])
def test_argsort(dtype, axis):
    a = (3 * normal(4, 9)).astype(dtype)
    if a.dtype.kind == "f":
        a[1, 2:8] = np.nan, -0.0, 0.0, np.inf, -np.inf, -np.nan
        a[:, 8] = 0.0, np.nan, -0.0, np.nan
    elif a.dtype.kind == "i":
        a[0, :2] = np.iinfo(dtype).min, np.iinfo(dtype).max
    assert download(index.argsort(upload(a), axis)).tolist() == np.argsort(a, axis, kind="stable").tolist()


# ------------------------------------------------------------------------------------------ advanced indexing
I = random(1).integers(-5, 5, (3, 4))  # noqa: E741
J, K, L = random(2).integers(0, 6, 4), random(3).integers(0, 7, (3, 1)), random(4).integers(-7, 7, 4)
M = random(5).random((5, 6)) < 0.5
INDICES = {
    "one": I,
    "second axis": (slice(None), J),
    "two": (I, J),
    "three": (I, J, K),
    "apart": (I, slice(None), K),
    "last": (..., L),
    "new axes": (None, I, None, J),
    "slices": (slice(1, 4), J, slice(None, None, 2)),
    "backwards": (slice(None, None, -2), J),
    "number and array": (slice(1, 4), -1, L),
    "number apart": (0, slice(None), L),
    "numbers": (np.int64(2), np.array(3)),
    "empty ellipsis between": (J[:2] % 5, J[:2], ..., K[:2, 0]),
    "ellipsis between": (J[:2] % 5, ..., K[:2, 0]),
    "mask": M,
    "mask and array": (M, K[0]),
    "mask of one axis": (slice(None), M[0]),
    "masks": (np.arange(5) % 2 == 0, slice(None), np.arange(7) > 3),
    "mask of nothing": np.zeros((5, 6), bool),
    "mask of no axis": np.array(True),
    "True": True,
    "False": False,
    "list": [0, 1],
    "nothing": [],
    "none at all": (np.zeros((0, 2), int), J[:2]),
    "int32": I.astype(np.int32),
    "uint8": np.abs(I).astype(np.uint8) % 5,
}
LAYOUTS = {
    "C": lambda a: a,
    "transposed": lambda a: np.ascontiguousarray(a.transpose(2, 0, 1)).transpose(1, 2, 0),
    "part": lambda a: np.concatenate([a, a], -1)[..., ::2],
}


def moved(value):
    """An index with its arrays on the device."""
    if isinstance(value, tuple):
        return tuple(map(moved, value))
    return upload(value) if isinstance(value, np.ndarray) else value


def laid_out(name):
    """The same array on the host and on the device, both with the strides that a layout has."""
    a = normal(5, 6, 7)
    there = upload(np.concatenate([a, a], -1))[..., ::2] if name == "part" else upload(LAYOUTS[name](a))
    return LAYOUTS[name](a).copy() if name == "part" else LAYOUTS[name](a), there


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", INDICES)
def test_take_and_put(name, layout):
    want, a = laid_out(layout)
    for at in (INDICES[name], moved(INDICES[name])):
        found = download(a[at])
        assert found.shape == want[INDICES[name]].shape
        assert np.array_equal(found, want[INDICES[name]])
    many = normal(*want[INDICES[name]].shape)
    for number, value in enumerate((2.5, many[:1] if many.ndim else many, many)):
        at = (INDICES[name], moved(INDICES[name]))[number % 2]
        want[INDICES[name]] = value
        a[at] = upload(value) if number else value
        assert np.array_equal(download(a), want)


def test_the_last_of_several_values_stays(short):
    ids, value = random().integers(0, 7, 150), np.arange(300.0).reshape(150, 2)
    a, want = upload(np.zeros((7, 2))), np.zeros((7, 2))
    a[upload(ids)], want[ids] = upload(value), value
    assert np.array_equal(download(a), want)


def test_places_far_apart_are_told_apart(short):
    """Where one pass of the sort, of eight bits, is not enough: else several threads would write to one place."""
    ids = np.array([256, 0] * 4)
    with simulation.simulated(strict=True):
        a, want = upload(np.zeros(257)), np.zeros(257)
        a[upload(ids)], want[ids] = upload(np.arange(8.0)), np.arange(8.0)
        np.add.at(a, upload(ids), upload(np.ones(8)))
        np.add.at(want, ids, 1)
        assert np.array_equal(download(a), want)


@pytest.mark.parametrize("dtype", ["bool", "int8", "int16", "int32", "float32", "float64"])
def test_elements_of_any_size(dtype):
    a = (normal(4, 3) * 5).astype(dtype)
    b = upload(a)
    assert np.array_equal(download(b[upload(I[0] % 4)]), a[I[0] % 4])
    b[[0, 2]] = b[upload(np.array([3, 1]))]
    a[[0, 2]] = a[[3, 1]]
    assert download(b).dtype == a.dtype and np.array_equal(download(b), a)


def test_more_axes_than_a_kernel_walks():
    a = normal(2, 2, 3, 2, 2, 2).transpose(5, 3, 1, 0, 2, 4)
    b, at = upload(a), (slice(None), slice(None), np.array([1, 0, 1]))
    assert b.strides == a.strides and np.array_equal(download(b[at]), a[at])
    value, want = normal(*a[at].shape), a.copy()
    want[at] = value
    b[at] = upload(value)
    assert np.array_equal(download(b), want)
    np.add.at(want, at, value)
    np.add.at(b, at, upload(value))
    np.testing.assert_allclose(download(b), want, rtol=1e-6)
    assert np.array_equal(download(np.take_along_axis(upload(a), upload(a.argsort(2)), 2)), np.sort(a, 2))


def test_an_array_can_be_its_own_index_and_value():
    a = np.array([2, 0, 1, 1])
    b = upload(a)
    b[b], a[a] = b[::-1] * 1, a[::-1] * 1
    assert np.array_equal(download(b), a)
    b[upload(np.array([0, 1]))] = b[2:]
    a[[0, 1]] = a[2:].copy()
    assert np.array_equal(download(b), a)


@pytest.mark.parametrize("wrong", [
    (np.array([1, 5]),), (I, np.array([0, 9, 0, 0])), (I - 1,), (0, 0, 0, 0), (I, np.zeros(3, int)), (np.ones(4, bool),),
    (1.5,), (np.ones(2),), (slice(None), np.array([3, -7])), (..., 0, ...), (slice(None), np.ones((6, 8), bool)),
    (np.zeros(2, int), 6), ("a",), (slice(None), slice(None), M),
])  # fmt: skip
def test_errors_are_numpys(wrong):
    a = normal(5, 6, 7)
    with pytest.raises(IndexError) as expected:
        a[wrong]
    for there in (wrong, moved(wrong)):
        for use in (lambda b, at: b[at], lambda b, at: b.__setitem__(at, 0), lambda b, at: np.add.at(b, at, 1)):
            b = upload(a)
            with pytest.raises(IndexError, match=f"^{re.escape(str(expected.value))}"):
                use(b, there)
            assert np.array_equal(download(b), a)


def test_a_value_of_another_shape_is_refused():
    with pytest.raises(
        ValueError, match=re.escape("value array of shape (2,) could not be broadcast to indexing result")
    ):
        upload(normal(5))[upload(J % 5)] = upload(normal(2))


# ------------------------------------------------------------------------------------------ adding up
@pytest.mark.parametrize("ufunc", index.COMBINED)
@pytest.mark.parametrize(
    "name", ["one", "second axis", "apart", "slices", "number and array", "mask and array", "nothing"]
)
def test_ufunc_at(ufunc, name, short):
    for layout in LAYOUTS:
        want, a = laid_out(layout)
        value = normal(*want[INDICES[name]].shape)
        value.flat[:1] = np.nan
        ufunc.at(want, INDICES[name], value)
        ufunc.at(a, moved(INDICES[name]), upload(value))
        np.testing.assert_allclose(download(a), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n, rows", [(1, 1), (4, 1), (5, 1), (8, 1), (30, 1), (31, 2), (40, 3), (40, 40)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_rows_that_go_to_one_place(n, rows, dtype, short):
    """Places that lie in one piece of the order, begin or end in it, and fill several."""
    ids = np.sort(random(n).integers(0, rows, n))
    random(n).shuffle(ids[: n // 2])
    out, g = (4 * normal(rows, 3)).astype(dtype), (4 * normal(n, 3)).astype(dtype)
    a = upload(out)
    index.scatter_add_rows(a, upload(ids), upload(g))
    host.scatter_add_rows(out, ids, g)
    np.testing.assert_allclose(download(a), out, rtol=1e-5, atol=1e-5)


def test_sums_are_the_hosts_while_a_place_lies_in_one_piece():
    """To the last bit, in the order of the indices."""
    ids, g = np.array([1, 0, 1, 1, 0, 2]), 10 ** normal(6, 3)
    out = normal(3, 3)
    a = upload(out)
    index.scatter_add_rows(a, upload(ids), upload(g))
    expected = out.copy()
    for k in range(3):
        first, *others = g[ids == k]
        for other in others:
            first = first + other
        expected[k] += first
    assert np.array_equal(download(a), expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_schedule_changes_no_bit(seed, short):
    ids, g = random().integers(0, 3, 70), 10 ** normal(70, 2)
    with simulation.simulated(seed, strict=True):
        a = upload(np.zeros((3, 2), np.float32))
        index.scatter_add_rows(a, upload(ids), upload(g))
        result = download(a).tobytes()
    a = upload(np.zeros((3, 2), np.float32))
    index.scatter_add_rows(a, upload(ids), upload(g))
    assert download(a).tobytes() == result


def test_twins():
    table, ids = normal(7, 5), random().integers(0, 7, (3, 4))
    for t, there in ((table, upload(table)), (table[:, ::2], upload(table)[:, ::2])):
        for kind in (np.int64, np.int32):
            found = index.gather_rows(there, upload(ids.astype(kind)))
            assert np.array_equal(download(found), host.gather_rows(t, ids.astype(kind)))
    flat, positions, g = normal(20), random().integers(0, 20, 50), normal(50)
    a = upload(flat)
    index.scatter_add(a, upload(positions), upload(g))
    host.scatter_add(flat, positions, g)
    np.testing.assert_allclose(download(a), flat, rtol=1e-5, atol=1e-6)


def test_twins_do_not_ask_whether_indices_are_right(monkeypatch):
    """Their callers know; asking would wait for the device."""
    table, ids = upload(normal(7, 5)), upload(J)
    monkeypatch.setattr(simulation.Simulator, "download", None)
    rows = index.gather_rows(table, ids)
    index.scatter_add_rows(table, ids, rows)


# ------------------------------------------------------------------------------------------ along an axis
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_along_an_axis(layout, axis):
    want, a = laid_out(layout)
    for sizes in (want.shape, (1, 1, 1)):
        shape = [*sizes]
        shape[axis] = 3
        ids = random(axis % 3).integers(-want.shape[axis], want.shape[axis], shape)
        found = np.take_along_axis(want, ids, axis)
        assert np.array_equal(download(index.take_along(a, upload(ids), axis)), found)
        for value in (7.0, normal(*found.shape)):
            np.put_along_axis(want, ids, value, axis)
            np.put_along_axis(a, upload(ids), value if isinstance(value, float) else upload(value), axis)
            assert np.array_equal(download(a), want)
    shape[axis] = 1
    with pytest.raises(IndexError, match=f"index 9 is out of bounds for axis {axis % 3} with size {a.shape[axis]}"):
        index.take_along(a, upload(np.full(shape, 9)), axis)


@pytest.mark.parametrize("sizes", [(4, 9, 5), (2, 9, 3), (4, 0, 5)])
def test_adding_along_an_axis(sizes):
    out, ids = normal(4, 6, 5), random(3).integers(0, 6, sizes)
    there, g = upload(out), normal(*sizes)
    host.add_along(out, ids, g, 1)
    index.add_along(there, upload(ids), upload(g), 1)
    np.testing.assert_allclose(download(there), out, rtol=1e-6, atol=1e-6)


def test_nonzero_and_ramp():
    a = normal(3, 4, 2)
    a[a < 0.3] = 0
    for where, there in zip(a.nonzero(), indices.nonzero(upload(a)), strict=True):
        assert download(there).tolist() == where.tolist()
    assert download(indices.ramp(4, 7, -2)).tolist() == [7, 5, 3, 1]


# ------------------------------------------------------------------------------------------ the tests themselves
@pytest.mark.parametrize("kernel, line, other", [
    ("place", "        cuda.syncwarp()\n        if inside:", "        if inside:"),
    ("scan", "            sums[t] += before\n            cuda.syncthreads()\n", "            sums[t] += before\n"),
])  # fmt: skip
def test_a_missing_barrier_shows(kernel, line, other, short, monkeypatch):
    """Of the kernels above, without one of their barriers."""
    source = Path(radix.__file__).read_text()
    assert line in source.split(f"def {kernel}(")[1].split("@kernel")[0]
    before, after = source.split(f"def {kernel}(")
    module = ModuleType("tinyrnn.kernels.cuda.changed")
    module.__dict__.update(__package__="tinyrnn.kernels.cuda", __file__=radix.__file__)
    exec(compile(f"{before}def {kernel}({after.replace(line, other, 1)}", radix.__file__, "exec"), module.__dict__)
    monkeypatch.setattr(module, "LEAST", 64)
    keys = random().integers(0, 16, 200)

    def wrong(seed):
        try:
            with simulation.simulated(seed, strict=True):
                return download(module.ordered(upload(keys), 8)[0]).tolist() != np.argsort(keys, kind="stable").tolist()
        except Exception:
            return True

    assert any(map(wrong, SEEDS))


def test_the_machine_code_of_kernels_differs():
    """Which function a kernel calls is part of its name in the cache of machine code."""
    known = [k._identity for k in index_kernels.examples()]
    assert len(set(known)) == len(known)
