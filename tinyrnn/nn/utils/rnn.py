"""Sequences of different lengths: padded into one tensor, or packed without the padding."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ... import dtypes
from ...ops.common import Op, apply, expect_tensor
from ...ops.create import arange, as_tensor, full, zeros_like
from ...ops.index import getitem
from ...tape import entitled, wrap
from ...tensor import Tensor


class _Packed(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Packed):
    """Sequences without their padding, step by step: the first of each, longest sequence first, then the second ...

    data              (sum of the lengths, *)
    batch_sizes       (T,) int64: how many sequences have a step t
    sorted_indices    the order of the sequences in which they are packed; None if it is the given one
    unsorted_indices  the way back
    """

    def __new__(
        cls,
        data: Tensor,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if batch_sizes is None:
            if not isinstance(data, (list, tuple)) or len(data) != 2:
                raise AssertionError("Expected data to be a list or tuple of length 2")
            data, batch_sizes = data
        elif batch_sizes.device.type != "cpu":
            raise ValueError(f"batch_sizes should always be on CPU, got {batch_sizes.device}")
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """With `data` converted as by Tensor.to; this object itself, if there is nothing to convert."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        if "copy" in kwargs:
            raise RuntimeError(".to() does not accept copy argument (PackedSequence.to converts `data` only)")
        order, back = (i if i is None else i.to(data.device) for i in (self.sorted_indices, self.unsorted_indices))
        return self._replace(data=data, sorted_indices=order, unsorted_indices=back)

    def cpu(self, *args: Any, **kwargs: Any) -> PackedSequence:
        there = self.to(*args, **kwargs)
        return there if there.data.is_cpu else there.to("cpu")

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        return self.to(*args, **({"device": "cuda"} if not args else {}), **kwargs)

    # fmt: off
    def double(self) -> PackedSequence: return self.to(dtypes.float64)
    def float(self) -> PackedSequence: return self.to(dtypes.float32)
    def half(self) -> PackedSequence: return self.to(dtypes.float16)
    def long(self) -> PackedSequence: return self.to(dtypes.int64)
    def int(self) -> PackedSequence: return self.to(dtypes.int32)
    def short(self) -> PackedSequence: return self.to(dtypes.int16)
    def char(self) -> PackedSequence: return self.to(dtypes.int8)
    def byte(self) -> PackedSequence: return self.to(dtypes.uint8)
    # fmt: on

    @property
    def is_cuda(self) -> bool:
        return self.data.is_cuda

    def is_pinned(self) -> bool:
        return self.data.is_pinned()

    def pin_memory(self) -> PackedSequence:
        return self._replace(data=self.data.pin_memory())


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that takes back another one."""
    if permutation is None:
        return None
    a = permutation.array
    return zeros_like(permutation).scatter_(0, permutation, wrap(np.arange(a.size, like=a)))


def places(sizes: np.ndarray) -> np.ndarray:
    """Where in a padded (T * B) the packed rows stand, for T batch sizes."""
    return np.flatnonzero(np.arange(sizes[0]) < sizes[:, None])


def unpack_steps(data: Tensor, sizes: np.ndarray) -> Tensor:
    """Packed rows (N, *) as (T, B, *), zero where a sequence has ended."""
    steps, batch = len(sizes), int(sizes[0])
    at = places(sizes)
    if len(at) == steps * batch:
        return data.reshape(steps, batch, *data.array.shape[1:])
    a = data.array
    padded = wrap(np.zeros((steps * batch, *a.shape[1:]), a.dtype, like=a))
    padded[wrap(at)] = data
    return padded.reshape(steps, batch, *data.array.shape[1:])


def pack_steps(padded: Tensor, sizes: np.ndarray) -> Tensor:
    """The rows of (T, B, *) that are alive, as (N, *)."""
    flat = padded.reshape(-1, *padded.array.shape[2:])
    at = places(sizes)
    return flat if len(at) == flat.array.shape[0] else getitem(flat, wrap(at))


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack (T, B, *), or (B, T, *) if batch_first, where sequence b has lengths[b] steps.

    With enforce_sorted the lengths must not increase along the batch; without, the sequences are sorted first.
    """
    expect_tensor(input, "pack_padded_sequence")
    if not isinstance(lengths, Tensor):
        lengths = as_tensor(lengths, dtype=dtypes.int64, device="cpu")
    lengths, order = lengths.to(dtypes.int64), None
    if not enforce_sorted:
        lengths, order = lengths.sort(descending=True)
        order = order.to(input.device)
        input = input.index_select(0 if batch_first else 1, order)
    if not lengths.is_cpu:
        raise RuntimeError(
            f"'lengths' argument should be a 1D CPU int64 tensor, but got {lengths.dim()}D cuda:0 Long tensor "
            "(pack_padded_sequence)"
        )
    sizes = lengths.array
    if sizes.ndim != 1:
        raise RuntimeError(
            f"'lengths' argument should be a 1D CPU int64 tensor, but got {sizes.ndim}D cpu Long tensor "
            "(pack_padded_sequence)"
        )
    if input.dim() < 2:
        raise IndexError(f"pack_padded_sequence: expected an input of two dimensions or more, got {input.dim()}")
    x = input.transpose(0, 1) if batch_first else input
    if x.array.size == 0:
        raise RuntimeError("Cannot pack empty tensors.")
    if len(sizes) != x.array.shape[1]:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(sizes)} (batch_size={x.array.shape[1]})"
        )
    if sizes.min() <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    if np.any(np.diff(sizes) > 0):
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
            "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement if you "
            "do not need ONNX exportability."
        )
    if sizes[0] > x.array.shape[0]:
        raise RuntimeError(
            f"pack_padded_sequence: a length is {sizes[0]}, but the padded sequences have {x.array.shape[0]} steps"
        )
    batch_sizes = (sizes > np.arange(sizes[0])[:, None]).sum(1)
    data = entitled(pack_steps(x[: int(sizes[0])], batch_sizes), "PackPaddedSequenceBackward0")
    return PackedSequence(data, wrap(batch_sizes), order)


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """(the padded sequences (T, B, *), or (B, T, *) if batch_first; their lengths (B,) int64)."""
    sizes, data = sequence.batch_sizes.array, sequence.data
    steps = length = sizes.shape[0]
    if total_length is not None:
        if total_length < steps:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in input, but got "
                f"total_length={total_length} and max sequence length being {steps}"
            )
        length = operator.index(total_length)
    if not steps:
        raise RuntimeError("batch_sizes can not be empty (pad_packed_sequence)")
    if sizes.ndim != 1 or sizes.dtype != np.int64:
        raise RuntimeError(
            f"batch_sizes should be a 1D CPU int64 tensor, but got {sizes.ndim}D and {sequence.batch_sizes.dtype} "
            "(pad_packed_sequence)"
        )
    rows = int(sizes.sum())
    if len(data) != rows:
        if len(data) < rows:
            raise RuntimeError(
                f"pad_packed_sequence(): expected as many rows as batch_sizes add up to, {rows}, got {len(data)}"
            )
        data = data[:rows]
    rest = data.array.shape[1:]
    padded = full((length * int(sizes[0]), *rest), padding_value, dtype=data.dtype, device=data.device)
    padded[wrap(places(sizes))] = data
    padded = padded.reshape(length, int(sizes[0]), *rest)
    if batch_first:
        padded = padded.transpose(0, 1)
    lengths = wrap((sizes[:, None] > np.arange(sizes[0])).sum(0))
    if sequence.unsorted_indices is None:
        return padded, lengths
    back = sequence.unsorted_indices
    return padded.index_select(0 if batch_first else 1, back), lengths[back.cpu()]


