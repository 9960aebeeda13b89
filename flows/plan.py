"""`graft plan`: the outlook with tentative edits, without keeping them."""

from __future__ import annotations

from collections.abc import Sequence

from flows.dvc_commands import ensure_dvc
from flows.inputs import write_inputs
from flows.outlook import Step, plan_steps
from flows.params_file import Edit, edit_params
from flows.workspace_lock import workspace_lock
from tasks.reports import write_bytes
from tasks.tree import check_tree
from tasks.workspace import Workspace


def plan_here(workspace: Workspace, edits: Sequence[Edit]) -> list[Step]:
    """Every stage with the reasons why it would run; params.yaml ends as it was.

    Raises:
        UserError: the params, the data or the workspace are not ready.
    """
    with workspace_lock(workspace, "plan"):
        before = workspace.params.read_bytes()
        try:
            params, _ = edit_params(workspace, edits)
            ensure_dvc(workspace)
            data = workspace.resolve(params.data.path)
            if data != workspace.sample or data.exists():
                check_tree(data)
            write_inputs(workspace, params)
            return plan_steps(workspace)
        finally:
            if workspace.params.read_bytes() != before:
                write_bytes(workspace.params, before)
