"""The small documents inside a release: labels.json and golden/golden.json."""

from __future__ import annotations

from typing import ClassVar

from tasks.reports.document import Record, Report

INT8_GOLDEN_TOLERANCE = 0.07
"""Of an int8 model's probabilities: docs/decisions/0037 says what was measured."""


class Labels(Report):
    """Class names by output index; the order is fixed, a new class is appended."""

    produced_by: ClassVar[str] = "export"

    labels: list[str]


class GoldenCase(Record):
    """One encoded file, the array that preprocessing must make of it and the probabilities that must follow."""

    file: str
    preprocessed_sha256: str
    probabilities: list[float]


class GoldenCases(Report):
    produced_by: ClassVar[str] = "export"

    tolerance: float
    cases: list[GoldenCase]
