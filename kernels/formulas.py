"""The table of scalar formulas: activations, mathematical functions, loss terms, optimizer updates.

Each is written once, for one element.  Its derivative is derived, unless the row brings its own where
torch's differs at a point (`gradient=`).  The kernels over arrays are printed from it; the tests
and the public functions walk the same table.

Positional parameters are arrays, element by element; keyword-only ones are numbers, the same for all elements.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import cached_property

from .scalar import (
    Recording,
    Var,
    absolute,
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    cos,
    cosh,
    differentiate,
    erf,
    erfc,
    exp,
    expm1,
    floor,
    fmod,
    hypot,
    log,
    log1p,
    log2,
    log10,
    maximum,
    minimum,
    needed,
    record,
    relu,
    ruled,
    sigmoid,
    sin,
    sinh,
    sqrt,
    tanh,
    where,
)


class Formula:
    """One row of the table: a function of one element, recorded when it is first used.

    `switches` are keyword-only parameters that the function branches on; each combination is a kernel of its own.
    With `ufuncs`, NumPy's ufuncs compute it over whole arrays: for what is not worth a kernel that has to be compiled.
    """

    def __init__(self, function: Callable, gradient: Callable | None = None, *, ufuncs: bool = False, **switches: bool):
        self.function, self.gradient, self.ufuncs, self.switches = function, gradient, ufuncs, switches
        self.name = "_".join([function.__name__, *(name for name, on in switches.items() if on)])

    def __repr__(self) -> str:
        return f"<formula {self.name}>"

    def __call__(self, *values, **numbers):
        """The row within a formula that is being recorded, a cell's step say, with the gradient that it brings.

        Bounds and other numbers that are values there have a gradient too, which only the derivation gives.
        """
        result = self.function(*values, **numbers, **self.switches)
        gradient = self.gradient
        if gradient is None or any(isinstance(n, Var) for n in numbers.values()):
            return result
        return ruled(result, values, lambda *given: gradient(*given, **numbers))

    @cached_property
    def source(self) -> str:
        """The formula as it was written."""
        return inspect.getsource(self.function)

    @cached_property
    def recording(self) -> Recording:
        return record(self.function, **self.switches)

    @cached_property
    def results(self) -> int:
        """How many results it has."""
        return len(self.recording.outputs)

    @cached_property
    def derivative(self) -> tuple[Var, list[Var]]:
        """(the gradient of the result, the gradient of each input as an expression of it)."""
        recording = self.recording
        if self.gradient is None:
            (seed,), gradients = differentiate(recording, tuple(recording.inputs.values()))
            return seed, gradients
        seed = Var(recording.outputs[0].tape, "input", name="d_out0")
        results = self.gradient(*recording.inputs.values(), recording.outputs[0], seed, **recording.keywords)
        return seed, list(results)

    @cached_property
    def saves(self) -> tuple[bool, ...]:
        """Which of (inputs..., output) the derivative reads: what a forward has to keep for its backward."""
        recording = self.recording
        _, read = needed(self.derivative[1], given=recording.outputs)
        return tuple(v in read for v in (*recording.inputs.values(), *recording.outputs))

    @cached_property
    def readers(self) -> tuple[tuple[int, ...], ...]:
        """For each value that is saved the inputs whose derivatives read it."""
        recording = self.recording
        read = [needed([d], given=recording.outputs)[1] for d in self.derivative[1]]
        values = zip((*recording.inputs.values(), *recording.outputs), self.saves, strict=True)
        return tuple(tuple(i for i, seen in enumerate(read) if v in seen) for v, saved in values if saved)


# --------------------------------------------------------------------------------- functions of one element
SQRT_HALF = math.sqrt(0.5)
SQRT_2_OVER_PI, SQRT_HALF_OVER_PI = math.sqrt(2.0 / math.pi), math.sqrt(0.5 / math.pi)


def reciprocal(x):
    return 1.0 / x


def reciprocal_gradient(x, out, g):
    """Of the result, as torch has it: what the reciprocal was taken of may change before the backward."""
    return (-g * (out * out),)


def rsqrt(x):
    return 1.0 / sqrt(x)


def rsqrt_gradient(x, out, g):
    return (-0.5 * g * (out * out * out),)


def square(x):
    return x * x


def tan(x):
    return sin(x) / cos(x)


def tan_gradient(x, out, g):
    return (g * (1.0 + out * out),)


def silu(x):
    return x * sigmoid(x)


def gelu(x):
    """Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415."""
    return 0.5 * x * (1.0 + erf(x * SQRT_HALF))


def gelu_gradient(x, out, g):
    return (g * (0.5 * (1.0 + erf(x * SQRT_HALF)) + x * (SQRT_HALF_OVER_PI * exp(-0.5 * x * x))),)


def gelu_tanh(x):
    return 0.5 * x * (1.0 + tanh(SQRT_2_OVER_PI * (x + 0.044715 * (x * x * x))))


def leaky_relu(x, *, negative_slope):
    return where(x > 0.0, x, x * negative_slope)


def elu(x, *, alpha):
    """Clevert et al. 2015, https://arxiv.org/abs/1511.07289."""
    return where(x <= 0.0, alpha * expm1(where(x <= 0.0, x, 0.0)), x)


