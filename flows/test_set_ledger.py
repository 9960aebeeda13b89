"""Every use of a test set, on refs/graft/state: the best of many models on one test set owes a part of it to luck.

A use is a distinct pair of test set and model, of runs at the desk as well; a repeated run is none. Data that grow give
another test set with every item, so a test set also counts the uses of those that held half of its items or more. Which
use it is stands in data/test_use.json, an input of `gate`, which tightens its level by it.
"""

from __future__ import annotations

from flows.journal import TEST_USES, Journal
from flows.records import TestSetUse, now_text
from flows.state import StateRef
from flows.test_set_sketch import overlap, sketch, sketch_path
from tasks.alpha_spending import warning_use
from tasks.errors import StageInputError
from tasks.reports import EvaluationReport, write_bytes
from tasks.reports.champion import TestUse
from tasks.workspace import Workspace

SAME_FROM = 0.5
"""The share of a test set's items from which on the uses of an earlier one that held them count as its own."""


def record_use(workspace: Workspace, evaluation: EvaluationReport, run_id: str) -> TestUse:
    """Enter that this test set judges this model, and write data/test_use.json with the place of this use.

    Nothing is entered where there is no test item. The file is untouched where it says so already.

    Raises:
        StateMoved: others kept moving the state.
        StageInputError: the ledger, or data/splits.parquet, cannot be read.
    """
    model, test_set = evaluation.digests.adapted, evaluation.test_set
    place = 1
    if test_set is not None and evaluation.test_items:
        place = _entered(workspace, test_set, model, run_id)
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
    """The place of this use among those that count for the test set, entered last where it is new."""
    journal, state = Journal(workspace.root, TEST_USES, TestSetUse), StateRef(workspace.root)
    known = journal.read()
    if not _is_known(known, test_set, model):
        use = TestSetUse(test_set=test_set, model=model, run_id=run_id, at=now_text())
        journal.append(
            lambda uses: None if _is_known(uses, test_set, model) else use,
            lambda added: f"Enter a use of test set {added.test_set[:12]}",
            beside={sketch_path(test_set): sketch(workspace)},
        )
        known = journal.read()
    kin = _kin(state, test_set, known)
    counted = [use for use in known if use.test_set in kin]
    return next(place for place, use in enumerate(counted, start=1) if (use.test_set, use.model) == (test_set, model))


def _is_known(uses: list[TestSetUse], test_set: str, model: str) -> bool:
    return any((use.test_set, use.model) == (test_set, model) for use in uses)


def _kin(state: StateRef, test_set: str, uses: list[TestSetUse]) -> set[str]:
    """The test sets that held half of this one's items or more, itself among them."""
    head = state.head()
    own = state.read(sketch_path(test_set), head)
    kin = {test_set}
    for other in {use.test_set for use in uses} - kin:
        theirs = state.read(sketch_path(other), head)
        if own is not None and theirs is not None and overlap(own, theirs) >= SAME_FROM:
            kin.add(other)
    return kin


def warning_of(use: TestUse, most: int) -> str:
    """What there is to know about the test set's wear; empty while it is fresh.

    Args:
        most: gate.champion.test_set_uses.
    """
    if use.test_set is None or use.use < warning_use(most):
        return ""
    said = f"test set {use.test_set[:12]} judges its {_ordinal(use.use)} model of {most} (gate.champion.test_set_uses)"
    fresh = "label new items: once more than half of the test items are new, it counts as a fresh test set"
    if use.use < most:
        return f"{said}; with each one, a model has to be better by more to be promoted. In good time, {fresh}"
    if use.use == most:
        return f"{said}, which is the last that it can show to be better. Before the next one, {fresh}"
    return f"{said}: it is spent, and no model can be shown to be better on it any more; {fresh}"


def _ordinal(number: int) -> str:
    """A place in words and figures.

    >>> [_ordinal(number) for number in (1, 2, 3, 11, 15, 22)]
    ['1st', '2nd', '3rd', '11th', '15th', '22nd']
    """
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number % 100 in (11, 12, 13) else suffix}"
