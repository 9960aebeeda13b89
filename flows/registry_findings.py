"""What `graft doctor` says of the registry: locks that a killed git left, and production beside its history."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from flows.finding import Finding
from flows.journal import SUPERSEDED, Journal
from flows.prod_pointer import read_prod, standing_of
from flows.records import PROD, StageChange
from flows.stage_history import stage_history
from flows.state import LEFT_SECONDS, in_git
from flows.store import stored_release
from flows.versions import version_name
from flows.worktrees import git_folder
from tasks.errors import GraftError, counted
from tasks.params import load_params
from tasks.release import MANIFEST
from tasks.workspace import Workspace

SHOWN = 3
STOPS_RUNS = ("refs", "packed-refs.lock", "config.lock", "shallow.lock")


def git_locks(workspace: Workspace) -> Finding:
    """Locks of git whose holder is probably dead. A ref's is never waited for: it can be moved no more."""
    try:
        folder = git_folder(workspace.home)
    except GraftError:  # The finding on git says why.
        return Finding(check="git locks", state="note", detail="git cannot tell where it keeps them")
    left = [lock for lock in _locks(folder) if _is_old(lock)]
    if not left:
        return Finding(check="git locks", state="ok", detail="git left none behind")
    stopping = [lock for lock in left if lock.relative_to(folder).parts[0] in STOPS_RUNS]
    shown = (stopping or left)[:SHOWN]
    names = ", ".join(lock.relative_to(folder).as_posix() for lock in shown)
    harm = "what they lock cannot be changed: no version, no promotion" if stopping else "git itself may refuse to work"
    return Finding(
        check="git locks",
        state="wrong" if stopping else "note",
        detail=f"{counted(len(left), 'lock')} older than a minute, as a killed git leaves them: {names}; {harm}",
        mend=f"if no git works here (`pgrep -a git`): rm {' '.join(map(str, shown))}",
    )


def production(workspace: Workspace) -> Finding:
    """Whether the pointer in the store shows the last change of the history, and names a release that is there."""
    try:
        store = workspace.store(load_params(workspace.params).publish.store)
    except GraftError:  # The finding on params.yaml says why.
        return Finding(check="production", state="note", detail="where releases lie is not known")
    try:
        pointer, changes = read_prod(store), stage_history(workspace.root) if in_git(workspace.root) else []
        superseded = Journal(workspace.root, SUPERSEDED, StageChange).read() if changes else []
    except GraftError as err:
        detail, _, mend = str(err).partition("; ")
        return Finding(check="production", state="wrong", detail=detail, mend=mend or "`graft history` says more")
    if pointer is None and not changes:
        return Finding(check="production", state="ok", detail="nothing was promoted yet")
    shown = f"{version_name(pointer.version)} (change {pointer.number})" if pointer else "nothing"
    told = f"{version_name(changes[-1].version)} (change {changes[-1].number})" if changes else "nothing"
    standing = standing_of(pointer, changes, superseded)
    if standing == "foreign":
        return Finding(
            check="production",
            state="wrong",
            detail=f"{store / PROD} shows {shown}, which the history here does not know; it ends with {told}",
            mend="`graft push` where the change was made, then `graft history` here follows; for a history of its own "
            f"move {store / PROD} away",
        )
    if standing == "behind":
        detail = f"{store / PROD} shows {shown}, the history ends with {told}: a change was interrupted"
        return Finding(check="production", state="note", detail=detail, mend="`graft history` completes it")
    if pointer and not (stored_release(store, pointer.manifest_sha256) / MANIFEST).is_file():
        detail = f"{shown} is in production, and {store} does not hold its release {pointer.manifest_sha256[:12]}"
        mend = "copy its folder there from a backup or another machine, or `graft rollback`"
        return Finding(check="production", state="wrong", detail=detail, mend=mend)
    return Finding(check="production", state="ok", detail=f"{shown} is in production, as the history says")


def _locks(folder: Path) -> list[Path]:
    """Of the repository, its refs and its worktrees."""
    patterns = ("*.lock", "refs/**/*.lock", "worktrees/*/*.lock")
    return sorted(path for pattern in patterns for path in folder.glob(pattern))


def _is_old(lock: Path) -> bool:
    with suppress(OSError):  # gone meanwhile
        return time.time() - lock.stat().st_mtime > LEFT_SECONDS
    return False
