"""`graft gc` in doubt: where git fails, or nothing says which backbone is in use, what may be needed stays."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from test_gc import held, promoted, releases
from toy_workspace import Toy

from flows.dvc_garbage import remove_unused
from flows.gc import Collection, collect_garbage
from flows.state import StateRef
from tasks.workspace import Workspace

__all__ = ["held"]


def objects(toy: Toy) -> list[str]:
    """Every object in DVC's cache, by its name."""
    return sorted(path.name for path in (toy.root / ".dvc/cache/files").rglob("*") if path.is_file())


def reasons(collection: Collection, kind: str) -> set[str]:
    return {piece.reason for piece in collection.kept if piece.kind == kind}


def fake_git(folder: Path, monkeypatch: pytest.MonkeyPatch, words: str = "") -> None:
    """Put a git on PATH that refuses; with `words`, only the commands whose arguments hold them."""
    folder.mkdir()
    script = f"""#!/bin/sh
case "$*" in *"{words}"*) echo 'fatal: detected dubious ownership' >&2; exit 128;; esac
exec {shutil.which("git")} "$@"
"""
    (folder / "git").write_text(script)
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def committed(finished: Toy) -> Toy:
    """A commit's dvc.lock names an out that the workspace no longer has."""
    subprocess.run(["git", "add", "-f", "dvc.lock", "dvc.yaml", "params.yaml"], cwd=finished.root, check=True)
    commit = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first"]
    subprocess.run(commit, cwd=finished.root, check=True)
    (finished.root / "dvc.lock").unlink()
    return finished


@pytest.mark.parametrize("words", ["", "rev-list", "worktree"])
def test_no_object_goes_while_git_fails_and_the_reason_is_told(
    committed: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    before = objects(committed)
    fake_git(tmp_path / "bin", monkeypatch, words)
    done = collect_garbage(committed.workspace, max_bytes=0)
    assert objects(committed) == before
    (reason,) = reasons(done, "DVC objects")
    assert "which commits refer to them cannot be told: git" in reason
    assert "dubious ownership; mend what git says" in reason


def test_no_object_goes_without_git_on_the_machine_or_with_another_repository_in_the_environment(
    committed: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = objects(committed)
    subprocess.run(["git", "init", "--quiet", str(tmp_path / "other")], check=True)
    with monkeypatch.context() as patch:
        patch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
        collect_garbage(committed.workspace)
    assert objects(committed) == before
    monkeypatch.setenv("PATH", str(tmp_path))
    collect_garbage(committed.workspace)
    assert objects(committed) == before


def test_objects_are_judged_again_right_before_they_go(
    committed: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = objects(committed)
    fake_git(tmp_path / "bin", monkeypatch)
    assert not remove_unused(committed.workspace)
    assert objects(committed) == before


def test_a_folder_without_git_still_gives_back_what_its_dvc_lock_does_not_name(finished: Toy) -> None:
    shutil.rmtree(finished.root / ".git")
    (finished.root / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    (finished.root / "dvc.lock").unlink()
    assert {piece.kind for piece in collect_garbage(finished.workspace).removed} == {"DVC objects"}
    assert objects(finished) == []


def test_no_release_goes_while_git_cannot_tell_the_history(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = releases(toy.workspace, tmp_path, 5)
    fake_git(tmp_path / "bin", monkeypatch, "for-each-ref")
    done = collect_garbage(toy.workspace, max_bytes=0)
    assert all(folder.exists() for folder in stored)
    (reason,) = reasons(done, "release")
    assert "which release was live before cannot be told" in reason


def test_a_pointer_that_history_does_not_know_keeps_its_predecessor_by_date(toy: Toy, tmp_path: Path) -> None:
    stored = releases(toy.workspace, tmp_path, 7)
    lines = promoted(1, stored[0].name) + promoted(2, stored[4].name)
    StateRef(toy.root).write({"history.jsonl": lines.encode()}, "Remember", None)
    (toy.root / "releases" / "prod").write_text(stored[4].name)
    (toy.root / "releases" / "staging").write_text(stored[3].name)
    collect_garbage(toy.workspace, max_bytes=0)
    assert [folder.exists() for folder in stored] == [True, False, True, True, True, True, True]


@pytest.mark.parametrize("damage", ["missing", "unreadable"])
def test_without_a_backbone_of_its_own_a_workspace_keeps_its_cache(held: Workspace, damage: str) -> None:
    (held.backbone / "backbone.json").unlink()
    if damage == "unreadable":
        (held.backbone / "backbone.json").write_text("{")
    assert collect_garbage(held).removed == []
    assert len(list((held.cache / "features").rglob("rows-*"))) == 3
    done = collect_garbage(held, max_bytes=0)
    assert {piece.kind for piece in done.removed} == {"backbone graph", "feature rows"}


def test_no_object_goes_while_dvc_is_told_that_a_checkout_has_no_git(committed: Toy) -> None:
    before = objects(committed)
    (committed.root / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    done = collect_garbage(committed.workspace)
    assert objects(committed) == before
    assert any("core.no_scm" in reason for reason in reasons(done, "DVC objects"))
