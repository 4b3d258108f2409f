"""The demos, run as a person would run them."""

import os
import subprocess
import sys
from pathlib import Path

DEMOS = Path(__file__).parent.parent / "demos"


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


def test_majority_refuses_what_it_cannot_do():
    done = run("majority.py", "--epochs", "0")
    assert done.returncode == 2
    assert "--epochs and --hidden must be at least 1" in done.stderr
