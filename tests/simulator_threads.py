"""Threads of the simulator: the order in which they run, where they wait for one another, and the numbers that they use.

`running.thread` is the one that runs.  A Grid is a launch; its threads are greenlets if they wait for one another.
"""

from __future__ import annotations

import contextvars
import math
import sys
from collections.abc import Callable, Iterator
from types import CodeType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from greenlet import getcurrent, greenlet

WARP = 32

running = SimpleNamespace(thread=None)


class Fault(RuntimeError):
    """A kernel did what no kernel may."""


# ------------------------------------------------------------------------------------------ numbers
class Memory:
    """Integers, or all numbers of a pointer, as a kernel sees them: no index counts from the end.

    Integers of less than 64 bits come out with 64, which is what Numba computes with.
    """

    __slots__ = ("values", "shape", "size", "dtype", "address", "narrow")

    def __init__(self, values: np.ndarray):
        self.values, self.shape, self.size, self.dtype = values, values.shape, values.size, values.dtype
        self.address = address_of(values)
        self.narrow = self.dtype.kind in "iu" and self.dtype.itemsize < 8

    def __repr__(self) -> str:  # the values must not be shown: the host cannot read them
        return f"<{self.dtype} {self.shape} at {self.address:#x}>"

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Any) -> Any:
        try:
            negative = index < 0
        except TypeError:
            return self._several(index)
        if negative:
            raise IndexError(f"index {index} is out of bounds: {self}")
        value = self.values[index]
        return value + ZERO if self.narrow else value

    def __setitem__(self, index: Any, value: Any) -> None:
        try:
            negative = index < 0
        except TypeError:
            self._check(index)
            negative = False
        if negative:
            raise IndexError(f"index {index} is out of bounds: {self}")
        self.values[index] = value

    def _several(self, index: Any) -> Any:
        """What an index along several axes, or a slice, gives."""
        self._check(index)
        found = self.values[index]
        if isinstance(found, np.ndarray):
            return type(self)(found)
        return found + ZERO if self.narrow else found

    def _check(self, index: Any) -> None:
        parts = index if isinstance(index, tuple) else (index,)
        ends = [e for p in parts for e in ((p.start or 0, p.stop or 0) if isinstance(p, slice) else (p,))]
        long = any(isinstance(p, slice) and (p.stop or 0) > n for p, n in zip(parts, self.shape, strict=False))
        if min(ends) < 0 or long:
            raise IndexError(f"index {index} is out of bounds: {self}")


ZERO = np.int64(0)


def address_of(values: np.ndarray) -> int:
    return values.__array_interface__["data"][0]


class Placed(np.ndarray):
    """An array that knows where it is: asking NumPy takes long."""

    address: int


def located(values: np.ndarray) -> Placed:
    values = values.view(Placed)
    values.address = address_of(values)
    return values


