"""Ctrl-C at a moment when an exception would do harm."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """A `with` block in which Ctrl-C waits for the end of the block.

    For what cannot be left halfway: a large package stays half imported then, and is of no use to this process any
    more; and LLVM calls functions of Python's back, where an interrupt is lost, or becomes another error later.
    """
    import signal  # which takes a millisecond of an import of tinyrnn

    came: list[None] = []
    try:
        before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread() or before in (None, signal.SIG_IGN):
            before = None  # it does not interrupt this thread, or was not set by Python
        else:
            signal.signal(signal.SIGINT, lambda *_: came.append(None))
    except ValueError:  # in an interpreter that has no signals
        before = None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)
            if came:
                signal.raise_signal(signal.SIGINT)
