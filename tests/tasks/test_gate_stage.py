"""Stage gate and the check of its verdict: every rule can refuse, nothing passes for want of data or on stale files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import page_sources
import pytest
from head_scene import NAMES, fast_params, write_evaluated_scene, write_scene
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.adapt import adapt
from tasks.digests import file_sha256, folder_sha256, value_sha256
from tasks.errors import GateNotPassed, StageInputError
from tasks.evaluate import evaluate
from tasks.gate import gate
from tasks.gate_rules import judge
from tasks.intervals import paired_gain_interval
from tasks.metrics import confusion_matrix
from tasks.params import EvaluateParams, GateParams
from tasks.reports import (
    AdaptationReport,
    BaselineScore,
    CalibrationReport,
    Estimate,
    EvaluatedDigests,
    EvaluationReport,
    ProbeComparison,
    RuleVerdict,
    ValidationReport,
    Verdict,
)
from tasks.scores import accuracy_estimate, calibration_report, class_scores, macro_f1_estimate
from tasks.verdicts import check_verdict
from tasks.workspace import Workspace

FAST = EvaluateParams(bootstrap_samples=100)
RULES = [
    "accuracy",
    "macro_f1",
    "class_recall",
    "min_test_items",
    "min_test_items_per_class",
    "gain_over_majority",
    "gain_over_raw_pixels",
    "calibration_error",
]
ASKED = [*RULES, "gain_over_linear_probe", "gain_over_from_scratch"]
"""With the rules that stand off by default."""


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A scene that adapt and evaluate have been through; copied, never changed."""
    return write_evaluated_scene(tmp_path_factory.mktemp("evaluated"))


