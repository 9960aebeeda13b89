"""What evaluate measured on the test items."""

from __future__ import annotations

from typing import ClassVar

from tasks.reports.comparison import PairedComparison
from tasks.reports.document import Record, Report
from tasks.reports.estimate import Estimate


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


class ReliabilityBin(Record):
    """Items whose confidence, the probability of the predicted class, lies in (low, high].

    Means over the bin's items; null in an empty bin. The bounds of the accuracy are Wilson's.
    """

    low: float
    high: float
    items: int
    confidence: float | None
    accuracy: float | None
    accuracy_low: float
    accuracy_high: float


class CalibrationScores(Record):
    """How good probabilities are; of all three less is better, and 0 is perfect.

    Attributes:
        nll: mean negative log-likelihood of the true class, in nats.
        brier: squared distance from the truth summed over the classes, in [0, 2].
        ece: expected calibration error of the predicted class, in [0, 1].
        ece_when_calibrated: the ECE that perfectly calibrated probabilities would show on as many items.
        bins: of the reliability diagram, from the lowest confidence on, empty ones among them.
    """

    nll: Estimate
    brier: Estimate
    ece: Estimate
    ece_when_calibrated: float
    bins: list[ReliabilityBin]


class CalibrationReport(Record):
    """The probabilities as the model gave them (`before`) and divided by the temperature (`after`), as served.

    Attributes:
        calibrated_on: `out_of_fold` or `validation`; null: no item could be held out, and the temperature is 1.
        nll_gain: nll before - nll after, on the same resampled items.
    """

    temperature: float
    calibrated_on: str | None
    calibration_items: int
    before: CalibrationScores
    after: CalibrationScores
    nll_gain: Estimate


class EvaluatedDigests(Record):
    """sha256 of what was evaluated and what came out.

    `champion_pin` and `champion_predictions` are null where no earlier release is pinned, `baseline_predictions` in
    evaluations of an earlier Graft.
    """

    data: str
    adapted: str
    splits: str
    predictions: str
    champion_pin: str | None = None
    champion_predictions: str | None = None
    baseline_predictions: str | None = None


class EvaluationReport(Report):
    """Every figure is of the calibrated probabilities, which are those served.

    `baselines` are majority and raw_pixels as params.yaml asks, linear_probe beside every trained network, and
    from_scratch where it was trained, whose `gain` is the gain from transfer.
    `calibration` is null where there is no test item, and in reports of an earlier Graft. `test_set` is the sha256 of
    the test items and their labels, `comparisons` are with the pinned releases (data/champion.json), champion first.
    """

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
    calibration: CalibrationReport | None = None
    test_set: str | None = None
    comparisons: list[PairedComparison] = []
