"""Element by element on the device, in the simulator: ufuncs, copies, formulas, updates and clipping, held to NumPy and to
the kernels of the host."""

import math
import re

import numpy as np
import pytest

pytest.importorskip("numba_cuda")
pytest.importorskip("greenlet")

from simulator import simulated  # noqa: E402

import tinyrnn  # noqa: E402, F401
from tinyrnn.kernels.cpu import clip as host_clip  # noqa: E402
from tinyrnn.kernels.cpu import map as host_map  # noqa: E402
from tinyrnn.kernels.cpu import ufuncs as host_ufuncs  # noqa: E402
from tinyrnn.kernels.cuda import clip, elementwise, loops, map, tables, ufuncs  # noqa: E402
from tinyrnn.kernels.cuda.array import Array, download, upload  # noqa: E402
from tinyrnn.kernels.formulas import BINARY, LOSSES, TERNARY, UNARY, UPDATES  # noqa: E402
from tinyrnn.kernels.gamma import DIGAMMA, LGAMMA, TRIGAMMA  # noqa: E402
from tinyrnn.kernels.scalar import needed  # noqa: E402

SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 2.5, -2.5, 1e30, -1e-30]
TYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64"]


@pytest.fixture(autouse=True)
def simulator():
    with simulated() as device, np.errstate(all="ignore"):
        yield device


@pytest.fixture
def launches(simulator, monkeypatch):
    """The names of the kernels that were launched."""
    names, launch = [], simulator.launch
    monkeypatch.setattr(simulator, "launch", lambda kernel, *rest: names.append(kernel.name) or launch(kernel, *rest))
    return names


def normal(*shape, dtype="float64", seed=0):
    return np.random.default_rng(seed + sum(shape)).normal(size=shape).astype(dtype)


def some(shape, dtype, seed=0):
    """Numbers of a type, its special ones first."""
    a, dtype = 3 * normal(*shape, seed=seed), np.dtype(dtype)
    if dtype.kind == "b":
        return a > 0
    if dtype.kind == "f":
        a = a.astype(dtype)
        a.flat[: len(SPECIAL)] = SPECIAL[: a.size]
        return a
    a = np.rint(a).astype(np.int64).astype(dtype)
    a.flat[0] = np.iinfo(dtype).min
    return a


def steps(a):
    """Where the elements of an array are: its strides, but of axes along which there is one."""
    return [step for step, n in zip(a.strides, a.shape, strict=True) if n > 1] if a.size else []


def same(found, expected, ulps=0, layout=True):
    """The same type, shape and layout; the same numbers, or as close as so many of the last digits."""
    expected = np.asarray(expected)
    assert type(found) is Array and found.dtype == expected.dtype and found.shape == expected.shape
    if layout:
        assert steps(found) == steps(expected)
    numbers = download(found)
    if ulps and expected.dtype.kind == "f":
        close = ulps * np.finfo(expected.dtype).eps
        np.testing.assert_allclose(numbers, expected, rtol=close, atol=close * 1e-30)
    else:
        np.testing.assert_array_equal(numbers, expected)
    if expected.dtype.kind == "f":
        zeros = expected == 0
        np.testing.assert_array_equal(np.signbit(numbers)[zeros], np.signbit(expected)[zeros])


def raises_alike(call, other):
    """Both raise, the same kind of error; False if the first does not."""
    try:
        call()
    except Exception as error:
        with pytest.raises(type(error)):
            other()
        return True
    return False


# ------------------------------------------------------------------------------------------ ufuncs
NAMES = sorted(
    {*elementwise.FLOAT, *elementwise.INTEGER, *elementwise.TRUTH, *elementwise.COMPARISONS, *elementwise.FORMULAS}
)


@pytest.mark.parametrize("name", NAMES)
def test_a_ufunc_is_numpys(name):
    """In every type, with numbers and with other types beside it; and with NumPy's errors."""
    ufunc = getattr(np, name)
    for dtype in TYPES:
        a = some((2, 5), dtype)
        if ufunc.nin == 1:
            pairs = [((a,), (upload(a),))]
        else:
            b = some((5,), dtype, seed=1)
            b = abs(b).clip(0, 9) if name == "power" and b.dtype.kind in "iu" else b  # a negative one raises
            others = [b, 2, *([2.5, np.float64(-1.5), True, 0] if dtype in ("float32", "int64") else [])]
            others += [np.float64([3, np.nan]).repeat([1, 4])] if dtype == "float32" else []
            pairs = [((a, x), (upload(a), upload(x) if isinstance(x, np.ndarray) else x)) for x in others]
            pairs.append(((2, a), (2, upload(a)))) if name != "power" or dtype.startswith("float") else None
        for host, given in pairs:
            if not raises_alike(lambda: ufunc(*host), lambda: elementwise.ufunc(ufunc, given)):  # noqa: B023
                same(elementwise.ufunc(ufunc, given), ufunc(*host), ulps=3)


