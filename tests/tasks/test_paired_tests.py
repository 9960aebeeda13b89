"""Tango's interval against print, R and a direct optimisation; McNemar against scipy; the items that settle a doubt."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import binomtest, norm

from tasks.intervals import normal_quantile
from tasks.paired_tests import (
    accuracy_gain,
    items_to_settle,
    mcnemar_p,
    paired_counts,
    tango_bounds,
    tango_interval,
    tango_statistic,
)
from tasks.reports import PairedCounts


def counts_of(gained: int, lost: int, items: int) -> PairedCounts:
    same = items - gained - lost
    return PairedCounts(both=same - same // 5, only_challenger=gained, only_champion=lost, neither=same // 5)


def optimised_bound(gained: int, lost: int, items: int, critical: float) -> float:
    """Tango's lower bound by maximising the likelihood under each difference, and no closed form."""

    def excess(difference: float) -> float:
        least, most = max(0.0, -difference), (1 - difference) / 2

        def minus_likelihood(rate: float) -> float:
            chances = (rate + difference, rate, 1 - 2 * rate - difference)
            terms = zip((gained, lost, items - gained - lost), chances, strict=True)
            return -sum(count * math.log(max(chance, 1e-300)) for count, chance in terms if count)

        rate = minimize_scalar(minus_likelihood, bounds=(least, most), method="bounded", options={"xatol": 1e-13}).x
        deviation = math.sqrt(max(items * (2 * rate + difference - difference**2), 0.0))
        return float(gained - lost - items * difference - critical * deviation)

    return float(brentq(excess, -1 + 1e-9, (gained - lost) / items, xtol=1e-12))


@pytest.mark.parametrize(
    ("gained", "lost", "items", "confidence", "published"),
    [
        (6, 16, 161, 0.95, (-0.1240, -0.0054)),  # Cavo 2012, by R's contingencytables
        (1, 7, 21, 0.95, (-0.517, -0.026)),  # Bentur 2009, in Fagerland, Lydersen and Laake 2014
        (28, 25, 618, 0.90, (-0.0148, 0.0247)),  # by R's PropCIs scoreci.mp
    ],
)
def test_tango_agrees_with_published_examples(
    gained: int, lost: int, items: int, confidence: float, published: tuple[float, float]
) -> None:
    found = tango_interval(counts_of(gained, lost, items), confidence)
    digits = max(len(str(bound).partition(".")[2]) for bound in published)
    assert found == pytest.approx(published, abs=0.51 * 10**-digits)


@pytest.mark.parametrize(
    ("gained", "lost", "items"), [(6, 16, 161), (1, 7, 21), (12, 3, 150), (0, 3, 40), (5, 0, 400), (260, 190, 2000)]
)
@pytest.mark.parametrize("level", [0.1, 0.0139, 0.0007])
def test_tango_agrees_with_a_direct_optimisation(gained: int, lost: int, items: int, level: float) -> None:
    low, high = tango_interval(counts_of(gained, lost, items), 1 - 2 * level)
    critical = norm.isf(level)
    assert low == pytest.approx(optimised_bound(gained, lost, items, critical), abs=1e-7)
    assert high == pytest.approx(-optimised_bound(lost, gained, items, critical), abs=1e-7)


@pytest.mark.parametrize(("items", "confidence"), [(1, 0.95), (50, 0.95), (2000, 0.999)])
def test_two_models_that_never_differ_may_still_differ_on_other_items(items: int, confidence: float) -> None:
    square = normal_quantile(confidence) ** 2
    width = square / (items + square)
    assert tango_interval(counts_of(0, 0, items), confidence) == pytest.approx((-width, width), abs=1e-12)


def test_no_items_say_nothing() -> None:
    assert tango_interval(counts_of(0, 0, 0), 0.95) == (-1.0, 1.0)
    assert accuracy_gain(counts_of(0, 0, 0), 0.95).value == 0.0


def test_a_gain_on_every_item_keeps_its_bounds_in_range() -> None:
    low, high = tango_interval(counts_of(50, 0, 50), 0.95)
    assert 0.8 < low < 1
    assert high == 1.0
    assert tango_interval(counts_of(0, 50, 50), 0.95) == (-1.0, -low)


def test_an_impossible_confidence_is_refused() -> None:
    with pytest.raises(ValueError, match="not within"):
        tango_interval(counts_of(1, 2, 30), 1.0)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 2000), st.floats(0.5, 4.0))
