"""Rows: one pass over each row of a matrix.  Sums are kept in float64.

    softmax(x), log_softmax(x)                      (R, C) -> (R, C), and their backwards from the result
    cross_entropy(x, target, weight, ignored, smoothing)  (R, C), (R,) -> the loss of each row (R,), and its logsumexp
                                                    (R,) in float64: large scores leave float32 no digits for it
    layer_norm(x, weight, bias, eps)                (R, C) -> (R, C), mean (R,), 1 / standard deviation (R,),
                                                    both in float64

Absent weights are arrays of size zero.
"""

from __future__ import annotations

import math

import numpy as np

from .jit import njit


@njit
def _softmax(x, out, log):
    rows, columns = x.shape
    for r in range(rows):
        top = x[r, 0]
        for c in range(1, columns):
            if not x[r, c] <= top:
                top = x[r, c]
        total = 0.0
        for c in range(columns):
            out[r, c] = math.exp(x[r, c] - top)
            total += out[r, c]
        if log:
            shift = x.dtype.type(math.log(total))
            for c in range(columns):
                out[r, c] = (x[r, c] - top) - shift
        else:
            scale = x.dtype.type(1.0 / total)
            for c in range(columns):
                out[r, c] *= scale


def softmax(x: np.ndarray) -> np.ndarray:
    """exp(x) / sum(exp(x)) of each row of x (R, C)."""
    out = np.empty_like(x)
    _softmax(x, out, False)
    return out


def log_softmax(x: np.ndarray) -> np.ndarray:
    """The logarithm of softmax, with no underflow."""
    out = np.empty_like(x)
    _softmax(x, out, True)
    return out


@njit
def _softmax_backward(y, g, out, log):
    rows, columns = y.shape
    for r in range(rows):
        total = 0.0
        for c in range(columns):
            total += g[r, c] if log else g[r, c] * y[r, c]
        shift = y.dtype.type(total)
        for c in range(columns):
            out[r, c] = g[r, c] - math.exp(y[r, c]) * shift if log else y[r, c] * (g[r, c] - shift)


def softmax_backward(y: np.ndarray, g: np.ndarray) -> np.ndarray:
    """The gradient of x from the result y and its gradient g: y (g - sum(g y))."""
    out = np.empty_like(y)
    _softmax_backward(y, g, out, False)
    return out


def log_softmax_backward(y: np.ndarray, g: np.ndarray) -> np.ndarray:
    """The gradient of x from the result y and its gradient g: g - exp(y) sum(g)."""
    out = np.empty_like(y)
    _softmax_backward(y, g, out, True)
    return out


@njit
def _cross_entropy(x, target, weight, ignored, smoothing, losses, lse):
    rows, columns = x.shape
    share = smoothing / columns
    for r in range(rows):
        top = x[r, 0]
        for c in range(1, columns):
            if not x[r, c] <= top:
                top = x[r, c]
        total = 0.0
        for c in range(columns):
            total += math.exp(x[r, c] - top)
        log_total = math.log(total)
        lse[r] = top + log_total
        t = target[r]
        if t == ignored:
            losses[r] = 0.0
            continue
        loss = (1.0 - smoothing) * (log_total - (x[r, t] - top)) * (weight[t] if weight.size else 1.0)
        if smoothing > 0.0:
            for c in range(columns):
                loss += share * (log_total - (x[r, c] - top)) * (weight[c] if weight.size else 1.0)
        losses[r] = loss


def cross_entropy(
    x: np.ndarray, target: np.ndarray, weight: np.ndarray, ignored: int, smoothing: float
) -> tuple[np.ndarray, np.ndarray]:
    """The loss of each row, and the logsumexp of each row."""
    losses, lse = np.empty(x.shape[0], x.dtype), np.empty(x.shape[0])
    _cross_entropy(x, target, weight, ignored, smoothing, losses, lse)
    return losses, lse


@njit
def _cross_entropy_backward(x, target, weight, ignored, smoothing, lse, g, out):
    rows, columns = x.shape
    share = smoothing / columns
    weights = float(columns)
    if weight.size:
        weights = 0.0
        for c in range(columns):
            weights += weight[c]
    for r in range(rows):
        t = target[r]
        hit = spread = 0.0
        if t != ignored:
            hit = g[r] * (1.0 - smoothing) * (weight[t] if weight.size else 1.0)
            spread = g[r] * share
        scale = x.dtype.type(hit + spread * weights)
        for c in range(columns):  # also of an ignored row, whose gradient is nan where its scores are, as torch's
            out[r, c] = scale * math.exp(x.dtype.type(x[r, c] - lse[r]))
        if smoothing > 0.0:
            for c in range(columns):
                out[r, c] -= spread * (weight[c] if weight.size else 1.0)
        if t != ignored:
            out[r, t] -= x.dtype.type(hit)


def cross_entropy_backward(x, target, weight, ignored, smoothing, lse, g) -> np.ndarray:
    """The gradient of x (R, C) from the gradient g (R,) of each row's loss."""
    out = np.empty_like(x)
    _cross_entropy_backward(x, target, weight, ignored, smoothing, lse, g, out)
    return out


@njit
def _layer_norm(x, weight, bias, eps, out, mean, rstd):
    rows, columns = x.shape
    for r in range(rows):
        total = 0.0
        for c in range(columns):
            total += x[r, c]
        m = total / columns
        total = 0.0
        for c in range(columns):
            d = x[r, c] - m
            total += d * d
        scale = 1.0 / math.sqrt(total / columns + eps)
        mean[r], rstd[r] = m, scale
        for c in range(columns):
            v = (x[r, c] - m) * scale
            if weight.size:
                v *= weight[c]
            if bias.size:
                v += bias[c]
            out[r, c] = v


def layer_norm(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x - mean) / sqrt(variance + eps) * weight + bias of each row; Ba et al. 2016, https://arxiv.org/abs/1607.06450."""
    out = np.empty_like(x)
    mean, rstd = np.empty(x.shape[0]), np.empty(x.shape[0])
    _layer_norm(x, weight, bias, eps, out, mean, rstd)
    return out, mean, rstd


@njit
def _layer_norm_backward(x, weight, mean, rstd, g, dx, dweight, dbias):
    rows, columns = x.shape
    for r in range(rows):
        a = b = 0.0
        for c in range(columns):
            normal = (x[r, c] - mean[r]) * rstd[r]
            dweight[c] += g[r, c] * normal
            dbias[c] += g[r, c]
            w = g[r, c] * weight[c] if weight.size else g[r, c]
            a += w
            b += w * normal
        a /= columns
        b /= columns
        for c in range(columns):
            normal = (x[r, c] - mean[r]) * rstd[r]
            w = g[r, c] * weight[c] if weight.size else g[r, c]
            dx[r, c] = (w - a - normal * b) * rstd[r]


def layer_norm_backward(x, weight, mean, rstd, g) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The gradients of x (R, C), weight (C,) and bias (C,)."""
    dx = np.empty_like(x)
    dweight, dbias = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    _layer_norm_backward(x, weight, mean, rstd, g, dx, dweight, dbias)
    return dx, dweight.astype(x.dtype), dbias.astype(x.dtype)
