"""From indices to a batch: the part of loading that runs in the program, or in each worker process."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from .collate import default_collate
from .dataset import Dataset, IterableDataset, Subset, TensorDataset

Fetch = Callable[[Any], Any]


def fetcher(dataset: Dataset, batched: bool, collate_fn: Callable, drop_last: bool) -> Fetch:
    """The function that returns the data for what a sampler yields: a list of indices if `batched`, else one index.

    For an IterableDataset the indices only count samples, and the function raises StopIteration at the stream's end.
    """
    if isinstance(dataset, IterableDataset):
        return _Stream(dataset, batched, collate_fn, drop_last).fetch

    def fetch(index):
        if not batched:
            return collate_fn(dataset[index])
        if collate_fn is default_collate and (batch := _rows(dataset, index)) is not None:
            return batch
        if at_once := getattr(dataset, "__getitems__", None):
            return collate_fn(at_once(index))
        return collate_fn([dataset[i] for i in index])

    return fetch


def _rows(dataset: Any, indices: list) -> list | None:
    """What default_collate makes of rows of tensors, by indexing each tensor once; None for any other dataset."""
    while type(dataset) is Subset:
        dataset, indices = dataset.dataset, [dataset.indices[i] for i in indices]
    if type(dataset) is not TensorDataset or not indices or any(type(i) is not int for i in indices):
        return None
    return [tensor[indices] for tensor in dataset.tensors]


class _Stream:
    """An IterableDataset's iterator, which is not asked again once it has ended: some then start anew."""

    def __init__(self, dataset: IterableDataset, batched: bool, collate_fn: Callable, drop_last: bool):
        self.samples = iter(dataset)
        self.batched, self.collate_fn, self.drop_last = batched, collate_fn, drop_last
        self.ended = False

    def fetch(self, index: Any) -> Any:
        if self.ended:
            raise StopIteration
        if not self.batched:
            return self.collate_fn(next(self.samples))
        batch = list(itertools.islice(self.samples, len(index)))
        self.ended = len(batch) < len(index)
        if not batch or (self.ended and self.drop_last):
            raise StopIteration
        return self.collate_fn(batch)
