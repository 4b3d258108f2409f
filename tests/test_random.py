"""The random stream is torch's: the same samples, bit for bit, and the same state after every call."""

import copy
import hashlib
import pickle
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from conftest import needs_torch
from hypothesis import given, settings
from hypothesis import strategies as st
from phrases import check

import tinyrnn
from tinyrnn import random
from tinyrnn.random import Generator
from tinyrnn.tape import wrap

SEEDS = [0, 42, -3, 2**40 + 12345, 2**64 - 1]
F64 = np.float64
P = np.random.RandomState(0).rand(6, 10)
WEIGHTS = [P.astype(np.float32), P, P.T, P[::2, 1::3].T]  # as given, float64, transposed, with gaps


def numbers(torch, dtype, *bounds):
    return torch.empty(30, dtype=getattr(torch, dtype)).random_(*bounds)


# One row a draw: its name, torch's call and ours.
ROWS = {
    "rand": (lambda t: t.rand(5, 8), lambda g: g.uniform((5, 8))),
    "rand float64": (lambda t: t.rand(40, dtype=t.float64), lambda g: g.uniform(40, dtype=F64)),
    "rand many": (lambda t: t.rand(10_000), lambda g: g.uniform(10_000)),
    "rand many float64": (lambda t: t.rand(10_000, dtype=t.float64), lambda g: g.uniform(10_000, dtype=F64)),
    "uniform_": (lambda t: t.empty(3000).uniform_(-0.37, 0.61), lambda g: g.uniform(3000, -0.37, 0.61)),
    "uniform_ far from 0": (lambda t: t.empty(3000).uniform_(90, 90.001), lambda g: g.uniform(3000, 90, 90.001)),
    "uniform_ of one value": (lambda t: t.empty(3).uniform_(2, 2), lambda g: g.uniform(3, 2, 2)),
    "uniform_ float64": (
        lambda t: t.empty(3000, dtype=t.float64).uniform_(-0.37, 0.61),
        lambda g: g.uniform(3000, -0.37, 0.61, F64),
    ),
    "randn few": (
        lambda t: t.cat([t.randn(n) for n in (5, 4, 0, 1, 15, 2)]),
        lambda g: np.concatenate([g.normal(n) for n in (5, 4, 0, 1, 15, 2)]),
    ),
    "randn 0-d": (lambda t: t.randn(()), lambda g: g.normal(())),
    "randn few between many": (
        lambda t: t.cat([t.randn(n) for n in (3, 20, 4)]),
        lambda g: np.concatenate([g.normal(n) for n in (3, 20, 4)]),
    ),
    "randn few, seeded anew": (
        lambda t: t.cat([t.randn(3), t.manual_seed(5) and t.randn(3)]),
        lambda g: np.concatenate([g.normal(3), g.manual_seed(5).normal(3)]),
    ),
    "normal_ few": (
        lambda t: t.cat([t.empty(n).normal_(n, 0.3) for n in (7, 2)]),
        lambda g: np.concatenate([g.normal(n, n, 0.3) for n in (7, 2)]),
    ),
    "normal_ few float64": (
        lambda t: t.cat([t.empty(n, dtype=t.float64).normal_(n, 0.3) for n in (15, 15, 15)]),
        lambda g: np.concatenate([g.normal(n, n, 0.3, F64) for n in (15, 15, 15)]),
    ),
    "randn 16": (lambda t: t.randn(4, 4), lambda g: g.normal((4, 4))),
    "randn 17": (lambda t: t.randn(17), lambda g: g.normal(17)),
    "randn 31": (lambda t: t.randn(31), lambda g: g.normal(31)),
    "randn many": (lambda t: t.randn(100_003), lambda g: g.normal(100_003)),
    "normal_ many": (lambda t: t.empty(65, 33).normal_(0.1, 0.02), lambda g: g.normal((65, 33), 0.1, 0.02)),
    "normal_ float64": (
        lambda t: t.empty(1003, dtype=t.float64).normal_(0.1, 0.7),
        lambda g: g.normal(1003, 0.1, 0.7, F64),
    ),
    "normal_ of one value": (lambda t: t.empty(40).normal_(3, 0), lambda g: g.normal(40, 3, 0)),
    "normal_ into gaps": (
        lambda t: t.empty(20, 6)[:, ::2].normal_(3, 2).contiguous(),
        lambda g: g.normal((20, 3), 3, 2, contiguous=False),
    ),
    "randint": (lambda t: t.randint(-5, 1000, (7, 6)), lambda g: g.integers(-5, 1000, (7, 6))),
    "randint one word": (lambda t: t.randint(0, 2**28 - 1, (40,)), lambda g: g.integers(0, 2**28 - 1, 40)),
    "randint two words": (lambda t: t.randint(0, 2**28, (40,)), lambda g: g.integers(0, 2**28, 40)),
    "randint beyond 2**32": (lambda t: t.randint(-9, 2**40, (40,)), lambda g: g.integers(-9, 2**40, 40)),
    "randint almost all": (
        lambda t: t.randint(-(2**63), 2**63 - 1, (40,)),
        lambda g: g.integers(-(2**63), 2**63 - 1, 40),
    ),
    "randint float": (
        lambda t: t.randint(3, 99, (40,), dtype=t.float32),
        lambda g: g.integers(3, 99, 40, np.float32),
    ),
    "random_ of all 64 bits": (
        lambda t: numbers(t, "int64", -(2**63), None),
        lambda g: g.random_(30, np.int64, -(2**63)),
    ),
    "random_int64": (lambda t: t.empty((), dtype=t.int64).random_(), lambda g: np.array(g.random_int64())),
    "randperm": (
        lambda t: t.cat([t.randperm(n) for n in (0, 1, 2, 1000)]),
        lambda g: np.concatenate([g.permutation(n) for n in (0, 1, 2, 1000)]),
    ),
    "bernoulli_": (lambda t: t.empty(500).bernoulli_(0.3), lambda g: g.bernoulli(500, 0.3)),
    "bernoulli_ of one value": (
        lambda t: t.cat([t.empty(9).bernoulli_(p) for p in (0, 1)]),
        lambda g: np.concatenate([g.bernoulli(9, p) for p in (0, 1)]),
    ),
    "exponential_": (lambda t: t.empty(500).exponential_(1.7), lambda g: g.exponential(500, 1.7)),
    "exponential_ float64": (
        lambda t: t.empty(500, dtype=t.float64).exponential_(1.7),
        lambda g: g.exponential(500, 1.7, F64),
    ),
    "log_normal_": (
        lambda t: t.cat([t.empty(31).log_normal_(0.3, 0.7), t.randn(2)]),
        lambda g: np.concatenate([g.log_normal(31, 0.3, 0.7), g.normal(2)]),
    ),
    "log_normal_ float64": (
        lambda t: t.empty(500, dtype=t.float64).log_normal_(),
        lambda g: g.log_normal(500, dtype=F64),
    ),
    "geometric_": (lambda t: t.empty(500).geometric_(0.07), lambda g: g.geometric(500, 0.07)),
    "geometric_ uint8": (
        lambda t: t.empty(500, dtype=t.uint8).geometric_(0.005),
        lambda g: g.geometric(500, 0.005, np.uint8),
    ),
    "cauchy_": (lambda t: t.empty(500).cauchy_(0.7, 1.3), lambda g: g.cauchy(500, 0.7, 1.3)),
    "cauchy_ float64": (
        lambda t: t.empty(500, dtype=t.float64).cauchy_(0.7, 1.3),
        lambda g: g.cauchy(500, 0.7, 1.3, F64),
    ),
    "multinomial 1-d": (lambda t: t.multinomial(t.from_numpy(P[0]), 4), lambda g: g.multinomial(P[0], 4)),
    "multinomial all": (lambda t: t.multinomial(t.ones(50), 50), lambda g: g.multinomial(np.ones(50, np.float32), 50)),
}
for name in "bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64":
    for bounds in [(), (0, None), (1,)] + ([(100,), (3, 99), (3, None)] if name != "bool" else []):
        ours = (None, *bounds) if len(bounds) == 1 else bounds
        ROWS[f"random_{bounds} {name}"] = (
            lambda t, name=name, bounds=bounds: numbers(t, name, *bounds),
            lambda g, name=name, ours=ours: g.random_(30, np.dtype(name), *ours),
        )
