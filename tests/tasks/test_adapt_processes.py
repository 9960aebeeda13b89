"""Stage adapt with `processes: 2`: they train what one would; those that are killed go on where they were."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from ruamel.yaml import YAML
from safetensors.numpy import load_file
from small_workspace import REPOSITORY, change_params, copy_workspace, make_workspace, run_stages

from tasks.digests import folder_sha256
from tasks.methods.adapted_folder import read_adapted
from tasks.reports import AdaptationReport, Outcome
from tasks.workspace import Workspace

pytestmark = pytest.mark.slow

METHOD: dict[str, Any] = {
    "name": "fine_tune",
    "blocks": 2,
    "epochs": 3,
    "batch_size": 10,
    "min_validation_items": 8,
    "learning_rate": 0.002,
    "augmentation": "light",
}
TOLERANCE = 1e-4
"""Of losses and weights: two halves of a batch are summed in another order, and steps carry that on."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace as review leaves it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GRAFT_CACHE_DIR", raising=False)
        settings = {"split": {"validation_share": 0.25}, "adapt": {"keep_best": False}}
        workspace = make_workspace(tmp_path_factory.mktemp("shared") / "workspace", 60, settings)
        document = YAML(typ="safe").load(workspace.params.read_text())
        document["adapt"]["method"] = METHOD
        YAML(typ="safe").dump(document, workspace.params)
        run_stages(workspace, "validate", "embed", "split", "review")
        return workspace


def start(workspace: Workspace, processes: int, **settings: Any) -> subprocess.Popen[str]:
    change_params(workspace, {"adapt": {"method": {"processes": processes, **settings}}})
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRAFT_")}
    return subprocess.Popen(
        [sys.executable, "-m", "tasks.adapt"],
        cwd=workspace.root,
        env={**environment, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def adapted(workspace: Workspace, processes: int, **settings: Any) -> tuple[AdaptationReport, str]:
    """The stage as DVC runs it; its report and all that it said."""
    stage = start(workspace, processes, **settings)
    said = stage.communicate(timeout=300)[0]
    assert stage.returncode == 0, said
    return AdaptationReport.read(workspace.adapted / "adapted.json"), said


@pytest.fixture(scope="module")
def alone(template: Workspace, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, AdaptationReport]:
    workspace = copy_workspace(template, tmp_path_factory.mktemp("alone") / "workspace")
    return workspace, adapted(workspace, 1)[0]


@pytest.fixture(scope="module")
def shared(template: Workspace, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, AdaptationReport]:
    workspace = copy_workspace(template, tmp_path_factory.mktemp("two") / "workspace")
    report, said = adapted(workspace, 2)
    assert "epoch 3 of 3" in said
    return workspace, report


def test_two_processes_give_the_result_of_one_within_tolerance(
    alone: tuple[Workspace, AdaptationReport], shared: tuple[Workspace, AdaptationReport]
) -> None:
    one, two = alone[1].training, shared[1].training
    assert one is not None
    assert two is not None
    assert (one.judged_by, one.best_epoch, one.judged_items) == (two.judged_by, two.best_epoch, two.judged_items)
    assert one.epochs[0].loss != pytest.approx(one.epochs[-1].loss, abs=10 * TOLERANCE), "nothing was learned"
    for name in ("training_loss", "loss"):
        figures = [[getattr(row, name) for row in training.epochs[1:]] for training in (one, two)]
        assert figures[1] == pytest.approx(figures[0], abs=TOLERANCE)
    heads = [read_adapted(workspace.adapted).head.weight for workspace, _ in (alone, shared)]
    assert np.abs(heads[0] - heads[1]).max() < TOLERANCE
    bodies = [load_file(workspace.adapted / "body.safetensors") for workspace, _ in (alone, shared)]
    assert max(float(np.abs(bodies[0][name] - bodies[1][name]).max()) for name in bodies[0]) < TOLERANCE


def test_the_same_again_is_found_and_has_the_same_bits(shared: tuple[Workspace, AdaptationReport]) -> None:
    workspace = shared[0]
    before = folder_sha256(workspace.adapted)
    said = adapted(workspace, 2)[1]
    assert folder_sha256(workspace.adapted) == before
    assert "epoch 3 of 3" in said


def processes_of(workspace: Workspace) -> list[psutil.Process]:
    """Those that train for this workspace."""
    found = []
    for process in psutil.process_iter():
        try:
            if "tasks.methods.training_rank" in process.cmdline() and process.cwd() == str(workspace.root):
                found.append(process)
        except psutil.Error:
            continue
    return found


def rank_of(process: psutil.Process) -> str | None:
    return process.environ().get("RANK")


def wait_for_state(workspace: Workspace, stage: subprocess.Popen[str]) -> None:
    while not list(workspace.checkpoints.glob("*/state.pt")):
        assert stage.poll() is None, "training was over before it could be disturbed"
        time.sleep(0.02)


LONGER = {"epochs": 40}


@pytest.fixture(scope="module")
def undisturbed(template: Workspace, tmp_path_factory: pytest.TempPathFactory) -> str:
    workspace = copy_workspace(template, tmp_path_factory.mktemp("undisturbed") / "workspace")
    adapted(workspace, 2, **LONGER)
    return folder_sha256(workspace.adapted)


def test_a_process_that_is_killed_is_started_again_and_the_bits_are_the_same(
    template: Workspace, tmp_path: Path, undisturbed: str
) -> None:
    workspace = copy_workspace(template, tmp_path.resolve() / "workspace")
    stage = start(workspace, 2, **LONGER)
    wait_for_state(workspace, stage)
    (victim,) = [process for process in processes_of(workspace) if rank_of(process) == "1"]
    victim.kill()
    said = stage.communicate(timeout=300)[0]
    assert stage.returncode == 0, said
    assert "a process of the training died; all of them were started again" in said
    assert folder_sha256(workspace.adapted) == undisturbed


def test_a_stage_that_is_ended_ends_its_processes_and_goes_on_to_the_same_bits(
    template: Workspace, tmp_path: Path, undisturbed: str
) -> None:
    workspace = copy_workspace(template, tmp_path.resolve() / "workspace")
    stage = start(workspace, 2, **LONGER)
    wait_for_state(workspace, stage)
    ranks = processes_of(workspace)
    assert len([process for process in ranks if rank_of(process)]) == 2
    stage.send_signal(2)
    stage.communicate(timeout=100)
    assert psutil.wait_procs(ranks, timeout=30)[1] == []
    assert not (workspace.adapted / "adapted.json").exists()
    said = adapted(workspace, 2, **LONGER)[1]
    assert "training goes on behind epoch" in said
    assert folder_sha256(workspace.adapted) == undisturbed


def test_an_error_in_the_processes_is_the_stages_own(template: Workspace, tmp_path: Path) -> None:
    workspace = copy_workspace(template, tmp_path / "workspace")
    stage = start(workspace, 2, keep_frozen="never", learning_rate=10.0, clip_norm=None, optimizer="sgd", epochs=30)
    said = stage.communicate(timeout=300)[0]
    assert stage.returncode == 1, said
    outcome = Outcome.read(workspace.outcome("adapt"))
    assert (outcome.state, outcome.internal) == ("failed", False)
    assert "training diverged in epoch" in outcome.reasons[0]
    assert "adapt.method.learning_rate is 10" in outcome.reasons[0]
    assert "Traceback" not in said
