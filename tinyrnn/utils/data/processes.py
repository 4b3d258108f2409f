"""Worker processes that prepare a DataLoader's batches ahead.

Each worker has a pipe for tasks and a pipe for answers, and answers its tasks one by one.  The program deals the tasks
out in turn and collects the answers in that order, so the batches come as one process would make them.  In the program
there are no threads and no locks, so it can be forked at any time; and a worker that is killed harms no other.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import pickle
import queue
import random
import signal
import sys
import threading
import time
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np

from ...random import default_generator
from .dataloader import BatchIterator, DataLoader
from .dataset import IterableDataset
from .fetch import Fetch, fetcher
from .worker import WorkerInfo, this_process_is

PATIENCE = 5.0  # seconds: between looks at whether the other side is still there; for a worker to stop by itself
RESTART, STOP = "restart", "stop"  # what a worker is sent besides its tasks, which are 1-tuples


# ------------------------------------------------------------------------------------------ answers
class Exhausted:
    """A worker's stream has ended."""


class _KeyErrorText(str):
    """The message of a KeyError, which shows its repr: this one's repr has lines."""

    def __repr__(self) -> str:
        return self


class Failure:
    """An exception on its way to the program: its class, and its traceback as text."""

    def __init__(self, error: Exception, worker: int):
        self.kind = type(error)
        lines = "".join(traceback.format_exception(error))
        self.text = f"Caught {self.kind.__name__} in DataLoader worker process {worker}.\nOriginal {lines}"
        try:
            pickle.dumps(self.kind)
        except Exception:  # a class made inside a function
            self.kind = RuntimeError

    def exception(self) -> Exception:
        """The exception again, with the text as its message; a RuntimeError where its class wants other arguments."""
        if self.kind is KeyError:
            return KeyError(_KeyErrorText(self.text))
        try:
            return self.kind(self.text)
        except Exception:
            return RuntimeError(self.text)


# ------------------------------------------------------------------------------------------ in the worker
def work(
    number: int,
    of: int,
    base_seed: int,
    init: Callable[[int], None] | None,
    fetcher_arguments: tuple,
    tasks: Any,
    answers: Any,
) -> None:
    """A worker's life: answer every task with a batch, an Exhausted or a Failure."""
    # Ctrl-C is the program's business.  (A handler, because "ignore" would be inherited by programs started from here.)
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not the program's own handler, which a fork inherits

    dataset = fetcher_arguments[0]
    seed = base_seed + number
    random.seed(seed)
    default_generator.manual_seed(seed)
    np.random.seed(np.random.SeedSequence([number, base_seed & 0xFFFFFFFF, base_seed >> 32, 0]).generate_state(4))
    this_process_is(WorkerInfo(number, of, seed, dataset))

    # Sent from a thread: a pipe holds little, and while the program is busy the next batch is to be made.
    outbox: queue.SimpleQueue = queue.SimpleQueue()

    def post() -> None:
        with contextlib.suppress(OSError):  # nobody reads any more
            while True:
                answers.send_bytes(outbox.get())

    threading.Thread(target=post, daemon=True).start()

    def begin(init: Callable[[int], None] | None = None) -> Fetch:
        try:
            if init is not None:
                init(number)
            return fetcher(*fetcher_arguments)
        except Exception as error:
            failure = Failure(error, number)
            return lambda index: failure

    fetch = begin(init)
    for task in _received(tasks):
        if task == RESTART:
            fetch = begin()
            continue
        try:
            answer = _packed(fetch(task[0]))
        except Exception as error:
            over = isinstance(error, StopIteration) and isinstance(dataset, IterableDataset)
            answer = _packed(Exhausted() if over else Failure(error, number))
        outbox.put(answer)


def _received(tasks: Any) -> Iterator[Any]:
    """What is sent to this worker, until it is told to stop, or the program is gone."""
    program = os.getppid()
    waiting: deque = deque()
    while True:
        while not waiting or tasks.poll():  # looks ahead, so that a stop is seen before the tasks that it makes idle
            while not tasks.poll(PATIENCE):
                if os.getppid() != program:
                    return
            try:
                message = tasks.recv()
            except (EOFError, OSError):
                return
            if message == STOP:
                return
            waiting.append(message)
        yield waiting.popleft()


def _packed(answer: Any) -> Any:
    return ForkingPickler.dumps(answer, pickle.HIGHEST_PROTOCOL)


# ------------------------------------------------------------------------------------------ in the program
class _Worker:
    """The program's hold on one worker process."""

    def __init__(self, context: Any, *arguments: Any):
        their_tasks, self.tasks = context.Pipe(duplex=False)
        self.answers, their_answers = context.Pipe(duplex=False)
        self.process = context.Process(target=work, args=(*arguments, their_tasks, their_answers), daemon=True)
        self.process.start()
        their_tasks.close()  # now, or the next worker inherits them and a broken pipe goes unnoticed
        their_answers.close()

    def tell(self, message: Any) -> None:
        with contextlib.suppress(BrokenPipeError):  # a dead worker is noticed when its answer does not come
            self.tasks.send(message)

    def read(self) -> bytes | None:
        """The next answer; None if the worker died before it sent one."""
        alive = self.process.is_alive()  # asked first: what a dead worker has sent is still there to be read
        try:
            return self.answers.recv_bytes() if alive or self.answers.poll() else None
        except (EOFError, OSError):
            return None

    def death(self) -> str:
        """How this worker came to its end."""
        self.process.join(PATIENCE)
        code = self.process.exitcode or 0
        how = f"killed by signal: {signal.strsignal(-code)}" if code < 0 else f"exit code {code}"
        return (
            f"DataLoader worker (pid(s) {self.process.pid}) exited unexpectedly ({how}). "
            "With num_workers=0 the error shows where it happens."
        )


