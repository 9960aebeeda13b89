"""The known architectures: one row each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tasks.errors import WeightsError, did_you_mean


@dataclass(frozen=True)
class Backbone:
    """A torchvision classification architecture, cut below its head.

    Attributes:
        name: as torchvision.models.get_model knows it.
        head: name of the module that is taken off.
        feature_width: width of what is left, after global average pooling.
        pool: whether the pooling lives inside the head and must be put back.
    """

    name: str
    head: str
    feature_width: int
    pool: bool = False


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
        Backbone("efficientnet_b0", head="classifier", feature_width=1280),
        Backbone("mobilenet_v2", head="classifier", feature_width=1280),
        Backbone("mobilenet_v3_large", head="classifier", feature_width=960),
        Backbone("resnet18", head="fc", feature_width=512),
        Backbone("resnet50", head="fc", feature_width=2048),
        Backbone("shufflenet_v2_x0_5", head="fc", feature_width=1024),
        Backbone("squeezenet1_0", head="classifier", feature_width=512, pool=True),
    ]
)


def find_backbone(name: str) -> Backbone:
    """The row of that name.

    Raises:
        WeightsError: unknown name; the nearest one and all are listed.
    """
    if name not in BACKBONES:
        raise WeightsError(f"unknown backbone {name!r}{did_you_mean(name, BACKBONES)}")
    return BACKBONES[name]
