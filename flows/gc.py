"""`graft gc`: give disk back without touching what is live, its predecessor or a running workspace."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

from flows.desk import new_run_id
from flows.dvc_garbage import dvc_holdings
from flows.holdings import Holding, cached, leftovers, runs
from flows.live_releases import stored_releases
from flows.run_claims import living_runs
from flows.run_holdings import run_holdings, runs_in_use
from flows.sweep import sweep
from flows.training_holdings import training_holdings
from flows.workspace_lock import check_free, workspace_lock
from tasks.errors import ParamsError, WorkspaceError, counted
from tasks.params import load_params
from tasks.reports.document import Record
from tasks.stage import say
from tasks.workspace import Workspace

KEEP_RUNS = 20
UNITS = {
    **dict.fromkeys(("", "b"), 1),
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgt", 1)},
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgt", 1)},
}
PARTS = {"feature rows": "shard", "decoded images": "file"}
"""What single ones go of, so that no more goes than is asked for."""
MANY = {
    "run": ("run", "runs", "results, logs and reports of the newest, and of releases that stay"),
    "run branch": ("run branch", "run branches", "of versions, of living runs, and the newest"),
}
"""What a report for a person only counts where it stays: singular, plural, why."""
LEAST_BARE_SIZE = 10**6
"""A number without a unit below this is a slip: who writes 5 means 5GB. 0 is the same in every unit."""


class Piece(Record):
    """What goes or stays, with the reason; feature rows of one kind are one line, as are decoded images."""

    kind: str
    name: str
    pieces: int
    bytes: int
    reason: str


class Collection(Record):
    """What a collection did, or with `dry_run` would do."""

    dry_run: bool
    removed: list[Piece]
    kept: list[Piece]
    freed_bytes: int
    kept_bytes: int
    notes: list[str] = []


def collect_garbage(
    workspace: Workspace,
    dry_run: bool = False,
    max_bytes: int | None = None,
    keep_runs: int = KEEP_RUNS,
    confirm: Callable[[str], bool] = lambda _: True,
) -> Collection:
    """Remove what nothing refers to, and with `max_bytes` the least recently used of what may go, until it is under.

    Args:
        max_bytes: what all that is listed may take; what must stay is never removed for it.
        keep_runs: how many runs keep their result, log and branch, those that are in use aside.
        confirm: shown the releases that would go, where there are any; False ends it with nothing removed.
    Raises:
        WorkspaceError: a run holds the workspace, or it is a run's own worktree; nothing was touched.
    """
    if workspace.root != workspace.home:
        raise WorkspaceError(f"{workspace.root} is the worktree of a run; collect in its checkout, {workspace.home}")
    if dry_run:
        check_free(workspace)
        return _judged(workspace, max_bytes, keep_runs, dry_run=True)[0]
    with workspace_lock(workspace, f"gc-{new_run_id()}") as mended:
        for line in mended:
            say(line)
        living = living_runs(workspace.root)
        collection, going = _judged(workspace, max_bytes, keep_runs, dry_run=False)
        losing = [piece for piece in collection.removed if piece.kind == "release"]
        if losing and not confirm(_releases_text(losing)):
            undone = [*collection.notes, "nothing was removed"]
            return collection.model_copy(update={"dry_run": True, "notes": undone})
        spared = sweep(workspace, [piece for piece, _ in going], keep_runs, living)
        return _with_spared(collection, spared)


def parse_size(text: str) -> int:
    """Bytes of `5GB`, `1.5 GiB`, `200 MB` or a plain number.

    Raises:
        ParamsError: it is no size, or a number without a unit that is none that anybody means.

    >>> parse_size("1.5kB"), parse_size("1 KiB")
    (1500, 1024)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if found is None or found[2].lower() not in UNITS:
        raise ParamsError(f"--max-bytes {text!r} is no size; write 5GB, 500MB, 1.5GiB or a number of bytes")
    size = int(float(found[1]) * UNITS[found[2].lower()])
    if not found[2] and 0 < size < LEAST_BARE_SIZE:
        raise ParamsError(
            f"--max-bytes {text.strip()} is {size} bytes; write {text.strip()}GB (or {size}B if you mean it)"
        )
    return size


def _releases_text(releases: Sequence[Piece]) -> str:
    """The releases that --max-bytes would take, for the person who is asked."""
    lines = [f"  {piece.name}  {size_text(piece.bytes)}" for piece in releases]
    return "\n".join([f"--max-bytes takes {counted(len(releases), 'release')} out of the store for good:", *lines])


