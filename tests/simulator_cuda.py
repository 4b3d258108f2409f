"""What kernels call, in the simulator: `cuda`, `math`, Numba's types; and copies of functions that call these."""

from __future__ import annotations

import builtins
import dis
import functools
import math
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from types import CellType, CodeType, FunctionType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numba import cuda as numba_cuda
from numba.cuda import types
from simulator_threads import WARP, Fault, Memory, Place, Watched, here, located, placed, raw, running, told

TOGETHER = {"shared", "atomic", "cg"}  # names of `cuda` that need all threads at the same time


def together(method: Callable) -> Callable:
    TOGETHER.add(method.__name__)
    return method


@functools.cache
def poison(shape: Any, kind: Any) -> np.ndarray:
    """NaN, or large integers: to be copied."""
    values = np.empty(shape, dtype_of(kind))
    values.reshape(-1).view(np.uint8).fill(0xFF if values.dtype.kind == "f" else 0x7F)
    return values


def nothing_like(value: Any) -> Any:
    """What comes of a lane that is not there: NaN, or a large integer."""
    if isinstance(value, tuple):
        return tuple(map(nothing_like, value))
    return type(value)(np.nan) if isinstance(value, (float, np.floating)) else 0x7F7F7F7F


def brought(values: dict[int, Any], lane: int, own: Any) -> Any:
    return values[lane] if lane in values else nothing_like(own)


