"""The loops of torch's CPU random numbers, bit for bit.

A generator makes 32-bit words, and of them uniform numbers; the other kernels turn these into samples.
Equal bits need equal roundings: these kernels are compiled without liberties (`njit_exact`), a product
and a sum become one `fma` exactly where torch's AVX2 and AVX-512 builds fuse them, and log1p, sin and
their kind are the C library's.
"""

import math

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .jit import njit_exact
from .lanes import I32, integers
from .pool import instruction
from .simd import BYTES, address, pointer

N, M = 624, 397  # the Mersenne Twister's words of state, and the distance between those that it mixes
LANES = BYTES // 4  # words that a register of the CPU holds


@intrinsic
def fma(typing_context, a, b, c):
    """a * b + c rounded once, in the type of `a`."""

    def generate(context, builder, signature, arguments):
        return builder.fma(*arguments)

    return a(a, a, a), generate


# ------------------------------------------------------------------------------------- words


@njit_exact
def twist(upper, lower, far):
    """One step of the recurrence: the next word of state, from a word, its successor and one further on."""
    y = (upper & np.uint32(0x80000000)) | (lower & np.uint32(0x7FFFFFFF))
    return far ^ (y >> np.uint32(1)) ^ ((y & np.uint32(1)) * np.uint32(0x9908B0DF))


def _load(b, at):
    value = b.load(pointer(b, at, ir.VectorType(I32, LANES)))
    value.align = 4
    return value


def _shifted_and(b, y, left: int, mask: int):
    return b.and_(b.shl(y, integers(y.type, left)), integers(y.type, mask))


def _twist(b, at, far):
    upper, lower, far = _load(b, at), _load(b, b.add(at, at.type(4))), _load(b, far)
    kind = upper.type
    y = b.or_(b.and_(upper, integers(kind, 0x80000000)), b.and_(lower, integers(kind, 0x7FFFFFFF)))
    odd = b.neg(b.and_(y, integers(kind, 1)))  # all bits or none
    y = b.xor(b.lshr(y, integers(kind, 1)), b.and_(odd, integers(kind, 0x9908B0DF)))
    b.store(b.xor(far, y), pointer(b, at, kind)).align = 4


def _temper(b, at, to):
    y = _load(b, at)
    y = b.xor(y, b.lshr(y, integers(y.type, 11)))
    y = b.xor(y, _shifted_and(b, y, 7, 0x9D2C5680))
    y = b.xor(y, _shifted_and(b, y, 15, 0xEFC60000))
    y = b.xor(y, b.lshr(y, integers(y.type, 18)))
    b.store(y, pointer(b, to, y.type)).align = 4


# `twist` for the LANES words at an address, from those at another address further on; and tempering of words, to there.
twist_lanes = instruction(types.void(types.intp, types.intp), _twist)
temper_lanes = instruction(types.void(types.intp, types.intp), _temper)


@njit_exact
def advance(key, first, last, apart):
    """The words `first` to `last` of the next block of state, from the words `apart` from them."""
    i, p = first, address(key)
    while i + LANES <= last:
        twist_lanes(p + 4 * i, p + 4 * (i + apart))
        i += LANES
    while i < last:
        key[i] = twist(key[i], key[i + 1], key[i + apart])
        i += 1


@njit_exact
def words(key, position, out):
    """Fill `out`, uint32 (n,), with the next words of MT19937 (Matsumoto and Nishimura, 1998).

    `key`, uint32 (624,), is the block of state in use, updated in place; `position` is the number of
    words already taken from it, where 0 and 624 both ask for a new block.  Returns the new position.
    """
    done = 0
    while done < out.size:
        if position % N == 0:
            advance(key, 0, N - M, M)
            advance(key, N - M, N - 1, M - N)
            key[N - 1] = twist(key[N - 1], key[0], key[M - 1])
            position = 0
        count = min(N - position, out.size - done)
        whole = count // LANES * LANES
        for i in range(0, whole, LANES):
            temper_lanes(address(key) + 4 * (position + i), address(out) + 4 * (done + i))
        for i in range(whole, count):
            y = np.uint64(key[position + i])
            y ^= y >> np.uint32(11)
            y ^= (y << np.uint32(7)) & np.uint32(0x9D2C5680)
            y ^= (y << np.uint32(15)) & np.uint32(0xEFC60000)
            y ^= y >> np.uint32(18)
            out[done + i] = y
        position += count
        done += count
    return position


# ----------------------------------------------------------------------------------- uniform


@njit_exact
def uniform32(words, low, high, out):
    """Fill `out`, float32 (n,), with the low 24 bits of n words, spread over [low, high)."""
    span = high - low
    for i in range(out.size):
        x = np.float32(np.int32(words[i] & np.uint32(0xFFFFFF))) * np.float32(2.0**-24)
        value = fma(x, span, low)
        out[i] = low if value == high else value


@njit_exact
def uniform64(words, low, high, out):
    """Fill `out`, float64 (n,), with the low 53 bits of n pairs of words, high word first, over [low, high)."""
    span = high - low
    for i in range(out.size):
        bits = np.int64(words[2 * i] & np.uint32(0x1FFFFF)) << 32 | np.int64(words[2 * i + 1])
        value = fma(bits * 2.0**-53, span, low)
        out[i] = low if value == high else value


