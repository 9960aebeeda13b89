"""Other answers of a judged model: measured as evaluate measures, judged as gate judges, and never on other files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from champion_scene import enthrone, record_use
from int8_scene import INT8, make_int8_workspace, say_latencies
from small_workspace import change_params, copy_workspace, run_stages

from tasks.errors import StageInputError
from tasks.params import load_params
from tasks.params.champion import Outcome
from tasks.quantization.answers import FloatMatrix
from tasks.quantization.judgement import Basis, evaluation_with, judge_answers, not_as_good, read_basis
from tasks.reports import ChampionVerdict, EvaluationReport, Verdict
from tasks.reports.manifest import Manifest
from tasks.reports.qualification import Qualification
from tasks.workspace import Workspace


@pytest.fixture
def gated(finished: Workspace) -> tuple[Workspace, Basis, FloatMatrix]:
    """The small workspace, what was gated in it, and the answers that were."""
    basis = read_basis(finished, Verdict.read(finished.verdict))
    rows = pq.read_table(finished.predictions)["probabilities"].to_pylist()
    return finished, basis, np.array(rows, dtype=np.float32)


def test_the_same_answers_give_the_same_evaluation(gated: tuple[Workspace, Basis, FloatMatrix]) -> None:
    workspace, basis, answers = gated
    before = EvaluationReport.read(workspace.evaluation)
    after = evaluation_with(basis, answers, load_params(workspace.params))
    same = {"calibration": None}
    assert after.model_copy(update=same) == before.model_copy(update=same)
    assert before.calibration is not None
    assert after.calibration is not None
    for side in ("before", "after"):
        for figure in ("nll", "brier", "ece"):
            then, now = (getattr(getattr(report.calibration, side), figure) for report in (before, after))
            np.testing.assert_allclose((now.value, now.low, now.high), (then.value, then.low, then.high), atol=2e-6)


def test_the_same_answers_pass_the_same_rules(gated: tuple[Workspace, Basis, FloatMatrix]) -> None:
    workspace, basis, answers = gated
    found = judge_answers(basis, answers, load_params(workspace.params))
    assert found.faults == []
    assert [rule.rule for rule in found.rules] == [rule.rule for rule in basis.verdict.rules]
    assert (found.accuracy_gain.value, found.macro_f1_gain.value) == (0.0, 0.0)
    assert found.accuracy_gain.low < 0
    assert found.counts.only_challenger == found.counts.only_champion == 0


def test_worse_answers_are_measured_and_break_the_rules(gated: tuple[Workspace, Basis, FloatMatrix]) -> None:
    workspace, basis, answers = gated
    worse = answers.copy()
    worse[:3] = worse[:3, ::-1]
    found = judge_answers(basis, worse, load_params(workspace.params))
    assert found.counts.only_champion == 3
    assert found.accuracy_gain.value == pytest.approx(-0.3)
    assert found.evaluation.accuracy.value == pytest.approx(basis.evaluation.accuracy.value - 0.3)
    gains = {each.name: each.gain.value for each in found.evaluation.baselines}
    assert gains["majority"] == pytest.approx(0.2)
    assert any("accuracy 0.700" in fault for fault in found.faults)


def test_answers_that_are_no_numbers_are_a_fault(gated: tuple[Workspace, Basis, FloatMatrix]) -> None:
    workspace, basis, answers = gated
    broken = answers.copy()
    broken[4, 0] = np.nan
    assert "not numbers" in judge_answers(basis, broken, load_params(workspace.params)).faults[0]


@pytest.mark.parametrize("name", ["evaluation", "predictions", "baseline_predictions"])
def test_what_was_not_gated_is_no_basis(finished: Workspace, name: str) -> None:
    verdict, path = Verdict.read(finished.verdict), getattr(finished, name)
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(StageInputError, match=rf"{path.name} is not what the gate judged; run `graft adapt`"):
        read_basis(finished, verdict)
    path.unlink()
    with pytest.raises(StageInputError, match="is not what the gate judged"):
        read_basis(finished, verdict)


@pytest.mark.parametrize(
    ("judged", "gated", "behind"),
    [
        ("better", "better", False),
        ("better", "equivalent", False),
        ("better", "worse", False),
        ("equivalent", "better", True),
        ("inconclusive", "equivalent", True),
        ("worse", "inconclusive", True),
        ("incomparable", "incomparable", False),
        ("incomparable", "equivalent", True),
    ],
)
def test_an_outcome_may_be_better_than_the_gated_one_but_not_worse(
    judged: Outcome, gated: Outcome, behind: bool
) -> None:
    ours, theirs = (ChampionVerdict(outcome=each, promotable=False, version=3) for each in (judged, gated))
    assert (not_as_good(ours, theirs) is not None) == behind


def test_a_release_that_may_no_longer_be_promoted_is_not_as_good() -> None:
    ours, theirs = (ChampionVerdict(outcome="better", promotable=each, version=3) for each in (False, True))
    assert "better, not promotable; what was gated is better" in (not_as_good(ours, theirs) or "")
    assert not_as_good(theirs, ours) is None


# the model in production, now in int8


@pytest.fixture(scope="module")
def in_production(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The fp32 release of a model is in production."""
    workspace = make_int8_workspace(tmp_path_factory.mktemp("int8_champion") / "template")
    change_params(workspace, {"export": {"precision": "fp32"}, "gate": {"champion": {"refuse": []}}})
    run_stages(workspace, "evaluate", "gate", "export", "qualify")
    enthrone(workspace)
    return workspace


@pytest.fixture
def challenged(in_production: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    say_latencies(monkeypatch)
    return copy_workspace(in_production, tmp_path / "challenged")


def test_the_same_model_in_the_same_precision_is_unchanged(challenged: Workspace) -> None:
    run_stages(challenged, "evaluate")
    (pair,) = EvaluationReport.read(challenged.evaluation).comparisons
    assert pair.unchanged


def test_the_same_model_in_int8_is_judged_against_it_by_its_own_answers(challenged: Workspace) -> None:
    change_params(challenged, INT8)
    run_stages(challenged, "evaluate")
    record_use(challenged)
    run_stages(challenged, "gate", "export", "qualify")
    gated = Verdict.read(challenged.verdict).champion
    assert gated is not None
    assert gated.outcome != "unchanged"
    manifest = Manifest.read(challenged.release / "manifest.json")
    assert manifest.precision == "int8"
    assert manifest.quantization is not None
    assert manifest.quantization.champion is not None
    assert manifest.quantization.champion.version == 3
    qualification = Qualification.read(challenged.qualification)
    assert qualification.passed
    assert "and the outcome against v3 hold" in next(
        check.detail for check in qualification.checks if check.check == "gates"
    )


def test_the_int8_release_is_unchanged_when_int8_is_asked_for_again(challenged: Workspace) -> None:
    change_params(challenged, INT8)
    run_stages(challenged, "evaluate")
    record_use(challenged)
    run_stages(challenged, "gate", "export", "qualify")
    enthrone(challenged, version=4)
    run_stages(challenged, "evaluate")
    (pair,) = EvaluationReport.read(challenged.evaluation).comparisons
    assert pair.unchanged
    change_params(challenged, {"export": {"precision": "fp32"}})
    run_stages(challenged, "evaluate")
    (pair,) = EvaluationReport.read(challenged.evaluation).comparisons
    assert not pair.unchanged
    assert pair.counts is not None
