"""One change of what is in production: history first, then the pointer; whoever reads sees before or after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flows.journal import HISTORY, Journal
from flows.prod_pointer import write_prod
from flows.records import PROD, Action, StageChange, now_text
from flows.settled_pointer import settle_locked
from flows.stage_news import tell_change
from flows.store import store_lock, stored_release
from flows.text_lines import time_text
from flows.versions import version_name
from tasks.errors import ReleaseError
from tasks.release import MANIFEST
from tasks.reports.document import Report
from tasks.stage import say

LOST = "it did not last: another machine had changed production first; `graft history` shows what is live"


@dataclass(frozen=True)
class Wish:
    """What somebody wants in production, and what is written down of it."""

    action: Action
    version: int
    manifest_sha256: str
    actor: str
    reason: str


class StageMove(Report):
    """`--json` of promote and rollback: the change that production stands at.

    `moved` is false where it stood there already.
    """

    moved: bool
    change: StageChange


def change_stage(root: Path, store: Path, wish: Wish, judge: Callable[[StageChange | None], bool]) -> StageMove:
    """Make a wish come true under the store's lock, so that there is one winner at a time.

    Args:
        judge: given what is in production, whether this is a forced change; raises where it may not be.
    Raises:
        what `judge` raises, with nothing changed.
        ReleaseError: the release is gone, or the store cannot be written.
        ForeignPointer: the store is not this history's.
    """
    last: list[StageChange] = []

    def decide(changes: list[StageChange]) -> StageChange | None:
        last[:] = [change for change in changes if change.stage == PROD][-1:]
        present = last[0] if last else None
        if present and present.manifest_sha256 == wish.manifest_sha256:
            return None
        return _entry(wish, present, len(changes) + 1, forced=judge(present))

    settled = change = None
    try:
        with store_lock(store):
            settled = settle_locked(root, store)
            if not (stored_release(store, wish.manifest_sha256) / MANIFEST).is_file():
                raise ReleaseError(f"release {wish.manifest_sha256[:12]} has left {store} meanwhile")
            change = Journal(root, HISTORY, StageChange).append(decide, _message)
            if change:
                write_prod(store, change)
    except OSError as err:
        raise ReleaseError(
            f"{store / PROD} cannot be replaced: {err}; the next command completes what was begun"
        ) from err
    finally:
        if settled:
            say(settled.line, "warning")
            if settled.completed:
                tell_change(root, settled.completed)
    if change is None:
        return StageMove(moved=False, change=last[0])
    tell_change(root, change)
    return StageMove(moved=True, change=change)


def move_text(move: StageMove) -> str:
    """What became of the wish, for a person."""
    change = move.change
    name = version_name(change.version)
    if not move.moved:
        return f"{name} is in production already, since {time_text(change.at)}; nothing to do"
    instead = f" in place of {version_name(change.previous)}" if change.previous is not None else ""
    forced = "; forced, and marked as such for ever" if change.forced else ""
    return f"{name} is in production{instead} (change {change.number}, by {change.actor}){forced}"


def _entry(wish: Wish, present: StageChange | None, number: int, forced: bool) -> StageChange:
    return StageChange(
        number=number,
        stage=PROD,
        action=wish.action,
        version=wish.version,
        manifest_sha256=wish.manifest_sha256,
        previous=present.version if present else None,
        previous_sha256=present.manifest_sha256 if present else None,
        forced=forced,
        actor=wish.actor,
        reason=wish.reason,
        at=now_text(),
    )


def _message(change: StageChange) -> str:
    done = "Promote" if change.action == "promote" else "Roll back to"
    return f"{done} {version_name(change.version)}{' by force' if change.forced else ''}: {change.reason}"
