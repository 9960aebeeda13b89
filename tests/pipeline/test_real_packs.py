"""Real photos read in place, a real ImageNet backbone: the accuracy that a probe must reach."""

from __future__ import annotations

from pathlib import Path

import pytest
from desk import make_desk

WEIGHTS = {"mobilenet_v2": "mobilenet_v2-fc41a747.pth", "squeezenet1_0": "squeezenet1_0-b81cf1c7.pth"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pack", "backbone", "floor"),
    [
        ("hymenoptera", "mobilenet_v2", 0.93),
        ("hymenoptera", "squeezenet1_0", 0.92),
        ("dogs_cats", "mobilenet_v2", 0.96),
    ],
)
def test_real_photos_reach_their_accuracy(
    real_data: Path, tmp_path: Path, pack: str, backbone: str, floor: float
) -> None:
    desk = make_desk(tmp_path.resolve())
    weights = real_data / "weights" / WEIGHTS[backbone]
    settings = [f"backbone.name={backbone}", f"backbone.weights={weights}", "backbone.preprocess={}"]
    options = [part for setting in settings for part in ("--set", setting)]

    code, result, stderr = desk.adapt("--data", str(real_data / "data" / pack), *options)

    assert (code, result["state"]) == (0, "released"), stderr
    assert result["accuracy"] >= floor