for i, p in enumerate(WEIGHTS):
    ROWS[f"bernoulli of weights {i}"] = (
        lambda t, p=p: t.bernoulli(t.from_numpy(p)),
        lambda g, p=p: g.bernoulli_from(p),
    )
    for n, replacement in (1, False), (1, True), (3, False), (40, True):
        ROWS[f"multinomial of weights {i}, {n}, {replacement}"] = (
            lambda t, p=p, n=n, r=replacement: t.multinomial(t.from_numpy(p), n, r),
            lambda g, p=p, n=n, r=replacement: g.multinomial(p, n, r),
        )


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("name", ROWS)
def test_draws_and_stands_like_torch(name, oracle):
    theirs, ours = ROWS[name]

    def ask(torch):
        samples, states = [], []
        for seed in SEEDS:
            torch.manual_seed(seed)
            samples.append(theirs(torch).numpy())
            states.append(digest(torch.get_rng_state().numpy()))
        first = [a.reshape(-1)[:8] for a in samples]
        return {"shape": samples[0].shape, "first": first, "bits": [digest(a) for a in samples], "states": states}

    expected = oracle(ask)
    for seed, first, bits, state in zip(SEEDS, expected["first"], expected["bits"], expected["states"], strict=True):
        generator = Generator().manual_seed(seed)
        samples = ours(generator)
        assert samples.shape == tuple(expected["shape"])
        assert samples.dtype in (first.dtype, np.bool_)  # bernoulli's callers choose the type
        np.testing.assert_array_equal(samples.reshape(-1)[:8], first)
        assert digest(samples.astype(first.dtype)) == bits
        assert digest(generator.get_state().array) == state


