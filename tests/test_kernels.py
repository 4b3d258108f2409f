"""What all kernels have in common: the same bits for any number of threads and every time, and code on disk.

What each computes is held to torch elsewhere; here, formulas and recurrent layers are held to plain NumPy, so that
test_simd.py can ask for the same on older CPUs.
"""

import concurrent.futures
import ctypes
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinyrnn
from tinyrnn.kernels.cells import GRU, LSTM, PLAIN, RNN_RELU, RNN_TANH, Cell, Noise
from tinyrnn.kernels.cpu import channels, clip, index, map, memory, pool, recurrence, reduce, rows
from tinyrnn.kernels.cpu.cell_job import AT
from tinyrnn.kernels.cpu.jit import njit
from tinyrnn.kernels.formulas import BINARY, LOSSES, UNARY, UPDATES

ROOT = Path(tinyrnn.__file__).parent.parent
TYPES = ["float32", "float64"]
few = pytest.mark.parametrize("dtype", TYPES)


@pytest.fixture
def threads():
    """set_threads, put back afterwards."""
    before = pool.get_threads()
    yield pool.set_threads
    pool.set_threads(before)


def bits(result):
    """All numbers of a result, however it is nested, as bytes."""
    if isinstance(result, np.ndarray):
        return result.tobytes()
    if isinstance(result, (list, tuple)):
        return b"".join(bits(part) for part in result)
    return b"" if result is None else np.float64(result).tobytes()


def always_the_same(threads, calls):
    """`calls` is name -> function without arguments."""
    expected = {}
    for n in (1, 2, 3, 3, 1):
        threads(n)
        for name, call in calls.items():
            found = bits(call())
            assert found == expected.setdefault(name, found), (name, n)


def normal(*shape, dtype="float64", seed=0):
    return np.random.default_rng(seed + sum(shape)).normal(size=shape).astype(dtype)


# ---------------------------------------------------------------------------------- formulas
def activations(dtype):
    a, b = normal(301, 401, dtype=dtype), normal(401, dtype=dtype)
    gelu, maximum, huber = UNARY["gelu"], BINARY["maximum"], LOSSES["huber_loss"]
    (y,) = map.forward(UNARY["sigmoid"], (a,))
    return {
        "cheap": lambda: map.forward(UNARY["relu"], (a,)),
        "dear": lambda: map.forward(gelu, (a,)),
        "broadcast": lambda: map.forward(maximum, (a, b)),
        "columns": lambda: map.forward(gelu, (a[:, 3:-4],)),
        "transposed": lambda: map.forward(gelu, (a.T,)),
        "loss": lambda: map.forward(huber, (a, a[::-1]), (0.7,)),
        "backward": lambda: map.backward(UNARY["sigmoid"], (y,), (), a, (True,)),
        "of both": lambda: map.backward(maximum, (a, b), (), a, (True, True)),
    }


@few
def test_maps_have_the_same_bits(threads, dtype):
    always_the_same(threads, activations(dtype))


@few
@pytest.mark.parametrize("ufunc", [np.add, np.subtract, np.multiply, np.divide])
def test_plain_arithmetic_is_numpys(threads, dtype, ufunc):
    """To the bit, also of numbers, rows and single numbers that are spread, and of what goes to NumPy itself."""
    a, b = normal(301, 401, dtype=dtype), normal(401, dtype=dtype)
    one = a.dtype.type(1.5)
    a[0, :3] = np.inf, np.nan, 0.0
    b[:3] = 0.0
    pairs = [(a, a[::-1].copy()), (a, b), (b, a), (a, one), (one, a), (np.broadcast_to(one, a.shape), a)]
    pairs += [(a.T, a.T), (a[:, :-1:2], a[:, 1::2]), (a[:, :1], b), (a[:0], b), (a, a.astype(np.float64))]
    steps = normal(40, 30, 50, dtype=dtype)
    pairs += [(steps, steps.copy().swapaxes(0, 1)[:30].swapaxes(0, 1)), (steps, steps[:, :1]), (steps[:, 0, 3:], one)]
    for n in (1, 2, 3):
        threads(n)
        for x, y in pairs:
            with np.errstate(all="ignore"):
                found, expected = map.arithmetic(ufunc, x, y), np.asarray(ufunc(x, y))
            assert found.dtype == expected.dtype and found.strides == expected.strides
            np.testing.assert_array_equal(found, expected)


