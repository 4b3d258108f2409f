"""Rows: softmax, cross-entropy, layer norm and RMS norm, a row of a matrix (R, C) at a time: as kernels.cpu.rows.

    softmax(x), log_softmax(x)                            (R, C) -> (R, C), and their backwards from the result
    softmax_columns(x) ...                                the same four of each column of (N, R, C)
    cross_entropy(x, target, weight, ignored, smoothing)  (R, C), (R,) -> the loss of each row (R,), and its logsumexp
                                                          (R,) in float64
    layer_norm(x, weight, bias, eps, centred)             (R, C) -> (R, C), mean (R,), 1 / standard deviation (R,),
                                                          both in float64; for an RMS norm, zeros, and 1 / the root of
                                                          the mean square

All arrays are contiguous and of one floating-point type but for those; absent weights are arrays of size zero.  A team
of threads takes a row.  It passes over it once for what counts for the whole row, maximum and sum of exponentials at
the same time, and once more for the result: there are so many threads for a long row that what the blocks of a
multiprocessor have read is still in its first cache then, in the second if rows have many thousands of numbers.  Sums
are kept in float64.  A float64 number that counts for a whole row is taken apart (`parts`) into two of the row's type,
so that x - mean has all its digits.

The gradients of layer norm's weight and bias are sums over rows: over chunks of them, then over the chunks.

    sums   (chunks, 2, C) float64   the gradients of the weight and of the bias of a chunk of rows
"""

import functools
import math
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
from numba import cuda

from .array import Array, empty, empty_as, zeros
from .copies import contiguous
from .driver import driver
from .jit import Kernel, device, float64, int64, kernel, pointer
from .reduce import BATCH, exponentials, reduce
from .team import LARGEST, WARP, block, blocks, together, up_to

SHORT, LONG, FEW = 512, 8192, 256  # a warp for a row up to that long; large blocks for rows longer than, if few
HEIGHT, CHUNKS = 128, 1024  # rows that are worth a block; blocks that fill any GPU
LARGE = 512  # threads of the largest blocks
BOUNDS = {"float32": 768, "float64": 512}  # threads; so that three or two blocks of 256 share a multiprocessor


@device
def add_one(a, b, c, d):
    return a + c, b


@device
def add_both(a, b, c, d):
    return a + c, b + d


sum_of_team = together(add_one, float64, int64, False)
sums_of_team = together(add_both, float64, float64, True)


@device
def read(x, at, k, n, other):
    """The elements k, k + size, ... of a row that begins at `at`, for a team of that size; `other` behind the end."""
    size = cuda.blockDim.x
    v0, v1, v2, v3 = x[at + k], other, other, other
    if k + size < n:
        v1 = x[at + k + size]
    if k + 2 * size < n:
        v2 = x[at + k + 2 * size]
    if k + 3 * size < n:
        v3 = x[at + k + 3 * size]
    return v0, v1, v2, v3


@device
def write(out, at, k, n, v0, v1, v2, v3):
    """Where `read` reads."""
    size = cuda.blockDim.x
    out[at + k] = v0
    if k + size < n:
        out[at + k + size] = v1
    if k + 2 * size < n:
        out[at + k + 2 * size] = v2
    if k + 3 * size < n:
        out[at + k + 3 * size] = v3


