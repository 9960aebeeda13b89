"""Calibration as the model page shows it: one table of scores before and after, and one diagram."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.plots.charts import Chart
from tasks.plots.number_text import counted_text, interval_text, ratio_text, strength_text
from tasks.plots.reliability_chart import reliability_chart
from tasks.reports import Estimate
from tasks.reports.evaluation import CalibrationReport

_MEASURED_ON = {"out_of_fold": "out-of-fold prediction", "validation": "validation item"}


@dataclass(frozen=True)
class ScoreRow:
    """One score before and after, value and interval as text."""

    name: str
    title: str
    before: tuple[str, str]
    after: tuple[str, str]


@dataclass(frozen=True)
class CalibrationView:
    """`scaled` is whether a temperature changed anything; if not, `after` is all there is."""

    scaled: bool
    says: str
    rows: list[ScoreRow]
    chart: Chart
    floor: str


def calibration_view(calibration: CalibrationReport | None) -> CalibrationView | None:
    """None where nothing was measured: no test item, or a report of an earlier Graft."""
    chart = reliability_chart(calibration) if calibration else None
    if calibration is None or chart is None:
        return None
    before, after = calibration.before, calibration.after
    names = (
        ("Log loss (NLL)", "mean negative log-likelihood of the true class, in nats", before.nll, after.nll),
        ("Brier score", "squared distance from the truth, summed over the classes", before.brier, after.brier),
        ("Calibration error (ECE)", "how far confidence and accuracy lie apart, on average", before.ece, after.ece),
    )
    return CalibrationView(
        scaled=calibration.temperature != 1,
        says=temperature_text(calibration),
        rows=[ScoreRow(name, title, _cell(old), _cell(new)) for name, title, old, new in names],
        chart=chart,
        floor=ratio_text(after.ece_when_calibrated),
    )


def temperature_text(calibration: CalibrationReport) -> str:
    """What the probabilities were calibrated with, in a sentence."""
    if calibration.calibrated_on is None:
        return "No item could be held out to calibrate on, so the probabilities stand as the model gives them."
    items = counted_text(calibration.calibration_items, _MEASURED_ON.get(calibration.calibrated_on, "item"))
    drawn = "less sure" if calibration.temperature > 1 else "surer"
    moves = f", which makes the model {drawn}" if calibration.temperature != 1 else ""
    temperature = strength_text(calibration.temperature)
    return f"The logits are divided by a temperature of {temperature}{moves}; it was fitted on {items}."


def _cell(estimate: Estimate) -> tuple[str, str]:
    return ratio_text(estimate.value), interval_text(estimate)
