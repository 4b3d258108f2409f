"""torch's switches: the number of threads, TF32, and those that mean nothing here, accepted so that programs run."""

from __future__ import annotations

import sys
import warnings
from types import SimpleNamespace
from typing import Any

from .kernels import allowed, lazy

pool = lazy("cpu.pool")
_state: dict[str, Any] = {"interop": 1, "precision": "highest", "fp32": "none", "deterministic": 0, "warn": False}
PRECISIONS = ("highest", "high", "medium")
MODES = ("default", "warn", "error")
_told: set[str] = set()  # the topics of warn_once


def get_num_threads() -> int:
    """How many threads a kernel's work is divided among: the processors that this process may use, unless set."""
    return pool.get_threads()


def set_num_threads(n: int) -> None:
    """Divide the work of kernels among n threads; results are the same bits for any number."""
    pool.set_threads(checked("set_num_threads", n))


def get_num_interop_threads() -> int:
    """What the program has set it to; one, unless it has."""
    return _state["interop"]


def set_num_interop_threads(n: int) -> None:
    """Accepted and without effect: ops run one after the other."""
    _state["interop"] = checked("set_num_interop_threads", n)


def checked(call: str, n: Any) -> int:
    """A number of threads; torch's RuntimeError for anything else."""
    if isinstance(n, bool) or not isinstance(n, int):
        raise RuntimeError(f"{call} expects an int, but got {type(n).__name__}")
    if n < 1:
        raise RuntimeError(f"{call} expects a positive integer, got {n}")
    return n


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Accepted and without effect: results are deterministic always."""
    _state["deterministic"] = (1 if warn_only else 2) if mode else 0


def are_deterministic_algorithms_enabled() -> bool:
    """Whether the program has asked for deterministic results."""
    return _state["deterministic"] > 0


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether the program has asked for warnings only."""
    return _state["deterministic"] == 1


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """use_deterministic_algorithms by a number or a word: 0 "default", 1 "warn", 2 "error"."""
    if debug_mode not in (0, 1, 2, *MODES):
        raise RuntimeError(f"invalid value of debug_mode, expected 0, 1, 2 or one of {MODES}, got {debug_mode!r}")
    _state["deterministic"] = MODES.index(debug_mode) if isinstance(debug_mode, str) else debug_mode


def get_deterministic_debug_mode() -> int:
    """0, 1 or 2: see set_deterministic_debug_mode."""
    return _state["deterministic"]


def set_float32_matmul_precision(precision: str) -> None:
    """Whether matrix products of float32 on a GPU may be rounded to TF32: not with "highest", as at first."""
    if not isinstance(precision, str):
        raise RuntimeError(f"set_float32_matmul_precision expects a str, but got {type(precision).__name__}")
    if precision in PRECISIONS:
        _state["precision"], allowed.tf32 = precision, precision != "highest"
        _state["fp32"] = "tf32" if allowed.tf32 else "ieee"
    else:
        warnings.warn(f"{precision} is not one of 'highest', 'high', or 'medium'; the call has no effect", stacklevel=2)


def get_float32_matmul_precision() -> str:
    """What the program has asked for: "highest" unless set otherwise."""
    return _state["precision"]


def set_flush_denormal(mode: bool) -> bool:
    """Not supported: False, as torch says on such a processor."""
    return False


def set_warn_always(b: bool) -> None:
    """Whether what is told once in a process (see warn_once) is told every time."""
    _state["warn"] = b


def is_warn_always_enabled() -> bool:
    """What set_warn_always was told."""
    return _state["warn"]


def warn_once(topic: str, message: str) -> None:
    """A UserWarning at the line of the program, unless this process was told of the topic before."""
    if topic in _told and not _state["warn"]:
        return
    _told.add(topic)
    level, frame = 1, sys._getframe()
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(f"{__package__}."):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


version = SimpleNamespace(cuda=None, hip=None, xpu=None, debug=False, git_version="")
