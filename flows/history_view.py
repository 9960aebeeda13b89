"""The history of production as people and programs read it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from flows.records import StageChange, VersionRecord, now_text
from flows.stage_history import live_at
from flows.text_lines import hanging, time_text
from flows.versions import NOTHING_PUBLISHED, version_name
from tasks.reports.document import Report


class HistoryView(Report):
    """`graft history --json`.

    Attributes:
        at: the moment that was asked about, UTC; null: now.
        live: the change that production stood at then; null: nothing was in production.
        changes: every change until then, the oldest first.
        versions: every published version, whenever it was published.
        notes: what is to be told of pointer and history, such as a change that was interrupted.
    """

    at: str | None
    live: StageChange | None
    changes: list[StageChange]
    versions: list[VersionRecord]
    notes: list[str]


def history_view(
    changes: Sequence[StageChange],
    versions: Sequence[VersionRecord],
    notes: Sequence[str],
    moment: datetime | None = None,
) -> HistoryView:
    """The history until a moment (with time zone); None: until now."""
    live = (changes[-1] if changes else None) if moment is None else live_at(changes, moment)
    until = changes if moment is None else [change for change in changes if live and change.number <= live.number]
    return HistoryView(
        at=None if moment is None else f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        live=live,
        changes=list(until),
        versions=list(versions),
        notes=list(notes),
    )


def history_text(view: HistoryView) -> str:
    """Every change on a line of its own, what is live, and what waits."""
    if not view.versions and not view.changes and view.at is None:
        return NOTHING_PUBLISHED
    lines = [*change_lines(view.changes), live_line(view)]
    ever = {change.manifest_sha256 for change in view.changes}
    waiting = [one for one in view.versions if one.manifest_sha256 not in ever]
    if waiting and view.at is None:
        names = ", ".join(f"{version_name(one.version)} ({one.outcome})" for one in waiting)
        lines += hanging("never in production: ", names)
    if waiting and view.at is None and view.live is None:
        lines.append(
            "`graft show VERSION` tells about one; `graft promote VERSION --reason TEXT` puts it into production"
        )
    return "\n".join(lines)


def live_line(view: HistoryView, now: str | None = None) -> str:
    """What is, or was, in production.

    Args:
        now: the present time as records hold it; default: the clock's.
    """
    ahead = view.at is not None and view.at > (now or now_text())
    was = "was" if view.at and not ahead else "is"
    then = f" at {time_text(view.at)}" if view.at and not ahead else ""
    yet = f" ({time_text(view.at)} is yet to come)" if view.at and ahead else ""
    if view.live is None:
        return f"nothing {was} in production{then}{yet}"
    forced = ", promoted by force" if view.live.forced else ""
    return f"{version_name(view.live.version)} {was} in production{then}, since {time_text(view.live.at)}{forced}{yet}"


def change_lines(changes: Sequence[StageChange]) -> list[str]:
    """A table of the changes, at most 100 columns wide."""
    rows = [("", "time (UTC)", "version", "action")]
    rows += [
        (
            str(change.number),
            change.at.replace("T", " ").removesuffix("Z"),
            version_name(change.version),
            "promote (forced)" if change.forced else change.action,
        )
        for change in changes
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    heads = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + "  " for row in rows]
    texts = ["by: reason", *(f"{change.actor}: {change.reason}" for change in changes)]
    return [line for head, text in zip(heads, texts, strict=True) for line in hanging(head, text)] if changes else []
