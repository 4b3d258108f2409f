"""Did the reviewer like the film?  Which words say so?

Reviews are made up here, word by word, and the sum of what their sentences say decides: "although the plot is dull, the
acting is truly superb" counts 3 for the film, "my brother found the music tedious; he is wrong" counts 2 for it.
Both kinds of review are full of praise and blame, so that the words without their order say little: a baseline that
counts words (logistic regression) fails often, and one that counts pairs of neighbours too ("not good") less often.

A recurrent network reads the words in both directions, and additive attention (Bahdanau et al. 2015, with a learned
vector for the query) weighs what it has read at each word; the weighted sum decides.  The reviews have 4 to some 50
words: they are packed, so that no step is computed for padding, and the padding gets no attention.

Two sets are held out: new reviews; and harder ones, in which every adjective stands in a construction where training
has never shown it, as if nobody had ever written "far from dull".

    python demos/sentiment.py                 # 8,000 reviews, two pictures
    python demos/sentiment.py --quick         # 2,500 reviews
    python demos/sentiment.py --review "My uncle found the plot dull; he is wrong."
"""

import argparse
import random
import re
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from tqdm import tqdm

import tinyrnn as torch
from tinyrnn import nn, optim
from tinyrnn.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from tinyrnn.utils.data import DataLoader

THINGS = "plot acting music ending dialogue camera-work story cast script humour lighting opening".split()
GOOD = "good great superb moving witty clever brilliant charming gripping fresh elegant delightful".split()
BAD = "bad dull awful tedious clumsy stupid boring tasteless shallow stale ugly dreadful".split()
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


class Review(NamedTuple):
    words: list[str]
    label: int  # 1: liked
    deciding: list[bool]  # for each word, whether it belongs to a clause that counts


def held_out(construction: str, adjective: str) -> bool:
    """Whether this pair is kept for the harder test: one in six, the same in every run."""
    adjectives = GOOD + BAD
    constructions = [*SIMPLE, *HEARSAY]
    return (adjectives.index(adjective) + 5 * constructions.index(construction)) % 6 == 0


def clause(sign: int, kinds: dict[str, int], harder: bool) -> tuple[str, int]:
    """A clause that speaks for (1) or against (-1) the film, and by how much."""
    while True:
        construction, turn = random.choice(list(kinds.items()))
        adjective = random.choice(GOOD if sign * turn > 0 else BAD)
        if held_out(construction, adjective) == harder:
            break
    strength = random.choice(list(STRENGTH)) if "{s}" in construction else ""
    text = construction.format(x=random.choice(THINGS), a=adjective, s=strength, p=random.choice(PEOPLE))
    return " ".join(text.split()), sign * STRENGTH[strength]


def review(harder: bool = False) -> Review:
    """One to three sentences of opinion among up to two others; never a draw."""
    while True:
        sentences, total = [], 0
        for _ in range(random.choice((1, 1, 2, 2, 3))):
            sign = random.choice((1, -1))
            if random.random() < 0.5:
                frame = random.choice(CONTRAST)
                (main, score), (other, _) = clause(sign, SIMPLE, harder), clause(-sign, SIMPLE, harder)
                parts = [(main, True) if part == "{+}" else (other, False) if part == "{-}" else (part, False)
                         for part in re.findall(r"\{.\}|[^{]+", frame)]
            else:
                text, score = clause(sign, SIMPLE | HEARSAY, harder)
                parts = [(text, True)]
            sentences.append([*parts, (".", False)])
            total += score
        sentences += [[(text, False), (".", False)] for text in random.sample(NEUTRAL, random.choice((0, 0, 1, 1, 2)))]
        random.shuffle(sentences)
        if total:
            break
    marked = [(word, counts) for parts in sentences for text, counts in parts for word in text.split()]
    return Review([word for word, _ in marked], int(total > 0), [counts for _, counts in marked])


