"""How fast is tinyrnn on this machine?  The same work in tinyrnn, in torch and in JAX, in one run.

    python demos/speed.py                               # some five minutes: a table, and a picture of it
    python demos/speed.py --quick                       # six cases, half a minute at most
    python demos/speed.py --only LSTM attention         # cases with one of these in their name or group
    python demos/speed.py --python jax=../env/bin/python        # JAX lives in another environment
    python demos/speed.py --peers none                  # tinyrnn alone
    python demos/speed.py --device cuda                 # on an NVIDIA GPU, with sizes that suit one

Each library runs in a process of its own, so that their threads do not disturb one another, and they take turns.  All
get the same weights and inputs, and before anything is timed their outputs and gradients are compared: where they
differ, the table says WRONG, and no time counts.  In the table

    32>64, 8x10  32 input features (or symbols), 64 hidden units; 8 sequences of 10 steps
    4x8, 256x64  attention: 4 sequences, 8 heads; 256 steps, 64 numbers a head
    ms           one forward pass, one forward and backward pass (train), or one training step (step): forward, loss,
                 backward, clipping, Adam; the median, in tinyrnn
    GFLOP/s      the multiplications and additions of its matrix products, by that time
    of peak      how much that is of what all threads can do with numbers that they already hold, measured in the same
                 turns; not on a GPU
    torch/ours   torch's time by tinyrnn's: above 1, tinyrnn is faster.  Times of the same turn are divided, and the
                 median of the ratios is shown, so that it does not matter if the machine is slower for a while;
                 a ~ marks those that are unsure: of the five turns, the middle three differ by more than half

torch runs eagerly, as most people run it; JAX has compiled the whole computation (jit) before it is timed.  On a GPU, a
time ends when the GPU has done its work, and all compute in float32, none in TensorFloat-32.
"""

import argparse
import contextlib
import importlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import command_line
import numpy as np
from speed_work import CASES, Case, build, build_in_jax, given_for

COLORS = {"tinyrnn": "tab:blue", "torch": "tab:orange", "jax": "tab:green"}
OURS, *PEERS = COLORS
PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
TURNS = 5
TOLERANCE = 5e-5  # of the largest number of an array; float32 sums in another order differ by less
QUICK = {
    "cpu": ("RNN 1>16, 8x10, train", "LSTM 32>64, 32x32, train", "MGU 32", "causal attention 4x8", "classifier 5>20",
            "transformer"),
    "cuda": ("RNN 256>256, 1x256, train", "LSTM 512>512, 64x128, train", "MGU 512", "causal attention 8x16",
             "classifier 5>20", "transformer"),
}  # fmt: skip


def multiply_add(threads: int):
    """A function that keeps all threads at fused multiply-adds, and how many floating-point operations it does: the
    tile of a matrix product, over and over with the same numbers, which are in the first cache or in registers."""
    from tinyrnn.kernels.cpu.jit import kernel, njit
    from tinyrnn.kernels.cpu.pool import split
    from tinyrnn.kernels.cpu.simd import address, lanes
    from tinyrnn.kernels.cpu.tile import ROWS, VECTORS_WIDE, tile

    times, columns = 100_000, VECTORS_WIDE * lanes(np.float32)
    one_tile = tile(np.float32, ROWS, VECTORS_WIDE)

    @kernel
    def some(first, last, ones, zeros, sums):
        for part in range(first, last):
            to = sums + 4 * part * ROWS * columns
            one_tile(ROWS, columns, zeros, 0, to, 4 * columns, times, ones, 4, 0, ones, 0)

    all_tiles = split(some)

    @njit
    def run(ones, zeros, sums):
        all_tiles(sums.shape[0], 1, 1, address(ones), address(zeros), address(sums))

    ones, zeros = np.ones(ROWS + columns, np.float32), np.zeros(columns, np.float32)
    sums = np.empty((threads, ROWS, columns), np.float32)
    return lambda: run(ones, zeros, sums), 2 * times * sums.size


# ---------------------------------------------------------------------------------------------------
# A process for each library, that answers lines of JSON
# ---------------------------------------------------------------------------------------------------
def on_gpu(library: str, module) -> tuple[str, Callable[[], None]]:
    """What its GPU is called, and a function that waits for it.  From now on it computes in float32, not in TF32.

    RuntimeError if it sees none."""
    if library == "jax":
        if module.default_backend() != "gpu":
            raise RuntimeError("it sees no GPU")
        module.config.update("jax_default_matmul_precision", "highest")
        return module.devices()[0].device_kind, lambda: None  # it has waited already
    if not module.cuda.is_available():
        raise RuntimeError("it sees no GPU")
    module.backends.cudnn.allow_tf32 = module.backends.cuda.matmul.allow_tf32 = False
    return module.cuda.get_device_name(), module.cuda.synchronize


