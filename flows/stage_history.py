"""What was in production, since when and by whose hand: reading history.jsonl."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from itertools import zip_longest
from pathlib import Path

from flows.journal import HISTORY, Journal
from flows.records import PROD, StageChange
from tasks.errors import UserError


def stage_history(root: Path) -> list[StageChange]:
    """Every change of what is in production, the oldest first.

    Raises:
        WorkspaceError, StageInputError: the state cannot be read.
    """
    return [change for change in Journal(root, HISTORY, StageChange).read() if change.stage == PROD]


def to_fall_back_to(changes: Sequence[StageChange]) -> list[StageChange]:
    """What a rollback may go to, the nearest first: each release once, never the present one.

    A promotion stands on what was there before, and a rollback takes away what stood above its target: what was rolled
    back from is not gone back to unasked, until it is promoted again.
    """
    standing: list[StageChange] = []
    left: set[str] = set()
    for change in changes:
        left.discard(change.manifest_sha256)
        if change.action == "rollback":
            places = [place for place, one in enumerate(standing) if one.manifest_sha256 == change.manifest_sha256]
            above = places[-1] if places else max(len(standing) - 1, 0)
            left |= {one.manifest_sha256 for one in standing[above:]} - {change.manifest_sha256}
            standing = standing[:above]
        standing.append(change)
    nearest: dict[str, StageChange] = {}
    for change in reversed(standing):
        nearest.setdefault(change.manifest_sha256, change)
    return [change for digest, change in list(nearest.items())[1:] if digest not in left]


def live_at(changes: Sequence[StageChange], moment: datetime) -> StageChange | None:
    """What was in production at a moment (with time zone); None: nothing yet."""
    until = [change for change in changes if change_time(change) <= moment]
    return until[-1] if until else None


def change_time(change: StageChange) -> datetime:
    """When it was made, with time zone UTC."""
    return datetime.fromisoformat(change.at)


def spans(changes: Sequence[StageChange], manifest_sha256: str) -> list[tuple[str, str | None]]:
    """(from, to) of each time that a release was in production; `to` is None while it is."""
    ends = [change.at for change in changes[1:]]
    return [
        (change.at, end)
        for change, end in zip_longest(changes, ends, fillvalue=None)
        if change and change.manifest_sha256 == manifest_sha256
    ]


def parse_moment(text: str) -> datetime:
    """A moment as a person writes it: a date means the end of that day, and no time zone means UTC.

    >>> parse_moment("2026-11-21").isoformat(), parse_moment("2026-11-21T10:00+02:00").isoformat()
    ('2026-11-21T23:59:59+00:00', '2026-11-21T08:00:00+00:00')

    Raises:
        UserError: it is no date.
    """
    given = text.strip()
    try:
        return datetime.combine(date.fromisoformat(given), time(23, 59, 59), UTC)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(given)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as err:
        raise UserError(
            f"--at {text!r} is no date: write 2026-11-21 (the end of that day, UTC), 2026-11-21T14:30 (UTC) or "
            "2026-11-21T14:30+01:00"
        ) from err
