"""Every registered backbone through the same checks: head, width, export, and parity of torch and ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import get_model, get_model_weights

from tasks.backbones.registry import BACKBONES, Backbone, find_backbone, register
from tasks.backbones.session import open_session
from tasks.backbones.torch_export import FeatureNetwork, body_of, export_features
from tasks.backbones.weights import LoadedWeights
from tasks.errors import WeightsError
from tasks.preprocess import Preprocess

CROP = 64
QUICK = ("squeezenet1_0", "resnet18")
WEIGHTS = LoadedWeights(
    None, "none", Preprocess(resize=CROP, crop=CROP, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
)

every_row = pytest.mark.parametrize("row", BACKBONES.values(), ids=lambda row: row.name)
every_row_export = pytest.mark.parametrize(
    "row",
    [pytest.param(row, marks=[] if name in QUICK else pytest.mark.slow) for name, row in BACKBONES.items()],
    ids=lambda row: row.name,
)


def images(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, CROP, CROP, 3), dtype=np.uint8)


@every_row
def test_the_head_is_there_and_what_takes_its_place_learns_nothing(row: Backbone) -> None:
    whole, body = get_model(row.name, weights=None), body_of(row, WEIGHTS)
    assert sum(parameter.numel() for parameter in getattr(whole, row.head).parameters()) > 0
    assert list(getattr(body, row.head).parameters()) == []
    rest = [name for name, _ in whole.named_parameters() if not name.startswith(f"{row.head}.")]
    assert [name for name, _ in body.named_parameters()] == rest
    assert not any(module.training for module in body.modules())


@every_row
def test_features_have_the_stated_width_and_no_space_left(row: Backbone) -> None:
    with torch.no_grad():
        features = FeatureNetwork(body_of(row, WEIGHTS), WEIGHTS.preprocess)(torch.from_numpy(images(2)))
    assert features.shape == (2, row.feature_width)
    assert features.dtype == torch.float32


@every_row
def test_torchvision_offers_weights_with_preprocessing_for_it(row: Backbone) -> None:
    preset = get_model_weights(row.name)["IMAGENET1K_V1"].transforms()
    assert preset.crop_size[0] <= preset.resize_size[0]


@every_row_export
def test_onnx_runtime_gives_torchs_features_at_every_batch_size(row: Backbone, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(export_features(row, WEIGHTS))
    session = open_session(tmp_path / "model.onnx")
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.type, taken.shape[1:]) == ("image", "tensor(uint8)", [CROP, CROP, 3])
    assert (given.name, given.type, given.shape[1:]) == ("embedding", "tensor(float)", [row.feature_width])
    network = FeatureNetwork(body_of(row, WEIGHTS), WEIGHTS.preprocess).eval()
    for count in (1, 3):
        batch = images(count)
        (ours,) = session.run(["embedding"], {"image": batch})
        with torch.no_grad():
            expected = network(torch.from_numpy(batch)).numpy()
        assert ours.shape == (count, row.feature_width)
        assert float(expected.std()) > 0
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-4 * float(np.abs(expected).max()))


def test_two_rows_of_one_name_are_refused() -> None:
    row = Backbone("resnet18", head="fc", feature_width=512)
    with pytest.raises(ValueError, match="backbone 'resnet18' is registered twice"):
        register([row, row])


def test_an_unknown_name_is_refused_with_the_nearest_one_and_all() -> None:
    with pytest.raises(
        WeightsError, match=r"unknown backbone 'resnet19'; did you mean 'resnet18'\? known: efficientne"
    ):
        find_backbone("resnet19")
    assert find_backbone("resnet18") is BACKBONES["resnet18"]
