"""Whether a release may be served on this machine: what promotion asks before, and a server at every load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.errors import ReleaseError, StageInputError
from tasks.opened_release import OpenedRelease, golden_faults
from tasks.release import QUALIFICATION, manifest_sha256, verify_release
from tasks.reports.manifest import Manifest
from tasks.reports.qualification import Qualification


@dataclass(frozen=True)
class Servable:
    """A release that held every check, opened."""

    digest: str
    manifest: Manifest
    opened: OpenedRelease


def open_servable(folder: Path, digest: str | None = None) -> Servable:
    """Check a stored release: every sha256, its qualification, and its answers to the golden files.

    Args:
        folder: of the release store.
        digest: sha256 that its manifest must have; None takes what is there.
    Raises:
        ReleaseError: it is damaged, another one, not qualified, or answers otherwise than at its export.
    """
    manifest = verify_release(folder, beside=(QUALIFICATION,))
    found = manifest_sha256(folder)
    if digest is not None and found != digest:
        raise ReleaseError(f"{folder} holds another release ({found[:12]}) than its name says")
    _check_qualified(folder, found)
    try:
        opened = OpenedRelease(folder)
        faults = golden_faults(opened)
    except (OSError, ValueError, RuntimeError, StageInputError) as err:
        raise ReleaseError(f"{folder} cannot answer its golden files: {' '.join(str(err).split())[:300]}") from err
    if faults:
        raise ReleaseError(
            f"{folder} does not answer its golden files as at its export: {'; '.join(faults)}; another ONNX Runtime or "
            "Pillow than then, or another kind of processor"
        )
    return Servable(found, manifest, opened)


def _check_qualified(folder: Path, digest: str) -> None:
    try:
        qualification = Qualification.read(folder / QUALIFICATION)
    except StageInputError as err:
        raise ReleaseError(str(err)) from err
    if qualification.manifest_sha256 != digest:
        raise ReleaseError(f"{folder / QUALIFICATION} is of another release")
    if not qualification.passed:
        raise ReleaseError(f"{folder} is not qualified: {'; '.join(qualification.reasons)}")
