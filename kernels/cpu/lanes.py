"""Arithmetic and elementary functions on vectors while LLVM code is emitted, for float32 and float64 alike.

PyPI's LLVM carries no vector math library, so these are our own, written once as plain arithmetic on `Lanes` objects.
The largest errors over the whole range in units in the last place (ulp), as the tests count them:

               exp  expm1  log  log1p  sinh  cosh  tanh  sigmoid  erf  erfc  sqrt  sin  cos  floor  hypot  fmod
    float32    1.1  2      1    2      3     2     3     3        2    0.6   0.5   1.5  1.5  0      0.6    0
    float64    1    2      1    2      3     2     3     3        2    3     0.5   1.5  1.5  0      0.6    0

NaN gives NaN, infinities and zeros give what C's functions give, and denormal numbers are numbers.  x ** y of float32
is right to 0.52 ulp.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from llvmlite import ir
from numba.core import cgutils

I32 = ir.IntType(32)

# A product and a sum may become one fused multiply-add; nothing else is relaxed.
CONTRACT = ("contract",)


def llvm(b: ir.IRBuilder, name: str, result: ir.Type, *args):
    """Call LLVM's intrinsic function, or C's, of this name."""
    function = cgutils.get_or_insert_function(b.module, ir.FunctionType(result, [a.type for a in args]), name)
    return b.call(function, args)


def suffix(kind: ir.Type) -> str:
    """How LLVM spells a type in the name of an intrinsic: v16f32, f64."""
    if isinstance(kind, ir.VectorType):
        return f"v{kind.count}{suffix(kind.element)}"
    return "f32" if kind == ir.FloatType() else "f64"


def integers(kind: ir.VectorType, value: int) -> ir.Constant:
    """The integer `value` in each lane."""
    return ir.Constant(kind, [value] * kind.count)


class Lanes:
    """A vector while code is emitted: arithmetic on it emits the instructions."""

    def __init__(self, b: ir.IRBuilder, value):
        self.b, self.value = b, value

    @property
    def kind(self) -> ir.VectorType:
        return self.value.type

    @property
    def single(self) -> bool:
        """Whether the elements are float32."""
        return self.kind.element == ir.FloatType()

    @property
    def integer(self) -> ir.VectorType:
        """The vector of integers that has the same bits."""
        return ir.VectorType(ir.IntType(32 if self.single else 64), self.kind.count)

    def of(self, value) -> Lanes:
        """`value`, a Python number or Lanes, as Lanes of this kind."""
        if isinstance(value, Lanes):
            return value
        return Lanes(self.b, ir.Constant(self.kind, [ir.Constant(self.kind.element, value)] * self.kind.count))

    def _emit(self, name: str, other, *, swap=False) -> Lanes:
        x, y = self.value, self.of(other).value
        return Lanes(self.b, getattr(self.b, name)(*((y, x) if swap else (x, y)), flags=CONTRACT))

    # fmt: off
    def __add__(self, other): return self._emit("fadd", other)
    def __radd__(self, other): return self._emit("fadd", other, swap=True)
    def __sub__(self, other): return self._emit("fsub", other)
    def __rsub__(self, other): return self._emit("fsub", other, swap=True)
    def __mul__(self, other): return self._emit("fmul", other)
    def __rmul__(self, other): return self._emit("fmul", other, swap=True)
    def __truediv__(self, other): return self._emit("fdiv", other)
    def __rtruediv__(self, other): return self._emit("fdiv", other, swap=True)
    def __neg__(self): return Lanes(self.b, self.b.fneg(self.value))
    def __eq__(self, other): return self.b.fcmp_ordered("==", self.value, self.of(other).value)
    def __lt__(self, other): return self.b.fcmp_ordered("<", self.value, self.of(other).value)
    def __gt__(self, other): return self.b.fcmp_ordered(">", self.value, self.of(other).value)
    def __ge__(self, other): return self.b.fcmp_ordered(">=", self.value, self.of(other).value)
    # fmt: on

    def call(self, name: str, *others) -> Lanes:
        """LLVM's intrinsic `name` of this vector and others."""
        values = [self.value, *(self.of(x).value for x in others)]
        return Lanes(self.b, llvm(self.b, f"llvm.{name}.{suffix(self.kind)}", self.kind, *values))

    def fma(self, factor, term) -> Lanes:
        """self * factor + term, rounded once."""
        return self.call("fma", factor, term)

    def polynomial(self, *coefficients: float) -> Lanes:
        """c0 + c1 x + c2 x^2 ... by Horner's rule."""
        *rest, last = coefficients
        result = self.of(last)
        for c in reversed(rest):
            result = result.fma(self, c)
        return result

    def where(self, condition, other) -> Lanes:
        """This vector in the lanes where `condition` holds, the other one elsewhere."""
        return Lanes(self.b, self.b.select(condition, self.value, self.of(other).value))

    def at_most(self, bound: float) -> Lanes:
        return self.of(bound).where(self > bound, self)  # NaN compares as false, and stays

    def at_least(self, bound: float) -> Lanes:
        return self.of(bound).where(self < bound, self)

    def bits(self):
        """The bits of each lane, as a vector of integers."""
        return self.b.bitcast(self.value, self.integer)

    def from_bits(self, bits) -> Lanes:
        return Lanes(self.b, self.b.bitcast(bits, self.kind))


