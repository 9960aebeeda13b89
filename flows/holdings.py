"""What takes room on the disk on Graft's account, piece by piece, and what each piece is good for."""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from flows.drafts import dead_drafts, is_draft
from flows.result import RunResult, Timings
from flows.run_claims import living_runs
from flows.store import LEAVING
from tasks.backbones.feature_cache import cache_folder, rows_key
from tasks.errors import GraftError
from tasks.reports.backbone import BackboneReport
from tasks.workspace import Workspace

Kind = Literal[
    "backbone graph",
    "feature rows",
    "decoded images",
    "kept activations",
    "DVC objects",
    "checkpoint",
    "search",
    "run workspace",
    "run branch",
    "raw data",
    "pinned release",
    "run",
    "release",
    "leftover",
]


@dataclass(frozen=True)
class Holding:
    """One piece that goes or stays as a whole.

    `keep` says why it must stay, `garbage` why nothing refers to it; with neither it goes only to make room, the least
    recently used (`used_at`, seconds since the epoch) first.
    """

    kind: Kind
    name: str
    paths: tuple[Path, ...]
    bytes: int
    used_at: float
    keep: str | None = None
    garbage: str | None = None


def holding(
    kind: Kind, name: str, paths: Iterable[Path], keep: str | None = None, garbage: str | None = None
) -> Holding:
    """A holding with its size and last use measured; what vanishes meanwhile counts nothing."""
    found = tuple(paths)
    files = [stat for path in found for stat in _stats(path)]
    used_at = max((max(stat.st_mtime, stat.st_atime) for stat in files), default=0.0)
    return Holding(kind, name, found, sum(stat.st_size for stat in files), used_at, keep, garbage)


def cached(workspace: Workspace, now: float) -> list[Holding]:
    """Backbone graphs and feature rows, the cache's own or one that GRAFT_CACHE_DIR shares between workspaces.

    Where the workspace has no backbone right now (a fresh clone, after `graft data forget`), none is garbage: the next
    run would need one of them again.
    """
    shared, current = is_shared(workspace), current_backbone(workspace)
    return [*_graphs(workspace, shared, current, now), *_rows(workspace, shared, current)]


def is_shared(workspace: Workspace) -> bool:
    """Other workspaces may use the cache too, such as the worktree of a living run."""
    return not workspace.cache.is_relative_to(workspace.private) or bool(living_runs(workspace.home))


def _graphs(workspace: Workspace, shared: bool, current: BackboneReport | None, now: float) -> Iterator[Holding]:
    for folder in folders(workspace.cache / "backbones"):
        report = _backbone(folder / "backbone.json")
        live = report is not None and current is not None and report.graph_sha256 == current.graph_sha256
        name = f"{report.architecture} {report.weights} ({folder.name})" if report else folder.name
        # Not by backbone.json, which this very look has read.
        used_at = holding("backbone graph", name, [folder / "model.onnx"]).used_at
        piece = replace(holding("backbone graph", name, [folder]), used_at=used_at)
        if live:
            yield replace(piece, keep="this workspace's backbone")
        elif shared and now - piece.used_at < LATELY_SECONDS:
            yield replace(piece, keep="used within a day, in a cache that other workspaces share")
        else:
            yield piece if shared or current is None else replace(piece, garbage="not this workspace's backbone")


LATELY_SECONDS = 25 * 3600.0
"""Linux may note a file's reading only once a day, so a graph that is read now can look a day old."""


def _rows(workspace: Workspace, shared: bool, current: BackboneReport | None) -> Iterator[Holding]:
    live = rows_key(current.graph_sha256, current.preprocess, current.engine_sha256) if current else None
    for folder in folders(cache_folder(workspace.cache, "x").parent):
        garbage = None if shared or live in (None, folder.name) else "of another backbone, preprocessing or engine"
        for shard in sorted(folder.glob("rows-*.npz")):
            yield holding("feature rows", folder.name, [shard], garbage=garbage)


