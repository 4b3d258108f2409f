"""The logarithm of the gamma function, and its derivatives, as likelihoods of counts have them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..devices import host, of, put
from .common import Op, expect_tensor, floating, into, run


def _lgamma(x: float) -> float:
    try:
        return math.lgamma(x)
    except (ValueError, OverflowError):  # a pole, or beyond what a float holds
        return math.inf


_lgammas = np.frompyfunc(_lgamma, 1, 1)


def log_gamma(a: np.ndarray) -> np.ndarray:
    return np.asarray(_lgammas(a.astype(np.float64)), np.float64).astype(a.dtype)


def shifted(x: np.ndarray, term: Any) -> tuple[np.ndarray, np.ndarray]:
    """(x + n, the sum of term(x + k) for k < n) with n such that x + n is at least 10."""
    x, total = x.copy(), np.zeros_like(x)
    while (small := x < 10).any():
        total[small] += term(x[small])
        x[small] += 1
    return x, total


def psi(a: np.ndarray) -> np.ndarray:
    """The derivative of log_gamma: psi(x) = psi(x + 1) - 1/x, an asymptotic series from 10 on, and reflection below
    zero (Abramowitz and Stegun 6.3.5, 6.3.7, 6.3.18).
    """
    x = a.astype(np.float64)
    x, below = np.where(x < 0, 1 - x, np.where(np.isfinite(x), x, 1)), x
    with np.errstate(all="ignore"):
        at, passed = shifted(np.atleast_1d(x), lambda x: 1 / x)
        w = 1 / (at * at)
        series = w * (
            1 / 12 - w * (1 / 120 - w * (1 / 252 - w * (1 / 240 - w * (1 / 132 - w * (691 / 32760 - w / 12)))))
        )
        value = (np.log(at) - 1 / (2 * at) - series - passed).reshape(x.shape)
        turned = np.where(below == np.floor(below), np.nan, value - math.pi / np.tan(math.pi * np.fmod(below, 1)))
        value = np.where(below < 0, turned, value)
    value = np.where(below == 0, -np.copysign(np.inf, below), value)
    return np.where(np.isposinf(below), np.inf, np.where(np.isnan(below) | np.isneginf(below), np.nan, value)).astype(
        a.dtype
    )


def psi_of_first_order(a: np.ndarray) -> np.ndarray:
    """The derivative of psi (Abramowitz and Stegun 6.4.6, 6.4.7, 6.4.12), to as many terms as torch: ten digits."""
    x = a.astype(np.float64)
    x, below = np.where(x < 0.5, 1 - x, x), x
    with np.errstate(all="ignore"):
        passed = sum(1 / (x + k) ** 2 for k in range(6))
        at = x + 6
        w = 1 / (at * at)
        value = passed + (1 + 1 / (2 * at) + w * (1 / 6 - w * (1 / 30 - w / 42))) / at
        return np.where(below < 0.5, (math.pi / np.sin(math.pi * below)) ** 2 - value, value).astype(a.dtype)


class Lgamma(Op):
    @staticmethod
    def forward(a):
        return put(log_gamma(host(a)), of(a)), (a,)

    @staticmethod
    def backward(saved, needs, g):
        (a,) = saved
        return g * put(psi(host(a)), of(a))


class Digamma(Op):
    @staticmethod
    def forward(a):
        return put(psi(host(a)), of(a)), (a,)

    @staticmethod
    def backward(saved, needs, g):
        (a,) = saved
        return g * put(psi_of_first_order(host(a)), of(a))


def lgamma(input: Any, *, out: Any = None) -> Any:
    """The logarithm of the absolute value of the gamma function; infinite at its poles."""
    t = floating(expect_tensor(input, "lgamma"))
    return into(out, run(Lgamma, (t,), (t.array,)), "lgamma")


def digamma(input: Any, *, out: Any = None) -> Any:
    """The derivative of lgamma; -inf at zero, nan at negative integers."""
    t = floating(expect_tensor(input, "digamma"))
    return into(out, run(Digamma, (t,), (t.array,)), "digamma")
