"""The command line. Everything but what a program asked for as JSON goes to stderr."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from flows.backbone_commands import backbone_app
from flows.endings import INTERRUPTED, STOPPED, TERMINATED, disk_fault, result_of
from flows.export_command import export
from flows.logs import chosen_format, early_format, run_log, start_logs
from flows.options import (
    DataOption,
    JsonOption,
    LogFormatOption,
    SetOption,
    WorkspaceOption,
    parse_overrides,
    wanted_edits,
)
from flows.push_command import push
from flows.registry_commands import add_registry_commands
from flows.result import EXIT_CODES, RunResult, closing_line, summary
from flows.score_command import score
from flows.serve_command import PASSED_ON, serve
from flows.tune_command import tune
from tasks.errors import GraftError, Refusal, UserError
from tasks.stage import say
from tasks.workspace import Workspace, expanded

app = typer.Typer(
    name="graft",
    help="Adapt a pretrained model to your labelled data; release it only when it is proven good enough.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(tune)
app.command()(push)
app.command()(score)
app.command()(export)
app.command(context_settings=PASSED_ON)(serve)
app.add_typer(backbone_app, name="backbone")
add_registry_commands(app)
data_app = typer.Typer(help="Look at labelled data, or bring them under DVC.", no_args_is_help=True)
app.add_typer(data_app, name="data")


def main() -> None:
    """The console script: a user's mistake ends in one message and exit code 1, never in a traceback."""
    signal.signal(signal.SIGTERM, _exit_on_term)
    start_logs(early_format(sys.argv[1:], os.environ))
    try:
        code = app(args=sys.argv[1:] or ["--help"], standalone_mode=False, prog_name="graft")
    except GraftError as err:
        _fail(err)
    except OSError as err:
        say(f"graft: {disk_fault(err)}", "error")
        code = EXIT_CODES["failed"]
    except TyperException as err:
        code = _usage_fault(err)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except SystemExit as ending:
        code = ending.code
    if code in (INTERRUPTED, TERMINATED):
        say(STOPPED, "warning")
    sys.exit(code)


