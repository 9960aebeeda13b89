"""Takes contents out of what runs in worktrees left: copies of raw data, pages with thumbnails, killed worktrees."""

from __future__ import annotations

from flows.raw_copies import discard_every_copy
from flows.run_claims import claims_guard, living_runs, worktrees_folder
from flows.store import LEAVING
from flows.worktrees import clear_dead, dead_runs
from tasks.errors import WorkspaceError
from tasks.workspace import Workspace

PAGES = ("*.html", "*.csv")
"""Of the reports that are kept of a run; they show items as pictures, which no search for a name finds."""


def check_no_run(workspace: Workspace) -> None:
    """Touches nothing.

    Raises:
        WorkspaceError: a run is working in a worktree, and may be reading what is to be forgotten.
    """
    living = sorted(living_runs(workspace.home))
    if living:
        raise WorkspaceError(
            f"run {', '.join(living)} is working in a worktree and may be reading the items; wait for it to end, or "
            "cancel it in Prefect, then run the command again"
        )


def forget_runs(workspace: Workspace) -> None:
    """Remove every copy of raw data (the next run makes one without the items), and what shows items of earlier runs.

    Raises:
        WorkspaceError: a run is working in a worktree, or what a killed one left cannot be removed.
    """
    with claims_guard(workspace.home):
        clear_dead(workspace.home)
        folder = worktrees_folder(workspace.home)
        left = [*(folder / run_id for run_id in dead_runs(workspace.home)), *folder.glob(f"{LEAVING}*")]
        if left:
            raise WorkspaceError(
                f"a killed run left what may hold the items and could not be removed: {', '.join(map(str, left))}; end "
                "what uses it, or make it writable, then run the command again"
            )
        check_no_run(workspace)
        discard_every_copy(workspace.home)
        for kept in (workspace.home / ".graft" / "runs").glob("*/"):
            for page in (page for pattern in PAGES for page in kept.glob(pattern)):
                page.unlink(missing_ok=True)