@pytest.fixture
def workspace(evaluated: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(evaluated.root, tmp_path, dirs_exist_ok=True)
    return Workspace(tmp_path)


PROBE = AdaptationReport(
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
)


def calibration_of(actual: np.ndarray, predicted: np.ndarray, confidence: float = 0.95) -> CalibrationReport:
    """Two classes, every prediction made with the same confidence, a temperature of 1."""
    logits = np.where(np.eye(2, dtype=bool)[predicted], np.log(confidence / (1 - confidence)), 0.0)
    return calibration_report(logits, logits, actual, PROBE, FAST)


def measured(
    actual: np.ndarray, predicted: np.ndarray, baselines: bool = True, confidence: float = 0.95
) -> EvaluationReport:
    """The report that evaluate would write for these predictions, against baselines that are half right."""
    confusion = confusion_matrix(actual, predicted, 2)
    guessed = np.zeros_like(actual)
    gain = Estimate(
        **dict(
            zip(("value", "low", "high"), paired_gain_interval(predicted == actual, guessed == actual), strict=True)
        ),
        method="newcombe, paired",
    )
    guess = confusion_matrix(actual, guessed, 2)
    scores = [
        BaselineScore(
            name=name, accuracy=accuracy_estimate(guess, FAST), macro_f1=macro_f1_estimate(guess, FAST), gain=gain
        )
        for name in ("majority", "raw_pixels", "linear_probe", "from_scratch")
    ]
    return EvaluationReport(
        confidence=0.95,
        labels=["a", "b"],
        train_items=10,
        validation_items=0,
        test_items=len(actual),
        accuracy=accuracy_estimate(confusion, FAST),
        macro_f1=macro_f1_estimate(confusion, FAST),
        per_class=class_scores(["a", "b"], confusion, 0.95),
        confusion=confusion.tolist(),
        baselines=scores if baselines else [],
        digests=EvaluatedDigests(data="d", adapted="a", splits="s", predictions="p"),
        calibration=calibration_of(actual, predicted, confidence),
    )


def verdicts(report: EvaluationReport, **rules: Any) -> dict[str, RuleVerdict]:
    return {verdict.rule: verdict for verdict in judge(report, GateParams.model_validate(rules))}


ACTUAL = np.repeat([0, 1], 30)
NEARLY_RIGHT = np.concatenate([np.zeros(27), np.ones(3), np.ones(30)]).astype(np.int64)


def test_a_good_model_passes_and_the_verdict_names_every_rule_and_digest(workspace: Workspace) -> None:
    params = fast_params()
    gate(workspace, params)
    verdict = Verdict.read(workspace.verdict)
    assert verdict.passed
    assert verdict.reasons == []
    assert [rule.rule for rule in verdict.rules] == RULES
    for rule in verdict.rules:
        assert rule.value is not None
        gap = rule.value - rule.limit
        assert rule.margin == pytest.approx(-gap if rule.limit_is == "maximum" else gap)
        assert rule.margin >= 0
        assert rule.reason.endswith(f"(params.yaml: gate.{rule.rule})")
    assert verdict.digests.adapted == folder_sha256(workspace.adapted)
    assert verdict.digests.evaluation == file_sha256(workspace.evaluation)
    assert verdict.digests.gate_params == value_sha256(params.gate.model_dump(mode="json"))
    assert check_verdict(workspace, params) == verdict


@pytest.mark.parametrize(
    ("rule", "limit"),
    [
        ("accuracy", {"minimum": 1.0}),
        ("macro_f1", {"minimum": 1.0}),
        ("class_recall", {"minimum": 1.0}),
        ("min_test_items", 61),
        ("min_test_items_per_class", 21),
        ("gain_over_majority", {"minimum": 0.9}),
        ("gain_over_raw_pixels", {"minimum": 0.9}),
        ("calibration_error", {"maximum": 0.0, "judged_on": "point"}),
    ],
)
def test_each_rule_alone_can_refuse_and_the_stage_itself_succeeds(
    rule: str, limit: object, workspace: Workspace
) -> None:
    params = fast_params(**{rule: limit})
    gate(workspace, params)
    verdict = Verdict.read(workspace.verdict)
    assert not verdict.passed
    assert [failed.rule for failed in verdict.rules if not failed.passed] == [rule]
    assert len(verdict.reasons) == 1
    with pytest.raises(GateNotPassed, match=rf"gate\.{rule}\)$"):
        check_verdict(workspace, params)


def test_the_reason_shows_value_interval_limit_and_where_the_limit_stands() -> None:
    accuracy = verdicts(measured(ACTUAL, NEARLY_RIGHT), accuracy={"minimum": 0.98})["accuracy"]
    assert accuracy.reason == "accuracy 0.950 (95% CI 0.863-0.983) is below 0.980 (params.yaml: gate.accuracy)"
    recall = verdicts(measured(ACTUAL, NEARLY_RIGHT), class_recall={"minimum": 0.95})["class_recall"]
    assert recall.reason.startswith("class_recall of 'a' 0.900 (95% CI ")
    items = verdicts(measured(ACTUAL, NEARLY_RIGHT), min_test_items=60)["min_test_items"]
    assert items.reason == "60 test items reach 60 (params.yaml: gate.min_test_items)"


def test_too_few_test_items_are_refused_with_the_mend() -> None:
    rules = verdicts(measured(ACTUAL, NEARLY_RIGHT), min_test_items=61, min_test_items_per_class=31)
    assert rules["min_test_items"].reason == (
        "60 test items are fewer than 61; add labelled items, or raise split.test_share "
        "(params.yaml: gate.min_test_items)"
    )
    assert rules["min_test_items_per_class"].reason == (
        "30 test items of 'a' are fewer than 31; add labelled items of 'a', or raise split.test_share "
        "(params.yaml: gate.min_test_items_per_class)"
    )
    lone = measured(ACTUAL, NEARLY_RIGHT).model_copy(update={"test_items": 1})
    assert verdicts(lone)["min_test_items"].reason.startswith("1 test item is fewer than ")


def test_the_reason_has_as_many_digits_as_it_takes_to_tell_value_and_limit_apart() -> None:
    accuracy = verdicts(measured(ACTUAL, NEARLY_RIGHT), accuracy={"minimum": 0.95001})["accuracy"]
    assert not accuracy.passed
    assert accuracy.reason.startswith("accuracy 0.95000 (")
    assert "is below 0.95001" in accuracy.reason


@pytest.mark.parametrize("rule", ["accuracy", "macro_f1", "class_recall", "gain_over_majority", "gain_over_raw_pixels"])
def test_a_limit_between_lower_bound_and_value_passes_the_point_and_refuses_the_bound(rule: str) -> None:
    report = measured(ACTUAL, NEARLY_RIGHT)
    point = verdicts(report, **{rule: {"judged_on": "point"}})[rule]
    bound = verdicts(report, **{rule: {"judged_on": "lower_bound"}})[rule]
    assert point.value is not None
    assert bound.value is not None
    assert bound.value < point.value
    between = (bound.value + point.value) / 2
    assert verdicts(report, **{rule: {"minimum": between, "judged_on": "point"}})[rule].passed
    refused = verdicts(report, **{rule: {"minimum": between, "judged_on": "lower_bound"}})[rule]
    assert not refused.passed
    assert refused.reason.startswith(rule)
    assert f", lower bound {bound.value:.3f} (95% CI " in refused.reason
    assert "), is below " in refused.reason


def test_a_value_that_equals_its_limit_passes() -> None:
    assert verdicts(measured(ACTUAL, NEARLY_RIGHT), accuracy={"minimum": 57 / 60})["accuracy"].passed


def test_a_rule_whose_baseline_was_not_measured_is_refused_and_says_where_to_ask_for_it() -> None:
    report = measured(ACTUAL, ACTUAL, baselines=False)
    for baseline in ("majority", "raw_pixels"):
        verdict = verdicts(report)[f"gain_over_{baseline}"]
        assert (verdict.passed, verdict.value, verdict.margin) == (False, None, None)
        assert f"'{baseline}' is not among evaluate.baselines" in verdict.reason


def test_without_test_items_every_rule_refuses(tmp_path: Path) -> None:
    workspace = write_evaluated_scene(tmp_path, per_side={"train": 12})
    lenient = {rule: {"minimum": 0.0} for rule in RULES if not rule.startswith("min_")}
    lenient |= {rule: {"minimum": -1.0} for rule in ("gain_over_majority", "gain_over_raw_pixels")}
    lenient |= {"calibration_error": {"maximum": 1.0}}
    gate(workspace, fast_params(**lenient))
    verdict = Verdict.read(workspace.verdict)
    assert [rule.rule for rule in verdict.rules if not rule.passed] == RULES


def test_a_class_without_test_items_is_refused_by_name_whatever_the_limit() -> None:
    rules = verdicts(measured(np.zeros(60, dtype=np.int64), np.zeros(60, dtype=np.int64)), class_recall={"minimum": 0})
    assert not rules["class_recall"].passed
    assert "no test items of 'b'" in rules["class_recall"].reason
    assert "0 test items of 'b'" in rules["min_test_items_per_class"].reason


@pytest.mark.parametrize("rule", ["accuracy", "macro_f1"])
@pytest.mark.parametrize("value", [float("nan"), float("-inf"), float("inf")])
def test_what_is_no_number_never_passes(rule: str, value: float) -> None:
    report = measured(ACTUAL, ACTUAL)
    broken = Estimate(value=value, low=value, high=value, method="broken")
    verdict = verdicts(report.model_copy(update={rule: broken}), **{rule: {"minimum": -1}})[rule]
    assert (verdict.passed, verdict.value) == (False, None)
    assert "no measurement" in verdict.reason


def test_a_recall_that_is_no_number_is_not_hidden_by_a_better_class() -> None:
    report = measured(ACTUAL, ACTUAL)
    for place in (0, 1):
        scores = list(report.per_class)
        scores[place] = scores[place].model_copy(update={"recall": float("nan")})
        assert not verdicts(report.model_copy(update={"per_class": scores}))["class_recall"].passed


CALIBRATED = np.concatenate([np.zeros(28), np.ones(2), np.ones(29), np.zeros(1)]).astype(np.int64)
"""57 of 60 right, so a confidence of 0.95 is honest."""


def test_the_default_gate_refuses_probabilities_that_are_shown_to_be_wrong_and_lets_honest_ones_pass() -> None:
    honest = verdicts(measured(ACTUAL, CALIBRATED, confidence=0.95))["calibration_error"]
    assert (honest.passed, honest.limit_is, honest.judged_on) == (True, "maximum", "lower_bound")
    assert honest.value == 0.0
    for confidence in (0.6, 0.8):
        timid = verdicts(measured(ACTUAL, CALIBRATED, confidence=confidence))["calibration_error"]
        assert not timid.passed
        assert timid.value is not None
        assert timid.margin == pytest.approx(0.05 - timid.value)
        assert timid.reason.startswith("calibration_error ")
        assert f", lower bound {timid.value:.3f} (95% CI " in timid.reason
        assert timid.reason.endswith("), exceeds 0.050 (params.yaml: gate.calibration_error)")
    guesses = np.where(np.arange(60) % 4 == 0, 1 - ACTUAL, ACTUAL)
    assert not verdicts(measured(ACTUAL, guesses, confidence=0.99))["calibration_error"].passed


def test_a_maximum_is_held_against_the_point_or_either_bound_and_equality_passes() -> None:
    report = measured(ACTUAL, CALIBRATED, confidence=0.8)
    assert report.calibration is not None
    error = report.calibration.after.ece
    assert 0 < error.low < error.value < error.high
    for judged_on, value in (("point", error.value), ("lower_bound", error.low), ("upper_bound", error.high)):
        at = verdicts(report, calibration_error={"maximum": value, "judged_on": judged_on})["calibration_error"]
        assert (at.passed, at.value, at.margin) == (True, value, 0.0)
        below = {"maximum": value - 1e-6, "judged_on": judged_on}
        refused = verdicts(report, calibration_error=below)["calibration_error"]
        assert not refused.passed
        assert refused.margin == pytest.approx(-1e-6)
        assert "exceeds" in refused.reason


def test_a_null_limit_asks_nothing_and_gains_over_other_models_are_asked_only_where_set() -> None:
    report = measured(ACTUAL, ACTUAL)
    assert list(verdicts(report)) == RULES
    assert "calibration_error" not in verdicts(report, calibration_error={"maximum": None})
    asked = verdicts(report, gain_over_linear_probe={"minimum": 0.4}, gain_over_from_scratch={"minimum": 0.6})
    assert set(asked) == set(ASKED)
    assert asked["gain_over_linear_probe"].passed
    assert not asked["gain_over_from_scratch"].passed


def test_a_gain_over_a_model_that_was_not_trained_is_refused_with_the_mend() -> None:
    report = measured(ACTUAL, ACTUAL, baselines=False)
    asked = verdicts(report, gain_over_linear_probe={"minimum": -1}, gain_over_from_scratch={"minimum": -1})
    for rule, mend in (
        ("gain_over_linear_probe", "adapt.method.name"),
        ("gain_over_from_scratch", "adapt.from_scratch"),
    ):
        assert (asked[rule].passed, asked[rule].value) == (False, None)
        assert mend in asked[rule].reason


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ((0.941, 0.4, 0.948, 0.3), "training ended below the linear probe (0.941 against 0.948 on "),
        ((0.9, 0.4, 0.9, 0.3), "training was no better than the linear probe (accuracy equal, log loss 0.400 against "),
        (None, "training could not be judged, as too few items can be held out"),
    ],
)
def test_a_gain_over_the_probe_that_was_kept_tells_how_the_training_fared(
    figures: tuple[float, float, float, float] | None, said: str
) -> None:
    names = ("accuracy", "loss", "probe_accuracy", "probe_loss")
    against = ProbeComparison(items=40, **dict(zip(names, figures, strict=True))) if figures else None
    run = page_sources.training(judged_by="validation" if figures else "nothing", probe=None)
    kept = PROBE.model_copy(update={"training": run.model_copy(update={"against_probe": against})})
    params = GateParams.model_validate({"gain_over_linear_probe": {"minimum": 0.0}})
    rules = {rule.rule: rule for rule in judge(measured(ACTUAL, ACTUAL, baselines=False), params, kept)}
    reason = rules["gain_over_linear_probe"].reason
    assert f"was not measured: {said}" in reason
    assert "and adapt.keep_best kept the probe; set other settings under adapt.method" in reason


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), float("inf"), None])
@pytest.mark.parametrize("judged_on", ["point", "lower_bound", "upper_bound"])
def test_a_calibration_error_that_is_missing_or_no_number_never_passes(value: float | None, judged_on: str) -> None:
    report = measured(ACTUAL, ACTUAL)
    assert report.calibration is not None
    broken = None
    if value is not None:
        error = Estimate(value=value, low=value, high=value, method="broken")
        after = report.calibration.after.model_copy(update={"ece": error})
        broken = report.calibration.model_copy(update={"after": after})
    rules = {"calibration_error": {"maximum": 1.0, "judged_on": judged_on}}
    verdict = verdicts(report.model_copy(update={"calibration": broken}), **rules)["calibration_error"]
    assert (verdict.passed, verdict.value, verdict.limit_is) == (False, None, "maximum")
    assert "no measurement" in verdict.reason or "run `graft adapt`" in verdict.reason


