"""Sums, extrema and their like on the device, in the simulator: held to NumPy and to the kernels of the host."""

import numpy as np
import pytest

pytest.importorskip("numba_cuda")
pytest.importorskip("greenlet")

import tinyrnn  # noqa: E402, F401
from tinyrnn.kernels.cpu import reduce as host  # noqa: E402
from tinyrnn.kernels.cpu.scan import extremes as in_order  # noqa: E402
from tinyrnn.kernels.cuda import reduce, scan  # noqa: E402
from tinyrnn.kernels.cuda.array import download, upload  # noqa: E402

REALS = ["float32", "float64"]
TOLERANCE = {"float32": 1e-6, "float64": 1e-14}
pytestmark = pytest.mark.filterwarnings("ignore")  # NumPy's, of what overflows

# name: shape, how it is seen, the axes to reduce
LAYOUTS = {
    "number": ((), lambda a: a, ()),
    "one": ((1,), lambda a: a, (0,)),
    "short rows": ((11, 3), lambda a: a, (1,)),
    "rows": ((5, 70), lambda a: a, (1,)),
    "columns": ((21, 9), lambda a: a, (0,)),
    "one column": ((50, 1), lambda a: a, (0,)),
    "transposed rows": ((13, 6), lambda a: a.T, (0,)),
    "middle": ((3, 19, 5), lambda a: a, (1,)),
    "outer and inner": ((4, 3, 6), lambda a: a, (0, 2)),
    "two inner ones with a gap": ((2, 5, 9), lambda a: a[:, :, 1:8], (1, 2)),
    "one in two": ((2, 40), lambda a: a[:, ::2], (1,)),
    "all": ((3, 5, 7), lambda a: a, (0, 1, 2)),
    "all of a cut": ((6, 8), lambda a: a[:, 1:7], (0, 1)),
    "repeated": ((1, 8), lambda a: np.broadcast_to(a, (5, 8)), (0,)),
    "repeated rows": ((6, 1), lambda a: np.broadcast_to(a, (6, 9)), (1,)),
    "three are kept": ((2, 3, 2, 3, 2), lambda a: a, (1, 3)),
    "four are kept, three not": ((2, 2, 2, 2, 2, 2, 2), lambda a: a, (1, 3, 5)),
    "nothing is reduced": ((4, 5), lambda a: a[:, ::2], ()),
}
layouts = pytest.mark.parametrize("layout", LAYOUTS)
COPIED = {"four are kept, three not"}


def normal(*shape, dtype="float64", seed=0):
    return np.random.default_rng(seed + sum(shape)).normal(size=shape).astype(dtype)


def views(layout, a=None, dtype="float64"):
    """An array and its twin, both seen as the layout says, and the axes."""
    shape, view, axes = LAYOUTS[layout]
    a = normal(*shape, dtype=dtype) if a is None else a
    return view(a), upload_seen(a, view), axes


def upload_seen(a, view):
    there = upload(a)
    return there._view(view(there.header))


@pytest.fixture
def cut(monkeypatch):
    """Rows and columns are cut into chunks though they are short."""
    monkeypatch.setattr(reduce, "CHUNK", 8)
    monkeypatch.setattr(reduce, "BATCH", 1)
    reduce.plan.cache_clear()
    yield
    reduce.plan.cache_clear()


def close(found, expected, dtype="float64", scale=None):
    """Of one type, and within some units in the last place of the largest number."""
    found, expected = download(found), np.asarray(expected)
    assert found.dtype == expected.dtype and found.shape == expected.shape and found.flags.c_contiguous
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected)
        return
    finite = np.abs(expected[np.isfinite(expected)])
    scale = max(finite.max(initial=0), scale or 0)
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale)


def check(layout, dtype):
    a, b, axes = views(layout, dtype=dtype)
    close(reduce.sum(b, axes), np.add.reduce(a, axes, dtype=dtype), dtype, np.abs(a).sum())
    for name in ("prod", "max", "min", "any", "all"):
        close(reduce.along(name, b, axes), getattr(np, name)(a, axes), dtype)
    if axes:
        close(reduce.logsumexp(b, axes), host.logsumexp(a, axes), dtype)
    if len(axes) == 1:
        for largest in (True, False):
            values, places = reduce.extreme(b, *axes, largest)
            expected = host.extreme(a, *axes, largest)
            close(values, expected[0]), close(places, expected[1])