@pytest.mark.parametrize("taken", [0, 1, 623, 624, 625, 1248])
def test_state_has_torchs_layout_anywhere_in_a_block(taken, oracle):
    def ask(torch):
        torch.manual_seed(7)
        torch.rand(taken)
        return {"state": digest(torch.get_rng_state().numpy())}

    generator = Generator().manual_seed(7)
    generator.uniform(taken)
    assert digest(generator.get_state().array) == oracle(ask)["state"]


def test_words_are_mt19937():
    """The C++ standard names the 10,000th word of the default seed."""
    assert Generator().manual_seed(5489)._words(10_000)[-1] == 4123659995


def test_only_fma_is_fused():
    from tinyrnn.kernels.cpu.jit import njit_exact
    from tinyrnn.kernels.cpu.random import fma

    @njit_exact
    def both(a, b, c):
        return a * b + c, fma(a, b, c)

    for dtype, e in (np.float32, 2.0**-20), (np.float64, 2.0**-40):
        x = dtype(1 + e)
        assert both(x, x, -x * x) == (0, e * e)


# As the rows above, for n numbers.
DRAWS = {
    "uniform": (lambda t, n: t.rand(n), lambda g, n: g.uniform(n)),
    "uniform64": (lambda t, n: t.rand(n, dtype=t.float64), lambda g, n: g.uniform(n, dtype=F64)),
    "normal": (lambda t, n: t.randn(n), lambda g, n: g.normal(n)),
    "normal64": (lambda t, n: t.randn(n, dtype=t.float64), lambda g, n: g.normal(n, dtype=F64)),
    "integers": (lambda t, n: t.randint(0, 1000, (n,)), lambda g, n: g.integers(0, 1000, n)),
    "permutation": (lambda t, n: t.randperm(n), lambda g, n: g.permutation(n)),
    "bernoulli": (lambda t, n: t.empty(n).bernoulli_(0.25), lambda g, n: g.bernoulli(n, 0.25)),
    "log_normal": (lambda t, n: t.empty(n).log_normal_(), lambda g, n: g.log_normal(n)),
}
CALLS = st.lists(st.tuples(st.sampled_from(sorted(DRAWS)), st.integers(0, 700)), max_size=8)


@needs_torch
@settings(max_examples=60, deadline=None)
@given(st.integers(-(2**63), 2**64 - 1), CALLS)
def test_any_sequence_of_draws(seed, calls):
    import torch

    torch.manual_seed(seed)
    generator = Generator().manual_seed(seed)
    for name, n in calls:
        theirs, ours = DRAWS[name]
        np.testing.assert_array_equal(ours(generator, n), theirs(torch, n).numpy())
        np.testing.assert_array_equal(generator.get_state().array, torch.get_rng_state().numpy())


# ------------------------------------------------------------------------------------------- state


def some(generator):
    """A few numbers that show where a generator stands, its waiting sample included."""
    return [*generator.normal(4), *generator.uniform(3), generator.random_int64()]


