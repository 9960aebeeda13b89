"""The pointer `prod` in the release store, and that it shows what the history says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flows.records import PROD, StageChange
from flows.stage_history import stage_history
from flows.stage_news import tell_change
from flows.store import store_lock, stored_release, sync_folder
from flows.versions import version_name
from tasks.errors import ReleaseError, StageInputError, WorkspaceError
from tasks.release import MANIFEST
from tasks.reports.document import write_bytes
from tasks.reports.prod_pointer import ProdPointer
from tasks.workspace import Workspace

Standing = Literal["in step", "behind", "renumbered", "foreign"]


class ForeignPointer(WorkspaceError):
    """`prod` shows a change that this checkout's history does not know."""


def read_prod(store: Path) -> ProdPointer | None:
    """What is in production; None: nothing was promoted in this store.

    Raises:
        ReleaseError: the file cannot be read as a pointer.
    """
    path = store / PROD
    if not os.path.lexists(path):
        return None
    try:
        return ProdPointer.read(path)
    except StageInputError as err:
        raise ReleaseError(f"{err}; move it away, and `graft history` writes it anew from the history") from err


def write_prod(store: Path, change: StageChange) -> None:
    """Have the pointer show a change. The caller holds the store's lock.

    Raises:
        OSError: the store cannot be written; the pointer shows then what it showed.
    """
    pointer = ProdPointer(number=change.number, version=change.version, manifest_sha256=change.manifest_sha256)
    write_bytes(store / PROD, pointer.to_json().encode())
    sync_folder(store)


def standing_of(pointer: ProdPointer | None, changes: Sequence[StageChange]) -> Standing:
    """How the pointer stands to the history."""
    last = changes[-1] if changes else None
    if pointer is None or last is None:
        return "in step" if pointer is None and last is None else "behind" if pointer is None else "foreign"
    if pointer.manifest_sha256 == last.manifest_sha256:
        return "in step" if pointer.number == last.number else "renumbered"
    shown = [change for change in changes if change.number == pointer.number]
    return "behind" if shown and shown[0].manifest_sha256 == pointer.manifest_sha256 else "foreign"


@dataclass(frozen=True)
class Settled:
    """What had to be settled between pointer and history: a line about it, and the change that was completed."""

    line: str
    completed: StageChange | None = None


def settle_pointer(workspace: Workspace, store: Path) -> list[str]:
    """Finish a change of production that was interrupted between history and pointer.

    Returns:
        what is to be told of it, one line or none; that pointer and history belong to different checkouts, or that the
        pointer cannot be written, is told here, and left as it is.
    Raises:
        ReleaseError: the pointer cannot be read.
        WorkspaceError, StageInputError: the history cannot be read.
    """
    try:
        return settle_or_refuse(workspace.root, store)
    except ForeignPointer as err:
        return [str(err)]
    except OSError as err:
        return [f"{store / PROD} shows an earlier change than the history, and cannot be written: {err}"]


def settle_or_refuse(root: Path, store: Path) -> list[str]:
    """As `settle_pointer`, for who goes on to change production.

    Raises:
        ForeignPointer: the pointer shows what the history does not know.
        OSError: the pointer cannot be written.
    """
    if standing_of(read_prod(store), stage_history(root)) == "in step":
        return []
    with store_lock(store):
        settled = settle_locked(root, store)
    if settled and settled.completed:
        tell_change(root, settled.completed)
    return [settled.line] if settled else []


def settle_locked(root: Path, store: Path) -> Settled | None:
    """As `settle_or_refuse`, for a caller that holds the store's lock, and tells others of a change when it let go.

    Raises:
        ForeignPointer: the pointer shows what the history does not know.
        ReleaseError, WorkspaceError, StageInputError: as `settle_or_refuse`.
    """
    pointer, changes = read_prod(store), stage_history(root)
    standing = standing_of(pointer, changes)
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
    write_prod(store, last)
    return Settled(f"completed an interrupted change: {said} is in production now", last)


def _foreign(store: Path, pointer: ProdPointer | None, changes: Sequence[StageChange]) -> str:
    shown = f"change {pointer.number} ({version_name(pointer.version)})" if pointer else "nothing"
    known = f"ends at change {changes[-1].number}" if changes else "is empty"
    return (
        f"{store / PROD} shows {shown}, which this checkout's history does not know (it {known}): the store belongs to "
        "another checkout, or its history was not fetched (`git fetch origin refs/graft/state:refs/graft/state`); "
        f"to begin a history of its own here, move {store / PROD} away"
    )
