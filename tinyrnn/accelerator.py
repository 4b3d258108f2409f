"""torch.accelerator on a machine whose accelerators tinyrnn does not use: there is none."""

from __future__ import annotations

from typing import Any

from .devices import NoDevice


def is_available() -> bool:
    """Whether an accelerator can be used: no."""
    return False


def current_accelerator(check_available: bool = False) -> None:
    """The accelerator in use: none."""


def device_count() -> int:
    """The number of accelerators that can be used: none."""
    return 0


def empty_cache() -> None:
    """Accepted and without effect: there is no accelerator's memory."""


def _refuse(call: str) -> Any:
    raise NoDevice(f"accelerator.{call}(): Cannot access accelerator device when none is available.")


def synchronize(device: Any = None) -> None:
    """Refuses: there is no accelerator."""
    _refuse("synchronize")


def current_device_index() -> int:
    """Refuses: there is no accelerator."""
    return _refuse("current_device_index")


def set_device_index(device: Any) -> None:
    """Refuses: there is no accelerator."""
    _refuse("set_device_index")