@pytest.mark.parametrize("before", [0, 3, 700])
def test_state_goes_round(before):
    generator = Generator().manual_seed(11)
    generator.normal(before)
    state = generator.get_state()
    expected = some(generator)
    other = Generator()
    assert other.set_state(state) is other
    copies = [other.clone_state(), copy.deepcopy(other), pickle.loads(pickle.dumps(other)), other]
    assert all(some(g) == expected for g in copies)
    assert all(g.initial_seed() == 11 for g in copies)
    assert some(generator.set_state(state)) == expected
    state.array[:] = 0
    assert some(generator) != expected  # the state was copied, not shared


@needs_torch
def test_states_are_exchanged_with_torch():
    import torch

    theirs, ours = torch.Generator().manual_seed(8), Generator()
    torch.randn(3, generator=theirs)
    ours.set_state(wrap(theirs.get_state().numpy()))
    np.testing.assert_array_equal(ours.normal(6), torch.randn(6, generator=theirs).numpy())
    ours.normal(5)
    theirs.set_state(torch.from_numpy(ours.get_state().array))
    np.testing.assert_array_equal(ours.normal(6), torch.randn(6, generator=theirs).numpy())


def test_nothing_is_drawn_for_no_elements():
    generator = Generator().manual_seed(1)
    generator.normal(1)  # a second sample waits
    state = generator._pack()
    for shape in (0, (3, 0)):
        empty = [
            generator.uniform(shape),
            generator.uniform(shape, dtype=F64),
            generator.normal(shape),
            generator.normal(shape, contiguous=False),
            generator.integers(0, 2, shape),
            generator.random_(shape, np.int8),
            generator.bernoulli(shape, 0.5),
            generator.bernoulli_from(np.empty(shape)),
            generator.exponential(shape),
            generator.log_normal(shape),
            generator.geometric(shape, 0.5),
            generator.cauchy(shape),
        ]
        assert all(a.size == 0 and a.shape == np.empty(shape).shape for a in empty)
    for replacement in False, True:
        assert generator.multinomial(np.ones((0, 3)), 2, replacement).shape == (0, 2)
    assert generator.permutation(0).shape == (0,)
    assert generator._pack() == state


# ------------------------------------------------------------------------------- default generator


def test_default_generator():
    assert random.manual_seed(5) is random.default_generator
    assert random.initial_seed() == 5
    assert some(random.default_generator) == some(Generator().manual_seed(5))
    state = random.get_rng_state()
    expected = some(random.default_generator)
    random.set_rng_state(state)
    assert some(random.default_generator) == expected
    first, second = random.seed(), random.seed()
    assert first != second
    assert random.initial_seed() == second == random.default_generator.initial_seed()


def test_fork_rng():
    random.manual_seed(5)
    random.default_generator.normal(1)
    expected = some(random.default_generator.clone_state())
    with random.fork_rng():
        random.manual_seed(6)
    with pytest.raises(ZeroDivisionError), random.fork_rng(devices=[]):
        some(random.default_generator)
        raise ZeroDivisionError
    assert some(random.default_generator.clone_state()) == expected
    with random.fork_rng(enabled=False):
        random.default_generator.uniform(1)
    assert some(random.default_generator) != expected
    for arguments in {"devices": [0]}, {"device_type": "xpu"}:
        with pytest.raises(RuntimeError, match="fork_rng"), random.fork_rng(**arguments):
            pass


@pytest.mark.parametrize("seed", [0, -1, -(2**63), 2**63, 2**64 - 1, 1.5, "3", True])
def test_manual_seed_takes_what_torchs_takes(seed, oracle):
    expected = oracle(lambda torch: {"seed": np.uint64(torch.manual_seed(seed).initial_seed())})
    assert random.manual_seed(seed).initial_seed() == expected["seed"]


def test_generators_are_on_the_cpu():
    assert str(Generator("cpu").device) == str(Generator(device=None).device) == "cpu"
    assert Generator().initial_seed() == 67280421310721
    for device in "cuda", 0, "nowhere":
        with pytest.raises(RuntimeError):
            Generator(device)


