"""Raw data under DVC, once per digest and checkout, read by the worktrees of all runs: `.graft/raw/<md5>`.

A copy costs no room where the disk can share blocks (reflink) or names (hard link) with DVC's cache. It is read-only,
and since root may write all the same, every run compares size and time of each file with the record made when the
content was verified: what was changed is made anew, from content verified anew.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from flows.dvc_commands import dvc_cache_dir, run_dvc
from flows.file_sharing import share_file
from flows.tracked_data import TrackedData, file_md5, folder_entries, object_file, tracked_data
from tasks.backbones.weights import SUFFIXES
from tasks.errors import DataError, WorkspaceError, counted
from tasks.params import Params
from tasks.reports import write_bytes
from tasks.reports.document import Record
from tasks.stage import say
from tasks.threads import usable_cores
from tasks.workspace import Workspace

FETCH_SECONDS = 24 * 3600.0
USED = "raw-copies"
"""In a worktree's .graft: the digests of the copies that it reads, a line each."""


class RawRecord(Record):
    """(bytes, time of change in ns) of every file of a copy, when its content was verified."""

    files: dict[str, tuple[int, int]]


def bring_raw_data(workspace: Workspace, params: Params) -> None:
    """Lead data.path of a run's worktree to the shared copy of what DVC tracks there at its commit.

    Single files that params.yaml names and DVC tracks (table, weights, suite) come too. To be called once params.yaml
    is final and before anything reads the data. Nothing is done for what is read in place, for the sample, for what
    lies in git, and in the checkout itself.

    Raises:
        DataError: neither git nor DVC has it at this commit, or neither DVC's cache nor a remote has its content.
        WorkspaceError: DVC or the disk fails.
    """
    if workspace.root == workspace.home:
        return
    for key, named, mend in _named(params):
        path = workspace.resolve(named)
        if path == workspace.sample or not path.is_relative_to(workspace.root):
            continue
        tracked = tracked_data(workspace, path)
        if tracked is not None:
            _lead(workspace, tracked)
        elif not path.exists():
            raise DataError(
                f"{key}: {workspace.relative(path)} is neither in git nor under DVC at the commit of this run; {mend}, "
                "or give an absolute path to read it in place"
            )


def _named(params: Params) -> Iterator[tuple[str, str, str]]:
    """(key, path, mend) of all that a run reads and params.yaml names."""
    yield "data.path", params.data.path, "`graft data add` brings a folder under DVC, then commit what git shows"
    if params.data.table:
        yield "data.table", params.data.table, "lay it beside the images before `graft data add`, or commit it"
    if params.validate_.suite:
        yield "validate.suite", params.validate_.suite, "commit it"
    if params.backbone.weights.endswith(SUFFIXES):
        yield "backbone.weights", params.backbone.weights, "`graft backbone add` brings it under DVC, then commit"


def raw_folder(home: Path) -> Path:
    return home / ".graft" / "raw"


def used_copies(workspace: Workspace) -> set[str]:
    """Digests of the copies that a worktree reads or is about to."""
    with suppress(OSError):
        return set((workspace.private / USED).read_text("utf-8").split())
    return set()


def _lead(workspace: Workspace, tracked: TrackedData) -> None:
    if tracked.path.exists():
        return
    tracked.path.parent.mkdir(parents=True, exist_ok=True)
    md5 = tracked.folder_md5
    if md5 is not None:
        used = sorted({*used_copies(workspace), md5})
        write_bytes(workspace.private / USED, "".join(f"{one}\n" for one in used).encode())
        tracked.path.symlink_to(raw_copy(workspace, tracked, md5), target_is_directory=True)
    elif tracked.md5 is not None:
        cache = dvc_cache_dir(workspace)
        _verified(workspace, tracked, cache)
        share_file(object_file(cache, tracked.md5), tracked.path)
    else:
        run_dvc(workspace, "checkout", workspace.relative(tracked.dvc_file), timeout_seconds=FETCH_SECONDS)


def raw_copy(workspace: Workspace, tracked: TrackedData, md5: str) -> Path:
    """The checkout's copy of a folder under DVC; made, after `dvc fetch` where need be, if it is not there unharmed.

    Of several makers the first makes it and the others wait.

    Raises:
        DataError: its content is neither in DVC's cache nor at a remote.
        WorkspaceError: the disk is full, or DVC fails.
    """
    folder = raw_folder(workspace.home)
    target = folder / md5
    with copy_lock(folder, md5):
        if target.is_dir():
            if _is_unharmed(target):
                return target
            say(f"{target} is not as it was made, and is made anew", "warning")
            discard_copy(target)
        try:
            _make(workspace, tracked, target)
        except OSError as err:
            discard_copy(target)
            raise WorkspaceError(f"{target} cannot be made ({err.strerror}: {err.filename}); free some disk") from err
    return target


