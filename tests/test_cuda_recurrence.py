"""Recurrence on the device, in the simulator: derived cells over whole sequences, held to the kernels of the host."""

import inspect
import sys
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("numba_cuda")
pytest.importorskip("greenlet")

from simulator import Fault, simulated  # noqa: E402
from simulator_cuda import Cuda, Program  # noqa: E402

from tinyrnn.kernels.cells import GRU, LSTM, PLAIN, RNN_RELU, RNN_TANH, Cell, Noise  # noqa: E402
from tinyrnn.kernels.cpu import recurrence as host  # noqa: E402
from tinyrnn.kernels.cuda import cell_kernels, mapped, ptx, recurrence  # noqa: E402
from tinyrnn.kernels.cuda.array import Array, download, upload  # noqa: E402
from tinyrnn.kernels.scalar import sigmoid, sqrt, tanh, where  # noqa: E402


def blend(f, x_n, h_n, h, c, *, p):
    """A whole gate, a split gate, h itself, a further state and a learned vector."""
    f = sigmoid(f + p * c)
    c = f * c + (1 - f) * tanh(x_n + f * h_n)
    return 0.5 * h + tanh(c), c


def three(a, b, fast, slow):
    fast, slow = 0.5 * fast + tanh(a) * slow, 0.9 * slow - 0.1 * fast + sigmoid(b)
    return tanh(fast - slow), fast, slow


def split_first(x_n, h_n, in_values, out, h):
    """The kernels have other gates first; and two names that mean something else in what is printed."""
    return tanh(x_n * h_n) + sigmoid(in_values) * h * tanh(out)


def all_split(x_a, h_a, *, q):
    return sigmoid(x_a) * h_a + q


def all_outer(x_f, x_a, h, c, *, v):
    """Nothing is multiplied by the hidden state."""
    c = sigmoid(x_f + v * c) * c + x_a
    return 0.5 * h + tanh(c), c


def every_kind(x_a, f, x_n, h_n, x_b, h, c):
    c = sigmoid(f) * c + tanh(x_n + x_a * h_n)
    return 0.5 * h + tanh(c) * sigmoid(x_b), c


def whole_and_outer(f, x_a, c):
    c = sigmoid(f) * c + x_a
    return tanh(c), c


def normal(v, scale):
    v = v - v.mean(-1, keepdim=True)
    return v / sqrt((v * v).mean(-1, keepdim=True) + 1e-3) * scale


def normalized(f, x_a, h_a, c, *, s_f, s_a, s_c):
    """Means in several stages: of gates, and of a state that they make."""
    f = sigmoid(normal(f, s_f))
    c = f * c + (1 - f) * tanh(x_a + normal(h_a, s_a))
    return tanh(normal(c, s_c)), c


def above_the_mean(x_a, h):
    """A mean that has no gradient."""
    return where(x_a > x_a.mean(-1, keepdim=True), x_a, 0.5 * h)


CELLS = {"rnn_tanh": RNN_TANH, "rnn_relu": RNN_RELU, "gru": GRU, "lstm": LSTM}
OWN = (blend, three, split_first, all_split, all_outer, every_kind, whole_and_outer, normalized, above_the_mean)
CELLS |= {step.__name__: Cell(step) for step in OWN}