# ------------------------------------------------------------------------------------ normal


@njit_exact
def log32(x):
    """log(x) for float32 x in [2**-24, 1], by the polynomial of Cephes' logf."""
    bits = np.float32(x).view(np.int32)
    e = np.float32(np.int32((bits >> 23) - 126))
    m = np.int32((bits & 0x007FFFFF) | 0x3F000000).view(np.float32)  # x = m 2^e, 1/2 <= m < 1
    small = m < np.float32(0.707106781186547524)
    e = e - np.float32(1) if small else e
    m = m + m - np.float32(1) if small else m - np.float32(1)
    z = m * m
    y = fma(np.float32(7.0376836292e-2), m, -1.1514610310e-1)
    y = fma(y, m, 1.1676998740e-1)
    y = fma(y, m, -1.2420140846e-1)
    y = fma(y, m, 1.4249322787e-1)
    y = fma(y, m, -1.6668057665e-1)
    y = fma(y, m, 2.0000714765e-1)
    y = fma(y, m, -2.4999993993e-1)
    y = fma(y, m, 3.3333331174e-1)
    y = fma(y * m, z, e * np.float32(-2.12194440e-4))
    y = fma(z, -0.5, y)
    return fma(e, 0.693359375, m + y)


@njit_exact
def sincos32(x):
    """(sin(x), cos(x)) for float32 x >= 0, by the polynomials of Cephes' sinf and cosf."""
    octant = np.int32((np.int32(x * np.float32(1.27323954473516)) + 1) & ~1)
    y = np.float32(octant)
    x = fma(y, -0.78515625, x)  # x - octant pi/4, with pi/4 in three parts
    x = fma(y, -2.4187564849853515625e-4, x)
    x = fma(y, -3.77489497744594108e-8, x)
    z = x * x
    c = fma(np.float32(2.443315711809948e-5), z, -1.388731625493765e-3)
    c = fma(c, z, 4.166664568298827e-2)
    c = fma(c * z, z, z * np.float32(-0.5)) + np.float32(1)
    s = fma(np.float32(-1.9515295891e-4), z, 8.3321608736e-3)
    s = fma(s, z, -1.6666654611e-1)
    s = fma(s * z, x, x)
    sine, cosine = (c, s) if octant & 2 else (s, c)
    return -sine if octant & 4 else sine, -cosine if (octant + 2) & 4 else cosine


@njit_exact
def normal_blocks32(blocks, mean, std):
    """Turn uniform numbers into normal ones, float32 (k, 2, 8) in place (Box and Muller, 1958).

    The first eight numbers of a block make radii, the other eight angles; the cosines give the first
    eight samples, the sines the others.
    """
    for k in range(blocks.shape[0]):
        first, second = blocks[k, 0], blocks[k, 1]
        for i in range(first.size):
            radius = np.sqrt(np.float32(-2) * log32(np.float32(1) - first[i]))
            sine, cosine = sincos32(np.float32(2 * math.pi) * second[i])
            first[i] = fma(radius * cosine, std, mean)
            second[i] = fma(radius * sine, std, mean)


@njit_exact
def normal_blocks64(blocks, mean, std):
    """`normal_blocks32` for float64, with the C library's log, sin and cos."""
    for k in range(blocks.shape[0]):
        first, second = blocks[k, 0], blocks[k, 1]
        for i in range(first.size):
            radius = math.sqrt(-2 * math.log(1 - first[i]))
            angle = 2 * math.pi * second[i]
            first[i] = fma(radius * math.cos(angle), std, mean)
            second[i] = fma(radius * math.sin(angle), std, mean)


@njit_exact
def normal_pairs(u, out):
    """Fill `out`, float64 (k, 2), with standard normal samples from uniform numbers `u`, float64 (k, 2)."""
    for k in range(out.shape[0]):
        radius = math.sqrt(-2 * math.log1p(-u[k, 1]))
        angle = 2 * math.pi * u[k, 0]
        out[k, 0] = radius * math.cos(angle)
        out[k, 1] = radius * math.sin(angle)


@njit_exact
def scale(x, mean, std):
    """x std + mean in place, x float64 (n,)."""
    for i in range(x.size):
        x[i] = fma(x[i], std, mean)


@njit_exact
def exp(x):
    """exp(x) in place, x float64 (n,): the C library's, where NumPy's may differ in the last bit."""
    for i in range(x.size):
        x[i] = math.exp(x[i])


# ----------------------------------- other distributions, from uniform numbers u, float64 (n,), in place


@njit_exact
def exponential(u, rate):
    factor = -1.0 / rate
    for i in range(u.size):
        u[i] = factor * math.log1p(-u[i])


@njit_exact
def geometric(u, p):
    divisor = math.log1p(-p)
    for i in range(u.size):
        u[i] = np.ceil(math.log(u[i]) / divisor)


@njit_exact
def cauchy(u, median, sigma):
    for i in range(u.size):
        u[i] = fma(sigma, math.tan(math.pi * (u[i] - 0.5)), median)


# ------------------------------------------------------------------------------------- order


@njit_exact
def shuffle(chosen, out):
    """Swap each element of `out`, (n,), with one at or after it, chosen by n - 1 words (Fisher and Yates)."""
    for i in range(out.size - 1):
        j = i + chosen[i] % (out.size - i)
        out[i], out[j] = out[j], out[i]
