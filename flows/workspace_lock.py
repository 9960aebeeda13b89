"""One run per workspace: the lock, what it says about its holder, and the end of a dead run's processes."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

from pydantic import ValidationError

from flows.processes import end_marked_processes, marks, start_mark
from flows.tentative import put_back
from tasks.errors import WorkspaceError
from tasks.reports import Record
from tasks.workspace import Workspace

PATIENCE_SECONDS = 5.0


class LockHolder(Record):
    """Who holds the lock, as written into it; `start` tells the process from a later one of the same pid."""

    pid: int
    start: str
    run_id: str
    since: str

    def lives(self) -> bool:
        return start_mark(self.pid) == self.start


@contextmanager
def workspace_lock(ws: Workspace, run_id: str) -> Iterator[list[str]]:
    """Hold the workspace for one run; yields one line per thing that was mended on the way in.

    While it is held, this process's environment carries the run's marks, so that whatever is started can be told. A run
    that was killed leaves its record in the lock file: its processes that still live (a stage, Prefect's own temporary
    server) are ended first, known by their marks, so that a stranger is never touched; then params.yaml loses what it
    only tried.

    Raises:
        WorkspaceError: a living run holds the workspace, or .graft/lock cannot be opened.
    """
    descriptor = _open(ws)
    try:
        _acquire(descriptor, ws)
        lines = _end_dead_run(_holder(descriptor), ws)
        _write(descriptor, this_process(run_id).model_dump_json())
        try:
            lines += put_back(ws)
            with _environment(marks(ws.root, run_id)):
                yield lines
        finally:
            _write(descriptor, "")
    finally:
        os.close(descriptor)


def check_free(ws: Workspace) -> None:
    """Touches nothing.

    Raises:
        WorkspaceError: a run holds the workspace; it is named.
    """
    try:
        descriptor = os.open(ws.lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WorkspaceError(_busy(ws, _holder(descriptor))) from None
    finally:
        os.close(descriptor)


def _busy(ws: Workspace, holder: LockHolder | None) -> str:
    if holder is None:
        return f"{ws.lock} is held by an unknown process; find it with `fuser {ws.lock}` and end it"
    return (
        f"{ws.root} is busy: run {holder.run_id} (process {holder.pid}) holds it since {holder.since}; "
        f"wait for it to end, or end it with `kill {holder.pid}`"
    )


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _open(ws: Workspace) -> int:
    try:
        ws.lock.parent.mkdir(parents=True, exist_ok=True)
        return os.open(ws.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as err:
        raise WorkspaceError(f"{ws.lock} cannot be opened ({err.strerror}); make the workspace writable") from err


def _acquire(descriptor: int, ws: Workspace) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not _try_lock(descriptor, ws):
        holder = _holder(descriptor)
        if holder and holder.lives():
            raise WorkspaceError(_busy(ws, holder))
        # Either a run that has not yet written its name, or a dead one whose child still holds the lock.
        if holder:
            end_marked_processes(marks(ws.root, holder.run_id))
        if time.monotonic() > deadline:
            raise WorkspaceError(_busy(ws, None))
        time.sleep(0.1)


def _try_lock(descriptor: int, ws: Workspace) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as err:
        raise WorkspaceError(
            f"{ws.lock} cannot be locked ({err.strerror}); keep the workspace on a file system with flock"
        ) from err
    return True


def _end_dead_run(holder: LockHolder | None, ws: Workspace) -> list[str]:
    """End what a killed run left behind; one line if there was anything."""
    if holder is None or holder.lives():
        return []
    ended = end_marked_processes(marks(ws.root, holder.run_id))
    if not ended:
        return []
    pids = ", ".join(str(pid) for pid in ended)
    return [f"ended what the killed run {holder.run_id} had left running (process {pids})"]


def _holder(descriptor: int) -> LockHolder | None:
    try:
        return LockHolder.model_validate_json(os.pread(descriptor, 65536, 0))
    except ValidationError:
        return None


def this_process(run_id: str) -> LockHolder:
    """This process as the holder of a lock from now on."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return LockHolder(pid=os.getpid(), start=start_mark(os.getpid()) or "", run_id=run_id, since=since)


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
