"""What training keeps on the disk, piece by piece, and what each piece is good for. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from flows.holdings import (
    LATELY_SECONDS,
    Holding,
    current_backbone,
    folders,
    holding,
    is_shared,
    results_of_ended_runs,
)
from flows.run_claims import living_runs
from tasks.errors import GraftError
from tasks.tables import SPLITS, read_table
from tasks.training.activation_folders import ITEMS, is_in_use, items_of
from tasks.training.image_store import store_key
from tasks.workspace import Workspace

OUTCOME = "outcome.pt"
"""In a checkpoint's folder: the training came to its end."""
RUN_STARTED = "%Y%m%dT%H%M%S"
"""How a run's id begins: when it started, UTC."""


def training_holdings(workspace: Workspace, now: float) -> list[Holding]:
    """Decoded images and activations of the cache, then states of trainings and searches."""
    return [
        *_images(workspace, now),
        *_activations(workspace),
        *_checkpoints(workspace),
        *_searches(workspace),
    ]


def _images(workspace: Workspace, now: float) -> Iterator[Holding]:
    """Files of decoded images; in the cache's own workspace those of another preprocessing or decoder are garbage."""
    shared, current = is_shared(workspace), current_backbone(workspace)
    live = store_key(current.preprocess) if current else None
    for folder in folders(workspace.cache / "images"):
        garbage = None if shared or live in (None, folder.name) else "of another preprocessing or decoder"
        for name in sorted({path.stem for path in folder.glob("images-*")}):
            index, pixels = (folder / f"{name}{suffix}" for suffix in (".json", ".bin"))
            piece = holding("decoded images", folder.name, [index, pixels], garbage=garbage)
            if pixels.exists():  # Every training that opens the store reads the index.
                piece = replace(piece, used_at=holding("decoded images", folder.name, [pixels]).used_at)
            if index.exists() and pixels.exists():
                yield piece
            elif not shared or now - piece.used_at > LATELY_SECONDS:
                yield replace(piece, kind="leftover", name=name, garbage="a write or a removal was interrupted")


def _activations(workspace: Workspace) -> Iterator[Holding]:
    """Activations below what is trained; of other items than the workspace's own ones no training finds them again."""
    present = None if is_shared(workspace) else _learnable(workspace)
    for folder in folders(workspace.cache / "activations"):
        items = items_of(folder)
        garbage = "of items that this workspace does not train on" if present and items != present else None
        keep = "a training is reading them" if is_in_use(folder) else None
        piece = holding("kept activations", folder.name, [folder], keep, garbage)
        with suppress(OSError):  # A training marks the folder, also where the disk notes no reading.
            # Not by the list of items, which this very look has read.
            read = [path for path in folder.iterdir() if path.name != ITEMS]
            used_at = holding("kept activations", folder.name, read).used_at
            piece = replace(piece, used_at=max(used_at, folder.stat().st_mtime))
        yield piece


def _learnable(workspace: Workspace) -> frozenset[str] | None:
    """sha256 of every item that the present split lets a training see; None where that is not known."""
    try:
        rows = read_table(workspace.splits, SPLITS, ["sha256", "side"]).to_pydict()
    except (GraftError, OSError):
        return None
    pairs = zip(rows["sha256"], rows["side"], strict=True)
    return frozenset(sha256 for sha256, side in pairs if side in ("train", "validation"))


@dataclass(frozen=True)
class _Span:
    """From when to when a run lasted, seconds since the epoch."""

    start: float
    end: float


def _checkpoints(workspace: Workspace) -> Iterator[Holding]:
    """An unfinished training is of use until a later run has ended; a finished one while the last run that trained
    used it, for the next run would find it again."""
    pieces = [(folder, holding("checkpoint", folder.name, [folder])) for folder in folders(workspace.checkpoints)]
    written = {folder: _written(folder) for folder, _ in pieces}
    spans = _spans(workspace)
    ended = max((span.end for span in spans), default=0.0)
    trained = [span.start for span in spans if any(span.start <= at <= span.end for at in written.values())]
    in_use = "a run that works in a worktree may go on from it" if living_runs(workspace.home) else None
    for folder, piece in pieces:
        finished = (folder / OUTCOME).is_file()
        if in_use:
            yield replace(piece, keep=in_use)
        elif written[folder] >= ended:
            keep = "the next run need not repeat it" if finished else "a training that was interrupted goes on from it"
            yield replace(piece, keep=keep)
        elif finished and written[folder] >= max(trained, default=0.0):
            yield piece
        elif finished:
            yield replace(piece, garbage="a later run trained without it")
        else:
            yield replace(piece, garbage="a run has ended since it was written")


def _spans(workspace: Workspace) -> list[_Span]:
    spans = []
    for file in results_of_ended_runs(workspace):
        with suppress(OSError):
            end = file.stat().st_mtime
            spans.append(_Span(_start(file, end), end))
    return spans


def _start(file: Path, end: float) -> float:
    """By the run's id; `end` where that does not tell."""
    try:
        started = datetime.strptime(file.stem.partition("-")[0], RUN_STARTED)
    except ValueError:
        return end
    return started.replace(tzinfo=UTC).timestamp()


def _written(folder: Path) -> float:
    return max((file.stat().st_mtime for file in folder.rglob("*") if file.is_file()), default=0.0)


def _searches(workspace: Workspace) -> Iterator[Holding]:
    """Searches over settings: trials with the trainings that they left; `graft tune` would go on with them."""
    parent = workspace.private / "tune"
    studies = sorted(parent.glob("*.db"))
    for study in studies:
        yield holding("search", study.stem, [*sorted(parent.glob(f"{study.name}*")), parent / study.stem])
    known = {study.stem for study in studies}
    for folder in folders(parent):
        if folder.name not in known:
            yield holding("leftover", folder.name, [folder], garbage="trainings of a search that is gone")
    for file in sorted(parent.glob("*.json")):
        yield holding("leftover", file.name, [file], garbage="a search was interrupted")
