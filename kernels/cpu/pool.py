"""A pool of threads for kernels: `split(kernel)` makes a function that divides a kernel's work among them.

    @kernel
    def double(first, last, x):         # elements first ... last - 1 of the array at address x
        ...

    double_all = split(double)

    @njit
    def entry(x):
        double_all(x.size, 10_000, 16, address(x))     # at least 10,000 elements a thread, in multiples of 16

A kernel that is split takes the range that it is to do first.  The range is cut into one part for each thread; the
calling thread and the others that are awake claim parts.  A thread that sleeps, or that the system does not run, holds
nothing up: the caller does its part instead.  A call from inside another, or while another Python thread uses
the pool, does all parts itself.  Nothing a kernel computes may depend on where the cuts are: results are the same bits
for every number of threads.

Between jobs a thread spins, where a job can start it in less than a microsecond: for some 100 microseconds by itself,
then for two milliseconds in which it lets others run who want its processor.  Then it sleeps on a condition of POSIX
threads, from which it takes its caller 20 to 40 microseconds to wake it: about as long as most jobs of small programs.
So a job of a few microseconds is divided only among threads that are awake; but as soon as there were some such jobs
that nobody was awake for, one wakes them all.
Where there are no such threads (Windows), everything runs on the calling thread.  After a fork
the child has no threads of the pool, and works with one until `set_threads` is called.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import sys
import threading

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import int64
from numba.core import cgutils, types
from numba.extending import intrinsic

from .jit import Kernel, kernel, named
from .lanes import llvm
from .simd import I64, pointer, put

# The state of the pool: words of 64 bits, each on a cache line of its own, at an address with a name.
TICKET, FUNCTION, ARGUMENTS, DONE, OWN, BUSY, SLEEPING, PARTS, STOP, PASSED, MUTEX, CONDITION = range(0, 96, 8)
SYMBOL = "kernel-pool-state"
_state = np.zeros(128, np.int64)
llvmlite.binding.add_symbol(SYMBOL, _state.ctypes.data)

PATIENCE = 16  # of so many jobs that would have been divided, had no thread slept, the last one wakes them

# A ticket is a job's number << 32 | its number of parts << 16 | how many of them have been claimed.


def instruction(signature, emit):
    """An intrinsic function of fixed types: emit(builder, *args) gives its value."""

    def typed(*given):
        def lower(context, b, signature, args):
            value = emit(b, *args)
            return context.get_dummy_value() if signature.return_type == types.void else value

        return signature, lower

    names = ", ".join(f"a{k}" for k in range(len(signature.args)))
    scope: dict = {"typed": typed}
    exec(f"def function(context, {names}): return typed({names})", scope)
    return intrinsic(scope["function"])


def _state_address(b):
    return b.ptrtoint(named(b.module, SYMBOL), I64)


def _compare_and_swap(b, at, old, new):
    pair = b.cmpxchg(pointer(b, at, I64), old, new, "seq_cst", "seq_cst")
    return b.zext(b.extract_value(pair, 1), I64)


def _call(b, function, arguments, part):
    kind = ir.FunctionType(ir.VoidType(), [I64, I64])
    b.call(b.inttoptr(function, kind.as_pointer()), [arguments, part])


def _pause(b):
    """Tell the processor that this is a loop that waits."""
    triple = llvmlite.binding.get_default_triple()
    if triple.startswith(("x86", "i686", "amd64")):
        llvm(b, "llvm.x86.sse2.pause", ir.VoidType())
    elif triple.startswith(("aarch64", "arm64")):
        llvm(b, "llvm.aarch64.hint", ir.VoidType(), ir.IntType(32)(1))


def _c(name):
    """C's function of addresses."""
    return lambda b, *args: b.sext(llvm(b, name, ir.IntType(32), *args), I64)


_word, _two, _three = types.intp(types.intp), types.intp(types.intp, types.intp), (types.intp,) * 3
state = intrinsic(lambda context: (types.intp(), lambda context, b, signature, args: _state_address(b)))
atomic_get = instruction(_word, lambda b, at: b.load_atomic(pointer(b, at, I64), "seq_cst", 8))
atomic_add = instruction(_two, lambda b, at, x: b.atomic_rmw("add", pointer(b, at, I64), x, "seq_cst"))
atomic_put = instruction(_two, lambda b, at, x: b.atomic_rmw("xchg", pointer(b, at, I64), x, "seq_cst"))
compare_and_swap = instruction(types.intp(*_three), _compare_and_swap)
call = instruction(types.void(*_three), _call)
pause = intrinsic(lambda context: (types.void(), lambda context, b, s, args: _pause(b) or context.get_dummy_value()))
lock, unlock = instruction(_word, _c("pthread_mutex_lock")), instruction(_word, _c("pthread_mutex_unlock"))
give_way = instruction(types.intp(), lambda b: b.sext(llvm(b, "sched_yield", ir.IntType(32)), I64))
wait = instruction(_two, _c("pthread_cond_wait"))
wake_all = instruction(_word, _c("pthread_cond_broadcast"))


