"""An outcome that params.yaml refuses to publish, as a broken rule of the gate."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.params import ChampionRule
from tasks.reports import ChampionVerdict, PairedComparison, RuleVerdict
from tasks.reports.verdict import LimitIs

Bound = tuple[float | None, float, str, LimitIs]
"""What was judged, the limit that it broke, on what it was judged, and whether the limit is a minimum or a maximum."""


def broken_rule(
    champion: ChampionVerdict, comparisons: Sequence[PairedComparison], rule: ChampionRule
) -> RuleVerdict | None:
    """The broken rule, with the figure that broke it; None where the outcome may be published."""
    if champion.outcome not in rule.refuse:
        return None
    pair = next((pair for pair in comparisons if pair.against == "champion"), None)
    value, limit, judged_on, limit_is = _broken_bound(champion, pair, rule)
    margin = None if value is None else value - limit if limit_is == "minimum" else limit - value
    return RuleVerdict(
        rule="champion",
        value=value,
        limit=limit,
        margin=margin,
        judged_on=judged_on,
        passed=False,
        reason=f"{' '.join(champion.reasons[:1])} (params.yaml: gate.champion.refuse)",
        limit_is=limit_is,
    )


def _broken_bound(champion: ChampionVerdict, pair: PairedComparison | None, rule: ChampionRule) -> Bound:
    macro_f1 = pair.macro_f1_gain if pair else None
    if champion.outcome == "worse" and macro_f1 is not None and macro_f1.high < -rule.margin:
        return macro_f1.high, -rule.margin, "upper_bound", "minimum"
    if champion.outcome == "worse":
        return champion.upper, 0.0, "upper_bound", "minimum"
    if champion.outcome == "inconclusive" and champion.use > rule.test_set_uses:
        return float(champion.use), float(rule.test_set_uses), "count", "maximum"
    return champion.lower, -rule.margin if champion.outcome == "inconclusive" else 0.0, "lower_bound", "minimum"