def serve(library: str, threads: int, device: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the library prints is not an answer
    answer = lambda **reply: print(json.dumps(reply), file=answers, flush=True)
    if hasattr(os, "sched_setaffinity"):  # JAX has no other way to be told
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    try:
        module = importlib.import_module(library)
        flops, gpu, wait = 0, "", lambda: None
        if library != "jax":
            module.set_num_threads(threads)
        if device == "cuda":
            gpu, wait = on_gpu(library, module)
        elif library == "tinyrnn":
            peak, flops = multiply_add(threads)
    except (ImportError, RuntimeError) as error:
        return answer(error=str(error))
    answer(version=module.__version__, flops=flops, gpu=gpu)
    for line in sys.stdin:
        question = json.loads(line)
        try:
            if "folder" in question:
                case, folder = Case(*question["case"]), Path(question["folder"])
                if library == "tinyrnn":
                    np.savez(folder / "given.npz", **given_for(module, case, device))
                given = dict(np.load(folder / "given.npz"))
                if library == "jax":
                    run, results = build_in_jax(module, case, given)
                else:
                    run, results = build(module, case, given, device)
                np.savez(folder / f"{library}.npz", **results())
                answer()
            else:
                answer(seconds=timed(peak if question["peak"] else run, question["seconds"], wait))
        except Exception as error:  # in this case; there are others
            answer(error=f"{type(error).__name__}: {error}"[:200])


def timed(run, seconds: float, wait: Callable[[], None]) -> float:
    """The median time of a call, until what it asked for is done, for some seconds."""
    run()
    wait()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


class Library:
    """The process of a library, as the one that asks sees it."""

    def __init__(self, name: str, python: str, threads: int, device: str):
        self.name = name
        env = os.environ | {"OMP_NUM_THREADS": str(threads), "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        if device == "cpu":
            env["JAX_PLATFORMS"] = "cpu"
        command = [python, __file__, "--serve", name, "--threads", str(threads), "--device", device]
        self.process = subprocess.Popen(
            command, text=True, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the one that asks
        )  # fmt: skip

    def answer(self) -> dict:
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": "its process died"}

    def ask(self, **question) -> dict:
        try:
            print(json.dumps(question), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            return {"error": "its process died"}
        return self.answer()

    def seconds(self, seconds: float, peak: bool = False) -> float:
        time.sleep(0.01)  # the threads of the library before go to sleep
        return self.ask(seconds=seconds, peak=peak).get("seconds", math.nan)

    def end(self) -> None:
        self.process.kill()  # whatever it is at
        with contextlib.suppress(BrokenPipeError), self.process:  # what it was asked for last may be on its way
            pass


# ---------------------------------------------------------------------------------------------------
# What they answer, compared
# ---------------------------------------------------------------------------------------------------
def difference(ours: dict, theirs: dict) -> tuple[float, str]:
    """The largest difference of two arrays, as a part of the largest number of theirs; and the name of the array."""
    worst = (0.0, "")
    for name in ours.keys() | theirs.keys():
        x, y = ours.get(name), theirs.get(name)
        if x is None or y is None or x.shape != y.shape or not (np.isfinite(x).all() and np.isfinite(y).all()):
            return math.inf, name
        worst = max(worst, (float(np.abs(x - y).max() / max(np.abs(y).max(), 1e-30)), name))
    return worst


def line(case: str, *entries: str) -> str:
    """A line of the table."""
    return f"{case:44}" + "".join(f"{entry:>11}" for entry in entries)


@dataclass
class Row:
    """What is found out about a case, for each library that counts; and for the others, why they do not."""

    case: Case
    faults: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)  # their time by ours
    unsure: set[str] = field(default_factory=set)  # whose ratios differ from turn to turn
    peak: float = math.nan  # what the processor can do, in GFLOP/s; nobody knows it of a GPU
    share: float = math.nan  # how much of it we do

    def gflops(self, name: str) -> float:
        return self.case.flops() / self.seconds[name] / 1e9

    def text(self, columns: list[str], peers: list[str]) -> str:
        entries = {name: fault.partition(":")[0] for name, fault in self.faults.items()}
        entries |= {name: f"{ratio:.2f}{'~' * (name in self.unsure)}" for name, ratio in self.ratios.items()}
        ours = [entries.get(OURS, ""), "", ""]
        if OURS in self.seconds:
            share = f"{self.share:.1%}" if math.isfinite(self.share) else ""
            ours = [f"{1e3 * self.seconds[OURS]:.3f}", f"{self.gflops(OURS):.2f}", share]
        return line(str(self.case), *ours[: len(columns)], *(entries.get(peer, "") for peer in peers))


def compare(row: Row, libraries: list[Library], folder: Path) -> list[Library]:
    """Those that can do it, and agree."""
    arrays = {}
    for library in libraries:  # ours is the first
        reply = library.ask(case=row.case, folder=str(folder))
        if "error" in reply:
            row.faults[library.name] = f"failed: {reply['error']}"
            if library.name == OURS:
                return []
        else:
            arrays[library.name] = dict(np.load(folder / f"{library.name}.npz"))
    ours = arrays.pop(OURS)
    for name, theirs in arrays.items():
        error, where = difference(ours, theirs)
        if not error <= TOLERANCE:
            row.faults[name] = f"WRONG: {where} differs by {error:.1e} of its largest number"
    if arrays and all(name in row.faults for name in arrays):
        row.faults[OURS] = "WRONG: no library agrees with it"
        return []
    return [library for library in libraries if library.name not in row.faults]


def unsure(ratios: list[float]) -> bool:
    """Whether the turns, without the highest and the lowest, differ by more than half."""
    _, *middle, _ = sorted(ratios)
    return middle[-1] > 1.5 * middle[0]


def measure(case: Case, libraries: list[Library], flops: float, seconds: float, folder: Path) -> Row:
    """Compare, then time by turns; and the peak, of so many floating-point operations, unless `flops` is 0."""
    row = Row(case)
    agreed = compare(row, libraries, folder)
    if not agreed:
        return row
    times, peak = {library.name: [] for library in agreed}, []
    for _ in range(TURNS):
        if flops:
            peak.append(agreed[0].seconds(seconds / 4, peak=True))
        for library in agreed:
            times[library.name].append(library.seconds(seconds))
    row.faults |= {name: "failed: while it was timed" for name, found in times.items() if not np.isfinite(found).all()}
    if OURS not in row.faults:
        paired = lambda found: [b / a for a, b in zip(times[OURS], found, strict=True)]
        row.seconds = {name: statistics.median(found) for name, found in times.items() if name not in row.faults}
        row.ratios = {name: statistics.median(paired(times[name])) for name in row.seconds if name != OURS}
        row.unsure = {name for name in row.ratios if unsure(paired(times[name]))}
        if flops:
            share = statistics.median(paired(peak))
            row.peak, row.share = flops / statistics.median(peak) / 1e9, case.flops() / flops * share
    return row


def summary(rows: list[Row], peers: list[str]) -> None:
    """Geometric means of the ratios, in each group, and what went wrong."""
    for peer in peers:
        for group in dict.fromkeys(row.case.group for row in rows):
            ratios = sorted(row.ratios[peer] for row in rows if row.case.group == group and peer in row.ratios)
            if ratios:
                of, mean = f"{peer}/ours, {group}:", statistics.geometric_mean(ratios)
                faster = f"tinyrnn is faster in {sum(r > 1 for r in ratios)} of {len(ratios)}"
                print(f"{of:23}{ratios[0]:.2f} to {ratios[-1]:.2f}, geometric mean {mean:.2f}; {faster}")
    if any(row.unsure for row in rows):
        print("~ marks ratios that differ from turn to turn by more than half: something else runs here, repeat it.")
    for row in rows:
        for name, fault in row.faults.items():
            print(f"{row.case}: {name}: {fault}")


def plot(rows: list[Row], peers: list[str], path: Path) -> None:
    """The others' time by ours, and GFLOP/s."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    size = (12 if peers else 8, 1.8 + 0.3 * len(rows))
    figure, panels = plt.subplots(1, 1 + bool(peers), figsize=size, sharey=True, squeeze=False, layout="constrained")
    *left, right = panels[0]
    places = np.arange(len(rows))
    for axes in left:
        for k, peer in enumerate(peers):
            ratios = np.array([row.ratios.get(peer, math.nan) for row in rows])
            place = places + (k - (len(peers) - 1) / 2) * 0.8 / len(peers)
            bars = axes.barh(place, ratios - 1, 0.8 / len(peers), left=1, color=COLORS[peer])
            marks = ["~" * (peer in row.unsure) for row in rows]
            labels = [f"{ratio:.3g}{mark}" for ratio, mark in zip(ratios, marks, strict=True)]
            axes.bar_label(bars, labels, padding=3, fontsize=7)
        axes.axvline(1, color="black", linewidth=1)
        note = " (~: unsure)" * any(row.unsure for row in rows)
        axes.set(title=f"Their time by ours{note}", xlabel="\u2190 tinyrnn is slower     tinyrnn is faster \u2192")
        axes.margins(x=0.12)
    for name in [OURS, *peers]:
        speeds = [row.gflops(name) if name in row.seconds else math.nan for row in rows]
        right.plot(speeds, places, "o" if name == OURS else "D", color=COLORS[name], label=name, markersize=5)
    peak = statistics.median(row.peak for row in rows if row.seconds)
    if math.isfinite(peak):
        right.axvline(peak, color="0.4", linestyle="--", label=f"all that the processor can do: {peak:.0f} GFLOP/s")
    right.set(title="Speed", xlabel="GFLOP/s")
    panels[0, 0].set_yticks(places, [str(row.case) for row in rows], fontsize=8)
    panels[0, 0].set_ylim(len(rows) - 0.4, -0.6)
    for axes in panels[0]:
        axes.set(xscale="log", axisbelow=True)
        axes.grid(alpha=0.3, axis="x")
        axes.xaxis.set_major_formatter("{x:g}")
        for j in places[1:]:
            if rows[j].case.group != rows[j - 1].case.group:
                axes.axhline(j - 0.5, color="0.7", linewidth=0.8)
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


LOOK = """\
Look at: ratios below 1, where another library is faster, then at the share of the peak (on a GPU, at the GFLOP/s).
Large matrices should come near it.  Small ones cannot: there time goes into calling operations, and the ratio says
whose calls are lean.  `MGU` is a cell that nobody has written a kernel for: nn.cell makes one of its formula, where
torch runs a loop over time steps, as tinyrnn does in `MGU loop`.  JAX compiles its loop.  Some percent are noise: let
nothing else run, and repeat it."""


def is_python(path: str) -> bool:
    with contextlib.suppress(OSError):
        done = subprocess.run([path, "-c", "print(1 + 1)"], capture_output=True, text=True)
        return done.stdout == "2\n"
    return False


def main() -> int | None:
    threads = command_line.checked(
        int, f"a whole number from 1 to {PROCESSORS}, the processors of this machine", lambda n: 1 <= n <= PROCESSORS
    )
    parser = command_line.Parser(__doc__, quick="a few small cases and short turns")
    parser.add_argument("--peers", nargs="+", default=PEERS, choices=[*PEERS, "none"], help="(default: torch jax)")
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PATH", help="the Python that has a peer")
    parser.add_argument(
        "--threads", type=threads, default=PROCESSORS, help="for each library (default: all processors)"
    )
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="cases with one of these in their names")
    parser.add_argument("--seconds", type=command_line.positive, help="length of a turn (default: 0.1; quick: 0.02)")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve, args.threads, args.device)
    pythons = dict(choice.partition("=")[::2] for choice in args.python)
    seconds = args.seconds or (0.02 if args.quick else 0.1)
    for name, path in pythons.items():
        if name not in PEERS or not is_python(path):
            parser.error(f"--python {name}={path}: expected {' or '.join(PEERS)}, = and the path of a Python")
    wanted, known = args.only or (QUICK[args.device] if args.quick else [""]), CASES[args.device]
    cases = [case for case in known if any(text in f"{case.group} {case}" for text in wanted)]
    if not cases:
        parser.error("--only: no case is called so; there are\n" + "\n".join(f"{case.group} {case}" for case in known))

    command_line.prepare(args)

    names = [OURS, *(name for name in PEERS if name in args.peers)]
    started = [Library(name, pythons.get(name, sys.executable), args.threads, args.device) for name in names]
    try:
        libraries, flops, gpu = [], 0, ""
        for library in started:
            name, hello = library.name, library.answer()
            if "error" not in hello:
                print(f"{name} {hello['version']}")
                libraries.append(library)
                flops, gpu = flops or hello["flops"], gpu or hello["gpu"]
            else:
                print(f"{name} is not here ({hello['error']}).  Install it (pip install {name}), or say", end=" ")
                print(f"which Python has it: --python {name}=PATH")
        if not libraries or libraries[0].name != OURS:
            return 1
        peers = [library.name for library in libraries[1:]]
        where = f"On {gpu}" if gpu else f"{args.threads} threads for each"
        print(f"{where}; {TURNS} turns of {seconds:g} s.  Above 1.00, tinyrnn is faster.")
        if hasattr(os, "getloadavg") and (load := os.getloadavg()[0]) > 1 + PROCESSORS / 4:
            print(
                f"Other programs run ({load:.1f} of {PROCESSORS} processors): ratios mean little, since libraries whose"
            )
            print("threads wait for one another suffer most.")
        print()
        columns = ["ms", "GFLOP/s", "of peak"][: 3 if flops else 2]
        print(line("", *columns, *(f"{peer}/ours" for peer in peers)))
        rows = []
        with tempfile.TemporaryDirectory() as folder:
            for case in cases:
                rows.append(measure(case, libraries, flops, seconds, Path(folder)))
                print(rows[-1].text(columns, peers), flush=True)
    finally:
        for library in started:
            library.end()

    print()
    summary(rows, peers)
    if any(row.seconds for row in rows):
        plot(rows, peers, args.out / "speed.png")
        print(f"{args.out / 'speed.png'} written")
    print(LOOK)
    return int(any(row.faults for row in rows))


if __name__ == "__main__":
    command_line.run(main)
