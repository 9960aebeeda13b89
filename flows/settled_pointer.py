"""That `prod` shows what the history says: changes that were interrupted, and those that came from other machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.journal import SUPERSEDED, Journal
from flows.prod_pointer import Standing, read_prod, standing_of, write_prod
from flows.records import PROD, StageChange
from flows.remote_registry import remote_knows
from flows.served_release import check_servable
from flows.stage_history import stage_history
from flows.stage_news import tell_change
from flows.store import store_lock, stored_release
from flows.versions import version_name
from tasks.errors import GraftError, ReleaseError, WorkspaceError
from tasks.params import load_params
from tasks.release import MANIFEST
from tasks.reports.prod_pointer import ProdPointer
from tasks.stage import say
from tasks.workspace import Workspace


class ForeignPointer(WorkspaceError):
    """`prod` shows a change that this checkout's history does not know."""


@dataclass(frozen=True)
class Settled:
    """What had to be settled between pointer and history: a line about it, and the change that was completed."""

    line: str
    completed: StageChange | None = None


def settle_pointer(workspace: Workspace, store: Path, ask: bool = True) -> list[str]:
    """Finish a change of production that was interrupted between history and pointer, or came from another machine.

    Args:
        ask: the remote, for what this history does not know.
    Returns:
        what is to be told of it, one line or none; that pointer and history belong to different checkouts, or that the
        pointer cannot be written, is told here, and left as it is.
    Raises:
        ReleaseError: the pointer cannot be read.
        WorkspaceError, StageInputError: the history cannot be read.
    """
    try:
        return settle_or_refuse(workspace, store) if ask else settle_here(workspace.root, store)
    except ForeignPointer as err:
        return [str(err)]
    except OSError as err:
        return [f"{store / PROD} shows an earlier change than the history, and cannot be written: {err}"]


def settle_or_refuse(workspace: Workspace, store: Path) -> list[str]:
    """As `settle_pointer`, for who goes on to change production. What this history does not know is looked for at the
    remote once: another checkout that shares the store may have told it.

    Raises:
        ForeignPointer: the pointer shows what the history does not know.
        OSError: the pointer cannot be written.
    """
    try:
        return settle_here(workspace.root, store)
    except ForeignPointer:
        _ask_remote(workspace)
    return settle_here(workspace.root, store)


def settle_here(root: Path, store: Path) -> list[str]:
    """As `settle_or_refuse`, by what is known here."""
    if _standing(root, read_prod(store), stage_history(root)) == "in step":
        return []
    with store_lock(store):
        settled = settle_locked(root, store)
    if settled and settled.completed:
        tell_change(root, settled.completed)
    return [settled.line] if settled else []


def settle_locked(root: Path, store: Path) -> Settled | None:
    """As `settle_here`, for a caller that holds the store's lock, and tells others of a change when it let go.

    Raises:
        ForeignPointer: the pointer shows what the history does not know.
        ReleaseError, WorkspaceError, StageInputError: as `settle_pointer`.
    """
    pointer, changes = read_prod(store), stage_history(root)
    standing = _standing(root, pointer, changes)
    if standing == "in step":
        return None
    if standing == "foreign":
        raise ForeignPointer(_foreign(store, pointer, changes))
    last = changes[-1]
    if standing == "renumbered":
        write_prod(store, last)
        return None
    said = f"{version_name(last.version)} (change {last.number}, by {last.actor})"
    if not (stored_release(store, last.manifest_sha256) / MANIFEST).is_file():
        return Settled(
            f"the history says that {said} is in production, and its release is not in {store}; {PROD} there stays as "
            f"it is: bring {last.manifest_sha256[:12]} into the store, or `graft rollback` to one that is"
        )
    return _followed(store, last, said) if remote_knows(root, last) else _completed(store, last, said)


def _completed(store: Path, last: StageChange, said: str) -> Settled:
    """A change that died here: its release was checked before, and nobody was told yet."""
    write_prod(store, last)
    return Settled(f"completed an interrupted change: {said} is in production now", last)


def _followed(store: Path, last: StageChange, said: str) -> Settled:
    """A change that another machine made and told of, on its own copy of the release."""
    try:
        check_servable(store, last.manifest_sha256)
    except ReleaseError as err:
        return Settled(
            f"the history says that {said} is in production, and its release here does not hold: {err}; "
            f"{store / PROD} stays as it is; put the release right, or `graft rollback` to one that holds"
        )
    write_prod(store, last)
    return Settled(f"followed the registry: {said} is in production now")


def _standing(root: Path, pointer: ProdPointer | None, changes: Sequence[StageChange]) -> Standing:
    standing = standing_of(pointer, changes)
    if standing != "foreign":
        return standing
    return standing_of(pointer, changes, Journal(root, SUPERSEDED, StageChange).read())


def _ask_remote(workspace: Workspace) -> None:
    try:
        from flows.pushing import fetch_state

        if unknown := fetch_state(workspace, load_params(workspace.params)):
            say(unknown, "warning")
    except (GraftError, OSError, ImportError) as err:  # Of what it imports a rollback needs nothing.
        say(f"what other machines published is not known: {err}", "warning")


def _foreign(store: Path, pointer: ProdPointer | None, changes: Sequence[StageChange]) -> str:
    shown = f"change {pointer.number} ({version_name(pointer.version)})" if pointer else "nothing"
    known = f"ends at change {changes[-1].number}" if changes else "is empty"
    return (
        f"{store / PROD} shows {shown}, which this checkout's history does not know (it {known}): another checkout "
        "that shares the store made it and has not pushed it (`graft push` there; the next command here follows), or "
        f"the store belongs to another registry; to begin a history of its own here, move {store / PROD} away"
    )
