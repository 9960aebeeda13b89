"""The label review of the data page: what a person should look at, by kind."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.reports import KINDS, ReviewEntry, ReviewKind, ReviewReport
from tasks.reports.review import SET_ASIDE

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

IDENTICAL = (
    "One picture under two labels",
    "The same picture, labelled differently: at most one of the labels is right. What one of its rows says holds for "
    "every copy; leave the other rows empty.",
)


@dataclass(frozen=True)
class ReviewGroup:
    """Entries of one kind; `total` counts items as found, before any cap, `shown` those that the entries name.

    Both count pairs where the entries are pairs.
    """

    title: str
    says: str
    entries: list[ReviewEntry]
    total: int
    shown: int

    @property
    def more(self) -> int:
        return self.total - self.shown


def review_groups(review: ReviewReport, copies: int = 0) -> list[ReviewGroup]:
    """A group for each kind that names something, in the order of the list; identical pictures before alike ones.

    Args:
        copies: how many files hold a content that stands under two labels too.
    """
    identical = [entry for entry in review.entries if entry.side == SET_ASIDE]
    groups = [_pair_group(IDENTICAL, identical, copies)] if identical else []
    for kind in KINDS:
        of_kind = [entry for entry in review.entries if entry.kind == kind and entry.side != SET_ASIDE]
        found = max(review.found.get(kind, 0), len(of_kind))
        if of_kind and of_kind[0].other:
            groups.append(_pair_group(_WORDS[kind], of_kind, found - max(copies, len(identical))))
        elif of_kind:
            entries = of_kind[:MOST_OF_A_KIND]
            groups.append(ReviewGroup(*_WORDS[kind], entries, found, len(entries)))
    return groups


def identical_pairs(groups: list[ReviewGroup]) -> int:
    """How many pairs of identical pictures under two labels the groups count."""
    return sum(group.total for group in groups if group.title == IDENTICAL[0])


def _pair_group(words: tuple[str, str], entries: list[ReviewEntry], found: int) -> ReviewGroup:
    """Pairs; each of those that the list left out counts two of the `found` items."""
    pairs = _each_pair_once(entries)
    shown = pairs[:MOST_OF_A_KIND]
    return ReviewGroup(*words, shown, len(pairs) + max(found - len(entries), 0) // 2, len(shown))


def _each_pair_once(entries: list[ReviewEntry]) -> list[ReviewEntry]:
    """Two items that contradict each other stand in the list twice, and side by side once."""
    pairs: dict[frozenset[str | None], ReviewEntry] = {}
    for entry in entries:
        pairs.setdefault(frozenset((entry.path, entry.other)), entry)
    return list(pairs.values())


def review_paths(groups: list[ReviewGroup]) -> list[str]:
    """Every path that the groups show, in order."""
    return [path for group in groups for entry in group.entries for path in (entry.path, entry.other) if path]
