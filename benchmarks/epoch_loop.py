"""Epochs of one process, timed: of fine_tune, or of a plain loop over the same network. Run inside a split workspace.

    python -m benchmarks.epoch_loop graft|plain --epochs 4 [--precision fp32] [--memory-format contiguous] [--keep]

Both train the last blocks that adapt.method.blocks names and the head on the training photos, with batches and rates of
params.yaml, and judge the validation photos after every epoch. The plain loop is what one writes: torchvision's crop
and flip on files that are decoded anew in each epoch, all of the network in every step, no gradient below the trained
blocks.
Prints one JSON object: `start`, seconds until the first epoch begins, imports not counted; `epochs`, seconds of each.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.tutorial_recipe import JUDGING, NORMALIZE, Batches, Photos
from tasks.adapt import labelled_images
from tasks.backbones.bodies import body_of
from tasks.backbones.registry import find_backbone
from tasks.backbones.weights import load, locate
from tasks.methods.features import read_labelled_items
from tasks.methods.fine_tune import FineTune
from tasks.methods.network_contract import LabelledImages
from tasks.params import FineTuneParams, load_params
from tasks.reports.backbone import BackboneReport
from tasks.training.freezing import depth_of, freeze, training_mode
from tasks.training.network import Network
from tasks.workspace import Workspace

Stamps = list[float]


def graft_epochs(data: LabelledImages, settings: FineTuneParams) -> Stamps:
    """When the start and each epoch had been trained and judged by fine_tune."""
    stamps: Stamps = []
    with tempfile.TemporaryDirectory() as folder:
        checkpoints, cache = Path(folder) / "checkpoints", Path(folder) / "cache"
        fresh = replace(data, checkpoints=checkpoints, cache=cache)
        FineTune().judge(fresh, settings, on_epoch=lambda score: stamps.append(time.perf_counter()))
    return stamps


def plain_epochs(data: LabelledImages, settings: FineTuneParams) -> Stamps:
    """The same of a plain loop."""
    from torchvision import transforms

    training = transforms.Compose(
        [
            transforms.RandomResizedCrop(224, scale=(0.8, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            NORMALIZE,
        ]
    )
    names = data.items.names
    rows = [
        {"path": str(file), "label": names[label], "side": side}
        for file, label, side in zip(data.files, data.items.labels, data.items.sides, strict=True)
    ]

    def batches(side: str) -> Batches:
        photos = Photos(
            Path(), [row for row in rows if row["side"] == side], names, training if side == "train" else JUDGING
        )
        return DataLoader(photos, settings.batch_size, shuffle=side == "train")

    row = find_backbone(data.backbone.name)
    network = Network(
        body_of(row, load(data.backbone, locate(data.backbone, data.root))), nn.Linear(row.feature_width, len(names))
    )
    depth = depth_of(network.trunk, settings)
    freeze(network, depth)
    layout = torch.channels_last if settings.memory_format == "channels_last" else torch.contiguous_format
    network.to(memory_format=layout)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    criterion, stamps = nn.CrossEntropyLoss(), [time.perf_counter()]
    for _ in range(settings.epochs):
        training_mode(network, depth)
        for images, labels in batches("train"):
            optimizer.zero_grad()
            with numbers(settings):
                loss = criterion(network(images.to(memory_format=layout)), labels)
            loss.backward()
            optimizer.step()
        network.eval()
        with torch.inference_mode(), numbers(settings):
            for images, _ in batches("validation"):
                network(images.to(memory_format=layout))
        stamps.append(time.perf_counter())
    return stamps


def numbers(settings: FineTuneParams) -> AbstractContextManager[object]:
    """In which a step computes."""
    return torch.autocast("cpu", torch.bfloat16) if settings.precision == "bf16" else nullcontext()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=("graft", "plain"))
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--memory-format", choices=("contiguous", "channels_last"), default="contiguous")
    parser.add_argument("--keep", action="store_true", help="keep what lies below the trained blocks")
    arguments = parser.parse_args()
    workspace = Workspace.find(Path.cwd())
    params = load_params(workspace.params)
    if not isinstance(params.adapt.method, FineTuneParams):
        raise SystemExit("adapt.method.name is not fine_tune")
    changed = {
        "epochs": arguments.epochs,
        "precision": arguments.precision,
        "memory_format": arguments.memory_format,
        "keep_frozen": "auto" if arguments.keep else "never",
        "min_validation_items": 1,
        "patience": 0,
    }
    settings = FineTuneParams.model_validate({**params.adapt.method.model_dump(), **changed})
    backbone = BackboneReport.read(workspace.backbone / "backbone.json")
    data = labelled_images(workspace, params, backbone, read_labelled_items(workspace))
    if data.threads:
        torch.set_num_threads(data.threads)
    began = time.perf_counter()
    stamps = (graft_epochs if arguments.side == "graft" else plain_epochs)(data, settings)
    seconds = [later - earlier for earlier, later in pairwise(stamps)]
    print("\n" + json.dumps({"start": stamps[0] - began, "epochs": seconds}))


if __name__ == "__main__":
    main()
