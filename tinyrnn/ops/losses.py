"""Losses that compare a prediction with a target, element by element: rows of the table of formulas."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..kernels.formulas import LOSSES
from .arithmetic import mul
from .common import check_broadcast, expect_tensor, number, operands, run
from .elementwise import derived
from .reduce import sum
from .rows import by_reduction, reduction_of


def terms(
    name: str, input: Any, target: Any, *extra: Any, numbers: tuple[float, ...] = (), same_size: bool = False
) -> Any:
    """The loss of each element, after torch's checks."""
    expect_tensor(input, name)
    expect_tensor(target, name, "target")
    a, b = input.array.shape, target.array.shape
    if a != b:
        if same_size:
            raise ValueError(
                f"{name}(): Using a target size (torch.Size({list(b)})) that is different to the input size "
                f"(torch.Size({list(a)})) is deprecated. Please ensure they have the same size."
            )
        check_broadcast(input.array, target.array)
        warnings.warn(
            f"Using a target size (torch.Size({list(b)})) that is different to the input size "
            f"(torch.Size({list(a)})). This will "
            "likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
            stacklevel=4,
        )
    _, _, x, y = operands(input, target, name)
    if x.dtype.kind != "f":
        raise RuntimeError(f"{name}(): expected floating-point numbers, got {input.dtype} and {target.dtype}")
    return run(derived(LOSSES[name]), (input, target, *extra), (x, y, *(e.array for e in extra)), numbers=numbers)


def mse_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Any = None,
) -> Any:
    """(input - target) ** 2."""
    losses = terms("mse_loss", input, target)
    if weight is not None:
        losses = mul(losses, weight)
        if reduction == "mean":
            return sum(losses) / sum(weight.expand_as(losses))
    return by_reduction(losses, reduction_of(size_average, reduce, reduction), "mse_loss")


def l1_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Any = None,
) -> Any:
    """|input - target|."""
    losses = terms("l1_loss", input, target)
    if weight is not None:
        losses = mul(losses, weight)
        if reduction == "mean":
            return sum(losses) / sum(weight.expand_as(losses))
    return by_reduction(losses, reduction_of(size_average, reduce, reduction), "l1_loss")


def smooth_l1_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Any:
    """0.5 d ** 2 / beta where d = |input - target| < beta, d - 0.5 beta elsewhere."""
    beta = float(number(beta, "smooth_l1_loss", "beta"))
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    if beta == 0:
        return l1_loss(input, target, size_average, reduce, reduction)
    losses = terms("smooth_l1_loss", input, target, numbers=(beta,))
    return by_reduction(losses, reduction_of(size_average, reduce, reduction), "smooth_l1_loss")


def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Any:
    """0.5 d ** 2 where d = |input - target| < delta, delta (d - 0.5 delta) elsewhere (Huber 1964)."""
    delta = float(number(delta, "huber_loss", "delta"))
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    return by_reduction(terms("huber_loss", input, target, numbers=(delta,)), reduction, "huber_loss")


def binary_cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """-(target log input + (1 - target) log(1 - input)) for probabilities `input`."""
    x = expect_tensor(input, "binary_cross_entropy").array
    if x.dtype.kind == "f" and x.size and not np.all((x >= 0) & (x <= 1)):
        raise RuntimeError("all elements of input should be between 0 and 1")
    losses = terms("binary_cross_entropy", input, target, same_size=True)
    losses = losses if weight is None else mul(losses, weight)
    return by_reduction(losses, reduction_of(size_average, reduce, reduction), "binary_cross_entropy")


def binary_cross_entropy_with_logits(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Any:
    """binary_cross_entropy(sigmoid(input), target), with no overflow; `pos_weight` weighs the positive targets."""
    if (
        expect_tensor(target, "binary_cross_entropy_with_logits", "target").array.shape
        != expect_tensor(input, "binary_cross_entropy_with_logits").array.shape
    ):
        raise ValueError(
            f"Target size (torch.Size({list(target.array.shape)})) must be the same as input size "
            f"(torch.Size({list(input.array.shape)}))"
        )
    from .common import wrap

    one = wrap(np.ones((), input.array.dtype)) if pos_weight is None else pos_weight
    check_broadcast(input.array, one.array)
    losses = terms("binary_cross_entropy_with_logits", input, target, one)
    losses = losses if weight is None else mul(losses, weight)
    return by_reduction(losses, reduction_of(size_average, reduce, reduction), "binary_cross_entropy_with_logits")


def kl_div(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Any:
    """target (log target - input) for log-probabilities `input`; 'batchmean' divides the sum by the first dimension."""
    losses = terms("kl_div_log_target" if log_target else "kl_div", input, target)
    reduction = reduction_of(size_average, reduce, reduction)
    if reduction == "batchmean":
        return sum(losses) / input.array.shape[0]
    return by_reduction(losses, reduction, "kl_div")
