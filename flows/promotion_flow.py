"""Promotion and rollback as Prefect flows, for deployments: the commands of the same name, started from the UI."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from flows.actor import actor_of
from flows.change_push import tell_remote
from flows.logs import take_over_prefect
from flows.promotion import catch_up, promotion
from flows.rollback import rolled_back
from flows.stage_change import LOST, StageMove, move_text
from tasks.errors import GraftError, ParamsError, Refusal
from tasks.params import Params, load_params
from tasks.workspace import Workspace

Version = Annotated[str, Field(description="v3, 3, v3.0.0, or how the release's digest begins.")]
Reason = Annotated[str, Field(min_length=1, description="Why; it stands in the history for good.")]
Who = Annotated[str | None, Field(description="Who decided; empty: whom Prefect knows, or git's user.name.")]


@flow(name="promote", retries=0, validate_parameters=False)
def promote_flow(
    version: Version,
    reason: Reason,
    force: Annotated[bool, Field(description="Also against the verdict; marked as forced for ever.")] = False,
    who: Who = None,
) -> State[Any]:
    """Put a published version into production; ends as Completed, Refused or Failed.

    Args:
        version: v3, 3, v3.0.0, or how the release's digest begins.
        reason: Why; it stands in the history for good.
        force: Also against the verdict; the change is marked as forced for ever.
        who: Who decided; empty: whom Prefect knows, or git's user.name.
    """
    take_over_prefect()
    try:
        _check_texts(version=version, reason=reason, who=_or_empty(who))
        if not isinstance(force, bool):
            raise ParamsError(f"force: {force!r} is neither true nor false")
        home = Workspace.find()
        params = load_params(home.params)
        for line in catch_up(home, params):
            get_run_logger().warning(line)
        return _done(home, params, promotion(home, params, version, reason, actor_of(home.root, who), force))
    except GraftError as err:
        return _ended(err)


@flow(name="rollback", retries=0, validate_parameters=False)
def rollback_flow(
    reason: Reason,
    version: Annotated[str | None, Field(description="Empty: what was in production before.")] = None,
    who: Who = None,
) -> State[Any]:
    """Put an earlier release back into production; ends as Completed or Failed.

    Args:
        reason: Why; it stands in the history for good.
        version: One that was in production; empty: what was in production before.
        who: Who decided; empty: whom Prefect knows, or git's user.name.
    """
    take_over_prefect()
    try:
        _check_texts(version=_or_empty(version), reason=reason, who=_or_empty(who))
        home = Workspace.find()
        params = load_params(home.params)
        return _done(home, params, rolled_back(home, params, reason, actor_of(home.root, who), version))
    except GraftError as err:
        return _ended(err)


def _check_texts(**given: Any) -> None:
    """What Prefect's server has judged already, unless somebody told it not to; its own check ends in a traceback.

    Raises:
        ParamsError: a value is no text.
    """
    for name, value in given.items():
        if not isinstance(value, str):
            raise ParamsError(f"{name}: {value!r} is no text")


def _or_empty(value: Any) -> Any:
    return "" if value is None else value


def _done(home: Workspace, params: Params, move: StageMove) -> State[Any]:
    text = move_text(move)
    get_run_logger().info("%s", text)
    told = tell_remote(home, params, move.change)
    for line in told.lines:
        get_run_logger().warning("%s", line)
    if not told.stands:
        return Failed(name="Refused", message=LOST)
    return Completed(message=text)


def _ended(err: GraftError) -> State[Any]:
    get_run_logger().error(str(err))
    return Failed(name="Refused", message=str(err)) if isinstance(err, Refusal) else Failed(message=str(err))
