"""Normalisation: of each channel over the batch, of groups of channels, and by the root of the mean square."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..kernels import twin
from ..strides import contiguous
from ..tape import entitled
from .common import Op, cast, expect_tensor, record
from .rows import LayerNorm, expect_floating, layer_norm, shape_of_rows, vector

kernels = twin("channels")


def by_channel(a: np.ndarray) -> np.ndarray:
    """`a` (N, C, *) as a contiguous array (N, C, I)."""
    a = contiguous(a)
    return a.reshape(*a.shape[:2], math.prod(a.shape[2:]))


class BatchNorm(Op):
    """(x - mean) / sqrt(variance + eps) * weight + bias of each channel; `statistics` are a mean and a variance, both
    float64, or None for the batch's own."""

    label = "NativeBatchNormBackward0"

    @staticmethod
    def forward(x, weight, bias, statistics, eps):
        out, mean, variance = kernels.batch_norm(by_channel(x), vector(weight, x), vector(bias, x), statistics, eps)
        return out.reshape(x.shape), (x, weight, mean, variance, eps, statistics is None)

    @staticmethod
    def backward(saved, needs, g):
        x, weight, mean, variance, eps, batch = saved
        dx, dw, db = kernels.batch_norm_backward(
            by_channel(x), vector(weight, x), mean, variance, eps, batch, by_channel(g)
        )
        return dx.reshape(x.shape), dw, db


def check_several(size: Any) -> None:
    """torch's ValueError where a channel has a single value, which has no variance."""
    if size[0] * math.prod(size[2:]) == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(size)}")


def batch_norm(
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-05,
) -> Any:
    """(input - mean) / sqrt(variance + eps) * weight + bias for each channel: dimension 1 of (N, C) or (N, C, *).

    In training mean and variance are the batch's, and the running ones, if given, move towards them by `momentum`; else
    they are the running ones.  Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167.

    Raises ValueError if a channel has a single value in training, RuntimeError for sizes or types that do not fit.
    """
    x = expect_tensor(input, "batch_norm").array
    if training:
        check_several(x.shape)
        if eps <= 0.0:
            raise ValueError(f"batch_norm eps must be positive during training, but got {eps}")
    if eps < 0.0:
        raise ValueError(f"batch_norm eps must be non-negative, but got {eps}")
    if x.ndim < 2:
        if not x.size:
            return input.clone()
        raise ValueError(f"batch_norm(): expected at least 2 dimensions, got shape {list(x.shape)}")
    expect_floating(input, "batch_norm")
    channels = x.shape[1]
    named = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    for name, given in named.items():
        if given is not None and given.array.shape != (channels,):
            raise RuntimeError(f"{name} should contain {channels} elements not {given.array.size}")
        if given is not None and given.array.dtype != x.dtype:
            raise RuntimeError(f"batch_norm(): expected {name} of dtype {input.dtype}, got {given.dtype}")
    statistics = None
    if not x.size:  # nothing has a mean: the running ones stay, and the gradients of weight and bias are zeros
        statistics = np.zeros(channels, like=x), np.ones(channels, like=x)
    elif not training:
        for name in ("running_mean", "running_var"):
            if named[name] is None:
                raise RuntimeError(f"{name} must be defined in evaluation mode")
        statistics = running_mean.array.astype(np.float64), running_var.array.astype(np.float64)
    w, b = None if weight is None else weight.array, None if bias is None else bias.array
    called = BatchNorm.forward(x, w, b, statistics, float(eps))
    if statistics is None:
        (_, _, mean, variance, _, _), count = called[1], x.size // channels
        for running, batch in ((running_mean, mean), (running_var, variance * (count / (count - 1)))):
            if running is not None:
                running.array[...] = (1 - momentum) * running.array + momentum * batch.astype(x.dtype)
                running.wrote()
    return record(BatchNorm, (input, weight, bias), called)


