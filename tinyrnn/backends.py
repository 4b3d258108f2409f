"""torch.backends, and torch.mps, torch.xpu, torch.cpu: switches that change nothing here, because results are always
deterministic, and questions about devices, of which there is one.
"""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any


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


_matmul = {"allow_tf32": False, "allow_fp16_reduced_precision_reduction": True, "fp32_precision": "none"}

cudnn = SimpleNamespace(
    enabled=True, deterministic=False, benchmark=False, allow_tf32=True, fp32_precision="none", benchmark_limit=10,
    is_available=_no, version=_nothing, flags=_flags,
)  # fmt: skip
cuda = SimpleNamespace(
    matmul=SimpleNamespace(**_matmul), is_built=_no, enable_flash_sdp=_nothing, enable_mem_efficient_sdp=_nothing,
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
