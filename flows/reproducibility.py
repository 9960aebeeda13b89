"""Whether another machine can have what a run read: under DVC, in git, or named; or only in its place here."""

from __future__ import annotations

import json
from pathlib import Path

from flows.dvc_commands import run_dvc
from flows.state import run_git
from flows.tracked_data import tracked_data
from tasks.backbones.weights import SUFFIXES
from tasks.params import Params
from tasks.workspace import Workspace


def kept_in_place(workspace: Workspace, params: Params) -> list[str]:
    """Why another machine cannot reproduce this run, a sentence for each thing that only this one has; none: it can.

    The embedded sample needs nothing: `graft adapt` writes it anew, byte for byte.

    Raises:
        WorkspaceError: git or DVC cannot read the workspace.
    """
    reasons = []
    data, table, weights = workspace.resolve(params.data.path), params.data.table, params.backbone.weights
    if data != workspace.sample:
        reasons += _reason(workspace, "data.path", data, "`graft data add` brings them under DVC")
    if table and not workspace.resolve(table).is_relative_to(data):
        mend = "lay it beside the images before `graft data add`, or commit it"
        reasons += _reason(workspace, "data.table", workspace.resolve(table), mend)
    if weights.endswith(SUFFIXES):
        mend = "`graft backbone add` brings them under DVC"
        reasons += _reason(workspace, "backbone.weights", workspace.resolve(weights), mend)
    return reasons


def _reason(workspace: Workspace, key: str, path: Path, mend: str) -> list[str]:
    shown = workspace.relative(path)
    tracked = tracked_data(workspace, path)
    if tracked is None:
        if not path.resolve().is_relative_to(workspace.root.resolve()):
            return [f"{key} is {shown}, outside of the checkout; {mend}"]
        return [] if _in_git(workspace.root, path) else [f"{key} is {shown}, neither under DVC nor in git; {mend}"]
    # A run's worktree reads what the .dvc file names, from a copy that was made of it.
    if workspace.home != workspace.root or not _changed(workspace, tracked.dvc_file):
        return []
    place = workspace.relative(tracked.path)
    return [f"{key} is {shown}, which changed since DVC was told of it; `dvc add {place}` and commit {place}.dvc"]


def _changed(workspace: Workspace, dvc_file: Path) -> bool:
    return bool(json.loads(run_dvc(workspace, "status", "--json", workspace.relative(dvc_file))))


def _in_git(root: Path, path: Path) -> bool:
    """Every file there is tracked; what git ignores counts as not."""
    tracked = run_git(root, "ls-files", "--", str(path)).stdout
    return bool(tracked) and not run_git(root, "ls-files", "--others", "--", str(path)).stdout
