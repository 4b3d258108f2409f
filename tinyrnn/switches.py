"""torch's switches that mean nothing here: accepted, so that programs run, and without effect."""

from __future__ import annotations

from typing import Any


def get_num_threads() -> int:
    """How many threads the kernels use: one."""
    return 1


def set_num_threads(n: int) -> None:
    """Accepted and without effect: the kernels use one thread."""
    if not isinstance(n, int) or n < 1:
        raise RuntimeError(f"set_num_threads expects a positive integer, got {n!r}")


def compile(model: Any = None, **options: Any) -> Any:
    """The model itself: its kernels are compiled already.  Without a model, a decorator that does the same."""
    return model if model is not None else lambda function: function


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Accepted and without effect: results are deterministic always."""
