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


class Leak(Record):
    """Two items that are one picture and stand on different sides for reasons that split may not overrule."""

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
    produced_by: ClassVar[str] = "split"

    official: bool
    counts: dict[Side, dict[str, int]]
    remembered: int
    near_duplicates: list[NearDuplicatePair]
    grouped_items: int
    max_hamming_used: dict[str, int]
    tightened: list[str]
    leaks: list[Leak]
    left_out: list[LeftOut]
    out_of_fold: bool
    notes: list[str] = []
