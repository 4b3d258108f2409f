"""Dates as people write them, in six languages and many orders, translated to ISO: 1997-03-03.

    3rd of March 1997        Lunedì 3 marzo 1997        3/3/1997        Mon, 3 Mar 1997        3 de marzo de 1997

An encoder reads the letters, in both directions; a decoder writes the ten characters, and before each looks back at
the letters (attention).  Nobody tells it where to look, or what März means.  The dates that it is tested on are of days
that it has seen in no form.

    python demos/translate_dates.py                         # Bahdanau's attention, some minutes: above 99% are right
    python demos/translate_dates.py --quick                 # a smaller one, less than half a minute: above 95%
    python demos/translate_dates.py --attention luong       # look after the step instead of before it
    python demos/translate_dates.py --attention none        # all it knows of the letters is one vector
    python demos/translate_dates.py "1er mai 1968"          # translate this, too, and draw where it looked
    python demos/translate_dates.py --device cuda           # on an NVIDIA GPU
"""

import argparse
import datetime
import random
from pathlib import Path
from typing import NamedTuple

import command_line
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from tqdm import tqdm

import tinyrnn as torch
from tinyrnn import nn, optim
from tinyrnn.nn import functional as F
from tinyrnn.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

# For each language its months, their short forms, its weekdays from Monday, and the orders in which dates are written.
LANGUAGES = {
    "English": (
        "January February March April May June July August September October November December",
        "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
        "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
        ["{nth} of {month} {y}", "{month} {d}, {y}", "{month} {nth}, {y}", "{d} {month} {y}", "{short} {d}, {y}",
         "{weekday}, {month} {d}, {y}", "{weekday} the {nth} of {month}, {y}", "the {word} of {month} {y}",
         "{d}-{short}-{y}", "{m}/{d}/{y}"],
    ),
    "German": (
        "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
        "Jan. Feb. März Apr. Mai Juni Juli Aug. Sept. Okt. Nov. Dez.",
        "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag",
        ["{d}. {month} {y}", "{weekday}, {d}. {month} {y}", "{weekday}, den {d}. {month} {y}", "{d}. {short} {y}",
         "{d}.{m}.{y}", "{d2}.{m2}.{y}"],
    ),
    "French": (
        "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
        "janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc.",
        "lundi mardi mercredi jeudi vendredi samedi dimanche",
        ["{first} {month} {y}", "le {first} {month} {y}", "{weekday} {first} {month} {y}", "{first} {short} {y}"],
    ),
    "Spanish": (
        "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
        "ene feb mar abr may jun jul ago sep oct nov dic",
        "lunes martes miércoles jueves viernes sábado domingo",
        ["{d} de {month} de {y}", "{weekday}, {d} de {month} de {y}", "{month} {d} de {y}", "{d} {short} {y}"],
    ),
    "Italian": (
        "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
        "gen feb mar apr mag giu lug ago set ott nov dic",
        "lunedì martedì mercoledì giovedì venerdì sabato domenica",
        ["{d} {month} {y}", "{weekday} {d} {month} {y}", "il {d} {month} {y}", "{d} {short} {y}", "{y}, {d} {month}"],
    ),
    "Russian": (
        "января февраля марта апреля мая июня июля августа сентября октября ноября декабря",
        "янв. февр. марта апр. мая июня июля авг. сент. окт. нояб. дек.",
        "понедельник вторник среда четверг пятница суббота воскресенье",
        ["{d} {month} {y} г.", "{weekday}, {d} {month} {y} г.", "{d} {short} {y}", "{d2}.{m2}.{y}"],
    ),
}  # fmt: skip
WORDS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
    "sixteenth seventeenth eighteenth nineteenth twentieth twenty-first twenty-second twenty-third twenty-fourth "
    "twenty-fifth twenty-sixth twenty-seventh twenty-eighth twenty-ninth thirtieth thirty-first"
)
FIRST, LAST = datetime.date(1600, 1, 1).toordinal(), datetime.date(2399, 12, 31).toordinal()
ISO = "0123456789-"
START, END = len(ISO), len(ISO) + 1
LENGTH = len("1997-03-03") + 1  # with the end
SHOWN = [("English", "the {word} of {month} {y}"), ("German", "{weekday}, {d}. {month} {y}"),
         ("Italian", "{y}, {d} {month}"), ("Russian", "{d} {month} {y} г.")]  # fmt: skip


