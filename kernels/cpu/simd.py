"""Vectors of floating-point numbers for Numba, as wide as the CPU's registers.

A loop over `math.exp` runs one element at a time, because PyPI's LLVM carries no vector math library.  Here a vector
is a type of its own: 16, 8 or 4 float32 in one register by what the host has, or half as many float64.  Memory is
addressed in bytes:

    @njit
    def kernel(x, y):                           # y = tanh(x), for contiguous float32 arrays
        p, q, n = address(x), address(y), x.size
        whole = n - n % lanes(float32)
        for k in range(0, whole, lanes(float32)):
            store(float32, q + 4 * k, tanh(load(float32, p + 4 * k)))
        rest = tanh(load_first(float32, p + 4 * whole, n - whole))
        store_first(float32, q + 4 * whole, rest, n - whole)

`float32` is numpy.float32.  The operators + - * / ** and comparisons work on two vectors, or on a vector and a number;
`where(condition, a, b)` chooses.  Elementary functions are those of lanes.py and, one lane at a time, C's.
The caller keeps arrays alive: a raw address does not.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba.core import types
from numba.core.imputils import lower_builtin, lower_cast
from numba.core.registry import cpu_target
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, models, overload, register_model

from . import lanes as emitted
from .lanes import CONTRACT, I32, Lanes, integers, llvm, suffix

I1, I64 = ir.IntType(1), ir.IntType(64)


def register_bytes() -> int:
    """The width of a vector register of the CPU that Numba compiles for."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    names = features.split(",")
    return 64 if "+avx512f" in names else 32 if "+avx" in names else 16


BYTES = register_bytes()


# ---------------------------------------------------------------------------------------------------
# The types
# ---------------------------------------------------------------------------------------------------
class Vector(types.Type):
    """A register full of numbers of the Numba type `real`."""

    def __init__(self, real: types.Float):
        self.real, self.count = real, 8 * BYTES // real.bitwidth
        self.kind = ir.VectorType(ir.FloatType() if real.bitwidth == 32 else ir.DoubleType(), self.count)
        super().__init__(name=f"{real}x{self.count}")


class Mask(types.Type):
    """What a comparison of vectors gives: a truth value for each lane."""

    def __init__(self, count: int):
        self.kind = ir.VectorType(I1, count)
        super().__init__(name=f"maskx{count}")


@register_model(Vector)
@register_model(Mask)
class RegisterModel(models.PrimitiveModel):
    def __init__(self, manager, type):
        super().__init__(manager, type, type.kind)


VECTORS = {real: Vector(real) for real in (types.float32, types.float64)}
MASKS = {real: Mask(vector.count) for real, vector in VECTORS.items()}


def splatted(b, scalar, count: int):
    """A vector with `scalar` in each lane."""
    undefined = ir.Constant(ir.VectorType(scalar.type, count), ir.Undefined)
    return b.shuffle_vector(
        b.insert_element(undefined, scalar, I32(0)), undefined, integers(ir.VectorType(I32, count), 0)
    )


@lower_cast(types.Number, Vector)
def number_to_vector(context, b, given, vector, value):
    return splatted(b, context.cast(b, value, given, vector.real), vector.count)


# ---------------------------------------------------------------------------------------------------
# Operators
# ---------------------------------------------------------------------------------------------------
def common(*args) -> Vector | None:
    """The type of vector that an operation works in: of its vectors, if all other arguments are numbers."""
    vectors = {a for a in args if isinstance(a, Vector)}
    fits = len(vectors) == 1 and all(isinstance(a, (Vector, types.Number)) for a in args)
    return vectors.pop() if fits else None


def infix(symbol, result, emit):
    """Define an operator on two vectors, or on a vector and a number."""

    @infer_global(symbol)
    class Operator(AbstractTemplate):
        def generic(self, args, kws):
            vector = common(*args) if len(args) == 2 else None
            return vector and signature(result(vector), vector, vector)

    @lower_builtin(symbol, Vector, Vector)
    def lower(context, b, signature, args):
        return emit(b, *args)


