"""How often a decision by Tango's statistic errs, exactly, and the critical value that keeps it to its level."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tasks.intervals import normal_quantile, wilson_interval
from tasks.metrics import FloatVector, IntVector
from tasks.paired_tests import tango_statistic

DISCORDANCES = 64
"""Shares of differing items that are looked at; the true one is not known."""

DISCORDANCE_LIMITS = (0.5, 0.75, 1.0)
"""Greatest shares of differing items that are reckoned with, so that a critical value serves many comparisons."""

CERTAIN = 1 - 1e-6
"""Confidence that the true share of differing items lies below the limit."""

FAR = 9.0
"""Standard deviations beyond which a count is left out: 1e-18 of the probability."""

STEPS = 12
"""Halvings of the way from the normal quantile to twice of it: to three ten-thousandths of the quantile."""


def error_rates(items: int, margin: float, critical: float, discordances: FloatVector) -> FloatVector:
    """Chance that a model which is worse by just the margin is taken for one that is not.

    Args:
        items: test items.
        critical: what Tango's statistic at a difference of -margin must exceed.
        discordances: true shares of items that only one of the two models gets right, in [margin, 1].
    Returns:
        As many probabilities: the exact sum over all counts whose statistic exceeds the critical value.
    """
    most = float(discordances.max(initial=margin))
    lost = np.arange(_window(items, (most + margin) / 2)[1] + 1)
    needed = _least_gained(items, lost, margin, critical)
    return np.array([_error_rate(items, lost, needed, margin, float(share)) for share in discordances])


def discordance_limit(differing: int, items: int) -> float:
    """Which of the limits the true share of differing items does not exceed, with near certainty.

    >>> discordance_limit(15, 150), discordance_limit(60, 150), discordance_limit(5, 8)
    (0.5, 0.75, 1.0)
    """
    upper = wilson_interval(differing, items, CERTAIN)[1]
    return next((limit for limit in DISCORDANCE_LIMITS if upper <= limit), 1.0)


@lru_cache(maxsize=4096)
def critical_value(items: int, margin: float, level: float, most_discordance: float) -> float:
    """The normal quantile, or what more it takes for an error rate of at most `level` at every discordance.

    Tango's statistic is normal only for many items; where few differ and the level is loose it can err too often.
    Level for level as used in the corridor the quantile nearly always suffices (docs/decisions/0023).

    Args:
        margin: the loss that is still allowed, in [0, 1).
        level: one-sided, in (0, 0.5).
        most_discordance: greatest true share of differing items that is reckoned with (`discordance_limit`).
    Source: an exact unconditional test with Tango's statistic, its nuisance parameter confined to a confidence
        interval as in Berger and Boos 1994, Journal of the American Statistical Association 89, 1012-1016.
    """
    quantile = normal_quantile(1 - 2 * level)
    shares = margin + (max(most_discordance, margin) - margin) * np.linspace(0, 1, DISCORDANCES) ** 2
    if error_rates(items, margin, quantile, shares).max() <= level:
        return quantile
    low, high = quantile, 2 * quantile + 1
    for _ in range(STEPS):
        middle = (low + high) / 2
        if error_rates(items, margin, middle, shares).max() <= level:
            high = middle
        else:
            low = middle
    return high


def _error_rate(items: int, lost: IntVector, needed: IntVector, margin: float, discordance: float) -> float:
    from scipy.special import betainc, gammaln, xlog1py, xlogy

    rate = (discordance + margin) / 2
    low, high = _window(items, rate)
    lost, needed = lost[low : high + 1], needed[low : high + 1]
    others = items - lost
    log_chance = (
        gammaln(items + 1) - gammaln(lost + 1) - gammaln(others + 1) + xlogy(lost, rate) + xlog1py(others, -rate)
    )
    of_others = min(1.0, max(0.0, (discordance - margin) / 2) / (1 - rate)) if rate < 1 else 0.0
    reached = np.where(needed > 0, betainc(np.maximum(needed, 1), np.maximum(others - needed + 1, 1), of_others), 1.0)
    return float((np.exp(log_chance) * np.where(needed > others, 0.0, reached)).sum())


def _least_gained(items: int, lost: IntVector, margin: float, critical: float) -> IntVector:
    """For each count of lost items, how many gained ones it takes; items + 1 where no number does."""
    short, enough = np.full(len(lost), -1), np.full(len(lost), items + 1)
    while (enough - short > 1).any():
        middle = (short + enough) // 2
        # Counts beyond the number of items never come up; the statistic still rises with the gained ones there.
        held = tango_statistic(np.maximum(middle, 0), lost, items, -margin) > critical
        held = (held | (middle > items - lost)) & (middle >= 0)
        open_ = enough - short > 1
        enough = np.where(open_ & held, middle, enough)
        short = np.where(open_ & ~held, middle, short)
    return np.where(enough > items - lost, items + 1, enough)


def _window(items: int, rate: float) -> tuple[int, int]:
    """Least and greatest binomial count that is worth a look."""
    spread = FAR * np.sqrt(items * rate * (1 - rate)) + FAR
    return max(0, int(items * rate - spread)), min(items, int(items * rate + spread) + 1)
