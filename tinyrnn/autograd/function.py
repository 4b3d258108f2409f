"""autograd.Function: an op of the user's own, with its forward and backward on tensors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import tape
from ..tensor import Tensor


class Context:
    """What a Function's forward leaves for its backward (`ctx`)."""

    def __init__(self, function: type[Function], needs: tuple[bool, ...]):
        self.function = function
        self.needs_input_grad = needs
        self.materialize = True
        self.dirty: tuple = ()
        self.undifferentiable: tuple = ()
        self.kept: tuple = ()
        self.versions: tuple = ()

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for the backward, which finds them in `saved_tensors`, unchanged."""
        self.kept = tensors
        self.versions = tuple(None if t is None else t.version[0] for t in tensors)

    @property
    def saved_tensors(self) -> tuple:
        for t, version in zip(self.kept, self.versions, strict=True):
            if t is not None and t.version[0] != version:
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an inplace operation: "
                    f"[{t.type()} {list(t.array.shape)}] is at version {t.version[0]}; expected "
                    f"version {version} instead."
                )
        return self.kept

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Say which inputs the forward changed in place."""
        self.dirty = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Say which results have no gradient."""
        self.undifferentiable = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether the backward gets zeros (the default) or None for results that were not used."""
        self.materialize = value


class _Call:
    """An op, as the tape wants it, of one call of a Function."""

    def __init__(self, context: Context, results: list[Tensor], inputs: int):
        self.context, self.inputs = context, inputs
        self.__name__ = context.function.__name__
        self.shapes = [(t.array.shape, t.array.dtype) for t in results]

    def backward(self, saved: tuple, needs: list[bool], *gradients: Any) -> tuple:
        context = self.context
        tensors = [
            tape.wrap(np.array(g)) if g is not None else tape.wrap(np.zeros(*shape)) if context.materialize else None
            for g, shape in zip(gradients, self.shapes, strict=True)
        ]
        with tape.no_grad():
            found = context.function.backward(context, *tensors)
        found = found if isinstance(found, tuple) else (found,)
        if len(found) < self.inputs or any(g is not None for g in found[self.inputs :]):
            raise RuntimeError(
                f"function {self.__name__}Backward returned an incorrect number of gradients "
                f"(expected {self.inputs}, got "
                f"{len(found)})"
            )
        results = []
        for k, g in enumerate(found[: self.inputs]):
            if g is not None and not isinstance(g, Tensor):
                raise TypeError(
                    f"expected Variable or None (got {type(g).__name__}) as gradient {k} of {self.__name__}"
                )
            results.append(None if g is None else np.array(g.array))
        return tuple(results)


class Function:
    """Base of a user's own ops: static methods forward(ctx, *args) and backward(ctx, *grad_outputs), called by apply.

    In the older of torch's two styles forward takes the context; in the newer one a static method
    setup_context(ctx, inputs, output) follows a forward without it.
    """

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        raise NotImplementedError(
            "You must implement the backward for your custom autograd.Function to use it with backward()."
        )

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run forward, and record the call if an argument requires a gradient."""
        needs = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        context = Context(cls, needs)
        with tape.no_grad():
            if cls.setup_context is Function.setup_context:
                output = cls.forward(context, *args, **kwargs)
            else:
                output = cls.forward(*args, **kwargs)
                cls.setup_context(context, args, output)
        results = list(output) if isinstance(output, (tuple, list)) else [output]
        recorded = tape.is_grad_enabled() and any(needs)
        inputs = [a if isinstance(a, Tensor) else None for a in args]
        final = []
        if recorded:
            tensors = [r for r in results if isinstance(r, Tensor)]
            node = tape.Node(_Call(context, tensors, len(args)), inputs, (), len(tensors))
        slot = 0
        for r in results:
            if isinstance(r, Tensor):
                dirty = any(r is t for t in context.dirty)
                if dirty:
                    tape.check_writable(r, recorded)
                    r.version[0] += 1
                elif any(r is a for a in args):
                    r = r.view(r.array.shape) if not recorded else r.detach()
                differentiable = r.array.dtype.kind == "f" and not any(r is t for t in context.undifferentiable)
                if recorded and differentiable:
                    r._node, r._slot = node, slot
                    r._history += dirty
                slot += 1
            final.append(r)
        return tuple(final) if isinstance(output, (tuple, list)) else final[0]


def once_differentiable(backward: Callable) -> Callable:
    """Mark a backward that cannot be differentiated again; here none can, so it is returned as it is."""

    @functools.wraps(backward)
    def wrapper(ctx: Any, *gradients: Any) -> Any:
        return backward(ctx, *gradients)

    return wrapper
