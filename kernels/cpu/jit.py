"""`njit` for kernels: Numba's, with machine code kept on disk by `DiskCache`.

Numba's own disk cache dies of a damaged file, and two processes that compile the same function at the same time can
mix up its index.  This one has no index: the name of a file says what is in it.
"""

import contextlib
import ctypes
import functools
import gc
import inspect
import operator
import pickle
import re
import sys
import threading
import time
from pathlib import Path
from types import BuiltinFunctionType
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba.core import caching, ccallback, cgutils, codegen, compiler, serialize, types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NopythonTypeInference
from numba.extending import intrinsic

from ..cache import base, digest, directory, keep, recall
from ..interrupts import uninterrupted

if numba.config.DISABLE_JIT:
    raise RuntimeError("the kernels of tinyrnn run compiled only, and NUMBA_DISABLE_JIT forbids that: unset it")

# Division by zero gives inf or nan as IEEE 754 and torch have it, and a product and a sum may become
# one fused multiply-add.  Nothing else is relaxed: NaN and infinities mean what they say.
OPTIONS = {"error_model": "numpy", "fastmath": {"contract"}, "nogil": True}


class Library(codegen.JITCodeLibrary):
    """The code of a function, optimised once, as a whole, with what it calls.  Numba's own library runs passes over
    each function before that, and cheap ones over the whole for the sake of references that are counted: what they
    find is found then too, but for counts, of which kernels have none, and they take a sixth of the time of compiling.
    """

    def _optimize_functions(self, ll_module):
        ll_module.data_layout = str(self.codegen.target_data)

    def _optimize_final_module(self):
        passes, builder = self.codegen._module_pass_manager()
        passes.run(self._final_module, builder)


OPERATORS = frozenset(f for f in vars(operator).values() if isinstance(f, BuiltinFunctionType))
NUMBERS = types.Number, types.Boolean, types.Literal
_signatures: dict[tuple, Any] = {}  # of operators, by the types of their operands


def _resolve(context, function, args, kws):
    if type(function) is not types.Function or function.typing_key not in OPERATORS or kws:
        return type(context).resolve_function_type(context, function, args, kws)
    key = function.typing_key, *args
    if key not in _signatures:
        found = type(context).resolve_function_type(context, function, args, kws)
        if found is None or not all(isinstance(a, NUMBERS) for a in args):
            return found
        _signatures[key] = found
    return _signatures[key]


@register_pass(mutates_CFG=True, analysis_only=False)
class Typing(NopythonTypeInference):
    """Numba's, but what an operator makes of numbers is remembered: all rules for arrays are tried before those for
    numbers, each time."""

    _name = "tinyrnn_type_inference"

    def run_pass(self, state):
        own = vars(state.typingctx)
        before = own.get("resolve_function_type")
        own["resolve_function_type"] = functools.partial(_resolve, state.typingctx)
        try:
            return super().run_pass(state)
        finally:
            own.pop("resolve_function_type")
            if before is not None:
                own["resolve_function_type"] = before


