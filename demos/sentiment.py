"""Did the reviewer like the film?  Which words say so?

Reviews are made up here, word by word, and the sum of what their sentences say decides: "although the plot is dull, the
acting is truly superb" counts 3 for the film, "my brother found the music tedious; he is wrong" counts 2 for it.
Both kinds of review are full of praise and blame, so that the words without their order say little: a baseline that
counts words (logistic regression) fails often, and one that counts pairs of neighbours too ("not good") less often.

A recurrent network reads the words in both directions, and additive attention (Bahdanau et al. 2015, with a learned
vector for the query) weighs what it has read at each word; the weighted sum decides.  The reviews have 4 to some 70
words: they are packed, so that no step is computed for padding.  Padding and punctuation marks get no attention.

Two sets are held out: new reviews; and recombined ones, in which every adjective stands in a construction where
training has never shown it, as if nobody had ever written "far from dull".

    python demos/sentiment.py                 # 8,000 reviews, two pictures
    python demos/sentiment.py --quick         # 2,500 reviews
    python demos/sentiment.py --review "My uncle found the plot dull; he is wrong."
    python demos/sentiment.py --device cuda   # on an NVIDIA GPU
"""

import random
import re
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
from tinyrnn.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from tinyrnn.utils.data import DataLoader


def tokens(text: str) -> list[str]:
    """Words and punctuation marks."""
    return re.findall(r"\w+(?:[-'’]\w+)*|[^\w\s]", text.lower())


THINGS = tokens("plot acting music ending dialogue camera-work story cast script humour lighting opening")
GOOD = tokens("good great superb moving witty clever brilliant charming gripping fresh elegant delightful")
BAD = tokens("bad dull awful tedious clumsy stupid boring tasteless shallow stale ugly dreadful")
STRENGTH = {"slightly": 1, "rather": 1, "": 2, "quite": 2, "truly": 3, "utterly": 3}
PEOPLE = ["my brother", "my uncle", "the man beside me", "the critic of the newspaper"]

# What is said of one thing {x} with one adjective {a}, and how its sign counts; {s} is a word of STRENGTH.
SIMPLE = {
    "the {x} is {s} {a}": 1,
    "i found the {x} {s} {a}": 1,
    "the {x} struck me as {a}": 1,
    "the {x} is not {a}": -1,
    "the {x} is never {a}": -1,
    "nobody could call the {x} {a}": -1,
    "the {x} is anything but {a}": -1,
    "the {x} is far from {a}": -1,
    "i do not think that the {x} is {a}": -1,
}
HEARSAY = {
    "{p} found the {x} {a} ; he is right": 1,
    "{p} found the {x} {a} , and so did i": 1,
    "{p} found the {x} {a} ; he is wrong": -1,
    "{p} found the {x} {a} , and i did not": -1,
    "i expected the {x} to be {a} , and it was": 1,
    "i expected the {x} to be {a} , and it was not": -1,
}
# Two clauses of opposite sign, of which the one marked + counts.
CONTRAST = ["{-} , but {+}", "although {-} , {+}", "{+} , although {-}", "{+} , even if {-}", "{-} ; all the same {+}"]
NEUTRAL = [
    "we saw it on a rainy tuesday",
    "it runs for two hours",
    "it is the third film of the series",
    "the director was born in lisbon",
    "the cinema was half empty",
    "it is set in a small town by the sea",
]


MARKS = [".", ",", ";"]
FIRST_WORD = 1 + len(MARKS)  # 0 is padding, then come the marks, then the words
EXAMPLES = [
    "although the plot is dull, the acting is truly superb.",
    "the acting is superb, but the plot is truly dull.",
    "we saw it on a rainy tuesday. my brother found the music tedious; he is wrong. the director was born in lisbon.",
    "it runs for two hours. nobody could call the ending clever.",
    "the dialogue is witty, even if the camera-work is anything but elegant.",
    "i expected the humour to be stale, and it was not. the cast is slightly clumsy.",
    "the lighting is truly charming. the humour is rather stale. the script is slightly dull.",
]


class Review(NamedTuple):
    words: list[str]
    label: int  # 1: liked
    deciding: list[bool]  # for each word, whether it belongs to a clause that counts


def held_out(construction: str, adjective: str) -> bool:
    """Whether this pair is kept for the second set: one in six, the same in every run."""
    adjectives = GOOD + BAD
    constructions = [*SIMPLE, *HEARSAY]
    return (adjectives.index(adjective) + 5 * constructions.index(construction)) % 6 == 0


