"""Backward hooks of modules: two identities on the tape, one around a module's inputs and one around its outputs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .. import tape
from ..devices import zeros
from ..tensor import Tensor

if TYPE_CHECKING:
    from .module import Module


def typename(value: Any) -> str:
    """The name of a value's type in messages: `torch.FloatTensor`, `int`, `collections.OrderedDict`."""
    if isinstance(value, Tensor):
        return value.type()
    cls = value if isinstance(value, type) else type(value)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


class BackwardHookFunction(tape.Op):
    """An identity where all gradients on one side of a module meet, to be shown to its hooks.

    The results are copies, so that a write on one side of the module's border is not seen on the other.
    """

    label = "BackwardHookFunctionBackward"

    @staticmethod
    def forward(*arrays, show):
        return tuple(a.copy() for a in arrays), (show,)

    @staticmethod
    def backward(saved, needs, *gradients):
        return saved[0](gradients)


class Border:
    """One call of a module that has backward hooks: an identity node on its inputs, and one on its outputs."""

    def __init__(self, module: Module, pre_hooks: tuple[Callable, ...], hooks: tuple[Callable, ...]):
        self.module, self.pre_hooks, self.hooks = module, pre_hooks, hooks
        self.inputs: list[tuple | None] = []  # per argument: shape and dtype, or None if it is no tensor
        self.outputs = 0
        self.watched_inputs: list[int] = []  # the numbers of those that carry a gradient
        self.watched_outputs: list[int] = []
        self.grad_output: tuple[Tensor | None, ...] | None = None

    def enter(self, args: tuple) -> tuple:
        self.inputs = [(a.array.shape, a.array.dtype, a.device) if isinstance(a, Tensor) else None for a in args]
        self.watched_inputs, args = self._cross(args, self._show_inputs)
        return args

    def leave(self, result: Any) -> Any:
        outputs = (result,) if isinstance(result, Tensor) else result
        if not isinstance(outputs, tuple):
            warnings.warn(
                "For backward hooks to be called, module output should be a Tensor or a tuple of Tensors but "
                f"received {type(result)}",
                stacklevel=4,
            )
            return result
        self.outputs = len(outputs)
        self.watched_outputs, crossed = self._cross(outputs, self._show_outputs)
        if outputs is not result:
            return crossed[0]
        return type(result)(*crossed) if hasattr(result, "_fields") else crossed

    @staticmethod
    def _cross(values: tuple, show: Callable[[tuple], tuple]) -> tuple[list[int], tuple]:
        """The same values, those that carry a gradient behind one common node; and which these are."""
        watched = [i for i, v in enumerate(values) if isinstance(v, Tensor) and v.requires_grad]
        if not watched or not tape.is_grad_enabled():
            return [], values
        crossed = list(values)
        through = tape.apply(BackwardHookFunction, *(values[i] for i in watched), show=show)
        for i, tensor in zip(watched, through, strict=True):
            crossed[i] = tensor
        return watched, tuple(crossed)

    def _show_outputs(self, arrays: tuple) -> tuple:
        grads: list[Tensor | None] = [None] * self.outputs
        for i, g in zip(self.watched_outputs, arrays, strict=True):
            grads[i] = None if g is None else tape.wrap(g)
        with tape.no_grad():
            shown = tuple(grads)
            for hook in self.pre_hooks:
                shown = self._replaced(shown, hook(self.module, shown), "pre hook", "grad_output")
            self.grad_output = shown
            if not self.watched_inputs:
                self._show_no_inputs()
        return self._arrays(shown, grads, self.watched_outputs)

    def _show_inputs(self, arrays: tuple) -> tuple:
        if self.grad_output is None:  # the gradient came by a way around the module's outputs
            return arrays
        crossed = dict(zip(self.watched_inputs, arrays, strict=True))
        grads: list[Tensor | None] = []
        for i, kind in enumerate(self.inputs):
            g = crossed.get(i)
            grads.append(None if kind is None else tape.wrap(zeros(*kind) if g is None else g))
        with tape.no_grad():
            shown = tuple(grads)
            for hook in self.hooks:
                shown = self._replaced(shown, hook(self.module, shown, self.grad_output), "hook", "grad_input")
        return self._arrays(shown, grads, self.watched_inputs)

    def _show_no_inputs(self) -> None:
        if self.hooks:
            warnings.warn(
                "Full backward hook is firing when gradients are computed with respect to module outputs "
                "since no inputs require gradients.",
                stacklevel=2,
            )
        for hook in self.hooks:
            new = hook(self.module, (None,) * len(self.inputs), self.grad_output)
            if new is not None and not (isinstance(new, tuple) and all(g is None for g in new)):
                raise RuntimeError(
                    "Backward hook for Modules where no input requires gradient should always return "
                    "None or None for all gradients."
                )

    @staticmethod
    def _arrays(shown: Sequence[Tensor | None], came: Sequence[Tensor | None], watched: list[int]) -> tuple:
        """The arrays of the gradients, for the tape; a copy of one that a hook made, because the hook may keep it."""
        found = ((shown[i], came[i]) for i in watched)
        return tuple(new if new is None else new.array if new is old else new.array.copy() for new, old in found)

    @staticmethod
    def _replaced(grads: tuple, new: Any, hook: str, what: str) -> tuple:
        """The gradients that a hook returned in place of `grads`, checked."""
        if new is None:
            return grads
        new = (new,) if isinstance(new, Tensor) else tuple(new)
        if len(new) != len(grads):
            raise RuntimeError(
                f"Backward {hook} returned an invalid number of {what}, got {len(new)}, but expected {len(grads)}"
            )
        for old, g in zip(grads, new, strict=True):
            if g is not None and not isinstance(g, Tensor):
                raise TypeError(f"Backward {hook} returned a {typename(g)} as {what}, but expected a Tensor or None")
            if old is not None and g is not None and (g.shape, g.dtype) != (old.shape, old.dtype):
                raise RuntimeError(
                    f"Backward {hook} has changed the size or type of {what}: it was {old.dtype} of "
                    f"shape {tuple(old.shape)}, the hook returned {g.dtype} of shape {tuple(g.shape)}"
                )
        return new
