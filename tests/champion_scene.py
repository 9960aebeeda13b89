"""A release put where a run finds the champion: its copy, its items, the pin, and the use of the test set."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from flows.release_items import items_bytes
from tasks.digests import file_sha256
from tasks.release import manifest_sha256, verify_release
from tasks.reports import ChampionPin, EvaluationReport, PinnedRelease, TestUse, write_bytes
from tasks.tables import SPLITS, read_table
from tasks.workspace import Workspace


def pin(workspace: Workspace, release: Path, version: int = 3, splits: pa.Table | None = None) -> PinnedRelease:
    """Copy a release to where a pinned one lies, with its items (default: those of data/splits.parquet)."""
    digest = manifest_sha256(release)
    folder = workspace.pinned_release(digest)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(release, folder)
    table = read_table(workspace.splits, SPLITS) if splits is None else splits
    items = workspace.pinned_items(digest)
    write_bytes(items, items_bytes(table))
    return PinnedRelease(version=version, manifest_sha256=digest, items_sha256=file_sha256(items))


def enthrone(workspace: Workspace, version: int = 3, best: PinnedRelease | None = None) -> PinnedRelease:
    """Pin the release in models/release/ as the champion."""
    champion = pin(workspace, workspace.release, version)
    ChampionPin(champion=champion, best=best).write(workspace.champion_pin)
    return champion


def record_use(workspace: Workspace, use: int = 1) -> None:
    """Put the use of the test set by what was evaluated on record, as a run does before evaluate."""
    report = EvaluationReport.read(workspace.evaluation)
    pinned = ChampionPin.read(workspace.champion_pin).champion
    champion = pinned.manifest_sha256 if pinned else None
    TestUse(test_set=report.test_set, model=report.digests.adapted, champion=champion, use=use).write(
        workspace.test_use
    )


def change_release(folder: Path, name: str, change: Callable[[Any], None]) -> None:
    """Change a JSON file of a release and make the manifest agree with it."""
    document = json.loads((folder / name).read_text())
    change(document)
    (folder / name).write_text(json.dumps(document))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = {file: file_sha256(folder / file) for file in manifest["files"]}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    verify_release(folder)
