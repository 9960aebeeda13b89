"""What a release takes and gives under the protocol: names, datatypes and shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deploy.model import Model
from tasks.opened_release import OUTPUTS

IMAGE, ENCODED_IMAGE = "image", "encoded_image"
PLATFORM = "onnxruntime_onnx"
OF_CLASSES = ("probabilities", "logits")


@dataclass(frozen=True)
class Tensor:
    """One tensor; -1 stands for the images of a request."""

    name: str
    datatype: Literal["UINT8", "BYTES", "FP32"]
    shape: list[int]


def inputs_of(model: Model) -> list[Tensor]:
    """A request gives one of these: prepared pixels, or image files as /predict takes them."""
    crop = model.opened.preprocess.crop
    return [Tensor(IMAGE, "UINT8", [-1, crop, crop, 3]), Tensor(ENCODED_IMAGE, "BYTES", [-1])]


def outputs_of(model: Model) -> list[Tensor]:
    """What a reply may hold, in the order in which it does where the client names none."""
    shapes = {part.name: part.shape for part in model.opened.session.get_outputs()}
    return [Tensor(name, "FP32", [-1, int(shapes[name][1])]) for name in OUTPUTS]
