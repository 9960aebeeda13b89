"""Whether a run promotes the version that it has just published, and if not, why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flows.change_push import tell_remote
from flows.prod_pointer import read_prod
from flows.promotion import catch_up, outdated_verdict, promotion, refusal
from flows.records import VersionRecord
from flows.stage_change import LOST
from flows.stage_history import stage_history
from flows.versions import version_name, versions
from tasks.errors import GraftError
from tasks.params import Params
from tasks.stage import say
from tasks.workspace import Workspace


@dataclass(frozen=True)
class Answer:
    """What a person answered: whether the version goes into production, who says so, and why."""

    granted: bool
    by: str
    said: str


Approve = Callable[[VersionRecord], Answer]
"""Asks a person and waits for the answer, which runs out after promotion.approval_hours."""


def promote_if_allowed(
    workspace: Workspace, params: Params, version: VersionRecord, reason: str, actor: str, approve: Approve | None
) -> str | None:
    """Promote a version where params.yaml, its verdict and, if wanted, a person allow it, and tell git's remote of it.

    What other machines promoted is taken over right before.

    Args:
        approve: asks a person; None where none can be asked, as at the desk.
    Returns:
        why it was not promoted, and how it can be; None where it is in production now.
    """
    try:
        fault = obstacle(workspace, params, version, asks=approve is not None)
        if fault or is_live(workspace, params, version):
            return fault
        if params.promotion.approval and approve:
            answer = _asked(approve, version)
            if not answer.granted:
                return f"{answer.said} ({answer.by})" if answer.by else answer.said
            reason, actor = answer.said or reason, answer.by or actor
        _warn(catch_up(workspace, params))
        fault = obstacle(workspace, params, version, asks=approve is not None)
        if fault or is_live(workspace, params, version):
            return fault
        # By its digest: what other machines published may have given it another number.
        change = promotion(workspace, params, version.manifest_sha256, reason, actor).change
        told = tell_remote(workspace, params, change)
        _warn(told.lines)
        return None if told.stands else LOST
    except GraftError as err:
        return str(err)


def _warn(lines: Sequence[str]) -> None:
    for line in lines:
        say(line, "warning")


def _by_hand(version: VersionRecord) -> str:
    return f'`graft promote {version_name(version.version)} --reason "..."` does it'


def _asked(approve: Approve, version: VersionRecord) -> Answer:
    try:
        return approve(version)
    except Exception as err:  # The version is published by now: a server that fails here must not fail the run.
        return Answer(False, "", f"nobody could be asked ({type(err).__name__}: {err})")


def is_live(workspace: Workspace, params: Params, version: VersionRecord) -> bool:
    """Whether `prod` names this version now."""
    prod = read_prod(workspace.store(params.publish.store))
    return prod is not None and prod.manifest_sha256 == version.manifest_sha256


def obstacle(workspace: Workspace, params: Params, version: VersionRecord, asks: bool) -> str | None:
    """What keeps a run from promoting a version by itself; None where nothing does, or it is in production already.

    Args:
        asks: a person can be asked.
    """
    if is_live(workspace, params, version):
        return None
    changes, known = stage_history(workspace.root), versions(workspace.root)
    version = next((one for one in known if one.manifest_sha256 == version.manifest_sha256), version)
    by_hand = _by_hand(version)
    fault = refusal(version, changes[-1] if changes else None, known, params.promotion.equivalent)
    fault = fault or outdated_verdict(workspace, params, version)
    if fault:
        return fault
    if not params.promotion.automatic:
        return f"promotion.automatic is false; {by_hand}"
    rolled_back = {change.previous_sha256 for change in changes if change.action == "rollback"}
    same = [one for one in known if one.manifest_sha256 in rolled_back and one.model_sha256 == version.model_sha256]
    if same:
        return f"it holds the model of {version_name(same[0].version)}, which was rolled back; {by_hand}"
    if params.promotion.approval and not asks:
        return f"promotion.approval wants a person's word, who is asked by a deployed run only; {by_hand}"
    return None
