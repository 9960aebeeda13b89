"""`graft tune` on the command line."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from flows.endings import answer_of
from flows.logs import chosen_format, run_log, start_logs
from flows.options import DataOption, JsonOption, LogFormatOption, SetOption, WorkspaceOption, wanted_edits
from flows.result import EXIT_CODES
from tasks.reports.trials import TuneReport
from tasks.stage import say


def tune(
    budget: Annotated[
        str | None, typer.Option("--budget", metavar="TIME", help="Time for trials: 30s, 10m, 2h; default: 10m.")
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option("--trials", metavar="N", min=1, help="Trials in all, those of earlier runs among them."),
    ] = None,
    data: DataOption = None,
    set_: SetOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Search, but leave params.yaml as it is.")] = False,
    as_json: JsonOption = False,
    log_format: LogFormatOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Search better settings of the configured method, judged without the test set; write the best to params.yaml.

    The same command goes on where an earlier search of the same data stopped. Exit code 0: params.yaml holds the best
    that is known. 2: refused by the data's contract. 1: failed. 130: interrupted.
    """
    from flows.desk import new_run_id
    from flows.tune import tune_here
    from flows.tune_text import closing, summary

    run_id = new_run_id()

    def run() -> TuneReport:
        here, edits = wanted_edits(workspace, data, set_)
        start_logs(chosen_format(here, log_format, edits))
        run_log.begin(here, run_id)
        return tune_here(here, edits, budget, trials, dry_run, run_id)

    code = None
    if as_json:
        report, code = answer_of(run, lambda state, reasons: TuneReport(run_id=run_id, state=state, reasons=reasons))
        if report.state != "interrupted":
            say(summary(report))
        print(report.to_json(), end="", flush=True)
    else:
        report = run()
        print(summary(report), flush=True)
    run_log.line(closing(report), shown=False)
    sys.exit(EXIT_CODES["released" if report.state == "done" else report.state] if code is None else code)
