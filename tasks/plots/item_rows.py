"""Files of the data page: what was quarantined, grouped by the rule it broke, and what warnings name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from tasks.plots.mends import CONFLICT, FAULTS, MENDS, REVIEW_TELLS, TITLES
from tasks.plots.thumbnails import Wanted
from tasks.reports import FailingItem, RuleResult, ValidationReport

MOST_CARDS = 24
MOST_ROWS = 40


@dataclass(frozen=True)
class Fact:
    """What the item table says of one file; `drawable` where the door could decode it."""

    label: str | None
    sha256: str | None
    drawable: bool


@dataclass(frozen=True)
class ItemRow:
    """One file with what is to be said of it; `copies` are files of the same content, of which it is the first."""

    path: str
    label: str | None
    note: str
    copies: tuple[ItemRow, ...] = ()


@dataclass(frozen=True)
class ItemGroup:
    """Files with one fault: `cards` can be shown, `rows` only named; `more` stand in reports/validation.json alone."""

    title: str
    mend: str
    total: int
    cards: list[ItemRow]
    rows: list[ItemRow]

    @property
    def more(self) -> int:
        return self.total - len(self.rows) - sum(1 + len(card.copies) for card in self.cards)


def item_facts(items: pa.Table, paths: Iterable[str]) -> dict[str, Fact]:
    """The facts of the named files; a path that is not in the table has none."""
    wanted = pa.array(sorted(set(paths)), pa.string())
    found = items.select(["path", "label", "sha256", "pixels"]).filter(pc.is_in(items["path"], value_set=wanted))
    drawable = pc.is_valid(found["pixels"]).to_pylist()
    columns = (found[name].to_pylist() for name in ("path", "label", "sha256"))
    return {path: Fact(label, sha256, shows) for path, label, sha256, shows in zip(*columns, drawable, strict=True)}


def wanted_pictures(paths: Iterable[str], facts: Mapping[str, Fact]) -> list[Wanted]:
    """What may be drawn of the paths: files that the door decoded, by the content that it saw."""
    known = ((path, facts.get(path)) for path in paths)
    return [Wanted(path, fact.sha256) for path, fact in known if fact and fact.drawable and fact.sha256]


def quarantine_groups(report: ValidationReport, facts: Mapping[str, Fact], *, reviewed: bool) -> list[ItemGroup]:
    """Quarantined files by the critical rule that names them; of undecodable ones by the kind of fault.

    Args:
        reviewed: whether the label review stands on the same page and says how to decide between two labels.
    """
    rule_of = {item.path: rule.rule for rule in report.rules if rule.severity == "critical" for item in rule.failing}
    groups: dict[tuple[str, str], list[FailingItem]] = {}
    for item in report.quarantined:
        groups.setdefault(_kind(rule_of.get(item.path, ""), item.reason), []).append(item)
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    told = MENDS[CONFLICT] if reviewed else None
    return [_group(title, REVIEW_TELLS if mend == told else mend, failing, facts) for (title, mend), failing in ordered]


def _kind(rule: str, reason: str) -> tuple[str, str]:
    """Title and mend."""
    if rule in TITLES:
        return TITLES[rule], MENDS[rule]
    return next((title, mend) for words, title, mend in FAULTS if words in reason)


def warning_groups(report: ValidationReport, facts: Mapping[str, Fact]) -> list[ItemGroup]:
    """Files that broken warnings name, in the order of the rules; quarantined ones stand elsewhere."""
    quarantined = {item.path for item in report.quarantined}
    broken = [rule for rule in report.rules if rule.severity == "warning" and not rule.passed]
    named = [(rule, [item for item in rule.failing if item.path not in quarantined]) for rule in broken]
    return [
        _group(TITLES.get(rule.rule, rule.rule.replace("_", " ")), MENDS.get(rule.rule, ""), failing, facts)
        for rule, failing in named
        if failing
    ]


def _group(title: str, mend: str, failing: list[FailingItem], facts: Mapping[str, Fact]) -> ItemGroup:
    nothing = Fact(None, None, False)
    rows = [ItemRow(item.path, facts.get(item.path, nothing).label, item.reason) for item in failing]
    drawable = [row for row in rows if facts.get(row.path, nothing).drawable]
    others = [row for row in rows if not facts.get(row.path, nothing).drawable]
    return ItemGroup(title, mend, len(failing), _folded(drawable, facts)[:MOST_CARDS], others[:MOST_ROWS])


def _folded(rows: list[ItemRow], facts: Mapping[str, Fact]) -> list[ItemRow]:
    """One card for each content, with the other files that hold it: one picture says what they share."""
    of_content: dict[str | None, list[ItemRow]] = {}
    for row in rows:
        of_content.setdefault(facts[row.path].sha256, []).append(row)
    return [
        replace(alike[0], note="", copies=tuple(alike[1:])) if len(alike) > 1 else alike[0]
        for alike in of_content.values()
    ]


@dataclass(frozen=True)
class BrokenRule:
    """A broken rule in words: what was found, and what can be done."""

    name: str
    detail: str
    mend: str
    critical: bool


def broken_rules(rules: Iterable[RuleResult]) -> list[BrokenRule]:
    """Critical ones first."""
    broken = [rule for rule in rules if not rule.passed]
    return [
        BrokenRule(rule.rule, rule.detail, MENDS.get(rule.rule, ""), rule.severity == "critical")
        for rule in sorted(broken, key=lambda rule: rule.severity != "critical")
    ]
