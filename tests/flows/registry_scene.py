"""A registry made in code: tiny releases that ONNX Runtime really answers, versions, and the commands as processes."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from small_release import estimate, make_release

from flows.promotion import promote
from flows.records import StageChange, VersionRecord
from flows.rollback import rolled_back
from flows.stage_history import stage_history
from flows.store import publish_release
from flows.versions import register
from tasks.params import Params, load_params
from tasks.release import QUALIFICATION
from tasks.reports import EvaluatedDigests, EvaluationReport, PairedComparison
from tasks.workspace import Workspace

REPOSITORY = Path(__file__).resolve().parents[2]
CROP = 8


def make_servable(folder: Path, seed: int, labels: tuple[str, ...] = ("ember", "ocean"), **verdict: Any) -> Path:
    """A whole release whose model is a few numbers drawn from `seed`, and its qualification beside it."""
    release = make_release(folder / "release", seed, labels, CROP, **verdict)
    (release / QUALIFICATION).rename(folder / QUALIFICATION)
    return release


@dataclass(frozen=True)
class Scene:
    """A checkout with a release store; `folder` holds what is not part of it."""

    workspace: Workspace
    folder: Path

    @property
    def root(self) -> Path:
        return self.workspace.root

    @property
    def store(self) -> Path:
        return self.root / "releases"

    @property
    def params(self) -> Params:
        return load_params(self.workspace.params)

    def publish(self, seed: int, **more: Any) -> VersionRecord:
        """Put a release into the store and register it; it was judged against what is in production, and is better."""
        labels = more.pop("labels", ("ember", "ocean"))
        release = make_servable(self.folder / f"release-{seed}", seed, labels)
        digest = publish_release(release, release.parent / "qualification.json", self.store).name
        history = self.history()
        champion = history[-1].manifest_sha256 if history else None
        fields: dict[str, Any] = {
            "champion": champion,
            "outcome": "better" if champion else "first",
            "promotable": True,
            **more,
        }
        return register(self.root, lambda number: record(number, digest, **fields))

    def commit(self, files: dict[str, bytes]) -> str:
        """A commit of its own that holds just these files, as a run's branch would."""
        env = {**os.environ, "GIT_INDEX_FILE": str(self.folder / "index")}
        (self.folder / "index").unlink(missing_ok=True)
        for name, data in files.items():
            blob = self._git("hash-object", "-w", "--stdin", data=data)
            self._git("update-index", "--add", "--cacheinfo", f"100644,{blob},{name}", env=env)
        return self._git("commit-tree", self._git("write-tree", env=env), "-m", "Run")

    def _git(self, *arguments: str, data: bytes | None = None, env: dict[str, str] | None = None) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.root, input=data, env=env, check=True, capture_output=True)
        return done.stdout.decode().strip()

    def history(self) -> list[StageChange]:
        return stage_history(self.root)

    def promote(self, version: str, reason: str = "it is better", force: bool = False) -> StageChange:
        return promote(self.workspace, self.params, version, reason, "Ann", force)

    def rollback(self, version: str | None = None) -> StageChange:
        return rolled_back(self.workspace, self.params, "it was wrong", "Ben", version).change

    def graft(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command line, in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "flows.cli", *arguments],
            cwd=self.root,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The same, not waited for."""
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *arguments],
            cwd=self.root,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def evaluation(*comparisons: PairedComparison) -> bytes:
    """published/evaluation.json of a run that compared its model so."""
    report = EvaluationReport(
        confidence=0.95,
        labels=["ember", "ocean"],
        train_items=1,
        validation_items=1,
        test_items=4000,
        accuracy=estimate(0.9),
        macro_f1=estimate(0.9),
        per_class=[],
        confusion=[],
        baselines=[],
        digests=EvaluatedDigests(**dict.fromkeys(["data", "adapted", "splits", "predictions"], "0")),
        comparisons=list(comparisons),
    )
    return report.to_json().encode()


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "GRAFT_", "DVC_"))}
    return {**kept, "PYTHONPATH": str(REPOSITORY)}


def record(number: int, digest: str, **more: Any) -> VersionRecord:
    """A version's record."""
    fields: dict[str, Any] = {
        "name": "made-up",
        "model_sha256": digest[::-1],
        "data_digest": "d" * 64,
        "params_sha256": "e" * 64,
        "run_id": "run",
        "branch": None,
        "commit": None,
        "in_place": False,
        "accuracy": estimate(0.9),
        "macro_f1": estimate(0.88),
        "test_items": 100,
        "outcome": "better",
        "promotable": True,
        "champion": None,
        "graft_version": "0.2.0",
        "by": "Ann",
        "why": "a test",
        "at": "2026-11-21T08:00:00Z",
    }
    return VersionRecord(version=number, manifest_sha256=digest, **{**fields, **more})


def make_scene(folder: Path) -> Scene:
    """An empty registry."""
    root = folder / "checkout"
    root.mkdir(parents=True)
    (root / "params.yaml").write_text("schema_version: 2\n")
    (root / "dvc.yaml").write_text("stages: {}\n")
    for arguments in (["init", "--quiet"], ["config", "user.name", "Ann Owner"], ["config", "user.email", "a@b.c"]):
        subprocess.run(["git", *arguments], cwd=root, check=True)
    return Scene(Workspace(root), folder)
