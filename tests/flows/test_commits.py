"""What commit a name leads to, and that a remote is asked: within bounds, by the user's own ssh, and never guessed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from run_scene import commit_all, committed, git
from toy_workspace import Toy

from flows import commits
from flows.commits import commit_of
from tasks.errors import WorkspaceError

LIKE_SSH = '#!/bin/sh\necho called >> "$0.calls"\nfor last; do :; done\nexec sh -c "$last"\n'
PLAIN = '#!/bin/sh\necho called >> "$0.calls"\n[ "$1" = far ] || exit 9\nexec sh -c "$2"\n'
"""Stand-ins for ssh: one takes options as ssh does, the other knows only `HOST COMMAND` (git's variant `simple`)."""


@pytest.fixture
def home(toy: Toy) -> Path:
    return committed(toy)


@pytest.fixture
def origin(home: Path, tmp_path: Path) -> Path:
    """Another checkout, one commit ahead of what `home` last fetched of it."""
    other = tmp_path / "other"
    git(tmp_path, "clone", "--quiet", str(home), str(other))
    git(home, "remote", "add", "origin", str(other))
    git(home, "fetch", "--quiet", "origin")
    git(home, "remote", "set-head", "origin", "master")
    (other / "data" / "zero.txt").write_text("theirs\n")
    commit_all(other)
    return other


@pytest.mark.parametrize("name", ["origin/master", "origin/HEAD", "origin", "origin/master^{commit}"])
def test_a_remotes_branch_is_asked_for_however_it_is_spelled(
    home: Path, origin: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = git(origin, "rev-parse", "HEAD")
    assert commit_of(home, name) == theirs
    assert f"{name} is commit {theirs}" in capsys.readouterr().err
    assert commit_of(home, f"{name.split('^')[0]}~1") == git(home, "rev-parse", "HEAD")


def test_a_commit_that_only_the_remote_has_is_fetched_by_its_digest(home: Path, origin: Path) -> None:
    theirs = git(origin, "rev-parse", "HEAD")
    assert commit_of(home, theirs) == theirs


def test_with_the_remote_away_its_branch_is_refused_and_what_is_known_is_named(home: Path, origin: Path) -> None:
    origin.rename(origin.with_name("away"))
    known = git(home, "rev-parse", "HEAD")
    with pytest.raises(WorkspaceError, match=rf"origin could not be asked what master is at .*try again.*{known}"):
        commit_of(home, "origin/master")
    assert commit_of(home, known) == known
    with pytest.raises(WorkspaceError, match=r"'feature' is unknown here, and origin could not be asked"):
        commit_of(home, "feature")


def test_a_branch_that_the_remote_has_no_more_is_refused(home: Path, origin: Path) -> None:
    git(origin, "checkout", "--quiet", "-b", "main")
    git(origin, "branch", "--quiet", "-D", "master")
    with pytest.raises(WorkspaceError, match="origin has no branch master any more"):
        commit_of(home, "origin/master")


def test_a_branch_of_the_checkout_that_is_called_as_a_remotes_needs_no_remote(home: Path, origin: Path) -> None:
    git(home, "branch", "origin/mine")
    origin.rename(origin.with_name("away"))
    assert commit_of(home, "origin/mine") == git(home, "rev-parse", "HEAD")


def test_a_remote_that_is_silent_does_not_hide_what_another_has(
    home: Path, origin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git(home, "remote", "add", "backup", str(tmp_path / "nowhere"))
    git(origin, "checkout", "--quiet", "-b", "feature")
    assert commit_of(home, "feature") == git(origin, "rev-parse", "HEAD")
    assert "backup could not be asked for feature" in capsys.readouterr().err


def test_a_name_that_two_remotes_have_at_different_commits_is_refused(home: Path, origin: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", str(origin), str(tmp_path / "third"))
    git(home, "remote", "add", "third", str(tmp_path / "third"))
    for root in (origin, tmp_path / "third"):
        git(root, "checkout", "--quiet", "-b", "feature")
        commit_all(root, f"In {root.name}")
    with pytest.raises(WorkspaceError, match="could be origin/feature, third/feature"):
        commit_of(home, "feature")


def test_runs_that_ask_at_once_all_get_their_answer(home: Path, origin: Path) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(commit_of(home, "origin/master"))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [git(origin, "rev-parse", "HEAD")] * 6


@pytest.mark.parametrize("way", ["GIT_SSH_COMMAND", "GIT_SSH", "core.sshCommand"])
@pytest.mark.parametrize("script", [LIKE_SSH, PLAIN])
def test_the_users_own_ssh_is_the_one_that_is_called(
    home: Path, origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, script: str
) -> None:
    ssh = tmp_path / "connect"
    ssh.write_text(script)
    ssh.chmod(0o755)
    git(home, "remote", "set-url", "origin", f"far:{origin}")
    for name in ("GIT_SSH_COMMAND", "GIT_SSH", "GIT_SSH_VARIANT"):
        monkeypatch.delenv(name, raising=False)
    if script == PLAIN:
        git(home, "config", "ssh.variant", "simple")
    if way == "core.sshCommand":
        git(home, "config", way, str(ssh))
    else:
        monkeypatch.setenv(way, str(ssh))
    assert commit_of(home, "origin/master") == git(origin, "rev-parse", "HEAD")
    assert ssh.with_name("connect.calls").read_text().startswith("called")


def test_a_remote_that_never_answers_is_given_up(home: Path, origin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(home, "remote", "set-url", "origin", f"far:{origin}")
    monkeypatch.setenv("GIT_SSH_COMMAND", "sleep 300; :")
    monkeypatch.setattr(commits, "FETCH_SECONDS", 1.0)
    with pytest.raises(WorkspaceError, match="did not answer in time"):
        commit_of(home, "origin/master")
