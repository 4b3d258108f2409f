"""Instructions of the GPU that numba-cuda has no name for, each with an emulation for machines without one.

    load(n)(to, i, source, j)              to[i : i + n] = source[j : j + n], one read of n numbers
    store(n)(to, i, source, j)             the same, one write of n numbers
    copy_later(n)(to, i, source, j, some)  the same from global to shared memory without waiting; zeros unless `some`
    numbers_at(dtype)(address, n)          a pointer to the n numbers at an address that was read from memory
    arrived()                              wait for all that this thread has asked of copy_later
    release(counters, i)                   add 1 to an int32, for other blocks, when all is written that came before
    acquire(counters, i)                   read it, before all that comes after is read
    tf32(x)                                x rounded to the 10 bits after the point that a tensor core multiplies
    multiply_tf32(c, i, row, a, j, b, k)   c += a @ b on a warp's tensor core, for float32 rounded by tf32

`to` and `source` are pointers or arrays of one type; what is read or written at once, n numbers, is 4, 8 or 16 bytes
and lies at a multiple of its size.  No index is checked, and none counts from the end.

An intrinsic's attribute `emulation` is a Python function that does the same.  It may call numba.cuda's functions, as a
device function may: where it runs they are the simulator's.
"""

import ctypes
import functools
import math

import numpy as np
from llvmlite import ir
from numba import cuda
from numba.cuda import types
from numba.cuda.extending import intrinsic
from numba.cuda.np.numpy_support import from_dtype

F32, I32, I64, VOID = ir.FloatType(), ir.IntType(32), ir.IntType(64), ir.VoidType()


def emulated(emulation):
    """An intrinsic, made of the function below, with what stands for it in the simulator."""

    def decorate(function):
        made = intrinsic(function)
        made.emulation = emulation
        return made

    return decorate


def place(context, builder, kind, value, index):
    """The address of an element of a pointer or an array."""
    first = value if isinstance(kind, types.CPointer) else context.make_array(kind)(context, builder, value).data
    return builder.gep(first, [index])


def vectors(builder, address, n):
    """The same address, of vectors of n numbers."""
    return builder.bitcast(address, ir.VectorType(address.type.pointee, n).as_pointer(address.type.addrspace))


def assembly(builder, result, text, constraints, *operands, moves=True):
    """PTX in the middle of a kernel; unless `moves`, it does nothing but compute its result."""
    kind = ir.FunctionType(result, [operand.type for operand in operands])
    return builder.call(ir.InlineAsm(kind, text, constraints, side_effect=moves), operands)


# ------------------------------------------------------------------------------------------ several numbers at once
def _load(n):
    def copy(to, i, source, j):
        cuda.aligned(source, j, n)
        for q in range(n):
            to[i + q] = source[j + q]

    return copy


def _store(n):
    def copy(to, i, source, j):
        cuda.aligned(to, i, n)
        for q in range(n):
            to[i + q] = source[j + q]

    return copy


@functools.cache
def load(n):
    """to[i : i + n] = source[j : j + n], reading n numbers at once; `to` is meant to be a local array."""

    @emulated(_load(n))
    def load_vector(typing, to, i, source, j):
        def code(context, builder, signature, args):
            a, b = signature.args[0], signature.args[2]
            address = vectors(builder, place(context, builder, b, args[2], args[3]), n)
            found = builder.load(address)
            found.align = n * context.get_abi_sizeof(address.type.pointee.element)
            for q in range(n):
                index = builder.add(args[1], I64(q))
                builder.store(builder.extract_element(found, I32(q)), place(context, builder, a, args[0], index))
            return context.get_dummy_value()

        return types.void(to, types.int64, source, types.int64), code

    return load_vector


