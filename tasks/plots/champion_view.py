"""The comparison with the model in production, as the model page and a run's artifacts show it."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.champion_judgement import decision_bounds
from tasks.params import ChampionRule
from tasks.params.champion import Outcome
from tasks.plots.charts import Chart
from tasks.plots.margin_chart import GainRow, margin_chart
from tasks.plots.number_text import count_text, ratio_text, signed_interval_text, signed_text, strength_text
from tasks.reports import ChampionVerdict, Estimate, EvaluationReport, PairedComparison, PairedCounts

NOTHING_YET = "Nothing is in production yet, so there is no champion to compare with."
TONES: dict[Outcome, str] = {
    "first": "plain",
    "better": "good",
    "equivalent": "good",
    "inconclusive": "warn",
    "incomparable": "warn",
    "worse": "bad",
    "unchanged": "plain",
}
"""Of the outcome's badge, a class of the style sheet."""
HEADLINES: dict[Outcome, str] = {
    "first": "Nothing is in production yet",
    "better": "This model is better than {version}, which is in production",
    "equivalent": "This model is as good as {version}, which is in production, give or take the margin",
    "inconclusive": "Whether this model is better or worse than {version}, which is in production, stays open",
    "incomparable": "This model cannot be compared with {version}, which is in production",
    "worse": "This model is worse than {version}, which is in production",
    "unchanged": "This is the very model that is in production as {version}",
}


@dataclass(frozen=True)
class FigureRow:
    """One figure of both models and the difference with its interval, as text."""

    name: str
    ours: str
    theirs: str
    gain: str
    interval: str


@dataclass(frozen=True)
class Duel:
    """The new model against one release; `named` says which role it has."""

    named: str
    version: int
    counts: PairedCounts
    figures: list[FigureRow]
    mcnemar: str


@dataclass(frozen=True)
class ChampionView:
    """`says` is the outcome in a sentence, `more` what it rests on; no chart where nothing was measured."""

    outcome: str
    tone: str
    says: str
    more: list[str]
    level: str
    duels: list[Duel]
    chart: Chart | None
    margin: str


def champion_view(
    evaluation: EvaluationReport, champion: ChampionVerdict | None, rule: ChampionRule
) -> ChampionView | None:
    """None where no champion was pinned, or by a verdict of an earlier Graft."""
    if champion is None or champion.outcome == "first":
        return None
    measured = [pair for pair in evaluation.comparisons if pair.gain is not None]
    rows = [
        GainRow(f"over {_release(pair)}", pair.gain, _bounds(pair, champion, rule))
        for pair in measured
        if pair.gain is not None
    ]
    return ChampionView(
        outcome=champion.outcome.capitalize(),
        tone=TONES[champion.outcome],
        says=headline(champion),
        more=[f"{reason[:1].upper()}{reason[1:]}." for reason in champion.reasons],
        level=_level(champion, rule),
        duels=[_duel(evaluation, pair, pair.counts) for pair in measured if pair.counts is not None],
        chart=margin_chart("Accuracy gained, paired on the same items", rows, rule.margin) if rows else None,
        margin=strength_text(rule.margin),
    )


def headline(champion: ChampionVerdict) -> str:
    """The outcome in one sentence, and whether the model may take over."""
    text = HEADLINES[champion.outcome].format(version=f"v{champion.version}")
    may = {True: "; it may be promoted", False: "; it may not be promoted"}
    return f"{text}{may[champion.promotable] if champion.outcome in ('better', 'equivalent') else ''}."


def _release(pair: PairedComparison) -> str:
    return f"v{pair.version}, in production" if pair.against == "champion" else f"v{pair.version}, best so far"


def _bounds(pair: PairedComparison, champion: ChampionVerdict, rule: ChampionRule) -> tuple[float, float] | None:
    """The bounds that decided: of the champion as the verdict has them, of the best at the same level."""
    if champion.alpha is None or champion.lower is None or champion.upper is None:
        return None
    if pair.against == "champion" or pair.counts is None:
        return champion.lower, champion.upper
    return decision_bounds(pair.counts, rule, champion.alpha)


def _level(champion: ChampionVerdict, rule: ChampionRule) -> str:
    """Which use of the test set this is, and what level it left to the decision."""
    use = f"model {count_text(champion.use)} of {count_text(rule.test_set_uses)} that this test set may judge"
    if champion.alpha is None:
        return f"It is {use}."
    return f"It is {use}; this decision is taken at a one-sided level of {champion.alpha:.2g}."


def _duel(evaluation: EvaluationReport, pair: PairedComparison, counts: PairedCounts) -> Duel:
    figures = (
        ("Accuracy", evaluation.accuracy, pair.accuracy, pair.gain),
        ("Macro-F1", evaluation.macro_f1, pair.macro_f1, pair.macro_f1_gain),
    )
    return Duel(
        named=_release(pair),
        version=pair.version,
        counts=counts,
        figures=[_figure(*figure) for figure in figures],
        mcnemar="" if pair.mcnemar_p is None else _p_text(pair.mcnemar_p),
    )


def _figure(name: str, ours: Estimate, theirs: float | None, gain: Estimate | None) -> FigureRow:
    return FigureRow(
        name=name,
        ours=ratio_text(ours.value),
        theirs="" if theirs is None else ratio_text(theirs),
        gain="" if gain is None else signed_text(gain.value),
        interval="" if gain is None else signed_interval_text(gain),
    )


def _p_text(value: float) -> str:
    """A p-value with two digits that count.

    >>> _p_text(0.0312), _p_text(0.00002), _p_text(1.0)
    ('0.031', 'under 0.0001', '1')
    """
    return "under 0.0001" if value < 1e-4 else f"{value:.2g}"