def test_the_gate_judges_the_probabilities_that_are_served_not_those_before_calibration(workspace: Workspace) -> None:
    """A temperature that spoils sound logits is refused, and named with its figures."""
    adapted = AdaptationReport.read(workspace.adapted / "adapted.json")
    adapted.model_copy(update={"temperature": 12.0}).write(workspace.adapted / "adapted.json")
    evaluate(workspace, fast_params())
    gate(workspace, fast_params())
    verdict = Verdict.read(workspace.verdict)
    assert [rule.rule for rule in verdict.rules if not rule.passed] == ["calibration_error"]
    with pytest.raises(GateNotPassed, match=r"calibration_error 0\.\d+, lower bound .* exceeds 0\.050"):
        check_verdict(workspace, fast_params())


RATES = st.floats(0, 1)


def limits(data: st.DataObject, judged_on: st.SearchStrategy[str]) -> dict[str, dict[str, object]]:
    """Any limit for every rule that has one between 0 and 1."""
    drawn: dict[str, dict[str, object]] = {}
    for rule in ASKED:
        if not rule.startswith("min_"):
            kind = "maximum" if rule == "calibration_error" else "minimum"
            drawn[rule] = {kind: data.draw(RATES), "judged_on": data.draw(judged_on)}
    return drawn


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_better_metric_never_turns_a_passed_gate_into_a_failed_one(data: st.DataObject) -> None:
    """Raise every value and every bound by any amount: what passed still passes."""
    draw = data.draw

    def better(estimate: Estimate) -> Estimate:
        value, low = (draw(st.floats(old, 1)) for old in (estimate.value, estimate.low))
        return estimate.model_copy(update={"value": value, "low": low, "high": 1.0})

    def calibrated_better(old: CalibrationReport) -> CalibrationReport:
        bounds = {name: draw(st.floats(0, getattr(old.after.ece, name))) for name in ("value", "low", "high")}
        after = old.after.model_copy(update={"ece": old.after.ece.model_copy(update=bounds)})
        return old.model_copy(update={"after": after})

    report = measured(ACTUAL, np.array(draw(st.lists(st.integers(0, 1), min_size=60, max_size=60))))
    assert report.calibration is not None
    improved = report.model_copy(
        update={
            "accuracy": better(report.accuracy),
            "macro_f1": better(report.macro_f1),
            "per_class": [
                score.model_copy(
                    update={
                        "recall": draw(st.floats(score.recall, 1)),
                        "recall_low": draw(st.floats(score.recall_low, 1)),
                    }
                )
                for score in report.per_class
            ],
            "baselines": [score.model_copy(update={"gain": better(score.gain)}) for score in report.baselines],
            "calibration": calibrated_better(report.calibration),
        }
    )
    rules = limits(data, st.sampled_from(["point", "lower_bound"]))
    before, after = verdicts(report, **rules), verdicts(improved, **rules)
    assert set(before) == set(ASKED)
    assert all(after[rule].passed for rule in ASKED if before[rule].passed)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_mending_a_mistake_never_turns_a_passed_gate_into_a_failed_one(data: st.DataObject) -> None:
    """From predictions to verdict, rules judged on the point value; every prediction is made as certain.

    A timid model that is right once more is worse calibrated, and rightly so: calibration is not accuracy.
    """
    predicted = np.array(data.draw(st.lists(st.integers(0, 1), min_size=60, max_size=60)))
    row = data.draw(st.integers(0, 59))
    mended = predicted.copy()
    mended[row] = ACTUAL[row]
    rules = limits(data, st.just("point"))
    before, after = (
        verdicts(measured(ACTUAL, answers, confidence=1 - 1e-9), **rules) for answers in (predicted, mended)
    )
    assert all(after[rule].passed for rule in ASKED if before[rule].passed)


