"""What the demos' command lines have in common: the options of all, how a wrong one is refused, and how a demo ends.

Every demo imports this before all else, so that Ctrl-C is answered in a line even while the others are imported.
"""

import argparse
import contextlib
import math
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn


def refuse(message: str) -> NoReturn:
    """End, as commands do that were given wrong options: one line, status 2."""
    print(f"{Path(sys.argv[0]).name}: error: {message}", file=sys.stderr)
    sys.exit(2)


class Parser(argparse.ArgumentParser):
    """Of a demo's options, explained by its docstring; some are every demo's. `quick` says what --quick does."""

    def __init__(self, description: str, quick: str):
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        common = self.add_argument_group("every demo's options")
        common.add_argument("--quick", action="store_true", help=quick)
        common.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where to compute (default: cpu)")
        out = Path(__file__).parent / "out"
        common.add_argument("--out", type=Path, default=out, help="folder for what is written (default: demos/out)")

    def error(self, message: str) -> NoReturn:
        refuse(message)


def checked(kind: Callable, expected: str, holds: Callable[..., bool]) -> Callable[[str], object]:
    """A type for argparse: what `kind` makes of a text, where it `holds`; else the error says what was `expected`."""

    def convert(text: str):
        with contextlib.suppress(ValueError):
            value = kind(text)
            if holds(value):
                return value
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")

    return convert


def at_least(least: int) -> Callable[[str], object]:
    return checked(int, f"a whole number of at least {least}", lambda number: number >= least)


positive = checked(float, "a positive number", lambda number: 0 < number < math.inf)
probability = checked(float, "a number from 0 to below 1", lambda number: 0 <= number < 1)
seed = checked(int, "a whole number from 0 to 4294967295", lambda number: 0 <= number < 2**32)  # what NumPy takes
text = checked(str, "text in UTF-8, not empty", lambda text: text.encode() != b"")


def prepare(args: argparse.Namespace) -> None:
    """Try the device and the folder now, and not when there is something to lose."""
    if args.device != "cpu":
        import tinyrnn  # not above: a peer's Python, which may not have it, runs speed.py and with it this file

        try:
            tinyrnn.empty(0, device=args.device)
        except RuntimeError as error:  # it says what is missing
            refuse(f"--device: {error}")
    try_folder("--out", args.out)


def try_folder(option: str, folder: Path) -> None:
    """Make a folder, and a file in it that is gone again."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        refuse(f"{option}: expected a folder that can be written to, got {folder} ({error.strerror})")


def check_loss(loss: float, step: int, rate: str) -> float:
    """A cross-entropy in training. FloatingPointError if it is not finite, or so high that its perplexity is not."""
    if not loss < 700:
        raise FloatingPointError(f"{rate}: the loss of step {step} is {loss:g}: training has diverged, try a lower one")
    return loss


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run a demo; where the reader of its output leaves early, as in `demo.py | head`, it ends without a word."""
    try:
        try:
            status = main()
        finally:
            sys.stdout.flush()
    except FloatingPointError as error:
        refuse(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be flushed
        status = 128 + 13  # as a shell says of a program that SIGPIPE has ended
    sys.exit(status)


def answer(kind, error, trace) -> None:
    """In place of a traceback where nobody has caught Ctrl-C, or what draws pictures is not installed."""
    if issubclass(kind, ModuleNotFoundError) and error.name in ("matplotlib", "tqdm"):
        refuse(f'{error.name} is not installed; `pip install -e ".[plot]"` installs what the demos need')
    if not issubclass(kind, KeyboardInterrupt):
        return sys.__excepthook__(kind, error, trace)
    print("Interrupted.", file=sys.stderr)
    sys.exit(130)


sys.excepthook = answer
