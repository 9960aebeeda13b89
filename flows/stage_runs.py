"""Stages as Prefect task runs: which process, how its lines are shown, what its ending means."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from prefect import Task, get_run_logger
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Failed

from flows import artifacts
from flows.endings import disk_fault
from flows.logs import LINE
from flows.stage_process import StageResult, run_stage_process
from tasks.errors import GraftError, MemoryExceeded, Refusal, StageFailed, WorkspaceError
from tasks.log_lines import LogLine
from tasks.params import Params
from tasks.workspace import Workspace


class StageDied(StageFailed):
    """The stage's process ended without its own word: a crash or a kill, which may pass the second time."""


class StageRefused(Refusal):
    """The stage judged against the data or the model."""


def died(_task: Any, _run: TaskRun, state: State[Any]) -> bool:
    """Retry only what can pass the second time: a stage whose process died, never a verdict or a named error."""
    return isinstance(state.result(raise_on_failure=False), StageDied)


class StageRuns:
    """The stages of one run: how long each took, how much memory, and what went wrong."""

    def __init__(self, workspace: Workspace, params: Params, run_id: str, cancelled: threading.Event) -> None:
        self.workspace, self.params, self.run_id, self.cancelled = workspace, params, run_id, cancelled
        self.seconds: dict[str, float] = {}
        self.memory_gb: dict[str, float] = {}
        self.error: GraftError | None = None
        self.at = "preparation"

    def _stage(self, stage: str) -> None:
        """One stage as a task run of its name; its own errors end the task run without a traceback."""
        self.at = stage
        self._task(
            stage, self._run_stage, died, self.params.flow.retries, self.params.flow.retry_delay_seconds, stage=stage
        )

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
        except OSError as err:
            return self._fault(WorkspaceError(disk_fault(err)))
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

    def _fault(self, error: GraftError) -> State[Any]:
        """Keep the error for the flow; the task run ends in a failed state with its text."""
        self.error = error
        return Failed(name="Refused" if isinstance(error, Refusal) else "Failed", message=str(error))