def _stop_all(workers: list[_Worker], program: int) -> None:
    """Stop the workers: politely, and after a while by force."""
    if os.getpid() != program:
        return  # a forked process collects its copy of an iterator: the workers are not its own
    for worker in workers:
        with contextlib.suppress(OSError):
            os.set_blocking(worker.tasks.fileno(), False)  # the pipe to a worker that hangs may be full
            worker.tasks.send(STOP)
        worker.tasks.close()
    deadline = time.monotonic() + PATIENCE
    for worker in workers:
        worker.process.join(max(0, deadline - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.process.close()
        worker.answers.close()
    workers.clear()


def _default_context() -> Any:
    """How the program chose to start processes; if it did not, on Linux by fork, so that nothing need be picklable."""
    method = multiprocessing.get_start_method(allow_none=True)
    return multiprocessing.get_context("fork" if method is None and sys.platform == "linux" else method)


class WorkersIterator(BatchIterator):
    """One pass over a DataLoader's data (if its workers are persistent, one after the other), prepared by workers."""

    def _start(self, loader: DataLoader) -> None:
        if not loader.prefetch_factor:
            raise AssertionError(
                "prefetch_factor must be greater than 0 for loading with workers (num_workers > 0), "
                f"got {loader.prefetch_factor}"
            )
        self._prefetch = loader.prefetch_factor
        self._timeout, self._in_order, self._persistent = loader.timeout, loader.in_order, loader.persistent_workers
        context = loader.multiprocessing_context or _default_context()
        self._workers: list[_Worker] = []
        self._pending: deque[_Worker] = deque()  # who has a task, in the order of the tasks
        self._stop = weakref.finalize(self, _stop_all, self._workers, os.getpid())
        try:
            for number in range(loader.num_workers):
                self._workers.append(
                    _Worker(
                        context,
                        number,
                        loader.num_workers,
                        self._base_seed,
                        loader.worker_init_fn,
                        self._fetcher_arguments,
                    )
                )
            # The sampler is asked a second time, as torch does: it may draw numbers each time.
            self._begin(loader)
            self._deal()
        except BaseException:
            self._stop()
            raise

    def _deal(self) -> None:
        for _ in range(self._prefetch):
            for worker in self._workers:
                self._give_task(worker)

    @property
    def alive(self) -> bool:
        """Whether another pass can be begun."""
        return self._stop.alive

    def restart(self, loader: DataLoader) -> None:
        """Begin the next pass, with the same workers."""
        with self._stopped_by_ctrl_c():
            while self._pending:
                self._receive()
            for worker in self._workers:
                worker.tell(RESTART)
            self._begin(loader)
            self._deal()

    def _next(self) -> Any:
        with self._stopped_by_ctrl_c():
            while self._pending:
                worker, answer = self._receive()
                if isinstance(answer, Exhausted):
                    continue
                self._give_task(worker)
                if isinstance(answer, Failure):
                    raise answer.exception()
                return answer
            if not self._persistent:
                self._stop()
        raise StopIteration

    @contextlib.contextmanager
    def _stopped_by_ctrl_c(self) -> Iterator[None]:
        """An interrupt in here stops the workers: half of a message may have been sent or read."""
        try:
            yield
        except KeyboardInterrupt:
            self._abandon()
            raise

    def _give_task(self, worker: _Worker) -> None:
        try:
            index = next(self._indices)
        except StopIteration:
            return
        worker.tell((index,))
        self._pending.append(worker)

    def _receive(self) -> tuple[_Worker, Any]:
        """The next answer, and whose it is."""
        if not self.alive:
            raise RuntimeError(
                "DataLoader: these workers were stopped, since one of them died or the program was "
                "interrupted while it waited for them; call iter() on the DataLoader again"
            )
        worker = self._first_done()
        answer = worker.read()
        if answer is None:
            death = worker.death()
            self._abandon()
            raise RuntimeError(death)
        self._pending.remove(worker)
        return worker, pickle.loads(answer)

    def _first_done(self) -> _Worker:
        """Who has an answer, or died; of those whose turn it is."""
        workers = {self._pending[0]} if self._in_order else set(self._pending)
        deadline = time.monotonic() + self._timeout if self._timeout else math.inf
        while True:
            left = max(0, deadline - time.monotonic())
            wait([worker.answers for worker in workers], min(left, PATIENCE))
            for worker in workers:
                if worker.answers.poll() or not worker.process.is_alive():
                    return worker
            if not left:
                raise RuntimeError(f"DataLoader timed out after {self._timeout} seconds")

    def _abandon(self) -> None:
        for worker in self._workers:
            worker.process.terminate()
        self._stop()
