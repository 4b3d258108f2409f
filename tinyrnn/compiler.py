"""torch.compile and torch.compiler: nothing is compiled that was not compiled already, under torch's names.

A compiled module is torch's OptimizedModule: a module around the module, whose state_dict has keys that begin with
`_orig_mod.`. Programs save such files, and take the prefix off when they load them.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from .nn.module import Module

__all__ = [
    "OptimizedModule", "compile", "cudagraph_mark_step_begin", "disable", "is_compiling", "is_dynamo_compiling",
    "reset",
]  # fmt: skip

MODES = ("default", "lite", "reduce-overhead", "max-autotune-no-cudagraphs", "max-autotune")
config = SimpleNamespace()  # torch._dynamo.config: what a program sets there changes nothing


class OptimizedModule(Module):
    """What compile makes of a module: it calls the module, and has all of its attributes."""

    def __init__(self, mod: Module):
        if not isinstance(mod, Module):
            raise TypeError(f"OptimizedModule: expected a torch.nn.Module, got {type(mod).__name__}")
        super().__init__()
        del self.__dict__["training"]  # it is the module's: see below
        self._modules["_orig_mod"] = mod

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._modules["_orig_mod"](*args, **kwargs)  # type: ignore[misc]

    def __len__(self) -> int:
        module = self._modules["_orig_mod"]
        if not hasattr(type(module), "__len__"):
            raise TypeError(f"{type(module).__name__} does not support len()")
        return len(module)  # type: ignore[arg-type]

    def __bool__(self) -> bool:
        return bool(self._modules["_orig_mod"])

    @property
    def training(self) -> bool:  # type: ignore[override]
        return self._orig_mod.training

    @training.setter
    def training(self, mode: bool) -> None:
        self._orig_mod.training = mode

    def __getattr__(self, name: str) -> Any:
        module = self.__dict__["_modules"]["_orig_mod"]
        return module if name == "_orig_mod" else getattr(module, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(type(self), name) or name == "_orig_mod":
            super().__setattr__(name, value)
        else:
            setattr(self._orig_mod, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._orig_mod, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._orig_mod)})

    def __reduce_ex__(self, protocol: Any) -> tuple:
        return OptimizedModule, (self._orig_mod,)


def compile(
    model: Any = None,
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: str | Callable | None = None,
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    disable: bool = False,
    **others: Any,
) -> Any:
    """An OptimizedModule of a module, anything else as it is: kernels are compiled already.

    Without a model, a decorator that does the same.  backend: a name; a function would be given a graph to work on, and
    there is none.
    """
    if others:
        raise TypeError(f"compile() got an unexpected keyword argument '{next(iter(others))}'")
    if mode is not None and options is not None:
        raise RuntimeError("Either mode or options can be specified, but both can't be specified at the same time.")
    if mode is not None and mode not in MODES:
        raise RuntimeError(f"Unrecognized mode={mode}, should be one of: {', '.join(MODES)}")
    if backend is not None and not isinstance(backend, str):
        raise NotImplementedError(
            f"torch.compile(backend={backend!r}): tinyrnn makes no graph that a backend could compile; expected a name"
        )
    if model is None:
        return lambda model: compile(model, disable=disable)
    if not callable(model):
        raise AssertionError(f"A callable function is expected, but {type(model)} is provided.")
    if not isinstance(model, Module) or isinstance(model, OptimizedModule) or disable:
        return model
    return OptimizedModule(model)


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """The function itself; without one, a decorator that gives the function itself."""
    return fn if fn is not None else lambda function: function


def is_compiling() -> bool:
    """Whether this code is being compiled: never."""
    return False


is_dynamo_compiling = is_compiling


def reset() -> None:
    """Accepted and without effect: no compiled program is kept."""


def cudagraph_mark_step_begin() -> None:
    """Accepted and without effect: no graph is replayed."""
