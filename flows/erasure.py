"""Takes contents out of what DVC keeps: raw files under DVC and their cached copies, results of stages and theirs.

A result that an item went into is not edited: it is removed with its cached versions and its place in dvc.lock, and the
next run makes it anew.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flows.dvc_commands import dvc_cache_dir, dvc_site_cache
from flows.tracked_data import object_file
from tasks.digests import file_sha256
from tasks.errors import WorkspaceError
from tasks.reports import write_bytes
from tasks.table_listing import TABLE_SUFFIXES
from tasks.workspace import STAGES, Workspace


@dataclass(frozen=True)
class DvcCache:
    """DVC's own store of one workspace: objects named by md5, folders as JSON lists, and what its runs made."""

    root: Path

    @classmethod
    def of(cls, ws: Workspace) -> DvcCache:
        """The cache that DVC's settings name.

        Raises:
            WorkspaceError: the settings cannot be read.
        """
        return cls(dvc_cache_dir(ws))

    def object(self, md5: str) -> Path:
        return object_file(self.root, md5)

    def entries(self, folder_md5: str) -> list[dict[str, str]]:
        """Files of a cached folder as {md5, relpath}; none where it is not there or unreadable."""
        try:
            entries = json.loads(self.object(folder_md5).read_bytes())
        except (OSError, ValueError):
            return []
        return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []

    def folders(self) -> list[str]:
        """md5 (with .dir) of every cached folder."""
        return sorted(f"{path.parent.name}{path.name}" for path in (self.root / "files" / "md5").glob("*/*.dir"))

    def runs(self) -> list[Path]:
        """Records of stages that ran: what they read and what they made."""
        return sorted(path for path in (self.root / "runs").glob("*/*/*") if path.is_file())

    def remove(self, md5s: Iterable[str]) -> None:
        for md5 in md5s:
            self.object(md5).unlink(missing_ok=True)


@dataclass
class Traces:
    """Where in DVC's cache contents lie: as objects, and in folder lists that name them."""

    objects: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)


def raw_traces(cache: DvcCache, contents: Collection[str], md5s: Collection[str], relative: Collection[str]) -> Traces:
    """Find cached copies of raw files.

    Args:
        contents: their sha256.
        md5s: their md5 where the file was still there to be read.
        relative: their paths below the folder under DVC, to find the md5 of files that are there no more.
    """
    traces = Traces(objects=set(md5s))
    listed = {folder: cache.entries(folder) for folder in cache.folders()}
    for entry in (entry for entries in listed.values() for entry in entries):
        md5 = str(entry.get("md5"))
        cached = cache.object(md5)
        named = md5 not in traces.objects and entry.get("relpath") in relative
        if named and cached.is_file() and file_sha256(cached) in contents:
            traces.objects.add(md5)
    traces.folders = {
        folder for folder, entries in listed.items() if traces.objects & {str(entry.get("md5")) for entry in entries}
    }
    current = {str(entry.get("md5")) for folder in listed.keys() - traces.folders for entry in listed[folder]}
    tables = (entry for folder in traces.folders for entry in listed[folder] if _is_table(str(entry.get("relpath"))))
    traces.objects |= {str(entry.get("md5")) for entry in tables} - current
    return traces


def _is_table(path: str) -> bool:
    """A table beside the images names them; versions of it that only former folders hold go with those."""
    return Path(path).suffix.lower() in TABLE_SUFFIXES


def dvc_file_of(ws: Workspace, path: Path) -> Path | None:
    """The .dvc file under which `path` stands, itself or with a folder above it."""
    for place in (path, *path.parents):
        if place == ws.root or not place.is_relative_to(ws.root):
            return None
        if (found := place.with_name(f"{place.name}.dvc")).is_file():
            return found
    return None


def forget_results(ws: Workspace, cache: DvcCache) -> None:
    """Remove all that the stages made, cached versions included; dvc.lock keeps only stages that are not ours."""
    locks = [*_locks(ws), *(lock for lock in map(_yaml, cache.runs()) if _is_ours(lock))]
    kept = _md5s_under_dvc(ws, cache)
    made = {md5 for lock in locks for md5 in _made(lock)}
    for md5 in sorted(made):
        cache.remove(({str(entry["md5"]) for entry in cache.entries(md5)} if md5.endswith(".dir") else set()) - kept)
        cache.remove({md5} - kept)
    for run in cache.runs():
        if _is_ours(_yaml(run)):
            _remove_run(run)
    for out in outs_of_stages(ws):
        shutil.rmtree(out) if out.is_dir() and not out.is_symlink() else out.unlink(missing_ok=True)
    _forget_lock(ws)


