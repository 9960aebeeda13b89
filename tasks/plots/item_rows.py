"""Files of the data page: what was quarantined, grouped by the rule it broke, and what warnings name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from tasks.plots.mends import MENDS, TITLES
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
    """One file with what is to be said of it."""

    path: str
    label: str | None
    note: str


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
        return self.total - len(self.cards) - len(self.rows)


def item_facts(items: pa.Table, paths: Iterable[str]) -> dict[str, Fact]:
    """The facts of the named files; a path that is not in the table has none."""
    wanted = pa.array(sorted(set(paths)), pa.string())
    found = items.filter(pc.is_in(items["path"], value_set=wanted))
    drawable = pc.is_valid(found["pixels"]).to_pylist()
    columns = (found[name].to_pylist() for name in ("path", "label", "sha256"))
    return {path: Fact(label, sha256, shows) for path, label, sha256, shows in zip(*columns, drawable, strict=True)}


def wanted_pictures(paths: Iterable[str], facts: Mapping[str, Fact]) -> list[Wanted]:
    """What may be drawn of the paths: files that the door decoded, by the content that it saw."""
    known = ((path, facts.get(path)) for path in paths)
    return [Wanted(path, fact.sha256) for path, fact in known if fact and fact.drawable and fact.sha256]


def quarantine_groups(report: ValidationReport, facts: Mapping[str, Fact]) -> list[ItemGroup]:
    """Quarantined files by the critical rule that names them; of undecodable ones by the kind of fault."""
    rule_of = {item.path: rule.rule for rule in report.rules if rule.severity == "critical" for item in rule.failing}
    groups: dict[tuple[str, str], list[FailingItem]] = {}
    for item in report.quarantined:
        rule = rule_of.get(item.path, "")
        fault = "" if rule in TITLES and rule != "decodable" else item.reason.split(":")[0]
        groups.setdefault((rule, fault), []).append(item)
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    return [_group(_title(*key), MENDS.get(key[0], ""), failing, facts) for key, failing in ordered]


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


def _title(rule: str, fault: str) -> str:
    """The fault, where it tells more than the rule."""
    return fault[:1].upper() + fault[1:] if fault else TITLES[rule]


def _group(title: str, mend: str, failing: list[FailingItem], facts: Mapping[str, Fact]) -> ItemGroup:
    nothing = Fact(None, None, False)
    drawable = [item for item in failing if facts.get(item.path, nothing).drawable]
    others = [item for item in failing if not facts.get(item.path, nothing).drawable]

    def rows(items: list[FailingItem]) -> list[ItemRow]:
        return [ItemRow(item.path, facts.get(item.path, nothing).label, item.reason) for item in items]

    return ItemGroup(title, mend, len(failing), rows(drawable[:MOST_CARDS]), rows(others[:MOST_ROWS]))


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
