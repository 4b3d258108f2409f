"""`python -m tinyrnn run`: an unmodified torch program, answered by tinyrnn in its own process.

The programs stand in tests/programs/. `site-packages/` there holds a library that looks for torch, and a module that
stands for the real torch.
"""

import builtins
import contextlib
import importlib
import importlib.util
import io
import os
import pkgutil
import random
import runpy
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from conftest import needs_torch, said

import tinyrnn
from tinyrnn import __main__ as command_line
from tinyrnn import facade, reader
from tinyrnn import run as runner

PROGRAMS = Path(__file__).parent / "programs"
ROOT = Path(__file__).parents[1]
RUN = [sys.executable, "-m", "tinyrnn", "run"]


def run(*args, cwd=ROOT):
    """The finished process of `python -m tinyrnn run *args`; the library and "torch" of site-packages are installed."""
    dropped = ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND")
    settings = {name: value for name, value in os.environ.items() if name not in dropped}
    settings["PYTHONPATH"] = os.pathsep.join([str(PROGRAMS / "site-packages"), *([] if cwd == ROOT else [str(ROOT)])])
    done = subprocess.run(
        [*RUN, *map(str, args)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=cwd,
        timeout=100,
        env=settings,
    )
    done.stderr = said(done.stderr)
    return done


@pytest.fixture
def started(monkeypatch):
    """started(path) runs a program in this process and returns the error that ended it; all is put back afterwards."""

    def start(path):
        for owner, name in (
            (builtins, "__import__"),
            (importlib, "import_module"),
            (importlib.util, "find_spec"),
            (sys, "excepthook"),
            (sys, "argv"),
        ):
            monkeypatch.setattr(owner, name, getattr(owner, name))
        monkeypatch.setattr(sys, "path", sys.path.copy())
        monkeypatch.setattr(sys, "meta_path", sys.meta_path.copy())
        monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
        monkeypatch.setenv("MPLBACKEND", "agg")
        monkeypatch.setenv(runner.CHILD, "")
        monkeypatch.chdir(path.parent)
        with pytest.raises(Exception) as caught:
            runner.run(path.name, [])
        return caught.value

    return start


# ------------------------------------------------------------------------------------------------ the program's log


def test_a_program_prints_torchs_log(oracle):
    program = PROGRAMS / "parity.py"

    def log(torch):
        with contextlib.redirect_stdout(io.StringIO()) as out, torch.random.fork_rng():
            torch.manual_seed(3)
            runpy.run_path(str(program), run_name="__main__")
        return {"stdout": out.getvalue()}

    ours = run("--seed", 3, program)
    assert ours.stderr == ""
    assert ours.stdout == str(oracle(log)["stdout"])


def test_seed_reaches_all_three_generators():
    tinyrnn.manual_seed(5)
    expected = tinyrnn.rand(1).item(), np.random.RandomState(5).rand(), random.Random(5).random()
    assert run("--seed", 5, PROGRAMS / "seeded.py").stdout.split() == [str(number) for number in expected]


# ---------------------------------------------------------------------------------------------------------- imports


def test_imports():
    done = run(PROGRAMS / "imports.py", "--seed", "1", "-h", "--", "x")
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "['--seed', '1', '-h', '--', 'x']",
        "__main__ True True",
        "torch torch.nn torch.nn.functional torch.utils.data True True",
        "True True",
        "True True True",
        "True True True True",
        "torch.nn None",
        "True True True True",
        "True False False False",
        "True True False False",
        "ModuleNotFoundError torch.onnx is not in tinyrnn: torch's compilers are out of scope",
        "ImportError torch.nn.Conv2d is not in tinyrnn: convolutions and images are out of scope",
        "AttributeError torch.nn.Conv2d is not in tinyrnn: convolutions and images are out of scope",
        "attempted relative import with no known parent package",
        "<class '__main__.Net'> True True [3.0, 3.0]",
        # What the library saw: the module that stands for the real torch, loaded by nobody before it.
        "(True, False, 'torch', 'torch', 'somebody else')",
    ]


def test_a_child_process_finds_torch_too():
    done = run(PROGRAMS / "children.py", "fork", "spawn")
    assert done.stderr == ""
    answer = "torch.nn.functional True [1.0, 1.0]"
    assert done.stdout.splitlines() == [f"fork {answer}", f"spawn {answer}"]