@functools.cache
def kernels(name: str) -> SimpleNamespace:
    """The kernels for float32 or float64."""
    real, bound = pointer(name).dtype, BOUNDS[name]
    states = exponentials(real)
    four, terms_of_team = states.four, together(states.merge, real, float64, True)
    zero, lowest, infinity, nan = real(0), real(-np.inf), np.float64(np.inf), np.float64(np.nan)

    @device
    def parts(x):
        """A float64 number as the sum of two of type `real`; infinity and NaN in the first."""
        high = real(x)
        return high, real(x - float64(high)) if abs(high) < infinity else zero

    @device
    def row_of(begin, rows, n):
        """The row of this thread's team, where it begins, and how long it is: of none, 0."""
        r = begin + cuda.threadIdx.y
        return r, r * n, n if r < rows else 0

    @device
    def top_and_total(x, at, n):
        """The largest number of a row, NaN aside, and the sum of exp(x - largest): NaN if that is not finite."""
        a, b = lowest, float64(0)
        k = cuda.threadIdx.x
        while k < n:
            v0, v1, v2, v3 = read(x, at, k, n, lowest)
            a, b = four(a, b, v0, v1, v2, v3, k, 0)
            k += BATCH * cuda.blockDim.x
        a, b = terms_of_team(a, b)
        return a, b if abs(a) < infinity else nan

    @kernel(limit=bound)
    def softmax(rows: int64, n: int64, x: pointer(name), out: pointer(name)):
        teams = cuda.blockDim.y
        begin = cuda.blockIdx.x * teams
        while begin < rows:
            r, at, length = row_of(begin, rows, n)
            top, total = top_and_total(x, at, length)
            scale = real(1.0 / total)
            k = cuda.threadIdx.x
            while k < length:
                v0, v1, v2, v3 = read(x, at, k, length, zero)
                v0, v1, v2, v3 = math.exp(v0 - top), math.exp(v1 - top), math.exp(v2 - top), math.exp(v3 - top)
                write(out, at, k, length, v0 * scale, v1 * scale, v2 * scale, v3 * scale)
                k += BATCH * cuda.blockDim.x
            begin += cuda.gridDim.x * teams

    @kernel(limit=bound)
    def log_softmax(rows: int64, n: int64, x: pointer(name), out: pointer(name)):
        teams = cuda.blockDim.y
        begin = cuda.blockIdx.x * teams
        while begin < rows:
            r, at, length = row_of(begin, rows, n)
            top, total = top_and_total(x, at, length)
            shift = real(math.log(total))
            k = cuda.threadIdx.x
            while k < length:
                v0, v1, v2, v3 = read(x, at, k, length, zero)
                v0, v1, v2, v3 = (v0 - top) - shift, (v1 - top) - shift, (v2 - top) - shift, (v3 - top) - shift
                write(out, at, k, length, v0, v1, v2, v3)
                k += BATCH * cuda.blockDim.x
            begin += cuda.gridDim.x * teams

    @kernel(limit=bound)
    def softmax_back(rows: int64, n: int64, y: pointer(name), g: pointer(name), out: pointer(name)):
        teams = cuda.blockDim.y
        begin = cuda.blockIdx.x * teams
        while begin < rows:
            r, at, length = row_of(begin, rows, n)
            total = float64(0)
            k = cuda.threadIdx.x
            while k < length:
                v0, v1, v2, v3 = read(y, at, k, length, zero)
                w0, w1, w2, w3 = read(g, at, k, length, zero)
                s0 = float64(v0) * float64(w0) + float64(v1) * float64(w1)
                total += s0 + (float64(v2) * float64(w2) + float64(v3) * float64(w3))
                k += BATCH * cuda.blockDim.x
            total, _ = sum_of_team(total, 0)
            shift = real(total)
            k = cuda.threadIdx.x
            while k < length:
                v0, v1, v2, v3 = read(y, at, k, length, zero)
                w0, w1, w2, w3 = read(g, at, k, length, zero)
                w0, w1, w2, w3 = w0 - shift, w1 - shift, w2 - shift, w3 - shift
                write(out, at, k, length, v0 * w0, v1 * w1, v2 * w2, v3 * w3)
                k += BATCH * cuda.blockDim.x
            begin += cuda.gridDim.x * teams

    @kernel(limit=bound)
    def log_softmax_back(rows: int64, n: int64, y: pointer(name), g: pointer(name), out: pointer(name)):
        teams = cuda.blockDim.y
        begin = cuda.blockIdx.x * teams
        while begin < rows:
            r, at, length = row_of(begin, rows, n)
            total = float64(0)
            k = cuda.threadIdx.x
            while k < length:
                w0, w1, w2, w3 = read(g, at, k, length, zero)
                total += (float64(w0) + float64(w1)) + (float64(w2) + float64(w3))
                k += BATCH * cuda.blockDim.x
            total, _ = sum_of_team(total, 0)
            shift = real(total)
            k = cuda.threadIdx.x
            while k < length:
                v0, v1, v2, v3 = read(y, at, k, length, zero)
                w0, w1, w2, w3 = read(g, at, k, length, zero)
                w0, w1 = w0 - math.exp(v0) * shift, w1 - math.exp(v1) * shift
                w2, w3 = w2 - math.exp(v2) * shift, w3 - math.exp(v3) * shift
                write(out, at, k, length, w0, w1, w2, w3)
                k += BATCH * cuda.blockDim.x
            begin += cuda.gridDim.x * teams

    @kernel(limit=bound)
    def losses(
        rows: int64, n: int64, x: pointer(name), target: pointer(int64), weighted: int64, weight: pointer(name),
        weights: pointer(float64), ignored: int64, smoothing: float64, out: pointer(name), lse: pointer(float64),
    ):  # fmt: skip
        """`weights` is the sum of the weights; it and `weight` count if `weighted`."""
        teams = cuda.blockDim.y
        begin = cuda.blockIdx.x * teams
        while begin < rows:
            r, at, length = row_of(begin, rows, n)
            top, total = top_and_total(x, at, length)
            log_total, spread = math.log(total), float64(0)
            if smoothing > 0.0:  # the sum of weight (log_total - (x - top))
                k = cuda.threadIdx.x
                while k < length:
                    v = float64(x[at + k] - top)
                    spread += v * float64(weight[k]) if weighted else v
                    k += cuda.blockDim.x
                spread, _ = sum_of_team(spread, 0)
                spread = (weights[0] if weighted else float64(n)) * log_total - spread
            if r < rows and cuda.threadIdx.x == 0:
                lse[r] = float64(top) + log_total
                t, loss = target[r], float64(0)
                if t != ignored:
                    loss = (1.0 - smoothing) * (log_total - float64(x[at + t] - top))
                    if weighted:
                        loss *= float64(weight[t])
                    if smoothing > 0.0:
                        loss += smoothing / float64(n) * spread
                out[r] = real(loss)
            begin += cuda.gridDim.x * teams

    @kernel(limit=bound)
    def losses_back(
        rows: int64, n: int64, x: pointer(name), target: pointer(int64), weighted: int64, weight: pointer(name),
        weights: pointer(float64), ignored: int64, smoothing: float64, lse: pointer(float64), g: pointer(name),
        out: pointer(name),
    ):  # fmt: skip
        """Also of an ignored row, whose gradient is NaN where its scores are, as torch's."""
        teams, size = cuda.blockDim.y, cuda.blockDim.x
        begin = cuda.blockIdx.x * teams
        while begin < rows:
            r, at, length = row_of(begin, rows, n)
            if r < rows:
                t, hit, spread = target[r], float64(0), float64(0)
                if t != ignored:
                    hit = float64(g[r]) * (1.0 - smoothing)
                    if weighted:
                        hit *= float64(weight[t])
                    spread = float64(g[r]) * smoothing / float64(n)
                whole = hit
                if smoothing > 0.0:
                    whole += spread * (weights[0] if weighted else float64(n))
                scale, share, less = real(whole), real(spread), real(hit)
                high, low = parts(lse[r])
                k = cuda.threadIdx.x
                while k < length:
                    v0, v1, v2, v3 = read(x, at, k, length, zero)
                    v0, v1 = math.exp((v0 - high) - low) * scale, math.exp((v1 - high) - low) * scale
                    v2, v3 = math.exp((v2 - high) - low) * scale, math.exp((v3 - high) - low) * scale
                    if smoothing > 0.0:
                        w0 = w1 = w2 = w3 = real(1)
                        if weighted:
                            w0, w1, w2, w3 = read(weight, 0, k, length, zero)
                        v0, v1, v2, v3 = v0 - w0 * share, v1 - w1 * share, v2 - w2 * share, v3 - w3 * share
                    v0, v1 = v0 - (less if k == t else zero), v1 - (less if k + size == t else zero)
                    v2, v3 = v2 - (less if k + 2 * size == t else zero), v3 - (less if k + 3 * size == t else zero)
                    write(out, at, k, length, v0, v1, v2, v3)
                    k += BATCH * size
            begin += cuda.gridDim.x * teams

    @kernel(limit=bound)
    def normal(
        rows: int64, n: int64, x: pointer(name), weighted: int64, weight: pointer(name), biased: int64,
        bias: pointer(name), centred: int64, eps: float64, out: pointer(name), mean: pointer(float64),
        rstd: pointer(float64),
    ):  # fmt: skip
        """Mean and variance come from the sums of d and of d^2, d = x - the row's first number: of numbers that lie far
        from zero the differences are exact, and the first one is no farther from the mean than sqrt(n) deviations.
        Not `centred`, the mean counts as zero.
        """
        teams = cuda.blockDim.y
        begin = cuda.blockIdx.x * teams
        while begin < rows:
            r, at, length = row_of(begin, rows, n)
            origin = x[at] if length > 0 and centred else zero
            s, q = float64(0), float64(0)
            k = cuda.threadIdx.x
            while k < length:
                v0, v1, v2, v3 = read(x, at, k, length, origin)
                d0, d1, d2, d3 = float64(v0 - origin), float64(v1 - origin), float64(v2 - origin), float64(v3 - origin)
                s += (d0 + d1) + (d2 + d3)
                q += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
                k += BATCH * cuda.blockDim.x
            s, q = sums_of_team(s, q)
            distance = s / float64(n) if centred else float64(0)
            variance = q / float64(n) - distance * distance
            if variance < 0.0:
                variance = float64(0)
            m, deviation = float64(origin) + distance, 1.0 / math.sqrt(variance + eps)
            if r < rows and cuda.threadIdx.x == 0:
                mean[r] = m
                rstd[r] = deviation
            high, low = parts(m)
            factor = real(deviation)
            rest = -low * factor
            k = cuda.threadIdx.x
            while k < length:
                v0, v1, v2, v3 = read(x, at, k, length, zero)
                v0, v1 = (v0 - high) * factor + rest, (v1 - high) * factor + rest
                v2, v3 = (v2 - high) * factor + rest, (v3 - high) * factor + rest
                if weighted:
                    w0, w1, w2, w3 = read(weight, 0, k, length, zero)
                    v0, v1, v2, v3 = v0 * w0, v1 * w1, v2 * w2, v3 * w3
                if biased:
                    w0, w1, w2, w3 = read(bias, 0, k, length, zero)
                    v0, v1, v2, v3 = v0 + w0, v1 + w1, v2 + w2, v3 + w3
                write(out, at, k, length, v0, v1, v2, v3)
                k += BATCH * cuda.blockDim.x
            begin += cuda.gridDim.x * teams

    @kernel(limit=bound)
    def normal_back(
        rows: int64, n: int64, x: pointer(name), weighted: int64, weight: pointer(name), centred: int64,
        mean: pointer(float64), rstd: pointer(float64), g: pointer(name), dx: pointer(name),
    ):  # fmt: skip
        teams = cuda.blockDim.y
        begin = cuda.blockIdx.x * teams
        while begin < rows:
            r, at, length = row_of(begin, rows, n)
            high = low = factor = zero
            if r < rows:
                high, low = parts(mean[r])
                factor = real(rstd[r])
            rest = -low * factor
            s, q = float64(0), float64(0)
            k = cuda.threadIdx.x
            while k < length:
                y = g[at + k]
                if weighted:
                    y *= weight[k]
                s += float64(y)
                q += float64(y * ((x[at + k] - high) * factor + rest))
                k += cuda.blockDim.x
            s, q = sums_of_team(s, q)
            shift, slope = real(s / float64(n)) if centred else zero, real(q / float64(n))
            k = cuda.threadIdx.x
            while k < length:
                v, y = (x[at + k] - high) * factor + rest, g[at + k]
                if weighted:
                    y *= weight[k]
                dx[at + k] = ((y - shift) - v * slope) * factor
                k += cuda.blockDim.x
            begin += cuda.gridDim.x * teams

    @kernel(limit=bound)
    def normal_columns_back(
        rows: int64, n: int64, x: pointer(name), mean: pointer(float64), rstd: pointer(float64), g: pointer(name),
        height: int64, chunks: int64, sums: pointer(float64),
    ):  # fmt: skip
        """A block a chunk of `height` rows of as many columns as it is wide."""
        width, members, member = cuda.blockDim.x, cuda.blockDim.y, cuda.threadIdx.y
        tiles = (n + width - 1) // width
        found, more = cuda.shared.array(LARGEST, float64), cuda.shared.array(LARGEST, float64)
        mine = member * width + cuda.threadIdx.x
        unit = cuda.blockIdx.x
        while unit < tiles * chunks:
            chunk = unit // tiles
            j = (unit - chunk * tiles) * width + cuda.threadIdx.x
            s, q = float64(0), float64(0)
            if j < n:
                r = chunk * height + member
                while r < min(rows, (chunk + 1) * height):
                    high, low = parts(mean[r])
                    factor, y = real(rstd[r]), g[r * n + j]
                    s += float64(y * ((x[r * n + j] - high) * factor - low * factor))
                    q += float64(y)
                    r += members
            found[mine] = s
            more[mine] = q
            half = members // 2
            while half > 0:
                cuda.syncthreads()
                if member < half:
                    found[mine] += found[mine + half * width]
                    more[mine] += more[mine + half * width]
                half //= 2
            if j < n and member == 0:
                sums[2 * chunk * n + j] = found[mine]
                sums[(2 * chunk + 1) * n + j] = more[mine]
            cuda.syncthreads()  # the sums have been read
            unit += cuda.gridDim.x

    return SimpleNamespace(
        softmax=softmax, log_softmax=log_softmax, softmax_back=softmax_back, log_softmax_back=log_softmax_back,
        losses=losses, losses_back=losses_back, normal=normal, normal_back=normal_back,
        normal_columns_back=normal_columns_back,
    )  # fmt: skip