def same(vector: Vector) -> Vector:
    return vector


def mask_of(vector: Vector) -> Mask:
    return MASKS[vector.real]


infix(operator.add, same, lambda b, x, y: b.fadd(x, y, flags=CONTRACT))
infix(operator.sub, same, lambda b, x, y: b.fsub(x, y, flags=CONTRACT))
infix(operator.mul, same, lambda b, x, y: b.fmul(x, y, flags=CONTRACT))
infix(operator.truediv, same, lambda b, x, y: b.fdiv(x, y, flags=CONTRACT))
infix(operator.pow, same, lambda b, x, y: emitted.power(Lanes(b, x), Lanes(b, y)).value)
infix(operator.lt, mask_of, lambda b, x, y: b.fcmp_ordered("<", x, y))
infix(operator.le, mask_of, lambda b, x, y: b.fcmp_ordered("<=", x, y))
infix(operator.gt, mask_of, lambda b, x, y: b.fcmp_ordered(">", x, y))
infix(operator.ge, mask_of, lambda b, x, y: b.fcmp_ordered(">=", x, y))
infix(operator.eq, mask_of, lambda b, x, y: b.fcmp_ordered("==", x, y))
infix(operator.ne, mask_of, lambda b, x, y: b.fcmp_unordered("!=", x, y))


@infer_global(operator.neg)
class Negation(AbstractTemplate):
    def generic(self, args, kws):
        return signature(args[0], args[0]) if isinstance(args[0], Vector) else None


@lower_builtin(operator.neg, Vector)
def negative(context, b, signature, args):
    return b.fneg(args[0])


# ---------------------------------------------------------------------------------------------------
# Functions
# ---------------------------------------------------------------------------------------------------
@intrinsic
def where(context, condition, a, b):
    """a in the lanes where the condition holds, b elsewhere."""
    if isinstance(condition, Mask):
        real = next(r for r, m in MASKS.items() if m == condition)
        vector = VECTORS[real]
        return vector(condition, vector, vector), lambda context, b, signature, args: b.select(*args)


@intrinsic
def somewhere(context, condition):
    """Whether the condition holds in some lane."""
    if isinstance(condition, Mask):

        def emit(context, b, signature, args):
            bits = ir.IntType(args[0].type.count)
            return b.icmp_unsigned("!=", b.bitcast(args[0], bits), bits(0))

        return types.boolean(condition), emit


@intrinsic
def first_where(context, condition):
    """The first lane in which the condition holds; as many as there are lanes if it holds nowhere."""
    if isinstance(condition, Mask):

        def emit(context, b, signature, args):
            count = args[0].type.count
            bits = b.zext(b.bitcast(args[0], ir.IntType(count)), I64)
            return b.cttz(b.or_(bits, I64(1 << count)), I1(0))

        return types.intp(condition), emit


@intrinsic
def fma(context, x, y, z):
    """x * y + z, rounded once."""
    vector = common(x, y, z)
    if vector:
        return vector(
            vector, vector, vector
        ), lambda context, b, signature, args: Lanes(b, args[0]).fma(*(Lanes(b, a) for a in args[1:])).value


@intrinsic
def maximum(context, x, y):
    """The larger element in each lane; NaN if one is NaN."""
    vector = common(x, y)
    if vector:
        return vector(
            vector, vector
        ), lambda context, b, signature, args: Lanes(b, args[0]).call("maximum", Lanes(b, args[1])).value


@intrinsic
def splat(context, real, x):
    """A vector with the number x in each lane."""
    vector = VECTORS[real.dtype]
    return vector(real, vector), lambda context, b, signature, args: args[1]


