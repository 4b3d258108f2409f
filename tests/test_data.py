"""Datasets, samplers, collation and the DataLoader: torch's order, torch's place in the stream, torch's errors."""

import collections
import gc
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest

import tinyrnn
from tinyrnn.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset, get_worker_info

if sys.platform != "linux":
    pytest.skip("the datasets here are local to their tests: workers must be forked", allow_module_level=True)


class Squares(Dataset):
    """Sample i is what `f(i)` returns, by default i itself."""

    def __init__(self, n=10, f=int):
        self.n, self.f = n, f

    def __getitem__(self, i):
        return self.f(i)

    def __len__(self):
        return self.n


def loaded(loader):
    """All samples that come out of a loader, batched or not, as plain numbers."""
    return [int(x) for batch in loader for x in (batch if hasattr(batch, "__len__") and batch.ndim else [batch])]


def same(oracle, question):
    """`question(torch)` and `question(tinyrnn)` give the same dict of arrays."""
    expected, got = oracle(question), question(tinyrnn)
    assert expected.keys() == got.keys()
    for name in expected:
        np.testing.assert_array_equal(np.asarray(got[name]), expected[name], err_msg=name)


# ------------------------------------------------------------------------------------------ order and stream
class Eager:
    """A batch sampler that draws when it is asked for an iterator, not when that is advanced."""

    def __init__(self, T):
        self.T = T

    def __iter__(self):
        return iter([[int(i)] for i in self.T.randint(0, 10, (6,))])

    def __len__(self):
        return 6


def stream_of(n):
    """An IterableDataset's class, made with torch's or tinyrnn's as base."""

    def make(T):
        class Stream(T.utils.data.IterableDataset):
            def __iter__(self):
                return iter(range(n))

        return Stream()

    return make


ORDERS = {
    "SequentialSampler": lambda T, D: list(D.SequentialSampler(range(5))),
    "RandomSampler": lambda T, D: list(D.RandomSampler(range(55))),
    "RandomSampler, more than there are": lambda T, D: list(D.RandomSampler(range(10), num_samples=25)),
    "RandomSampler, fewer than there are": lambda T, D: list(D.RandomSampler(range(10), num_samples=4)),
    "RandomSampler, replacement": lambda T, D: list(D.RandomSampler(range(55), replacement=True)),
    "RandomSampler, replacement, 77": lambda T, D: list(D.RandomSampler(range(55), True, 77)),
    "RandomSampler, replacement, 64": lambda T, D: list(D.RandomSampler(range(55), True, 64, T.default_generator)),
    "RandomSampler, the default generator": lambda T, D: list(D.RandomSampler(range(9), generator=T.default_generator)),
    "RandomSampler, own generator": lambda T, D: list(
        D.RandomSampler(range(9), generator=T.Generator().manual_seed(3))
    ),
    "SubsetRandomSampler": lambda T, D: list(D.SubsetRandomSampler([5, 7, 9, 11])),
    "WeightedRandomSampler": lambda T, D: list(D.WeightedRandomSampler([0.1, 3, 0, 2], 20)),
    "WeightedRandomSampler, one": lambda T, D: list(D.WeightedRandomSampler([0.1, 3, 0, 2], 1)),
    "WeightedRandomSampler, no replacement": lambda T, D: list(D.WeightedRandomSampler([0.1, 3, 1, 2], 3, False)),
    "BatchSampler": lambda T, D: sum(D.BatchSampler(D.RandomSampler(range(10)), 4, False), []),
    "BatchSampler, drop_last": lambda T, D: sum(D.BatchSampler(D.RandomSampler(range(10)), 4, True), []),
    "random_split": lambda T, D: [i for part in D.random_split(range(10), [6, 4]) for i in part.indices],
    "random_split, fractions": lambda T, D: [
        i for part in D.random_split(range(11), [0.3, 0.3, 0.4]) for i in [len(part), *part.indices]
    ],
    "random_split, generator": lambda T, D: [
        i for part in D.random_split(range(9), [1], T.Generator().manual_seed(4)) for i in part.indices
    ],
    "shuffle": lambda T, D: loaded(D.DataLoader(range(10), 4, shuffle=True)),
    "no shuffle": lambda T, D: loaded(D.DataLoader(range(10), 4)),
    "one by one": lambda T, D: loaded(D.DataLoader(T.arange(10), None, shuffle=True)),
    "drop_last": lambda T, D: loaded(D.DataLoader(range(10), 4, True, drop_last=True)),
    "three epochs": lambda T, D: (lambda loader: loaded(loader) + loaded(loader) + loaded(loader))(
        D.DataLoader(range(7), 2, shuffle=True)
    ),
    "only begun": lambda T, D: iter(D.DataLoader(range(7), shuffle=True)) and [],
    "broken off": lambda T, D: next(iter(D.DataLoader(range(7), 3, shuffle=True))).tolist(),
    "sampler": lambda T, D: loaded(D.DataLoader(range(9), 2, sampler=D.RandomSampler(range(9), True))),
    "batch sampler": lambda T, D: loaded(D.DataLoader(range(10), batch_sampler=Eager(T))),
    "stream": lambda T, D: loaded(D.DataLoader(stream_of(7)(T), 3)),
    "workers": lambda T, D: loaded(D.DataLoader(range(10), 4, shuffle=True, num_workers=2)),
    "workers, two epochs": lambda T, D: (lambda loader: loaded(loader) + loaded(loader))(
        D.DataLoader(range(7), shuffle=True, num_workers=2)
    ),
    "workers, persistent": lambda T, D: (lambda loader: loaded(loader) + loaded(loader))(
        D.DataLoader(range(7), shuffle=True, num_workers=2, persistent_workers=True)
    ),
    "workers, only begun": lambda T, D: iter(D.DataLoader(range(7), shuffle=True, num_workers=1)) and [],
    "workers, batch sampler": lambda T, D: loaded(D.DataLoader(range(10), batch_sampler=Eager(T), num_workers=1)),
    "workers, stream": lambda T, D: loaded(D.DataLoader(stream_of(7)(T), 3, num_workers=2)),
    "workers, not in order": lambda T, D: sorted(
        loaded(D.DataLoader(range(10), shuffle=True, num_workers=2, in_order=False))
    ),
}


