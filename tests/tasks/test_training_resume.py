"""A training that was killed goes on to the same bits; one that is finished is found again; a damaged file is not."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_scene import fine_tune, made_items, made_network, trained

from tasks.reports.training import EpochScore
from tasks.training import determinants, loop, sources
from tasks.training.checkpoints import Checkpoints
from tasks.training.determinants import TrainingItems, training_key
from tasks.training.freezing import digest_of
from tasks.training.history import TrainingOutcome
from tasks.training.network import Network, tensors_of
from tasks.training.precision import numerics_of

STEPS_OF_AN_EPOCH = 4
POINTS = ("step 0", "step 6", "step 7", "best-2", "in state", "state", "step 9", "step 15")
"""In the first epoch, in the middle and at the end of the second, and before, within and after a checkpoint."""


def result(network: Network, outcome: TrainingOutcome) -> tuple[str, bytes, list[Any], int]:
    return digest_of(tensors_of(network)), outcome.judged_logits.tobytes(), outcome.history, outcome.chosen_epoch


class Interrupted(Exception):
    pass


def interrupted(folder: Path, after_epochs: int, items: TrainingItems, **settings: Any) -> None:
    """A training that is ended when its steps of so many epochs are done, behind the last one's checkpoint."""
    network, depth = made_network(**settings)

    def stop(self: loop._Training, epoch: int, on_step: object) -> float:
        if epoch > after_epochs:
            raise Interrupted
        return epochs(self, epoch, on_step)  # type: ignore[arg-type]

    epochs = loop._Training._epoch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop._Training, "_epoch", stop)
        with pytest.raises(Interrupted):
            loop.train(network, depth, items, fine_tune(**settings), folder=folder, determinants={})


@pytest.fixture(scope="module")
def deaths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return told_by("training_deaths.py", tmp_path_factory.mktemp("deaths"), *POINTS)