LOOK = """\
Look at: the year is copied digit by digit, the weights walk along it; for the month it looks at the letters that
tell one month from another; for a hyphen, which needs nothing, it looks anywhere."""
NONE = """\
Look at: how much is wrong.  One vector has to hold all that the encoder has read, digit by digit, and to learn how
takes far longer than to learn where to look.  Run it again with --attention bahdanau."""


class Sample(NamedTuple):
    text: str
    iso: str
    language: str


def written(day: datetime.date, language: str, order: str) -> str:
    """A day as people who speak this language write it."""
    months, shorts, weekdays, _ = LANGUAGES[language]
    d, m = day.day, day.month
    suffix = "th" if d in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(d % 10, "th")
    return order.format(
        d=d, d2=f"{d:02}", nth=f"{d}{suffix}", word=WORDS.split()[d - 1], first="1er" if d == 1 else d,
        m=m, m2=f"{m:02}", y=day.year, month=months.split()[m - 1],
        short=shorts.split()[m - 1], weekday=weekdays.split()[day.weekday()],
    )  # fmt: skip


def samples(days: list[int]) -> list[Sample]:
    """Each of these days in a random language, order and case."""
    found = []
    for number in days:
        day, language = datetime.date.fromordinal(number), random.choice([*LANGUAGES])
        text = written(day, language, random.choice(LANGUAGES[language][3]))
        case = random.choices([str, str.lower, str.upper], [3, 1, 1])[0]
        found.append(Sample(case(text), day.isoformat(), language))
    return found