def elu_gradient(x, out, g, *, alpha):
    """Far below zero too, where the derivation of the formula, expm1(x) + 1, is rounded to nothing."""
    return (where(x <= 0.0, g * (alpha * exp(x)), g),)


def softplus(x, *, beta, threshold):
    """log(1 + exp(beta x)) / beta, and x itself where beta x is above the threshold."""
    bounded = where(x * beta > threshold, 0.0, x * beta)
    return where(x * beta > threshold, x, log1p(exp(bounded)) / beta)


def absolute_gradient(x, out, g):
    """Nothing at zero and for NaN."""
    return (where(x > 0.0, g, where(x < 0.0, -g, 0.0)),)


def logsigmoid(x):
    return where(x < 0.0, x, 0.0) - log1p(exp(-absolute(x)))


def logsigmoid_gradient(x, out, g):
    """For all x, where the derivation of the formula has no value at zero and at infinity."""
    return (g * sigmoid(-x),)


SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def selu(x):
    """Klambauer et al. 2017, https://arxiv.org/abs/1706.02515."""
    below = SELU_SCALE * SELU_ALPHA * expm1(where(x <= 0.0, x, 0.0))
    return where(x <= 0.0, below, SELU_SCALE * x)


def selu_gradient(x, out, g):
    return (where(x <= 0.0, g * (SELU_SCALE * SELU_ALPHA * exp(x)), g * SELU_SCALE),)


def celu(x, *, alpha):
    """Barron 2017, https://arxiv.org/abs/1704.07483."""
    return where(x <= 0.0, alpha * expm1(where(x <= 0.0, x / alpha, 0.0)), x)


def celu_gradient(x, out, g, *, alpha):
    return (where(x <= 0.0, g * exp(x / alpha), g),)


def mish(x):
    """Misra 2019, https://arxiv.org/abs/1908.08681."""
    return x * tanh(where(x > 0.0, x, 0.0) + log1p(exp(-absolute(x))))


def mish_gradient(x, out, g):
    """Also at zero, where the formula's halves meet."""
    t = tanh(where(x > 0.0, x, 0.0) + log1p(exp(-absolute(x))))
    return (g * (t + x * sigmoid(x) * (1.0 - t * t)),)


def relu_gradient(x, out, g):
    """Told from the result, as torch does: what relu was called with may change before the backward."""
    return (where(out <= 0.0, 0.0, g),)


def hardtanh(x, *, min_val, max_val):
    return where(x < min_val, min_val, where(x > max_val, max_val, x))


def hardtanh_gradient(x, out, g, *, min_val, max_val):
    """Nothing at the bounds themselves, unlike clamp."""
    return (where(x <= min_val, 0.0, where(x >= max_val, 0.0, g)),)


def hardsigmoid(x):
    """Courbariaux et al. 2015, https://arxiv.org/abs/1511.00363, with the slope 1 / 6."""
    return where(x <= -3.0, 0.0, where(x >= 3.0, 1.0, (x + 3.0) / 6.0))


def hardsigmoid_gradient(x, out, g):
    """With torch's sixth, which is one of float32 for every type."""
    return (where(x > -3.0, where(x < 3.0, 0.1666666716337204 * g, 0.0), 0.0),)