def clause(sign: int, kinds: dict[str, int], recombined: bool) -> tuple[str, int]:
    """A clause that speaks for (1) or against (-1) the film, and by how much; three in four mean what they say."""
    while True:
        turn = random.choice((1, 1, 1, -1))
        construction = random.choice([text for text, counts in kinds.items() if counts == turn])
        adjective = random.choice(GOOD if sign * turn > 0 else BAD)
        if held_out(construction, adjective) == recombined:
            break
    strength = random.choice(list(STRENGTH)) if "{s}" in construction else ""
    text = construction.format(x=random.choice(THINGS), a=adjective, s=strength, p=random.choice(PEOPLE))
    return " ".join(text.split()), sign * STRENGTH[strength]


def review(recombined: bool = False) -> Review:
    """One to three sentences of opinion among up to two others; never a draw."""
    while True:
        sentences, total = [], 0
        for _ in range(random.choice((1, 1, 2, 2, 3))):
            sign = random.choice((1, -1))
            if random.random() < 0.3:
                frame = random.choice(CONTRAST)
                (main, score), (other, _) = clause(sign, SIMPLE, recombined), clause(-sign, SIMPLE, recombined)
                parts = [
                    (main, True) if part == "{+}" else (other, False) if part == "{-}" else (part, False)
                    for part in re.findall(r"\{.\}|[^{]+", frame)
                ]
            else:
                text, score = clause(sign, SIMPLE | HEARSAY, recombined)
                parts = [(text, True)]
            sentences.append([*parts, (".", False)])
            total += score
        sentences += [[(text, False), (".", False)] for text in random.sample(NEUTRAL, random.choice((0, 0, 1, 1, 2)))]
        random.shuffle(sentences)
        if total:
            break
    marked = [(word, counts) for parts in sentences for text, counts in parts for word in text.split()]
    return Review([word for word, _ in marked], int(total > 0), [counts for _, counts in marked])


def reviews(count: int, recombined: bool = False, without: frozenset[str] = frozenset()) -> list[Review]:
    """Different reviews, none of which reads as one in `without`."""
    found: dict[str, Review] = {}
    while len(found) < count:
        new = review(recombined)
        text = " ".join(new.words)
        if text not in without:
            found[text] = new
    return list(found.values())


