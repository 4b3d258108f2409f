"""torch.profiler's marks, which a program may leave where they are: nothing measures what is between them."""

from __future__ import annotations

import contextlib
from typing import Any

__all__ = ["record_function"]


class record_function(contextlib.ContextDecorator):
    """A `with` block, or a decorator, that gives a piece of the program a name."""

    def __init__(self, name: str, args: str | None = None):
        self.name, self.args = name, args

    def __enter__(self) -> record_function:
        return self

    def __exit__(self, *exception: Any) -> None:
        return None
