"""torch.amp where all arithmetic is in the tensors' own types: switched off it does nothing, switched on it refuses."""

from __future__ import annotations

import contextlib
import functools
import warnings
from typing import Any

from . import devices, dtypes


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


class GradScaler:
    """The scaling of losses that half precision needs; float32 does not, so that nothing is scaled here."""

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ):
        if enabled:
            told = "GradScaler is enabled, but there is nothing to scale for. Disabling."
            warnings.warn(told, stacklevel=2 + (type(self) is not GradScaler))

    def is_enabled(self) -> bool:
        return False

    def scale(self, outputs: Any) -> Any:
        """The outputs, as they are."""
        return outputs

    def unscale_(self, optimizer: Any) -> None:
        """Nothing was scaled."""

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """The optimizer's own step."""
        return optimizer.step(*args, **kwargs)

    def update(self, new_scale: Any = None) -> None:
        """There is no scale."""

    def get_scale(self) -> float:
        return 1.0

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state_dict: dict) -> None:
        """There is no state."""
