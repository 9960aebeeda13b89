"""Which commit somebody means by a branch, a tag or a part of a digest."""

from __future__ import annotations

from pathlib import Path

from flows.bounded_commands import git_remotely
from flows.state import run_git
from tasks.errors import WorkspaceError
from tasks.stage import say

FETCH_SECONDS = 120.0
SHOWN = 8
NO_SUCH_BRANCH = "couldn't find remote ref"


def commit_of(root: Path, name: str) -> str:
    """The sha of a branch, tag or commit; a remote's branch, `origin/main` or a name that only it knows, is fetched.

    Nothing of the checkout is written but git's own memory of the remote.

    Raises:
        WorkspaceError: no git checkout, no commit yet, no such name, or one that several remotes have.
    """
    remotes = run_git(root, "remote").stdout.decode().split()
    remote, _, branch = name.partition("/")
    if branch and remote in remotes:
        _fetch(root, remote, branch)
    found = _resolved(root, name)
    if found is None and _is_branch_name(root, name):
        for remote in remotes:
            _fetch(root, remote, name)
        known = {remote: sha for remote in remotes if (sha := _resolved(root, f"refs/remotes/{remote}/{name}"))}
        if len(set(known.values())) > 1:
            several = ", ".join(f"{remote}/{name}" for remote in known)
            raise WorkspaceError(f"commit {name!r} could be {several}; name one of them")
        found = next(iter(known.values()), None)
    if found is None:
        raise WorkspaceError(_unknown(root, name))
    return found


def _resolved(root: Path, name: str) -> str | None:
    if not name.strip() or name.startswith("-"):
        return None
    told = run_git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", check=False)
    return told.stdout.decode().strip() or None


def _is_branch_name(root: Path, name: str) -> bool:
    return run_git(root, "check-ref-format", "--branch", name, check=False).returncode == 0


def _fetch(root: Path, remote: str, branch: str) -> None:
    """As far as the remote answers; otherwise what is known of it has to do, and a line says so."""
    if not _is_branch_name(root, branch):
        return
    spec = f"+refs/heads/{branch}:refs/remotes/{remote}/{branch}"
    options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance")
    ended = git_remotely(root, FETCH_SECONDS, "fetch", *options, remote, spec)
    if not ended.ok and NO_SUCH_BRANCH not in ended.output:
        say(f"{remote} could not be asked for {branch} ({ended.why}); what is known of it here is used", "warning")


def _unknown(root: Path, name: str) -> str:
    listed = run_git(root, "for-each-ref", "--sort=-committerdate", "--format=%(refname:short)", "refs/heads")
    branches = [line for line in listed.stdout.decode().splitlines() if not line.startswith("graft/run/")]
    if not branches:
        return f"commit {name!r} is unknown: {root} has no commit yet; commit params.yaml and dvc.yaml first"
    known = ", ".join(branches[:SHOWN])
    return f"commit {name!r} is unknown here and to git's remotes; give a branch (such as {known}), a tag or a sha"
