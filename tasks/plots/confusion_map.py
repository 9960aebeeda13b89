"""The confusion matrix as a heat map: counts in cells for few classes, shades alone for many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.reports import EvaluationReport

LEVELS = 5
MOST_CLASSES_WITH_COUNTS = 20
MOST_CLASSES = 100
MOST_PAIRS = 12


@dataclass(frozen=True)
class Cell:
    """One cell: `shade` is "" for none, hit1..hit5 on the diagonal, miss1..miss5 beside it, by share of the row."""

    row: int
    column: int
    count: int
    shade: str
    title: str


@dataclass(frozen=True)
class ConfusionMap:
    """Rows are true classes, columns predicted ones; `labels` name the classes shown, `left_out` counts the others."""

    labels: list[str]
    cells: list[list[Cell]]
    left_out: int
    side: int

    @property
    def with_counts(self) -> bool:
        return len(self.labels) <= MOST_CLASSES_WITH_COUNTS

    @property
    def shaded(self) -> list[Cell]:
        return [cell for row in self.cells for cell in row if cell.shade]


@dataclass(frozen=True)
class ConfusedPair:
    """How often items of `label` were taken for `predicted`; `share` of the items of `label`."""

    label: str
    predicted: str
    count: int
    share: float


def confusion_map(report: EvaluationReport) -> ConfusionMap:
    """The heat map of a report; above 100 classes only the 100 with the most errors, in label order."""
    shown = classes_with_most_errors(report, MOST_CLASSES)
    cells = [[_cell(report, row, column, (r, c)) for c, column in enumerate(shown)] for r, row in enumerate(shown)]
    labels = [report.labels[index] for index in shown]
    return ConfusionMap(labels, cells, len(report.labels) - len(shown), 14 if len(shown) <= 60 else 9)


def classes_with_most_errors(report: EvaluationReport, most: int) -> list[int]:
    """Indices of at most `most` classes, those with the most errors (missed or wrongly predicted), in label order."""
    matrix = report.confusion
    if len(matrix) <= most:
        return list(range(len(matrix)))
    predicted = [sum(column) for column in zip(*matrix, strict=True)]
    errors = [sum(row) + predicted[index] - 2 * row[index] for index, row in enumerate(matrix)]
    return sorted(sorted(range(len(matrix)), key=lambda index: (-errors[index], index))[:most])


def confused_pairs(report: EvaluationReport, most: int = MOST_PAIRS) -> list[ConfusedPair]:
    """The most frequent errors, most frequent first."""
    pairs = [
        ConfusedPair(report.labels[row], report.labels[column], count, count / sum(counts))
        for row, counts in enumerate(report.confusion)
        for column, count in enumerate(counts)
        if row != column and count
    ]
    return sorted(pairs, key=lambda pair: (-pair.count, -pair.share, pair.label, pair.predicted))[:most]


def _cell(report: EvaluationReport, row: int, column: int, place: tuple[int, int]) -> Cell:
    count = report.confusion[row][column]
    title = f"{report.labels[row]} taken for {report.labels[column]}: {count}"
    if row == column:
        title = f"{report.labels[row]} recognised: {count}"
    return Cell(*place, count, _shade(report.confusion[row], column, row == column), title)


def _shade(row: Sequence[int], column: int, hit: bool) -> str:
    """Errors by the square root and rounded up: a linear shade would hide the rare ones."""
    if not row[column]:
        return ""
    share = row[column] / sum(row)
    level = max(1, round(LEVELS * share)) if hit else math.ceil(LEVELS * math.sqrt(share))
    return f"{'hit' if hit else 'miss'}{level}"
