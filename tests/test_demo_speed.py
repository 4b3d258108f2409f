"""demos/speed.py: libraries compared, then timed.  How fast they are is not tested: that depends on the machine."""

import importlib
import re

import numpy as np
import pytest
from conftest import needs_torch
from test_demos import run  # and finds the demos

import tinyrnn

speed, speed_work = map(importlib.import_module, ("speed", "speed_work"))

ROW = re.compile(r"(\S.*?, (?:forward|train|step)) +([\d.]+) +([\d.]+) +([\d.]+)% *(.*)")
# A peer that gives slightly other numbers, and lacks a layer: both have to be told.
PEER = """\
import sys, tinyrnn
from tinyrnn.nn import functional as F
exact = F.scaled_dot_product_attention
F.scaled_dot_product_attention = lambda *args, **options: exact(*args, **options) * 1.001
def refuse(*args, **options):
    raise NotImplementedError("no GRU here")
tinyrnn.nn.GRU = refuse
sys.modules["torch"] = tinyrnn
"""


def rows(done):
    """Of each case its ms, GFLOP/s, share of the peak, and what is said of the peers."""
    found = [ROW.fullmatch(row) for row in done.stdout.splitlines()]
    return {row[1]: (*map(float, row.group(2, 3, 4)), row[5].split()) for row in filter(None, found)}


@needs_torch
def test_the_quick_form_agrees_with_torch_in_every_row(tmp_path):
    done = run("speed.py", "--quick", "--peers", "torch", "--out", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    table = rows(done)
    expected = [str(case) for case in speed_work.CASES["cpu"] if any(name in str(case) for name in speed.QUICK["cpu"])]
    assert [*table] == expected and len(table) >= 6
    for ms, gflops, share, (ratio,) in table.values():
        assert min(ms, gflops, share, float(ratio.rstrip("~"))) > 0
    groups = ("layers", "own cell", "attention", "steps")
    assert all(f"torch/ours, {group}:" in done.stdout for group in groups) and "Look at" in done.stdout
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")


def test_a_peer_that_differs_is_wrong_and_does_not_count(tmp_path, monkeypatch):
    """A torch that is tinyrnn with a fault in attention and without GRU; and no JAX."""
    (tmp_path / "torch.py").write_text(PEER)
    (tmp_path / "jax.py").write_text("raise ImportError(\"No module named 'jax'\")")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    few = ("--only", "attention 8x4", "1>16, 8x10, train", "--seconds", 0.001)
    done = run("speed.py", *few, "--out", tmp_path)
    assert done.returncode == 1, done.stderr
    assert "jax is not here (No module named 'jax')" in done.stdout and "--python jax=PATH" in done.stdout
    assert re.search(r"attention 8x4, 64x32, train +WRONG +WRONG", done.stdout), done.stdout
    assert re.search(r"attention 8x4, 64x32, train: torch: WRONG: .* differs by 1\.0e-03", done.stdout), done.stdout
    assert "GRU 1>16, 8x10, train: torch: failed: NotImplementedError: no GRU here" in done.stdout
    assert re.search(r"GRU 1>16, 8x10, train +[\d.]+ +[\d.]+ +[\d.]+% +failed", done.stdout), done.stdout
    table = rows(done)
    assert float(table["RNN 1>16, 8x10, train"][3][0].rstrip("~")) > 0 and "attention 8x4, 64x32, train" not in table


def test_alone_it_shows_its_own_figures(tmp_path):
    few = ("--only", "LSTM 32>64", "--seconds", 0.001, "--threads", 1)
    done = run("speed.py", "--peers", "none", *few, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    table = rows(done)
    assert [*table] == ["LSTM 32>64, 32x32, forward", "LSTM 32>64, 32x32, train"]
    for case in table:
        ms, gflops, _, peers = table[case]
        flops = 2 * 32 * 32 * 4 * 64 * (32 + 64) * (3 if case.endswith("train") else 1)
        assert peers == [] and gflops == pytest.approx(flops / ms / 1e6, rel=0.02)
    assert (tmp_path / "speed.png").exists()


def test_jax_computes_the_same():
    """Where it is installed: every kind of case, small."""
    jax = pytest.importorskip("jax")
    small = {"attention": (2, 3, 5, 4), "steps": (5, 8, 3, 7)}
    for case in dict.fromkeys(c._replace(size=small.get(c.group, (3, 4, 2, 5))) for c in speed_work.CASES["cpu"]):
        given = speed_work.given_for(tinyrnn, case)
        ours, theirs = (
            {name: np.asarray(x) for name, x in build(library, case, given)[1]().items()}
            for build, library in ((speed_work.build, tinyrnn), (speed_work.build_in_jax, jax))
        )
        error, where = speed.difference(ours, theirs)
        assert error < 2e-5, (case, where)


def test_operations_are_counted_from_the_weights():
    """Two for each weight and step, and once more for each of the two products of backward."""
    for case in speed_work.CASES["cpu"]:
        if case.group == "attention" or case.name == "classifier":
            continue
        _, width, batch, steps = case.size
        weights = speed_work.named(speed_work.model_of(tinyrnn, case))
        count = sum(
            w.numel() for name, w in weights.items() if w.dim() == 2 and name not in ("emb.weight", "pos.weight")
        )
        if case.name == "transformer":  # a pair of steps costs a product for its score, and one for its value
            count += 2 * width * sum(range(1, steps + 1)) / steps
        passes = 1 if case.mode == "forward" else 3
        assert case.flops() == pytest.approx(passes * 2 * batch * steps * count), case
    full, causal = (case.flops() for case in speed_work.CASES["cpu"] if case.size == (2, 8, 1024, 64))
    assert full == 3 * 2 * 2 * 16 * 1024 * 1024 * 64 and causal / full == pytest.approx(1025 / 2048)
    tiny = next(case for case in speed_work.CASES["cpu"] if case.name == "classifier")
    forward = 2 * 8 * (10 * 20 * (5 + 20) + 20 * 2)
    assert tiny.flops() == pytest.approx(3 * forward - 2 * 8 * 10 * 20 * 5)


def test_differences_are_found():
    a = {"output": np.array([1.0, -2.0]), "gradient": np.zeros(3)}
    assert speed.difference(a, a)[0] == 0
    assert speed.difference(a, a | {"output": np.array([1.0, -2.5])}) == (0.2, "output")
    for other in (a | {"more": a["output"]}, {"output": a["output"]}, a | {"gradient": np.zeros(2)}):
        assert speed.difference(a, other)[0] == np.inf
    assert speed.difference(a, a | {"gradient": np.full(3, np.nan)}) == (np.inf, "gradient")


def test_ratios_that_differ_from_turn_to_turn_are_marked():
    assert not speed.unsure([2.0, 2.1, 997.0, 0.1, 2.3])  # one turn is an outlier, and another
    assert speed.unsure([2.0, 2.1, 997.0, 990.0, 2.3])
    row = speed.Row(speed_work.CASES["cpu"][0], ratios={"torch": 3.14, "jax": 2.0}, unsure={"torch"})
    assert row.text(["ms"], ["torch", "jax"]).endswith("3.14~       2.00")
