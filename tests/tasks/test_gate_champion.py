"""Gate with a champion: only what params name is refused, only a use that is on record is judged, all is re-checked."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from head_scene import fast_params, sha, write_evaluated_scene

from tasks.champion_judgement import judge_champion
from tasks.errors import GateNotPassed, StageInputError
from tasks.gate import gate
from tasks.paired_tests import accuracy_gain
from tasks.params import Params, parse_params
from tasks.params.champion import Outcome
from tasks.reports import (
    ChampionPin,
    Estimate,
    EvaluationReport,
    PairedComparison,
    PairedCounts,
    PinnedRelease,
    TestUse,
    Verdict,
)
from tasks.tables import CHAMPION_PREDICTIONS, write_table
from tasks.verdicts import check_verdict, evaluated_digests
from tasks.workspace import Workspace

CHAMPION = PinnedRelease(version=3, manifest_sha256=sha("v3"), items_sha256=sha("items of v3"))
COUNTS = {
    "better": PairedCounts(both=300, only_challenger=90, only_champion=0, neither=10),
    "equivalent": PairedCounts(both=8000, only_challenger=0, only_champion=0, neither=0),
    "inconclusive": PairedCounts(both=50, only_challenger=4, only_champion=4, neither=2),
    "worse": PairedCounts(both=300, only_challenger=0, only_champion=90, neither=10),
}


def comparison(outcome: Outcome) -> PairedComparison:
    """A comparison that is judged to this outcome."""
    pair = PairedComparison(against="champion", version=3, manifest_sha256=CHAMPION.manifest_sha256)
    if outcome == "unchanged":
        return pair.model_copy(update={"unchanged": True})
    if outcome == "incomparable":
        return pair.model_copy(update={"incomparable": "the classes changed"})
    counts = COUNTS[outcome]
    return pair.model_copy(update={"counts": counts, "gain": accuracy_gain(counts, 0.95), "accuracy": 0.9})


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A scene that adapt and evaluate have been through; copied, never changed."""
    return write_evaluated_scene(tmp_path_factory.mktemp("evaluated"))


