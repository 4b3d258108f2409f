"""Machine code on disk: found again, never stale, and nothing to depend on."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tinyrnn
from tinyrnn.kernels import cache
from tinyrnn.kernels.cpu import jit

ROOT = Path(tinyrnn.__file__).parent.parent
SMALL = """
from tinyrnn.kernels.cpu.jit import njit

@njit
def kernel(a):
    for i in range(a.size):
        a[i] *= 3
"""


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """A cache directory of the test's own, in this process."""
    monkeypatch.setattr(cache, "directory", lambda: tmp_path / "made when needed")
    return tmp_path / "made when needed"


def run(dtype="float64"):
    """Compile or load the small kernel, run it, and tell how often it was found on disk."""
    kernel = cache.load_source("small", SMALL).kernel  # another function object each time, as in another process
    a = np.arange(4, dtype=dtype)
    kernel(a)
    assert a.tolist() == [0, 3, 6, 9]
    (hits,) = [kernel.stats.cache_hits.total()]
    assert hits + kernel.stats.cache_misses.total() == 1
    return hits


def code(directory):
    return sorted(directory.glob("*.code"))


def start(script, *arguments, cwd=ROOT, **environment):
    """Start a Python process; an environment variable given as None is taken away."""
    env = {n: v for n, v in (dict(os.environ) | environment).items() if v is not None}
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments], cwd=cwd, env=env, text=True, stdout=subprocess.PIPE
    )


def answer(process):
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return json.loads(out)


# ---------------------------------------------------------------------------------- in this process
def test_code_is_found_again_for_each_set_of_types(directory):
    assert run() == 0 and len(code(directory)) == 1
    assert run("float32") == 0 and len(code(directory)) == 2
    assert run() == 1 and run("float32") == 1 and len(code(directory)) == 2


def test_code_belongs_to_the_text_of_its_file(directory, tmp_path):
    """Also within one cache directory: a file may be edited while a process runs."""
    path = tmp_path / "edited.py"
    for factor in (3, 4, 3):
        text = SMALL.replace("3", str(factor))
        path.write_text(text)
        module = {"__name__": "edited"}
        exec(compile(text, path, "exec"), module)
        a = np.ones(1)
        module["kernel"](a)
        assert a.item() == factor
    assert module["kernel"].stats.cache_hits.total() == 1


def damage_in_the_middle(data):
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:10],
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data + b"\0",
        lambda data: b"\xff" * len(data),
        lambda data: pickle.dumps(("something", "else")),
        damage_in_the_middle,  # of the machine code: run as it is, it might do anything
    ],
)
def test_a_damaged_file_is_replaced(directory, damage):
    run()
    (file,) = code(directory)
    file.write_bytes(damage(file.read_bytes()))
    assert run() == 0
    assert run() == 1


def test_a_directory_in_the_place_of_a_file(directory):
    run()
    (file,) = code(directory)
    file.unlink()
    file.mkdir()
    assert run() == 0


def test_the_directory_may_vanish_at_any_time(directory):
    run()
    shutil.rmtree(directory)
    assert run() == 0
    assert run() == 1


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(cache, "directory", lambda: tmp_path / "file" / "below")
    assert run() == 0
    assert run() == 0
    assert os.listdir(tmp_path) == ["file"]


def test_no_file_is_seen_before_it_is_whole(directory, monkeypatch):
    def interrupted(*names):
        raise KeyboardInterrupt

    cache.write("a", b"before")
    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache.write("a", b"after")
    assert os.listdir(directory) == ["a"] and (directory / "a").read_bytes() == b"before"


def test_derived_source_is_written_to_be_read(directory):
    module = cache.load_source("a <lambda>", "def kernel():\n    raise ValueError('in line 2')\n")
    path = Path(module.__file__)
    assert path.parent == directory and path.stem.startswith("a__lambda__") and "in line 2" in path.read_text()
    assert sys.modules[module.__name__] is module
    other = cache.load_source("a <lambda>", "def kernel(): return 5")
    assert other.kernel() == 5 and other.__file__ != module.__file__
    with pytest.raises(ValueError) as caught:
        module.kernel()
    assert caught.traceback[-1].path == path and caught.traceback[-1].lineno == 1


def test_the_base_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "numba"))
    assert cache.base() == tmp_path / "numba"
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    for platform, variable, below in (
        ("linux", "XDG_CACHE_HOME", ""),
        ("linux", "HOME", ".cache"),
        ("darwin", "HOME", "Library/Caches"),
        ("win32", "LOCALAPPDATA", ""),
    ):
        with monkeypatch.context() as patch:
            for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
                patch.delenv(name, raising=False)
            patch.setattr(sys, "platform", platform)
            patch.setenv(variable, str(tmp_path))
            assert cache.base() == tmp_path / below / "tinyrnn"


def test_all_that_decides_on_the_code_is_in_the_fingerprint(monkeypatch):
    import llvmlite.binding
    import numba

    before = cache.fingerprint()
    assert before == cache.fingerprint()
    for thing, name in ((numba, "__version__"), (np, "__version__"), (sys, "version")):
        with monkeypatch.context() as patch:
            patch.setattr(thing, name, "0.0")
            assert cache.fingerprint() != before
    monkeypatch.setattr(llvmlite.binding, "get_host_cpu_name", lambda: "another")
    assert cache.fingerprint() != before


