"""Runs in worktrees: where they start, what they leave alone, and that nothing of a killed one stays."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from run_scene import commit_all, committed, contents, git, traces
from toy_workspace import Toy

from flows.dvc_repair import repair
from flows.stage_process import run_stage_process
from flows.worktrees import living_workspaces, run_workspace
from tasks.errors import StageFailed, WorkspaceError
from tasks.workspace import Workspace


@pytest.fixture
def home(toy: Toy) -> Path:
    return committed(toy)


def test_a_run_works_at_its_commit_on_its_branch_and_leaves_nothing(home: Path) -> None:
    with run_workspace(home, "HEAD", "first") as workspace:
        assert workspace.root == home / ".graft" / "worktrees" / "first"
        assert workspace.home == home
        assert git(workspace.root, "symbolic-ref", "HEAD") == "refs/heads/graft/run/first"
        assert git(workspace.root, "status", "--porcelain") == ""
        assert run_stage_process(workspace, "one", "first", 60, print).state == "done"
    assert traces(home) == []


def test_checkout_index_and_branch_are_as_they_were_with_changes_in_them_and_the_index_locked(home: Path) -> None:
    (home / "data" / "zero.txt").write_text("changed and staged\n")
    git(home, "add", "data/zero.txt")
    (home / "params.yaml").write_text("{changed: true}\n")
    (home / "notes.txt").write_text("untracked\n")
    (home / ".git" / "index.lock").write_text("")
    ours = [".graft", ".dvc/cache", ".dvc/tmp", ".git/objects", ".git/worktrees"]
    before = contents(home, ours)
    with run_workspace(home, "HEAD", "beside") as workspace:
        assert (workspace.root / "data" / "zero.txt").read_text() == "seed\n"
        assert run_stage_process(workspace, "one", "beside", 60, print).state == "done"
        (workspace.root / "params.yaml").write_text("{by: the run}\n")
        git(workspace.root, "add", "params.yaml")
        git(workspace.root, "commit", "--quiet", "-m", "Publish")
        during = contents(home, ours)
    for now in (during, contents(home, ours)):
        moved = {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}
        assert {name for name in moved if "graft/run/beside" not in name} == set()


def test_the_branch_stays_only_where_the_run_made_a_commit(home: Path) -> None:
    with run_workspace(home, "HEAD", "published") as workspace:
        (workspace.root / "params.yaml").write_text("{by: the run}\n")
        commit = commit_all(workspace.root)
    with run_workspace(home, "HEAD", "refused"):
        pass
    assert traces(home) == ["refs/heads/graft/run/published"]
    assert git(home, "rev-parse", "graft/run/published") == commit


def test_a_run_that_fails_leaves_its_reports_to_read_and_nothing_else(home: Path) -> None:
    (home / "reports").mkdir(exist_ok=True)
    (home / ".gitignore").write_text("/.graft/\n")
    (home / "reports" / "old.html").write_text("of another run")
    commit_all(home)

    def fail() -> None:
        with run_workspace(home, "HEAD", "failing") as workspace:
            (workspace.reports / "report.html").write_text("why")
            (workspace.reports / "predictions.parquet").write_bytes(b"many rows")
            workspace.run_result("failing").write_text("{}")
            raise StageFailed("seven")

    with pytest.raises(StageFailed, match="seven"):
        fail()
    assert traces(home) == []
    kept = home / ".graft" / "runs"
    assert sorted(path.relative_to(kept).as_posix() for path in kept.rglob("*") if path.is_file()) == [
        "failing.json",
        "failing/report.html",
    ]


def test_tag_sha_and_branch_name_a_commit(home: Path) -> None:
    first = git(home, "rev-parse", "HEAD")
    git(home, "tag", "-a", "v1", "-m", "annotated")
    (home / "data" / "zero.txt").write_text("second\n")
    commit_all(home)
    git(home, "branch", "feature", first)
    for number, name in enumerate(("v1", first[:9], "feature", "HEAD~1", "master")):
        with run_workspace(home, name, f"run{number}") as workspace:
            text = (workspace.root / "data" / "zero.txt").read_text()
        assert text == ("second\n" if name == "master" else "seed\n")


def test_a_branch_that_only_the_remote_has_is_fetched(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    git(tmp_path, "clone", "--quiet", str(home), str(other))
    git(home, "remote", "add", "origin", str(other))
    git(other, "checkout", "--quiet", "-b", "feature")
    (other / "data" / "zero.txt").write_text("theirs\n")
    theirs = commit_all(other)
    for run_id, name in (("short", "feature"), ("full", "origin/feature")):
        with run_workspace(home, name, run_id) as workspace:
            assert git(workspace.root, "rev-parse", "HEAD") == theirs
    (other / "data" / "zero.txt").write_text("later\n")
    later = commit_all(other)
    with run_workspace(home, "origin/feature", "later") as workspace:
        assert git(workspace.root, "rev-parse", "HEAD") == later
    assert "branch." not in git(home, "config", "--list", "--name-only").replace("branch.autosetup", "")


@pytest.mark.parametrize("name", ["nowhere", "origin/nowhere", "", "--all", "HEAD:params.yaml", "a b"])
def test_an_unknown_commit_is_named_with_branches_that_there_are(home: Path, name: str) -> None:
    with pytest.raises(WorkspaceError, match=r"unknown.*such as master"), run_workspace(home, name, "lost"):
        raise AssertionError
    assert traces(home) == []


def test_a_commit_without_a_workspace_is_refused(home: Path) -> None:
    empty = git(home, "commit-tree", "-m", "Nothing", git(home, "hash-object", "-t", "tree", "-w", "/dev/null"))
    with (
        pytest.raises(WorkspaceError, match=rf"{empty[:12]}.* holds no Graft workspace"),
        run_workspace(home, empty, "x"),
    ):
        raise AssertionError
    assert traces(home) == []


def test_a_checkout_without_a_commit_or_without_git_says_so(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="no commit yet"), run_workspace(toy.root, "HEAD", "x"):
        raise AssertionError
    bare = tmp_path / "plain"
    bare.mkdir()
    with pytest.raises(WorkspaceError, match="git checkout"), run_workspace(bare, "HEAD", "x"):
        raise AssertionError


@pytest.mark.parametrize("run_id", ["", "../up", "a.b", "a/b", "-x", "a b"])
def test_a_run_id_that_names_no_branch_is_refused(home: Path, run_id: str) -> None:
    with pytest.raises(WorkspaceError, match="cannot name a branch"), run_workspace(home, "HEAD", run_id):
        raise AssertionError


def test_a_run_id_is_used_once(home: Path) -> None:
    with (
        run_workspace(home, "HEAD", "same"),
        pytest.raises(WorkspaceError, match="has a worktree already"),
        run_workspace(home, "HEAD", "same"),
    ):
        raise AssertionError
    assert traces(home) == []


def test_hooks_of_the_repository_do_not_run_and_settings_from_the_environment_count(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = home / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch '{home}/hooked'\n")
    hook.chmod(0o755)
    (home / ".gitattributes").write_text("data/zero.txt filter=loud\n")
    commit_all(home)
    settings = {"core.hooksPath": str(hook.parent), "filter.loud.smudge": "tr a-z A-Z"}
    monkeypatch.setenv("GIT_CONFIG_COUNT", str(len(settings)))
    for number, (key, value) in enumerate(settings.items()):
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", key)
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", value)
    with run_workspace(home, "HEAD", "unhooked") as workspace:
        assert (workspace.root / "data" / "zero.txt").read_text() == "SEED\n"
        assert not (home / "hooked").exists()


def test_a_workspace_in_a_folder_of_a_repository_has_its_place_in_the_worktree(home: Path, tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "team").mkdir(parents=True)
    git(top, "init", "--quiet")
    for name in ("params.yaml", "dvc.yaml", "toy_stage.py", ".gitignore", "data", ".dvc"):
        (home / name).rename(top / "team" / name)
    commit_all(top)
    with run_workspace(top / "team", "HEAD", "nested") as workspace:
        assert workspace.root == top / "team" / ".graft" / "worktrees" / "nested" / "team"
        assert workspace.home == top / "team"
        assert [living.root for living in living_workspaces(top / "team")] == [workspace.root]
    assert traces(top / "team") == []


def test_the_checkouts_remotes_and_credentials_are_lent_and_reach_no_git_object(home: Path) -> None:
    (home / ".dvc" / "config").open("a").write("['remote \"near\"']\n    url = ../../near\n")
    commit_all(home)
    local = ["['remote \"far\"']\n    url = s3://bucket/data\n    secret_access_key = planted-0815\n"]
    local += ["['remote \"mine\"']\n    url = ../../mine\n[cache]\n    dir = ../../cache\n"]
    (home / ".dvc" / "config.local").write_text("".join(local))
    with run_workspace(home, "HEAD", "lent") as workspace:
        file = workspace.root / ".dvc" / "config.local"
        text = file.read_text()
        assert file.stat().st_mode & 0o777 == 0o600
        assert "secret_access_key = planted-0815" in text
        for name in ("near", "mine", "cache"):
            assert f"= {home.parent / name}\n" in text
        assert git(workspace.root, "status", "--porcelain", "--untracked-files=all") == ""
        commit_all(workspace.root)
    assert "planted" not in git(home, "log", "--all", "-p")


def test_a_stage_runs_the_code_of_its_commit_and_not_the_checkouts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "tasks").mkdir()
    (home / "tasks" / "__init__.py").write_text("")
    (home / "tasks" / "told.py").write_text("print('code of the commit')\n")
    (home / "dvc.yaml").write_text("stages:\n  told:\n    cmd: python -m tasks.told\n")
    commit_all(home)
    (home / "tasks" / "told.py").write_text("print('code of the checkout')\n")
    monkeypatch.setenv("PYTHONPATH", str(home))
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    lines: list[str] = []
    with run_workspace(home, "HEAD", "told") as workspace:
        run_stage_process(workspace, "told", "told", 60, lines.append)
    assert "code of the commit" in lines
    assert "code of the checkout" not in lines


def test_runs_at_once_have_worktrees_of_their_own(home: Path) -> None:
    seen: dict[str, str] = {}

    def run(run_id: str) -> None:
        with run_workspace(home, "HEAD", run_id) as workspace:
            (workspace.root / "data" / "zero.txt").write_text(f"{run_id}\n")
            time.sleep(0.2)
            seen[run_id] = (workspace.root / "data" / "zero.txt").read_text()

    threads = [threading.Thread(target=run, args=(f"run{number}",)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {f"run{number}": f"run{number}\n" for number in range(5)}
    assert traces(home) == []


def test_a_full_disk_while_the_worktree_is_made_is_named_and_leaves_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(home))

    monkeypatch.setattr("flows.worktrees.write_bytes", full)
    with pytest.raises(OSError, match="No space left"), run_workspace(home, "HEAD", "full"):
        raise AssertionError
    assert traces(home) == []


def test_a_young_empty_folder_of_dvcs_run_cache_is_left_to_the_run_that_may_be_filling_it(home: Path) -> None:
    young, old = (home / ".dvc" / "cache" / "runs" / "ab" / name for name in ("young", "old"))
    for folder in (young, old):
        folder.mkdir(parents=True)
    os.utime(old, (1_600_000_000, 1_600_000_000))
    with run_workspace(home, "HEAD", "beside") as workspace:
        repair(workspace)
        assert (young.exists(), old.exists()) == (True, False)
    repair(Workspace(home))
    assert not young.exists()