def test_a_ufunc_without_a_kernel_runs_on_the_host():
    a = normal(3, 4)
    same(elementwise.ufunc(np.nextafter, (upload(a), 2.0)), np.nextafter(a, 2.0))
    for found, expected in zip(elementwise.ufunc(np.modf, (upload(a),)), np.modf(a), strict=True):
        same(found, expected)


def test_numbers_that_do_not_fit():
    a = np.arange(3, dtype=np.uint8)
    same(elementwise.ufunc(np.less, (upload(a), 300)), a < 300)
    with pytest.raises(OverflowError):
        elementwise.ufunc(np.add, (upload(a), 300))
    with pytest.raises(OverflowError):
        elementwise.assign(upload(a), 300)


def test_arrays_of_the_host_are_refused_beside_those_of_the_device():
    with pytest.raises(RuntimeError, match="same device"):
        elementwise.ufunc(np.add, (upload(normal(3)), normal(3)))
    same(elementwise.ufunc(np.add, (upload(normal(3)), np.array(2.0))), normal(3) + 2.0)


CUTS = [
    np.s_[1:],
    np.s_[:, ::2],
    np.s_[..., ::3],
    np.s_[::2, 1:, ::2],
    np.s_[0],
    np.s_[:, :, 0],
]


@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_layouts(cut):
    """What is read, and where results lie, for views of all kinds."""
    a = normal(3, 4, 5, dtype="float32")
    for host, given in ((a[cut], upload(a)[cut]), (a[cut].T, upload(a)[cut].T)):
        same(elementwise.ufunc(np.add, (given, given)), host + host)
        same(elementwise.ufunc(np.multiply, (given, 2.0)), host * 2.0)
        for order in "CFAK":
            same(elementwise.copy(given, order), host.copy(order))
        same(elementwise.copy(given, "K", np.float64), host.astype(np.float64))
        same(elementwise.where(elementwise.ufunc(np.greater, (given, 0)), given, 0), np.where(host > 0, host, 0))


def test_broadcasting():
    a, b, c = normal(4, 1, 3), normal(5, 1), normal(3, 5, 4)
    same(elementwise.ufunc(np.add, (upload(a), upload(b))), a + b)
    same(elementwise.ufunc(np.add, (upload(c).T, upload(b))), c.T + b)
    same(elementwise.ufunc(np.add, (upload(np.array(2.0)), upload(c).T)), 2.0 + c.T)
    same(elementwise.where(upload(np.array([True, False, True])), 1, upload(a)), np.where([True, False, True], 1, a))
    same(elementwise.ufunc(np.add, (upload(np.array(2.0)), 1)), np.asarray(3.0))
    same(elementwise.ufunc(np.add, (upload(np.zeros((0, 3))), 1)), np.zeros((0, 3)))
    with pytest.raises(ValueError, match="broadcast"):
        elementwise.ufunc(np.add, (upload(a), upload(normal(4))))


@pytest.mark.parametrize("dtype", ["float32", "float64", "bool"])
def test_sizes_around_what_a_thread_does_at_a_time(dtype, simulator):
    threads = simulator.blocks(10**6, simulator.threads) * simulator.threads
    for n in (1, 2, threads, *(k * threads + more for k in (2, 3, 4, 5) for more in (-1, 0, 1))):
        a = some((n,), dtype)
        same(elementwise.ufunc(np.add, (upload(a), upload(a))), a + a)


def test_large_arrays_are_cut(monkeypatch, launches):
    """Launches of at most so many elements, along whichever axis is the longest."""
    a = normal(5, 3, 2, 7)
    monkeypatch.setattr(loops, "LARGEST", 20)
    for view in (lambda a: a.transpose(2, 0, 3, 1), lambda a: a[:, ::2].transpose(2, 0, 3, 1)):
        same(elementwise.copy(view(upload(a))), view(a).copy())
    assert len(launches) > 20


