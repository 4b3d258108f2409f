"""Losses that compare a prediction with a target, element by element: rows of the table of formulas."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from ..kernels.formulas import LOSSES
from ..strides import laid_as
from ..tape import no_grad
from .arithmetic import mul, sub
from .common import cast, check_broadcast, expect_tensor, number, operands, record, wrap
from .elementwise import abs, derived
from .reduce import sum
from .rows import by_reduction, constant, expect_floating, kind, reduction_of


def terms(name: str, input: Any, target: Any, *extra: Any, numbers: tuple[float, ...] = ()) -> Any:
    """The loss of each element of the broadcast shape; `extra` are arrays, copied for the backward."""
    _, _, x, y = operands(input, target, name)
    if x.dtype.kind != "f":
        expect_floating(input, name)
    extra = tuple(e.astype(x.dtype) for e in extra)
    op = derived(LOSSES[name])
    out, saved = op.forward(x, y, *extra, numbers=numbers)
    if name in TARGET_FIRST and not (x.flags.c_contiguous and y.flags.c_contiguous):
        out = laid_as(out, y, *[x] * (y.shape != out.shape))
    return record(op, (input, target, *(None for _ in extra)), (out, saved))


TARGET_FIRST = {"binary_cross_entropy_with_logits", "kl_div", "kl_div_log_target"}  # whose results lie as targets do


def broadcast(input: Any, target: Any, name: str) -> tuple[Any, Any]:
    """Both in their common shape, with torch's warning if they had to be brought to it."""
    a, b = expect_tensor(input, name).shape, expect_tensor(target, name, "target").shape
    if a == b:
        return input, target
    warnings.warn(
        f"Using a target size ({b}) that is different to the input size ({a}). This will likely lead to incorrect "
        "results due to broadcasting. Please ensure they have the same size.",
        stacklevel=3,
    )
    shape = check_broadcast(input.array, target.array)
    return input.expand(shape), target.expand(shape)


def check_weight(weight: Any, size: Any, call: str) -> None:
    """Refuse weights that are not of the size of the input."""
    if weight is not None and expect_tensor(weight, call, "weight").shape != size:
        raise ValueError(
            f"{call}(): Weights and input must have the same size, got {list(weight.shape)} and {list(size)}"
        )


def weighted(losses: Any, weight: Any, reduction: str, call: str) -> Any:
    """The losses, or with weights their weighted sum or mean, which divides by the sum of the weights."""
    if weight is None:
        return by_reduction(losses, reduction, call)
    losses = mul(losses, weight)
    return sum(losses) / sum(weight) if reduction == "mean" else by_reduction(losses, reduction, call)


def mse_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Any = None,
) -> Any:
    """(input - target) ** 2, times `weight` (of the input's size), whose sum then divides the mean."""
    x, y = broadcast(input, target, "mse_loss")
    reduction = reduction_of(size_average, reduce, reduction)
    check_weight(weight, input.shape, "mse_loss")
    return weighted(terms("mse_loss", x, y), weight, reduction, "mse_loss")


def l1_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Any = None,
) -> Any:
    """|input - target|, times `weight` (of the input's size), whose sum then divides the mean."""
    x, y = broadcast(input, target, "l1_loss")
    reduction = reduction_of(size_average, reduce, reduction)
    check_weight(weight, input.shape, "l1_loss")
    kinds = x.array.dtype.kind + y.array.dtype.kind
    losses = terms("l1_loss", x, y) if "f" in kinds and "b" not in kinds else abs(sub(x, y))
    return weighted(losses, weight, reduction, "l1_loss")


def smooth_l1_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Any:
    """0.5 d ** 2 / beta where d = |input - target| < beta, d - 0.5 beta elsewhere."""
    x, y = broadcast(input, target, "smooth_l1_loss")
    reduction = reduction_of(size_average, reduce, reduction)
    beta = float(number(beta, "smooth_l1_loss", "beta"))
    if beta == 0:
        return l1_loss(x, y, reduction=reduction)
    if not beta > 0:
        raise RuntimeError(f"smooth_l1_loss does not support negative values for beta (got {beta}).")
    return by_reduction(terms("smooth_l1_loss", x, y, numbers=(beta,)), reduction, "smooth_l1_loss")


def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None) -> Any:
    """0.5 d ** 2 where d = |input - target| < delta, delta (d - 0.5 delta) elsewhere (Huber 1964).

    `weight` (of the input's size) is multiplied by; the mean is over the number of elements all the same.
    """
    x, y = broadcast(input, target, "huber_loss")
    delta = float(number(delta, "huber_loss", "delta"))
    if not delta > 0:
        raise RuntimeError(f"huber_loss does not support non-positive values for delta (got {delta}).")
    check_weight(weight, input.shape, "huber_loss")
    if y.array.dtype.kind == "f" and x.array.dtype.kind != "f":
        raise RuntimeError(f"huber_loss(): result type {kind(y)} can't be cast to the desired output type {kind(x)}")
    losses = cast(terms("huber_loss", x, y, numbers=(delta,)), x.array.dtype)
    return by_reduction(losses if weight is None else mul(losses, weight), reduction, "huber_loss")


def scaled(losses: Any, weight: Any, call: str) -> Any:
    """The losses times a weight that broadcasts to their shape; their type stays."""
    if weight is None:
        return losses
    check_fits(losses, constant(weight, call))
    return mul(losses, cast(weight, losses.array.dtype))