def placed(values: np.ndarray, alignment: int) -> Placed:
    """A copy at a multiple of an alignment, and of no larger one."""
    room = np.empty(values.nbytes + 2 * alignment, np.uint8)
    start = (alignment - address_of(room)) % (2 * alignment)
    copy = room[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return located(copy)


def raw(numbers: Any) -> np.ndarray:
    """The NumPy array of what a kernel takes for one."""
    return numbers.values if isinstance(numbers, Memory) else numbers


class Stamp(NamedTuple):
    """Who used a number, and how many barriers it and those around it had passed then."""

    thread: Thread
    warp: int
    block: int
    grid: int


class Watched(Memory):
    """Memory that notices two threads at the same number, one of them to change it, with no barrier between them.

    A syncwarp orders the threads of its warp, a syncthreads those of its block, a grid barrier all.  Atomics, fences and
    nanosleep count as grid barriers, because blocks tell each other by them that something is done; shuffles and ballots
    order nothing, as on a GPU.  Two threads may write the same value to one place.
    """

    __slots__ = ("strides",)

    def __init__(self, values: np.ndarray):
        super().__init__(values)
        self.strides = values.strides

    def __getitem__(self, index: Any) -> Any:
        value = super().__getitem__(index)
        if not isinstance(value, Memory):
            running.thread.block.grid.races.read(self._place(index))
        return value

    def __setitem__(self, index: Any, value: Any) -> None:
        before = self.values[index] if not isinstance(index, slice) else None
        super().__setitem__(index, value)
        if before is None:
            raise Fault("a slice is assigned to: write its elements one by one")
        after = self.values[index]
        races, place = running.thread.block.grid.races, self._place(index)
        if before != after and (before == before or after == after):
            races.write(place)
        else:
            races.use(place)

    def _place(self, index: Any) -> int:
        parts = index if isinstance(index, tuple) else (index,)
        return self.address + sum(int(i) * step for i, step in zip(parts, self.strides, strict=True))


class Races:
    """Who changed each number last, and who has used it since, in one launch."""

    def __init__(self) -> None:
        self.writer: dict[int, Stamp] = {}
        self.users: dict[int, dict[Thread, Stamp]] = {}

    def read(self, place: int) -> None:
        self._compare(self.writer.get(place), place, "reads what {} wrote")
        self.use(place)

    def use(self, place: int) -> None:
        self.users.setdefault(place, {})[running.thread] = running.thread.stamp()

    def write(self, place: int) -> None:
        self._compare(self.writer.get(place), place, "writes over what {} wrote")
        for stamp in self.users.pop(place, {}).values():
            self._compare(stamp, place, "changes what {} used")
        self.writer[place] = running.thread.stamp()

    @staticmethod
    def _compare(stamp: Stamp | None, place: int, what: str) -> None:
        if stamp is None:
            return
        other, me, now = stamp.thread, running.thread, running.thread.stamp()
        apart = (
            other is me
            or stamp.grid != now.grid
            or (other.block is me.block and stamp.block != now.block)
            or (other.warp is me.warp and stamp.warp != now.warp)
        )
        if not apart:
            raise Fault(f"race: {me} {what.format(other)}, with no barrier between, at {place:#x}")


# ------------------------------------------------------------------------------------------ threads
class Index(NamedTuple):
    """A place among threads or blocks, or how many there are."""

    x: int
    y: int = 1
    z: int = 1

    def __str__(self) -> str:
        return str(tuple(self)) if self.y or self.z else str(self.x)

    def all(self) -> Iterator[Index]:
        return (Index(x, y, z) for z in range(self.z) for y in range(self.y) for x in range(self.x))


class Barrier:
    """Where some threads wait for one another; each brings a value and goes on with the values of all."""

    def __init__(self, owner: Grid | Block | Warp, members: int):
        self.owner, self.members = owner, members
        self.waiting: list[Thread] = []
        self.values: dict[Any, Any] = {}
        self.place: Place | None = None  # where they wait
        self.gone: Thread | None = None  # a member that has ended

    def wait(self, place: Place, key: Any = None, value: Any = None, *, orders: bool = True) -> dict[Any, Any]:
        thread = running.thread
        if self.gone:
            raise Fault(f"{thread} waits at {told(place)} for {self.gone}, which has ended")
        if self.waiting and place != self.place:
            raise Fault(f"{thread} waits at {told(place)} while {self.waiting[0]} waits at {told(self.place)}")
        self.place, values = place, self.values
        values[key] = value
        self.waiting.append(thread)
        grid = thread.block.grid
        if len(self.waiting) == self.members:
            grid.ready += self.waiting
            self.waiting, self.values, grid.idle = [], {}, 0
            self.owner.passed += orders
        grid.switch()
        return values

    def end(self, thread: Thread) -> None:
        self.gone = thread
        if self.waiting:
            raise Fault(f"{thread} has ended while {self.waiting[0]} waits for it at {told(self.place)}")


Place = tuple[str, CodeType, int]  # an instruction of a kernel: what it does, and where


def here(name: str) -> Place:
    """The instruction of the kernel that called the function that calls this."""
    frame = sys._getframe(2)
    return name, frame.f_code, frame.f_lasti


def told(place: Place) -> str:
    name, code, instruction = place
    lines = [first for first, *_ in code.co_positions()]
    return f"{name} ({code.co_filename}:{lines[instruction // 2]})"


class Warp:
    def __init__(self, size: int):
        self.size, self.passed = size, 0
        self.barriers: dict[int, Barrier] = {}  # of some of its lanes
        self.gone: list[Thread] = []

    def barrier(self, lanes: int) -> Barrier:
        lanes &= (1 << self.size) - 1
        found = self.barriers.get(lanes)
        if found is None:
            found = self.barriers[lanes] = Barrier(self, lanes.bit_count())
            found.gone = next((t for t in self.gone if lanes >> t.lane & 1), None)
        return found

    def end(self, thread: Thread) -> None:
        self.gone.append(thread)
        for lanes, barrier in self.barriers.items():
            if lanes >> thread.lane & 1:
                barrier.end(thread)


class Block:
    def __init__(self, grid: Grid, index: Index, dynamic: int):
        self.grid, self.index, self.passed = grid, index, 0
        self.dynamic = np.full(dynamic, 0xFF, np.uint8)
        self.is_placed = False
        self.shared: dict[tuple, np.ndarray] = {}
        self.barrier = Barrier(self, math.prod(grid.threads))

    def asked_for(self, alignment: int) -> np.ndarray:
        """The bytes that the launch asked for, at a multiple of what the first to use them wants, and of no larger one."""
        if not self.is_placed:
            self.dynamic, self.is_placed = placed(self.dynamic, alignment), True
        return self.dynamic


class Thread:
    __slots__ = ("index", "block", "warp", "lane", "fiber")

    def __init__(self, index: Index, block: Block, warp: Warp, lane: int):
        self.index, self.block, self.warp, self.lane = index, block, warp, lane
        self.fiber: greenlet

    def __str__(self) -> str:
        return f"thread {self.index} of block {self.block.index}"

    def stamp(self) -> Stamp:
        return Stamp(self, self.warp.passed, self.block.passed, self.block.grid.passed)


class Grid:
    """The blocks of a launch, all of them alive at the same time."""

    def __init__(self, simulator: Any, blocks: Index, threads: Index, shared: int, cooperative: bool):
        self.simulator, self.blocks, self.threads, self.cooperative = simulator, blocks, threads, cooperative
        self.passed = self.idle = 0
        self.random = simulator.random.random
        self.races = Races()
        self.all: list[Thread] = []
        for block_index in Index(*blocks).all():
            block = Block(self, block_index, shared)
            left = math.prod(threads)
            for k, index in enumerate(threads.all()):
                if k % WARP == 0:
                    warp = Warp(min(left - k, WARP))
                self.all.append(Thread(index, block, warp, k % WARP))
        self.barrier = Barrier(self, len(self.all))

    def run(self, function: Callable, arguments: list, together: bool) -> None:
        """Run all threads: `together`, or one after the other in some order."""
        try:
            if together:
                self._together(function, arguments)
                return
            self.simulator.random.shuffle(self.all)
            for running.thread in self.all:
                function(*arguments)
        except Exception as error:
            error.add_note(f"in {running.thread}")
            raise

    def _together(self, function: Callable, arguments: list) -> None:
        self.hub, self.ready, alive = getcurrent(), self.all[:], len(self.all)

        def begin() -> None:
            self.hub.switch()  # started from here, not from one another: Python would count that as a recursion
            function(*arguments)

        for thread in self.all:
            thread.fiber = greenlet(begin, self.hub)
            thread.fiber.gr_context = contextvars.copy_context()  # NumPy's errstate
            thread.fiber.switch()
        try:
            while self.ready:
                running.thread = self._next()
                running.thread.fiber.switch()
                last = running.thread  # threads switch among themselves until one ends, or all wait
                if last.fiber.dead:
                    alive, self.idle = alive - 1, 0
                    self.barrier.end(last)
                    last.block.barrier.end(last)
                    last.warp.end(last)
            if alive:
                raise Fault(f"{alive} threads wait for ever: {self._waiting()}")
        finally:
            for thread in self.all:
                if not thread.fiber.dead:
                    thread.fiber.throw()  # ends it

    def _waiting(self) -> str:
        barriers = [self.barrier] + [b for t in self.all for b in (t.block.barrier, *t.warp.barriers.values())]
        return ", ".join(
            f"{len(b.waiting)} of {b.members} at {told(b.place)}" for b in dict.fromkeys(barriers) if b.waiting
        )

    def _next(self) -> Thread:
        """One of the threads that can go on, drawn at random."""
        ready = self.ready
        k = int(self.random() * len(ready))
        ready[k], ready[-1] = ready[-1], ready[k]
        return ready.pop()

    def switch(self) -> None:
        """Let another thread run; this one goes on when it is drawn from those that are ready."""
        me = running.thread
        if not self.ready:
            self.hub.switch()
            return
        running.thread = self._next()
        if running.thread is not me:
            running.thread.fiber.switch()

    def pause(self) -> None:
        """Let another thread run, of which this one may expect something."""
        self.passed += 1
        self.idle += 1
        if self.idle > self.simulator.patience:
            raise Fault(
                f"{running.thread} waits in a loop for what nobody does ({self._waiting() or 'nor do others wait'})"
            )
        self.ready.append(running.thread)
        self.switch()
