"""What a killed run leaves in the way of DVC, and how it is mended; one line per thing done.

DVC writes .dvc/tmp/rwlock and dvc.lock in place. Cut off in the middle, either blocks every later command; a rwlock
entry blocks for as long as any process has the recorded pid. (.dvc/tmp/lock is an flock and needs no mending.)
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from flows.drafts import dead_drafts
from flows.dvc_commands import dvc_cache_dir
from flows.processes import lived_at
from flows.run_claims import living_runs
from tasks.errors import WorkspaceError
from tasks.reports import write_bytes
from tasks.workspace import Workspace

GUARD_SECONDS = 3.0
EMPTY_SECONDS = 60.0


def repair(ws: Workspace) -> list[str]:
    """Mend what an interrupted run left; the caller holds the workspace lock, so no run of ours is alive.

    A DVC command that the user runs by hand at this moment keeps its locks.

    Raises:
        WorkspaceError: dvc.lock holds the marks of an unresolved merge.
    """
    _remove_empty_runs(ws)
    return [*_repair_rwlock(ws), *_repair_dvc_lock(ws), *_remove_drafts(ws)]


def back_up_dvc_lock(ws: Workspace) -> None:
    """Keep a copy of a healthy dvc.lock in .graft/backup."""
    backup = _backup(ws)
    with suppress(FileNotFoundError):
        content = ws.dvc_lock.read_bytes()
        unchanged = backup.exists() and backup.read_bytes() == content
        if not unchanged and _is_healthy(content):
            write_bytes(backup, content)


def _remove_empty_runs(ws: Workspace) -> None:
    """A folder of DVC's run cache that lost its records (a removal cut short) ends every stage that looks into it.

    While runs in worktrees share the cache, a young one may be waiting for the record that its maker is writing.
    """
    least_age = EMPTY_SECONDS if living_runs(ws.home) else 0.0
    for folder in (dvc_cache_dir(ws) / "runs").glob("*/*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime >= least_age:
                folder.rmdir()


def _backup(ws: Workspace) -> Path:
    return ws.private / "backup" / "dvc.lock"


def _repair_rwlock(ws: Workspace) -> list[str]:
    rwlock = ws.root / ".dvc" / "tmp" / "rwlock"
    if not rwlock.exists():
        return []
    with _rwlock_guard(rwlock) as guarded:
        if not guarded:
            return []
        try:
            entries = _entries(json.loads(rwlock.read_bytes()))
        except (ValueError, AttributeError, TypeError, KeyError):
            rwlock.unlink(missing_ok=True)
            return ["removed .dvc/tmp/rwlock (unreadable: a DVC command was killed while it wrote it)"]
        except FileNotFoundError:
            return []
        written = rwlock.stat().st_mtime
        if not entries or any(_is_held(pid, command, written) for pid, command in entries):
            return []
        rwlock.unlink(missing_ok=True)
        pids = ", ".join(str(pid) for pid in sorted({pid for pid, _ in entries}))
        return [f"removed .dvc/tmp/rwlock (left by the killed DVC process {pids})"]


@contextmanager
def _rwlock_guard(rwlock: Path) -> Iterator[bool]:
    """DVC's own guard around each edit of the rwlock; False if somebody keeps it for seconds."""
    descriptor = os.open(rwlock.with_name("rwlock.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield _flock_within(descriptor, GUARD_SECONDS)
    finally:
        os.close(descriptor)


def _flock_within(descriptor: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def _entries(content: dict[str, Any]) -> set[tuple[int, str]]:
    """(pid, command) of every lock in a rwlock; DVC refuses a file with other keys."""
    if content.keys() - {"read", "write"}:
        raise ValueError(f"unknown keys in a rwlock: {', '.join(content)}")
    writers = list(content.get("write", {}).values())
    readers = [reader for found in content.get("read", {}).values() for reader in found]
    return {(int(entry["pid"]), str(entry["cmd"])) for entry in writers + readers}


def _is_held(pid: int, command: str, written: float) -> bool:
    """True if `pid` is still the process that took the lock: as old as the file, with the same arguments."""
    if not lived_at(pid, written):
        return False
    try:
        now = psutil.Process(pid).cmdline()
    except psutil.AccessDenied:
        return True
    except psutil.Error:
        return False
    arguments = command.split()[1:]
    return not arguments or " ".join(now).split()[-len(arguments) :] == arguments


def _repair_dvc_lock(ws: Workspace) -> list[str]:
    if not ws.dvc_lock.exists():
        return []
    content = ws.dvc_lock.read_bytes()
    if _is_healthy(content):
        return []
    if b"<<<<<<< " in content:
        raise WorkspaceError(f"{ws.dvc_lock} holds an unresolved merge; resolve it with git, then run again")
    write_bytes(_backup(ws).with_name("dvc.lock.broken"), content)
    backup = _backup(ws)
    if backup.exists() and _is_healthy(backup.read_bytes()):
        write_bytes(ws.dvc_lock, backup.read_bytes())
        return ["restored dvc.lock from the copy made before the interrupted stage (it was cut off)"]
    ws.dvc_lock.unlink()
    return ["removed dvc.lock (it was cut off, and there is no copy); stages come from DVC's run cache or run again"]


def _is_healthy(content: bytes) -> bool:
    """True if DVC itself would accept this as a dvc.lock, and it ends as DVC ends it.

    Cut off within a value, it is valid YAML that has forgotten stages.
    """
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError
    from voluptuous import Invalid

    if not content.endswith(b"\n"):
        return False
    try:
        COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(content.decode()))
    except (Invalid, YAMLError, UnicodeDecodeError):
        return False
    return True


def _remove_drafts(ws: Workspace) -> list[str]:
    """Remove what interrupted writes left beside the reports and outs; the user's own folders are not touched."""
    folders = (ws.root / "data", ws.root / "models", ws.reports)
    drafts = [draft for folder in folders for draft in dead_drafts(folder, spared=(ws.raw, ws.sample))]
    for draft in drafts:
        draft.unlink(missing_ok=True)
    return [f"removed {ws.relative(draft)} (left by an interrupted write)" for draft in drafts]
