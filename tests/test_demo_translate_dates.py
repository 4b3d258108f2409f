"""The dates of demos/translate_dates.py, and its quick form, run as a person would run it."""

import datetime
import importlib
import re

import pytest
from test_demos import run  # and finds the demos

demo = importlib.import_module("translate_dates")


def test_the_quick_form_reaches_its_bound_and_writes_its_pictures(tmp_path):
    done = run("translate_dates.py", "--quick", "--out", tmp_path, "1er mai 1968", "3rd of March 1997")
    assert done.returncode == 0, done.stderr
    right = float(re.search(r"right in every character: ([\d.]+)%", done.stdout)[1])
    assert right >= 95, done.stdout
    assert re.search(r"1er mai 1968 +1968-05-01", done.stdout) and re.search(r"3rd of March.* 1997-03-03", done.stdout)
    assert "Training" in done.stderr and "Look at" in done.stdout
    for picture in ("accuracy", "attention"):
        assert (tmp_path / f"translate-dates-bahdanau-{picture}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("attention", ["luong", "none"])
def test_the_other_decoders(tmp_path, attention):
    few = ("--steps", 2, "--hidden", 8, "--batch", 4, "--dates", 100)
    done = run("translate_dates.py", "--quick", "--attention", attention, *few, "--out", tmp_path, "2020年 $x^$")
    assert done.returncode == 0, done.stderr
    assert "it will read '$' '^' '年' as unknown" in done.stdout or "it will read '$' '^' 'x' '年'" in done.stdout
    assert "Warning" not in done.stderr  # of letters that the font of the picture lacks
    assert (tmp_path / "translate-dates-luong-attention.png").exists() == (attention == "luong")


def test_a_rate_that_is_too_high_ends_the_training(tmp_path):
    few = ("--steps", 9, "--hidden", 8, "--batch", 4, "--dates", 100)
    done = run("translate_dates.py", "--quick", *few, "--out", tmp_path, "--rate", "1e39")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert (
        last
        == "translate_dates.py: error: --rate 1e+39: the loss of step 2 is nan: training has diverged, try a lower one"
    )


def test_dates_are_written_as_people_write_them():
    day = datetime.date(1997, 3, 3)
    orders = {
        "English": {
            "3rd of March 1997",
            "March 3, 1997",
            "the third of March 1997",
            "3/3/1997",
            "Monday, March 3, 1997",
        },
        "German": {"3. März 1997", "Montag, den 3. März 1997", "03.03.1997"},
        "French": {"le 3 mars 1997", "lundi 3 mars 1997"},
        "Spanish": {"3 de marzo de 1997", "lunes, 3 de marzo de 1997"},
        "Italian": {"3 marzo 1997", "1997, 3 marzo"},
        "Russian": {"3 марта 1997 г.", "03.03.1997"},
    }
    assert orders.keys() == demo.LANGUAGES.keys()
    for language, expected in orders.items():
        assert expected <= {demo.written(day, language, order) for order in demo.LANGUAGES[language][3]}
    assert demo.written(datetime.date(2001, 5, 1), "French", "{first} {month} {y}") == "1er mai 2001"
    numbers = {
        1: "1st",
        2: "2nd",
        3: "3rd",
        4: "4th",
        11: "11th",
        12: "12th",
        13: "13th",
        21: "21st",
        22: "22nd",
        31: "31st",
    }
    for n, text in numbers.items():
        assert demo.written(datetime.date(2001, 1, n), "English", "{nth}") == text
    for months, shorts, weekdays, _ in demo.LANGUAGES.values():
        assert [len(names.split()) for names in (months, shorts, weekdays)] == [12, 12, 7]
    assert len(demo.WORDS.split()) == 31


def test_no_text_means_two_days():
    """Every order of every language can be read back: else no model could reach the bound."""
    found = {}
    for number in range(demo.FIRST, demo.FIRST + 400):
        day = datetime.date.fromordinal(number)
        for language, (*_, orders) in demo.LANGUAGES.items():
            for order in orders:
                assert found.setdefault(demo.written(day, language, order), day) == day