@pytest.mark.parametrize("name", ORDERS)
def test_order_and_place_in_the_stream(name, oracle):
    def question(T):
        T.manual_seed(7)
        order = ORDERS[name](T, T.utils.data)
        return {"order": np.array(order, np.int64), "next": T.randint(0, 1 << 20, (6,)).numpy()}

    same(oracle, question)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_given_generator_serves_order_and_seeds(workers, oracle):
    def question(T):
        g = T.Generator().manual_seed(3)
        T.manual_seed(1)
        order = loaded(T.utils.data.DataLoader(range(10), 3, shuffle=True, generator=g, num_workers=workers))
        return {
            "order": order,
            "next": T.randint(0, 1 << 20, (4,), generator=g).numpy(),
            "default": T.randint(0, 1 << 20, (4,)).numpy(),
        }

    same(oracle, question)


@pytest.mark.parametrize("workers", [0, 2])
def test_when_a_sampler_is_asked(workers, oracle):
    """A sampler that draws from the program's own stream draws between the same two draws of the program."""

    def question(T):
        def here():
            return T.randint(0, 1 << 20, (1,)).item()

        T.manual_seed(7)
        sampler = T.utils.data.RandomSampler(range(100), True, 200, T.default_generator)
        batches = iter(T.utils.data.DataLoader(range(100), 8, sampler=sampler, num_workers=workers))
        marks = [here()]
        for batch in batches:
            marks += [*batch.tolist(), here()]
        return {"marks": marks}

    same(oracle, question)


def test_worker_streams(oracle):
    """In worker w, the default generators of torch and Python are seeded with base seed + w, NumPy's with a mixture."""

    def question(T):
        def sample(i):
            info = T.utils.data.get_worker_info()
            return [info.id, info.num_workers, info.seed, T.initial_seed()], [
                random.random(),
                np.random.rand(),
                T.rand(1).item(),
            ]

        T.manual_seed(5)
        loader = T.utils.data.DataLoader(Squares(4, sample), batch_size=None, num_workers=2)
        rows = list(loader)
        return {"numbers": [row[0] for row in rows], "draws": [row[1] for row in rows]}

    same(oracle, question)
    assert get_worker_info() is None


# ------------------------------------------------------------------------------------------ collation
Point = collections.namedtuple("Point", "x y")


class Frozen(collections.abc.Mapping):
    def __init__(self, items):
        self.items_ = dict(items)

    def __getitem__(self, key):
        return self.items_[key]

    def __iter__(self):
        return iter(self.items_)

    def __len__(self):
        return len(self.items_)


