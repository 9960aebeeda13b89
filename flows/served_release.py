"""Whether a release of the store is fit to be served on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flows.store import stored_release
from tasks.errors import ReleaseError
from tasks.reports.manifest import Manifest

if TYPE_CHECKING:
    from tasks.servable import Servable


def check_servable(store: Path, digest: str, verify_key: Path | None = None) -> Manifest:
    """Check a stored release as a server does: every digest, its qualification, and its answers to the golden files.

    Args:
        verify_key: public keys of which one must have signed it; None asks for no signature.
    Raises:
        ReleaseError: it is not there, damaged, not signed as asked for, not qualified, or answers otherwise than at its
            export.
    """
    return stored_servable(store, digest, verify_key).manifest


def stored_servable(store: Path, digest: str, verify_key: Path | None = None) -> Servable:
    """A stored release that held every check of `check_servable`, opened; raises as that does."""
    from tasks.servable import open_servable

    folder = stored_release(store, digest)
    if not folder.is_dir():
        raise ReleaseError(
            f"release {digest[:12]} is not in the store {store}: `graft gc` or somebody removed it, or publish.store "
            "of params.yaml names another store"
        )
    return open_servable(folder, digest, verify_key)
