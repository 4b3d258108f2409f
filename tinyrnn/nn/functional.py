"""Functions on tensors that the layers are made of, under torch's names."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import random
from ..devices import of, put
from ..kernels.formulas import BINARY, UNARY
from ..kernels.scalar import Var
from ..ops import elementwise
from ..ops.attention import scaled_dot_product_attention
from ..ops.common import Op, change, expect_tensor, into, number, run, unsupported
from ..ops.ctc import ctc_loss
from ..ops.distances import (
    cosine_embedding_loss,
    cosine_similarity,
    pairwise_distance,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from ..ops.dropout import alpha_dropout, dropout, dropout1d, dropout2d
from ..ops.elementwise import activation, derived, gelu, logsigmoid, sigmoid, softplus, tanh
from ..ops.embedding import embedding, embedding_bag
from ..ops.index import one_hot
from ..ops.linear import linear
from ..ops.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    gaussian_nll_loss,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    poisson_nll_loss,
    smooth_l1_loss,
)
from ..ops.margins import (
    hinge_embedding_loss,
    margin_ranking_loss,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    soft_margin_loss,
)
from ..ops.multihead import multi_head_attention_forward
from ..ops.normalization import batch_norm, group_norm, instance_norm, rms_norm
from ..ops.padding import pad
from ..ops.pooling import (
    adaptive_avg_pool1d,
    adaptive_max_pool1d,
    adaptive_max_pool1d_with_indices,
    avg_pool1d,
    max_pool1d,
    max_pool1d_with_indices,
)
from ..ops.rows import cross_entropy, layer_norm, nll_loss
from ..ops.rows import log_softmax as _log_softmax
from ..ops.rows import softmax as _softmax
from ..tape import check_writable, entitled, is_grad_enabled, write

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_max_pool1d",
    "adaptive_max_pool1d_with_indices",
    "alpha_dropout",
    "avg_pool1d",
    "batch_norm",
    "bilinear",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "celu",
    "celu_",
    "cosine_embedding_loss",
    "cosine_similarity",
    "cross_entropy",
    "ctc_loss",
    "dropout",
    "dropout1d",
    "dropout2d",
    "elu",
    "elu_",
    "embedding",
    "embedding_bag",
    "gaussian_nll_loss",
    "gelu",
    "glu",
    "group_norm",
    "gumbel_softmax",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hardtanh_",
    "hinge_embedding_loss",
    "huber_loss",
    "instance_norm",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "leaky_relu_",
    "linear",
    "log_softmax",
    "logsigmoid",
    "margin_ranking_loss",
    "max_pool1d",
    "max_pool1d_with_indices",
    "mish",
    "mse_loss",
    "multi_head_attention_forward",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "pairwise_distance",
    "poisson_nll_loss",
    "prelu",
    "relu",
    "relu6",
    "relu_",
    "rms_norm",
    "rrelu",
    "rrelu_",
    "scaled_dot_product_attention",
    "selu",
    "selu_",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "soft_margin_loss",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
    "threshold_",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]


# ------------------------------------------------------------------------------------------ activations
def activate(name: str, input: Any, inplace: bool, *numbers: Any) -> Any:
    """The function `name` of the table of formulas; with `inplace` written into `input`.

    What its derivative needs of the old content is then kept in a copy.
    """
    values = [number(n, name, key) for key, n in zip(UNARY[name].recording.keywords, numbers, strict=True)]
    if not inplace:
        return activation(name, input, *values)
    check_writable(expect_tensor(input, name), False)
    if is_grad_enabled() and input.requires_grad and UNARY[name].saves[0]:
        return write(input, activation(name, input.clone(), *values))
    return write(input, change(input.array, activation, name, input, *values))


def in_place(function: Callable) -> Callable:
    """The form of an activation that overwrites its input, which it returns."""
    name = f"{function.__name__}_"

    @functools.wraps(function)
    def overwrite(input: Any, *args: Any, **kwargs: Any) -> Any:
        return function(input, *args, **kwargs, inplace=True)

    overwrite.__name__ = overwrite.__qualname__ = name
    overwrite.__doc__ = f"{function.__name__}, written into its input."
    return overwrite


def relu(input: Any, inplace: bool = False) -> Any:
    """max(input, 0)."""
    return expect_tensor(input, "relu").relu_() if inplace else elementwise.relu(input)


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    """input where it is positive, negative_slope * input elsewhere."""
    return activate("leaky_relu", input, inplace, negative_slope)


def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """input where it is positive, alpha * (e ** input - 1) elsewhere (Clevert et al. 2015)."""
    return activate("elu", input, inplace, alpha)


def selu(input: Any, inplace: bool = False) -> Any:
    """1.0507 * elu(input, 1.6733), which keeps mean zero and variance one (Klambauer et al. 2017)."""
    return activate("selu", input, inplace)


def celu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """input where it is positive, alpha * (e ** (input / alpha) - 1) elsewhere (Barron 2017)."""
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return activate("celu", input, inplace, alpha)


def silu(input: Any, inplace: bool = False) -> Any:
    """input * sigmoid(input)."""
    return activate("silu", input, inplace)


def mish(input: Any, inplace: bool = False) -> Any:
    """input * tanh(softplus(input)) (Misra 2019)."""
    return activate("mish", input, inplace)


def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Any:
    """input, but not below min_val and not above max_val; integers too."""
    if min_val > max_val:
        raise ValueError(f"min_val cannot be greater than max_val (hardtanh(): {min_val} and {max_val})")
    if isinstance(input, Var) or expect_tensor(input, "hardtanh").is_floating_point():
        return activate("hardtanh", input, inplace, min_val, max_val)
    if input.array.dtype.kind == "b":
        raise RuntimeError("Bool inputs not supported for hardtanh")
    if min(min_val, max_val) < 0 and input.array.dtype.kind == "u":
        raise RuntimeError("cannot do hardtanh on an unsigned type with negative limits")
    return (input.clamp_ if inplace else input.clamp)(int(min_val), int(max_val))


def relu6(input: Any, inplace: bool = False) -> Any:
    """input, but not below 0 and not above 6."""
    return hardtanh(input, 0.0, 6.0, inplace)


def hardsigmoid(input: Any, inplace: bool = False) -> Any:
    """(input + 3) / 6, but not below 0 and not above 1."""
    return activate("hardsigmoid", input, inplace)


def hardswish(input: Any, inplace: bool = False) -> Any:
    """input * hardsigmoid(input) (Howard et al. 2019)."""
    return activate("hardswish", input, inplace)


def threshold(input: Any, threshold: float, value: float, inplace: bool = False) -> Any:
    """input where it is above `threshold`, `value` elsewhere; integers too."""
    if not isinstance(input, Var) and expect_tensor(input, "threshold").array.dtype.kind in "iu":
        below = input <= int(threshold)
        return input.masked_fill_(below, int(value)) if inplace else input.masked_fill(below, int(value))
    return activate("threshold", input, inplace, threshold, value)


def hardshrink(input: Any, lambd: float = 0.5, *, out: Any = None) -> Any:
    """input, but 0 between -lambd and lambd."""
    return into(out, activate("hardshrink", input, False, lambd), "hardshrink")


def softshrink(input: Any, lambd: float = 0.5, *, out: Any = None) -> Any:
    """input, moved towards 0 by `lambd`, but not beyond."""
    if lambd < 0 and expect_tensor(input, "softshrink").is_floating_point():
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd}.")
    return into(out, activate("softshrink", input, False, lambd), "softshrink")


def softsign(input: Any) -> Any:
    """input / (1 + |input|)."""
    return input / (elementwise.abs(input) + 1)


def tanhshrink(input: Any) -> Any:
    """input - tanh(input)."""
    return input - tanh(input)


def prelu(input: Any, weight: Any) -> Any:
    """input where it is positive, weight * input elsewhere; one weight, or one for each of the channels (dimension 1).

    He et al. 2015, https://arxiv.org/abs/1502.01852.
    """
    x, w = expect_tensor(input, "prelu"), expect_tensor(weight, "prelu", "weight")
    if w.numel() != 1:
        channels = x.shape[1] if x.ndim > 1 else 1
        if x.ndim == 0:
            raise RuntimeError("Not allow zero-dim input tensor.")
        if channels != w.numel():
            raise RuntimeError(
                "Mismatch of parameter numbers and input channel size. Found parameter numbers = "
                f"{w.numel()} and channel size = {channels}."
            )
    if w.ndim > 1:
        raise RuntimeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {w.ndim}")
    if w.dtype != x.dtype:
        raise RuntimeError(f"prelu: Type promoting not supported. Got {x.dtype} and {w.dtype}")
    if w.ndim == 1:
        w = w.reshape(-1, *(1,) * (x.ndim - 2)) if x.ndim > 1 else w.reshape(())
    return run(derived(BINARY["prelu"]), (x, w), (x.array, w.array))


def glu(input: Any, dim: int = -1) -> Any:
    """The first half of `dim` times the sigmoid of the second (Dauphin et al. 2017, https://arxiv.org/abs/1612.08083).

    Raises RuntimeError if the size is odd, or there is no dimension.
    """
    if expect_tensor(input, "glu").ndim == 0:
        raise RuntimeError("glu does not support scalars because halving size must be even")
    if input.shape[dim] % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {dim} is size {input.shape[dim]}")
    first, second = input.chunk(2, dim)
    return entitled(first * activate("sigmoid", second, False), "GluBackward0")


class RReLU(Op):
    """x times a slope drawn for each element that is not positive, 1 for others."""

    @staticmethod
    def forward(x, *, slopes):
        return x * slopes, (slopes,)

    @staticmethod
    def backward(saved, needs, g):
        return g * saved[0]


def rrelu(
    input: Any, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False
) -> Any:
    """input where it is positive, times a random slope of U(lower, upper) elsewhere; their mean if not `training`.

    Xu et al. 2015, https://arxiv.org/abs/1505.00853.
    """
    if lower > upper:
        raise RuntimeError(f"Lower bound should be less than or equal to the upper bound (rrelu(): {lower}, {upper})")
    if not training:
        return activate("leaky_relu", input, inplace, (lower + upper) / 2)
    x = expect_tensor(input, "rrelu").array
    if x.dtype.kind != "f":
        raise unsupported("rrelu_with_noise_out", x.dtype)
    slopes = np.ones_like(x, order="C")
    below = x <= 0
    drawn = random.default_generator.uniform((int(below.sum()),), lower, upper, np.float64)
    slopes[below] = put(drawn.astype(x.dtype), of(x))
    if inplace:
        check_writable(input, False)
    result = run(RReLU, (input,), (x,), slopes=slopes)
    return write(input, result) if inplace else result


relu_, leaky_relu_, elu_, selu_ = in_place(relu), in_place(leaky_relu), in_place(elu), in_place(selu)
celu_, hardtanh_, threshold_, rrelu_ = in_place(celu), in_place(hardtanh), in_place(threshold), in_place(rrelu)


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


def softmin(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """softmax of -input."""
    dim = implicit_dim(input, "softmin", _stacklevel) if dim is None else dim
    return _softmax(-expect_tensor(input, "softmin"), dim, dtype)


def gumbel_softmax(logits: Any, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Any:
    """softmax((logits + noise) / tau), a sample that can be differentiated; `hard`: one-hot, with that gradient.

    Jang et al. 2017, https://arxiv.org/abs/1611.01144; the noise is -log of an exponential, as torch draws it.
    """
    if eps != 1e-10:
        warnings.warn("`eps` parameter is deprecated and has no effect.", stacklevel=2)
    noise = -expect_tensor(logits, "gumbel_softmax").new_empty(logits.shape).exponential_().log()
    soft = _softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    index = soft.max(dim, keepdim=True)[1]
    return soft.new_zeros(logits.shape).scatter_(dim, index, 1.0) - soft.detach() + soft


# ------------------------------------------------------------------------------------------ the rest
def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    """input1 (*, I) weight (O, I, J) input2 (*, J) + bias (O) -> (*, O)."""
    a, b = expect_tensor(input1, "bilinear", "input1"), expect_tensor(input2, "bilinear", "input2")
    w = expect_tensor(weight, "bilinear", "weight")
    if a.ndim != b.ndim or a.shape[:-1] != b.shape[:-1]:
        raise RuntimeError(
            f"bilinear(): input batch dimensions do not match: got {list(a.shape[:-1])} and {list(b.shape[:-1])}"
        )
    for x, place in ((a, 1), (b, 2)):
        if x.shape[-1] != w.shape[place]:
            raise RuntimeError(
                f"bilinear(): input{place} size does not match weight size: got {x.shape[-1]} but expected "
                f"{w.shape[place]}"
            )
    if bias is not None and bias.shape[0] != w.shape[0]:
        raise RuntimeError(
            f"bilinear(): bias size does not match weight size: got {bias.shape[0]} but expected {w.shape[0]}"
        )
    count, (outputs, first, second) = math.prod(a.shape[:-1]), w.shape
    rows = a.reshape(count, first) @ w.permute(1, 0, 2).reshape(first, outputs * second)
    terms = rows.reshape(count, outputs, second) * b.reshape(count, 1, second)
    result = terms.sum(-1).reshape(*a.shape[:-1], outputs)
    return result if bias is None else result + bias


def normalize(input: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Any = None) -> Any:
    """input, divided by its norm along `dim` (or by eps, if that is larger)."""
    return into(out, input / input.norm(p, dim, True).clamp(min=eps).expand_as(input), "normalize")


def __getattr__(name: str) -> Any:
    """torch's other functions are refused by name."""
    from ..facade import missing

    raise AttributeError(missing(f"torch.nn.functional.{name}"))