class Letters:
    """Texts as numbers: 0 is padding, 1 a letter that is not known, in a picture "\N{REPLACEMENT CHARACTER}"."""

    def __init__(self, texts: list[str], device: str):
        self.device = device
        self.number = {letter: k + 2 for k, letter in enumerate(sorted(set("".join(texts))))}

    def __len__(self) -> int:
        return len(self.number) + 2

    def encode(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """The letters (B, S) on the device, and how many each text has (B,) on the CPU."""
        lengths = [len(text) for text in texts]
        rows = np.zeros((len(texts), max(lengths)), np.int64)
        for row, text in zip(rows, texts, strict=True):
            row[: len(text)] = [self.number.get(letter, 1) for letter in text]
        return torch.from_numpy(rows).to(self.device), torch.tensor(lengths)

    def read(self, text: str) -> str:
        """A text as the model reads it."""
        return "".join(c if c in self.number else "\N{REPLACEMENT CHARACTER}" for c in text)


def targets(isos: list[str]) -> torch.Tensor:
    """(B, LENGTH): what is to be written, with the end."""
    return torch.tensor([[*map(ISO.index, iso), END] for iso in isos])


class Translator(nn.Module):
    """A bidirectional GRU reads, a GRU with attention writes."""

    def __init__(self, letters: int, attention: str | None, embedding: int, hidden: int):
        super().__init__()
        self.embedding = nn.Embedding(letters, embedding, padding_idx=0)
        self.encoder = nn.GRU(embedding, hidden, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(2 * hidden, hidden)
        self.decoder = nn.AttentionDecoder(len(ISO) + 2, embedding, hidden, 2 * hidden, attention)

    def encode(self, letters, lengths):
        """memory (B, S, 2 H), the decoder's first state (1, B, H), and where there are letters (B, S)."""
        packed = pack_padded_sequence(self.embedding(letters), lengths, batch_first=True, enforce_sorted=False)
        memory, h = self.encoder(packed)
        memory, _ = pad_packed_sequence(memory, batch_first=True)
        return memory, torch.tanh(self.bridge(torch.cat([h[0], h[1]], -1))).unsqueeze(0), letters != 0

    def forward(self, letters, lengths, target):
        """What is said to follow each character of the target (B, LENGTH), moved by one: (B, LENGTH, V)."""
        read = F.pad(target[:, :-1], (1, 0), value=START)
        return self.decoder(read, *self.encode(letters, lengths))[0]

    def translate(self, letters, lengths, width: int = 1):
        """The most likely ISO dates, and the weights (B, LENGTH, S) of what was looked at, None without attention."""
        self.eval()
        with torch.no_grad():
            options = {"start": START, "end": END, "max_length": LENGTH}
            found = self.decoder.beam_search(*self.encode(letters, lengths), beam_width=width, **options)
        self.train()
        texts = ["".join((*ISO, "?", "")[c] for c in row) for row in found.sequences[:, 0].tolist()]
        return texts, None if found.weights is None else found.weights[:, 0].cpu().numpy()


def translated(model: Translator, letters: Letters, texts: list[str], width: int = 1) -> list[str]:
    """The translations of many texts, in batches of similar length."""
    order, found = sorted(range(len(texts)), key=lambda k: len(texts[k])), {}
    for first in range(0, len(texts), 250):
        part = order[first : first + 250]
        found.update(zip(part, model.translate(*letters.encode([texts[k] for k in part]), width)[0], strict=True))
    return [found[k] for k in range(len(texts))]


def accuracy(model: Translator, letters: Letters, data: list[Sample]) -> float:
    """The share of the dates that are right in every character."""
    found = translated(model, letters, [s.text for s in data])
    return float(np.mean([text == s.iso for text, s in zip(found, data, strict=True)]))


def train(model, letters, training, held_out, args) -> list[tuple[int, float]]:
    """Adam, its rate falling to zero; the share of some held-out dates that is right, after so many steps."""
    optimizer = optim.Adam(model.parameters(), lr=args.rate)
    schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, 2 * (1 - step / args.steps)))
    curve, every = [], max(1, args.steps // 20)
    with tqdm(range(1, args.steps + 1), desc="Training", unit="step", ncols=90) as progress:
        for step in progress:
            batch = random.sample(training, args.batch)
            target = targets([s.iso for s in batch]).to(args.device)
            logits = model(*letters.encode([s.text for s in batch]), target)
            loss = F.cross_entropy(logits.flatten(0, 1), target.flatten())
            optimizer.zero_grad()
            loss.backward()
            shown = command_line.check_loss(loss.item(), step, f"--rate {args.rate:g}")
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if step % every == 0 or step == args.steps:
                curve.append((step, accuracy(model, letters, held_out[:500])))
                progress.set_postfix(loss=f"{shown:.4f}", right=f"{curve[-1][1]:.1%}", refresh=False)
    return curve


def plot_attention(cases: list[tuple[str, str, str, np.ndarray]], title: str, path: Path) -> None:
    """For each (text, ISO date, the right one or "", weights (LENGTH, S)): a row for each character written, a column
    for each one read.
    """
    figure, all_axes = plt.subplots(len(cases), 1, figsize=(9.5, 3.35 * len(cases) + 0.6), layout="constrained")
    for axes, (text, iso, right, weights) in zip(np.atleast_1d(all_axes), cases, strict=True):
        wrong = right not in (iso, "")
        image = axes.imshow(weights[: max(1, len(iso)), : len(text)], cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(text)), ["␣" if c == " " else c for c in text], fontsize=11)
        axes.set_yticks(range(len(iso)), list(iso), fontsize=11)
        axes.set_xticks(np.arange(len(text)) + 0.5, minor=True)
        axes.set_yticks(np.arange(len(iso)) + 0.5, minor=True)
        axes.grid(which="minor", color="0.9", linewidth=0.6)
        axes.tick_params(length=0, which="both")
        axes.set_title(f"{text}  →  {iso}" + f"   wrong: it is {right}" * wrong, color="tab:red" if wrong else "black")
        axes.set_ylabel("written")
    axes.set_xlabel("read (␣ is a space, \N{REPLACEMENT CHARACTER} a letter that the model does not know)")
    figure.suptitle(title)
    figure.colorbar(image, ax=all_axes, label="weight (1: it looks nowhere else)", shrink=0.5, aspect=30)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def plot_curve(curve: list[tuple[int, float]], title: str, path: Path) -> None:
    steps, shares = zip(*curve, strict=True)
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.axhline(0.99, color="0.6", linestyle="--", label="99%")
    axes.plot(steps, shares, color="tab:blue", marker="o", markersize=3.5, label="500 held-out dates")
    axes.annotate(f"{shares[-1]:.1%}", (steps[-1], shares[-1]), xytext=(0, -14), textcoords="offset points", ha="right")
    axes.set(title=title, xlabel="training step", ylabel="right in every character", ylim=(-0.02, 1.04))
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.grid(alpha=0.3)
    axes.legend(loc="center right")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def report(model: Translator, letters: Letters, held_out: list[Sample]) -> None:
    """What is right of the held-out dates, and what is wrong."""
    found = translated(model, letters, [s.text for s in held_out])
    wrong = [(s, text) for s, text in zip(held_out, found, strict=True) if text != s.iso]
    print(f"\nHeld-out dates right in every character: {1 - len(wrong) / len(held_out):.2%} of {len(held_out)}")
    for language in LANGUAGES:
        total, bad = (sum(s.language == language for s in part) for part in (held_out, [s for s, _ in wrong]))
        print(f"    {language:8} {1 - bad / total:8.2%} of {total}")
    beam = translated(model, letters, [s.text for s in held_out[:500]], width=4)
    greedy = found[:500]
    right = [sum(t == s.iso for t, s in zip(texts, held_out[:500], strict=True)) for texts in (greedy, beam)]
    print(f"Of the first 500, the most likely character each time: {right[0]} right; a beam of 4: {right[1]} right.")
    for sample, text in wrong[:5]:
        print(f"    wrong: {sample.text:36} {text}, not {sample.iso}")


