"""torch.backends: switches that change nothing here, because results are always deterministic."""

from types import SimpleNamespace

cudnn = SimpleNamespace(
    enabled=False, deterministic=True, benchmark=False, allow_tf32=False, is_available=lambda: False
)
cuda = SimpleNamespace(matmul=SimpleNamespace(allow_tf32=False), is_built=lambda: False)
mps = SimpleNamespace(is_available=lambda: False, is_built=lambda: False)
