"""demos/sentiment.py: its reviews, what it must reach, and what it refuses."""

import importlib
import random
import re

import pytest
from test_demos import run  # and finds the demos

STRONG = {"slightly": 1, "rather": 1, "truly": 3, "utterly": 3}
TURNING = {"not", "never", "nobody", "anything", "far", "wrong"}


@pytest.fixture(scope="module")
def demo():
    random.seed(0)
    return importlib.import_module("sentiment")


def score(demo, words):
    """What a clause says, read from its words."""
    (good,) = [word in demo.GOOD for word in words if word in demo.GOOD + demo.BAD]
    sign = 1 if good != bool(TURNING & set(words)) else -1
    return sign * next((STRONG[word] for word in words if word in STRONG), 2)


@pytest.mark.parametrize("recombined", [False, True])
def test_a_review_is_the_sum_of_its_clauses_that_count(demo, recombined):
    for review in demo.reviews(500, recombined):
        clauses, last = [], False
        for word, counts in zip(review.words, review.deciding, strict=True):
            if counts and (not last or word == "."):
                clauses.append([])
            if counts:
                clauses[-1].append(word)
            last = counts
        total = sum(score(demo, clause) for clause in clauses)
        assert total != 0
        assert review.label == (total > 0)


def test_a_recombined_review_has_adjectives_where_training_never_shows_them(demo):
    sets = [demo.reviews(2500), demo.reviews(1000, recombined=True)]
    for construction in (r"far from (\S+)", r"nobody could call the \S+ (\S+)", r"struck me as (\S+)"):
        seen, new = ({a for r in found for a in re.findall(construction, " ".join(r.words))} for found in sets)
        assert not seen & new
        assert seen | new == set(demo.GOOD + demo.BAD)


def test_no_new_review_was_trained_on(demo):
    seen = frozenset(" ".join(r.words) for r in demo.reviews(2500))
    assert not seen & {" ".join(r.words) for r in demo.reviews(1000, without=seen)}


def test_attention_is_zero_on_padding_and_marks_and_sums_to_one(demo):
    model = demo.Reader(20, 4, 3, "GRU")
    words = demo.torch.tensor([[4, 9, 1, 5, 2], [7, 8, 3, 0, 0]])
    logits, weights = model(words, demo.torch.tensor([5, 3]))
    assert logits.shape == (2, 2)
    assert (weights.detach().numpy() > 0).tolist() == (words.numpy() >= demo.FIRST_WORD).tolist()
    assert abs(weights.sum(1).detach().numpy() - 1).max() < 1e-6


def test_quick_reads_what_counting_words_cannot(tmp_path):
    own = ["My uncle found the plot dull; he is wrong.", "A stinker, but the music is good!", "¡Été 10/10!"]
    done = run("sentiment.py", "--quick", "--out", tmp_path, *(word for text in own for word in ("--review", text)))
    assert done.returncode == 0, done.stderr
    found = {}
    for line in done.stdout.splitlines():
        found[re.split(r"  |:", line)[0]] = [float(share) for share in re.findall(r"([\d.]+)%", line)]
    assert max(found["usual verdict in training"]) <= 55
    assert max(found["words"]) <= 70, "measured: 63.1 and 64.9"
    assert max(found["words and pairs"]) <= 80, "measured: 72.0 and 46.1"
    assert min(found["attention"]) >= 96, "measured: 99.1 and 99.6"
    for name in ("new", "recombined"):
        share, spread = found[f"Attention on the clauses that count, in {name} reviews"]
        assert share >= 85 > 60 >= spread, "measured: 95.7 and 96.3, with 54.2 and 55.6 of the words"
    assert "for training has not shown them: stinker !\n" in done.stdout
    assert "Left out of '¡Été 10/10!', for training has not shown them: ¡ été 10 / 10 !\n" in done.stdout
    assert "Nothing to judge is left of '¡Été 10/10!'.\n" in done.stdout
    said = re.findall(r"liked +(\d+)%  (.*)", done.stdout)
    assert len(said) == 9
    assert [int(said[i][0]) > 50 for i in (0, 1, -2, -1)] == [True, False, True, True]
    for picture in ("sentiment-training.png", "sentiment-attention.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")


def test_so_few_reviews_that_words_are_missing_are_refused():
    done = run("sentiment.py", "--reviews", "3")
    assert done.returncode == 2 and "--reviews 3: so few do not show all words" in done.stderr
