"""Weight decay spares norms, biases and positions; rates fall from block to block downwards."""

from __future__ import annotations

import pytest
import torch
from random_networks import body
from torch import nn
from training_scene import fine_tune, made_network

from tasks.training.freezing import depth_of, freeze
from tasks.training.network import Network
from tasks.training.parameter_groups import HIGHEST, optimizer_of, parameter_groups, set_rates


@pytest.mark.parametrize("name", ["mobilenet_v2", "vit_b_16", "swin_t", "convnext_tiny", "densenet121", "swin_v2_t"])
def test_weight_decay_acts_on_the_matrices_of_layers_alone(name: str) -> None:
    network = Network(body(name), nn.Linear(3, 3, device="meta"))
    settings = fine_tune(blocks="all", weight_decay=0.1)
    depth = depth_of(network.trunk, settings)
    freeze(network, depth)
    groups = parameter_groups(network, settings, depth)
    decayed = {id(one) for group in groups if group["weight_decay"] == 0.1 for one in group["params"]}
    spared = {id(one) for group in groups if group["weight_decay"] == 0.0 for one in group["params"]}
    layers = (nn.Conv2d, nn.Linear)
    matrices = {id(module.weight) for module in network.modules() if isinstance(module, layers)}
    matrices |= {id(module.in_proj_weight) for module in network.modules() if isinstance(module, nn.MultiheadAttention)}
    assert decayed == matrices
    assert spared == {id(one) for one in network.parameters()} - matrices


def test_each_block_learns_at_the_rate_above_it_times_the_decay_and_the_head_in_full() -> None:
    network, depth = made_network(blocks="all", layer_decay=0.5)
    freeze(network, depth)
    groups = parameter_groups(network, fine_tune(learning_rate=0.08), depth)
    rates = {id(one): group[HIGHEST] for group in groups for one in group["params"]}
    found = {name: rates[id(parameter)] for name, parameter in network.named_parameters()}
    assert found["head.weight"] == found["trunk.top.weight"] == found["trunk.top_norm.bias"] == 0.08
    assert found["trunk.middle.weight"] == found["trunk.middle_norm.weight"] == 0.04
    assert found["trunk.stem.weight"] == 0.02
    assert groups[-1][HIGHEST] == 0.08


def test_frozen_parameters_are_in_no_group() -> None:
    network, depth = made_network(blocks=1)
    freeze(network, depth)
    held = {id(one) for group in parameter_groups(network, fine_tune(), depth) for one in group["params"]}
    assert held == {id(one) for one in network.parameters() if one.requires_grad}


@pytest.mark.parametrize(("optimizer", "kind"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_the_optimiser_takes_every_groups_rate_times_the_multiplier(optimizer: str, kind: type) -> None:
    network, depth = made_network(blocks="all", layer_decay=0.5)
    freeze(network, depth)
    made = optimizer_of(network, fine_tune(optimizer=optimizer, learning_rate=0.08), depth)
    set_rates(made, 0.25)
    assert isinstance(made, kind)
    assert sorted({group["lr"] for group in made.param_groups}) == [0.005, 0.01, 0.02]
    assert all(group.get("momentum", 0.9) == 0.9 for group in made.param_groups)