class Pipeline(compiler.CompilerBase):
    """Numba's own passes, but for some that take a tenth of the time of compiling: those of closures, comprehensions,
    whole-array expressions and loops over literals, which kernels have none of, those that look for errors that
    kernels do not have or for branches that LLVM finds as well, and those that give a variable a new name for each
    assignment.  So a variable of a kernel has one type: numbers of different types are converted to one, without a
    word; a number and a vector are refused.  IRLegalization must stay: it says where references to arrays end."""

    WITHOUT = (
        "WithLifting", "InlineClosureLikes", "InlineOverloads", "NopythonRewrites", "LiteralUnroll",
        "FindLiterallyCalls", "LiteralPropagationSubPipelinePass", "MakeFunctionToJitFunction",
        "ReconstructSSA", "PreLowerStripPhis", "GenericRewrites", "DeadBranchPrune",
    )  # fmt: skip

    def define_pipelines(self):
        passes = compiler.DefaultPassBuilder.define_nopython_pipeline(self.state)
        kept = [each for each in passes.passes if each[0].__name__ not in self.WITHOUT]
        passes.passes = [(Typing if each is NopythonTypeInference else each, why) for each, why in kept]
        passes.finalize()
        self.state.library = Library(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        self.state.library.enable_object_caching()
        return [passes]


def njit(function):
    """Compile `function` on its first call for each set of argument types; find it on disk the next time."""
    return _compile(function, OPTIONS)


def inlined(function):
    """`njit` for a few lines that only compiled functions call: compiled as a part of each of these, not by itself."""
    return numba.njit(inline="always", pipeline_class=Pipeline, **OPTIONS)(function)


def njit_exact(function):
    """`njit` for bits that must not change: every operation is rounded as written, nothing is fused."""
    return _compile(function, {**OPTIONS, "fastmath": False})


def _compile(function, options):
    _tell_apart(function)
    # The wrapper would be for compiled code that is handed the function as a value; there is none.
    dispatcher = numba.njit(pipeline_class=Pipeline, no_cfunc_wrapper=True, **options)(function)
    dispatcher._cache = DiskCache(function)
    compiler = dispatcher._compiler
    compiler.compile = waiting.during(compiler.compile, function)
    return dispatcher


@contextlib.contextmanager
def uncollected():
    """Without the garbage collector, which takes a tenth of the time of compiling: nothing of it is garbage yet."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


class Waiting:
    """Says on stderr, once in a process, what is being compiled when that has taken longer than a second in all."""

    PATIENCE = 1.0  # seconds

    def __init__(self):
        self.spent, self.depth, self.told = 0.0, 0, False

    def during(self, compile, function):
        """`compile`, with the time that it takes counted for the module of `function`."""
        what = function.__module__.rpartition(".")[2]

        @functools.wraps(compile)
        def watched(*args, **kwargs):
            with self.watch(what), uncollected(), uninterrupted():
                return compile(*args, **kwargs)

        return watched

    @contextlib.contextmanager
    def watch(self, what):
        if self.told or self.depth:  # what compiles one function compiles those that it calls
            yield
            return
        timer = threading.Timer(max(0.0, self.PATIENCE - self.spent), self.tell, (what,))
        timer.daemon = True
        start = time.monotonic()
        self.depth = 1
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            self.depth, self.spent = 0, self.spent + time.monotonic() - start

    def tell(self, what):
        self.told = True
        what = re.sub(r"_[0-9a-f]{16}$", "", what)
        print(
            f"tinyrnn: compiling kernels ({what} now) and keeping them on disk; `python -m tinyrnn warmup` does it "
            "ahead"
            if directory().parent == base().absolute()
            else f"tinyrnn: compiling kernels ({what} now), in every process anew, because {base()} cannot be written: "
            "NUMBA_CACHE_DIR may name another place",
            file=sys.stderr,
            flush=True,
        )


waiting = Waiting()


def _tell_apart(function) -> None:
    """Give a function that another one made, once for each type say, a name of its own.

    Numba puts the name into that of the machine code, with a number that it counts up in each process.  Code from two
    processes, on disk, could have the same name otherwise, and the second to be loaded would be linked with the first.
    """
    if function.__closure__:
        function.__qualname__ += f".{digest(repr(_closure(function)))}"


def _content(filename: str) -> str:
    """A hash of a source file; of nothing, for source that has no file."""
    try:
        return digest(Path(filename).read_text(encoding="utf-8"))
    except OSError:
        return ""


class DiskCache(caching.NullCache):
    """The machine code of one function, a file for each set of argument types.

    A file is found by all that the code depends on: the function and its source file, the numbers and types that it
    takes from the functions around it, the argument types and the CPU.  What the function calls is in the name of the
    directory; the kernels that it calls by symbol are listed in the file, and are there before the code is loaded.
    """

    def __init__(self, function):
        self.name = function.__name__
        source = _content(function.__code__.co_filename)
        self.identity = (function.__module__, function.__qualname__, _closure(function), source)

    @property
    def cache_path(self) -> str:
        return str(directory())

    def _file(self, signature, codegen) -> str:
        return f"{self.name}-{digest(repr((self.identity, signature, codegen.magic_tuple())))}.code"

    @uninterrupted()
    def load_overload(self, sig, target_context):
        target_context.refresh()  # the first time, it imports half of Numba
        data = recall(self._file(sig, target_context.codegen()))
        if data is None:
            return None
        symbols, parts = pickle.loads(data)
        for symbol in symbols:
            Kernel.known[symbol].compile()
        return compiler.CompileResult._rebuild(target_context, *pickle.loads(parts))

    @uninterrupted()
    def save_overload(self, sig, data):
        if not data.library.has_dynamic_globals:  # an address in the code means nothing in another process
            text = data.library.get_llvm_str()
            symbols = [s for s in dict.fromkeys(re.findall(r"kernel:[^\"]+", text)) if s in Kernel.known]
            data = data._replace(type_annotation="")  # takes longer to print than the rest to write
            keep(self._file(sig, data.codegen), pickle.dumps((symbols, serialize.dumps(data._reduce()))))


def _closure(function) -> tuple[str, ...]:
    """What a function takes from the functions around it, in words."""
    cells = function.__closure__ or ()
    return tuple(_word(cell.cell_contents) for cell in cells)


def _word(value) -> str:
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, (int, float, str, np.generic)):
        return repr(value)
    if isinstance(value, tuple):
        return repr(tuple(map(_word, value)))
    if hasattr(value, "kernel"):
        return value.kernel.symbol
    if hasattr(value, "py_func"):
        return "-".join([value.__name__, *_closure(value.py_func)])
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__name__', type(value).__name__)}"


WORD = ir.IntType(64)
NOTHING, ASKS = ir.FunctionType(ir.VoidType(), []), ir.FunctionType(ir.VoidType(), [WORD])
COMPILE = "compile-deferred"
TRIES = 10  # so often a deferred kernel may fail to be compiled
DEEP = 10_000  # calls within one another that compiling may take


def named(module: ir.Module, symbol: str) -> ir.GlobalVariable:
    """A word of memory that has a name."""
    known = module.globals.get(symbol)
    return ir.GlobalVariable(module, WORD, symbol) if known is None else known


class Kernel:
    """A function of addresses and numbers, compiled once, that other compiled functions call by symbol.

    A plain call from one compiled function to another copies the callee into the caller and optimises it again, at
    every level of calls.  A kernel stands alone: it is compiled when the first function that calls it is; or, if it is
    `deferred`, when a call first reaches it.  Such calls look for its address in a word of memory, its slot.
    """

    known: dict[str, "Kernel"] = {}
    slots: dict[int, "Kernel"] = {}  # the deferred ones, by the address of their slot

    def __init__(self, function, deferred: bool = False):
        self.function, self.deferred = function, deferred
        _tell_apart(function)
        identity = function.__module__, function.__qualname__, _closure(function)
        self.symbol = f"kernel:{function.__name__}:{digest(repr(identity))}"
        parameters = inspect.signature(function).parameters.values()
        self.types = tuple(types.float64 if p.annotation in (float, "float") else types.intp for p in parameters)
        self.address = 0
        Kernel.known[self.symbol] = self
        if deferred:
            self.slot = ctypes.c_int64(0)
            Kernel.slots[ctypes.addressof(self.slot)] = self
            self.slot_name = "slot-of-" + self.symbol.removeprefix("kernel:")
            llvmlite.binding.add_symbol(self.slot_name, ctypes.addressof(self.slot))

    def compile(self) -> int:
        """The address of the machine code."""
        with global_compiler_lock:
            if not self.address:
                signature = types.void(*self.types)
                kinds = signature.args, signature.return_type
                function = ccallback.CFunc(self.function, kinds, {}, dict(OPTIONS), Pipeline)
                function._cache = DiskCache(self.function)
                function._compile_uncached = waiting.during(function._compile_uncached, self.function)
                with uninterrupted():
                    function.compile()
                llvmlite.binding.add_symbol(self.symbol, function.address)
                self.code, self.address = function, function.address
            if self.deferred:
                self.slot.value = self.address
        return self.address

    def call(self, b: ir.IRBuilder, args) -> None:
        """Write a call of the kernel."""
        kind = ir.FunctionType(ir.VoidType(), [ir.DoubleType() if t is types.float64 else WORD for t in self.types])
        if self.deferred:
            b.call(b.inttoptr(self._awaited(b), kind.as_pointer()), args)
        else:
            self.compile()
            b.call(cgutils.get_or_insert_function(b.module, kind, self.symbol), args)

    def _awaited(self, b: ir.IRBuilder) -> ir.Value:
        """The address from the slot of a deferred kernel; it is compiled first if there is none.  Machine code cannot
        be left by an exception that comes from a signal meanwhile: it asks again, and interrupts Python later."""
        slot, before = named(b.module, self.slot_name), b.block
        ask, asked, compiled = (b.append_basic_block(name) for name in ("ask", "asked", "compiled"))
        found = b.load_atomic(slot, "acquire", 8)
        b.cbranch(b.icmp_unsigned("!=", found, WORD(0)), compiled, ask).set_weights([99, 1])
        b.position_at_end(ask)
        times = b.phi(WORD)
        once_more = b.add(times, WORD(1))
        times.add_incoming(WORD(0), before)
        with b.if_then(b.icmp_unsigned("==", times, WORD(TRIES))):
            b.call(cgutils.get_or_insert_function(b.module, NOTHING, "abort"), [])
        b.call(cgutils.get_or_insert_function(b.module, ASKS, COMPILE), [b.ptrtoint(slot, WORD)])
        made = b.load_atomic(slot, "acquire", 8)
        times.add_incoming(once_more, b.block)
        b.cbranch(b.icmp_unsigned("==", made, WORD(0)), ask, asked)
        b.position_at_end(asked)
        with b.if_then(b.icmp_unsigned("!=", times, WORD(0))):
            b.call(cgutils.get_or_insert_function(b.module, NOTHING, "PyErr_SetInterrupt"), [])
        asked = b.block
        b.branch(compiled)
        b.position_at_end(compiled)
        address = b.phi(WORD)
        address.add_incoming(found, before)
        address.add_incoming(made, asked)
        return address

    def callable(self):
        """The kernel as a function that compiled code calls."""
        names = ", ".join(inspect.signature(self.function).parameters)

        def typed(*given):
            def emit(context, b, signature, args):
                self.call(b, args)
                return context.get_dummy_value()

            return types.void(*self.types), emit

        scope: dict = {"typed": typed}
        exec(f"def {self.function.__name__}(context, {names}): return typed({names})", scope)
        return intrinsic(scope[self.function.__name__])


class Asked:
    """Calls of `_compile_deferred` that have not returned, and the limit of recursion without them."""

    lock, calls, limit = threading.Lock(), 0, 0


@ctypes.CFUNCTYPE(None, ctypes.c_int64)
def _compile_deferred(slot):
    """What machine code calls when it first reaches a deferred kernel: in a deep recursion, too, so that nothing here
    may call a function of Python's before the limit is raised."""
    with Asked.lock:
        if not Asked.calls:
            Asked.limit = sys.getrecursionlimit()
            sys.setrecursionlimit(Asked.limit + DEEP)
        Asked.calls += 1
    try:
        Kernel.slots[slot].compile()
    except BaseException as error:
        Kernel.slots[slot].slot.value = 0  # the machine code asks again, and then has Python interrupted
        if not isinstance(error, KeyboardInterrupt):
            raise
    finally:
        with Asked.lock:
            Asked.calls -= 1
            if not Asked.calls:
                sys.setrecursionlimit(Asked.limit)


def compile_deferred() -> None:
    """Compile the deferred kernels of all families that are in use."""
    for kernel in list(Kernel.slots.values()):
        kernel.compile()


llvmlite.binding.add_symbol(COMPILE, ctypes.cast(_compile_deferred, ctypes.c_void_p).value)


def kernel(function, deferred: bool = False):
    """Make `function` a Kernel: a function that returns nothing and takes addresses, sizes and strides (integers) and,
    where annotated as float, numbers.  What comes back is for compiled code to call; its `.kernel` is the Kernel."""
    made = Kernel(function, deferred)
    callable = made.callable()
    callable.kernel = made
    return callable


def deferred(function):
    """`kernel` for what many programs do without: it is compiled when a call first reaches it."""
    return kernel(function, deferred=True)
