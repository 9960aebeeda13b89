"""What happened to releases, as Prefect events that automations can follow.

graft.release.published, graft.release.refused, graft.release.promoted and graft.release.rolled_back, each about the
resource `graft.model.NAME`. An event that cannot be sent is said in the log and changes nothing else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from tasks.stage import say

Kind = Literal["published", "refused", "promoted", "rolled_back"]
MOST_REASONS = 20
SEND_SECONDS = 2.0


def announce(
    kind: Kind,
    name: str,
    *,
    version: int | None = None,
    manifest_sha256: str | None = None,
    outcome: str | None = None,
    reasons: Sequence[str] = (),
    run_id: str | None = None,
    actor: str | None = None,
    **more: str | int | bool | None,
) -> None:
    """Tell Prefect; at the desk, outside of a flow, only where PREFECT_API_URL names a server.

    Args:
        name: of the model (export.name), which gives the resource its id.
        more: further plain values for the payload; never a text that may hold an address with a password in it.
    """
    payload = {
        "version": version,
        "manifest_sha256": manifest_sha256,
        "outcome": outcome,
        "reasons": list(reasons[:MOST_REASONS]),
        "run_id": run_id,
        "actor": actor,
        **more,
    }
    event = f"graft.release.{kind}"
    resource = {"prefect.resource.id": resource_id(name), "prefect.resource.name": name}
    related = [{"prefect.resource.id": f"graft.run.{run_id}", "prefect.resource.role": "run"}] if run_id else []
    try:
        if in_a_flow():
            from prefect.events import emit_event

            emit_event(event, resource, related=related, payload=payload)
        elif os.environ.get("PREFECT_API_URL"):
            _post(event, resource, related, payload)
    except Exception as err:
        say(f"the event {event} could not be sent: {type(err).__name__}", "warning")


def resource_id(name: str) -> str:
    """The model as Prefect's automations match it.

    >>> resource_id("image classifier")
    'graft.model.image-classifier'
    """
    return f"graft.model.{'-'.join(name.split())}"


def in_a_flow() -> bool:
    """Whether this code runs inside a flow run or one of its tasks."""
    if "prefect" not in sys.modules:
        return False
    from prefect.context import FlowRunContext, TaskRunContext

    return FlowRunContext.get() is not None or TaskRunContext.get() is not None


def _post(event: str, resource: dict[str, str], related: list[dict[str, str]], payload: dict[str, Any]) -> None:
    """Send one event and wait for the answer: a command ends before Prefect's own queue would have sent it."""
    from prefect import settings
    from prefect.client.orchestration import get_client
    from prefect.events import Event

    parts = {"event": event, "resource": resource, "related": related, "payload": payload}
    told = Event.model_validate({"occurred": datetime.now(UTC), **parts})
    here = {
        settings.PREFECT_API_URL: os.environ["PREFECT_API_URL"],
        settings.PREFECT_API_REQUEST_TIMEOUT: SEND_SECONDS,
        settings.PREFECT_CLIENT_MAX_RETRIES: 0,
    }
    with settings.temporary_settings(here), get_client(sync_client=True) as client:
        client.request("POST", "/events", json=[told.model_dump(mode="json")]).raise_for_status()
