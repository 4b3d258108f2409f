"""Functions on tensors that the layers are made of, under torch's names."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import random
from ..ops import elementwise
from ..ops.common import Op, expect_tensor, run
from ..ops.elementwise import gelu, logsigmoid, sigmoid, softplus, tanh
from ..ops.index import embedding, one_hot, pad
from ..ops.linear import linear
from ..ops.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    smooth_l1_loss,
)
from ..ops.normalization import batch_norm, rms_norm
from ..ops.rows import cross_entropy, layer_norm, nll_loss
from ..ops.rows import log_softmax as _log_softmax
from ..ops.rows import softmax as _softmax
from ..tape import check_writable, write

__all__ = [
    "batch_norm",
    "rms_norm",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "dropout",
    "elu",
    "embedding",
    "gelu",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "logsigmoid",
    "mse_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "relu",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "tanh",
]


def in_place(function: Callable, input: Any, *numbers: float) -> Any:
    """function(input), written into `input`; what its derivative needs of the old content is kept in a copy."""
    check_writable(expect_tensor(input, function.__name__), False)
    return write(input, function(input.clone() if input.requires_grad else input, *numbers))


def relu(input: Any, inplace: bool = False) -> Any:
    """max(input, 0)."""
    return in_place(elementwise.relu, input) if inplace else elementwise.relu(input)


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    """input where it is positive, negative_slope * input elsewhere."""
    leaky = elementwise.leaky_relu
    return in_place(leaky, input, negative_slope) if inplace else leaky(input, negative_slope)


def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """input where it is positive, alpha * (e ** input - 1) elsewhere."""
    return in_place(elementwise.elu, input, alpha) if inplace else elementwise.elu(input, alpha)


def silu(input: Any, inplace: bool = False) -> Any:
    """input * sigmoid(input)."""
    return in_place(elementwise.silu, input) if inplace else elementwise.silu(input)


def implicit_dim(input: Any, call: str, stacklevel: int) -> int:
    """torch's old choice of a dimension where none is named, with its warning."""
    warnings.warn(
        f"Implicit dimension choice for {call} has been deprecated. Change the call to include dim=X as an argument.",
        stacklevel=stacklevel,
    )
    return 0 if expect_tensor(input, call).array.ndim in (0, 1, 3) else 1


def softmax(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """e ** input, divided by its sum along `dim`."""
    return _softmax(input, implicit_dim(input, "softmax", _stacklevel) if dim is None else dim, dtype)


def log_softmax(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """The logarithm of softmax along `dim`, with no underflow."""
    return _log_softmax(input, implicit_dim(input, "log_softmax", _stacklevel) if dim is None else dim, dtype)


class Dropout(Op):
    """x times a mask of zeros and 1 / (1 - p)."""

    @staticmethod
    def forward(x, *, mask):
        with np.errstate(invalid="ignore"):
            return x * mask, (mask,)

    @staticmethod
    def backward(saved, needs, g):
        return g * saved[0]


def memory_order(x: np.ndarray) -> list[int]:
    """The axes of `x`, from the one with the largest steps in memory to the one with the smallest: the order in which
    torch draws numbers for it.  An axis that was expanded stays where it is.
    """
    order = list(range(x.ndim))
    for k in reversed(range(x.ndim - 1)):
        at = k
        for inner in range(k + 1, x.ndim):
            a, b = order[at], order[inner]
            if 0 in (x.strides[a], x.strides[b]):
                continue
            if x.strides[a] > x.strides[b] or (x.strides[a] == x.strides[b] and x.shape[a] < x.shape[b]):
                break
            if x.strides[a] < x.strides[b] or x.shape[a] > x.shape[b]:
                order[at], order[inner] = b, a
                at = inner
    return order


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Each element becomes zero with probability `p`, else it is divided by 1 - p; nothing changes unless `training`.

    Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html; the mask is the one that torch draws.
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    x = expect_tensor(input, "dropout").array
    if not training or p == 0.0 or x.size == 0:
        return input
    if p == 1.0:
        mask = np.zeros_like(x)
    elif x.dtype.kind != "f":
        raise RuntimeError(f"result type Float can't be cast to the desired output type {input.dtype} (dropout())")
    else:
        order = memory_order(x)
        drawn = random.default_generator.bernoulli(tuple(x.shape[i] for i in order), 1.0 - p)
        mask = (drawn.astype(x.dtype) / x.dtype.type(1.0 - p)).transpose(np.argsort(order))
    if inplace:
        check_writable(input, False)
    result = run(Dropout, (input,), (x,), mask=mask)
    return write(input, result) if inplace else result


def normalize(input: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Any = None) -> Any:
    """input, divided by its norm along `dim` (or by eps, if that is larger)."""
    return input / input.norm(p, dim, True).clamp(min=eps).expand_as(input)
