"""Who has a worktree: one claim per deployed run, locked for as long as the run lives.

`.graft/worktrees/<run_id>.json` is written before the worktree is begun and removed after it is gone, so whatever a
killed run left is known by it. The kernel frees the lock when its holder dies; a locked claim is never touched.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from flows.processes import end_marked_processes, marks
from flows.workspace_lock import LockHolder, this_process
from tasks.errors import WorkspaceError
from tasks.reports.document import Record
from tasks.stage import say

BRANCHES = "graft/run/"
PATIENCE_SECONDS = 5.0
GUARD_SECONDS = 3600.0
"""Longer than a dead run's large worktree takes to go, or `dvc gc` over a large cache: a scheduled run waits for it."""
DEAD_RUN_SECONDS = 5.0


class RunClaim(Record):
    """What a run took; `commit` is where its branch began, so a branch that stands there holds no work."""

    holder: LockHolder
    run_id: str
    commit: str
    branch: str


def worktrees_folder(home: Path) -> Path:
    """Where the worktrees of a checkout's runs lie, with their claims beside them."""
    return home / ".graft" / "worktrees"


def claim_file(home: Path, run_id: str) -> Path:
    return worktrees_folder(home) / f"{run_id}.json"


@contextmanager
def claims_guard(home: Path) -> Iterator[None]:
    """One process at a time makes a claim or clears up after the dead.

    Raises:
        WorkspaceError: another process keeps it for an hour, or the folder cannot be written.
    """
    folder = worktrees_folder(home)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as err:
        raise WorkspaceError(f"{folder} cannot be written ({err.strerror}); make the checkout writable") from err
    try:
        _take_guard(descriptor, folder / ".lock")
        yield
    finally:
        os.close(descriptor)


def _take_guard(descriptor: int, file: Path) -> None:
    if _lock(descriptor, PATIENCE_SECONDS):
        return
    say(f"waiting for `graft gc`, or another run that clears up, to let go of {file} (`fuser {file}` names it)")
    if not _lock(descriptor, GUARD_SECONDS):
        minutes = f"{GUARD_SECONDS / 60:.0f} minutes"
        raise WorkspaceError(
            f"{file} was held for {minutes}; end the process that `fuser {file}` names, then run again"
        )


@contextmanager
def claimed(home: Path, run_id: str, commit: str) -> Iterator[RunClaim]:
    """Hold a new claim; whoever removes the worktree removes the file.

    The caller holds `claims_guard` on entry.

    Raises:
        WorkspaceError: a run of this id was here before.
    """
    holder = this_process(run_id)
    claim = RunClaim(holder=holder, run_id=run_id, commit=commit, branch=f"{BRANCHES}{run_id}")
    file = claim_file(home, run_id)
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise WorkspaceError(f"run {run_id} has a worktree already ({file}); a run's id is used once") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(descriptor, claim.model_dump_json().encode())
        yield claim
    finally:
        os.close(descriptor)


def read_claim(home: Path, run_id: str) -> RunClaim | None:
    """None where there is none, or one that was cut off while it was written."""
    try:
        return RunClaim.model_validate_json(claim_file(home, run_id).read_bytes())
    except (OSError, ValidationError):
        return None


def is_claimed(home: Path, run_id: str) -> bool:
    """Whether a living run holds the claim; touches nothing."""
    try:
        descriptor = os.open(claim_file(home, run_id), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _lock(descriptor, 0.0, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def end_dead_run(home: Path, run_id: str, root: Path) -> bool:
    """End what a killed run left running in its worktree `root`; False: the claim stays locked, so the run lives.

    Raises:
        WorkspaceError: a process of the dead run outlives SIGKILL.
    """
    deadline = time.monotonic() + DEAD_RUN_SECONDS
    while is_claimed(home, run_id):
        claim = read_claim(home, run_id)
        if claim is None or claim.holder.lives() or time.monotonic() > deadline:
            return False
        # The holder is dead, but a child that it forked has the lock.
        end_marked_processes(marks(root, run_id))
        time.sleep(0.1)
    end_marked_processes(marks(root, run_id))
    return True


def claims(home: Path) -> list[str]:
    """Run ids of every claim and of every worktree without one, in order."""
    found: set[str] = set()
    with suppress(FileNotFoundError):
        for path in worktrees_folder(home).iterdir():
            if not path.name.startswith("."):
                found.add(path.stem if path.suffix == ".json" else path.name)
    return sorted(found)


def living_runs(home: Path) -> set[str]:
    """Ids of the runs that hold a claim right now; touches nothing."""
    return {run_id for run_id in claims(home) if is_claimed(home, run_id)}


def _lock(descriptor: int, seconds: float, kind: int = fcntl.LOCK_EX) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.1)
        else:
            return True
