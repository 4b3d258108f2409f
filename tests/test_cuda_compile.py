"""Every CUDA kernel is compiled for the GPUs that people have, without one: no spills, no stack, not too many registers."""

import importlib

import pytest

pytest.importorskip("numba_cuda")
pytest.importorskip("nvidia.cu13")

from offline import CAPABILITIES, resources  # noqa: E402

import tinyrnn.kernels.cuda  # noqa: E402

REGISTERS = {"additive": 255, "gemm": 255, "attention": 255, "recurrence": 255}  # of a thread; 128 elsewhere
FAMILIES = sorted({*tinyrnn.kernels.cuda.FAMILIES, "elementwise"} - {"copies", "select"})  # which are elementwise's


def examples(family):
    """The kernels of a family, in the types that it has."""
    return importlib.import_module(f"tinyrnn.kernels.cuda.{family}").examples()


@pytest.mark.parametrize("capability", CAPABILITIES, ids=lambda c: f"sm_{c[0]}{c[1]}")
@pytest.mark.parametrize("family", FAMILIES)
def test_every_kernel_compiles(family, capability):
    kernels = examples(family)
    assert kernels
    most = REGISTERS.get(family, 128)
    used = {kernel: resources(kernel, capability) for kernel in kernels}
    bad = {k: r for k, r in used.items() if r["REG"] > most or r["STACK"] or r["LOCAL"]}
    assert not bad