class Reader(nn.Module):
    """Embeds, reads in both directions, weighs by additive attention, decides: two logits, and the weights."""

    def __init__(self, vocabulary: int, embedding: int, hidden: int, cell: str):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, embedding, padding_idx=0)
        self.drop = nn.Dropout(0.2)
        self.rnn = getattr(nn, cell)(embedding, hidden, batch_first=True, bidirectional=True)
        self.key = nn.Linear(2 * hidden, hidden)
        self.query = nn.Linear(hidden, 1, bias=False)
        self.fc = nn.Linear(2 * hidden, 2)

    def forward(self, words, lengths):
        """words (B, T) padded with 0, lengths (B,) on the CPU: logits (B, 2), weights (B, T)."""
        packed = pack_padded_sequence(self.drop(self.embed(words)), lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        scores = self.query(torch.tanh(self.key(states))).squeeze(-1)
        weights = torch.softmax(scores.masked_fill(words < FIRST_WORD, float("-inf")), dim=1)
        return self.fc((weights.unsqueeze(-1) * states).sum(1)), weights


def collate(batch: list[tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Reviews as numbers, padded (B, T); their lengths (B,); their labels (B,)."""
    words = pad_sequence([words for words, _ in batch], batch_first=True)
    return words, torch.tensor([len(words) for words, _ in batch]), torch.tensor([label for _, label in batch])


def numbers(reviews: list[Review], index: dict[str, int]) -> list[tuple[torch.Tensor, int]]:
    return [(torch.tensor([index[word] for word in r.words]), r.label) for r in reviews]


def predict(model: nn.Module, data: list[tuple[torch.Tensor, int]], device: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """The probability of "liked" for each review, and the attention weight of each of its words."""
    liked, attention = [], []
    model.eval()
    with torch.no_grad():
        for words, lengths, _ in DataLoader(data, batch_size=256, collate_fn=collate):
            logits, weights = model(words.to(device), lengths)
            liked += torch.softmax(logits, dim=1)[:, 1].tolist()
            attention += [row[:length] for row, length in zip(weights.cpu().numpy(), lengths.tolist(), strict=True)]
    model.train()
    return np.array(liked), attention


def accuracy(liked: np.ndarray, data: list[Review]) -> float:
    return float(((liked > 0.5) == [r.label for r in data]).mean())


def train(model: nn.Module, data: list, tests: dict[str, tuple], epochs: int, device: str) -> tuple[list[float], dict]:
    """Adam; the loss of each epoch and its accuracies on the held-out sets (nothing is chosen by them)."""
    criterion = nn.CrossEntropyLoss()
    loader = DataLoader(data, batch_size=32, shuffle=True, collate_fn=collate)
    optimizer = optim.Adam(model.parameters(), lr=0.005)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=epochs * len(loader))
    losses, curves = [], {name: [] for name in tests}
    with tqdm(total=epochs * len(loader), desc="Training", unit="batch", ncols=100) as progress:
        for epoch in range(epochs):
            total = 0.0
            for words, lengths, labels in loader:
                loss = criterion(model(words.to(device), lengths)[0], labels.to(device))
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                total += loss.item() * len(labels)
                progress.update()
                progress.set_postfix(epoch=epoch + 1, loss=f"{loss.item():.3f}", refresh=False)
            losses.append(total / len(data))
            for name, (reviews, encoded) in tests.items():
                curves[name].append(accuracy(predict(model, encoded, device)[0], reviews))
            shown = ", ".join(f"{name} {curve[-1]:.1%}" for name, curve in curves.items())
            tqdm.write(f"Epoch [{epoch + 1}/{epochs}], Loss: {losses[-1]:.4f}, right: {shown}")
    return losses, curves


def count_words(
    pairs: bool, data: list[Review], tests: dict[str, tuple], device: str, steps: int = 200
) -> dict[str, float]:
    """Logistic regression on the counts of words (and of pairs of neighbours); its accuracies."""

    def features(review: Review) -> list[str]:
        words = review.words
        return words + [f"{a} {b}" for a, b in zip(words, words[1:], strict=False)] if pairs else words

    index = {feature: i for i, feature in enumerate(sorted({f for r in data for f in features(r)}))}

    def bags(reviews: list[Review]) -> tuple[torch.Tensor, torch.Tensor]:
        rows = [[index[f] for f in features(r) if f in index] for r in reviews]
        starts = np.cumsum([0] + [len(row) for row in rows[:-1]])
        return torch.tensor([i for row in rows for i in row]).to(device), torch.tensor(starts).to(device)

    model = nn.EmbeddingBag(len(index), 2, mode="sum")  # a weight per feature and class, summed over a review
    nn.init.zeros_(model.weight)
    model.to(device)
    optimizer = optim.Adam(model.parameters(), lr=0.05, weight_decay=1e-3)
    inputs, labels = bags(data), torch.tensor([r.label for r in data]).to(device)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(*inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return {
            name: accuracy(torch.softmax(model(*bags(reviews)), dim=1)[:, 1].cpu().numpy(), reviews)
            for name, (reviews, _) in tests.items()
        }


def plot_training(losses: list[float], curves: dict[str, list[float]], baselines: dict[str, float], path: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    epochs = range(1, len(losses) + 1)
    left.plot(epochs, losses, "o-", ms=3.5, color="black")
    left.set(title="Training loss", ylabel="cross-entropy (nats)", ylim=(0, None))
    for (name, curve), color in zip(curves.items(), ("tab:blue", "tab:orange"), strict=True):
        right.plot(epochs, curve, "o-", ms=3.5, color=color, label=f"{name} reviews: {curve[-1]:.1%}")
    for (name, share), color in zip(baselines.items(), ("0.75", "0.55", "0.35"), strict=True):
        right.axhline(share, linestyle="--", color=color)
        right.text(len(losses), share + 0.006, f"{name}, new reviews: {share:.1%}", ha="right", fontsize="small")
    right.set(title="Held out", ylabel="right", ylim=(0.4, 1.01))
    right.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    right.legend(loc="center right", bbox_to_anchor=(1, 0.76))
    for axes in (left, right):
        axes.set(xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def plot_attention(texts: list[list[str]], liked: np.ndarray, attention: list[np.ndarray], path: Path) -> None:
    """Each review on lines of at most 84 letters, each word on a ground as dark as its weight is large."""
    width, y, boxes = 84, 0.0, []
    for words, share, weights in zip(texts, liked, attention, strict=True):
        x, start = 0, y
        for word, weight in zip(words, weights, strict=True):
            space = 0 if word in MARKS else 1
            if x and x + space + len(word) > width:
                x, y = 0, y + 1
            x += space if x else 0
            boxes.append((x, y, word, weight, share > 0.5))
            x += len(word)
        boxes.append((-15, start, f"liked {share:4.0%}", None, share > 0.5))
        y += 1.7
    letter = 0.602 * 11 / 72  # inches: the width of DejaVu Sans Mono at 11 points
    figure = plt.figure(figsize=(letter * (width + 17), 0.27 * (y + 3)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-16, width + 1), ylim=(y, -3))
    axes.axis("off")
    for x, line, word, weight, good in boxes:
        color = "tab:blue" if good else "tab:red"
        if weight is not None:
            box = plt.Rectangle((x - 0.3, line - 0.45), len(word) + 0.6, 0.9, color=color, alpha=min(weight, 0.8), lw=0)
            axes.add_patch(box)
        font = {"family": "DejaVu Sans Mono", "size": 11}
        axes.text(x, line, word, va="center", color=color if weight is None else "black", **font)
    title = "The ground of a word: its attention weight, from 0 (white) to 1 (solid)"
    axes.text(0, -1.8, title, va="center", size=12)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main() -> None:
    parser = command_line.Parser(__doc__, quick="fewer reviews and epochs: some seconds")
    at_least_1 = command_line.at_least(1)
    parser.add_argument("--reviews", type=at_least_1, help="reviews to train on (default: 8000; quick: 2500)")
    parser.add_argument("--epochs", type=at_least_1, help="passes over them (default: 10; quick: 6)")
    parser.add_argument(
        "--cell", choices=["RNN", "GRU", "LSTM"], default="LSTM", help="recurrent layer (default: LSTM)"
    )
    parser.add_argument("--hidden", type=at_least_1, default=32, help="hidden units in each direction (default: 32)")
    parser.add_argument("--review", type=command_line.text, action="append", default=[], help="one of your own")
    parser.add_argument("--seed", type=command_line.seed, default=0, help="random seed (default: 0)")
    args = parser.parse_args()
    command_line.prepare(args)
    args.reviews = args.reviews or (2500 if args.quick else 8000)
    args.epochs = args.epochs or (6 if args.quick else 10)

    random.seed(args.seed)
    torch.manual_seed(args.seed)
    training = reviews(args.reviews)
    seen = frozenset(" ".join(r.words) for r in training)
    held = {"new": reviews(1000, without=seen), "recombined": reviews(1000, recombined=True)}
    words = sorted({word for r in training for word in r.words} - set(MARKS))
    index = {word: i for i, word in enumerate(MARKS + words, start=1)}
    if new := {word for rs in held.values() for r in rs for word in r.words} - index.keys():
        parser.error(f"--reviews {args.reviews}: so few do not show all words; {', '.join(sorted(new))} would be new")
    tests = {name: (rs, numbers(rs, index)) for name, rs in held.items()}
    model = Reader(1 + len(index), 32, args.hidden, args.cell).to(args.device)
    parameters = sum(p.numel() for p in model.parameters())
    lengths = [len(r.words) for r in training]
    print(f"Did the reviewer like the film?  {args.cell}, {parameters} parameters, {len(words)} words.")
    print(f"{len(training)} reviews of {min(lengths)} to {max(lengths)} words and marks.  The first, ", end="")
    print(f"{'liked' if training[0].label else 'not liked'}:\n    {' '.join(training[0].words)}")
    print("A first run compiles the kernels, which takes some seconds; the next one finds them on disk.\n")

    losses, curves = train(model, numbers(training, index), tests, args.epochs, args.device)
    often = int(np.mean([r.label for r in training]) > 0.5)
    usual = {name: float(np.mean([r.label == often for r in rs])) for name, rs in held.items()}
    rows = {
        "usual verdict in training": usual,
        "words": count_words(False, training, tests, args.device),
        "words and pairs": count_words(True, training, tests, args.device),
        "attention": {name: curve[-1] for name, curve in curves.items()},
    }
    print("\nHeld-out accuracy            new reviews  recombined reviews")
    for name, shares in rows.items():
        print(f"{name:<28}{shares['new']:11.1%}{shares['recombined']:20.1%}")
    for name, (rs, encoded) in tests.items():
        _, attention = predict(model, encoded, args.device)
        marked = [np.array(r.deciding) for r in rs]
        share = np.mean([weights[counts].sum() for weights, counts in zip(attention, marked, strict=True)])
        spread = np.mean([counts.mean() for counts in marked])
        print(f"Attention on the clauses that count, in {name} reviews: {share:.1%}   (evenly spread: {spread:.1%})")

    texts = []
    for text in EXAMPLES + args.review:
        known = [word for word in tokens(text) if word in index]
        if unknown := [word for word in tokens(text) if word not in index]:
            print(f"Left out of {text!r}, for training has not shown them: {' '.join(unknown)}")
        if set(known) - set(MARKS):
            texts.append(known)
        else:
            print(f"Nothing to judge is left of {text!r}.")
    own = [(torch.tensor([index[word] for word in words]), 0) for words in texts]
    liked, attention = predict(model, own, args.device)
    for words, share in zip(texts, liked, strict=True):
        print(f"    liked {share:4.0%}  {' '.join(words)}")

    baselines = {name: rows[name]["new"] for name in rows if name != "attention"}
    for name, plot in (
        ("training", lambda path: plot_training(losses, curves, baselines, path)),
        ("attention", lambda path: plot_attention(texts, liked, attention, path)),
    ):
        path = args.out / f"sentiment-{name}.png"
        plot(path)
        print(f"{path} written")
    print(
        'Look at: which half of an "although" gets the attention; where it goes when somebody else\'s opinion is told;'
    )
    print("and that rain, Lisbon and two hours get none.")


if __name__ == "__main__":
    command_line.run(main)