@functools.cache
def store(n):
    """to[i : i + n] = source[j : j + n], writing n numbers at once; `source` is meant to be a local array."""

    @emulated(_store(n))
    def store_vector(typing, to, i, source, j):
        def code(context, builder, signature, args):
            a, b = signature.args[0], signature.args[2]
            address = vectors(builder, place(context, builder, a, args[0], args[1]), n)
            value = ir.Constant(address.type.pointee, ir.Undefined)
            for q in range(n):
                index = builder.add(args[3], I64(q))
                number = builder.load(place(context, builder, b, args[2], index))
                value = builder.insert_element(value, number, I32(q))
            builder.store(value, address).align = n * context.get_abi_sizeof(address.type.pointee.element)
            return context.get_dummy_value()

        return types.void(to, types.int64, source, types.int64), code

    return store_vector


# ------------------------------------------------------------------------------------------ addresses
def _numbers_at(dtype):
    def numbers(address, n):
        return np.frombuffer((ctypes.c_char * (int(n) * dtype.itemsize)).from_address(int(address)), dtype)

    return numbers


@functools.cache
def numbers_at(dtype):
    """A pointer to the n numbers of a type, by NumPy's name, at an address that was read from memory."""
    kind = types.CPointer(from_dtype(np.dtype(dtype)))

    def pointer_to_numbers(typing, address, n):
        def code(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(kind))

        return kind(types.int64, types.int64), code

    pointer_to_numbers.__name__ += f"_{dtype}"  # by which machine code on disk is told apart
    return emulated(_numbers_at(np.dtype(dtype)))(pointer_to_numbers)


# ------------------------------------------------------------------------------------------ copies to shared memory
_under_way: dict = {}  # of each thread in the simulator: where what is to be written


def _copy_later(n):
    def copy(to, i, source, j, some):
        cuda.aligned(to, i, n)
        if some:
            cuda.aligned(source, j, n)
        for q in range(n):
            to[i + q] = math.nan
            _under_way.setdefault(cuda.thread, []).append((to, i + q, source[j + q] if some else 0))

    return copy


@functools.cache
def copy_later(n):
    """to[i : i + n] = source[j : j + n] if some else 0, from global to shared memory, done when `arrived` returns.

    cp.async: the numbers pass by the registers, and the thread goes on.  Where not `some`, nothing is read.
    """

    @emulated(_copy_later(n))
    def copy_vector_later(typing, to, i, source, j, some):
        def code(context, builder, signature, args):
            a, b = signature.args[0], signature.args[2]
            target, origin = place(context, builder, a, args[0], args[1]), place(context, builder, b, args[2], args[3])
            size = n * context.get_abi_sizeof(target.type.pointee)
            target = builder.ptrtoint(builder.addrspacecast(target, target.type.pointee.as_pointer(3)), I32)
            origin = builder.ptrtoint(origin, I64)
            read = builder.select(builder.trunc(args[4], ir.IntType(1)), I32(size), I32(0))
            level = "cg" if size == 16 else "ca"  # past the first cache, or through it
            text = f"cp.async.{level}.shared.global [$0], [$1], {size}, $2;"
            assembly(builder, VOID, text, "r,l,r,~{memory}", target, origin, read)
            return context.get_dummy_value()

        return types.void(to, types.int64, source, types.int64, types.boolean), code

    return copy_vector_later


def _arrived():
    for to, i, number in _under_way.pop(cuda.thread, ()):
        to[i] = number


@emulated(_arrived)
def arrived(typing):
    """Wait until what this thread has asked of copy_later is there: for itself, and behind a barrier for the block."""

    def code(context, builder, signature, args):
        assembly(builder, VOID, "cp.async.wait_all;", "~{memory}")
        return context.get_dummy_value()

    return types.void(), code


# ------------------------------------------------------------------------------------------ waiting for other blocks
def _release(counters, i):
    cuda.atomic.add(counters, i, 1)


