"""`graft shadow`: let a second release see what production answers, and end that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.options import JsonOption, WorkspaceOption
from flows.registry_commands import WhoOption, answered, opened
from tasks.errors import UserError

if TYPE_CHECKING:
    from flows.shadow_pointer import ShadowMove


def shadow(
    version: Annotated[
        str | None,
        typer.Argument(metavar="[VERSION]", help="v3, 3, v3.0.0, or how its digest begins; default: show what is."),
    ] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why; it stands in the registry for good.")
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Have no shadow any more.")] = False,
    who: WhoOption = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Let a published version see a share of what production answers, for comparison only; clients never see it.

    Servers follow within serve.watch_seconds; GET /shadow and the metric graft_shadow_total tell where they disagree.
    """
    from flows.actor import actor_of
    from flows.shadow_pointer import end_shadow, present_shadow, put_in_shadow, shadow_text

    def asked() -> ShadowMove:
        if version and off:
            raise UserError("give a VERSION or --off, not both")
        if version and reason is None:
            raise UserError("--reason is missing: say why the version is to be in the shadow")
        here, params = opened(workspace)
        if version and reason is not None:
            return put_in_shadow(here, params, version, reason, actor_of(here.root, who))
        if off:
            return end_shadow(here, params, reason, actor_of(here.root, who))
        return present_shadow(here, params)

    move = answered(asked, as_json)
    print(move.to_json() if as_json else f"{shadow_text(move)}\n", end="", flush=True)
