"""Differentiation: backward, grad, Function, gradcheck."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import tape
from ..tape import enable_grad, inference_mode, no_grad, set_grad_enabled
from ..tensor import Tensor
from . import function, graph
from .function import Function
from .gradcheck import gradcheck

__all__ = [
    "Function",
    "Variable",
    "backward",
    "enable_grad",
    "function",
    "grad",
    "gradcheck",
    "graph",
    "inference_mode",
    "no_grad",
    "set_grad_enabled",
]


class Variable(Tensor):
    """torch's old name for a tensor: Variable(x) is x itself."""

    def __new__(cls, data: Tensor, requires_grad: bool = False, volatile: bool = False) -> Any:
        if not isinstance(data, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(data).__name__}")
        alias = data.detach()
        if requires_grad:
            alias.requires_grad = True
        return alias


def _roots(tensors: Sequence[Tensor], gradients: Sequence[Tensor | None] | None) -> list[tuple[Tensor, np.ndarray]]:
    """Pairs of a tensor and the gradient to start with, checked."""
    gradients = [None] * len(tensors) if gradients is None else list(gradients)
    if len(gradients) != len(tensors):
        raise RuntimeError(f"got {len(tensors)} tensors and {len(gradients)} gradients")
    roots = []
    for k, (t, g) in enumerate(zip(tensors, gradients, strict=True)):
        if not t.requires_grad:
            raise RuntimeError(f"element {k} of tensors does not require grad and does not have a grad_fn")
        if g is None:
            if t.array.size != 1:
                raise RuntimeError("grad can be implicitly created only for scalar outputs")
            roots.append((t, np.ones_like(t.array)))
            continue
        if not isinstance(g, Tensor):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
        if g.array.shape != t.array.shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output[{k}] has a shape of {g.shape} and output[{k}] has a "
                f"shape of {t.shape}."
            )
        roots.append((t, g.array.astype(t.array.dtype, copy=False)))
    return roots


def _as_tuple(x: Any) -> tuple:
    return (x,) if isinstance(x, Tensor) else tuple(x)


def _no_second_order(create_graph: bool, call: str) -> None:
    if create_graph:
        raise NotImplementedError(
            f"{call}(create_graph=True): tinyrnn does not record its backward, so there are no gradients of gradients"
        )


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Any = None,
    inputs: Any = None,
) -> None:
    """Add the gradients of `tensors` to the .grad of the leaves they were computed from, or of `inputs` only.

    Raises RuntimeError for a tensor that nothing was recorded of, for one that is not a scalar and has no gradient in
    `grad_tensors`, and if the graph was freed by an earlier backward without retain_graph=True.
    """
    _no_second_order(create_graph, "backward")
    if grad_variables is not None:
        warnings.warn("`grad_variables` is deprecated. Use `grad_tensors` instead.", FutureWarning, stacklevel=2)
        grad_tensors = grad_tensors if grad_tensors is not None else grad_variables
    roots = _roots(_as_tuple(tensors), None if grad_tensors is None else _as_tuple(grad_tensors))
    if inputs is None:
        tape.backward(roots, bool(retain_graph))
        return
    wanted = _as_tuple(inputs)
    if not wanted:
        raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    for t, g in zip(wanted, tape.backward(roots, bool(retain_graph), wanted), strict=True):
        if g is not None:
            tape._accumulate(t, g, False)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple:
    """The gradients of `outputs` with respect to `inputs`, as a tuple; no .grad is touched."""
    _no_second_order(create_graph, "grad")
    wanted = _as_tuple(inputs)
    roots = _roots(_as_tuple(outputs), None if grad_outputs is None else _as_tuple(grad_outputs))
    for t in wanted:
        if not t.requires_grad:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    found = tape.backward(roots, bool(retain_graph), wanted)
    results = []
    for t, g in zip(wanted, found, strict=True):
        if g is None and not (allow_unused or materialize_grads):
            raise RuntimeError(
                "One of the differentiated Tensors appears to not have been used in the graph. Set "
                "allow_unused=True if this "
                "is the desired behavior."
            )
        results.append(
            tape.wrap(np.zeros_like(t.array) if g is None else np.array(g))
            if g is not None or materialize_grads
            else None
        )
    return tuple(results)
