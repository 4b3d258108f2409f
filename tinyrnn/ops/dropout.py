"""Dropout: elements, or whole channels, become zero in training."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from .. import random
from ..devices import of, put
from ..strides import laid_as, memory_order
from ..tape import check_writable, write
from .common import Op, expect_tensor, record, wrap


class Dropout(Op):
    """x times a mask of zeros and 1 / (1 - p)."""

    @staticmethod
    def forward(x, *, mask):
        with np.errstate(invalid="ignore"):
            out = x * mask
        return out if x.flags.c_contiguous else laid_as(out, x, mask), (mask,)

    @staticmethod
    def backward(saved, needs, g):
        return g * saved[0]


def noise(input: Any, p: float, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """0 with probability `p`, else 1, in the shape and type of `input`, drawn in torch's order; or in another shape.

    Drawn on the CPU, so that a seed gives the same masks on both devices.
    """
    x = input.array
    order = memory_order(x) if shape is None else list(range(len(shape)))
    drawn = random.default_generator.bernoulli(tuple((shape or x.shape)[i] for i in order), 1.0 - p)
    return put(drawn.astype(x.dtype).transpose(np.argsort(order)), of(x))


def expect_probability(p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def masked(input: Any, mask: np.ndarray, inplace: bool) -> Any:
    if inplace:
        check_writable(input, False)
    result = record(Dropout, (input,), Dropout.forward(input.array, mask=mask))
    return write(input, result) if inplace else result


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Each element becomes zero with probability `p`, else it is divided by 1 - p; nothing changes unless `training`.

    Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html; the mask is the one that torch draws.
    """
    expect_probability(p)
    x = expect_tensor(input, "dropout").array
    if not training or p == 0.0 or x.size == 0:
        return input
    if p == 1.0:
        return masked(input, np.zeros_like(x), inplace)
    if x.dtype.kind != "f":
        raise RuntimeError(f"result type Float can't be cast to the desired output type {input.dtype} (dropout())")
    return masked(input, noise(input, p) / x.dtype.type(1.0 - p), inplace)


def feature_dropout(input: Any, p: float, training: bool, inplace: bool) -> Any:
    """Whole channels (N, C) of an input (N, C, ...) become zero."""
    if not training or p == 0.0 or input.array.size == 0:
        return input
    shape = (*input.shape[:2], *(1 for _ in input.shape[2:]))
    x = input.array
    mask = np.zeros(shape, x.dtype, like=x) if p == 1.0 else noise(input, p, shape) / x.dtype.type(1.0 - p)
    return masked(input, mask, inplace)


def dropout1d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Each channel (N, C) of (N, C, L), or (C) of (C, L), becomes zero with probability `p`, as dropout has it."""
    expect_probability(p)
    if expect_tensor(input, "dropout1d").ndim not in (2, 3):
        raise RuntimeError(f"dropout1d: Expected 2D or 3D input, but received a {input.ndim}D input.")
    if input.ndim == 3:
        return feature_dropout(input, p, training, inplace)
    result = feature_dropout(input.unsqueeze_(0) if inplace else input.unsqueeze(0), p, training, inplace)
    return result.squeeze_(0) if inplace else result.squeeze(0)


def dropout2d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Each channel (N, C) of (N, C, ...) becomes zero with probability `p`, as dropout has it."""
    expect_probability(p)
    if expect_tensor(input, "dropout2d").ndim < 2 and training and p:
        raise RuntimeError(f"Feature dropout requires at least 2 dimensions in the input: dropout2d() got {input.ndim}")
    if input.ndim not in (3, 4):
        warnings.warn(
            f"dropout2d: Received a {input.ndim}-D input to dropout2d, which is deprecated and will result in an error "
            "in a future release.",
            stacklevel=2,
        )
    elif input.ndim == 3:
        warnings.warn(
            "dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D dropout behavior is desired "
            "- input is interpreted as shape (N, C, L), where C is the channel dim.",
            stacklevel=2,
        )
    return feature_dropout(input, p, training, inplace)


ALPHA = 1.7580993408473766  # what SELU tends to for small inputs, with the other sign


def alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    """Each element takes SELU's lowest value with probability `p`; all are then scaled to keep mean and variance.

    Klambauer et al. 2017, https://arxiv.org/abs/1706.02515.
    """
    expect_probability(p)
    x = expect_tensor(input, "alpha_dropout").array
    if not training or p == 0.0 or x.size == 0:
        return input
    if p == 1.0:
        return masked(input, np.zeros_like(x), inplace)
    scale = 1.0 / math.sqrt((ALPHA * ALPHA * p + 1) * (1 - p))
    kept = noise(input, p)
    result = input * wrap(kept * x.dtype.type(scale))
    result = result + wrap((kept - 1) * x.dtype.type(ALPHA * scale) + x.dtype.type(ALPHA * scale * p))
    return input.copy_(result) if inplace else result
