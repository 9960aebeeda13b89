"""Error rates against summing over every possible outcome, and critical values that keep them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, multinomial, norm

from tasks.exact_size import DISCORDANCES, critical_value, discordance_limit, error_rates
from tasks.paired_tests import tango_statistic


def summed_rate(items: int, margin: float, critical: float, discordance: float) -> float:
    """The same over all (gained, lost), one by one."""
    gained, lost = np.mgrid[0 : items + 1, 0 : items + 1].reshape(2, -1)
    possible = gained + lost <= items
    gained, lost = gained[possible], lost[possible]
    rates = [(discordance - margin) / 2, (discordance + margin) / 2, 1 - discordance]
    chances = multinomial.pmf(np.stack([gained, lost, items - gained - lost], axis=1), items, rates)
    return float(chances[tango_statistic(gained, lost, items, -margin) > critical].sum())


@pytest.mark.parametrize("items", [1, 7, 40, 90])
@pytest.mark.parametrize("margin", [0.0, 0.01, 0.1])
@pytest.mark.parametrize("critical", [0.6, 1.645, 2.8])
def test_the_error_rate_is_the_sum_over_every_outcome(items: int, margin: float, critical: float) -> None:
    shares = np.array([margin, margin + 0.02, 0.2, 0.5, 0.97])
    expected = [summed_rate(items, margin, critical, share) for share in shares]
    np.testing.assert_allclose(error_rates(items, margin, critical, shares), expected, rtol=1e-9, atol=1e-13)


def test_the_error_rate_is_what_drawing_shows() -> None:
    generator = np.random.default_rng(0)
    drawn = generator.multinomial(2000, [0.095, 0.105, 0.8], size=200_000)
    shown = np.mean(tango_statistic(drawn[:, 0], drawn[:, 1], 2000, -0.01) > 1.645)
    assert error_rates(2000, 0.01, 1.645, np.array([0.2]))[0] == pytest.approx(shown, abs=0.0015)


@pytest.mark.parametrize("items", [30, 150, 400, 2000])
@pytest.mark.parametrize("margin", [0.0, 0.005, 0.02])
@pytest.mark.parametrize("level", [0.2, 0.05, 0.0139, 0.0007])
def test_the_critical_value_keeps_the_level_at_every_discordance_and_never_loosens_it(
    items: int, margin: float, level: float
) -> None:
    critical = critical_value(items, margin, level, 0.5)
    assert critical >= norm.isf(level) - 1e-9
    looked_at = margin + (0.5 - margin) * np.linspace(0, 1, DISCORDANCES) ** 2
    assert error_rates(items, margin, critical, looked_at).max() <= level
    between = np.random.default_rng(1).uniform(margin, 0.5, 40)
    assert error_rates(items, margin, critical, between).max() <= 1.05 * level


def test_a_loose_level_on_few_items_would_err_twice_as_often_by_the_normal_quantile_alone() -> None:
    assert error_rates(150, 0.005, norm.isf(0.2), np.array([0.005]))[0] > 0.45
    assert error_rates(150, 0.005, critical_value(150, 0.005, 0.2, 0.5), np.array([0.005]))[0] <= 0.2


@pytest.mark.parametrize("items", [150, 400, 2000])
def test_at_the_levels_of_use_the_normal_quantile_is_raised_by_a_hundredth_at_most(items: int) -> None:
    for use in (1, 2, 5, 10, 20):
        level = 0.05 / (use * 3.5977)
        raised = max(critical_value(items, margin, level, 0.5) for margin in (0.0, 0.01))
        assert raised <= 1.01 * norm.isf(level)


def test_models_that_may_differ_everywhere_are_looked_at_everywhere() -> None:
    everywhere = critical_value(20, 0.0, 0.0139, 1.0)
    assert everywhere > norm.isf(0.0139)
    assert error_rates(20, 0.0, everywhere, np.linspace(0, 1, 200)).max() <= 1.05 * 0.0139


@pytest.mark.parametrize("items", [8, 30, 150, 2000])
def test_the_true_discordance_hardly_ever_exceeds_its_limit(items: int) -> None:
    for limit in (0.5, 0.75):
        fooled = [differing for differing in range(items + 1) if discordance_limit(differing, items) <= limit]
        assert binom.pmf(fooled, items, limit).sum() < 2e-5
    assert discordance_limit(items, items) == 1.0
