"""A language model that reads one character at a time: what comes next?

RNN, GRU, LSTM or a small GPT reads Python's own standard library, as it lies on this machine: every tenth module is
held out.  The measure is bits per character on the held-out modules: how many yes/no questions the model would need for
each character, if it asked cleverly.  2 bits are as unsure as a choice between 4 equally likely characters (that
number, two to the power of the bits, is the perplexity).  Counting gives the numbers to beat: how frequent each
character is (unigram), and how often it followed the one to seven characters before it (n-grams, interpolated as by
Witten & Bell 1991, https://doi.org/10.1109/18.87000).  The best n-gram gets to 1.77 bits, the LSTM in some minutes
to 1.39.

    python demos/char_language_model.py                               # LSTM, some minutes
    python demos/char_language_model.py --model GPT                   # or RNN, GRU
    python demos/char_language_model.py --quick                       # a small one, some seconds
    python demos/char_language_model.py --text book.txt               # any text in UTF-8; its last tenth is held out
    python demos/char_language_model.py --resume                      # go on where it was interrupted (Ctrl-C)
    python demos/char_language_model.py --resume --prompt "class " --temperature 0.5 --top-k 10
    python demos/char_language_model.py --device cuda                 # on an NVIDIA GPU

What it learns is saved as it goes, with everything that the next step depends on: an interrupted run that is resumed
goes on with the same losses as one that was not interrupted.  A finished one that is resumed only writes text.
A checkpoint is never lost to another run: one with other options is refused until --checkpoint names another file, and
the same run begun anew leaves it alone until it has come as far.
"""

import argparse
import math
import os
import pickle
import sysconfig
import zlib
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import command_line
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager
from tqdm import tqdm

import tinyrnn as torch
from tinyrnn import nn, optim
from tinyrnn.nn import functional as F

UNKNOWN = "\N{REPLACEMENT CHARACTER}"  # stands for characters that the training text hardly has
HELD_OUT = 100_000  # characters at most
ROWS = 20  # the held-out text is read in this many pieces at a time
ORDERS = 8  # the longest n-gram
CHECKS = 10  # how often a run is measured on the held-out text, and saved


# ---- the text --------------------------------------------------------------------------------------------------------


