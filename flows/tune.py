"""`graft tune` at the desk: the stages that trials need, the search, then the best settings into params.yaml."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from flows.desk import new_run_id, prepare_data, run_in_prefect
from flows.dvc_commands import ensure_dvc
from flows.dvc_repair import repair
from flows.forget import complete_forgetting
from flows.inputs import pinned_inputs
from flows.limits import check_limits
from flows.params_file import Edit, EditedParams, edited_params
from flows.tentative import tried
from flows.tune_conclusion import result_file
from flows.tune_text import about, page_trials
from flows.workspace_lock import workspace_lock
from tasks.errors import ParamsError
from tasks.reports import write_bytes
from tasks.reports.trials import TuneReport
from tasks.stage import say
from tasks.workspace import Workspace

STAGES = ("validate", "embed", "split", "review", "adapt")
"""What has to have room: the stages before the trials, and adapt, which each trial does in small."""
DEFAULT_BUDGET = "10m"
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def parse_budget(text: str) -> float:
    """Seconds of `30s`, `10m`, `1.5h` or `1h30m`.

    Raises:
        ParamsError: it is no time, or none at all.

    >>> parse_budget("1h30m"), parse_budget("90s")
    (5400.0, 90.0)
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh])", text.strip().lower())
    if not parts or "".join(number + unit for number, unit in parts) != text.strip().lower():
        raise ParamsError(f"--budget {text!r} is no time; write 30s, 10m, 2h or 1h30m")
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if not seconds:
        raise ParamsError(f"--budget {text} leaves no time for a trial; write 30s, 10m or 2h")
    return seconds


def tune_here(
    workspace: Workspace,
    edits: Sequence[Edit] = (),
    budget: str | None = None,
    trials: int | None = None,
    dry_run: bool = False,
    run_id: str | None = None,
) -> TuneReport:
    """Edit params.yaml, search in this checkout, and write the best settings, where any is better.

    Args:
        budget: time for trials; where neither it nor `trials` is given, ten minutes.
        trials: how many the search shall have in all, those of earlier runs among them.
        dry_run: params.yaml ends as it was, `edits` included.
    Raises:
        UserError: the params, the data, the workspace or the machine are not ready; nothing was computed.
    """
    seconds = parse_budget(budget or DEFAULT_BUDGET) if budget or trials is None else None
    run_id = run_id or new_run_id()
    with workspace_lock(workspace, run_id) as mended:
        edited = _prepared(workspace, edits, mended)
        with _in_params(workspace, edited, dry_run):
            report = _run_flow(workspace, run_id, seconds, trials)
            report = _settled(workspace, report, dry_run)
        return _shown(workspace, report)


def _prepared(workspace: Workspace, edits: Sequence[Edit], mended: Sequence[str]) -> EditedParams:
    """Everything that can be wrong before Prefect starts; nothing of the edits is written yet."""
    ensure_dvc(workspace)
    for line in [*mended, *repair(workspace)]:
        say(line)
    edited = edited_params(workspace, edits)
    if workspace.forgetting.is_file():
        complete_forgetting(workspace, edited.params, say)
    prepare_data(workspace, edited.params)
    pinned_inputs(workspace, edited.params)
    for line in check_limits(workspace, edited.params, STAGES):
        say(f"warning: {line}", "warning")
    if edited.diff:
        say(edited.diff.rstrip())
    return edited


def _in_params(workspace: Workspace, edited: EditedParams, dry_run: bool) -> AbstractContextManager[None]:
    """Have the edited params.yaml for the search, and only for it where it is a dry run."""
    if dry_run and edited.diff:
        return tried(workspace, edited.text, say)
    edited.keep()
    return nullcontext()


def _run_flow(workspace: Workspace, run_id: str, seconds: float | None, trials: int | None) -> TuneReport:
    """Search. Raises what `flows.desk.run_in_prefect` does."""

    def start() -> Any:
        from flows.tune_flow import tune_flow

        return tune_flow(str(workspace.root), run_id, seconds, trials, return_state=True)

    result = run_in_prefect(start, result_file(workspace, run_id))
    try:
        return TuneReport.read(result)
    finally:
        result.unlink()


def _settled(workspace: Workspace, report: TuneReport, dry_run: bool) -> TuneReport:
    """Write the best settings into params.yaml, as far as they are better than what stands there."""
    if not report.changes:
        return report
    edited = edited_params(workspace, [Edit(tuple(key.split(".")), value) for key, value in report.changes.items()])
    say(edited.diff.rstrip())
    if dry_run:
        return report
    edited.keep()
    return report.model_copy(update={"written": True})


def _shown(workspace: Workspace, report: TuneReport) -> TuneReport:
    """Write reports/tune.html and reports/tune.json, where there is a trial to show."""
    if not report.trials:
        return report
    from tasks.plots.tune_page import trials_page

    page = workspace.reports / "tune.html"
    text = trials_page(page_trials(report.trials), name=report.method, score_name="accuracy", about=about(report))
    write_bytes(page, text.encode())
    shown = report.model_copy(update={"page": workspace.relative(page)})
    shown.write(workspace.reports / "tune.json")
    return shown
