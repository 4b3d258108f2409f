"""The demos with --device cuda: their models and training steps on a simulated GPU."""

import argparse
import importlib
import random

import numpy as np
import pytest
from tqdm import tqdm

import tinyrnn as torch
from tinyrnn import nn


# ------------------------------------------------------------------------------------------ each demo, tiny
# Functions of a device and of pytest's monkeypatch and tmp_path, that give numbers.
def majority(device, patch, folder):
    demo = importlib.import_module("majority")
    patch.setattr(demo, "LENGTH", 3)
    inputs, labels = (data.to(device) for data in demo.sequences(2))
    model = demo.Classifier("RNN", 4).to(device)
    return [*demo.train(model, inputs, labels, 2), *demo.predict(model, inputs)]


def cells(device, patch, folder):
    demo = importlib.import_module("cells")
    adding = demo.adding
    patch.setattr(demo, "adding", lambda count, length, device: adding(2, length, device))
    found = []
    for zoneout, cell in zip((0.0, 0.2, 0.0, 0.0, 0.0), demo.CELLS.values(), strict=True):
        layer, head = cell(2, 4, zoneout=zoneout).to(device), nn.Linear(4, 1).to(device)
        found += demo.train(layer, head, 2, 3, device)
        layer.eval()
        x, _ = demo.adding(2, 3, device)
        assert (layer(x)[0] - demo.in_a_loop(layer, x)).abs().max().item() < 1e-6 or zoneout
    assert demo.fastest(lambda: layer(x), device, 1) > 0
    return found


def long_memory(device, patch, folder):
    demo = importlib.import_module("long_memory")
    sequences = demo.sequences
    patch.setattr(demo, "sequences", lambda count, length, device: sequences(2, length, device))
    runs = demo.experiment(["ReLU RNN, clipped", "LSTM"], [3], 1, 2, 4, device)
    return [x for (run,) in runs.values() for x in (run.error, *run.losses, *run.norms, *run.before, *run.after)]


def forecast(device, patch, folder):
    demo = importlib.import_module("forecast")
    windows = demo.windows
    patch.setattr(demo, "windows", lambda begin, end: windows(begin, end)[:, -2:])
    args = argparse.Namespace(hidden=2, stretch=0.5, steps=1, device=device)
    return demo.train("GRU", args, tqdm(disable=True)).ravel() / 100


def sentiment(device, patch, folder):
    demo = importlib.import_module("sentiment")
    reviews = [demo.Review(text.split(), label, []) for text, label in (("good plot .", 1), ("dull", 0))]
    encoded = demo.numbers(reviews, {"good": 4, "plot": 5, "dull": 6, ".": 1})
    tests = {"new": (reviews, encoded)}
    model = demo.Reader(7, 3, 4, "LSTM").to(device)
    losses, curves = demo.train(model, encoded, tests, 2, device)
    liked, attention = demo.predict(model, encoded, device)
    counted = demo.count_words(True, reviews, tests, device, steps=2)
    return [*losses, *curves["new"], *liked, *np.concatenate(attention), counted["new"]]


def translate_dates(device, patch, folder):
    demo = importlib.import_module("translate_dates")
    patch.setattr(demo, "LENGTH", 3)
    data = [demo.Sample("i. 2", "2-", "German"), demo.Sample("1 a", "10", "Latin")]
    letters = demo.Letters([s.text for s in data], device)
    args = argparse.Namespace(rate=0.01, steps=1, batch=2, device=device)
    found = []
    for attention in ("bahdanau", "luong", None):
        model = demo.Translator(len(letters), attention, 3, 4).to(device)
        curve = demo.train(model, letters, data, data, args)
        _, weights = model.translate(*letters.encode(["a 1"]), width=2)
        found += [*curve[-1], *(weights.ravel() if attention else [])]
        found += [p.detach().abs().sum().item() for p in model.parameters()]
    return found


def char_language_model(device, patch, folder):
    demo = importlib.import_module("char_language_model")
    patch.setattr(demo, "ROWS", 2)
    alphabet = demo.Alphabet("abc " * 10)
    text = alphabet.encode("abc cab bac acb " * 2)
    found = []
    for name in ("LSTM", "GPT"):
        settings = {"model": name, "hidden": 4, "layers": 1 + (name == "LSTM"), "dropout": 0.2, "window": 4, "batch": 2}
        settings |= {"steps": 3, "lr": 0.01, "clip": 1.0, "seed": 1}
        patch.setattr(demo, "CHECKS", 3)
        run = demo.Run(settings, alphabet, folder / f"{name}-{device}.pt", device)
        run.train(text.to(device), text[:8].to(device))
        written = demo.generate(run.model, alphabet, "ab", 3, 1.0, 3)
        found += [*run.position.losses, *(bits for _, bits in run.position.checks), *map(ord, written)]
    return found


def work_of_speed(device, patch, folder):
    """Outputs, gradients and losses; and a time."""
    speed, speed_work = map(importlib.import_module, ("speed", "speed_work"))
    small, found = {"attention": (1, 2, 3, 4)}, []
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for case in dict.fromkeys(c._replace(size=small.get(c.group, (3, 4, 2, 2))) for c in speed_work.CASES["cuda"]):
        if case.mode == "forward" and case.name != "RNN":
            continue
        given = speed_work.given_for(torch, case, device)
        run, results = speed_work.build(torch, case, given, device)
        assert case.mode != "forward" or speed.timed(run, 0, wait) > 0
        found += [x.ravel() / max(1, np.abs(x).max()) for _, x in sorted(results().items())]
    return np.concatenate(found)


TINY = (majority, cells, long_memory, forecast, sentiment, translate_dates, char_language_model, work_of_speed)


@pytest.mark.parametrize("demo", TINY)
def test_a_demo_computes_the_same_on_both_devices(demo, gpu, monkeypatch, tmp_path):
    found = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0), np.random.seed(0), random.seed(0)
        with monkeypatch.context() as patch:
            found.append(np.array(demo(device, patch, tmp_path), float))
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-4)
    assert len(found[0]) >= 4


@pytest.mark.parametrize("first, second", [("cpu", "cuda"), ("cuda", "cpu")])
def test_a_run_goes_on_on_the_other_device(first, second, gpu, monkeypatch, tmp_path):
    demo = importlib.import_module("char_language_model")
    monkeypatch.setattr(demo, "ROWS", 2)
    monkeypatch.setattr(demo, "CHECKS", 3)
    alphabet, save = demo.Alphabet("abc " * 10), demo.Run.save
    text = alphabet.encode("abc cab bac acb " * 2)
    settings = {"model": "LSTM", "hidden": 4, "layers": 2, "dropout": 0.2, "window": 4, "batch": 2}
    settings |= {"steps": 3, "lr": 0.01, "clip": 1.0, "seed": 1}

    def interrupted(run):
        save(run)
        if run.position.step == 2:
            raise KeyboardInterrupt

    def run(device, name):
        return demo.Run(settings, alphabet, tmp_path / name, device), text.to(device), text[:8].to(device)

    whole, *data = run(first, "whole")
    whole.train(*data)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(demo.Run, "save", interrupted)
        part, *data = run(first, "parts")
        part.train(*data)
    torch.manual_seed(99)
    rest, *data = run(second, "parts")
    rest.resume()
    rest.train(*data)
    assert len(rest.position.losses) == 3
    np.testing.assert_allclose(rest.position.losses, whole.position.losses, rtol=1e-4)
    np.testing.assert_allclose(rest.position.checks, whole.position.checks, rtol=1e-4)
