"""Batch normalisation and RMS normalisation, made of the ops that are there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .common import expect_tensor, run
from .rows import LayerNorm


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
        count = x.size // channels if channels else 0
        if training and count <= 1:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.shape}")
        rows = input.transpose(0, 1).reshape(channels, -1)
        if running_mean is not None and running_var is not None:
            wide = rows.array.astype(np.float64)
            for running, batch in ((running_mean, wide.mean(1)), (running_var, wide.var(1, ddof=1))):
                running.array[...] = (1 - momentum) * running.array + momentum * batch
                running.version[0] += 1
        rows = run(LayerNorm, (rows, None, None), (rows.array, None, None), columns=count, eps=float(eps))
        normal = rows.reshape(channels, x.shape[0], *x.shape[2:]).transpose(0, 1)
    else:
        scale = (running_var.detach() + eps).rsqrt()
        normal = (input - running_mean.detach().reshape(shape)) * scale.reshape(shape)
    if weight is not None:
        normal = normal * weight.reshape(shape)
    return normal if bias is None else normal + bias.reshape(shape)


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
