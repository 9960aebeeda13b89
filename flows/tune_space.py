"""What `graft tune` searches: per method a few settings, each with the values that are worth trying."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np

from tasks.digests import bytes_sha256, value_sha256
from tasks.methods.features import LabelledItems
from tasks.params import Params

METHOD = ("adapt", "method")
SEARCH_VERSION = 1
"""Counts up when trials are judged another way or the space means something else: earlier studies are left behind."""


@dataclass(frozen=True)
class Choice:
    """One of a few values."""

    values: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        return value in self.values


@dataclass(frozen=True)
class Range:
    """A number between two ends, both included; `log` searches its logarithm evenly, `step` a grid."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def holds(self, value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high


Dimension = Choice | Range
Space = Mapping[str, Dimension]

RATES = {"adamw": Range(1e-4, 1e-2, log=True), "sgd": Range(1e-3, 1e-1, log=True)}
AUGMENTATIONS = Choice(("none", "light", "standard", "strong"))
DEPTHS = Choice((1, 2, 4, 6, "all"))
"""No network that we know has fewer than seven blocks."""
DECAYS = Range(1e-4, 1e-1, log=True)


def search_space(params: Params) -> dict[str, Dimension]:
    """The dimensions of the configured method, by their key below adapt.method."""
    method = params.adapt.method
    if method.name == "linear_probe":
        return {"head": Choice(("logistic", "ridge")), "class_weight": Choice(("none", "balanced"))}
    rates = RATES[method.optimizer]
    if method.name == "from_scratch":
        return {"learning_rate": rates, "weight_decay": DECAYS, "augmentation": AUGMENTATIONS}
    return {
        "blocks": DEPTHS,
        "learning_rate": rates,
        "layer_decay": Range(0.5, 1.0, step=0.1),
        "epochs": Choice((6, 12, 24)),
        "augmentation": AUGMENTATIONS,
        "weight_decay": DECAYS,
        "dropout": Range(0.0, 0.5, step=0.1),
        "label_smoothing": Range(0.0, 0.2, step=0.05),
    }


def present_settings(params: Params, space: Space) -> dict[str, Any]:
    """What params.yaml says of the dimensions."""
    return {name: getattr(params.adapt.method, name) for name in space}


def with_settings(params: Params, settings: Mapping[str, Any]) -> Params:
    """The params with these values of the method.

    Raises:
        ValidationError: a value is none that the method takes (a defect of the space).
    """
    document = params.model_dump(mode="json", by_alias=True)
    document["adapt"]["method"].update(settings)
    return Params.model_validate(document)


def combinations(space: Space) -> list[dict[str, Any]]:
    """Every point of a space that has few; empty where it has a range or too many to try them all."""
    choices = [dimension.values for dimension in space.values() if isinstance(dimension, Choice)]
    if len(choices) < len(space) or prod(len(values) for values in choices) > 64:
        return []
    return [dict(zip(space, point, strict=True)) for point in product(*choices)]


def study_digest(params: Params, space: Space, items: LabelledItems) -> str:
    """sha256 of all that determines what a trial gives: items to learn from, their features, fixed settings, the space.

    No item of the test side is among it.
    """
    learnable = items.on(["train", "validation"])
    method = params.adapt.method.model_dump(mode="json", exclude=set(space))
    backbone = params.backbone.model_dump(mode="json", exclude={"weights"})
    return value_sha256(
        {
            "version": SEARCH_VERSION,
            "items": [learnable.names, learnable.sha256, learnable.sides, learnable.labels.tolist()],
            "groups": np.unique(learnable.groups, return_inverse=True)[1].tolist(),
            "features": bytes_sha256(learnable.features.tobytes()),
            "backbone": backbone,
            "method": method,
            "space": {name: repr(dimension) for name, dimension in space.items()},
        }
    )