def test_threads_lose_nothing():
    """Two threads draw from one generator: no sample comes twice, and the stream ends where it would for one."""
    generator = Generator().manual_seed(3)
    drawn = [[], []]

    def work(mine):
        for i in range(1000):
            mine.extend(generator.normal(3, dtype=F64))
            if i % 10 == 0:
                generator.uniform(20_000)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in drawn]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # take turns as often as can be
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
    assert len(set(drawn[0] + drawn[1])) == 6000
    alone = Generator().manual_seed(3)
    alone._words(2 * 6000 + 200 * 20_000)
    assert generator._pack() == alone._pack()


# ------------------------------------------------------------------------------------------ errors

NAN, INF = float("nan"), float("inf")
BAD_STATES = {
    "short": lambda state: state[:-1],
    "of zeros": lambda state: state * 0,
    "float": lambda state: state.astype(np.float32),
    "with gaps": lambda state: np.stack([state, state], 1)[:, 0],
}
# torch's call, ours, both to fail.
ERRORS = {
    "seed too large": (lambda t: t.Generator().manual_seed(2**64), lambda g: g.manual_seed(2**64)),
    "seed too small": (lambda t: t.Generator().manual_seed(-(2**63) - 1), lambda g: g.manual_seed(-(2**63) - 1)),
    "seed 1.5": (lambda t: t.Generator().manual_seed(1.5), lambda g: g.manual_seed(1.5)),
    "seed True": (lambda t: t.Generator().manual_seed(True), lambda g: g.manual_seed(True)),
    "seed of numpy": (lambda t: t.Generator().manual_seed(np.int64(1)), lambda g: g.manual_seed(np.int64(1))),
    "uniform backwards": (lambda t: t.empty(3).uniform_(2.5, 1e-9), lambda g: g.uniform(3, 2.5, 1e-9)),
    "uniform backwards, empty": (lambda t: t.empty(0).uniform_(2, 1), lambda g: g.uniform(0, 2, 1)),
    "uniform nan": (lambda t: t.empty(3).uniform_(NAN, 1), lambda g: g.uniform(3, NAN, 1)),
    "uniform inf": (lambda t: t.empty(3).uniform_(0, INF), lambda g: g.uniform(3, 0, INF)),
    "uniform float64 inf": (
        lambda t: t.empty(3, dtype=t.float64).uniform_(-INF, 0),
        lambda g: g.uniform(3, -INF, 0, F64),
    ),
    "uniform too wide": (lambda t: t.empty(3).uniform_(-3e38, 3e38), lambda g: g.uniform(3, -3e38, 3e38)),
    "uniform int": (lambda t: t.empty(3, dtype=t.int64).uniform_(), lambda g: g.uniform(3, dtype=np.int64)),
    "normal std": (lambda t: t.empty(3).normal_(0, -1.5), lambda g: g.normal(3, 0, -1.5)),
    "normal std nan": (lambda t: t.empty(0).normal_(0, NAN), lambda g: g.normal(0, 0, NAN)),
    "normal int": (lambda t: t.empty(3, dtype=t.uint8).normal_(), lambda g: g.normal(3, dtype=np.uint8)),
    "randint of none": (lambda t: t.randint(5, 5, (0,)), lambda g: g.integers(5, 5, 0)),
    "randint too large": (lambda t: t.randint(0, 2**63, (3,)), lambda g: g.integers(0, 2**63, 3)),
    "random_ to 0": (lambda t: numbers(t, "float32", 0), lambda g: g.random_(3, np.float32, high=0)),
    "random_ bool": (lambda t: numbers(t, "bool", 0, 3), lambda g: g.random_(3, np.bool_, 0, 3)),
    "random_ uint8": (lambda t: numbers(t, "uint8", -1, None), lambda g: g.random_(3, np.uint8, -1)),
    "random_ int8": (lambda t: numbers(t, "int8", 0, 129), lambda g: g.random_(3, np.int8, 0, 129)),
    "random_ int32": (lambda t: numbers(t, "int32", 2**40, None), lambda g: g.random_(3, np.int32, 2**40)),
    "randperm": (lambda t: t.randperm(-1), lambda g: g.permutation(-1)),
    "bernoulli": (lambda t: t.empty(3).bernoulli_(1.5), lambda g: g.bernoulli(3, 1.5)),
    "bernoulli nan": (lambda t: t.empty(0).bernoulli_(NAN), lambda g: g.bernoulli(0, NAN)),
    "bernoulli of p": (lambda t: t.bernoulli(t.tensor([1.5])), lambda g: g.bernoulli_from(np.array([1.5]))),
    "bernoulli of nan": (lambda t: t.bernoulli(t.tensor([NAN])), lambda g: g.bernoulli_from(np.array([NAN]))),
    "bernoulli of int": (lambda t: t.bernoulli(t.tensor([1])), lambda g: g.bernoulli_from(np.array([1]))),
    "exponential": (lambda t: t.empty(3).exponential_(0), lambda g: g.exponential(3, 0)),
    "exponential int": (
        lambda t: t.empty(3, dtype=t.int32).exponential_(),
        lambda g: g.exponential(3, dtype=np.int32),
    ),
    "log_normal": (lambda t: t.empty(3).log_normal_(0, 0), lambda g: g.log_normal(3, 0, 0)),
    "log_normal int": (lambda t: t.empty(3, dtype=t.int8).log_normal_(), lambda g: g.log_normal(3, dtype=np.int8)),
    "geometric": (lambda t: t.empty(3).geometric_(1), lambda g: g.geometric(3, 1)),
    "geometric bool": (
        lambda t: t.empty(3, dtype=t.bool).geometric_(0.5),
        lambda g: g.geometric(3, 0.5, np.bool_),
    ),
    "cauchy": (lambda t: t.empty(3).cauchy_(0, -1), lambda g: g.cauchy(3, 0, -1)),
    "cauchy int": (lambda t: t.empty(3, dtype=t.int16).cauchy_(), lambda g: g.cauchy(3, dtype=np.int16)),
}
ONES, ZEROS = np.ones(3), np.array([[1.0, 2], [0, 0]])
for name, *arguments in [
    ("3-d", ONES[None, None], 1),
    ("0-d", ONES[0:1].reshape(()), 1),
    ("int", ONES.astype(int), 1),
    ("none", ONES, 0, True),
    ("more than all", ONES, 4),
    ("no categories", ONES[:0], 2, True),
    ("2^24", np.broadcast_to(np.float32(1), 2**24 + 1), 1),
    ("zeros", ZEROS, 1),
    ("zeros, replacing", ZEROS, 2, True),
    *((f"value {x}", np.array([1, x]), 2, replacement) for x in (-1, INF, NAN) for replacement in (False, True)),
]:
    ERRORS[f"multinomial {name} {arguments[1:]}"] = (
        lambda t, w=arguments[0], rest=arguments[1:]: t.multinomial(t.from_numpy(w.copy()), *rest),
        lambda g, arguments=arguments: g.multinomial(*arguments),
    )
