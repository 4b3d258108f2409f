"""Samples into batches: tensors are stacked, numbers become tensors, containers keep their structure."""

from __future__ import annotations

import copy
from collections.abc import Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

import tinyrnn

NOT_NUMBERS = "SUO"  # NumPy's kinds of bytes, text and Python objects


def default_collate(batch: Sequence[Any]) -> Any:
    """One batch out of a list of samples; the first sample says of which kind they are.

    Tensors and arrays of shape S become one tensor of shape (B, *S); numbers one of shape (B,), float64 for floats;
    text and bytes stay a list.  Mappings, named tuples and sequences are batched element by element; a tuple becomes a
    list.  Raises TypeError for anything else, RuntimeError for sequences or tensors of different sizes.
    """
    first = batch[0]
    kind = type(first)
    if isinstance(first, tinyrnn.Tensor):
        return tinyrnn.stack(batch)
    if isinstance(first, np.ndarray):
        if first.dtype.kind in NOT_NUMBERS:
            raise _cannot(first.dtype)
        return tinyrnn.stack([tinyrnn.as_tensor(array) for array in batch])
    if isinstance(first, (np.number, np.bool_)):
        return tinyrnn.as_tensor(batch)
    if isinstance(first, float):
        return tinyrnn.tensor(batch, dtype=tinyrnn.float64)
    if isinstance(first, int):
        return tinyrnn.tensor(batch)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        return _like(first, {key: default_collate([sample[key] for sample in batch]) for key in first})
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return kind(*(default_collate(samples) for samples in zip(*batch, strict=False)))
    if isinstance(first, Sequence):
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError(
                "each element in list of batch should be of equal size: "
                f"default_collate got sizes {sorted({len(sample) for sample in batch})}"
            )
        return _like(first, [default_collate(samples) for samples in zip(*batch, strict=True)])
    raise _cannot(kind)


def default_convert(data: Any) -> Any:
    """`data` with its NumPy arrays and numbers as tensors: what a DataLoader does to samples that it does not batch."""
    if isinstance(data, (np.ndarray, np.generic)):
        return data if data.dtype.kind in NOT_NUMBERS else tinyrnn.as_tensor(data)
    if isinstance(data, Mapping):
        return _like(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(default_convert(value) for value in data))
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _like(data, [default_convert(value) for value in data])
    return data


def _like(template: Any, items: dict | list) -> Any:
    """`items` in a container of the template's type; a tuple, or a type that refuses them, becomes a plain one."""
    if isinstance(template, tuple):
        return items
    try:
        if not isinstance(template, (MutableMapping, MutableSequence)):
            return type(template)(items)
        clone: Any = copy.copy(template)  # a subclass may need more than its items, such as a defaultdict its factory
        for key, item in items.items() if isinstance(items, dict) else enumerate(items):
            clone[key] = item
        return clone
    except TypeError:
        return items


def _cannot(found: Any) -> TypeError:
    return TypeError(
        f"default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {found}"
    )