def halved(b, value, combine):
    """All lanes combined in a fixed order: lane k with lane k + n / 2, and so on."""
    while value.type.count > 1:
        n = value.type.count // 2
        lower, upper = (
            b.shuffle_vector(value, value, ir.Constant(ir.VectorType(I32, n), list(range(first, first + n))))
            for first in (0, n)
        )
        value = combine(lower, upper)
    return b.extract_element(value, I32(0))


@intrinsic
def total(context, x):
    """The sum of all lanes."""
    if isinstance(x, Vector):
        return x.real(x), lambda context, b, signature, args: halved(b, args[0], b.fadd)


@intrinsic
def largest(context, x):
    """The largest of all lanes; NaN if one is NaN."""
    if isinstance(x, Vector):

        def emit(context, b, signature, args):
            (value,) = args
            most = halved(b, value, lambda p, q: b.select(b.fcmp_ordered(">", p, q), p, q))  # an instruction each
            bits = b.bitcast(b.fcmp_unordered("uno", value, value), ir.IntType(value.type.count))
            return b.select(b.icmp_unsigned("==", bits, bits.type(0)), most, ir.Constant(most.type, float("nan")))

        return x.real(x), emit


def elementary(function, arguments: int = 1):
    """An elementary function as kernels call it: vectors in, a vector out.  A number counts as a vector of it."""

    def typed(*given):
        vector = common(*given) or VECTORS.get(given[0])
        if vector:
            return vector(
                *(vector,) * arguments
            ), lambda context, b, signature, args: function(*(Lanes(b, a) for a in args)).value

    names = "xyz"[:arguments]
    scope: dict = {"typed": typed}
    exec(f"def {function.__name__}(context, {', '.join(names)}): return typed({', '.join(names)})", scope)
    scope[function.__name__].__doc__ = function.__doc__
    return intrinsic(scope[function.__name__])


FUNCTIONS = {name: elementary(function) for name, function in emitted.OWN.items()}
FUNCTIONS |= {name: elementary(function, 2) for name, function in emitted.OWN_OF_TWO.items()}
OF_TWO = ("atan2", "copysign")  # C's functions of two arguments


def __getattr__(name: str):
    """An elementary function by its name: our own, or C's, one lane at a time."""
    if name.startswith("_"):
        raise AttributeError(name)
    if name not in FUNCTIONS:
        FUNCTIONS[name] = elementary(emitted.lanewise(name), 1 + (name in OF_TWO))
    return FUNCTIONS[name]


def half_of(first: bool):
    """The function that widens the first half of a vector's lanes, or the second, to float64."""

    def emit(b, x):
        double = VECTORS[types.float64]
        if x.type == double.kind:
            return x if first else ir.Constant(double.kind, [0.0] * double.count)
        return emitted.widened(Lanes(b, x))[0 if first else 1].value

    def typed(x):
        if isinstance(x, Vector):
            return VECTORS[types.float64](x), lambda context, b, signature, args: emit(b, args[0])

    return typed


@intrinsic
def lower(context, x):
    """The first half of a float32 vector as float64; of a float64 vector, all of it."""
    return half_of(True)(x)


@intrinsic
def upper(context, x):
    """The second half of a float32 vector as float64; of a float64 vector, zeros."""
    return half_of(False)(x)


@intrinsic
def narrowed(context, real, x, y):
    """The vector of type `real` whose lower half is x, and whose upper half is y: float64 vectors, rounded."""
    vector = VECTORS[real.dtype]

    def emit(context, b, signature, args):
        if vector.real == types.float64:
            return args[1]
        return emitted.narrowed(*(Lanes(b, v) for v in args[1:])).value

    return vector(real, VECTORS[types.float64], VECTORS[types.float64]), emit


# ---------------------------------------------------------------------------------------------------
# Memory
# ---------------------------------------------------------------------------------------------------
def lanes(real) -> int:
    """How many numbers of type `real` (numpy.float32 or numpy.float64) a vector holds."""
    return BYTES // real().itemsize


@overload(lanes)
def lanes_of(real):
    count = VECTORS[real.dtype].count
    return lambda real: count


