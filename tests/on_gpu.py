"""`pytest --on-gpu tests/test_cuda_*.py`: the tests of CUDA kernels, written for the simulator, on the GPU that is there.

Those that wait for a fault of the simulator's, count launches, or shrink the device fail there; all others must pass.
With EXACT=1 every array has memory of its own, so that compute-sanitizer sees where it ends.
"""

import contextlib
import os

import pytest
import simulator

from tinyrnn.kernels.cuda import driver, memory


def install() -> None:
    """Put the GPU in the simulator's place, for the whole run."""
    if words := driver.missing():
        raise pytest.UsageError(f"--on-gpu: {words}")
    device = driver.driver()
    own = dict(vars(device))

    @contextlib.contextmanager
    def real(seed=0, *, strict=False, exact=True):
        vars(device).clear()  # of what another test has set
        vars(device).update(own)
        steps = memory.SMALL_STEP, memory.LARGE_STEP
        if os.environ.get("EXACT"):
            memory.SMALL_STEP = memory.LARGE_STEP = 1
            memory._pools[id(device)] = simulator.Exact(device)
        try:
            with driver.use(device):
                yield device
                device.synchronize()  # an error of a kernel is told in the test that launched it
        finally:
            memory.SMALL_STEP, memory.LARGE_STEP = steps

    simulator.simulated = real