def check_fits(losses: Any, weight: Any) -> None:
    shape = check_broadcast(losses.array, weight.array)
    if shape != losses.array.shape:
        raise RuntimeError(
            f"output with shape {list(losses.array.shape)} doesn't match the broadcast shape {list(shape)}"
        )


def binary_cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """-(target log input + (1 - target) log(1 - input)) for probabilities `input` and `target` of one shape and type.

    `weight` broadcasts to that shape.
    """
    call = "binary_cross_entropy"
    reduction = reduction_of(size_average, reduce, reduction)
    if expect_tensor(target, call, "target").shape != expect_tensor(input, call).shape:
        raise ValueError(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}) is deprecated. "
            "Please ensure they have the same size."
        )
    if target.dtype != input.dtype:
        raise RuntimeError(f"Found dtype {kind(target)} but expected {kind(input)} ({call}(): target)")
    expect_floating(input, call)
    for name, t in (("input", input), ("target", target)):
        if not np.all((t.array >= 0) & (t.array <= 1)):
            raise RuntimeError(f"{call}(): all elements of {name} should be between 0 and 1")
    return by_reduction(scaled(terms(call, input, target), weight, call), reduction, call)


def binary_cross_entropy_with_logits(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Any:
    """binary_cross_entropy(sigmoid(input), target), with no overflow.

    `pos_weight` weighs the positive targets, `weight` all; both broadcast to the input's shape.
    """
    call = "binary_cross_entropy_with_logits"
    reduction = reduction_of(size_average, reduce, reduction)
    if expect_tensor(target, call, "target").shape != expect_tensor(input, call).shape:
        raise ValueError(f"Target size ({target.shape}) must be the same as input size ({input.shape})")
    expect_floating(input, call)
    if target.array.dtype.kind != "f":
        raise RuntimeError(f"result type {kind(input)} can't be cast to the desired output type {kind(target)}")
    one = (
        wrap(np.ones((), input.array.dtype, like=input.array))
        if pos_weight is None
        else constant(pos_weight, call, "pos_weight")
    )
    check_fits(input, one)
    losses = cast(terms(call, input, target, one.array), target.array.dtype)
    return by_reduction(scaled(losses, weight, call), reduction, call)


def kl_div(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Any:
    """target (log target - input) for log-probabilities `input`; with log_target, `target` holds logarithms too.

    'batchmean' divides the sum by the first dimension.
    """
    if size_average is None and reduce is None and reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size. 'batchmean' divides "
            "only by the batch size, and aligns with the KL div math definition.",
            stacklevel=2,
        )
    reduction = reduction_of(size_average, reduce, reduction)
    for name, t in (("input", input), ("target", target)):
        if expect_tensor(t, "kl_div", name).array.dtype.kind != "f":
            raise RuntimeError(f"kl_div: Integral inputs not supported ({name} is {kind(t)})")
    losses = terms("kl_div_log_target" if log_target else "kl_div", input, target)
    if reduction == "batchmean":
        total = sum(losses)
        return total / input.array.shape[0] if input.array.ndim else total
    return by_reduction(losses, reduction, "kl_div")


def poisson_nll_loss(
    input: Any,
    target: Any,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """e ** input - target * input, or with log_input=False input - target log(input + eps).

    full: adds Stirling's approximation of log(target!) where the target is above 1.
    """
    call = "poisson_nll_loss"
    reduction = reduction_of(size_average, reduce, reduction)
    x, y = expect_tensor(input, call), expect_tensor(target, call, "target")
    losses = x.exp() - y * x if log_input else x - y * (x + eps).log()
    if full:
        stirling = y * y.log() - y + 0.5 * (2 * math.pi * y).log()
        losses = losses + stirling.masked_fill(y <= 1, 0)
    return by_reduction(losses, reduction, call)


def gaussian_nll_loss(
    input: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Any:
    """(log var + (input - target) ** 2 / var) / 2, with var at least `eps`; full: plus log(2 pi) / 2.

    var: a number, or a tensor of the input's size, without its last dimension, or with a 1 in one place.
    """
    call = "gaussian_nll_loss"
    x = expect_tensor(input, call)
    if isinstance(var, float):
        if var < 0:
            raise ValueError(f"{call}(): var has negative entry/entries")
        var = x.new_full(x.shape, var)
    elif (expect_tensor(var, call, "var").array < 0).any():
        raise ValueError(f"{call}(): var has negative entry/entries")
    if var.shape != x.shape:
        if x.shape[:-1] == var.shape:
            var = var.unsqueeze(-1)
        elif x.ndim != var.ndim or [m for n, m in zip(x.shape, var.shape, strict=True) if n != m] != [1]:
            raise ValueError(f"{call}(): var is of incorrect size {list(var.shape)}, for an input of {list(x.shape)}")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not valid ({call}(): expected 'mean', 'sum' or 'none')")
    var = var.clone()
    with no_grad():  # as in torch: the bound is no part of the derivative
        var.clamp_(min=eps)
    losses = 0.5 * (var.log() + (x - target) ** 2 / var)
    if full:
        losses = losses + 0.5 * math.log(2 * math.pi)
    return by_reduction(losses, reduction, call)