@pytest.fixture
def workspace(evaluated: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(evaluated.root, tmp_path, dirs_exist_ok=True)
    return Workspace(tmp_path)


def compare(workspace: Workspace, outcome: Outcome, use: int = 1) -> None:
    """Pin a champion, and write the comparison with it and the use of the test set as a run would."""
    ChampionPin(champion=CHAMPION).write(workspace.champion_pin)
    write_table(CHAMPION_PREDICTIONS.empty_table(), workspace.champion_predictions)
    report = EvaluationReport.read(workspace.evaluation)
    digests = evaluated_digests(workspace)
    report = report.model_copy(update={"comparisons": [comparison(outcome)], "digests": digests})
    report.write(workspace.evaluation)
    recorded = TestUse(test_set=report.test_set, model=digests.adapted, champion=CHAMPION.manifest_sha256, use=use)
    recorded.write(workspace.test_use)


def params_of(**champion: Any) -> Params:
    return fast_params(champion=champion)


def judged(workspace: Workspace, params: Params) -> Verdict:
    gate(workspace, params)
    return Verdict.read(workspace.verdict)


OUTCOMES: list[Outcome] = ["better", "equivalent", "inconclusive", "incomparable", "worse", "unchanged"]


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_only_a_worse_model_is_refused_by_default(workspace: Workspace, outcome: Outcome) -> None:
    compare(workspace, outcome)
    verdict = judged(workspace, fast_params())
    assert verdict.champion is not None
    assert verdict.champion.outcome == outcome
    assert verdict.passed == (outcome != "worse")
    assert [rule.rule for rule in verdict.rules if not rule.passed] == ["champion"] * (outcome == "worse")
    assert len(verdict.reasons) == (outcome == "worse")


@pytest.mark.parametrize("outcome", ["equivalent", "inconclusive", "incomparable"])
def test_an_outcome_that_params_name_is_refused_with_its_reason(workspace: Workspace, outcome: Outcome) -> None:
    compare(workspace, outcome)
    params = params_of(refuse=[outcome])
    verdict = judged(workspace, params)
    assert not verdict.passed
    assert verdict.champion is not None
    (broken,) = [rule for rule in verdict.rules if not rule.passed]
    assert broken.rule == "champion"
    assert broken.reason == f"{verdict.champion.reasons[0]} (params.yaml: gate.champion.refuse)"
    assert verdict.reasons == [broken.reason]
    with pytest.raises(GateNotPassed, match=r"gate\.champion\.refuse"):
        check_verdict(workspace, params)


def test_a_worse_model_passes_where_params_refuse_nothing_and_is_never_promotable(workspace: Workspace) -> None:
    compare(workspace, "worse")
    verdict = judged(workspace, params_of(refuse=[]))
    assert verdict.passed
    assert verdict.champion is not None
    assert not verdict.champion.promotable


def test_the_broken_rule_shows_the_bound_that_broke_it(workspace: Workspace) -> None:
    compare(workspace, "worse")
    verdict = judged(workspace, fast_params())
    assert verdict.champion is not None
    (broken,) = [rule for rule in verdict.rules if not rule.passed]
    assert (broken.value, broken.limit, broken.judged_on) == (verdict.champion.upper, 0.0, "upper_bound")
    assert broken.margin is not None
    assert broken.margin < 0


def test_a_model_that_is_worse_by_macro_f1_alone_shows_that_bound(workspace: Workspace) -> None:
    compare(workspace, "better")
    report = EvaluationReport.read(workspace.evaluation)
    (pair,) = report.comparisons
    lost = Estimate(value=-0.1, low=-0.15, high=-0.05, method="bootstrap")
    report.model_copy(update={"comparisons": [pair.model_copy(update={"macro_f1_gain": lost})]}).write(
        workspace.evaluation
    )
    verdict = judged(workspace, fast_params())
    (broken,) = [rule for rule in verdict.rules if not rule.passed]
    assert (broken.value, broken.limit, broken.judged_on) == (-0.05, -0.01, "upper_bound")
    assert broken.margin == pytest.approx(-0.04)


def test_a_test_set_that_is_used_up_shows_its_uses_as_what_was_broken(workspace: Workspace) -> None:
    compare(workspace, "better", use=21)
    assert judged(workspace, fast_params()).passed
    verdict = judged(workspace, params_of(refuse=["inconclusive"]))
    (broken,) = [rule for rule in verdict.rules if not rule.passed]
    assert (broken.value, broken.limit, broken.margin) == (21.0, 20.0, -1.0)
    assert (broken.judged_on, broken.limit_is) == ("count", "maximum")


@pytest.mark.parametrize("outcome", ["equivalent", "inconclusive", "incomparable", "worse"])
def test_a_broken_rule_never_shows_a_figure_on_its_passing_side(workspace: Workspace, outcome: Outcome) -> None:
    compare(workspace, outcome)
    (broken,) = [rule for rule in judged(workspace, params_of(refuse=[outcome])).rules if not rule.passed]
    assert (broken.margin is None) == (outcome == "incomparable")
    assert (broken.margin or 0.0) <= 0.0


def test_the_verdict_is_the_judgement_at_the_use_that_is_on_record(workspace: Workspace) -> None:
    seen = []
    for use in (1, 7):
        compare(workspace, "better", use)
        params = fast_params()
        champion = judged(workspace, params).champion
        assert champion == judge_champion([comparison("better")], params.gate.champion, use, False)
        assert champion is not None
        seen.append((champion.use, champion.alpha))
    assert [use for use, _ in seen] == [1, 7]
    assert (seen[0][1] or 0) > (seen[1][1] or 0) > 0


@pytest.mark.parametrize(
    "stale",
    [
        lambda use: use.model_copy(update={"test_set": sha("another test set")}),
        lambda use: use.model_copy(update={"model": sha("another model")}),
        lambda use: use.model_copy(update={"champion": sha("another champion")}),
        lambda use: TestUse(),
        lambda use: None,
    ],
    ids=["test set", "model", "champion", "blank", "missing"],
)
def test_a_use_of_the_test_set_that_is_not_on_record_judges_nothing(workspace: Workspace, stale: Any) -> None:
    compare(workspace, "better")
    other = stale(TestUse.read(workspace.test_use))
    workspace.test_use.unlink()
    if other is not None:
        other.write(workspace.test_use)
    with pytest.raises(StageInputError, match=r"this use of the test set is not on record .*; run `graft adapt`"):
        gate(workspace, fast_params())
    assert not workspace.verdict.exists()


def test_with_nothing_in_production_the_use_of_the_test_set_leaves_no_trace_in_the_verdict(
    workspace: Workspace,
) -> None:
    first = judged(workspace, fast_params())
    before = workspace.verdict.read_bytes()
    assert first.champion is not None
    assert (first.champion.outcome, first.champion.promotable) == ("first", True)
    TestUse(test_set=sha("another"), model=sha("another"), use=9).write(workspace.test_use)
    judged(workspace, parse_params({**fast_params().model_dump(by_alias=True), "promotion": {"equivalent": True}}))
    assert workspace.verdict.read_bytes() == before


def test_a_pin_that_changed_since_the_evaluation_is_refused(workspace: Workspace) -> None:
    ChampionPin(champion=CHAMPION).write(workspace.champion_pin)
    write_table(CHAMPION_PREDICTIONS.empty_table(), workspace.champion_predictions)
    with pytest.raises(StageInputError, match=r"measured something else: the champion \(data/champion\.json\)"):
        gate(workspace, fast_params())


def test_an_unchanged_model_passes_and_is_not_exported_again(workspace: Workspace) -> None:
    compare(workspace, "unchanged")
    verdict = judged(workspace, fast_params())
    assert verdict.passed
    assert verdict.champion is not None
    assert not verdict.champion.promotable
    with pytest.raises(GateNotPassed, match=rf"in production already, as v3 \(release {sha('v3')[:12]}\); nothing to"):
        check_verdict(workspace, fast_params())


def another_pin(workspace: Workspace) -> None:
    ChampionPin(champion=CHAMPION.model_copy(update={"version": 4})).write(workspace.champion_pin)


def no_pin(workspace: Workspace) -> None:
    ChampionPin().write(workspace.champion_pin)


def another_use(workspace: Workspace) -> None:
    use = TestUse.read(workspace.test_use)
    use.model_copy(update={"use": use.use + 1}).write(workspace.test_use)


def other_answers(workspace: Workspace) -> None:
    row = {name: ["x"] for name in CHAMPION_PREDICTIONS.names}
    write_table(pa.table(row, schema=CHAMPION_PREDICTIONS), workspace.champion_predictions)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (another_pin, r"the champion \(data/champion\.json\)"),
        (no_pin, r"the champion \(data/champion\.json\)"),
        (another_use, r"the use of the test set \(data/test_use\.json\)"),
        (other_answers, r"reports/champion_predictions\.parquet"),
    ],
)
def test_export_re_checks_the_champion_its_answers_and_the_use_of_the_test_set(
    workspace: Workspace, change: Any, what: str
) -> None:
    compare(workspace, "better")
    gate(workspace, fast_params())
    assert check_verdict(workspace, fast_params()).passed
    change(workspace)
    with pytest.raises(GateNotPassed, match=rf"judged something else: .*{what}.* changed since"):
        check_verdict(workspace, fast_params())


def test_a_verdict_under_another_rule_of_promotion_is_refused(workspace: Workspace) -> None:
    compare(workspace, "equivalent")
    gate(workspace, fast_params())
    lenient = parse_params({**fast_params().model_dump(by_alias=True), "promotion": {"equivalent": True}})
    with pytest.raises(GateNotPassed, match=r"judged something else: the section gate of params\.yaml changed since"):
        check_verdict(workspace, lenient)
    gate(workspace, lenient)
    champion = check_verdict(workspace, lenient).champion
    assert champion is not None
    assert (champion.outcome, champion.promotable) == ("equivalent", True)
