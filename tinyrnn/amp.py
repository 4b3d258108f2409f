"""torch.amp where all arithmetic is in the tensors' own types: switched off it does nothing, switched on it refuses."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

from . import dtypes


class autocast(contextlib.ContextDecorator):
    """Refuses to compute in another type than the tensors have; enabled=False, or float32, changes nothing.

    Raises RuntimeError for a type that tinyrnn has no tensors of.
    """

    def __init__(self, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None):
        if enabled and dtype is not dtypes.float32:
            wanted = "a type of half precision" if dtype is None else str(dtype)
            raise RuntimeError(
                f"autocast(device_type={device_type!r}): tinyrnn does not compute in {wanted}; "
                "say enabled=False, or dtype=torch.float32"
            )

    def __enter__(self) -> autocast:
        return self

    def __exit__(self, *exception: Any) -> None:
        return None


class GradScaler:
    """The scaling of losses that half precision needs; float32 does not, so that nothing is scaled here."""

    def __init__(self, device: str = "cuda", *scales: float, enabled: bool = True, **options: Any):
        if enabled:
            warnings.warn("GradScaler is enabled, but there is nothing to scale for. Disabling.", stacklevel=2)

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
