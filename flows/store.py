"""The release store: one folder per manifest digest, complete before it is visible, never changed after."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.errors import NotQualified, ReleaseError, StageInputError, full_disk
from tasks.release import QUALIFICATION, SIGNATURE, manifest_sha256, verify_release
from tasks.reports.document import write_bytes
from tasks.reports.qualification import Qualification
from tasks.signatures import signature_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

INCOMING = ".incoming-"
LEAVING = ".leaving-"
"""A release on its way out: renamed first, so that no reader ever sees half of one."""
LOCK = ".lock"
DIGEST = re.compile("[0-9a-f]{64}")


def stored_release(store: Path, digest: str) -> Path:
    """Where the release of that manifest digest lies or would lie."""
    return store / digest


def publish_release(
    release: Path, qualification_file: Path, store: Path, key: EllipticCurvePrivateKey | None = None
) -> Path:
    """Copy a qualified release into the store, or find it there. Several publishers may do so at once.

    Args:
        key: signs a release that is not signed yet; None signs nothing.
    Returns:
        the release's folder in the store.
    Raises:
        NotQualified: the qualification refuses it, or is of another release.
        ReleaseError: the release, or the copy that the store already has, is damaged, or the store cannot be written.
    """
    qualification = Qualification.read(qualification_file)
    if not qualification.passed:
        raise NotQualified("\n".join(qualification.reasons))
    verify_release(release)
    digest = manifest_sha256(release)
    if qualification.manifest_sha256 != digest:
        raise NotQualified("reports/qualification.json is of another release; run `graft adapt`")
    target = stored_release(store, digest)
    try:
        with store_lock(store):
            if target.exists():
                _verify_stored(target)
                if key is not None and not (target / SIGNATURE).exists():
                    write_bytes(target / SIGNATURE, signature_of(target, key))
            else:
                _copy_in(release, qualification_file, target, key)
    except OSError as err:
        mend = "; free some disk, then run again" if full_disk(err) else ""
        raise ReleaseError(f"the release could not be copied into {store}: {err}; nothing was published{mend}") from err
    return target


@contextmanager
def store_lock(store: Path, wait: bool = True) -> Iterator[None]:
    """Hold the store's lock: what lies in `.incoming-*` and `.leaving-*` then is of nobody who lives.

    Raises:
        BlockingIOError: somebody else holds it, and `wait` is false.
    """
    store.mkdir(parents=True, exist_ok=True)
    with (store / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


def releases_of(store: Path) -> list[Path]:
    """The folders of all releases, the oldest first."""
    folders = [path for path in store.glob("[0-9a-f]*") if DIGEST.fullmatch(path.name) and path.is_dir()]
    return sorted(folders, key=lambda path: (path.stat().st_mtime_ns, path.name))


def _verify_stored(target: Path) -> None:
    try:
        verify_release(target, beside=(QUALIFICATION,))
        qualification = Qualification.read(target / QUALIFICATION)
        if not qualification.passed or qualification.manifest_sha256 != target.name:
            raise ReleaseError(f"{target / QUALIFICATION} is not this release's")
    except (ReleaseError, StageInputError) as err:
        raise ReleaseError(f"{err}; move {target} away and run `graft adapt`, which copies the release anew") from err


def _copy_in(release: Path, qualification_file: Path, target: Path, key: EllipticCurvePrivateKey | None) -> None:
    store = target.parent
    for leftover in store.glob(f"{INCOMING}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    incoming = store / f"{INCOMING}{uuid.uuid4().hex}"
    try:
        for file in sorted(path for path in release.rglob("*") if path.is_file()):
            write_bytes(incoming / file.relative_to(release), file.read_bytes())
        write_bytes(incoming / QUALIFICATION, qualification_file.read_bytes())
        verify_release(incoming, beside=(QUALIFICATION,))
        if key is not None:
            write_bytes(incoming / SIGNATURE, signature_of(incoming, key))
        for folder in (incoming / "golden", incoming):
            sync_folder(folder)
        incoming.rename(target)
        sync_folder(store)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Have the disk know the names in a folder, so that a rename survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
