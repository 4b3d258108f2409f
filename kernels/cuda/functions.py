"""What one thread computes: the functions of printed formulas, and NumPy's rules where a GPU has others.

Functions of floating-point numbers stay in the type that they are given, float32 or float64; none is the approximate
form that a GPU also has.  sin, cos and tan of numbers beyond some 100,000 are slow: those take many digits of pi, in a
table of the thread's own.
"""

from __future__ import annotations

import math

import numpy as np

from .jit import device

BEYOND_32, BEYOND_64 = np.float32(2**31), np.float32(2**63)  # the smallest numbers that are too large
LOWEST_32, LOWEST_64 = np.int32(-(2**31)), np.int64(-(2**63))


# ------------------------------------------------------------------------------------------ of printed formulas
@device
def where(condition, a, b):
    return a if condition else b


@device
def sigmoid(x):
    one = type(x)(1)
    return one / (one + math.exp(-x))


# fmt: off
@device
def exp(x): return math.exp(x)
@device
def expm1(x): return math.expm1(x)
@device
def log(x): return math.log(x)
@device
def log1p(x): return math.log1p(x)
@device
def log2(x): return math.log2(x)
@device
def log10(x): return math.log10(x)
@device
def sqrt(x): return math.sqrt(x)
@device
def sin(x): return math.sin(x)
@device
def cos(x): return math.cos(x)
@device
def tan(x): return math.tan(x)
@device
def asin(x): return math.asin(x)
@device
def acos(x): return math.acos(x)
@device
def atan(x): return math.atan(x)
@device
def atan2(y, x): return math.atan2(y, x)
@device
def sinh(x): return math.sinh(x)
@device
def cosh(x): return math.cosh(x)
@device
def tanh(x): return math.tanh(x)
@device
def asinh(x): return math.asinh(x)
@device
def acosh(x): return math.acosh(x)
@device
def atanh(x): return math.atanh(x)
@device
def erf(x): return math.erf(x)
@device
def erfc(x): return math.erfc(x)
@device
def hypot(x, y): return math.hypot(x, y)
@device
def floor(x): return math.floor(x)
@device
def ceil(x): return math.ceil(x)
@device
def trunc(x): return math.trunc(x)
@device
def copysign(x, y): return math.copysign(x, y)
# fmt: on


# ------------------------------------------------------------------------------------------ floating-point numbers
@device
def rint(x, large):
    """To the nearest integer, to the even one of two; `large` = 2 ** 23 or 2 ** 52, from which on all are integers."""
    if not abs(x) < large:
        return x
    shift = math.copysign(large, x)
    return math.copysign((x + shift) - shift, x)


@device
def maximum(x, y):
    """NaN, if one is; y, if they are equal, as with zeros of two signs."""
    return x if x > y or x != x else y


@device
def minimum(x, y):
    return x if x < y or x != x else y


@device
def fmax(x, y):
    """The other one, if one is NaN."""
    return x if x > y or y != y else y


@device
def fmin(x, y):
    return x if x < y or y != y else y


@device
def sign(x):
    zero, one = type(x)(0), type(x)(1)
    return one if x > zero else (-one if x < zero else (zero if x == zero else x))


@device
def remainder(x, y):
    """With the sign of y."""
    zero = type(x)(0)
    r = math.fmod(x, y)
    if r == zero:
        return math.copysign(zero, y)
    return r + y if (r < zero) != (y < zero) else r


@device
def fmod(x, y):
    """With the sign of x."""
    return math.fmod(x, y)


@device
def floor_divide(x, y):
    """As Python has it: the quotient of what the remainder leaves, to the nearest integer."""
    zero, half, one = type(x)(0), type(x)(0.5), type(x)(1)
    if y == zero:
        return x / y
    r = math.fmod(x, y)
    quotient = (x - r) / y
    if r != zero and (y < zero) != (r < zero):
        quotient -= one
    if quotient == zero:
        return math.copysign(zero, x / y)
    whole = math.floor(quotient)
    return whole + one if quotient - whole > half else whole


# ------------------------------------------------------------------------------------------ integers, all as int64
@device
def integer_floor_divide(x, y):
    if y == 0:
        return x - x
    if y == -1:  # the lowest number has no negative: it stays
        return -x
    return x // y


@device
def integer_remainder(x, y):
    """With the sign of y."""
    return x - x if y == 0 or y == -1 else x % y


@device
def integer_fmod(x, y):
    """With the sign of x."""
    if y == 0 or y == -1:
        return x - x
    r = x % y
    return r - y if r != 0 and (x < 0) != (y < 0) else r


@device
def integer_power(x, y):
    """x ** y for y >= 0, of which the lowest bits are kept."""
    result = x - x + 1
    while y > 0:
        if y & 1:
            result *= x
        x *= x
        y >>= 1
    return result


@device
def gcd(x, y):
    x, y = abs(x), abs(y)
    while y != 0:
        x, y = y, x % y
    return abs(x)


@device
def lcm(x, y):
    divisor = gcd(x, y)
    return divisor if divisor == 0 else abs(x) // divisor * abs(y)


@device
def left_shift(x, y, bits):
    return x << y if 0 <= y < bits else x - x


@device
def right_shift(x, y, bits):
    return x >> y if 0 <= y < bits else x >> 63


# ------------------------------------------------------------------------------------------ casts
@device
def to_int32(x):
    """What x86 makes of a number: the lowest integer, for what has no room and for NaN."""
    return np.int32(x) if -BEYOND_32 <= x < BEYOND_32 else LOWEST_32


@device
def to_int64(x):
    return np.int64(x) if -BEYOND_64 <= x < BEYOND_64 else LOWEST_64
