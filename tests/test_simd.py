"""Vectors: elementary functions within the bounds that lanes.py states, operators, masks and memory.

The last test runs this file and others again in processes that compile for older CPUs, whose vectors are shorter.
"""

import ctypes
import functools
import math
import mmap
import operator
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinyrnn  # noqa: F401  (makes tinyrnn.kernels importable from a checkout)
from tinyrnn.kernels.cpu import lanes as emitted
from tinyrnn.kernels.cpu import simd
from tinyrnn.kernels.cpu.jit import njit
from tinyrnn.kernels.cpu.simd import address, lanes, load, load_first, store_first

TYPES = [np.float32, np.float64]
NAN, INF = math.nan, math.inf


@pytest.fixture(params=TYPES, ids=["float32", "float64"])
def real(request):
    return request.param


@functools.cache
def loop(function, real):
    """y = function(x) for contiguous arrays; `function` takes and gives vectors."""
    S = real().itemsize

    @njit
    def over(x, y):
        p, q, n = address(x), address(y), x.size
        for k in range(0, n, lanes(real)):
            store_first(real, q + S * k, function(load_first(real, p + S * k, n - k)), n - k)

    return over


@functools.cache
def loop_of_two(function, real):
    S = real().itemsize

    @njit
    def over(x, y, z):
        n = x.size
        for k in range(0, n, lanes(real)):
            a, b = load_first(real, address(x) + S * k, n - k), load_first(real, address(y) + S * k, n - k)
            store_first(real, address(z) + S * k, function(a, b), n - k)

    return over


def applied(function, *arrays):
    arrays = [np.ascontiguousarray(a) for a in np.broadcast_arrays(*arrays)]
    out = np.full_like(arrays[0], 77.0)
    (loop if len(arrays) == 1 else loop_of_two)(function, arrays[0].dtype.type)(*arrays, out)
    return out


# ---------------------------------------------------------------------------------- functions
def stated_bounds():
    """The table in the docstring of lanes.py: {dtype name: {function: ulp}}."""
    names, *rows = re.findall(r"^ {4,}(\S.*)$", emitted.__doc__, re.MULTILINE)
    names = names.split()
    assert set(names) == {*emitted.OWN, *emitted.OWN_OF_TWO} and len(rows) == 2
    return {kind: dict(zip(names, map(float, bounds), strict=True)) for kind, *bounds in map(str.split, rows)}


BOUNDS = stated_bounds()
REFERENCE = {
    **{
        name: getattr(np, name)
        for name in ("exp", "expm1", "log", "log1p", "sinh", "cosh", "tanh", "sqrt", "sin", "cos", "floor")
    },
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "erf": lambda x: np.array([math.erf(v) for v in x.tolist()]),
    "erfc": lambda x: np.array([math.erfc(v) for v in x.tolist()]),
}
OF_DOUBLES = ("erf", "erfc")
WIDE = np.longdouble if np.finfo(np.longdouble).eps < np.finfo(np.float64).eps else np.float64


@functools.cache
def points(real):
    """Numbers of every size, more of them where the functions bend or change their formula, and the special ones."""
    bits = np.uint32 if real is np.float32 else np.uint64
    info, random = np.finfo(real), np.random.default_rng(1)
    every = np.arange(0, 2**32, 24_989, np.uint64).astype(bits)
    if real is np.float64:
        every = every << np.uint64(32) | random.integers(0, 2**32, every.size, np.uint64)
    parts = [every.view(real)]
    parts += [np.linspace(a, b, 20_001) for a, b in ((-1.2, 1.2), (-11, 11), (-110, 100), (0.49, 2.1), (-760, 720))]
    parts += [np.arange(1, 20_001) * (np.pi / 2), np.linspace(-emitted.FAR[real is np.float32], 1e9, 20_001)]
    parts += [np.exp(np.linspace(-30, 3, 10_001)) * sign for sign in (1, -1)]
    parts += [np.array([0.0, 1.0, INF, info.max, info.tiny, info.smallest_subnormal, info.tiny * 0.3]), [NAN]]
    x = np.concatenate([np.asarray(p, real) for p in parts])
    return np.concatenate([x, -x, np.nextafter(x, real(INF)), np.nextafter(x, real(-INF))])


