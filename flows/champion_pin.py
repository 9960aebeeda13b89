"""Which releases a run's model is compared with: read before the first stage, and copied to where `evaluate` runs them.

The champion is what `prod` names. `best` is the most accurate promoted version (`flows.best_version`) that the store
still holds and whose items share this split memory: the memory knows at least one of its test items, and none of what
it learned from is a test item now. It keeps a line of small losses, each within the margin, from walking downhill.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from flows.best_version import most_accurate
from flows.inputs import memory_path
from flows.prod_pointer import read_prod
from flows.records import VersionRecord
from flows.release_items import items_path
from flows.settled_pointer import settle_pointer
from flows.stage_history import stage_history
from flows.state import REF, StateRef
from flows.store import stored_release, sync_folder
from tasks.digests import bytes_sha256
from tasks.errors import GraftError, ReleaseError, StageFailed, StageInputError
from tasks.params import Params
from tasks.release import MANIFEST, QUALIFICATION, SIGNATURE, manifest_sha256, verify_release
from tasks.reports import EvaluationReport, write_bytes
from tasks.reports.champion import ChampionPin, PinnedRelease
from tasks.tables import RELEASE_ITEMS, SPLIT_MEMORY, parse_table
from tasks.workspace import Workspace

INCOMING = ".incoming-"


class ProductionMoved(StageFailed):
    """Another release was promoted while the run worked; its verdict is about the one before."""


def champion_now(
    workspace: Workspace, params: Params, tell: Callable[[str], None], publishes: bool = False
) -> ChampionPin:
    """`wanted_pin`, after an interrupted change of production was completed.

    Args:
        tell: told of such a change.
        publishes: first take over what other machines published and promoted; a remote that does not answer is told.
    Raises:
        ReleaseError: as `wanted_pin`, or the run publishes and this store does not have what is in production.
    """
    if publishes:
        from flows.pushing import fetch_state

        if unknown := fetch_state(workspace, params):
            tell(unknown)
    for line in settle_pointer(workspace, workspace.store(params.publish.store)):
        tell(line)
    pin, changes = wanted_pin(workspace, params), stage_history(workspace.root) if publishes else []
    if changes and pin.champion is None:
        # Judged as the first one, it would be published without a comparison.
        _must_be_stored(workspace.store(params.publish.store), changes[-1].version, changes[-1].manifest_sha256)
    return pin


def wanted_pin(workspace: Workspace, params: Params) -> ChampionPin:
    """What a run that starts now has to be compared with.

    Raises:
        ReleaseError: the store lacks what `prod` names, or `prod` cannot be read.
        StageInputError: a record of the state cannot be read.
    """
    store = workspace.store(params.publish.store)
    prod = read_prod(store)
    if prod is None:
        return ChampionPin()
    _must_be_stored(store, prod.version, prod.manifest_sha256)
    champion = _pinned(StateRef(workspace.root), prod.version, prod.manifest_sha256)
    return ChampionPin(champion=champion, best=_best(workspace, params, champion))


def standing_pin(workspace: Workspace, wanted: ChampionPin) -> ChampionPin:
    """The pin to look ahead with: the one that stands, where production has just become this workspace's own release.

    A model is not judged against itself; what it was judged against before stays what its verdict rests on. Where a
    plan or a run of something else pinned production meanwhile, and that was taken back, the evaluation tells it.
    """
    try:
        own = manifest_sha256(workspace.release)
        if wanted.champion is None or wanted.champion.manifest_sha256 != own:
            return wanted
        stands = ChampionPin.read(workspace.champion_pin)
        named = stands.champion and stands.champion.manifest_sha256
        return _judged_with(workspace) if named == own else stands
    except (OSError, StageInputError):
        return wanted


def _judged_with(workspace: Workspace) -> ChampionPin:
    """What the evaluation that stands compared with.

    Raises:
        StageInputError: it cannot be read.
    """
    state, compared = StateRef(workspace.root), EvaluationReport.read(workspace.evaluation).comparisons
    pinned = {one.against: _pinned(state, one.version, one.manifest_sha256) for one in compared}
    return ChampionPin(champion=pinned.get("champion"), best=pinned.get("best"))


def check_champion(workspace: Workspace, params: Params) -> None:
    """Read `prod` again before an outward act.

    Raises:
        ProductionMoved: it names another release than the one this run's verdict is about.
    """
    pinned = ChampionPin.read(workspace.champion_pin).champion
    prod = read_prod(workspace.store(params.publish.store))
    if (pinned and pinned.manifest_sha256) == (prod and prod.manifest_sha256):
        return
    was = f"from v{pinned.version}" if pinned else "from nothing"
    now = f"to v{prod.version}" if prod else "to nothing"
    raise ProductionMoved(
        f"production changed {was} {now} while this run worked, so its verdict is about another champion; nothing was "
        "published; run again"
    )


def fetch_pinned(workspace: Workspace, params: Params, pin: ChampionPin) -> None:
    """Have verified copies of the pinned releases, and what they learned from, where `evaluate` reads them.

    Copies that are not named any more go. The caller holds the workspace's lock.

    Raises:
        ReleaseError: a release is damaged or gone from the store; nothing was computed.
    """
    named = [release for release in (pin.champion, pin.best) if release]
    _remove_others(workspace, named)
    for release in named:
        _copy(workspace, workspace.store(params.publish.store), release)


def _must_be_stored(store: Path, version: int, digest: str) -> None:
    if not (stored_release(store, digest) / MANIFEST).is_file():
        raise ReleaseError(
            f"production is v{version} (release {digest[:12]}), which {store} does not hold; copy its folder {digest} "
            "there (from a backup or another machine), set publish.store to the store that holds it, or go back to a "
            "version that is there (`graft rollback`)"
        )


def _pinned(state: StateRef, version: int, digest: str) -> PinnedRelease:
    items = state.read(items_path(digest))
    return PinnedRelease(
        version=version, manifest_sha256=digest, items_sha256=None if items is None else bytes_sha256(items)
    )


def _best(workspace: Workspace, params: Params, champion: PinnedRelease) -> PinnedRelease | None:
    """The most accurate version that was ever promoted, where it is another one than the champion."""
    store, state = workspace.store(params.publish.store), StateRef(workspace.root)

    def serves(version: VersionRecord) -> bool:
        digest = version.manifest_sha256
        return (stored_release(store, digest) / MANIFEST).is_file() and _shares_memory(state, params, digest)

    best = most_accurate(workspace.root, champion.manifest_sha256, serves)
    if best is None or best.manifest_sha256 == champion.manifest_sha256:
        return None
    return _pinned(state, best.version, best.manifest_sha256)


def _shares_memory(state: StateRef, params: Params, digest: str) -> bool:
    """Whether a release was tested on items that are test items still, and learned from none of them."""
    import pyarrow.compute as pc

    items, memory = state.read(items_path(digest)), state.read(memory_path(params))
    if items is None or memory is None:
        return False
    known = parse_table(memory, SPLIT_MEMORY, f"{REF}:{memory_path(params)}")
    rows = parse_table(items, RELEASE_ITEMS, f"{REF}:{items_path(digest)}")
    test = known.filter(pc.equal(known["side"], "test"))["sha256"].to_pylist()
    contents = pa.array([bytes.fromhex(sha256) for sha256 in test], pa.binary(32))
    sides = set(rows.filter(pc.is_in(rows["sha256"], value_set=contents))["side"].to_pylist())
    return sides == {"test"}


def _copy(workspace: Workspace, store: Path, release: PinnedRelease) -> None:
    digest = release.manifest_sha256
    target, stored = workspace.pinned_release(digest), stored_release(store, digest)
    _copy_items(workspace, release)
    if _is_whole(target):
        return
    shutil.rmtree(target, ignore_errors=True)
    incoming = target.with_name(f"{INCOMING}{uuid.uuid4().hex}")
    try:
        shutil.copytree(stored, incoming, ignore=shutil.ignore_patterns(SIGNATURE))
        verify_release(incoming, beside=(QUALIFICATION,))
        if manifest_sha256(incoming) != digest:
            raise ReleaseError("its manifest.json is another one than its folder's name says")
        incoming.rename(target)
        sync_folder(target.parent)
    except GraftError as err:
        raise ReleaseError(
            f"v{release.version} cannot be compared with: {err}; put {stored} back from a backup, or promote another "
            "version (`graft history` lists them); nothing was computed"
        ) from err
    except OSError as err:
        raise ReleaseError(
            f"v{release.version} cannot be compared with: {stored} cannot be copied to {target.parent} ({err}); free "
            "the disk or make both readable and writable, then run again; nothing was computed"
        ) from err
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _copy_items(workspace: Workspace, release: PinnedRelease) -> None:
    """The table of what a release learned from, as the pin says; none where it is not on record."""
    file = workspace.pinned_items(release.manifest_sha256)
    if release.items_sha256 is None:
        file.unlink(missing_ok=True)
        return
    items = StateRef(workspace.root).read(items_path(release.manifest_sha256)) or b""
    if bytes_sha256(items) != release.items_sha256:
        raise ReleaseError(f"{REF}:{items_path(release.manifest_sha256)} changed while the run started; run again")
    if not file.is_file() or file.read_bytes() != items:
        write_bytes(file, items)


def _is_whole(copy: Path) -> bool:
    try:
        verify_release(copy, beside=(QUALIFICATION,))
        return manifest_sha256(copy) == copy.name
    except (GraftError, OSError):
        return False


def _remove_others(workspace: Workspace, named: list[PinnedRelease]) -> None:
    digests = [release.manifest_sha256 for release in named]
    kept = {place for digest in digests for place in (digest, workspace.pinned_items(digest).name)}
    folder = workspace.pinned_release("").resolve()
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