@settings(max_examples=60, deadline=None)
def test_the_bounds_hold_the_difference_are_mirrored_and_widen_with_the_level(
    gained: int, lost: int, same: int, critical: float
) -> None:
    counts = counts_of(gained, lost, gained + lost + same + 1)
    low, high = tango_bounds(counts, critical)
    assert -1 <= low <= (gained - lost) / counts.items <= high <= 1
    assert tango_bounds(counts_of(lost, gained, counts.items), critical) == (-high, -low)
    wider = tango_bounds(counts, critical + 0.3)
    assert wider[0] <= low
    assert wider[1] >= high


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 600), st.floats(0, 0.1), st.floats(0.5, 3.5))
@settings(max_examples=100, deadline=None)
def test_the_lower_bound_lies_above_a_difference_just_where_the_statistic_exceeds_the_critical_value(
    gained: int, lost: int, same: int, margin: float, critical: float
) -> None:
    counts = counts_of(gained, lost, gained + lost + same)
    statistic = float(tango_statistic(gained, lost, counts.items, -margin))
    if abs(statistic - critical) > 1e-6:
        assert (tango_bounds(counts, critical)[0] > -margin) == (statistic > critical)


def test_at_no_difference_the_statistic_is_that_of_mcnemar() -> None:
    gained, lost = np.array([12, 3, 40, 7]), np.array([3, 12, 40, 0])
    np.testing.assert_allclose(tango_statistic(gained, lost, 150, 0.0), (gained - lost) / np.sqrt(gained + lost))


def test_without_any_spread_the_statistic_is_infinite_or_nothing() -> None:
    assert float(tango_statistic(0, 0, 150, 0.0)) == 0.0
    assert float(tango_statistic(5, 0, 5, 1.0)) == 0.0


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (0, 9), (9, 0), (12, 3), (3, 12), (1, 1), (230, 170)])
def test_mcnemar_agrees_with_scipy(gained: int, lost: int) -> None:
    expected = binomtest(gained, gained + lost, alternative="greater").pvalue if gained + lost else 1.0
    assert mcnemar_p(counts_of(gained, lost, 500)) == pytest.approx(expected, rel=1e-10)


def test_items_are_counted_by_who_is_right() -> None:
    right = np.array([True, True, False, False, True])
    champion = np.array([True, False, True, False, False])
    expected = PairedCounts(both=1, only_challenger=2, only_champion=1, neither=1)
    assert paired_counts(right, champion) == expected
    gain = accuracy_gain(expected, 0.95)
    assert gain.value == pytest.approx(right.mean() - champion.mean())
    assert gain.method == "tango"
    with pytest.raises(ValueError, match="not the same items"):
        paired_counts(right, champion[:4])


@pytest.mark.parametrize(("gained", "lost", "items"), [(6, 3, 150), (10, 14, 400), (0, 0, 150), (61, 70, 2000)])
@pytest.mark.parametrize("level", [0.0139, 0.0007])
def test_so_many_more_items_settle_a_doubt_and_one_tenth_fewer_do_not(
    gained: int, lost: int, items: int, level: float
) -> None:
    more = items_to_settle(counts_of(gained, lost, items), 0.01, level)
    assert more is not None
    assert more > 0

    def settled(total: float) -> bool:
        scale, critical = total / items, norm.isf(level)
        equal = tango_statistic(gained * scale, lost * scale, total, -0.01) > critical
        return bool(equal or tango_statistic(lost * scale, gained * scale, total, 0.0) > critical)

    assert settled(items + more)
    assert not settled(items + 0.9 * more)


def test_what_is_settled_needs_no_more_items() -> None:
    assert items_to_settle(counts_of(30, 3, 150), 0.01, 0.01) == 0


@pytest.mark.parametrize(
    ("gained", "lost", "items", "margin"),
    [(4, 4, 150, 0.0), (0, 0, 150, 0.0), (0, 0, 0, 0.01), (1000, 1000, 9000, 1e-5)],
)
def test_nothing_settles_a_tie_without_a_margin(gained: int, lost: int, items: int, margin: float) -> None:
    assert items_to_settle(counts_of(gained, lost, items), margin, 0.01) is None


def test_a_loss_of_just_the_margin_is_settled_as_a_loss() -> None:
    more = items_to_settle(counts_of(8, 12, 400), 0.01, 0.0139)
    assert more is not None
    scale = (400 + more) / 400
    assert float(tango_statistic(12 * scale, 8 * scale, 400 * scale, 0.0)) > norm.isf(0.0139)
