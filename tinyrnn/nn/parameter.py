"""Tensors that a Module counts as its own: parameters, which are trained, and buffers, which are kept."""

from __future__ import annotations

from typing import Any, NoReturn

from ..dtypes import dtype as Dtype
from ..ops.common import type_of
from ..ops.create import empty
from ..tape import wrap
from ..tensor import Tensor


def _memory_of(data: Any, maker: type) -> Tensor:
    """A detached tensor on the memory of `data`, or an empty one."""
    if data is None:
        return empty(0)
    if not isinstance(data, Tensor):
        raise TypeError(f"{maker.__name__}(): expected data to be a Tensor, got {type_of(data)}")
    return data.detach()


class Parameter(Tensor):
    """A leaf tensor that becomes a parameter of the Module it is assigned to.

    It shares the memory of `data` (an empty tensor if None).  It requires a gradient unless told otherwise, also when
    made inside no_grad.  Raises TypeError if `data` is no tensor, RuntimeError if integers are to have a gradient.
    """

    _shown = "torch.nn.parameter.Parameter"

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True):
        memory = _memory_of(data, cls)
        if requires_grad and not memory.is_floating_point():
            raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
        memory.requires_grad_(bool(requires_grad))
        self = object.__new__(cls)
        self.array, self._writes, self._requires = memory.array, memory.version, memory._requires
        return self

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True):
        pass  # __new__ has done it, and Tensor's __init__ would make new memory

    def __repr__(self) -> str:  # type: ignore[override]
        return "Parameter containing:\n" + super().__repr__()

    def __deepcopy__(self, memo: dict) -> Parameter:
        """A parameter on a copy of the memory, without the gradient."""
        return type(self)(wrap(self.array.copy(order="K")), self._requires)


class UninitializedParameter(Parameter):
    """A parameter without a shape, until `materialize` gives it one; ValueError for all that needs its numbers.

    It may be given to an optimizer and moved to another type: it stays the same object when it becomes a Parameter.
    """

    cls_to_become = Parameter
    waiting: Tensor  # empty, of the type of the numbers to come

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Dtype | None = None):
        self = object.__new__(cls)
        self._requires = requires_grad
        self.waiting = empty(0, device=device, dtype=dtype)
        return self

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Dtype | None = None):
        pass

    def materialize(self, shape: Any, device: Any = None, dtype: Dtype | None = None) -> None:
        """Become a Parameter of this shape, whose numbers are whatever was in memory."""
        new = self.waiting.to(device=device, dtype=dtype).new_empty(shape)
        del self.waiting
        self.__class__ = self.cls_to_become  # type: ignore[assignment]
        vars(self).update(array=new.array)

    @property
    def array(self) -> NoReturn:  # type: ignore[override]
        raise ValueError(
            "Attempted to use an uninitialized parameter. This happens when a model with lazy layers has not seen any "
            "input yet: call it with a batch first"
        )

    @property
    def shape(self) -> NoReturn:  # type: ignore[override]
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer: call the model with a batch first"
        )

    dtype = property(lambda self: self.waiting.dtype)  # type: ignore[assignment]
    device = property(lambda self: self.waiting.device)  # type: ignore[assignment]
    data = property(lambda self: self.waiting, lambda self, new: setattr(self, "waiting", new))  # type: ignore[assignment]

    def detach(self) -> UninitializedParameter:
        return self

    def __repr__(self) -> str:  # type: ignore[override]
        return "<UninitializedParameter>"

    def __reduce_ex__(self, protocol: Any) -> tuple:
        return type(self), (self._requires, self.device, self.dtype)

    def __deepcopy__(self, memo: dict) -> UninitializedParameter:
        return type(self)(self._requires, self.device, self.dtype)


class _IsBuffer(type(Tensor)):  # type: ignore[misc]
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
