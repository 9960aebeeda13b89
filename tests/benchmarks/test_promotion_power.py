"""The measurement of power and false promotions: its draws, its gates, its picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.promotion_power import FIRST, LAST, PLAIN, chances, draw_plot, line_of_models


def test_a_line_has_the_true_gain_and_discordance_and_shares_the_champions_answers() -> None:
    gained, lost = line_of_models(400, 0.03, 0.1, repeats=20_000, seed=0)
    assert (gained - lost).mean() / 400 == pytest.approx(0.03, abs=0.001)
    assert (gained + lost).mean() / 400 == pytest.approx(0.1, abs=0.001)
    assert (gained - lost).var() == pytest.approx(400 * (0.1 - 0.03**2), rel=0.03)
    assert np.corrcoef(gained[:, 0], gained[:, 1])[0, 1] > 0.1


def test_power_falls_with_the_uses_and_a_plain_gate_promotes_most() -> None:
    found = chances(400, 0.04, 0.1, repeats=500)
    assert found[PLAIN] > found[FIRST] > found[LAST] > 0.1
    assert chances(400, 0.06, 0.1, repeats=500)[FIRST] > found[FIRST]


def test_the_picture_is_the_same_each_time_and_small(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        draw_plot(5, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert 10_000 < (tmp_path / "one.svg").stat().st_size < 200_000
