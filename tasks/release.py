"""A release folder: what belongs in it, and whether it is whole."""

from __future__ import annotations

from pathlib import Path

from tasks.digests import file_sha256
from tasks.errors import ReleaseError, StageInputError
from tasks.reports.manifest import Manifest

MANIFEST = "manifest.json"
QUALIFICATION = "qualification.json"
SIGNATURE = "model.sig"
"""May lie in any release; `tasks.signatures` says what it is worth."""


def manifest_sha256(folder: Path) -> str:
    """The release's identity: sha256 of its manifest.json, which names the sha256 of every other file."""
    return file_sha256(folder / MANIFEST)


def verify_release(folder: Path, beside: tuple[str, ...] = ()) -> Manifest:
    """Check that a folder holds exactly the files that its manifest names, byte for byte.

    Args:
        folder: the release.
        beside: names of further files that may lie in it (a store adds the qualification).
    Raises:
        ReleaseError: no readable manifest, or a file is missing, altered or not named.
    """
    try:
        manifest = Manifest.read(folder / MANIFEST)
    except StageInputError as err:
        raise ReleaseError(f"{folder} is no release: {err}") from err
    present = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()
    }
    faults = [f"{name} is missing" for name in sorted(manifest.files.keys() - present)]
    faults += [
        f"{name} does not belong there"
        for name in sorted(present - manifest.files.keys() - {MANIFEST, SIGNATURE, *beside})
    ]
    faults += [
        f"{name} was altered or truncated"
        for name in sorted(manifest.files.keys() & present)
        if not _is_plain_file(folder / name) or file_sha256(folder / name) != manifest.files[name]
    ]
    if faults:
        raise ReleaseError(f"release {folder} is damaged: {'; '.join(faults)}")
    return manifest


def _is_plain_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
