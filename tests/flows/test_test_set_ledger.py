"""Every use of a test set is counted once, wherever and however often a model is judged."""

from __future__ import annotations

import hashlib
import json
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
from flows.state import StateRef
from flows.test_set_ledger import record_use, warning_of
from flows.test_set_sketch import MOST, WIDTH, overlap, sketch_of
from tasks.digests import folder_sha256
from tasks.reports import ChampionPin, JudgedDigests, PinnedRelease, Verdict, write_bytes
from tasks.reports.champion import TestUse
from tasks.reports.manifest import Manifest, ReleaseMetrics, SourceDigests
from tasks.tables import SPLITS, write_table
from tasks.verdicts import test_set_of as digest_of_test_set
from tasks.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    workspace = Workspace(tmp_path)
    ChampionPin().write(workspace.champion_pin)
    return workspace


def content(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def splits(workspace: Workspace, items: Sequence[int], label: str = "ember") -> None:
    """data/splits.parquet with these test items, and one that is learned from."""
    rows = [{"path": str(number), "sha256": content(number), "label": label, "side": "test"} for number in items]
    rows += [{"path": "x", "sha256": content(-1), "label": label, "side": "train"}]
    write_table(pa.Table.from_pylist(rows, SPLITS), workspace.splits)


def adapted(workspace: Workspace, model: str) -> str:
    """models/adapted/ of a model of that name; returns its digest."""
    write_bytes(workspace.adapted / "head.bin", model.encode())
    return folder_sha256(workspace.adapted)


def enthrone(workspace: Workspace, version: int, model: str = "none of these") -> str:
    """Pin a champion that holds the model of this digest; returns the release's."""
    digest = content(-version)
    digests = dict.fromkeys(SourceDigests.model_fields, "0") | {"adapted": model}
    judged = JudgedDigests(**dict.fromkeys(JudgedDigests.model_fields, "0"))
    Manifest(
        name="made up",
        graft_version="0",
        files={},
        digests=SourceDigests(**digests),
        metrics=ReleaseMetrics(test_items=10, accuracy=ACCURACY, macro_f1=ACCURACY),
        verdict=Verdict(passed=True, rules=[], reasons=[], digests=judged),
    ).write(workspace.pinned_release(digest) / "manifest.json")
    ChampionPin(champion=PinnedRelease(version=version, manifest_sha256=digest)).write(workspace.champion_pin)
    return digest


def use(workspace: Workspace, items: Sequence[int], model: str, label: str = "ember") -> int:
    """The place of a model on a test set of these items; the file says the same."""
    splits(workspace, items, label)
    digest, pinned = adapted(workspace, model), ChampionPin.read(workspace.champion_pin).champion
    said = record_use(workspace, "run")
    assert said == TestUse.read(workspace.test_use)
    assert (said.model, said.champion) == (digest, pinned and pinned.manifest_sha256)
    return said.use


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
    assert [entry.model for entry in entries(workspace)] == [adapted(workspace, model) for model in "abc"]


def test_the_same_model_against_another_champion_is_another_decision(workspace: Workspace) -> None:
    assert use(workspace, range(10), "a") == 1
    champions, places = [], []
    for version in (1, 2, 1):
        champions.append(enthrone(workspace, version))
        places.append(use(workspace, range(10), "a"))
    assert places == [2, 3, 2]
    assert [entry.champion for entry in entries(workspace)] == [None, *champions[:2]]


def test_production_s_own_model_is_no_decision(workspace: Workspace) -> None:
    assert [use(workspace, range(10), model) for model in "ab"] == [1, 2]
    enthrone(workspace, 1, adapted(workspace, "b"))
    assert use(workspace, range(10), "b") == 2
    assert len(entries(workspace)) == 2
    assert use(workspace, range(10), "a") == 3


def test_a_use_that_was_entered_before_champions_were_is_one_against_none(workspace: Workspace) -> None:
    splits(workspace, range(10))
    line = {"test_set": digest_of_test_set(workspace), "model": adapted(workspace, "a"), "run_id": "old", "at": "then"}
    StateRef(workspace.root).write({TEST_USES: json.dumps(line).encode() + b"\n"}, "Write", None)
    assert use(workspace, range(10), "a") == 1
    enthrone(workspace, 1)
    assert use(workspace, range(10), "a") == 2
    assert [entry.champion for entry in entries(workspace)] == [None, content(-1)]


def test_a_test_set_of_other_items_is_fresh(workspace: Workspace) -> None:
    assert [use(workspace, range(10), model) for model in "ab"] == [1, 2]
    assert use(workspace, range(10, 20), "c") == 1


def test_data_that_grow_by_an_item_do_not_make_a_test_set_fresh(workspace: Workspace) -> None:
    places = [use(workspace, range(10 + step), f"model {step}") for step in range(6)]
    assert places == [1, 2, 3, 4, 5, 6]


def test_corrected_labels_do_not_make_a_test_set_fresh(workspace: Workspace) -> None:
    assert use(workspace, range(10), "a", label="as labelled") == 1
    assert use(workspace, range(10), "a", label="as corrected") == 2


def test_a_test_set_is_fresh_once_more_than_half_of_it_is_new(workspace: Workspace) -> None:
    assert [use(workspace, range(10), model) for model in "ab"] == [1, 2]
    assert use(workspace, range(20), "c") == 3
    assert use(workspace, range(21), "d") == 2, "10 of 21 items are of the first, 20 of 21 of the second"
    assert use(workspace, [*range(5), *range(100, 106)], "e") == 1


def test_models_that_are_judged_at_once_get_places_of_their_own(workspace: Workspace) -> None:
    worktrees = [workspace]
    somebody = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    subprocess.run(
        ["git", *somebody, "commit", "--quiet", "--allow-empty", "-m", "Start"], cwd=workspace.root, check=True
    )
    for number in range(8):
        tree = workspace.root / "worktrees" / str(number)
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", tree], cwd=workspace.root, check=True)
        worktrees.append(Workspace(tree))
        ChampionPin().write(worktrees[-1].champion_pin)
        splits(worktrees[-1], range(10))
        adapted(worktrees[-1], str(number))

    def judged(number: int) -> int:
        return record_use(worktrees[number + 1], "run").use

    with ThreadPoolExecutor(8) as threads:
        places = list(threads.map(judged, range(8)))
        places += threads.map(judged, range(8))
    assert sorted(places[:8]) == list(range(1, 9))
    assert places[8:] == places[:8]
    assert len(entries(workspace)) == 8


def test_without_a_test_item_nothing_is_used(workspace: Workspace) -> None:
    assert use(workspace, [], "a") == 1
    assert entries(workspace) == []


def test_a_worn_test_set_is_told_before_it_is_spent() -> None:
    said = {place: warning_of(TestUse(test_set="7" * 64, model="a", use=place), 20) for place in (1, 14, 15, 20, 21)}
    assert (said[1], said[14]) == ("", "")
    assert "judgement 15 of 20 on test set 777777777777 (gate.champion.test_set_uses)" in said[15]
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
