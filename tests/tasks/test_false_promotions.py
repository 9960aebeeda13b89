"""Twenty models in a row that all stand exactly on the margin: how often is any of them promoted?

The test set is drawn anew for each repeat; the champion's right and wrong answers on it stay for all twenty models,
which answer independently of each other given these.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import beta, norm

from benchmarks.promotion_power import Counts, Promoted, line_of_models, raised, shown_above
from tasks.alpha_spending import level_of_use
from tasks.champion_judgement import judge_champion
from tasks.exact_size import DISCORDANCE_LIMITS, error_rates
from tasks.paired_tests import tango_statistic
from tasks.params import ChampionRule
from tasks.reports import PairedComparison, PairedCounts

ALPHA, USES, REPEATS = 0.05, 20, 5000
ALLOWED = ALPHA + 0.005
CELLS = list(product((150, 400, 2000), (0.05, 0.2), (0.01, 0.0)))
CELL = pytest.mark.parametrize(("items", "discordance", "margin"), CELLS)


def drawn(items: int, discordance: float, margin: float, repeats: int, seed: int) -> tuple[Counts, Counts]:
    """A line of models whose true loss is the margin."""
    return line_of_models(items, -margin, discordance, repeats, seed)


def promotions(gained: Counts, lost: Counts, items: int, margin: float) -> Promoted:
    """(repeats, uses) whether the rule takes the model for better, or within the margin of the champion."""
    return shown_above(gained, lost, items, -margin, ChampionRule(margin=margin, alpha=ALPHA, test_set_uses=USES))


def family_wise(promoted: Promoted) -> tuple[float, float]:
    """Share of the repeats with any promotion, and the upper limit of its one-sided 95% interval (Clopper-Pearson)."""
    errors, repeats = int(promoted.any(axis=1).sum()), len(promoted)
    return errors / repeats, float(beta.ppf(0.95, errors + 1, repeats - errors))


@CELL
def test_a_line_of_twenty_models_on_the_margin_sees_a_false_promotion_no_more_often_than_alpha(
    items: int, discordance: float, margin: float
) -> None:
    gained, lost = drawn(items, discordance, margin, REPEATS, seed=20)
    rate, upper = family_wise(promotions(gained, lost, items, margin))
    assert upper <= ALLOWED
    assert rate > 0


@CELL
def test_the_exact_error_rates_of_all_uses_add_up_to_alpha_at_most(
    items: int, discordance: float, margin: float
) -> None:
    rule = ChampionRule(margin=margin, alpha=ALPHA, test_set_uses=USES)
    rates = []
    for use in range(1, USES + 1):
        least = raised(items, rule, use, DISCORDANCE_LIMITS[0])
        rates.append(error_rates(items, margin, least, np.array([discordance]))[0])
        assert rates[-1] <= level_of_use(use, USES, ALPHA)
    assert sum(rates) <= ALPHA


@CELL
def test_the_simulated_decision_is_that_of_the_judgement(items: int, discordance: float, margin: float) -> None:
    gained, lost = drawn(items, discordance, margin, 400, seed=3)
    rule = ChampionRule(margin=margin, alpha=ALPHA, test_set_uses=USES)
    nearest = np.argsort(np.abs(tango_statistic(gained, lost, items, -margin) - norm.isf(0.002)).ravel())[:12]
    shifted = np.concatenate([gained + shift for shift in (0, 2, 4, 7)])
    promoted, lost = promotions(shifted, np.tile(lost, (4, 1)), items, margin), np.tile(lost, (4, 1))
    places = (nearest[:, None] + gained.size * np.arange(4)).ravel()
    for repeat, place in zip(*np.unravel_index(places, shifted.shape), strict=True):
        found = decided(int(shifted[repeat, place]), int(lost[repeat, place]), items, rule, int(place) + 1)
        assert found == promoted[repeat, place]
    assert set(promoted.ravel()[places].tolist()) == {True, False}


def decided(gained: int, lost: int, items: int, rule: ChampionRule, use: int) -> bool:
    """What the judgement says: with a margin an equivalent model counts as promoted, without one a better model."""
    counts = PairedCounts(both=items - gained - lost, only_challenger=gained, only_champion=lost, neither=0)
    pair = PairedComparison(against="champion", version=1, manifest_sha256="0", counts=counts)
    return judge_champion([pair], rule, use, promote_equivalent=True).promotable


@pytest.mark.parametrize("gate", ["as good on these items", "alpha at every use"])
def test_the_simulation_finds_a_gate_out_that_spends_too_much(gate: str) -> None:
    gained, lost = drawn(400, 0.2, 0.01, REPEATS, seed=20)
    if gate == "as good on these items":
        promoted = gained >= lost
    else:
        promoted = tango_statistic(gained, lost, 400, -0.01) > norm.isf(ALPHA)
    rate, upper = family_wise(promoted)
    assert rate > 0.3
    assert upper > ALLOWED


@pytest.mark.parametrize("held_against_best", [True, False])
def test_a_line_of_allowed_losses_walks_downhill_unless_it_is_held_against_the_best(held_against_best: bool) -> None:
    """Each model is 0.4 points below the champion of its time; the margin allows one point."""
    generator = np.random.default_rng(8)
    items, repeats, rule = 5000, 60, ChampionRule()
    accuracy = np.full(repeats, 0.9)
    champion = generator.random((repeats, items)) < 0.9
    best = champion.copy()
    for use in range(1, USES + 1):
        lost = champion & (generator.random(champion.shape) < 0.012 / accuracy[:, None])
        gained = ~champion & (generator.random(champion.shape) < 0.008 / (1 - accuracy[:, None]))
        challenger = (champion & ~lost) | gained
        promoted = keeps_margin(challenger, champion, rule, use)
        if held_against_best:
            promoted &= keeps_margin(challenger, best, rule, use)
        champion[promoted], accuracy[promoted] = challenger[promoted], accuracy[promoted] - 0.004
        better = promoted & (challenger.sum(axis=1) > best.sum(axis=1))
        best[better] = challenger[better]
    too_low = np.mean(accuracy < 0.9 - rule.margin)
    if held_against_best:
        assert accuracy.min() < 0.9
        assert too_low <= ALPHA
    else:
        assert too_low > 0.95
        assert accuracy.mean() < 0.9 - 2.5 * rule.margin


def keeps_margin(right: Promoted, other_right: Promoted, rule: ChampionRule, use: int) -> Promoted:
    """(repeats,) whether the new model is shown to be less than the margin below the other one."""
    gained, lost = (right & ~other_right).sum(axis=1), (other_right & ~right).sum(axis=1)
    critical = raised(right.shape[1], rule, use, DISCORDANCE_LIMITS[0])
    return np.asarray(tango_statistic(gained, lost, right.shape[1], -rule.margin) > critical)


@pytest.mark.slow
@pytest.mark.parametrize(("items", "discordance"), [(150, 0.05), (400, 0.05)])
def test_the_judgement_itself_makes_every_decision_of_five_thousand_lines(items: int, discordance: float) -> None:
    gained, lost = drawn(items, discordance, 0.01, REPEATS, seed=21)
    rule = ChampionRule(margin=0.01, alpha=ALPHA, test_set_uses=USES)
    known: dict[tuple[int, int, int], bool] = {}
    promoted = np.zeros(gained.shape, dtype=np.bool_)
    for repeat, place in np.ndindex(gained.shape):
        key = int(gained[repeat, place]), int(lost[repeat, place]), place + 1
        if key not in known:
            known[key] = decided(key[0], key[1], items, rule, key[2])
        promoted[repeat, place] = known[key]
    assert family_wise(promoted)[1] <= ALLOWED
    np.testing.assert_array_equal(promoted, promotions(gained, lost, items, 0.01))
