"""A run at the desk: this checkout, this process, the embedded Prefect or the server that the settings name."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.actor import one_line
from flows.champion_pin import champion_now
from flows.dvc_commands import ensure_dvc
from flows.dvc_repair import repair
from flows.forget import complete_forgetting
from flows.inputs import pinned_inputs
from flows.limits import EVERYTHING, check_limits
from flows.logs import take_over_prefect
from flows.outlook import look_ahead
from flows.own_weights import bring_weights
from flows.params_file import Edit, edited_params
from flows.result import RunResult
from flows.signing import configured_key
from flows.versions import versions
from flows.workspace_lock import workspace_lock
from tasks.errors import DataError, GraftError, StageFailed, WorkspaceError
from tasks.layouts import check_layout
from tasks.params import Params
from tasks.reports import write_bytes
from tasks.sample import sample_is_current, write_sample
from tasks.stage import say
from tasks.tree import check_tree
from tasks.workspace import Workspace

QUIET_PREFECT = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
}


def adapt_here(
    workspace: Workspace,
    edits: Sequence[Edit] = (),
    force_flow: bool = False,
    run_id: str | None = None,
    publish: bool = False,
    why: str = "",
) -> RunResult:
    """Edit params.yaml and run the corridor in this checkout, unless its result stands already.

    Args:
        publish: also register the release as a version, and promote it where params.yaml lets runs do so.
        why: the run's reason, for the version's record; one line.
    Raises:
        UserError: the params, the data, the signing key, the workspace or the machine are not ready; params.yaml is as
            it was and nothing was computed.
    """
    run_id = run_id or new_run_id()
    why = one_line(why, "--why") if why else why
    with workspace_lock(workspace, run_id) as mended:
        ensure_dvc(workspace)
        for line in [*mended, *repair(workspace)]:
            say(line)
        edited = edited_params(workspace, edits)
        params = edited.params
        if workspace.forgetting.is_file():
            complete_forgetting(workspace, params, say)
        prepare_data(workspace, params)
        configured_key(workspace, params)
        if publish:
            from flows.publication import check_publishable

            check_publishable(workspace, params)
        pin = champion_now(workspace, params, say, publishes=publish)
        pinned_inputs(workspace, params, pin)
        before = workspace.params.read_bytes()
        if edited.diff:
            say(edited.diff.rstrip())
            edited.keep()
        ahead = None if force_flow else look_ahead(workspace, params, run_id, pin)
        if ahead and ahead.standing and not (publish and is_to_publish(workspace, params, ahead.standing)):
            return _with_pending_pushes(workspace, params, ahead.standing) if publish else ahead.standing
        due = EVERYTHING if ahead is None else [*(step.stage for step in ahead.steps if step.reasons), "publish"]
        try:
            warnings = check_limits(workspace, params, due)
        except WorkspaceError as err:
            if not edited.diff:
                raise
            write_bytes(workspace.params, before)
            raise WorkspaceError(
                f"{err}\nparams.yaml is as it was before: nothing of the change above was kept"
            ) from err
        for line in warnings:
            say(f"warning: {line}", "warning")
        return run_flow(workspace, run_id, publish, why)


def _with_pending_pushes(workspace: Workspace, params: Params, standing: RunResult) -> RunResult:
    """The same result after another try to push what an earlier run could not."""
    if standing.version is None:
        return standing
    from flows.pushing import push_pending

    pending = push_pending(workspace, params)
    return standing.with_pushed(pending.pushed, pending.not_pushed)


def is_to_publish(workspace: Workspace, params: Params, standing: RunResult) -> bool:
    """Whether the release that stands is no version yet, or one that an interrupted run did not come to promote."""
    from flows.automatic_promotion import is_live, obstacle

    if standing.state != "released":
        return False
    version = next((one for one in versions(workspace.root) if one.version == standing.version), None)
    if version is None:
        return True
    live = is_live(workspace, params, version)
    return not live and obstacle(workspace, params, version, asks=False) is None


def prepare_data(workspace: Workspace, params: Params) -> None:
    """Write the embedded sample if it is asked for, look at every entry before DVC does, and have weights under DVC.

    Raises:
        WeightsError: backbone.weights is under DVC, and its content is nowhere.
        DataError: the tree holds what DVC or a reader would hang or fail on (every entry is named), no images, or no
            class folders.
    """
    data, sample = workspace.resolve(params.data.path), params.sample
    if data.is_file():
        raise DataError(f"data.path: {data} is a file; {_mend_of_file(data)}")
    if data == workspace.sample and not sample_is_current(data, sample.labels_per_class, sample.seed):
        write_sample(data, sample.labels_per_class, sample.seed)
        say(f"wrote the embedded sample to {workspace.relative(data)}")
    check_tree(data) if params.data.table else check_layout(data)
    bring_weights(workspace, params)


def _mend_of_file(data: Path) -> str:
    from tasks.table_listing import TABLE_SUFFIXES

    if data.suffix.lower() in TABLE_SUFFIXES:
        return "set data.path to its folder and data.table to the table, as --data does"
    *others, last = sorted(TABLE_SUFFIXES)
    return f"only {', '.join(others)} and {last} files are tables; give such a table, or the folder of the images"


def run_flow(workspace: Workspace, run_id: str, publish: bool = False, why: str = "") -> RunResult:
    """Run the corridor's flow. Raises what `run_in_prefect` does."""

    def start() -> Any:
        from flows.corridor import adapt_flow

        return adapt_flow(str(workspace.root), run_id, publish, why, return_state=True)

    return RunResult.read(run_in_prefect(start, workspace.run_result(run_id)))


def run_in_prefect(start: Callable[[], Any], result_file: Path) -> Path:
    """Start Prefect (only now: it costs seconds) and a flow, which leaves its result in a file; returns that file.

    Raises:
        WorkspaceError: Prefect could not be reached or started.
        StageFailed: the flow ended without leaving its result.
    """
    for name, value in QUIET_PREFECT.items():
        os.environ.setdefault(name, value)
    from flows.embedded_server import prefect_server

    take_over_prefect()
    try:
        with prefect_server():
            state = start()
    except GraftError:
        raise
    except Exception as err:
        server = os.environ.get("PREFECT_API_URL", "the embedded server")
        raise WorkspaceError(
            f"Prefect could not run the flow ({server}): {err}; start the server (`prefect server start`), or unset "
            "PREFECT_API_URL (and `prefect config unset PREFECT_API_URL`) to run without one"
        ) from err
    if not result_file.exists():
        raise StageFailed(f"the flow ended as {state.name} without a result: {state.message}")
    return result_file


def new_run_id() -> str:
    """Sorts by time, unique across machines."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