# ---------------------------------------------------------------------------------- from process to process
PROGRAM = """
import json
import numpy as np
import tinyrnn
from tinyrnn.kernels import cache
from tinyrnn.kernels.cpu import jit

count = {"loaded": [], "compiled": []}

class Counting(jit.DiskCache):
    def load_overload(self, *given):
        found = super().load_overload(*given)
        count["compiled" if found is None else "loaded"].append(self.name)
        return found

jit.DiskCache = Counting

from tinyrnn.kernels.cpu import map
from tinyrnn.kernels.formulas import UNARY

one = np.ones((1, 1))
(sigmoid,) = map.forward(UNARY["sigmoid"], (0 * one,))
(tanh,) = map.forward(UNARY["tanh"], (one,))
found = {"tanh": tanh.item(), "sigmoid": sigmoid.item(), "directory": str(cache.directory())}
print(json.dumps(found | count))
"""
HELPERS = """

def tanh(x):
    return x + 13.0


def sigmoid(x):
    return x + 9.0


OWN |= {"tanh": tanh, "sigmoid": sigmoid}
"""


def test_a_changed_helper_never_runs_stale_code_and_processes_share(tmp_path):
    """The text of the derived kernels is the same after the change: only what they call is not."""
    for name in ("kernels", "tinyrnn"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    where = {"cwd": tmp_path, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}

    both = [start(PROGRAM, **where) for _ in range(2)]  # at the same time
    first, second = map(answer, both)
    assert first["tanh"] == second["tanh"] == pytest.approx(np.tanh(1.0))
    assert first["sigmoid"] == second["sigmoid"] == 0.5
    assert first["directory"] == second["directory"] and Path(first["directory"]).parent == tmp_path / "cache"

    third = answer(start(PROGRAM, **where))
    assert third["tanh"] == first["tanh"] and not third["compiled"]
    assert third["loaded"].count("loop") == 2  # of each formula

    with open(tmp_path / "kernels" / "cpu" / "lanes.py", "a") as file:
        file.write(HELPERS)
    changed = answer(start(PROGRAM, **where))
    assert changed["tanh"] == 14.0 and changed["sigmoid"] == 9.0 and not changed["loaded"]
    assert changed["directory"] != first["directory"]
    assert set(changed["compiled"]) >= set(third["loaded"])


FALLBACK = f"""
import json, os
import numpy as np
import tinyrnn
from tinyrnn.kernels import cache
a = np.ones(1)
cache.load_source("small", {SMALL!r}).kernel(a)
where = cache.directory()
print(json.dumps([a.item(), str(where), len(list(where.glob("*.code")))]))
"""


@pytest.mark.parametrize("variable", ["NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME"])
def test_where_the_cache_cannot_be_written_a_temporary_directory_serves(tmp_path, variable):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "temporary").mkdir()
    where = dict.fromkeys(("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")) | {"TMPDIR": str(tmp_path / "temporary")}
    result, directory, files = answer(start(FALLBACK, **where | {variable: str(tmp_path / "file" / "below")}))
    assert result == 3.0 and Path(directory).parent == tmp_path / "temporary" and files == 1
    assert os.listdir(tmp_path / "temporary") == []  # it went with its process


IMPORT = """
import json, sys, time
start = time.thread_time()
import tinyrnn
seconds = time.thread_time() - start
print(json.dumps([seconds, [name for name in sys.modules if "." not in name]]))
"""


def test_a_long_compilation_is_told_once(capsys, monkeypatch):
    waiting = jit.Waiting()
    monkeypatch.setattr(waiting, "PATIENCE", 0.05)
    quick = waiting.during(lambda: None, run)
    quick()
    time.sleep(0.1)
    assert capsys.readouterr().err == ""
    slow = waiting.during(lambda: time.sleep(0.2) or 7, run)
    assert [slow(), slow()] == [7, 7]
    assert capsys.readouterr().err == (
        "tinyrnn: compiling kernels (test_cache now) and keeping them on disk; `python -m tinyrnn warmup` does it "
        "ahead\n"
    )


def test_a_cache_that_cannot_be_written_is_told(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "nowhere"))
    jit.Waiting().tell("test_cache")
    assert capsys.readouterr().err == (
        f"tinyrnn: compiling kernels (test_cache now), in every process anew, because {tmp_path / 'nowhere'} cannot be "
        "written: NUMBA_CACHE_DIR may name another place\n"
    )


def test_short_compilations_add_up(capsys, monkeypatch):
    waiting = jit.Waiting()
    monkeypatch.setattr(waiting, "PATIENCE", 0.1)
    step = waiting.during(lambda: time.sleep(0.04), run)
    for _ in range(5):
        step()
    assert capsys.readouterr().err.count("compiling kernels") == 1


def test_warmup():
    """It runs to its end; what it compiled is found by the next process, which says nothing about compiling."""
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "tinyrnn", "warmup"], cwd=ROOT, capture_output=True, text=True, timeout=300
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert "Ready after" in done.stdout.splitlines()[-1]
    script = "from tinyrnn import nn; import tinyrnn; nn.LSTM(4, 20)(tinyrnn.rand(5, 3, 4))[0].sum().backward()"
    script += "; from tinyrnn.kernels.cpu import jit; print(int(jit.waiting.spent * 1000))"
    assert answer(start(script)) == 0


def test_importing_takes_less_than_half_a_second_and_no_heavy_library(tmp_path):
    """As after an installation, when Python has compiled the files once. Time of its thread alone, so that what else
    runs on the machine has no part in it."""
    kept = {"PYTHONDONTWRITEBYTECODE": None, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    times = []
    for _ in range(4):
        seconds, modules = answer(start(IMPORT, **kept))
        assert "tinyrnn" in modules
        assert not {"numba", "llvmlite", "matplotlib", "torch"} & set(modules)
        times.append(seconds)
    assert any(tmp_path.rglob("tape*.pyc")) and min(times[1:]) < 0.5
