"""`graft history`, `show`, `diff`, `promote` and `rollback` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.options import JsonOption, WorkspaceOption
from tasks.params import Params, load_params
from tasks.stage import say
from tasks.workspace import Workspace

if TYPE_CHECKING:
    from flows.stage_change import StageMove
    from tasks.reports.document import Report

VersionArgument = Annotated[
    str, typer.Argument(metavar="VERSION", help="v3, 3, v3.0.0, or how the release's digest begins.")
]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it stands in the history for good.")]
WhoOption = Annotated[str | None, typer.Option("--who", metavar="NAME", help="Who decided; default: git's user.name.")]


def add_registry_commands(app: typer.Typer) -> None:
    """Have the app know them."""
    for command in (history, show, diff, promote, rollback):
        app.command()(command)


def history(
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="DATE", help="What was live then: a date (its end, UTC), or date and time."),
    ] = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Every change of what is in production: when, by whom, why; and what is in production now, or was at a date."""
    from flows.history_view import history_text, history_view
    from flows.settled_pointer import settle_pointer
    from flows.stage_history import parse_moment, stage_history
    from flows.versions import versions

    moment = None if at is None else parse_moment(at)
    here, params = _opened(workspace)
    notes = settle_pointer(here, here.store(params.publish.store))
    for note in notes:
        say(note, "warning")
    view = history_view(stage_history(here.root), versions(here.root), notes, moment)
    _print(view, history_text(view), as_json)


def show(version: VersionArgument, as_json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """All about a published version: data, params, metrics, verdict, commit, who, why, and when it was live."""
    from flows.stage_history import stage_history
    from flows.version_text import show_text
    from flows.version_view import view_of
    from flows.versions import among, versions

    here, params = _opened(workspace)
    known = versions(here.root)
    view = view_of(here, params, among(known, version), known, stage_history(here.root))
    _print(view, show_text(view), as_json)


def diff(
    old: Annotated[str, typer.Argument(metavar="V1")],
    new: Annotated[str, typer.Argument(metavar="V2")],
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """What differs between two published versions: metrics, data and items, params, code, classes."""
    from flows.stage_history import stage_history
    from flows.version_diff import diff_of
    from flows.version_diff_text import diff_text
    from flows.version_view import view_of
    from flows.versions import among, versions

    here, params = _opened(workspace)
    known, changes = versions(here.root), stage_history(here.root)
    views = [view_of(here, params, among(known, text), known, changes) for text in (old, new)]
    found = diff_of(here, *views)
    _print(found, diff_text(found), as_json)


def promote(
    version: VersionArgument,
    reason: ReasonOption,
    force: Annotated[
        bool, typer.Option("--force", help="Also against the verdict; the change is marked as forced for ever.")
    ] = False,
    who: WhoOption = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Put a published version into production. Exit code 2: its verdict does not allow it."""
    from flows.actor import actor_of
    from flows.promotion import catch_up, promotion

    here, params = _opened(workspace)
    for line in catch_up(here, params):
        say(line, "warning")
    move = promotion(here, params, version, reason, actor_of(here.root, who), force)
    _tell(here, params, move, as_json)


def rollback(
    reason: ReasonOption,
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="Default: what was in production before.")
    ] = None,
    who: WhoOption = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Put an earlier release back into production, after checking that it holds."""
    from flows.actor import actor_of
    from flows.rollback import rolled_back

    here, params = _opened(workspace)
    move = rolled_back(here, params, reason, actor_of(here.root, who), version)
    _tell(here, params, move, as_json)


def _opened(workspace: Path | None) -> tuple[Workspace, Params]:
    here = Workspace.find(workspace)
    return here, load_params(here.params)


def _tell(here: Workspace, params: Params, move: StageMove, as_json: bool) -> None:
    from flows.remote_registry import lags_behind
    from flows.stage_change import move_text

    _print(move, move_text(move), as_json)
    remote = params.publish.git_remote
    if move.moved and lags_behind(here.root, remote):
        say(f"git's remote {remote} does not know of it yet; `graft push` tells it")


def _print(document: Report, text: str, as_json: bool) -> None:
    print(document.to_json() if as_json else f"{text}\n", end="", flush=True)