class Padded(Op):
    """Sequences (L, *) of one type in an array (B, T, *) or (T, B, *), the rest of which is `filler`."""

    label = "torch::autograd::CopySlices"

    @staticmethod
    def forward(*arrays, longest, filler, left, batch_first):
        size = (len(arrays), longest) if batch_first else (longest, len(arrays))
        out = np.full((*size, *arrays[0].shape[1:]), filler, filler.dtype, like=arrays[0])
        places = []
        for k, a in enumerate(arrays):
            steps = slice(longest - len(a), longest) if left else slice(0, len(a))
            places.append((k, steps) if batch_first else (steps, k))
            out[places[-1]] = a
        return out, (places,)

    @staticmethod
    def backward(saved, needs, g):
        return tuple([g[place] for place in saved[0]])


def pad_sequence(
    sequences: Iterable[Tensor], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Tensors (L, *) of different lengths as one (T, B, *), or (B, T, *) if batch_first, with T the longest length.

    The result has the first tensor's type, and what follows L in its shape; the others are cast and broadcast to that.
    """
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}"
        )
    chosen = list(sequences)
    for k, s in enumerate(chosen):
        if not isinstance(s, Tensor):
            raise TypeError(f"pad_sequence: expected Tensor as element {k}, but got {type(s).__name__}")
    for name, value, kind in (("batch_first", batch_first, bool), ("padding_side", padding_side, str)):
        if not isinstance(value, kind):
            raise TypeError(f"pad_sequence(): argument '{name}' must be {kind.__name__}, not {type(value).__name__}")
    if padding_side not in ("right", "left"):
        raise RuntimeError(f"Expected padding_side to be one of left or right, but got {padding_side}.")
    if not chosen:
        raise RuntimeError("received an empty list of sequences")
    if any(s.dim() == 0 for s in chosen):
        raise RuntimeError("pad_sequence: expected sequences (L, *), but one has no dimension")
    dtype, rest = chosen[0].dtype, chosen[0].array.shape[1:]
    longest = max(s.array.shape[0] for s in chosen)
    rows = []
    for k, s in enumerate(chosen):
        length = s.array.shape[0]
        if s.array.shape[1:] != rest:
            try:
                s = s.expand(length, *rest)
            except RuntimeError as error:
                raise RuntimeError(
                    f"pad_sequence: expected sequences (L, {', '.join(map(str, rest))}) like the first, got shape "
                    f"{list(s.array.shape)} at entry {k}: {error}"
                ) from None
        rows.append(s.to(dtype))
    filler = full((), padding_value, dtype=dtype, device="cpu").array
    return apply(Padded, *rows, longest=longest, filler=filler, left=padding_side == "left", batch_first=batch_first)


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """The sequences of a padded batch, each with its own length.

    Without batch_first the padded tensor is transposed in place, to (B, T, *): so it is in torch.
    """
    x = padded_sequences if batch_first else padded_sequences.transpose_(0, 1)
    steps = arange(x.shape[1], device=lengths.device)
    return [row[steps < n] for row, n in zip(x, lengths, strict=True)]


def pack_sequence(sequences: list[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack a list of tensors (L, *)."""
    lengths = [s.size(0) for s in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences of a packed batch, as a list of tensors (L, *)."""
    return unpad_sequence(*pad_packed_sequence(packed_sequences, batch_first=True), batch_first=True)
