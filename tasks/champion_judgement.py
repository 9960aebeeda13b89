"""Is the new model better than the one in production? The rule; its words are in champion_reasons."""

from __future__ import annotations

from collections.abc import Sequence

from tasks import champion_reasons
from tasks.alpha_spending import level_of_use
from tasks.exact_size import critical_value, discordance_limit
from tasks.intervals import Interval
from tasks.paired_tests import items_to_settle, tango_bounds
from tasks.params import ChampionRule
from tasks.params.champion import Outcome
from tasks.reports import ChampionVerdict, PairedComparison, PairedCounts


def judge_champion(
    comparisons: Sequence[PairedComparison], rule: ChampionRule, use: int, promote_equivalent: bool
) -> ChampionVerdict:
    """Judge a new model against the champion and against the most accurate version that was ever promoted.

    Both are judged by `outcome_of` at the level that earlier uses of the test set leave. Promotable is a first or
    better model, an equivalent one where the params say so, if it is not worse than the best by the margin or more.

    Args:
        comparisons: with the pinned releases; none with the champion: nothing is in production.
        use: place of this decision among those of the test set, from 1 on.
        promote_equivalent: promotion.equivalent of params.yaml.
    Raises:
        ValueError: use is below 1.
    """
    champion = next((each for each in comparisons if each.against == "champion"), None)
    best = next((each for each in comparisons if each.against == "best"), None)
    if champion is None:
        held, reasons = _against_best(best, rule, use)
        return ChampionVerdict(
            outcome="first", promotable=held, use=use, reasons=["no model is in production: the first", *reasons]
        )
    level = level_of(rule, use)
    bounds = _bounds_of(champion, rule, level)
    outcome = outcome_of(champion, bounds, rule, use)
    more = None
    if outcome == "inconclusive" and champion.counts and use < rule.test_set_uses:
        more = items_to_settle(champion.counts, rule.margin, level_of(rule, use + 1))  # New items are a later use.
    reasons = [champion_reasons.of_outcome(champion, outcome, bounds, level, rule)]
    promotable = outcome == "better" or (outcome == "equivalent" and promote_equivalent)
    if promotable:
        promotable, of_best = _against_best(best, rule, use)
        reasons += of_best
    return ChampionVerdict(
        outcome=outcome,
        promotable=promotable,
        champion=champion.manifest_sha256,
        version=champion.version,
        use=use,
        alpha=level if bounds else None,
        lower=bounds[0] if bounds else None,
        upper=bounds[1] if bounds else None,
        items_to_settle=more,
        reasons=reasons + champion_reasons.advice(outcome, promote_equivalent, more, bounds is not None, use, rule),
    )


def still_promotable(
    comparisons: Sequence[PairedComparison], rule: ChampionRule, use: int, promote_equivalent: bool
) -> tuple[bool, list[str]]:
    """Whether a version that was judged before would be published and promotable by another rule, as today's.

    Who asks this as well as the verdict by the rule of then gains nothing from a rule that was loosened since.

    Args:
        comparisons: of the version's evaluation.
        rule: gate.champion of params.yaml as it is now.
        use: the place at which the version was judged; judging it again takes no new one.
        promote_equivalent: promotion.equivalent of params.yaml as it is now.
    Returns:
        the answer, and the sentences of the verdict by this rule.
    Raises:
        ValueError: use is below 1.
    """
    verdict = judge_champion(comparisons, rule, use, promote_equivalent)
    if verdict.outcome in rule.refuse:
        return False, [*verdict.reasons, f"{verdict.outcome} is not published (params.yaml: gate.champion.refuse)"]
    return verdict.promotable, verdict.reasons


def outcome_of(comparison: PairedComparison, bounds: Interval | None, rule: ChampionRule, use: int) -> Outcome:
    """What the figures say of the new model; with its `decision_bounds` at the level of this use:

    better: lower bound above 0; equivalent: lower bound above -margin; worse: upper bound below 0, or the interval of
    macro-F1 wholly below -margin whatever the accuracy; inconclusive: none of these. After its last use a test set
    shows no model to be better or equivalent any more; a loss it still shows, at its last level.
    """
    if comparison.unchanged:
        return "unchanged"
    if bounds is None:
        return "incomparable"
    low, high = bounds
    if comparison.macro_f1_gain is not None and comparison.macro_f1_gain.high < -rule.margin:
        return "worse"
    if low > -rule.margin:
        if use > rule.test_set_uses:
            return "inconclusive"
        return "better" if low > 0 else "equivalent"
    return "worse" if high < 0 else "inconclusive"


def level_of(rule: ChampionRule, use: int) -> float:
    """One-sided level of a test set's `use`-th decision; after the last use, that of the last."""
    return level_of_use(min(use, rule.test_set_uses), rule.test_set_uses, rule.alpha)


def decision_bounds(counts: PairedCounts, rule: ChampionRule, level: float) -> Interval:
    """Tango's bounds of the accuracy gained, which err with probability `level` at most, each on its side.

    The critical value is the normal quantile, raised where the exact error rate at the differences that are decided
    on, 0 and -margin, asks for more.

    Args:
        level: one-sided, in (0, 0.5).
    """
    most = discordance_limit(counts.only_challenger + counts.only_champion, counts.items)
    return tango_bounds(counts, max(critical_value(counts.items, limit, level, most) for limit in (rule.margin, 0.0)))


def _bounds_of(comparison: PairedComparison, rule: ChampionRule, level: float) -> Interval | None:
    counts = comparison.counts
    if comparison.unchanged or comparison.incomparable or counts is None or not counts.items:
        return None
    return decision_bounds(counts, rule, level)


def _against_best(best: PairedComparison | None, rule: ChampionRule, use: int) -> tuple[bool, list[str]]:
    """Whether the best version ever promoted stands in the way, and why; an incomparable one does not.

    Each promotion may lose almost the margin; without this, a line of them would walk downhill.
    """
    if best is None:
        return True, []
    level = level_of(rule, use)
    bounds = _bounds_of(best, rule, level)
    held = outcome_of(best, bounds, rule, use) not in ("worse", "inconclusive")
    return held, [champion_reasons.of_best(best, held, bounds, level, rule)]
