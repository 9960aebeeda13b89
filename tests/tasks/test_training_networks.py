"""The networks of the issue learn in either precision: what is trained moves, what is frozen does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from random_networks import preprocess_for, random_weights
from torch import nn
from training_scene import fine_tune, identities

from tasks.backbones.bodies import body_of
from tasks.backbones.registry import BACKBONES
from tasks.metrics import IntVector
from tasks.training.determinants import TrainingItems
from tasks.training.freezing import depth_of
from tasks.training.loop import train
from tasks.training.network import Network, tensors_of

NETWORKS = (
    *("vgg16", "resnet18", "resnet50", "inception_v3", "mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0"),
    *("convnext_tiny", "densenet121", "vit_b_16", "swin_t", "squeezenet1_1", "shufflenet_v2_x1_0", "googlenet"),
    *("swin_v2_t", "maxvit_t", "regnet_y_400mf", "mnasnet1_0"),
)


class Pixels:
    """Six random images that are never varied."""

    def __init__(self, side: int) -> None:
        self.images = torch.rand(6, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def __len__(self) -> int:
        return len(self.images)

    def inputs(self, rows: IntVector, epoch: int) -> tuple[torch.Tensor, ...]:
        return self.plain(rows)

    def plain(self, rows: IntVector) -> tuple[torch.Tensor, ...]:
        return (self.images[torch.from_numpy(rows)],)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "blocks"), [("fp32", "all"), ("bf16", 2)])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_learns_in_what_is_trained_alone(
    tmp_path: Path, name: str, precision: str, blocks: int | str
) -> None:
    body = body_of(BACKBONES[name], random_weights(name))
    settings = fine_tune(precision=precision, blocks=blocks, epochs=1, batch_size=4, warmup_epochs=0)
    depth = depth_of(body, settings)
    network = Network(body, nn.Linear(BACKBONES[name].feature_width, 2))
    before = {name: tensor.clone() for name, tensor in tensors_of(network).items()}
    examples = Pixels(preprocess_for(name).crop)
    items = TrainingItems(examples, np.arange(6) % 2, identities(6), np.arange(6), np.arange(2))
    outcome = train(network, depth, items, settings, folder=tmp_path, determinants={})
    parameters = {name for name, _ in network.named_parameters()}
    moved = {name for name, tensor in tensors_of(network).items() if not torch.equal(tensor, before[name])}
    assert moved <= {name for name in parameters if depth.trains(name)}
    assert len(moved) > 0.9 * sum(map(depth.trains, parameters))
    assert outcome.history[1].training_loss is not None
    assert np.isfinite(outcome.judged_logits).all()