def hardswish(x):
    """Howard et al. 2019, https://arxiv.org/abs/1905.02244."""
    return x * where(x < -3.0, 0.0, where(x > 3.0, 6.0, x + 3.0)) / 6.0


def hardswish_gradient(x, out, g):
    return (where(x <= -3.0, 0.0, where(x < 3.0, g * (x / 3.0 + 0.5), g)),)


def hardshrink(x, *, lambd):
    return where(x >= -lambd, where(x <= lambd, 0.0, x), x)


def softshrink(x, *, lambd):
    return where(x > lambd, x - lambd, where(x < -lambd, x + lambd, x - x))


def softshrink_gradient(x, out, g, *, lambd):
    return (where(x >= -lambd, where(x <= lambd, 0.0, g), g),)


def threshold(x, *, threshold, value):
    return where(x <= threshold, value, x)


def clamp(x, *, min, max):
    """NaN stays; `max` if the bounds, which are numbers, are the wrong way round."""
    above = where(x < min, min, x)
    return where(above > max, max, above)


def clamp_gradient(x, out, g, *, min, max):
    """The bounds let the gradient through; NaN does not."""
    return (where(x >= min, where(x <= max, g, 0.0), 0.0),)


def exp2(x):
    return 2.0**x


def deg2rad(x):
    return x * (math.pi / 180.0)


def rad2deg(x):
    return x * (180.0 / math.pi)


def sinc(x):
    """sin(pi x) / (pi x)."""
    return where(x == 0.0, 1.0, sin(math.pi * x) / (math.pi * x))


def sinc_gradient(x, out, g):
    """Zero at zero, where the formula's derivative has no value."""
    a = x * math.pi
    return (where(a * x == 0.0, 0.0, g * ((a * cos(a) - sin(a)) / (a * x))),)


def logit(x, *, eps):
    """log(x / (1 - x)); of x between eps and 1 - eps, unless eps is negative."""
    z = where(eps < 0.0, x, where(x < eps, eps, where(x > 1.0 - eps, 1.0 - eps, x)))
    return log(z / (1.0 - z))


def logit_gradient(x, out, g, *, eps):
    """Nothing outside the bounds; no number outside 0 and 1, where there are none."""
    low, outside = where(eps < 0.0, 0.0, eps), where(eps < 0.0, math.nan, 0.0)
    slope = where(x == 0.0, g * math.inf, g / (x * (1.0 - x)))  # positive at -0.0 too
    return (where(x < low, outside, where(x > 1.0 - low, outside, slope)),)


def polynomial(x, *coefficients):
    """Horner's scheme, the highest power first."""
    y = coefficients[0]
    for c in coefficients[1:]:
        y = y * x + c
    return y


def erfinv(y):
    """A rational approximation in the middle and one for the tails, each made exact by two of Halley's steps.

    In the tails these compare what is left to 1, which has more digits than erf(x) and y.
    """
    z = y * y
    middle = y * polynomial(z, -0.140543331, 0.914624893, -1.645349621, 0.886226899)
    middle = middle / polynomial(z, 0.012229801, -0.329097515, 1.442710462, -2.118377725, 1.0)
    size = absolute(y)
    z = sqrt(-log((1.0 - size) / 2.0))
    tail = polynomial(z, 1.641345311, 3.429567803, -1.624906493, -1.970840454) / polynomial(
        z, 1.6370678, 3.5438892, 1.0
    )
    x = where(size <= 0.7, middle, where(y < 0.0, -tail, tail))
    for _ in range(2):
        left = (1.0 - size) - erfc(absolute(x))
        beyond = where(size <= 0.7, erf(x) - y, where(y < 0.0, -left, left))
        step = beyond / (2.0 / math.sqrt(math.pi) * exp(-x * x))
        x = x - step / (1.0 + x * step)
    return where(size < 1.0, x, where(size > 1.0, math.nan, y * math.inf))


def erfinv_gradient(y, out, g):
    return (g * (0.5 * math.sqrt(math.pi) * exp(out * out)),)


