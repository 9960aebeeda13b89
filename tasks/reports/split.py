"""How split divided the items."""

from __future__ import annotations

from typing import ClassVar, Literal

from tasks.reports.document import Record, Report

Side = Literal["train", "validation", "test", "left_out"]


class NearDuplicatePair(Record):
    """Two items that both measures call one picture."""

    first: str
    second: str
    hamming: int
    cosine: float


class TightenedChain(Record):
    """A chain of near-duplicates that was over its cap (items), and the thresholds that hold it under.

    `max_hamming` is -1 where images that both measures call identical are over the cap, so that none is linked.
    """

    first: str
    items: int
    cap: int
    max_hamming: int
    min_cosine: float


class Leak(Record):
    """Two items of one group that stand on different sides for reasons that split may not overrule.

    `reason` is official_split (the data say so) or earlier_split (a release was judged so).
    """

    first: str
    first_side: Side
    second: str
    second_side: Side
    reason: str


class LeftOut(Record):
    """An item that no side may have."""

    path: str
    reason: str


class SplitReport(Report):
    """`near_duplicates` lists the closest pairs that chain everything: n - 1 for a group of n images; `min_cosine` is
    what was asked of them, more than params say where the data set's ordinary neighbours are close."""

    produced_by: ClassVar[str] = "split"

    official: bool
    counts: dict[Side, dict[str, int]]
    near_duplicates: list[NearDuplicatePair]
    grouped_items: int
    min_cosine: float = -1.0
    tightened: list[TightenedChain]
    leaks: list[Leak]
    left_out: list[LeftOut]
    out_of_fold: bool
    notes: list[str] = []
