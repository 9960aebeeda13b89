"""`graft gc` and what training keeps: images, activations, states of trainings and searches."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from test_gc import OLD, age, gone, held, kept, write
from toy_workspace import Toy

from flows.gc import Collection, collect_garbage, report_text
from flows.holdings import discard
from flows.result import RunResult
from tasks.preprocess import Preprocess
from tasks.reports import write_bytes
from tasks.reports.backbone import BackboneReport
from tasks.tables import SPLITS, table_bytes
from tasks.training.activation_folders import in_use
from tasks.training.image_store import ImageStore, store_key
from tasks.workspace import Workspace

__all__ = ["held"]
DAY = 86400


def present(ws: Workspace) -> Preprocess:
    return BackboneReport.read(ws.backbone / "backbone.json").preprocess


def images(ws: Workspace, content: str, preprocess: Preprocess | None = None, day: int = 0) -> Path:
    """The pixels' file of a store to which one image was added."""
    store = ImageStore.under(ws.cache / "images", preprocess or present(ws))
    store.put(content, np.zeros((4, 4, 3), dtype=np.uint8))
    before = set(store.folder.glob("*.bin"))
    store.flush()
    (pixels,) = set(store.folder.glob("*.bin")) - before
    age(pixels.with_suffix(".json"), day)
    return age(pixels, day)


def activations(ws: Workspace, name: str, items: Sequence[str], day: int = 0) -> Path:
    folder = ws.cache / "activations" / name
    write_bytes(folder / "items.json", json.dumps(items).encode())
    write(folder / "000000-x.f32", 100)
    return age(folder, day)


def checkpoint(ws: Workspace, name: str, at: float, finished: bool = True) -> Path:
    file = write(ws.checkpoints / name / ("outcome.pt" if finished else "state.pt"), 10)
    os.utime(file, (at, at))
    return file.parent


def run(ws: Workspace, start: float, end: float, state: str = "released") -> None:
    run_id = f"{datetime.fromtimestamp(start, UTC):%Y%m%dT%H%M%S}-0a1b2c3d"
    RunResult(run_id=run_id, state=state).write(ws.run_result(run_id))  # type: ignore[arg-type]
    os.utime(ws.run_result(run_id), (end, end))


def split(ws: Workspace, **sides: str) -> None:
    rows = {name: [None] * len(sides) for name in SPLITS.names}
    rows |= {"path": [f"{one}.png" for one in sides], "sha256": list(sides), "side": list(sides.values())}
    write_bytes(ws.splits, table_bytes(pa.table(rows, schema=SPLITS)))


def reasons(collection: Collection, kind: str) -> dict[str, str]:
    return {piece.name: piece.reason for piece in (*collection.kept, *collection.removed) if piece.kind == kind}


@pytest.fixture
def bare(held: Workspace) -> Workspace:
    """A workspace that knows its backbone and has nothing in its cache."""
    shutil.rmtree(held.cache)
    held.cache.mkdir()
    return held


def test_images_of_another_preprocessing_go_and_of_the_present_one_only_for_room(bare: Workspace) -> None:
    other = images(bare, "a", present(bare).model_copy(update={"crop": 16}))
    older, newer = images(bare, "b", day=1), images(bare, "c", day=2)
    done = collect_garbage(bare)
    assert gone(done, "decoded images") == {other.parent.name}
    assert not list(other.parent.iterdir())
    assert kept(done, "decoded images") == {older.parent.name} == {store_key(present(bare))}
    assert f"{older.parent.name} (2 files): may be of use" in report_text(done)

    done = collect_garbage(bare, max_bytes=done.kept_bytes - 1)
    assert (older.exists(), older.with_suffix(".json").exists()) == (False, False)
    assert (newer.exists(), newer.with_suffix(".json").exists()) == (True, True)


def test_images_whose_index_was_never_written_are_a_leftover(bare: Workspace) -> None:
    pixels, index = images(bare, "a"), images(bare, "b").with_suffix(".json")
    pixels.with_suffix(".json").unlink()
    index.with_suffix(".bin").unlink()
    assert gone(collect_garbage(bare), "leftover") == {pixels.stem, index.stem}
    assert not list(pixels.parent.iterdir())


