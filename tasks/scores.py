"""What a confusion matrix is worth: figures with their intervals, as the evaluation reports them."""

from __future__ import annotations

import numpy as np

from tasks import metrics
from tasks.intervals import bootstrap_macro_f1, wilson_interval
from tasks.metrics import IntMatrix
from tasks.params import EvaluateParams
from tasks.reports import ClassScore, Estimate


def accuracy_estimate(confusion: IntMatrix, params: EvaluateParams) -> Estimate:
    """Accuracy of a (classes, classes) confusion matrix with its Wilson interval, ratios in [0, 1]."""
    right, total = int(np.trace(confusion)), int(confusion.sum())
    low, high = wilson_interval(right, total, params.confidence)
    return Estimate(value=metrics.accuracy(confusion), low=low, high=high, method="wilson")


def macro_f1_estimate(confusion: IntMatrix, params: EvaluateParams) -> Estimate:
    """Macro-F1 with a bootstrap interval, never narrower than Wilson's at the same rate and number of items.

    Resampling a test set without a mistake finds no mistake, and would call the value certain; Wilson does not.
    """
    value, total = metrics.macro_f1(confusion), int(confusion.sum())
    low, high = wilson_interval(min(value * total, total), total, params.confidence)
    if total:
        resampled = bootstrap_macro_f1(confusion, params.bootstrap_samples, params.confidence, params.seed)
        low, high = min(low, resampled[0]), max(high, resampled[1])
    return Estimate(value=value, low=low, high=high, method="stratified bootstrap, no narrower than wilson")


def class_scores(names: list[str], confusion: IntMatrix, confidence: float) -> list[ClassScore]:
    """Scores of every class, in the order of the names."""
    precision, recall, f1 = metrics.precision(confusion), metrics.recall(confusion), metrics.f1(confusion)
    scores = []
    for row, name in enumerate(names):
        items, right = int(confusion[row].sum()), int(confusion[row, row])
        low, high = wilson_interval(right, items, confidence)
        scores.append(
            ClassScore(
                label=name,
                items=items,
                predicted=int(confusion[:, row].sum()),
                precision=float(precision[row]),
                recall=float(recall[row]),
                recall_low=low,
                recall_high=high,
                f1=float(f1[row]),
            )
        )
    return scores
