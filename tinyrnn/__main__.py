"""The command line: `python -m tinyrnn run [--seed N] program.py [args]`, and its `warmup` and `doctor`."""

import argparse
import sys
from pathlib import Path

from tinyrnn import reader, run

DESCRIPTION = """\
Run a program that was written for torch, unchanged. In the program and in the modules beside it,
`import torch` and all its submodules are answered by tinyrnn; other libraries are left alone.
A name of torch that tinyrnn does not have stops the program with one line that says where it was asked for."""

EXAMPLES = """\
examples:
  python -m tinyrnn run train.py --epochs 20         all that follows the program's name goes to the program
  python -m tinyrnn run --seed 0 train.py            the same numbers every time, torch's numbers
  python -m tinyrnn run --list-missing train.py      what would be missing, without running it

Without a display, matplotlib's plt.show() writes its figures to <program>-figure-N.png."""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python -m tinyrnn", description="A small engine for sequence models that speaks torch's vocabulary."
    )
    commands = top.add_subparsers(title="commands", metavar="command", dest="command", required=True)
    warm = commands.add_parser(
        "warmup",
        help="compile the usual kernels ahead",
        description="Compile the kernels that programs are likely to use, so that their first run does not wait.",
    )
    warm.add_argument("--float64", action="store_true", help="the same for double precision too")
    commands.add_parser(
        "doctor",
        help="what this machine has, and whether it computes right",
        description="Tell what was found (CPU, GPU, versions, cache), what is missing, and check every kernel family.",
    )
    command = commands.add_parser(
        "run",
        help="run a torch program, unchanged",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="python -m tinyrnn run [-h] [--seed N] [--list-missing] program.py [args ...]",
    )
    command.add_argument("--seed", type=int, metavar="N", help="seed tinyrnn, NumPy and Python's random first")
    command.add_argument(
        "--list-missing",
        action="store_true",
        help="list the names of torch that the program uses and tinyrnn lacks; status 1 if any",
    )
    command.add_argument("program", metavar="program.py", help="the program's file")
    command.add_argument(
        "args", nargs=argparse.REMAINDER, help="arguments for the program, passed on as they are"
    ).required = False
    return top


def main() -> int:
    top = parser()
    if len(sys.argv) == 1:
        top.print_help()
        return 0
    options = top.parse_args()
    if options.command == "warmup":
        from tinyrnn.warmup import warmup

        warmup(options.float64)
        return 0
    if options.command == "doctor":
        from tinyrnn.doctor import doctor

        return doctor()
    path = Path(options.program)
    if not path.is_file():
        what = "is a directory, not a program file" if path.is_dir() else "no such file"
        print(f"tinyrnn run: {options.program}: {what}", file=sys.stderr)
        return 2
    if options.list_missing:
        lines = reader.list_missing(options.program)
        print(*lines, sep="\n", end="\n" if lines else "")
        return 1 if lines else 0
    run.run(options.program, options.args, options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
