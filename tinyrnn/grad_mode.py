"""Whether operations are recorded: a mode of each thread, and what switches it."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any

import numpy as np


class Mode(threading.local):
    enabled = True  # operations are recorded
    inference = False


class Anomaly:
    """Whether each call's line is kept, and gradients are looked at: for all threads, as in torch."""

    enabled = False
    check_nan = True


current = Mode()
anomaly = Anomaly()
inferring: list[None] = []  # an entry for each inference_mode block that runs, in any thread: empty is quick to see


def is_grad_enabled() -> bool:
    """Whether operations are being recorded in this thread."""
    return current.enabled


def is_inference_mode_enabled() -> bool:
    return current.inference


class _Switch:
    """Sets a mode of this thread, in a `with` block or in a decorated function."""

    def _again(self) -> Any:
        return type(self)()

    def __call__(self, function: Callable) -> Any:
        if inspect.isgeneratorfunction(function):
            return _switched(function, self._again)

        @functools.wraps(function)
        def inside(*args, **kwargs):
            with self._again():
                return function(*args, **kwargs)

        return inside


def _switched(function: Callable, switch: Callable) -> Callable:
    """A generator function whose body runs switched, while its caller, between two values, does not."""

    @functools.wraps(function)
    def generator(*args, **kwargs):
        steps = function(*args, **kwargs)
        resume, value = steps.send, None
        try:
            while True:
                with switch():
                    value = resume(value)
                try:
                    resume, value = steps.send, (yield value)
                except GeneratorExit:
                    with switch():
                        steps.close()
                    raise
                except BaseException as error:
                    resume, value = steps.throw, error
        except StopIteration as end:
            return end.value

    return generator


class set_grad_enabled(_Switch):
    """Record operations, or do not: from the call on, inside a `with` block, or in a decorated function."""

    def __init__(self, mode: bool):
        if not isinstance(mode, (bool, np.bool_)):
            raise TypeError(
                f"set_grad_enabled(): argument 'enabled' (position 1) must be bool, not {type(mode).__name__}"
            )
        self.before, self.mode = current.enabled, bool(mode)
        current.enabled = self.mode

    def _again(self) -> Any:
        return type(self)(self.mode)

    def __call__(self, function: Callable) -> Any:
        current.enabled = self.before  # a decorator changes nothing outside the function
        return super().__call__(function)

    def __enter__(self) -> None:
        current.enabled = self.mode

    def __exit__(self, *exception) -> None:
        current.enabled = self.before


class _Fixed(_Switch):
    """no_grad and enable_grad: as decorators, with or without parentheses."""

    mode: bool
    before: Any = None

    def __new__(cls, function: Callable | None = None) -> Any:
        self = super().__new__(cls)
        return self if function is None else self(function)

    def __enter__(self) -> None:
        self.before = (current.enabled, self.before)  # one object may be entered again inside itself
        current.enabled = self.mode and not current.inference

    def __exit__(self, *exception) -> None:
        current.enabled, self.before = self.before


class no_grad(_Fixed):
    """Nothing is recorded inside; results do not require a gradient."""

    mode = False


class enable_grad(_Fixed):
    """Operations are recorded inside, also within no_grad, but not within inference_mode."""

    mode = True


class inference_mode(_Switch):
    """As no_grad, and tensors that are made inside can never be recorded or, outside, be written to."""

    mode: bool

    def __new__(cls, mode: Any = True) -> Any:
        self = super().__new__(cls)
        self.mode = True if callable(mode) else bool(mode)
        return self(mode) if callable(mode) else self

    def _again(self) -> Any:
        return type(self)(self.mode)

    def __enter__(self) -> None:
        self.before = (current.enabled, current.inference)
        current.enabled, current.inference = not self.mode, self.mode
        inferring.append(None)

    def __exit__(self, *exception) -> None:
        current.enabled, current.inference = self.before
        inferring.pop()
