"""Frozen means frozen, to the byte; what is trained is named; a depth that a network lacks is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from random_networks import body
from torch import nn
from training_scene import fine_tune, made_items, made_network, trained

from tasks.errors import ParamsError
from tasks.params.training import FromScratchParams
from tasks.training import loop
from tasks.training.freezing import (
    block_states,
    depth_of,
    digest_of,
    freeze,
    frozen_tensors,
    training_mode,
)
from tasks.training.network import Network, tensors_of


def copied(network: Network) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in tensors_of(network).items()}


def changed(network: Network, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, tensor in tensors_of(network).items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize("average", [0.0, 0.5])
def test_training_changes_every_trained_parameter_and_nothing_else(tmp_path: Path, average: float) -> None:
    before = copied(made_network(blocks=1)[0])
    network, _ = trained(tmp_path, blocks=1, average=average)
    parts = ("trunk.top.", "trunk.top_norm.")
    expected = {f"{part}{kind}" for part in (*parts, "head.") for kind in ("weight", "bias")}
    assert changed(network, before) == expected


def test_trained_batch_norms_move_their_statistics_in_trained_blocks_alone(tmp_path: Path) -> None:
    before = copied(made_network(blocks=1)[0])
    network, _ = trained(tmp_path, blocks=1, batch_norm="trained")
    moved = {name for name in changed(network, before) if "running_" in name or "num_batches" in name}
    assert moved == {f"trunk.top_norm.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}


def test_a_frozen_part_that_changed_is_a_defect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, depth = made_network(blocks=1)

    def spoil(self: loop._Training, epoch: int, on_step: object) -> float:
        with torch.no_grad():
            tensors_of(network)["trunk.stem_norm.running_mean"].add_(1e-6)
        return 1.0

    monkeypatch.setattr(loop._Training, "_epoch", spoil)
    with pytest.raises(RuntimeError, match="changed a frozen part"):
        loop.train(network, depth, made_items(), fine_tune(blocks=1), folder=tmp_path, determinants={})


def test_frozen_blocks_and_kept_statistics_stay_in_evaluation_mode() -> None:
    network, depth = made_network(blocks=1)
    training_mode(network, depth)
    modes = {name: module.training for name, module in network.named_modules() if name and name != "trunk"}
    learning = {"dropout", "head", "trunk.top"}
    assert {name for name, mode in modes.items() if mode} == learning
    network, depth = made_network(blocks=2, batch_norm="trained")
    training_mode(network, depth)
    modes = {name: module.training for name, module in network.named_modules() if name and name != "trunk"}
    learning |= {"trunk.middle", "trunk.middle_norm", "trunk.drop", "trunk.top_norm"}
    assert {name for name, mode in modes.items() if mode} == learning


@pytest.mark.parametrize("blocks", [4, 50])
def test_more_blocks_than_there_are_are_refused_with_the_count(blocks: int) -> None:
    with pytest.raises(ParamsError, match=rf"adapt\.method\.blocks is {blocks}, but the network has 3 blocks"):
        made_network(blocks=blocks)


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "swin_t", "vit_b_16", "densenet121", "convnext_tiny"])
def test_the_last_block_of_a_real_network_is_trained_alone(name: str) -> None:
    trunk = body(name)
    depth = depth_of(trunk, fine_tune(blocks=1))
    network = Network(trunk, nn.Linear(3, 3, device="meta"))
    freeze(network, depth)
    learning = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    owned = {f"trunk.{name}" for name, _ in trunk.named_parameters() if depth.blocks[-1].owns(name)}
    assert owned
    assert learning == owned | {"head.weight", "head.bias"}
    assert not learning & frozen_tensors(network, depth).keys()
    states = block_states(trunk, network.head, depth)
    assert [state.trained for state in states] == [False] * (len(states) - 2) + [True, True]
    assert sum(state.parameters for state in states) == sum(one.numel() for one in network.parameters())
    for parameter in trunk.parameters():
        parameter.requires_grad_(True)


def test_from_scratch_trains_everything_at_one_rate() -> None:
    depth = depth_of(made_network()[0].trunk, FromScratchParams())
    assert (depth.first, depth.statistics_frozen, depth.decay) == (0, False, 1.0)


def test_the_digest_sees_one_changed_bit_another_name_and_another_kind_of_number() -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    digests = {
        digest_of({"a": tensor}),
        digest_of({"a": tensor.nextafter(torch.tensor(9.0))}),
        digest_of({"b": tensor}),
        digest_of({"a": tensor.double()}),
        digest_of({"a": tensor.reshape(3, 2)}),
    }
    assert len(digests) == 5
    assert digest_of({"a": tensor.t().contiguous().t()}) == digest_of({"a": tensor})
