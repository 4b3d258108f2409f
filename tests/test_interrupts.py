"""Ctrl-C while a package is imported, or a kernel compiled: it interrupts the program when that is done."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from tinyrnn.kernels.interrupts import uninterrupted


@pytest.fixture
def interruptible():
    """Ctrl-C raises KeyboardInterrupt, also where the shell has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_waits_for_the_end_of_the_block(interruptible):
    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append("inner")
        signal.raise_signal(signal.SIGINT)
        done.append("outer")
    assert done == ["inner", "outer"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_what_the_block_raises_is_not_lost(interruptible):
    with pytest.raises(KeyboardInterrupt) as caught, uninterrupted():
        signal.raise_signal(signal.SIGINT)
        raise ValueError("the block's own")
    assert isinstance(caught.value.__context__, ValueError)
    with pytest.raises(ValueError, match="the block's own"), uninterrupted():
        raise ValueError("the block's own")


def test_a_programs_own_handler_is_called_once(interruptible):
    calls = []
    signal.signal(signal.SIGINT, lambda *given: calls.append(given))
    with uninterrupted():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert not calls
    assert len(calls) == 1


def test_what_is_ignored_stays_ignored_and_other_threads_stay_out(interruptible):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with uninterrupted():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        signal.raise_signal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    seen = []

    def elsewhere():
        with uninterrupted():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


FIRST_USE = """
import importlib.abc, signal, sys
import tinyrnn as torch

class Interrupting(importlib.abc.MetaPathFinder):
    count = 0
    def find_spec(self, name, path, target=None):
        if name.startswith(("numba", "llvmlite")):
            Interrupting.count += 1
            if Interrupting.count == int(sys.argv[1]):
                signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupting())
try:
    torch.randn(3)
except KeyboardInterrupt:
    print("interrupted")
layer = torch.nn.GRU(2, 3)
layer(torch.randn(2, 1, 2))[0].sum().backward()
print("done")
"""


@pytest.mark.parametrize("number", [1, 40, 110, 220])
def test_numba_is_imported_as_a_whole(number):
    """At any of its modules, half of which come with the first kernel: the program can go on afterwards."""
    done = subprocess.run([sys.executable, "-c", FIRST_USE, str(number)], capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["interrupted", "done"], done.stderr


COMPILING = """
import signal
from numba.core import codegen
import tinyrnn as torch
from tinyrnn.kernels.cpu import jit

signal.signal(signal.SIGINT, signal.default_int_handler)
finalize = codegen.JITCodeLibrary._finalize_specific

def interrupted(library):
    signal.raise_signal(signal.SIGINT)  # while LLVM may be calling back
    finalize(library)

codegen.JITCodeLibrary._finalize_specific = interrupted
try:
    torch.ones(4, 4).cumsum(0)
except KeyboardInterrupt:
    print("interrupted")
codegen.JITCodeLibrary._finalize_specific = finalize
print(torch.ones(4, 4).cumsum(0)[3].tolist())
"""


def test_a_kernel_is_compiled_as_a_whole(tmp_path):
    """And loaded as a whole, by the second process: what was compiled is on disk, and is right."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", COMPILING], env=environment, capture_output=True, text=True)
        assert done.stdout.replace(", ", ",").split() == ["interrupted", "[4.0,4.0,4.0,4.0]"], done.stderr
