"""What review found: the items that a person should look at, the most telling ones first."""

from __future__ import annotations

from typing import ClassVar, Literal

from tasks.reports.document import Record, Report

ReviewKind = Literal["likely_wrong", "conflicting_near_duplicate", "outlier", "uncertain"]
KINDS: tuple[ReviewKind, ...] = ("conflicting_near_duplicate", "likely_wrong", "outlier", "uncertain")
"""In the order of the list. An item stands once, under the first kind that names it."""

SET_ASIDE = "quarantined"
"""The `side` of an entry whose very content stands under two labels: validate set it aside."""


class ReviewEntry(Record):
    """One item to look at.

    `rank` counts from 1 through the whole list; `score` is in [0, 1], 1 the most telling, comparable within a kind
    alone. `suggested` is the class that the other items speak for, where it is not the label. `other` and `other_label`
    name the item that it contradicts (conflicting_near_duplicate).
    """

    rank: int
    kind: ReviewKind
    path: str
    sha256: str
    label: str
    suggested: str | None
    score: float
    reason: str
    side: str
    other: str | None = None
    other_label: str | None = None


class ReviewReport(Report):
    """What was looked at and what was found.

    `found` counts each kind before `review.max_items` cut it. `scored` of the `items` were judged by a probe that did
    not see them, whose `accuracy` by the given labels is told (None: none was). `expected_wrong` estimates how many
    labels are wrong. `confirmed` items bear the label that a person decided on (data/corrections.csv) and are not named
    again.
    """

    produced_by: ClassVar[str] = "review"

    items: int
    scored: int
    confirmed: int
    accuracy: float | None
    expected_wrong: int
    found: dict[ReviewKind, int]
    entries: list[ReviewEntry]
    notes: list[str] = []
