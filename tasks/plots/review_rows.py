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
    """Entries of one kind; `total` as found, before any cap."""

    title: str
    says: str
    entries: list[ReviewEntry]
    total: int

    @property
    def more(self) -> int:
        return self.total - len(self.entries)


def review_groups(review: ReviewReport) -> list[ReviewGroup]:
    """A group for each kind that names something, in the order of the list."""
    groups = []
    for kind in KINDS:
        entries = [entry for entry in review.entries if entry.kind == kind]
        if entries:
            total = max(review.found.get(kind, 0), len(entries))
            groups.append(ReviewGroup(*_WORDS[kind], entries[:MOST_OF_A_KIND], total))
    return groups


def review_paths(groups: list[ReviewGroup]) -> list[str]:
    """Every path that the groups show, in order."""
    return [path for group in groups for entry in group.entries for path in (entry.path, entry.other) if path]
