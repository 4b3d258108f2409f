"""Looking for the call whose backward fails or gives NaN."""

from __future__ import annotations

import warnings
from typing import Any

from ..grad_mode import anomaly

__all__ = ["detect_anomaly", "set_detect_anomaly"]


class set_detect_anomaly:
    """Look for anomalies, or do not: from the call on, or inside a `with` block.

    While it is on, each recorded call remembers the line of the program that made it.  A gradient with a NaN (with
    check_nan) raises RuntimeError, which names the op and that line; any error in a backward is preceded by a warning
    with the traceback of the forward call.  As in torch this is so in all threads.
    """

    def __init__(self, mode: bool, check_nan: bool = True):
        self.before = (anomaly.enabled, anomaly.check_nan)
        set_anomaly_enabled(mode, check_nan)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: Any) -> None:
        anomaly.enabled, anomaly.check_nan = self.before


class detect_anomaly(set_detect_anomaly):
    """set_detect_anomaly(True) for a `with` block."""

    def __init__(self, check_nan: bool = True):
        self.before = (anomaly.enabled, anomaly.check_nan)
        self.check_nan = check_nan
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should only be enabled for "
            "debugging.",
            stacklevel=2,
        )

    def __enter__(self) -> None:
        self.before = (anomaly.enabled, anomaly.check_nan)
        set_anomaly_enabled(True, self.check_nan)


def set_anomaly_enabled(mode: bool, check_nan: bool = True) -> None:
    """Look for anomalies from now on, or no more."""
    for name, value in (("enabled", mode), ("check_nan", check_nan)):
        if not isinstance(value, bool):
            raise TypeError(
                f"set_anomaly_enabled(): argument '{name}' (position {1 + (name == 'check_nan')}) must be bool, not "
                f"{type(value).__name__}"
            )
    anomaly.enabled, anomaly.check_nan = mode, check_nan


def is_anomaly_enabled() -> bool:
    """Whether anomalies are looked for."""
    return anomaly.enabled


def is_anomaly_check_nan_enabled() -> bool:
    """Whether a NaN in a gradient counts as an anomaly."""
    return anomaly.check_nan
