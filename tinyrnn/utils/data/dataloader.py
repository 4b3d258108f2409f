"""DataLoader: a dataset, the order to read it in, and how to make batches of it."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from ...devices import has_gpu
from ...random import Generator
from .collate import default_collate, default_convert
from .dataset import Dataset, IterableDataset
from .fetch import fetcher
from .sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler, stream
from .worker import get_worker_info

__all__ = ["DataLoader", "default_collate", "default_convert", "get_worker_info"]

T_co = TypeVar("T_co", covariant=True)


class DataLoader(Generic[T_co]):
    """Iterates over a dataset in batches.

    dataset: samples by index (Dataset, or anything with `__getitem__` and `__len__`), or a stream (IterableDataset).
    batch_size: samples per batch; None hands over single samples, or what the dataset batched itself.
    shuffle, sampler, batch_sampler: the order; at most one of them.
    num_workers: processes that prepare batches ahead, `prefetch_factor` each; 0 prepares them in this one.
    collate_fn: makes a batch of a list of samples (`default_collate`), or treats a single one (`default_convert`).
    pin_memory, pin_memory_device: accepted; there is no memory to pin.
    drop_last: leave out the last batch if it is not full.
    timeout: seconds to wait for a worker's batch before RuntimeError; 0 waits for ever.
    worker_init_fn: called in each worker with its number, after seeding.
    multiprocessing_context: how workers start: a context, or "fork", "spawn" or "forkserver".  By default what
        `multiprocessing.set_start_method` chose, else fork on Linux.
    generator: the stream for the order, and for the workers' seeds; by default the default generator.
    persistent_workers: keep the workers for the next iteration.
    in_order: hand over batches in the order of the sampler, not in the order in which workers finish.
    """

    _FIXED = {"batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"}
    _initialized = False
    _iterator: Any = None  # of persistent workers
    _reported_length: int | None = None  # what len() said of a stream

    def __init__(
        self,
        dataset: Dataset[T_co],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler | Iterable | None = None,
        batch_sampler: Sampler[list] | Iterable[list] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        if num_workers < 0:
            raise ValueError("num_workers option should be non-negative; use num_workers=0 to disable multiprocessing.")
        if timeout < 0:
            raise ValueError("timeout option should be non-negative")
        if num_workers == 0 and prefetch_factor is not None:
            raise ValueError(
                "prefetch_factor option could only be specified in multiprocessing."
                "let num_workers > 0 to enable multiprocessing, otherwise set prefetch_factor to None."
            )
        if prefetch_factor is not None and prefetch_factor < 0:
            raise ValueError("prefetch_factor option should be non-negative")
        if persistent_workers and num_workers == 0:
            raise ValueError("persistent_workers option needs num_workers > 0")
        streams = isinstance(dataset, IterableDataset)
        if streams:
            for name, value in (("shuffle", shuffle or None), ("sampler", sampler), ("batch_sampler", batch_sampler)):
                if value is not None:
                    raise ValueError(
                        f"DataLoader with IterableDataset: expected unspecified {name} option, but got {name}={value}"
                    )
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
                )
            batch_size, drop_last = None, False
        elif batch_size is None and drop_last:
            raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")

        if sampler is None:
            if streams:
                sampler = itertools.repeat(None)  # a stream has no indices: they only count its samples
            elif shuffle:
                sampler = RandomSampler(dataset, generator=generator)  # type: ignore[arg-type]
            else:
                sampler = SequentialSampler(dataset)  # type: ignore[arg-type]
        if batch_sampler is None and batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        if collate_fn is None:
            collate_fn = default_convert if batch_sampler is None else default_collate

        self.dataset = dataset
        self.batch_size, self.drop_last = batch_size, drop_last
        self.sampler, self.batch_sampler = sampler, batch_sampler
        self.collate_fn = collate_fn
        self.generator = generator
        self.num_workers = num_workers
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.pin_memory, self.pin_memory_device = pin_memory, pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.persistent_workers = persistent_workers
        self.in_order = in_order
        self._warn_of_many_workers()
        self._initialized = True

    def __setattr__(self, name: str, value: Any) -> None:
        if self._initialized and name in self._FIXED:
            raise ValueError(f"{name} attribute should not be set after {type(self).__name__} is initialized")
        super().__setattr__(name, value)

    @property
    def multiprocessing_context(self) -> Any:
        """How workers are started; None for the default."""
        return self._context

    @multiprocessing_context.setter
    def multiprocessing_context(self, context: Any) -> None:
        if context is not None:
            import multiprocessing.context

            if self.num_workers == 0:
                raise ValueError(
                    "multiprocessing_context can only be used with multi-process loading "
                    f"(num_workers > 0), but got num_workers={self.num_workers}"
                )
            if isinstance(context, str):
                methods = multiprocessing.get_all_start_methods()
                if context not in methods:
                    raise ValueError(
                        "multiprocessing_context option should specify a valid start method in "
                        f"{methods}, but got multiprocessing_context={context!r}"
                    )
                context = multiprocessing.get_context(context)
            if not isinstance(context, multiprocessing.context.BaseContext):
                raise TypeError(
                    "multiprocessing_context option should be a valid context object or a string "
                    f"specifying the start method, but got multiprocessing_context={context}"
                )
        self._context = context

    @property
    def _index_sampler(self) -> Any:
        """What says which data come next: lists of indices, or single indices where nothing is batched."""
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def __iter__(self) -> Iterator[Any]:
        if self.num_workers == 0:
            return BatchIterator(self)
        from .processes import WorkersIterator  # multiprocessing is slow to import

        if not self.persistent_workers:
            return WorkersIterator(self)
        if self._iterator is None or not self._iterator.alive:
            self._iterator = WorkersIterator(self)
        else:
            self._iterator.restart(self)
        return self._iterator

    def __len__(self) -> int:
        if not isinstance(self.dataset, IterableDataset):
            return len(self._index_sampler)
        length = self._reported_length = len(self.dataset)  # type: ignore[arg-type]
        if self.batch_size is None:
            return length
        return (length + (0 if self.drop_last else self.batch_size - 1)) // self.batch_size

    def _warn_of_many_workers(self) -> None:
        usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        if usable is not None and self.num_workers > usable:
            warnings.warn(
                f"This DataLoader will create {self.num_workers} worker processes in total. Our suggested max number "
                f"of worker in current system is {usable}: more of them only take turns, and may be slower.",
                stacklevel=3,
            )


class BatchIterator:
    """One pass over a DataLoader's data, prepared in this process."""

    def __init__(self, loader: DataLoader):
        self._begin(loader)
        # Drawn for every pass, though without workers nothing needs it: the stream moves on as torch's does.
        self._base_seed = stream(loader.generator, "DataLoader").random_int64()
        batched = loader.batch_sampler is not None
        self._fetcher_arguments = (loader.dataset, batched, loader.collate_fn, loader.drop_last)
        if loader.pin_memory and not has_gpu():
            warnings.warn(
                "'pin_memory' argument is set as true but no accelerator is found, then device pinned memory "
                "won't be used.",
                stacklevel=3,
            )
        self._start(loader)

    def _begin(self, loader: DataLoader) -> None:
        self._dataset, self._index_sampler = loader.dataset, loader._index_sampler
        self._indices = iter(self._index_sampler)
        self._yielded, self._reported_length = 0, loader._reported_length

    def _start(self, loader: DataLoader) -> None:
        self._fetch = fetcher(*self._fetcher_arguments)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __len__(self) -> int:
        return len(self._index_sampler)

    def __next__(self) -> Any:
        data = self._next()
        self._yielded += 1
        if self._reported_length is not None and self._yielded > self._reported_length:
            warnings.warn(
                f"Length of IterableDataset {self._dataset} was reported to be {self._reported_length}(when accessing "
                f"len(dataloader)), but {self._yielded} samples have been fetched. With several workers, let each of "
                "them iterate over its own share: see get_worker_info().",
                stacklevel=2,
            )
        return data

    def _next(self) -> Any:
        return self._fetch(next(self._indices))