# ------------------------------------------------------------------------------------------ sums and extrema
@pytest.mark.parametrize("dtype", REALS)
@layouts
def test_reductions(gpu, layout, dtype):
    check(layout, dtype)


@pytest.mark.parametrize("layout", ["short rows", "rows", "columns", "middle", "all", "one in two"])
def test_blocks_of_several_warps(gpu, layout):
    gpu.threads = 128
    check(layout, "float32")


@pytest.mark.parametrize("layout", ["rows", "columns", "outer and inner", "all", "all of a cut", "middle"])
def test_what_is_cut_into_chunks(gpu, cut, layout):
    gpu.threads = 32
    check(layout, "float32")
    b, axes = views(layout)[1:]
    steps = [(n, step // 8) for n, step in zip(b.shape, b.strides, strict=True)]
    kept, over = (tuple(s for i, s in enumerate(steps) if (i in axes) == which) for which in (False, True))
    assert reduce.plan(kept, over, gpu.threads).chunks > 1


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_threads_gives_the_same_bits_without_races(gpu, cut, seed):
    gpu.threads = 64
    arrays = [normal(3, 90, dtype="float32"), normal(300, 5, dtype="float32")]

    def bits():
        found = [reduce.sum(upload(a), (k,)) for a in arrays for k in (0, 1)]
        found += [reduce.logsumexp(upload(arrays[0]), (1,)), *reduce.extreme(upload(arrays[1]), 0, True)]
        found.append(reduce.cumulative("cumsum", upload(arrays[0]), 1))
        return [download(f).tobytes() for f in found]

    expected = bits()
    gpu.seed, gpu.strict = seed + 1, seed == 0
    assert bits() == expected


@layouts
def test_nothing_is_copied_that_can_be_walked(gpu, monkeypatch, layout):
    copies = []
    monkeypatch.setattr(reduce, "elementwise", type("", (), {"copy": lambda *a: copies.append(a) or copy(*a)}))
    from tinyrnn.kernels.cuda.elementwise import copy

    a, b, axes = views(layout)
    close(reduce.along("sum", b, axes), a.sum(axes), scale=np.abs(a).sum())
    assert bool(copies) == (layout in COPIED)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int16", "int32", "int64"])
def test_whole_numbers(gpu, dtype):
    a = (normal(6, 11) * 60).astype(dtype)
    b = upload(a)
    for axis in (0, 1, None):
        for name in ("sum", "max", "min", "any", "all", "argmax", "argmin"):
            close(reduce.along(name, b, axis), getattr(np, name)(a, axis))
        close(reduce.along("prod", b[:, :4], axis), np.prod(a[:, :4], axis))
    close(reduce.sum(b, (0,)), a.sum(0, dtype=np.int64))
    for largest in (True, False):
        for found, expected in zip(reduce.extreme(b, 1, largest), host.extreme(a, 1, largest), strict=True):
            close(found, expected)


def test_types_that_are_asked_for(gpu):
    a = np.round(normal(5, 6) * 9, 1)
    b, whole, flags = upload(a), upload(a.astype(np.int32)), upload(a > 0)
    close(reduce.along("sum", whole, 0, dtype=np.int32), a.astype(np.int32).sum(0, dtype=np.int32))
    close(reduce.along("sum", whole, 0, dtype=np.float64), a.astype(np.int32).sum(0, dtype=np.float64))
    close(reduce.along("prod", whole, 0, dtype=np.float32), a.astype(np.int32).prod(0, dtype=np.float32), "float32")
    close(reduce.along("sum", b, 1, dtype=np.float32), a.sum(1).astype(np.float32), "float32")
    close(reduce.along("sum", flags, 0, dtype=bool), (a > 0).any(0))
    close(reduce.along("prod", flags, 0, dtype=bool), (a > 0).all(0))


def test_float32_sums_are_rounded_once(gpu):
    a = normal(4, 300, dtype="float32") * np.float32(10.0) ** np.arange(-4, 4).repeat(150).reshape(4, 300)
    for axes in ((0,), (1,), (0, 1)):
        exact = a.sum(axes, dtype=np.longdouble)
        found = download(reduce.sum(upload(a), axes))
        assert (np.abs(found - exact) <= 0.5001 * np.spacing(np.abs(exact).astype(np.float32))).all()


def test_extrema_give_the_first_of_equals_and_of_nan(gpu, cut):
    rows = [
        [1, 5, 5, 2] * 9, [np.nan] + [7] * 35, [7] * 20 + [np.nan] * 16, [-np.inf] * 36, [np.inf] * 36,
        [-np.inf] * 35 + [np.nan], [0.0, -0.0] * 18, [3] * 35 + [4],
    ]  # fmt: skip
    a = np.array(rows, np.float32)
    for array, axis in ((a, 1), (np.ascontiguousarray(a.T), 0)):
        for largest, name in ((True, "argmax"), (False, "argmin")):
            values, places = reduce.extreme(upload(array), axis, largest)
            np.testing.assert_array_equal(download(places), getattr(np, name)(array, axis))
            np.testing.assert_array_equal(download(values), host.extreme(array, axis, largest)[0])


def test_places_in_all_axes_are_counted_in_order(gpu):
    a = normal(5, 6)
    for view in (lambda a: a, lambda a: a.T, lambda a: a[:, ::2]):
        close(reduce.along("argmax", upload_seen(a, view)), np.argmax(view(a)))


@pytest.mark.parametrize("dtype", REALS)
def test_logsumexp_of_what_is_not_finite(gpu, dtype):
    inf, nan = np.inf, np.nan
    rows = [[-inf] * 9, [inf, 1.0, -inf] * 3, [nan] + [1.0] * 8, [inf, nan, -inf] * 3, [1e4] * 9, [-inf] * 8 + [2.0]]
    rows += [[-inf] * 8 + [nan], [700.0, -700.0, 0.0] * 3]
    a = np.array(rows, dtype)
    close(reduce.logsumexp(upload(a), (1,)), host.logsumexp(a, (1,)), dtype)
    close(reduce.logsumexp(upload(np.ascontiguousarray(a.T)), (0,)), host.logsumexp(a, (1,)), dtype)


def test_logsumexp_of_numbers_that_rise(gpu):
    """Each new maximum changes what the sum is measured by."""
    a = np.linspace(-3, 3, 2000, dtype=np.float32)
    found = download(reduce.logsumexp(upload(a), (0,)))
    exact = np.log(np.exp(a.astype(np.float64)).sum())
    assert abs(found - exact) < 2e-7 * abs(exact)


# ------------------------------------------------------------------------------------------ NumPy's ways
def test_axes_and_keepdims(gpu):
    a = normal(2, 3, 4)
    b = upload(a)
    for axis in (None, 0, -1, (0, 2), (-1, 0), ()):
        for keepdims in (False, True):
            close(reduce.along("max", b, axis, keepdims), np.max(a, axis, keepdims=keepdims))
    close(reduce.along("argmin", b, 1, True), np.argmin(a, 1, keepdims=True))
    close(reduce.along("argmin", b, None, True), np.argmin(a, None, keepdims=True))
    for axis in (3, (0, 0), (0, -3)):
        with pytest.raises(ValueError) as expected:
            np.max(a, axis)
        with pytest.raises(type(expected.value), match=str(expected.value)):
            reduce.along("max", b, axis)


@pytest.mark.parametrize("shape, axis", [((0,), None), ((0, 3), 0), ((0, 3), 1), ((3, 0), (0, 1)), ((0, 0), 0)])
def test_no_elements(gpu, shape, axis):
    a = np.zeros(shape, np.float32)
    names = ["sum", "prod", "max", "min", "any", "all"] + ["argmax", "argmin"] * (not isinstance(axis, tuple))
    for name in names:
        try:
            expected = getattr(np, name)(a, axis)
        except ValueError as error:
            with pytest.raises(ValueError, match=str(error)):
                reduce.along(name, upload(a), axis)
        else:
            close(reduce.along(name, upload(a), axis), expected, "float32")


def test_sums_as_the_tape_asks_for_them(gpu):
    """Along no axis a sum of floating-point numbers is a copy."""
    a = normal(3, 4)
    b = upload(a)
    copy = reduce.sum(b, ())
    assert copy.address != b.address
    close(copy, a)
    close(reduce.sum(upload(a > 0), ()), (a > 0).astype(np.int64))
    close(reduce.sum(upload(np.zeros((0, 3))), (0,)), np.zeros(3))


# ------------------------------------------------------------------------------------------ running sums and their like
ACCUMULATED = {
    "cumsum": np.add,
    "cumprod": np.multiply,
    "cummax": np.maximum,
    "cummin": np.minimum,
    "logaddexp": np.logaddexp,
}


@pytest.mark.parametrize("name", ACCUMULATED)
@pytest.mark.parametrize("threads", [32, 128])
def test_running(gpu, monkeypatch, name, threads):
    gpu.threads = threads
    ufunc = ACCUMULATED[name]
    shapes = [((70,), 0), ((4, 37), 1), ((7, 3, 5), 1), ((37, 4), 0), ((3, 3), 0)]
    for enough in (256, 2):  # rows for a thread each
        monkeypatch.setattr(scan, "ENOUGH", enough)
        for shape, axis in shapes if threads == 32 else shapes[:2]:
            a = normal(*shape, dtype="float32")
            found, expected = reduce.cumulative(name, upload(a), axis), ufunc.accumulate(a.astype(np.float64), axis)
            close(found, expected.astype(np.float32), "float32")
    a = normal(6, 9)
    close(reduce.cumulative(name, upload_seen(a, lambda a: a.T), 0), ufunc.accumulate(a.T, 0))
    close(reduce.cumulative(name, upload_seen(a, lambda a: a[:, ::2])), ufunc.accumulate(a[:, ::2].reshape(-1)))


def test_running_types_and_what_is_not_finite(gpu):
    a = np.array([3, 1, np.nan, 2, np.inf, -np.inf, 5], np.float32)
    for name, ufunc in ACCUMULATED.items():
        for row in (a, a[3:5], a[5:], a[4:], -a[3:5]):
            close(reduce.cumulative(name, upload(row), 0), ufunc.accumulate(row, 0), "float32")
    whole = np.array([[3, -1, 2], [7, 7, 1]], np.int32)
    close(reduce.cumulative("cumsum", upload(whole), 1), np.cumsum(whole, 1))
    close(reduce.cumulative("cumprod", upload(whole), None), np.cumprod(whole))
    close(reduce.cumulative("cumsum", upload(whole > 2), 0), np.cumsum(whole > 2, 0))
    close(reduce.cumulative("cumsum", upload(whole), 0, np.float32), np.cumsum(whole, 0, np.float32), "float32")
    close(reduce.cumulative("cummax", upload(whole), 0), np.maximum.accumulate(whole, 0))
    close(reduce.cumulative("cumsum", upload(np.zeros((0, 3))), 0), np.zeros((0, 3)))


@pytest.mark.parametrize("largest", [True, False])
def test_running_extrema_and_where_they_are(gpu, largest):
    a = np.round(normal(5, 40, 3) * 2)
    a[1, 7:9, 2] = np.nan
    for x in (a, (9 * a[2:]).astype(np.int64)):
        for axis in range(3):
            for found, expected in zip(
                scan.extremes(upload(x), axis, largest), in_order(x, axis, largest), strict=True
            ):
                assert np.array_equal(download(found), expected, equal_nan=expected.dtype.kind == "f")


def test_no_kernel_is_taken_for_another(gpu):
    """The machine code on disk is found by what a kernel is made of."""
    kinds = [(name, real, real) for name in reduce.OPERATIONS for real in REALS]
    families = [reduce.kernels(*kind) for kind in kinds]
    families += [scan.kernels(name, real, real) for name in scan.OPERATIONS for real in REALS]
    for kernel in ("rows", "columns"):
        identities = [getattr(family, kernel)._identity for family in families]
        assert len(set(identities)) == len(families)
