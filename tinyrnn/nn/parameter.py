"""Tensors that a Module counts as its own: parameters, which are trained, and buffers, which are kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import get_default_dtype
from ..tape import wrap
from ..tensor import Tensor


def _memory_of(data: Any, maker: type) -> Tensor:
    """A detached tensor on the memory of `data`, or an empty one."""
    if data is None:
        return wrap(np.empty(0, get_default_dtype().numpy))
    if not isinstance(data, Tensor):
        raise TypeError(f"{maker.__name__}(): expected data to be a Tensor, got {type(data).__name__}")
    return data.detach()


class Parameter(Tensor):
    """A leaf tensor that becomes a parameter of the Module it is assigned to.

    It shares the memory of `data` (an empty tensor if None).  It requires a gradient unless told otherwise, also when
    made inside no_grad.  Raises TypeError if `data` is no tensor, RuntimeError if integers are to have a gradient.
    """

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True):
        memory = _memory_of(data, cls)
        if requires_grad and not memory.is_floating_point():
            raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
        self = object.__new__(cls)
        self.array, self._version, self._requires = memory.array, memory.version, bool(requires_grad)
        return self

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True):
        pass  # __new__ has done it, and Tensor's __init__ would make new memory

    def __repr__(self) -> str:  # type: ignore[override]
        return "Parameter containing:\n" + super().__repr__()

    def __deepcopy__(self, memo: dict) -> Parameter:
        """A parameter on a copy of the memory, without the gradient."""
        return type(self)(wrap(self.array.copy(order="K")), self._requires)


class _IsBuffer(type):
    """Buffers are plain tensors with a mark: isinstance looks at that."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Tensor) and getattr(instance, "_is_buffer", False)


class Buffer(Tensor, metaclass=_IsBuffer):
    """A tensor that becomes a buffer of the Module it is assigned to: part of its state, but not trained.

    It shares the memory of `data` (an empty tensor if None).  persistent: whether it goes into the state_dict.
    Raises TypeError if `data` is no tensor.
    """

    persistent: bool

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Any:
        buffer: Any = _memory_of(data, cls).requires_grad_(data is not None and data.requires_grad)
        buffer.persistent = persistent
        buffer._is_buffer = True
        return buffer