def test_the_programs_modules_are_those_beside_it_and_on_paths_it_adds(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(tmp_path / "venv/lib"), "/usr/lib/python", str(ROOT)])
    program = facade.Program(str(tmp_path / "train.py"), sys.path)
    sys.path += ["/home/me/course", "/home/me/site-packages"]
    ours = ["train.py", "model.py", "layers/deep/rnn.py", "/home/me/course/plots.py"]
    theirs = [
        "venv/lib/scipy/x.py",
        "env/site-packages/scipy/x.py",
        "/usr/lib/python/json.py",
        "/opt/other.py",
        "/home/me/site-packages/scipy.py",
        tinyrnn.__file__,
    ]
    assert [file for file in ours + theirs if program.owns(str(tmp_path / file))] == ours


def found(name):
    """Whether torch has a module of this name, looked for without loading more of torch."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the parent is no package
        return False


@needs_torch
def test_every_module_that_torch_has_too_is_shared_and_no_other():
    for module in pkgutil.walk_packages(tinyrnn.__path__[:1], "tinyrnn."):
        name = "torch" + module.name.removeprefix("tinyrnn")
        if name.startswith("torch.ops"):  # an object of torch's that makes up every name it is asked for
            continue
        parent, _, last = name.rpartition(".")
        attribute = getattr(sys.modules.get(parent), last, None)
        in_torch = isinstance(attribute, types.ModuleType) or found(name)
        assert (name in facade.MODULES) == in_torch, name


def test_version_compares_as_a_version():
    version = facade.torch().__version__
    assert isinstance(version, str) and version.startswith("2.13.0+tinyrnn")
    assert version > "2.2" and version >= "2.13.0" and version > (1, 13) and version < (2, 14) and version <= "10.0"
    assert not version < "2.2" and not version <= (2, 13) and not version > "2.14" and not version >= (3,)


# ---------------------------------------------------------------------------------------- how it ends


@pytest.mark.parametrize(
    "line, told",
    [
        ("nn.Conv2d(1, 2, 3)", "torch.nn.Conv2d is not in tinyrnn: convolutions and images are out of scope"),
        ("from torch.nn import Conv2d", "torch.nn.Conv2d is not in tinyrnn: convolutions and images are out of scope"),
        ("import torchvision", "torchvision is not in tinyrnn: convolutions and images are out of scope"),
        (
            "import torch.distributed.rpc as rpc",
            "torch.distributed.rpc is not in tinyrnn: training on several machines is out of scope",
        ),
        ("import torch.jit.frontend", "torch.jit.frontend is not in tinyrnn: torch's compilers are out of scope"),
        ("torch.jit.save(x, 'model.pt')", "torch.jit.save is not in tinyrnn: torch's compilers are out of scope"),
        ("importlib.import_module('torch.nowhere')", "torch.nowhere is not in tinyrnn"),
        ("x.some_missing()", "torch.Tensor.some_missing is not in tinyrnn"),
        ("torch.backends.cudnn.some_missing()", "torch.backends.cudnn.some_missing is not in tinyrnn"),
        ("torch.Tensor.some_missing(x)", "torch.Tensor.some_missing is not in tinyrnn"),
        ("nn.Linear(1, 2).some_missing", "torch.nn.Linear.some_missing is not in tinyrnn"),
        ("x.tanh(some=1)", "x.tanh has no argument 'some' in tinyrnn"),
        ("(x + 1).tanh(some=1)", "Tensor.tanh has no argument 'some' in tinyrnn"),
        ("nn.Linear(1, 2, some=3)", "nn.Linear has no argument 'some' in tinyrnn"),
        ("nn.Linear(1, 2)(x, some=3)", "Linear has no argument 'some' in tinyrnn"),
        (
            "needs_torch.work()",
            "needs_torch imports torch itself (No module named 'torch.missing'; 'torch' is not a package); "
            "only the program's own files get it from tinyrnn",
        ),
        # The program's own mistakes are Python's business.
        ("(1).some_missing", None),
        ("f(2, some=1)", None),
        ("np.ones(3, some=1)", None),
        ("Net().some_missing", None),
        ("import not_installed", None),
        ("raise ImportError('torch')", None),
    ],
)
def test_a_missing_name_is_told_in_one_line(tmp_path, monkeypatch, started, line, told):
    site_packages = tmp_path / "site-packages"
    site_packages.mkdir()
    (site_packages / "torch.py").touch()
    (site_packages / "needs_torch.py").write_text("def work():\n    import torch.missing\n")
    (tmp_path / "program.py").write_text(
        "import importlib, torch, numpy as np\nfrom torch import nn\nx = torch.ones(1)\n"
        "class Net(nn.Module):\n    pass\n"
        f"def f(n):\n    {'import needs_torch; ' if 'needs' in line else ''}{line}\nf(1)\n"
    )
    for name in ("torch", "needs_torch"):
        monkeypatch.setitem(sys.modules, name, None)  # restores what was there, after the test
        del sys.modules[name]
    monkeypatch.syspath_prepend(site_packages)
    sys.path.insert(0, str(ROOT))
    error = started(tmp_path / "program.py")
    program = facade.Program("program.py", sys.path)
    assert runner.missing_line(program, error) == (told and f"program.py:7: {told}")


def test_one_line_on_stderr_and_status_1():
    done = run("fails.py", "missing", cwd=PROGRAMS)
    assert done.returncode == 1
    assert done.stderr == (
        f"{Path('names/failing.py')}:12: torch.nn.Conv2d is not in tinyrnn: convolutions and images are out of scope\n"
    )


def test_an_error_shows_the_programs_lines_only():
    done = run("fails.py", "error", cwd=PROGRAMS)
    assert done.returncode == 1
    first, second = done.stderr.split("\nThe above exception was the direct cause of the following exception:\n")
    assert [line.split(", ")[1:] for line in (first + second).splitlines() if line.startswith("  File")] == [
        ["line 6", "in divide"],
        ["line 10", "in <module>"],
        ["line 8", "in divide"],
    ]
    assert second.endswith("ValueError: cannot divide\n")


@pytest.mark.parametrize("how, status", [("exit", 3), ("interrupt", -2 if os.name == "posix" else 0xC000013A)])
def test_exit_status(how, status):
    done = run(PROGRAMS / "fails.py", how)
    assert done.returncode == status
    assert done.stderr.endswith("KeyboardInterrupt\n" if how == "interrupt" else "")


# -------------------------------------------------------------------------------------------------------- windows


def test_windows_become_files(tmp_path):
    pytest.importorskip("matplotlib")
    done = run(PROGRAMS / "windows.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "done\n")
    assert done.stderr.splitlines() == [f"saved windows-figure-{n}.png" for n in (1, 2, 3, 4)]
    assert [width(tmp_path / f"windows-figure-{n}.png") for n in (1, 2, 3, 4)] == [100, 200, 300, 400]


def width(png):
    """The width of a PNG picture in pixels."""
    return int.from_bytes(png.read_bytes()[16:20], "big")


def test_a_users_backend_is_left_alone(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")
    assert runner.has_display()
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert not runner.has_display()


# ------------------------------------------------------------------------------------------------ the command line


def command(monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", ["tinyrnn", *map(str, args)])
    return command_line.main()


def test_help(monkeypatch, capsys):
    assert command(monkeypatch) == 0
    for args in (["--help"], ["run", "--help"]):
        with pytest.raises(SystemExit, match="0"):
            command(monkeypatch, *args)
    shown = capsys.readouterr().out
    assert "usage: python -m tinyrnn run [-h] [--seed N] [--list-missing] program.py [args ...]" in shown


@pytest.mark.parametrize("path, what", [("nowhere.py", "no such file"), (".", "is a directory, not a program file")])
def test_no_program(monkeypatch, capsys, path, what):
    assert command(monkeypatch, "run", path) == 2
    assert capsys.readouterr() == ("", f"tinyrnn run: {path}: {what}\n")


def test_list_missing(monkeypatch, capsys, tmp_path):
    program = tmp_path / "program.py"
    program.write_text("""\
