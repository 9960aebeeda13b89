"""Raw labels as people decided them: label = alias(correction(alias(raw label))), left out and forgotten items."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tasks.errors import counted, did_you_mean
from tasks.overlay import Correction, read_corrections, read_forgotten
from tasks.reports import AppliedCorrection, FailingItem, OverlayReport, RuleResult, UsedAlias
from tasks.table_listing import Item


@dataclass(frozen=True)
class Overlay:
    """What lies on top of the raw data: `data.label_aliases`, corrections in their order, forgotten contents."""

    aliases: Mapping[str, str] = field(default_factory=dict)
    corrections: Sequence[Correction] = ()
    forgotten: frozenset[str] = frozenset()


NO_OVERLAY = Overlay()


@dataclass(frozen=True)
class Decided:
    """The items in the order given.

    `labels` after everything; `left_out` holds the reason where a person left the item out; `forgotten` marks content
    with a tombstone.
    """

    labels: list[str | None]
    left_out: list[str | None]
    forgotten: list[bool]
    report: OverlayReport
    rules: list[RuleResult]


def read_overlay(aliases: Mapping[str, str], corrections: Path, forgotten: Path) -> Overlay:
    """The overlay of a workspace; files that are not there say nothing.

    Raises:
        DataError: one of the files cannot be read.
    """
    tombstones = frozenset(row.sha256 for row in read_forgotten(forgotten))
    return Overlay(aliases, read_corrections(corrections), tombstones)


def decide(items: Sequence[Item], contents: Sequence[str | None], overlay: Overlay) -> Decided:
    """Put the overlay on the listed items.

    A correction applies where the label stands as it says (`was`); several on one content follow each other in file
    order. One that no longer matches is not applied and becomes a warning, as does an alias for a class that is not
    there.

    Args:
        contents: sha256 of each item's bytes; None where the file could not be read.
    """
    forgotten = [content in overlay.forgotten for content in contents]
    labels = [overlay.aliases.get(item.label, item.label) if item.label is not None else None for item in items]
    raw = Counter(
        item.label for item, gone in zip(items, forgotten, strict=True) if item.label is not None and not gone
    )
    left_out: list[str | None] = [None] * len(labels)
    applied, stale = _Applied(overlay), []
    for place in applied.places(contents):
        labels[place], left_out[place], missed = applied.follow(labels[place], str(contents[place]))
        if missed is not None:
            stale.append(FailingItem(path=items[place].path, reason=_mismatch(missed, labels[place], left_out[place])))
    report = applied.report(
        [UsedAlias(old=old, new=new, items=raw[old]) for old, new in sorted(overlay.aliases.items()) if raw[old]],
        [FailingItem(path=items[place].path, reason=why) for place, why in enumerate(left_out) if why],
        sum(forgotten),
    )
    rules = [*_corrections_rule(len(overlay.corrections), stale), *_aliases_rule(overlay, raw)]
    return Decided(labels, left_out, forgotten, report, rules)


class _Applied:
    """Corrections by content, and what became of each."""

    def __init__(self, overlay: Overlay) -> None:
        self.overlay = overlay
        self.of_content: dict[str, list[int]] = defaultdict(list)
        for number, correction in enumerate(overlay.corrections):
            if correction.sha256 not in overlay.forgotten:
                self.of_content[correction.sha256].append(number)
        self.met: set[int] = set()
        self.changed: Counter[int] = Counter()
        self.confirmed: set[int] = set()

    def places(self, contents: Sequence[str | None]) -> list[int]:
        """Places of the items that some correction is about."""
        if not self.of_content:
            return []
        return [place for place, content in enumerate(contents) if content in self.of_content]

    def follow(self, label: str | None, content: str) -> tuple[str | None, str | None, Correction | None]:
        """Label and reason to leave out after every correction of this content; the last correction if it missed."""
        out: Correction | None = None
        for number in self.of_content[content]:
            correction = self.overlay.corrections[number]
            self.met.add(number)
            stands = "" if out or label is None else label
            was, wanted = self._aliased(correction.was), self._aliased(correction.label)
            if was == wanted == stands:
                self.confirmed.add(number)
            if was != stands or wanted == stands:
                continue
            self.changed[number] += 1
            label, out = (label, correction) if wanted is None else (wanted, None)
        last = self.overlay.corrections[self.of_content[content][-1]]
        reached = out is not None if last.label is None else out is None and label == self._aliased(last.label)
        why = f"left out by {out.who}: {out.why}" if out else None
        return label, why, None if reached else last

    def report(self, aliased: list[UsedAlias], left_out: list[FailingItem], forgotten: int) -> OverlayReport:
        corrections = self.overlay.corrections
        return OverlayReport(
            aliased=aliased,
            corrected=[
                AppliedCorrection(
                    sha256=corrections[number].sha256,
                    path=corrections[number].path,
                    was=corrections[number].was,
                    label=corrections[number].label,
                    who=corrections[number].who,
                    why=corrections[number].why,
                    items=self.changed[number],
                )
                for number in sorted(self.changed)
            ],
            corrections_without_content=len(corrections) - len(self.met),
            confirmed=len(self.confirmed - self.changed.keys()),
            corrections_without_effect=len(self.met - self.changed.keys() - self.confirmed),
            left_out=left_out,
            forgotten=forgotten,
        )

    def _aliased(self, label: str | None) -> str | None:
        return self.overlay.aliases.get(label, label) if label is not None else None


def _mismatch(correction: Correction, label: str | None, left_out: str | None) -> str:
    stands = left_out or (f"labelled {label!r}" if label is not None else "without a label")
    wanted = f"label it {correction.label!r}" if correction.label is not None else "leave it out"
    return f"is {stands}, not {correction.was!r} as when {correction.who} decided on {correction.date} to {wanted}"


def _corrections_rule(corrections: int, stale: list[FailingItem]) -> list[RuleResult]:
    if not corrections:
        return []
    return [
        RuleResult(
            rule="corrections_match",
            severity="warning",
            passed=not stale,
            detail=f"{counted(len(stale), 'item')} that a correction no longer matches (not applied); decide again or "
            "delete the row (data/corrections.csv)",
            failing=stale,
        )
    ]


def _aliases_rule(overlay: Overlay, raw: Mapping[str, int]) -> list[RuleResult]:
    if not overlay.aliases:
        return []
    spoken_of = {name for row in overlay.corrections for name in (row.was, row.label)}
    unused = [alias for alias in sorted(overlay.aliases) if not raw[alias] and alias not in spoken_of]
    return [
        RuleResult(
            rule="aliases_used",
            severity="warning",
            passed=not unused,
            detail=f"{counted(len(unused), 'alias', 'aliases')} for a class that is not in the raw data "
            "(params.yaml: data.label_aliases)",
            failing=[
                FailingItem(path=alias, reason=f"no class {alias!r}{did_you_mean(alias, raw)}") for alias in unused
            ],
        )
    ]
