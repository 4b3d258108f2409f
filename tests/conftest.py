"""The oracle: torch live where it is installed, recorded values of torch elsewhere."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

try:
    import torch
except ImportError:
    torch = None

RECORDED = Path(__file__).parent / "recorded"

# These tests compare thousands of generated cases with a live torch; nothing recorded could stand in for it.
needs_torch = pytest.mark.skipif(torch is None, reason="compares generated cases with a live torch")


def pytest_addoption(parser):
    parser.addoption("--record", action="store_true", help="write torch's answers to tests/recorded/ (needs torch)")
    parser.addoption("--cases", type=int, default=0, help="so many random cases of each property in test_properties.py")
    parser.addoption("--recorded", action="store_true", help="use the recorded answers even where torch is installed")
    parser.addoption("--on-gpu", action="store_true", help="the tests of CUDA kernels on a GPU, not in the simulator")
    parser.addoption("--every-sample", action="store_true", help="all of torch's operator samples, not some of each")


class Recorder:
    """The recorded answers of one test module: a flat .npz of name -> array."""

    def __init__(self, module: str):
        self.path = RECORDED / f"{module}.npz"
        self.fresh: dict[str, np.ndarray] = {}
        self.stored = dict(np.load(self.path)) if self.path.exists() else {}

    def save(self):
        RECORDED.mkdir(exist_ok=True)
        np.savez_compressed(self.path, **self.fresh)


def pytest_configure(config):
    config.recorders = {}
    several = config.getoption("--cases")
    settings.register_profile(
        "properties",
        max_examples=several or 400,
        derandomize=not several,  # the same cases in every run of the suite, others in every long one
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("properties")
    if config.getoption("--on-gpu"):
        sys.path.insert(0, str(Path(__file__).parent))
        import on_gpu

        on_gpu.install()
    if config.getoption("--record") and torch is None:
        raise pytest.UsageError("--record needs torch")


def pytest_sessionfinish(session):
    if session.config.getoption("--record"):
        for recorder in session.config.recorders.values():
            recorder.save()


@pytest.fixture
def oracle(request):
    """oracle(f) -> f(torch), a dict of name -> array, number or text; live, or as it was recorded."""
    module = request.module.__name__
    recorders = request.config.recorders
    if module not in recorders:
        recorders[module] = Recorder(module)
    recorder = recorders[module]
    calls = 0

    def ask(question):
        nonlocal calls
        calls += 1
        prefix = f"{request.node.name}|{calls}|"
        if torch is not None and not request.config.getoption("--recorded"):
            answer = {name: np.asarray(value) for name, value in question(torch).items()}
            recorder.fresh.update({prefix + name: value for name, value in answer.items()})
            return answer
        answer = {key[len(prefix) :]: value for key, value in recorder.stored.items() if key.startswith(prefix)}
        if not answer:
            pytest.fail(f"no recorded answer for {request.node.nodeid}: run `pytest --record` where torch is installed")
        return answer

    return ask


@pytest.fixture
def gpu():
    """The device is a simulator in this test (simulator.py); `gpu.seed = 1` is another order of the threads."""
    pytest.importorskip("numba_cuda")
    pytest.importorskip("greenlet")
    from simulator import simulated

    with simulated() as simulator:
        yield simulator


sys.path.insert(0, str(Path(__file__).parent))


def said(stderr: str) -> str:
    """What a process wrote on stderr, but for the line about compiling, which it owes to a cache that was empty."""
    lines = stderr.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("tinyrnn: compiling kernels"))