def test_a_store_survives_a_file_that_another_collection_takes_away_meanwhile(
    bare: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    images(bare, "a")
    listed = Path.glob

    def collected_after_listing(self: Path, pattern: str) -> list[Path]:
        found = list(listed(self, pattern))
        for path in found:
            if path.is_relative_to(bare.cache):
                discard(path)
        return found

    monkeypatch.setattr(Path, "glob", collected_after_listing)
    assert ImageStore.under(bare.cache / "images", present(bare)).get("a") is None


def test_activations_that_somebody_reads_stay_whatever_room_is_asked_for(bare: Workspace) -> None:
    read, idle = activations(bare, "read", ["a"]), activations(bare, "idle", ["a"])
    with closing(in_use(read, ["a"])):
        done = collect_garbage(bare, max_bytes=0)
    assert (read.exists(), idle.exists()) == (True, False)
    assert reasons(done, "kept activations")["read"] == "a training is reading them"


def test_activations_that_come_into_use_while_room_is_made_stay(
    bare: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = activations(bare, "key", ["a"])
    monkeypatch.setattr("flows.training_holdings.is_in_use", lambda folder: False)
    with closing(in_use(folder, ["a"])):
        done = collect_garbage(bare, max_bytes=0)
    assert folder.exists()
    assert "came into use" in reasons(done, "kept activations")["key"]


def test_activations_go_unasked_only_where_the_workspace_trains_on_other_items(bare: Workspace) -> None:
    mine, others = activations(bare, "mine", ["b", "a"]), activations(bare, "others", ["a", "c"])
    split(bare, a="train", b="validation", c="test", d="left_out")
    done = collect_garbage(bare)
    assert (mine.exists(), others.exists()) == (True, False)
    assert reasons(done, "kept activations")["others"] == "of items that this workspace does not train on"


def test_without_a_split_or_in_a_shared_cache_activations_wait_until_room_is_asked_for(
    bare: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = activations(bare, "older", ["a"], day=3), activations(bare, "newer", ["b"], day=4)
    assert gone(collect_garbage(bare), "kept activations") == set()
    split(bare, z="train")
    shared = tmp_path / "shared"
    bare.cache.rename(shared)
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(shared))
    done = collect_garbage(bare)
    assert gone(done, "kept activations") == set()
    collect_garbage(bare, max_bytes=done.kept_bytes - 1)
    assert [(shared / "activations" / folder.name).exists() for folder in (older, newer)] == [False, True]


def test_of_finished_trainings_those_of_the_last_run_that_trained_stay(toy: Toy) -> None:
    ws, start = toy.workspace, OLD + 100 * DAY
    run(ws, start, start + 600)
    run(ws, start + DAY, start + DAY + 600)
    run(ws, start + 2 * DAY, start + 2 * DAY + 3, state="refused")
    earlier = checkpoint(ws, "earlier", start + 300)
    last = checkpoint(ws, "last", start + DAY + 300)
    unfinished = checkpoint(ws, "unfinished", start + DAY + 200, finished=False)
    tuned = checkpoint(ws, "tuned", start + 3 * DAY)
    done = collect_garbage(ws)
    assert [one.exists() for one in (earlier, last, unfinished, tuned)] == [False, True, False, True]
    assert reasons(done, "checkpoint") == {
        "earlier": "a later run trained without it",
        "last": "may be of use; goes when --max-bytes asks for room",
        "unfinished": "a run has ended since it was written",
        "tuned": "the next run need not repeat it",
    }
    collect_garbage(ws, max_bytes=0)
    assert [one.exists() for one in (last, tuned)] == [False, True]


def test_what_an_interrupted_or_failed_run_trained_is_never_taken(toy: Toy) -> None:
    ws, start = toy.workspace, OLD + 100 * DAY
    run(ws, start, start + 600)
    fold = checkpoint(ws, "fold", start + DAY + 100)
    state = checkpoint(ws, "state", start + DAY + 200, finished=False)
    for ending, hour in (("failed", 1), ("interrupted", 2)):
        run(ws, start + DAY + 3600 * hour, start + DAY + 3600 * hour + 600, state=ending)
    done = collect_garbage(ws, max_bytes=0)
    assert (fold.exists(), state.exists()) == (True, True)
    assert reasons(done, "checkpoint")["state"] == "a training that was interrupted goes on from it"


def test_a_search_with_all_its_trainings_goes_only_for_room_the_longest_unused_first(toy: Toy) -> None:
    parent = toy.workspace.private / "tune"
    for name, day in (("old", 1), ("new", 2)):
        write(parent / f"{name}.db", 100, day)
        write(parent / name / "settings" / "key" / "outcome.pt", 1000, day)
    write(parent / "old.db-journal", 10, 1)
    done = collect_garbage(toy.workspace)
    assert kept(done, "search") == {"old", "new"}
    assert not gone(done, "leftover")
    collect_garbage(toy.workspace, max_bytes=done.kept_bytes - 1)
    assert sorted(path.name for path in parent.iterdir()) == ["new", "new.db"]


def test_what_a_killed_search_or_removal_left_goes(toy: Toy) -> None:
    parent = toy.workspace.private / "tune"
    write(parent / "trial.json", 10)
    write(parent / "orphan" / "settings" / "key" / "outcome.pt", 10)
    write(parent / ".leaving-1" / "outcome.pt", 10)
    write(toy.workspace.cache / "activations" / ".leaving-2" / "x.f32", 10)
    done = collect_garbage(toy.workspace)
    assert gone(done, "leftover") == {"trial.json", "orphan", ".leaving-1", ".leaving-2"}
    assert list(parent.iterdir()) == []


def test_drafts_of_killed_writers_go_once_and_those_of_living_ones_stay(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = toy.workspace
    folder = checkpoint(ws, "key", time.time())
    dead, living = (write(folder / f".state.pt.{pid}-1.tmp", 1000) for pid in (999999, os.getpid()))
    os.utime(living)
    done = collect_garbage(ws)
    assert (dead.exists(), living.exists(), done.freed_bytes) == (False, True, 1000)

    shared = tmp_path / "shared"
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(shared))
    old = write(shared / "images" / "key" / ".images-x.bin.999999-1.tmp", 10)
    fresh = write(shared / "images" / "key" / ".images-y.bin.999999-1.tmp", 10)
    os.utime(fresh)
    collect_garbage(ws)
    assert (old.exists(), fresh.exists()) == (False, True), "a process id may be another machine's"
