"""What DVC brought back from its cache is compared with what was kept: DVC itself trusts a file that is read-only.

DVC checks an object of its cache only where its mode is not 0444, so one whose bytes were changed on disk is handed out
as the result of a stage. Seen: a flipped bit in a head became a model that was judged, passed and published.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flows.dvc_commands import dvc_cache_dir
from flows.tracked_data import FOLDER, file_md5, object_file
from tasks.workspace import Workspace

RESTORED = "is cached - skipping run, checking out outputs"
"""What DVC prints of a stage whose outs it takes from its cache."""


def altered_objects(ws: Workspace, stage: str) -> dict[str, Path]:
    """Objects of DVC's cache that are not what their name says, by what they were brought back as.

    Reads every out of the stage: to be asked only after it was brought back.
    """
    found: dict[str, Path] = {}
    for path, md5 in _outs(ws, stage):
        if md5.endswith(FOLDER):
            found.update(_altered_folder(ws, path, md5))
        elif path.is_file() and file_md5(path) != md5:
            found[md5] = path
    return found


def throw_away(ws: Workspace, objects: dict[str, Path]) -> list[str]:
    """Remove altered objects from the cache, so that the stage makes them anew; one line each."""
    lines = []
    for md5, path in sorted(objects.items(), key=lambda one: one[1]):
        object_file(dvc_cache_dir(ws), md5).unlink(missing_ok=True)
        lines.append(f"DVC's copy of {ws.relative(path)} was altered on disk ({md5}); it was thrown away")
    return lines


def _altered_folder(ws: Workspace, folder: Path, md5: str) -> Iterator[tuple[str, Path]]:
    """The list of a folder's files is an object too."""
    try:
        data = object_file(dvc_cache_dir(ws), md5).read_bytes()
    except OSError:
        return
    if hashlib.md5(data, usedforsecurity=False).hexdigest() != md5.removesuffix(FOLDER):
        yield md5, folder
        return
    for entry in json.loads(data):
        file = folder / entry["relpath"]
        if file.is_file() and file_md5(file) != entry["md5"]:
            yield entry["md5"], file


def _outs(ws: Workspace, stage: str) -> Iterator[tuple[Path, str]]:
    """Path and md5 of every out, as dvc.lock has them after the stage."""
    from ruamel.yaml import YAML

    document: dict[str, Any] = YAML(typ="safe").load(ws.dvc_lock.read_bytes()) or {}
    for out in document.get("stages", {}).get(stage, {}).get("outs", []):
        if out.get("hash", "md5") == "md5" and "md5" in out:
            yield ws.root / out["path"], str(out["md5"])
