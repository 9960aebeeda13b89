"""Whether a release of the store is fit to be served on this machine."""

from __future__ import annotations

from pathlib import Path

from flows.store import stored_release
from tasks.errors import ReleaseError
from tasks.reports.manifest import Manifest


def check_servable(store: Path, digest: str) -> Manifest:
    """Check a stored release as a server does: every digest, its qualification, and its answers to the golden files.

    Raises:
        ReleaseError: it is not there, damaged, not qualified, or answers otherwise than at its export.
    """
    from tasks.servable import open_servable

    folder = stored_release(store, digest)
    if not folder.is_dir():
        raise ReleaseError(
            f"release {digest[:12]} is not in the store {store}: `graft gc` or somebody removed it, or publish.store "
            "of params.yaml names another store"
        )
    return open_servable(folder, digest).manifest
