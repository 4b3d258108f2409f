"""autograd.Function: an op of the user's own, with its forward and backward on tensors."""

from __future__ import annotations

import functools
import inspect
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import tape
from ..devices import zeros
from ..tensor import Tensor


class Context:
    """What a Function's forward leaves for its backward (`ctx`); programs may hang anything else on it."""

    def __init__(self, needs: tuple[bool, ...]):
        self.needs_input_grad = needs
        self._materialize = True
        self._dirty: tuple = ()
        self._undifferentiable: tuple = ()
        self._to_save: tuple = ()
        self._saved: tuple[_Saved | None, ...] = ()

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for the backward, which finds them in `saved_tensors`, unchanged."""
        self._to_save = tensors

    @property
    def saved_tensors(self) -> tuple:
        """What was saved.  RuntimeError if one of the tensors was changed in place since."""
        return tuple(None if saved is None else saved.tensor() for saved in self._saved)

    @property
    def saved_variables(self) -> tuple:
        """saved_tensors by its old name."""
        warnings.warn("'saved_variables' is deprecated; use 'saved_tensors'", DeprecationWarning, stacklevel=2)
        return self.saved_tensors

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Say which inputs the forward changed in place."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Say which results have no gradient."""
        self._undifferentiable = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether the backward gets zeros (the default) or None for results that were not used."""
        self._materialize = value


class _Saved:
    """A tensor that was saved for the backward of `call`, as it was then.

    Only a leaf is held itself.  Others may become results of later calls, by a write in place, and results of the
    call itself hold it: either would be a circle.
    """

    __slots__ = ("leaf", "array", "version", "expected", "source", "slot")

    def __init__(self, tensor: Tensor, call: tape.Node | None):
        self.leaf = tensor if tensor._requires else None
        self.array, self.version, self.expected = tensor.array, tensor.version, tensor.version[0]
        node, self.slot = tensor.node, tensor._slot
        self.source: Any = node if node is not call or node is None else weakref.ref(node)

    def tensor(self) -> Tensor:
        node = self.source() if isinstance(self.source, weakref.ref) else self.source
        if self.version[0] != self.expected:
            raise tape.modified(self.array, node and (node, self.slot), self.version[0], self.expected)
        if self.leaf is not None:
            return self.leaf
        tensor = tape.wrap(self.array)
        tensor._writes = self.version
        tape.attach(tensor, node, self.slot)
        return tensor


class _UserOp:
    """One call of a Function, as the tape sees it: an op, whose context is the first thing that was saved."""

    bare = view = piles = last_first = False  # as for an Op

    def __init__(self, function: type[Function], args: tuple):
        self.function = function
        self.args = [a.array.shape if isinstance(a, Tensor) else None for a in args]
        self.results: list[tuple | None] = []  # shape, type and device; None for what is no tensor

    def title(self) -> str:
        return f"{self.function.__name__}Backward"

    def backward(self, saved: tuple, needs: list[bool], *gradients: Any) -> tuple:
        context = saved[0]
        arrays = [
            zeros(*kind) if g is None and kind and context._materialize else g
            for g, kind in zip(gradients, self.results, strict=True)
        ]
        tensors = [None if a is None else tape.wrap(a.copy("K")) for a in arrays]  # the backward may change them
        with tape.no_grad():
            found = self.function.backward(context, *tensors)
        found = found if isinstance(found, tuple) else (found,)
        count = len(self.args)
        if len(found) < count or any(g is not None for g in found[count:]):
            raise RuntimeError(
                f"function {self.title()} returned an incorrect number of gradients (expected {count}, got "
                f"{len(found)})"
            )
        return tuple(
            self.checked(i, g) if needs[i] or self.args[i] is None else None for i, g in enumerate(found[:count])
        )

    def checked(self, i: int, g: Any) -> np.ndarray | None:
        """The gradient of argument `i` as an array of its own; RuntimeError if it cannot be one."""
        shape = self.args[i]
        if g is None:
            return None
        if shape is None:
            raise RuntimeError(
                f"function {self.title()} returned a gradient different than None at position {i + 1}, but the "
                "corresponding forward input was not a Variable"
            )
        if not isinstance(g, Tensor):
            raise RuntimeError(f"expected Variable or None (got {type(g).__name__}) as gradient {i} of {self.title()}")
        here = g.array.shape
        if len(here) < len(shape) or any(n not in (1, m) for m, n in zip(here[::-1], shape[::-1], strict=False)):
            raise RuntimeError(
                f"Function {self.title()} returned an invalid gradient at index {i} - got {list(here)} but expected "
                f"shape compatible with {list(shape)}"
            )
        return g.array.copy("K")


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

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"a Function is not called: its methods are static. Use {type(self).__name__}.apply(...)")

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run forward, and record the call if an argument requires a gradient.

        Arguments given by name go to their places in forward, and in the newer style defaults do too: `backward`
        returns a gradient for each.  Raises RuntimeError if forward wrote to a leaf, or did not return what it marked
        dirty; TypeError if something else than tensors was saved, or forward does not take these arguments.
        """
        older = cls.setup_context is Function.setup_context
        if kwargs or not older and len(args) != _arguments(cls.forward):
            args = _positional(cls, args, kwargs, older)
        context = Context(tuple(isinstance(a, Tensor) and a.requires_grad for a in args))
        call, op = None, _UserOp(cls, args)
        if tape.is_grad_enabled() and any(context.needs_input_grad):
            call = tape.noted(op, tuple([tape.edge(a) if isinstance(a, Tensor) else None for a in args]), (), 0)
        with tape.no_grad():
            if older:
                output = cls.forward(context, *args)
            else:
                output = cls.forward(*args)
                cls.setup_context(context, args, output)
        results = output if isinstance(output, tuple) else (output,)
        if not all(any(t is r for r in results) for t in context._dirty):
            raise RuntimeError(
                "Some elements marked as dirty during the forward method were not returned as output. The inputs that "
                "are modified inplace must all be outputs of the Function."
            )
        for i, t in enumerate(context._to_save):
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument {i} is of type {type(t).__name__}"
                )
        op.results = [(r.array.shape, r.array.dtype, r.device) if isinstance(r, Tensor) else None for r in results]
        final = tuple(
            _returned(r, slot, call, context, args) if isinstance(r, Tensor) else r for slot, r in enumerate(results)
        )
        if call is not None:
            call.outputs = len(results)
            given = {id(r): f for r, f in zip(results, final, strict=True)}
            kept = [t if t is None else given.get(id(t), t) for t in context._to_save]
            context._saved = tuple(None if t is None else _Saved(t, call) for t in kept)
            call.saved = (context, *(s.array for s in context._saved if s is not None))
        context._to_save = context._dirty = context._undifferentiable = ()
        return final if isinstance(output, tuple) else final[0]