def reviews(count: int, harder: bool = False, without: frozenset[str] = frozenset()) -> list[Review]:
    """Different reviews, none of which reads as one in `without`."""
    found: dict[str, Review] = {}
    while len(found) < count:
        new = review(harder)
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
        """words (B, T) padded with 0, lengths (B,): logits (B, 2), weights (B, T)."""
        packed = pack_padded_sequence(self.drop(self.embed(words)), lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        scores = self.query(torch.tanh(self.key(states))).squeeze(-1)
        weights = torch.softmax(scores.masked_fill(words == 0, float("-inf")), dim=1)
        return self.fc((weights.unsqueeze(-1) * states).sum(1)), weights


def tokens(text: str) -> list[str]:
    return re.findall(r"[a-z]+(?:-[a-z]+)*|[.,;]", text.lower())


def collate(batch: list[tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Reviews as numbers, padded (B, T); their lengths (B,); their labels (B,)."""
    words = pad_sequence([words for words, _ in batch], batch_first=True)
    return words, torch.tensor([len(words) for words, _ in batch]), torch.tensor([label for _, label in batch])


def numbers(reviews: list[Review], index: dict[str, int]) -> list[tuple[torch.Tensor, int]]:
    return [(torch.tensor([index[word] for word in r.words]), r.label) for r in reviews]


def predict(model: nn.Module, data: list[tuple[torch.Tensor, int]]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The probability of "liked" for each review, and the attention weight of each of its words."""
    liked, attention = [], []
    model.eval()
    with torch.no_grad():
        for words, lengths, _ in DataLoader(data, batch_size=256, collate_fn=collate):
            logits, weights = model(words, lengths)
            liked += torch.softmax(logits, dim=1)[:, 1].tolist()
            attention += [row[:length] for row, length in zip(weights.numpy(), lengths.tolist(), strict=True)]
    model.train()
    return np.array(liked), attention


def accuracy(liked: np.ndarray, data: list[Review]) -> float:
    return float(((liked > 0.5) == [r.label for r in data]).mean())


def train(model: nn.Module, data: list, tests: dict[str, tuple], epochs: int) -> tuple[list[float], dict]:
    """Adam; the loss of each epoch and its accuracies on the sets held out, which decide nothing."""
    criterion = nn.CrossEntropyLoss()
    loader = DataLoader(data, batch_size=32, shuffle=True, collate_fn=collate)
    optimizer = optim.Adam(model.parameters(), lr=0.005)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=epochs * len(loader))
    losses, curves = [], {name: [] for name in tests}
    with tqdm(total=epochs * len(loader), desc="Training", unit="batch", ncols=100) as progress:
        for epoch in range(epochs):
            total = 0.0
            for words, lengths, labels in loader:
                loss = criterion(model(words, lengths)[0], labels)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                total += loss.item() * len(labels)
                progress.update()
                progress.set_postfix(epoch=epoch + 1, loss=f"{loss.item():.3f}")
            losses.append(total / len(data))
            for name, (reviews, encoded) in tests.items():
                curves[name].append(accuracy(predict(model, encoded)[0], reviews))
            shown = ", ".join(f"{name} {curve[-1]:.1%}" for name, curve in curves.items())
            tqdm.write(f"Epoch [{epoch + 1}/{epochs}], Loss: {losses[-1]:.4f}, right: {shown}")
    return losses, curves


def count_words(pairs: bool, data: list[Review], tests: dict[str, tuple], steps: int = 300) -> dict[str, float]:
    """Logistic regression on the counts of words (and of pairs of neighbours); its accuracies."""

    def features(review: Review) -> list[str]:
        words = review.words
        return words + [f"{a} {b}" for a, b in zip(words, words[1:], strict=False)] if pairs else words

    index = {feature: i for i, feature in enumerate(sorted({f for r in data for f in features(r)}))}

    def bags(reviews: list[Review]) -> tuple[torch.Tensor, torch.Tensor]:
        rows = [[index[f] for f in features(r) if f in index] for r in reviews]
        starts = np.cumsum([0] + [len(row) for row in rows[:-1]])
        return torch.tensor([i for row in rows for i in row]), torch.tensor(starts)

    model = nn.EmbeddingBag(len(index), 2, mode="sum")  # a weight per feature and class, summed over a review
    nn.init.zeros_(model.weight)
    optimizer = optim.Adam(model.parameters(), lr=0.05, weight_decay=DECAY)
    inputs, labels = bags(data), torch.tensor([r.label for r in data])
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(*inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return {
            name: accuracy(torch.softmax(model(*bags(reviews)), dim=1)[:, 1].numpy(), reviews)
            for name, (reviews, _) in tests.items()
        }