def _remove_run(run: Path) -> None:
    """Remove a record with its folder, which DVC 3.67 cannot bear to find empty."""
    run.unlink(missing_ok=True)
    for folder in (run.parent, run.parent.parent):
        with suppress(OSError):
            folder.rmdir()


def forget_site_cache(ws: Workspace) -> None:
    """Remove what DVC remembers of this workspace by path, outside of it; the next command reads the files anew.

    Raises:
        WorkspaceError: DVC cannot open the workspace, or it cannot be removed.
    """
    remembered = dvc_site_cache(ws)
    try:
        with suppress(FileNotFoundError):
            shutil.rmtree(remembered)
    except OSError as err:
        raise WorkspaceError(
            f"{remembered}, where DVC remembers paths, cannot be deleted ({err.strerror}); delete it, then run again"
        ) from err


def outs_of_stages(ws: Workspace) -> list[Path]:
    """Every file and folder that our stages make, as dvc.yaml declares them."""
    stages = _yaml(ws.dvc_yaml).get("stages", {})
    blocks = [stages[stage] for stage in STAGES if stage in stages]
    outs = [out for block in blocks for kind in ("outs", "metrics", "plots") for out in block.get(kind, [])]
    return [ws.root / (next(iter(out)) if isinstance(out, dict) else out) for out in outs]


def _locks(ws: Workspace) -> Iterator[Mapping[str, Any]]:
    """Our stages as dvc.lock records them: now, in the copy made before the last stage, and wherever git knows it."""
    texts = [path.read_bytes() for path in (ws.dvc_lock, ws.private / "backup" / "dvc.lock") if path.is_file()]
    for text in [*texts, *_committed(ws, "dvc.lock")]:
        try:
            stages = (YAML(typ="safe").load(text) or {}).get("stages", {})
        except (YAMLError, UnicodeDecodeError, AttributeError):
            continue
        yield from (stages[stage] for stage in STAGES if isinstance(stages.get(stage), dict))


def _committed(ws: Workspace, name: str) -> Iterator[bytes]:
    def git(*arguments: str) -> bytes:
        return subprocess.run(["git", *arguments], cwd=ws.root, capture_output=True).stdout

    for commit in git("log", "--all", "--format=%H", "--", name).decode().split():
        yield git("show", f"{commit}:./{name}")


def _made(lock: Mapping[str, Any]) -> set[str]:
    outs = lock.get("outs", [])
    return (
        {str(out["md5"]) for out in outs if isinstance(out, dict) and "md5" in out} if isinstance(outs, list) else set()
    )


def _is_ours(lock: Mapping[str, Any]) -> bool:
    return str(lock.get("cmd")) in {f"python -m tasks.{stage}" for stage in STAGES}


def _md5s_under_dvc(ws: Workspace, cache: DvcCache) -> set[str]:
    """Every file and folder that a .dvc file tracks, wherever it stands, with the files of those folders."""
    tracked = {md5 for path in _dvc_files(ws) for md5 in _made(_yaml(path))}
    inside = {str(entry["md5"]) for md5 in tracked if md5.endswith(".dir") for entry in cache.entries(md5)}
    return tracked | inside


def _dvc_files(ws: Workspace) -> Iterator[Path]:
    for folder, folders, names in os.walk(ws.root):
        # What DVC tracks holds no .dvc file, so millions of images are not walked through.
        tracked = {name.removesuffix(".dvc") for name in names if name.endswith(".dvc")}
        folders[:] = [name for name in folders if not name.startswith(".") and name not in tracked]
        yield from (Path(folder) / name for name in names if name.endswith(".dvc"))


def _forget_lock(ws: Workspace) -> None:
    for path in (ws.private / "backup" / "dvc.lock", ws.private / "backup" / "dvc.lock.broken"):
        path.unlink(missing_ok=True)
    lock = _yaml(ws.dvc_lock)
    stages = {stage: entry for stage, entry in lock.get("stages", {}).items() if stage not in STAGES}
    if not stages:
        ws.dvc_lock.unlink(missing_ok=True)
        return
    if len(stages) < len(lock["stages"]):
        yaml, buffer = YAML(), io.BytesIO()
        yaml.dump({**lock, "stages": stages}, buffer)
        write_bytes(ws.dvc_lock, buffer.getvalue())


def _yaml(path: Path) -> dict[str, Any]:
    try:
        document = YAML(typ="safe").load(path.read_bytes())
    except (OSError, YAMLError, UnicodeDecodeError):
        return {}
    return document if isinstance(document, dict) else {}
