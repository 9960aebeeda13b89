"""Weights of the user's own in a checkout that has only their .dvc file yet, such as a run's worktree."""

from __future__ import annotations

from flows.dvc_commands import run_dvc
from flows.tracked_data import tracked_data
from tasks.backbones.weights import SUFFIXES
from tasks.errors import WeightsError, WorkspaceError
from tasks.params import Params
from tasks.stage import say
from tasks.workspace import Workspace

FETCH_SECONDS = 24 * 3600.0


def bring_weights(workspace: Workspace, params: Params) -> None:
    """Have the file that backbone.weights names from DVC's cache or remote, if it is DVC's and not there.

    Raises:
        WeightsError: neither DVC's cache nor a remote has its content.
    """
    if not params.backbone.weights.endswith(SUFFIXES):
        return
    file = workspace.resolve(params.backbone.weights)
    tracked = tracked_data(workspace, file)
    if file.exists() or tracked is None:
        return
    tracker, options = workspace.relative(tracked.dvc_file), []
    if params.publish.dvc_remote:
        options = ["--remote", params.publish.dvc_remote]
    try:
        run_dvc(workspace, "checkout", "--quiet", tracker)
    except WorkspaceError:
        say(f"fetching {workspace.relative(file)} from DVC's remote")
        try:
            run_dvc(workspace, "pull", "--quiet", *options, tracker, timeout_seconds=FETCH_SECONDS)
        except WorkspaceError as err:
            raise WeightsError(
                f"backbone.weights: neither DVC's cache nor a remote has {workspace.relative(file)}: {err}"
            ) from err