UNARY = {
    f.__name__: Formula(f)
    for f in (
        exp,
        expm1,
        log,
        log1p,
        sqrt,
        square,
        sin,
        cos,
        sinh,
        cosh,
        tanh,
        sigmoid,
        erf,
        relu,
        silu,
        gelu_tanh,
        leaky_relu,
        softplus,
        hardshrink,
        threshold,
    )
}
UNARY |= {
    f.__name__: Formula(f, ufuncs=True)
    for f in (acos, acosh, asin, asinh, atan, atanh, exp2, log2, log10, deg2rad, rad2deg)
}
UNARY["erfc"] = Formula(erfc)
UNARY["tan"] = Formula(tan, tan_gradient)
UNARY["rsqrt"] = Formula(rsqrt, rsqrt_gradient)
UNARY["reciprocal"] = Formula(reciprocal, reciprocal_gradient)
UNARY["erfinv"] = Formula(erfinv, erfinv_gradient)
UNARY["logit"] = Formula(logit, logit_gradient)
UNARY["sinc"] = Formula(sinc, sinc_gradient, ufuncs=True)
UNARY["abs"] = Formula(absolute, absolute_gradient)
UNARY["logsigmoid"] = Formula(logsigmoid, logsigmoid_gradient)
UNARY["clamp"] = Formula(clamp, clamp_gradient)
UNARY["gelu"] = Formula(gelu, gelu_gradient)
UNARY["elu"] = Formula(elu, elu_gradient)
UNARY["selu"] = Formula(selu, selu_gradient)
UNARY["celu"] = Formula(celu, celu_gradient)
UNARY["mish"] = Formula(mish, mish_gradient)
UNARY["relu"] = Formula(relu, relu_gradient)
UNARY["hardtanh"] = Formula(hardtanh, hardtanh_gradient)
UNARY["hardsigmoid"] = Formula(hardsigmoid, hardsigmoid_gradient)
UNARY["hardswish"] = Formula(hardswish, hardswish_gradient)
UNARY["softshrink"] = Formula(softshrink, softshrink_gradient)


def maximum_gradient(a, b, out, g):
    """One half for each of two equal elements; beside NaN both have it whole, as in torch."""
    return (where(a <= b, where(a >= b, 0.5 * g, 0.0), g), where(b <= a, where(b >= a, 0.5 * g, 0.0), g))


def minimum_gradient(a, b, out, g):
    return maximum_gradient(-a, -b, out, g)


def xlogy(x, y):
    return where(y == y, where(x == 0.0, 0.0, x * log(y)), y)


def xlogy_gradient(x, y, out, g):
    """That of x is zero for x = 0, where log(y) has no finite value."""
    slope = where(x == 0.0, where(y <= 0.0, 0.0, log(y)), log(y))
    return where(g == 0.0, where(y == y, 0.0, y), g * slope), g * x / y


def logaddexp(a, b):
    """log(exp(a) + exp(b)) with no overflow; equal infinities stay what they are."""
    larger = where(a >= b, a, where(b >= a, b, a + b))
    gap = absolute(a - b)
    return where(gap == gap, larger + log1p(exp(-gap)), larger)


def logaddexp_gradient(a, b, out, g):
    return g / (1.0 + exp(b - a)), g / (1.0 + exp(a - b))


def logaddexp2(a, b):
    larger = where(a >= b, a, where(b >= a, b, a + b))
    gap = absolute(a - b)
    return where(gap == gap, larger + log1p(2.0**-gap) / math.log(2.0), larger)


def logaddexp2_gradient(a, b, out, g):
    return g / (1.0 + 2.0 ** (b - a)), g / (1.0 + 2.0 ** (a - b))


def remainder(a, b):
    """What is left of a without multiples of b, with the sign of b; a zero has that of a."""
    rest = fmod(a, b)
    return where(rest == 0.0, rest, where((rest < 0.0) != (b < 0.0), rest + b, rest))


def remainder_gradient(a, b, out, g):
    return g, -g * floor_divide(a, b)


def fmod_gradient(a, b, out, g):
    quotient = a / b
    return g, -g * where(quotient < 0.0, -floor(-quotient), floor(quotient))


