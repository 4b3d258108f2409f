"""In which order the samples of a dataset are read."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Generic, TypeVar

import tinyrnn

from ...random import Generator, default_generator

T_co = TypeVar("T_co", covariant=True)
CHUNK = 32  # indices that RandomSampler draws at a time with replacement; part of torch's stream


def stream(generator: Generator | None, call: str) -> Generator:
    """The random stream to draw from: `generator`, or the default one."""
    if generator is None:
        return default_generator
    if not isinstance(generator, Generator):
        raise TypeError(f"{call}: generator should be a torch.Generator or None, got {type(generator).__name__}")
    return generator


def _check_count(name: str, value: Any, allow_bool: bool = False) -> None:
    if not isinstance(value, int) or (isinstance(value, bool) and not allow_bool) or value <= 0:
        raise ValueError(f"{name} should be a positive integer value, but got {name}={value}")


def _check_bool(name: str, value: Any, error: type[Exception] = ValueError) -> None:
    if not isinstance(value, bool):
        raise error(f"{name} should be a boolean value, but got {name}={value}")


class Sampler(Generic[T_co]):
    """An order of indices, or of lists of them (batches): a subclass defines `__iter__` and, if it can, `__len__`."""

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"Subclasses of Sampler should implement __iter__: {type(self).__name__} does not.")


class SequentialSampler(Sampler[int]):
    """0, 1, ... in order."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """The indices of `data_source` in random order.

    replacement: draw each index independently of the others.  num_samples: how many to draw, by default as many as
    there are samples; without replacement, every further round is a new permutation.
    generator: the stream to draw from.  Without one, every iteration seeds its own from the default generator, so that
    what else is drawn meanwhile does not change the order.
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator
        _check_bool("replacement", replacement, TypeError)
        _check_count("num_samples", self.num_samples, allow_bool=True)

    @property
    def num_samples(self) -> int:
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        n, draws = len(self.data_source), self.num_samples
        if self.generator is None:
            generator = Generator().manual_seed(default_generator.random_int64())
        else:
            generator = stream(self.generator, "RandomSampler")
        if self.replacement:
            for start in range(0, draws, CHUNK):
                yield from generator.integers(0, n, (min(CHUNK, draws - start),)).tolist()
        else:
            for _ in range(draws // n):
                yield from generator.permutation(n).tolist()
            # Drawn even if nothing of it is used: the stream moves on as torch's does.
            yield from generator.permutation(n).tolist()[: draws % n]

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[Any]):
    """The elements of `indices` in random order."""

    def __init__(self, indices: Sequence[Any], generator: Generator | None = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[Any]:
        for i in stream(self.generator, "SubsetRandomSampler").permutation(len(self.indices)).tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """`num_samples` indices, index i with a probability proportional to `weights[i]`."""

    def __init__(
        self, weights: Sequence[float], num_samples: int, replacement: bool = True, generator: Generator | None = None
    ) -> None:
        _check_count("num_samples", num_samples)
        _check_bool("replacement", replacement)
        self.weights = tinyrnn.as_tensor(weights, dtype=tinyrnn.float64)
        if self.weights.ndim != 1:
            raise ValueError(
                f"weights should be a 1d sequence but given weights have shape {tuple(self.weights.shape)}"
            )
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        generator = stream(self.generator, "WeightedRandomSampler")
        yield from generator.multinomial(self.weights.array, self.num_samples, self.replacement).tolist()

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """Lists of `batch_size` indices of `sampler`, any iterable; the last may be shorter, unless `drop_last`."""

    def __init__(self, sampler: Sampler[int] | Iterable[int], batch_size: int, drop_last: bool) -> None:
        _check_count("batch_size", batch_size)
        _check_bool("drop_last", drop_last)
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.sampler)
        while batch := list(itertools.islice(indices, self.batch_size)):
            if self.drop_last and len(batch) < self.batch_size:
                return
            yield batch

    def __len__(self) -> int:
        extra = 0 if self.drop_last else self.batch_size - 1
        return (len(self.sampler) + extra) // self.batch_size  # type: ignore[arg-type]