# stale files


def adapt_anew(workspace: Workspace) -> None:
    """Another model under the same names, from other features."""
    features = np.load(workspace.features)
    np.save(workspace.features, features * np.float32(1.5))
    adapt(workspace, fast_params())


def swap_a_prediction(workspace: Workspace) -> None:
    workspace.predictions.write_bytes(workspace.predictions.read_bytes() + b"\0")


def move_an_item(workspace: Workspace) -> None:
    workspace.splits.write_bytes(workspace.splits.read_bytes() + b"\0")


def change_the_data(workspace: Workspace) -> None:
    report = ValidationReport.read(workspace.validation)
    report.model_copy(update={"data_digest": "f" * 64}).write(workspace.validation)


def improve_the_evaluation(workspace: Workspace) -> None:
    report = EvaluationReport.read(workspace.evaluation)
    report.model_copy(update={"accuracy": report.accuracy.model_copy(update={"value": 1.0})}).write(
        workspace.evaluation
    )


STALE = pytest.mark.parametrize(
    ("change", "named"),
    [
        (adapt_anew, "models/adapted/"),
        (swap_a_prediction, "reports/predictions.parquet"),
        (move_an_item, "data/splits.parquet"),
        (change_the_data, "the data"),
    ],
)


@STALE
def test_gate_refuses_to_judge_an_evaluation_of_something_else(
    change: Callable[[Workspace], None], named: str, workspace: Workspace
) -> None:
    change(workspace)
    with pytest.raises(StageInputError, match=rf"measured something else: {named}.*run `graft adapt`"):
        gate(workspace, fast_params())
    assert not workspace.verdict.exists()