def floor_divide(a, b):
    """As Python has it: the quotient of what the remainder leaves, to the nearest integer."""
    rest = fmod(a, b)
    quotient = (a - rest) / b
    quotient = where(rest == 0.0, quotient, where((rest < 0.0) != (b < 0.0), quotient - 1.0, quotient))
    whole = floor(quotient)
    whole = where(quotient - whole > 0.5, whole + 1.0, whole)
    return where(b == 0.0, a / b, where(quotient == 0.0, 0.0 * (a / b), whole))  # the zero of that sign


def prelu(x, weight):
    """He et al. 2015, https://arxiv.org/abs/1502.01852."""
    return where(x > 0.0, x, weight * x)


BINARY = {"maximum": Formula(maximum, maximum_gradient), "minimum": Formula(minimum, minimum_gradient)}
BINARY["prelu"] = Formula(prelu)
BINARY |= {
    f.__name__: Formula(f, gradient, ufuncs=True)
    for f, gradient in (
        (atan2, None),
        (xlogy, xlogy_gradient),
    )
}
BINARY["hypot"] = Formula(hypot)
BINARY["fmod"] = Formula(fmod, fmod_gradient)
BINARY["remainder"] = Formula(remainder, remainder_gradient)
BINARY["floor_divide"] = Formula(floor_divide)
BINARY["logaddexp"] = Formula(logaddexp, logaddexp_gradient)
BINARY["logaddexp2"] = Formula(logaddexp2, logaddexp2_gradient)


# --------------------------------------------------------------------------------- functions of three elements
def addcmul(x, y, z, *, value):
    return x + value * y * z


def addcdiv(x, y, z, *, value):
    return x + value * y / z


def lerp(a, b, w):
    """From a to b by the fraction w, exactly b for w = 1."""
    return where(absolute(w) < 0.5, a + w * (b - a), b - (b - a) * (1.0 - w))


def lerp_gradient(a, b, w, out, g):
    return g * (1.0 - w), g * w, g * (b - a)


def lerp_by_number(a, b, *, w):
    return lerp(a, b, w)


def lerp_by_number_gradient(a, b, out, g, *, w):
    return g * (1.0 - w), g * w


TERNARY = {f.__name__: Formula(f) for f in (addcmul, addcdiv)}
TERNARY |= {"lerp": Formula(lerp, lerp_gradient), "lerp_by_number": Formula(lerp_by_number, lerp_by_number_gradient)}


# --------------------------------------------------------------------------------- plain arithmetic of large arrays
def add(a, b):
    return a + b


def subtract(a, b):
    return a - b


def multiply(a, b):
    return a * b


def divide(a, b):
    return a / b


def sign(x):
    return where(x > 0.0, 1.0, where(x < 0.0, -1.0, 0.0))


def scaled_add(a, b, *, alpha):
    return a + alpha * b


SCALED_ADD, SIGN = Formula(scaled_add), Formula(sign)
ARITHMETIC = {f.__name__: Formula(f) for f in (add, subtract, multiply, divide)}  # under the names of NumPy's ufuncs


def power(x, y):
    return x**y


def power_gradient(x, y, out, g):
    """As torch has it, zero by x for y = 0, and zero by y for x = 0 and y >= 0."""
    by_y = g * (out * log(x))
    return where(y == 0.0, 0.0, g * (y * x ** (y - 1.0))), where(x == 0.0, where(y >= 0.0, 0.0, by_y), by_y)


POWER = Formula(power, power_gradient)


# Exponents that take a few products, or whose derivative is a root.  Derivatives are of x alone: the result may change
# before the backward.
def square_gradient(x, out, g):
    return (g * (2.0 * x),)


def three_halves(x):
    return x**1.5


def three_halves_gradient(x, out, g):
    """NaN for -inf, whose square root torch takes."""
    return (g * (1.5 * sqrt(x)),)


def cube(x):
    return x * x * x


def cube_gradient(x, out, g):
    return (g * (3.0 * (x * x)),)


def inverse_gradient(x, out, g):
    return (-g / (x * x),)


def inverse_square(x):
    return 1.0 / (x * x)


def inverse_square_gradient(x, out, g):
    return (-2.0 * g / (x * x * x),)