def told_by(name: str, folder: Path, *arguments: str) -> dict[str, Any]:
    """What a program beside this file prints; trainings that fork need a process without threads."""
    program = Path(__file__).with_name(name)
    paths = os.pathsep.join([str(program.parents[2]), str(program.parents[1]), str(program.parent)])
    done = subprocess.run(
        [sys.executable, str(program), str(folder), *arguments],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_training_ends_in_the_same_bits(deaths: dict[str, Any], point: str) -> None:
    undisturbed, resumed = deaths["undisturbed"], dict(deaths["resumed"][point])
    assert resumed.pop("died")
    steps, all_steps = resumed.pop("steps"), undisturbed["steps"]
    done = 0 if not point.startswith("step") else int(point.split()[1])
    assert steps <= all_steps - done + STEPS_OF_AN_EPOCH
    if resumed["state"]:
        assert resumed == {key: value for key, value in undisturbed.items() if key != "steps"}
    assert {**resumed, "state": {}, "steps": all_steps} == {**undisturbed, "state": {}}


def test_the_same_training_in_processes_at_once_ends_in_the_same_bits_in_each(tmp_path: Path) -> None:
    told = told_by("training_at_once.py", tmp_path)
    assert told["codes"] == [0, 0, 0]
    assert told["at once"] == dict.fromkeys(["fast", "as fast", "slow"], told["alone"])
    assert (told["found"], told["steps of found"]) == (told["alone"], 0)


def test_where_another_process_cleared_the_best_weights_away_training_starts_anew(tmp_path: Path) -> None:
    ahead, behind = Checkpoints(tmp_path), Checkpoints(tmp_path)
    weights = {"weight": torch.ones(1)}
    behind.keep({"best": 1}, weights)
    ahead.keep({"best": 2}, weights)
    behind.keep({"best": 1}, None)
    assert Checkpoints(tmp_path).state() is None
    ahead.finish({"value": 1})
    behind.keep({"best": 1}, None)
    assert Checkpoints(tmp_path).outcome() == {"value": 1}


def test_what_was_killed_had_something_to_lose(deaths: dict[str, Any]) -> None:
    undisturbed = deaths["undisturbed"]
    assert undisturbed["stopped_early"]
    assert 0 < undisturbed["state"]["plateau"]["multiplier"] < 1
    assert undisturbed["chosen"] > 1
    assert {"moving", "optimizer", "plateau", "average", "history"} <= undisturbed["state"].keys()
    assert undisturbed["state"]["average"]


def test_the_same_seed_gives_the_same_bits_and_another_one_others(tmp_path: Path) -> None:
    first = result(*trained(tmp_path / "a"))
    assert result(*trained(tmp_path / "b")) == first
    assert result(*trained(tmp_path / "c", seed=1))[0] != first[0]


def test_a_finished_training_is_found_and_not_computed_again(tmp_path: Path) -> None:
    items, asked = made_items(), []
    first = result(*trained(tmp_path, items))
    items.examples.inputs = lambda rows, epoch: asked.append(epoch)  # type: ignore[method-assign]
    counted: list[int] = []
    heard: list[EpochScore] = []
    network, depth = made_network()
    told: dict[str, Any] = {"on_step": counted.append, "on_epoch": heard.append}
    outcome = loop.train(network, depth, items, fine_tune(), folder=tmp_path, determinants={}, **told)
    assert result(network, outcome) == first
    assert not asked
    assert sum(counted) == 4 * 30
    assert heard == outcome.history
    assert [path.name for path in tmp_path.glob("*/*")] == ["outcome.pt"]


@pytest.mark.parametrize("spoilt", ["flipped", "cut", "foreign", "empty"])
def test_a_damaged_checkpoint_is_named_and_training_starts_anew(
    tmp_path: Path, spoilt: str, capsys: pytest.CaptureFixture[str]
) -> None:
    items = made_items()
    expected = result(*trained(tmp_path / "whole", items))
    interrupted(tmp_path / "cut", 2, items)
    state = next((tmp_path / "cut").glob("*/state.pt"))
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    torch.save({"anything": 1}, tmp_path / "foreign.pt")
    foreign = (tmp_path / "foreign.pt").read_bytes()
    state.write_bytes({"flipped": content, "cut": content[:500], "foreign": foreign, "empty": b""}[spoilt])
    assert result(*trained(tmp_path / "cut", items)) == expected
    assert "state.pt is damaged and is ignored" in capsys.readouterr().err


def test_a_resumed_training_says_so_and_takes_only_what_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items, epochs = made_items(), []
    interrupted(tmp_path, 2, items)
    ask = items.examples.inputs
    items.examples.inputs = lambda rows, epoch: (epochs.append(epoch), ask(rows, epoch))[1]  # type: ignore[method-assign]
    network, depth = made_network()
    heard: list[EpochScore] = []
    outcome = loop.train(network, depth, items, fine_tune(), folder=tmp_path, determinants={}, on_epoch=heard.append)
    assert heard == outcome.history
    assert sorted(set(epochs)) == [3, 4]
    assert "behind epoch 2" in capsys.readouterr().err


def test_the_best_weights_alone_are_kept_beside_the_state(tmp_path: Path) -> None:
    interrupted(tmp_path, 3, made_items())
    judged = [f"judged-{epoch}.pt" for epoch in range(4)]
    assert sorted(path.name for path in tmp_path.glob("*/*")) == ["best-3.pt", *judged, "state.pt"]


def test_logits_of_an_epoch_are_written_once_also_by_a_resumed_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    write = Checkpoints._write
    monkeypatch.setattr(
        Checkpoints, "_write", lambda self, name, value: written.append(name) or write(self, name, value)
    )
    items = made_items()
    interrupted(tmp_path / "cut", 2, items)
    found = result(*trained(tmp_path / "cut", items))
    assert [name for name in written if name.startswith("judged")] == [f"judged-{epoch}" for epoch in range(5)]
    assert found == result(*trained(tmp_path / "whole", items))


def test_a_training_whose_logits_are_gone_starts_anew(tmp_path: Path) -> None:
    items = made_items()
    interrupted(tmp_path / "cut", 2, items)
    next((tmp_path / "cut").glob("*/judged-1.pt")).unlink()
    assert result(*trained(tmp_path / "cut", items)) == result(*trained(tmp_path / "whole", items))


def test_without_a_judge_a_resumed_training_ends_the_same_and_writes_no_logits(tmp_path: Path) -> None:
    items = made_items(judged=0)
    interrupted(tmp_path / "cut", 2, items)
    assert [path.name for path in (tmp_path / "cut").glob("*/*")] == ["state.pt"]
    assert result(*trained(tmp_path / "cut", items)) == result(*trained(tmp_path / "whole", items))


def test_training_goes_on_where_no_checkpoint_can_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = result(*trained(tmp_path / "whole"))
    (tmp_path / "taken").write_text("a file where a folder should be")
    assert result(*trained(tmp_path / "taken")) == expected
    assert "cannot be written" in capsys.readouterr().err


def test_a_checkpoint_holds_no_code(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.finish({"value": Network})
    assert kept.outcome() is None


def key(**changes: Any) -> str:
    settings = fine_tune(**changes.get("settings", {}))
    network, depth = made_network(**changes.get("settings", {}))
    if "weight" in changes:
        with torch.no_grad():
            network.head.bias[0] += changes["weight"]
    items = dataclasses.replace(made_items(), **changes.get("items", {}))
    numerics = dataclasses.replace(numerics_of(settings), **changes.get("numerics", {}))
    return training_key(
        network, depth, items, settings, numerics, changes.get("until", 4), changes.get("determinants", {})
    )


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"learning_rate": 0.02}},
        {"settings": {"blocks": 1}},
        {"settings": {"seed": 3}},
        {"weight": 1e-6},
        {"items": {"learn": np.arange(29)}},
        {"items": {"judge": np.arange(31, 40)}},
        {"items": {"judge": None}},
        {"items": {"labels": np.zeros(40, dtype=np.int64)}},
        {"items": {"identities": [f"{number:063x}a" for number in range(40)]}},
        {"numerics": {"threads": 7}},
        {"numerics": {"memory_format": "contiguous"}},
        {"numerics": {"precision": "bf16"}},
        {"until": 3},
        {"determinants": {"crop": 224}},
    ],
    ids=str,
)
def test_whatever_determines_the_result_gives_another_key(change: dict[str, Any]) -> None:
    assert key() == key()
    assert key(**change) != key()


