"""`graft gc`: what goes, what never does, and that nothing is ever half gone."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from test_store import make_release, publish
from toy_workspace import Toy, wait_for

from flows import holdings
from flows.gc import Collection, collect_garbage, parse_size, report_text
from flows.records import StageChange
from flows.result import RunResult
from flows.state import StateRef
from flows.store import LEAVING, store_lock
from flows.workspace_lock import workspace_lock
from tasks.backbones.feature_cache import FeatureCache, cache_folder, forget_rows, rows_key
from tasks.errors import ParamsError, WorkspaceError
from tasks.preprocess import Preprocess
from tasks.release import QUALIFICATION, verify_release
from tasks.reports.backbone import BackboneReport
from tasks.workspace import Workspace

OLD = 1_600_000_000


def age(path: Path, days: int) -> Path:
    """Make a file or folder look last used so many days after a fixed time."""
    for entry in [*path.rglob("*"), path] if path.is_dir() else [path]:
        os.utime(entry, (OLD + 86400 * days, OLD + 86400 * days))
    return path


def write(path: Path, size: int, day: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return age(path, day)


def backbone(folder: Path, graph: str, day: int = 0) -> BackboneReport:
    preprocess = Preprocess(resize=32, crop=32, mean=(0.0,) * 3, std=(1.0,) * 3, interpolation="bilinear")
    report = BackboneReport(
        architecture="squeezenet1_0",
        weights="none",
        weights_sha256="0",
        graph_sha256=graph,
        engine_sha256="e",
        feature_width=4,
        preprocess=preprocess,
    )
    report.write(folder / "backbone.json")
    write(folder / "model.onnx", 1000)
    age(folder, day)
    return report


@pytest.fixture
def held(toy: Toy) -> Workspace:
    """A workspace with a cache of two backbones, the second of which is its own, and rows of both."""
    ws = toy.workspace
    backbone(ws.cache / "backbones" / "first", "a")
    backbone(ws.cache / "backbones" / "second", "b")
    current = backbone(ws.backbone, "b")
    live = rows_key(current.graph_sha256, current.preprocess, current.engine_sha256)
    for key, day in (("stale", 9), (live, 1), (live, 2)):
        write(cache_folder(ws.cache, key) / f"rows-{day}.npz", 500, day)
    return ws


def releases(ws: Workspace, tmp_path: Path, count: int) -> list[Path]:
    """Releases published one day after another."""
    store = ws.root / "releases"
    return [
        age(publish(make_release(tmp_path / f"r{day}", f"model {day}".encode()), store), day) for day in range(count)
    ]


def names(pieces: list[object], kind: str) -> set[str]:
    return {piece.name for piece in pieces if piece.kind == kind}  # type: ignore[attr-defined]


def tree(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """All there is below a folder but DVC's own lock files: mode, mtime and content."""
    found = {}
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if relative.parts[:2] != (".dvc", "tmp") and relative.parts != (".dvc",):
            stat = path.lstat()
            found[str(relative)] = (stat.st_mode, stat.st_mtime_ns, path.read_bytes() if path.is_file() else b"")
    return found


def gone(collection: Collection, kind: str) -> set[str]:
    return names(list(collection.removed), kind)


def kept(collection: Collection, kind: str) -> set[str]:
    return names(list(collection.kept), kind)


def test_of_a_workspaces_own_cache_only_the_present_backbone_stays(held: Workspace) -> None:
    done = collect_garbage(held)
    assert gone(done, "backbone graph") == {"squeezenet1_0 none (first)"}
    assert gone(done, "feature rows") == {"stale"}
    assert [path.name for path in (held.cache / "backbones").iterdir()] == ["second"]
    assert len(list((held.cache / "features").rglob("rows-*"))) == 2
    assert done.freed_bytes > 1500


def test_a_dry_run_says_the_same_and_touches_nothing(held: Workspace, tmp_path: Path) -> None:
    releases(held, tmp_path, 4)
    before = tree(held.root)
    said = collect_garbage(held, dry_run=True, max_bytes=0)
    assert tree(held.root) == before
    assert "would go" in report_text(said)
    done = collect_garbage(held, max_bytes=0)
    assert done.removed == said.removed
    assert done.freed_bytes == said.freed_bytes > 0


def test_room_is_made_by_the_least_recently_used_and_no_more_than_asked(held: Workspace) -> None:
    everything = collect_garbage(held)
    done = collect_garbage(held, max_bytes=everything.kept_bytes - 1)
    assert [(piece.kind, piece.pieces, piece.bytes) for piece in done.removed] == [("feature rows", 1, 500)]
    assert [path.name for path in (held.cache / "features").rglob("rows-*")] == ["rows-2.npz"]