POWERS = {
    1.5: Formula(three_halves, three_halves_gradient),
    2.0: Formula(square, square_gradient),
    3.0: Formula(cube, cube_gradient),
    -1.0: Formula(reciprocal, inverse_gradient),
    -2.0: Formula(inverse_square, inverse_square_gradient),
}


# --------------------------------------------------------------------------------- loss terms: prediction x, target y
def mse_loss(x, y):
    return (x - y) * (x - y)


def l1_loss(x, y):
    return absolute(x - y)


def smooth_l1_loss(x, y, *, beta):
    d = absolute(x - y)
    return where(d < beta, 0.5 * d * d / beta, d - 0.5 * beta)


def huber_loss(x, y, *, delta):
    """Huber 1964: quadratic near zero, linear from `delta` on."""
    d = absolute(x - y)
    return where(d < delta, 0.5 * d * d, delta * (d - 0.5 * delta))


# The derivatives of these three are bounded; as torch has them, also at infinity and for nan.
def l1_loss_gradient(x, y, out, g):
    d = x - y
    slope = where(d > 0.0, g, where(d < 0.0, -g, 0.0))
    return slope, -slope


def smooth_l1_loss_gradient(x, y, out, g, *, beta):
    d = x - y
    slope = g * where(d <= -beta, -1.0, where(d >= beta, 1.0, d / beta))
    return slope, -slope


def huber_loss_gradient(x, y, out, g, *, delta):
    d = x - y
    slope = g * where(d <= -delta, -delta, where(d >= delta, delta, d))
    return slope, -slope


def binary_cross_entropy(x, y):
    """-(y log x + (1 - y) log(1 - x)), each logarithm at least -100 as in torch."""
    return -(y * maximum(log(x), -100.0) + (1.0 - y) * maximum(log1p(-x), -100.0))


def binary_cross_entropy_gradient(x, y, out, g):
    """As torch has it: that of x is finite at x = 0 and x = 1, where the derivative is not."""
    smallest = 9.999999960041972e-13  # 1e-12 as a float32
    return g * (x - y) / maximum((1.0 - x) * x, smallest), g * (log1p(-x) - log(x))


def binary_cross_entropy_with_logits(x, y, pos_weight):
    """(1 - y) x + (1 + (pos_weight - 1) y) log(1 + exp(-x)), with no overflow for any x."""
    softplus_of_minus_x = log1p(exp(-absolute(x))) + relu(-x)
    return (1.0 - y) * x + (1.0 + (pos_weight - 1.0) * y) * softplus_of_minus_x


def binary_cross_entropy_with_logits_gradient(x, y, pos_weight, out, g):
    softplus_of_minus_x = log1p(exp(-absolute(x))) + relu(-x)
    softplus_of_x = log1p(exp(-absolute(x))) + relu(x)
    return (
        g * ((pos_weight * y + 1.0 - y) * sigmoid(x) - pos_weight * y),
        g * (pos_weight * softplus_of_minus_x - softplus_of_x),
        g * y * softplus_of_minus_x,
    )


def kl_div(x, y):
    """y (log y - x) for x = log-probabilities; nothing where y = 0, nan below."""
    return where(y >= 0.0, where(y > 0.0, y * log(y), 0.0), y * log(y)) - y * x


def kl_div_gradient(x, y, out, g):
    """As torch has it: y / y makes that of y nan at y = 0."""
    return -g * y, g * (log(y) + y / y - x)


def kl_div_log_target(x, y):
    return exp(y) * (y - x)


def soft_margin_loss(x, y):
    return log1p(exp(-y * x))


def soft_margin_loss_gradient(x, y, out, g):
    """As torch has it, nan where e ** (-y x) is too large for its type."""
    z = exp(-y * x)
    return -g * y * z / (1.0 + z), -g * x * z / (1.0 + z)


LOSSES = {
    f.__name__: Formula(f, gradient)
    for f, gradient in (
        (mse_loss, None),
        (l1_loss, l1_loss_gradient),
        (smooth_l1_loss, smooth_l1_loss_gradient),
        (huber_loss, huber_loss_gradient),
        (kl_div, kl_div_gradient),
        (kl_div_log_target, None),
        (soft_margin_loss, soft_margin_loss_gradient),
        (binary_cross_entropy, binary_cross_entropy_gradient),
        (binary_cross_entropy_with_logits, binary_cross_entropy_with_logits_gradient),
    )
}