def ulps(found, exact):
    """|found - exact| in units in the last place of the exact result; 0 for the same infinity or NaN."""
    real, info = found.dtype.type, np.finfo(found.dtype)
    beyond = WIDE(info.max) * 2 if WIDE is not real else INF  # where an infinite result would lie
    exact = exact.astype(WIDE)
    rounded = exact.astype(real)
    unit = np.spacing(np.minimum(np.abs(rounded), info.max)).astype(WIDE)
    a, b = (np.clip(v.astype(WIDE), -beyond, beyond) for v in (found, exact))
    same = (found == rounded) & ~np.isfinite(found) | np.isnan(found) & np.isnan(exact)
    return np.where(same, 0, np.abs(a - b) / unit)


@pytest.mark.parametrize("name", emitted.OWN)
def test_functions_keep_the_bounds_stated(real, name):
    x = points(real)
    with np.errstate(all="ignore"):
        exact = REFERENCE[name](x.astype(np.float64 if name in OF_DOUBLES else WIDE))
        found = applied(getattr(simd, name), x)
        assert (np.isnan(found) == np.isnan(exact)).all()
        error = ulps(found, exact)
    worst = np.argmax(error)
    bound = BOUNDS[np.dtype(real).name][name] + 0.5 * (WIDE is real)
    assert error[worst] <= bound, (name, x[worst], found[worst], exact[worst])


def test_functions_bounds_are_no_wider_than_they_must():
    """And the test above can fail: another function in a function's place is noticed."""
    x = points(np.float32)[::7]
    with np.errstate(all="ignore"):
        for name in emitted.OWN:
            exact = REFERENCE[name](x.astype(np.float64)).astype(np.float32)
            away = np.where(np.isfinite(exact) & (exact != 0), exact + 4 * np.spacing(exact), exact)
            assert ulps(away, exact).max() > 3.0


EXACT = {  # C's results, signs of zeros included
    "exp": [(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, 0.0), (1000.0, INF), (-1000.0, 0.0)],
    "expm1": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1.0), (1000.0, INF), (-1000.0, -1.0)],
    "log": [(1.0, 0.0), (0.0, -INF), (-0.0, -INF), (INF, INF), (-1.0, NAN), (-INF, NAN)],
    "log1p": [(0.0, 0.0), (-0.0, -0.0), (-1.0, -INF), (INF, INF), (-2.0, NAN), (-INF, NAN)],
    "sinh": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (1000.0, INF), (-1000.0, -INF)],
    "cosh": [(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, INF), (1000.0, INF), (-1000.0, INF)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (1000.0, 1.0), (-1000.0, -1.0)],
    "sigmoid": [(0.0, 0.5), (-0.0, 0.5), (INF, 1.0), (-INF, 0.0), (1000.0, 1.0), (-1000.0, 0.0)],
    "erf": [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (1000.0, 1.0), (-1000.0, -1.0)],
    "erfc": [(0.0, 1.0), (-0.0, 1.0), (INF, 0.0), (-INF, 2.0), (1000.0, 0.0), (-1000.0, 2.0)],
    "floor": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (-0.5, -1.0), (1e30, 1e30)],
    "sin": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "cos": [(0.0, 1.0), (-0.0, 1.0), (INF, NAN), (-INF, NAN)],
    "sqrt": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, NAN), (-1.0, NAN), (4.0, 2.0)],
}


@pytest.mark.parametrize("name", EXACT)
def test_functions_of_special_numbers(real, name):
    x, expected = np.array([*EXACT[name], (NAN, NAN)], real).T
    found = applied(getattr(simd, name), x)
    np.testing.assert_array_equal(found, expected)
    zero = expected == 0
    assert (np.signbit(found) == np.signbit(expected))[zero].all()


def test_functions_do_not_depend_on_the_place_in_a_vector(real):
    x = points(real)[::1013]
    for name in emitted.OWN:
        function = getattr(simd, name)
        whole = applied(function, x)
        for first in range(1, 4):
            np.testing.assert_array_equal(applied(function, x[first:]), whole[first:])


# ---------------------------------------------------------------------------------- operators
@njit
def arithmetic(x, y):
    return (2 * x + y / 2 - 1.5) * (1 - y) - (-x) / (3.0 + y * y)


