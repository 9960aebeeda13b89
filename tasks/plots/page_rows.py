"""Rows of the report's tables, worded and ordered for the reader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from tasks.params import Params
from tasks.plots.number_text import count_text, ratio_text, signed_count_text, signed_text, telling_digits
from tasks.reports import (
    AdaptationReport,
    ClassScore,
    EvaluationReport,
    RuleVerdict,
    Side,
    SplitReport,
    ValidationReport,
    Verdict,
)

JUDGED_ON = {
    "point": "the value",
    "lower_bound": "lower bound of the interval",
    "upper_bound": "upper bound of the interval",
    "count": "the count",
}

SHOWN = ("validate", "backbone.name", "backbone.preprocess", "split", "adapt", "evaluate", "gate", "export.name")
"""Params that the page shows: those that shape the result. Where data and weights lie is the machine's affair, and
what they hold is named by digests, so two checkouts at different paths give the same page."""


@dataclass(frozen=True)
class RuleRow:
    """One rule of the gate, as text."""

    name: str
    value: str
    limit: str
    margin: str
    judged_on: str
    passed: bool
    reason: str


def rule_row(rule: RuleVerdict) -> RuleRow:
    """A rule with as many digits as it takes to tell its value from its limit; a count of items has none."""
    counted = rule.judged_on == "count"
    digits = telling_digits(rule.limit if rule.value is None else rule.value, rule.limit)

    def write(value: float) -> str:
        return count_text(value) if counted else ratio_text(value, digits)

    def write_margin(value: float) -> str:
        return signed_count_text(value) if counted else signed_text(value, digits)

    return RuleRow(
        name=rule.rule,
        value="not available" if rule.value is None else write(rule.value),
        limit=f"at most {write(rule.limit)}" if rule.limit_is == "maximum" else write(rule.limit),
        margin="none" if rule.margin is None else write_margin(rule.margin),
        judged_on=JUDGED_ON.get(rule.judged_on, rule.judged_on.replace("_", " ")),
        passed=rule.passed,
        reason=rule.reason,
    )


def headline(verdict: Verdict) -> str:
    """The verdict in one sentence."""
    rules, broken = len(verdict.rules), sum(not rule.passed for rule in verdict.rules)
    if verdict.passed:
        return "The gate's only rule holds." if rules == 1 else f"All {rules} rules of the gate hold."
    which = "The gate's only rule is" if rules == 1 else f"{broken} of the gate's {rules} rules {is_or_are(broken)}"
    return f"{which} broken; this model may not be exported."


def is_or_are(count: int) -> str:
    """The verb that goes with a count."""
    return "is" if count == 1 else "are"


def classes_by_recall(report: EvaluationReport) -> list[ClassScore]:
    """Classes, lowest recall first; ties by F1, then by label."""
    return sorted(report.per_class, key=lambda score: (score.recall, score.f1, score.label))


@dataclass(frozen=True)
class SideRow:
    """Items of one class, or of all, on each side of the split."""

    label: str
    per_side: list[int]
    accepted: int


def used_sides(split: SplitReport) -> list[Side]:
    """Train, validation and test, and left_out where there is any."""
    sides: list[Side] = ["train", "validation", "test"]
    return [*sides, "left_out"] if sum(split.counts.get("left_out", {}).values()) else sides


def side_rows(validation: ValidationReport, split: SplitReport) -> list[SideRow]:
    """A row for all classes, then one for each."""
    sides = used_sides(split)
    total = [sum(split.counts.get(side, {}).values()) for side in sides]
    rows = [
        SideRow(label, [split.counts.get(side, {}).get(label, 0) for side in sides], items)
        for label, items in validation.items_per_label.items()
    ]
    return [SideRow("all classes", total, validation.accepted), *rows]


@dataclass(frozen=True)
class Listing:
    """Files to name, with what there is to say of each; `source` is where all of them stand."""

    title: str
    rows: list[tuple[str, str]]
    source: str


def listings(validation: ValidationReport, split: SplitReport) -> list[Listing]:
    """The files that the reader may want to look at, the gravest first."""
    pairs = [
        (pair.first, f"{pair.second} ({pair.hamming} bits apart, cosine {pair.cosine:.3f})")
        for pair in split.near_duplicates
    ]
    leaks = [
        (f"{leak.first} ({leak.first_side})", f"{leak.second} ({leak.second_side}): {leak.reason}")
        for leak in split.leaks
    ]
    chains = [
        (
            chain.first,
            f"and {chain.items - 1} more, over the cap of {chain.cap}; "
            f"tightened to {chain.max_hamming} bits and cosine {chain.min_cosine:.3f}",
        )
        for chain in split.tightened
    ]
    left_out = [(item.path, item.reason) for item in split.left_out]
    quarantined = [(item.path, item.reason) for item in validation.quarantined]
    return [
        Listing("Leaks between sides", leaks, "reports/split.json"),
        Listing("Quarantined", quarantined, "reports/validation.json"),
        Listing("Left out of the split", left_out, "reports/split.json"),
        Listing("Near-duplicates", pairs, "reports/split.json"),
        Listing("Chains of near-duplicates that were cut", chains, "reports/split.json"),
        Listing("Ignored files", [(name, "") for name in validation.ignored_files], "reports/validation.json"),
    ]


@dataclass(frozen=True)
class Setting:
    """One parameter beside its default."""

    key: str
    value: str
    default: str

    @property
    def changed(self) -> bool:
        return self.value != self.default


def settings(params: Params) -> list[Setting]:
    """The parameters that shape the result; of a path outside the workspace only the last name.

    Settings of another method than the default one stand beside that method's own defaults.
    """
    defaults = dict(_leaves(Params().model_dump(mode="json", by_alias=True)))
    of_method = dict(_leaves(type(params.adapt.method)().model_dump(mode="json"), "adapt.method."))
    defaults = defaults | of_method | {"adapt.method.name": defaults["adapt.method.name"]}
    return [
        Setting(key, _value_text(value), _value_text(defaults.get(key)))
        for key, value in _leaves(params.model_dump(mode="json", by_alias=True))
        if any(f"{key}.".startswith(f"{shown}.") for shown in SHOWN)
    ]


def _leaves(tree: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _value_text(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(str(part) for part in value) or "none"
    return local_name(value) if isinstance(value, str) else str(value)


def local_name(path: str) -> str:
    """A path without the machine it lies on: relative ones whole, of others the last name.

    >>> local_name("/home/ada/photos"), local_name("data/sample")
    ('photos', 'data/sample')
    """
    pure = PurePath(path)
    return pure.name if pure.is_absolute() or path.startswith(("~", "..")) else path


def digests(verdict: Verdict, adaptation: AdaptationReport) -> list[tuple[str, str]]:
    """What the page rests on, by name."""
    judged = verdict.digests.model_dump()
    named = [(name.replace("_", " "), digest) for name, digest in judged.items() if digest]
    return [*named, ("backbone graph", adaptation.graph_sha256), ("engine", adaptation.engine_sha256)]
