"""refs/graft/state: append-only, moved by compare and swap, invisible to the user's own work in the repository."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

from flows.state import LEFT_SECONDS, REF, StateMoved, StateRef
from tasks.errors import WorkspaceError


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository of someone who never told git a name."""
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "EMAIL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    root = tmp_path / "checkout"
    root.mkdir()
    git(root, "init", "--quiet")
    git(root, "config", "user.useConfigOnly", "true")
    return root


def test_before_the_first_write_there_is_nothing(checkout: Path) -> None:
    assert StateRef(checkout).head() is None
    assert StateRef(checkout).read("splits/a") is None


def test_what_was_written_is_read_back_byte_for_byte(checkout: Path) -> None:
    state, data = StateRef(checkout), bytes(range(256)) * 3
    commit = state.write({"splits/a": data, "empty": b""}, "First", None)
    assert state.head() == commit
    assert state.read("splits/a") == data
    assert state.read("empty") == b""
    assert state.read("splits/b") is None
    assert state.read("splits") is None


def test_a_later_write_keeps_the_other_files_and_the_history(checkout: Path) -> None:
    state = StateRef(checkout)
    first = state.write({"a": b"1", "b": b"1"}, "First", None)
    second = state.write({"a": b"2"}, "Second", first)
    assert (state.read("a"), state.read("b")) == (b"2", b"1")
    assert state.read("a", first) == b"1"
    assert git(checkout, "log", "--format=%H %s", REF).splitlines() == [f"{second} Second", f"{first} First"]


@pytest.mark.parametrize("expected", ["none", "stale"])
def test_a_write_on_top_of_a_moved_ref_is_refused_and_changes_nothing(checkout: Path, expected: str) -> None:
    state = StateRef(checkout)
    first = state.write({"a": b"1"}, "First", None)
    second = state.write({"a": b"2"}, "Second", first)
    with pytest.raises(StateMoved, match="moved by another run"):
        state.write({"a": b"3"}, "Late", None if expected == "none" else first)
    assert state.head() == second
    assert state.read("a") == b"2"


