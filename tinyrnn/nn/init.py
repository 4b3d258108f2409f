"""How weights begin: each function fills a tensor in place, unrecorded, and returns it.

Random ones draw from `generator`, or from the default generator, the numbers that torch draws.  The gain of a layer,
its fan_in and its fan_out are those of Glorot and Bengio (2010) and He et al. (2015).
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable

import numpy as np

from .. import dtypes, tape
from ..devices import host
from ..ops import create
from ..random import Generator, default_generator
from ..tensor import Tensor

NO_GAIN = {"linear", "sigmoid", *(f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3))}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that makes up for what a nonlinearity takes from the spread of its inputs.

    1 for linear layers and sigmoid, 5/3 for tanh, sqrt(2) for relu, sqrt(2 / (1 + param^2)) for leaky_relu (param: the
    negative slope, 0.01 if None), 3/4 for selu.  Raises ValueError for any other.
    """
    if nonlinearity in NO_GAIN:
        return 1
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        if param is None:
            param = 0.01
        elif isinstance(param, bool) or not isinstance(param, (int, float)):
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + param**2))
    if nonlinearity == "selu":
        return 3.0 / 4
    raise ValueError(f"Unsupported nonlinearity {nonlinearity}")


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (out, in, ...): how many values each output gathers, and each input reaches."""
    if tensor.dim() < 2:
        raise ValueError("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions")
    outputs, inputs, *field = tensor.shape
    return inputs * math.prod(field), outputs * math.prod(field)


def _calculate_correct_fan(tensor: Tensor, mode: str) -> int:
    """The fan that `mode`, fan_in or fan_out, names."""
    mode = mode.lower()
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']")
    return _calculate_fan_in_and_fan_out(tensor)[mode == "fan_out"]


# ---------------------------------------------------------------------------------------------- given distributions
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """U(a, b)."""
    with tape.no_grad():
        return tensor.uniform_(a, b, generator=generator)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """N(mean, std^2)."""
    with tape.no_grad():
        return tensor.normal_(mean, std, generator=generator)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """N(mean, std^2) given that the value is in [a, b]: whatever falls outside is drawn again."""
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. The distribution of values may be "
            "incorrect.",
            stacklevel=2,
        )
    below_a, below_b = ((1 + math.erf((x - mean) / std / math.sqrt(2))) / 2 for x in (a, b))
    with tape.no_grad():
        if below_b - below_a > 0.3:
            low, high = tensor.new_tensor([a, b]).tolist()  # as the tensor's type can hold them
            tensor.normal_(mean, std, generator=generator)
            while (outside := (tensor < low) | (tensor > high)).any():
                again = create.empty_like(tensor).normal_(mean, std, generator=generator)
                tensor.copy_(again.where(outside, tensor))
            return tensor
        # Too few normal values would fall inside: take uniform ones, each with a probability that follows the density.
        log_peak = -0.5 * ((max(a, min(mean, b)) - mean) / std) ** 2
        undecided = create.ones_like(tensor, dtype=dtypes.bool)
        while undecided.any():
            again = create.empty_like(tensor).uniform_(a, b, generator=generator)
            tensor.copy_(again.where(undecided, tensor))
            log_density = ((again - mean) / std).pow(2) * -0.5 - log_peak
            undecided &= create.empty_like(tensor).uniform_(generator=generator).log() > log_density
        return tensor


def constant_(tensor: Tensor, val: float) -> Tensor:
    """`val` everywhere."""
    with tape.no_grad():
        return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """1 everywhere."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """0 everywhere."""
    return constant_(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """The identity, as far as it fits, in a tensor of 2 dimensions."""
    if tensor.dim() != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    with tape.no_grad():
        return tensor.copy_(tape.wrap(np.eye(*tensor.shape)))


# ------------------------------------------------------------------------------------ distributions that keep variances
def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """U(-a, a) with a = gain sqrt(6 / (fan_in + fan_out)): Glorot and Bengio (2010), equation 16."""
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    bound = math.sqrt(3.0) * (gain * math.sqrt(2.0 / float(fan_in + fan_out)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """N(0, std^2) with std = gain sqrt(2 / (fan_in + fan_out)): Glorot and Bengio (2010), equation 12."""
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / float(fan_in + fan_out)), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float | None:
    """gain / sqrt(fan); None if the tensor has no elements."""
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
        return None
    fan = _calculate_correct_fan(tensor, mode)
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """U(-b, b) with b = gain sqrt(3 / fan): He et al. (2015), equations 10 and 14.

    a: the negative slope, if the nonlinearity is leaky_relu.  mode: fan_in keeps the variance of the forward, fan_out
    that of the backward.
    """
    std = _kaiming_std(tensor, a, mode, nonlinearity)
    if std is None:
        return tensor
    bound = math.sqrt(3.0) * std
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """N(0, std^2) with std = gain / sqrt(fan): He et al. (2015), equations 10 and 14.  See kaiming_uniform_."""
    std = _kaiming_std(tensor, a, mode, nonlinearity)
    return tensor if std is None else normal_(tensor, 0, std, generator)


# ---------------------------------------------------------------------------------------------------- special forms
def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator | None = None) -> Tensor:
    """`gain` times a random matrix with orthonormal rows or columns (the fewer): Saxe et al. (2013).

    The dimensions after the first are taken together.  It is Q of the QR decomposition of a matrix of normal values,
    with the signs for which R's diagonal is positive; computed in float64, so that a float32 is not torch's to the bit.
    """
    if tensor.dim() < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    if tensor.numel() == 0:
        return tensor
    with tape.no_grad():
        rows = tensor.shape[0]
        a = host(tensor.new_empty((rows, tensor.numel() // rows)).normal_(0, 1, generator=generator).array)
        wide = a.shape[0] < a.shape[1]
        q, r = np.linalg.qr((a.T if wide else a).astype(np.float64))
        q *= np.sign(np.diag(r))
        tensor.copy_(tape.wrap(q.T if wide else q).reshape(tensor.shape))
        return tensor.mul_(gain)


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None) -> Tensor:
    """N(0, std^2) with the share `sparsity` of every column, chosen at random, set to zero: Martens (2010), section 5.

    As in torch, the choice is drawn from the default generator.
    """
    if tensor.dim() != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    rows, columns = tensor.shape
    zeros = math.ceil(sparsity * rows)
    with tape.no_grad():
        tensor.normal_(0, std, generator=generator)
        for column in range(columns):
            tensor[default_generator.permutation(rows)[:zeros].tolist(), column] = 0
    return tensor


# -------------------------------------------------------------------------------------------------------- old names
def _deprecated(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    new = function.__name__
    old = new[:-1]

    @functools.wraps(function)
    def renamed(*args, **kwargs):
        warnings.warn(f"`nn.init.{old}` is now deprecated in favor of `nn.init.{new}`.", FutureWarning, stacklevel=2)
        return function(*args, **kwargs)

    renamed.__name__ = renamed.__qualname__ = old
    return renamed


uniform = _deprecated(uniform_)
normal = _deprecated(normal_)
constant = _deprecated(constant_)
eye = _deprecated(eye_)
xavier_uniform = _deprecated(xavier_uniform_)
xavier_normal = _deprecated(xavier_normal_)
kaiming_uniform = _deprecated(kaiming_uniform_)
kaiming_normal = _deprecated(kaiming_normal_)
orthogonal = _deprecated(orthogonal_)
sparse = _deprecated(sparse_)
