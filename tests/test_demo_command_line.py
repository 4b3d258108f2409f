"""What all demos' command lines have in common: demos/command_line.py, and each demo's use of it."""

import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_demos import DEMOS  # and finds the demos

from tinyrnn.kernels.cuda import driver

NAMES = ("majority", "cells", "long_memory", "forecast", "sentiment", "translate_dates", "char_language_model", "speed")
HUGE = "9" * 20


@pytest.fixture
def call(monkeypatch, capsys):
    """What a demo writes on stdout and stderr, and the status with which it ends."""

    def run(demo, *options):
        monkeypatch.setattr(sys, "argv", [f"{demo}.py", *map(str, options)])
        with pytest.raises(SystemExit) as end:
            importlib.import_module(demo).main()
        return *capsys.readouterr(), end.value.code

    return run


# ------------------------------------------------------------------------------------------ options
@pytest.mark.parametrize("demo", NAMES)
def test_the_help_names_every_demos_options(demo, call):
    out, _, status = call(demo, "--help")
    assert status == 0 and all(option in out for option in ("--quick", "--device {cpu,cuda}", "--out"))
    explained = importlib.import_module(demo).__doc__
    assert all(f"python demos/{demo}.py {option}" in explained for option in ("--quick", "--device cuda"))


@pytest.mark.parametrize("demo", NAMES)
def test_a_demo_says_in_a_line_why_there_is_no_gpu(demo, call, monkeypatch):
    monkeypatch.setattr(driver, "missing", lambda: "the GPU has gone home")
    reason = "a tensor cannot be put on 'cuda': the GPU has gone home"
    assert call(demo, "--device", "cuda") == ("", f"{demo}.py: error: --device: {reason}\n", 2)


@pytest.mark.parametrize("demo", NAMES)
def test_a_folder_that_cannot_be_written_to_is_found_out_before_any_work(demo, call, tmp_path):
    file = tmp_path / "file"
    file.touch()
    for folder in (file, file / "below"):
        out, err, status = call(demo, "--out", folder)
        assert (out, status) == ("", 2)
        assert err.startswith(f"{demo}.py: error: --out: expected a folder that can be written to, got {folder} (")
        assert err.count("\n") == 1


