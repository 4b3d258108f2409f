"""demos/char_language_model.py: better than counting, and resumable to the bit."""

import importlib
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from test_demo_command_line import INTERRUPTIBLE, start
from test_demos import DEMOS, run

import tinyrnn as torch

NAME = "char_language_model.py"
RESULT = re.compile(r"Held-out text: \w+ (\S+) bits per character +\(best n-gram (\S+), unigram (\S+)\)")


@pytest.fixture
def demo(monkeypatch):
    """The demo as a module, and its main() with options."""
    module = importlib.import_module("char_language_model")

    def main(*args):
        monkeypatch.setattr(sys, "argv", [NAME, *map(str, args)])
        module.main()

    monkeypatch.setattr(module, "call", main, raising=False)
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


# Windows cannot send one process the signal of Ctrl-C.
@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_ctrl_c_leaves_a_whole_checkpoint(refused, tmp_path):
    options = [*SMALL, "--steps", 10_000, "--out", tmp_path]
    with start("-u", "-c", INTERRUPTIBLE, DEMOS / NAME, *options, stderr=subprocess.DEVNULL) as process:
        for line in process.stdout:
            if line.startswith("step "):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stdout.read()
    assert process.returncode == 130
    assert "Interrupted.  What was learned up to step " in rest
    assert [file.name for file in tmp_path.iterdir()] == ["char_language_model-LSTM.pt"]
    assert torch.load(tmp_path / "char_language_model-LSTM.pt")["position"]["step"] >= 1000

    for resume in ([], ["--resume"]):
        assert "was made with seed 0, this run has 5: --resume it" in refused(*options, *resume, "--seed", 5)


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


# ------------------------------------------------------------------------------------------ its files
@pytest.fixture
def refused(demo, capsys):
    """The line with which the demo refuses some options."""

    def run(*options):
        with pytest.raises(SystemExit) as stop:
            demo.call(*options)
        out, err = capsys.readouterr()
        assert (out, stop.value.code) == ("", 2) and err.startswith(f"{NAME}: error: ") and err.count("\n") == 1
        return err

    return run


TINY = ["--size", 30_000, "--hidden", 8, "--batch", 4, "--window", 8, "--length", 5]


def test_a_checkpoint_is_not_lost_to_another_run(demo, refused, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "plot_surprise", lambda *rest: None)
    options, file = [*TINY, "--out", tmp_path], tmp_path / "char_language_model-LSTM.pt"
    demo.call(*options, "--steps", 40)
    whole = file.read_bytes()
    capsys.readouterr()
    assert "was made with steps 40, this run has 20: --resume it with" in refused(*options, "--steps", 20)
    assert "was made with window 8, this run has 9: " in refused(*options, "--steps", 40, "--window", 9)
    assert file.read_bytes() == whole

    # The same run, begun anew and interrupted, leaves it alone; finished, it has written the same.
    def interrupted(self):
        save(self)
        if self.position.step >= 20:
            raise KeyboardInterrupt

    save = demo.Run.save
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(demo.Run, "save", interrupted)
        demo.call(*options, "--steps", 40)
    assert "What was learned up to step 40 is in " in capsys.readouterr().out
    assert file.read_bytes() == whole
    demo.call(*options, "--steps", 40)
    assert len(torch.load(file)["position"]["losses"]) == 40


def test_ten_steps_are_enough(demo, tmp_path):
    demo.call(*TINY, "--steps", 10, "--out", tmp_path)
    assert torch.load(tmp_path / "char_language_model-LSTM.pt")["position"]["step"] == 10


def test_a_text_whose_last_line_is_long(demo, tmp_path):
    """The passage that is shown begins with a line, if one begins where there is something left to show."""
    text = tmp_path / "lines.txt"
    words = np.random.default_rng(0).choice(list("abcdef "), (200, 79))
    text.write_text("".join("".join(line) + "\n" for line in words))
    demo.call("--text", text, *TINY[2:], "--steps", 10, "--out", tmp_path)
    assert (tmp_path / "char_language_model-surprise.png").exists()


@pytest.mark.parametrize("resume", [["--resume"], []])
def test_what_is_no_checkpoint_is_left_alone(resume, refused, tmp_path):
    good, file, folder = (tmp_path / name for name in ("good.pt", "file.pt", "folder"))
    torch.save({"weight": torch.ones(1000)}, good)
    for content, fault in [
        (good.read_bytes(), "is another program's"),
        (good.read_bytes()[:900], "is no checkpoint"),
        (b"To be or not to be", "is no checkpoint"),
        (b"", "is no checkpoint"),
    ]:
        file.write_bytes(content)
        assert f"{file} {fault}, name another" in refused(*TINY, *resume, "--checkpoint", file, "--out", tmp_path)
        assert file.read_bytes() == content
    folder.mkdir()
    assert "expected a file, got the folder" in refused(*TINY, *resume, "--checkpoint", folder, "--out", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.pt", "folder", "good.pt"]


def test_files_that_it_cannot_read_or_write(refused, tmp_path):
    file, none = tmp_path / "text.txt", tmp_path / "none"
    file.write_bytes(b"caf\xe9" * 10_000)
    assert "none: no such file to resume" in refused("--resume", "--checkpoint", none, "--out", tmp_path)
    assert "--checkpoint: expected a folder that" in refused("--checkpoint", file / "x.pt", "--out", tmp_path)
    for text in (none, tmp_path, file):
        assert f"--text {text}: expected a text file in UTF-8: " in refused("--text", text, "--out", tmp_path)


def test_a_rate_that_is_too_high_ends_the_training(demo, tmp_path):
    with pytest.raises(FloatingPointError, match=r"--lr 1e\+30: the loss of step 2 is .*: training has diverged"):
        demo.call(*TINY, "--steps", 40, "--lr", 1e30, "--out", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_characters_that_are_new_or_cannot_be_drawn(demo, tmp_path, capsys, recwarn):
    (tmp_path / "text.txt").write_text("日本語で書く。\n" * 2000, encoding="utf-8")
    options = [*TINY, "--text", tmp_path / "text.txt", "--steps", 2, "--out", tmp_path]
    demo.call(*options, "--prompt", "本 x")
    assert "Of --prompt it will read ' ' 'x' as unknown: the text hardly has them." in capsys.readouterr().out
    assert not [str(warning.message) for warning in recwarn if "Glyph" in str(warning.message)]


def test_the_picture_of_a_passage_says_what_the_passage_shows(demo, tmp_path, monkeypatch):
    surprise = np.full((2, 10), 3.0)
    surprise[0, 4:] = 5.0
    with monkeypatch.context() as patch:
        patch.setattr(demo.plt, "close", lambda figure: None)
        demo.plot_surprise("abcdef", 4, {"LSTM": surprise, "4-gram": surprise / 2}, tmp_path / "surprise.png")
        titles = [axes.get_title() for axes in demo.plt.gcf().axes[:2]]
    demo.plt.close("all")
    assert titles == [
        "LSTM: 5.00 bits per character in this passage, 3.60 in all held-out text",
        "4-gram: 2.50 bits per character in this passage, 1.80 in all held-out text",
    ]