for name, spoil in BAD_STATES.items():
    ERRORS[f"state {name}"] = (
        lambda t, spoil=spoil: t.Generator().set_state(t.from_numpy(spoil(t.Generator().get_state().numpy()))),
        lambda g, spoil=spoil: g.set_state(wrap(spoil(g.get_state().array))),
    )
ERRORS["state no tensor"] = (lambda t: t.Generator().set_state(np.zeros(5056)), lambda g: g.set_state(np.zeros(5056)))


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_torchs(name, oracle):
    """The kind of torch's error, and its words (we may add facts); and nothing is drawn."""
    theirs, ours = ERRORS[name]

    def ask(torch):
        with pytest.raises(Exception) as caught:  # noqa: B017
            theirs(torch)
        message = str(caught.value).split("\n")[0].split(".  (Could")[0].removesuffix(", but got numpy.ndarray")
        return {"kind": type(caught.value).__name__, "message": message}

    expected = oracle(ask)
    generator = Generator().manual_seed(4)
    generator.normal(1)
    state = generator._pack()
    with pytest.raises(Exception) as caught:  # noqa: B017
        ours(generator)
    assert type(caught.value).__name__ == expected["kind"]
    assert str(expected["message"]) in str(caught.value)
    assert generator._pack() == state


def test_more_draws_than_positive_weights():
    """torch goes on with the others, in the order in which its topk leaves what is equal."""
    tinyrnn.manual_seed(0)
    assert tinyrnn.multinomial(tinyrnn.tensor([1.0, 0, 0]), 2).tolist() == [0, 1]
    assert tinyrnn.multinomial(tinyrnn.tensor([[1.0, 0, 0], [0.5, 0.5, 0]]), 2).tolist() == [[0, 1], [0, 1]]
    assert tinyrnn.multinomial(tinyrnn.tensor([[0.0, 0, 1, 0]]), 3).tolist() == [[2, 3, 0]]
    weights = tinyrnn.zeros(1, 20)
    weights[0, 2], weights[0, 19] = 1.0, 0.5
    drawn = tinyrnn.multinomial(weights, 10).tolist()
    assert drawn == [[19, 2, 11, 10, 12, 13, 14, 17, 18, 15]]


