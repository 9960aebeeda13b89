"""A machine that publishes: a checkout with a made-up release in it, and a bare repository that several may share."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from flows.dvc_commands import CONFIG
from flows.publication import Published, Wish, publish_version
from tasks.digests import bytes_sha256, file_sha256
from tasks.params import Params, load_params
from tasks.release import manifest_sha256
from tasks.reports import ChampionVerdict, EvaluationReport, JudgedDigests, Verdict, write_bytes
from tasks.reports.estimate import Estimate
from tasks.reports.evaluation import EvaluatedDigests
from tasks.reports.manifest import Manifest, ReleaseMetrics, SourceDigests
from tasks.reports.qualification import Check, Qualification
from tasks.workspace import Workspace

ACCURACY = Estimate(value=0.91, low=0.88, high=0.94, method="made up")
QUICK = {"publish": {"attempts": 2, "retry_seconds": 0.0}}
STAGES = "stages:\n  one:\n    cmd: echo one\n    deps: [tasks/one.py]\n"


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def no_identity(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """git of somebody who never told it a name, on a machine that has none either."""
    for name in [name for name in os.environ if name.startswith(("GIT_", "EMAIL"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@dataclass(frozen=True)
class Machine:
    """One machine's checkout."""

    root: Path

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.root)

    @property
    def params(self) -> Params:
        return load_params(self.workspace.params)

    def git(self, *arguments: str) -> str:
        return git(self.root, *arguments)

    def publish(self, run_id: str, why: str = "a test") -> Published:
        return publish_version(self.workspace, self.params, Wish(run_id=run_id, by="Ada", why=why))

    def release(self, model: str, outcome: str = "first", champion: str | None = None) -> str:
        """Put a release of that made-up model into models/release, with its reports; its manifest's sha256."""
        workspace, data = self.workspace, model.encode()
        judged = JudgedDigests(**dict.fromkeys(JudgedDigests.model_fields, "0"))
        verdict = Verdict(
            passed=True,
            rules=[],
            reasons=[],
            digests=judged,
            champion=ChampionVerdict.model_validate({"outcome": outcome, "promotable": True, "champion": champion}),
        )
        digests: dict[str, Any] = dict.fromkeys(SourceDigests.model_fields, "0") | {"adapted": bytes_sha256(data)}
        write_bytes(workspace.release / "model.onnx", data)
        Manifest(
            name="Small model, no. 1",
            graft_version="0",
            files={"model.onnx": file_sha256(workspace.release / "model.onnx")},
            digests=SourceDigests(**digests),
            metrics=ReleaseMetrics(test_items=400, accuracy=ACCURACY, macro_f1=ACCURACY),
            verdict=verdict,
        ).write(workspace.release / "manifest.json")
        verdict.write(workspace.verdict)
        digest = manifest_sha256(workspace.release)
        checks = [Check(check="parity", passed=True, detail="0 flips")]
        Qualification(passed=True, manifest_sha256=digest, checks=checks).write(workspace.qualification)
        evaluated: dict[str, Any] = dict.fromkeys(("data", "adapted", "splits", "predictions"), "0")
        EvaluationReport(
            confidence=0.95,
            labels=["ember", "ocean"],
            train_items=800,
            validation_items=0,
            test_items=400,
            accuracy=ACCURACY,
            macro_f1=ACCURACY,
            per_class=[],
            confusion=[],
            baselines=[],
            digests=EvaluatedDigests(**evaluated),
        ).write(workspace.evaluation)
        write_bytes(workspace.metrics, b'{"accuracy": 0.91}\n')
        write_bytes(workspace.dvc_lock, f"schema: '2.0'\nstages: {{}}  # {model}\n".encode())
        write_bytes(workspace.engine, b"{}\n")
        write_bytes(workspace.splits_lock, b"made up")
        return digest


def make_machine(root: Path, name: str = "Ada", **params: Any) -> Machine:
    """A checkout with one commit, in which everything that a run makes is ignored as in a real one."""
    root.mkdir(parents=True)
    git(root, "init", "--quiet", "--initial-branch=main")
    as_user(root, name)
    sections = {"export": {"name": "Small model, no. 1"}, **QUICK, **params}
    with (root / "params.yaml").open("w") as file:
        YAML(typ="safe").dump(sections, file)
    (root / "dvc.yaml").write_text(STAGES)
    (root / ".gitignore").write_text("/.graft/\n/releases/\n/reports/\n/models/release/\n/data/\n__pycache__/\n")
    write_bytes(root / ".dvc" / "config", CONFIG.encode())
    (root / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    write_bytes(root / "tasks" / "one.py", b"ONE = 1\n")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "Start")
    return Machine(root)


def as_user(root: Path, name: str) -> None:
    git(root, "config", "user.name", name)
    git(root, "config", "user.email", f"{name.lower()}@example.org")


def make_remote(folder: Path, *machines: Machine) -> Path:
    """A bare repository that the machines know as origin and that has the first one's main branch."""
    git(folder.parent, "init", "--quiet", "--bare", str(folder))
    for machine in machines:
        machine.git("remote", "add", "origin", str(folder))
    machines[0].git("push", "--quiet", "origin", "main")
    return folder


def clone(machine: Machine, root: Path, name: str = "Bob") -> Machine:
    """A second machine's clone of the same checkout."""
    git(root.parent, "clone", "--quiet", str(machine.root), str(root))
    git(root, "remote", "remove", "origin")
    as_user(root, name)
    return Machine(root)