def test_concurrent_writers_lose_nothing(checkout: Path) -> None:
    writers, refused = 4, []

    def append(name: str) -> None:
        state = StateRef(checkout)
        while True:
            head = state.head()
            old = state.read("ledger", head) or b""
            try:
                state.write({"ledger": old + f"{name}\n".encode()}, name, head)
                return
            except StateMoved:
                refused.append(name)

    threads = [threading.Thread(target=append, args=(f"writer {number}",)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    ledger = StateRef(checkout).read("ledger") or b""
    assert sorted(ledger.decode().splitlines()) == [f"writer {number}" for number in range(writers)]
    assert len(git(checkout, "log", "--format=%H", REF).splitlines()) == writers


def test_the_users_index_branch_and_files_are_left_alone(checkout: Path) -> None:
    (checkout / "mine.txt").write_text("staged")
    git(checkout, "add", "mine.txt")
    (checkout / "mine.txt").write_text("changed since")
    (checkout / "new.txt").write_text("untracked")
    index = (checkout / ".git" / "index").read_bytes()
    before = git(checkout, "status", "--porcelain=v2", "--branch"), git(checkout, "symbolic-ref", "HEAD")
    head = StateRef(checkout).write({"mine.txt": b"state"}, "State", None)
    StateRef(checkout).write({"more": b"state"}, "State", head)
    assert (git(checkout, "status", "--porcelain=v2", "--branch"), git(checkout, "symbolic-ref", "HEAD")) == before
    assert (checkout / ".git" / "index").read_bytes() == index
    assert (checkout / "mine.txt").read_text() == "changed since"
    assert git(checkout, "for-each-ref", "--format=%(refname)").split() == [REF]


def test_a_workspace_in_a_subfolder_reads_what_it_wrote(checkout: Path) -> None:
    folder = checkout / "models" / "flowers"
    folder.mkdir(parents=True)
    StateRef(folder).write({"splits/a": b"deep"}, "Deep", None)
    assert StateRef(folder).read("splits/a") == b"deep"
    assert StateRef(checkout).read("splits/a") == b"deep"


def test_a_worktree_shares_the_state(checkout: Path) -> None:
    git(checkout, "-c", "user.name=me", "-c", "user.email=me@here", "commit", "--quiet", "--allow-empty", "-m", "First")
    git(checkout, "worktree", "add", "--quiet", "-b", "run", str(checkout.parent / "run"))
    commit = StateRef(checkout.parent / "run").write({"a": b"1"}, "From the run", None)
    assert StateRef(checkout).head() == commit


def test_outside_of_a_repository_the_error_brings_the_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for act in (StateRef(tmp_path).head, lambda: StateRef(tmp_path).read("a")):
        with pytest.raises(WorkspaceError, match=r"git for-each-ref failed in .*`git init` makes one"):
            act()


def test_a_missing_git_is_named(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(checkout))
    with pytest.raises(WorkspaceError, match="install git"):
        StateRef(checkout).head()


def test_a_lost_object_is_an_error_and_no_empty_memory(checkout: Path) -> None:
    state = StateRef(checkout)
    state.write({"a": b"remember me"}, "First", None)
    blob = git(checkout, "rev-parse", f"{REF}:a").strip()
    (checkout / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(WorkspaceError, match="cat-file failed"):
        state.read("a")


def test_the_variables_that_git_sets_for_its_hooks_mislead_nobody(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere.git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "elsewhere.index"))
    StateRef(checkout).write({"a": b"1"}, "From a hook", None)
    monkeypatch.undo()
    assert StateRef(checkout).read("a") == b"1"


def test_the_files_of_a_folder_are_listed(checkout: Path) -> None:
    state = StateRef(checkout)
    assert state.paths("items") == []
    first = state.write({"items/a": b"1", "items/b": b"2", "itemsmore": b"3", "splits/c": b"4"}, "First", None)
    state.write({"items/d": b"5"}, "Second", first)
    assert state.paths("items") == ["items/a", "items/b", "items/d"]
    assert state.paths("items", first) == ["items/a", "items/b"]


def test_what_was_written_is_on_the_disk_before_it_counts(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut may not lose what a pointer shows already."""
    version = [int(part) for part in git(checkout, "--version").split()[2].split(".")[:2]]
    if version < [2, 36]:
        pytest.skip("this git knows no core.fsync")
    monkeypatch.setenv("GIT_TRACE2_EVENT", str(tmp_path / "trace"))
    StateRef(checkout).write({"a": b"1"}, "First", None)
    events = [json.loads(line) for line in (tmp_path / "trace").read_text().splitlines()]
    commands = {event["sid"]: event["name"] for event in events if event["event"] == "cmd_name"}
    flushed = {commands[event["sid"]] for event in events if event.get("category") == "fsync"}
    assert {"hash-object", "write-tree", "commit-tree", "update-ref"} <= flushed


def test_a_lock_that_a_killed_git_left_is_named_with_the_mend_and_a_fresh_one_is_a_race(checkout: Path) -> None:
    state = StateRef(checkout)
    head = state.write({"a": b"1"}, "First", None)
    lock = checkout / ".git" / "refs" / "graft" / "state.lock"
    lock.touch()
    with pytest.raises(StateMoved):
        state.write({"a": b"2"}, "Second", head)
    os.utime(lock, (lock.stat().st_atime, lock.stat().st_mtime - 2 * LEFT_SECONDS))
    with pytest.raises(WorkspaceError, match=r"an interrupted git left .*state\.lock; .*`rm .*state\.lock`") as told:
        state.write({"a": b"2"}, "Second", head)
    assert not isinstance(told.value, StateMoved)
    subprocess.run(str(told.value).split("`")[1], shell=True, check=True)
    state.write({"a": b"2"}, "Second", head)
    assert state.read("a") == b"2"