@intrinsic
def address(context, array):
    """The address of an array's first element."""

    def emit(context, b, signature, args):
        return b.ptrtoint(context.make_array(signature.args[0])(context, b, args[0]).data, I64)

    return types.intp(array), emit


def pointer(b, at, kind: ir.Type):
    return b.inttoptr(at, kind.as_pointer())


def load_aligned_as_numbers(b, at, kind: ir.VectorType):
    """Load a vector from an address that is a multiple of its elements' size, not of its own."""
    value = b.load(pointer(b, at, kind))
    value.align = 4 if kind.element == ir.FloatType() else 8
    return value


def first_lanes(b, n, count: int):
    """The mask that holds in the first n lanes."""
    some = b.trunc(b.select(b.icmp_signed("<", n, I64(count)), n, I64(count)), I32)  # half the compares of 64 bits
    kind = ir.VectorType(I32, count)
    return b.icmp_signed("<", ir.Constant(kind, list(range(count))), splatted(b, some, count))


def load_masked(b, at, mask, kind: ir.VectorType):
    """The lanes of the mask; zero elsewhere, where memory is not touched."""
    p, zero = pointer(b, at, kind), ir.Constant(kind, [0.0] * kind.count)
    align = I32(4 if kind.element == ir.FloatType() else 8)
    return llvm(b, f"llvm.masked.load.{suffix(kind)}.p0", kind, p, align, mask, zero)


def store_masked(b, at, value, mask):
    align = I32(4 if value.type.element == ir.FloatType() else 8)
    llvm(b, f"llvm.masked.store.{suffix(value.type)}.p0", ir.VoidType(), value, pointer(b, at, value.type), align, mask)


@intrinsic
def load(context, real, at):
    vector = VECTORS[real.dtype]
    return vector(real, types.intp), lambda context, b, signature, args: load_aligned_as_numbers(
        b, args[1], vector.kind
    )


@intrinsic
def load_first(context, real, at, n):
    """The first n numbers at an address; the other lanes are zero."""
    vector = VECTORS[real.dtype]

    def emit(context, b, signature, args):
        return load_masked(b, args[1], first_lanes(b, args[2], vector.count), vector.kind)

    return vector(real, types.intp, types.intp), emit


@intrinsic
def broadcast(context, real, at):
    """A vector with the number at an address in each lane."""
    vector = VECTORS[real.dtype]

    def emit(context, b, signature, args):
        return splatted(b, b.load(pointer(b, args[1], vector.kind.element)), vector.count)

    return vector(real, types.intp), emit


@intrinsic
def store(context, real, at, x):
    vector = VECTORS[real.dtype]

    def emit(context, b, signature, args):
        b.store(args[2], pointer(b, args[1], vector.kind)).align = vector.real.bitwidth // 8

    return types.void(real, types.intp, vector), emit


@intrinsic
def store_first(context, real, at, x, n):
    """Store the first n lanes."""
    vector = VECTORS[real.dtype]

    def emit(context, b, signature, args):
        store_masked(b, args[1], args[2], first_lanes(b, args[3], vector.count))

    return types.void(real, types.intp, vector, types.intp), emit


def prefetch(b, at, cache: int):
    """Have memory, which need not exist, brought into a cache: the first or the second."""
    number = ir.IntType(32)
    reading, locality, data = number(0), number(4 - cache), number(1)
    llvm(b, "llvm.prefetch.p0", ir.VoidType(), pointer(b, at, ir.IntType(8)), reading, locality, data)


@intrinsic
def fetch(context, at):
    """Have the line at an address, which need not exist, brought into the first cache."""

    def emit(context, b, signature, args):
        prefetch(b, args[0], 1)

    return types.void(types.intp), emit