@njit
def root(x, y):
    return x**0.5 + 2.0**y + x**y


@njit
def compared(x, y):
    """A bit for each comparison that holds."""
    a = simd.where(x < y, 1.0, 0.0) + simd.where(x <= y, 2.0, 0.0) + simd.where(x > y, 4.0, 0.0)
    b = simd.where(x >= y, 8.0, 0.0) + simd.where(x == y, 16.0, 0.0) + simd.where(x != y, 32.0, 0.0)
    return a + b + simd.where(x < 0.5, 64.0, x * 0)


@njit
def fused(x, y):
    return simd.fma(x, y, -1.0)


FACTORS = {"float32": 1 + 2.0**-12, "float64": 1 + 2.0**-30}


def test_operators_work_on_vectors_and_numbers_on_either_side(real):
    x, y = np.random.default_rng(2).uniform(0.1, 2, (2, 101)).astype(real)
    tolerance = 8 * np.finfo(real).eps
    wide_x, wide_y = x.astype(np.float64), y.astype(np.float64)
    np.testing.assert_allclose(
        applied(arithmetic, x, y), arithmetic.py_func(wide_x, wide_y), rtol=tolerance, atol=tolerance
    )
    np.testing.assert_allclose(applied(root, x, y), root.py_func(wide_x, wide_y), rtol=tolerance)


def test_operators_are_rounded_as_their_type(real):
    """A number beside a vector makes nothing wider, and fma rounds once."""
    c = real(FACTORS[np.dtype(real).name])
    x = np.full(3, c)
    assert (applied(fused, x, x) == real(c.astype(WIDE) ** 2 - 1 if WIDE is not real else c * c - 1)).all()
    assert (applied(njit_tenth, x) == (c + real(0.1)) - real(0.3)).all()


@njit
def njit_tenth(x):
    return (x + 0.1) - 0.3


def test_comparisons_with_nan_and_zeros_of_both_signs(real):
    special = np.array([NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0], real)
    x, y = map(np.ravel, np.meshgrid(special, special))
    expected = (
        (x < y) * 1 + (x <= y) * 2 + (x > y) * 4 + (x >= y) * 8 + (x == y) * 16 + (x != y) * 32 + (x < 0.5) * 64.0
    )  # fmt: skip
    with np.errstate(invalid="ignore"):
        expected = np.where(x < 0.5, expected, expected + x * 0)
    np.testing.assert_array_equal(applied(compared, x, y), expected)


def test_maximum_and_where(real):
    special = np.array([NAN, INF, -INF, 0.5, -0.5, 1.0], real)
    x, y = map(np.ravel, np.meshgrid(special, special))
    np.testing.assert_array_equal(applied(simd.maximum, x, y), np.maximum(x, y))


@functools.cache
def folded(function, real):
    @njit
    def fold(x, n):
        return function(load_first(real, address(x), n))

    return fold


