"""torch.amp where all arithmetic is in the tensors' own types: autocast does nothing or refuses; GradScaler scales."""

from __future__ import annotations

import contextlib
import functools
import warnings
from typing import Any

from . import devices, dtypes
from .grad_scaler import GradScaler as GradScaler


class autocast(contextlib.ContextDecorator):
    """Refuses to compute in another type than the tensors have; enabled=False, or float32, changes nothing.

    It is switched off with a warning on "cuda": as in torch where there is no GPU, and where there is one, too.
    Raises RuntimeError for a type of half precision on the CPU.
    """

    def __init__(self, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None):
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        self.device = devices.device(device_type).type
        self.fast_dtype = dtype or (dtypes.float16 if self.device == "cuda" else dtypes.bfloat16)
        if enabled and self.device != "cpu":
            there = self.device == "cuda" and devices.has_gpu()
            why = "tinyrnn does not compute in half precision" if there else f"{self.device} is not available"
            warnings.warn(f"autocast: {why}. Disabling autocast.", stacklevel=2 + (type(self) is not autocast))
        elif enabled and self.fast_dtype is not dtypes.float32:
            raise RuntimeError(
                f"autocast(device_type={device_type!r}): tinyrnn does not compute in {self.fast_dtype}; "
                "say enabled=False, or dtype=torch.float32"
            )

    def __enter__(self) -> autocast:
        return self

    def __exit__(self, *exception: Any) -> None:
        return None


def is_autocast_available(device_type: str) -> bool:
    """Whether autocast may compute in half precision on a device: nowhere."""
    return False


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether arithmetic is in half precision: never."""
    return False


def custom_fwd(fwd: Any = None, *, device_type: str = "cuda", cast_inputs: Any = None) -> Any:
    """A Function's forward as it is: there is no autocast to take part in.  Without `fwd`, a decorator."""
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)
    return fwd


def custom_bwd(bwd: Any = None, *, device_type: str = "cuda") -> Any:
    """A Function's backward as it is.  Without `bwd`, a decorator."""
    return functools.partial(custom_bwd, device_type=device_type) if bwd is None else bwd
