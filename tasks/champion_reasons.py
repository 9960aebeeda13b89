"""The verdict on a new model in sentences for people."""

from __future__ import annotations

from tasks.alpha_spending import warning_use
from tasks.errors import counted
from tasks.intervals import Interval
from tasks.params import ChampionRule
from tasks.params.champion import Outcome
from tasks.reports import PairedComparison, PairedCounts

USES = "params.yaml: gate.champion.test_set_uses"
MARGIN = "params.yaml: gate.champion.margin"
SHARE = "params.yaml: split.test_share"


def of_outcome(
    comparison: PairedComparison, outcome: Outcome, bounds: Interval | None, level: float, rule: ChampionRule
) -> str:
    """The outcome with the figures it rests on, such as
    `accuracy gained +0.060 over v3 (lower bound +0.011 at level 0.014, 12 : 3 of 150 items): better`.
    """
    version = f"v{comparison.version}"
    if outcome == "unchanged":
        return f"the same model as {version}: unchanged"
    counts = comparison.counts
    if bounds is None or counts is None:
        return f"cannot be compared with {version}: {comparison.incomparable or 'there are no test items'}"
    (low, high), gain = bounds, comparison.macro_f1_gain
    by_accuracy = high < 0 and low <= -rule.margin
    if outcome == "worse" and not by_accuracy and gain is not None:
        span = f"{_signed(gain.low)} to {_signed(gain.high, -rule.margin)}"
        return (
            f"macro-F1 {_signed(gain.value)} against {version} ({span}), all below -{rule.margin:g}: worse ({MARGIN})"
        )
    shown = {
        "better": f"lower bound {_signed(low, 0)}",
        "equivalent": f"lower bound {_signed(low, -rule.margin)}",
        "worse": f"upper bound {_signed(high, 0)}",
    }.get(outcome, f"bounds {_signed(low, -rule.margin, 0)} and {_signed(high, 0)}")
    key = "" if outcome == "better" else f", margin {rule.margin:g} ({MARGIN})"
    return f"{_seen(counts, version)} ({shown} at level {level:.2g}, {_items(counts)}): {outcome}{key}"


def of_best(best: PairedComparison, held: bool, bounds: Interval | None, level: float, rule: ChampionRule) -> str:
    """How the new model stands to the most accurate version that was ever promoted."""
    name = f"v{best.version}, the most accurate version that was ever promoted"
    if best.unchanged:
        return f"the same model as {name}"
    counts = best.counts
    if bounds is None or counts is None:
        return f"not held against {name}: {best.incomparable or 'there are no test items'}"
    gain = best.macro_f1_gain
    if not held and gain is not None and gain.high < -rule.margin:
        return f"macro-F1 {_signed(gain.value)} against {name} (at most {_signed(gain.high)}): not promoted ({MARGIN})"
    bound = f"lower bound {_signed(bounds[0], -rule.margin)} at level {level:.2g}, {_items(counts)}"
    end = (
        f"not more than {rule.margin:g} below it" if held else f"may be {rule.margin:g} or more below it: not promoted"
    )
    return f"{_seen(counts, name)} ({bound}): {end} ({MARGIN})"


def advice(
    outcome: Outcome, promote_equivalent: bool, more: int | None, comparable: bool, use: int, rule: ChampionRule
) -> list[str]:
    """What would help: more items, another param, a fresh test set."""
    said = []
    if outcome == "equivalent" and not promote_equivalent:
        said.append("an equivalent model is not promoted (params.yaml: promotion.equivalent)")
    if not comparable:
        return said
    uses = rule.test_set_uses
    if use > uses:
        said.append(
            f"this test set has judged {counted(uses, 'time')} and shows no further model to be better: "
            f"label fresh test items ({USES})"
        )
    elif use == uses:
        said.append(
            f"judgement {use} of {uses} on this test set, the last that can show a model to be better: "
            f"label fresh test items ({USES})"
        )
    elif outcome == "inconclusive":
        said.append(_wanted(more))
    if warning_use(uses) <= use < uses:
        said.append(f"judgement {use} of {uses} on this test set: label fresh test items in time ({USES})")
    return said


def _wanted(more: int | None) -> str:
    """What an inconclusive comparison would need at the next, stricter use of the test set."""
    if more is None:
        return "no number of test items would settle it at these rates"
    return (
        f"about {counted(more, 'more test item')} would settle it at these rates when it is judged next; of newly "
        f"labelled items only a share becomes test items ({SHARE})"
    )


def _seen(counts: PairedCounts, name: str) -> str:
    gained = (counts.only_challenger - counts.only_champion) / counts.items
    return f"accuracy gained {_signed(gained, 0) if gained else '+0.000'} over {name}"


def _items(counts: PairedCounts) -> str:
    """Items that only the new model and only the other one gets right."""
    return f"{counts.only_challenger} : {counts.only_champion} of {counted(counts.items, 'item')}"


def _signed(value: float, *limits: float) -> str:
    """With its sign and decimals, at least three, that show on which side of the limits it lies.

    >>> _signed(0.0214), _signed(0.0), _signed(-0.0001, 0), _signed(-0.01004, -0.01)
    ('+0.021', '0.000', '-0.0001', '-0.01004')
    """
    for digits in range(3, 9):
        if all(value == limit or round(value, digits) != round(limit, digits) for limit in limits):
            break
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text
