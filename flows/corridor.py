"""The Prefect flow: one task run per stage, then publish; ends as Released, Refused or Failed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import Task, flow, get_run_logger
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from flows import artifacts
from flows.cancellation import cancellation_of
from flows.inputs import write_inputs
from flows.logs import LINE
from flows.publish import publish
from flows.result import RunResult, Timings
from flows.stage_process import StageResult, run_stage_process
from tasks.errors import GraftError, MemoryExceeded, NotQualified, Refusal, StageFailed
from tasks.log_lines import LogLine
from tasks.params import Params, load_params
from tasks.reports import AdaptationReport, EvaluationReport, ReviewReport, ValidationReport, Verdict
from tasks.reports.qualification import Qualification
from tasks.workspace import Workspace

BEFORE_THE_PAGE = ("validate", "embed", "split", "review", "adapt", "evaluate")
"""The stages before gate, which renders reports/report.html."""

BEFORE_THE_DATA_PAGE = ("validate", "embed", "split", "review")
"""The stages up to review, which renders reports/validation.html; validate does so itself when it refuses."""


class StageDied(StageFailed):
    """The stage's process ended without its own word: a crash or a kill, which may pass the second time."""


class StageRefused(Refusal):
    """The stage judged against the data or the model."""


@flow(name="adapt", retries=0, validate_parameters=False)
def adapt_flow(root: str, run_id: str) -> State[Any]:
    """Validate, embed, split, review, adapt, evaluate, gate, export, qualify and publish one workspace.

    The caller holds the workspace's lock. The result also lies in .graft/runs/<run_id>.json.
    """
    workspace = Workspace(Path(root))
    with cancellation_of(UUID(str(flow_run.id))) as cancelled:
        result = CorridorRun(workspace, load_params(workspace.params), run_id, cancelled).to_the_end()
    result.write(workspace.run_result(run_id))
    Timings(run_id=run_id, seconds=result.seconds, memory_gb=result.memory_gb).write(workspace.timings)
    return Cancelled() if cancelled.is_set() else final_state(result)


def final_state(result: RunResult) -> State[Any]:
    """The flow run's state; Refused is a failed state of that name, with the reasons."""
    if result.state == "released":
        return Completed(name="Released", message=f"released {result.release}")
    message = "; ".join(result.reasons)
    return Failed(name="Refused", message=message) if result.state == "refused" else Failed(message=message)


def died(_task: Any, _run: TaskRun, state: State[Any]) -> bool:
    """Retry only what can pass the second time: a stage whose process died, never a verdict or a named error."""
    return isinstance(state.result(raise_on_failure=False), StageDied)


