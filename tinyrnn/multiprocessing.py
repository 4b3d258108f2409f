"""torch.multiprocessing: Python's multiprocessing, `spawn`, and tensors in memory that several processes write to.

A tensor after share_memory_() is the same memory in every process that is forked from this one, or that it is sent to.
What is given to a process that is started by "spawn" is put into such memory first, as in torch. A tensor that is not
shared goes through a queue or a pipe as a copy (in torch it becomes shared on its way).

Such memory is a file without a name, mapped: it lives as long as a process that has it.
"""

from __future__ import annotations

import gc
import mmap
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import time
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterable
from multiprocessing import *  # noqa: F403
from multiprocessing import connection, context, reduction
from typing import Any

import numpy as np

from .nn.parameter import Parameter
from .strides import address, span
from .tensor import STATE, Tensor

__all__ = [
    *multiprocessing.__all__,  # type: ignore[attr-defined]
    "ProcessContext", "ProcessException", "ProcessExitedException", "ProcessRaisedException", "SpawnContext",
    "get_all_sharing_strategies", "get_sharing_strategy", "set_sharing_strategy", "spawn", "start_processes",
]  # fmt: skip
ALIGNMENT = 64  # of each tensor's memory, in bytes


# ------------------------------------------------------------------------------------------ memory
class Memory(mmap.mmap):
    """A mapped file without a name, and its descriptor, by which another process can map it too."""

    fd: int

    @classmethod
    def of_file(cls, fd: int, size: int) -> Memory:
        memory = cls(fd, size, **({"trackfd": False} if sys.version_info >= (3, 13) else {}))
        memory.fd = fd
        weakref.finalize(memory, os.close, fd)
        file = os.fstat(fd)
        _mapped[file.st_dev, file.st_ino] = memory
        return memory

    @classmethod
    def of_size(cls, size: int) -> Memory:
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("tinyrnn")
        else:
            with tempfile.TemporaryFile() as file:
                fd = os.dup(file.fileno())
        os.ftruncate(fd, size)
        return cls.of_file(fd, size)


_mapped: weakref.WeakValueDictionary[tuple[int, int], Memory] = weakref.WeakValueDictionary()


def attach(handle: Any, size: int) -> Memory:
    """The memory that another process has sent."""
    fd = handle.detach()
    file = os.fstat(fd)
    memory = _mapped.get((file.st_dev, file.st_ino))
    if memory is None:
        return Memory.of_file(fd, size)
    os.close(fd)  # it is here already
    return memory


def owner(array: np.ndarray) -> Any:
    """What an array's memory belongs to: a Memory, or the array that all views of it were made from."""
    while True:
        base = array.base
        base = base if isinstance(base, Memory) else getattr(base, "base", base)  # of NumPy's as_strided
        below = base if isinstance(base, np.ndarray) else array.base
        if not isinstance(below, np.ndarray):
            return below if isinstance(below, Memory) else array
        array = below


def is_shared(tensor: Tensor) -> bool:
    """Whether a tensor's memory is one that other processes can have."""
    return tensor.is_cpu and isinstance(owner(tensor.array), Memory)


def share(tensors: Iterable[Tensor]) -> None:
    """Move the memory of tensors, and of all that share it in this process, to where other processes can have it."""
    tensors = list(tensors)
    places: dict[int, tuple[np.ndarray, int]] = {}  # the owners of the memory, and where it goes
    size = 0
    for tensor in tensors:
        if not tensor.is_cpu:
            raise NotImplementedError(
                f"share_memory_(): a tensor on {tensor.device}: tinyrnn shares memory on the CPU only; use cpu() first"
            )
        array = owner(tensor.array)
        if not isinstance(array, Memory) and id(array) not in places:
            places[id(array)] = array, size
            low, _, high = span(array)
            size += -(low - high) // ALIGNMENT * ALIGNMENT + ALIGNMENT
    if not places:
        return
    if sys.platform == "win32":
        raise NotImplementedError("share_memory_(): tinyrnn shares memory between processes on Linux and macOS only")
    memory = Memory.of_size(size)
    for array, place in places.values():
        moved(array, array, memory, place)[...] = array
    for each in (*tensors, *gc.get_objects()):
        if issubclass(type(each), Tensor) and isinstance(array := vars(each).get("array"), np.ndarray):
            whole, place = places.get(id(owner(array)), (None, 0))
            if whole is not None:
                each.array = moved(array, whole, memory, place)


