"""`python -m tinyrnn run`: start a torch program in this process, and tell what stopped it.

The program runs as `__main__`, as under plain Python. Its errors are Python's own tracebacks without the runner's
frames; only a name of torch that tinyrnn lacks is told in one line: the program's line, and the name.
"""

import ast
import builtins
import importlib
import io
import itertools
import linecache
import os
import random
import re
import sys
from collections.abc import Iterator
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import ModuleType, TracebackType
from typing import Any

import numpy as np

from tinyrnn import facade

# Tells a spawned child which program its parent runs, and what the parent's search path was before it.
CHILD = "TINYRNN_RUN"
FIGURES = "module://tinyrnn.figures"


def run(path: str, args: list[str], seed: int | None = None) -> None:
    """Run the file `path` as `__main__` with `args`; errors and exits of the program pass through."""
    program = facade.Program(path, ())
    sys.argv = [path, *args]
    if not sys.flags.safe_path:
        sys.path[0] = program.directory
    checkout = os.path.dirname(facade.PACKAGE)
    if checkout not in sys.path:  # tinyrnn came from the current directory; spawned children will need it too
        sys.path.insert(1, checkout)
    if not has_display():
        os.environ.setdefault("MPLBACKEND", FIGURES)
    if seed is not None:
        importlib.import_module("tinyrnn").manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
    os.environ[CHILD] = "\n".join([program.file, *sys.path])
    start("__main__")


def has_display() -> bool:
    return sys.platform in ("win32", "darwin") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


def start(name: str) -> ModuleType:
    """Run the program that the environment names as the module `name`, which is returned."""
    file, *libraries = os.environ[CHILD].split("\n")
    program = facade.Program(file, libraries)
    facade.answer(program)
    sys.excepthook = lambda kind, error, trace: report(program, error)
    if os.environ.get("MPLBACKEND") == FIGURES:
        sys.meta_path.insert(0, Windows())
    module = ModuleType(name)
    vars(module).update(
        __file__=file,
        __builtins__=builtins,
        __cached__=None,
        __loader__=SourceFileLoader(name, file),
        # A child that multiprocessing spawns imports the module of this name where its parent's main module was: the
        # end of this file. The empty package keeps the program's relative imports as hopeless as they always were.
        __spec__=ModuleSpec("tinyrnn.run", None),
        __package__="",
    )
    sys.modules[name] = module
    with io.open_code(file) as source:
        code = compile(source.read(), file, "exec", dont_inherit=True)
    exec(code, vars(module))
    return module


class Windows(MetaPathFinder, Loader):
    """Finds tinyrnn.figures in the place of every matplotlib backend that would open a window (`use("TkAgg")`)."""

    def find_spec(self, name, path=None, target=None):
        wanted = re.fullmatch(r"matplotlib\.backends\.backend_(qt|tk|gtk|wx|macosx)\w*", name)
        return ModuleSpec(name, self) if wanted else None

    def exec_module(self, module):
        module.FigureCanvas = importlib.import_module("tinyrnn.figures").FigureCanvas


# ---------------------------------------------------------------------------------------------------- what stopped it


def report(program: facade.Program, error: BaseException) -> None:
    """Tell on stderr what stopped the program."""
    line = missing_line(program, error)
    if line:
        print(line, file=sys.stderr)
    else:
        hide_runner(error)
        sys.__excepthook__(type(error), error, error.__traceback__)


def frames(error: BaseException) -> Iterator[TracebackType]:
    """The traceback's entries, outermost first, without those of the runner and of the import machinery."""
    trace = error.__traceback__
    while trace:
        file = trace.tb_frame.f_code.co_filename
        if file not in RUNNER and not file.startswith(("<frozen runpy", "<frozen importlib")):
            yield trace
        trace = trace.tb_next


RUNNER = (__file__, facade.__file__, os.path.join(facade.PACKAGE, "__main__.py"))


