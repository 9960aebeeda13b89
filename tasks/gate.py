"""Stage gate: judge the evaluation against params.yaml; it measures nothing itself.

Run by hand: python -m tasks.gate
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from tasks.errors import StageInputError, counted
from tasks.params import GateParams, Minimum, Params
from tasks.params.gate import JudgedOn
from tasks.plots.report_page import write_report_page
from tasks.reports import Estimate, EvaluationReport, RuleVerdict, Verdict
from tasks.stage import run_stage, say
from tasks.verdicts import JUDGED, differing, evaluated_digests, judged_digests
from tasks.workspace import Workspace


def gate(workspace: Workspace, params: Params) -> None:
    """Write reports/gate.json and the page that shows it; a refusal is a verdict like any other, no fault of gate.

    Raises:
        StageInputError: the evaluation is missing, or what it measured has changed since.
    """
    report = EvaluationReport.read(workspace.evaluation)
    changed = [JUDGED[name] for name in differing(report.digests, evaluated_digests(workspace))]
    if changed:
        raise StageInputError(
            f"reports/evaluation.json measured something else: {', '.join(changed)} changed since; "
            "run `graft adapt` (stage evaluate)"
        )
    rules = list(judge(report, params.gate))
    reasons = [rule.reason for rule in rules if not rule.passed]
    Verdict(passed=not reasons, rules=rules, reasons=reasons, digests=judged_digests(workspace, params.gate)).write(
        workspace.verdict
    )
    write_report_page(workspace, params)
    say("\n".join([f"gate: {'refused' if reasons else 'passed'}", *(f"  {rule.reason}" for rule in rules)]))


def judge(report: EvaluationReport, params: GateParams) -> Iterator[RuleVerdict]:
    """One verdict for each rule of the gate, in the order of the params.

    What is missing or not a number is refused: want of data never passes.
    """
    level = report.confidence
    yield _judge_estimate("accuracy", report.accuracy if report.test_items else None, params.accuracy, level)
    yield _judge_estimate("macro_f1", report.macro_f1 if report.test_items else None, params.macro_f1, level)
    yield _judge_recall(report, params.class_recall)
    yield _judge_count("min_test_items", report.test_items, params.min_test_items)
    yield _judge_items_per_class(report, params.min_test_items_per_class)
    yield _judge_gain("majority", report, params.gain_over_majority)
    yield _judge_gain("raw_pixels", report, params.gain_over_raw_pixels)


def _judge_estimate(
    rule: str, estimate: Estimate | None, minimum: Minimum, confidence: float, subject: str = ""
) -> RuleVerdict:
    """Hold a value or its lower bound against the least value that passes; `subject` says what of, such as a class."""
    if estimate is None:
        return _missing(rule, minimum.minimum, minimum.judged_on, "was not measured: there are no test items")
    value = _judged_value(estimate, minimum.judged_on)
    digits = _telling_digits(value, minimum.minimum)
    interval = f"{100 * confidence:g}% CI {estimate.low:.{digits}f}-{estimate.high:.{digits}f}"
    seen = f"{rule}{subject} {estimate.value:.{digits}f} ({interval})"
    if minimum.judged_on == "lower_bound":
        seen = f"the lower bound of {seen}"
    relation = "reaches" if value >= minimum.minimum else "is below"
    return _compare(rule, value, minimum.minimum, minimum.judged_on, f"{seen} {relation} {minimum.minimum:.{digits}f}")


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


def _judge_gain(baseline: str, report: EvaluationReport, minimum: Minimum) -> RuleVerdict:
    rule = f"gain_over_{baseline}"
    score = next((score for score in report.baselines if score.name == baseline), None)
    if score is None:
        text = f"was not measured: {baseline!r} is not among evaluate.baselines in params.yaml; add it there"
        return _missing(rule, minimum.minimum, minimum.judged_on, text)
    return _judge_estimate(rule, score.gain if report.test_items else None, minimum, report.confidence)


def _judge_count(rule: str, count: int, limit: int, of: str = "") -> RuleVerdict:
    """Hold a number of test items against the fewest that pass; `of` says of which class."""
    seen = f"{counted(count, 'test item')}{of}"
    if count >= limit:
        text = f"{seen} {'reaches' if count == 1 else 'reach'} {limit}"
    else:
        are = "is" if count == 1 else "are"
        text = f"{seen} {are} fewer than {limit}; add labelled items{of}, or raise split.test_share"
    return _compare(rule, float(count), float(limit), "count", text)


def _compare(rule: str, value: float, limit: float, judged_on: str, text: str) -> RuleVerdict:
    if not math.isfinite(value):
        return _missing(rule, limit, judged_on, f"is {value}, which is no measurement")
    return RuleVerdict(
        rule=rule,
        value=value,
        limit=limit,
        margin=value - limit,
        judged_on=judged_on,
        passed=value >= limit,
        reason=f"{text} (params.yaml: gate.{rule})",
    )


def _missing(rule: str, limit: float, judged_on: str, text: str) -> RuleVerdict:
    return RuleVerdict(
        rule=rule,
        value=None,
        limit=limit,
        margin=None,
        judged_on=judged_on,
        passed=False,
        reason=f"{rule} {text} (params.yaml: gate.{rule})",
    )


def _judged_value(estimate: Estimate, judged_on: JudgedOn) -> float:
    return estimate.value if judged_on == "point" else estimate.low


def _or_lowest(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def _telling_digits(value: float, limit: float) -> int:
    """Decimals, at least three, that show on which side of the limit the value lies."""
    for digits in range(3, 9):
        if value == limit or f"{value:.{digits}f}" != f"{limit:.{digits}f}":
            return digits
    return 9


if __name__ == "__main__":
    run_stage("gate", gate)