class Bag(list):
    pass


def described(x):
    """A nested batch as text: types, dtypes, values."""
    if hasattr(x, "requires_grad"):
        return f"tensor({str(x.dtype).split('.')[-1]} {x.tolist()})"
    if isinstance(x, collections.abc.Mapping):
        return f"{type(x).__name__}({', '.join(f'{k}: {described(v)}' for k, v in x.items())})"
    if isinstance(x, collections.abc.Sequence) and not isinstance(x, (str, bytes)):
        return f"{type(x).__name__}({', '.join(map(described, x))})"
    return f"{type(x).__name__} {x!r}"


BATCHES = {
    "tensors": lambda T: [T.ones(2), T.zeros(2)],
    "tensors of two types": lambda T: [T.ones(2), T.zeros(2, dtype=T.float64)],
    "arrays": lambda T: [np.ones((2, 1)), np.zeros((2, 1))],
    "0-d arrays": lambda T: [np.array(1.5, np.float32), np.array(2.5, np.float32)],
    "NumPy's numbers": lambda T: [np.float32(1.5), np.float32(2.5)],
    "NumPy's float64": lambda T: [np.float64(1.5)],
    "NumPy's bool": lambda T: [np.bool_(True), np.bool_(False)],
    "ints": lambda T: [1, 2],
    "floats": lambda T: [1.5, 2.5],
    "floats, then an int": lambda T: [1.5, 2],
    "an int, then floats": lambda T: [1, 2.5],
    "bools": lambda T: [True, False],
    "texts": lambda T: ["a", "bc"],
    "bytes": lambda T: [b"a"],
    "text first": lambda T: ["a", 1],
    "NumPy's text": lambda T: [np.str_("a")],
    "tuples": lambda T: [(1, 2.0, "a"), (3, 4.0, "b")],
    "lists": lambda T: [[1, 2], [3, 4]],
    "empty lists": lambda T: [[], []],
    "dicts": lambda T: [{"x": 1, "y": "a"}, {"x": 2, "y": "b"}],
    "dicts with more keys": lambda T: [{"x": 1}, {"x": 2, "y": 3}],
    "defaultdicts": lambda T: [collections.defaultdict(int, x=1), collections.defaultdict(int, x=2)],
    "frozen mappings": lambda T: [Frozen({"x": 1}), Frozen({"x": 2})],
    "named tuples": lambda T: [Point(1, "a"), Point(2, "b")],
    "a list's subclass": lambda T: [Bag([1, 2]), Bag([3, 4])],
    "ranges": lambda T: [range(2), range(2)],
    "deques": lambda T: [collections.deque([1, 2])],
    "nested": lambda T: [((1, 2), {"a": [T.ones(1)]}), ((3, 4), {"a": [T.zeros(1)]})],
    "an array": lambda T: np.arange(3),
    # what is refused
    "tensors of two sizes": lambda T: [T.ones(2), T.zeros(3)],
    "arrays of text": lambda T: [np.array(["a"])],
    "arrays of objects": lambda T: [np.array([None])],
    "dates": lambda T: [np.datetime64("2020-01-01")],
    "lists of two sizes": lambda T: [[1, 2], [3]],
    "None": lambda T: [None, None],
    "sets": lambda T: [{1}],
    "complex numbers": lambda T: [1j],
    "a missing key": lambda T: [{"x": 1, "y": 2}, {"x": 2}],
    "nothing": lambda T: [],
}


def outcome(call, *arguments):
    """What a call returns, or the kind of its error and the error's message."""
    try:
        return described(call(*arguments)), ""
    except Exception as error:
        return type(error).__name__, str(error)


@pytest.mark.parametrize("name", BATCHES)
def test_collate_and_convert(name, oracle):
    def question(T):
        batch = BATCHES[name](T)
        collated, message = outcome(T.utils.data.default_collate, batch)
        return {"collated": collated, "message": message, "converted": outcome(T.utils.data.default_convert, batch)[0]}

    expected, got = oracle(question), question(tinyrnn)
    assert got["collated"] == expected["collated"]
    assert got["converted"] == expected["converted"]
    assert got["message"].startswith(str(expected["message"]))  # ours may go on to say what came


def test_collated_arrays_are_copies_and_converted_ones_are_not():
    array = np.ones(2)
    collated, converted = tinyrnn.utils.data.default_collate([array]), tinyrnn.utils.data.default_convert(array)
    array[0] = 5
    assert collated.tolist() == [[1, 1]] and converted.tolist() == [5, 1]


