"""`graft rollback`: back to a release that was in production before, checked first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flows.actor import one_line
from flows.records import StageChange
from flows.served_release import check_servable
from flows.settled_pointer import settle_or_refuse
from flows.signing import configured_trust
from flows.stage_change import StageMove, Wish, change_stage
from flows.stage_history import stage_history, to_fall_back_to
from flows.versions import among, version_name, versions
from tasks.errors import ReleaseError, UserError
from tasks.params import Params
from tasks.stage import say
from tasks.workspace import Workspace


def rolled_back(workspace: Workspace, params: Params, reason: str, actor: str, version: str | None = None) -> StageMove:
    """Put an earlier release back into production.

    Args:
        version: one that was in production before; default: the one below the present one.
    Returns:
        the change that was made, or where it was in production already, the one that made it so.
    Raises:
        UserError: there is nothing to go back to, or the version was never in production.
        ReleaseError: the release is gone or damaged; the next earlier one that holds is named.
    """
    root, store, trusted = workspace.root, workspace.store(params.publish.store), configured_trust(workspace, params)
    said, by = one_line(reason, "--reason"), one_line(actor, "--who")
    for line in settle_or_refuse(workspace, store):
        say(line, "warning")
    changes = stage_history(root)
    target = _target(root, changes, version)
    if target.manifest_sha256 == changes[-1].manifest_sha256:
        return StageMove(moved=False, change=changes[-1])
    try:
        check_servable(store, target.manifest_sha256, trusted)
    except ReleaseError as err:
        raise ReleaseError(
            f"{version_name(target.version)} is not gone back to: {err}; {_other(store, changes, target, trusted)}"
        ) from err

    def judge(present: StageChange | None) -> bool:
        if present is None or present.number != changes[-1].number:
            raise UserError("production was changed by somebody else meanwhile; `graft history` shows by whom")
        return False

    wish = Wish("rollback", target.version, target.manifest_sha256, by, said)
    return change_stage(root, store, wish, judge)


def _target(root: Path, changes: Sequence[StageChange], version: str | None) -> StageChange:
    if not changes:
        raise UserError("nothing was ever in production, so there is nothing to go back to (`graft promote`)")
    if version is None:
        earlier = to_fall_back_to(changes)
        if not earlier:
            raise UserError(f"there is no earlier version in production to go back to{_left(changes)}")
        return earlier[0]
    wanted = among(versions(root), version)
    found = [change for change in changes if change.manifest_sha256 == wanted.manifest_sha256]
    if not found:
        name = version_name(wanted.version)
        raise UserError(f"{name} was never in production; `graft promote {name} --reason ...` puts it there")
    return found[-1]


def _left(changes: Sequence[StageChange]) -> str:
    """How to go to what was rolled back from, where there is any."""
    left = {change.version for change in changes if change.manifest_sha256 != changes[-1].manifest_sha256}
    if not left:
        return ""
    names = ", ".join(version_name(number) for number in sorted(left))
    return f" ({names} {'was' if len(left) == 1 else 'were'} rolled back from; `graft rollback VERSION` names one)"


def _other(store: Path, changes: Sequence[StageChange], refused: StageChange, trusted: Path | None) -> str:
    """The next release that could be gone back to, tried."""
    for change in to_fall_back_to(changes):
        if change.manifest_sha256 == refused.manifest_sha256:
            continue
        try:
            check_servable(store, change.manifest_sha256, trusted)
        except ReleaseError:
            continue
        name = version_name(change.version)
        return f"{name}, which was in production before, holds: `graft rollback {name} --reason ...`"
    return "no other release that was in production before holds in this store"
