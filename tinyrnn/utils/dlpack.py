"""torch.utils.dlpack: tensors shared with other libraries (tinyrnn.dlpack has the protocol)."""

from typing import Any

from ..ops.create import from_dlpack

__all__ = ["from_dlpack"]


def to_dlpack(tensor: Any) -> Any:
    """A capsule that shares the tensor's memory."""
    return tensor.__dlpack__()
