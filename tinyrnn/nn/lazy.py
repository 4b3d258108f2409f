"""A linear layer that learns the width of its input when it first sees one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..tape import no_grad
from ..tensor import Tensor
from .layers import Linear
from .module import Module
from .parameter import UninitializedParameter


class LazyLinear(Linear):
    """A Linear that takes in_features from its first input, or from a state_dict, and is a plain Linear from then on.

    Its parameters are uninitialised until then; they are drawn when the first input comes.
    """

    cls_to_become = Linear

    def __init__(self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None):
        Module.__init__(self)
        self.in_features, self.out_features = 0, out_features
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        self.bias = UninitializedParameter(device=device, dtype=dtype) if bias else None

    def _waiting(self) -> list[tuple[str, UninitializedParameter]]:
        return [(name, p) for name, p in self._parameters.items() if isinstance(p, UninitializedParameter)]

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter still waits for its shape."""
        return bool(self._waiting())

    def reset_parameters(self) -> None:
        """As Linear's, once there is something to draw."""
        if not self._waiting() and self.in_features:
            super().reset_parameters()

    def initialize_parameters(self, input: Any) -> None:
        """Shape and draw the parameters for an input (..., in_features)."""
        waiting, self.in_features = self._waiting(), input.shape[-1]
        for name, parameter in waiting:
            parameter.materialize((self.out_features, self.in_features) if name == "weight" else (self.out_features,))
        if waiting:
            self.reset_parameters()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.initialize_parameters(*args, **kwargs)
        self.__class__ = self.cls_to_become  # type: ignore[assignment]
        return self(*args, **kwargs)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        for name, parameter in self._waiting():
            source = state_dict.get(prefix + name)
            if isinstance(source, Tensor) and not isinstance(source, UninitializedParameter):
                with no_grad():
                    parameter.materialize(source.shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)
