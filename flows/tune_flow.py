"""The Prefect flow of a search over settings: the stages up to review, then one task run per trial."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import Task, flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from flows.artifacts import ProgressLines
from flows.cancellation import cancellation_of
from flows.corridor import BEFORE_THE_DATA_PAGE, CorridorRun
from flows.inputs import write_inputs
from flows.logs import LINE
from flows.tune_conclusion import concluded, result_file
from flows.tune_space import present_settings, search_space, study_digest, with_settings
from flows.tune_study import Study
from flows.tune_text import trial_line, trial_rows
from flows.tune_trainings import Trainings
from flows.tune_trial import TrialEnd, run_trial
from tasks.errors import GraftError, Refusal
from tasks.log_lines import LogLine
from tasks.methods.features import read_labelled_items
from tasks.params import load_params
from tasks.reports.trials import TrialEpoch, TrialRecord, TuneReport
from tasks.workspace import Workspace

MOST_FAILURES = 3
"""After so many failed trials in a row, with none complete, the search ends: it is not the settings."""


@dataclass(frozen=True)
class Extent:
    """How far a search goes: seconds of this run, trials of the whole search; None sets no end."""

    seconds: float | None
    trials: int | None


@flow(name="tune", retries=0, validate_parameters=False)
def tune_flow(root: str, run_id: str, seconds: float | None, trials: int | None) -> State[Any]:
    """Search over settings in one workspace, whose lock the caller holds; the result also lies in .graft/tune."""
    workspace = Workspace(Path(root))
    with cancellation_of(UUID(str(flow_run.id))) as cancelled:
        run = TuneRun(workspace, load_params(workspace.params), run_id, cancelled)
        report = run.searched(Extent(seconds, trials))
    report.write(result_file(workspace, run_id))
    if cancelled.is_set():
        return Cancelled()
    if report.state == "done":
        return Completed(message=f"{report.tried} trials; best: trial {report.best}")
    message = "; ".join(report.reasons)
    return Failed(name="Refused", message=message) if report.state == "refused" else Failed(message=message)


class TuneRun(CorridorRun):
    """One run of a search: the corridor's first stages, then trials until the extent is reached."""

    def searched(self, extent: Extent) -> TuneReport:
        """Every ending of our own is a report, never an exception."""
        report = TuneReport(run_id=self.run_id, state="failed", method=self.params.adapt.method.name)
        try:
            write_inputs(self.workspace, self.params)
            for stage in BEFORE_THE_DATA_PAGE:
                self._stage(stage)
            self.at = "trials"
            return Search(self, extent).report(report)
        except GraftError as err:
            if self.at != "trials":
                self._remove_stale_pages("refused" if isinstance(err, Refusal) else "failed", self.at)
            state = "refused" if isinstance(err, Refusal) else "failed"
            changes = {"state": state, "reasons": str(err).splitlines(), "stopped_in": self.at}
            return report.model_copy(update=changes)