@STALE
def test_a_passed_verdict_beside_something_else_is_refused(
    change: Callable[[Workspace], None], named: str, workspace: Workspace
) -> None:
    gate(workspace, fast_params())
    check_verdict(workspace, fast_params())
    change(workspace)
    with pytest.raises(GateNotPassed, match=f"judged something else: {named}"):
        check_verdict(workspace, fast_params())


def test_a_passed_verdict_beside_another_evaluation_is_refused(workspace: Workspace) -> None:
    gate(workspace, fast_params())
    improve_the_evaluation(workspace)
    with pytest.raises(GateNotPassed, match=r"judged something else: reports/evaluation\.json"):
        check_verdict(workspace, fast_params())


def test_a_passed_verdict_under_another_gate_is_refused(workspace: Workspace) -> None:
    gate(workspace, fast_params())
    with pytest.raises(GateNotPassed, match=r"the section gate of params\.yaml changed since"):
        check_verdict(workspace, fast_params(accuracy={"minimum": 0.81}))


@pytest.mark.parametrize("forged", [{"passed": True}, {"passed": True, "rules": []}, {"passed": True, "reasons": []}])
def test_a_verdict_that_says_passed_over_a_failed_rule_is_refused(
    forged: dict[str, object], workspace: Workspace
) -> None:
    params = fast_params(accuracy={"minimum": 1.0})
    gate(workspace, params)
    Verdict.read(workspace.verdict).model_copy(update=forged).write(workspace.verdict)
    with pytest.raises(GateNotPassed):
        check_verdict(workspace, params)


