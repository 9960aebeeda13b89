"""Removal of what a collection judged, each piece under the lock of those who use it, and only if that still holds."""

from __future__ import annotations

import fcntl
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from flows.dvc_garbage import remove_unused
from flows.holdings import Holding, discard
from flows.live_releases import reasons_to_stay
from flows.run_claims import claims_guard, living_runs
from flows.run_holdings import remove_branch, remove_raw_copy, remove_run_workspace
from flows.store import store_lock
from tasks.errors import WorkspaceError
from tasks.params import load_params
from tasks.training.activation_folders import unused
from tasks.workspace import Workspace

CACHE_LOCK = ".gc.lock"
OF_EVERY_RUN = frozenset(
    {"backbone graph", "feature rows", "decoded images", "kept activations", "DVC objects", "checkpoint", "raw data"}
)
"""What runs in worktrees have in common with the checkout."""


def sweep(workspace: Workspace, going: Sequence[Holding], keep_runs: int, living: Collection[str]) -> list[Holding]:
    """Remove; returns what was spared, because it came into use meanwhile. No run in a worktree begins in that time.

    Args:
        living: runs that lived when it was judged; for a run that began since then, all that runs share is spared.
    Raises:
        WorkspaceError: a piece cannot be deleted; it is named.
    """
    store = workspace.store(load_params(workspace.params).publish.store)
    with claims_guard(workspace.root):
        began = living_runs(workspace.root) - set(living)
        spared = [piece for piece in going if began and piece.kind in OF_EVERY_RUN]
        rest = [piece for piece in going if piece not in spared]
        stored = [piece for piece in rest if piece.paths and piece.paths[0].parent == store]
        in_cache = [piece for piece in rest if piece.paths and piece.paths[0].is_relative_to(workspace.cache)]
        for piece in rest:
            if piece not in stored and piece not in in_cache and not _remove(workspace, piece, keep_runs):
                spared.append(piece)
        with _nobody_else_collects(workspace.cache) as alone:
            spared += [piece for piece in in_cache if not (alone and _remove_cached(piece))]
    return spared + _sweep_store(workspace, store, stored)


def _remove(workspace: Workspace, piece: Holding, keep_runs: int) -> bool:
    """False: it has to stay by now."""
    if piece.kind == "DVC objects":
        return remove_unused(workspace)
    if piece.kind == "run workspace":
        return remove_run_workspace(workspace, piece.name)
    if piece.kind == "run branch":
        return remove_branch(workspace, piece.name, keep_runs)
    if piece.kind == "raw data":
        return remove_raw_copy(workspace, piece.name)
    _discard_all(piece)
    return True


def _remove_cached(piece: Holding) -> bool:
    """False: a training has begun to use it."""
    with unused(piece.paths[0]) if piece.kind == "kept activations" else nullcontext(True) as free:
        if free:
            _discard_all(piece)
    return free


def _sweep_store(workspace: Workspace, store: Path, stored: Sequence[Holding]) -> list[Holding]:
    """Under the store's lock, and only what is not live by then."""
    if not stored:
        return []
    try:
        with store_lock(store, wait=False):
            live = reasons_to_stay(workspace, store)
            for piece in stored:
                if piece.name not in live:
                    _discard_all(piece)
            return [piece for piece in stored if piece.name in live]
    except BlockingIOError:
        return list(stored)


@contextmanager
def _nobody_else_collects(cache: Path) -> Iterator[bool]:
    """A shared cache is swept by one collection at a time."""
    if not cache.is_dir():
        yield True
        return
    with (cache / CACHE_LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _discard_all(piece: Holding) -> None:
    try:
        for path in piece.paths:
            discard(path)
    except OSError as err:
        raise WorkspaceError(f"{err.filename}: {err.strerror}; make it writable, then run `graft gc` again") from err