def test_collated_tensors_carry_gradients():
    x = tinyrnn.ones(2, requires_grad=True)
    next(iter(DataLoader(TensorDataset(x), 2)))[0].sum().backward()
    assert x.grad.tolist() == [1, 1]


@pytest.mark.parametrize("workers", [0, 1])
def test_rows_of_tensors_in_one_step_are_what_collation_makes(workers):
    x, y = tinyrnn.arange(20).reshape(10, 2), tinyrnn.arange(10)
    rows = Subset(Subset(TensorDataset(x, y), [9, 7, 5, 3, 1]), [4, 0, 2])
    batch, rest = DataLoader(rows, 2, num_workers=workers)
    assert type(batch) is list and [t.tolist() for t in batch] == [[[2, 3], [18, 19]], [1, 9]]
    assert [t.tolist() for t in rest] == [[[10, 11]], [5]]
    slow = DataLoader(rows, 2, collate_fn=lambda samples: tinyrnn.utils.data.default_collate(samples))
    assert [described(b) for b in slow] == [described(batch), described(rest)]


# ------------------------------------------------------------------------------------------ datasets
DATASETS = {
    "TensorDataset": lambda T, D: D.TensorDataset(T.arange(4), T.arange(8).reshape(4, 2))[1:3],
    "TensorDataset, from the end": lambda T, D: D.TensorDataset(T.arange(4))[-1],
    "TensorDataset, too far": lambda T, D: D.TensorDataset(T.arange(4))[4],
    "TensorDataset, sizes": lambda T, D: D.TensorDataset(T.ones(2), T.ones(3)),
    "TensorDataset, no dimension": lambda T, D: D.TensorDataset(T.tensor(1)),
    "Dataset": lambda T, D: D.Dataset()[0],
    "sum": lambda T, D: list(D.TensorDataset(T.arange(2)) + [1, 2, 3]),
    "sum of streams": lambda T, D: list(stream_of(2)(T) + stream_of(3)(T)),
    "sum of a stream and a list": lambda T, D: list(stream_of(2)(T) + [1]),
    "sum with a stream": lambda T, D: D.TensorDataset(T.arange(2)) + stream_of(2)(T),
    "ConcatDataset": lambda T, D: [D.ConcatDataset([[1, 2], [], [3]])[i] for i in (0, 1, 2, -1, -3)],
    "ConcatDataset, too far": lambda T, D: D.ConcatDataset([[1, 2], [3]])[3],
    "ConcatDataset, too far back": lambda T, D: D.ConcatDataset([[1, 2], [3]])[-4],
    "ConcatDataset, nothing": lambda T, D: D.ConcatDataset([]),
    "cumulative_sizes": lambda T, D: D.ConcatDataset([[1, 2], [], [3]]).cumulative_sizes,
    "StackDataset": lambda T, D: list(D.DataLoader(D.StackDataset([1, 2, 3], D.Subset("abcd", [2, 0, 1])), 2)),
    "StackDataset, named": lambda T, D: D.StackDataset(a=[1, 2], b=D.Subset("abc", [2, 0])).__getitems__([1, 0]),
    "StackDataset, a sample": lambda T, D: [len(D.StackDataset(a=[1, 2])), D.StackDataset(a=[1, 2])[1]],
    "StackDataset, sizes": lambda T, D: D.StackDataset([1, 2], [1]),
    "Subset": lambda T, D: list(D.Subset("abcd", [2, 0])),
    "Subset, several": lambda T, D: D.Subset(T.arange(5) * 2, [2, 0, 1])[[0, 1]],
    "Subset, a batch": lambda T, D: D.Subset(D.Subset("abcd", [3, 2, 1]), [2, 0]).__getitems__([1, 0]),
    "random_split, sum": lambda T, D: D.random_split(range(10), [3, 6]),
    "random_split, fraction": lambda T, D: D.random_split(range(10), [-0.5, 1.5]),
    "random_split, fractions below 1": lambda T, D: D.random_split(range(10), [0.5, 0.4]),
    "random_split, nothing": lambda T, D: D.random_split([], []),
}


