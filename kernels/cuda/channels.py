"""Channels: batch norm, for each channel of an array (N, C, I), I being 1 for a matrix: as kernels.cpu.channels.

    batch_norm(x, weight, bias, statistics, eps)                  -> out, mean (C,), variance (C,)
    batch_norm_backward(x, weight, mean, variance, eps, batch, g) -> dx, dweight (C,), dbias (C,)

All arrays are contiguous and of one floating-point type, but mean and variance are in float64; an absent weight or bias
is an array of size zero.  A team of threads adds up a channel, in float64, of differences from its first number, and
makes of the sums some terms of the arrays' type, with which a second launch makes each element of a result:

    out = (x - high) slope + rest
    dx  = (x - high) slope + rest + g factor

`high` is the mean, rounded; what that leaves out goes into `rest`.  In a matrix neighbours are of different channels: a
team is no more than a warp there, so that teams of a block read what lies together.

    terms  (4, C)   high, slope, rest, factor
"""

import functools
import math
from types import SimpleNamespace

import numpy as np
from numba import cuda

from .array import Array, empty, empty_as
from .driver import driver
from .jit import Kernel, device, float64, int64, kernel, pointer
from .rows import present, sums_of_team
from .team import WARP, block, blocks, up_to

SHORT, BATCH = 512, 4  # a warp for a channel of up to so many numbers; numbers that are worth a thread