# ---------------------------------------------------------------------------------------------------
# Elementary functions
# ---------------------------------------------------------------------------------------------------
MANTISSA = {True: 23, False: 52}  # bits, for float32 and float64
BIAS = {True: 127, False: 1023}
LOG2_E = 1.4426950408889634
# ln 2 in two parts; the first has so few digits that its product with a whole exponent is exact.
LN_2 = {True: (0.693359375, -2.12194440e-4), False: (0.693147180369123816490, 1.90821492927058770002e-10)}


def power_of_two(n: Lanes) -> Lanes:
    """2**n for whole n in the range of normal exponents."""
    biased = n.b.add(n.b.fptosi(n.value, n.integer), integers(n.integer, BIAS[n.single]))
    return n.from_bits(n.b.shl(biased, integers(n.integer, MANTISSA[n.single])))


def scaled(x: Lanes, n: Lanes) -> Lanes:
    """x * 2**n, rounded once, for x near 1 and whole n; 2**n alone may be out of range where the result is not."""
    if x.kind.count * (32 if x.single else 64) == 512:  # AVX-512 has an instruction for it
        lanes, name = ir.IntType(x.kind.count), f"llvm.x86.avx512.mask.scalef.p{'s' if x.single else 'd'}.512"
        as_set = I32(4)  # the direction of rounding
        return Lanes(x.b, llvm(x.b, name, x.kind, x.value, n.value, x.value, ir.Constant(lanes, -1), as_set))
    half = (n * 0.5).call("floor")
    return x * power_of_two(half) * power_of_two(n - half)


def reduced(x: Lanes, terms: int = 0) -> tuple[Lanes, Lanes]:
    """x = n ln 2 + r with whole n and |r| <= ln(2) / 2.  Returns n and e**r - 1, by so many terms of its Taylor series,
    or by those that all digits take."""
    n = (x * LOG2_E).call("rint")
    high, low = LN_2[x.single]
    r = n.fma(-low, n.fma(-high, x))
    series = [1.0 / math.factorial(k) for k in range(2, 1 + (terms or (7 if x.single else 13)))]
    return n, (r * r).fma(r.polynomial(*series), r)


def exp(x: Lanes, terms: int = 0) -> Lanes:
    least, most = (-104.0, 89.0) if x.single else (-746.0, 710.0)
    n, rest = reduced(x.at_least(least).at_most(most), terms)
    return scaled(rest + 1.0, n)


def expm1(x: Lanes) -> Lanes:
    least, most = (-20.0, 89.0) if x.single else (-40.0, 710.0)
    n, rest = reduced(x.at_least(least).at_most(most))
    half = power_of_two(n - 1.0)  # half of 2**n, which may be infinite where the result is not
    result = half.fma(rest, half - 0.5)
    return (result + result).call("copysign", x)  # -0 for -0