@pytest.mark.parametrize("name", DATASETS)
def test_datasets(name, oracle):
    def question(T):
        result, message = outcome(lambda: DATASETS[name](T, T.utils.data))
        return {"result": result, "message": message}

    expected, got = oracle(question), question(tinyrnn)
    assert got["result"] == expected["result"]
    assert got["message"].startswith(str(expected["message"]).rstrip("."))


def test_stack_datasets_are_given_in_one_way():
    for args, named in (((), {}), (([1],), {"a": [1]})):
        with pytest.raises(ValueError, match="At least one dataset|but both were given"):
            tinyrnn.utils.data.StackDataset(*args, **named)


def test_a_stream_must_be_iterable():
    with pytest.raises(TypeError, match="Can't instantiate abstract class IterableDataset"):
        IterableDataset()


def test_random_split_warns_of_an_empty_part():
    with pytest.warns(UserWarning, match="Length of split at index 2 is 0"):
        tinyrnn.utils.data.random_split(range(2), [0.3, 0.3, 0.4])


def test_random_split_refuses_floats_that_are_no_fractions():
    with pytest.raises(TypeError, match=r"random_split\(\): lengths should be integers.*got \[2.0, 1.0\]"):
        tinyrnn.utils.data.random_split(range(3), [2.0, 1.0])


def test_a_subset_that_is_read_one_by_one_must_be_read_by_batch_too():
    """torch's own error: __getitems__ of the base would go past the program's __getitem__."""

    class Halfway(Subset):
        def __getitem__(self, i):
            return 0

    with pytest.raises(NotImplementedError, match="Halfway overrides __getitem__ but not __getitems__"):
        Halfway([1], [0])