def runs(workspace: Workspace, keep_runs: int, in_use: Mapping[str, str]) -> Iterator[Holding]:
    """Results and logs of runs, and the reports of those in worktrees; ids sort by time.

    Args:
        in_use: why the run of an id stays, however old it is.
    """
    folder, last = workspace.run_result("x").parent, _standing_run(workspace)
    by_id: dict[str, list[Path]] = {}
    for path in sorted([*folder.glob("*.json*"), *folders(folder)]):
        by_id.setdefault(path.name.split(".", 1)[0], []).append(path)
    newest = sorted(by_id)[-keep_runs:] if keep_runs else []
    for run_id, paths in by_id.items():
        keep = f"one of the newest {keep_runs}" if run_id in newest else None
        keep = "the standing result" if run_id == last else in_use.get(run_id, keep)
        yield holding("run", run_id, paths, keep=keep, garbage=None if keep else f"older than the newest {keep_runs}")


@contextmanager
def held_lock(workspace: Workspace) -> Iterator[bool]:
    """Hold a workspace's lock if nobody else does, without leaving a trace; False: somebody does."""
    try:
        descriptor = os.open(workspace.lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield True
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


def leftovers(workspace: Workspace, now: float) -> Iterator[Holding]:
    """What a removal that was killed in the middle had renamed already, and what killed writers had begun."""
    places = [
        workspace.checkpoints,
        workspace.private / "tune",
        workspace.private / "worktrees",
        *(workspace.cache / name for name in ("backbones", "images", "activations")),
    ]
    for path in (path for place in places for path in sorted(place.glob(f"{LEAVING}*"))):
        yield holding("leftover", path.name, [path], garbage="a removal was interrupted")
    for place in (workspace.checkpoints, workspace.private / "tune", workspace.cache):
        for path in sorted(dead_drafts(place)):
            piece = holding("leftover", path.name, [path], garbage="a write was interrupted")
            # The process id of a draft in a shared cache may be another machine's.
            if not place.is_relative_to(workspace.cache) or not is_shared(workspace) or _is_old(piece, now):
                yield piece


def _is_old(piece: Holding, now: float) -> bool:
    return now - piece.used_at > LATELY_SECONDS


def discard(path: Path) -> None:
    """Remove a file or folder; renamed first, so that nobody ever finds half of it under its name."""
    if path.is_file() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    leaving = path if path.name.startswith(LEAVING) else path.with_name(f"{LEAVING}{uuid.uuid4().hex}")
    if leaving != path:
        with suppress(FileNotFoundError):
            path.rename(leaving)
    shutil.rmtree(leaving, ignore_errors=True)


def current_backbone(workspace: Workspace) -> BackboneReport | None:
    """What the last run embedded with; None where there is none right now."""
    return _backbone(workspace.backbone / "backbone.json")


def _backbone(file: Path) -> BackboneReport | None:
    try:
        return BackboneReport.read(file)
    except (GraftError, OSError):
        return None


def results_of_ended_runs(workspace: Workspace) -> list[Path]:
    """Of runs that came to a verdict; what one that failed has trained, the next goes on with."""
    return [file for file in workspace.run_result("x").parent.glob("*.json") if _ended(file)]


def _ended(file: Path) -> bool:
    with suppress(GraftError, OSError):
        return RunResult.read(file).state in ("released", "refused")
    return False


def _standing_run(workspace: Workspace) -> str | None:
    with suppress(GraftError, OSError):
        return Timings.read(workspace.timings).run_id
    return None


def folders(parent: Path) -> list[Path]:
    """Every folder in there but hidden ones, in order; none where there is no such place."""
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))


def _stats(path: Path) -> list[os.stat_result]:
    """Of a file, or of every file in a folder but drafts; links are not followed."""
    if not path.is_dir() or path.is_symlink():
        entries = iter([path])
    else:
        entries = (entry for entry in path.rglob("*") if not is_draft(entry.name))
    found = []
    for entry in entries:
        with suppress(OSError):
            stat = entry.lstat()
            found += [] if entry.is_dir() and not entry.is_symlink() else [stat]
    return found
