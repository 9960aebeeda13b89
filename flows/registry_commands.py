"""`graft history`, `show`, `diff`, `promote`, `rollback` and `shadow` on the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from flows.endings import Ended, answer_of
from flows.options import JsonOption, WorkspaceOption
from flows.sign_command import add_sign_commands
from tasks.errors import NotPromotable
from tasks.params import Params, load_params
from tasks.reports.document import Report
from tasks.stage import say
from tasks.workspace import Workspace

if TYPE_CHECKING:
    from flows.history_view import HistoryView
    from flows.stage_change import StageMove
    from flows.version_diff import VersionDiff
    from flows.version_view import VersionView

ReportT = TypeVar("ReportT", bound=Report)
VersionArgument = Annotated[
    str, typer.Argument(metavar="VERSION", help="v3, 3, v3.0.0, or how the release's digest begins.")
]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it stands in the history for good.")]
WhoOption = Annotated[str | None, typer.Option("--who", metavar="NAME", help="Who decided; default: git's user.name.")]


class Fault(Report):
    """What `--json` prints where there is no answer; the exit code says the same."""

    state: Ended
    reasons: list[str]


def add_registry_commands(app: typer.Typer) -> None:
    """Have the app know them."""
    from flows.shadow_command import shadow

    for command in (history, show, diff, promote, rollback, shadow):
        app.command()(command)
    add_sign_commands(app)


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

    def told() -> HistoryView:
        moment = None if at is None else parse_moment(at)
        here, params = _opened_with_registry(workspace)
        notes = settle_pointer(here, here.store(params.publish.store))
        for note in notes:
            say(note, "warning")
        return history_view(stage_history(here.root), versions(here.root), notes, moment)

    _answer(told, history_text, as_json)


def show(version: VersionArgument, as_json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """All about a published version: data, params, metrics, verdict, commit, who, why, and when it was live."""
    from flows.stage_history import stage_history
    from flows.version_text import show_text
    from flows.version_view import view_of
    from flows.versions import among, versions

    def shown() -> VersionView:
        here, params = _opened_with_registry(workspace)
        known = versions(here.root)
        return view_of(here, params, among(known, version), known, stage_history(here.root))

    _answer(shown, show_text, as_json)


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

    def found() -> VersionDiff:
        here, params = _opened_with_registry(workspace)
        known, changes = versions(here.root), stage_history(here.root)
        return diff_of(here, *(view_of(here, params, among(known, text), known, changes) for text in (old, new)))

    _answer(found, diff_text, as_json)


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
    from flows.stage_change import move_text

    def moved() -> StageMove:
        here, params = opened(workspace)
        by = actor_of(here.root, who)
        for line in catch_up(here, params):
            say(line, "warning")
        return promotion(here, params, version, reason, by, force)

    _tell(workspace, _answer(moved, move_text, as_json))


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
    from flows.stage_change import move_text

    def moved() -> StageMove:
        here, params = opened(workspace)
        return rolled_back(here, params, reason, actor_of(here.root, who), version)

    _tell(workspace, _answer(moved, move_text, as_json))


def opened(workspace: Path | None) -> tuple[Workspace, Params]:
    """The workspace around a folder, and its params."""
    here = Workspace.find(workspace)
    return here, load_params(here.params)


def _opened_with_registry(workspace: Path | None) -> tuple[Workspace, Params]:
    """As `opened`; a fresh clone gets the registry first."""
    from flows.first_fetch import fetch_unknown_registry

    here, params = opened(workspace)
    fetch_unknown_registry(here, params)
    return here, params


def _answer(ask: Callable[[], ReportT], text: Callable[[ReportT], str], as_json: bool) -> ReportT:
    """Print what a command found, or with --json how it failed, and then end."""
    report = answered(ask, as_json)
    print(report.to_json() if as_json else f"{text(report)}\n", end="", flush=True)
    return report


def answered(ask: Callable[[], ReportT], as_json: bool) -> ReportT:
    """What a command found; with --json the object of how it failed is printed, and then it ends."""
    if not as_json:
        return ask()
    found: list[ReportT] = []

    def asked() -> Report:
        found.append(ask())
        return found[0]

    answer, code = answer_of(asked, lambda state, reasons: Fault(state=state, reasons=reasons))
    if found:
        return found[0]
    print(answer.to_json(), end="", flush=True)
    if isinstance(answer, Fault) and answer.state != "interrupted":
        say(f"graft: {'; '.join(answer.reasons)}", "error")
    sys.exit(code)


def _tell(workspace: Path | None, move: StageMove) -> None:
    """After the answer, which nobody shall wait for: the remote learns of a change."""
    from flows.change_push import tell_remote
    from flows.stage_change import LOST

    here, params = opened(workspace)
    told = tell_remote(here, params, move.change)
    for line in told.lines:
        say(line, "warning")
    if not told.stands:
        raise NotPromotable(LOST)