@pytest.mark.parametrize("name", ["verdict", "evaluation", "predictions", "splits", "adapted", "validation"])
def test_a_missing_file_is_named_with_the_stage_to_run(name: str, workspace: Workspace) -> None:
    gate(workspace, fast_params())
    path = getattr(workspace, name)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(StageInputError, match=rf"{path.name}.*run `graft adapt` \(stage "):
        check_verdict(workspace, fast_params())


def test_the_verdict_is_the_same_bytes_every_time(workspace: Workspace) -> None:
    written = set()
    for _ in range(2):
        gate(workspace, fast_params())
        written.add(workspace.verdict.read_bytes())
    assert len(written) == 1


def test_evaluating_anew_after_adapting_anew_brings_the_gate_back(workspace: Workspace) -> None:
    adapt_anew(workspace)
    evaluate(workspace, fast_params())
    gate(workspace, fast_params())
    assert check_verdict(workspace, fast_params()).passed


def test_one_label_per_class_still_ends_in_a_verdict(tmp_path: Path) -> None:
    workspace = write_scene(tmp_path, names=NAMES, per_side={"train": 1, "test": 20}, distance=12.0)
    adapt(workspace, fast_params())
    evaluate(workspace, fast_params())
    gate(workspace, fast_params())
    assert workspace.page.exists()
    assert len(Verdict.read(workspace.verdict).rules) == len(RULES)