def test_a_new_folder_is_made_and_nothing_is_left_in_it(tmp_path):
    import command_line

    command_line.try_folder("--out", tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []


SEEDED = ("majority", "forecast", "sentiment", "translate_dates", "char_language_model")
WRONG = [
    *((demo, ["--seed", seed], "a whole number from 0 to 4294967295") for demo in SEEDED for seed in ("-3", HUGE)),
    *(("majority", [option, "0"], "a whole number of at least 1") for option in ("--epochs", "--hidden")),
    ("cells", ["--length", "1"], "a whole number of at least 2"),
    ("cells", ["--zoneout", "1"], "a number from 0 to below 1"),
    ("long_memory", ["--lengths", "2"], "a whole number of at least 3"),
    ("forecast", ["--networks", "0"], "a whole number of at least 1"),
    *(("forecast", ["--stretch", stretch], "a number from 0 to 5") for stretch in ("nan", "-1", "1000")),
    ("sentiment", ["--epochs", "0"], "a whole number of at least 1"),
    ("sentiment", ["--review", ""], "text in UTF-8, not empty"),
    *(("translate_dates", ["--rate", rate], "a positive number") for rate in ("nan", "inf", "0", "-1", "fast")),
    ("translate_dates", [""], "text in UTF-8, not empty"),
    *(("char_language_model", [option, "nan"], "a positive number") for option in ("--lr", "--clip")),
    ("char_language_model", ["--temperature", "0"], "a number of at least 0.001"),
    ("char_language_model", ["--prompt", "\udcff"], "text in UTF-8, not empty"),
    *(("speed", ["--seconds", seconds], "a positive number") for seconds in ("nan", "-1", "0")),
    *(("speed", ["--threads", threads], "a whole number from 1 to ") for threads in ("0", "100000")),
]


@pytest.mark.parametrize("demo, options, expected", WRONG)
def test_a_wrong_option_is_refused_in_a_line(demo, options, expected, call):
    out, err, status = call(demo, *options)
    assert (out, status) == ("", 2)
    assert err.startswith(f"{demo}.py: error: argument {options[0] if options[1:] else 'texts'}: expected {expected}")
    assert err.endswith(f"got {options[-1]!r}\n") and err.count("\n") == 1


@pytest.mark.parametrize(
    "demo, options, message",
    [
        ("translate_dates", ["--dates", "10"], "--dates: expected from --batch (64) to 200000, got 10\n"),
        ("translate_dates", ["--attention", "self"], "invalid choice: 'self'"),
        ("char_language_model", ["--model", "GPT", "--hidden", "100"], "must be a multiple of 32"),
        ("char_language_model", ["--size", "500"], "too few for --batch 32, --window 64\n"),
        ("speed", ["--peers", "numpy"], "invalid choice"),
        ("speed", ["--python", f"tinyrnn={sys.executable}"], "expected torch or jax, = and the path of a Python\n"),
        ("speed", ["--python", f"torch={shutil.which('ls')}"], "expected torch or jax, = and the path of a Python\n"),
        ("speed", ["--python", f"jax={os.devnull}{os.sep}python"], "expected torch or jax, = and the path of a Python\n"),
        ("speed", ["--only", "QRNN"], "there are\nlayers RNN 1>16, 8x10, forward"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together_are_refused(demo, options, message, call, tmp_path):
    out, err, status = call(demo, *options, "--out", tmp_path)
    assert (out, status) == ("", 2) and message in err


# ------------------------------------------------------------------------------------------ the ends
def start(*command, stderr=subprocess.PIPE):
    path = os.pathsep.join([str(DEMOS.parent), str(DEMOS), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": ""}
    command = [sys.executable, *map(str, command)]
    return subprocess.Popen(command, text=True, env=env, stdout=subprocess.PIPE, stderr=stderr)


# What a shell starts in the background ignores Ctrl-C, and so would the demo that the tests start there.
INTERRUPTIBLE = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


# Windows cannot send one process the signal of Ctrl-C.
@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
@pytest.mark.parametrize("demo, options", [("majority", ["--epochs", 10**6]), ("speed", ["--peers", "none"])])
def test_ctrl_c_is_answered_in_a_line(demo, options, tmp_path):
    options = [*options, "--out", tmp_path]
    with start("-u", "-c", INTERRUPTIBLE, DEMOS / f"{demo}.py", *options) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130 and "Traceback" not in err
    assert err.endswith("Interrupted.\n")


def test_ctrl_c_while_modules_are_imported_is_answered_too():
    with start("-c", "import command_line; raise KeyboardInterrupt") as process:
        assert process.communicate() == ("", "Interrupted.\n")
    assert process.returncode == 130
    for demo in NAMES:
        lines = (DEMOS / f"{demo}.py").read_text(encoding="utf-8").splitlines()
        modules = [line.split()[1].partition(".")[0] for line in lines if re.match("(import|from) ", line)]
        assert next(name for name in modules if name not in sys.stdlib_module_names) == "command_line"
        assert lines[-1] == "    command_line.run(main)"


@pytest.mark.parametrize("options", [["--help"], ["--quick"]])
def test_a_reader_that_leaves_early_ends_a_demo_without_a_word(options, tmp_path):
    with start(DEMOS / "majority.py", *options, "--out", tmp_path) as process:
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 141
    assert "Error" not in err and "Exception" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("demo", NAMES)
def test_a_progress_bar_is_not_drawn_at_every_step(demo):
    """tqdm draws it ten times a second at most, but set_postfix at once, unless it is told not to."""
    calls = re.findall(r"set_postfix\w*\(.*\)$", (DEMOS / f"{demo}.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert all(call.endswith("refresh=False)") for call in calls)


def test_what_draws_pictures_may_be_missing():
    code = (
        "import runpy, sys; sys.modules['matplotlib'] = None; sys.argv = ['majority.py']; sys.path.insert(0, {0!r}); "
        "runpy.run_path({0!r} + '/majority.py', run_name='__main__')"
    )
    folder = str(Path(__file__).parent.parent / "demos")
    done = subprocess.run([sys.executable, "-c", code.format(folder)], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == (
        'majority.py: error: matplotlib is not installed; `pip install -e ".[plot]"` installs what the demos need\n'
    )
