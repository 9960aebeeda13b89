"""The release in the shadow of production: the store's file `shadow`, and who put it there."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from flows.actor import one_line
from flows.journal import SHADOWS, Journal
from flows.prod_pointer import read_prod
from flows.records import SHADOW, ShadowChange, now_text
from flows.served_release import check_servable
from flows.signing import configured_trust
from flows.store import store_lock, sync_folder
from flows.text_lines import time_text
from flows.versions import among, version_name, versions
from tasks.errors import ReleaseError, StageInputError, UserError
from tasks.params import Params
from tasks.reports.document import Report, write_bytes
from tasks.reports.prod_pointer import ProdPointer
from tasks.workspace import Workspace


class ShadowMove(Report):
    """`--json` of `graft shadow`: the change that the shadow stands at.

    Attributes:
        moved: false where it stood there already, or was only asked for.
        change: null where there never was a shadow.
    """

    moved: bool
    change: ShadowChange | None


def read_shadow(store: Path) -> ProdPointer | None:
    """What the servers of this store have in the shadow; None: nothing.

    Raises:
        ReleaseError: the file cannot be read as a pointer.
    """
    path = store / SHADOW
    if not os.path.lexists(path):
        return None
    try:
        return ProdPointer.read(path)
    except StageInputError as err:
        raise ReleaseError(f"{err}; `graft shadow --off` takes it away, `graft shadow VERSION` writes it anew") from err


def shadow_history(root: Path) -> list[ShadowChange]:
    """Every change of the shadow, the oldest first.

    Raises:
        WorkspaceError, StageInputError: the state cannot be read.
    """
    return Journal(root, SHADOWS, ShadowChange).read()


def present_shadow(workspace: Workspace, params: Params) -> ShadowMove:
    """What is in the shadow now.

    Raises:
        ReleaseError: the pointer cannot be read.
    """
    pointer, changes = read_shadow(workspace.store(params.publish.store)), shadow_history(workspace.root)
    shown = pointer.manifest_sha256 if pointer else None
    known = [change for change in changes if change.manifest_sha256 == shown]
    if pointer and not known:
        raise ReleaseError(
            f"{workspace.store(params.publish.store) / SHADOW} shows {version_name(pointer.version)} "
            f"({pointer.manifest_sha256[:12]}), which another checkout put there; `graft shadow VERSION` or "
            "`graft shadow --off` decides anew"
        )
    return ShadowMove(moved=False, change=known[-1] if known else None)


def put_in_shadow(workspace: Workspace, params: Params, version: str, reason: str, actor: str) -> ShadowMove:
    """Let a published version see a share of what production answers. Any version that may be served is fit for it.

    Raises:
        UserError: there is no such version, it is in production itself, or there is no reason.
        ReleaseError: the release is gone, damaged or answers otherwise than at its export, or the store is not
            writable.
    """
    store, wanted = workspace.store(params.publish.store), among(versions(workspace.root), version)
    said, by = one_line(reason, "--reason"), one_line(actor, "--who")
    prod = read_prod(store)
    if prod and prod.manifest_sha256 == wanted.manifest_sha256:
        raise UserError(f"{version_name(wanted.version)} is in production: there is nothing to compare it with")
    check_servable(store, wanted.manifest_sha256, configured_trust(workspace, params))
    return _moved(workspace.root, store, _Wish(wanted.version, wanted.manifest_sha256, by, said))


def end_shadow(workspace: Workspace, params: Params, reason: str | None, actor: str) -> ShadowMove:
    """Have no shadow any more.

    Raises:
        UserError: `reason` is given and empty.
        ReleaseError: the store is not writable.
    """
    said = one_line(reason, "--reason") if reason is not None else ""
    wish = _Wish(None, None, one_line(actor, "--who"), said)
    return _moved(workspace.root, workspace.store(params.publish.store), wish)


def shadow_text(move: ShadowMove) -> str:
    """What is, or became of, the shadow, for a person."""
    change = move.change
    if change is None or change.version is None:
        return "there is no shadow any more" if move.moved else "there is no shadow"
    name = version_name(change.version)
    if move.moved:
        return f"{name} is in the shadow of production (by {change.actor}); servers follow within serve.watch_seconds"
    return f"{name} is in the shadow of production since {time_text(change.at)} (by {change.actor}: {change.reason})"


@dataclass(frozen=True)
class _Wish:
    """What somebody wants in the shadow; null: nothing."""

    version: int | None
    manifest_sha256: str | None
    actor: str
    reason: str


def _moved(root: Path, store: Path, wish: _Wish) -> ShadowMove:
    """Enter a change and have the pointer show it; one that was entered and is not shown yet is shown now."""
    last: list[ShadowChange] = []

    def decide(changes: list[ShadowChange]) -> ShadowChange | None:
        last[:] = changes[-1:]
        if (last[0].manifest_sha256 if last else None) == wish.manifest_sha256:
            return None
        return ShadowChange(number=len(changes) + 1, **asdict(wish), at=now_text())

    try:
        with store_lock(store):
            change = Journal(root, SHADOWS, ShadowChange).append(decide, _message)
            standing = change or (last[0] if last else None)
            shown = _show(store, standing)
    except OSError as err:
        raise ReleaseError(f"{store / SHADOW} cannot be replaced: {err}; run the command again") from err
    return ShadowMove(moved=change is not None or shown, change=standing)


def _show(store: Path, standing: ShadowChange | None) -> bool:
    """Have the pointer show what stands; False where it did so already."""
    file = store / SHADOW
    if standing is None or standing.version is None or standing.manifest_sha256 is None:
        if not os.path.lexists(file):
            return False
        file.unlink()
    else:
        pointer = ProdPointer(
            number=standing.number, version=standing.version, manifest_sha256=standing.manifest_sha256
        )
        content = pointer.to_json().encode()
        if file.is_file() and file.read_bytes() == content:
            return False
        write_bytes(file, content)
    sync_folder(store)
    return True


def _message(change: ShadowChange) -> str:
    done = "Have no shadow" if change.version is None else f"Put {version_name(change.version)} in the shadow"
    return f"{done}: {change.reason}" if change.reason else done
