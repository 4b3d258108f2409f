"""torch.cuda on a machine without a GPU: questions are answered, seeds are accepted, the rest refuses."""

from typing import Any


def is_available() -> bool:
    """Whether tensors can be put on a GPU: no."""
    return False


def device_count() -> int:
    """The number of GPUs that can be used: none."""
    return 0


def manual_seed(seed: int) -> None:
    """Accepted and without effect: there is no GPU to seed."""


def manual_seed_all(seed: int) -> None:
    """Accepted and without effect: there is no GPU to seed."""


def empty_cache() -> None:
    """Accepted and without effect: there is no GPU memory."""


def is_bf16_supported() -> bool:
    """Whether the GPU computes in bfloat16: there is none."""
    return False


def _refuse(call: str) -> Any:
    raise RuntimeError(f"cuda.{call}(): tinyrnn runs on the CPU only (cuda.is_available() is False)")


def synchronize(device: Any = None) -> None:
    """Refuses: there is no GPU."""
    _refuse("synchronize")


def current_device() -> int:
    """Refuses: there is no GPU."""
    return _refuse("current_device")


def set_device(device: Any) -> None:
    """Refuses: there is no GPU."""
    _refuse("set_device")


def get_device_name(device: Any = None) -> str:
    """Refuses: there is no GPU."""
    return _refuse("get_device_name")