def test_what_is_refused_though_torch_takes_it():
    generator = Generator()
    with pytest.raises(RuntimeError, match="to - 1 is out of bounds for float.*16777216"):
        generator.integers(0, 2**30, 3, np.float32)
    with pytest.raises(NotImplementedError, match="randperm: n must be less than 214748364"):
        generator.permutation(2**28)


def test_no_draw_keeps_its_memory():
    """Kernels here take arrays, and count the references to them."""
    g = Generator()
    draws = [each for _, each in ROWS.values()]

    def draw():
        for each in draws:
            each(g)

    draw()
    tracemalloc.start()
    try:
        draw()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(3):
            draw()
        assert tracemalloc.get_traced_memory()[0] - before < 20_000
    finally:
        tracemalloc.stop()


def test_draws_into_tensors_as_they_lie(oracle):
    """torch draws in the order of the memory that it writes to; and which types and bounds it takes."""
    lines = []
    for out in (
        "torch.empty(3, 5{}).t()",
        "torch.empty(20, 5{}).t()",
        "torch.empty(4, 10{})[:, ::2]",
        "torch.empty(2, 3, 4{}).permute(2, 0, 1)",
    ):
        o, whole = out.format(""), out.format(", dtype=torch.int64")
        lines += [
            f"torch.rand(s, out={o})", f"torch.randn(s, out={o})", f"torch.randint(9, s, out={whole})",
            f"torch.normal(1.0, 2.0, s, out={o})", f"torch.normal(torch.ones(s), torch.ones(s), out={o})",
            f"torch.bernoulli(torch.linspace(0, 1, math.prod(s)).reshape(s), out={o})",
        ]  # fmt: skip
        lines[-6:] = [f"s = {o}.shape; torch.manual_seed(0); r = {line}, torch.rand(1)" for line in lines[-6:]]
    f, d = "torch.zeros(20)", "torch.ones(20).double()"
    calls = f"""
        torch.normal({f}, {d})
        torch.normal({d}, {f} + 1)
        torch.normal(torch.tensor(0.0).double(), torch.ones(3))
        torch.normal(0.0, {d})
        torch.normal({f}.long(), 1.0)
        torch.normal({f}.long(), {f} + 1)
        torch.normal({f}, {f} * math.nan)
        torch.normal({f}[:0], {d}[:0]).dtype
        torch.empty(5).random_(2, to=9)
        torch.empty(5).random_(to=9)
        torch.empty(5).random_(**{{"from": 2, "to": 9}})
        torch.empty(5).random_(**{{"from": 2}})
        torch.empty(5).random_(2, **{{"from": 3}})
        torch.empty(5).random_(too=4)
        torch.empty(5).random_(2, 9, 3)
        torch.empty(5).random_(torch.tensor(3))
        torch.empty(5).random_(2, None).shape
        torch.empty(5).uniform_(2, to=9)
        torch.empty(5).uniform_(**{{"from": 2, "to": 9}})
        torch.empty(5).uniform_(hi=2)
        torch.empty(5).uniform_(low=2, high=4)
        torch.empty(5).uniform_(2, **{{"from": 3}})
        torch.empty(5).uniform_(2, 9, 3)
        torch.randperm(300, dtype=torch.uint8)
        torch.randperm(129, dtype=torch.int8)
        torch.randperm(128, dtype=torch.int8).sum(), torch.randperm(256, dtype=torch.uint8).sum()
        torch.randperm(2.5)
        torch.randperm(torch.tensor(4))
        torch.randint(torch.tensor(5), (3,))
        torch.randint(torch.tensor(1), torch.tensor(5), (3,))
        torch.randint(5.5, (2,))
        torch.randint(1, 5.5, (2,))
        torch.randint_like(x, 5.0)
        torch.randint_like(x, torch.tensor(5.0))
        torch.multinomial(torch.ones(3), torch.tensor(2))
        """
    lines += [f"torch.manual_seed(0); r = {line.strip()}" for line in calls.strip().splitlines()]
    check("\n".join(lines), oracle)