def numbers(cell, T, B, width, H, dtype, projection, sizes, zones, drop, plain, dense):
    """All that a recurrence takes, on the host; `zones` is None, or the rows of the masks: "one" or "all"."""
    random = np.random.default_rng(T + B + H)

    def some(*shape):
        return random.uniform(-1, 1, shape).astype(dtype)

    G, R, S, V = len(cell.gates), len(cell.inner), len(cell.states), len(cell.vectors)
    P, N = projection or H, sum(sizes) if sizes else T * B
    bias = (None, None) if plain else (some(G * H), some(R * H))
    weights = [some(G * H, width), some(R * H, P), *bias]
    weights.append(some(P, H) if projection else None)
    noise, rows = PLAIN, 1 if zones == "one" else N
    if zones or drop:
        masks = [abs(some(rows, P)), abs(some(S - 1, rows, H)) if S > 1 else None] if zones else [None, None]
        noise = Noise((True,) * S if zones else (), *masks, abs(some(B, P)) + 0.5 if drop else None)
    d_out = None if plain else some(B, T, P).swapaxes(0, 1) if dense else some(N, P)
    d_last = [None if plain and k else some(B, P if k == 0 else H) for k in range(S)]
    return SimpleNamespace(
        x=some(N, width), initial=[None if plain else some(B, P if k == 0 else H) for k in range(S)], weights=weights,
        vectors=some(V, H), noise=noise, d_out=d_out, d_last=d_last,
        steps=lambda: host.Steps(np.array(sizes)) if sizes else host.steps_of(T, B),
    )  # fmt: skip


def flat(values):
    for v in values:
        yield from flat(v) if isinstance(v, (list, tuple)) else (v,)


def run(family, cell, n, reverse, move, forth=None, back=None):
    """Everything that comes of forward and backward, as a flat list."""
    given = {} if forth is None else {"divided": forth}
    to = [move(v) for v in (n.x, n.initial, n.weights, n.vectors, n.noise, n.d_out, n.d_last)]
    x, initial, weights, vectors, noise, d_out, d_last = to
    out, last, saved = family.forward(cell, x, n.steps(), initial, weights, vectors, reverse, noise, **given)
    given = {} if back is None else {"divided": back}
    factors = (weights[0], weights[1], weights[4])
    gradients = family.backward(cell, saved, factors, vectors, reverse, d_out, d_last, True, **given)
    return list(flat([out, last])), list(flat(gradients))


def on_device(value):
    return mapped(upload, np.ndarray, value)


def check(cell, T=3, B=3, width=2, H=5, dtype=np.float64, projection=None, sizes=None, reverse=False, zones=None, drop=False,
          plain=False, dense=False, forth=None, back=None):  # fmt: skip
    """Both directions on the device give what they give on the host."""
    n = numbers(cell, T, B, width, H, dtype, projection, sizes, zones, drop, plain, dense)
    expected = run(host, cell, n, reverse, lambda value: value)
    found = run(recurrence, cell, n, reverse, on_device, forth, back)
    single = dtype == np.float32
    for tolerance, here, there in zip((1e-5, 1e-4) if single else (1e-12, 1e-10), found, expected, strict=True):
        for got, wanted in zip(here, there, strict=True):
            assert (got is None) == (wanted is None)
            if wanted is not None and wanted.size:
                got = download(got)
                assert got.dtype == dtype
                np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance * (1 + abs(wanted).max()))
    return found


@pytest.fixture
def launches(gpu, monkeypatch):
    """The names of the kernels that were launched."""
    names, launch = [], gpu.launch
    monkeypatch.setattr(gpu, "launch", lambda kernel, *rest: names.append(kernel.name) or launch(kernel, *rest))
    return names


