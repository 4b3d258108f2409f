"""torch.jit for a program that would run as well without it: what it would compile runs as Python, as in a debugger.

`script` and the decorators hand back what they are given. What belongs to compiled programs (`save`, `load`, `fork`) is
not here.
"""

from __future__ import annotations

import functools
import typing
import warnings
from collections.abc import Callable
from typing import Any

from .nn.module import Module
from .random import default_generator

__all__ = [
    "Final", "ScriptFunction", "ScriptModule", "annotate", "export", "ignore", "is_scripting", "is_tracing", "script",
    "script_if_tracing", "script_method", "trace", "unused",
]  # fmt: skip

Final = typing.Final
_state = {"tracing": False}


class ScriptModule(Module):
    """A base class of torch's: here a Module like any other."""


class ScriptFunction:
    """The class of torch's compiled functions, to ask after: there are none here."""

    def __init__(self, *args: Any, **kwargs: Any):
        raise NotImplementedError("torch.jit.ScriptFunction: functions are not compiled by tinyrnn; call them")


def script(obj: Any, optimize: Any = None, _frames_up: int = 0, _rcb: Any = None, example_inputs: Any = None) -> Any:
    """The function, module or class itself."""
    return obj


def trace(
    func: Callable,
    example_inputs: Any = None,
    optimize: Any = None,
    check_trace: bool = True,
    check_inputs: Any = None,
    check_tolerance: float = 1e-5,
    strict: bool = True,
    *,
    example_kwarg_inputs: dict[str, Any] | None = None,
    **others: Any,
) -> Any:
    """The function or module itself, after it has run on the examples.

    example_inputs: a tensor, or a tuple of arguments. It runs as often as under torch, so that the random stream stands
    where torch's does: once, and to check what was traced twice more, and the traced form once.
    """
    if (example_inputs is None) == (example_kwarg_inputs is None):
        raise RuntimeError("trace: expected one of example_inputs and example_kwarg_inputs")
    if not callable(func):
        raise TypeError(f"trace: expected a function or a module, got {type(func).__name__}")
    args = () if example_inputs is None else example_inputs
    args = tuple(args) if isinstance(args, (tuple, list)) else (args,)
    run = functools.partial(func, *args, **(example_kwarg_inputs or {}))
    before, _state["tracing"] = _state["tracing"], True
    try:
        run()
        if check_trace:
            run()
    finally:
        _state["tracing"] = before
    if check_trace:
        stood = default_generator.get_state()
        run()
        if not stood.equal(default_generator.get_state()):
            run()
    return func


def export(fn: Callable) -> Callable:
    """The method itself."""
    return fn


def unused(fn: Callable) -> Callable:
    """The method itself, which is called here where torch's compiled form would raise an error."""
    return fn


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    """The method itself; or, called with an option, a decorator that gives the method itself."""
    if callable(drop):
        return drop
    if not isinstance(drop, bool):
        raise RuntimeError(f"Argument to @torch.jit.ignore must be a bool or a function but got {drop}")
    drop = kwargs.pop("drop_on_export", drop)
    if drop:
        warnings.warn("ignore(True) has been deprecated. Use torch.jit.unused now.", FutureWarning, stacklevel=2)
    return lambda function: function


def script_method(fn: Callable) -> Callable:
    """The method itself."""
    return fn


def script_if_tracing(fn: Callable) -> Callable:
    """The function itself."""
    return fn


def is_scripting() -> bool:
    """Whether this code is being compiled: never."""
    return False


def is_tracing() -> bool:
    """Whether this code runs because of `trace`."""
    return _state["tracing"]


def annotate(the_type: Any, the_value: Any) -> Any:
    """The value."""
    return the_value
