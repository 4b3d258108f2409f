"""Batch normalisation and RMS normalisation, made of the ops that are there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..tape import entitled
from .common import expect_tensor
from .rows import layer_norm


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

    In training, or without running statistics, mean and variance are the batch's, and the running ones, if given, move
    towards them by `momentum`.  Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167.

    Raises ValueError if a channel has a single value in training, RuntimeError for sizes or types that do not fit.
    """
    x = expect_tensor(input, "batch_norm").array
    if training:
        check_several(x.shape)
        if eps <= 0.0:
            raise ValueError(f"batch_norm eps must be positive during training, but got {eps}")
    if eps < 0.0:
        raise ValueError(f"batch_norm eps must be non-negative, but got {eps}")
    if x.size == 0:
        return input.clone()
    if x.ndim < 2:
        raise ValueError(f"batch_norm(): expected at least 2 dimensions, got shape {list(x.shape)}")
    if x.dtype.kind != "f":
        raise RuntimeError(f"batch_norm(): expected floating-point numbers, got {input.dtype}")
    channels = x.shape[1]
    named = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    for name, given in named.items():
        if given is not None and given.array.shape != (channels,):
            raise RuntimeError(f"{name} should contain {channels} elements not {given.array.size}")
        if given is not None and given.array.dtype != x.dtype:
            raise RuntimeError(f"batch_norm(): expected {name} of dtype {input.dtype}, got {given.dtype}")
    shape = (channels, *[1] * (x.ndim - 2))
    if training or running_mean is None or running_var is None:
        count, over = x.size // channels, (0, *range(2, x.ndim))
        mean = input.mean(over, True)
        centred = input - mean
        variance = (centred * centred).mean(over, True)
        if running_mean is not None and running_var is not None:
            whole = variance.array * (count / (count - 1))
            for running, batch in ((running_mean, mean.array), (running_var, whole)):
                running.array[...] = (1 - momentum) * running.array + momentum * batch.reshape(-1)
                running.wrote()
    else:
        centred, variance = input - running_mean.detach().reshape(shape), running_var.detach().reshape(shape)
    scale = (variance + eps).rsqrt()
    normal = centred * (scale if weight is None else scale * weight.reshape(shape))
    if bias is not None:
        normal = normal + bias.reshape(shape)
    return entitled(normal.contiguous(), "NativeBatchNormBackward0")


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
    count = x.size // (batch * num_groups) if x.size else 1
    rows = input.reshape(-1, count)
    rows = layer_norm(rows, (count,), eps=eps)
    normal = rows.reshape(x.shape)
    shape = (channels, *[1] * (x.ndim - 2))
    if weight is not None:
        normal = normal * weight.reshape(shape)
    if bias is not None:
        normal = normal + bias.reshape(shape)
    return entitled(normal, "NativeGroupNormBackward0")


def rms_norm(input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    """input / sqrt(mean(input ** 2) + eps) * weight over the last dimensions; `eps` is the type's epsilon if None.

    Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467.
    """
    x = expect_tensor(input, "rms_norm").array
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape or x.shape[x.ndim - len(shape) :] != shape or math.prod(shape) == 0:
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*, {', '.join(map(str, shape))}], but "
            f"got input of size {list(x.shape)}"
        )
    if weight is not None and weight.array.shape != shape:
        raise RuntimeError(f"rms_norm(): expected weight of shape {list(shape)}, got {list(weight.array.shape)}")
    small = float(np.finfo(x.dtype).eps) if eps is None else eps
    normal = input * ((input * input).mean(tuple(range(-len(shape), 0)), True) + small).rsqrt()
    return normal if weight is None else normal * weight
