"""A network of four blocks, its weights in a file, and labelled pictures on their sides: what training starts from.

The network stands in the registries under the name of alexnet, so that it is trained in tenths of a second.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from ruamel.yaml import YAML
from small_workspace import CLASSES, change_params, make_workspace, picture
from torch import nn
from torchvision.models import AlexNet_Weights
from torchvision.models._api import BUILTIN_MODELS

from tasks.backbones import registry
from tasks.backbones.graph import cached_backbone
from tasks.digests import file_sha256
from tasks.embed import features_of
from tasks.params import AdaptParams, BackboneParams, DataParams, LimitsParams, Params
from tasks.preprocess import Preprocess
from tasks.reports import write_bytes
from tasks.tables import EMBEDDING_INDEX, SPLITS, read_table, write_table
from tasks.workspace import Workspace

NAME, WIDTH, SIDE = "alexnet", 24, 32
PREPROCESS = Preprocess(resize=36, crop=SIDE, mean=(0.4, 0.4, 0.4), std=(0.25, 0.25, 0.25))
WEIGHTS = "weights.safetensors"
SHORT: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 8,
    "learning_rate": 0.003,
    "min_validation_items": 8,
    "precision": "fp32",
    "views": 2,
}
"""Settings of a training that is over soon, the same on every processor."""
FINE_TUNE: dict[str, Any] = {"name": "fine_tune", "blocks": 2, "dropout": 0.1, **SHORT}
FROM_SCRATCH: dict[str, Any] = {"name": "from_scratch", "min_steps": 0, **SHORT}


class Unit(nn.Module):
    """A residual block."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outside)
        self.mix = nn.Conv2d(outside, outside, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        image = torch.relu(self.norm(self.conv(image)))
        return image + torch.relu(self.mix(image))


class SmallNetwork(nn.Module):
    """Blocks stem, unit1, unit2 and unit3, and a head of ten classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, bias=False)
        self.stem_norm = nn.BatchNorm2d(8)
        self.unit1 = Unit(8, 12)
        self.unit2 = Unit(12, 16)
        self.unit3 = Unit(16, WIDTH)
        self.fc = nn.Linear(WIDTH, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        image = torch.relu(self.stem_norm(self.stem(image)))
        image = self.unit3(self.unit2(self.unit1(image)))
        return self.fc(image.mean(dim=(2, 3)))


def _built(weights: None = None) -> SmallNetwork:
    return SmallNetwork()


# torchvision reads there which pretrained weights a builder knows.
_built.__annotations__["weights"] = AlexNet_Weights | None


@contextmanager
def small_network() -> Iterator[None]:
    """Within it the small network stands in the registries."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.BACKBONES, NAME, registry.Backbone(NAME, WIDTH))
        patch.setitem(BUILTIN_MODELS, NAME, _built)
        yield


def write_weights(file: Path, seed: int = 0) -> None:
    """Random weights of the small network, running statistics included, as Graft's own safetensors files are."""
    from safetensors.torch import save

    torch.manual_seed(seed)
    network = SmallNetwork()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.rand(module.num_features) - 0.5
            module.running_var = torch.rand(module.num_features) + 0.5
    about = {"architecture": NAME, "preprocess": PREPROCESS.model_dump(mode="json")}
    write_bytes(file, save(network.state_dict(), {"graft": json.dumps(about)}))


def params_of(root: Path, **adapt: Any) -> Params:
    """Params of the scene at `root`; `adapt` are keys of that section."""
    return Params(
        data=DataParams(path=str(root / "data" / "raw")),
        backbone=BackboneParams(name=NAME, weights=WEIGHTS),
        adapt=AdaptParams.model_validate({"from_scratch": "never", "method": FINE_TUNE, **adapt}),
        limits=LimitsParams(threads=1),
    )


def write_pictures(root: Path, per_side: dict[str, int]) -> Workspace:
    """Weights, pictures, their features and their sides, as embed and split leave them.

    Args:
        per_side: pictures of each class on each side.
    """
    workspace, params = Workspace(root), params_of(root)
    write_weights(root / WEIGHTS)
    sides = [side for side, count in per_side.items() for _ in range(count)]
    for label in CLASSES:
        for seed in range(len(sides)):
            file = root / "data" / "raw" / label / f"{seed:03d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            picture(label, seed).save(file)
    files = sorted((root / "data" / "raw").rglob("*.png"))
    paths, hashes = [f"{file.parent.name}/{file.name}" for file in files], [file_sha256(file) for file in files]
    report, graph = cached_backbone(params.backbone, root, workspace.cache)
    report.write(workspace.backbone / "backbone.json")
    write_bytes(workspace.backbone / "model.onnx", graph.read_bytes())
    rows = features_of(files, hashes, report, graph, workspace.cache, params.embed, 1)
    write_table(pa.table({"path": paths, "sha256": hashes}, schema=EMBEDDING_INDEX), workspace.embedding_index)
    np.save(workspace.features, rows)
    columns = {
        "path": paths,
        "sha256": hashes,
        "label": [file.parent.name for file in files],
        "label_index": [CLASSES.index(file.parent.name) for file in files],
        "group": hashes,
        "side": sides * len(CLASSES),
        "reason": [None] * len(files),
    }
    write_table(pa.table(columns, schema=SPLITS), workspace.splits)
    return workspace


def make_training_workspace(root: Path, pictures: int = 40, **adapt: Any) -> Workspace:
    """A checkout as `make_workspace` gives it, with the small network, fine-tuned unless `adapt` says otherwise."""
    root.mkdir(parents=True)
    write_weights(root / WEIGHTS)
    settings = {"backbone": {"name": NAME, "weights": WEIGHTS, "preprocess": {"resize": None, "crop": None}}}
    workspace = make_workspace(root, pictures, {**settings, "limits": {"threads": 1}})
    yaml = YAML(typ="safe")
    document = yaml.load(workspace.params.read_text())
    document["adapt"].update({"method": FINE_TUNE, "keep_best": False, **adapt})
    with workspace.params.open("w") as file:
        yaml.dump(document, file)
    change_params(workspace, {})
    return workspace


def change_splits(workspace: Workspace, **columns: list[Any]) -> None:
    """Replace columns of the splits."""
    rows = read_table(workspace.splits, SPLITS).to_pydict()
    write_table(pa.table({**rows, **columns}, schema=SPLITS), workspace.splits)
