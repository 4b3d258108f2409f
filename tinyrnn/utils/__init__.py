"""What stands around training: feeding data, and memory."""

from . import checkpoint, data, dlpack

__all__ = ["checkpoint", "data", "dlpack"]