def moved(array: np.ndarray, whole: np.ndarray, memory: Memory, place: int) -> np.ndarray:
    """An array that lies in the memory of `whole`, where that has moved to."""
    offset = place + address(array) - span(whole)[0]
    return np.ndarray(array.shape, array.dtype, memory, offset if array.size else place, array.strides)


# ------------------------------------------------------------------------------------------ on their way
def reduce_tensor(tensor: Tensor) -> tuple:
    """How a tensor goes to another process: its memory by a descriptor, if it is shared, else as a copy."""
    if tensor.requires_grad and not tensor.is_leaf:
        raise RuntimeError(
            "Cowardly refusing to serialize non-leaf tensor which requires_grad, since autograd does not support "
            "crossing process boundaries.  If you just want to transfer the data, call detach() on the tensor before "
            "serializing (e.g., putting it on the queue)."
        )
    if context.get_spawning_popen() is not None:  # type: ignore[attr-defined]
        share([tensor])
    if not is_shared(tensor):
        return tensor.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    array, memory = tensor.array, owner(tensor.array)
    attributes = {name: value for name, value in vars(tensor).items() if name not in STATE}
    offset = address(array) - address(np.frombuffer(memory, np.uint8))
    where = array.shape, array.dtype.str, offset if array.size else 0, array.strides
    return rebuild, (type(tensor), memory, where, tensor.requires_grad, attributes)


def rebuild(cls: type, memory: Memory, where: tuple, requires_grad: bool, attributes: dict[str, Any]) -> Tensor:
    """The tensor that reduce_tensor has sent."""
    shape, dtype, offset, strides = where
    tensor: Any = object.__new__(cls)
    tensor.array = np.ndarray(shape, dtype, memory, offset, strides)
    tensor._requires = requires_grad
    vars(tensor).update(attributes)
    return tensor


def reduce_memory(memory: Memory) -> tuple:
    """How a memory goes to another process."""
    return attach, (reduction.DupFd(memory.fd), len(memory))  # type: ignore[attr-defined]


reduction.ForkingPickler.register(Memory, reduce_memory)
reduction.ForkingPickler.register(Tensor, reduce_tensor)
reduction.ForkingPickler.register(Parameter, reduce_tensor)


def get_all_sharing_strategies() -> set[str]:
    """How torch can share memory; here it is by file descriptors, whatever is chosen."""
    return {"file_descriptor", "file_system"}


def get_sharing_strategy() -> str:
    """What set_sharing_strategy was told."""
    return _chosen["strategy"]


def set_sharing_strategy(new_strategy: str) -> None:
    """Accepted and without effect: see get_all_sharing_strategies."""
    if new_strategy not in get_all_sharing_strategies():
        raise AssertionError(
            f"invalid sharing strategy {new_strategy!r}, expected one of {sorted(get_all_sharing_strategies())}"
        )
    _chosen["strategy"] = new_strategy


_chosen = {"strategy": "file_descriptor"}


# ------------------------------------------------------------------------------------------ several processes
class ProcessException(Exception):
    """A process that was started here came to a bad end."""

    def __init__(self, msg: str, error_index: int, error_pid: int):
        super().__init__(msg)
        self.msg, self.error_index, self.error_pid = msg, error_index, error_pid

    def __reduce__(self) -> tuple:
        return type(self), (self.msg, self.error_index, self.error_pid)


class ProcessRaisedException(ProcessException):
    """It raised an exception, whose traceback is in the message."""


class ProcessExitedException(ProcessException):
    """It was killed, or left with an exit code."""

    def __init__(self, msg: str, error_index: int, error_pid: int, exit_code: int, signal_name: str | None = None):
        super().__init__(msg, error_index, error_pid)
        self.exit_code, self.signal_name = exit_code, signal_name

    def __reduce__(self) -> tuple:
        return type(self), (self.msg, self.error_index, self.error_pid, self.exit_code, self.signal_name)


