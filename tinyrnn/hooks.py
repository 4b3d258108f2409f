"""What registering a hook returns."""

from __future__ import annotations

import itertools
from typing import Any


class RemovableHandle:
    """`remove()`, or the end of a `with` block, takes the hook away again."""

    _ids = itertools.count()

    def __init__(self, hooks: dict[int, Any]):
        self.hooks = hooks
        self.id = next(self._ids)

    def remove(self) -> None:
        self.hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exception) -> None:
        self.remove()