@app.command()
def adapt(
    data: DataOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
    force_flow: Annotated[bool, typer.Option("--force-flow", help="Start the flow even if nothing changed.")] = False,
    publish: Annotated[
        bool, typer.Option("--publish", help="Register the release as the next version and push it.")
    ] = False,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="What the version is for; kept with it.")] = "",
    log_format: LogFormatOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Validate, embed, split, review, adapt, evaluate, gate, export, qualify, publish.

    Exit code 0: released. 2: refused by a gate or by the data's contract. 1: failed. 130: interrupted.
    """
    from flows.desk import adapt_here, new_run_id

    run_id = new_run_id()

    def run() -> RunResult:
        if why and not publish:
            raise UserError("--why is kept with the version that --publish registers; add --publish, or leave it out")
        here, edits = wanted_edits(workspace, data, set_)
        start_logs(chosen_format(here, log_format, edits))
        run_log.begin(here, run_id)
        return adapt_here(here, edits, force_flow=force_flow, run_id=run_id, publish=publish, why=why)

    code = None
    if as_json:
        result, code = result_of(run, lambda: run_id)
        if result.state != "interrupted":
            say(summary(result))
        print(result.to_json(), end="", flush=True)
    else:
        result = run()
        print(summary(result), flush=True)
    run_log.line(closing_line(result), shown=False)
    sys.exit(result.exit_code if code is None else code)


@app.command()
def plan(
    data: DataOption = None, set_: SetOption = None, as_json: JsonOption = False, workspace: WorkspaceOption = None
) -> None:
    """Say which stages would run and why; compute nothing. --data and --set are tried, not kept."""
    from flows.plan import plan_here

    here, edits = wanted_edits(workspace, data, set_)
    planned = plan_here(here, edits)
    steps = planned.steps
    if as_json:
        print(
            json.dumps([{"stage": step.stage, "runs": bool(step.reasons), "reasons": step.reasons} for step in steps])
        )
    for step in [] if as_json else steps:
        print(
            f"{step.stage:<9} {'run   ' if step.reasons else 'skip  '} {'; '.join(step.reasons) or 'nothing changed'}"
        )
    sys.stdout.flush()
    for line in planned.short:
        say(f"note: a run would not start: {line}", "warning")


@app.command()
def doctor(as_json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """Check versions, disk, cache, GPU and remote; say how to mend each. Exit code 1 if something must be mended."""
    from flows.doctor import examine

    findings = examine(Workspace.find(workspace))
    if as_json:
        print(json.dumps([finding.model_dump() for finding in findings]))
    else:
        for finding in findings:
            print(f"{finding.state:<5} {finding.check:<12} {finding.detail}")
            if finding.mend:
                print(f"{'':<18} mend: {finding.mend}")
    sys.exit(1 if any(finding.state == "wrong" for finding in findings) else 0)


@app.command()
def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the change; write nothing.")] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Rewrite params.yaml of the schema version before; settings, comments and order are kept."""
    from flows.migrate import migrate_here

    print(migrate_here(Workspace.find(workspace), dry_run))


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    max_bytes: Annotated[
        str | None,
        typer.Option("--max-bytes", metavar="SIZE", help="Make room until all is under 5GB, 500MB, ..."),
    ] = None,
    keep_runs: Annotated[
        int, typer.Option("--keep-runs", metavar="N", min=0, help="Runs that keep result, log and run branch.")
    ] = 20,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before releases go.")] = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Remove what nothing refers to from caches, trainings, run workspaces and DVC's cache.

    With --max-bytes also the least recently used of what may be of use, old releases among it: those are named and
    asked for first. What is live, the release before it, the newest two releases and a workspace in which a run works
    are never touched.
    """
    from flows.consent import ask
    from flows.gc import collect_garbage, parse_size, report_text

    limit = None if max_bytes is None else parse_size(max_bytes)

    def confirm(releases: str) -> bool:
        terminal = sys.stdin.isatty() and not as_json
        return yes or ask(releases, "remove them and all else that may go?", False, terminal, show=say)

    collection = collect_garbage(Workspace.find(workspace), dry_run, limit, keep_runs, confirm)
    print(collection.model_dump_json() if as_json else report_text(collection))


@data_app.command("check")
def data_check(
    path: Annotated[str, typer.Argument(metavar="PATH")],
    set_: SetOption = None,
    as_json: JsonOption = False,
    page: Annotated[
        Path | None, typer.Option("--page", metavar="FILE", help="Also write what was found as one HTML file.")
    ] = None,
) -> None:
    """Validate a folder or table, labelled or not, without touching the workspace. Exit code 2 if it is refused.

    Inside a workspace its params, aliases, corrections and tombstones apply, as they would in a run.
    """
    from flows.data_commands import check_here, check_summary

    caller = Path.cwd()
    shown = caller / expanded(page) if page else None
    report = check_here(caller / expanded(path), lambda here: parse_overrides(set_, here, caller), shown)
    if shown:
        say(f"page: {shown}")
    print(report.to_json(), end="") if as_json else print(check_summary(report))
    sys.exit(0 if report.passed else 2)


@data_app.command("add")
def data_add(path: Annotated[str, typer.Argument(metavar="PATH")], workspace: WorkspaceOption = None) -> None:
    """Copy a folder into data/raw under DVC (data/raw.dvc); again, it adds what is new."""
    from flows.data_commands import add_here

    say(add_here(Workspace.find(workspace), expanded(path)))


@data_app.command("fix")
def data_fix(
    review: Annotated[Path, typer.Argument(metavar="REVIEW.csv")],
    who: Annotated[str | None, typer.Option("--who", help="Who decided, for rows without one; default: git.")] = None,
    why: Annotated[str | None, typer.Option("--why", help="The reason, for rows without one.")] = None,
    new_class: Annotated[
        list[str] | None, typer.Option("--new-class", metavar="LABEL", help="A label that no item bears yet.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and show; write nothing.")] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Take over what people filled into reports/review.csv: corrected_label, or action keep or leave_out; who and why.

    The raw files stay as they are: decisions go to data/corrections.csv, which belongs to git.
    """
    from flows.label_fix import FixOptions, fix_here

    options = FixOptions(who=who, why=why, new_classes=new_class or (), dry_run=dry_run)
    print(fix_here(Workspace.find(workspace), expanded(review), options))


@data_app.command("forget")
def data_forget(
    items: Annotated[list[str], typer.Argument(metavar="ITEM...", help="Paths of items, or their sha256.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it stands in data/forgotten.csv.")],
    who: Annotated[str | None, typer.Option("--who", metavar="NAME", help="Who decided; default: git's name.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done; do nothing.")] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Take items out of the data set, the caches and the reports for good, and keep them out by their sha256.

    Releases that were trained on them are listed and stay. Interrupted, the same command completes it.
    """
    from flows.consent import ask
    from flows.forget import forget_here

    def confirm(summary: str) -> bool:
        return ask(summary, "forget them for good?", yes, sys.stdin.isatty())

    if not forget_here(Workspace.find(workspace), items, reason, who, confirm, say, dry_run) and not dry_run:
        say("nothing was forgotten")


def _exit_on_term(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _usage_fault(err: TyperException) -> int:
    """What is wrong with the command line, and whose help shows what there is; `graft data` alone is no fault."""
    context = getattr(err, "ctx", None)
    if context and not err.format_message():  # The help is printed by then.
        return EXIT_CODES["released"]
    command = context.command_path if context else "graft"
    say(f"graft: {err.format_message()} ({command} --help shows what there is)", "error")
    return EXIT_CODES["failed"]


def _fail(err: GraftError) -> NoReturn:
    kept = None if isinstance(err, UserError) else run_log.kept()
    say(f"graft: {err}" + (f"\nlog: {kept}" if kept else ""), "error")
    sys.exit(EXIT_CODES["refused" if isinstance(err, Refusal) else "failed"])


if __name__ == "__main__":
    main()