class Shared:
    @staticmethod
    def array(shape: Any, dtype: Any, alignment: int | None = None) -> Any:
        """The block's array of this instruction; of shape 0, all of the memory that the launch asked for."""
        block = running.thread.block
        if shape in (0, (0,)):
            size = dtype_of(dtype).itemsize
            numbers = block.asked_for(alignment or size)
            return seen(located(numbers[: numbers.size // size * size].view(dtype_of(dtype))))
        frame = sys._getframe(1)
        key = id(frame.f_globals), frame.f_code, frame.f_lasti
        if key not in block.shared:
            block.shared[key] = placed(poison(shape, dtype), alignment or dtype_of(dtype).itemsize)
        return seen(block.shared[key])


def seen(values: np.ndarray) -> Any:
    """An array as a kernel sees it: NumPy's own, which is fast, where that does."""
    if running.thread.block.grid.simulator.strict:
        return Watched(values)
    return values if values.dtype.kind == "f" else Memory(values)


class Local:
    @staticmethod
    def array(shape: Any, dtype: Any, alignment: int | None = None) -> Any:
        values = poison(shape, dtype).copy()
        return values if values.dtype.kind == "f" else Memory(values)


class Constant:
    @staticmethod
    def array_like(values: np.ndarray) -> np.ndarray:
        return values


class Atomic:
    """Each gives the number that was there before."""

    @staticmethod
    def _change(numbers: Any, index: Any, change: Callable) -> Any:
        values = raw(numbers)
        old = values[index]
        values[index] = change(old)
        grid = running.thread.block.grid
        if old != values[index]:
            grid.idle = 0
        grid.pause()
        return old

    def add(self, numbers: Any, index: Any, value: Any) -> Any:
        return self._change(numbers, index, lambda old: old + value)

    def sub(self, numbers: Any, index: Any, value: Any) -> Any:
        return self._change(numbers, index, lambda old: old - value)

    def max(self, numbers: Any, index: Any, value: Any) -> Any:
        return self._change(numbers, index, lambda old: largest(old, value))

    def min(self, numbers: Any, index: Any, value: Any) -> Any:
        return self._change(numbers, index, lambda old: smallest(old, value))

    def and_(self, numbers: Any, index: Any, value: Any) -> Any:
        return self._change(numbers, index, lambda old: old & value)

    def or_(self, numbers: Any, index: Any, value: Any) -> Any:
        return self._change(numbers, index, lambda old: old | value)

    def xor(self, numbers: Any, index: Any, value: Any) -> Any:
        return self._change(numbers, index, lambda old: old ^ value)

    def exch(self, numbers: Any, index: Any, value: Any) -> Any:
        return self._change(numbers, index, lambda old: value)

    def cas(self, numbers: Any, index: Any, expected: Any, value: Any) -> Any:
        return self._change(numbers, index, lambda old: value if old == expected else old)


class WholeGrid:
    @staticmethod
    def sync() -> None:
        grid = running.thread.block.grid
        if not grid.cooperative:
            raise Fault(f"a grid barrier in a launch that is not cooperative: {told(here('grid.sync'))}")
        grid.barrier.wait(here("grid.sync"))


class Cooperation:
    @staticmethod
    def this_grid() -> WholeGrid:
        return WholeGrid()


class Cuda:
    """What `numba.cuda` is to a kernel in the simulator; `gather_sync` and the last ones are for emulations."""

    shared, local, const, atomic, cg, warpsize = Shared(), Local(), Constant(), Atomic(), Cooperation(), WARP

    # -------------------------------------------------------------------------------------- where a thread is
    threadIdx = property(lambda self: running.thread.index)
    blockIdx = property(lambda self: running.thread.block.index)
    blockDim = property(lambda self: running.thread.block.grid.threads)
    gridDim = property(lambda self: running.thread.block.grid.blocks)
    laneid = property(lambda self: running.thread.lane)

    def grid(self, axes: int) -> Any:
        found = [t + b * n for t, b, n in zip(self.threadIdx, self.blockIdx, self.blockDim, strict=True)][:axes]
        return found[0] if axes == 1 else tuple(found)

    def gridsize(self, axes: int) -> Any:
        found = [n * blocks for n, blocks in zip(self.blockDim, self.gridDim, strict=True)][:axes]
        return found[0] if axes == 1 else tuple(found)

    # -------------------------------------------------------------------------------------- barriers
    @together
    def syncthreads(self) -> None:
        running.thread.block.barrier.wait(here("syncthreads"))

    @together
    def syncthreads_count(self, truth: Any) -> int:
        return sum(running.thread.block.barrier.wait(here("syncthreads_count"), running.thread, bool(truth)).values())

    @together
    def syncthreads_and(self, truth: Any) -> int:
        return int(
            all(running.thread.block.barrier.wait(here("syncthreads_and"), running.thread, bool(truth)).values())
        )

    @together
    def syncthreads_or(self, truth: Any) -> int:
        return int(any(running.thread.block.barrier.wait(here("syncthreads_or"), running.thread, bool(truth)).values()))

    @together
    def syncwarp(self, mask: int = 0xFFFFFFFF) -> None:
        self._exchange(mask, None, here("syncwarp"), orders=True)

    def _exchange(self, mask: int, value: Any, place: Place, orders: bool = False) -> dict[int, Any]:
        """The values of the lanes of a mask."""
        mask &= 0xFFFFFFFF
        if not mask >> running.thread.lane & 1:
            raise Fault(f"lane {running.thread.lane} is not in the mask {mask:#x} with which it waits at {told(place)}")
        return running.thread.warp.barrier(mask).wait(place, running.thread.lane, value, orders=orders)

    # -------------------------------------------------------------------------------------- between lanes
    @together
    def gather_sync(self, mask: int, value: Any) -> list:
        """The values of all 32 lanes, those that are not there as NaN or a large number."""
        found = self._exchange(mask, value, here("gather_sync"))
        return [brought(found, k, value) for k in range(WARP)]

    @together
    def shfl_sync(self, mask: int, value: Any, source: int) -> Any:
        return brought(self._exchange(mask, value, here("shfl_sync")), source % WARP, value)

    @together
    def shfl_xor_sync(self, mask: int, value: Any, bits: int) -> Any:
        source = running.thread.lane ^ bits
        return brought(self._exchange(mask, value, here("shfl_xor_sync")), source, value)

    @together
    def shfl_down_sync(self, mask: int, value: Any, distance: int) -> Any:
        source = running.thread.lane + distance
        found = self._exchange(mask, value, here("shfl_down_sync"))
        return value if source >= WARP else brought(found, source, value)

    @together
    def shfl_up_sync(self, mask: int, value: Any, distance: int) -> Any:
        source = running.thread.lane - distance
        found = self._exchange(mask, value, here("shfl_up_sync"))
        return value if source < 0 else brought(found, source, value)

    @together
    def ballot_sync(self, mask: int, truth: Any) -> int:
        """The lanes where it holds, as an int32: negative if lane 31 is among them."""
        bits = sum(1 << lane for lane, holds in self._exchange(mask, bool(truth), here("ballot_sync")).items() if holds)
        return bits - (bits >> 31 << 32)

    @together
    def any_sync(self, mask: int, truth: Any) -> bool:
        return any(self._exchange(mask, bool(truth), here("any_sync")).values())

    @together
    def all_sync(self, mask: int, truth: Any) -> bool:
        return all(self._exchange(mask, bool(truth), here("all_sync")).values())

    # -------------------------------------------------------------------------------------- between blocks
    @together
    def nanosleep(self, nanoseconds: int) -> None:
        running.thread.block.grid.pause()

    def threadfence(self) -> None:
        running.thread.block.grid.passed += 1

    threadfence_block = threadfence_system = threadfence

    # -------------------------------------------------------------------------------------- alone
    @staticmethod
    def ldcg(numbers: Any, index: Any) -> Any:
        return numbers[index]

    @staticmethod
    def stcg(numbers: Any, index: Any, value: Any) -> None:
        numbers[index] = value

    ldca = ldcs = ldlu = ldcg
    stcs = stwb = stwt = stcg

    @together
    def ldcv(self, numbers: Any, index: Any) -> Any:
        self.nanosleep(0)
        return numbers[index]

    @staticmethod
    def fma(a: Any, b: Any, c: Any) -> Any:
        """a * b + c, rounded once; for float32, by float64, which is off where its sum falls between two float32."""
        if np.result_type(a, b, c) == np.float32:
            return np.float32(np.float64(a) * np.float64(b) + np.float64(c))
        if not np.isfinite(a * b + c):
            return a * b + c
        return np.float64(Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c)))

    @staticmethod
    def selp(condition: Any, a: Any, b: Any) -> Any:
        return a if condition else b

    @staticmethod
    def popc(bits: Any) -> int:
        """How many bits of a number are 1; a negative one has 32, as what ballots give."""
        if not -(2**31) <= bits < 2**64:
            raise Fault(f"popc of {bits}: neither an int32 nor an unsigned number")
        return (int(bits) & (0xFFFFFFFF if bits < 0 else -1)).bit_count()

    @staticmethod
    def ffs(bits: Any) -> int:
        """The place of the lowest bit that is 1, counted from 1; 0 if there is none."""
        return (int(bits) & -int(bits)).bit_length()

    cbrt = staticmethod(np.cbrt)

    # -------------------------------------------------------------------------------------- for emulations alone
    thread = property(lambda self: running.thread)

    @staticmethod
    def numbers(address: Any, dtype: Any) -> Memory:
        """The numbers from an address on, up to the end of their allocation: what a pointer argument is."""
        return running.thread.block.grid.simulator.numbers(int(address), np.dtype(dtype))

    @staticmethod
    def aligned(numbers: Any, index: Any, n: int) -> None:
        """Raises unless n numbers from an index on can be read or written at once, and there are as many."""
        size = n * numbers.dtype.itemsize
        address = getattr(numbers, "address", None)  # a local array has none: it is registers
        if address is not None and (address + int(index) * size // n) % size:
            raise Fault(
                f"{n} numbers of {numbers.dtype}, from {index} on, are used at once: not at a multiple of {size}"
            )
        if not 0 <= index <= numbers.size - n:
            raise IndexError(f"elements {index} to {index + n - 1} of {numbers.size}")


cuda = Cuda()


def _typed(function: Callable) -> Callable:
    """A function of one number by `math`, in the number's type."""
    return lambda x: (type(x) if isinstance(x, np.floating) else np.float64)(function(x))


SAME = ["exp", "expm1", "exp2", "log", "log1p", "log2", "log10", "sqrt", "cbrt", "sin", "cos", "tan", "sinh", "cosh", "tanh",
        "hypot", "fabs", "floor", "ceil", "trunc", "fmod", "copysign", "isnan", "isinf", "isfinite", "ldexp"]  # fmt: skip
OTHERS = {"acos": "arccos", "asin": "arcsin", "atan": "arctan", "atan2": "arctan2", "acosh": "arccosh", "asinh": "arcsinh",
          "atanh": "arctanh"}  # fmt: skip

mathematics = SimpleNamespace(  # `math` in the type of its arguments, with NaN and infinities instead of errors
    **{name: getattr(np, name) for name in SAME},
    **{name: getattr(np, numpys) for name, numpys in OTHERS.items()},
    **{name: getattr(math, name) for name in ("pi", "e", "tau", "inf", "nan", "gcd")},
    pow=lambda x, y: np.power(x if isinstance(x, np.floating) else np.float64(x), y),
    erf=_typed(math.erf),
    erfc=_typed(math.erfc),
)


def largest(*values: Any) -> Any:
    """CUDA's max: of a NaN and a number, the number."""
    a, *rest = values if len(values) > 1 else values[0]
    for b in rest:
        a = b if b > a or a != a else a
    return a


def smallest(*values: Any) -> Any:
    a, *rest = values if len(values) > 1 else values[0]
    for b in rest:
        a = b if b < a or a != a else a
    return a


def _float(x: Any) -> Any:
    """Numba's float(x): float64 of an integer, a floating-point number as it is."""
    return x if isinstance(x, np.floating) else np.float64(x)


def _cast(kind: types.Type) -> Callable:
    """A number as one of Numba's types: integers are cut to their bits."""
    dtype = np.dtype(kind.name)
    if dtype.kind == "f":
        return dtype.type
    if dtype.kind == "b":
        return lambda x: bool(x)
    bits, low = 8 * dtype.itemsize, np.iinfo(dtype).min
    wide = dtype.type if bits == 64 else int

    def cast(x: Any) -> Any:
        return wide(((int(x) - low) & ((1 << bits) - 1)) + low)

    return cast


CASTS = {kind: _cast(kind) for kind in (
    types.float32, types.float64, types.boolean, types.int8, types.int16, types.int32, types.int64,
    types.uint8, types.uint16, types.uint32, types.uint64,
)}  # fmt: skip
DTYPES = {cast: np.dtype(kind.name) for kind, cast in CASTS.items()}
BUILTINS = {builtins.max: largest, builtins.min: smallest, builtins.float: _float}
REPLACED = {
    numba_cuda: cuda, math: mathematics, **CASTS, **BUILTINS,
    **{getattr(math, name): function for name, function in vars(mathematics).items() if callable(function)},
}  # fmt: skip


def dtype_of(kind: Any) -> np.dtype:
    return DTYPES.get(kind) or np.dtype(kind)


# ------------------------------------------------------------------------------------------ the function of a kernel
class Program:
    """A copy of a function that calls the simulator's functions; `together`: threads wait for one another in it."""

    known: dict[Any, Program] = {}

    def __init__(self, function: FunctionType):
        Program.known[function] = self
        names = set(names_of(function.__code__))
        self.names, self.together = names, False
        given = {name: getattr(builtins, name) for name in names if hasattr(builtins, name)} | function.__globals__
        scope = {name: self._replaced(given[name]) for name in {*globals_of(function.__code__)} & given.keys()}
        scope["__builtins__"] = builtins
        cells = function.__closure__ or ()
        self.function = FunctionType(
            function.__code__, scope, function.__name__, function.__defaults__,
            tuple(CellType(self._replaced(cell.cell_contents)) for cell in cells),
        )  # fmt: skip
        self.function.__kwdefaults__ = function.__kwdefaults__

    def _replaced(self, value: Any) -> Any:
        if value is numba_cuda:
            self.together |= not TOGETHER.isdisjoint(self.names)
        if hasattr(value, "emulation"):
            return self._called(value.emulation)
        if hasattr(value, "py_func"):
            return self._called(value.py_func)
        try:
            if value in REPLACED:
                return REPLACED[value]
        except TypeError:  # not hashable
            return value
        if isinstance(value, ModuleType) and value.__name__.partition(".")[0] != "numpy":
            return SimpleNamespace(**{k: self._replaced(v) for k, v in vars(value).items() if k in self.names})
        return value

    def _called(self, function: FunctionType) -> FunctionType:
        program = Program.known.get(function) or Program(function)
        self.together |= program.together
        return program.function


def names_of(code: CodeType) -> Iterator[str]:
    """The names of globals and attributes in a function, and in the functions within it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names_of(constant)


def globals_of(code: CodeType) -> Iterator[str]:
    """The names of globals alone: `math.exp` reads `math`, and not what is called `exp` here."""
    yield from (i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME"))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from globals_of(constant)