@few
def test_a_formula_gives_the_same_bits_wherever_an_element_lies(threads, dtype):
    """In another layout, at another place in a vector, broadcast or not, in a row of any length."""
    threads(3)
    a, b = normal(150, 203, dtype=dtype), normal(203, dtype=dtype)

    def forward(*arrays):
        formula, numbers = (UNARY["gelu"], ()) if len(arrays) == 1 else (LOSSES["huber_loss"], (0.7,))
        return map.forward(formula, arrays, numbers)[0]

    def same(found, expected):
        return bits(found) == bits(np.ascontiguousarray(expected))

    whole, loss = forward(a), forward(a, np.broadcast_to(b, a.shape).copy())
    columns = [np.s_[:, 1:], np.s_[:, 5:-3], np.s_[::2, ::3], np.s_[:, ::-1], np.s_[:, 2]]
    for cut in [np.s_[1:], np.s_[::-1], np.s_[3], *columns]:
        assert same(forward(a[cut]), whole[cut]), cut
    assert same(forward(a.T), whole.T) and same(forward(a.ravel()[7:]), whole.ravel()[7:])
    assert same(forward(a, b), loss) and same(forward(a[:, 1:], b[1:]), loss[:, 1:])
    assert same(forward(a.T, b[:, None]), loss.T) and same(forward(a[None, 3:5, None], b), loss[None, 3:5, None])


@pytest.mark.parametrize("seed", range(8))
def test_a_map_of_arrays_in_any_layout(seed):
    """Up to five axes, of size one and zero too; axes permuted, turned round, skipped, cut, broadcast and missing."""
    rng = np.random.default_rng(seed)

    def laid(shape):
        """An array that broadcasts to `shape`, of numbers of its own."""
        own = [1 if rng.random() < 0.25 else n for n in shape][rng.integers(0, len(shape) + 1) * (rng.random() < 0.3) :]
        steps, order = rng.choice([1, 1, 1, 2, -1, -3], len(own)), rng.permutation(len(own))
        if rng.random() < 0.5:
            order = np.arange(len(own))
        around = np.empty([own[k] * abs(steps[k]) + rng.integers(0, 3) for k in order])
        around[...] = rng.normal(size=around.shape)
        view = around.transpose(np.argsort(order))
        cut = [slice(None, n * s, s) if s > 0 else slice(None, -n * -s - 1, s) for n, s in zip(own, steps, strict=True)]
        view = view[(*cut, ...)]
        assert view.shape == tuple(own)
        return view

    for _ in range(60):
        shape = tuple(rng.choice([0, 1, 1, 2, 3, 5, 17], rng.integers(0, 6), p=[0.03, 0.2, 0.17, 0.2, 0.2, 0.1, 0.1]))
        a, b = laid(shape), laid(shape)
        whole = np.broadcast_shapes(a.shape, b.shape)
        (found,) = map.forward(BINARY["maximum"], (a, b))
        np.testing.assert_array_equal(found, np.maximum(a, b))
        assert found.shape == whole
        (found,) = map.forward(UNARY["square"], (a,))
        np.testing.assert_array_equal(found, a * a)
        g = np.broadcast_to(laid(whole), whole)
        found = map.backward(BINARY["maximum"], (a, b), (), g, (True, True))
        np.testing.assert_array_equal(found[0] + found[1], g)


@few
def test_an_update_of_arrays_that_are_not_alike_does_nothing(dtype):
    other = "float64" if dtype == "float32" else "float32"
    for odd in (normal(6, 4, dtype=dtype)[::2], normal(4, 3, dtype=dtype).T, normal(3, 5, dtype=dtype),
                normal(3, 4, dtype=other), normal(12, dtype=dtype)):  # fmt: skip
        for place in (0, 1, 2):
            groups = [[normal(3, 4, dtype=dtype, seed=k) for k in range(3)] for _ in range(2)]
            groups[1][place] = odd
            before = bits(groups)
            assert map.update(UPDATES["sgd"], groups, (0.1, 0.0, 0.9, 1.0)) is False
            assert bits(groups) == before
    copied = np.array(normal(3, 4, dtype=dtype), np.dtype(np.dtype(dtype).str, copy=True))  # of a type of its own
    groups = [[normal(3, 4, dtype=dtype), copied, normal(3, 4, dtype=dtype)]]
    assert map.update(UPDATES["sgd"], groups, (0.1, 0.0, 0.9, 1.0)) is True


