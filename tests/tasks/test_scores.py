"""Figures and their intervals from a confusion matrix; how the stage uses them is tested with evaluate."""

from __future__ import annotations

import numpy as np
import pytest
from head_scene import FAST

from tasks.intervals import wilson_interval
from tasks.metrics import log_softmax
from tasks.reports import AdaptationReport, CalibrationReport
from tasks.scores import accuracy_estimate, calibration_report, class_scores, macro_f1_estimate


def test_a_test_set_without_a_mistake_is_not_called_certain() -> None:
    estimate = macro_f1_estimate(np.diag([10, 10]), FAST)
    assert (estimate.value, estimate.high) == (1.0, 1.0)
    assert estimate.low == pytest.approx(wilson_interval(20, 20)[0])


def test_a_higher_confidence_widens_every_interval() -> None:
    confusion = np.array([[18, 2], [4, 16]])
    for estimate in (accuracy_estimate, macro_f1_estimate):
        narrow, wide = (estimate(confusion, FAST.model_copy(update={"confidence": level})) for level in (0.8, 0.99))
        assert wide.low < narrow.low < narrow.high < wide.high
    narrow_class, wide_class = (class_scores(["a", "b"], confusion, level)[0] for level in (0.8, 0.99))
    assert wide_class.recall_low < narrow_class.recall_low


def report_of(raw: np.ndarray, temperature: float, actual: np.ndarray, **params: float) -> CalibrationReport:
    adapted = AdaptationReport(
        method="linear_probe",
        head="logistic",
        labels=["a", "b"],
        feature_width=2,
        graph_sha256="g",
        engine_sha256="e",
        fitted_on=["train"],
        fitted_items=10,
        strength=1.0,
        scores=[],
        out_of_fold_accuracy=None,
        out_of_fold_loss=None,
        temperature=temperature,
        calibrated_on="validation",
        calibration_items=40,
    )
    return calibration_report(raw, raw / temperature, actual, adapted, FAST.model_copy(update=params))


def overconfident(items: int, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits `factor` times those that their labels are drawn by."""
    generator = np.random.default_rng(2)
    honest = generator.normal(0, 2, (items, 3))
    return factor * honest, (honest + generator.gumbel(size=honest.shape)).argmax(axis=1)


def test_the_right_temperature_takes_the_calibration_error_to_what_chance_leaves() -> None:
    raw, actual = overconfident(2000, 3.0)
    report = report_of(raw, 3.0, actual)
    assert (report.temperature, report.calibrated_on, report.calibration_items) == (3.0, "validation", 40)
    assert report.before.ece.low > 0.1
    assert (report.after.ece.low, report.after.ece.value < 2 * report.after.ece_when_calibrated) == (0.0, True)
    assert report.after.brier.high < report.before.brier.low
    assert report.nll_gain.low > 0
    assert [row.items for row in report.before.bins] != [row.items for row in report.after.bins]


def test_the_gain_in_loss_is_paired_and_so_surer_than_either_loss() -> None:
    raw, actual = overconfident(300, 1.3)
    report = report_of(raw, 1.3, actual)
    assert report.nll_gain.value == pytest.approx(report.before.nll.value - report.after.nll.value)
    width = report.nll_gain.high - report.nll_gain.low
    assert width < 0.5 * (report.after.nll.high - report.after.nll.low)


def test_the_interval_of_the_loss_is_that_of_the_normal_approximation_on_many_items() -> None:
    raw, actual = overconfident(4000, 1.0)
    losses = -log_softmax(raw)[np.arange(4000), actual]
    nll = report_of(raw, 1.0, actual, bootstrap_samples=2000).after.nll
    half = 1.96 * losses.std() / np.sqrt(4000)
    assert (nll.value - nll.low, nll.high - nll.value) == pytest.approx((half, half), rel=0.1)


def test_a_single_item_and_a_test_set_without_a_mistake_still_have_their_figures() -> None:
    lone = report_of(np.array([[2.0, 0.0]]), 1.0, np.array([0])).after
    assert lone.ece.value == pytest.approx(1 - 1 / (1 + np.exp(-2)))
    assert (lone.nll.low, lone.nll.high) == (lone.nll.value, lone.nll.value)
    sure = report_of(np.tile([400.0, 0.0], (50, 1)), 1.0, np.zeros(50, dtype=np.int64)).after
    assert (sure.nll.value, sure.brier.value, sure.ece.value, sure.ece_when_calibrated) == (0, 0, 0, 0)
    assert sure.bins[-1].items == 50
    assert sure.bins[-1].accuracy_low < 1


def test_a_certain_mistake_costs_much_and_is_still_a_number() -> None:
    wrong = report_of(np.array([[4000.0, 0.0]] * 3), 1.0, np.ones(3, dtype=np.int64)).after
    assert (wrong.nll.value, wrong.brier.value, wrong.ece.value) == (4000.0, 2.0, 1.0)


def test_calibration_intervals_widen_with_the_confidence() -> None:
    raw, actual = overconfident(200, 3.0)
    narrow, wide = (report_of(raw, 3.0, actual, confidence=level).before for level in (0.8, 0.99))
    for name in ("nll", "brier", "ece"):
        inner, outer = getattr(narrow, name), getattr(wide, name)
        assert outer.low < inner.low < inner.high < outer.high
