"""torch.accelerator: the GPU, if there is one."""

from __future__ import annotations

from typing import Any

from . import cuda, devices
from .cuda import (  # noqa: F401
    device_count,
    empty_cache,
    is_available,
    max_memory_allocated,
    max_memory_reserved,
    memory_allocated,
    memory_reserved,
    memory_stats,
    reset_peak_memory_stats,
)


def current_accelerator(check_available: bool = False) -> devices.device | None:
    """The accelerator in use: device("cuda"), or None."""
    return devices.device("cuda") if is_available() else None


def _refuse(call: str) -> None:
    if not is_available():
        raise devices.NoDevice(f"accelerator.{call}(): Cannot access accelerator device when none is available.")


def synchronize(device: Any = None) -> None:
    """Wait until the accelerator has done all that it was asked for."""
    _refuse("synchronize")
    cuda.synchronize(device)


def current_device_index() -> int:
    """The number of the accelerator in use."""
    _refuse("current_device_index")
    return cuda.current_device()


def set_device_index(device: Any) -> None:
    """Accepts the one accelerator."""
    _refuse("set_device_index")
    cuda.set_device(device)


def get_memory_info(device_index: Any = None) -> tuple[int, int]:
    """(free, total) bytes of the accelerator's memory."""
    _refuse("get_memory_info")
    return cuda.mem_get_info(device_index)


def current_stream(device: Any = None) -> cuda.Stream:
    """The stream."""
    _refuse("current_stream")
    return cuda.current_stream(device)