@kernel
def take_part(s, done):
    """Claim and do parts of the present job until none is left; add their number to the word at `done`."""
    while True:
        ticket = atomic_get(s + 8 * TICKET)
        claimed = ticket & 0xFFFF
        if claimed >= ((ticket >> 16) & 0xFFFF):
            return
        function, arguments = atomic_get(s + 8 * FUNCTION), atomic_get(s + 8 * ARGUMENTS)
        # If the ticket is still the same, function and arguments were those of its job.
        if compare_and_swap(s + 8 * TICKET, ticket, ticket + 1):
            call(function, arguments, claimed)
            atomic_add(s + 8 * DONE, 1)
            atomic_add(done, 1)


@kernel
def work(spins, yields, done):
    """What a thread of the pool does until STOP."""
    s = state()
    idle, before = 0, 0
    while True:
        take_part(s, done)
        now = atomic_get(done)
        idle = 0 if now != before else idle + 1
        before = now
        pause()
        if idle > spins:
            give_way()
            if atomic_get(s + 8 * STOP):
                return
        if idle > spins + yields:
            lock(s + 8 * MUTEX)
            atomic_add(s + 8 * SLEEPING, 1)
            ticket = atomic_get(s + 8 * TICKET)
            # A job that came before SLEEPING rose wakes nobody.
            if (ticket & 0xFFFF) >= ((ticket >> 16) & 0xFFFF) and not atomic_get(s + 8 * STOP):
                wait(s + 8 * CONDITION, s + 8 * MUTEX)
            atomic_add(s + 8 * SLEEPING, -1)
            unlock(s + 8 * MUTEX)
            idle = 0


@kernel
def run(function, arguments, parts):
    """Call function(arguments, part) for each part; returns when all are done."""
    s = state()
    if parts == 1 or not compare_and_swap(s + 8 * BUSY, 0, 1):
        for part in range(parts):
            call(function, arguments, part)
        return
    atomic_put(s + 8 * FUNCTION, function)
    atomic_put(s + 8 * ARGUMENTS, arguments)
    atomic_put(s + 8 * DONE, 0)
    ticket = atomic_get(s + 8 * TICKET)
    atomic_put(s + 8 * TICKET, (((ticket >> 32) + 1) << 32) | (parts << 16))
    asleep = atomic_get(s + 8 * SLEEPING)
    if asleep and parts > atomic_get(s + 8 * PARTS) - asleep:
        lock(s + 8 * MUTEX)
        wake_all(s + 8 * CONDITION)
        unlock(s + 8 * MUTEX)
    take_part(s, s + 8 * OWN)
    while atomic_get(s + 8 * DONE) < parts:
        pause()
    atomic_put(s + 8 * BUSY, 0)


