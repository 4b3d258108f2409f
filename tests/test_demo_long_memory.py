"""demos/long_memory.py: who still remembers?"""

import importlib
import re

from test_demos import run  # and finds the demos

demo = importlib.import_module("long_memory")

ROW = re.compile(r"(RNN|RNN, clipped|ReLU RNN|ReLU RNN, clipped|GRU|LSTM) {2,}(\S+?)[* -]? +(\S+?)[*-]?\s*")
GRADIENT = re.compile(r" +(\S.*\S) +before training +(\S+) +after +(\S+) +largest norm +(\S+)")


def test_long_memory_shows_who_forgets(tmp_path):
    done = run("long_memory.py", "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    short, long = {}, {}
    for found in filter(None, map(ROW.fullmatch, lines)):
        short[found[1]], long[found[1]] = float(found[2]), float(found[3])
    assert list(short) == ["RNN", "RNN, clipped", "ReLU RNN", "ReLU RNN, clipped", "GRU", "LSTM"]

    # 1/6 is the error of who remembers nothing.  Over 10 steps all learn; over 50 the plain RNN does not.
    assert all(error < 0.1 for error in short.values())
    assert long["RNN"] > 0.15 and long["RNN, clipped"] > 0.15
    assert long["GRU"] < 0.0167 and long["LSTM"] < 0.0167
    assert long["ReLU RNN, clipped"] < 0.1

    after = {found[1]: float(found[3]) for found in filter(None, map(GRADIENT.fullmatch, lines))}
    assert after["RNN"] < 1e-4 and after["RNN, clipped"] < 1e-4  # of the last step's gradient, at the first step
    assert after["GRU"] > 1e-2 and after["LSTM"] > 1e-2
    for picture in ("errors", "gradients", "clipping"):
        assert (tmp_path / f"long_memory-{picture}.png").read_bytes().startswith(b"\x89PNG")


def test_a_line_on_another_is_seen():
    """Before training the clipped and the other are the same model: the wide line is drawn first, then the thin one."""
    names, kinds = [*demo.KINDS], demo.KINDS
    for name in ("RNN", "ReLU RNN"):
        wide, thin = kinds[name].line, kinds[f"{name}, clipped"].line
        assert wide["linewidth"] > 2 * thin["linewidth"] and names.index(name) < names.index(f"{name}, clipped")