def work(fn: Callable, index: int, args: tuple, error_file: str) -> None:
    """The life of a process: fn(index, *args)."""
    try:
        fn(index, *args)
    except KeyboardInterrupt:
        pass  # it is told to its parent, too
    except Exception:
        with open(error_file, "w", encoding="utf-8") as file:
            file.write(traceback.format_exc())
        sys.exit(1)


class ProcessContext:
    """Processes that work together: when one fails, the others are ended."""

    def __init__(self, processes: list[Any], error_files: list[str]):
        self.processes, self.error_files = processes, error_files
        self.sentinels = {process.sentinel: index for index, process in enumerate(processes)}

    def pids(self) -> list[int]:
        """The numbers of the processes."""
        return [process.pid for process in self.processes]

    def join(self, timeout: float | None = None, grace_period: float | None = None) -> bool:
        """Wait, so many seconds at most, until one has ended.  Returns whether all have.

        If it has failed, the others are ended (when `grace_period` seconds are over, if that is given), and a
        ProcessRaisedException or ProcessExitedException tells why.
        """
        if not self.sentinels:
            return True
        for sentinel in connection.wait(self.sentinels, timeout):
            index = self.sentinels.pop(sentinel)  # type: ignore[arg-type]
            self.processes[index].join()
            if self.processes[index].exitcode != 0:
                self._end_all(grace_period)
                raise self._failure(index)
        return not self.sentinels

    def _end_all(self, grace_period: float | None) -> None:
        if grace_period is not None:
            self._wait(grace_period)
        for process in self.processes:
            if process.is_alive():
                process.terminate()
        self._wait(30 if grace_period is None else grace_period)
        for process in self.processes:
            if process.is_alive():
                process.kill()
            process.join()

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0, end - time.monotonic()))

    def _failure(self, index: int) -> ProcessException:
        process, code = self.processes[index], self.processes[index].exitcode
        try:
            with open(self.error_files[index], encoding="utf-8") as file:
                text = file.read()
            os.unlink(self.error_files[index])
        except FileNotFoundError:
            if code >= 0:
                told = f"process {index} terminated with exit code {code}"
                return ProcessExitedException(told, index, process.pid, code)
            name = signal.Signals(-code).name if -code in {*signal.Signals} else f"<Unknown signal {-code}>"
            told = f"process {index} terminated with signal {name}"
            return ProcessExitedException(told, index, process.pid, code, name)
        told = f"\n\n-- Process {index} terminated with the following error:\n{text}"
        return ProcessRaisedException(told, index, process.pid)


class SpawnContext(ProcessContext):
    """The old name of ProcessContext."""

    def __init__(self, processes: list[Any], error_files: list[str]):
        warnings.warn("SpawnContext is renamed to ProcessContext since 1.4 release.", stacklevel=2)
        super().__init__(processes, error_files)


def start_processes(
    fn: Callable,
    args: tuple = (),
    nprocs: int = 1,
    join: bool = True,
    daemon: bool = False,
    start_method: str = "spawn",
) -> ProcessContext | None:
    """Run fn(0, *args), fn(1, *args) ... in so many processes, started by "spawn", "fork" or "forkserver".

    join: wait for them, and raise what ProcessContext.join raises; without it the ProcessContext is returned.
    """
    how: Any = multiprocessing.get_context(start_method)
    processes, error_files = [], []
    for index in range(nprocs):
        file = os.path.join(tempfile.gettempdir(), f"tinyrnn-error-{os.getpid()}-{os.urandom(8).hex()}")
        process = how.Process(target=work, args=(fn, index, args, file), daemon=daemon)
        process.start()
        processes.append(process)
        error_files.append(file)
    started = ProcessContext(processes, error_files)
    if not join:
        return started
    while not started.join():
        pass
    return None


def spawn(
    fn: Callable,
    args: tuple = (),
    nprocs: int = 1,
    join: bool = True,
    daemon: bool = False,
    start_method: str = "spawn",
) -> ProcessContext | None:
    """start_processes by "spawn": `fn` must be a function that the processes can import."""
    if start_method != "spawn":
        warnings.warn(
            f"This method only supports start_method=spawn (got: {start_method}).\nTo use a different start_method "
            "use:\n\t\t torch.multiprocessing.start_processes(...)",
            FutureWarning,
            stacklevel=2,
        )
    return start_processes(fn, args, nprocs, join, daemon)
