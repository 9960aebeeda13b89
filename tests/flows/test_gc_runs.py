"""`graft gc` and what runs in worktrees leave: branches, pinned releases, reports; and while one of them lives."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from run_scene import commit_all, committed, git, start_run, wait_for_line
from test_gc import backbone, gone, kept, write, write_result
from test_raw_copies import PARAMS, add_raw
from toy_workspace import Toy

from flows.forget_runs import check_no_run, forget_runs
from flows.gc import collect_garbage, report_text
from flows.journal import VERSIONS, Journal
from flows.raw_copies import bring_raw_data, raw_folder
from flows.records import VersionRecord
from flows.run_holdings import remove_branch
from flows.worktrees import run_workspace
from tasks.errors import WorkspaceError
from tasks.reports.champion import ChampionPin, PinnedRelease
from tasks.reports.estimate import Estimate
from tasks.workspace import Workspace


@pytest.fixture
def home(toy: Toy) -> Path:
    return committed(toy)


def run_branch(home: Path, number: int) -> str:
    """A branch as a published run leaves it, of its own day; returns its name."""
    name, day = f"graft/run/2026010{number}T000000-a", f"2026-01-0{number}T00:00:00Z"
    tree = git(home, "rev-parse", "HEAD^{tree}")
    dated = ["env", f"GIT_COMMITTER_DATE={day}", "git", "-c", "user.name=a", "-c", "user.email=a@b"]
    make = [*dated, "commit-tree", tree, "-p", "HEAD", "-m", f"Run {number}"]
    commit = subprocess.run(make, cwd=home, capture_output=True, text=True, check=True).stdout.strip()
    git(home, "branch", name, commit)
    return name


def register(home: Path, number: int, branch: str, run_id: str = "x", promotable: bool = True) -> None:
    estimate = Estimate(value=0.9, low=0.8, high=0.95, method="wilson")
    record = VersionRecord(
        version=number,
        name="toy",
        manifest_sha256=f"{number:064d}",
        model_sha256="0" * 64,
        data_digest="0" * 64,
        params_sha256="0" * 64,
        run_id=run_id,
        branch=branch,
        commit=git(home, "rev-parse", branch),
        in_place=False,
        accuracy=estimate,
        macro_f1=estimate,
        test_items=100,
        outcome="first",
        promotable=promotable,
        champion=None,
        graft_version="0",
        by="ann",
        why="a test",
        at="2026-01-01T00:00:00Z",
    )
    Journal(home, VERSIONS, VersionRecord).append(lambda _: record, lambda _: "Register")


def branches(home: Path) -> list[str]:
    return git(home, "for-each-ref", "--format=%(refname:short)", "refs/heads/graft").splitlines()


def test_the_newest_run_branches_and_those_of_versions_stay(home: Path) -> None:
    names = [run_branch(home, number) for number in range(1, 7)]
    register(home, 1, names[0])
    said = collect_garbage(Workspace(home), dry_run=True, keep_runs=2)
    assert gone(said, "run branch") == set(names[1:4])
    assert branches(home) == names
    done = collect_garbage(Workspace(home), keep_runs=2)
    assert done.removed == said.removed
    assert branches(home) == [names[0], *names[4:]]
    collect_garbage(Workspace(home), keep_runs=0, max_bytes=0)
    assert branches(home) == [names[0]]
    assert "1 run branch: of versions" in report_text(collect_garbage(Workspace(home), dry_run=True, keep_runs=0))


def test_a_branch_of_a_version_is_known_by_its_commit_too(home: Path) -> None:
    first, second = run_branch(home, 1), run_branch(home, 2)
    register(home, 1, second)
    git(home, "branch", "-m", second, "graft/run/renamed")
    collect_garbage(Workspace(home), keep_runs=0)
    assert branches(home) == ["graft/run/renamed"]
    assert first not in branches(home)


def test_a_branch_that_somebody_looks_at_stays(home: Path, tmp_path: Path) -> None:
    here, there = run_branch(home, 1), run_branch(home, 2)
    git(home, "checkout", "--quiet", here)
    git(home, "worktree", "add", "--quiet", str(tmp_path / "look"), there)
    collect_garbage(Workspace(home), keep_runs=0)
    assert branches(home) == [here, there]


def test_no_branch_goes_while_the_registry_cannot_be_read(home: Path) -> None:
    name = run_branch(home, 1)
    register(home, 1, name)
    blob = git(home, "rev-parse", "refs/graft/state:versions.jsonl")
    (home / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    assert gone(collect_garbage(Workspace(home), keep_runs=0), "run branch") == set()
    assert branches(home) == [name]


def test_a_branch_that_becomes_a_versions_before_it_is_removed_stays(home: Path) -> None:
    name = run_branch(home, 1)
    assert gone(collect_garbage(Workspace(home), dry_run=True, keep_runs=0), "run branch") == {name}
    register(home, 1, name)
    assert not remove_branch(Workspace(home), name, keep_runs=0)
    assert branches(home) == [name]


def test_branches_of_the_users_own_are_never_listed(home: Path) -> None:
    for name in ("feature", "graft/mine", "graft-run"):
        git(home, "branch", name)
    collect_garbage(Workspace(home), keep_runs=0, max_bytes=0)
    assert set(git(home, "for-each-ref", "--format=%(refname:short)", "refs/heads").splitlines()) == {
        "feature",
        "graft/mine",
        "graft-run",
        "master",
    }


def test_pinned_releases_go_once_no_run_compares_with_them(home: Path) -> None:
    ws = Workspace(home)
    for digest in ("a" * 64, "b" * 64):
        write(ws.pinned_release(digest) / "model.onnx", 1000)
        write(ws.pinned_release(digest).with_name(f"{digest}.items.parquet"), 100)
    ChampionPin(champion=PinnedRelease(version=1, manifest_sha256="a" * 64)).write(ws.champion_pin)
    done = collect_garbage(ws)
    assert (gone(done, "pinned release"), kept(done, "pinned release")) == ({"b" * 64}, {"a" * 64})
    assert sorted(path.name[:1] for path in ws.pinned_release("x").parent.iterdir()) == ["a", "a"]


def test_the_reports_of_a_run_go_with_its_result(home: Path) -> None:
    ws = Workspace(home)
    for number in range(1, 4):
        run_id = f"2026010{number}T000000-a"
        write_result(ws, run_id, log=True)
        write(ws.run_result(run_id).with_suffix("") / "report.html", 10)
    collect_garbage(ws, keep_runs=1)
    assert {path.name[:16] for path in ws.run_result("x").parent.iterdir()} == {"20260103T000000-"}
    assert (ws.run_result("20260103T000000-a").with_suffix("") / "report.html").exists()


def test_the_reports_of_a_release_that_stays_are_there_for_who_decides_on_it(home: Path) -> None:
    ws = Workspace(home)
    for number in range(1, 4):
        run_id = f"2026010{number}T000000-a"
        write_result(ws, run_id)
        register(home, number, run_branch(home, number), run_id, promotable=number > 1)
        write(ws.store("releases") / f"{number:064d}" / "manifest.json", 10)
    done = collect_garbage(ws, max_bytes=0, keep_runs=0)
    assert gone(done, "release") == {f"{1:064d}"}
    assert kept(done, "run") == {"20260102T000000-a", "20260103T000000-a"}
    assert gone(done, "run") == {"20260101T000000-a"}


def test_while_a_run_lives_nothing_that_it_shares_goes_unasked(home: Path) -> None:
    ws = Workspace(home)
    backbone(ws.cache / "backbones" / "other", "a")
    backbone(ws.backbone, "b")
    write(ws.checkpoints / "interrupted" / "state.pt", 10)
    write_result(ws, "20260101T000000-a")
    living = start_run(home, "living")
    wait_for_line(living, "ready")
    said = collect_garbage(ws)
    assert {piece.kind for piece in said.removed} == set()
    assert {"backbone graph", "checkpoint"} <= {piece.kind for piece in said.kept}
    living.communicate("", timeout=60)
    assert {piece.kind for piece in collect_garbage(ws).removed} == {"backbone graph", "checkpoint"}


def test_a_run_that_begins_between_judging_and_sweeping_loses_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = Workspace(home)
    backbone(ws.cache / "backbones" / "other", "a")
    backbone(ws.backbone, "b")
    monkeypatch.setattr("flows.gc.living_runs", lambda _: set())
    judged = collect_garbage(ws, dry_run=True)
    assert gone(judged, "backbone graph")
    with run_workspace(home, "HEAD", "sudden"):
        monkeypatch.setattr("flows.holdings.living_runs", lambda _: set())
        done = collect_garbage(ws)
    assert gone(done, "backbone graph") == set()
    assert (ws.cache / "backbones" / "other").exists()


def test_gc_in_the_worktree_of_a_run_is_refused(home: Path) -> None:
    with (
        run_workspace(home, "HEAD", "working") as workspace,
        pytest.raises(WorkspaceError, match="worktree of a run; collect in its checkout"),
    ):
        collect_garbage(workspace)


def test_forgetting_takes_copies_and_pages_of_runs_and_waits_for_the_living(home: Path) -> None:
    ws = Workspace(home)
    add_raw(home)
    with run_workspace(home, "HEAD", "first") as workspace:
        bring_raw_data(workspace, PARAMS)
        (workspace.root / "reports").mkdir(exist_ok=True)
        (workspace.root / "reports" / "report.html").write_text("a picture")
        (workspace.root / "reports" / "gate.json").write_text("{}")
        with pytest.raises(WorkspaceError, match="run first is working in a worktree and may be reading"):
            check_no_run(ws)
    assert raw_folder(home).is_dir()
    forget_runs(ws)
    assert not raw_folder(home).exists()
    assert [path.name for path in (home / ".graft" / "runs" / "first").iterdir()] == ["gate.json"]
    commit_all(home)