def test_division_by_multiplication():
    largest = 2**31 - 1
    for size in (*range(1, 1000), largest, 2**30, 2**30 + 1, 12345677, 2**20 - 1, 65537):
        _, multiplier, shift = loops.divisor(size)
        assert largest * multiplier < 2**63
        for i in (0, 1, size - 1, size, size + 1, largest // size * size - 1, largest // size * size, largest - 1):
            if 0 <= i < 2**31:
                assert i // size == (i * multiplier) >> shift


# ------------------------------------------------------------------------------------------ writes
def test_results_go_where_they_are_asked_to(launches):
    a = normal(4, 5)
    given = upload(a)
    assert elementwise.ufunc(np.add, (given, 1.0), out=given) is given
    a += 1.0
    same(given, a)
    elementwise.ufunc(np.add, (given[1:], given[:-1]), out=given[1:])  # reads what it writes
    a[1:] = a[1:] + a[:-1]
    same(given, a)
    elementwise.ufunc(np.multiply, (given.T[::2], 2), out=given.T[::2])
    a.T[::2] *= 2
    same(given, a)
    whole = upload(np.arange(6))
    elementwise.ufunc(np.less, (whole, 3), out=whole)
    same(whole, (np.arange(6) < 3).astype(np.int64))
    with pytest.raises(TypeError, match="Cannot cast"):
        elementwise.ufunc(np.add, (whole, 1.5), out=whole)
    with pytest.raises(ValueError, match="broadcast"):
        elementwise.ufunc(np.add, (given, 1), out=given[0])


@pytest.mark.parametrize("cut", [np.s_[...], *CUTS], ids=str)
def test_assignment(cut):
    a = normal(3, 4, 5, dtype="float32")
    given, n = upload(a), a[cut].shape[-1]
    for value in (7, 0, -0.0, np.arange(n), np.float64(1.5), np.arange(n)[None, None] > 2, np.array(4)):
        a[cut] = value
        elementwise.assign(given[cut], value)
        same(given, a)
        a[cut] = np.negative(value, dtype="float32")
        elementwise.assign(given[cut], upload(np.negative(value, dtype="float32")))
        same(given, a)


def test_overlapping_assignment():
    a = normal(4, 4)
    given = upload(a)
    for to, of in ((np.s_[1:], np.s_[:-1]), (np.s_[:-1], np.s_[1:])):
        a[to] = a[of].copy()
        elementwise.assign(given[to], given[of])
        same(given, a)
    a[...] = a.T.copy()
    elementwise.assign(given, given.T)
    same(given, a)
    elementwise.assign(given, given)
    same(given, a)
    with pytest.raises(ValueError, match="broadcast"):
        elementwise.assign(given, upload(normal(3)))
    with pytest.raises(ValueError, match="broadcast"):
        elementwise.assign(given, upload(normal(2, 4, 4)))


@pytest.mark.parametrize("of", TYPES)
def test_casts(of):
    """Also of NaN, infinities and what is too large, which become what they do on the host."""
    a = some((3, 4), of)
    if a.dtype.kind == "f":
        a.flat[-3:] = 3e9, -3e9, 300.7
    for to in TYPES:
        same(elementwise.copy(upload(a), "K", to), a.astype(to))


# ------------------------------------------------------------------------------------------ formulas
HOST = {**host_ufuncs.UFUNCS}
HOST |= {name: np.vectorize(getattr(math, name), otypes="d") for name in ("erf", "erfc")}
HOST |= {"sigmoid": lambda x: 1 / (1 + np.exp(-x))}
NUMBERS = {"min": -0.6, "max": 0.7, "min_val": -0.6, "max_val": 0.7, "eps": 0.2, "threshold": 0.4}
FORMULAS = {**UNARY, **BINARY, **TERNARY, **LOSSES}
FORMULAS |= {f.name: f for f in (LGAMMA, DIGAMMA, TRIGAMMA)}


def evaluated(results, known):
    """The values of results on the scalar tape, by NumPy."""
    values = dict(known)

    def value(v):
        return np.float64(v.value) if v.op == "constant" else values[v]

    for v in needed(results, given=tuple(known))[0]:
        values[v] = HOST[v.op](*[value(a) for a in v.args])
    return [np.asarray(value(v)) for v in results]


def arguments(formula, shape=(3, 7), dtype="float64"):
    """(arrays, numbers) for a formula: some arrays that broadcast, the first with special values."""
    r = formula.recording
    arrays = [some(shape, dtype) * 0.3] + [normal(*shape[-1:], dtype=dtype, seed=k) for k in range(1, len(r.inputs))]
    return arrays, [NUMBERS.get(name, 0.5) for name in r.keywords]


@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_and_its_derivative(name):
    formula = FORMULAS[name]
    twin = ufuncs if formula.ufuncs else map
    arrays, numbers = arguments(formula)
    r, (seed, gradients) = formula.recording, formula.derivative
    known = dict(zip(r.inputs.values(), arrays, strict=True)) | dict(zip(r.keywords.values(), numbers, strict=True))
    (expected,) = evaluated(r.outputs, known)
    given = [upload(a) for a in arrays]
    (out,) = twin.forward(formula, tuple(given), tuple(numbers))
    same(out, expected, ulps=16)

    g = normal(3, 7, seed=9)
    saved = [x for x, keep in zip((*given, out), formula.saves, strict=True) if keep]
    known |= {r.outputs[0]: download(out), seed: g}
    expected = evaluated(gradients, known)
    wanted = [True] * len(given)
    for k in range(len(given) if len(given) > 1 else 0):
        one = twin.backward(formula, tuple(saved), tuple(numbers), upload(g), tuple(j == k for j in range(len(given))))
        assert [x is not None for x in one] == [j == k for j in range(len(given))]
    found = twin.backward(formula, tuple(saved), tuple(numbers), upload(g), tuple(wanted))
    for x, y in zip(found, expected, strict=True):
        same(x, np.broadcast_to(y, g.shape), ulps=64, layout=False)
        assert x.flags.c_contiguous


@pytest.mark.parametrize("name", ["gelu", "huber_loss", "binary_cross_entropy_with_logits"])
def test_a_formula_in_float32_is_that_of_the_host(name):
    formula = FORMULAS[name]
    arrays, numbers = arguments(formula, dtype="float32")
    arrays[1:] = [abs(a).clip(0, 1) for a in arrays[1:]]  # so that nothing cancels
    given = tuple([upload(a) for a in arrays])
    expected = host_map.forward(formula, tuple(arrays), tuple(numbers))
    found = map.forward(formula, given, tuple(numbers))
    same(found[0], expected[0], ulps=8)
    g, wanted = normal(3, 7, dtype="float32"), (True,) * len(arrays)
    pairs = (arrays, expected), (given, found)
    saved, kept = ([x for x, s in zip((*a, *b), formula.saves, strict=True) if s] for a, b in pairs)
    expected = host_map.backward(formula, tuple(saved), tuple(numbers), g, wanted)
    for x, y in zip(map.backward(formula, tuple(kept), tuple(numbers), upload(g), wanted), expected, strict=True):
        same(x, y, ulps=64)


def views(a):
    """An array of two axes, and other ways of lying in memory."""
    return [a, a.T, a[:, ::2], a[::2].T, a[:, :1], a[None].transpose(2, 0, 1), a[0], a[0, 0, ...], a[:0]]


def test_results_lie_as_those_of_the_host():
    gelu, acos, maximum, atan2 = UNARY["gelu"], UNARY["acos"], BINARY["maximum"], BINARY["atan2"]
    a = normal(4, 6, dtype="float32")
    for x, y in zip(views(a), views(upload(a)), strict=True):
        for formula, host, twin in ((gelu, host_map, map), (acos, host_ufuncs, ufuncs)):
            same(twin.forward(formula, (y,))[0], host.forward(formula, (x,))[0], ulps=8)
            found, expected = (t.backward(formula, (v,), (), v, (True,))[0] for t, v in ((twin, y), (host, x)))
            same(found, expected, ulps=64)
        for formula, host, twin in ((maximum, host_map, map), (atan2, host_ufuncs, ufuncs)):
            half = np.array(0.5, "float32")
            for one, other in ((x, y), (x[:1], y[:1]) if x.ndim else (x, y), (half, upload(half)), (half, half)):
                same(twin.forward(formula, (y, other))[0], host.forward(formula, (x, one))[0], ulps=8)
                same(twin.forward(formula, (other, y))[0], host.forward(formula, (one, x))[0], ulps=8)
        same(map.arithmetic(np.add, y, y), host_map.arithmetic(np.add, x, x))
    b = normal(6, 4, dtype="float32")
    for x, g in ((a, b.T), (b.T, a), (b.T, b.T)):  # the gradient lies otherwise than what was saved
        for formula, host, twin in ((gelu, host_map, map), (acos, host_ufuncs, ufuncs)):
            found = twin.backward(formula, (upload(x),), (), upload(g), (True,))[0]
            same(found, host.backward(formula, (x,), (), g, (True,))[0], ulps=64)


# ------------------------------------------------------------------------------------------ updates
@pytest.mark.parametrize("name", UPDATES)
def test_an_update_is_one_launch_over_all_parameters(name, launches, monkeypatch):
    monkeypatch.setattr(map, "CHUNK", 16)
    monkeypatch.setattr(tables, "CHUNK", 16)
    map.update_kernel.cache_clear()
    formula, dtype = UPDATES[name], "float64" if name in ("adam", "nadam") else "float32"
    r = formula.recording
    numbers = tuple(0.1 + 0.05 * k for k in range(len(r.keywords)))
    shapes = [(3, 4), (0,), (5, 7), (), (16,), (33,), (1,)]
    groups = [[abs(normal(*s, dtype=dtype, seed=k + 1)) for k in range(len(r.inputs))] for s in shapes]
    groups[0][1][0] = np.inf
    device = [[upload(np.asarray(a)) for a in group] for group in groups]
    map.update(formula, device, numbers)
    assert len(launches) == 1
    map.update_kernel.cache_clear()
    for arrays, found in zip(groups, device, strict=True):
        known = dict(zip(r.inputs.values(), arrays, strict=True))
        known |= zip(r.keywords.values(), np.asarray(numbers, dtype), strict=True)
        expected = [x.astype(dtype) for x in evaluated(r.outputs, known)]
        expected.insert(1, arrays[1])
        for x, y in zip(found, expected, strict=True):
            np.testing.assert_allclose(download(x), y, rtol=1e-5 if dtype == "float32" else 1e-13)


def test_a_table_stays_on_the_device(simulator, monkeypatch):
    uploads, upload_ = [], simulator.upload
    arrays = [[upload(normal(5)), upload(normal(5))] for _ in range(3)]
    monkeypatch.setattr(simulator, "upload", lambda *rest: uploads.append(rest) or upload_(*rest))
    for _ in range(3):
        map.update(UPDATES["sgd_plain"], arrays, (0.1, 0.0))
    assert len(uploads) == 1
    map.update(UPDATES["sgd_plain"], arrays[:2], (0.1, 0.0))
    assert len(uploads) == 2


def test_updates_of_nothing(launches):
    map.update(UPDATES["sgd_plain"], [], (0.1, 0.0))
    map.update(UPDATES["sgd_plain"], [[upload(np.zeros(0)), upload(np.zeros(0))]], (0.1, 0.0))
    assert not launches


# ------------------------------------------------------------------------------------------ clip
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_norm_and_the_scaling_of_many_arrays(dtype):
    arrays = [normal(*shape, dtype=dtype) for shape in ((3, 5), (), (1200,), (0, 4), (1,), (31, 3))]
    device = [upload(np.asarray(a)) for a in arrays]
    found = clip.norm(device)
    assert found.shape == () and found.dtype == dtype
    expected = host_clip.norm([np.asarray(a) for a in arrays])
    np.testing.assert_allclose(found.item(), expected, rtol=1e-6 if dtype == "float32" else 1e-14)
    factors = (0.5, 0.5), (upload(np.array(0.25, dtype)), 0.25), (upload(np.array(1.5, dtype)), 1.0), (3, 3.0)
    for factor, times in factors:
        clip.scale(device, factor)
        arrays = [a * a.dtype.type(times) for a in arrays]
        for x, y in zip(device, arrays, strict=True):
            np.testing.assert_array_equal(download(x), y)


@pytest.mark.parametrize("seed", range(3))
def test_the_norm_for_any_order_of_threads(seed):
    a = normal(4, 600)
    with simulated(seed, strict=True):
        given = upload(a)
        assert clip.norm([given[1:]]).item() == pytest.approx(np.linalg.norm(a[1:]), rel=1e-14)
        assert clip.norm([given, given]).item() == pytest.approx(np.linalg.norm([a, a]), rel=1e-14)
        assert np.isnan(clip.norm([upload(np.array([1.0, np.nan]))]).item())
        assert clip.norm([upload(np.zeros(0))]).item() == 0.0


# ------------------------------------------------------------------------------------------ what is printed
def test_kernels_of_float32_compute_in_float32():
    """No number that Python would take for a float64 is in a statement."""
    for formula in FORMULAS.values():
        r = formula.recording
        text = loops.print_kernel(map.forward_body(formula, np.dtype("f4"), (np.dtype("f4"),) * len(r.inputs)), 2)
        body = text.split("@device")[1]
        assert not re.search(r"(?<!real\()(?<![\w.-])-?\d+\.\d*(?!\w)", body.replace("real(-", "real(")), formula
