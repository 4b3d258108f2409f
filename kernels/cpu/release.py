"""A C function that tells Python that memory is needed no more, at whatever time: the deleter of DLPack's structs.

    address = teller(function)     # of a C function, void (void *), which calls function(the pointer as an integer)

Other libraries call it on any thread, and while an exception is on its way: a callback of ctypes would then run with
that exception set, and would lose it, or take it for its own.  Here it is put aside meanwhile.  Once Python has ended
nothing is told.
"""

import ctypes
import functools

import llvmlite.binding
from llvmlite import ir
from numba import int64
from numba.core import types

from .jit import kernel
from .lanes import I32, llvm
from .pool import instruction
from .scratch import words
from .simd import I64, get

SYMBOL = "told-of-release"
NOTHING, NUMBER, ONE, THREE = ir.VoidType(), types.intp(), types.void(types.intp), types.void(*[types.intp] * 3)

running = instruction(NUMBER, lambda b: b.sext(llvm(b, "Py_IsInitialized", I32), I64))
take_lock = instruction(NUMBER, lambda b: b.sext(llvm(b, "PyGILState_Ensure", I32), I64))
give_lock = instruction(ONE, lambda b, lock: llvm(b, "PyGILState_Release", NOTHING, b.trunc(lock, I32)))
put_aside = instruction(THREE, lambda b, *at: llvm(b, "PyErr_Fetch", NOTHING, *at))
put_back = instruction(THREE, lambda b, *error: llvm(b, "PyErr_Restore", NOTHING, *error))
tell = instruction(ONE, lambda b, what: llvm(b, SYMBOL, NOTHING, what))


@kernel
def release(what):
    if running():
        lock, error = take_lock(), words()
        put_aside(error, error + 8, error + 16)
        tell(what)
        put_back(get(int64, error), get(int64, error + 8), get(int64, error + 16))
        give_lock(lock)


@functools.cache
def teller(function) -> int:
    """The address of the C function; it tells one function of Python's, the first."""
    told = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(function)
    llvmlite.binding.add_symbol(SYMBOL, ctypes.cast(told, ctypes.c_void_p).value)
    address = release.kernel.compile()
    for each in (told, release.kernel.code):  # they outlive this module: the last memory is given back when Python ends
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(each))
    return address
