"""Two models on the same items: Tango's score interval, exact McNemar, and what it would take to settle a doubt."""

from __future__ import annotations

import numpy as np

from tasks.intervals import Interval, normal_quantile
from tasks.metrics import BoolVector, FloatVector, IntVector
from tasks.reports import Estimate, PairedCounts

Amounts = float | FloatVector | IntVector
"""Numbers of items, one or an array of them; shapes that broadcast."""

HALVINGS = 50
"""Of the interval of length 2 in which a bound lies: to 2e-15."""

MOST_ITEMS = 10_000_000
"""More test items than anybody labels: what needs more is not settled by labelling."""


def paired_counts(right: BoolVector, champion_right: BoolVector) -> PairedCounts:
    """Test items by who is right.

    Args:
        right: (items,) whether the new model is right.
        champion_right: (items,) likewise for the champion, same items in the same order.
    Raises:
        ValueError: the vectors differ in length.
    """
    if right.shape != champion_right.shape:
        raise ValueError(f"{right.shape} and {champion_right.shape} are not the same items")
    return PairedCounts(
        both=int((right & champion_right).sum()),
        only_challenger=int((right & ~champion_right).sum()),
        only_champion=int((~right & champion_right).sum()),
        neither=int((~right & ~champion_right).sum()),
    )


def accuracy_gain(counts: PairedCounts, confidence: float) -> Estimate:
    """Accuracy of the new model - accuracy of the champion, with Tango's interval; 0 (-1 to 1) without items."""
    low, high = tango_interval(counts, confidence)
    value = (counts.only_challenger - counts.only_champion) / counts.items if counts.items else 0.0
    return Estimate(value=value, low=low, high=high, method="tango")


def tango_interval(counts: PairedCounts, confidence: float) -> Interval:
    """Score interval of the difference of two accuracies on the same items.

    Args:
        confidence: two-sided level in (0, 1).
    Returns:
        (low, high) in [-1, 1] of accuracy - accuracy of the champion; no items give (-1, 1).
    Raises:
        ValueError: confidence outside (0, 1).
    Source: Tango 1998, "Equivalence test and confidence interval for the difference in proportions for the
        paired-sample design", Statistics in Medicine 17, 891-908. Agrees with R's PropCIs scoreci.mp and
        contingencytables Tango_asymptotic_score_CI_paired_2x2.

    >>> counts = PairedCounts(both=59, only_challenger=6, only_champion=16, neither=80)
    >>> tuple(round(bound, 4) for bound in tango_interval(counts, 0.95))
    (-0.124, -0.0054)
    """
    return tango_bounds(counts, normal_quantile(confidence))


def tango_bounds(counts: PairedCounts, critical: float) -> Interval:
    """`tango_interval` with the normal quantile given: the differences whose statistic lies within +-critical."""
    if counts.items == 0:
        return -1.0, 1.0
    gained, lost = counts.only_challenger, counts.only_champion
    low, below = _lower_bounds(np.array([gained, lost]), np.array([lost, gained]), counts.items, critical)
    return float(low), -float(below)


def tango_statistic(gained: Amounts, lost: Amounts, items: Amounts, difference: float | FloatVector) -> FloatVector:
    """Standard normal statistic of a gain above `difference`; large where the gain is.

    Its variance is the one of the most likely rates whose difference is that. The lower bound of `tango_bounds` lies
    above `difference` just where the statistic exceeds the critical value. Without any spread it is infinite, or 0
    where the counts say just that difference.

    Args:
        gained, lost: items that only the new model, only the champion gets right; need not be whole numbers.
        difference: in (-1, 1).
    """
    excess = np.asarray(gained - lost - items * difference, dtype=np.float64)
    deviation = np.sqrt(_variance(gained, lost, items, difference))
    without_spread = np.where(excess == 0, 0.0, np.copysign(np.inf, excess))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(deviation > 0, excess / deviation, without_spread)


def mcnemar_p(counts: PairedCounts) -> float:
    """Exact one-sided p-value of the new model being better: half-half among the items that only one gets right.

    Returns:
        In (0, 1]; 1 where no item differs.
    Source: agrees with scipy.stats.binomtest(gained, gained + lost, alternative="greater").
    """
    from scipy.special import betainc

    gained, lost = counts.only_challenger, counts.only_champion
    return float(betainc(gained, lost + 1, 0.5)) if gained else 1.0


def items_to_settle(counts: PairedCounts, margin: float, alpha: float) -> int | None:
    """About how many more test items would take an undecided comparison to one side or the other.

    The rates seen so far are held fixed; decided is a lower bound above -margin, or an upper bound below 0.

    Args:
        alpha: one-sided level of both bounds, in (0, 0.5).

    Returns:
        0 or more; None where no number of items (up to ten million) decides, as with equal counts and margin 0.
    """
    items = counts.items
    if not items or not _is_settled(counts, MOST_ITEMS, margin, alpha):
        return None
    undecided, decided = 0, MOST_ITEMS
    if items < MOST_ITEMS and not _is_settled(counts, items, margin, alpha):
        undecided = items
    while decided - undecided > 1:
        middle = (undecided + decided) // 2
        if _is_settled(counts, middle, margin, alpha):
            decided = middle
        else:
            undecided = middle
    return max(0, decided - items)


def _is_settled(counts: PairedCounts, items: int, margin: float, alpha: float) -> bool:
    scale = items / counts.items
    gained, lost = counts.only_challenger * scale, counts.only_champion * scale
    critical = normal_quantile(1 - 2 * alpha)
    kept = tango_statistic(gained, lost, items, -margin) > critical
    return bool(kept | (tango_statistic(lost, gained, items, 0.0) > critical))


def _lower_bounds(gained: IntVector, lost: IntVector, items: int, critical: float) -> FloatVector:
    """The least differences whose statistics do not exceed `critical`; a statistic falls with the difference."""
    low, high = np.full(len(gained), -1.0), (gained - lost) / items
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        above = tango_statistic(gained, lost, items, middle) > critical
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return low


def _variance(gained: Amounts, lost: Amounts, items: Amounts, difference: float | FloatVector) -> FloatVector:
    """Of `gained - lost` at the most likely rates with this difference.

    With q the rate of `lost`, that of `gained` is q + difference, and the likelihood's derivative is a quadratic in q
    whose larger root is the maximum within the allowed range.
    """
    linear = np.asarray((2 * items - gained + lost) * difference - (gained + lost), dtype=np.float64)
    constant = lost * difference * (1 - difference)
    root = np.sqrt(np.maximum(linear**2 + 8 * items * constant, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        # The same root twice: the first form loses all digits where the linear term is large and positive.
        rate = np.where(linear > 0, 2 * constant / (linear + root), (root - linear) / (4 * items))
    return np.asarray(np.maximum(items * (2 * rate + difference * (1 - difference)), 0.0))
