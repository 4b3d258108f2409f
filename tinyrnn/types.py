"""torch.types: names for type hints."""

from __future__ import annotations

import builtins
from collections.abc import Sequence

from .devices import device as _device
from .dtypes import dtype as _dtype  # noqa: F401

__all__ = ["Device", "FileLike", "Number", "Storage"]

Number = builtins.int | builtins.float | builtins.bool
Device = _device | str | builtins.int | None
FileLike = object
Storage = object
_size = Sequence[builtins.int]
_int, _float, _bool = builtins.int, builtins.float, builtins.bool
