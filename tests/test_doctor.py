"""`python -m tinyrnn doctor`: what it says of a machine, and that it notices what computes wrongly."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinyrnn
from tinyrnn import doctor

ROOT = Path(__file__).resolve().parent.parent


def test_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "tinyrnn", "doctor"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for what in (
        "tinyrnn ",
        "Python ",
        "CPU ",
        "threads ",
        "cache ",
        "GPU ",
        "CUDA ",
        "extras ",
        "Self-check on cpu",
        "All is well",
    ):
        assert what in done.stdout
    for family in (*doctor.checks(), *doctor.large_checks()):
        assert f"ok    {family}" in done.stdout


def test_without_compilation_nothing_runs():
    """One line says so, of the doctor; of a program, the last of its traceback."""
    program = "import tinyrnn as t; t.nn.Linear(2, 3)(t.ones(1, 2))"
    for arguments, code in ((["-m", "tinyrnn", "doctor"], 1), (["-c", program], 1)):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, capture_output=True,
            text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == code and "NUMBA_DISABLE_JIT forbids that" in done.stderr.splitlines()[-1]
        assert arguments[-1] == program or len(done.stderr.splitlines()) == 1


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.cache, "directory", lambda: tmp_path / "elsewhere")
    assert "cannot be written" in dict(doctor.report())["cache"]


def broken_values(function):
    return lambda *arrays: function(*arrays) * 1.001


def broken_gradient(function):
    return lambda x, *arrays: function(x.detach(), *arrays) + 0 * x.sum()


@pytest.mark.parametrize("family", doctor.checks())
def test_it_notices(family):
    function, reference, arrays = doctor.checks()[family]
    assert not doctor.wrong((function, reference, arrays), "cpu")
    assert doctor.wrong((broken_values(function), reference, arrays), "cpu") == "wrong values"
    if family not in ("clip", "update", "search", "random"):  # whose results have no gradients
        assert doctor.wrong((broken_gradient(function), reference, arrays), "cpu") == "a wrong gradient"


@pytest.mark.parametrize("family", doctor.large_checks())
def test_it_notices_in_float32(family):
    function, reference, arrays = doctor.large_checks()[family]
    assert not doctor.wrong((function, reference, arrays), "cpu", tinyrnn.float32)
    slightly = lambda *a: function(*a) * 1.0001  # noqa: E731  (TF32 is wrong by more)
    assert doctor.wrong((slightly, reference, arrays), "cpu", tinyrnn.float32) == "wrong values"
    part = lambda x, *a: function(torch_half(x), *a)  # noqa: E731
    assert doctor.wrong((part, reference, arrays), "cpu", tinyrnn.float32) == "a wrong gradient"


def torch_half(x):
    """x, of which half the gradient does not arrive."""
    half = x.shape[0] // 2
    return tinyrnn.cat([x[:half], x[half:].detach()])


def test_a_gpu_that_cannot_be_used_is_a_failure(monkeypatch, capsys):
    """The checks of the CPU go on."""
    from tinyrnn.kernels.cuda import driver

    def refused():
        raise RuntimeError("CUDA error: CUDA_ERROR_DEVICE_UNAVAILABLE (cuDevicePrimaryCtxRetain)")

    monkeypatch.setattr(driver, "missing", lambda: None)
    monkeypatch.setattr(driver, "driver", refused)
    monkeypatch.setattr(doctor.torch.cuda, "is_available", lambda: True)
    check = doctor.checks()["map"]
    monkeypatch.setattr(doctor, "checks", lambda: {"map": check})
    monkeypatch.setattr(doctor, "large_checks", dict)
    assert doctor.doctor() == 1
    said = capsys.readouterr()
    assert "there is one, but it cannot be used: CUDA error: CUDA_ERROR_DEVICE_UNAVAILABLE" in said.out
    assert "ok    map" in said.out and "on cuda" not in said.out and "the GPU itself" in said.err


def test_a_failure_is_told(monkeypatch, capsys):
    checks = doctor.checks()
    monkeypatch.setattr(doctor, "checks", lambda: {"map": checks["map"], "gemm": (np.matmul, *checks["gemm"][1:])})
    monkeypatch.setattr(doctor, "large_checks", dict)
    assert doctor.doctor() == 1
    said = capsys.readouterr()
    assert "ok    map" in said.out and "WRONG gemm" in said.out and "gemm on cpu" in said.err


def test_on_a_gpu(gpu):
    assert "multiprocessors" in doctor.gpu()
    assert {family: found for family, found, _ in doctor.examine("cuda", large=False)} == dict.fromkeys(
        doctor.checks(), ""
    )
