"""A body holds what torchvision would load, in every form in which weights are about; what does not fit is named."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from random_networks import body, drawn, no_initialisation
from small_workspace import make_workspace, run_stages
from torch import nn
from torchvision.models import get_model

from tasks.backbones.blocks import blocks_of
from tasks.backbones.bodies import body_of, head_of
from tasks.backbones.registry import Backbone, find_backbone
from tasks.backbones.torch_export import export_features
from tasks.backbones.weights import LoadedWeights, load, locate
from tasks.errors import WeightsError
from tasks.params import BackboneParams
from tasks.preprocess import Preprocess
from tasks.reports.backbone import BackboneReport
from tasks.reports.qualification import Qualification


def loaded(state: Mapping[str, torch.Tensor] | None, crop: int = 64) -> LoadedWeights:
    return LoadedWeights(
        state, "none", Preprocess(resize=crop, crop=crop, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    )


def network(architecture: str, **options: Any) -> nn.Module:
    with no_initialisation():
        made: nn.Module = get_model(architecture, weights=None, **options)
    values = drawn(made)
    for name, value in made.state_dict().items():
        value.copy_(values[name])
    return made.eval()


def assert_equal_features(name: str, theirs: nn.Module, body: nn.Module, crop: int = 64) -> None:
    head, _ = head_of(theirs, find_backbone(name))
    theirs.set_submodule(head, nn.Identity())
    image = torch.randn(2, 3, crop, crop)
    with torch.no_grad():
        expected, found = theirs(image), body(image)
    assert float(expected.std()) > 0
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_inception_networks_shift_their_input_and_lose_their_auxiliary_heads_as_torchvision_does(name: str) -> None:
    theirs = network(name, init_weights=False, transform_input=True)
    assert any(key.lower().startswith("aux") for key in theirs.state_dict())
    body = body_of(find_backbone(name), loaded(theirs.state_dict(), 80))
    assert not any(key.lower().startswith("aux") for key in body.state_dict())
    assert_equal_features(name, theirs, body, crop=80)


def test_densenet_weights_with_the_dotted_names_of_torchvisions_files_are_read() -> None:
    theirs = network("densenet121")
    dotted = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name): value
        for name, value in theirs.state_dict().items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in dotted
    assert_equal_features("densenet121", theirs, body_of(find_backbone("densenet121"), loaded(dotted)))


def test_mnasnet_weights_that_do_not_tell_their_layout_are_read() -> None:
    theirs = network("mnasnet0_5")
    assert_equal_features("mnasnet0_5", theirs, body_of(find_backbone("mnasnet0_5"), loaded(dict(theirs.state_dict()))))


def test_a_vision_transformer_takes_the_image_size_of_its_weights() -> None:
    state = {name: torch.zeros(value.shape) for name, value in body("vit_b_32").state_dict().items()}
    state["encoder.pos_embedding"] = torch.ones(1, 10, 768)
    with no_initialisation():
        fitting = body_of(find_backbone("vit_b_32"), loaded(state, 96))
        assert torch.equal(fitting.state_dict()["encoder.pos_embedding"], state["encoder.pos_embedding"])
        with pytest.raises(
            WeightsError, match=r"do not fit vit_b_32: .*pos_embedding.*another backbone\.preprocess\.cr"
        ):
            body_of(find_backbone("vit_b_32"), loaded(state, 64))


@pytest.mark.parametrize(("name", "crop"), [("vit_b_32", 65), ("maxvit_t", 64)])
def test_an_image_size_that_cannot_be_built_is_refused_with_the_mend(name: str, crop: int) -> None:
    with pytest.raises(WeightsError, match=rf"{name} takes no images of {crop} pixels \(.*set backbone\.preprocess"):
        body_of(find_backbone(name), loaded(None, crop))


def test_an_image_size_that_vanishes_on_its_way_is_refused_with_the_mend() -> None:
    with pytest.raises(WeightsError, match=r"squeezenet1_0 takes no images of 12 pixels \(.*to null or higher"):
        export_features(find_backbone("squeezenet1_0"), loaded(None, 12))


def test_weights_that_are_no_numbers_are_refused() -> None:
    state = dict(get_model("squeezenet1_0", weights=None).state_dict())
    state["features.3.squeeze.bias"] = torch.full_like(state["features.3.squeeze.bias"], torch.nan)
    with pytest.raises(WeightsError, match=r"squeezenet1_0 hold values that are no numbers: \['features\.3\.squeeze"):
        body_of(find_backbone("squeezenet1_0"), loaded(state))
    state["features.3.squeeze.bias"].zero_()
    state["classifier.1.bias"] = torch.full((1000,), torch.nan)
    body_of(find_backbone("squeezenet1_0"), loaded(state))


def test_a_row_that_states_a_wrong_width_is_found_out_before_the_export() -> None:
    with pytest.raises(WeightsError, match=r"squeezenet1_0 gives 512 features where its row"):
        export_features(Backbone("squeezenet1_0", 511), loaded(None))


def test_inceptions_images_are_299_pixels() -> None:
    params = BackboneParams(name="inception_v3", weights="none")
    ours = load(params, locate(params, Path())).preprocess
    assert (ours.resize, ours.crop, ours.interpolation) == (342, 299, "bilinear")


def test_a_norm_lies_in_the_block_before_it_and_tokens_lie_in_the_first() -> None:
    with torch.device("meta"):
        residual, transformer = get_model("resnet18", weights=None), get_model("vit_b_32", weights=None)
    residual.fc = transformer.heads = nn.Identity()
    first, *_ = blocks = blocks_of(residual)
    assert first.parts == ("conv1", "bn1")
    assert [block.name for block in blocks[1:]] == [
        f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)
    ]
    first, *_, last = blocks_of(transformer)
    assert first.parts == ("conv_proj", "class_token", "encoder.pos_embedding")
    assert last.parts == ("encoder.layers.encoder_layer_11", "encoder.ln")
    assert last.owns("encoder.ln.weight")
    assert not last.owns("encoder.layers.encoder_layer_1.ln_1.weight")


@pytest.mark.slow
def test_a_network_with_auxiliary_heads_goes_the_whole_way_to_a_qualified_release(tmp_path: Path) -> None:
    torch.save(network("googlenet", init_weights=False).state_dict(), tmp_path / "net.pth")
    settings = {"name": "googlenet", "weights": str(tmp_path / "net.pth"), "preprocess": {"resize": 36, "crop": 32}}
    workspace = make_workspace(tmp_path / "workspace", settings={"backbone": settings})
    run_stages(workspace)
    made = BackboneReport.read(workspace.backbone / "backbone.json")
    assert (made.architecture, made.feature_width, made.preprocess.crop) == ("googlenet", 1024, 32)
    assert Qualification.read(workspace.qualification).passed
