"""The pool of threads: every index once, for any cut; from several Python threads, after a fork, and to the end."""

import functools
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numba import int64

import tinyrnn
from tinyrnn.kernels.cpu import pool
from tinyrnn.kernels.cpu.jit import kernel, njit
from tinyrnn.kernels.cpu.pool import split
from tinyrnn.kernels.cpu.simd import address, get, put

ROOT = Path(tinyrnn.__file__).parent.parent


@pytest.fixture
def threads():
    """set_threads, put back afterwards."""
    before = pool.get_threads()
    yield pool.set_threads
    pool.set_threads(before)


@kernel
def count(first, last, counts, starts):
    """Add one to each number of its range, and note where the range ends under where it begins."""
    put(int64, starts + 8 * first, last)
    for k in range(first, last):
        put(int64, counts + 8 * k, get(int64, counts + 8 * k) + 1)


count_all, count_finely = split(count), split(count, finer=4)


@njit
def counted(n, least, multiple, counts, starts):
    count_all(n, least, multiple, address(counts), address(starts))


def parts_of(n, least=1, multiple=1, call=counted):
    """The parts that n indices are cut into, after a check that each index was done once."""
    counts, starts = np.zeros(n + 1, np.int64), np.full(n + 1, -1)
    call(n, least, multiple, counts, starts)
    assert (counts[:n] == 1).all() and counts[n] == 0
    firsts = np.flatnonzero(starts >= 0)
    lasts = starts[firsts]
    assert (n == 0 and not firsts.size) or (firsts[0] == 0 and lasts[-1] == n and (firsts[1:] == lasts[:-1]).all())
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


