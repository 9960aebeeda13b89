"""Every model that a test set has judged, on refs/graft/state: a choice among many by one test set flatters the best.

A use is a distinct pair of test set and model, of runs at the desk as well; a repeated run is none. The place of a
model among them is data/test_use.json, an input of `gate`, which tightens its level by it.
"""

from __future__ import annotations

from flows.journal import TEST_USES, Journal
from flows.records import TestSetUse, now_text
from tasks.errors import StageInputError
from tasks.reports import EvaluationReport, write_bytes
from tasks.reports.champion import TestUse
from tasks.workspace import Workspace

WARN_FROM = 0.75
"""The share of gate.champion.test_set_uses from which on a run warns."""


def record_use(workspace: Workspace, evaluation: EvaluationReport, run_id: str) -> TestUse:
    """Enter that this test set judges this model, and write data/test_use.json with the model's place.

    Nothing is entered where there is no test item. The file is untouched where it says so already.

    Raises:
        StateMoved: others kept moving the state.
        StageInputError: the ledger cannot be read.
    """
    model, test_set = evaluation.digests.adapted, evaluation.test_set
    place = 1 if test_set is None else _entered(workspace, test_set, model, run_id)
    use = TestUse(test_set=test_set, model=model, use=place)
    data = use.to_json().encode()
    if not workspace.test_use.is_file() or workspace.test_use.read_bytes() != data:
        write_bytes(workspace.test_use, data)
    return use


def test_use_bytes(workspace: Workspace) -> bytes:
    """data/test_use.json as it stands, or of no model yet where it is missing or unreadable."""
    try:
        return TestUse.read(workspace.test_use).to_json().encode()
    except StageInputError:
        return TestUse().to_json().encode()


def _entered(workspace: Workspace, test_set: str, model: str, run_id: str) -> int:
    """The model's place among those that the test set has judged, entered last where it is new."""
    journal = Journal(workspace.root, TEST_USES, TestSetUse)

    def decide(known: list[TestSetUse]) -> TestSetUse | None:
        if model in models_judged(known, test_set):
            return None
        return TestSetUse(test_set=test_set, model=model, run_id=run_id, at=now_text())

    journal.append(decide, lambda use: f"Enter a use of test set {use.test_set[:12]}")
    return models_judged(journal.read(), test_set).index(model) + 1


def models_judged(uses: list[TestSetUse], test_set: str) -> list[str]:
    """The distinct models that a test set has judged, the first one first."""
    return list(dict.fromkeys(use.model for use in uses if use.test_set == test_set))


def warning_of(use: TestUse, most: int) -> str:
    """What there is to know about the test set's wear; empty while it is fresh.

    Args:
        most: gate.champion.test_set_uses.
    """
    if use.test_set is None or use.use < WARN_FROM * most:
        return ""
    said = f"this is model {use.use} that test set {use.test_set[:12]} judges, of {most} (gate.champion.test_set_uses)"
    if use.use < most:
        return f"{said}; the more it judges, the more a model has to be better by: label fresh test items in time"
    spent = "its last one" if use.use == most else "it is spent: no further model can be shown to be better on it"
    return f"{said}: {spent}; label fresh items and take a test set of them (another split.seed, or an official split)"
