"""Connectionist temporal classification: the probability of a text over all its alignments with a longer input.

Graves et al. 2006, https://www.cs.toronto.edu/~graves/icml_2006.pdf.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..devices import host
from ..kernels import lazy
from ..strides import contiguous
from .common import Op, expect_tensor, on_host, run
from .elementwise import where
from .rows import by_reduction, kind

kernels = lazy("cpu.ctc")


@on_host
class CTC(Op):
    """The loss of each sequence; logs (T, N, C), labels (N, L) with blanks between, and the lengths of both."""

    @staticmethod
    def forward(logs, *, labels, steps, lengths, zero_infinity):
        losses, alpha, jumps = kernels.forward(contiguous(logs), labels, steps, lengths)
        return losses.astype(logs.dtype), (logs, labels, steps, lengths, alpha, jumps, losses, zero_infinity)

    @staticmethod
    def backward(saved, needs, g):
        """For logs that are a log-softmax, which torch takes for granted."""
        logs, *rest, zero_infinity = saved
        return kernels.backward(contiguous(logs), *rest, contiguous(g), zero_infinity)


def lengths_of(given: Any, name: str, batch: int) -> np.ndarray:
    """Lengths, a tensor or a sequence of ints, as an array; checked."""
    values = host(given.array) if hasattr(given, "array") else np.asarray(given)
    if values.dtype.kind not in "iu":
        raise RuntimeError(f"ctc_loss(): {name} must be integral")
    values = values.reshape(-1).astype(np.int64)
    if len(values) != batch:
        raise RuntimeError(f"{name} must be of size batch_size ({batch} sequences, {len(values)} lengths)")
    if values.size and values.min() < 0:
        raise RuntimeError(f"Expected {name} to have value at least 0, but got value {values.min()}")
    return values


def ctc_loss(
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Any:
    """-log of the probability of `targets` given `log_probs`, over all alignments (Graves et al. 2006).

    log_probs (T, N, C) or (T, C), logarithms of probabilities; targets (N, S), or one after the other (sum of their
    lengths), numbers of classes, as integers or floats, that are not `blank`; the lengths (N) or ().  'mean' divides
    each loss by its target's length first.  zero_infinity: losses that are infinite, because the input is too short,
    become 0 and have no gradient.
    """
    x = expect_tensor(log_probs, "ctc_loss", "log_probs")
    if x.ndim not in (2, 3):
        raise RuntimeError(f"ctc_loss(): log_probs must be (T, N, C) or (T, C), got shape {list(x.shape)}")
    if x.array.dtype.kind != "f":
        raise NotImplementedError(f"\"ctc_loss_cpu\" not implemented for '{kind(x)}'")
    if x.array.size == 0:
        raise RuntimeError(f"log_probs tensor must not be empty (ctc_loss(): its shape is {list(x.shape)})")
    ids = host(expect_tensor(targets, "ctc_loss", "targets").array)
    if ids.dtype.kind == "f":  # as in torch on the CPU
        with np.errstate(invalid="ignore"):
            ids = ids.astype(np.int64)
    single = x.ndim == 2
    logs = x.unsqueeze(1) if single else x
    steps_most, batch, classes = logs.shape
    if not 0 <= blank < classes:
        raise RuntimeError(f"blank must be in label range (ctc_loss(): {blank}, with {classes} classes)")
    steps, lengths = (
        lengths_of(input_lengths, "input_lengths", batch),
        lengths_of(target_lengths, "target_lengths", batch),
    )
    if steps.size and steps.max() > steps_most:
        raise RuntimeError(f"Expected input_lengths to have value at most {steps_most}, but got value {steps.max()}")
    longest = int(lengths.max(initial=0))
    labels = np.full((batch, 2 * longest + 1), blank, np.int64)
    if ids.ndim == 1 and not (single and ids.size != lengths.sum()):
        if ids.size < lengths.sum():
            raise RuntimeError(
                f"ctc_loss(): targets has {ids.size} elements, the target_lengths sum to {lengths.sum()}"
            )
        starts = np.concatenate([[0], np.cumsum(lengths)])
        rows = [ids[a : a + n] for a, n in zip(starts, lengths, strict=False)]
    else:
        table = ids[None] if ids.ndim == 1 else ids
        if len(table) != batch or table.shape[1] < longest:
            raise RuntimeError(
                f"Expected tensor to have size at least {longest} at dimension 1, but got size {list(ids.shape)} for "
                "argument #2 'targets' (while checking arguments for ctc_loss)"
            )
        rows = [row[:n] for row, n in zip(table, lengths, strict=True)]
    for n, row in enumerate(rows):
        labels[n, 1 : 2 * len(row) : 2] = row
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        raise IndexError(f"ctc_loss(): a target is not one of the {classes} classes")
    losses = run(CTC, (logs,), (logs.array,), labels=labels, steps=steps, lengths=lengths, zero_infinity=zero_infinity)
    if zero_infinity:
        losses = where(losses == np.inf, losses.new_zeros(()), losses)
    if reduction == "mean":
        losses = losses / losses.new_tensor(np.maximum(lengths, 1).tolist())
    return by_reduction(losses.squeeze(0) if single else losses, reduction, "ctc_loss")
