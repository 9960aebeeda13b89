"""Every registered backbone through the same checks: head, blocks, width, preprocessing, export and parity."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.models
from random_networks import body, preprocess_for, random_weights, run_on_meta, whole_network
from torchvision.models import get_model_weights, list_models

from tasks.backbones.blocks import blocks_of
from tasks.backbones.bodies import body_of, head_of
from tasks.backbones.registry import BACKBONES, Backbone, find_backbone, register
from tasks.backbones.torch_export import FeatureNetwork, export_features
from tasks.backbones.weights import load, locate
from tasks.errors import WeightsError
from tasks.onnx_files import with_linear_head
from tasks.onnx_session import open_session
from tasks.params import BackboneParams

QUICK = ("resnet18", "squeezenet1_0")
"""Exported in every run of the tests: a network of norms and one whose head pools; the others in the slow tests."""
ROUNDING = {"maxvit_t": 2e-2}
"""Of the largest value. With weights at random maxvit_t magnifies rounding: torch alone, on the same images, differs by
4e-4 between batches of 1 and 3 and by 6e-4 from float64."""
PROMISED = (
    *("vgg16", "resnet18", "resnet50", "inception_v3", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"),
    *("efficientnet_b0", "convnext_tiny", "densenet121", "vit_b_16", "swin_t", "squeezenet1_0", "shufflenet_v2_x1_0"),
    *("alexnet", "googlenet", "maxvit_t", "mnasnet0_5", "regnet_y_400mf", "shufflenet_v2_x0_5", "swin_v2_t"),
)
"""At least one of each family; the others are run through torch in the slow tests alone."""


def rows(quick: Iterable[str], exportable: bool = False) -> pytest.MarkDecorator:
    every = [
        pytest.param(row, marks=[] if name in quick else pytest.mark.slow, id=name)
        for name, row in BACKBONES.items()
        if row.fits_one_file or not exportable
    ]
    return pytest.mark.parametrize("row", every)


def images(count: int, crop: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, crop, crop, 3), dtype=np.uint8)


def test_every_classification_network_of_torchvision_has_a_row() -> None:
    assert list(BACKBONES) == list_models(module=torchvision.models)


@rows(PROMISED)
def test_the_head_is_there_and_what_takes_its_place_learns_nothing(row: Backbone) -> None:
    whole, rest = whole_network(row.name), body(row.name)
    head, layer = head_of(whole, row)
    assert layer in list(whole.get_submodule(head).modules())
    assert layer.weight.shape[1] == row.feature_width
    assert list(rest.get_submodule(head).parameters()) == []
    kept = {name: value for name, value in whole.state_dict().items() if not name.startswith(f"{head}.")}
    assert list(rest.state_dict()) == list(kept)
    assert not any(module.training for module in rest.modules())
    assert not any(name.startswith(row.auxiliary) for name in kept if row.auxiliary)


@rows(PROMISED)
def test_every_parameter_and_buffer_lies_in_one_block_and_blocks_are_run_in_order(row: Backbone) -> None:
    network = body(row.name)
    blocks = blocks_of(network)
    tensors = [name for name, _ in [*network.named_parameters(), *network.named_buffers()]]
    assert all(sum(block.owns(name) for block in blocks) == 1 for name in tensors)
    assert all(any(block.owns(name) for name in tensors) for block in blocks)
    assert len({block.name for block in blocks}) == len(blocks) > 5
    assert run_on_meta(row.name).order == [block.name for block in blocks]


@rows(PROMISED)
def test_features_have_the_stated_width_and_no_space_left(row: Backbone) -> None:
    features = run_on_meta(row.name).features
    assert features.shape == (2, row.feature_width)
    assert features.dtype == torch.float32


@pytest.mark.parametrize("name", [name for name, row in BACKBONES.items() if row.fits_one_file])
def test_preprocessing_is_that_of_torchvisions_weights(name: str) -> None:
    params = BackboneParams(name=name, weights="none")
    preset, ours = (
        get_model_weights(name)["IMAGENET1K_V1"].transforms(),
        load(params, locate(params, Path())).preprocess,
    )
    assert ([ours.crop], [ours.resize], ours.interpolation) == (
        preset.crop_size,
        preset.resize_size,
        preset.interpolation.value,
    )
    assert (list(ours.mean), list(ours.std)) == (preset.mean, preset.std)


@rows(QUICK, exportable=True)
def test_onnx_runtime_gives_torchs_features_and_logits_at_every_batch_size(row: Backbone, tmp_path: Path) -> None:
    weights, crop = random_weights(row.name), preprocess_for(row.name).crop
    graph = export_features(row, weights)
    head = torch.nn.Linear(row.feature_width, 5)
    (tmp_path / "model.onnx").write_bytes(
        with_linear_head(graph, head.weight.detach().numpy(), head.bias.detach().numpy())
    )
    session = open_session(tmp_path / "model.onnx")
    (taken,), given = session.get_inputs(), {output.name: output for output in session.get_outputs()}
    assert (taken.name, taken.type, taken.shape[1:]) == ("image", "tensor(uint8)", [crop, crop, 3])
    assert (given["embedding"].type, given["embedding"].shape[1:]) == ("tensor(float)", [row.feature_width])
    assert isinstance(given["embedding"].shape[0], str)
    network = FeatureNetwork(body_of(row, weights), weights.preprocess).eval()
    batch = images(3, crop)
    with torch.no_grad():
        features = network(torch.from_numpy(batch))
        logits = head(features)
    assert float(features.std(dim=0).mean()) > 1e-3 * float(features.abs().max())
    for count in (1, 3):
        ours = session.run(["embedding", "logits"], {"image": batch[:count]})
        for found, expected in zip(ours, (features.numpy()[:count], logits.numpy()[:count]), strict=True):
            assert found.shape == expected.shape
            atol = ROUNDING.get(row.name, 1e-4) * float(np.abs(expected).max())
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=atol)


@pytest.mark.parametrize("name", [name for name, row in BACKBONES.items() if not row.fits_one_file])
def test_a_network_that_no_onnx_file_can_hold_is_refused_by_name_with_the_mend(name: str) -> None:
    size = sum(value.numel() * value.element_size() for value in body(name).state_dict().values())
    assert size > 2**31
    with pytest.raises(WeightsError, match=rf"'{name}' has more than the 2 GiB.*set backbone\.name to a smaller one"):
        find_backbone(name)


def test_every_other_network_fits_into_one_onnx_file() -> None:
    largest = max(("convnext_large", "regnet_y_32gf", "vgg19_bn", "vit_l_32"), key=_body_bytes)
    assert largest == "vit_l_32"
    assert _body_bytes(largest) < 2**31


def _body_bytes(name: str) -> int:
    return sum(value.numel() * value.element_size() for value in body(name).state_dict().values())


def test_two_rows_of_one_name_are_refused() -> None:
    row = Backbone("resnet18", 512)
    with pytest.raises(ValueError, match="backbone 'resnet18' is registered twice"):
        register([row, row])


def test_an_unknown_name_is_refused_with_the_nearest_one_and_all() -> None:
    with pytest.raises(WeightsError, match=r"unknown backbone 'resnet19'; did you mean 'resnet18'\? known: alexnet, c"):
        find_backbone("resnet19")
    assert find_backbone("resnet18") is BACKBONES["resnet18"]
