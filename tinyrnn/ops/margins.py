"""Losses that ask for a margin: between two scores, or between the right classes and the others."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels.formulas import LOSSES
from ..tape import entitled
from .common import check_broadcast, expect_tensor, operands, run, wrap
from .elementwise import derived, logsigmoid, relu, where
from .rows import by_reduction, constant, expect_floating, kind, reduction_of


def expect_reduction(reduction: str, call: str) -> None:
    """torch's ValueError for a reduction that there is not, where it looks at that first."""
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction ({call}(): expected 'mean', 'sum' or 'none')")


def margin_ranking_loss(
    input1: Any,
    input2: Any,
    target: Any,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """max(0, margin - target (input1 - input2)): target 1 asks for the first to be larger, -1 for the second."""
    call = "margin_ranking_loss"
    reduction = reduction_of(size_average, reduce, reduction)
    names = ("input1", "input2", "target")
    shapes = [list(expect_tensor(t, call, n).shape) for n, t in zip(names, (input1, input2, target), strict=True)]
    if len({len(shape) for shape in shapes}) > 1:
        raise RuntimeError(
            f"{call} : All input tensors should have same dimension but got sizes: input1: {shapes[0]}, "
            f"input2: {shapes[1]}, target: {shapes[2]}"
        )
    return by_reduction((-target * (input1 - input2) + float(margin)).clamp_min(0), reduction, call)


def hinge_embedding_loss(
    input: Any,
    target: Any,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """input, a distance, for a target of 1; max(0, margin - input) for -1; both for any other."""
    call = "hinge_embedding_loss"
    reduction = reduction_of(size_average, reduce, reduction)
    x, y = expect_tensor(input, call), expect_tensor(target, call, "target")
    zero = x.new_zeros(())
    losses = where(y != 1, (margin - x).clamp(min=0), zero) + where(y != -1, x, zero)
    return by_reduction(losses, reduction, call)


def soft_margin_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """log(1 + e ** (-target * input)) for targets 1 and -1."""
    call = "soft_margin_loss"
    reduction = reduction_of(size_average, reduce, reduction)
    expect_reduction(reduction, call)
    expect_floating(expect_tensor(input, call), call)
    _, _, x, y = operands(input, constant(target, call, "target"), call)
    check_broadcast(x, y)
    losses = run(derived(LOSSES[call]), (input, target), (x, y))
    return entitled(by_reduction(losses, reduction, call), "SoftMarginLossBackward0")


def rows_of(input: Any, target: Any, reduction: str, call: str, several: bool) -> tuple[Any, np.ndarray]:
    """input (N, C) or (C) as (N, C), with its class numbers (N) or, if `several`, (N, C)."""
    expect_reduction(reduction, call)
    x = expect_floating(expect_tensor(input, call), call)
    classes = expect_tensor(target, call, "target").array
    if x.ndim > 2 or (x.ndim and x.shape[-1] == 0) or (several and x.ndim == 0 and classes.ndim > 1):
        raise RuntimeError(
            f"{call}: Expected non-empty vector or matrix with optional 0-dim batch size, but got: {list(x.shape)}"
        )
    rows = x.reshape(1, -1) if x.ndim < 2 else x
    wanted = rows.array.shape if several else rows.array.shape[:1]
    fits = classes.ndim <= 1 and classes.size == wanted[-1] if x.ndim < 2 else classes.shape == wanted
    if not fits:
        raise RuntimeError(f"inconsistent target size: {list(classes.shape)} for input of size: {list(x.shape)}")
    if classes.dtype != np.int64:
        raise RuntimeError(f"expected scalar type Long but found {kind(target)} ({call}(): target)")
    if classes.size and (classes.min() < (-1 if several else 0) or classes.max() >= rows.shape[1]):
        raise RuntimeError(f"{call}: target out of range (there are {rows.shape[1]} classes)")
    return rows, classes.reshape(wanted)


def multi_margin_loss(
    input: Any,
    target: Any,
    p: int = 1,
    margin: float = 1.0,
    weight: Any = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """The mean over the classes of max(0, margin - input[target] + input) ** p, but for the target itself.

    input (N, C) or (C); target: class numbers (N) or (); `weight` (C) weighs the targets.
    """
    call = "multi_margin_loss"
    reduction = reduction_of(size_average, reduce, reduction)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and expect_tensor(weight, call, "weight").ndim != 1:
        raise ValueError("weight must be one-dimensional")
    x, classes = rows_of(input, target, reduction, call, several=False)
    if weight is not None and weight.numel() != x.shape[1]:
        raise RuntimeError(f"inconsistent weight size: expected {x.shape[1]} but got {list(weight.shape)}")
    right = wrap(classes[:, None])
    short = relu(margin - x.gather(1, right) + x).scatter(1, right, 0.0)
    if p == 2:
        short = short * short
    losses = short.sum(1) / x.shape[1] if weight is None else (short * weight[right]).sum(1) / x.shape[1]
    losses = losses if input.ndim > 1 or target.ndim else losses.squeeze(0)
    return entitled(by_reduction(losses, reduction, call), "MultiMarginLossBackward0")


def multilabel_margin_loss(
    input: Any, target: Any, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"
) -> Any:
    """The sum of max(0, 1 - input[right] + input[wrong]) over all right and wrong classes, divided by their number.

    input (N, C) or (C); target, of the same shape: the numbers of the right classes, and then -1.
    """
    call = "multilabel_margin_loss"
    reduction = reduction_of(size_average, reduce, reduction)
    x, classes = rows_of(input, target, reduction, call, several=True)
    listed = np.logical_and.accumulate(classes >= 0, axis=1)
    right = np.zeros(classes.shape, bool, like=classes)
    row, place = np.nonzero(listed)
    right[row, classes[row, place]] = True
    of_right = x.gather(1, wrap(np.where(listed, classes, 0))).unsqueeze(2)
    short = relu(1 - of_right + x.unsqueeze(1)).masked_fill(wrap(~(listed[:, :, None] & ~right[:, None, :])), 0.0)
    losses = short.sum((1, 2)) / x.shape[1]
    losses = losses if input.ndim > 1 else losses.squeeze(0)
    return entitled(by_reduction(losses, reduction, call), "MultilabelMarginLossBackward0")


def multilabel_soft_margin_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """The mean over the last dimension of the binary cross-entropy of sigmoid(input), with `weight` times the terms."""
    call = "multilabel_soft_margin_loss"
    reduction = reduction_of(size_average, reduce, reduction)
    terms = -(target * logsigmoid(expect_tensor(input, call)) + (1 - target) * logsigmoid(-input))
    if weight is not None:
        terms = terms * weight
    return by_reduction(terms.sum(-1) / input.shape[-1], reduction, call)
