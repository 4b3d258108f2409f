"""Derivatives of functions: whole Jacobians, and their products with a vector.

The walk back is not recorded, so of torch's functions those that differentiate twice are refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from ..grad_mode import enable_grad
from ..ops.create import ones_like, zeros_like
from ..ops.join import stack
from ..tensor import Tensor
from . import _no_second_order, grad

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def _listed(tensors: Any, what: str, call: str) -> tuple[bool, tuple]:
    """Whether `tensors` came as a tuple, and as one; TypeError for anything but tensors."""
    several = isinstance(tensors, tuple)
    listed = tensors if several else (tensors,)
    for k, t in enumerate(listed):
        if not isinstance(t, Tensor):
            which = f"element {k} is" if several else "it is"
            raise TypeError(f"{call}(): {which} of {type(t)}, but {what} must be a Tensor or a tuple of Tensors")
    return several, listed


def _evaluate(func: Callable, inputs: Any, strict: bool, call: str) -> tuple[bool, tuple, bool, tuple]:
    """The inputs as new leaves and the outputs of `func`; and of both, whether they are tuples."""
    inputs_several, given = _listed(inputs, "the inputs", call)
    leaves = tuple(t.detach().requires_grad_() for t in given)
    with enable_grad():
        several, outputs = _listed(func(*leaves), "the outputs of the function", call)
    for k, t in enumerate(outputs):
        if strict and not t.requires_grad:
            raise RuntimeError(f"{call}(): output {k} of the function does not require gradients (strict=True)")
    return inputs_several, leaves, several, outputs


def _gradients(outputs: tuple, inputs: tuple, sent: tuple, strict: bool, call: str) -> list:
    """The gradients of what is differentiable among `outputs`; zeros for inputs that none depends on."""
    pairs = [(t, g) for t, g in zip(outputs, sent, strict=True) if t.requires_grad]
    found: Any = [None] * len(inputs)
    if pairs:
        found = grad([t for t, _ in pairs], inputs, [g for _, g in pairs], retain_graph=True, allow_unused=True)
    for k, g in enumerate(found):
        if g is None and strict:
            raise RuntimeError(f"{call}(): the outputs of the function do not depend on input {k} (strict=True)")
    return [zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True)]


def vjp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """(func(*inputs), the product of `v` with its Jacobian): a vector as long as the outputs, back to the inputs.

    `v` has the shapes of the outputs; it may be left out if there is one of one element.  Raises RuntimeError if it has
    other shapes, and with `strict` if an input is of no influence, of which the result is zero otherwise.
    """
    _no_second_order(create_graph, "vjp")
    inputs_several, leaves, several, outputs = _evaluate(func, inputs, strict, "vjp")
    if v is None:
        if len(outputs) != 1 or outputs[0].numel() != 1:
            raise RuntimeError("vjp(): v can only be left out if the function returns one tensor of one element")
        v = ones_like(outputs[0])
    _, sent = _listed(v, "v", "vjp")
    if len(sent) != len(outputs):
        raise RuntimeError(f"vjp(): v holds {len(sent)} tensors, but the function returns {len(outputs)}")
    for k, (t, g) in enumerate(zip(outputs, sent, strict=True)):
        if t.shape != g.shape:
            raise RuntimeError(f"vjp(): v has shape {list(g.shape)} where output {k} has {list(t.shape)}")
    found = tuple(_gradients(outputs, leaves, sent, strict, "vjp"))
    values = tuple(t.detach() for t in outputs)
    return values if several else values[0], found if inputs_several else found[0]


def jacobian(
    func: Callable,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """All derivatives of `func`: for an output and an input a tensor with the shape of both, one after the other.

    A tuple over the inputs, the outputs, or the outputs of tuples over the inputs, where these are tuples.  One walk
    back for each element of the outputs, whatever `vectorize` and `strategy` say.
    """
    _no_second_order(create_graph, "jacobian")
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError(f"jacobian(): strategy must be 'forward-mode' or 'reverse-mode', not {strategy!r}")
    if strategy == "forward-mode" and not vectorize:
        raise NotImplementedError("jacobian(): strategy='forward-mode' asks for vectorize=True")
    if vectorize and strict:
        raise RuntimeError("jacobian(): strict=True and vectorize=True do not go together")
    inputs_several, leaves, several, outputs = _evaluate(func, inputs, strict, "jacobian")
    found = []
    for t in outputs:
        rows = []
        for k in range(t.numel()):
            unit = t.new_zeros(t.numel())
            unit[k] = 1
            rows.append(_gradients((t,), leaves, (unit.reshape(t.shape),), strict, "jacobian"))
        parts = tuple(stack(column).reshape(*t.shape, *x.shape) for column, x in zip(zip(*rows), leaves))  # noqa: B905
        found.append(parts if inputs_several else parts[0])
    return tuple(found) if several else found[0]


def _twice(name: str) -> Callable[..., NoReturn]:
    def refuse(func: Callable, inputs: Any, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(
            f"autograd.functional.{name}() differentiates twice, but tinyrnn does not record its backward: there is "
            "jacobian(), and vjp()"
        )

    refuse.__name__ = refuse.__qualname__ = name
    return refuse


hessian, hvp, jvp, vhp = map(_twice, ("hessian", "hvp", "jvp", "vhp"))