def _judged(
    workspace: Workspace, max_bytes: int | None, keep_runs: int, dry_run: bool
) -> tuple[Collection, list[tuple[Holding, str]]]:
    found = find_holdings(workspace, keep_runs)
    going = [(piece, piece.garbage) for piece in found if piece.garbage and not piece.keep]
    spare = sorted((piece for piece in found if not piece.garbage and not piece.keep), key=lambda piece: piece.used_at)
    staying = sum(piece.bytes for piece in found) - sum(piece.bytes for piece, _ in going)
    while max_bytes is not None and staying > max_bytes and spare:
        piece = spare.pop(0)
        staying -= piece.bytes
        going.append((piece, "least recently used, over --max-bytes"))
    must = [(piece, piece.keep) for piece in found if piece.keep]
    kept = _pieces(must + [(piece, "may be of use; goes when --max-bytes asks for room") for piece in spare])
    notes = []
    if max_bytes is not None and staying > max_bytes:
        notes.append(f"{size_text(staying)} stay, over --max-bytes {size_text(max_bytes)}: all of it is in use")
    freed = sum(piece.bytes for piece, _ in going)
    removed = _pieces(going)
    return (
        Collection(dry_run=dry_run, removed=removed, kept=kept, freed_bytes=freed, kept_bytes=staying, notes=notes),
        going,
    )


def find_holdings(workspace: Workspace, keep_runs: int = KEEP_RUNS) -> list[Holding]:
    """All that takes room on Graft's account, by kind."""
    store = workspace.store(load_params(workspace.params).publish.store)
    now = time.time()
    return [
        *leftovers(workspace, now),
        *cached(workspace, now),
        *training_holdings(workspace, now),
        *dvc_holdings(workspace),
        *run_holdings(workspace, keep_runs),
        *runs(workspace, keep_runs, runs_in_use(workspace, store)),
        *stored_releases(workspace, store),
    ]


def _pieces(judged: Sequence[tuple[Holding, str | None]]) -> list[Piece]:
    groups: dict[tuple[str, str, str], list[Holding]] = {}
    for piece, reason in judged:
        groups.setdefault((piece.kind, piece.name, reason or ""), []).append(piece)
    return [
        Piece(kind=kind, name=name, pieces=len(group), bytes=sum(piece.bytes for piece in group), reason=reason)
        for (kind, name, reason), group in groups.items()
    ]


def _with_spared(collection: Collection, spared: Sequence[Holding]) -> Collection:
    if not spared:
        return collection
    names = {(piece.kind, piece.name) for piece in spared}
    removed = [piece for piece in collection.removed if (piece.kind, piece.name) not in names]
    kept = _pieces([(piece, "came into use, or is locked by somebody else, meanwhile") for piece in spared])
    size = sum(piece.bytes for piece in spared)
    return collection.model_copy(
        update={
            "removed": removed,
            "kept": [*collection.kept, *kept],
            "freed_bytes": collection.freed_bytes - size,
            "kept_bytes": collection.kept_bytes + size,
        }
    )


def size_text(count: int) -> str:
    """Bytes for a person.

    >>> size_text(999), size_text(1_500_000)
    ('999 B', '1.5 MB')
    """
    size, unit = float(count), 0
    while size >= 999.5 and unit < 4:
        size, unit = size / 1000, unit + 1
    return f"{size:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[unit]}"


def report_text(collection: Collection) -> str:
    """What goes and what stays, each with size and reason, and the sums."""
    verb = "would go" if collection.dry_run else "gone"
    lines = [_line(verb, piece) for piece in collection.removed]
    lines += [_line("stays", piece) for piece in collection.kept if piece.kind not in MANY]
    for kind, (what, many, why) in MANY.items():
        alike = [piece for piece in collection.kept if piece.kind == kind]
        if alike:
            size = size_text(sum(piece.bytes for piece in alike))
            lines.append(f"{'stays':<8} {size:>8}  {counted(len(alike), what, many)}: {why}")
    ending = "would be freed" if collection.dry_run else "freed"
    return "\n".join(
        [
            *lines,
            *collection.notes,
            f"{size_text(collection.freed_bytes)} {ending}, {size_text(collection.kept_bytes)} stay",
        ]
    )


def _line(verb: str, piece: Piece) -> str:
    many = f" ({counted(piece.pieces, PARTS[piece.kind])})" if piece.kind in PARTS else ""
    return f"{verb:<8} {size_text(piece.bytes):>8}  {piece.kind} {piece.name}{many}: {piece.reason}"