# ------------------------------------------------------------------------------------------ arguments
ARGUMENTS = {
    "num_workers": lambda T, D: D.DataLoader([1], num_workers=-1),
    "timeout": lambda T, D: D.DataLoader([1], timeout=-1),
    "prefetch_factor": lambda T, D: D.DataLoader([1], prefetch_factor=2),
    "prefetch_factor, negative": lambda T, D: D.DataLoader([1], num_workers=1, prefetch_factor=-2),
    "persistent_workers": lambda T, D: D.DataLoader([1], persistent_workers=True),
    "stream, shuffle": lambda T, D: D.DataLoader(stream_of(1)(T), shuffle=True),
    "stream, sampler": lambda T, D: D.DataLoader(stream_of(1)(T), sampler=[1]),
    "stream, batch_sampler": lambda T, D: D.DataLoader(stream_of(1)(T), batch_sampler=[[1]]),
    "sampler, shuffle": lambda T, D: D.DataLoader([1], sampler=[0], shuffle=True),
    "batch_sampler, shuffle": lambda T, D: D.DataLoader([1], batch_sampler=[[0]], shuffle=True),
    "batch_sampler, batch_size": lambda T, D: D.DataLoader([1], batch_sampler=[[0]], batch_size=2),
    "batch_sampler, drop_last": lambda T, D: D.DataLoader([1], batch_sampler=[[0]], drop_last=True),
    "batch_size=None, drop_last": lambda T, D: D.DataLoader([1], batch_size=None, drop_last=True),
    "batch_size": lambda T, D: D.DataLoader([1], batch_size=0),
    "batch_size, a float": lambda T, D: D.DataLoader([1], batch_size=1.5),
    "batch_size, True": lambda T, D: D.DataLoader([1], batch_size=True),
    "drop_last": lambda T, D: D.DataLoader([1], drop_last=3),
    "shuffling nothing": lambda T, D: D.DataLoader([], shuffle=True),
    "context without workers": lambda T, D: D.DataLoader([1], multiprocessing_context="fork"),
    "context, a number": lambda T, D: D.DataLoader([1], num_workers=1, multiprocessing_context=3),
    "length of a stream": lambda T, D: len(D.DataLoader(stream_of(1)(T))),
    "attribute": lambda T, D: setattr(D.DataLoader([1]), "batch_size", 2),
    "RandomSampler, replacement": lambda T, D: D.RandomSampler([1], replacement=1),
    "RandomSampler, num_samples": lambda T, D: D.RandomSampler([1], num_samples=0),
    "WeightedRandomSampler, num_samples": lambda T, D: D.WeightedRandomSampler([1, 2], True),
    "WeightedRandomSampler, replacement": lambda T, D: D.WeightedRandomSampler([1, 2], 2, replacement=1),
    "WeightedRandomSampler, weights": lambda T, D: D.WeightedRandomSampler([[1, 2]], 2),
    "WeightedRandomSampler, negative": lambda T, D: list(D.WeightedRandomSampler([1, -2], 3)),
    "WeightedRandomSampler, too many": lambda T, D: list(D.WeightedRandomSampler([1, 2], 3, False)),
    "BatchSampler, batch_size": lambda T, D: D.BatchSampler(range(5), 0, False),
    "BatchSampler, drop_last": lambda T, D: D.BatchSampler(range(5), 2, 1),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_what_is_refused(name, oracle):
    def question(T):
        kind, message = outcome(lambda: ARGUMENTS[name](T, T.utils.data))
        return {"kind": kind, "message": message}

    expected, got = oracle(question), question(tinyrnn)
    assert got["kind"] == expected["kind"]
    assert got["message"].startswith(str(expected["message"]))


def test_a_wrong_generator_is_named():
    with pytest.raises(TypeError, match="DataLoader: generator should be a torch.Generator or None, got int"):
        iter(DataLoader([1], generator=3))


def test_an_unknown_start_method_is_named():  # Python's versions order the known ones differently
    with pytest.raises(ValueError, match=r"valid start method in \[.*'fork'.*got multiprocessing_context='bogus'"):
        DataLoader([1], num_workers=1, multiprocessing_context="bogus")


def test_lengths(oracle):
    def question(T):
        D = T.utils.data

        class Stream(D.IterableDataset):
            def __iter__(self):
                return iter(range(7))

            def __len__(self):
                return 7

        loaders = [
            D.DataLoader(data, size, drop_last=drop)
            for data in (range(7), Stream())
            for size in (1, 2, 7, 10)
            for drop in (False, True)
        ] + [D.DataLoader(data, None) for data in (range(7), Stream())]
        return {
            "len": [len(x) for x in loaders],
            "iterators": [len(iter(x)) for x in loaders[:8]],
            "came": [len(list(x)) for x in loaders],
        }

    same(oracle, question)


def test_settings_can_be_read_back():
    loader = DataLoader(range(3), num_workers=1, multiprocessing_context="fork")
    assert loader.multiprocessing_context.get_start_method() == "fork"
    assert (loader.prefetch_factor, loader.batch_size, loader.drop_last) == (2, 1, False)
    assert loader.collate_fn is tinyrnn.utils.data.dataloader.default_collate
    assert isinstance(loader.sampler, tinyrnn.utils.data.sampler.SequentialSampler)
    assert DataLoader([1], batch_sampler=[[0]]).batch_size is None
    assert DataLoader[int] and Dataset[int]


def test_more_workers_than_processors():
    with pytest.warns(UserWarning, match="This DataLoader will create 5000 worker processes in total"):
        DataLoader(range(3), num_workers=5000)


def test_pin_memory_is_accepted():
    with pytest.warns(UserWarning, match="no accelerator is found"):
        assert loaded(DataLoader(range(3), pin_memory=True)) == [0, 1, 2]


def test_keys_batches_at_once_and_single_samples():
    assert [b.tolist() for b in DataLoader({"a": 1, "b": 2}, sampler=["b", "a"])] == [[2], [1]]
    assert list(DataLoader([1, 2.5], batch_size=None)) == [1, 2.5]

    class AtOnce(Squares):
        def __getitems__(self, indices):
            return [10 * i for i in indices]

    assert [b.tolist() for b in DataLoader(AtOnce(5), 3)] == [[0, 10, 20], [30, 40]]


# ------------------------------------------------------------------------------------------ streams
class Shares(IterableDataset):
    """A stream of which worker w of W takes every W-th number from w on."""

    def __iter__(self):
        info = get_worker_info()
        return iter(range(7) if info is None else range(info.id, 7, info.num_workers))


@pytest.mark.parametrize(
    ("workers", "drop_last", "batches"),
    [
        (0, False, [[0, 1, 2], [3, 4, 5], [6]]),
        (0, True, [[0, 1, 2], [3, 4, 5]]),
        (2, False, [[0, 2, 4], [1, 3, 5], [6]]),
        (2, True, [[0, 2, 4], [1, 3, 5]]),
        (3, False, [[0, 3, 6], [1, 4], [2, 5]]),
    ],
)
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_a_stream_and_its_shares(workers, drop_last, batches):
    loader = DataLoader(Shares(), 3, num_workers=workers, drop_last=drop_last, persistent_workers=workers > 0)
    for _ in range(2):
        assert [b.tolist() for b in loader] == batches


def test_shares_of_different_length():
    class Uneven(IterableDataset):
        def __iter__(self):
            worker = get_worker_info().id
            return iter(range(10 * worker, 10 * worker + [1, 3][worker]))

    assert loaded(DataLoader(Uneven(), num_workers=2)) == [0, 10, 11, 12]


def test_a_stream_is_not_asked_again_after_its_end():
    class Restarting(IterableDataset):
        def __init__(self):
            self.i = 0

        def __iter__(self):
            return self

        def __next__(self):
            self.i += 1
            if self.i % 4 == 0:
                raise StopIteration
            return self.i

    assert [b.tolist() for b in DataLoader(Restarting(), 2)] == [[1, 2], [3]]


def test_a_stream_longer_than_it_said():
    class Liar(Shares):
        def __len__(self):
            return 6

    loader = DataLoader(Liar())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(loader)) == 7 and len(loader) == 6
    with pytest.warns(UserWarning, match=r"reported to be 6.*but 7 samples have been fetched") as told:
        assert len(list(loader)) == 7
    assert len(told) == 1


