"""What predictions are worth: figures with their intervals, as the evaluation reports them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks import metrics
from tasks.calibration import (
    BINS,
    ConfidenceBins,
    bin_of,
    brier_scores,
    calibration_interval,
    confidence_bins,
    errors_by_chance,
)
from tasks.intervals import (
    Interval,
    bootstrap_macro_f1,
    paired_gain_interval,
    percentile_interval,
    resampled_means,
    wilson_interval,
)
from tasks.metrics import BoolVector, FloatMatrix, FloatVector, IntMatrix, IntVector
from tasks.params import EvaluateParams
from tasks.reports import (
    AdaptationReport,
    BaselineScore,
    CalibrationReport,
    CalibrationScores,
    ClassScore,
    Estimate,
    ReliabilityBin,
)
from tasks.threads import one_blas_thread

CHANCE_SAMPLES = 1000
"""Draws for the error that perfectly calibrated probabilities would show."""


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


def baseline_score(
    name: str, guessed: IntVector, predicted: IntVector, actual: IntVector, classes: int, params: EvaluateParams
) -> BaselineScore:
    """A baseline's scores, and the accuracy that the model gains over it on the same items.

    Args:
        guessed, predicted, actual: (items,) class indices: the baseline's, the model's, and the true ones.
    """
    confusion = metrics.confusion_matrix(actual, guessed, classes)
    gain, low, high = paired_gain_interval(actual == predicted, actual == guessed, params.confidence)
    return BaselineScore(
        name=name,
        accuracy=accuracy_estimate(confusion, params),
        macro_f1=macro_f1_estimate(confusion, params),
        gain=Estimate(value=gain, low=low, high=high, method="newcombe, paired"),
    )


def calibration_report(
    raw: FloatMatrix,
    calibrated: FloatMatrix,
    actual: IntVector,
    adapted: AdaptationReport | CalibrationReport,
    params: EvaluateParams,
) -> CalibrationReport:
    """Log-loss, Brier score and calibration error before and after, on the same resampled items.

    Args:
        raw: (items, classes) logits as the head gave them; one item at least.
        calibrated: (items, classes) logits divided by the temperature of `adapted`.
        adapted: what says the temperature and on what it was found.
        actual: (items,) true class indices.
    """
    sides = [_Probabilities.of(logits, actual) for logits in (raw, calibrated)]
    columns = np.column_stack([side.columns for side in sides])
    with one_blas_thread():
        means = resampled_means(columns, params.bootstrap_samples, params.seed)
    width = columns.shape[1] // 2
    before, after = (
        side.scores(means[:, place * width : (place + 1) * width], params) for place, side in enumerate(sides)
    )
    gained = percentile_interval(means[:, 0] - means[:, width], params.confidence)
    return CalibrationReport(
        temperature=adapted.temperature,
        calibrated_on=adapted.calibrated_on,
        calibration_items=adapted.calibration_items,
        before=before,
        after=after,
        nll_gain=_estimate(before.nll.value - after.nll.value, gained, "paired bootstrap"),
    )


@dataclass(frozen=True)
class _Probabilities:
    """What is resampled: `columns` (items, 2 + bins) hold log-loss, Brier score, and the gap in the item's own bin."""

    confidence: FloatVector
    right: BoolVector
    columns: FloatMatrix

    @classmethod
    def of(cls, logits: FloatMatrix, actual: IntVector) -> _Probabilities:
        chances, items = metrics.softmax(logits), np.arange(len(actual))
        confidence, right = chances.max(axis=1), logits.argmax(axis=1) == actual
        gaps = np.zeros((len(actual), BINS))
        gaps[items, bin_of(confidence)] = confidence - right
        losses = -metrics.log_softmax(logits)[items, actual]
        return cls(confidence, right, np.column_stack([losses, brier_scores(chances, actual), gaps]))

    def scores(self, means: FloatMatrix, params: EvaluateParams) -> CalibrationScores:
        """The figures, with intervals from the resampled means of the columns."""
        bins = confidence_bins(self.confidence, self.right)
        losses, briers, gaps = means[:, 0], means[:, 1], means[:, 2:]
        nll, brier = self.columns[:, :2].mean(axis=0)
        by_chance = errors_by_chance(self.confidence, CHANCE_SAMPLES, params.seed)
        resampled = np.abs(gaps).sum(axis=1)
        ece = calibration_interval(bins.error, resampled, by_chance, params.confidence)
        return CalibrationScores(
            nll=_estimate(nll, percentile_interval(losses, params.confidence), "bootstrap"),
            brier=_estimate(brier, percentile_interval(briers, params.confidence), "bootstrap"),
            ece=_estimate(bins.error, ece, "basic bootstrap, from 0 where chance explains the error"),
            ece_when_calibrated=float(by_chance.mean()),
            bins=_reliability(bins, params.confidence),
        )


def _reliability(bins: ConfidenceBins, level: float) -> list[ReliabilityBin]:
    rows = []
    for place, (items, right) in enumerate(zip(bins.items.tolist(), bins.right.tolist(), strict=True)):
        low, high = wilson_interval(right, items, level)
        rows.append(
            ReliabilityBin(
                low=place / len(bins.items),
                high=(place + 1) / len(bins.items),
                items=items,
                confidence=float(bins.confidence[place]) if items else None,
                accuracy=float(bins.accuracy[place]) if items else None,
                accuracy_low=low,
                accuracy_high=high,
            )
        )
    return rows


def _estimate(value: float, interval: Interval, method: str) -> Estimate:
    """An interval never excludes its value, not even where all items are alike and rounding alone parts them."""
    return Estimate(
        value=float(value), low=min(interval[0], float(value)), high=max(interval[1], float(value)), method=method
    )
