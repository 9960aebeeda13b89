"""How far predicted probabilities can be believed: Brier score, expected calibration error and its bins. Pure numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.intervals import Interval, basic_interval, draw_chunks, percentile_interval
from tasks.metrics import AnyFloatMatrix, BoolVector, FloatVector, IntVector, ratio

BINS = 15
"""Bins of equal width over [0, 1], as Guo et al. 2017 and torchmetrics have them (docs/decisions/0020)."""


@dataclass(frozen=True)
class ConfidenceBins:
    """Items binned by confidence, each array (bins,): bin k holds confidences in (k / bins, (k + 1) / bins].

    `confidence` is the mean confidence and `accuracy` the share of items predicted right; 0 in an empty bin.
    """

    items: IntVector
    right: IntVector
    confidence: FloatVector
    accuracy: FloatVector

    @property
    def error(self) -> float:
        """The expected calibration error: |accuracy - confidence|, weighted by the items of each bin."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float((self.items * gaps).sum() / max(self.items.sum(), 1))


def brier_scores(probabilities: AnyFloatMatrix, actual: IntVector) -> FloatVector:
    """(items,) squared distance of the probabilities from the truth, summed over all classes, in [0, 2].

    Args:
        probabilities: (items, classes), rows adding up to 1.
        actual: (items,) true class indices.
    Source: Brier 1950, "Verification of forecasts expressed in terms of probability"; the mean over items agrees with
        scikit-learn brier_score_loss(scale_by_half=False). With two classes it is twice the score that looks at one
        class alone.

    >>> brier_scores(np.array([[0.8, 0.2]]), np.array([0])).round(3).tolist()
    [0.08]
    """
    distances = probabilities.astype(np.float64)
    distances[np.arange(len(actual)), actual] -= 1.0
    return np.asarray((distances**2).sum(axis=1))


def bin_of(confidence: FloatVector, bins: int = BINS) -> IntVector:
    """(items,) index of the bin of equal width, closed above, in which each confidence lies; 0 belongs to the first."""
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)


def confidence_bins(confidence: FloatVector, right: BoolVector, bins: int = BINS) -> ConfidenceBins:
    """Items binned by the probability of the predicted class.

    Args:
        confidence: (items,) probability of the predicted class, in [0, 1].
        right: (items,) whether the predicted class is the true one.
    Raises:
        ValueError: the vectors differ in length, or a confidence lies outside [0, 1].
    Source: Guo et al. 2017, "On calibration of modern neural networks"; `error` agrees with torchmetrics
        MulticlassCalibrationError(norm="l1").
    """
    _check(confidence, right)
    place = bin_of(confidence, bins)
    items = np.bincount(place, minlength=bins).astype(np.int64)
    sums = np.bincount(place, weights=confidence, minlength=bins)
    hits = np.bincount(place[right], minlength=bins).astype(np.int64)
    return ConfidenceBins(items, hits, ratio(sums, items), ratio(hits, items))


def calibration_error(confidence: FloatVector, right: BoolVector, bins: int = BINS) -> float:
    """Expected calibration error of the top label, in [0, 1]; arguments, errors and source as `confidence_bins`.

    >>> round(calibration_error(np.array([0.9, 0.9, 0.9, 0.9]), np.array([True, True, True, False])), 3)
    0.15
    """
    return confidence_bins(confidence, right, bins).error


def errors_by_chance(confidence: FloatVector, samples: int, seed: int, bins: int = BINS) -> FloatVector:
    """(samples,) errors that a perfectly calibrated model with these confidences would show on so few items.

    Finite bins are never hit exactly, so the error of a perfect model is above 0: on 150 items by a few hundredths.

    Args:
        confidence: (items,) probability of the predicted class, in [0, 1].
        samples: number of draws of which items are right, each by its own confidence.
    Source: Vaicenavicius et al. 2019, "Evaluating model calibration in classification" (consistency resampling).
    """
    if not len(confidence):
        return np.zeros(samples)
    generator, place = np.random.default_rng(seed), bin_of(confidence, bins)
    order = np.argsort(place, kind="stable")
    ordered = confidence[order]
    starts = np.unique(place[order], return_index=True)[1]
    errors = []
    for size in draw_chunks(samples, len(confidence)):
        gaps = ordered - (generator.random((size, len(ordered))) < ordered)
        errors.append(np.abs(np.add.reduceat(gaps, starts, axis=1)).sum(axis=1) / len(ordered))
    return np.concatenate(errors)


def calibration_interval(error: float, resampled: FloatVector, by_chance: FloatVector, level: float) -> Interval:
    """Interval of a calibration error; it reaches down to 0 wherever chance alone explains the error.

    Resampling inflates this error as the finite sample did, so percentiles never hold a small true one; the basic
    bootstrap takes that back. Where perfect calibration cannot be rejected, 0 belongs to what may be true.

    Args:
        resampled: errors of resampled test sets.
        by_chance: as `errors_by_chance` gives them.
        level: of the interval, in (0, 1).
    Source: docs/decisions/0020, with the coverage that was measured.
    """
    low, high = basic_interval(error, resampled, level)
    return (0.0 if error <= percentile_interval(by_chance, level)[1] else low), high


def _check(confidence: FloatVector, right: BoolVector) -> None:
    if confidence.shape != right.shape or confidence.ndim != 1:
        raise ValueError(f"confidence {confidence.shape} and right {right.shape} are not two vectors of one length")
    if confidence.size and not (confidence.min() >= 0 and confidence.max() <= 1 + 1e-9):
        raise ValueError(f"confidence {confidence.min()}..{confidence.max()} is not within [0, 1]")
