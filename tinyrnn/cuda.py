"""torch.cuda on a machine without a GPU: questions are answered, seeds are accepted, the rest refuses.

As in torch, asking how much memory is in use gives 0, and what cannot be had without a GPU raises: NoDevice is both an
AssertionError and a RuntimeError, because torch raises either, depending on how it was built.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from . import amp as _amp
from .devices import NoDevice
from .dtypes import Shown as _Shown


def _answers(value: Any, doc: str, *names: str) -> None:
    """Functions that give `value`, whatever they are asked about."""
    for name in names:
        _publish(name, doc, lambda *args, **kwargs: value)


def _refuses(*names: str) -> None:
    """Functions that need a GPU."""
    for name in names:
        _publish(name, "Refuses: there is no GPU.", lambda *args, name=name, **kwargs: _refuse(name))


def _refuse(name: str) -> None:
    raise NoDevice(f"cuda.{name}(): tinyrnn runs on the CPU only (cuda.is_available() is False)")


def _publish(name: str, doc: str, function: Callable) -> None:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    globals()[name] = function


_answers(False, "No: there is no GPU.", "is_available", "is_bf16_supported", "is_initialized", "is_tf32_supported")
_answers(0, "The number of GPUs that can be used: none.", "device_count")
_answers(
    0, "The bytes of GPU memory in use: none.", "memory_allocated", "max_memory_allocated", "memory_reserved",
    "max_memory_reserved", "memory_cached", "max_memory_cached",
)  # fmt: skip
_answers(
    None, "Accepted and without effect: there is no GPU.", "manual_seed", "manual_seed_all", "seed", "seed_all",
    "set_rng_state", "set_rng_state_all", "empty_cache", "reset_peak_memory_stats", "reset_max_memory_allocated",
    "reset_max_memory_cached",
)  # fmt: skip
_refuses(
    "synchronize", "current_device", "set_device", "get_device_name", "get_device_properties", "get_device_capability",
    "mem_get_info", "current_stream", "default_stream", "set_stream", "initial_seed", "get_rng_state", "ipc_collect",
    "init", "Stream", "Event", "memory_summary",
)  # fmt: skip


def get_arch_list() -> list[str]:
    """The kinds of GPU that can be used: none."""
    return []


def get_rng_state_all() -> list:
    """The states of the GPUs' generators: there are none."""
    return []


def memory_stats(device: Any = None) -> OrderedDict:
    """What is known of the use of GPU memory: nothing."""
    return OrderedDict()


class device:
    """A `with` block for a GPU: None or a negative number stand for none, any other is refused."""

    def __init__(self, device: Any):
        self.idx = device

    def __enter__(self) -> None:
        if self.idx is not None and not (isinstance(self.idx, int) and self.idx < 0):
            _refuse("device")

    def __exit__(self, *exception: Any) -> None:
        pass


class _Absent(_Shown):
    """The class of torch.cuda.FloatTensor and its like: nothing is an instance of one, and none can be made."""

    def __instancecheck__(cls, instance: object) -> bool:
        return False

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"type {cls._shown} not available: tinyrnn runs on the CPU only")


for _kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool"):
    _name = f"{_kind}Tensor"
    globals()[_name] = _Absent(_name, (), {"_shown": f"torch.cuda.{_name}", "__doc__": "A tensor on a GPU: not here."})

amp = SimpleNamespace(
    autocast=type("autocast", (_amp.autocast,), {"__init__": _amp.autocast.of_cuda, "__doc__": _amp.autocast.__doc__}),
    GradScaler=_amp.GradScaler,
    custom_fwd=_amp.custom_fwd,
    custom_bwd=_amp.custom_bwd,
)
