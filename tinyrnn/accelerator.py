"""torch.accelerator on a machine whose accelerators tinyrnn does not use: there is none."""

from __future__ import annotations


def is_available() -> bool:
    """Whether an accelerator can be used: no."""
    return False


def current_accelerator(check_available: bool = False) -> None:
    """The accelerator in use: none."""


def device_count() -> int:
    """The number of accelerators that can be used: none."""
    return 0