class InplaceFunction(Function):
    """A Function whose objects know whether they work in place; the name is torch's, from before `apply`."""

    def __init__(self, inplace: bool = False):
        self.inplace = inplace


@functools.lru_cache(256)
def _signature(forward: Callable) -> inspect.Signature:
    return inspect.signature(forward)


@functools.lru_cache(256)
def _arguments(forward: Callable) -> int:
    """How many arguments a forward takes that may all be given by their places; -1 if others are among them."""
    kinds = {p.kind for p in _signature(forward).parameters.values()}
    return len(_signature(forward).parameters) if kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD} else -1


def _positional(function: type[Function], args: tuple, kwargs: dict[str, Any], older: bool) -> tuple:
    """The arguments of forward in their places, the context left out."""
    bound = _signature(function.forward).bind(*(None,) * older, *args, **kwargs)
    if not older:
        bound.apply_defaults()
    if bound.kwargs:
        raise TypeError(
            f"{function.__name__}.apply(): {', '.join(bound.kwargs)} cannot be given to forward by its place: an "
            "argument before it is missing, or it is for keywords only"
        )
    return bound.args[older:]


def _returned(result: Tensor, slot: int, call: tape.Node | None, context: Context, args: tuple) -> Tensor:
    """What apply returns for `result` of forward: the same tensor as a result of `call`, or an alias of it."""
    dirty = any(result is t for t in context._dirty)
    if result.array.dtype.kind != "f" or any(result is t for t in context._undifferentiable):
        return result.detach() if result.requires_grad or any(result is a for a in args) else result
    if dirty:
        tape.check_writable(result, call is not None)
        result.wrote()
        if call is not None:
            value = tape.wrap(result.array)
            tape.attach(value, call, slot)
            tape.attach(*tape.rewritten(result, value))
        return result
    if any(result is a for a in args):
        alias = tape.wrap(result.array)
        with tape.no_grad():
            tape.look(alias, result, None)
        result = alias
    if call is not None:
        tape.attach(result, call, slot)
        if result._view is not None:
            result._view.forbidden = tape.CUSTOM
    return result


def once_differentiable(backward: Callable) -> Callable:
    """Mark a backward that cannot be differentiated again; here none can, so it is returned as it is."""

    @functools.wraps(backward)
    def wrapper(ctx: Any, *gradients: Any) -> Any:
        return backward(ctx, *gradients)

    return wrapper
