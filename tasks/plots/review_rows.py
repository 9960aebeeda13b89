"""The label review of the data page: what a person should look at, by kind."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.reports import KINDS, ReviewEntry, ReviewKind, ReviewReport

MOST_OF_A_KIND = 24

_WORDS: dict[ReviewKind, tuple[str, str]] = {
    "likely_wrong": (
        "Likely wrong labels",
        "A model that never saw the item is surer of another class than it usually is.",
    ),
    "conflicting_near_duplicate": (
        "Near-duplicates with two labels",
        "Almost the same picture, labelled differently: at most one of the labels is right.",
    ),
    "outlier": ("Outliers", "Unlike everything else: perhaps no picture of any class."),
    "uncertain": ("Least certain", "Between two classes: what the labels should mean is decided here."),
}


@dataclass(frozen=True)
class ReviewGroup:
    """Entries of one kind; `total` counts items as found, before any cap, `shown` those that the entries name."""

    title: str
    says: str
    entries: list[ReviewEntry]
    total: int
    shown: int

    @property
    def more(self) -> int:
        return self.total - self.shown


def review_groups(review: ReviewReport) -> list[ReviewGroup]:
    """A group for each kind that names something, in the order of the list."""
    groups = []
    for kind in KINDS:
        of_kind = [entry for entry in review.entries if entry.kind == kind]
        if of_kind:
            entries = _each_pair_once(of_kind)[:MOST_OF_A_KIND]
            named = {path for entry in entries for path in (entry.path, entry.other)}
            shown = sum(entry.path in named for entry in of_kind)
            total = max(review.found.get(kind, 0), len(of_kind))
            groups.append(ReviewGroup(*_WORDS[kind], entries, total, shown))
    return groups


def _each_pair_once(entries: list[ReviewEntry]) -> list[ReviewEntry]:
    """Two items that contradict each other stand in the list twice, and side by side once."""
    pairs: dict[frozenset[str | None], ReviewEntry] = {}
    for entry in entries:
        pairs.setdefault(frozenset((entry.path, entry.other)), entry)
    return list(pairs.values())


def review_paths(groups: list[ReviewGroup]) -> list[str]:
    """Every path that the groups show, in order."""
    return [path for group in groups for entry in group.entries for path in (entry.path, entry.other) if path]
