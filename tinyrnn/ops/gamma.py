"""The logarithm of the gamma function, and its derivatives, as likelihoods of counts have them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels import twin
from ..kernels.formulas import Formula
from ..kernels.gamma import DIGAMMA, LGAMMA, TRIGAMMA
from .common import Op, expect_tensor, floating, into, run

maps = twin("map")


def wide(formula: Formula, a: np.ndarray) -> np.ndarray:
    """A formula of float64 for any floating-point numbers."""
    return maps.forward(formula, (a.astype(np.float64, copy=False),))[0].astype(a.dtype, copy=False)


class Lgamma(Op):
    @staticmethod
    def forward(a):
        return wide(LGAMMA, a), (a,)

    @staticmethod
    def backward(saved, needs, g):
        (a,) = saved
        return g * wide(DIGAMMA, a)


class Digamma(Op):
    @staticmethod
    def forward(a):
        return wide(DIGAMMA, a), (a,)

    @staticmethod
    def backward(saved, needs, g):
        (a,) = saved
        return g * wide(TRIGAMMA, a)


def lgamma(input: Any, *, out: Any = None) -> Any:
    """The logarithm of the absolute value of the gamma function; infinite at its poles."""
    t = floating(expect_tensor(input, "lgamma"))
    return into(out, run(Lgamma, (t,), (t.array,)), "lgamma")


def digamma(input: Any, *, out: Any = None) -> Any:
    """The derivative of lgamma; infinite at zero, nan at negative integers."""
    t = floating(expect_tensor(input, "digamma"))
    return into(out, run(Digamma, (t,), (t.array,)), "digamma")