@few
def test_a_part_of_a_map_writes_nothing_but_its_own(dtype):
    """Parts done last to first: what one wrote beyond its end would stay."""
    a = normal(20, 37, dtype=dtype)
    (expected,) = map.forward(UNARY["gelu"], (a,))
    loop = map.forward_module(UNARY["gelu"], a.dtype).loop.kernel
    run = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(loop.types))(loop.compile())
    for length in (1, 16, 37, 50, 300):
        out = np.zeros_like(a)
        for first in range(0, a.size, length)[::-1]:
            last = min(first + length, a.size)
            # as rows of 37 columns, five to a plane
            run(first, last, 37, 5, a.ctypes.data, 5 * a.strides[0], *a.strides, out.ctypes.data)
        assert bits(out) == bits(expected), length


@few
def test_updates_have_the_same_bits(threads, dtype):
    shapes = [(301, 200), (7,), (0, 3), (1,), (64, 401), (50,)]

    def updated(name):
        formula = UPDATES[name]
        r = formula.recording
        groups = [[abs(normal(*shape, dtype=dtype, seed=k)) + 0.1 for k in range(len(r.inputs))] for shape in shapes]
        together = [[a.copy() for a in group] for group in groups]
        numbers = tuple(0.1 + 0.05 * k for k in range(len(r.keywords)))
        map.update(formula, together, numbers)
        for group in groups:  # one after another: how arrays are grouped changes nothing
            map.update(formula, [group], numbers)
        assert bits(together) == bits(groups)
        return together

    always_the_same(threads, {name: functools.partial(updated, name) for name in ("adam", "sgd", "rmsprop")})


# ---------------------------------------------------------------------------------- rows, sums, indices
@few
def test_rows_have_the_same_bits(threads, dtype):
    for R, C in ((301, 130), (1300, 17), (3, 10_001), (20, 2100), (1, 5)):
        x, g, w, b = (normal(*s, dtype=dtype, seed=k) for k, s in enumerate([(R, C), (R, C), (C,), (C,)]))
        target, none = np.arange(R) % C, np.empty(0, dtype)
        y, log_y = rows.softmax(x), rows.log_softmax(x)
        _, lse = rows.cross_entropy(x, target, none, 1, 0.1)
        _, mean, rstd = rows.layer_norm(x, w, b, 1e-5)
        always_the_same(
            threads,
            {
                "softmax": functools.partial(rows.softmax, x),
                "log_softmax": functools.partial(rows.log_softmax, x),
                "softmax backward": functools.partial(rows.softmax_backward, y, g),
                "log_softmax backward": functools.partial(rows.log_softmax_backward, log_y, g),
                "cross entropy": functools.partial(rows.cross_entropy, x, target, none, 1, 0.1),
                "weighted": functools.partial(rows.cross_entropy, x, target, abs(w), -100, 0.0),
                "its backward": functools.partial(
                    rows.cross_entropy_backward, x, target, none, 1, 0.1, lse, g[:, 0].copy()
                ),
                "layer norm": functools.partial(rows.layer_norm, x, w, b, 1e-5),
                "layer norm backward": functools.partial(rows.layer_norm_backward, x, w, mean, rstd, g),
                "RMS norm": functools.partial(rows.layer_norm, x, w, b, 1e-5, False),
                "RMS norm backward": functools.partial(rows.layer_norm_backward, x, w, mean, rstd, g, False),
            },
        )


@pytest.mark.parametrize("shape", [(5, 3), (70, 40), (1100, 6), (20, 2100), (9, 2048)], ids=str)
def test_gradients_of_layer_norm_are_numpys(shape):
    """Also where rows are cut into several blocks: many rows, and few long ones."""
    (_, C), x, g = shape, normal(*shape), normal(*shape, seed=1)
    w = normal(C, seed=2)
    _, mean, rstd = rows.layer_norm(x, w, w, 1e-5)
    v, y = (x - mean[:, None]) * rstd[:, None], g * w
    dx = (y - y.mean(1, keepdims=True) - v * (y * v).mean(1, keepdims=True)) * rstd[:, None]
    expected = dx, (g * v).sum(0), g.sum(0)
    for found, right in zip(rows.layer_norm_backward(x, w, mean, rstd, g), expected, strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-11, atol=1e-11)


