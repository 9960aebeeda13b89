"""Asking a person whether a version takes over production: the flow run pauses with a form, the report beside it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.flow_runs import pause_flow_run, resume_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from pydantic import Field

from flows.automatic_promotion import Answer, Approve
from flows.records import VersionRecord
from flows.versions import version_name
from tasks.params import Params
from tasks.plots.markdown import verdict_markdown
from tasks.reports import Verdict
from tasks.workspace import Workspace

POLL_SECONDS = 5
MARGIN_SECONDS = 3600
"""The pause itself outlasts the deadline: Prefect fails a run whose pause ran out, and this one has published."""


class Promotion(RunInput):
    """The form. The server refuses an answer that does not fit it, and the run stays paused."""

    approve: bool = Field(False, description="Put this version into production.")
    name: str = Field(min_length=1, description="Who decides; it stands in the history for good.")
    reason: str = Field(min_length=1, description="Why, or why not; it stands in the history for good.")


def approver(workspace: Workspace, params: Params) -> Approve:
    """Asks in Prefect's pages, beside the run's own report, and waits for promotion.approval_hours."""

    def approve(version: VersionRecord) -> Answer:
        summary = summary_of(workspace, version, params.evaluate.confidence)
        return asked(version_name(version.version), summary, params.promotion.approval_hours)

    return approve


def summary_of(workspace: Workspace, version: VersionRecord, confidence: float) -> str:
    """What a person decides on, in markdown: what was measured, every rule of the gate, where it comes from."""
    accuracy, macro_f1, why = version.accuracy, version.macro_f1, " ".join(version.why.split())
    return "\n".join(
        [
            f"| measured | value | {100 * confidence:.4g}% interval |",
            "|---|---|---|",
            f"| accuracy | {accuracy.value:.3f} | {accuracy.low:.3f} to {accuracy.high:.3f} |",
            f"| macro-F1 | {macro_f1.value:.3f} | {macro_f1.low:.3f} to {macro_f1.high:.3f} |",
            "",
            f"{version.test_items} test items. Against production: {version.outcome}. Made for: {why}",
            "",
            verdict_markdown(Verdict.read(workspace.verdict)),
            "",
            f"The whole report: .graft/runs/{version.run_id}/report.html of the checkout; `graft show "
            f"{version_name(version.version)}`",
        ]
    )


def asked(version: str, summary: str, hours: float) -> Answer:
    """Pause the flow run that this is until somebody answers or `hours` have passed; a blank answer is asked again."""
    create_markdown_artifact(key="approval", markdown=summary, description=f"What is asked: {version} into production?")
    deadline, fault = time.monotonic() + 3600 * hours, ""
    while (left := deadline - time.monotonic()) > 0:
        answer = _one_answer(version, summary, left, fault)
        if answer is None:
            break
        if answer.name.strip() and answer.reason.strip():
            return Answer(answer.approve, answer.name.strip(), answer.reason.strip())
        fault = "the last answer had no name or no reason: both stand in the history for good; please answer again"
        get_run_logger().warning("%s", fault)
    return Answer(False, "", f"nobody approved it within {hours:.3g} hours, and no answer means no")


def _one_answer(version: str, summary: str, seconds: float, fault: str) -> Promotion | None:
    """None: nobody answered in time."""
    head = f"**{fault}**\n\n" if fault else ""
    form = Promotion.with_initial_data(description=f"{head}Shall {version} take over production?\n\n{summary}")
    get_run_logger().info("waiting for a person's word on %s: Resume on this run's page shows the form", version)
    with _closing_after(seconds) as expired:
        given = pause_flow_run(
            wait_for_input=form, timeout=math.ceil(seconds) + MARGIN_SECONDS, poll_interval=POLL_SECONDS
        )
    return None if expired.is_set() else given


@contextmanager
def _closing_after(seconds: float) -> Iterator[threading.Event]:
    """Answer for everybody once the time is over, so that the pause ends as any answered one; then the event is set."""
    answered, expired, run_id = threading.Event(), threading.Event(), UUID(str(flow_run.id))

    def close() -> None:
        pause = seconds
        while not answered.wait(pause):
            pause = POLL_SECONDS
            with suppress(Exception):  # answered in this moment, or the server does not: the next round tells
                resume_flow_run(run_id, {"approve": False, "name": "nobody", "reason": "no answer in time"})
                expired.set()
                return

    # Prefect's settings live in the context: without it the thread would ask another server.
    closing = threading.Thread(target=copy_context().run, args=(close,), daemon=True)
    closing.start()
    try:
        yield expired
    finally:
        answered.set()
        closing.join(timeout=2 * POLL_SECONDS)
