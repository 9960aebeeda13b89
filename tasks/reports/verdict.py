"""What gate decided, on exactly what."""

from __future__ import annotations

from typing import ClassVar, Literal

from tasks.reports.comparison import ChampionVerdict
from tasks.reports.document import Record, Report

LimitIs = Literal["minimum", "maximum"]


class RuleVerdict(Record):
    """One rule of the gate.

    Attributes:
        margin: how far the value lies on the passing side of the limit; negative where it fails. value - limit of a
            minimum, limit - value of a maximum.
        limit_is: whether the value has to reach the limit or must not exceed it.
    """

    rule: str
    value: float | None
    limit: float
    margin: float | None
    judged_on: str
    passed: bool
    reason: str
    limit_is: LimitIs = "minimum"


class JudgedDigests(Record):
    """sha256 of everything the verdict rests on; export recomputes them.

    `champion_pin`, `champion_predictions` and `test_use` are null where no earlier release is pinned, and in verdicts
    of an earlier Graft.
    """

    data: str
    adapted: str
    splits: str
    predictions: str
    evaluation: str
    gate_params: str
    champion_pin: str | None = None
    champion_predictions: str | None = None
    baseline_predictions: str | None = None
    test_use: str | None = None


class Verdict(Report):
    produced_by: ClassVar[str] = "gate"

    passed: bool
    rules: list[RuleVerdict]
    reasons: list[str]
    digests: JudgedDigests
    champion: ChampionVerdict | None = None