class CorridorRun:
    """One run through the corridor: which stage, how long it took, how it ended."""

    def __init__(self, workspace: Workspace, params: Params, run_id: str, cancelled: threading.Event) -> None:
        self.workspace, self.params, self.run_id, self.cancelled = workspace, params, run_id, cancelled
        self.result = RunResult(run_id=run_id, state="failed")
        self.seconds: dict[str, float] = {}
        self.memory_gb: dict[str, float] = {}
        self.error: GraftError | None = None
        self.at = "preparation"

    def to_the_end(self) -> RunResult:
        """Run every stage that is due; every ending of our own is a result, never an exception."""
        try:
            write_inputs(self.workspace, self.params)
            self._stages()
            return self._ended("released", [])
        except Refusal as err:
            return self._ended("refused", str(err).splitlines(), stopped_in=self.at)
        except GraftError as err:
            return self._ended("failed", str(err).splitlines(), stopped_in=self.at)

    def _stages(self) -> None:
        for stage in BEFORE_THE_PAGE:
            self._stage(stage)
        artifacts.show_review(ReviewReport.read(self.workspace.review_report))
        evaluation = EvaluationReport.read(self.workspace.evaluation)
        self.result = self.result.with_evaluation(evaluation)
        artifacts.show_evaluation(evaluation)
        adaptation = AdaptationReport.read(self.workspace.adapted / "adapted.json")
        artifacts.show_findings(self.params, adaptation, evaluation)
        self._stage("gate")
        verdict = Verdict.read(self.workspace.verdict)
        artifacts.show_verdict(verdict)
        if not verdict.passed:
            raise StageRefused("\n".join(verdict.reasons))
        self._stage("export")
        self._stage("qualify")
        if self.cancelled.is_set():
            raise StageFailed("the run was cancelled before it published")
        qualification = Qualification.read(self.workspace.qualification)
        if not qualification.passed:
            raise NotQualified("\n".join(qualification.reasons))
        self._publish()

    def _stage(self, stage: str) -> None:
        """One stage as a task run of its name; its own errors end the task run without a traceback."""
        self.at = stage
        self._task(
            stage, self._run_stage, died, self.params.flow.retries, self.params.flow.retry_delay_seconds, stage=stage
        )

    def _publish(self) -> None:
        self.at = "publish"
        self._task("publish", self._run_publish, None, 0, 0.0)
        self._settle()

    def _task(self, name: str, work: Any, retry: Any, retries: int, delay: float, **arguments: str) -> None:
        run: Any = Task(
            work,
            name=name,
            task_run_name=name,
            retries=retries,
            retry_delay_seconds=delay,
            retry_condition_fn=retry,
            cache_policy=NO_CACHE,
            persist_result=False,
        )
        state = run(**arguments, return_state=True)
        if state.is_completed():
            return
        if self.error is not None:
            raise self.error
        raise state.result(raise_on_failure=False)

    def _run_stage(self, stage: str) -> State[Any] | None:
        """The stage's process; its lines go to the run's log, its progress to an artifact."""
        logger, self.error = get_run_logger(), None

        def log(line: LogLine) -> None:
            logger.log(
                logging.getLevelNamesMapping().get(line.level.upper(), logging.INFO),
                "%s",
                line.text(),
                extra={LINE: line},
            )

        show = artifacts.ProgressLines(stage, log)
        try:
            outcome = self._process(stage, show.line)
        except GraftError as err:
            return self._fault(err)
        finally:
            show.close()
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + outcome.seconds, 3)
        self.memory_gb[stage] = max(self.memory_gb.get(stage, 0.0), outcome.peak_gb)
        if outcome.state in ("done", "unchanged"):
            show.finish()
            most = f", {outcome.peak_gb:.2g} GB at most" if outcome.state == "done" else ""
            logger.info("%s %s in %.1f s%s", stage, outcome.state, outcome.seconds, most)
            return None
        reason = "\n".join(outcome.reasons)
        if outcome.over_memory:
            return self._fault(MemoryExceeded(reason))
        if outcome.died:
            raise StageDied(reason)
        return self._fault(StageRefused(reason) if outcome.state == "refused" else StageFailed(reason))

    def _process(self, stage: str, on_line: Callable[[str], None]) -> StageResult:
        timeout_seconds = self.params.flow.stage_timeout_seconds
        return run_stage_process(
            self.workspace, stage, self.run_id, timeout_seconds, on_line, self.cancelled, limits=self.params.limits
        )

    def _run_publish(self) -> State[Any] | None:
        started, self.error = time.monotonic(), None
        try:
            release = publish(self.workspace, self.params)
        except GraftError as err:
            return self._fault(err)
        self.result = self.result.model_copy(update={"release": self.workspace.relative(release)})
        self.seconds["publish"] = round(time.monotonic() - started, 3)
        return None

    def _fault(self, error: GraftError) -> State[Any]:
        """Keep the error for the flow; the task run ends in a failed state with its text."""
        self.error = error
        return Failed(name="Refused" if isinstance(error, Refusal) else "Failed", message=str(error))

    def _settle(self) -> None:
        """Let split see the memory it has just become, so that the next run finds nothing to do.

        The release stands already: what goes wrong here costs the next run a second and is no fault of this one.
        """
        logger = get_run_logger()
        try:
            write_inputs(self.workspace, self.params)
            outcome = self._process("split", logger.debug)
        except GraftError as err:
            logger.warning("split could not settle after the release: %s", err)
            return
        if outcome.state not in ("done", "unchanged"):
            logger.warning("split did not reproduce itself from its memory: %s", "; ".join(outcome.reasons))

    def _remove_stale_pages(self, state: str, stopped_in: str | None) -> None:
        """The pages of an earlier run would tell of other data or another model."""
        if stopped_in in BEFORE_THE_PAGE:
            self.workspace.page.unlink(missing_ok=True)
        if stopped_in in BEFORE_THE_DATA_PAGE and (state, stopped_in) != ("refused", "validate"):
            self.workspace.validation_page.unlink(missing_ok=True)

    def _ended(self, state: str, reasons: list[str], stopped_in: str | None = None) -> RunResult:
        self._remove_stale_pages(state, stopped_in)
        changes: dict[str, Any] = {"state": state, "reasons": reasons, "seconds": self.seconds}
        changes["memory_gb"] = self.memory_gb
        changes["stopped_in"] = stopped_in
        if (state, stopped_in) == ("refused", "validate"):
            changes["data_digest"] = ValidationReport.read(self.workspace.validation).data_digest
        return self.result.model_copy(update=changes)
