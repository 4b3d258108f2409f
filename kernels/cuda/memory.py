"""The memory of the device: blocks that are used again instead of given back.

Asking the driver for memory takes some 100 microseconds and waits for the device.  A block that is no longer needed is
kept for the next array of its size; kernels run in the order in which they were launched, so that those which still
read the old array are done when those that write the new one begin.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from typing import Any

from .driver import Driver, OutOfMemory, driver

SMALL, SMALL_STEP, LARGE_STEP = 1 << 20, 512, 2 << 20  # bytes


class Pool:
    """The blocks of one device: those that wait for use, and how much there is."""

    def __init__(self, device: Driver):
        self.device = device
        self.lock = threading.RLock()  # a block may be given back while another is taken, by the garbage collector
        self.waiting: dict[int, list[int]] = defaultdict(list)
        self.used = self.reserved = self.peak_used = self.peak_reserved = 0

    def take(self, size: int) -> int:
        with self.lock:
            waiting = self.waiting[size]
            address = waiting.pop() if waiting else self._allocate(size)
            self.used += size
            self.peak_used = max(self.peak_used, self.used)
            return address

    def _allocate(self, size: int) -> int:
        try:
            address = self.device.allocate(size)
        except OutOfMemory:
            self.empty()
            try:
                address = self.device.allocate(size)
            except OutOfMemory:
                free, total = self.device.memory()
                raise OutOfMemory(
                    f"CUDA out of memory. Tried to allocate {size} bytes. GPU 0 has a total capacity of {total} bytes "
                    f"of which {free} are free; {self.used} are in use by tensors."
                ) from None
        self.reserved += size
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        return address

    def give_back(self, address: int, size: int) -> None:
        with self.lock:
            self.waiting[size].append(address)
            self.used -= size

    def empty(self) -> None:
        """Give all blocks that wait for use back to the driver."""
        with self.lock:
            self.device.synchronize()
            while self.waiting:  # the garbage collector may give back more meanwhile
                size, addresses = self.waiting.popitem()
                for address in addresses:
                    self.device.free(address)
                    self.reserved -= size


class Block:
    """Some bytes on the device, given back when the last array that lies in them goes."""

    __slots__ = ("pool", "address", "size", "asked")

    def __init__(self, size: int):
        self.asked = size
        step = SMALL_STEP if size <= SMALL else LARGE_STEP
        self.size = max(1, -(-size // step)) * step
        self.pool = pool()
        self.address = self.pool.take(self.size)

    def __del__(self) -> None:
        if hasattr(self, "address"):
            self.pool.give_back(self.address, self.size)


class Borrowed:
    """The memory of another library's array, which is kept alive."""

    __slots__ = ("owner",)

    def __init__(self, owner: Any):
        self.owner = owner


_pools: dict[int, Pool] = {}


def _after_fork() -> None:
    """In a child process: another thread of the parent may have held a lock, and is not here to open it."""
    for each in _pools.values():
        each.lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # Windows has no processes of that kind
    os.register_at_fork(after_in_child=_after_fork)


def pool() -> Pool:
    """The pool of the device in use."""
    device = driver()
    found = _pools.get(id(device))
    if found is None or found.device is not device:
        found = _pools[id(device)] = Pool(device)
    return found
