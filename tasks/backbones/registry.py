"""The known architectures: every torchvision classification network, one row each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tasks.errors import WeightsError, did_you_mean

V1 = "IMAGENET1K_V1"
TWO_RECIPES = (V1, "IMAGENET1K_V2")
SWAG = ("IMAGENET1K_SWAG_E2E_V1", "IMAGENET1K_SWAG_LINEAR_V1")


@dataclass(frozen=True)
class Backbone:
    """A torchvision classification architecture, cut below its head.

    Attributes:
        name: as torchvision.models.get_model knows it.
        feature_width: width of what is left when the head is off; where the head pools, after that pooling.
        head: name of the module that is taken off; empty: the last layer, as `tasks.backbones.bodies.head_of` finds it.
        auxiliary: further heads, beside the trunk; they serve its pretraining only and are never built.
        size_argument: the builder's argument that fixes the input's side; empty: the network takes any.
        fits_one_file: whether its weights stay below the 2 GiB that one ONNX file may hold.
        weights: what torchvision calls its weights, known here without importing torch (seconds).
    """

    name: str
    feature_width: int
    head: str = ""
    auxiliary: tuple[str, ...] = ()
    size_argument: str = ""
    fits_one_file: bool = True
    weights: tuple[str, ...] = (V1,)


def register(rows: Iterable[Backbone]) -> dict[str, Backbone]:
    """Rows by name.

    Raises:
        ValueError: two rows have one name.
    """
    table: dict[str, Backbone] = {}
    for row in rows:
        if row.name in table:
            raise ValueError(f"backbone {row.name!r} is registered twice")
        table[row.name] = row
    return table


BACKBONES = register(
    [
        Backbone("alexnet", 4096),
        Backbone("convnext_base", 1024),
        Backbone("convnext_large", 1536),
        Backbone("convnext_small", 768),
        Backbone("convnext_tiny", 768),
        Backbone("densenet121", 1024),
        Backbone("densenet161", 2208),
        Backbone("densenet169", 1664),
        Backbone("densenet201", 1920),
        Backbone("efficientnet_b0", 1280),
        Backbone("efficientnet_b1", 1280, weights=TWO_RECIPES),
        Backbone("efficientnet_b2", 1408),
        Backbone("efficientnet_b3", 1536),
        Backbone("efficientnet_b4", 1792),
        Backbone("efficientnet_b5", 2048),
        Backbone("efficientnet_b6", 2304),
        Backbone("efficientnet_b7", 2560),
        Backbone("efficientnet_v2_l", 1280),
        Backbone("efficientnet_v2_m", 1280),
        Backbone("efficientnet_v2_s", 1280),
        Backbone("googlenet", 1024, auxiliary=("aux1", "aux2")),
        Backbone("inception_v3", 2048, auxiliary=("AuxLogits",)),
        Backbone("maxvit_t", 512, size_argument="input_size"),
        Backbone("mnasnet0_5", 1280),
        Backbone("mnasnet0_75", 1280),
        Backbone("mnasnet1_0", 1280),
        Backbone("mnasnet1_3", 1280),
        Backbone("mobilenet_v2", 1280, weights=TWO_RECIPES),
        Backbone("mobilenet_v3_large", 960, head="classifier", weights=TWO_RECIPES),
        Backbone("mobilenet_v3_small", 576, head="classifier"),
        Backbone("regnet_x_16gf", 2048, weights=TWO_RECIPES),
        Backbone("regnet_x_1_6gf", 912, weights=TWO_RECIPES),
        Backbone("regnet_x_32gf", 2520, weights=TWO_RECIPES),
        Backbone("regnet_x_3_2gf", 1008, weights=TWO_RECIPES),
        Backbone("regnet_x_400mf", 400, weights=TWO_RECIPES),
        Backbone("regnet_x_800mf", 672, weights=TWO_RECIPES),
        Backbone("regnet_x_8gf", 1920, weights=TWO_RECIPES),
        Backbone("regnet_y_128gf", 7392, fits_one_file=False, weights=SWAG),
        Backbone("regnet_y_16gf", 3024, weights=(*TWO_RECIPES, *SWAG)),
        Backbone("regnet_y_1_6gf", 888, weights=TWO_RECIPES),
        Backbone("regnet_y_32gf", 3712, weights=(*TWO_RECIPES, *SWAG)),
        Backbone("regnet_y_3_2gf", 1512, weights=TWO_RECIPES),
        Backbone("regnet_y_400mf", 440, weights=TWO_RECIPES),
        Backbone("regnet_y_800mf", 784, weights=TWO_RECIPES),
        Backbone("regnet_y_8gf", 2016, weights=TWO_RECIPES),
        Backbone("resnet101", 2048, weights=TWO_RECIPES),
        Backbone("resnet152", 2048, weights=TWO_RECIPES),
        Backbone("resnet18", 512),
        Backbone("resnet34", 512),
        Backbone("resnet50", 2048, weights=TWO_RECIPES),
        Backbone("resnext101_32x8d", 2048, weights=TWO_RECIPES),
        Backbone("resnext101_64x4d", 2048),
        Backbone("resnext50_32x4d", 2048, weights=TWO_RECIPES),
        Backbone("shufflenet_v2_x0_5", 1024),
        Backbone("shufflenet_v2_x1_0", 1024),
        Backbone("shufflenet_v2_x1_5", 1024),
        Backbone("shufflenet_v2_x2_0", 2048),
        Backbone("squeezenet1_0", 512),
        Backbone("squeezenet1_1", 512),
        Backbone("swin_b", 1024),
        Backbone("swin_s", 768),
        Backbone("swin_t", 768),
        Backbone("swin_v2_b", 1024),
        Backbone("swin_v2_s", 768),
        Backbone("swin_v2_t", 768),
        Backbone("vgg11", 4096),
        Backbone("vgg11_bn", 4096),
        Backbone("vgg13", 4096),
        Backbone("vgg13_bn", 4096),
        Backbone("vgg16", 4096, weights=(V1, "IMAGENET1K_FEATURES")),
        Backbone("vgg16_bn", 4096),
        Backbone("vgg19", 4096),
        Backbone("vgg19_bn", 4096),
        Backbone("vit_b_16", 768, size_argument="image_size", weights=(V1, *SWAG)),
        Backbone("vit_b_32", 768, size_argument="image_size"),
        Backbone("vit_h_14", 1280, size_argument="image_size", fits_one_file=False, weights=SWAG),
        Backbone("vit_l_16", 1024, size_argument="image_size", weights=(V1, *SWAG)),
        Backbone("vit_l_32", 1024, size_argument="image_size"),
        Backbone("wide_resnet101_2", 2048, weights=TWO_RECIPES),
        Backbone("wide_resnet50_2", 2048, weights=TWO_RECIPES),
    ]
)


def find_backbone(name: str) -> Backbone:
    """The row of that name.

    Raises:
        WeightsError: unknown name (the nearest one and all are listed), or a network too large for a release.
    """
    if name not in BACKBONES:
        raise WeightsError(f"unknown backbone {name!r}{did_you_mean(name, BACKBONES)}")
    row = BACKBONES[name]
    if not row.fits_one_file:
        raise WeightsError(
            f"backbone {name!r} has more than the 2 GiB of weights that one ONNX file may hold; "
            "set backbone.name to a smaller one of its family (regnet_y_32gf, vit_l_16)"
        )
    return row
