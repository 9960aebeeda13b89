"""The toy workspace as fixtures: made once, copied for every test."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from toy_workspace import STAGE_SCRIPT, STAGES, Toy

from flows.dvc_commands import ensure_dvc
from tasks.workspace import Workspace


@pytest.fixture(scope="session")
def toy_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toy") / "template"
    (root / "data").mkdir(parents=True)
    (root / "params.yaml").write_text("{}\n")
    (root / "data" / "zero.txt").write_text("seed\n")
    (root / "toy_stage.py").write_text(STAGE_SCRIPT)
    sources = dict(zip(STAGES, ("zero", *STAGES), strict=False))
    blocks = {
        stage: {
            "cmd": f"python toy_stage.py {stage} data/{source}.txt data/{stage}.txt",
            "deps": [f"data/{source}.txt", "toy_stage.py"],
            "outs": [f"data/{stage}.txt"],
        }
        for stage, source in sources.items()
    }
    (root / "dvc.yaml").write_text(json.dumps({"stages": blocks}))
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    ensure_dvc(Workspace(root))
    return root


@pytest.fixture
def toy(toy_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Toy]:
    """A fresh toy workspace; whatever still lives in it afterwards is ended."""
    for name in [name for name in os.environ if name.startswith(("TOY_", "GRAFT_", "DVC_"))]:
        monkeypatch.delenv(name)
    toy = Toy.copy(toy_template, tmp_path.resolve() / "workspace")
    yield toy
    for process in toy.processes():
        with suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)


@pytest.fixture(scope="session")
def finished_template(toy_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    toy = Toy.copy(toy_template, tmp_path_factory.mktemp("finished").resolve() / "template")
    assert toy.run("one").state == "done"
    return toy.root


@pytest.fixture
def finished(toy: Toy, finished_template: Path) -> Toy:
    """A toy workspace in which stage `one` is up to date."""
    shutil.rmtree(toy.root)
    return Toy.copy(finished_template, toy.root)
