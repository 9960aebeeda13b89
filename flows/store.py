"""The release store: one folder per manifest digest, complete before it is visible, never changed after."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

from tasks.errors import NotQualified, ReleaseError
from tasks.release import QUALIFICATION, manifest_sha256, verify_release
from tasks.reports.document import write_bytes
from tasks.reports.qualification import Qualification

INCOMING = ".incoming-"


def stored_release(store: Path, digest: str) -> Path:
    """Where the release of that manifest digest lies or would lie."""
    return store / digest


def publish_release(release: Path, qualification_file: Path, store: Path) -> Path:
    """Copy a qualified release into the store, or find it there.

    Returns:
        the release's folder in the store.
    Raises:
        NotQualified: the qualification refuses it, or is of another release.
        ReleaseError: the release, or the copy that the store already has, is damaged.
    """
    qualification = Qualification.read(qualification_file)
    if not qualification.passed:
        raise NotQualified("\n".join(qualification.reasons))
    digest = manifest_sha256(release)
    if qualification.manifest_sha256 != digest:
        raise NotQualified("reports/qualification.json is of another release; run `graft adapt`")
    verify_release(release)
    target = stored_release(store, digest)
    if target.exists():
        verify_release(target, beside=(QUALIFICATION,))
        return target
    _copy_in(release, qualification_file, target)
    return target


def _copy_in(release: Path, qualification_file: Path, target: Path) -> None:
    store = target.parent
    store.mkdir(parents=True, exist_ok=True)
    for leftover in store.glob(f"{INCOMING}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    incoming = store / f"{INCOMING}{uuid.uuid4().hex}"
    try:
        for file in sorted(path for path in release.rglob("*") if path.is_file()):
            write_bytes(incoming / file.relative_to(release), file.read_bytes())
        write_bytes(incoming / QUALIFICATION, qualification_file.read_bytes())
        verify_release(incoming, beside=(QUALIFICATION,))
        for folder in (incoming / "golden", incoming):
            _sync_folder(folder)
        incoming.rename(target)
        _sync_folder(store)
    except OSError as err:
        raise ReleaseError(f"the release could not be copied into {store}: {err}; nothing was published") from err
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    if not folder.is_dir():
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
