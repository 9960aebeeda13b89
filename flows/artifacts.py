"""What a run shows in Prefect: metrics, verdict and confusion matrix as artifacts, and live progress."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from flows.logs import run_log
from flows.raw_lines import RawLines
from flows.result import RunResult
from flows.worktrees import kept_reports
from tasks.log_lines import LogLine, unmarked
from tasks.params import Params
from tasks.plots.markdown import (
    calibration_markdown,
    champion_markdown,
    confusion_markdown,
    findings_markdown,
    metrics_table,
    verdict_markdown,
)
from tasks.reports import AdaptationReport, EvaluationReport, ReviewReport, Verdict
from tasks.stage import PROGRESS_MARK, draw_bar
from tasks.workspace import Workspace

UPDATE_SECONDS = 2.0
REVIEW_ROWS = 20
DVC_CHATTER = (
    "To track the changes with git",
    "git add ",
    "To enable auto staging",
    "dvc config core.autostage",
    "Use `dvc push`",
    "Generating lock file",
    "Updating lock file",
    "Data and pipelines are up to date",
    "ERROR: failed to reproduce",
)
"""DVC's advice after every stage, and what the stage's own outcome says better."""


def show_review(report: ReviewReport) -> None:
    """The head of the review list as a table; nothing where there is nothing to look at."""
    if report.entries:
        columns = ("kind", "path", "label", "suggested", "reason")
        rows = [{name: getattr(entry, name) or "" for name in columns} for entry in report.entries[:REVIEW_ROWS]]
        named = f"{len(report.entries)} items to look at; reports/review.csv lists all and takes corrections"
        create_table_artifact(key="label-review", table=rows, description=named)


def show_evaluation(report: EvaluationReport) -> None:
    """The metrics as a table; the calibration, where it was measured, and the confusion matrix as markdown."""
    create_table_artifact(key="metrics", table=metrics_table(report), description="Measured on the test items")
    if calibration := calibration_markdown(report):
        create_markdown_artifact(key="calibration", markdown=calibration)
    create_markdown_artifact(key="confusion-matrix", markdown=confusion_markdown(report))


def show_findings(params: Params, adaptation: AdaptationReport, evaluation: EvaluationReport) -> None:
    """What training and pretraining were worth, in markdown; nothing for a probe with nothing to compare."""
    if found := findings_markdown(params, adaptation, evaluation):
        create_markdown_artifact(key="findings", markdown=found)


def show_verdict(verdict: Verdict) -> None:
    """Every rule of the gate, in markdown."""
    create_markdown_artifact(key="verdict", markdown=verdict_markdown(verdict))


def show_champion(params: Params, evaluation: EvaluationReport, verdict: Verdict) -> None:
    """The comparison with the model in production, in markdown."""
    create_markdown_artifact(key="champion", markdown=champion_markdown(params, evaluation, verdict))


def show_report(workspace: Workspace, run_id: str) -> None:
    """Where the report page lies; Prefect's pages cannot show a file of this machine."""
    page = workspace.page
    if workspace.home != workspace.root:  # The run's worktree will be gone.
        page = kept_reports(workspace.home, run_id) / page.name
    text = f"`{page}` on {socket.gethostname()}"
    create_markdown_artifact(key="report", markdown=text, description="The report page of this run")


def show_version(result: RunResult) -> None:
    """The published version: which release, recorded where, pushed or not."""
    left = f"no: {result.not_pushed}" if result.not_pushed else "there is no remote"
    rows = {
        "version": f"v{result.version}",
        "release": result.release,
        "outcome": result.outcome,
        "branch": result.branch,
        "commit": result.commit,
        "pushed": "yes" if result.pushed else left,
    }
    table = [{"what": name, "is": str(value)} for name, value in rows.items()]
    create_table_artifact(key="version", table=table, description="Published")


class ProgressLines:
    """Sorts a stage's lines: progress marks move a progress artifact, everything else goes to the log."""

    def __init__(self, stage: str, log: Callable[[LogLine], None]) -> None:
        self.stage, self._log = stage, log
        self._raw = RawLines(lambda message, level, trace: log(LogLine(message, level, trace)))
        self._artifact: UUID | None = None
        self._shown, self._next = -1.0, 0.0
        self._bar = draw_bar if sys.stderr.isatty() else None

    def line(self, text: str) -> None:
        done, total = _progress(text)
        if total:
            self._show(100.0 * done / total)
            run_log.progress(self.stage, done, total)
            if self._bar:
                self._bar(self.stage, done, total)
        elif line := unmarked(text):
            self._raw.flush()
            self._log(line)
        elif text.strip() and not text.strip().startswith(DVC_CHATTER):
            self._raw.feed(text)

    def close(self) -> None:
        """The stage's process is gone: a traceback that was being gathered is all there is."""
        self._raw.flush()

    def finish(self) -> None:
        """The stage ended well: a progress that was shown is complete."""
        if self._artifact is not None:
            self._show(100.0, now=True)

    def _show(self, percent: float, now: bool = False) -> None:
        if percent == self._shown or (time.monotonic() < self._next and not now and percent < 100.0):
            return
        self._shown, self._next = percent, time.monotonic() + UPDATE_SECONDS
        if self._artifact is None:
            created: Any = create_progress_artifact(progress=percent, key=f"{self.stage}-progress")
            self._artifact = created
        else:
            update_progress_artifact(artifact_id=self._artifact, progress=percent)


def _progress(text: str) -> tuple[int, int]:
    """(done, total) of a progress line; (0, 0) of any other."""
    parts = text.split()
    if len(parts) == 4 and parts[0] == PROGRESS_MARK and parts[2].isdigit() and parts[3].isdigit():
        return int(parts[2]), int(parts[3])
    return 0, 0