import torch, torchvision.transforms as T
import torch.nn as nn, torch.nn.functional as F
import torch.utils.data as data
from torch.nn import Conv2d, Linear
from torch import nowhere as there, Tensor
import numpy as np

class Net(nn.Module):
    def forward(self, x: torch.Tensor):
        return F.max_pool2d(nn.Conv1d(1, 2, 3)(x)) + np.nothing(nn.Linear.nothing)

for data in [there.deep]:
    data.not_torchs
torch.new = 3
raise SystemExit("read, not run")
""")
    assert command(monkeypatch, "run", "--list-missing", program) == 1
    images = "convolutions and images are out of scope"
    assert [line.removeprefix(f"{program}:") for line in capsys.readouterr().out.splitlines()] == [
        f"1: torchvision is not in tinyrnn: {images}",
        f"4: torch.nn.Conv2d is not in tinyrnn: {images}",
        "5: torch.nowhere is not in tinyrnn",
        f"10: torch.nn.Conv1d is not in tinyrnn: {images}",
        "10: torch.nn.Linear.nothing is not in tinyrnn",
        f"10: torch.nn.functional.max_pool2d is not in tinyrnn: {images}",
        "12: torch.nowhere is not in tinyrnn",
    ]
    assert command(monkeypatch, "run", "--list-missing", PROGRAMS / "parity.py") == 0
    assert capsys.readouterr().out == ""


MISSING = {  # a line of a program -> torch's names in it that are not here
    "x = torch.zeros(2); x.nothing()": ["Tensor.nothing"],
    "x = torch.zeros(2).exp().t(); x.nothing": ["Tensor.nothing"],
    "torch.zeros(2).nothing(); torch.tanh(torch.ones(1)).nothing2": ["Tensor.nothing", "Tensor.nothing2"],
    "x = torch.ones(1); x = F.relu(x) + 1; (-x[0]).nothing": ["Tensor.nothing"],
    "x = torch.ones(1); x.T.nothing; x.data.nothing2; x.grad.nothing3": [
        "Tensor.nothing",
        "Tensor.nothing2",
        "Tensor.nothing3",
    ],
    "for row in torch.ones(2, 2): row.nothing()": ["Tensor.nothing"],
    "def f(x: torch.Tensor, y: Tensor = None): return x.nothing, y.nothing2": ["Tensor.nothing", "Tensor.nothing2"],
    "x: torch.Tensor = f(); x.nothing": ["Tensor.nothing"],
    "x = torch.FloatTensor(2); x.nothing": ["Tensor.nothing"],
    "rnn = nn.LSTM(1, 2); rnn.nothing(); rnn.weight_hh_l0.data": ["nn.LSTM.nothing"],
    "y = nn.Linear(1, 2)(x); y.nothing": ["Tensor.nothing"],
    "getattr(torch, 'nothing'); getattr(torch, 'nothing2', None)": ["nothing"],
    "torch.nn.modules.rnn.Nothing; torch.utils.data.nothing": ["nn.modules.rnn.Nothing", "utils.data.nothing"],
    "from torch.nn.modules.rnn import LSTM, Nothing": ["nn.modules.rnn.Nothing"],
    "import torch.nothing.deeper": ["nothing"],
    "from torch.nn import *; LSTM(1, 2); Nothing()": ["nn.Nothing"],
    # What may be something else is not told.
    "x = torch.zeros(2) if f() else f(); x.nothing": [],
    "x = torch.zeros(2); x = f(); x.nothing": [],
    "v, i = torch.zeros(2).max(0); v.nothing; torch.zeros(2).max(0).values": [],
    "def f(x): return x.nothing": [],
    "from torch.nn import *; from numpy import *; Nothing()": [],
    "x = torch.zeros(2).tolist(); x.nothing; torch.zeros(2).size().nothing": [],
    "class A:\n    def f(self): self.x = torch.ones(1); self.x = f()\n    def g(self): self.x.nothing": [],
    "def f():\n    global x; x = 3\nx = torch.ones(1); x.nothing": [],
    "torch = f(); torch.nothing": [],
}


def test_list_missing_minds_whose_function_it_is(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import numpy as np, torch\nx = np.triu(np.ones((1, 2))).astype('uint8')\ny = torch.from_numpy(x)\n"
    )
    assert reader.list_missing(str(program)) == []


def test_a_program_may_ask_whether_it_is_alone(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("""\
import torch
import torch.distributed as dist
from torch.distributed import destroy_process_group, init_process_group
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.nn.parallel import DataParallel
print(dist.is_available() and dist.is_initialized(), DataParallel is torch.nn.DataParallel)
for call in (dist.get_rank, init_process_group, lambda: DDP(torch.nn.Linear(1, 2))):
    try:
        call()
    except (ValueError, NotImplementedError) as error:
        print(type(error).__name__)
