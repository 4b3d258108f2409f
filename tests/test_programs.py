"""Whole programs: from one seed they print torch's log, run by torch itself and by `python -m tinyrnn run`.

The programs train for some fifty steps and print their losses; they are also examples.  Numbers agree to 1e-5, all
other text exactly.  torch runs here, in this process; elsewhere its log is the recorded one.
"""

import contextlib
import io
import os
import random
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import said

PROGRAMS = Path(__file__).parent / "programs"
ROOT = Path(__file__).parents[1]
SEED = 3

NAMES = [
    "language_model",
    "tagger",
    "seq2seq",
    "classifier",
    "sine_waves",
    "schedules",
    "own_cell",
    "small_gpt",
]

NUMBER = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?\d+[eE][-+]?\d+")


def torchs_log(program):
    """What the program prints under torch."""

    def log(torch):
        with contextlib.redirect_stdout(io.StringIO()) as out, torch.random.fork_rng():
            torch.manual_seed(SEED)
            np.random.seed(SEED)
            random.seed(SEED)
            threads = torch.get_num_threads()
            torch.set_num_threads(1)  # these models are small: threads only wait for each other
            runpy.run_path(str(program), run_name="__main__")
            torch.set_num_threads(threads)
        return {"stdout": out.getvalue()}

    return log


def our_log(program):
    """What the program prints under tinyrnn."""
    done = subprocess.run(
        [sys.executable, "-m", "tinyrnn", "run", "--seed", str(SEED), str(program)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=ROOT,
        timeout=100,
        env={**os.environ, "MPLBACKEND": "agg"},
    )
    assert said(done.stderr) == ""
    assert done.returncode == 0
    return done.stdout


def differences(ours, theirs):
    """The pairs of lines that are not the same log: other text, or a number more than 1e-5 away."""
    ours, theirs = ours.splitlines(), theirs.splitlines()
    if len(ours) != len(theirs):
        return [f"{len(ours)} lines, torch prints {len(theirs)}"]
    return [f"{ours[i]}\n{theirs[i]}" for i in range(len(ours)) if not same(ours[i], theirs[i])]


def same(ours, theirs):
    numbers = list(zip(NUMBER.findall(ours), NUMBER.findall(theirs), strict=False))
    if NUMBER.sub("#", ours) != NUMBER.sub("#", theirs):
        return False
    return all(abs(float(x) - float(y)) <= max(1e-5 * abs(float(y)), last_place(y)) for x, y in numbers)


def last_place(number):
    """What one in the last printed place is worth."""
    digits, _, exponent = number.lower().partition("e")
    return 1.01 * 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))


@pytest.mark.parametrize("name", NAMES)
def test_program(name, oracle):
    program = PROGRAMS / f"{name}.py"
    theirs = str(oracle(torchs_log(program))["stdout"])
    assert differences(our_log(program), theirs) == []


def test_the_comparison_sees_a_difference():
    assert same("step 3 loss 0.1234567", "step 3 loss 0.1234568")
    assert same("12345.678", "12345.700")
    assert not same("step 3 loss 0.12346", "step 3 loss 0.12349")
    assert not same("step 3 loss 0.5", "step 4 loss 0.5")
    assert not same("[1, 2, 3]", "[1, 2, 4]")
    assert not same("GRU(3, 4)", "LSTM(3, 4)")
    assert not same("0.5", "0.5 0.5")
    assert not same("loss nan", "loss 0.5")
    assert differences("a\n", "a\nb\n")
