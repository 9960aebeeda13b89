"""Whether a release of the store is fit to be served on this machine."""

from __future__ import annotations

from pathlib import Path

from flows.store import stored_release
from tasks.errors import ReleaseError, StageInputError
from tasks.release import QUALIFICATION, manifest_sha256, verify_release
from tasks.reports.manifest import Manifest
from tasks.reports.qualification import Qualification


def check_servable(store: Path, digest: str) -> Manifest:
    """Check a stored release as a server would: every digest, its qualification, and its answers to the golden files.

    Raises:
        ReleaseError: it is not there, damaged, not qualified, or answers otherwise than at its export.
    """
    folder = stored_release(store, digest)
    if not folder.is_dir():
        raise ReleaseError(
            f"release {digest[:12]} is not in the store {store}: `graft gc` or somebody removed it, or publish.store "
            "of params.yaml names another store"
        )
    manifest = verify_release(folder, beside=(QUALIFICATION,))
    if manifest_sha256(folder) != digest:
        raise ReleaseError(f"{folder} holds another release ({manifest_sha256(folder)[:12]}) than its name says")
    try:
        qualification = Qualification.read(folder / QUALIFICATION)
    except StageInputError as err:
        raise ReleaseError(str(err)) from err
    if qualification.manifest_sha256 != digest:
        raise ReleaseError(f"{folder / QUALIFICATION} is of another release")
    if not qualification.passed:
        raise ReleaseError(f"{folder} is not qualified: {'; '.join(qualification.reasons)}")
    if faults := _golden_faults(folder):
        raise ReleaseError(
            f"{folder} does not answer its golden files as at its export: {'; '.join(faults)}; another ONNX Runtime or "
            "Pillow than then, or another kind of processor"
        )
    return manifest


def _golden_faults(folder: Path) -> list[str]:
    from tasks.release_run import ReleaseRun, golden_faults

    try:
        return golden_faults(ReleaseRun(folder))
    except (OSError, ValueError, RuntimeError, StageInputError) as err:
        raise ReleaseError(f"{folder} cannot answer its golden files: {' '.join(str(err).split())[:300]}") from err
