"""Stage gate and the check of its verdict: every rule can refuse, nothing passes for want of data or on stale files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from head_scene import NAMES, fast_params, write_evaluated_scene, write_scene
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.adapt import adapt
from tasks.digests import file_sha256, folder_sha256, value_sha256
from tasks.errors import GateNotPassed, StageInputError
from tasks.evaluate import evaluate
from tasks.gate import gate, judge
from tasks.intervals import paired_gain_interval
from tasks.metrics import confusion_matrix
from tasks.params import EvaluateParams, GateParams, Params
from tasks.reports import (
    BaselineScore,
    Estimate,
    EvaluatedDigests,
    EvaluationReport,
    RuleVerdict,
    ValidationReport,
    Verdict,
)
from tasks.scores import accuracy_estimate, class_scores, macro_f1_estimate
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
]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A scene that adapt and evaluate have been through; copied, never changed."""
    return write_evaluated_scene(tmp_path_factory.mktemp("evaluated"))


@pytest.fixture
def workspace(evaluated: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(evaluated.root, tmp_path, dirs_exist_ok=True)
    return Workspace(tmp_path)


def measured(actual: np.ndarray, predicted: np.ndarray, baselines: bool = True) -> EvaluationReport:
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
        for name in ("majority", "raw_pixels")
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
        assert rule.margin == pytest.approx(rule.value - rule.limit)
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
    assert refused.reason.startswith(f"the lower bound of {rule}")


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


RATES = st.floats(0, 1)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_better_metric_never_turns_a_passed_gate_into_a_failed_one(data: st.DataObject) -> None:
    """Raise every value and every bound by any amount: what passed still passes."""
    draw = data.draw

    def better(estimate: Estimate) -> Estimate:
        value, low = (draw(st.floats(old, 1)) for old in (estimate.value, estimate.low))
        return estimate.model_copy(update={"value": value, "low": low, "high": 1.0})

    report = measured(ACTUAL, np.array(draw(st.lists(st.integers(0, 1), min_size=60, max_size=60))))
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
        }
    )
    judged_on = st.sampled_from(["point", "lower_bound"])
    rules = {
        rule: {"minimum": draw(RATES), "judged_on": draw(judged_on)} for rule in RULES if not rule.startswith("min_")
    }
    before, after = verdicts(report, **rules), verdicts(improved, **rules)
    assert all(after[rule].passed for rule in RULES if before[rule].passed)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_mending_a_mistake_never_turns_a_passed_gate_into_a_failed_one(data: st.DataObject) -> None:
    """From predictions to verdict, rules judged on the point value."""
    predicted = np.array(data.draw(st.lists(st.integers(0, 1), min_size=60, max_size=60)))
    row = data.draw(st.integers(0, 59))
    mended = predicted.copy()
    mended[row] = ACTUAL[row]
    rules = {rule: {"minimum": data.draw(RATES), "judged_on": "point"} for rule in RULES if not rule.startswith("min_")}
    before, after = (verdicts(measured(ACTUAL, answers), **rules) for answers in (predicted, mended))
    assert all(after[rule].passed for rule in RULES if before[rule].passed)


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
    adapt(workspace, Params())
    evaluate(workspace, fast_params())
    gate(workspace, fast_params())
    assert workspace.page.exists()
    assert len(Verdict.read(workspace.verdict).rules) == len(RULES)
