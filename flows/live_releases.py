"""Which releases of a store somebody may be served by or fall back to, and which are only old."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from flows.holdings import Holding, holding
from flows.records import PROD, SHADOW, StageChange
from flows.stage_history import stage_history, to_fall_back_to
from flows.state import in_git
from flows.store import INCOMING, LEAVING, releases_of
from flows.versions import versions
from tasks.errors import GraftError, ParamsError, ReleaseError
from tasks.params import load_params
from tasks.release import MANIFEST, manifest_sha256
from tasks.workspace import Workspace

NEWEST = 2
_DIGEST = re.compile("[0-9a-f]{64}")


def stored_releases(workspace: Workspace, store: Path) -> list[Holding]:
    """Every release of the store, and what interrupted copies and removals left in it."""
    live = reasons_to_stay(workspace, store)
    pieces = [holding("release", folder.name, [folder], keep=live.get(folder.name)) for folder in releases_of(store)]
    marks = (f"{INCOMING}*", f"{LEAVING}*", f".{PROD}.*.tmp", f".{SHADOW}.*.tmp")
    halves = [path for mark in marks for path in sorted(store.glob(mark))]
    return pieces + [
        holding("leftover", path.name, [path], garbage="what wrote or removed it was interrupted") for path in halves
    ]


def reasons_to_stay(workspace: Workspace, store: Path) -> dict[str, str]:
    """Why each release that must stay does, by digest: live, before a live one, the best so far, waiting for a
    promotion over a live one, standing, or among the newest two.

    All of them, where git cannot tell which was live before.
    """
    present = [folder.name for folder in releases_of(store)]
    reasons = dict.fromkeys(present[-NEWEST:], f"one of the newest {NEWEST}")
    try:
        history = stage_history(workspace.root) if in_git(workspace.root) else []
        known = versions(workspace.root) if in_git(workspace.root) else []
        best = _best(workspace, store, present)
    except GraftError as err:
        return dict.fromkeys(present, f"which release was live before cannot be told: {' '.join(str(err).split())}")
    once = {change.manifest_sha256 for change in history}
    live = {digest for _, digest in _followed(store)} | {change.manifest_sha256 for change in history[-1:]}
    for version in known:
        judged_now = version.champion in live if live else version.champion is None
        fit = version.promotable or version.outcome == "equivalent"
        if judged_now and fit and version.manifest_sha256 not in once:
            reasons[version.manifest_sha256] = "its verdict is about what is live: it can be promoted"
    reasons |= dict.fromkeys(best, "the most accurate version that was in production: runs are compared with it")
    for pointer, digest in _followed(store):
        # By date where history does not know the release, or nothing before it.
        before = _fallback(history, digest, present) or _before(present, digest)
        if before:
            reasons[before] = f"the one before what {pointer} names, to fall back to"
    if history:
        reasons[history[-1].manifest_sha256] = "the history of production ends with it"
    with suppress(GraftError, OSError):
        if (workspace.release / MANIFEST).is_file():
            reasons[manifest_sha256(workspace.release)] = "this workspace's standing release"
    return reasons | {digest: f"{pointer} names it" for pointer, digest in pointers(store)}


def _best(workspace: Workspace, store: Path, present: Sequence[str]) -> set[str]:
    """What a run that starts now is held against beside the champion, and the best of any split."""
    from flows.best_version import most_accurate
    from flows.champion_pin import wanted_pin

    found = set()
    if in_git(workspace.root):
        for _, digest in _followed(store):
            best = most_accurate(workspace.root, digest, lambda one: one.manifest_sha256 in present)
            found |= {best.manifest_sha256} if best else set()
        with suppress(ReleaseError, ParamsError):  # Of a pointer or params that are to be mended before any run.
            pin = wanted_pin(workspace, load_params(workspace.params))
            found |= {pin.best.manifest_sha256} if pin.best else set()
    return found


def pointers(store: Path) -> Iterator[tuple[str, str]]:
    """(name, digest) of every file or link in the store that names a release, such as `prod`; whatever its form."""
    for path in sorted(store.iterdir()) if store.is_dir() else []:
        if path.name.startswith(".") or _DIGEST.fullmatch(path.name):
            continue
        with suppress(OSError):
            text = str(path.readlink()) if path.is_symlink() else path.read_text(errors="replace")[:65536]
            yield from ((path.name, digest) for digest in _DIGEST.findall(text))


def _followed(store: Path) -> list[tuple[str, str]]:
    """Those that clients are answered by: nobody falls back from a shadow, and no verdict is about one."""
    return [(pointer, digest) for pointer, digest in pointers(store) if pointer != SHADOW]


def _fallback(history: Sequence[StageChange], digest: str, present: Sequence[str]) -> str | None:
    """What a rollback from `digest` would go to, among the releases that are there."""
    until = max((change.number for change in history if change.manifest_sha256 == digest), default=0)
    earlier = to_fall_back_to([change for change in history if change.number <= until])
    return next((change.manifest_sha256 for change in earlier if change.manifest_sha256 in present), None)


def _before(order: Sequence[str], digest: str) -> str | None:
    """The release that is next older than `digest`, if there is one."""
    place = order.index(digest) if digest in order else 0
    return order[place - 1] if place else None
