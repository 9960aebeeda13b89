"""Changes of stage that two machines made apart, as one history: the remote's, and what of ours still holds after it.

A promotion was judged against what was in production on its machine. Where another machine's change was at the remote
first, that is not what it would take over from any more, and nothing has compared the two: it lost, as it would have
inside one checkout, and the version can be promoted again where its verdict still allows it. What a person wanted
whatever the verdict says, a forced promotion or a rollback, follows on the other machine's change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flows.records import StageChange
from flows.versions import version_name


@dataclass(frozen=True)
class Followed:
    """Two histories as one.

    Attributes:
        changes: of ours, as they follow on theirs.
        superseded: of ours as they were, where they lost or have another number now.
        lines: for each that lost.
    """

    changes: list[StageChange]
    superseded: list[StageChange]
    lines: list[str]


def followed(theirs: Sequence[StageChange], ours: Sequence[StageChange], numbers: Mapping[str, int]) -> Followed:
    """Have our changes follow on theirs.

    Args:
        theirs: the remote's history.
        ours: what only this machine has.
        numbers: versions by manifest sha256.
    """
    result = Followed([], [], [])
    lost: dict[str, bool] = {}
    for change in ours:
        before = next((one for one in reversed([*theirs, *result.changes]) if one.stage == change.stage), None)
        stands = before is not None and before.manifest_sha256 == change.manifest_sha256
        lost[change.stage] = not stands and _loses(change, before, lost.get(change.stage, False))
        if before and lost[change.stage]:
            result.lines.append(_line(change, before, numbers))
        following = _after(before, change, len(theirs) + len(result.changes) + 1, numbers)
        if stands or lost[change.stage] or following.number != change.number:
            result.superseded.append(change)
        if not (stands or lost[change.stage]):
            result.changes.append(following)
    return result


def _loses(change: StageChange, before: StageChange | None, lost: bool) -> bool:
    """Whether a change is none any more after `before`.

    Args:
        lost: what it followed on here has lost itself.
    """
    if before is None or before.manifest_sha256 == change.previous_sha256 or change.forced:
        return False
    # A rollback from what never was in production for the others goes back from nothing.
    return change.action == "promote" or lost


def _after(before: StageChange | None, change: StageChange, number: int, numbers: Mapping[str, int]) -> StageChange:
    follows = {
        "number": number,
        "version": numbers.get(change.manifest_sha256, change.version),
        "previous": before.version if before else None,
        "previous_sha256": before.manifest_sha256 if before else None,
        # The history tells what was live when: a change is never before the one that it follows on.
        "at": max(change.at, before.at) if before else change.at,
    }
    return change.model_copy(update=follows)


def _line(change: StageChange, before: StageChange, numbers: Mapping[str, int]) -> str:
    name = version_name(numbers.get(change.manifest_sha256, change.version))
    if change.action == "rollback":
        return (
            f"the rollback to {name} (by {change.actor}) is void: {version_name(before.version)} had taken over "
            f"production on another machine (by {before.actor})"
        )
    return (
        f"{name} is not in production: {version_name(before.version)} had taken over on another machine (by "
        f"{before.actor}), and {name} was not judged against it; `graft adapt --publish` judges again"
    )
