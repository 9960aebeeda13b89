"""What gate decided, on exactly what."""

from __future__ import annotations

from typing import ClassVar

from tasks.reports.document import Record, Report


class RuleVerdict(Record):
    """One rule of the gate: value, limit, margin (value - limit)."""

    rule: str
    value: float | None
    limit: float
    margin: float | None
    judged_on: str
    passed: bool
    reason: str


class JudgedDigests(Record):
    """sha256 of everything the verdict rests on; export recomputes them."""

    data: str
    adapted: str
    splits: str
    predictions: str
    evaluation: str
    gate_params: str


class Verdict(Report):
    produced_by: ClassVar[str] = "gate"

    passed: bool
    rules: list[RuleVerdict]
    reasons: list[str]
    digests: JudgedDigests
