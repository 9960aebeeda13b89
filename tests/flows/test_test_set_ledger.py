"""Every use of a test set is counted once, wherever and however often a model is judged."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from publishing_scene import ACCURACY

from flows.journal import TEST_USES, Journal
from flows.records import TestSetUse
from flows.test_set_ledger import record_use, warning_of
from flows.test_set_sketch import MOST, WIDTH, overlap, sketch_of
from tasks.reports import EvaluationReport
from tasks.reports.champion import TestUse
from tasks.reports.evaluation import EvaluatedDigests
from tasks.tables import SPLITS, write_table
from tasks.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    return Workspace(tmp_path)


def content(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def evaluation(test_set: str | None, model: str, test_items: int = 10) -> EvaluationReport:
    return EvaluationReport(
        confidence=0.95,
        labels=["ember", "ocean"],
        train_items=30,
        validation_items=0,
        test_items=test_items,
        accuracy=ACCURACY,
        macro_f1=ACCURACY,
        per_class=[],
        confusion=[],
        baselines=[],
        digests=EvaluatedDigests(data="d", adapted=model, splits="s", predictions="p"),
        test_set=test_set,
    )


def use(workspace: Workspace, items: Sequence[int], model: str, name: str = "") -> int:
    """The place of a model on a test set of these items; the file says the same."""
    rows = [{"path": str(number), "sha256": content(number), "side": "test"} for number in items]
    rows += [{"path": "x", "sha256": content(-1), "side": "train"}]
    write_table(pa.Table.from_pylist(rows, SPLITS), workspace.splits)
    test_set = hashlib.sha256((name or repr(list(items))).encode()).hexdigest()
    place = record_use(workspace, evaluation(test_set, model), "run").use
    assert TestUse.read(workspace.test_use) == TestUse(test_set=test_set, model=model, use=place)
    return place


def entries(workspace: Workspace) -> list[TestSetUse]:
    return Journal(workspace.root, TEST_USES, TestSetUse).read()


def test_a_repeated_run_is_no_new_use_and_touches_nothing(workspace: Workspace) -> None:
    assert use(workspace, range(10), "a") == 1
    before = workspace.test_use.stat()
    assert use(workspace, range(10), "a") == 1
    after = workspace.test_use.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert len(entries(workspace)) == 1


def test_each_model_keeps_its_place(workspace: Workspace) -> None:
    assert [use(workspace, range(10), model) for model in "abca"] == [1, 2, 3, 1]
    assert [entry.model for entry in entries(workspace)] == ["a", "b", "c"]


def test_a_test_set_of_other_items_is_fresh(workspace: Workspace) -> None:
    assert [use(workspace, range(10), model) for model in "ab"] == [1, 2]
    assert use(workspace, range(10, 20), "c") == 1


def test_data_that_grow_by_an_item_do_not_make_a_test_set_fresh(workspace: Workspace) -> None:
    places = [use(workspace, range(10 + step), f"model {step}") for step in range(6)]
    assert places == [1, 2, 3, 4, 5, 6]


def test_corrected_labels_do_not_make_a_test_set_fresh(workspace: Workspace) -> None:
    assert use(workspace, range(10), "a", name="as labelled") == 1
    assert use(workspace, range(10), "a", name="as corrected") == 2


def test_a_test_set_is_fresh_once_more_than_half_of_it_is_new(workspace: Workspace) -> None:
    assert [use(workspace, range(10), model) for model in "ab"] == [1, 2]
    assert use(workspace, range(20), "c") == 3
    assert use(workspace, range(21), "d") == 2, "10 of 21 items are of the first, 20 of 21 of the second"
    assert use(workspace, [*range(5), *range(100, 106)], "e") == 1


def test_models_that_are_judged_at_once_get_places_of_their_own(workspace: Workspace) -> None:
    rows = [{"path": "0", "sha256": content(0), "side": "test"}]
    write_table(pa.Table.from_pylist(rows, SPLITS), workspace.splits)

    def judged(model: int) -> int:
        return record_use(workspace, evaluation("7" * 64, str(model)), "run").use

    with ThreadPoolExecutor(8) as threads:
        places = list(threads.map(judged, [*range(8), *range(8)]))
    assert sorted(places[:8]) == list(range(1, 9))
    assert places[8:] == places[:8]
    assert len(entries(workspace)) == 8


@pytest.mark.parametrize(("test_set", "items"), [(None, 10), ("7" * 64, 0)])
def test_without_a_test_item_nothing_is_used(workspace: Workspace, test_set: str | None, items: int) -> None:
    assert record_use(workspace, evaluation(test_set, "a", items), "run").use == 1
    assert entries(workspace) == []
    assert TestUse.read(workspace.test_use).model == "a"


def test_a_worn_test_set_is_told_before_it_is_spent() -> None:
    said = {place: warning_of(TestUse(test_set="7" * 64, model="a", use=place), 20) for place in (1, 14, 15, 20, 21)}
    assert (said[1], said[14]) == ("", "")
    assert "15th model of 20 (gate.champion.test_set_uses)" in said[15]
    assert "label new items" in said[15]
    assert "the last" in said[20]
    assert "it is spent" in said[21]
    assert warning_of(TestUse(), 1) == ""


@given(st.sets(st.integers(0, 400)), st.sets(st.integers(0, 400)))
def test_the_overlap_of_small_sets_is_exact(ours: set[int], theirs: set[int]) -> None:
    found = overlap(sketch_of(map(content, ours)), sketch_of(map(content, theirs)))
    assert found == (len(ours & theirs) / len(ours) if ours else 0.0)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(range(20_000), range(10_000, 30_000)), (range(20_000), range(15_000)), (range(1000), range(20_000))],
)
def test_the_overlap_of_large_sets_is_near(ours: range, theirs: range) -> None:
    sketches = [sketch_of(map(content, items)) for items in (ours, theirs)]
    assert all(len(one) <= MOST * WIDTH for one in sketches)
    assert overlap(*sketches) == pytest.approx(len(set(ours) & set(theirs)) / len(ours), abs=0.08)