# ------------------------------------------------------------------------------------------ worker processes
def failing(kind):
    def sample(i):
        if i == 1:
            raise kind(f"bad {i}")
        return i

    return sample


class TwoArguments(Exception):
    def __init__(self, one, two="two"):
        if two == "two":
            super().__init__(one)
        else:
            raise TypeError

    def __reduce__(self):
        raise TypeError("cannot be pickled")


def failure_of(T, sample):
    """The first error that comes out of two workers, without the lines that name torch's or tinyrnn's own files."""
    batches = iter(T.utils.data.DataLoader(Squares(4, sample), num_workers=2))
    seen = [next(batches).item()]
    with pytest.raises(Exception) as caught:  # noqa: PT011, B017
        next(batches)
    lines = str(caught.value).splitlines()
    return {
        "kind": caught.type.__name__,
        "first": "\n".join(lines[:2]),
        "last": lines[-1],
        "ours": sum(__file__ in line for line in lines),
        "others": seen + [b.item() for b in batches],
    }


@pytest.mark.parametrize("kind", [ValueError, KeyError, FileNotFoundError, TwoArguments])
def test_an_error_in_a_worker_is_raised_here_with_its_traceback(kind, oracle):
    same(oracle, lambda T: failure_of(T, failing(kind)))


def test_an_error_whose_class_wants_more_becomes_a_runtime_error(oracle):
    def sample(i):
        return i if i != 1 else b"\xff".decode()

    same(oracle, lambda T: failure_of(T, sample))


def test_an_error_of_a_local_class_and_a_result_that_cannot_travel():
    class Local(Exception):
        pass

    assert failure_of(tinyrnn, failing(Local))["first"].startswith("Caught Local in DataLoader worker process 1.")
    loader = DataLoader(Squares(1, lambda i: lambda: i), num_workers=1, collate_fn=list)
    with pytest.raises(Exception, match=r"in DataLoader worker process 0(.|\n)*pickle"):
        list(loader)


def test_an_error_before_the_first_sample():
    def init(worker):
        if worker == 1:
            raise ValueError("not today")

    batches = iter(DataLoader(Squares(4), num_workers=2, worker_init_fn=init))
    assert next(batches).item() == 0
    with pytest.raises(ValueError, match=r"Caught ValueError in DataLoader worker process 1(.|\n)*not today"):
        next(batches)


def test_worker_init_fn_may_change_the_dataset():
    def init(worker):
        get_worker_info().dataset.f = lambda i: 10 * i + worker

    assert loaded(DataLoader(Squares(4), num_workers=2, worker_init_fn=init)) == [0, 11, 20, 31]


@pytest.mark.parametrize(
    ("end", "how"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "killed by signal: Killed"),
        (lambda: sys.exit(3), "exit code 3"),
    ],
)
def test_a_worker_that_dies_is_named(end, how):
    data = Squares(2, lambda i: (i, os.getpid()) if i == 0 else end())
    batches = iter(DataLoader(data, None, num_workers=1, prefetch_factor=1))
    _, pid = next(batches)
    with pytest.raises(RuntimeError, match=rf"DataLoader worker \(pid\(s\) {pid}\) exited unexpectedly \({how}\)"):
        next(batches)
    with pytest.raises(RuntimeError, match="these workers were stopped"):
        next(batches)