def options() -> argparse.Namespace:
    parser = command_line.Parser(__doc__, quick="a smaller model, half a minute")
    at_least_1 = command_line.at_least(1)
    parser.add_argument("texts", type=command_line.text, nargs="*", help="further dates to translate at the end")
    parser.add_argument(
        "--attention", choices=["bahdanau", "luong", "none"], default="bahdanau", help="which kind (default: bahdanau)"
    )
    parser.add_argument("--steps", type=at_least_1, help="training steps (default: 2000, quick 300)")
    parser.add_argument("--batch", type=at_least_1, default=64, help="dates in each step (default: 64)")
    parser.add_argument("--hidden", type=at_least_1, help="hidden units (default: 128, quick 64)")
    parser.add_argument("--rate", type=command_line.positive, default=3e-3, help="learning rate (default: 0.003)")
    parser.add_argument("--dates", type=int, default=50_000, help="dates to train on (default: 50000)")
    parser.add_argument("--seed", type=command_line.seed, default=1, help="random seed (default: 1)")
    args = parser.parse_args()
    if not args.batch <= args.dates <= 200_000:
        parser.error(f"--dates: expected from --batch ({args.batch}) to 200000, got {args.dates}")
    command_line.prepare(args)
    args.steps = args.steps or (300 if args.quick else 2000)
    args.hidden = args.hidden or (64 if args.quick else 128)
    return args


def main() -> None:
    args = options()
    torch.manual_seed(args.seed)
    random.seed(args.seed)
    held_out_days = 1000 if args.quick else 5000
    days = random.sample(range(FIRST, LAST + 1), args.dates + held_out_days)
    data = samples(days)
    training, held_out = data[: args.dates], data[args.dates :]
    letters = Letters([s.text for s in training], args.device)
    attention = None if args.attention == "none" else args.attention
    model = Translator(len(letters), attention, 32, args.hidden).to(args.device)
    parameters = sum(p.numel() for p in model.parameters())
    kind = f"{args.attention.title()} attention" if attention else "no attention"
    print(f"Dates in {len(LANGUAGES)} languages to ISO: GRU encoder and decoder, {kind}, {parameters} parameters.")
    print(f"{len(training)} dates to train on, {len(held_out)} of other days to test on; {len(letters) - 2} letters.")
    for sample in training[:4]:
        print(f"    {sample.text:36} {sample.iso}   {sample.language}")
    if unknown := sorted({c for text in args.texts for c in text} - letters.number.keys()):
        print(f"Of your dates it will read {' '.join(map(repr, unknown))} as unknown: training has no such letters.")
    print("A first run compiles the kernels, which takes some seconds; the next one finds them on disk.\n")

    curve = train(model, letters, training, held_out, args)

    report(model, letters, held_out)
    path = args.out / f"translate-dates-{args.attention}-accuracy.png"
    plot_curve(curve, f"Dates to ISO, {kind}", path)
    print(f"{path} written")
    shown = [datetime.date.fromordinal(day) for day in days[-len(SHOWN) :]]
    texts = args.texts or [written(day, *how) for day, how in zip(shown, SHOWN, strict=True)]
    right = ["" for _ in texts] if args.texts else [day.isoformat() for day in shown]
    isos, weights = model.translate(*letters.encode(texts))
    for text, iso in zip(args.texts, isos, strict=False):
        print(f"    {text:36} {iso}")
    if weights is None:
        print(NONE)
        return
    path = args.out / f"translate-dates-{args.attention}-attention.png"
    cases = list(zip(map(letters.read, texts), isos, right, weights, strict=True))
    plot_attention(cases, f"Where the decoder looks: {kind}", path)
    print(f"{path} written\n{LOOK}")


if __name__ == "__main__":
    command_line.run(main)
