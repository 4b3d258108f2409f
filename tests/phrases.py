"""Tests by phrases: an expression is evaluated with torch and with tinyrnn, and must print, or raise, the same."""

import copy
import math
import operator
import pickle
import re
import warnings

import numpy as np

import tinyrnn


def names(torch):
    """What a phrase may speak of: the library `torch`, and some of its tensors."""
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    g = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    return {
        "torch": torch, "nn": torch.nn, "np": np, "copy": copy, "pickle": pickle, "math": math, "operator": operator,
        "x": x, "g": g, "n": g * 2, "i": torch.tensor([1, 2, 3]), "sc": torch.tensor(2.5),
        "b": torch.tensor([True, False]), "z": torch.empty(0),
    }  # fmt: skip


def outcome(torch, phrase):
    """The printed value of a phrase ("r = ...", after statements), or the classes of what it raises."""
    scope = names(torch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if re.search(r"\br = ", phrase):
                exec(phrase, scope)
                return re.sub("0x[0-9a-f]+", "0x", repr(scope["r"]))
            return re.sub("0x[0-9a-f]+", "0x", repr(eval(phrase, scope)))
        except Exception as error:
            return "raises " + " ".join(kind.__name__ for kind in type(error).__mro__[:-2])


def check(phrases, oracle):
    """Hold tinyrnn to torch's outcomes of `phrases`, one in each line."""
    phrases = [phrase.strip() for phrase in phrases.strip().splitlines()]
    theirs = oracle(lambda torch: {"outcomes": np.array([outcome(torch, phrase) for phrase in phrases])})["outcomes"]
    wrong = []
    for phrase, expected in zip(phrases, theirs.tolist(), strict=True):
        ours = outcome(tinyrnn, phrase)
        same = (
            expected.split()[1] in ours.split()[1:] if "raises" in expected and "raises" in ours else ours == expected
        )
        if not same:
            wrong.append(f"{phrase}\n  torch:   {expected}\n  tinyrnn: {ours}")
    assert not wrong, "\n" + "\n".join(wrong)
