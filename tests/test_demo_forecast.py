"""demos/forecast.py: its data, and what it must reach."""

import re

import numpy as np
from test_demos import DEMOS, run


def test_the_data_are_the_yearly_sunspot_numbers_of_1700_to_2008_and_name_their_source():
    path = DEMOS / "data" / "sunspots.csv"
    assert "SILSO" in path.read_text()
    years, spots = np.loadtxt(path, delimiter=",", skiprows=5, unpack=True)
    assert years.tolist() == list(range(1700, 2009))
    known = {1700: 5.0, 1712: 0.0, 1778: 154.4, 1810: 0.0, 1957: 190.2, 2000: 119.6, 2008: 2.9}
    assert {year: spots[year - 1700] for year in known} == known
    assert abs(spots.mean() - 49.752) < 1e-3


def test_quick_beats_persistence_by_far_and_every_autoregression_over_several_years(tmp_path):
    done = run("forecast.py", "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    rows = {}
    for line in done.stdout.splitlines():
        found = re.match(r"(persistence|last cycle|AR\(9\)|AR, tuned|LSTM).*?((?: +[\d.]+){9})$", line)
        if found:
            rows[found[1]] = [float(number) for number in found[2].split()]
    one_year, several = ({name: row[i] for name, row in rows.items()} for i in (0, 2))
    assert (one_year["persistence"], several["last cycle"]) == (33.4, 39.1)  # from the data alone
    assert (one_year["AR(9)"], one_year["AR, tuned"]) == (19.5, 16.6)
    assert one_year["LSTM"] <= 18.0, "measured: 16.5"
    assert several["LSTM"] <= 33.5 < several["AR(9)"] < several["AR, tuned"], "measured: 31.7 against 34.3 and 37.4"
    for picture in ("forecast-heldout.png", "forecast-errors.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
