"""demos/char_language_model.py: better than counting, and resumable to the bit."""

import importlib.util
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from test_demos import DEMOS, run

import tinyrnn as torch

NAME = "char_language_model.py"
RESULT = re.compile(r"Held-out text: \w+ (\S+) bits per character +\(best n-gram (\S+), unigram (\S+)\)")


@pytest.fixture
def demo(monkeypatch):
    """The demo as a module, and its main() with options."""
    spec = importlib.util.spec_from_file_location("char_language_model", DEMOS / NAME)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "char_language_model", module)
    spec.loader.exec_module(module)

    def main(*args):
        monkeypatch.setattr(sys, "argv", [NAME, *map(str, args)])
        module.main()

    module.call = main
    return module


def test_quick_form_beats_counting(tmp_path):
    done = run(NAME, "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    bits, ngram, unigram = map(float, RESULT.search(done.stdout).groups())
    assert bits < ngram < unigram < 5  # how far below depends on this Python's library, the text
    assert "   |     def " in done.stdout  # the prompt and what follows it
    for picture in ("curve", "surprise"):
        assert (tmp_path / f"char_language_model-{picture}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("model", ["RNN", "GRU", "GPT"])
def test_the_other_models_learn(model, demo, tmp_path, capsys):
    demo.call("--quick", "--size", 50_000, "--steps", 100, "--length", 20, "--model", model, "--out", tmp_path)
    bits, _, unigram = map(float, RESULT.search(capsys.readouterr().out).groups())
    assert bits < unigram - 0.3


SMALL = ["--size", 30_000, "--hidden", 32, "--batch", 8, "--window", 32, "--steps", 60, "--length", 20]


@pytest.mark.parametrize("options", [["--model", "LSTM", "--layers", 2], ["--model", "GPT", "--layers", 1]])
def test_an_interrupted_run_that_is_resumed_has_the_same_losses(options, demo, tmp_path, capsys, monkeypatch):
    options = [*SMALL, *options, "--dropout", 0.2]  # dropout needs the random state, a recurrent model its own
    kept = []
    monkeypatch.setattr(demo, "plot_curve", lambda run, *rest: kept.append(run.position))
    monkeypatch.setattr(demo, "plot_surprise", lambda *rest: None)

    demo.call(*options, "--out", tmp_path / "whole")
    whole = capsys.readouterr().out

    save = demo.Run.save

    def interrupted(self):
        save(self)
        if self.position.step == 24:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(demo.Run, "save", interrupted)
        with pytest.raises(SystemExit) as stop:
            demo.call(*options, "--out", tmp_path / "parts")
    assert stop.value.code == 130
    assert "--resume goes on" in capsys.readouterr().out
    torch.manual_seed(99)
    demo.call(*options, "--out", tmp_path / "parts", "--resume")
    parts = capsys.readouterr().out

    assert len(kept[0].losses) == 60
    assert kept[1].losses == kept[0].losses
    assert kept[1].checks == kept[0].checks
    end = whole.index("step    30/60")
    assert parts[parts.index("step    30/60") :].replace("parts", "whole") == whole[end:]

    demo.call(*options, "--out", tmp_path / "parts", "--resume")  # finished: writes text only
    again = capsys.readouterr().out
    assert "step " not in again
    assert again[again.index("Held-out") :] == parts[parts.index("Held-out") :]


# What a shell starts in the background ignores Ctrl-C, and so would the demo that the tests start there.
INTERRUPTIBLE = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


# Windows cannot send one process the signal of Ctrl-C.
@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_ctrl_c_leaves_a_whole_checkpoint(demo, tmp_path):
    options = [str(option) for option in [*SMALL, "--steps", 10_000, "--out", tmp_path]]
    path = os.pathsep.join([str(DEMOS.parent), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", INTERRUPTIBLE, str(DEMOS / NAME), *options],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    with process:
        for line in process.stdout:
            if line.startswith("step "):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stdout.read()
    assert process.returncode == 130
    assert "Interrupted." in rest
    assert [file.name for file in tmp_path.iterdir()] == ["char_language_model-LSTM.pt"]
    assert torch.load(tmp_path / "char_language_model-LSTM.pt")["position"]["step"] >= 1000

    with pytest.raises(SystemExit, match="was made with seed 0, this run has 5"):
        demo.call(*options, "--resume", "--seed", "5")


def test_ngrams_are_probabilities(demo):
    """Over all characters that could follow, the probabilities of each order sum to one."""
    training = np.array([0, 1, 2, 0, 1, 3, 0, 1, 2, 2, 1, 0])
    total = 0.0
    for last in range(5):  # 4 never came
        held_out = np.array([0, 1, last])
        total += 2 ** -demo.ngram_surprise(training, held_out, 5)[:, 2]
    np.testing.assert_allclose(total, 1, rtol=1e-12)
    # "0 1" was followed by 2, 3, 2: three times, by two kinds; "1" by 2, 3, 2, 0: four times, by three kinds.
    unigram = (4 + 4 / 5) / (12 + 4)
    bigram = (2 + 3 * (3 + 4 / 5) / 16) / (4 + 3)
    trigram = (2 + 2 * bigram) / (3 + 2)
    surprise = demo.ngram_surprise(training, np.array([0, 1, 2]), 5)
    np.testing.assert_allclose(2 ** -surprise[:3, 2], [(3 + 4 / 5) / 16, bigram, trigram], rtol=1e-12)
    np.testing.assert_allclose(2 ** -surprise[0, 1], unigram, rtol=1e-12)


def test_generated_text_obeys_top_k(demo):
    """Of the likeliest only, it is the same whatever is drawn; and the temperature sharpens."""
    torch.manual_seed(0)
    alphabet = demo.Alphabet("abcdefgh" * 10)
    model = demo.Recurrent("GRU", len(alphabet), 16, 1, 0.0)
    texts = {demo.generate(model, alphabet, "a", 30, 1.0, 1) for _ in range(3)}
    assert len(texts) == 1
    assert texts == {demo.generate(model, alphabet, "a", 30, 1e-4, 0)}
    assert len(set(demo.generate(model, alphabet, "a", 200, 5.0, 0))) == 8


def test_a_text_of_ones_own(demo, tmp_path, capsys):
    (tmp_path / "text.txt").write_text("Ünd noch einmal: das ist ein Satz.\n" * 400, encoding="utf-8")
    demo.call("--text", tmp_path / "text.txt", *SMALL, "--model", "GRU", "--out", tmp_path)
    _, ngram, unigram = map(float, RESULT.search(capsys.readouterr().out).groups())
    assert ngram < 0.2 and unigram > 3


def test_refuses_what_it_cannot_do(demo, tmp_path, capsys):
    for options, message in [
        (["--temperature", "0"], "must be above 0"),
        (["--model", "GPT", "--hidden", "100"], "must be a multiple of 32"),
        (["--resume", "--checkpoint", tmp_path / "none.pt"], "no such file to resume"),
        (["--text", tmp_path / "none.txt"], "no such file"),
        (["--size", "500"], "too few"),
    ]:
        with pytest.raises(SystemExit) as stop:
            demo.call(*options)
        assert message in f"{stop.value.code} {capsys.readouterr().err}"
