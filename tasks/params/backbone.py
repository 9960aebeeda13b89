"""Which pretrained network is the rootstock, and how its input is prepared."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.params.section import FileOrName, Section

BackboneName = Literal[
    "efficientnet_b0",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "resnet18",
    "resnet50",
    "shufflenet_v2_x0_5",
    "squeezenet1_0",
]


class PreprocessParams(Section):
    """Overrides of the weights' own preprocessing; null keeps what the weights say."""

    resize: int | None = Field(None, ge=8, le=2048, description="Shorter side after resizing, pixels.")
    crop: int | None = Field(None, ge=8, le=2048, description="Side of the centre crop, pixels.")


class BackboneParams(Section):
    name: BackboneName = Field("shufflenet_v2_x0_5", description="Architecture, as torchvision names it.")
    weights: FileOrName = Field(
        "bundled",
        description="bundled, none, a torchvision weights name (IMAGENET1K_V1), or a local .pth or .safetensors file.",
    )
    preprocess: PreprocessParams = Field(PreprocessParams(), description="Overrides of the weights' preprocessing.")
