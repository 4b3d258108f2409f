"""Differentiation: backward, grad, Function, gradcheck."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import tape
from ..dtypes import get_default_dtype
from ..grad_mode import enable_grad, inference_mode, no_grad, set_grad_enabled
from ..tensor import Tensor
from . import anomaly_mode, function, graph
from .anomaly_mode import detect_anomaly, set_detect_anomaly
from .function import Function
from .gradcheck import gradcheck

__all__ = [
    "Function",
    "Variable",
    "anomaly_mode",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "function",
    "functional",
    "grad",
    "gradcheck",
    "graph",
    "inference_mode",
    "no_grad",
    "set_detect_anomaly",
    "set_grad_enabled",
]


class _AnyTensor(type(Tensor)):  # type: ignore[misc]
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Tensor)


class Variable(Tensor, metaclass=_AnyTensor):
    """torch's old name for a tensor: Variable(x) is a detached tensor that shares the memory of x."""

    def __new__(cls, data: Any = None, requires_grad: bool = False, volatile: bool = False) -> Any:
        if data is None:
            data = tape.wrap(np.empty(0, get_default_dtype().numpy))
        if not isinstance(data, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(data).__name__}")
        return data.detach().requires_grad_(requires_grad)


def _roots(tensors: Sequence[Tensor], gradients: Sequence[Tensor | None] | None) -> list[tuple[Tensor, np.ndarray]]:
    """Pairs of a tensor and the gradient to start with, checked."""
    if gradients is None:
        return [(t, start(t, None, k)) for k, t in enumerate(tensors)]
    if len(gradients) != len(tensors):
        raise RuntimeError(f"got {len(tensors)} tensors and {len(gradients)} gradients")
    return [(t, start(t, g, k)) for k, (t, g) in enumerate(zip(tensors, gradients, strict=True))]


def start(t: Tensor, g: Tensor | None, k: int = 0) -> np.ndarray:
    """The gradient of element `k` to start with."""
    if not isinstance(t, Tensor):
        raise TypeError(f"expected tensors to differentiate, but got {type(t).__name__} as element {k}")
    # A view made inside no_grad has no record, whatever its base requires.
    if t._edge is None and not t._requires and t.node is None:
        raise RuntimeError(f"element {k} of tensors does not require grad and does not have a grad_fn")
    a = t.array
    if g is None:
        if not a.shape and type(a) is np.ndarray:
            return np.array(1, a.dtype)
        if a.size != 1:
            raise RuntimeError("grad can be implicitly created only for scalar outputs")
        return np.ones(a.shape, a.dtype, like=a)
    if not isinstance(g, Tensor):
        raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
    if g.array.shape != a.shape:
        raise RuntimeError(
            f"Mismatch in shape: grad_output[{k}] has a shape of {g.shape} and output[{k}] has a shape of {t.shape}."
        )
    if type(g.array) is not type(a):
        raise RuntimeError(
            f"Function {tape.shown(t.node) if t.node else 'AccumulateGrad'} returned an invalid gradient at index "
            f"{k} - expected device {t.device} but got {g.device}"
        )
    return g.array.astype(a.dtype, copy=False)


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
    for t in wanted:
        t.retain_grad()  # the walk itself adds to the .grad of a tensor that is not a leaf
    leaves = list(dict.fromkeys(t for t in wanted if t.is_leaf))
    arrived = dict(zip(wanted, tape.backward(roots, bool(retain_graph), wanted), strict=True))
    found = [(t, g) for t in leaves if (g := arrived[t]) is not None]
    for t, g in found:
        tape.check_room(t, g)
    for t, g in found:
        tape.accumulate(t, g, False)


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
    """The gradients of `outputs` with respect to `inputs`, as a tuple; no .grad is touched.

    Raises RuntimeError as backward does, and for an input that no gradient reaches, unless `allow_unused` (its
    gradient is None) or `materialize_grads` (its gradient is zero).
    """
    _no_second_order(create_graph, "grad")
    if is_grads_batched:
        raise NotImplementedError(
            "grad(): is_grads_batched=True is not supported by tinyrnn: call it for each gradient"
        )
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False."
        )
    wanted = _as_tuple(inputs)
    if not wanted:
        raise RuntimeError("`inputs` argument to `grad()` cannot be empty.")
    roots = _roots(_as_tuple(outputs), None if grad_outputs is None else _as_tuple(grad_outputs))
    for t in wanted:
        if not t.requires_grad:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    found: list = tape.backward(roots, bool(retain_graph), wanted)
    for k, (t, g) in enumerate(zip(wanted, found, strict=True)):
        if g is not None:
            found[k] = tape.wrap(np.array(g, order="C", like=g))
        elif materialize_grads:
            found[k] = tape.wrap(np.zeros_like(t.array))
        elif not allow_unused:
            raise RuntimeError(
                f"The differentiated Tensor at index {k} appears to not have been used in the graph. Set "
                "allow_unused=True if this is the desired behavior."
            )
    return tuple(found)


from . import functional  # noqa: E402  (which is built on grad)