def test_total_and_largest_of_all_lanes(real):
    n = simd.lanes(real)
    x = np.random.default_rng(3).normal(size=n).astype(real)
    expected = x
    while expected.size > 1:  # the order that is stated: lane k with lane k + n / 2
        expected = expected[: expected.size // 2] + expected[expected.size // 2 :]
    assert folded(simd.total, real)(x, n) == expected[0]
    assert folded(simd.total, real)(x, n - 1) == pytest.approx(x[:-1].sum(), rel=1e-5)
    assert folded(simd.largest, real)(x, n) == x.max()
    for place in range(n):
        y = x.copy()
        y[place] = 9.0
        assert folded(simd.largest, real)(y, n) == 9.0
        y[place] = NAN
        assert np.isnan(folded(simd.largest, real)(y, n)) and np.isnan(folded(simd.total, real)(y, n))


def test_the_first_lane_of_a_mask(real):
    n, nine = simd.lanes(real), real(9.0)
    find = folded(njit(lambda x: simd.first_where(x == nine)), real)
    x = np.zeros(n, real)
    assert find(x, n) == n
    for place in reversed(range(n)):
        x[place:] = 9.0
        assert find(x, n) == place
        x[place:] = NAN
        x[-1] = 9.0
        assert find(x, n) == n - 1


C = {"sin": np.sin, "cos": np.cos, "cosh": np.cosh, "atan": np.arctan, "log2": np.log2}
C_OF_TWO = {"atan2": np.arctan2, "copysign": np.copysign}


def test_cs_functions_run_lane_by_lane(real):
    x, y = np.random.default_rng(4).uniform(0.1, 3, (2, 37)).astype(real)
    for name, expected in C.items():
        np.testing.assert_allclose(applied(getattr(simd, name), x), expected(x), rtol=4 * np.finfo(real).eps)
    for name, expected in C_OF_TWO.items():
        found = applied(getattr(simd, name), x, -y)
        np.testing.assert_allclose(found, expected(x, -y), rtol=4 * np.finfo(real).eps)


@functools.cache
def pairs(real):
    """Numbers of all sizes, and those beside them; some are many times the other; all pairs of special ones."""
    random, info = np.random.default_rng(6), np.finfo(real)
    size = np.log(float(info.max)) - 1
    a, b = np.exp(random.uniform(-size, size, (2, 40_000)))
    c, d = random.integers(-1000, 1000, (2, 40_000)) / 8
    near = np.exp(random.uniform(-5, 30, 40_000))
    odd = np.array([0.0, 1.0, 0.1, 3.0, 1e-30, 1e30, INF, NAN, info.tiny, info.smallest_subnormal, info.max], real)
    odd = np.concatenate([odd, -odd])
    parts = (a, b), (a, a * random.uniform(0.1, 10, a.size)), (c, d), (near, near / 7), np.meshgrid(odd, odd)
    x, y = (np.concatenate([v.ravel().astype(real) for v in side]) for side in zip(*parts, strict=True))
    return np.concatenate([x, x]), np.concatenate([y, -np.nextafter(y, real(INF))])


@pytest.mark.parametrize("name", emitted.OWN_OF_TWO)
def test_functions_of_two_keep_the_bounds_stated(real, name):
    with np.errstate(all="ignore"):
        x, y = pairs(real)
        exact = getattr(np, name)(x.astype(WIDE), y.astype(WIDE))
        found = applied(getattr(simd, name), x, y)
        assert (np.isnan(found) == np.isnan(exact)).all()
        assert (np.signbit(found) == np.signbit(exact))[~np.isnan(exact)].all()
        error = ulps(found, exact)
    worst = np.argmax(error)
    bound = BOUNDS[np.dtype(real).name][name] + 0.5 * (WIDE is real and name == "hypot")
    assert error[worst] <= bound, (name, x[worst], y[worst], found[worst], exact[worst])


def test_powers(real):
    """Of all signs and sizes, near 1 and far from it; and what C says of what is not finite, zero, one or whole."""
    random = np.random.default_rng(5)
    with np.errstate(all="ignore"):
        x = np.concatenate([np.exp(random.uniform(-100, 88, 60_000)), 1 + random.normal(0, 1e-3, 20_000)]).astype(real)
        y = (random.uniform(-95, 88, x.size) / np.where(np.log(x) == 0, 1, np.log(x))).astype(real)
        y[::3] = np.rint(y[::3])
        x[::5] *= -1
        odd = np.array([0.0, 1.0, 2.0, 3.0, 0.5, 1.5, 1e-30, 1e30, 16777215.0, 16777216.0, INF, NAN], real)
        odd = np.concatenate([odd, -odd, [np.finfo(real).smallest_subnormal, np.finfo(real).max]]).astype(real)
        x, y = (np.concatenate([v, w.ravel()]) for v, w in zip((x, y), np.meshgrid(odd, odd), strict=True))
        found, exact = applied(operator.pow, x, y), np.power(x.astype(WIDE), y.astype(WIDE))
        assert (np.isnan(found) == np.isnan(exact)).all()
        assert (np.signbit(found) == np.signbit(exact))[~np.isnan(exact)].all()
        error = ulps(found, exact)
    worst = np.argmax(error)
    assert error[worst] <= (0.52 if real is np.float32 else 1.0), (x[worst], y[worst], found[worst], exact[worst])


# ---------------------------------------------------------------------------------- memory
@functools.cache
def copies(real):
    @njit
    def first(p, q, n):
        store_first(real, q, load_first(real, p, n), n)

    @njit
    def whole(p, q):
        simd.store(real, q, load(real, p))

    @njit
    def following(p, step, q, n):
        simd.store_next(real, q, simd.load_next(real, p, step, n), n)

    @njit
    def spread(p, q, x):
        both = simd.broadcast(real, p) + simd.splat(real, x)
        simd.store(real, q, both)

    @njit
    def chosen(p, q, n):
        simd.store(real, q, simd.choose_first(load(real, p), n, -1.0))

    return first, whole, following, spread, chosen


def guarded(n, real):
    """An array whose last number is the last before memory that must not be touched, where the system allows that."""
    size = -(-n * real().itemsize // mmap.PAGESIZE) * mmap.PAGESIZE
    array = np.frombuffer(mmap.mmap(-1, size + mmap.PAGESIZE), real, n, offset=size - n * real().itemsize)
    if sys.platform.startswith("linux"):
        at = array.ctypes.data + n * real().itemsize
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(at), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    return array


def test_memory_beyond_the_first_numbers_is_not_touched(real):
    first, _, following, _, _ = copies(real)
    L = simd.lanes(real)
    for n in range(L + 1):
        source, to = guarded(n, real), guarded(n, real)
        source[:] = np.arange(1, n + 1)
        for copy in (lambda n, a, b: first(a, b, n), lambda n, a, b: following(a, real().itemsize, b, n)):
            to[:] = 0
            copy(n, source.ctypes.data, to.ctypes.data)  # a wrong mask ends the process
            assert (to == source).all()
            inner = np.full(L + 2, 7, real)
            copy(n, source.ctypes.data, inner[1:].ctypes.data)
            assert (inner[1 : n + 1] == source).all() and (inner[n + 1 :] == 7).all() and inner[0] == 7


def test_memory_is_read_in_every_way(real):
    first, whole, following, spread, chosen = copies(real)
    L, S = simd.lanes(real), real().itemsize
    source, to = np.arange(1, 3 * L, dtype=real), np.zeros(2 * L, real)
    whole(source[1:].ctypes.data, to[1:].ctypes.data)  # not aligned as vectors are
    assert to.tolist() == [0, *range(2, L + 2), *[0] * (L - 1)]
    following(source.ctypes.data, 0, to.ctypes.data, L)  # the same number for each
    assert (to[:L] == 1).all()
    following(source.ctypes.data, S, to.ctypes.data, 2 * L)  # more than a vector left: one vector is done
    assert to.tolist() == [*range(1, L + 1), L + 1, *[0] * (L - 1)]
    spread(source[2:].ctypes.data, to.ctypes.data, real(0.5))
    assert (to[:L] == 3.5).all()
    for n in range(-1, L + 2):
        chosen(source.ctypes.data, to.ctypes.data, n)
        assert to[:L].tolist() == [k + 1 if k < n else -1 for k in range(L)]
        assert to[L:].tolist() == [L + 1, *[0] * (L - 1)]


# ---------------------------------------------------------------------------------- older CPUs
OLDER = {"haswell": "+sse4.2,+avx,+avx2,+fma,+bmi,+bmi2", "x86-64": "+sse2"}
WIDTH = {"haswell": 32, "x86-64": 16}
AGAIN = ["tests/test_simd.py", "tests/test_gemm.py", "tests/test_kernels.py", "tests/test_random.py"]
ROOT = Path(__file__).parent.parent


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="names CPUs of x86")
@pytest.mark.skipif("NUMBA_CPU_NAME" in os.environ, reason="runs in the process for an older CPU")
@pytest.mark.skipif(simd.BYTES < 32, reason="compiles for CPUs that this one can stand in for")
def test_older_cpus_with_shorter_vectors_give_the_same():
    processes = []
    for name, features in OLDER.items():
        env = os.environ | {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}
        words = (
            "functions or operators or memory or lanes or formula or product or batches or packed or strips or mt19937"
        )
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", words, *AGAIN]
        processes.append(
            subprocess.Popen(command, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        )
    for process in processes:
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 0, out


def test_lanes_are_those_of_the_cpu():
    expected = WIDTH.get(os.environ.get("NUMBA_CPU_NAME", ""))
    assert expected in (None, simd.BYTES) and simd.lanes(np.float32) == 2 * simd.lanes(np.float64) == simd.BYTES // 4
