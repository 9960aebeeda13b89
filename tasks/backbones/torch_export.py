"""Exporting a torchvision body to ONNX; the one place of the probe's way that imports torch."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from tasks.backbones.bodies import body_of
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
    """ONNX bytes: `image` uint8 (batch, crop, crop, 3) to `embedding` float32 (batch, width), normalisation inside.

    Raises:
        WeightsError: as `body_of`, or the architecture takes no images as small as the weights' crop.
    """
    return export_body(backbone, body_of(backbone, weights), weights.preprocess)


def export_body(backbone: Backbone, body: torch.nn.Module, preprocess: Preprocess) -> bytes:
    """The same of a body whose weights are in it, such as a trained one; it is put into evaluation mode."""
    network = FeatureNetwork(body, preprocess).eval()
    side = preprocess.crop
    example = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    with quiet_exporter(), torch.no_grad():
        _check_one_image(network, example[:1], backbone)
        program: Any = torch.onnx.export(
            network,
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


def _check_one_image(network: torch.nn.Module, image: torch.Tensor, backbone: Backbone) -> None:
    """One image through torch: what the exporter would bury in its own report is said in a sentence."""
    try:
        width = network(image).shape[1]
    except RuntimeError as err:
        raise WeightsError(
            f"{backbone.name} takes no images of {image.shape[1]} pixels ({' '.join(str(err).split())[:200]}); "
            "set backbone.preprocess.crop to null or higher"
        ) from err
    if width != backbone.feature_width:
        raise WeightsError(f"{backbone.name} gives {width} features where its row in the registry says otherwise")


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """The exporter prints and warns; what matters it raises."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