""")
    assert run(program).stdout.split("\n") == ["False True", "ValueError", *["NotImplementedError"] * 2, ""]


@pytest.mark.parametrize("text", MISSING)
def test_list_missing_reads(tmp_path, text):
    program = tmp_path / "program.py"
    program.write_text(f"import torch\nfrom torch import nn, Tensor\nimport torch.nn.functional as F\n{text}\n")
    told = [line.partition(": ")[2].partition(" is not in ")[0] for line in reader.list_missing(str(program))]
    assert told == sorted(f"torch.{name}" for name in MISSING[text])


def test_list_missing_knows_what_objects_hold(tmp_path):
    """The parts of torch's layers, the keys of containers, and what the program gives to an object itself."""
    program = tmp_path / "program.py"
    program.write_text("""\
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        self.t, self.d = nn.Transformer(8, 2, 1, 1, 8), nn.ModuleDict(dict(wte=nn.Embedding(5, 8)))
        self.a, self.e, self.s = nn.MultiheadAttention(8, 2), nn.TransformerEncoderLayer(8, 2), nn.Linear(1, 1)
        self.t.add_module("fc", nn.Linear(1, 1))
    def forward(self, x):
        self.a.out_proj(x), self.e.self_attn(x, x, x), self.e.linear1(x), self.e.dropout1(x), self.t.fc(x)
        self.s.foo = nn.Linear(1, 1)
        return self.t.encoder(self.d.wte(x)), self.s.foo(x)
p = nn.Parameter(torch.ones(1))
p.no_decay = True
print(p.no_decay, nn.Linear(1, 1).to_empty(device="cpu"))
""")
    assert [line.removeprefix(str(program)) for line in reader.list_missing(str(program))] == [
        ":14: torch.nn.Linear.to_empty is not in tinyrnn"
    ]


