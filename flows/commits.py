"""Which commit somebody means by a branch, a tag or a part of a digest."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path

from flows.bounded_commands import git_remotely
from flows.run_claims import BRANCHES
from flows.state import run_git
from tasks.errors import WorkspaceError
from tasks.stage import say

FETCH_SECONDS = 120.0
SHOWN = 8
NO_SUCH_BRANCH = "couldn't find remote ref"
REF_IN_USE = "cannot lock ref"
"""What git says where another fetch moves the same branch in this moment, as runs that start at once do."""
TRIES = 5
_BEYOND_THE_NAME = re.compile(r"[~^:]|@\{")
_SHA = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


def commit_of(root: Path, name: str) -> str:
    """The sha of a branch, tag or commit. What only a remote has is fetched, and `origin/main` is always asked for.

    Nothing of the checkout is written but git's own memory of the remote. What the name led to is said.

    Raises:
        WorkspaceError: no git checkout, no commit yet, no such name, one that several remotes have, or a remote that
            does not tell what its branch is at: a run on yesterday's commit would look like one on today's.
    """
    remotes = run_git(root, "remote").stdout.decode().split()
    base = _BEYOND_THE_NAME.split(name)[0]
    remote = base.partition("/")[0]
    if remote in remotes:
        _bring_branch(root, remote, base)
    found = _resolved(root, name)
    if found is None:
        found = _from_remotes(root, name, remotes)
    if found != name:
        say(f"{name} is commit {found}")
    return found


def _bring_branch(root: Path, remote: str, name: str) -> None:
    """Learn what a remote's branch is at; a branch or tag of the checkout's own that is called so needs no remote.

    Raises:
        WorkspaceError: the remote does not answer, or has no such branch any more.
    """
    if any(_resolved(root, f"refs/{kind}/{name}") for kind in ("heads", "tags")):
        return
    if name in (remote, f"{remote}/HEAD"):
        default = run_git(root, "symbolic-ref", "--quiet", f"refs/remotes/{remote}/HEAD", check=False)
        name = default.stdout.decode().strip().removeprefix("refs/remotes/")
    branch = name.removeprefix(f"{remote}/")
    trouble = _fetch(root, remote, branch)
    last = _resolved(root, f"refs/remotes/{remote}/{branch}")
    fetched = f"; when it was last fetched it was at {last}, which you can name" if last else ""
    if trouble == NO_SUCH_BRANCH and last:
        raise WorkspaceError(f"{remote} has no branch {branch} any more; name another{fetched}")
    if trouble not in (None, NO_SUCH_BRANCH):
        raise WorkspaceError(
            f"{remote} could not be asked what {branch} is at ({trouble}); try again when it answers{fetched}"
        )


def _from_remotes(root: Path, name: str, remotes: list[str]) -> str:
    """The commit of a name that the checkout does not know.

    Raises:
        WorkspaceError: no remote has it, or several do.
    """
    troubles = {remote: _fetch(root, remote, name) for remote in remotes}
    silent = {remote: why for remote, why in troubles.items() if why not in (None, NO_SUCH_BRANCH)}
    for remote, why in silent.items():
        say(f"{remote} could not be asked for {name} ({why})", "warning")
    tracked = {
        remote: _resolved(root, f"refs/remotes/{remote}/{name}") for remote, why in troubles.items() if why is None
    }
    known = {remote: sha for remote, sha in tracked.items() if sha}
    if len(set(known.values())) > 1:
        several = ", ".join(f"{remote}/{name}" for remote in known)
        raise WorkspaceError(f"commit {name!r} could be {several}; name one of them")
    found = next(iter(known.values()), None) or _resolved(root, name)  # the latter by its whole digest
    if found is None:
        raise WorkspaceError(_unknown(root, name, silent))
    return found


def _resolved(root: Path, name: str) -> str | None:
    if not name.strip() or name.startswith("-"):
        return None
    told = run_git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", check=False)
    return told.stdout.decode().strip() or None


def _fetch(root: Path, remote: str, name: str) -> str | None:
    """Fetch a branch, or a commit by its whole digest; why it could not be: `NO_SUCH_BRANCH`, or what git says."""
    if run_git(root, "check-ref-format", "--branch", name, check=False).returncode != 0:
        return NO_SUCH_BRANCH
    spec = name if _SHA.fullmatch(name) else f"+refs/heads/{name}:refs/remotes/{remote}/{name}"
    options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules")
    deadline = time.monotonic() + FETCH_SECONDS
    for turn in range(TRIES):
        ended = git_remotely(root, max(1.0, deadline - time.monotonic()), "fetch", *options, remote, spec)
        if ended.ok or REF_IN_USE not in ended.output:
            break
        time.sleep(0.2 * (turn + 1))
    if ended.ok:
        return None
    absent = NO_SUCH_BRANCH in ended.output or "not our ref" in ended.output
    return NO_SUCH_BRANCH if absent else ended.why


def _unknown(root: Path, name: str, silent: Mapping[str, str | None]) -> str:
    listed = run_git(root, "for-each-ref", "--sort=-committerdate", "--format=%(refname:short)", "refs/heads")
    branches = [line for line in listed.stdout.decode().splitlines() if not line.startswith(BRANCHES)]
    if not branches:
        return f"commit {name!r} is unknown: {root} has no commit yet; commit params.yaml and dvc.yaml first"
    known = ", ".join(branches[:SHOWN])
    if silent:
        who = ", ".join(f"{remote} could not be asked ({why})" for remote, why in silent.items())
        return f"commit {name!r} is unknown here, and {who}; try again, or give a branch that is here, such as {known}"
    return f"commit {name!r} is unknown here and to git's remotes; give a branch (such as {known}), a tag or a sha"
