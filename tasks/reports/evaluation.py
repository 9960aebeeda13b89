"""What evaluate measured on the test items."""

from __future__ import annotations

from typing import ClassVar

from tasks.reports.document import Record, Report


class Estimate(Record):
    """A value with its confidence interval; `method` names how the interval was made."""

    value: float
    low: float
    high: float
    method: str


class ClassScore(Record):
    """Scores of one class; a ratio without a denominator is 0."""

    label: str
    items: int
    predicted: int
    precision: float
    recall: float
    recall_low: float
    recall_high: float
    f1: float


class BaselineScore(Record):
    """A baseline on the same test items, and what the model gains over it (paired)."""

    name: str
    accuracy: Estimate
    macro_f1: Estimate
    gain: Estimate


class EvaluatedDigests(Record):
    """sha256 of what was evaluated and what came out."""

    data: str
    adapted: str
    splits: str
    predictions: str


class EvaluationReport(Report):
    produced_by: ClassVar[str] = "evaluate"

    confidence: float
    labels: list[str]
    train_items: int
    validation_items: int
    test_items: int
    accuracy: Estimate
    macro_f1: Estimate
    per_class: list[ClassScore]
    confusion: list[list[int]]
    baselines: list[BaselineScore]
    digests: EvaluatedDigests
