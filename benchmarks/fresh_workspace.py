"""Workspaces for measurements: a clone of what is committed, with caches of its own that are empty."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.rounds import Finished, timed
from flows.dvc_commands import dvc_command, dvc_environment
from tasks.workspace import STAGES, Workspace

CHECKOUT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Setting:
    """What is adapted to what: a pack, and the backbone's weights."""

    data: Path
    weights: Path
    backbone: str = "mobilenet_v2"
    sets: tuple[str, ...] = ()

    @property
    def overrides(self) -> list[str]:
        return [f"backbone.name={self.backbone}", f"backbone.weights={self.weights}", *self.sets]


@dataclass(frozen=True)
class Adapted:
    """What `graft adapt` told: wall seconds of every stage process (DVC and imports too) and of the whole command."""

    stages: dict[str, float]
    wall: float
    accuracy: float
    test_items: int
    unchanged: bool

    @property
    def stage_seconds(self) -> float:
        return sum(self.stages.values())


class FreshWorkspace:
    """A workspace at `root` whose feature, graph and DVC caches all lie below it."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root)
        self.root = root
        self.cache = root / ".graft" / "cache"
        self.environment = {
            "GRAFT_CACHE_DIR": str(self.cache),
            "DVC_SITE_CACHE_DIR": str(root / ".dvc" / "site"),
            "DVC_NO_ANALYTICS": "1",
        }

    def adapt(self, setting: Setting, extra: Sequence[str] = ()) -> Adapted:
        """Run `graft adapt` here, as a user would.

        Raises:
            RuntimeError: nothing was released.
        """
        sets = [part for override in setting.overrides for part in ("--set", override)]
        command = [sys.executable, "-m", "flows.cli", "adapt", "--data", setting.data, *sets, *extra, "--json"]
        done = timed(command, self.root, self.environment)
        result: dict[str, Any] = json.loads(done.stdout)
        return Adapted(
            stages={stage: float(result["seconds"].get(stage, 0.0)) for stage in STAGES if not result["unchanged"]},
            wall=done.seconds,
            accuracy=float(result["accuracy"]),
            test_items=int(result["test_items"]),
            unchanged=bool(result["unchanged"]),
        )

    def prepare(self, setting: Setting, graph: bool = False) -> None:
        """Make it ready for bare stages and `dvc repro`, as the flow does, by the clone's own code.

        Args:
            graph: also export the backbone.
        """
        command = [sys.executable, "-m", "benchmarks.prepared_workspace", setting.data, *setting.overrides]
        timed([*command, *(["--graph"] if graph else [])], self.root, self.environment)

    def stage(self, stage: str) -> Finished:
        """Run one bare stage, without DVC."""
        return timed([sys.executable, "-m", f"tasks.{stage}"], self.root, self.environment)

    def dvc(self, *arguments: str) -> Finished:
        """Run a DVC command as the flow does."""
        return timed(dvc_command(*arguments), self.root, {**dvc_environment(), **self.environment})

    def forget_features(self) -> None:
        """Empty the cache of feature rows; the backbone's graph stays."""
        shutil.rmtree(self.cache / "features", ignore_errors=True)

    def keep_graph(self, folder: Path) -> None:
        """Copy the exported backbone out, for a workspace that shall find it there."""
        shutil.copytree(self.cache / "backbones", folder, dirs_exist_ok=True)

    def write_sides(self, file: Path) -> None:
        """The split as CSV (path, label, side), for a script that shall be judged on the same photos."""
        rows = pq.read_table(self.workspace.splits, columns=["path", "label", "side"]).to_pylist()
        with file.open("w", encoding="utf-8", newline="") as out:
            writer = csv.DictWriter(out, ["path", "label", "side"])
            writer.writeheader()
            writer.writerows(row for row in rows if row["side"] != "left_out")


@contextmanager
def fresh_workspace(graph: Path | None = None) -> Iterator[FreshWorkspace]:
    """A clone of the commit that is checked out, gone at the end.

    Its own modules are compiled beforehand, as an installed package's are; nothing else is warm.

    Args:
        graph: a folder that `keep_graph` filled; without it the backbone must be exported first.
    """
    with tempfile.TemporaryDirectory(prefix="graft-benchmark-") as folder:
        root = Path(folder).resolve() / "workspace"
        subprocess.run(["git", "clone", "--quiet", CHECKOUT, root], check=True)
        subprocess.run([sys.executable, "-m", "compileall", "-q", "flows", "tasks"], cwd=root, check=True)
        made = FreshWorkspace(root)
        if graph is not None:
            shutil.copytree(graph, made.cache / "backbones")
        yield made


def exported_graph(setting: Setting, folder: Path) -> Path:
    """The backbone's graph in `folder`, as `fresh_workspace` takes it; exported there if it is not yet."""
    if not folder.exists():
        with fresh_workspace() as made:
            made.prepare(setting, graph=True)
            made.keep_graph(folder)
    return folder


def warn_of_uncommitted() -> str:
    """Names code that differs from the commit, because a clone measures the commit; empty when there is none."""
    done = subprocess.run(
        ["git", "status", "--porcelain", "--", "flows", "tasks", "dvc.yaml", "params.yaml"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ},
    )
    changed = len(done.stdout.splitlines())
    return f"{changed} changed files in flows/ and tasks/ are not measured; commit them first" if changed else ""