def half_exp(x: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """e**|x| / 2, which may be finite where e**|x| is not; and what `reduced` gives."""
    n, rest = reduced(x.call("fabs").at_most(90.0 if x.single else 711.0))
    return scaled(rest + 1.0, n - 1.0), n, rest


def cosh(x: Lanes) -> Lanes:
    half, _, _ = half_exp(x)
    return half + 0.25 / half


def sinh(x: Lanes) -> Lanes:
    """e**|x| / 2 - e**-|x| / 2; up to 1, with no cancellation, by u + u / (2 u + 1) for u = (e**|x| - 1) / 2."""
    half, n, rest = half_exp(x)
    power = power_of_two(n.at_most(2.0) - 1.0)
    u = power.fma(rest, power - 0.5)
    near = u + u / (u + u + 1.0)
    return near.where(x.call("fabs") < 1.0, half - 0.25 / half).call("copysign", x)


def tanh(x: Lanes) -> Lanes:
    """(e**2x - 1) / (e**2x + 1), with no cancellation near zero."""
    y = x.call("fabs").at_most(10.0 if x.single else 20.0)
    n, rest = reduced(y + y)
    power = power_of_two(n)
    e = power.fma(rest, power - 1.0)
    return (e / (e + 2.0)).call("copysign", x)


def sigmoid(x: Lanes) -> Lanes:
    """1 / (1 + e**-x), or e**x / (1 + e**x) for negative x, where e**-x may be infinite."""
    n, rest = reduced((-x.call("fabs")).at_least(-104.0 if x.single else -746.0))
    e = scaled(rest + 1.0, n)
    positive = 1.0 / (e + 1.0)
    return (e * positive).where(x < 0.0, positive)


def log(x: Lanes, terms: int = 0) -> Lanes:
    """log(2**n (1 + f)) = n ln 2 + log(1 + f), 1 + f from sqrt(1/2) to sqrt(2); by so many terms of its series, or by
    those that all digits take.

    With s = f / (2 + f), log(1 + f) = 2 artanh(s) = 2 s + 2/3 s**3 + 2/5 s**5 ..., and 2 s = f - s f: f, the large
    part, is added last.
    """
    b, width = x.b, MANTISSA[x.single]
    denormal = x < 2.0 ** (1 - BIAS[x.single])
    bits = (x * 2.0 ** (width + 1)).where(denormal, x).bits()
    least = x.of(0.7071067811865476).bits()
    shifted = b.sub(bits, least)
    f = x.from_bits(b.add(b.and_(shifted, integers(x.integer, (1 << width) - 1)), least)) - 1.0
    n = Lanes(b, b.sitofp(b.ashr(shifted, integers(x.integer, width)), x.kind))
    n = (n - (width + 1.0)).where(denormal, n)
    s = f / (f + 2.0)
    z = s * s
    series = z * z.polynomial(*(2.0 / (2 * k + 3) for k in range(terms or (5 if x.single else 11))))
    high, low = LN_2[x.single]
    square = f * f * 0.5
    result = n.fma(high, f - (square - n.fma(low, s * (square + series))))
    result = x.of(float("-inf")).where(x == 0.0, result)
    result = x.of(float("nan")).where(x < 0.0, result)
    return result.where(x < float("inf"), x)  # infinity and NaN


def widened(x: Lanes) -> list[Lanes]:
    """The two halves of a float32 vector, as float64."""
    n = x.kind.count // 2
    places = (ir.Constant(ir.VectorType(I32, n), list(range(k, k + n))) for k in (0, n))
    kind = ir.VectorType(ir.DoubleType(), n)
    return [Lanes(x.b, x.b.fpext(x.b.shuffle_vector(x.value, x.value, p), kind)) for p in places]


def narrowed(low: Lanes, high: Lanes) -> Lanes:
    """The float32 vector with these halves, rounded."""
    n, b = low.kind.count, low.b
    halves = (b.fptrunc(v.value, ir.VectorType(ir.FloatType(), n)) for v in (low, high))
    return Lanes(b, b.shuffle_vector(*halves, ir.Constant(ir.VectorType(I32, 2 * n), list(range(2 * n)))))


def power(x: Lanes, y: Lanes) -> Lanes:
    """x ** y as C has it: exp(y log |x|) in float64, by as many terms as float32 has use for.  One lane at a time in
    float64."""
    if not x.single:
        return x.call("pow", y)
    b = x.b
    size, half = x.call("fabs"), y * 0.5
    logs = (log(u, terms=7) * v for u, v in zip(widened(size), widened(y), strict=True))
    result = narrowed(*(exp(t, terms=9) for t in logs))
    whole, even = y.call("rint") == y, half.call("rint") == half  # infinity and all large numbers are even
    odd = b.and_(whole, b.not_(even))
    result = result.call("copysign", x).where(odd, result)
    defined = b.or_(whole, b.or_(x >= 0.0, size == float("inf")))  # NaN if x is
    result = result.where(defined, float("nan"))
    endless = b.and_(size == 1.0, y.call("fabs") == float("inf"))
    return x.of(1.0).where(b.or_(b.or_(x == 1.0, y == 0.0), endless), result)


def log1p(x: Lanes) -> Lanes:
    """log(u) for u = 1 + x rounded, and what the rounding lost."""
    u = x + 1.0
    result = log(u) + (x - (u - 1.0)) / u
    result = result.where((u > 0.0), log(u)).where(u < float("inf"), x)
    return result.call("copysign", x).where(x >= -1.0, log(u))


def where_near(near, result: Lanes, name: str, *arguments: Lanes) -> Lanes:
    """`result` in the lanes where `near` holds, in most vectors in all; C's function of this name in the others."""
    b, count = result.b, result.kind.count
    before = b.block
    with b.if_then(b.not_(llvm(b, f"llvm.vector.reduce.and.v{count}i1", ir.IntType(1), near)), likely=False):
        careful = result.where(near, lanewise(name)(*arguments))
        after = b.block
    merged = b.phi(result.kind)
    merged.add_incoming(result.value, before)
    merged.add_incoming(careful.value, after)
    return Lanes(b, merged)


def erf(x: Lanes) -> Lanes:
    """Near zero x p(x**2), farther out 1 - exp(q(|x|)); p and q are Chebyshev fits.  One lane at a time in float64."""
    if not x.single:
        return lanewise("erf")(x)
    y = x.call("fabs").at_most(4.0)
    z = x * x
    near = x.fma(z.polynomial(0.128379151, -0.376125067, 0.112819329, -0.0267705601, 0.00499862293, -6.01718144e-4), x)
    far = y.polynomial(
        3.00268846e-4, -1.13015509, -0.63195622, -0.109960802, 0.0263551213, -0.00473695062, 5.92092750e-4,
        -4.55127738e-5, 1.61024047e-6,
    )  # fmt: skip
    return near.where(y < 0.92, (1.0 - exp(far)).call("copysign", x))


def erfc(x: Lanes) -> Lanes:
    """e**-x**2 p(u) / (|x| + 3), p a Chebyshev fit in u = (|x| - 3) / (|x| + 3), in float64; 2 - erfc(|x|) for negative
    x.  One lane at a time in float64."""
    if not x.single:
        return lanewise("erfc")(x)
    halves = []
    for v in widened(x):
        y = v.call("fabs").at_most(10.3)
        t = 1.0 / (y + 3.0)
        u = (y - 3.0) * t
        p = u.polynomial(
            1.07400690718, -0.883394487481, 0.590228347085, -0.310465998794, 0.119528463721, -0.0268399728091,
            -0.00122399535066, 0.00308149936134, -0.000486336707418, -0.000327656967079,
        )  # fmt: skip
        tail = exp(-(y * y), terms=9) * (p * t)
        halves.append((2.0 - tail).where(v < 0.0, tail))
    return narrowed(*halves)


def sqrt(x: Lanes) -> Lanes:
    return x.call("sqrt")


# pi / 2 in three parts, each the nearest number to what those before leave; and up to which angle they are enough.
HALF_PI = {True: (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
           False: (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33)}  # fmt: skip
FAR = {True: 1e5, False: 1e8}


def of_angle(x: Lanes, name: str, quarters: int) -> Lanes:
    """The sine of x + quarters * pi / 2, from Taylor series for angles of up to pi / 4; C's function of this name in
    lanes that are NaN, or angles so large that their quadrant is lost."""
    b = x.b
    n = (x * (2.0 / math.pi)).call("rint")
    r = x
    for part in HALF_PI[x.single]:
        r = n.fma(-part, r)
    z, terms = r * r, 5 if x.single else 9
    sine = (r * z).fma(z.polynomial(*((-1) ** k / math.factorial(2 * k + 1) for k in range(1, terms))), r)
    cosine = z.polynomial(*((-1) ** k / math.factorial(2 * k) for k in range(terms + 1)))
    quadrant = b.add(b.fptosi(n.value, x.integer), integers(x.integer, quarters))
    odd = b.icmp_signed("!=", b.and_(quadrant, integers(x.integer, 1)), integers(x.integer, 0))
    half = b.and_(quadrant, integers(x.integer, 2))  # a turn of pi changes the sign
    result = cosine.where(odd, sine)
    result = result.from_bits(b.xor(result.bits(), b.shl(half, integers(x.integer, 30 if x.single else 62))))
    if quarters == 0:
        result = x.where(x == 0.0, result)  # -0 for -0
    near = b.fcmp_ordered("<=", x.call("fabs").value, x.of(FAR[x.single]).value)
    return where_near(near, result, name, x)


def sin(x: Lanes) -> Lanes:
    return of_angle(x, "sin", 0)


def cos(x: Lanes) -> Lanes:
    return of_angle(x, "cos", 1)


def floor(x: Lanes) -> Lanes:
    return x.call("floor")


def hypot(x: Lanes, y: Lanes) -> Lanes:
    """sqrt(x * x + y * y), of float32 in float64; C's function where squares of float64 have no room.

    h, the root as it is rounded, has the error (h * h - x * x - y * y) / 2 h (Borges 2019, "Fast compensated algorithms
    for the reciprocal square root, the reciprocal hypotenuse, and Givens rotations").
    """
    b, p, q = x.b, x.call("fabs"), y.call("fabs")
    if x.single:
        result = narrowed(*((u * u + v * v).call("sqrt") for u, v in zip(widened(x), widened(y), strict=True)))
        return x.of(math.inf).where(b.or_(p == math.inf, q == math.inf), result)  # beside NaN too
    most, least = p.where(p > q, q), q.where(p > q, p)
    near = b.and_(b.or_(most > 2.0**-480, most == 0.0), most < 2.0**500)
    h = most.fma(most, least * least).call("sqrt")
    h_square, square = (Lanes(b, b.fmul(v.value, v.value)) for v in (h, most))  # rounded: no part of a fused sum
    between = Lanes(b, b.fsub(h_square.value, square.value))
    error = (-least).fma(least, between) + (h.fma(h, -h_square) - most.fma(most, -square))
    h = h.where(h == 0.0, h - error / (h + h))
    return where_near(near, h, "hypot", x, y)


def fmod(x: Lanes, y: Lanes) -> Lanes:
    """What is left of x without multiples of y, with the sign of x; C's function where the quotient has many digits.

    A smaller quotient, rounded and cut off, is right or one too large, and what is left is a number: FMA gives it.
    """
    b, p, q = x.b, x.call("fabs"), y.call("fabs")
    quotient = p / q
    near = b.and_(b.or_(quotient < 2.0 ** MANTISSA[x.single], q == 0.0), q < math.inf)  # NaN for zero, as C's
    left = (-quotient.call("trunc")).fma(q, p)
    left = (left + q).where(left < 0.0, left)
    return where_near(near, left.call("copysign", x), "fmod", x, y)


def lanewise(name: str) -> Callable[..., Lanes]:
    """C's function of this name, one lane at a time."""

    def function(x: Lanes, *others: Lanes) -> Lanes:
        scalar, result = x.kind.element, x.value
        for k in range(x.kind.count):
            arguments = (x.b.extract_element(v.value, I32(k)) for v in (x, *others))
            result = x.b.insert_element(result, llvm(x.b, name + "f" * x.single, scalar, *arguments), I32(k))
        return Lanes(x.b, result)

    function.__name__ = name
    return function


OWN = {f.__name__: f for f in (exp, expm1, sinh, cosh, tanh, sigmoid, log, log1p, erf, erfc, sqrt, sin, cos, floor)}
OWN_OF_TWO = {f.__name__: f for f in (hypot, fmod)}