@emulated(_release)
def release(typing, counters, i):
    """counters[i] += 1 for an int32 in global memory.  Who sees it by `acquire` sees all that was written before."""

    def code(context, builder, signature, args):
        address = builder.ptrtoint(place(context, builder, signature.args[0], *args), I64)
        assembly(builder, VOID, "red.release.gpu.global.add.u32 [$0], 1;", "l,~{memory}", address)
        return context.get_dummy_value()

    return types.void(counters, types.int64), code


def _acquire(counters, i):
    cuda.nanosleep(0)  # who asks again and again gives way to others
    return counters[i]


@emulated(_acquire)
def acquire(typing, counters, i):
    """counters[i], an int32 in global memory, which other blocks count up by `release`."""

    def code(context, builder, signature, args):
        address = builder.ptrtoint(place(context, builder, signature.args[0], *args), I64)
        return assembly(builder, I32, "ld.acquire.gpu.global.u32 $0, [$1];", "=r,l,~{memory}", address)

    return types.int32(counters, types.int64), code


# ------------------------------------------------------------------------------------------ tensor cores
def _tf32(x):
    bits = int(np.float32(x).view(np.uint32))
    if bits & 0x7F800000 != 0x7F800000:  # infinity and NaN stay
        bits = (bits + 0x1000) & 0xFFFFE000
    return np.uint32(bits).view(np.float32)


@emulated(_tf32)
def tf32(typing, x):
    """float32 rounded to 10 bits after the point, halves away from zero."""

    def code(context, builder, signature, args):
        bits = assembly(builder, I32, "cvt.rna.tf32.f32 $0, $1;", "=r,f", args[0], moves=False)
        return builder.bitcast(bits, F32)

    return types.float32(types.float32), code


def _multiply_tf32(c, i, row, a, j, b, k):
    lane = cuda.laneid
    mine = (tuple([a[j + q] for q in range(4)]), tuple([b[k + q] for q in range(2)]))
    whole = cuda.gather_sync(0xFFFFFFFF, mine)
    for q in range(4):
        y, x = (lane >> 2) + 8 * (q >> 1), 2 * (lane & 3) + (q & 1)
        for z in range(8):
            left = whole[4 * (y & 7) + (z & 3)][0][(y >> 3) + 2 * (z >> 2)]
            right = whole[4 * x + (z & 3)][1][z >> 2]
            c[i + (q >> 1) * row + (q & 1)] += left * right


@emulated(_multiply_tf32)
def multiply_tf32(typing, c, i, row, a, j, b, k):
    """c += a @ b for a (16, 8), b (8, 8), c (16, 8) in the registers of a warp, with r, s = divmod(lane, 4):

        a[j : j + 4]   (r, s), (r + 8, s), (r, s + 4), (r + 8, s + 4)
        b[k : k + 2]   (s, r), (s + 4, r)
        c[i : i + 2], c[i + row : i + row + 2]   (r, 2 s), (r, 2 s + 1); (r + 8, 2 s), (r + 8, 2 s + 1)

    mma.sync.m16n8k8.  Products are exact, sums those of float32 in an order of the hardware's own.
    """

    def code(context, builder, signature, args):
        def element(argument, at, more):
            return place(context, builder, signature.args[argument], args[argument], builder.add(at, more))

        below = builder.add(args[1], args[2])
        sums = [element(0, at, I64(q)) for at in (args[1], below) for q in range(2)]
        pieces = [builder.bitcast(builder.load(element(3, args[4], I64(q))), I32) for q in range(4)]
        pieces += [builder.bitcast(builder.load(element(5, args[6], I64(q))), I32) for q in range(2)]
        pieces += map(builder.load, sums)
        result = assembly(
            builder,
            ir.LiteralStructType([F32] * 4),
            "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
            "{$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};",
            "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f",
            *pieces,
            moves=False,
        )
        for q in range(4):
            builder.store(builder.extract_value(result, q), sums[q])
        return context.get_dummy_value()

    index = types.int64
    return types.void(c, index, index, a, index, b, index), code