@contextmanager
def copy_lock(folder: Path, md5: str, wait: bool = True) -> Iterator[None]:
    """Hold one digest.

    Raises:
        BlockingIOError: somebody else holds it, and `wait` is false.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{md5}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


def discard_copy(target: Path) -> None:
    """Remove a copy, its record and its draft; the caller holds its lock."""
    _record_file(target).unlink(missing_ok=True)
    for folder in (target, _draft(target)):
        for place, _, _ in os.walk(folder):
            Path(place).chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)


def discard_every_copy(home: Path) -> None:
    """Remove all copies, whole or begun; no run may be reading them."""
    folder = raw_folder(home)
    for digest in sorted({path.name.strip(".").split(".")[0] for path in folder.glob("*")}):
        discard_copy(folder / digest)
    shutil.rmtree(folder, ignore_errors=True)


def _make(workspace: Workspace, tracked: TrackedData, target: Path) -> None:
    cache, draft = dvc_cache_dir(workspace), _draft(target)
    discard_copy(target)
    entries = _verified(workspace, tracked, cache)
    draft.mkdir(parents=True)
    for parent in sorted({(draft / name).parent for name in entries}):
        parent.mkdir(parents=True, exist_ok=True)
    ways = {share_file(object_file(cache, digest), draft / name) for name, digest in entries.items()}
    if "copy" in ways:
        say(f"copied the raw data to {target}: this disk cannot share them with DVC's cache")
    for place, _, _ in os.walk(draft):
        Path(place).chmod(0o555)
    record = RawRecord(files=_stats(draft))
    write_bytes(_record_file(target), record.model_dump_json().encode())
    draft.rename(target)


def _verified(workspace: Workspace, tracked: TrackedData, cache: Path) -> dict[str, str]:
    """Every file of what is tracked with its md5, each verified in DVC's cache; what it lacks or has damaged is
    fetched."""
    entries = _entries(tracked, cache)
    bad = _not_in_cache(cache, entries) if entries is not None else set()
    if entries is not None and not bad:
        return entries
    for digest in bad:
        object_file(cache, digest).unlink(missing_ok=True)
    trouble = ""
    try:
        run_dvc(workspace, "fetch", workspace.relative(tracked.dvc_file), timeout_seconds=FETCH_SECONDS)
    except WorkspaceError as err:
        trouble = f": {err}"
    entries = _entries(tracked, cache)
    bad = _not_in_cache(cache, entries) if entries is not None else set()
    if entries is None or bad:
        what = counted(len(bad), "file") if bad else "the list of files"
        raise DataError(
            f"{workspace.relative(tracked.dvc_file)} names data of which {what} is neither in DVC's cache ({cache}) "
            f"nor at a remote{trouble}; `dvc push` from where the data were added, or add them again"
        )
    return entries


def _entries(tracked: TrackedData, cache: Path) -> dict[str, str] | None:
    md5 = tracked.folder_md5
    return folder_entries(cache, md5) if md5 is not None else {tracked.path.name: str(tracked.md5)}


def _not_in_cache(cache: Path, entries: dict[str, str]) -> set[str]:
    """Digests whose object is missing or has other content."""
    digests = sorted(set(entries.values()))
    with ThreadPoolExecutor(usable_cores()) as pool:
        found = pool.map(lambda digest: _real_md5(object_file(cache, digest)), digests)
        return {digest for digest, real in zip(digests, found, strict=True) if real != digest}


def _real_md5(file: Path) -> str | None:
    with suppress(FileNotFoundError):
        return file_md5(file)
    return None


def _is_unharmed(target: Path) -> bool:
    try:
        record = RawRecord.model_validate_json(_record_file(target).read_bytes())
    except (OSError, ValidationError):
        return False
    return record.files == _stats(target)


def _stats(folder: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            stat = Path(place, name).lstat()
            found[Path(place, name).relative_to(folder).as_posix()] = (stat.st_size, stat.st_mtime_ns)
    return found


def _record_file(target: Path) -> Path:
    return target.with_name(f"{target.name}.json")


def _draft(target: Path) -> Path:
    return target.with_name(f".{target.name}.draft")