@kernel
def divide(function, arguments, n, least, multiple, finer):
    """Run function(arguments, part) for parts of 0 ... n - 1, whose length is written behind n into `arguments`."""
    s = state()
    threads, least = atomic_get(s + 8 * PARTS), max(least, 1)
    most = min(threads, (n + multiple - 1) // multiple)
    parts, more = max(1, min(n // least, most)), min(n * finer // least, most)
    if more > parts:
        awake = threads - atomic_get(s + 8 * SLEEPING)
        if more > awake:
            passed = atomic_get(s + 8 * PASSED) + 1
            if passed >= PATIENCE:
                passed, awake = 0, more
            atomic_put(s + 8 * PASSED, passed)
        parts = max(parts, min(more, awake))
    length = max(1, (n + parts - 1) // parts)
    length = (length + multiple - 1) // multiple * multiple
    put(int64, arguments + 8, length)
    run(function, arguments, (n + length - 1) // length)


def split(callable, finer: int = 1):
    """`callable`, made by `kernel`, for a whole range: function(n, least, multiple, *arguments).

    The kernel's first two arguments become the ends of parts of 0 ... n - 1: one part for each thread, a multiple of
    `multiple` long, but for the last.  `least` is how much is worth waking a thread for, some 10 microseconds of work:
    parts are at least that long; or `finer` times shorter where the threads are awake, which is for work that takes
    longer than to have its results come from another processor's cache afterwards.
    """
    target: Kernel = callable.kernel
    types_of = target.types[2:]
    kinds = [ir.DoubleType() if t is types.float64 else I64 for t in types_of]
    packed = ir.LiteralStructType([I64, I64, *kinds])

    def trampoline(module):
        """function(arguments, part) that calls the kernel on one part."""
        name = f"part:{target.symbol}"
        if name in module.globals:
            return module.globals[name]
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64, I64]), name)
        function.linkage = "internal"
        b = ir.IRBuilder(function.append_basic_block("entry"))
        values = b.load(pointer(b, function.args[0], packed))
        n, length, *rest = (b.extract_value(values, k) for k in range(len(packed.elements)))
        first = b.mul(function.args[1], length)
        last = b.add(first, length)
        last = b.select(b.icmp_signed("<", last, n), last, n)
        target.call(b, [first, last, *rest])
        b.ret_void()
        return function

    def typed(n, least, multiple, *given):
        def emit(context, b, signature, args):
            n, least, multiple, *rest = args
            arguments = cgutils.alloca_once(b, packed)
            for k, value in enumerate([n, I64(0), *rest]):
                b.store(value, cgutils.gep_inbounds(b, arguments, 0, k))
            part, at = b.ptrtoint(trampoline(b.module), I64), b.ptrtoint(arguments, I64)
            divide.kernel.call(b, [part, at, n, least, multiple, I64(finer)])
            return context.get_dummy_value()

        return types.void(*(types.intp,) * 3, *types_of), emit

    names = ", ".join(f"a{k}" for k in range(3 + len(types_of)))
    scope: dict = {"typed": typed}
    exec(f"def {target.function.__name__}(context, {names}): return typed({names})", scope)
    divided = intrinsic(scope[target.function.__name__])
    divided.kernel = target
    return divided


# ---------------------------------------------------------------------------------------------------
# Starting threads
# ---------------------------------------------------------------------------------------------------
SPINS = 4000  # times around the loop before a thread gives way to others, some 25 nanoseconds each
YIELDS = 5000  # times that it does before it sleeps, some 400 nanoseconds each
_starting = threading.Lock()
_started = 1  # with the calling thread
_threads: list[threading.Thread] = []
_C = None if sys.platform == "win32" else ctypes.CDLL(None)


def get_threads() -> int:
    """How many threads work is divided among, with the calling one."""
    return int(_state[PARTS])


def set_threads(n: int) -> None:
    """Divide work among n threads from now on."""
    global _started
    with _starting:
        while _C is not None and _started < n:
            address = work.kernel.compile()  # not in the thread: a process forked meanwhile could never compile again
            thread = threading.Thread(target=_enter, args=(address,), daemon=True, name=f"tinyrnn-{_started}")
            thread.start()
            _threads.append(thread)
            _started += 1
        _state[PARTS] = min(n, _started)


def _stop() -> None:
    """End the threads: their code must not be taken away under them when the process ends."""
    if _threads:
        _state[STOP] = 1
        _C.pthread_mutex_lock(ctypes.c_void_p(_state[MUTEX:].ctypes.data))
        _C.pthread_cond_broadcast(ctypes.c_void_p(_state[CONDITION:].ctypes.data))
        _C.pthread_mutex_unlock(ctypes.c_void_p(_state[MUTEX:].ctypes.data))
    while _threads:
        _threads.pop().join(5)


def _enter(address: int) -> None:
    done = np.zeros(1, np.int64)
    function = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
    function(address)(SPINS, YIELDS, done.ctypes.data)  # without the GIL


def _reset() -> None:
    """The state of a pool with no thread but the calling one."""
    global _starting, _started
    _starting, _started = threading.Lock(), 1
    _threads.clear()
    _state[:] = 0
    _state[PARTS] = 1
    if _C is not None:
        _C.pthread_mutex_init(ctypes.c_void_p(_state[MUTEX:].ctypes.data), None)
        _C.pthread_cond_init(ctypes.c_void_p(_state[CONDITION:].ctypes.data), None)


def processors() -> int:
    """How many processors this process may use; fewer if OMP_NUM_THREADS says so, as for torch."""
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    if chosen.isdigit() and int(chosen):
        return int(chosen)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_reset()
set_threads(processors())
atexit.register(_stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset)
