"""A GPU in Python: runs the kernels of kernels/cuda, one thread at a time, and is as strict as a GPU is not.

    with simulated(seed=1) as simulator:
        y = array.download(some_kernel_family.function(array.upload(x)))

`Simulator` is a Driver (kernels/cuda/driver.py).  A launch takes the Python function that the kernel was made of, gives
it Python's numbers and NumPy's, and replaces what it calls: `cuda`, `math`, Numba's types, and the device functions; what
has an attribute `emulation` is replaced by that.  Threads are greenlets, which give way to one another where a kernel
lets them wait (barriers, shuffles, ballots, atomics), and go on in an order drawn from `seed`: a barrier that is missing
shows for some seed.  The threads of a kernel in which none waits for another run one after the other, much faster.

What is an error here, or shows in the result:

* memory is NaN, or a large or a negative integer, before it is written to; the host cannot touch the device's at all
* a pointer ends where its allocation does, and has no elements before its first
* a barrier or a shuffle that a thread has passed by, waits for elsewhere, or will never reach; waiting for nothing
* `strict`: two threads that use the same number, one of them to change it, with no barrier between them

Where it differs from a GPU: sums and products are never fused, elementary functions are NumPy's, numbers that are
written in the kernel have the type of what they meet (0.5 * x is float64 on the GPU, for a float32 x too), integers
narrower than 64 bits are promoted as Numba does, and threads of a warp are no more in step than others.

Here are the device's memory and its launches; simulator_threads.py has the threads, simulator_cuda.py what they call.
"""

from __future__ import annotations

import bisect
import ctypes
import math
import mmap
import operator
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numba.cuda import types
from simulator_cuda import Program
from simulator_threads import WARP, Fault, Grid, Index, Memory, Watched, address_of

import tinyrnn  # noqa: F401  (makes tinyrnn.kernels importable from a checkout)
from tinyrnn.kernels.cuda import driver as drivers
from tinyrnn.kernels.cuda import memory

MOST_THREADS, MOST_WARPS = 1024, 64  # of a block, of a multiprocessor
KIB = 1 << 10
PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
MULTIPROCESSOR_SHARED = 228 * KIB  # bytes; each block takes 1 KiB more than it asks for


