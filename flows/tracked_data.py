"""What a .dvc file says of the data that it tracks, and what DVC's cache keeps of it: objects, and lists of folders."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tasks.errors import DataError, WorkspaceError
from tasks.workspace import Workspace

FOLDER = ".dir"
_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


@dataclass(frozen=True)
class TrackedData:
    """A file or folder under DVC; `md5` is None where DVC keeps it in another way than by today's md5."""

    dvc_file: Path
    path: Path
    md5: str | None

    @property
    def folder_md5(self) -> str | None:
        """The digest of a folder, without its suffix; None for a file."""
        return self.md5.removesuffix(FOLDER) if self.md5 and self.md5.endswith(FOLDER) else None


def tracked_data(workspace: Workspace, path: Path) -> TrackedData | None:
    """What tracks `path`, or the folder that holds it; None where DVC does not.

    Raises:
        WorkspaceError: the .dvc file cannot be read.
    """
    for place in (path, *path.parents):
        if place == workspace.root or not place.is_relative_to(workspace.root):
            return None
        file = place.with_name(f"{place.name}.dvc")
        if file.is_file():
            return TrackedData(file, place, _md5(file, place.name))
    return None


def _md5(file: Path, name: str) -> str | None:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        outs = YAML(typ="safe").load(file.read_bytes())["outs"]
        out = next(out for out in outs if out["path"] == name)
    except (OSError, YAMLError, TypeError, KeyError, StopIteration) as err:
        raise WorkspaceError(f"{file} does not say what it tracks ({err}); `git checkout {file.name}`") from err
    md5 = str(out.get("md5", ""))
    return md5 if out.get("hash") == "md5" and _MD5.fullmatch(md5) else None


def object_file(cache: Path, md5: str) -> Path:
    """Where DVC's cache keeps the content of that digest."""
    return cache / "files" / "md5" / md5[:2] / md5[2:]


def file_md5(path: Path) -> str:
    """The name that DVC gives a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def folder_entries(cache: Path, folder_md5: str) -> dict[str, str] | None:
    """md5 of every file of a folder by its path in it, with forward slashes; None where the cache lacks the list.

    Raises:
        DataError: the list is not what its digest says, or leads out of the folder.
    """
    file = object_file(cache, f"{folder_md5}{FOLDER}")
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return None
    if hashlib.md5(data, usedforsecurity=False).hexdigest() != folder_md5:
        raise DataError(f"{file} of DVC's cache is damaged; remove it, then `dvc fetch` brings it anew")
    entries = {str(entry["relpath"]): str(entry["md5"]) for entry in json.loads(data)}
    strays = [name for name in entries if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
    if strays:
        raise DataError(f"{file} of DVC's cache lists {strays[0]!r}, outside of the folder; it is not to be trusted")
    return entries
