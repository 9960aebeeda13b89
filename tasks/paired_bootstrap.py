"""Two models' macro-F1 on the same items: the difference by a paired bootstrap."""

from __future__ import annotations

import numpy as np

from tasks.intervals import MAX_CELLS_AT_ONCE, macro_f1_of, percentile_interval, resampled_row
from tasks.metrics import FloatVector, IntMatrix, IntVector, confusion_matrix, macro_f1
from tasks.paired_tests import accuracy_gain, paired_counts
from tasks.reports import Estimate


def paired_macro_f1_interval(
    true: IntVector,
    predicted: IntVector,
    champion_predicted: IntVector,
    classes: int,
    samples: int,
    confidence: float,
    seed: int,
) -> Estimate:
    """Macro-F1 of the new model - macro-F1 of the champion, no narrower than Tango's interval of the accuracies.

    Resampling items on which two models never differ would call the difference certain; Tango does not.

    Args:
        true, predicted, champion_predicted: (items,) class indices in 0..classes-1, same items in the same order.
        samples: number of resamples.
        confidence: level in (0, 1).
    Returns:
        Value and bounds in [-1, 1]; no items give 0 (-1 to 1).
    Raises:
        ValueError: the vectors differ in length or hold an index outside 0..classes-1.
    """
    method = "paired bootstrap, no narrower than tango"
    value = macro_f1(confusion_matrix(true, predicted, classes)) - macro_f1(
        confusion_matrix(true, champion_predicted, classes)
    )
    gain = accuracy_gain(paired_counts(predicted == true, champion_predicted == true), confidence)
    if not len(true):
        return Estimate(value=0.0, low=-1.0, high=1.0, method=method)
    differences = resampled_differences(true, predicted, champion_predicted, classes, samples, seed)
    low, high = percentile_interval(differences, confidence)
    low = max(-1.0, min(low, value - (gain.value - gain.low)))
    return Estimate(value=value, low=low, high=min(1.0, max(high, value + gain.high - gain.value)), method=method)


def resampled_differences(
    true: IntVector, predicted: IntVector, champion_predicted: IntVector, classes: int, samples: int, seed: int
) -> FloatVector:
    """(samples,) differences of macro-F1, items drawn with replacement within each true class.

    An item counts only by its cell (true class, prediction, champion's prediction), so a resample is a multinomial over
    the cells of each true class, and memory grows with the cells, not with the items.
    """
    generator = np.random.default_rng(seed)
    joint, counts = np.unique((true * classes + predicted) * classes + champion_predicted, return_counts=True)
    rows, ours, theirs = joint // classes**2, joint // classes % classes, joint % classes
    actual = np.bincount(true, minlength=classes)
    differences = np.empty(samples)
    step = max(1, MAX_CELLS_AT_ONCE // max(len(joint), classes))
    for start in range(0, samples, step):
        size = min(step, samples - start)
        cells = np.concatenate([resampled_row(counts[rows == row], size, generator) for row in np.unique(rows)], axis=1)
        differences[start : start + size] = _macro_f1(cells, rows, ours, actual) - _macro_f1(
            cells, rows, theirs, actual
        )
    return differences


def _macro_f1(cells: IntMatrix, rows: IntVector, columns: IntVector, actual: IntVector) -> FloatVector:
    """Macro-F1 of one model: the joint cells that are one cell of its confusion matrix are added up first."""
    confusion_cell = rows * len(actual) + columns
    order = np.argsort(confusion_cell, kind="stable")
    named, starts = np.unique(confusion_cell[order], return_index=True)
    own = np.add.reduceat(cells[:, order], starts, axis=1)
    return macro_f1_of(own, named // len(actual), named % len(actual), actual)