class DeviceMemory:
    """Allocations in regions that the host cannot touch, but for the time in which they are `open`."""

    ALIGNMENT = 512
    REGION = 64 << 20  # bytes

    def __init__(self, capacity: int):
        self.capacity = self.left = capacity
        self.regions: list[tuple[mmap.mmap, np.ndarray]] = []
        self.sizes: dict[int, int] = {}  # address: bytes
        self.starts: list[int] = []  # the addresses, in order
        self.unused: dict[int, list[int]] = {}  # room: addresses
        self.next, self.end = 0, 0  # of the last region
        self.depth = 0
        try:
            self.protect = ctypes.CDLL(None).mprotect
        except (TypeError, OSError, AttributeError):  # no POSIX: nothing keeps the host away
            self.protect = lambda start, size, allowed: 0
        else:
            self.protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int

    @contextmanager
    def open(self) -> Iterator[None]:
        self.depth += 1
        if self.depth == 1:
            self._allow(mmap.PROT_READ | mmap.PROT_WRITE if hasattr(mmap, "PROT_READ") else 0)
        try:
            yield
        finally:
            self.depth -= 1
            if not self.depth:
                self._allow(0)

    def _allow(self, what: int) -> None:
        for _, values in self.regions:
            if self.protect(address_of(values), values.size, what):
                raise OSError("mprotect failed")

    def allocate(self, size: int) -> int:
        room = (size // self.ALIGNMENT + 1) * self.ALIGNMENT  # more than asked for: the end is not the next one's start
        if room > self.left:
            raise drivers.OutOfMemory(f"{size} bytes were asked for, {self.left} are left")
        waiting = self.unused.get(room)
        address = waiting.pop() if waiting else self._cut(room)
        self.left -= room
        self.sizes[address] = size
        bisect.insort(self.starts, address)
        with self.open():
            self.bytes(address, size).fill(0xFF)
        return address

    def _cut(self, room: int) -> int:
        if self.next + room > self.end:
            region = mmap.mmap(-1, -(-room // self.REGION) * self.REGION, **PRIVATE)
            values = np.frombuffer(region, np.uint8)
            self.next = -(-address_of(values) // self.ALIGNMENT) * self.ALIGNMENT
            self.end = address_of(values) + values.size
            self.regions.append((region, values))
        self.next += room
        return self.next - room

    def free(self, address: int) -> None:
        room = (self.sizes.pop(address) // self.ALIGNMENT + 1) * self.ALIGNMENT
        self.starts.remove(address)
        self.unused.setdefault(room, []).append(address)
        self.left += room

    def bytes(self, address: int, size: int | None = None) -> np.ndarray:
        """The bytes from an address on: so many of them, or all up to the end of the allocation."""
        k = bisect.bisect(self.starts, address) - 1
        room = self.starts[k] + self.sizes[self.starts[k]] - address if k >= 0 else -1
        if room < 0 or (size or 0) > room:
            raise Fault(f"{size or 'some'} bytes at {address:#x}, of which {max(room, 0)} are allocated")
        for _, values in self.regions:
            first = address - address_of(values)
            if 0 <= first < values.size:
                return values[first : first + (room if size is None else size)]
        raise AssertionError("an allocation lies in a region")


_lock = threading.RLock()  # there is one `running.thread`


class Simulator:
    """A Driver with no GPU.  `seed` chooses the order in which threads run, `strict` looks for races."""

    name = "simulator"
    threads, multiprocessors, shared_limit, capability, cooperative = 32, 2, 227 * KIB, (9, 0), True
    patience = 100_000  # turns that threads take in loops that wait before that is an error

    def __init__(self, seed: int = 0, *, strict: bool = False, capacity: int = 1 << 30):
        self.strict = strict
        self.seed = seed
        self._memory = DeviceMemory(capacity)

    @property
    def seed(self) -> int:
        return self._seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._seed, self.random = seed, random.Random(seed)

    # -------------------------------------------------------------------------------------- memory
    def allocate(self, size: int) -> int:
        with _lock:
            return self._memory.allocate(size)

    def free(self, address: int) -> None:
        with _lock:
            self._memory.free(address)

    def upload(self, address: int, host: np.ndarray) -> None:
        with _lock, self._memory.open():
            self._memory.bytes(address, host.nbytes)[:] = flat(host)

    def download(self, address: int, host: np.ndarray) -> None:
        with _lock, self._memory.open():
            flat(host)[:] = self._memory.bytes(address, host.nbytes)

    def copy(self, target: int, source: int, size: int) -> None:
        with _lock, self._memory.open():
            if abs(target - source) < size:
                raise Fault(f"copy of {size} bytes from {source:#x} to {target:#x}: they overlap")
            self._memory.bytes(target, size)[:] = self._memory.bytes(source, size)

    def zero(self, address: int, size: int) -> None:
        with _lock, self._memory.open():
            self._memory.bytes(address, size).fill(0)

    def memory(self) -> tuple[int, int]:
        return self._memory.left, self._memory.capacity

    def number_of(self, address: int) -> int:
        return 0

    def synchronize(self) -> None:
        """Everything is done as soon as it is asked for."""

    # -------------------------------------------------------------------------------------- launches
    def blocks(self, n: int, threads: int) -> int:
        return max(1, min(-(-n // threads), 4))

    def launch(
        self, kernel: Any, blocks: Any, threads: Any, arguments: Sequence[Any], shared: int, cooperative: bool
    ) -> None:
        grid, block = (Index(*map(int, drivers.three(n))) for n in (blocks, threads))
        self._check(kernel, grid, block, shared, cooperative)
        with _lock, self._memory.open(), np.errstate(all="ignore"):
            program = Program.known.get(kernel.function) or Program(kernel.function)
            given = [self._argument(kind, value) for kind, value in zip(kernel.types, arguments, strict=True)]
            Grid(self, grid, block, shared, cooperative).run(program.function, given, program.together)

    def _check(self, kernel: Any, grid: Index, block: Index, shared: int, cooperative: bool) -> None:
        count = math.prod(block)
        most = getattr(kernel, "limit", None) or MOST_THREADS
        if min(*grid, *block) < 1 or count > most or block.z > 64 or max(grid.y, grid.z) > 65535:
            raise Fault(f"{kernel}: a launch of {grid} blocks of {block} threads; of a block at most {most}")
        if shared > self.shared_limit:
            raise Fault(f"{kernel}: {shared} bytes of shared memory, of at most {self.shared_limit}")
        resident = min(MOST_WARPS // -(-count // WARP), WARP, MULTIPROCESSOR_SHARED // (shared + KIB))
        if cooperative and math.prod(grid) > resident * self.multiprocessors:
            raise Fault(
                f"{kernel}: {math.prod(grid)} blocks wait for one another, {resident * self.multiprocessors} fit"
            )

    def _argument(self, kind: Any, value: Any) -> Any:
        """What a function is given for an argument of one of Numba's types."""
        if isinstance(kind, types.UniTuple):
            if len(value) != kind.count:
                raise Fault(f"{len(value)} numbers for a tuple of {kind.count}")
            return tuple(self._argument(kind.dtype, v) for v in value)
        if isinstance(kind, types.CPointer):
            if type(value) is not int:  # as ctypes, which fills in a launch on a GPU
                raise TypeError(f"{value!r} of {type(value)} is no address")
            return self.numbers(value, np.dtype(kind.dtype.name))
        dtype = np.dtype(kind.name)
        if dtype.kind in "iu":
            dtype.type(operator.index(value))  # raises if it is too large
            return operator.index(value)
        return dtype.type(value) if dtype.kind == "f" else bool(operator.index(value))

    def numbers(self, address: int, dtype: np.dtype) -> Memory:
        """What a kernel gets for a pointer: all numbers up to the end of the allocation, none at address 0."""
        if address % dtype.itemsize:
            raise Fault(f"{address:#x} is no multiple of {dtype.itemsize}: no address of {dtype}")
        values = self._memory.bytes(address) if address else np.empty(0, np.uint8)
        values = values[: values.size // dtype.itemsize * dtype.itemsize].view(dtype)
        return Watched(values) if self.strict else Memory(values)


def flat(host: np.ndarray) -> np.ndarray:
    """The bytes of an array of the host."""
    if not host.flags.c_contiguous:
        raise Fault("an array that is copied to or from the device has to be contiguous")
    return host.reshape(-1).view(np.uint8)


class Exact(memory.Pool):
    """A pool that gives memory back at once: nothing is used again by chance."""

    def take(self, size: int) -> int:
        address = self._allocate(size)
        self.used += size
        self.peak_used = max(self.peak_used, self.used)
        return address

    def give_back(self, address: int, size: int) -> None:
        self.used -= size
        self.reserved -= size
        self.device.free(address)


@contextmanager
def simulated(seed: int = 0, *, strict: bool = False, exact: bool = True) -> Iterator[Simulator]:
    """In this block, the device is a simulator; `exact`: each array's memory is its own, and ends where it does."""
    simulator = Simulator(seed, strict=strict)
    steps = memory.SMALL_STEP, memory.LARGE_STEP
    with drivers.use(simulator):
        if exact:
            memory.SMALL_STEP = memory.LARGE_STEP = 1
            memory._pools[id(simulator)] = Exact(simulator)
        try:
            yield simulator
        finally:
            memory.SMALL_STEP, memory.LARGE_STEP = steps
            memory._pools.pop(id(simulator), None)