def either(b, condition, this, that):
    """The value, if there is one, of this() if the condition holds, as it does most often, else of that()."""
    values = []
    with b.if_else(condition, likely=True) as branches:
        for branch, emit in zip(branches, (this, that), strict=True):
            with branch:
                values.append((emit(), b.block))
    if values[0][0] is None:
        return None
    merged = b.phi(values[0][0].type)
    for value, block in values:
        merged.add_incoming(value, block)
    return merged


@intrinsic
def load_next(context, real, at, step, n):
    """The next numbers of a row of which n are left, zero beyond its end; for a step of 0, one number in all lanes."""
    vector = VECTORS[real.dtype]

    def emit(context, b, signature, args):
        _, at, step, n = args

        def several():
            return either(
                b, b.icmp_signed(">=", n, I64(vector.count)), lambda: load_aligned_as_numbers(b, at, vector.kind),
                lambda: load_masked(b, at, first_lanes(b, n, vector.count), vector.kind),
            )  # fmt: skip

        def one():
            return splatted(b, b.load(pointer(b, at, vector.kind.element)), vector.count)

        return either(b, b.icmp_signed("!=", step, I64(0)), several, one)

    return vector(real, *(types.intp,) * 3), emit


@intrinsic
def next_truths(context, real, at, step, n):
    """The mask of the next truth values, a byte each, of a row of which n are left, for a vector of type `real`; it
    does not hold beyond the row's end.  For a step of 0, one truth value for all lanes."""
    mask, byte = MASKS[real.dtype], ir.IntType(8)
    kind = ir.VectorType(byte, mask.kind.count)

    def emit(context, b, signature, args):
        _, at, step, n = args

        def whole():
            value = b.load(pointer(b, at, kind))
            value.align = 1
            return value

        def rest():
            first, zero = first_lanes(b, n, kind.count), ir.Constant(kind, [0] * kind.count)
            return llvm(b, f"llvm.masked.load.v{kind.count}i8.p0", kind, pointer(b, at, kind), I32(1), first, zero)

        def several():
            return either(b, b.icmp_signed(">=", n, I64(kind.count)), whole, rest)

        def one():
            return splatted(b, b.load(pointer(b, at, byte)), kind.count)

        bytes = either(b, b.icmp_signed("!=", step, I64(0)), several, one)
        return b.icmp_signed("!=", bytes, ir.Constant(kind, [0] * kind.count))

    return mask(real, *(types.intp,) * 3), emit


@intrinsic
def store_next(context, real, at, x, n):
    """Store the next numbers of a row of which n are left."""
    vector = VECTORS[real.dtype]

    def emit(context, b, signature, args):
        _, at, x, n = args

        def whole():
            b.store(x, pointer(b, at, vector.kind)).align = vector.real.bitwidth // 8

        def rest():
            store_masked(b, at, x, first_lanes(b, n, vector.count))

        either(b, b.icmp_signed(">=", n, I64(vector.count)), whole, rest)
        return context.get_dummy_value()

    return types.void(real, types.intp, vector, types.intp), emit


@intrinsic
def choose_first(context, x, n, y):
    """The first n lanes of x, the others of y."""
    vector = common(x, y)
    if vector:
        return vector(vector, types.intp, vector), lambda context, b, signature, args: b.select(
            first_lanes(b, args[1], vector.count), args[0], args[2]
        )


@intrinsic
def get(context, kind, at):
    """The number of type `kind` at an address."""

    def emit(context, b, signature, args):
        return b.load(pointer(b, args[1], context.get_value_type(kind.dtype)))

    return kind.dtype(kind, types.intp), emit


@intrinsic
def put(context, kind, at, x):
    """Store a number as `kind` at an address."""

    def emit(context, b, signature, args):
        b.store(args[2], pointer(b, args[1], args[2].type))

    return types.void(kind, types.intp, kind.dtype), emit


@intrinsic
def word(context, job, offset):
    """The integer `offset` bytes into a table."""
    return types.intp(types.intp, types.intp), lambda context, b, signature, args: b.load(pointer(b, b.add(*args), I64))
