"""Confidence intervals for what is measured on a finite test set: pure numpy, seeded."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from tasks.metrics import BoolVector, FloatMatrix, FloatVector, IntMatrix, IntVector, ratio

Interval = tuple[float, float]

MAX_CELLS_AT_ONCE = 4_000_000
"""Resampled counts held in memory at a time (32 MB)."""


def wilson_interval(successes: float, total: int, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a proportion; never empty, never outside [0, 1], honest at 0 and at `total`.

    Args:
        successes: 0..total; a fraction is allowed for a rate that is no count.
        total: number of trials; 0 gives (0, 1), since nothing is known.
    Returns:
        (low, high) in [0, 1]; contains successes / total.
    Raises:
        ValueError: successes outside 0..total, or confidence outside (0, 1).
    Source: agrees with scipy.stats.binomtest(...).proportion_ci(method="wilson").

    >>> tuple(round(bound, 4) for bound in wilson_interval(90, 100))
    (0.8256, 0.9448)
    """
    if not 0 <= successes <= total:
        raise ValueError(f"{successes} successes are not within 0..{total}")
    if total == 0:
        return 0.0, 1.0
    z = normal_quantile(confidence)
    rate = successes / total
    centre = (rate + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(rate * (1 - rate) / total + z * z / (4 * total * total))
    return max(0.0, min(rate, centre - half)), min(1.0, max(rate, centre + half))


def paired_gain_interval(
    right: BoolVector, right_of_baseline: BoolVector, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Difference of two accuracies on the same items, with its interval.

    Args:
        right: (items,) whether the model is right.
        right_of_baseline: (items,) likewise for the baseline, same items in the same order.
    Returns:
        (gain, low, high) in [-1, 1]; gain = accuracy - accuracy of the baseline. No items give (0, -1, 1).
    Raises:
        ValueError: the vectors differ in length.
    Source: Newcombe 1998, "Improved confidence intervals for the difference between binomial proportions based on
        paired data", method 10 (Wilson intervals combined with the items' correlation).
    """
    if right.shape != right_of_baseline.shape:
        raise ValueError(f"{right.shape} and {right_of_baseline.shape} are not the same items")
    total = len(right)
    if total == 0:
        return 0.0, -1.0, 1.0
    first, second = int(right.sum()), int(right_of_baseline.sum())
    low_1, high_1 = wilson_interval(first, total, confidence)
    low_2, high_2 = wilson_interval(second, total, confidence)
    rate_1, rate_2 = first / total, second / total
    correlation = _corrected_phi(int((right & right_of_baseline).sum()), first, second, total)
    below = _combined(rate_1 - low_1, high_2 - rate_2, correlation)
    above = _combined(high_1 - rate_1, rate_2 - low_2, correlation)
    return rate_1 - rate_2, rate_1 - rate_2 - below, rate_1 - rate_2 + above


def bootstrap_macro_f1(confusion: IntMatrix, samples: int, confidence: float, seed: int) -> Interval:
    """Percentile interval of macro-F1, resampling the items of each true class with replacement.

    An item counts only by its cell of the confusion matrix, so drawing items is drawing a multinomial over the
    cells of its row: exact, and the cost does not grow with the number of items.

    Args:
        confusion: (classes, classes) counts; row = true class, column = predicted class.
        samples: number of resamples.
        confidence: level in (0, 1).
    Returns:
        (low, high) in [0, 1].
    Raises:
        ValueError: the matrix holds no item.
    """
    return percentile_interval(resampled_macro_f1(confusion, samples, seed), confidence)


def resampled_macro_f1(confusion: IntMatrix, samples: int, seed: int) -> FloatVector:
    """(samples,) macro-F1 of resampled test sets; arguments, errors and method as `bootstrap_macro_f1`."""
    classes = len(confusion)
    if confusion.sum() == 0:
        raise ValueError("a confusion matrix without items cannot be resampled")
    rows, columns = np.nonzero(confusion)
    generator = np.random.default_rng(seed)
    values = np.empty(samples)
    step = max(1, MAX_CELLS_AT_ONCE // max(len(rows), classes))
    for start in range(0, samples, step):
        size = min(step, samples - start)
        cells = np.concatenate([resampled_row(confusion[row], size, generator) for row in np.unique(rows)], axis=1)
        values[start : start + size] = macro_f1_of(cells, rows, columns, confusion.sum(axis=1))
    return values


def resampled_means(columns: FloatMatrix, samples: int, seed: int) -> FloatMatrix:
    """(samples, columns) means of (items, columns) figures over test sets drawn from the items with replacement.

    Every column sees the same draws, so a difference of columns is paired. Call it on one BLAS thread for equal bits.

    Raises:
        ValueError: there is no item to draw.
    """
    items = len(columns)
    if not items:
        raise ValueError("no items cannot be resampled")
    generator, means = np.random.default_rng(seed), []
    for size in draw_chunks(samples, items):
        counts = [np.bincount(generator.integers(0, items, items), minlength=items) for _ in range(size)]
        means.append(np.array(counts, dtype=np.float64) @ columns / items)
    return np.concatenate(means)


def percentile_interval(values: FloatVector, confidence: float) -> Interval:
    """The central part of resampled values, which holds `confidence` of them."""
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def basic_interval(value: float, resampled: FloatVector, confidence: float) -> Interval:
    """Bounds that correct for the bias of an error which resampling inflates; never below 0, never without the value.

    A resample lies as far from the value as the value from the truth, so the bounds are 2 value - quantile.
    Source: Davison and Hinkley 1997, "Bootstrap methods and their application", basic bootstrap limits.
    """
    low, high = percentile_interval(resampled, confidence)
    return max(0.0, min(value, 2 * value - high)), max(value, 2 * value - low)


def draw_chunks(samples: int, items: int) -> list[int]:
    """Numbers of resamples to hold in memory at a time; they add up to `samples`."""
    step = max(1, MAX_CELLS_AT_ONCE // max(items, 1))
    return [min(step, samples - start) for start in range(0, samples, step)]


def normal_quantile(confidence: float) -> float:
    """Half-width of the central interval of the standard normal; 1.96 for 0.95.

    Raises:
        ValueError: confidence is not within (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} is not within (0, 1)")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def resampled_row(row: IntVector, samples: int, generator: np.random.Generator) -> IntMatrix:
    """(samples, non-empty cells) counts of as many items drawn from a row's items with replacement."""
    counts = row[row > 0]
    return generator.multinomial(counts.sum(), counts / counts.sum(), size=samples)


def macro_f1_of(cells: IntMatrix, rows: IntVector, columns: IntVector, actual: IntVector) -> FloatVector:
    """(samples,) macro-F1 of each row of `cells`.

    Args:
        cells: (samples, cells) counts of the cells (rows, columns), each of which is named once.
        actual: (classes,) items of each true class.
    """
    classes = len(actual)
    right = np.zeros((len(cells), classes), dtype=np.int64)
    diagonal = rows == columns
    right[:, rows[diagonal]] = cells[:, diagonal]
    by_column = np.argsort(columns, kind="stable")
    present, starts = np.unique(columns[by_column], return_index=True)
    predicted = np.zeros((len(cells), classes), dtype=np.int64)
    predicted[:, present] = np.add.reduceat(cells[:, by_column], starts, axis=1)
    return np.asarray(ratio(2 * right, actual + predicted).mean(axis=1))


def _corrected_phi(both: int, first: int, second: int, total: int) -> float:
    """Newcombe's continuity-corrected correlation of two 0/1 vectors."""
    margins = first * (total - first) * second * (total - second)
    if margins == 0:
        return 0.0
    excess = both * (total - first - second + both) - (first - both) * (second - both)
    corrected = max(excess - total / 2, 0.0) if excess > 0 else float(excess)
    return corrected / math.sqrt(margins)


def _combined(first: float, second: float, correlation: float) -> float:
    return math.sqrt(max(0.0, first * first - 2 * correlation * first * second + second * second))
