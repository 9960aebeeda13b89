"""What a Prefect server must know to run Graft: a work pool and its queues, prefect.yaml's entries, and who has died.

    python -m flows.deployments

applies all of it to the server that Prefect's settings name; again, it changes nothing but what prefect.yaml changed.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tasks.errors import GraftError, WorkspaceError
from tasks.stage import say
from tasks.workspace import Workspace

if TYPE_CHECKING:
    from prefect.automations import Automation
    from prefect.client.orchestration import SyncPrefectClient

POOL = "graft"
QUEUES = {"registry": None, "on-demand": 3, "unattended": 1, "scoring": 1}
"""How many runs of each queue work at once, by priority. A rollback never waits for an adaptation."""
HEARTBEAT_SECONDS = 30
SILENCE = timedelta(seconds=4 * HEARTBEAT_SECONDS)
"""A run that was silent for so long is dead; at least three heartbeats, or living runs would be ended."""

ZOMBIES = "graft: runs that died without a word"
ENDINGS = ("Completed", "Released", "Refused", "Failed", "Cancelled", "Crashed")
DEPLOY_SECONDS = 300.0


def apply_deployments(workspace: Workspace) -> None:
    """Create the pool and its queues where they are missing, apply prefect.yaml, and set the automation for dead runs.

    Raises:
        WorkspaceError: Prefect refuses an entry of prefect.yaml, or does not answer.
    """
    from prefect.client.orchestration import get_client

    try:
        with get_client(sync_client=True) as client:
            ensure_pool(client)
            ensure_queues(client)
            _deploy(workspace)
            set_automation(client, zombie_automation())
    except GraftError:
        raise
    except Exception as err:
        raise WorkspaceError(
            f"Prefect did not take the deployments: {err}; is the server up (PREFECT_API_URL)?"
        ) from err


def ensure_pool(client: SyncPrefectClient) -> None:
    """Create the process pool; one that is there stays as it is, of whatever type somebody made it."""
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        pool = WorkPoolCreate(
            name=POOL,
            type="process",
            description="Graft's runs, as processes of the machine that the worker stands on.",
            base_job_template=template,
        )
        client.create_work_pool(pool)


def ensure_queues(client: SyncPrefectClient) -> None:
    """Create the pool's queues; one that is there stays as it is, with the limit that somebody gave it."""
    from prefect.exceptions import ObjectNotFound

    for priority, (name, limit) in enumerate(QUEUES.items(), start=1):
        try:
            client.read_work_queue_by_name(name, work_pool_name=POOL)
        except ObjectNotFound:
            client.create_work_queue(name, concurrency_limit=limit, priority=priority, work_pool_name=POOL)


def _deploy(workspace: Workspace) -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(
        command, cwd=workspace.root, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEPLOY_SECONDS
    )
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise WorkspaceError("`prefect deploy --all` failed: " + "\n".join(lines[-12:]))


def zombie_automation() -> Automation:
    """Mark a run as crashed that began to send heartbeats and ended neither by a heartbeat nor by a final state.

    Where worker and run die together, nobody else tells the server. Our final states' names are events of their own.
    """
    from prefect.automations import Automation
    from prefect.client.schemas.objects import StateType
    from prefect.events import EventTrigger, Posture, ResourceSpecification
    from prefect.events.actions import ChangeFlowRunState

    heartbeat = "prefect.flow-run.heartbeat"
    return Automation(
        name=ZOMBIES,
        description="Graft's `make server` set this; docs/server.md tells why.",
        trigger=EventTrigger(
            match=ResourceSpecification.model_validate({"prefect.resource.id": ["prefect.flow-run.*"]}),
            after={heartbeat},
            expect={heartbeat, *(f"prefect.flow-run.{name}" for name in ENDINGS)},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENCE,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message=f"no heartbeat for {SILENCE.seconds} s: the worker and the run's process are gone",
            )
        ],
    )


def set_automation(client: SyncPrefectClient, wanted: Automation) -> None:
    """Create an automation, or bring the one of its name to what it shall be."""
    from prefect.events.schemas.automations import AutomationCore

    core = AutomationCore.model_validate(wanted.model_dump(exclude={"id", "owner_resource"}))
    present: list[Any] = client.read_automations_by_name(wanted.name)
    if present:
        client.update_automation(present[0].id, core)
    else:
        client.create_automation(core)


def crash_dead_runs(client: SyncPrefectClient) -> list[str]:
    """Mark the pool's runs that a stopped server had left running as crashed; their names.

    Only for a server whose one worker has not started yet: nothing can be running then.
    """
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
        WorkPoolFilter,
        WorkPoolFilterName,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.states import Crashed

    begun = [StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING]
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=begun))),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL])),
    )
    for run in runs:
        client.set_flow_run_state(run.id, Crashed(message="the server was stopped while it ran"), force=True)
    return [run.name for run in runs]


def main() -> int:
    """Apply everything; exit code 1 with one message where it fails."""
    try:
        apply_deployments(Workspace.find())
    except GraftError as err:
        say(f"graft: {err}", "error")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
