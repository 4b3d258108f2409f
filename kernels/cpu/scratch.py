"""Memory that a kernel borrows while it runs, and that is kept for the next one.

    room = borrow()
    p = address_of(room)        # BYTES bytes, at a multiple of 64
    give_back(room)

Large arrays that are made and dropped cost more than the work on them: the system hands out every page anew.

    p = words()                 # WORDS words of 64 bits on the stack, until the function returns
"""

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import int64
from numba.core import cgutils, types
from numba.extending import intrinsic

from .jit import njit
from .lanes import llvm
from .pool import compare_and_swap, instruction
from .simd import I64, get, pointer, put

ROOMS, SIZE, WORDS = 256, 1 << 21, 64
SYMBOL = "kernel-scratch"
_rooms = np.zeros((ROOMS, 8), np.int64)  # a cache line each: whether it is lent, and its address once it has one
llvmlite.binding.add_symbol(SYMBOL, _rooms.ctypes.data)


def _table(b):
    if SYMBOL not in b.module.globals:
        ir.GlobalVariable(b.module, ir.IntType(8), SYMBOL)
    return b.ptrtoint(b.module.globals[SYMBOL], I64)


def _room_address(b, room):
    return b.load(pointer(b, b.add(_table(b), b.add(b.mul(room, I64(64)), I64(8))), I64))


table = intrinsic(lambda context: (types.intp(), lambda context, b, signature, args: _table(b)))
words = instruction(types.intp(), lambda b: b.ptrtoint(cgutils.alloca_once(b, I64, WORDS), I64))
malloc = instruction(types.intp(types.intp), lambda b, n: llvm(b, "malloc", I64, n))
free = instruction(types.void(types.intp), lambda b, at: llvm(b, "free", ir.VoidType(), at))
address_of = instruction(types.intp(types.intp), _room_address)


@njit
def borrow():
    """A room that nobody else has."""
    t, room = table(), 0
    while not compare_and_swap(t + 64 * room, 0, 1):
        room = (room + 1) % ROOMS
    if get(int64, t + 64 * room + 8) == 0:
        put(int64, t + 64 * room + 8, (malloc(SIZE + 64) + 63) & ~63)
    return room


def _give_back(b, room):
    return b.atomic_rmw("xchg", pointer(b, b.add(_table(b), b.mul(room, I64(64))), I64), I64(0), "seq_cst")


give_back = instruction(types.intp(types.intp), _give_back)
