"""A change of production is told to git's remote right after it was made: other machines judge by what is live."""

from __future__ import annotations

from dataclasses import dataclass

from flows.records import StageChange
from flows.remote_registry import lags_behind
from flows.settled_pointer import settle_pointer
from flows.stage_history import stage_history
from tasks.errors import GraftError
from tasks.params import Params
from tasks.workspace import Workspace


@dataclass(frozen=True)
class Told:
    """How telling the remote ended.

    Attributes:
        lines: what there is to say, warnings all of them; none where the remote knows, or where there is none.
        stands: the change is in the history still; not, where another machine's was at the remote first.
    """

    lines: list[str]
    stands: bool


def tell_remote(workspace: Workspace, params: Params, change: StageChange) -> Told:
    """Push the registry, within bounds. The change was made by now: nothing that goes wrong here is an error.

    Where it lost to another machine's, `prod` shows that one afterwards.
    """
    remote, lines = params.publish.git_remote, []
    try:
        if not lags_behind(workspace.root, remote):
            return Told([], True)
        # Only now, as it imports what a rollback has no need of.
        from flows.pushing import push_registry

        fault = push_registry(workspace, params)
        if fault:
            lines.append(f"not pushed: {fault}; git's remote {remote} does not know of it yet, `graft push` tells it")
        lines += settle_pointer(workspace, workspace.store(params.publish.store))
        return Told(lines, _stands(stage_history(workspace.root), change))
    except (GraftError, OSError, ImportError) as err:
        return Told([*lines, f"not pushed: {err}; `graft push` tells git's remote {remote}"], True)


def _stands(changes: list[StageChange], change: StageChange) -> bool:
    live = changes[-1].manifest_sha256 if changes else None
    return live == change.manifest_sha256 or any(
        (one.manifest_sha256, one.actor, one.reason) == (change.manifest_sha256, change.actor, change.reason)
        and one.at >= change.at
        for one in changes
    )
