"""Weights as a length and a direction (Salimans and Kingma 2016, https://arxiv.org/abs/1602.07868)."""

from __future__ import annotations

import warnings
from typing import Any, TypeVar

from ... import tape
from ..module import Module
from ..parameter import Parameter

AnyModule = TypeVar("AnyModule", bound=Module)


class WeightNorm:
    """A forward pre-hook that computes the weight `name` from its length, name_g, and its direction, name_v."""

    def __init__(self, name: str, dim: int):
        self.name, self.dim = name, dim

    def length(self, weight: Any) -> Any:
        """The norm over all dimensions but `dim`, which stay with size 1; over all for dim = -1."""
        if self.dim == -1:
            return weight.norm()
        others = [d for d in range(weight.ndim) if d != self.dim % weight.ndim]
        return weight.norm(2, others, True) if others else weight.abs()

    def compute_weight(self, module: Module) -> Any:
        direction = getattr(module, f"{self.name}_v")
        return direction * (getattr(module, f"{self.name}_g") / self.length(direction))

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))


def weight_norm(module: AnyModule, name: str = "weight", dim: int | None = 0) -> AnyModule:
    """Train name_g, the norms of the slices of a weight along `dim` (None: of the whole), and name_v in its place.

    The weight itself is computed before every forward.  Returns the module.
    """
    warnings.warn(
        "`torch.nn.utils.weight_norm` is deprecated in favor of `torch.nn.utils.parametrizations.weight_norm`, which "
        "tinyrnn does not have.",
        FutureWarning,
        stacklevel=2,
    )
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook.function, WeightNorm) and hook.function.name == name:
            raise RuntimeError(f"Cannot register two weight_norm hooks on the same parameter {name}")
    norm = WeightNorm(name, -1 if dim is None else dim)
    weight = getattr(module, name)
    del module._parameters[name]
    with tape.no_grad():
        module.register_parameter(f"{name}_g", Parameter(norm.length(weight)))
    module.register_parameter(f"{name}_v", Parameter(weight.data))
    setattr(module, name, norm.compute_weight(module))
    module.register_forward_pre_hook(norm)
    return module


def remove_weight_norm(module: AnyModule, name: str = "weight") -> AnyModule:
    """Undo weight_norm: the weight, as it is now, becomes a parameter again.  Raises ValueError if there is none."""
    for key, hook in module._forward_pre_hooks.items():
        norm = hook.function
        if isinstance(norm, WeightNorm) and norm.name == name:
            weight = norm.compute_weight(module)
            delattr(module, name)
            del module._parameters[f"{name}_g"], module._parameters[f"{name}_v"], module._forward_pre_hooks[key]
            setattr(module, name, Parameter(weight.data))
            return module
    raise ValueError(f"weight_norm of '{name}' not found in {module}")
