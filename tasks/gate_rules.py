"""The rules of the gate: an evaluation held against params.yaml, of the model and of every form it is released in."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tasks.errors import counted
from tasks.params import GateParams, Minimum
from tasks.params.gate import ErrorJudgedOn
from tasks.plots.probe_comparison import no_better_text
from tasks.reports import AdaptationReport, Estimate, EvaluationReport, RuleVerdict
from tasks.reports.verdict import LimitIs

ANEW = "run `graft adapt` (stage evaluate)"
UNMEASURED = {
    "majority": "'majority' is not among evaluate.baselines in params.yaml; add it there",
    "raw_pixels": "'raw_pixels' is not among evaluate.baselines in params.yaml; add it there",
    "linear_probe": "the model is the linear probe itself; set adapt.method.name to a method that trains the network",
    "from_scratch": "no network was trained from random weights; set adapt.from_scratch to always",
}
"""Why a baseline is missing, and the mend."""


def judge(
    report: EvaluationReport, params: GateParams, adaptation: AdaptationReport | None = None
) -> Iterator[RuleVerdict]:
    """One verdict for each rule of the gate, in the order of the params.

    What is missing or not a number is refused: want of data never passes.

    Args:
        adaptation: says why there is no model beside the linear probe.
    """
    level = report.confidence
    yield _judge_estimate("accuracy", report.accuracy if report.test_items else None, params.accuracy, level)
    yield _judge_estimate("macro_f1", report.macro_f1 if report.test_items else None, params.macro_f1, level)
    yield _judge_recall(report, params.class_recall)
    yield _judge_count("min_test_items", report.test_items, params.min_test_items)
    yield _judge_items_per_class(report, params.min_test_items_per_class)
    yield _judge_gain("majority", report, params.gain_over_majority)
    yield _judge_gain("raw_pixels", report, params.gain_over_raw_pixels)
    for name, optional in (
        ("linear_probe", params.gain_over_linear_probe),
        ("from_scratch", params.gain_over_from_scratch),
    ):
        if optional.minimum is not None:
            minimum = Minimum(minimum=optional.minimum, judged_on=optional.judged_on)
            yield _judge_gain(name, report, minimum, _why_unmeasured(name, adaptation))
    if params.calibration_error.maximum is not None:
        yield _judge_calibration(report, params.calibration_error.maximum, params.calibration_error.judged_on)


def _judge_estimate(
    rule: str, estimate: Estimate | None, minimum: Minimum, confidence: float, subject: str = ""
) -> RuleVerdict:
    """Hold a value or its lower bound against the least value that passes; `subject` says what of, such as a class."""
    if estimate is None:
        return _missing(rule, minimum.minimum, minimum.judged_on, "was not measured: there are no test items")
    value = _judged_value(estimate, minimum.judged_on)
    digits = _telling_digits(value, minimum.minimum)
    seen = _seen(f"{rule}{subject}", estimate, minimum.judged_on, confidence, digits)
    relation = "reaches" if value >= minimum.minimum else "is below"
    return _compare(rule, value, minimum.minimum, minimum.judged_on, f"{seen} {relation} {minimum.minimum:.{digits}f}")


def _seen(what: str, estimate: Estimate, judged_on: ErrorJudgedOn, confidence: float, digits: int) -> str:
    interval = f"{100 * confidence:g}% CI {estimate.low:.{digits}f}-{estimate.high:.{digits}f}"
    seen = f"{what} {estimate.value:.{digits}f}"
    if judged_on == "point":
        return f"{seen} ({interval})"
    return f"{seen}, {judged_on.replace('_', ' ')} {_judged_value(estimate, judged_on):.{digits}f} ({interval}),"


def _judge_recall(report: EvaluationReport, minimum: Minimum) -> RuleVerdict:
    """Judge the class with the lowest recall, or the lowest lower bound; a class without test items has no recall."""
    unseen = [score.label for score in report.per_class if not score.items]
    if unseen or not report.per_class:
        text = f"was not measured for every class: no test items of {', '.join(map(repr, unseen)) or 'any class'}"
        return _missing("class_recall", minimum.minimum, minimum.judged_on, text)
    recalls = [
        (score.label, Estimate(value=score.recall, low=score.recall_low, high=score.recall_high, method="wilson"))
        for score in report.per_class
    ]
    label, worst = min(recalls, key=lambda named: _or_lowest(_judged_value(named[1], minimum.judged_on)))
    return _judge_estimate("class_recall", worst, minimum, report.confidence, f" of {label!r}")


def _judge_items_per_class(report: EvaluationReport, limit: int) -> RuleVerdict:
    smallest = min(report.per_class, key=lambda score: score.items, default=None)
    items, label = (smallest.items, repr(smallest.label)) if smallest else (0, "any class")
    return _judge_count("min_test_items_per_class", items, limit, f" of {label}")


def _why_unmeasured(baseline: str, adaptation: AdaptationReport | None) -> str:
    """Why a baseline is missing, with the mend."""
    training = adaptation.training if adaptation and adaptation.method == "linear_probe" else None
    if baseline != "linear_probe" or training is None:
        return UNMEASURED[baseline]
    mend = "set other settings under adapt.method, or adapt.keep_best to false"
    return f"training {no_better_text(training)}, and adapt.keep_best kept the probe; {mend}"


def _judge_gain(baseline: str, report: EvaluationReport, minimum: Minimum, why: str = "") -> RuleVerdict:
    rule = f"gain_over_{baseline}"
    score = next((score for score in report.baselines if score.name == baseline), None)
    if score is None:
        text = f"was not measured: {why or UNMEASURED[baseline]}"
        return _missing(rule, minimum.minimum, minimum.judged_on, text)
    return _judge_estimate(rule, score.gain if report.test_items else None, minimum, report.confidence)


def _judge_calibration(report: EvaluationReport, maximum: float, judged_on: ErrorJudgedOn) -> RuleVerdict:
    """Hold the calibration error of the served probabilities against the greatest that passes."""
    rule = "calibration_error"
    if report.calibration is None:
        text = "was not measured: there are no test items" if not report.test_items else f"was not measured; {ANEW}"
        return _missing(rule, maximum, judged_on, text, "maximum")
    estimate = report.calibration.after.ece
    value = _judged_value(estimate, judged_on)
    digits = _telling_digits(value, maximum)
    relation = "does not exceed" if value <= maximum else "exceeds"
    text = f"{_seen(rule, estimate, judged_on, report.confidence, digits)} {relation} {maximum:.{digits}f}"
    return _compare(rule, value, maximum, judged_on, text, "maximum")


def _judge_count(rule: str, count: int, limit: int, of: str = "") -> RuleVerdict:
    """Hold a number of test items against the fewest that pass; `of` says of which class."""
    seen = f"{counted(count, 'test item')}{of}"
    if count >= limit:
        text = f"{seen} {'reaches' if count == 1 else 'reach'} {limit}"
    else:
        are = "is" if count == 1 else "are"
        text = f"{seen} {are} fewer than {limit}; add labelled items{of}, or raise split.test_share"
    return _compare(rule, float(count), float(limit), "count", text)


def _compare(
    rule: str, value: float, limit: float, judged_on: str, text: str, limit_is: LimitIs = "minimum"
) -> RuleVerdict:
    if not math.isfinite(value):
        return _missing(rule, limit, judged_on, f"is {value}, which is no measurement", limit_is)
    margin = value - limit if limit_is == "minimum" else limit - value
    return RuleVerdict(
        rule=rule,
        value=value,
        limit=limit,
        margin=margin,
        judged_on=judged_on,
        passed=margin >= 0,
        reason=f"{text} (params.yaml: gate.{rule})",
        limit_is=limit_is,
    )


def _missing(rule: str, limit: float, judged_on: str, text: str, limit_is: LimitIs = "minimum") -> RuleVerdict:
    return RuleVerdict(
        rule=rule,
        value=None,
        limit=limit,
        margin=None,
        judged_on=judged_on,
        passed=False,
        reason=f"{rule} {text} (params.yaml: gate.{rule})",
        limit_is=limit_is,
    )


def _judged_value(estimate: Estimate, judged_on: ErrorJudgedOn) -> float:
    return {"point": estimate.value, "lower_bound": estimate.low, "upper_bound": estimate.high}[judged_on]


def _or_lowest(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def _telling_digits(value: float, limit: float) -> int:
    """Decimals, at least three, that show on which side of the limit the value lies."""
    for digits in range(3, 9):
        if value == limit or f"{value:.{digits}f}" != f"{limit:.{digits}f}":
            return digits
    return 9
