"""Every backbone cut below its trained blocks: the two parts together are the network, bit for bit."""

from __future__ import annotations

import pytest
import torch
from random_networks import no_initialisation, preprocess_for, random_weights
from torch import nn

from tasks.backbones.blocks import blocks_of
from tasks.backbones.bodies import body_of
from tasks.backbones.registry import BACKBONES
from tasks.training.prefix import split_network

QUICK = ("mobilenet_v2", "resnet18", "squeezenet1_0", "shufflenet_v2_x0_5")
SLOW = (
    *("vgg16", "resnet50", "inception_v3", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0"),
    *("convnext_tiny", "densenet121", "vit_b_16", "swin_t", "googlenet", "maxvit_t", "regnet_y_400mf", "mnasnet0_5"),
)
NAMES = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


def small_body(name: str) -> nn.Module:
    weights = random_weights(name)
    with no_initialisation():
        return body_of(BACKBONES[name], weights)


def trained_of(body: nn.Module, depth: int) -> list[str]:
    last = blocks_of(body)[-depth:]
    return [name for name, _ in body.named_parameters() if any(block.owns(name) for block in last)]


def images(name: str) -> torch.Tensor:
    side = preprocess_for(name).crop
    return torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NAMES)
def test_both_parts_together_are_the_network_at_every_depth(name: str) -> None:
    body, batch = small_body(name), images(name)
    every, tensors, attributes = len(blocks_of(body)), set(body.state_dict()), set(vars(body))
    with torch.no_grad():
        expected = body(batch)
    for depth in (1, 4, every - 1, every):
        trained = trained_of(body, depth)
        prefix, suffix = split_network(body, trained, batch.shape[-1])
        assert (prefix is None) == (depth == every)
        if prefix is None:
            assert suffix is body
            assert set(vars(body)) == attributes
            continue
        with torch.no_grad():
            kept = prefix(batch)
            assert torch.equal(suffix(*kept), expected)
        above, own = dict(suffix.named_parameters()), dict(body.named_parameters())
        assert not set(trained) & {parameter for parameter, _ in prefix.named_parameters()}
        assert set(trained) <= set(above)
        assert all(own[parameter] is tensor for parameter, tensor in above.items())
        assert set(suffix.state_dict()) <= set(body.state_dict()) == tensors


@pytest.mark.parametrize("name", NAMES)
def test_the_upper_part_in_training_mode_is_the_network_in_training_mode(name: str) -> None:
    """Dropout, stochastic depth and batch norm included: same draws, same running statistics, same gradients."""
    body, batch = small_body(name), images(name)
    trained = trained_of(body, 2)
    prefix, suffix = split_network(body, trained, batch.shape[-1])
    assert prefix is not None
    # With gradients, as `body(batch)` below: without them attention takes another way, which rounds differently.
    kept = [value.detach() for value in prefix(batch)]
    start = {key: value.clone() for key, value in body.state_dict().items()}

    def step(whole: bool) -> list[torch.Tensor]:
        with torch.no_grad():
            for key, value in body.state_dict().items():
                value.copy_(start[key])
        body.zero_grad()
        torch.manual_seed(3)
        suffix.train()
        features = body(batch) if whole else suffix(*kept)
        features.square().mean().backward()
        gradients = [body.get_parameter(parameter).grad for parameter in trained]
        assert all(gradient is not None for gradient in gradients)
        return [features.detach(), *body.state_dict().values(), *gradients]

    found = [tensor.clone() for tensor in step(whole=False)]
    assert all(torch.equal(one, other) for one, other in zip(found, step(whole=True), strict=True))
    suffix.eval()
    assert not any(module.training for module in body.modules() if not list(module.children()))


def test_what_crosses_is_no_more_than_the_cut_needs() -> None:
    """Of an image of 64 pixels, in floats: a block's input, not beside it what is pooled or joined from it."""
    expected = {"mobilenet_v2": 160 * 2 * 2, "shufflenet_v2_x0_5": 192 * 2 * 2, "squeezenet1_0": 256 * 7 * 7}
    for name, floats in expected.items():
        body, batch = small_body(name), images(name)
        prefix, _ = split_network(body, trained_of(body, 4), batch.shape[-1])
        assert prefix is not None
        with torch.no_grad():
            assert sum(value[0].numel() for value in prefix(batch)) == floats