def test_in_a_cache_that_workspaces_share_only_the_least_recently_used_goes(
    held: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    held.cache.rename(shared)
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(shared))
    backbone(shared / "backbones" / "fresh", "c", day=(int(time.time()) - OLD) // 86400)
    assert collect_garbage(held).removed == []
    done = collect_garbage(held, max_bytes=0)
    assert gone(done, "backbone graph") == {"squeezenet1_0 none (first)"}
    assert {path.name for path in (shared / "backbones").iterdir()} == {"second", "fresh"}
    assert list((shared / "features").rglob("rows-*")) == []


def test_releases_stay_unless_room_is_asked_for(toy: Toy, tmp_path: Path) -> None:
    releases(toy.workspace, tmp_path, 5)
    assert gone(collect_garbage(toy.workspace), "release") == set()


def test_of_all_releases_the_newest_two_stay(toy: Toy, tmp_path: Path) -> None:
    stored = releases(toy.workspace, tmp_path, 5)
    done = collect_garbage(toy.workspace, max_bytes=0)
    assert gone(done, "release") == {folder.name for folder in stored[:3]}
    assert [folder.exists() for folder in stored] == [False, False, False, True, True]
    assert any("over --max-bytes 0 B: all of it is in use" in note for note in done.notes)


@pytest.mark.parametrize("form", ["{}", '{{"release": "{}", "since": "2026-01-01"}}', "releases/{}/manifest.json\n"])
def test_the_live_release_and_its_predecessor_stay_however_prod_names_it(toy: Toy, tmp_path: Path, form: str) -> None:
    stored = releases(toy.workspace, tmp_path, 6)
    (toy.root / "releases" / "prod").write_text(form.format(stored[2].name))
    collect_garbage(toy.workspace, max_bytes=0)
    assert [folder.exists() for folder in stored] == [False, True, True, False, True, True]
    assert (toy.root / "releases" / "prod").exists()


def test_a_pointer_may_be_a_link(toy: Toy, tmp_path: Path) -> None:
    stored = releases(toy.workspace, tmp_path, 5)
    (toy.root / "releases" / "staging").symlink_to(stored[0].name)
    collect_garbage(toy.workspace, max_bytes=0)
    assert stored[0].exists()


def promoted(number: int, digest: str) -> str:
    """A line of the history."""
    change = StageChange(
        number=number,
        stage="prod",
        action="promote",
        version=number,
        manifest_sha256=digest,
        previous=None,
        previous_sha256=None,
        forced=False,
        actor="ann",
        reason="it is better",
        at="2026-11-21T08:00:00Z",
    )
    return change.model_dump_json() + "\n"


def test_the_predecessor_is_the_one_that_history_names(toy: Toy, tmp_path: Path) -> None:
    stored = releases(toy.workspace, tmp_path, 6)
    order = [stored[0], stored[3], stored[1], stored[3]]
    lines = "".join(promoted(number, folder.name) for number, folder in enumerate(order, 1))
    StateRef(toy.root).write({"history.jsonl": lines.encode()}, "Remember", None)
    (toy.root / "releases" / "prod").write_text(stored[3].name)
    collect_garbage(toy.workspace, max_bytes=0)
    assert [folder.exists() for folder in stored] == [False, True, False, True, True, True]


def test_the_standing_release_stays(toy: Toy, tmp_path: Path) -> None:
    stored = releases(toy.workspace, tmp_path, 5)
    make_release(toy.workspace.release.parent, b"model 0")
    collect_garbage(toy.workspace, max_bytes=0)
    assert stored[0].exists()


def test_what_an_interrupted_copy_left_goes_without_being_asked(toy: Toy, tmp_path: Path) -> None:
    releases(toy.workspace, tmp_path, 1)
    write(toy.root / "releases" / ".incoming-1" / "model.onnx", 10)
    write(toy.root / "releases" / f"{LEAVING}2" / "model.onnx", 10)
    assert len(gone(collect_garbage(toy.workspace), "leftover")) == 2
    assert not list((toy.root / "releases").glob(".[il]*-*"))


def test_while_somebody_publishes_the_store_is_left_alone(toy: Toy, tmp_path: Path) -> None:
    stored = releases(toy.workspace, tmp_path, 4)
    with store_lock(toy.root / "releases"):
        done = collect_garbage(toy.workspace, max_bytes=0)
    assert all(folder.exists() for folder in stored)
    assert gone(done, "release") == set()


def test_a_release_that_becomes_live_before_it_is_removed_stays(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = releases(toy.workspace, tmp_path, 4)
    write(toy.workspace.private / "checkpoints" / "c" / "weights", 10)
    write_result(toy.workspace, "20260101T000000-a")

    def promote(path: Path) -> None:
        (toy.root / "releases" / "prod").write_text(stored[1].name)
        holdings.discard(path)

    monkeypatch.setattr("flows.sweep.discard", promote)
    done = collect_garbage(toy.workspace, max_bytes=0)
    assert [folder.exists() for folder in stored] == [True, True, True, True]
    assert stored[1].name in kept(done, "release")


def write_result(ws: Workspace, run_id: str, log: bool = False) -> None:
    RunResult(run_id=run_id, state="released").write(ws.run_result(run_id))
    if log:
        ws.run_result(run_id).with_name(f"{run_id}.log.jsonl").write_text("{}\n")


def test_results_and_logs_of_old_runs_go_together(toy: Toy) -> None:
    for day in range(1, 6):
        write_result(toy.workspace, f"2026010{day}T000000-a", log=True)
    done = collect_garbage(toy.workspace, keep_runs=2)
    assert len(gone(done, "run")) == 3
    folder = toy.workspace.run_result("x").parent
    assert {path.name[:8] for path in folder.iterdir()} == {"20260104", "20260105"}
    assert len(list(folder.iterdir())) == 4


def test_a_checkpoint_stays_until_a_later_run_has_ended(toy: Toy) -> None:
    ws = toy.workspace
    write_result(ws, "20260101T000000-a")
    stale = age(write(ws.private / "checkpoints" / "done" / "weights", 10).parent, 0)
    fresh = write(ws.private / "checkpoints" / "interrupted" / "weights", 10)
    os.utime(fresh)
    collect_garbage(ws, max_bytes=0)
    assert (stale.exists(), fresh.exists()) == (False, True)


def test_a_workspace_in_which_a_run_works_refuses_and_names_the_run(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_one", "hang")
    driver = toy.drive("working", "one")
    toy.process("toy_stage.py", "one")
    for dry_run in (True, False):
        with pytest.raises(WorkspaceError, match=rf"busy: run working \(process {driver.pid}\)"):
            collect_garbage(toy.workspace, dry_run=dry_run)
    driver.kill()
    driver.wait()


def test_a_run_that_starts_beside_a_collection_is_told_to_wait(
    held: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []

    def beside(path: Path) -> None:
        try:
            with workspace_lock(held, "late"):
                refused.append("ran")
        except WorkspaceError as err:
            refused.append(str(err))

    monkeypatch.setattr("flows.sweep.discard", beside)
    collect_garbage(held)
    assert refused
    assert all("busy: run gc-" in text for text in refused)


def test_a_run_workspace_goes_unless_a_run_holds_it(toy: Toy) -> None:
    for name in ("idle", "busy"):
        write(toy.workspace.private / "worktrees" / name / ".graft" / "lock", 0)
    idle, busy = (toy.workspace.private / "worktrees" / name for name in ("idle", "busy"))
    with (busy / ".graft" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = collect_garbage(toy.workspace, max_bytes=0)
    assert (idle.exists(), busy.exists()) == (False, True)
    assert kept(done, "run workspace") == {"busy"}


def test_of_two_collections_in_a_shared_cache_the_second_leaves_it_to_the_first(
    held: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    held.cache.rename(shared)
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(shared))
    with (shared / ".gc.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = collect_garbage(held, max_bytes=0)
    assert gone(done, "feature rows") == set()
    assert len(list((shared / "features").rglob("rows-*"))) == 3


def test_who_reads_a_shared_cache_survives_a_shard_that_goes_meanwhile(
    held: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Path.glob

    def collected_after_listing(self: Path, pattern: str) -> list[Path]:
        found = list(listed(self, pattern))
        for path in found:
            holdings.discard(path)
        return found

    monkeypatch.setattr(Path, "glob", collected_after_listing)
    rows = np.zeros((1, 4), dtype=np.float32)
    assert not FeatureCache(cache_folder(held.cache, "stale"), 4).read_into(rows, ["00" * 32]).any()
    assert forget_rows(held.cache, ["00" * 32]) == 0
    assert list((held.cache / "features").rglob("rows-*")) == []


def test_dvc_keeps_what_dvc_lock_or_a_commit_names_and_gives_back_the_rest(finished: Toy) -> None:
    out = finished.root / "data/one.txt"
    first = out.read_text()
    subprocess.run(["git", "add", "-f", "dvc.lock", "dvc.yaml", "params.yaml"], cwd=finished.root, check=True)
    commit = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first"]
    subprocess.run(commit, cwd=finished.root, check=True)
    for seed in ("second\n", "third\n"):
        (finished.root / "data/zero.txt").write_text(seed)
        assert finished.run("one", "later").state == "done"
    third = out.read_text()
    done = collect_garbage(finished.workspace)
    (unused,) = [piece for piece in done.removed if piece.kind == "DVC objects"]
    objects = [path.read_text() for path in (finished.root / ".dvc/cache/files").rglob("*") if path.is_file()]
    assert sorted(objects) == sorted([first, third])
    assert unused.bytes == len(third) + len("second\n" * 10) - len("third\n" * 10)
    assert collect_garbage(finished.workspace).removed == []
    (finished.root / "data/zero.txt").write_text("second\n")
    assert finished.run("one", "again").state == "done"


def test_a_dvc_cache_outside_of_the_workspace_is_left_alone(finished: Toy, tmp_path: Path) -> None:
    (finished.root / ".dvc" / "config.local").write_text(f"[cache]\n    dir = {tmp_path / 'team'}\n")
    write(tmp_path / "team" / "files" / "md5" / "aa" / "bb", 10)
    done = collect_garbage(finished.workspace, max_bytes=0)
    assert (tmp_path / "team" / "files" / "md5" / "aa" / "bb").exists()
    assert any("other workspaces may share" in piece.reason for piece in done.kept if piece.kind == "DVC objects")


COLLECT = """
import shutil, sys, time
from pathlib import Path
from flows import holdings
from flows.gc import collect_garbage
from tasks.workspace import Workspace

def slow(path, ignore_errors):
    print("half", flush=True)
    next(entry for entry in sorted(path.rglob("*")) if entry.is_file()).unlink()
    time.sleep(600)

holdings.shutil.rmtree = slow
collect_garbage(Workspace(Path(sys.argv[1])), max_bytes=0)
"""


def test_killed_in_the_middle_no_release_is_half_there_and_the_next_collection_tidies_up(
    toy: Toy, tmp_path: Path
) -> None:
    stored = releases(toy.workspace, tmp_path, 4)
    process = subprocess.Popen([sys.executable, "-c", COLLECT, str(toy.root)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"half\n"
    process.kill()
    process.wait()
    there = [folder for folder in stored if folder.exists()]
    assert len(there) == 3
    for folder in there:
        verify_release(folder, beside=(QUALIFICATION,))
    wait_for(lambda: True if not toy.processes() else None)
    done = collect_garbage(toy.workspace)
    assert len(gone(done, "leftover")) == 1
    assert sorted(path.name for path in (toy.root / "releases").iterdir()) == sorted(
        [".lock", *(folder.name for folder in there)]
    )


@pytest.mark.parametrize(
    ("text", "size"),
    [("5GB", 5 * 10**9), ("1.5 GiB", 3 * 2**29), ("200mb", 2 * 10**8), ("0", 0), ("17B", 17), ("2000000", 2 * 10**6)],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_a_bare_number_that_nobody_means_is_refused_with_what_was_meant() -> None:
    with pytest.raises(ParamsError, match=r"--max-bytes 5 is 5 bytes; write 5GB"):
        parse_size("5")


def test_releases_go_only_when_they_are_agreed_to(toy: Toy, tmp_path: Path) -> None:
    stored = releases(toy.workspace, tmp_path, 4)
    shown: list[str] = []

    def unwilling(text: str) -> bool:
        shown.append(text)
        return False

    done = collect_garbage(toy.workspace, max_bytes=0, confirm=unwilling)
    assert all(folder.exists() for folder in stored)
    assert "nothing was removed" in report_text(done)
    assert "2 releases out of the store for good" in shown[0]
    assert all(folder.name in shown[0] for folder in stored[:2])
    assert gone(collect_garbage(toy.workspace, max_bytes=0, confirm=lambda _: True), "release")


@pytest.mark.parametrize("json", [(), ("--json",)])
def test_without_a_terminal_releases_want_yes(toy: Toy, tmp_path: Path, json: tuple[str, ...]) -> None:
    stored = releases(toy.workspace, tmp_path, 4)
    command = [sys.executable, "-m", "flows.cli", "gc", "--max-bytes", "0", "--workspace", str(toy.root), *json]
    asked = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (asked.returncode, asked.stdout) == (1, "")
    assert stored[0].name in asked.stderr
    assert "add --yes" in asked.stderr
    assert all(folder.exists() for folder in stored)
    agreed = subprocess.run([*command, "--yes"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert agreed.returncode == 0, agreed.stderr
    assert [folder.exists() for folder in stored] == [False, False, True, True]


@pytest.mark.parametrize("text", ["", "five", "5 XB", "-1GB", "1e9"])
def test_what_is_no_size_is_named_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ParamsError, match="is no size; write 5GB"):
        parse_size(text)