def test_timeout():
    batches = iter(DataLoader(Squares(1, lambda i: time.sleep(0.3) or i), num_workers=1, timeout=0.1))
    with pytest.raises(RuntimeError, match="DataLoader timed out after 0.1 seconds"):
        next(batches)
    time.sleep(0.4)
    assert next(batches).item() == 0  # late, not lost


def test_nothing_is_left_behind():
    def handles():
        gc.collect()
        return len(os.listdir("/proc/self/fd")), multiprocessing.active_children()

    before = handles()
    for _ in DataLoader(Squares(100), num_workers=2):  # broken off early
        break
    assert handles() == before
    batches = iter(DataLoader(Squares(3), num_workers=2))
    assert loaded(batches) == [0, 1, 2] and handles() == before
    for _ in DataLoader(Squares(100, lambda i: np.zeros(10**6)), num_workers=1):  # with a full pipe
        break
    assert handles() == before
    kept = DataLoader(Squares(3), num_workers=2, persistent_workers=True)
    assert loaded(kept) == [0, 1, 2] and len(multiprocessing.active_children()) == 2
    del kept
    assert handles() == before


def test_starting_workers_fails_as_a_whole():
    before = multiprocessing.active_children()
    with pytest.raises(Exception, match="pickle"):
        iter(DataLoader(Squares(3, lambda i: i), num_workers=2, multiprocessing_context="spawn"))
    assert multiprocessing.active_children() == before
    with pytest.raises(TypeError, match="not iterable") as caught:
        iter(DataLoader(Squares(3), num_workers=2, sampler=3))
    assert multiprocessing.active_children() == before and caught.tb  # which keeps what was begun
    with pytest.raises(AssertionError, match="prefetch_factor must be greater than 0"):
        iter(DataLoader(Squares(3), num_workers=1, prefetch_factor=0))


def test_persistent_workers_are_the_same_processes():
    kept = DataLoader(Squares(4, lambda i: (i, os.getpid())), None, num_workers=2, persistent_workers=True)
    first = list(kept)
    for _ in kept:  # an epoch broken off leaves nothing in the next
        break
    assert list(kept) == first and len({pid for _, pid in first}) == 2


def test_a_loader_with_persistent_workers_begins_anew_after_one_died():
    kept = DataLoader(Squares(9, lambda i: (i, os.getpid())), None, num_workers=2, persistent_workers=True)
    batches = iter(kept)
    _, pid = next(batches)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=rf"pid\(s\) {pid}"):
        list(batches)
    assert [i for i, _ in kept] == list(range(9))


def test_a_slow_worker_does_not_stop_the_others_unless_order_counts():
    def sample(i):
        time.sleep(0.5 if i == 0 else 0)
        return i

    def first(in_order):
        return next(iter(DataLoader(Squares(8, sample), num_workers=2, in_order=in_order))).item()

    assert first(True) == 0 and first(False) == 1


def test_workers_survive_a_fork_of_the_program():
    """A forked process drops its copy of the iterator: the workers are not its own."""
    batches = iter(DataLoader(Squares(4), num_workers=1))
    pid = os.fork()
    if pid == 0:
        del batches
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert loaded(batches) == [0, 1, 2, 3]


PROGRAM = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores Ctrl-C
import tinyrnn
from tinyrnn.utils.data import DataLoader

assert "multiprocessing" not in sys.modules, "import tinyrnn must not pay for it"
class Slow:
    def __getitem__(self, i):
        time.sleep(0.01 if i < 2 else 60)
        return os.getpid()
    def __len__(self):
        return 9
loader = DataLoader(Slow(), 2, num_workers=1, persistent_workers=True)
try:
    for pids in loader:
        print(*pids.tolist(), flush=True)
except KeyboardInterrupt:
    print(sys.modules["multiprocessing"].active_children())
    raise
"""


def test_ctrl_c():
    """The program stops at once, with its own traceback alone, and its workers with it."""
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=os.path.dirname(os.path.dirname(__file__)),
    )
    pids = program.stdout.readline().split()
    time.sleep(0.5)  # until the program waits for its second batch
    os.killpg(program.pid, signal.SIGINT)
    left, errors = program.communicate(timeout=10)
    assert left == "[]\n"
    assert errors.count("Traceback") == 1 and errors.rstrip().endswith("KeyboardInterrupt")
    assert not os.path.exists(f"/proc/{pids[0]}")