@few
@pytest.mark.parametrize("shape", [(1, 1, 2), (3, 7, 5), (2, 50, 16), (1, 300, 37), (4, 3, 130), (40, 33, 17)], ids=str)
def test_columns_are_rows_that_lie_apart(threads, shape, dtype):
    x, g = 3 * normal(*shape, dtype=dtype), normal(*shape, dtype=dtype, seed=1)
    x[0, :, 0] = -np.inf
    x[-1, 0, -1] = np.inf
    x[-1, :, -2] = x[-1, :, -2] * 30 + 1e4
    tolerance = {
        "rtol": 1e-6 if dtype == "float32" else 1e-14,
        "atol": 1e-6 if dtype == "float32" else 1e-14,
    }  # of sums

    def turned(a):
        return np.ascontiguousarray(a.swapaxes(1, 2)).reshape(-1, shape[1])

    for name in ("softmax", "log_softmax"):
        y = np.nan_to_num(getattr(rows, f"{name}_columns")(x), nan=0.5)
        for call, arrays in ((f"{name}", (x,)), (f"{name}_backward", (y, g))):
            across = call.replace(name, f"{name}_columns")
            with np.errstate(all="ignore"):
                expected = getattr(rows, call)(*[turned(a) for a in arrays]).reshape(shape[0], shape[2], shape[1])
            found = getattr(rows, across)(*arrays)
            np.testing.assert_allclose(found.swapaxes(1, 2), expected, **tolerance, err_msg=across)
            always_the_same(threads, {across: functools.partial(getattr(rows, across), *arrays)})


@few
def test_channels_have_the_same_bits(threads, dtype):
    for shape in ((301, 130, 1), (20, 1037, 1), (13, 40, 50), (2, 3, 30_001), (5, 1, 1)):
        x, g = normal(*shape, dtype=dtype), normal(*shape, dtype=dtype, seed=1)
        w, b = normal(shape[1], dtype=dtype, seed=2), normal(shape[1], dtype=dtype, seed=3)
        _, mean, variance = channels.batch_norm(x, w, b, None, 1e-5)
        always_the_same(
            threads,
            {
                "batch norm": functools.partial(channels.batch_norm, x, w, b, None, 1e-5),
                "evaluation": functools.partial(channels.batch_norm, x, w, b, (mean, variance), 1e-5),
                "backward": functools.partial(channels.batch_norm_backward, x, w, mean, variance, 1e-5, True, g),
                "its backward": functools.partial(channels.batch_norm_backward, x, w, mean, variance, 1e-5, False, g),
            },
        )


@few
def test_sums_and_extrema_have_the_same_bits(threads, dtype):
    a = normal(61, 70, 83, dtype=dtype)
    calls = {}
    for axes in ((0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2)):
        calls["sum", axes] = functools.partial(reduce.sum, a, axes)
        calls["squares", axes] = functools.partial(reduce.squares, a, axes)
        calls["sum of steps", axes] = functools.partial(reduce.sum, a[:, ::2].swapaxes(0, 2), axes)
        calls["logsumexp", axes] = functools.partial(reduce.logsumexp, a, axes)
    for axis in range(3):
        calls["max", axis] = functools.partial(reduce.extreme, a, axis, True)
        calls["min", axis] = functools.partial(reduce.extreme, a.T, axis, False)
    calls["norm"] = lambda: clip.norm([a, a[3], a[0, 0, :0]])
    always_the_same(threads, calls)
    for axes in ((0,), (1,), (2,), (0, 2), (0, 1, 2)):
        np.testing.assert_allclose(reduce.sum(a, axes), a.astype(float).sum(axes), rtol=1e-6, atol=1e-5)
        np.testing.assert_allclose(reduce.squares(a, axes), (a.astype(float) ** 2).sum(axes), rtol=1e-6, atol=1e-5)


