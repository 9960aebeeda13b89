"""Which releases of a store somebody may be served by or fall back to, and which are only old."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from flows.holdings import Holding, holding
from flows.state import StateRef, in_git
from flows.store import INCOMING, LEAVING, releases_of
from tasks.errors import GraftError
from tasks.release import MANIFEST, manifest_sha256
from tasks.workspace import Workspace

HISTORY = ("history.jsonl", "history.json")
NEWEST = 2
_DIGEST = re.compile("[0-9a-f]{64}")


def stored_releases(workspace: Workspace, store: Path) -> list[Holding]:
    """Every release of the store, and what interrupted copies and removals left in it."""
    live = reasons_to_stay(workspace, store)
    pieces = [holding("release", folder.name, [folder], keep=live.get(folder.name)) for folder in releases_of(store)]
    halves = [path for mark in (INCOMING, LEAVING) for path in sorted(store.glob(f"{mark}*"))]
    return pieces + [
        holding("leftover", path.name, [path], garbage="a copy or a removal was interrupted") for path in halves
    ]


def reasons_to_stay(workspace: Workspace, store: Path) -> dict[str, str]:
    """Why each release that must stay does, by digest: live, before a live one, standing, or among the newest two.

    All of them, where git cannot tell which was live before.
    """
    present = [folder.name for folder in releases_of(store)]
    reasons = dict.fromkeys(present[-NEWEST:], f"one of the newest {NEWEST}")
    try:
        history = [digest for digest in _history(workspace) if digest in present]
    except GraftError as err:
        return dict.fromkeys(present, f"which release was live before cannot be told: {' '.join(str(err).split())}")
    for pointer, digest in pointers(store):
        # By date where history does not know the release, or nothing before it.
        before = _before(history, digest) or _before(present, digest)
        if before:
            reasons[before] = f"the one before what {pointer} names, to fall back to"
    with suppress(GraftError, OSError):
        if (workspace.release / MANIFEST).is_file():
            reasons[manifest_sha256(workspace.release)] = "this workspace's standing release"
    return reasons | {digest: f"{pointer} names it" for pointer, digest in pointers(store)}


def pointers(store: Path) -> Iterator[tuple[str, str]]:
    """(name, digest) of every file or link in the store that names a release, such as `prod`; whatever its form."""
    for path in sorted(store.iterdir()) if store.is_dir() else []:
        if path.name.startswith(".") or _DIGEST.fullmatch(path.name):
            continue
        with suppress(OSError):
            text = str(path.readlink()) if path.is_symlink() else path.read_text(errors="replace")[:65536]
            yield from ((path.name, digest) for digest in _DIGEST.findall(text))


def _before(order: list[str], digest: str) -> str | None:
    """The release that was current before `digest` last became so, if there was one."""
    if digest not in order:
        return None
    last = len(order) - 1 - order[::-1].index(digest)
    return next((earlier for earlier in reversed(order[:last]) if earlier != digest), None)


def _history(workspace: Workspace) -> list[str]:
    """Digests in the order in which they became current, as far as refs/graft/state tells.

    Raises:
        WorkspaceError: there is a checkout, and git cannot read it.
    """
    if not in_git(workspace.root):
        return []
    state = StateRef(workspace.root)
    texts = [data.decode(errors="replace") for name in HISTORY if (data := state.read(name))]
    return [digest for text in texts for digest in _DIGEST.findall(text)]
