"""Exporting a torchvision body to ONNX; the one place of the probe's way that imports torch."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torchvision.models import get_model

from tasks.backbones.registry import Backbone
from tasks.backbones.weights import LoadedWeights
from tasks.errors import WeightsError
from tasks.onnx_files import stripped
from tasks.preprocess import Preprocess

OPSET = 20


class FeatureNetwork(torch.nn.Module):
    """A body with its normalisation in front: uint8 (n, crop, crop, 3) to float32 (n, width)."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, body: torch.nn.Module, preprocess: Preprocess) -> None:
        super().__init__()
        mean = torch.tensor(preprocess.mean, dtype=torch.float64).view(1, 3, 1, 1)
        std = torch.tensor(preprocess.std, dtype=torch.float64).view(1, 3, 1, 1)
        self.body = body
        self.register_buffer("scale", (1.0 / (255.0 * std)).float())
        self.register_buffer("shift", (-mean / std).float())

    def forward(self, image: torch.Tensor) -> Any:
        pixels = image.permute(0, 3, 1, 2).to(torch.float32)
        return self.body(pixels * self.scale + self.shift)


def export_features(backbone: Backbone, weights: LoadedWeights) -> bytes:
    """ONNX bytes: `image` uint8 (batch, crop, crop, 3) to `embedding` float32 (batch, width), normalisation inside."""
    network = FeatureNetwork(body_of(backbone, weights), weights.preprocess)
    side = weights.preprocess.crop
    example = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    with _quiet(), torch.no_grad():
        program: Any = torch.onnx.export(
            network.eval(),
            (example,),
            dynamo=True,
            dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
            opset_version=OPSET,
            input_names=["image"],
            output_names=["embedding"],
            external_data=False,
            verbose=False,
        )
    return stripped(program.model_proto)


def body_of(backbone: Backbone, weights: LoadedWeights) -> torch.nn.Module:
    """The architecture with these weights and without its head, in evaluation mode.

    Raises:
        WeightsError: the state dict is not of this architecture; the first differing names are listed.
    """
    torch.manual_seed(0)
    body: torch.nn.Module = get_model(backbone.name, weights=None)
    tail: torch.nn.Module = torch.nn.AdaptiveAvgPool2d(1) if backbone.pool else torch.nn.Identity()
    setattr(body, backbone.head, tail)
    if weights.state is not None:
        _load_state(body, backbone, weights.state)
    return body.eval()


def _load_state(body: torch.nn.Module, backbone: Backbone, state: Mapping[str, torch.Tensor]) -> None:
    kept = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    kept = {name: value for name, value in kept.items() if not name.startswith(f"{backbone.head}.")}
    try:
        result = body.load_state_dict(kept, strict=False)
    except RuntimeError as err:
        raise WeightsError(f"the weights do not fit {backbone.name}: {' '.join(str(err).split())[:300]}") from err
    missing = [name for name in result.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or result.unexpected_keys:
        raise WeightsError(
            f"the weights are not of {backbone.name}: missing {missing[:3]}, unexpected {result.unexpected_keys[:3]}; "
            "set backbone.name to their architecture"
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints and warns; what matters it raises."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