def read_library(size: int) -> tuple[str, str]:
    """Modules of Python's standard library by name, every tenth held out: `size` characters and at most HELD_OUT."""
    parts: tuple[list[str], list[str]] = [], []
    folder = Path(sysconfig.get_paths()["stdlib"])
    modules = [path for path in sorted(folder.glob("*.py")) if path.stat().st_size < 100_000]
    for number, path in enumerate(modules):
        parts[number % 10 == 9].append(path.read_text(encoding="utf-8"))
    training, held_out = ("".join(part) for part in parts)
    return training[:size], held_out[: min(size // 10, HELD_OUT)]


def read_file(path: Path, size: int) -> tuple[str, str]:
    """The first nine tenths of a text to train on, the last to test on: at most `size` characters and HELD_OUT."""
    try:
        text = path.read_text(encoding="utf-8")[:size]
    except (OSError, UnicodeDecodeError) as error:
        command_line.refuse(f"--text {path}: expected a text file in UTF-8: {error}")
    end = len(text) * 9 // 10
    return text[:end], text[end : end + HELD_OUT]


class Alphabet:
    """The characters that the training text has at least ten times, and one that stands for all others."""

    def __init__(self, text: str):
        self.characters = [UNKNOWN, *sorted(c for c, n in Counter(text).items() if n >= 10 and c != UNKNOWN)]
        self.numbers = np.zeros(0x110000, np.int64)
        self.numbers[[ord(c) for c in self.characters]] = range(len(self.characters))

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> torch.Tensor:
        return torch.from_numpy(self.numbers[np.frombuffer(text.encode("utf-32-le"), np.uint32)])

    def unknown(self, text: str) -> list[str]:
        return sorted(set(text) - set(self.characters[1:]))

    def decode(self, numbers) -> str:
        return "".join(self.characters[number] for number in numbers)


# ---- counting: the baselines -----------------------------------------------------------------------------------------


def ngram_surprise(training: np.ndarray, held_out: np.ndarray, size: int) -> np.ndarray:
    """Bits of each held-out character under the unigram, the bigram ...: (ORDERS, len(held_out)).

    With n the number of times that a context came, k of how many different characters followed it, and c how often
    this one did:  p(character | context) = (c + k p(character | context without its first character)) / (n + k).
    """
    text = np.concatenate([training, held_out])
    read = len(training)
    context = np.zeros(len(text), np.int64)  # the characters before each, as a number
    probability = np.full(len(held_out), 1 / size)
    surprise = []
    for _ in range(ORDERS):
        found, gram = np.unique(context * size + text, return_inverse=True)  # a context and what followed it
        times = np.bincount(gram[:read], minlength=len(found))
        came = np.bincount(context[:read], minlength=context.max() + 1)
        followers = np.bincount(found[times > 0] // size, minlength=len(came))
        n, k, c = came[context[read:]], followers[context[read:]], times[gram[read:]]
        probability = np.where(n > 0, (c + k * probability) / np.maximum(n + k, 1), probability)
        surprise.append(-np.log2(probability))
        context = np.concatenate([[len(found)], gram[:-1]])
    return np.array(surprise)


# ---- the models ------------------------------------------------------------------------------------------------------
# Both kinds take characters (B, T) and the state in which the characters before left them, and give the scores of the
# characters that may come next, (B, T, V), and the new state.


class Recurrent(nn.Module):
    """An embedding, recurrent layers, a linear layer. The state is theirs."""

    def __init__(self, cell: str, vocabulary: int, hidden: int, layers: int, dropout: float):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 64)
        self.rnn = getattr(nn, cell)(64, hidden, layers, dropout=dropout if layers > 1 else 0.0, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, vocabulary)

    def forward(self, x, state=None):
        out, state = self.rnn(self.embedding(x), state)
        return self.head(self.dropout(out)), state

    def carry(self, state):
        """The state for the next window of training: its values, not how they were computed."""
        return tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()


class Block(nn.Module):
    """A layer of a GPT: every position attends to those before it, then thinks by itself (Radford et al. 2019)."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(B, T, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.dropout(self.proj(y.transpose(1, 2).reshape(B, T, C)))
        return x + self.dropout(self.down(F.gelu(self.up(self.norm2(x)))))


class GPT(nn.Module):
    """A decoder-only Transformer. Its state is the characters that it read last, at most `context`."""

    def __init__(self, vocabulary: int, width: int, layers: int, context: int, dropout: float):
        super().__init__()
        self.context = context
        self.embedding, self.position = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList([Block(width, max(1, width // 32), dropout) for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)
        for name, p in self.named_parameters():
            if name.endswith("weight") and p.dim() == 2:
                nn.init.normal_(p, std=0.02)

    def forward(self, x, state=None):
        new = x.size(1)
        seen = (x if state is None else torch.cat([state, x], 1))[:, -self.context :]
        y = self.embedding(seen) + self.position(torch.arange(seen.size(1), device=x.device))
        for block in self.blocks:
            y = block(y)
        return self.head(self.norm(y[:, -new:])), seen

    def carry(self, state):
        """Nothing: in training every window stands for itself."""
        return None


def make_model(settings: dict, vocabulary: int) -> nn.Module:
    name, hidden, layers = settings["model"], settings["hidden"], settings["layers"]
    if name == "GPT":
        return GPT(vocabulary, hidden, layers, settings["window"], settings["dropout"])
    return Recurrent(name, vocabulary, hidden, layers, settings["dropout"])


# ---- training --------------------------------------------------------------------------------------------------------


@dataclass
class Position:
    """How far a run has come: with the model, the optimizer and the random state, all that the next step depends on."""

    step: int = 0
    column: int = 0  # where in the text the next window begins
    state: Any = None  # what the model carries over from the last window
    losses: list[float] = field(default_factory=list)  # bits per character of each step's window
    checks: list[tuple[int, float]] = field(default_factory=list)  # step, bits per character on the held-out text


class Run:
    """A model in training, and its file."""

    def __init__(self, settings: dict, alphabet: Alphabet, checkpoint: Path, device: str):
        torch.manual_seed(settings["seed"])
        self.settings, self.checkpoint, self.device = settings, checkpoint, device
        self.model = make_model(settings, len(alphabet)).to(device)
        self.optimizer = optim.Adam(self.model.parameters(), lr=settings["lr"])
        # The rate rises for a tenth of the steps, less one; of 10 steps that would be none, and a division by zero.
        self.schedule = optim.lr_scheduler.OneCycleLR(
            self.optimizer, settings["lr"], total_steps=max(settings["steps"], 20), pct_start=0.1, cycle_momentum=False
        )
        self.position = Position()
        self.saved = 0  # how many steps the run in the file has come

    def save(self) -> None:
        """Write a new file and give it the old one's name: whenever the machine stops, there is a whole one.

        Where the same run has come further in the file, that is left as it is.
        """
        if self.position.step < self.saved:
            return
        new = self.checkpoint.with_name(self.checkpoint.name + ".new")
        torch.save(
            {
                "settings": self.settings,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "random": torch.get_rng_state(),
                "position": asdict(self.position),
            },
            new,
        )
        os.replace(new, self.checkpoint)
        self.saved = self.position.step

    def read(self) -> dict:
        """What the file holds. ValueError if that is not of this run."""
        try:
            found = torch.load(self.checkpoint, map_location=self.device)
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
            raise ValueError(f"{self.checkpoint} is no checkpoint, name another by --checkpoint: {error}") from None
        if not isinstance(found, dict) or not found.keys() >= {"settings", "model", "position"}:
            raise ValueError(f"{self.checkpoint} is another program's, name another by --checkpoint")
        for name, value in self.settings.items():
            if (was := found["settings"].get(name)) != value:
                raise ValueError(
                    f"{self.checkpoint} was made with {name} {was}, this run has {value}: "
                    "--resume it with the options that it was made with, or begin anew with another --checkpoint"
                )
        self.saved = found["position"]["step"]
        return found

    def resume(self) -> None:
        """Go on where the file was written, on any device."""
        found = self.read()
        self.model.load_state_dict(found["model"])
        self.optimizer.load_state_dict(found["optimizer"])
        self.schedule.load_state_dict(found["schedule"])
        torch.set_rng_state(found["random"].cpu())
        self.position = Position(**found["position"])

    def train(self, text: torch.Tensor, held_out: torch.Tensor) -> None:
        """Adam on window after window of the text, which is cut into as many rows as the batch has."""
        model, position, settings = self.model, self.position, self.settings
        batch, window, steps = settings["batch"], settings["window"], settings["steps"]
        rows = text[: len(text) // batch * batch].view(batch, -1)
        every = max(1, steps // CHECKS)
        rate = f"--lr {settings['lr']:g}"
        with tqdm(total=steps, initial=position.step, desc="Training", unit="step", ncols=90) as progress:
            while position.step < steps:
                start = position.column
                if start + window >= rows.size(1) or position.step == 0:  # a new pass, with the windows cut elsewhere
                    start, position.state = torch.randint(window, ()).item(), None
                inputs, targets = rows[:, start : start + window], rows[:, start + 1 : start + window + 1]
                scores, state = model(inputs, position.state)
                loss = F.cross_entropy(scores.flatten(0, 1), targets.flatten())
                self.optimizer.zero_grad()
                loss.backward()
                bits = command_line.check_loss(loss.item(), position.step + 1, rate) / math.log(2)
                nn.utils.clip_grad_norm_(model.parameters(), settings["clip"])
                self.optimizer.step()
                self.schedule.step()

                position.step += 1
                position.column, position.state = start + window, model.carry(state)
                position.losses.append(bits)
                progress.update()
                progress.set_postfix_str(f"{bits:.2f} bits", refresh=False)
                if position.step % every == 0 or position.step == steps:
                    bits = model_surprise(model, held_out, window).mean()
                    position.checks.append((position.step, command_line.check_loss(float(bits), position.step, rate)))
                    self.save()
                    recent = np.mean(position.losses[-every:])
                    tqdm.write(f"step {position.step:5}/{steps}  training {recent:.4f}  held-out {bits:.4f}")


def model_surprise(model: nn.Module, text: torch.Tensor, window: int) -> np.ndarray:
    """Bits of each character but the first in ROWS pieces of a text: (ROWS, length of a piece - 1)."""
    rows = text[: len(text) // ROWS * ROWS].view(ROWS, -1)
    surprise, state = [], None
    stride = window // 2  # half of what a GPT sees are characters before the new ones
    model.eval()
    with torch.no_grad():
        for start in range(0, rows.size(1) - 1, stride):
            inputs, targets = rows[:, start : start + stride], rows[:, start + 1 : start + stride + 1]
            scores, state = model(inputs[:, : targets.size(1)], state)
            nats = F.cross_entropy(scores.flatten(0, 1), targets.flatten(), reduction="none")
            surprise.append(nats.view(targets.shape).cpu().numpy() / math.log(2))
    model.train()
    return np.concatenate(surprise, 1)


def generate(model: nn.Module, alphabet: Alphabet, prompt: str, length: int, temperature: float, top_k: int) -> str:
    """`length` characters after a prompt, drawn one by one from the `top_k` likeliest (0: from all).

    The scores are divided by the temperature first: below 1 the likely becomes likelier, towards 0 certain.
    """
    model.eval()
    written = []
    with torch.no_grad():
        scores, state = model(alphabet.encode(prompt).unsqueeze(0).to(model.embedding.weight.device))
        for _ in range(length):
            scores = scores[0, -1] / temperature
            scores[0] = -math.inf  # never the unknown character
            likeliest, characters = scores.topk(min(top_k, len(scores)) or len(scores))
            drawn = characters[torch.multinomial(F.softmax(likeliest, 0), 1)]
            written.append(drawn.item())
            scores, state = model(drawn.unsqueeze(0), state)
    model.train()
    return alphabet.decode(written)


# ---- pictures --------------------------------------------------------------------------------------------------------


def plot_curve(run: Run, ngrams: np.ndarray, path: Path) -> None:
    settings, position = run.settings, run.position
    characters = settings["batch"] * settings["window"] / 1e6
    figure, axes = plt.subplots(figsize=(8, 4.8), layout="constrained")
    for order, bits in enumerate(ngrams, 1):
        if order in (1, 2, 3) or bits == ngrams.min():
            name = {1: "unigram", 2: "bigram"}.get(order, f"{order}-gram")
            axes.axhline(bits, color="0.5", linestyle="--", linewidth=1)
            axes.text(1.01, bits, f"{name} {bits:.2f}", transform=axes.get_yaxis_transform(), va="center")
    width = max(1, position.step // 200)
    smooth = [np.mean(position.losses[k : k + width]) for k in range(0, position.step, width)]
    axes.plot(np.arange(len(smooth)) * width * characters, smooth, color="tab:blue", alpha=0.35, label="training text")
    steps, bits = zip(*position.checks, strict=True)
    label = f"held-out text, {bits[-1]:.2f} at last"
    axes.plot(np.array(steps) * characters, bits, color="tab:blue", marker="o", markersize=4, label=label)
    axes.set(title=f"{settings['model']}: what is the next character?", ylabel="bits per character")
    axes.set(xlabel="characters read (millions)", ylim=(min(*bits, *ngrams, *smooth) - 0.2, max(ngrams) + 0.5))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def plot_surprise(text: str, start: int, surprises: dict[str, np.ndarray], path: Path) -> None:
    """A passage, which begins at `start` in the first of the ROWS, each character on a ground as dark as it was
    surprising: `surprises` has one panel each.
    """
    font = font_manager.get_font(font_manager.findfont("monospace"))
    columns, lines = 80, 16
    where, row, column = [], 0, 0  # of each character: its line and column; lines that are too long go on below
    for character in text:
        if column == columns:
            row, column = row + 1, 0
        if row == lines:
            break
        where.append((row, column))
        row, column = (row + 1, 0) if character == "\n" else (row, column + 1)
    rows, places = np.array(where).T
    figure, panels = plt.subplots(len(surprises), 1, figsize=(10, 3.9 * len(surprises)), layout="constrained")
    for axes, (name, everywhere) in zip(panels, surprises.items(), strict=True):
        bits = everywhere[0, start : start + len(where)]
        ground = np.full((rows.max() + 1, columns), np.nan)
        ground[rows, places] = bits
        image = axes.imshow(ground, cmap="OrRd", vmin=0, vmax=10, aspect="auto")
        for character, (y, x), surprise in zip(text, where, bits, strict=False):
            if character != " ":
                shown = "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}" if character == "\n" else character
                shown = shown if font.get_char_index(ord(shown)) else UNKNOWN
                color = "white" if surprise > 7 else "0.6" if character == "\n" else "black"
                axes.text(x, y, shown, family="monospace", fontsize=8, ha="center", va="center", color=color,
                          parse_math=False)  # fmt: skip
        overall = f"{everywhere.mean():.2f} in all held-out text"
        axes.set(title=f"{name}: {bits.mean():.2f} bits per character in this passage, {overall}", xticks=[], yticks=[])
    figure.colorbar(image, ax=panels, label="surprise (bits)", fraction=0.03, pad=0.01)
    figure.savefig(path, dpi=150)
    plt.close(figure)


# ---- the demo --------------------------------------------------------------------------------------------------------


def options() -> argparse.Namespace:
    at_least_0, at_least_1, at_least_2 = map(command_line.at_least, range(3))
    positive = command_line.positive
    temperature = command_line.checked(float, "a number of at least 0.001", lambda number: 0.001 <= number < math.inf)
    parser = command_line.Parser(__doc__, quick="a small model, a small text, few steps")
    parser.add_argument("--model", choices=["RNN", "GRU", "LSTM", "GPT"], default="LSTM", help="default: LSTM")
    parser.add_argument("--text", type=Path, help="a text file in UTF-8 (default: Python's standard library)")
    parser.add_argument("--size", type=at_least_1, help="characters of it at most (default: 3,000,000; quick: 300,000)")
    parser.add_argument("--hidden", type=at_least_1, help="units, or a GPT's width, a multiple of 32 (320; GPT: 128)")
    parser.add_argument("--layers", type=at_least_1, help="layers (default: 1; GPT: 4)")
    parser.add_argument("--dropout", type=command_line.probability, default=0.0, help="default: 0")
    parser.add_argument("--window", type=at_least_2, help="characters that the gradient goes back (64; GPT: 128)")
    parser.add_argument("--batch", type=at_least_1, help="windows in a step (default: 32; quick: 16)")
    parser.add_argument("--steps", type=at_least_1, help="training steps (default: 5000; GPT: 2000; quick: 800)")
    parser.add_argument("--lr", type=positive, help="learning rate at its height")
    parser.add_argument("--clip", type=positive, default=1.0, help="largest norm of the gradient (default: 1)")
    parser.add_argument("--seed", type=command_line.seed, default=0, help="random seed (default: 0)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument("--checkpoint", type=Path, help="its file (default: in the folder of --out, by model)")
    parser.add_argument("--prompt", type=command_line.text, default="\n    def ",
                        help=r"what the generated text follows (default: '\n    def ')")  # fmt: skip
    parser.add_argument("--length", type=at_least_0, default=600, help="characters to generate (default: 600)")
    parser.add_argument("--temperature", type=temperature, default=0.7, help="below 1 safer, above wilder (0.7)")
    parser.add_argument("--top-k", type=at_least_0, default=20, help="choose among so many, 0: all (default: 20)")
    args = parser.parse_args()
    gpt, quick = args.model == "GPT", args.quick
    usual = {
        "size": 300_000 if quick else 3_000_000,
        "hidden": (64 if gpt else 128) if quick else (128 if gpt else 320),
        "layers": (2 if quick else 4) if gpt else 1,
        "window": 64 if quick or not gpt else 128,
        "batch": 16 if quick else 32,
        "steps": 800 if quick else 2000 if gpt else 5000,
        "lr": 0.002 if args.model == "RNN" else 0.003 if gpt else 0.01 if quick else 0.005,
        "checkpoint": args.out / f"char_language_model-{args.model}{'-quick' if quick else ''}.pt",
    }
    for name, value in usual.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if gpt and args.hidden % 32:
        parser.error(f"--hidden {args.hidden}: a GPT's width must be a multiple of 32, the width of a head")
    if args.checkpoint.is_dir():
        parser.error(f"--checkpoint: expected a file, got the folder {args.checkpoint}")
    if args.resume and not args.checkpoint.exists():
        parser.error(f"{args.checkpoint}: no such file to resume; leave out --resume to make it")
    command_line.prepare(args)
    command_line.try_folder("--checkpoint", args.checkpoint.parent)
    return args


def main() -> None:
    args = options()
    texts = read_file(args.text, args.size) if args.text else read_library(args.size)
    if len(texts[0]) <= args.batch * (2 * args.window + 1) or len(texts[1]) < 10 * ROWS:
        command_line.refuse(
            f"{len(texts[0]):,} characters to train on: too few for --batch {args.batch}, --window {args.window}"
        )
    alphabet = Alphabet(texts[0])
    training, held_out = (alphabet.encode(text) for text in texts)
    names = ("model", "hidden", "layers", "dropout", "window", "batch", "steps", "lr", "clip", "seed")
    settings = {name: getattr(args, name) for name in names}
    settings["text"] = f"{len(training)} characters, checksum {zlib.crc32(texts[0].encode()):08x}"
    run = Run(settings, alphabet, args.checkpoint, args.device)
    try:
        if args.resume:
            run.resume()
        elif args.checkpoint.exists():
            run.read()
    except ValueError as error:
        command_line.refuse(str(error))
    try:
        experiment(args, run, alphabet, training, held_out)
    except KeyboardInterrupt:
        where = f"up to step {run.saved} is in {args.checkpoint}; --resume goes on" if run.saved else "is not saved yet"
        print(f"Interrupted.  What was learned {where}.")
        raise SystemExit(130) from None


def experiment(
    args: argparse.Namespace, run: Run, alphabet: Alphabet, training: torch.Tensor, held_out: torch.Tensor
) -> None:
    source = str(args.text) if args.text else "Python's standard library"
    print(f"What is the next character of {source}?")
    print(f"{len(training):,} characters to learn from, {len(held_out):,} held out, {len(alphabet)} different ones.")
    if unknown := alphabet.unknown(args.prompt):
        print(f"Of --prompt it will read {' '.join(map(repr, unknown))} as unknown: the text hardly has them.")
    print()

    surprise = ngram_surprise(training.numpy(), held_out.numpy(), len(alphabet))
    # The same characters as the model is asked for: without the first of each piece.
    surprise = surprise[:, : len(held_out) // ROWS * ROWS].reshape(ORDERS, ROWS, -1)[:, :, 1:]
    ngrams = surprise.mean((1, 2))
    best = int(ngrams.argmin())
    print("Counting, bits per held-out character:")
    for order, bits in enumerate(ngrams, 1):
        note = "  <- the one to beat" if order == best + 1 else ""
        print(f"   {order}-gram ({order - 1} before)  {bits:.3f}{note}")

    parameters = sum(p.numel() for p in run.model.parameters())
    print(f"\n{args.model}, {parameters:,} parameters, {args.steps} steps of {args.batch} x {args.window} characters.")
    print("A first run compiles the kernels, which takes some seconds; the next one finds them on disk.\n", flush=True)
    run.train(training.to(args.device), held_out.to(args.device))

    own = model_surprise(run.model, held_out.to(args.device), args.window)
    bits = own.mean()
    counted = f"best n-gram {ngrams[best]:.3f}, unigram {ngrams[0]:.3f}"
    print(f"\nHeld-out text: {args.model} {bits:.3f} bits per character   ({counted})")
    print(f"It is as unsure as between {2**bits:.1f} equally likely characters (its perplexity), counting as between")
    print(
        f"{2 ** ngrams[best]:.1f}, and who knows only how frequent each character is, as between {2 ** ngrams[0]:.1f}."
    )

    torch.manual_seed(args.seed)
    written = generate(run.model, alphabet, args.prompt, args.length, args.temperature, args.top_k)
    print(f"\nWhat it writes after {args.prompt!r} (temperature {args.temperature:g}, top {args.top_k or 'all'}):\n")
    print("\n".join("   | " + line for line in (args.prompt + written).strip("\n").split("\n")) + "\n")

    piece = alphabet.decode(held_out[1 : own.shape[1] + 1].tolist())  # the first of the ROWS
    late = max(0, len(piece) - 1400)  # near the end, with room for a passage, which begins with a line if one is there
    start = piece.find("\n", late, -1) + 1 or late
    curve, passage = (args.out / f"char_language_model-{name}.png" for name in ("curve", "surprise"))
    plot_curve(run, ngrams, curve)
    panels = {f"{best + 1}-gram": surprise[best], args.model: own}
    plot_surprise(piece[start:], start, panels, passage)
    print(f"{curve} written\n{passage} written")
    print(
        """Look at:
 curve      the order in which it learns: how frequent characters are, then pairs, then what counting cannot see.
 surprise   dark characters begin words, light ones end them; a name that comes again, an indentation, a bracket that
            has to be closed are no surprise to who remembers.
 the text   words, brackets and indentation are right before the sense is; try --temperature 0.3 and 1.2."""
    )


if __name__ == "__main__":
    command_line.run(main)