# --------------------------------------------------------------------------------- optimizer updates
# Parameter p, its gradient g and the optimizer's state go in; the new p and the new state come out.
def decayed(g, p, weight_decay):
    """The gradient with the penalty for large parameters; without one, an infinite p does no harm."""
    return where(weight_decay > 0.0, g + weight_decay * p, g)


def towards(a, b, weight):
    """The point between a and b, a for weight 0 and b for 1, exact at both ends (torch.lerp)."""
    return where(weight < 0.5, a + weight * (b - a), b - (b - a) * (1.0 - weight))


def sgd(p, g, buffer, *, lr, weight_decay, momentum, one_minus_dampening, nesterov):
    """torch.optim.SGD's step; `buffer` starts at zero, with one_minus_dampening = 1 in the first step."""
    g = decayed(g, p, weight_decay)
    buffer = momentum * buffer + one_minus_dampening * g
    g = g + momentum * buffer if nesterov else buffer
    return p - lr * g, buffer


def sgd_plain(p, g, *, lr, weight_decay):
    """SGD without momentum keeps no state."""
    return p - lr * decayed(g, p, weight_decay)


def adam(
    p,
    g,
    mean,
    square,
    *,
    step_size,
    one_minus_beta1,
    beta2,
    one_minus_beta2,
    eps,
    weight_decay,
    shrink,
    sqrt_bias_correction2,
):
    """Kingma and Ba 2015, algorithm 1 (https://arxiv.org/abs/1412.6980), in torch's order of operations.

    `weight_decay` adds to the gradient (Adam); `shrink` = 1 - lr * weight_decay scales the parameter (AdamW,
    Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101).
    """
    p = shrink * p
    g = decayed(g, p, weight_decay)
    mean = towards(mean, g, one_minus_beta1)
    square = beta2 * square + one_minus_beta2 * g * g
    return p - step_size * mean / (sqrt(square) / sqrt_bias_correction2 + eps), mean, square


def adam_amsgrad(
    p,
    g,
    mean,
    square,
    largest,
    *,
    step_size,
    one_minus_beta1,
    beta2,
    one_minus_beta2,
    eps,
    weight_decay,
    shrink,
    sqrt_bias_correction2,
):
    """Reddi et al. 2018 (https://openreview.net/forum?id=ryQu7f-RZ): the largest second moment so far divides."""
    p = shrink * p
    g = decayed(g, p, weight_decay)
    mean = towards(mean, g, one_minus_beta1)
    square = beta2 * square + one_minus_beta2 * g * g
    largest = maximum(largest, square)
    return p - step_size * mean / (sqrt(largest) / sqrt_bias_correction2 + eps), mean, square, largest


def adagrad(p, g, total, *, lr, eps, weight_decay):
    """Duchi et al. 2011 (https://jmlr.org/papers/v12/duchi11a.html): all squared gradients so far divide."""
    g = decayed(g, p, weight_decay)
    total = total + g * g
    return p - lr * g / (sqrt(total) + eps), total


def rmsprop(p, g, square, *, lr, alpha, one_minus_alpha, eps, weight_decay):
    """Tieleman and Hinton 2012, lecture 6.5: the running mean of the squared gradients divides."""
    g = decayed(g, p, weight_decay)
    square = alpha * square + one_minus_alpha * g * g
    return p - lr * g / (sqrt(square) + eps), square


def rmsprop_centered(p, g, square, mean, *, lr, alpha, one_minus_alpha, eps, weight_decay):
    """Graves 2013 (https://arxiv.org/abs/1308.0850), equations 38 to 45: the running variance divides."""
    g = decayed(g, p, weight_decay)
    square = alpha * square + one_minus_alpha * g * g
    mean = towards(mean, g, one_minus_alpha)
    return p - lr * g / (sqrt(square - mean * mean) + eps), square, mean


def rmsprop_momentum(p, g, square, buffer, *, lr, alpha, one_minus_alpha, eps, weight_decay, momentum):
    g = decayed(g, p, weight_decay)
    square = alpha * square + one_minus_alpha * g * g
    buffer = momentum * buffer + g / (sqrt(square) + eps)
    return p - lr * buffer, square, buffer


