"""torch.backends, and torch.mps, torch.xpu, torch.cpu: the switch for TF32, switches that change nothing here, because
results are always deterministic, and questions about devices.
"""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

from .devices import has_gpu
from .kernels import allowed
from .switches import _state, set_float32_matmul_precision


def _no(*args: Any) -> bool:
    return False


def _nothing(*args: Any) -> None:
    """Accepted and without effect."""


class _Fastpath:
    """Whether an encoder leaves out padding in evaluation, as torch's does (see nn.TransformerEncoder)."""

    def __init__(self) -> None:
        self.enabled = True

    def get_fastpath_enabled(self) -> bool:
        """Whether it does; True at first."""
        return self.enabled

    def set_fastpath_enabled(self, value: bool) -> None:
        """Say whether it does."""
        self.enabled = value


@contextlib.contextmanager
def _flags(**switches: bool) -> Any:
    """A `with` block in which switches would be set."""
    yield


class _MatMul:
    """Whether matrix products of float32 on a GPU may be rounded to TF32, as set_float32_matmul_precision says too."""

    def __init__(self) -> None:
        self.allow_fp16_reduced_precision_reduction = True

    @property
    def allow_tf32(self) -> bool:
        """Whether they may; False at first."""
        return allowed.tf32

    @allow_tf32.setter
    def allow_tf32(self, value: bool) -> None:
        if not isinstance(value, bool):
            raise RuntimeError(f"set_allow_tf32_cublas expects a bool, but got {type(value).__name__}")
        self.fp32_precision = "tf32" if value else "ieee"

    @property
    def fp32_precision(self) -> str:
        """`tf32` if they may, else `ieee`, or `none` if nobody has said so."""
        return _state["fp32"]

    @fp32_precision.setter
    def fp32_precision(self, value: str) -> None:
        if value not in ("none", "ieee", "tf32"):
            raise RuntimeError(f"Unknown precision: {value}")
        set_float32_matmul_precision("high" if value == "tf32" else "highest")
        _state["fp32"] = value


cudnn = SimpleNamespace(
    enabled=True, deterministic=False, benchmark=False, allow_tf32=True, fp32_precision="none", benchmark_limit=10,
    is_available=_no, version=_nothing, flags=_flags,
)  # fmt: skip
cuda = SimpleNamespace(
    matmul=_MatMul(), is_built=has_gpu, enable_flash_sdp=_nothing, enable_mem_efficient_sdp=_nothing,
    enable_math_sdp=_nothing, flash_sdp_enabled=lambda: True, mem_efficient_sdp_enabled=lambda: True,
    math_sdp_enabled=lambda: True,
)  # fmt: skip
mha = _Fastpath()
mps = SimpleNamespace(is_available=_no, is_built=_no)
mkl = SimpleNamespace(is_available=_no)
mkldnn = SimpleNamespace(is_available=_no, enabled=True, flags=_flags)
openmp = SimpleNamespace(is_available=_no)
cpu = SimpleNamespace(get_cpu_capability=lambda: "DEFAULT")

# The devices under their own names.
devices = {
    "mps": SimpleNamespace(is_available=_no, device_count=lambda: 0, manual_seed=_nothing, seed=_nothing),
    "xpu": SimpleNamespace(
        is_available=_no, device_count=lambda: 0, manual_seed=_nothing, manual_seed_all=_nothing, empty_cache=_nothing
    ),
    "cpu": SimpleNamespace(
        is_available=lambda: True, device_count=lambda: 1, synchronize=_nothing, current_device=lambda: "cpu"
    ),
}