def hide_runner(error: BaseException | None) -> None:
    """Take the runner's frames out of an error's traceback, and of the errors it came from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        trace = None
        for entry in reversed(list(frames(error))):
            trace = TracebackType(trace, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
        error.__traceback__ = trace
        error = error.__cause__ or error.__context__


def missing_line(program: facade.Program, error: BaseException) -> str | None:
    """One line for an error that means "tinyrnn does not have this name"; None for any other error."""
    trail = list(frames(error))
    asked = next((entry for entry in reversed(trail) if program.owns(entry.tb_frame.f_code.co_filename)), None)
    if asked is None:
        return None
    file = asked.tb_frame.f_code.co_filename
    where = f"{min(file, os.path.relpath(file), key=len)}:{asked.tb_lineno}: "
    inner = trail[-1].tb_frame
    if isinstance(error, ImportError):
        root = (error.name or "").partition(".")[0]
        if asked is trail[-1] and root in {"torch", *facade.COMPANIONS}:
            return where + str(error)
        if root == "torch":
            library = inner.f_globals.get("__name__", inner.f_code.co_filename).partition(".")[0]
            return f"{where}{library} imports torch itself ({error}); only the program's own files get it from tinyrnn"
    if isinstance(error, AttributeError) and (asked is trail[-1] or inner.f_code.co_name == "__getattr__"):
        owner = error.obj if isinstance(error.obj, type) else type(error.obj)
        if isinstance(error.obj, ModuleType) and error.obj.__name__.partition(".")[0] == "torch":
            return where + str(error)
        if is_tinyrnn(owner):
            return where + facade.missing(f"{torch_name(owner)}.{error.name}")
    if isinstance(error, TypeError) and (
        refused := re.match(r"([\w.]+)\(\) got an unexpected keyword argument '(\w+)'", str(error))
    ):
        name, keyword = refused.groups()
        if asked is trail[-1]:
            function = called(asked, name)
        else:  # a layer's __call__ handed the arguments on to its forward
            layer = inner.f_locals.get("self")
            function = type(layer).__name__ if name.endswith(".forward") and is_tinyrnn(type(layer)) else None
        if function:
            return f"{where}{function} has no argument '{keyword}' in tinyrnn"
    return None


def is_tinyrnn(value: Any) -> bool:
    return (getattr(value, "__module__", None) or "").partition(".")[0] == "tinyrnn"


def torch_name(kind: type) -> str:
    """What the program calls one of tinyrnn's classes: torch.Tensor, torch.nn.LSTM, or its bare name."""
    spaces = (space for space in ("torch", "torch.nn", "torch.optim") if hasattr(facade.resolve(space), kind.__name__))
    return ".".join([*itertools.islice(spaces, 1), kind.__name__])


def called(entry: TracebackType, name: str) -> str | None:
    """How a program's line writes the function of tinyrnn whose call failed (`nn.LSTM`); None if it is not tinyrnn's.

    `name` is what Python calls the function. What the line computes first is not computed again: of `(a + b).sum(...)`
    only the method's name is compared with a tensor's.
    """
    frame = entry.tb_frame
    position = list(frame.f_code.co_positions())[entry.tb_lasti // 2]
    for node in ast.walk(ast.parse("".join(linecache.getlines(frame.f_code.co_filename)))):
        if isinstance(node, ast.Call) and position == (
            node.lineno,
            node.end_lineno,
            node.col_offset,
            node.end_col_offset,
        ):
            function = node.func
            if all(isinstance(part, ast.Name | ast.Attribute | ast.Load) for part in ast.walk(function)):
                value = eval(compile(ast.Expression(function), "<called>", "eval"), frame.f_globals, frame.f_locals)
                return ast.unparse(function) if is_tinyrnn(value) else None
            if isinstance(function, ast.Attribute):
                method = getattr(facade.resolve("torch.Tensor"), function.attr, None)
                return f"Tensor.{function.attr}" if getattr(method, "__qualname__", None) == name else None
    return None


if __name__ == "__mp_main__":  # in a spawned child: be what the program's main module is to its parent
    globals().update(vars(importlib.import_module("tinyrnn.run").start("__mp_main__")))