def rmsprop_centered_momentum(p, g, square, mean, buffer, *, lr, alpha, one_minus_alpha, eps, weight_decay, momentum):
    g = decayed(g, p, weight_decay)
    square = alpha * square + one_minus_alpha * g * g
    mean = towards(mean, g, one_minus_alpha)
    buffer = momentum * buffer + g / (sqrt(square - mean * mean) + eps)
    return p - lr * buffer, square, mean, buffer


def adadelta(p, g, square, delta, *, lr, rho, one_minus_rho, eps, weight_decay):
    """Zeiler 2012, algorithm 1 (https://arxiv.org/abs/1212.5701)."""
    g = decayed(g, p, weight_decay)
    square = rho * square + one_minus_rho * g * g
    step = sqrt(delta + eps) / sqrt(square + eps) * g
    return p - lr * step, square, rho * delta + one_minus_rho * step * step


def adamax(p, g, mean, largest, *, step_size, one_minus_beta1, beta2, eps, weight_decay):
    """Kingma and Ba 2015, algorithm 2: the largest gradient, which fades, divides."""
    g = decayed(g, p, weight_decay)
    mean = towards(mean, g, one_minus_beta1)
    largest = maximum(beta2 * largest, absolute(g) + eps)
    return p - step_size * mean / largest, mean, largest


def nadam(
    p,
    g,
    mean,
    square,
    *,
    gradient_size,
    mean_size,
    one_minus_beta1,
    beta2,
    one_minus_beta2,
    bias_correction2,
    eps,
    weight_decay,
    shrink,
):
    """Dozat 2016: the mean that the next step would have; its sizes hold the corrections of both biases."""
    p = shrink * p
    g = decayed(g, p, weight_decay)
    mean = towards(mean, g, one_minus_beta1)
    square = beta2 * square + one_minus_beta2 * g * g
    divisor = sqrt(square / bias_correction2) + eps
    return p - gradient_size * g / divisor - mean_size * mean / divisor, mean, square


def radam(
    p,
    g,
    mean,
    square,
    *,
    step_size,
    one_minus_beta1,
    beta2,
    one_minus_beta2,
    sqrt_bias_correction2,
    eps,
    weight_decay,
    shrink,
    known,
):
    """Liu et al. 2020, algorithm 2 (https://arxiv.org/abs/1908.03265); `known`: whether the deviation divides."""
    p = shrink * p
    g = decayed(g, p, weight_decay)
    mean = towards(mean, g, one_minus_beta1)
    square = beta2 * square + one_minus_beta2 * g * g
    step = step_size * mean * (sqrt_bias_correction2 / (sqrt(square) + eps)) if known else step_size * mean
    return p - step, mean, square


def asgd(p, g, average, *, eta, shrink, weight_decay, mu):
    """Polyak and Juditsky 1992: gradient descent, and the average of p from the step on where mu falls below 1."""
    g = decayed(g, p, weight_decay)
    p = shrink * p - eta * g
    return p, where(mu >= 1.0, p, average + mu * (p - average))


def rprop(p, g, previous, size, *, shrink_by, grow_by, smallest, largest):
    """Riedmiller and Braun 1993: where the sign of the gradient changed, the step is smaller and is left out once."""
    turned = g * previous
    size = size * where(turned > 0.0, grow_by, where(turned < 0.0, shrink_by, 1.0))
    size = where(size < smallest, smallest, where(size > largest, largest, size))
    g = where(turned < 0.0, 0.0, g)
    return p - where(g > 0.0, size, where(g < 0.0, -size, 0.0)), g, size


UPDATES = {
    "sgd": Formula(sgd, nesterov=False),
    "sgd_nesterov": Formula(sgd, nesterov=True),
    "radam": Formula(radam, known=False),
    "radam_known": Formula(radam, known=True),
    **{
        f.__name__: Formula(f)
        for f in (
            sgd_plain,
            adam,
            adam_amsgrad,
            adagrad,
            rmsprop,
            rmsprop_centered,
            rmsprop_momentum,
            rmsprop_centered_momentum,
            adadelta,
            adamax,
            nadam,
            asgd,
            rprop,
        )
    },
}
