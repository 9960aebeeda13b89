"""Takes contents out of what training keeps: decoded images, activations of a frozen part, states of trainings.

A training's weights and figures do not tell which items they were learned from, so every training and every search of
the workspace goes, whether it knew the item or not: they can be repeated, a trace cannot be ruled out.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from flows.drafts import dead_drafts
from tasks.errors import WorkspaceError
from tasks.training.activation_folders import forget_activations
from tasks.training.image_store import forget_images
from tasks.workspace import Workspace


def learned_folders(workspace: Workspace) -> tuple[Path, ...]:
    """Where trainings and searches keep their state; it does not tell which items it was learned from."""
    return workspace.checkpoints, workspace.private / "tune"


def forget_trainings(workspace: Workspace, sha256s: Collection[str]) -> None:
    """Remove what training keeps of the items, in this workspace and in the cache that it uses; imports no torch.

    Raises:
        WorkspaceError: a folder cannot be deleted; it is named.
    """
    for draft in dead_drafts(workspace.cache):  # of a writer that was killed: nobody can tell what it holds
        draft.unlink(missing_ok=True)
    forget_images(workspace.cache / "images", sha256s)
    forget_activations(workspace.cache / "activations", sha256s)
    for folder in learned_folders(workspace):
        _remove(folder)
    for name in ("tune.json", "tune.html"):
        (workspace.reports / name).unlink(missing_ok=True)


def _remove(folder: Path) -> None:
    try:
        with suppress(FileNotFoundError):
            shutil.rmtree(folder)
    except OSError as err:
        raise WorkspaceError(
            f"{folder}, which holds what trainings learned, cannot be deleted ({err.strerror}); delete it, then run "
            "the command again"
        ) from err
