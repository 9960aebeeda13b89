"""Promotion and rollback as Prefect flows, for deployments: the commands of the same name, started from the UI."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from flows.actor import actor_of
from flows.promotion import catch_up, promotion
from flows.rollback import rolled_back
from flows.stage_change import StageMove, move_text
from tasks.errors import GraftError, Refusal
from tasks.params import load_params
from tasks.workspace import Workspace

Version = Annotated[str, Field(description="v3, 3, v3.0.0, or how the release's digest begins.")]
Reason = Annotated[str, Field(min_length=1, description="Why; it stands in the history for good.")]
Who = Annotated[str | None, Field(description="Who decided; empty: whom Prefect knows, or git's user.name.")]


@flow(name="promote", retries=0)
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
    home = Workspace.find()
    try:
        params = load_params(home.params)
        for line in catch_up(home, params):
            get_run_logger().warning(line)
        return _done(promotion(home, params, version, reason, actor_of(home.root, who), force))
    except GraftError as err:
        return _ended(err)


@flow(name="rollback", retries=0)
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
    home = Workspace.find()
    try:
        params = load_params(home.params)
        return _done(rolled_back(home, params, reason, actor_of(home.root, who), version))
    except GraftError as err:
        return _ended(err)


def _done(move: StageMove) -> State[Any]:
    text = move_text(move)
    get_run_logger().info(text)
    return Completed(message=text)


def _ended(err: GraftError) -> State[Any]:
    get_run_logger().error(str(err))
    return Failed(name="Refused", message=str(err)) if isinstance(err, Refusal) else Failed(message=str(err))