@pytest.mark.parametrize(
    "settings",
    [
        {"min_validation_items": 7},
        {"folds": 5},
        {"views": 9},
        {"frozen_cache_gb": 0.5},
        {"keep_frozen": "never"},
        {"threads": 5},
        {"probe": {"fit_on_validation": False}},
    ],
    ids=str,
)
def test_what_changes_no_bit_of_a_training_leaves_its_key(settings: dict[str, Any]) -> None:
    assert key(settings=settings) == key()


def test_patience_counts_only_where_something_is_judged() -> None:
    assert key(settings={"patience": 2}) != key()
    assert key(settings={"patience": 2}, items={"judge": None}) == key(items={"judge": None})


@pytest.mark.parametrize("name", ["torch", "torchvision", "lightning-fabric", "numpy"])
def test_another_version_of_a_library_gives_another_key(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before, installed = key(), determinants.version
    monkeypatch.setattr(determinants, "version", lambda one: "0.0.1" if one == name else installed(one))
    assert key() != before


def test_other_codecs_pillow_or_onnxruntime_give_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before, engine = key(), determinants.installed_engine()
    for change in ({"pillow": "1.0"}, {"onnxruntime": "1.0"}, {"codecs": {**engine.codecs, "jpg": "1"}}):
        monkeypatch.setattr(determinants, "installed_engine", lambda new=change: engine.model_copy(update=new))
        assert key() != before


def test_another_unit_for_bfloat16_gives_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = set()
    for units in ({}, {"avx512_bf16": True}, {"avx512_bf16": True, "amx_bf16": True}):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=units: found)
        keys.add(key())
    assert len(keys) == 3


def test_another_gpu_or_cuda_gives_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = set()
    for name, cuda, cudnn in [
        ("H200", "13.0", 91000),
        ("A100", "13.0", 91000),
        ("H200", "12.8", 91000),
        ("H200", "13.0", 9),
    ]:
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda found=name: found)
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(torch.backends.cudnn, "version", lambda found=cudnn: found)
        keys.add(key(numerics={"device": "cuda"}))
    assert len(keys) == 4


@pytest.mark.parametrize("name", ["training/loop.py", "backbones/bodies.py", "backbones/blocks.py", "preprocess.py"])
def test_changed_code_gives_another_key(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before, read = key(), sources.file_sha256
    monkeypatch.setattr(sources, "file_sha256", lambda path: "0" if str(path).endswith(f"tasks/{name}") else read(path))
    assert key() != before
