"""Weights of the user's own: taken in only if they fit, under DVC, and there again where only their .dvc file is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from publishing_scene import Machine, make_machine
from torchvision.models import squeezenet1_0

from flows.backbone_commands import add_weights, backbone_add
from flows.own_weights import bring_weights
from flows.reproducibility import kept_in_place
from tasks.errors import WeightsError


@pytest.fixture(scope="session")
def state_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(5)
    file = tmp_path_factory.mktemp("weights") / "ours.pth"
    torch.save(squeezenet1_0(weights=None).state_dict(), file)
    return file


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return make_machine(tmp_path.resolve() / "checkout", backbone={"name": "squeezenet1_0", "weights": "none"})


def test_weights_are_copied_under_dvc_named_in_params_and_come_back_from_the_cache(
    machine: Machine, state_file: Path
) -> None:
    done, diff = add_weights(machine.workspace, state_file).lines()
    target = machine.root / "models" / "weights" / "ours.pth"
    assert done == (
        "models/weights/ours.pth is under DVC as models/weights/ours.pth.dvc (squeezenet1_0, 52 tensors); "
        "commit that file with git"
    )
    assert "+backbone: {name: squeezenet1_0, weights: models/weights/ours.pth}" in diff
    assert machine.params.backbone.weights == "models/weights/ours.pth"
    assert target.read_bytes() == state_file.read_bytes()
    assert kept_in_place(machine.workspace, machine.params) == []
    assert add_weights(machine.workspace, state_file).lines()[1] == "params.yaml names them already"
    target.unlink()
    bring_weights(machine.workspace, machine.params)
    assert target.read_bytes() == state_file.read_bytes()
    target.unlink()
    shutil.rmtree(machine.root / ".dvc" / "cache")
    with pytest.raises(WeightsError, match=r"neither DVC's cache nor a remote has models/weights/ours.pth: "):
        bring_weights(machine.workspace, machine.params)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("other network", r"the weights are not of resnet18: missing .*; set backbone.name to their architecture"),
        ("unknown network", r"unknown backbone 'resnet19'; did you mean 'resnet18'\?"),
        ("no state dict", r"holds no state dict \(names to tensors\); save the model's state_dict\(\)"),
        ("no file", r"does not exist or is no file"),
        ("other suffix", r"must end in one of .pth, .pt, .safetensors"),
        ("numbers that are none", r"hold values that are no numbers"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_copied(
    machine: Machine, state_file: Path, tmp_path: Path, fault: str, message: str
) -> None:
    file, architecture = tmp_path / "theirs.pth", None
    shutil.copy(state_file, file)
    if fault.endswith("network"):
        architecture = "resnet18" if fault == "other network" else "resnet19"
    elif fault == "no state dict":
        torch.save([1, 2], file)
    elif fault == "no file":
        file.unlink()
    elif fault == "other suffix":
        file = file.rename(tmp_path / "theirs.bin")
    else:
        state = torch.load(file, weights_only=True)
        state["features.0.bias"][0] = float("nan")
        torch.save(state, file)
    before = machine.workspace.params.read_text()
    with pytest.raises(WeightsError, match=message):
        add_weights(machine.workspace, file, architecture)
    assert not (machine.root / "models").exists()
    assert machine.workspace.params.read_text() == before


def test_another_file_of_the_same_name_is_refused(machine: Machine, state_file: Path, tmp_path: Path) -> None:
    add_weights(machine.workspace, state_file)
    other = tmp_path / "ours.pth"
    state = torch.load(state_file, weights_only=True)
    state["features.0.bias"][0] += 1
    torch.save(state, other)
    with pytest.raises(WeightsError, match=r"models/weights/ours.pth is there already with other content"):
        add_weights(machine.workspace, other)


def test_with_json_there_is_one_object_on_stdout_whatever_happens(
    machine: Machine, state_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def added(file: Path) -> tuple[int | str | None, Any]:
        with pytest.raises(SystemExit) as stop:
            backbone_add(str(file), None, as_json=True, workspace=machine.root)
        return stop.value.code, json.loads(capsys.readouterr().out)

    code, answer = added(state_file)
    assert (code, answer["state"], answer["tensors"]) == (0, "added", 52)
    assert (answer["file"], answer["dvc_file"]) == ("models/weights/ours.pth", "models/weights/ours.pth.dvc")
    assert "+backbone: {name: squeezenet1_0, weights: models/weights/ours.pth}" in answer["diff"]
    code, answer = added(state_file.with_name("none.pth"))
    assert (code, answer["state"]) == (1, "failed")
    assert "none.pth does not exist or is no file" in answer["reasons"][0]


def test_weights_from_anywhere_else_are_in_place(machine: Machine, state_file: Path) -> None:
    params = machine.params.model_copy(
        update={"backbone": machine.params.backbone.model_copy(update={"weights": str(state_file)})}
    )
    (reason,) = kept_in_place(machine.workspace, params)
    assert (
        reason
        == f"backbone.weights is {state_file}, outside of the checkout; `graft backbone add` brings them under DVC"
    )
