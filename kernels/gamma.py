"""The logarithm of the gamma function and its first two derivatives, for float64: formulas as those of formulas.py.

    lgamma(x)    log |gamma(x)|, infinite at 0, -1, -2 ...
    digamma(x)   its derivative; not a number at -1, -2 ...
    trigamma(x)  the derivative of that

Arguments from 8 or 10 on have asymptotic series (Abramowitz and Stegun 6.1.41, 6.3.18, 6.4.12), smaller ones are moved
by gamma(x + 1) = x gamma(x), and negative ones are reflected (6.1.17, 6.3.7, 6.4.7).  The logarithm loses no digits at
its zeros, 1 and 2, where it is a Taylor series (6.1.33).
"""

from __future__ import annotations

import math

from .formulas import Formula, polynomial
from .scalar import absolute, cos, floor, log, sin, where

# zeta(k) - 1 for k = 2, 3 ...
ZETA = (
    0.6449340668482264, 0.2020569031595943, 0.08232323371113819, 0.03692775514336993, 0.01734306198444914,
    0.008349277381922827, 0.00407735619794434, 0.0020083928260822143, 0.0009945751278180853, 0.0004941886041194645,
    0.0002460865533080483, 0.00012271334757848915, 6.124813505870483e-05, 3.058823630702049e-05,
    1.528225940865187e-05, 7.637197637899763e-06, 3.81729326499984e-06, 1.908212716553939e-06, 9.539620338727962e-07,
    4.769329867878064e-07, 2.38450502727733e-07, 1.1921992596531106e-07, 5.960818905125948e-08,
    2.980350351465228e-08, 1.4901554828365043e-08, 7.45071178983543e-09, 3.725334024788457e-09,
)  # fmt: skip
EULER = 0.57721566490153286061


def series(z):
    """log gamma(2 + z) for z up to 1/2."""
    terms = [(-1) ** k * zeta / k for k, zeta in enumerate(ZETA, 2)]
    return z * polynomial(z, *reversed(terms), 1.0 - EULER)


def off_integer(x):
    """x less the nearest whole number."""
    return x - floor(x + 0.5)


def lgamma(x):
    a = where(x < 0.0, 1.0 - x, x)
    y, product = where(a < 8.0, a, 2.0), 1.0
    for _ in range(6):  # down to 2.5, or below
        down = y > 2.5
        y = where(down, y - 1.0, y)
        product = where(down, product * y, product)
    near = where(a < 0.5, a, where(a < 1.5, a - 1.0, y - 2.0))
    logarithm = log(where(a < 0.5, a * (a + 1.0), where(a < 8.0, where(a < 1.5, a, product), a)))
    small = series(near) + where(a < 1.5, -logarithm, logarithm)
    w = 1.0 / (a * a)
    rest = polynomial(w, -3617 / 122400, 1 / 156, -691 / 360360, 1 / 1188, -1 / 1680, 1 / 1260, -1 / 360, 1 / 12) / a
    large = (a - 0.5) * (logarithm - 1.0) + (rest + 0.5 * (math.log(2.0 * math.pi) - 1.0))
    value = where(a < 8.0, small, large)
    turned = math.log(math.pi) - log(absolute(sin(math.pi * off_integer(x)))) - value
    return where(x < 0.0, where(x == floor(x), math.inf, turned), value)


def digamma(x):
    a, passed = where(x < 0.0, 1.0 - x, x), 0.0
    for _ in range(10):
        passed, a = where(a < 10.0, passed + 1.0 / a, passed), where(a < 10.0, a + 1.0, a)
    w = 1.0 / (a * a)
    rest = polynomial(w, -1 / 12, 691 / 32760, -1 / 132, 1 / 240, -1 / 252, 1 / 120, -1 / 12) * w
    value = log(a) - 0.5 / a + rest - passed
    angle = math.pi * off_integer(x)
    turned = where(x == floor(x), math.nan, value - math.pi * cos(angle) / sin(angle))
    return where(x < 0.0, turned, where(x == 0.0, -1.0 / x, value))


def trigamma(x):
    """To as many terms as torch: ten digits."""
    a, passed = where(x < 0.5, 1.0 - x, x), 0.0
    for k in range(6):
        passed = passed + 1.0 / ((a + k) * (a + k))
    a = a + 6.0
    w = 1.0 / (a * a)
    value = passed + (1.0 + 0.5 / a + w * polynomial(w, 1 / 42, -1 / 30, 1 / 6)) / a
    sine = sin(math.pi * x)
    return where(x < 0.5, (math.pi / sine) * (math.pi / sine) - value, value)


LGAMMA, DIGAMMA, TRIGAMMA = Formula(lgamma), Formula(digamma), Formula(trigamma)