@functools.cache
def kernels(name: str) -> SimpleNamespace:
    """The kernels for float32 or float64."""
    real = pointer(name).dtype
    zero, infinity = real(0), np.float64(np.inf)

    @device
    def place(k, c, channels, inner):
        """Where number k of a channel is."""
        return (k // inner * channels + c) * inner + k % inner

    @device
    def set_mean(c, terms, m):
        """The mean, rounded, and what that leaves out."""
        high = real(m)
        terms[c] = high
        return m - float64(high) if abs(high) < infinity else float64(0)

    @kernel
    def settle(
        count: int64, channels: int64, inner: int64, x: pointer(name), weighted: int64, weight: pointer(name),
        biased: int64, bias: pointer(name), given: int64, eps: float64, mean: pointer(float64),
        variance: pointer(float64), terms: pointer(name),
    ):  # fmt: skip
        """The terms of channels of `count` numbers; mean and variance are `given`, or written."""
        begin = cuda.blockIdx.x * cuda.blockDim.y
        while begin < channels:
            c = begin + cuda.threadIdx.y
            m = v = float64(0)
            if given:
                if c < channels:
                    m, v = mean[c], variance[c]
            else:
                origin = x[c * inner] if c < channels else zero
                s, q = float64(0), float64(0)
                k = cuda.threadIdx.x
                while k < count and c < channels:
                    d = float64(x[place(k, c, channels, inner)] - origin)
                    s += d
                    q += d * d
                    k += cuda.blockDim.x
                s, q = sums_of_team(s, q)
                distance = s / float64(count)
                m, v = float64(origin) + distance, q / float64(count) - distance * distance
                if v < 0.0:
                    v = float64(0)
            if c < channels and cuda.threadIdx.x == 0:
                if not given:
                    mean[c] = m
                    variance[c] = v
                low = set_mean(c, terms, m)
                slope = 1.0 / math.sqrt(v + eps)
                if weighted:
                    slope *= float64(weight[c])
                rest = -low * slope
                if biased:
                    rest += float64(bias[c])
                terms[channels + c] = real(slope)
                terms[2 * channels + c] = real(rest)
            begin += cuda.gridDim.x * cuda.blockDim.y

    @kernel
    def settle_back(
        count: int64, channels: int64, inner: int64, x: pointer(name), weighted: int64, weight: pointer(name),
        batch: int64, eps: float64, mean: pointer(float64), variance: pointer(float64), g: pointer(name),
        dw: pointer(name), db: pointer(name), terms: pointer(name),
    ):  # fmt: skip
        """The terms of channels, and the gradients of weight and bias; `batch`: mean and variance are x's."""
        begin = cuda.blockIdx.x * cuda.blockDim.y
        while begin < channels:
            c = begin + cuda.threadIdx.y
            m = mean[c] if c < channels else float64(0)
            high, s, q = real(m), float64(0), float64(0)
            k = cuda.threadIdx.x
            while k < count and c < channels:
                at = place(k, c, channels, inner)
                y = g[at]
                s += float64(y)
                q += float64(y * (x[at] - high))
                k += cuda.blockDim.x
            s, q = sums_of_team(s, q)
            if c < channels and cuda.threadIdx.x == 0:
                low = set_mean(c, terms, m)
                scale = 1.0 / math.sqrt(variance[c] + eps)
                q = (q - low * s) * scale
                db[c] = real(s)
                dw[c] = real(q)
                factor = scale * float64(weight[c]) if weighted else scale
                slope = rest = float64(0)
                if batch:
                    slope = -factor * scale * q / float64(count)
                    rest = -factor * s / float64(count) - low * slope
                terms[channels + c] = real(slope)
                terms[2 * channels + c] = real(rest)
                terms[3 * channels + c] = real(factor)
            begin += cuda.gridDim.x * cuda.blockDim.y

    @kernel
    def make(
        n: int64, channels: int64, inner: int64, centred: int64, x: pointer(name), graded: int64, g: pointer(name),
        terms: pointer(name), out: pointer(name),
    ):  # fmt: skip
        """All n elements: with terms for x if `centred`, and for g if `graded`."""
        for k in range(cuda.grid(1), n, cuda.gridsize(1)):
            c = k // inner % channels
            v = terms[2 * channels + c]
            if centred:
                v += (x[k] - terms[c]) * terms[channels + c]
            if graded:
                v += g[k] * terms[3 * channels + c]
            out[k] = v

    return SimpleNamespace(settle=settle, settle_back=settle_back, make=make)


def launch(kernel: Kernel, x: Array, *arguments: object) -> None:
    """Run a kernel of teams on the channels of x (N, C, I)."""
    rows, channels, inner = x.shape
    if not channels:
        return
    count, threads = rows * inner, driver().threads
    shape = block(up_to(-(-count // BATCH), WARP if inner == 1 or count <= SHORT else threads))
    kernel.launch(blocks(channels, shape), shape, count, channels, max(inner, 1), x, *arguments)


def make(x: Array | None, g: Array | None, terms: Array, out: Array) -> None:
    """Each element of a result from the terms of its channel, and x or g or both."""
    _, channels, inner = out.shape
    if out.size:
        threads = driver().threads
        kernels(out.dtype.name).make.launch(
            driver().blocks(out.size, threads), threads, out.size, channels, inner, int(x is not None),
            out if x is None else x, int(g is not None), out if g is None else g, terms, out,
        )  # fmt: skip


def batch_norm(
    x: Array, weight: Array, bias: Array, statistics: tuple[Array, Array] | None, eps: float
) -> tuple[Array, Array, Array]:
    """(x - mean) / sqrt(variance + eps) * weight + bias of each channel, with the mean and variance that are given, or
    else x's; Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167."""
    channels = x.shape[1]
    mean, variance = statistics or (empty((channels,), np.float64), empty((channels,), np.float64))
    out, terms = empty_as(x), empty((4, channels), x.dtype)
    how = *present(weight, x), *present(bias, x), int(statistics is not None), float(eps)
    launch(kernels(x.dtype.name).settle, x, *how, mean, variance, terms)
    make(x, None, terms, out)
    return out, mean, variance


def batch_norm_backward(
    x: Array, weight: Array, mean: Array, variance: Array, eps: float, batch: bool, g: Array
) -> tuple[Array, Array, Array]:
    """The gradients of x (N, C, I), weight (C,) and bias (C,); `batch`: mean and variance are x's."""
    channels = x.shape[1]
    dx, dw, db = empty_as(x), empty((channels,), x.dtype), empty((channels,), x.dtype)
    terms = empty((4, channels), x.dtype)
    how = *present(weight, x), int(batch), float(eps)
    launch(kernels(x.dtype.name).settle_back, x, *how, mean, variance, g, dw, db, terms)
    make(x if batch else None, g, terms, dx)
    return dx, dw, db


def examples() -> list[Kernel]:
    """The kernels of both types."""
    return [k for name in ("float32", "float64") for k in vars(kernels(name)).values()]