def instance_norm(
    input: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-05,
) -> Any:
    """Each channel of each example of (N, C, *) made mean 0 and variance 1, times weight (C) plus bias (C).

    With `use_input_stats` mean and variance are its own, and the running ones (C), if given, move towards their means
    over the batch by `momentum`; else they are the running ones.  Ulyanov et al. 2016, https://arxiv.org/abs/1607.08022.

    Raises ValueError if a channel has a single value, RuntimeError for sizes or types that do not fit.
    """
    shape = expect_tensor(input, "instance_norm").array.shape
    if use_input_stats and math.prod(shape[2:]) == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {list(shape)}")
    if len(shape) < 2:
        raise RuntimeError(f"instance_norm(): expected at least 2 dimensions, got shape {list(shape)}")
    if (running_mean is None) != (running_var is None):
        raise ValueError("running_mean and running_var must either both be None or neither be None")
    if not use_input_stats and (running_mean is None or running_var is None):
        raise RuntimeError("Expected running_mean and running_var to be defined when use_input_stats is false")
    batch, channels = shape[:2]
    given = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    for name, t in given.items():
        if t is not None and t.array.shape != (channels,):
            raise RuntimeError(f"{name} should contain {channels} elements not {t.array.size}")
    many: list[Any] = [None if t is None else t.repeat(batch) for t in given.values()]  # channels of all examples
    mean, variance, weight, bias = many
    apart = input.reshape(1, batch * channels, *shape[2:])
    out = batch_norm(apart, mean, variance, weight, bias, use_input_stats, momentum, eps)
    if use_input_stats:
        for running, own in zip((running_mean, running_var), many, strict=False):
            if running is not None:
                running.copy_(own.reshape(batch, channels).mean(0))
    return out.view(shape)


def group_norm(input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-05) -> Any:
    """Each of `num_groups` groups of channels of (N, C, *) made mean 0 and variance 1, times weight (C) plus bias (C).

    Wu and He 2018, https://arxiv.org/abs/1803.08494.
    """
    x = expect_tensor(input, "group_norm").array
    if x.ndim < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {x.ndim}")
    batch, channels = x.shape[:2]
    check_several([batch * channels // num_groups, num_groups, *x.shape[2:]])
    if num_groups <= 0:
        raise RuntimeError(f"Expected num groups to be greater than 0, got {num_groups}")
    if channels % num_groups:
        raise RuntimeError(
            f"Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(x.shape)} and num_groups={num_groups}"
        )
    for name, given in (("weight", weight), ("bias", bias)):
        if given is not None and given.array.shape != (channels,):
            raise RuntimeError(
                f"Expected {name} to be a vector of size equal to the number of channels in input, but got {name} of "
                f"shape {list(given.array.shape)} and input of shape {list(x.shape)}"
            )
        if given is not None and given.array.dtype != x.dtype:
            raise RuntimeError(f"group_norm(): expected {name} of dtype {input.dtype}, got {given.dtype}")
    count = x.size // (batch * num_groups) if x.size else 1
    normal = layer_norm(input.reshape(-1, count), (count,), eps=eps).reshape(x.shape)
    if weight is not None or bias is not None:
        w, b = None if weight is None else weight.array, None if bias is None else bias.array
        statistics = np.zeros(channels, like=x), np.ones(channels, like=x)
        normal = record(BatchNorm, (normal, weight, bias), BatchNorm.forward(normal.array, w, b, statistics, 0.0))
    return entitled(normal, "NativeGroupNormBackward0")


def rms_norm(input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    """input / sqrt(mean(input ** 2) + eps) * weight over the last dimensions; `eps` is the type's epsilon if None.

    Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467.
    """
    x = expect_floating(expect_tensor(input, "rms_norm"), "rms_norm").array
    shape = shape_of_rows(normalized_shape, "rms_norm")
    if x.shape[x.ndim - len(shape) :] != shape:
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*, {', '.join(map(str, shape))}], but "
            f"got input of size {list(x.shape)}"
        )
    if weight is not None and weight.array.shape != shape:
        raise RuntimeError(f"rms_norm(): expected weight of shape {list(shape)}, got {list(weight.array.shape)}")
    if weight is not None and weight.array.dtype != x.dtype:
        weight = cast(weight, x.dtype)
    small, w = float(np.finfo(x.dtype).eps) if eps is None else float(eps), None if weight is None else weight.array
    called = LayerNorm.forward(x, w, None, shape=shape, eps=small, centred=False)
    return entitled(record(LayerNorm, (input, weight, None), called), "MulBackward0")
