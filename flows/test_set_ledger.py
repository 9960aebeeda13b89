"""Every use of a test set, on refs/graft/state: the best of many models on one test set owes a part of it to luck.

A use is a distinct decision: a test set, a model, and the champion that it is judged against; of runs at the desk as
well. A repeated run is none, nor is one whose model is production's own. It is entered before `evaluate` shows any
figure, so that who stops a run after seeing them has used the test set all the same. Data that grow give another test
set with every item, so a test set also counts the uses of those that held half of its items or more. Which use it is
stands in data/test_use.json, an input of `gate`, which tightens its level by it.
"""

from __future__ import annotations

from flows.journal import TEST_USES, Journal
from flows.records import TestSetUse, now_text
from flows.state import StateRef
from flows.test_set_sketch import overlap, sketch, sketch_path
from tasks.alpha_spending import warning_use
from tasks.errors import StageInputError
from tasks.release import MANIFEST
from tasks.reports import write_bytes
from tasks.reports.champion import TestUse
from tasks.reports.manifest import Manifest
from tasks.workspace import Workspace

SAME_FROM = 0.5
"""The share of a test set's items from which on the uses of an earlier one that held them count as its own."""


def record_use(workspace: Workspace, run_id: str) -> TestUse:
    """Enter that the test set judges the model in models/adapted/ against what data/champion.json pins.

    data/test_use.json gets the place of this use; it is untouched where it says so already. Nothing is entered where
    there is no test item.

    Raises:
        StateMoved: others kept moving the state.
        StageInputError: the ledger, data/splits.parquet or the copy of the champion cannot be read.
    """
    from tasks.verdicts import digest_of, read_champion_pin, test_set_of

    pinned = read_champion_pin(workspace).champion
    model, test_set = digest_of(workspace.adapted, "adapt"), test_set_of(workspace)
    use = TestUse(test_set=test_set, model=model, champion=pinned and pinned.manifest_sha256)
    sketched = sketch(workspace)
    if sketched:
        entry = TestSetUse(test_set=test_set, model=model, champion=use.champion, run_id=run_id, at=now_text())
        place = _entered(workspace, entry, sketched)
        use = use.model_copy(update={"use": place})
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


def _entered(workspace: Workspace, entry: TestSetUse, sketched: bytes) -> int:
    """The place of this use among those that count for the test set, entered last where it is new."""
    journal, state = Journal(workspace.root, TEST_USES, TestSetUse), StateRef(workspace.root)
    is_champions = _is_champions(workspace, entry)
    known = journal.read()
    if _found(known, entry, is_champions) is None:
        journal.append(
            lambda uses: None if _found(uses, entry, is_champions) else entry,
            lambda added: f"Enter a use of test set {added.test_set[:12]}",
            beside={sketch_path(entry.test_set): sketched},
        )
        known = journal.read()
    kin, found = _kin(state, entry.test_set, known), _found(known, entry, is_champions)
    return [use for use in known if use.test_set in kin].index(found or entry) + 1


def _is_champions(workspace: Workspace, entry: TestSetUse) -> bool:
    """Whether the model is production's own: then there is nothing to decide."""
    if entry.champion is None:
        return False
    return Manifest.read(workspace.pinned_release(entry.champion) / MANIFEST).digests.adapted == entry.model


def _found(uses: list[TestSetUse], entry: TestSetUse, is_champions: bool) -> TestSetUse | None:
    """The use that this one is again; that of the model against anything, where it is production's own."""
    same = (use for use in uses if use.decision[:2] == entry.decision[:2])
    return next((use for use in same if is_champions or use.champion == entry.champion), None)


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
    said = f"judgement {use.use} of {most} on test set {use.test_set[:12]} (gate.champion.test_set_uses)"
    fresh = "label new items: once more than half of the test items are new, it counts as a fresh test set"
    if use.use < most:
        return f"{said}; with each one, a model has to be better by more to be promoted. In good time, {fresh}"
    if use.use == most:
        return f"{said}, the last that can show a model to be better. Before the next one, {fresh}"
    return f"{said}: it is spent, and no model can be shown to be better on it any more; {fresh}"