WAYS = {
    "dense": {},
    "one step": {"T": 1},
    "reverse": {"reverse": True},
    "packed": {"T": 4, "sizes": [3, 3, 2, 1]},
    "packed in reverse, noisy": {"T": 4, "sizes": [3, 2, 2, 1], "reverse": True, "zones": "all", "drop": True},
    "steps of its own, noisy": {"T": 1, "zones": "all", "drop": True},
    "float32, zoneout of an evaluation": {"dtype": np.float32, "zones": "one"},
    "nothing given": {"plain": True},
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_every_cell_is_its_host_s(gpu, cell, way):
    check(cell, **way)


@pytest.mark.parametrize(
    "noise", [{}, {"zones": "all", "drop": True}, {"zones": "one"}], ids=["plain", "noisy", "mean"]
)
@pytest.mark.parametrize("cell", [LSTM, *(CELLS[name] for name in ("three", "whole_and_outer", "normalized"))], ids=str)
def test_projections(gpu, cell, noise):
    check(cell, projection=2, T=4, sizes=[3, 3, 2, 1], **noise)
    check(cell, projection=2, reverse=True, dense=True, **noise)


def test_gradients_of_any_strides(gpu):
    check(LSTM, dense=True)
    check(GRU, dense=True, reverse=True, B=1)
    check(GRU, dense=True, T=1)


def test_states_that_do_not_depend_on_anything(gpu):
    def idle(x_a, h_a, c, d):
        return x_a * 0.5, c, 1.0

    cell = Cell(idle)
    check(cell)
    check(cell, T=1)


# ------------------------------------------------------------------------------------------ how it is divided
def divided(H, B, G, back, units, broad, tile, threads, most, size=8, **other):
    """A geometry as the plan makes it, but for what `other` says."""
    g = recurrence.arranged(H, B, G, size, back, units, broad, tile, threads, most, 10**6)._replace(**other)
    parts = -(-g.depth // g.length) * g.splits
    return g._replace(shared=size * (g.tall * g.depth + g.broad * g.length + parts * g.broad * g.tall))


GEOMETRIES = {  # units, rows of the batch, tile, threads, blocks
    "a block for each unit": ((1, 1, (4, 1), 32, 8), {}),
    "units left over, several tiles": ((3, 4, (4, 4), 64, 3), {}),
    "large tiles": ((4, 8, (8, 8), 32, 8), {}),
    "all units in one block": ((8, 4, (4, 4), 32, 2), {}),
    "a sum in parts": ((4, 4, (4, 4), 64, 4), {"splits": 2}),
    "a few states at a time": ((4, 8, (4, 8), 64, 2), {"length": 4, "splits": 2}),
}


@pytest.mark.parametrize(
    "H, cell, reverse",
    [(8, GRU, False), (7, CELLS["split_first"], True), (8, CELLS["every_kind"], False)],
    ids=["gru", "own", "every kind"],
)
@pytest.mark.parametrize("shape", GEOMETRIES)
def test_however_it_is_divided(gpu, shape, H, cell, reverse):
    (units, broad, tile, threads, most), other = GEOMETRIES[shape]
    gpu.multiprocessors = most
    sizes = [6, 5, 2] if broad < 8 else [9, 8]
    forth, back = (
        divided(H, sizes[0], len(cell.inner), k, units, broad, tile, threads, most, **other) for k in (False, True)
    )
    check(cell, B=sizes[0], H=H, sizes=sizes, reverse=reverse, forth=forth, back=back)


def test_the_order_of_the_threads_changes_no_bit(gpu):
    found = []
    for seed in range(3):
        gpu.seed = seed
        found.append([download(a).tobytes() for values in check(GRU, T=2) for a in values if a is not None])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("cell", [LSTM, *(CELLS[name] for name in ("blend", "every_kind", "normalized"))], ids=str)
def test_nothing_races(cell):
    with simulated(strict=True):
        check(cell, T=4, sizes=[3, 3, 2, 1], drop=True)
        check(cell, T=4, sizes=[3, 3, 2, 1], reverse=True)


def test_one_launch_for_all_steps(gpu, launches):
    check(LSTM, T=5)
    assert launches.count("forward") == launches.count("backward") == 1
    assert not {"step_forward", "step_back"} & set(launches)


def test_a_cell_without_a_product_needs_no_room_and_waits_for_nobody(gpu, launches):
    gpu.shared_limit, gpu.threads, gpu.cooperative = 0, 32, False
    check(CELLS["all_outer"], T=5, H=40)
    check(CELLS["all_outer"], T=3, H=5, B=40, sizes=[40, 40, 7], reverse=True)
    assert launches.count("forward") == launches.count("backward") == 2
    assert not {"step_forward", "step_back"} & set(launches)


def test_means_over_more_units_than_a_block_has_threads(gpu, launches):
    gpu.threads, gpu.multiprocessors = 64, 1  # and more rows than there are blocks
    check(CELLS["normalized"], T=2, B=20, H=150)
    check(CELLS["normalized"], T=2, B=20, H=150, sizes=[20, 11], reverse=True, dtype=np.float32)
    assert launches.count("step_forward") == 4 and "forward" not in launches


def test_a_step_at_a_time_where_the_weights_have_no_room(gpu, launches):
    gpu.shared_limit, gpu.threads, gpu.multiprocessors = 1000, 32, 2
    check(LSTM, T=5)
    check(GRU, T=3, sizes=[3, 2, 2], reverse=True)
    assert "forward" not in launches and "backward" not in launches
    assert launches.count("step_forward") == 5 + 3


def test_a_step_at_a_time_where_blocks_cannot_wait_for_one_another(gpu, launches):
    """Some virtual GPUs have no cooperative launches."""
    gpu.cooperative = False
    check(LSTM, T=5)
    assert "forward" not in launches and launches.count("step_forward") == 5


def test_an_empty_batch(gpu):
    check(LSTM, B=0)


def test_plans_fit_the_device():
    for G in (1, 3, 4, 6):
        for H in (1, 7, 64, 130, 512, 1000, 1024):
            for B in (1, 3, 8, 33, 64, 1000):
                for size in (4, 8):
                    for back in (False, True):
                        g = recurrence.geometry(H, B, G, size, back, 132, 256, 227 << 10)
                        if g is None:
                            assert G * H * H * size > 15 << 20
                            continue
                        assert g.shared <= 227 << 10 and g.units * g.broad <= g.threads
                        assert np.prod(g.blocks) <= 132 and g.tall % g.high == 0 and g.broad % g.wide == 0
                        assert g.tall >= (g.units if back else G * g.units) and g.blocks[0] * g.units >= H
    assert recurrence.geometry(512, 64, 4, 4, True, 132, 256, 227 << 10)
    assert not recurrence.geometry(2048, 64, 4, 4, False, 132, 256, 227 << 10)


def test_numbers_of_steps_are_uploaded_once(gpu, monkeypatch):
    steps, copied = host.Steps(np.array([3, 2])), []
    monkeypatch.setattr(recurrence, "upload", lambda a: copied.append(a) or upload(a))
    first = recurrence.on_device(steps, "sizes")
    assert recurrence.on_device(steps, "sizes") is first and isinstance(first, Array) and len(copied) == 1


# ------------------------------------------------------------------------------------------ mutants
def fails(strict, seeds, steps):
    """Whether some order of the threads shows that something is wrong."""
    for seed in range(seeds):
        with simulated(seed, strict=strict):
            forth, back = (divided(4, 4, 1, k, 2, 4, (4, 4), 64, 2, length=2) for k in (False, True))
            try:
                check(RNN_TANH, T=steps, B=4, H=4, forth=forth, back=back)
            except (Fault, AssertionError):
                return True
    return False


def test_blocks_that_do_not_wait_are_noticed(monkeypatch):
    assert not fails(False, 1, 4)
    monkeypatch.setattr(Program, "known", {})
    monkeypatch.setattr(ptx.acquire, "emulation", lambda counters, i: 1 << 30)
    assert fails(False, 20, 4)


SOURCE, _ = inspect.getsourcelines(cell_kernels)
BARRIERS = [number for number, line in enumerate(SOURCE, 1) if line.strip() == "cuda.syncthreads()"]


@pytest.mark.parametrize("line", BARRIERS)
def test_every_barrier_is_needed(monkeypatch, line):
    wait = Cuda.syncthreads

    def all_but_one(self):
        if sys._getframe(1).f_lineno != line:
            wait(self)

    monkeypatch.setattr(Cuda, "syncthreads", all_but_one)
    assert fails(True, 4, 3)
