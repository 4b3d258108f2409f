"""Kernels that are compiled when a call first reaches them: not before, once, and whatever happens meanwhile."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from numba import int64

import tinyrnn
from tinyrnn.kernels.cpu import jit, pool
from tinyrnn.kernels.cpu.jit import deferred, kernel, njit
from tinyrnn.kernels.cpu.pool import split
from tinyrnn.kernels.cpu.simd import address, get, put

ROOT = Path(tinyrnn.__file__).parent.parent


def made():
    """A deferred kernel, another one each time, and a compiled function that reaches it for numbers above 10."""

    @deferred
    def double(at):
        put(int64, at, 2 * get(int64, at))

    @kernel
    def some(first, last, at):
        for k in range(first, last):
            if get(int64, at + 8 * k) > 10:
                double(at + 8 * k)

    all_of_them = split(some)

    @njit
    def entry(numbers):
        all_of_them(numbers.size, 1, 1, address(numbers))

    return double.kernel, entry


def fresh(monkeypatch, tmp_path):
    monkeypatch.setattr("tinyrnn.kernels.cache.directory", lambda: tmp_path)
    monkeypatch.setattr(jit, "directory", lambda: tmp_path)
    return made()


def files(directory):
    return {path.name.partition("-")[0] for path in directory.glob("*.code")}


@pytest.mark.parametrize("threads", [1, 2])
def test_it_is_compiled_when_it_is_reached(threads, tmp_path, monkeypatch):
    before = pool.get_threads()
    pool.set_threads(threads)
    try:
        for stored in (False, True):
            double, entry = fresh(monkeypatch, tmp_path)
            numbers = np.arange(8)
            entry(numbers)
            assert numbers.tolist() == list(range(8))
            assert not double.address and ("double" in files(tmp_path)) == stored
            numbers += 7
            entry(numbers)
            assert numbers.tolist() == [7, 8, 9, 10, 22, 24, 26, 28]
            assert double.address and "double" in files(tmp_path)
            compiled, double.compile = double.compile, None  # what is compiled is not asked for again
            entry(numbers)
            assert numbers.tolist() == [7, 8, 9, 10, 44, 48, 52, 56] and compiled
    finally:
        pool.set_threads(before)


def test_threads_reach_it_at_once(tmp_path, monkeypatch):
    double, entry = fresh(monkeypatch, tmp_path)
    entry(np.arange(8))
    count, compile = [], double.compile
    monkeypatch.setattr(double, "compile", lambda: count.append(double.address) or compile())
    numbers, gate = np.full((6, 100), 50), threading.Barrier(6)

    def reach(row):
        gate.wait()
        entry(row)

    threads = [threading.Thread(target=reach, args=(row,)) for row in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (numbers == 100).all() and count.count(0) >= 1


def interrupted(double, times, error):
    """Have compiling fail some times."""
    compile, left = double.compile, [error] * times

    def failing():
        if left:
            raise left.pop()
        return compile()

    double.compile = failing


@pytest.fixture
def interruptible():
    """Ctrl-C raises, also where the tests run in the background of a shell, which has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_comes_when_the_call_is_done(tmp_path, monkeypatch, interruptible):
    double, entry = fresh(monkeypatch, tmp_path)
    entry(np.arange(8))
    interrupted(double, 3, KeyboardInterrupt())
    numbers = np.full(5, 20)
    with pytest.raises(KeyboardInterrupt):
        entry(numbers)
        for _ in range(1000):  # an interrupt comes between two steps of Python
            pass
    assert numbers.tolist() == [40] * 5
    entry(numbers)
    assert numbers.tolist() == [80] * 5


def test_what_a_signal_raises_is_told_and_interrupts(tmp_path, monkeypatch, interruptible):
    double, entry = fresh(monkeypatch, tmp_path)
    entry(np.arange(8))
    interrupted(double, 1, TimeoutError("too slow"))
    told, numbers = [], np.full(5, 20)
    monkeypatch.setattr(sys, "unraisablehook", lambda args: told.append(str(args.exc_value)))
    with pytest.raises(KeyboardInterrupt):
        entry(numbers)
        for _ in range(1000):
            pass
    assert told == ["too slow"] and numbers.tolist() == [40] * 5


def test_it_is_compiled_in_a_deep_recursion(tmp_path, monkeypatch):
    double, entry = fresh(monkeypatch, tmp_path)
    entry(np.arange(8))
    numbers, limit = np.full(5, 20), sys.getrecursionlimit()

    def down(calls, numbers):
        return down(calls - 1, numbers) if calls else entry(numbers)

    def possible(calls):
        try:
            down(calls, np.arange(8))
        except RecursionError:
            return False
        return True

    deepest = next(calls for calls in range(limit, 0, -1) if possible(calls))
    down(deepest - 2, numbers)
    assert numbers.tolist() == [40] * 5 and double.address
    assert sys.getrecursionlimit() == limit


FAILING = """
import numpy as np
from tests.test_deferred import interrupted, made
double, entry = made()
interrupted(double, 1000, MemoryError("no room to compile in"))
entry(np.full(5, 20))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_what_can_never_be_compiled_ends_the_process():
    """Its machine code can neither go on nor be left."""
    done = subprocess.run(
        [sys.executable, "-c", FAILING], cwd=ROOT, env=dict(os.environ, OMP_NUM_THREADS="1"), capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == -signal.SIGABRT
    assert done.stderr.count("no room to compile in") == jit.TRIES


ALL = """
import tinyrnn
from tinyrnn.kernels.cpu import jit
x = tinyrnn.rand(3, 4)
x @ x.t()
jit.compile_deferred()
assert all(kernel.address for kernel in jit.Kernel.slots.values()) and len(jit.Kernel.slots) >= 4
"""


def test_all_can_be_compiled_ahead():
    subprocess.run([sys.executable, "-c", ALL], cwd=ROOT, check=True, timeout=120)
