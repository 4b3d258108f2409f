"""Less memory for more time: a part of a model that is computed again in the backward (https://arxiv.org/abs/1604.06174).

The part runs as usual, and its record is dropped but for where it begins: the leaves and earlier results that its
gradients go to.  The backward runs it again, from the same place in the random stream, and walks back through the new
record as far as these.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from .. import random, tape
from ..grad_mode import enable_grad, no_grad
from ..nn.containers import Sequential
from ..tensor import Tensor

__all__ = ["CheckpointError", "checkpoint", "checkpoint_sequential", "get_device_states", "set_device_states"]


class CheckpointError(RuntimeError):
    """The function computed something else when it ran again."""


def _no_contexts() -> tuple:
    return nullcontext(), nullcontext()


def _tensors(result: Any) -> list[Tensor]:
    """The tensors in nested tuples, lists and dicts, in order."""
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, dict):
        result = list(result.values())
    return [t for part in result for t in _tensors(part)] if isinstance(result, (tuple, list)) else []


class _Again:
    """The op of a part that is computed again: `run` does it, `edges` is where its gradients go.

    What it was given must be then what it was: `firm`, the arguments that the part may not write to, and `others`, to
    which it may, each with its version and its place on the tape.
    """

    bare = view = piles = last_first = False  # as for an Op

    def __init__(self, run: Callable[[], Any], firm: list[Tensor], others: list[Tensor], preserve: bool, check: bool):
        self.run, self.preserve, self.check = run, preserve, check
        self.firm = [(t, t.version[0]) for t in firm]
        self.others = [(t, t.version[0]) for t in others]
        self.state = random.get_rng_state() if preserve else None
        self.slots: list[int] = []
        self.kinds: list = []
        self.edges: tuple = ()
        self.places: list = []

    def ran(self) -> None:
        """Take note of what the part itself has written to, and of the views that it has brought up to date."""
        self.others = [(t, t.version[0]) for t, _ in self.others]
        self.places = [t._edge and t._edge[:2] for t, _ in self.firm + self.others]

    def title(self) -> str:
        return "CheckpointFunctionBackward"

    def backward(self, saved: tuple, needs: tuple, *gradients: Any) -> tuple:
        for (t, expected), place in zip(self.firm + self.others, self.places, strict=True):
            if t.version[0] != expected:
                raise tape.modified(t.array, None, t.version[0], expected)
            if (t._edge and t._edge[:2]) != place:
                raise RuntimeError(
                    "checkpoint(): a tensor that was given to the function was detached in place before the function "
                    "was computed again in the backward"
                )
        since = tape.moment()
        with random.fork_rng(enabled=self.preserve), enable_grad():
            if self.state is not None:
                random.set_rng_state(self.state)
            found = _tensors(self.run())
        self.ran()
        results = [found[k] for k in self.slots if k < len(found)]
        kinds = [(t.shape, t.dtype) for t in results]
        if kinds != self.kinds and (self.check or len(kinds) != len(self.kinds)):
            raise CheckpointError(
                f"checkpoint(): the function returned {self.kinds} (shapes and types), and {kinds} when it was "
                "computed again in the backward"
            )
        roots = [(t, g) for t, g in zip(results, gradients, strict=True) if g is not None and t.requires_grad]
        known = {edge[:2] for edge in self.edges}
        border = tape.border([t for t, _ in roots], since)
        if not all(edge[1] is None or edge[:2] in known for edge in border):  # a leaf may be the function's own
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an inplace operation: "
                "checkpoint() computed its function again, and something that the function uses is no longer what it "
                "was. Hint: save a copy, clone(), before the write, or write into a new tensor."
            )
        return tuple(tape.backward(roots, False, [tape.at(edge) for edge in self.edges], since))


def checkpoint(
    function: Callable,
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Callable[[], tuple] = _no_contexts,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    **kwargs: Any,
) -> Any:
    """function(*args), of which nothing is kept: it is computed again in the backward.

    `preserve_rng_state=False` lets the second run draw other random numbers.  `context_fn` returns two context
    managers, for the first and the second run.  With `use_reentrant`, torch's older way, an argument must require a
    gradient, and `function` takes no keywords.  Raises CheckpointError if the second run gives other shapes or types,
    RuntimeError if tensors that the function uses were written to in place, or detached, between the two.
    """
    if use_reentrant is None:
        warnings.warn(
            "checkpoint(): pass use_reentrant explicitly, False if you can. It is True now, as before.", stacklevel=2
        )
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if use_reentrant and kwargs:
        raise ValueError(f"checkpoint(): unexpected keyword arguments: {', '.join(kwargs)}")
    if use_reentrant and (context_fn is not _no_contexts or debug):
        raise ValueError("checkpoint(): context_fn and debug go with use_reentrant=False only")
    if determinism_check not in ("default", "none"):
        raise ValueError(f"checkpoint(): determinism_check must be 'default' or 'none', not {determinism_check!r}")
    if not tape.is_grad_enabled():
        return function(*args, **kwargs)
    if use_reentrant and not any(isinstance(a, Tensor) and a.requires_grad for a in args):
        warnings.warn(
            "None of the inputs have requires_grad=True. Gradients will be None (checkpoint(use_reentrant=True))",
            stacklevel=2,
        )
        with no_grad():
            return function(*args)
    first, second = context_fn()

    def again() -> Any:
        with second:
            return function(*args, **kwargs)

    since = tape.moment()
    firm = [a for a in args if isinstance(a, Tensor)] if not use_reentrant else []  # as in torch
    others = [t for t in _tensors((args, kwargs)) if not any(t is a for a in firm)]
    op = _Again(again, firm, others, preserve, determinism_check == "default")
    with first:
        result = function(*args, **kwargs)
    op.ran()
    found = _tensors(result)
    if use_reentrant:  # which does not look into nested tuples
        direct = result if isinstance(result, tuple) else (result,)
        for t in found:
            if not any(t is part for part in direct):
                t._view = None
                tape.attach(t, None)
    op.slots = [k for k, t in enumerate(found) if t.node is not None and t.node.sequence > since]
    recorded = [found[k] for k in op.slots]
    if not recorded:
        return result
    op.kinds = [(t.shape, t.dtype) for t in recorded]
    op.edges = tape.border(recorded, since)
    node = tape.noted(op, op.edges, tuple(a.array for a in args if isinstance(a, Tensor)), len(recorded))
    if not use_reentrant:
        node.label = {slot: t._node.name(t._slot) for slot, t in enumerate(recorded) if t._node is not None}
    for slot, t in enumerate(recorded):
        tape.attach(t, node, slot)
    return result


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """The functions (or the layers of a Sequential) one after the other, in `segments` checkpointed parts of equal
    length; the last part, with what is left over, is not checkpointed.
    """
    if use_reentrant is None:
        warnings.warn(
            "checkpoint_sequential(): pass use_reentrant explicitly, False if you can. It is True now, as before.",
            stacklevel=2,
        )
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError(f"checkpoint_sequential(): unexpected keyword arguments: {', '.join(kwargs)}")
    layers = list(functions.children()) if isinstance(functions, Sequential) else list(functions)

    def part(start: int, end: int) -> Callable:
        def run(x: Any) -> Any:
            for layer in layers[start:end]:
                x = layer(x)
            return x

        return run

    length = len(layers) // segments
    last = length * (segments - 1)
    for start in range(0, last, length) if length else ():
        step = part(start, start + length)
        input = checkpoint(step, input, use_reentrant=use_reentrant, preserve_rng_state=preserve)
    return part(last, len(layers))(input)


def get_device_states(*args: Any) -> tuple[list[int], list[Any]]:
    """The GPUs of the tensors in `args`, by number, and the state of each one's random stream: the only one's."""
    devices = sorted({t.get_device() for t in _tensors(args) if t.is_cuda})
    return devices, [random.get_rng_state() for _ in devices]


def set_device_states(devices: list[int], states: list[Any], *, device_type: str | None = None) -> None:
    """Put the random streams of GPUs back to what get_device_states told."""
    for _, state in zip(devices, states, strict=True):
        random.set_rng_state(state)