def launch(kernel: Kernel, x: Array, *arguments: object) -> None:
    """Run a kernel of teams on the rows of x (R, C)."""
    rows, n = x.shape
    if not rows:
        return
    threads = driver().threads
    if n <= SHORT:
        team = up_to(-(-n // BATCH), WARP)
    else:
        team = up_to(-(-n // (2 * BATCH)), min(LARGE, 2 * threads) if n > LONG and rows < FEW else threads)
    shape = block(team)
    kernel.launch(blocks(rows, shape), shape, rows, n, x, *arguments)


def softmax(x: Array) -> Array:
    """exp(x) / sum(exp(x)) of each row of x (R, C)."""
    out = empty_as(x)
    launch(kernels(x.dtype.name).softmax, x, out)
    return out


def log_softmax(x: Array) -> Array:
    """The logarithm of softmax, with no underflow."""
    out = empty_as(x)
    launch(kernels(x.dtype.name).log_softmax, x, out)
    return out


def softmax_backward(y: Array, g: Array) -> Array:
    """The gradient of x from the result y and its gradient g: y (g - sum(g y))."""
    out = empty_as(y)
    launch(kernels(y.dtype.name).softmax_back, y, g, out)
    return out


def log_softmax_backward(y: Array, g: Array) -> Array:
    """The gradient of x from the result y and its gradient g: g - exp(y) sum(g)."""
    out = empty_as(y)
    launch(kernels(y.dtype.name).log_softmax_back, y, g, out)
    return out


def of_columns(function: Callable[..., Array]) -> Callable[..., Array]:
    """The function of rows for columns of arrays (N, R, C): columns become rows, and back."""

    def columns(*arrays: Array) -> Array:
        turned = [contiguous(a.swapaxes(1, 2)) for a in arrays]
        batch, width, rows = turned[0].shape
        out = function(*(a.reshape(batch * width, rows) for a in turned))
        return contiguous(out.reshape(batch, width, rows).swapaxes(1, 2))

    return columns


softmax_columns, log_softmax_columns = of_columns(softmax), of_columns(log_softmax)
softmax_columns_backward, log_softmax_columns_backward = of_columns(softmax_backward), of_columns(log_softmax_backward)


def present(array: Array, other: Array) -> tuple[int, Array]:
    """Whether there is an array, and one to pass as it."""
    return (1, array) if array.size else (0, other)


def sum_of_weights(weight: Array, smoothing: float, other: Array) -> Array:
    """The sum of the weights in float64; where it does not count, another array of that type."""
    return reduce("sum", weight, (0,), np.float64)[0] if smoothing > 0 and weight.size else other


def cross_entropy(x: Array, target: Array, weight: Array, ignored: int, smoothing: float) -> tuple[Array, Array]:
    """The loss of each row, and the logsumexp of each row."""
    out, lse = empty(x.shape[:1], x.dtype), empty(x.shape[:1], np.float64)
    weights = sum_of_weights(weight, smoothing, lse)
    how = *present(weight, x), weights, ignored, float(smoothing)
    launch(kernels(x.dtype.name).losses, x, target, *how, out, lse)
    return out, lse


def cross_entropy_backward(x, target, weight, ignored, smoothing, lse, g) -> Array:
    """The gradient of x (R, C) from the gradient g (R,) of each row's loss."""
    out = empty_as(x)
    weights = sum_of_weights(weight, smoothing, lse)
    how = *present(weight, x), weights, ignored, float(smoothing)
    launch(kernels(x.dtype.name).losses_back, x, target, *how, lse, g, out)
    return out


def layer_norm(x: Array, weight: Array, bias: Array, eps: float, centred: bool = True) -> tuple[Array, Array, Array]:
    """(x - mean) / sqrt(variance + eps) * weight + bias of each row; Ba et al. 2016, https://arxiv.org/abs/1607.06450.

    Not `centred`, with a mean of zero: Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467."""
    out, mean, rstd = empty_as(x), empty(x.shape[:1], np.float64), empty(x.shape[:1], np.float64)
    how = *present(weight, x), *present(bias, x), int(centred), float(eps)
    launch(kernels(x.dtype.name).normal, x, *how, out, mean, rstd)
    return out, mean, rstd


def layer_norm_backward(x, weight, mean, rstd, g, centred: bool = True) -> tuple[Array, Array, Array]:
    """The gradients of x (R, C), weight (C,) and bias (C,)."""
    rows, n = x.shape
    family, dx = kernels(x.dtype.name), empty_as(x)
    launch(family.normal_back, x, *present(weight, x), int(centred), mean, rstd, g, dx)
    if not x.size:
        out = zeros((2, n), x.dtype)
        return dx, out[0], out[1]
    width = up_to(n, WARP)
    shape, tiles = (width, driver().threads // width), -(-n // width)
    height = -(-rows // max(1, min(rows // HEIGHT, CHUNKS // tiles)))
    chunks = -(-rows // height)
    sums = empty((chunks, 2, n), np.float64)
    family.normal_columns_back.launch(
        blocks(tiles * chunks * shape[1], shape), shape, rows, n, x, mean, rstd, g, height, chunks, sums
    )
    out = reduce("sum", sums, (0,), x.dtype)[0]
    return dx, out[0], out[1]


def examples() -> list[Kernel]:
    """The kernels of both types."""
    return [k for name in ("float32", "float64") for k in vars(kernels(name)).values()]
