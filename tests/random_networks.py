"""Networks for tests: built without the seconds of initialisation, weights drawn so that all of them count."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import nn

from tasks.backbones.blocks import blocks_of
from tasks.backbones.bodies import body_of, build
from tasks.backbones.registry import BACKBONES
from tasks.backbones.weights import LoadedWeights
from tasks.preprocess import Preprocess

CROPS = {"inception_v3": 96, "maxvit_t": 224, "vit_h_14": 70}
"""The side of the test images, pixels, where 64 is too small or does not divide."""


def preprocess_for(name: str) -> Preprocess:
    crop = CROPS.get(name, 64)
    return Preprocess(resize=crop, crop=crop, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@contextmanager
def no_initialisation() -> Iterator[None]:
    """Networks that are built meanwhile hold whatever lies in memory, which is then not even touched."""

    def untouched(tensor: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        return tensor

    with pytest.MonkeyPatch.context() as patch:
        for name in ("constant_", "kaiming_normal_", "kaiming_uniform_", "trunc_normal_", "normal_", "uniform_"):
            patch.setattr(nn.init, name, untouched)
        for name in ("normal_", "uniform_"):
            patch.setattr(torch.Tensor, name, untouched)
        yield


@cache
def whole_network(name: str) -> nn.Module:
    """The network as torchvision makes it, on the meta device: shapes and names, no values."""
    with no_initialisation():
        return build(BACKBONES[name], preprocess_for(name).crop).to("meta").eval()


@cache
def body(name: str) -> nn.Module:
    """The network without its heads, on the meta device."""
    with no_initialisation():
        return body_of(BACKBONES[name], LoadedWeights(None, "none", preprocess_for(name))).to("meta")


def random_weights(name: str) -> LoadedWeights:
    """Weights of the whole network, its head included, that neither die out nor leave a norm or bias without effect."""
    with no_initialisation():
        network = build(BACKBONES[name], preprocess_for(name).crop)
    return LoadedWeights(drawn(network), "random", preprocess_for(name))


def drawn(network: nn.Module) -> dict[str, torch.Tensor]:
    """A state dict of that network: its parameters and running statistics at random, its other buffers as they are."""
    generator = torch.Generator().manual_seed(1)
    state, parameters = network.state_dict(), dict(network.named_parameters())
    return {
        key: _draw(value, key, generator) if key in parameters or "running_" in key else value
        for key, value in state.items()
    }


def _draw(value: torch.Tensor, key: str, generator: torch.Generator) -> torch.Tensor:
    if value.dim() > 1 and not key.endswith("layer_scale"):
        return torch.randn(value.shape, generator=generator) * math.sqrt(2 / value[0].numel())
    if key.endswith(("weight", "running_var", "layer_scale")):
        return torch.rand(value.shape, generator=generator) + 0.5
    return torch.randn(value.shape, generator=generator) * 0.1


@dataclass(frozen=True)
class Run:
    """What a pass of two images through a body shows: its features, and its blocks in the order of their first call."""

    features: torch.Tensor
    order: list[str]


@cache
def run_on_meta(name: str) -> Run:
    network, crop, called = body(name), preprocess_for(name).crop, []
    handles = [
        network.get_submodule(block.name).register_forward_pre_hook(lambda *_, name=block.name: called.append(name))
        for block in blocks_of(network)
    ]
    with torch.no_grad():
        features = network(torch.empty(2, 3, crop, crop, device="meta"))
    for handle in handles:
        handle.remove()
    return Run(features, list(dict.fromkeys(called)))