@few
def test_what_lies_in_another_order_is_summed_as_it_lies(dtype, monkeypatch):
    """Axes that are all summed change places without a copy, and without a change of bits."""
    a = normal(20, 30, 50, dtype=dtype)
    monkeypatch.setattr(reduce, "contiguous", lambda a: pytest.fail("copied"))
    turned = a.swapaxes(0, 1)
    for find in (reduce.sum, reduce.logsumexp):
        assert bits(find(turned, (0, 1, 2))) == bits(find(a, (0, 1, 2)))
        assert bits(find(turned, (0, 1))) == bits(find(a, (0, 1)))
        assert bits(find(a.transpose(2, 0, 1), (1, 2))) == bits(find(a, (0, 1)))
        assert bits(find(a.transpose(2, 1, 0), (1, 2))) == bits(find(a, (0, 1)))
        assert bits(find(a.transpose(1, 2, 0), (0, 2))) == bits(find(a, (0, 1)))


@few
def test_gathering_and_scattering_have_the_same_bits(threads, dtype):
    table, ids = normal(97, 130, dtype=dtype), np.random.default_rng(1).integers(0, 97, 1500)
    g = normal(1500, 130, dtype=dtype)

    def added(into, *arguments):
        out = np.zeros_like(table)
        into(out if into is index.scatter_add_rows else out.reshape(-1), *arguments)
        return out

    places = np.random.default_rng(2).integers(0, table.size, g.size)
    always_the_same(
        threads,
        {
            "gather": lambda: index.gather_rows(table, ids),
            "add rows": lambda: added(index.scatter_add_rows, ids, g),
            "add": lambda: added(index.scatter_add, places, g.ravel()),
        },
    )
    assert bits(index.gather_rows(table, ids)) == bits(table[ids])
    in_order = np.zeros_like(table)
    np.add.at(in_order, ids, g)
    np.testing.assert_allclose(added(index.scatter_add_rows, ids, g), in_order, rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------------------------- recurrent layers
def peephole(i, f, g, o, c, *, p_i, p_o):
    from tinyrnn.kernels.scalar import sigmoid, tanh

    c = sigmoid(f) * c + sigmoid(i + p_i * c) * tanh(g)
    return sigmoid(o + p_o * c) * tanh(c), c


def centred(f, x_a, x_g, c):
    """With a gate of the input alone, and means in two stages."""
    from tinyrnn.kernels.scalar import sigmoid, tanh

    c = sigmoid(f - f.mean(-1, keepdim=True)) * c + x_a
    return tanh(c - c.mean(-1, keepdim=True)) * sigmoid(x_g), c


PEEPHOLE, CENTRED = Cell(peephole), Cell(centred)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def step(cell, a, b, states, vectors):
    """The new states of one sequence from the gates' halves a (from x) and b (from h)."""
    s = [*np.split(a + b, len(cell.gates))]
    if cell in (RNN_TANH, RNN_RELU):
        return [np.tanh(s[0]) if cell is RNN_TANH else np.maximum(s[0], 0)]
    if cell is GRU:
        r, z = sigmoid(s[0]), sigmoid(s[1])
        n = np.tanh(np.split(a, 3)[2] + r * np.split(b, 3)[2])
        return [(1 - z) * n + z * states[0]]
    i, f, g, o, c = *s, states[1]
    p_i, p_o = vectors if cell is PEEPHOLE else (0, 0)
    c = sigmoid(f) * c + sigmoid(i + p_i * c) * np.tanh(g)
    return [sigmoid(o + p_o * c) * np.tanh(c), c]


def naive(cell, x, steps, initial, weights, vectors, reverse):
    """One sequence after another, one step after another."""
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    out, last = np.zeros((steps.N, w_hh.shape[1])), [np.array(s) for s in initial]
    for sequence, length in enumerate(steps.lengths):
        states = [s[sequence] for s in initial]
        for t in range(length)[:: -1 if reverse else 1]:
            row = steps.offsets[t] + sequence
            states = step(cell, w_ih @ x[row] + b_ih, w_hh @ states[0] + b_hh, states, vectors)
            if w_hr is not None:
                states[0] = w_hr @ states[0]
            out[row] = states[0]
        for s, state in zip(last, states, strict=True):
            s[sequence] = state
    return out, last


def layer(cell, sizes, features, H, dtype, projection=0):
    """(x, steps, initial, weights, vectors) with random numbers."""
    steps, G, R, P = recurrence.Steps(np.array(sizes)), len(cell.gates), len(cell.inner), projection or H
    make = functools.partial(normal, dtype=dtype)
    weights = [make(G * H, features) / 3, make(R * H, P, seed=1) / H**0.5, make(G * H), make(R * H, seed=2), None]
    if projection:
        weights[4] = make(P, H) / H**0.5
    initial = [make(steps.B, P), *(make(steps.B, H, seed=3) for _ in cell.states[1:])]
    dtype = np.dtype(dtype).type
    weights = [w if w is None else w.astype(dtype) for w in weights]
    return make(steps.N, features), steps, initial, weights, make(len(cell.vectors), H, seed=4)


LAYERS = {  # cell, sizes of the steps, input features, H, projection
    "tanh": (RNN_TANH, [3] * 5, 4, 17, 0),
    "relu": (RNN_RELU, [1] * 7, 5, 3, 0),
    "gru": (GRU, [4, 4, 2, 1], 3, 9, 0),
    "gru, one step": (GRU, [6], 3, 40, 0),
    "lstm, one step, projection": (LSTM, [5], 4, 19, 6),
    "peephole, one step, one row": (PEEPHOLE, [1], 30, 20, 0),
    "lstm": (LSTM, [13] * 4, 7, 16, 0),
    "lstm, packed": (LSTM, [9, 7, 7, 3, 1], 20, 33, 0),
    "lstm, projection": (LSTM, [5, 5, 2], 4, 19, 6),
    "peephole": (PEEPHOLE, [4, 3, 2], 3, 10, 0),
    "strips": (RNN_TANH, [9, 4, 3, 2], 5, 3 * 48 + 30, 0),
    "large": (LSTM, [66, 65, 2], 150, 200, 0),
    "large, few rows": (GRU, [5, 4], 150, 300, 0),
    "large, some steps ahead": (GRU, [20] * 9 + [11, 9, 2], 150, 300, 0),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_recurrent_layers_are_numpys(name, reverse):
    cell, sizes, features, H, projection = LAYERS[name]
    for dtype in TYPES:
        x, steps, initial, weights, vectors = layer(cell, sizes, features, H, dtype, projection)
        expected, expected_last = naive(cell, x, steps, initial, weights, vectors, reverse)
        out, last, saved = recurrence.forward(cell, x, steps, initial, weights, vectors, reverse)
        tolerance = {"rtol": 0, "atol": 1e-13 if dtype == "float64" else 1e-5}
        np.testing.assert_allclose(out, expected, **tolerance)
        for a, b in zip(last, expected_last, strict=True):
            np.testing.assert_allclose(a, b, **tolerance)
        again, last_again, nothing = recurrence.forward(cell, x, steps, initial, weights, vectors, reverse, keep=False)
        assert nothing is None
        for a, b in zip([out, *last], [again, *last_again], strict=True):
            np.testing.assert_array_equal(a, b)

    # Along a random direction the result changes as its gradients say.
    d_out, d_last = normal(*out.shape, seed=5), [normal(*s.shape, seed=6) for s in last]
    gradients = recurrence.backward(
        cell, saved, (weights[0], weights[1], weights[4]), vectors, reverse, d_out, d_last, True
    )
    d_x, d_initial, d_weights, d_vectors = gradients

    def loss(size):
        def moved(values):
            return [v if v is None else v + size * normal(*v.shape, seed=7) for v in values]

        (x_,), (vectors_,) = moved([x]), moved([vectors])
        out, last, _ = recurrence.forward(cell, x_, steps, moved(initial), moved(weights), vectors_, reverse)
        return sum((a * b).sum() for a, b in zip([out, *last], [d_out, *d_last], strict=True))

    found, at = [d_x, *d_initial, *d_weights, d_vectors], [x, *initial, *weights, vectors]
    slope = sum((g * normal(*v.shape, seed=7)).sum() for g, v in zip(found, at, strict=True) if v is not None)
    assert slope == pytest.approx((loss(1e-6) - loss(-1e-6)) / 2e-6, rel=1e-6, abs=1e-6)


def through(cell, reverse, x, steps, initial, weights, vectors, noise=PLAIN):
    out, last, saved = recurrence.forward(cell, x, steps, initial, weights, vectors, reverse, noise)
    some = (weights[0], weights[1], weights[4])
    return out, last, recurrence.backward(cell, saved, some, vectors, reverse, out, last, True)


def test_x_is_multiplied_ahead_where_steps_have_many_rows(threads):
    """Else its weights would be read again and again for a few rows."""
    for n in (1, 2):
        threads(n)
        for sizes, ahead in ([30] * 40, True), ([30] * 10 + [2] * 290, False), ([5] * 40, False), ([30], False):
            steps = recurrence.Steps(np.array(sizes))
            made = recurrence.plan(GRU, np.dtype("f4"), steps, (300, 300, 300), False, False, PLAIN, True)
            assert bool(made.words[AT.ahead // 8]) == ahead, (n, sizes)


@few
def test_recurrent_layers_have_the_same_bits(threads, dtype):
    packed = [*[40] * 9, *[33] * 5, 20, 7, 7, 1]
    calls = {
        "tanh": (RNN_TANH, [32] * 20, 30, 50, 0), "relu": (RNN_RELU, packed, 30, 50, 0),
        "gru": (GRU, packed, 20, 40, 0), "lstm": (LSTM, [37] * 15, 30, 40, 0), "packed": (LSTM, packed, 30, 40, 0),
        "projection": (LSTM, packed, 30, 40, 20), "peephole": (PEEPHOLE, packed, 30, 40, 0),
        "means": (CENTRED, packed, 30, 41, 0), "means, many rows": (CENTRED, [70] * 6, 30, 160, 20),
        "few rows": (LSTM, [2] * 4, 30, 150, 0), "one row": (GRU, [1] * 4, 200, 200, 0),
        "large": (LSTM, [40] * 3, 150, 200, 0),  # one thread multiplies x and h together, and two do not
        "some steps ahead": (GRU, [20] * 9 + [11, 9, 2], 150, 300, 0),
        "one step": (GRU, [70], 200, 160, 0), "one step, few rows": (LSTM, [12], 300, 150, 0),
    }  # fmt: skip
    for name, (cell, sizes, features, H, projection) in calls.items():
        given = layer(cell, sizes, features, H, dtype, projection)
        both = {(name, reverse): functools.partial(through, cell, reverse, *given) for reverse in (False, True)}
        always_the_same(threads, both)
    for name in ("gru", "projection", "few rows", "one step"):
        cell, sizes, features, H, projection = calls[name]
        given, P, S = layer(cell, sizes, features, H, dtype, projection), projection or H, len(cell.states)
        masks = [normal(*shape).astype(dtype) for shape in ((sum(sizes), P), (S - 1, sum(sizes), H), (sizes[0], P))]
        noisy = functools.partial(through, cell, False, *given, Noise((True,) * S, *masks))
        always_the_same(threads, {(name, "noise"): noisy})


def test_formula_results_are_numpys():
    x = np.linspace(-3, 3, 61)
    for dtype in TYPES:
        a = x.astype(dtype)
        tolerance = {"rtol": 8 * np.finfo(dtype).eps, "atol": np.finfo(dtype).eps}
        np.testing.assert_allclose(map.forward(UNARY["sigmoid"], (a,))[0], sigmoid(a.astype(float)), **tolerance)
        np.testing.assert_allclose(map.forward(BINARY["maximum"], (a, a[::-1]))[0], np.maximum(a, a[::-1]))


# ---------------------------------------------------------------------------------- code on disk
SMALL = """
from numba import float64
from tinyrnn.kernels.cpu.jit import kernel, njit
from tinyrnn.kernels.cpu.pool import split
from tinyrnn.kernels.cpu.simd import address, get, put

@kernel
def add(p, x: float):
    put(float64, p, get(float64, p) + x)

@kernel
def add_some(first, last, p, x: float):
    for k in range(first, last):
        add(p + 8 * k, x)

add_all = split(add_some)

@njit
def entry(a, x):
    add_all(a.size, 1, 1, address(a), x)
"""
PROGRAM = """
import json, sys
import numpy as np
import tinyrnn
from tinyrnn.kernels.cpu import jit

count = {"loaded": [], "compiled": []}

class Counting(jit.DiskCache):
    def load_overload(self, *given):
        found = super().load_overload(*given)
        count["loaded" if found is not None else "compiled"].append(self.name)
        return found

jit.DiskCache = Counting
sys.path.insert(0, sys.argv[1])
import small
a = np.zeros(10)
small.entry(a, 2.5)
assert (a == 2.5).all()
print(json.dumps(count))
"""
NAMES = {"entry", "add", "add_some", "divide", "run", "take_part"}


@pytest.fixture
def processes(tmp_path):
    """start(n): what n processes at once, with the same cache, loaded and compiled."""
    (tmp_path / "small.py").write_text(SMALL)
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}

    def start(n=1):
        started = [
            subprocess.Popen([sys.executable, "-c", PROGRAM, tmp_path], cwd=ROOT, env=env, stdout=subprocess.PIPE)
            for _ in range(n)
        ]
        found = []
        for process in started:
            out, _ = process.communicate(timeout=120)
            assert process.returncode == 0
            count = json.loads(out)
            assert sorted(count["loaded"] + count["compiled"]) == sorted(NAMES)  # each once
            found.append(set(count["compiled"]))
        return found

    return start


def test_kernels_that_call_each_other_are_kept_on_disk(processes, tmp_path):
    for compiled in processes(2):  # at the same time: the second may find what the first has left
        assert compiled <= NAMES
    assert processes() == [set()]

    files = {path.name.split("-")[0]: path for path in tmp_path.glob("cache/*/*.code")}
    assert set(files) == NAMES
    for name in ("add", "run"):
        data = bytearray(files[name].read_bytes())
        data[len(data) // 2] ^= 1
        files[name].write_bytes(data)
    files["add_some"].unlink()
    assert processes() == [{"add", "run", "add_some"}]
    assert processes() == [set()]

    (tmp_path / "small.py").write_text(SMALL.replace("float64, p) + x", "float64, p) + x * 1.0"))
    assert processes() == [{"add", "add_some", "entry"}]  # code belongs to the text of its file


FAMILY = """
import sys
import tinyrnn
from tinyrnn.kernels.cpu.jit import njit

def adding(k):
    @njit
    def add(n, m):  # called often enough to stay a function of its own
        total = 0
        for i in range(n):
            for j in range(m):
                total += (i ^ j) % 7 + k
            if total % 1000 == 999:
                total += n // m
        return total

    @njit
    def entry(n):
        return add(n, 1) + add(n, n) * add(n + 1, 2) - add(2, n) * add(3, n + 5) + add(7, n)
    return entry

def plain(k):
    entry = adding(k).py_func
    names = dict(zip(entry.__code__.co_freevars, entry.__closure__))
    names["add"].cell_contents = names["add"].cell_contents.py_func
    return entry

for k in map(int, sys.argv[1:]):
    assert adding(k)(9) == plain(k)(9), k
"""


def test_code_on_disk_of_functions_of_one_name_keeps_apart(tmp_path):
    """Functions that one factory has made may have been compiled in processes of their own, and meet in a third."""
    (tmp_path / "family.py").write_text(FAMILY)
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    for members in (range(10), range(10, 20), range(20)):
        subprocess.run([sys.executable, tmp_path / "family.py", *[str(k) for k in members]], env=env, check=True)


def test_large_memory_comes_again_when_nobody_uses_it():
    n = memory.LARGE + 2
    first, second = memory.room(n), memory.room(n - 1)
    assert (first.size, second.size) == (n, n - 1) and not np.shares_memory(first, second)
    places = {first.ctypes.data, second.ctypes.data}
    part = first[1:]
    del first, second
    again = memory.room(n - 2)
    assert again.ctypes.data in places and not np.shares_memory(again, part)
    del part
    assert {again.ctypes.data, memory.room(n - 2).ctypes.data} == places
    assert memory.room(2 * n).size == 2 * n
    assert [a.size for a in memory._free.values()] == [2 * n]  # what was free, and of another size, is given back
    assert not np.shares_memory(memory.room(100), memory.room(100))


def test_large_memory_for_many_threads_at_once():
    def use(number):
        for _ in range(20):
            mine = memory.room(memory.LARGE)
            mine[::4096] = number
            assert (mine[::4096] == number).all()

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        assert [*threads.map(use, range(4))] == [None] * 4


def test_compiled_code_keeps_no_array():
    """A reference that is taken for a call is given back: else each call would keep its arrays for ever."""

    @njit
    def ends(a):
        b = a[1:]
        return a[0] + b[-1]

    a = np.ones(9)
    before = sys.getrefcount(a)
    for _ in range(5):
        assert ends(a) == 2
    assert sys.getrefcount(a) == before