def test_list_missing_reads_a_layers_parts(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("""\
import torch.nn as nn
class Net(nn.Module):
    def __init__(self):
        self.rnn = nn.GRU(1, 2)
        self.out = nn.Linear(2, 1)
    def forward(self, x):
        self.rnn.flatten_parameters()
        self.rnn.nothing()
        return (
            self.out(x)
            .view(-1)
            .nothing()
        )
""")
    assert [line.removeprefix(str(program)) for line in reader.list_missing(str(program))] == [
        ":8: torch.nn.GRU.nothing is not in tinyrnn",
        ":12: torch.Tensor.nothing is not in tinyrnn",
    ]


@needs_torch
def test_every_module_of_torchs_can_be_imported_in_every_style():
    for name in sorted(facade.MODULES - {"torch.autograd.functional"}):
        module, parent, last = facade.imported(name), *name.rpartition(".")[::2]
        assert isinstance(module, types.ModuleType) and module.__name__ == name
        if name not in facade.FUNCTIONS:
            assert getattr(facade.imported(parent, [last]), last) is module
            assert facade.resolve(name) is module
        assert isinstance(getattr(sys.modules.get(parent), last, None), types.ModuleType) or found(name), name
        for public in module.__all__:
            assert hasattr(module, public), f"{name}.{public}"


def test_a_modules_other_name_shows_the_same_things():
    rnn = facade.imported("torch.nn.modules.rnn", ["LSTM", "RNNBase"])
    assert rnn.LSTM is facade.imported("torch.nn").LSTM
    check = facade.imported("torch.autograd.gradcheck", ["gradcheck"]).gradcheck
    assert check is facade.resolve("torch.autograd.gradcheck")
    assert facade.imported("torch.version").__version__ == facade.torch().__version__


def test_a_program_that_names_tinyrnn_imports_torchs_modules_too():
    started = """
import tinyrnn
import tinyrnn.backends.cudnn as cudnn
import tinyrnn.nn.modules.normalization as normalization
import tinyrnn.utils.hooks, tinyrnn.version
from tinyrnn.cuda.amp import GradScaler, autocast
from tinyrnn.distributions.categorical import Categorical
from tinyrnn.nn.modules.loss import *

assert cudnn is tinyrnn.backends.cudnn
assert normalization.LayerNorm is tinyrnn.nn.modules.normalization.LayerNorm is tinyrnn.nn.LayerNorm
assert CrossEntropyLoss is tinyrnn.nn.CrossEntropyLoss
assert (Categorical, GradScaler) == (tinyrnn.distributions.Categorical, tinyrnn.cuda.amp.GradScaler)
assert tinyrnn.version.__version__ == tinyrnn.__version__ and tinyrnn.utils.hooks.RemovableHandle
"""
    subprocess.run([sys.executable, "-c", started], check=True, cwd=Path(facade.PACKAGE).parent)


def test_torchs_modules_are_found_by_tinyrnns_name():
    for name in sorted(facade.MODULES):
        parent, _, last = f"tinyrnn{name.removeprefix('torch')}".rpartition(".")
        module = importlib.import_module(f"{parent}.{last}")
        if name not in facade.FUNCTIONS:
            assert getattr(sys.modules[parent], last) is module, name
        if name in facade.ALIASES:
            assert isinstance(module, facade.Elsewhere) and module.__name__ == f"{parent}.{last}"
            assert all(hasattr(module, public) for public in module.__all__), name
    with pytest.raises(ModuleNotFoundError, match="tinyrnn.nn.modules.conv"):
        importlib.import_module("tinyrnn.nn.modules.conv")
    with pytest.raises(AttributeError, match="Conv1d is not in tinyrnn: convolutions and images are out of scope"):
        assert tinyrnn.nn.modules.rnn.Conv1d