def test_every_index_is_done_once(threads):
    random = np.random.default_rng(1)
    for _ in range(3000):
        n_threads = int(random.integers(1, 5))
        threads(n_threads)
        n, least = (int(random.integers(1 + 10 ** random.integers(4))) for _ in range(2))
        multiple = int(random.integers(1, 40))
        parts = parts_of(n, least, multiple)
        lengths = [last - first for first, last in parts]
        assert len(parts) <= n_threads and all(first % multiple == 0 for first, _ in parts)
        assert len(parts) <= 1 or min(lengths[:-1]) >= least
        assert len(parts) >= min(n > 0 and n // max(least, multiple * n_threads, 1), n_threads), (n, least, multiple)


def test_how_a_range_is_cut(threads):
    threads(3)
    assert parts_of(0) == [] and parts_of(1) == [(0, 1)] and parts_of(2) == [(0, 1), (1, 2)]
    assert parts_of(9) == [(0, 3), (3, 6), (6, 9)] and parts_of(10, multiple=4) == [(0, 4), (4, 8), (8, 10)]
    assert parts_of(9, least=4) == [(0, 5), (5, 9)] and parts_of(9, least=10) == [(0, 9)]
    assert parts_of(9, least=-5) == parts_of(9, least=0) == parts_of(9)
    threads(1)
    assert parts_of(9) == [(0, 9)]


@njit
def counted_finely(n, least, multiple, counts, starts):
    count_finely(n, least, multiple, address(counts), address(starts))


def test_small_parts_are_for_threads_that_are_awake(threads):
    threads(2)
    whole, halves = [(0, 40)], [(0, 20), (20, 40)]
    small = lambda: parts_of(40, 41, call=counted_finely)
    assert parts_of(40, 41) == whole and parts_of(40, 20) == halves
    end = time.monotonic() + 20
    while pool._state[pool.SLEEPING] < len(pool._threads):
        assert time.monotonic() < end
        time.sleep(0.001)
    pool._state[pool.PASSED] = 0
    for _ in range(pool.PATIENCE - 1):
        assert small() == whole and parts_of(40, 41, 40, counted_finely) == whole  # what cannot be divided counts not
    assert small() == halves
    while not small() == small() == halves:  # it was woken, though its part may have been done before it came
        assert time.monotonic() < end
    assert parts_of(40, 161, call=counted_finely) == whole


def test_the_number_of_threads(threads):
    for n in (1, 3, 2, 3, 1):
        threads(n)
        assert pool.get_threads() == n and len(parts_of(300)) == n
    names = [t.name for t in threading.enumerate()]
    assert len({n for n in names if n.startswith("tinyrnn-")}) >= 2  # threads that were started wait for more


@kernel
def inner(first, last, counts):
    for k in range(first, last):
        put(int64, counts + 8 * k, get(int64, counts + 8 * k) + 1)


inner_all = split(inner)


@kernel
def outer(first, last, counts, columns, scale: float):
    for row in range(first, last):
        inner_all(columns, 1, 1, counts + 8 * row * columns)
    if scale != 2.5:
        put(int64, counts, -1)


outer_all = split(outer)


@njit
def nested(counts):
    rows, columns = counts.shape
    outer_all(rows, 1, 1, address(counts), columns, 2.5)


def test_a_call_inside_another_does_all_by_itself(threads):
    threads(3)
    for _ in range(200):
        counts = np.zeros((7, 50), np.int64)
        nested(counts)
        assert (counts == 1).all()


def test_several_python_threads_at_once(threads):
    threads(3)
    failures = []

    def many():
        try:
            for n in range(300):
                parts_of(50 + n)
        except AssertionError as failure:
            failures.append(failure)

    callers = [threading.Thread(target=many) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert not failures and not any(caller.is_alive() for caller in callers)
    assert len(parts_of(300)) == 3


def in_child(results):
    before = pool.get_threads(), len(parts_of(300))
    pool.set_threads(3)
    results.put((*before, pool.get_threads(), len(parts_of(300))))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork_there_is_one_thread_until_more_are_wanted(threads):
    threads(3)
    parts_of(300)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    for _ in range(3):
        child = context.Process(target=in_child, args=(results,))
        child.start()
        assert results.get(timeout=60) == (1, 1, 3, 3)
        child.join(60)
        assert child.exitcode == 0
    assert pool.get_threads() == 3 and len(parts_of(300)) == 3


# ---------------------------------------------------------------------------------- processes
def start(program, **environment):
    env = {n: v for n, v in (dict(os.environ) | environment).items() if v is not None}
    return subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE)


def answers(*processes):
    """What each prints; a process that hangs is ended."""
    found = []
    for process in processes:
        try:
            out, _ = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 0
        found.append(json.loads(out))
    return found


THREADS = """
import json, os
import tinyrnn
from tinyrnn.kernels.cpu import pool
allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
print(json.dumps([pool.get_threads(), allowed]))
"""


def test_the_environment_says_how_many_threads():
    chosen = [None, "1", "3", "many"]
    found = answers(*(start(THREADS, OMP_NUM_THREADS=c) for c in chosen))
    for c, (threads, allowed) in zip(chosen, found, strict=True):
        assert threads == (int(c) if c in ("1", "3") else allowed), c


MANY = """
import json, sys, time
import numpy as np
sys.path.insert(0, "tests")
import test_pool
from tinyrnn.kernels.cpu import pool

pool.set_threads(3)
counts, starts = np.zeros(300, np.int64), np.zeros(301, np.int64)
jobs, end, random = 0, time.monotonic() + 2.0, np.random.default_rng(1)
while time.monotonic() < end:
    for _ in range(20):
        test_pool.counted(300, 1, 1, counts, starts)
        jobs += 1
    pause = random.uniform(0, 400e-6)  # threads fall asleep after some 200 microseconds
    until = time.perf_counter() + pause
    if jobs % 40:
        time.sleep(pause)
    else:
        while time.perf_counter() < until:
            pass
print(json.dumps([jobs, counts.min().item(), counts.max().item()]))
"""

BUSY_AT_THE_END = """
import sys
sys.path.insert(0, "tests")
import test_pool
from tinyrnn.kernels.cpu import pool
pool.set_threads(4)
test_pool.parts_of(300)
{wait}
print(1)
"""


def test_threads_that_fall_asleep_are_woken_and_no_job_is_lost():
    ((jobs, least, most),) = answers(start(MANY))
    assert least == most == jobs > 500


def test_the_interpreter_ends_while_threads_spin_or_sleep():
    spinning, sleeping = (BUSY_AT_THE_END.format(wait=w) for w in ("", "import time; time.sleep(0.05)"))
    assert answers(*(start(program) for program in (spinning, sleeping, spinning))) == [1, 1, 1]


@functools.cache
def work_and_wait():
    @kernel
    def slow(first, last, counts, turns):
        for k in range(first, last):
            x = get(int64, counts + 8 * k)
            for _ in range(turns):
                x = (x * 1103515245 + 12345) & 0x7FFFFFFF
            put(int64, counts + 8 * k, x)

    slow_all = split(slow)

    @njit
    def entry(counts, turns):
        slow_all(counts.size, 1, 1, address(counts), turns)

    return entry


def test_threads_that_sleep_are_woken_for_parts_that_take_long(threads):
    """And the call returns when the last part is done, though another thread does it."""
    threads(1)
    expected = np.arange(4)
    work_and_wait()(expected, 2_000_000)
    threads(4)
    before = pool._state[pool.OWN]
    for _ in range(20):
        time.sleep(0.002)
        found = np.arange(4)
        work_and_wait()(found, 2_000_000)
        assert (found == expected).all()
    assert pool._state[pool.OWN] - before < 80  # of 80 parts, those that the caller did


def test_a_process_ends_in_good_order_right_after_a_job():
    """Its threads are still awake then; on a busy machine, which several processes at a time make, they stay so long."""
    script = "import numpy; import tinyrnn; from tinyrnn.kernels.cpu import gemm, pool; pool.set_threads(3)\n"
    script += "a = numpy.ones((512, 512), numpy.float32); gemm.matmul(a, a)"
    for _ in range(2):
        several = [subprocess.Popen([sys.executable, "-c", script], cwd=ROOT) for _ in range(4)]
        assert [process.wait(timeout=120) for process in several] == [0] * 4
