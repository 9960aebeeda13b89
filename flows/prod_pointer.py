"""The file `prod` in the release store, and how it stands to the history."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from flows.records import PROD, StageChange
from flows.store import sync_folder
from tasks.errors import ReleaseError, StageInputError
from tasks.reports.document import write_bytes
from tasks.reports.prod_pointer import ProdPointer

Standing = Literal["in step", "behind", "renumbered", "foreign"]


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


def standing_of(
    pointer: ProdPointer | None, changes: Sequence[StageChange], superseded: Sequence[StageChange] = ()
) -> Standing:
    """How the pointer stands to the history.

    Args:
        superseded: lines that are in the history no more, or under another number.
    """
    last = changes[-1] if changes else None
    if pointer is None or last is None:
        return "in step" if pointer is None and last is None else "behind" if pointer is None else "foreign"
    if pointer.manifest_sha256 == last.manifest_sha256:
        return "in step" if pointer.number == last.number else "renumbered"
    shown = {(change.number, change.manifest_sha256) for change in (*changes, *superseded)}
    return "behind" if (pointer.number, pointer.manifest_sha256) in shown else "foreign"