class Search:
    """Trials of one study, one after the other."""

    def __init__(self, run: TuneRun, extent: Extent) -> None:
        self.run, self.extent = run, extent
        self.space = search_space(run.params)
        self.present = present_settings(run.params, self.space)
        items = read_labelled_items(run.workspace)
        digest = study_digest(run.params, self.space, items)
        self.study = Study(run.workspace.private / "tune" / f"{digest[:24]}.db", self.space)
        self.deadline = None if extent.seconds is None else time.monotonic() + extent.seconds
        self.trainings = Trainings(run.workspace.private / "tune" / digest[:24])
        self.tried, self.fault = 0, ""

    def report(self, empty: TuneReport) -> TuneReport:
        """Search, then say what was found."""
        logger = get_run_logger()
        interrupted = self.study.take_up(self.present)
        standing = self.study.finished()
        if standing or interrupted:
            logger.info("going on with a search of %d trials (%d interrupted)", standing, interrupted)
        ended = self._trials()
        trials = self.study.trials()
        if trials:
            create_table_artifact(key="trials", table=trial_rows(trials), description="Trials, best first")
        judged = self.study.judged()
        found = concluded(empty, trials, judged, self.present, ended, self.fault)
        if found.best is not None:
            self.trainings.hand_on(trials[0].settings, self.run.workspace.checkpoints)
        file = self.run.workspace.relative(self.study.file)
        known: dict[str, Any] = {"tried": self.tried, "study": file}
        if self.run.cancelled.is_set():
            reasons = ["the run was cancelled; the same command goes on where it stopped"]
            known |= {"state": "failed", "reasons": reasons, "stopped_in": "trials", "changes": {}}
        return found.model_copy(update=known)

    def _trials(self) -> str:
        """Try until something ends it; returns what."""
        in_a_row = 0
        while True:
            if self.run.cancelled.is_set():
                return "the run was cancelled"
            if self.deadline is not None and time.monotonic() >= self.deadline:
                return "the budget is used up"
            enough = self.extent.trials is not None and self.study.finished() >= self.extent.trials
            if enough and self.study.settled(self.present):
                return f"{self.extent.trials} trials stand (--trials)"
            trial = self.study.next()
            if trial is None:
                return "every combination was tried"
            end = self._task_run(trial)
            if end is None or end.state == "cancelled":
                return "the run was cancelled"
            in_a_row = in_a_row + 1 if end.state == "failed" else 0
            if in_a_row >= MOST_FAILURES and not self.study.judged():
                return f"{MOST_FAILURES} trials failed in a row"

    def _task_run(self, trial: TrialRecord) -> TrialEnd | None:
        """One trial as a task run; None where it ended without a word of ours."""
        ends: list[TrialEnd] = []

        def work() -> State[Any]:
            ends.append(self._tried(trial))
            return _state(ends[0], trial)

        name = f"trial-{trial.number}"
        task: Any = Task(work, name="trial", task_run_name=name, cache_policy=NO_CACHE, persist_result=False)
        state = task(return_state=True)
        if not ends:
            state.result(raise_on_failure=True)
        return ends[0] if ends else None

    def _tried(self, trial: TrialRecord) -> TrialEnd:
        logger = get_run_logger()
        logger.info("trial %d: %s", trial.number, trial_line(trial.settings, self.present))

        def log(line: LogLine) -> None:
            level = logging.getLevelNamesMapping().get(line.level.upper(), logging.INFO)
            logger.log(level, "%s", line.text(), extra={LINE: line})

        show = ProgressLines(f"trial-{trial.number}", log)

        def on_epoch(epoch: TrialEpoch) -> bool:
            logger.info(
                "epoch %d of %d: accuracy %.4f, loss %.4f", epoch.epoch, epoch.epochs, epoch.accuracy, epoch.loss
            )
            return self.study.reached(epoch)

        params = with_settings(self.run.params, trial.settings)
        try:
            end = run_trial(
                self.run.workspace,
                params,
                self.trainings.of(trial.settings),
                self.run.run_id,
                self._seconds(),
                on_epoch,
                show.line,
                self.run.cancelled,
            )
        finally:
            show.close()
        self._keep(end)
        return end

    def _seconds(self) -> float:
        """What the next trial may take."""
        most = self.run.params.flow.stage_timeout_seconds
        return most if self.deadline is None else max(0.0, min(most, self.deadline - time.monotonic()))

    def _keep(self, end: TrialEnd) -> None:
        if end.outcome is not None:
            self.study.complete(end.outcome, end.seconds)
        elif end.state == "pruned":
            self.study.pruned(end.seconds)
        elif end.state == "failed":
            self.study.failed(end.reason, end.seconds)
            self.fault = end.reason
        elif end.state == "time" and not self._out_of_budget():
            self.fault = "it took longer than flow.stage_timeout_seconds allows"
            self.study.failed(self.fault, end.seconds)
        else:
            return  # It stays unfinished: the next run of the search begins with it.
        self.tried += 1
        trials = self.study.trials()
        unfinished = [trial for trial in trials if trial.state == "unfinished"]
        self.trainings.keep_only(*(trial.settings for trial in [*trials[:1], *unfinished]))

    def _out_of_budget(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline


def _state(end: TrialEnd, trial: TrialRecord) -> State[Any]:
    if end.outcome is not None:
        return Completed(message=f"accuracy {end.outcome.accuracy:.4f}, loss {end.outcome.loss:.4f}")
    if end.state == "pruned":
        return Completed(name="Pruned", message=f"trial {trial.number} fell behind")
    if end.state == "failed":
        return Failed(message=end.reason)
    return Cancelled(message="stopped; the next run of this search begins with it")
