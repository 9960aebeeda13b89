"""The flow that the deployments of prefect.yaml start: one run in a git worktree of its own, published at the end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled
from pydantic import BaseModel, Field

from flows.actor import actor_of, one_line
from flows.approval import approver
from flows.cancellation import cancellation_of
from flows.corridor import final_state, run_corridor
from flows.desk import prepare_data
from flows.endings import STOPPED, disk_fault
from flows.git_user import check_identity
from flows.limits import EVERYTHING, check_limits
from flows.logs import LINE, run_log, take_over_prefect
from flows.params_file import Edit, edited_params
from flows.publication import Wish, check_publishable
from flows.raw_copies import bring_raw_data
from flows.result import RunResult, closing_line
from flows.run_form import Settings, edits_of
from flows.signing import configured_key
from flows.worktrees import run_workspace
from tasks.errors import GraftError, ParamsError, Refusal
from tasks.log_lines import LogLine
from tasks.params import Params
from tasks.stage import say, speak_through
from tasks.workspace import Workspace

Why = Annotated[str, Field(min_length=1)]
Commit = Annotated[str, Field(min_length=1)]


@flow(name="deployed-adapt", retries=0, validate_parameters=False)
def deployed_adapt(why: Why, commit: Commit = "HEAD", settings: Settings = Settings()) -> State[Any]:  # noqa: B008
    """Adapt, judge and publish in a worktree of the run's own; ends as Released, Refused, Failed or Cancelled.

    Args:
        why: What the run is for; it stands in the version's record for good.
        commit: The commit that the run starts from: a branch, a tag or a digest. HEAD is what the checkout is at.
        settings: What shall differ from params.yaml at that commit. A group that is set counts with all that it shows.
    """
    home, run_id = Workspace.find(), run_id_of(str(flow_run.id), datetime.now(UTC))
    _lead_lines_to_prefect(home, run_id)
    with cancellation_of(UUID(str(flow_run.id))) as cancelled:
        try:
            result = _in_a_worktree(home, run_id, str(commit), settings, str(why), cancelled)
        except GraftError as err:
            result = _ended_early(home, run_id, "refused" if isinstance(err, Refusal) else "failed", str(err))
        except OSError as err:
            result = _ended_early(home, run_id, "failed", disk_fault(err))
        except BaseException as stop:
            if not isinstance(stop, Exception):  # How Prefect ends the process of a run that was cancelled.
                _tell_of_stop(home, run_id)
            raise
    run_log.line(closing_line(result), shown=False)
    return Cancelled() if cancelled.is_set() else final_state(result)


def run_id_of(flow_run_id: str, now: datetime) -> str:
    """Sorts by time as every run id does, and ends with the beginning of the flow run's id, by which it is found.

    >>> run_id_of("0f4c1d2e-aaaa-bbbb-cccc-1234567890ab", datetime(2026, 11, 21, 8, 30, tzinfo=UTC))
    '20261121T083000-0f4c1d2e'
    """
    return f"{now:%Y%m%dT%H%M%S}-{flow_run_id[:8]}"


def _in_a_worktree(
    home: Workspace, run_id: str, commit: str, settings: Any, why: str, cancelled: threading.Event
) -> RunResult:
    check_identity(home.root)
    wish = Wish(run_id=run_id, by=actor_of(home.root), why=one_line(why, "why"))
    edits = edits_of(given(settings))
    with run_workspace(home.root, commit, run_id) as workspace:
        params = made_ready(workspace, edits)
        ask = approver(workspace, params) if params.promotion.approval else None
        return run_corridor(workspace, run_id, cancelled, wish, ask)


def given(settings: Any) -> Mapping[str, Any]:
    """What was filled in. Prefect hands on plain values as they were sent, and the default as the form's own model.

    Raises:
        ParamsError: it is no group.
    """
    if isinstance(settings, BaseModel):
        return settings.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if settings is None or isinstance(settings, Mapping):
        return settings or {}
    raise ParamsError(f"settings: {settings!r} is no group of settings; leave it out, or give sections of params.yaml")


def made_ready(workspace: Workspace, edits: Sequence[Edit]) -> Params:
    """Write the run's params.yaml and bring its data; returns the params.

    Raises:
        UserError: params, data or the machine are not ready; nothing was computed.
    """
    edited = edited_params(workspace, edits, "settings")
    if edited.diff:
        say(edited.diff.rstrip())
        edited.keep()
    configured_key(workspace, edited.params)
    check_publishable(workspace, edited.params)
    bring_raw_data(workspace, edited.params)
    prepare_data(workspace, edited.params)
    for line in check_limits(workspace, edited.params, EVERYTHING):
        say(f"warning: {line}", "warning")
    return edited.params


def _ended_early(home: Workspace, run_id: str, state: Literal["refused", "failed"], reason: str) -> RunResult:
    """What ended before the corridor, as it is kept of every run."""
    get_run_logger().error("%s", reason)
    result = RunResult(run_id=run_id, state=state, reasons=reason.splitlines(), stopped_in="preparation")
    result.write(home.run_result(run_id))
    return result


def _tell_of_stop(home: Workspace, run_id: str) -> None:
    """The result and the last line of a run that was stopped; one that had begun has left its result itself."""
    file = home.run_result(run_id)
    if not file.is_file():
        RunResult(run_id=run_id, state="interrupted", reasons=[STOPPED], stopped_in="preparation").write(file)
    result = RunResult.read(file)
    get_run_logger().warning("run %s in %s", result.state, result.stopped_in)
    run_log.line(closing_line(result), shown=False)


def _lead_lines_to_prefect(home: Workspace, run_id: str) -> None:
    """Every line of this process is on the run's page, and in .graft/runs of the checkout."""
    run_log.begin(home, run_id)
    take_over_prefect()
    logger = get_run_logger()
    logger.info("run %s", run_id)

    def tell(line: LogLine) -> None:
        level = logging.getLevelNamesMapping().get(line.level.upper(), logging.INFO)
        logger.log(level, "%s", line.text(), extra={LINE: line})

    speak_through(tell)
