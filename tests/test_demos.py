"""The demos, run as a person would run them."""

import os
import subprocess
import sys
from pathlib import Path

DEMOS = Path(__file__).parent.parent / "demos"
sys.path.insert(0, str(DEMOS))  # tests of their parts import them


def run(name, *args):
    path = os.pathsep.join([str(DEMOS.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(DEMOS / name), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path})


def test_majority_prints_the_published_log_and_writes_its_pictures(tmp_path):
    done = run("majority.py", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    log = [line for line in done.stdout.splitlines() if line.startswith(("Epoch", "Test"))]
    assert log[:4] == [
        "Epoch [5/20], Loss: 0.6591",
        "Epoch [10/20], Loss: 0.6286",
        "Epoch [15/20], Loss: 0.5319",
        "Epoch [20/20], Loss: 0.3664",
    ]
    assert log[4].startswith("Test Accuracy: 79.00%")
    for picture in ("majority-loss.png", "majority-confusion.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")


def test_majority_has_a_quick_form(tmp_path):
    done = run("majority.py", "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("Epoch")] == [
        "Epoch [5/10], Loss: 0.6591",
        "Epoch [10/10], Loss: 0.6286",
    ]


def test_cells_learn_and_are_their_loops(tmp_path):
    done = run("cells.py", "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if "test loss" in line]
    names = ["minimal_gated_unit", "peephole_lstm", "coupled_lstm", "minimal_gru", "normalized_lstm"]
    assert [row.split()[0] for row in rows] == names
    for row in rows:
        words = row.replace(";", "").split()
        assert float(words[3]) < 0.1, row  # 0.167 for a guess
        assert float(words[-1]) < 1e-5, row
    assert (tmp_path / "cells.png").read_bytes().startswith(b"\x89PNG")


def test_a_cells_kernels_are_printed():
    done = run("cells.py", "--print", "peephole_lstm")
    assert done.returncode == 0 and "def backward(" in done.stdout
