"""The recipe of PyTorch's transfer-learning tutorial, as a user would write it. Stands alone.

    python benchmarks/tutorial_recipe.py PHOTOS SIDES.csv WEIGHTS.pth [--freeze-batch-norm] [--seed 0] [--epochs 10]

Fine-tunes all of mobilenet_v2: SGD 0.001 with momentum 0.9, a tenth of the rate after every 7 epochs, batches of 32,
random resized crops and flips, judged after every epoch. SIDES.csv has the columns path, label and side. It learns from
train and chooses the epoch on validation; `--choose-on test` does as the tutorial does: it learns from both and chooses
on the photos that it is judged by, which flatters it.

Seconds are counted from the start of the process, imports included; judging the test side is not counted where it does
not choose. Prints one JSON object; `--log` also appends every epoch to a file as it ends.

Source: pytorch.org/tutorials/beginner/transfer_learning_tutorial.html (batch 4, 25 epochs and resnet18 there).
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.models import mobilenet_v2

NORMALIZE = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
TRAINING = transforms.Compose(
    [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.ToTensor(), NORMALIZE]
)
JUDGING = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), NORMALIZE])

Row = dict[str, str]
Batches = DataLoader[tuple[torch.Tensor, int]]


@dataclass(frozen=True)
class Epoch:
    """After one epoch; accuracies are ratios, `validation` is None where the test side is what chooses."""

    number: int
    seconds: float
    validation: float | None
    test: float

    @property
    def judged(self) -> float:
        return self.test if self.validation is None else self.validation


class Clock:
    """Seconds since the process began, less those that were off the clock."""

    def __init__(self) -> None:
        self.started = float(psutil.Process().create_time())
        self.paused = 0.0

    def seconds(self) -> float:
        return time.time() - self.started - self.paused

    @contextmanager
    def pause(self, wanted: bool = True) -> Iterator[None]:
        began = time.time()
        yield
        self.paused += time.time() - began if wanted else 0.0


class Photos(Dataset[tuple[torch.Tensor, int]]):
    """Photos as (3, 224, 224) float32 with the number of their class."""

    def __init__(self, folder: Path, rows: list[Row], classes: list[str], transform: transforms.Compose) -> None:
        self.items = [(folder / row["path"], classes.index(row["label"])) for row in rows]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        file, label = self.items[place]
        with Image.open(file) as image:
            tensor: torch.Tensor = self.transform(image.convert("RGB"))
        return tensor, label


def by_side(rows: list[Row], choose_on: str) -> dict[str, list[Row]]:
    """The rows to train on, to choose the epoch on and to test on.

    Raises:
        SystemExit: there is nothing to choose on.
    """
    sides = {name: [row for row in rows if row["side"] == name] for name in ("train", "validation", "test")}
    if choose_on == "test":
        return {"train": sides["train"] + sides["validation"], "validation": [], "test": sides["test"]}
    if not sides["validation"]:
        raise SystemExit("there is no validation side; --choose-on test does without")
    return sides


def chosen_epoch(epochs: list[Epoch]) -> Epoch:
    """The first epoch of the highest judged accuracy, as the tutorial keeps it."""
    return max(epochs, key=lambda epoch: (epoch.judged, -epoch.number))


def accuracy_of(network: nn.Module, batches: Batches) -> float:
    network.eval()
    right, total = 0, 0
    with torch.no_grad():
        for images, labels in batches:
            right += int((network(images).argmax(1) == labels).sum())
            total += len(labels)
    return right / total


def train_epoch(network: nn.Module, batches: Batches, optimizer: torch.optim.Optimizer, freeze: bool) -> None:
    """One pass; `freeze` leaves batch-norm's running statistics as they were pretrained."""
    network.train()
    if freeze:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    criterion = nn.CrossEntropyLoss()
    for images, labels in batches:
        optimizer.zero_grad()
        criterion(network(images), labels).backward()
        optimizer.step()


def pretrained(weights: Path, classes: int) -> nn.Module:
    """mobilenet_v2 with a fresh head."""
    network = mobilenet_v2()
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    network.classifier[1] = nn.Linear(network.last_channel, classes)
    fresh: nn.Module = network
    return fresh


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("sides", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--freeze-batch-norm", action="store_true")
    parser.add_argument("--choose-on", choices=("validation", "test"), default="validation")
    parser.add_argument("--log", type=Path, help="one JSON line an epoch")
    return parser


def main() -> None:
    clock, arguments = Clock(), options().parse_args()
    torch.manual_seed(arguments.seed)
    with arguments.sides.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    sides = by_side(rows, arguments.choose_on)
    classes = sorted({row["label"] for row in rows})

    def batches(side: str) -> Batches:
        training = side == "train"
        photos = Photos(arguments.photos, sides[side], classes, TRAINING if training else JUDGING)
        return DataLoader(photos, arguments.batch, shuffle=training, num_workers=arguments.workers)

    network = pretrained(arguments.weights, len(classes))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
    chooses = bool(sides["validation"])
    epochs: list[Epoch] = []
    for number in range(1, arguments.epochs + 1):
        train_epoch(network, batches("train"), optimizer, arguments.freeze_batch_norm)
        schedule.step()
        validation = accuracy_of(network, batches("validation")) if chooses else None
        with clock.pause(chooses):
            test = accuracy_of(network, batches("test"))
        epochs.append(Epoch(number, clock.seconds(), validation, test))
        if arguments.log:
            with arguments.log.open("a", encoding="utf-8") as log:
                log.write(json.dumps(asdict(epochs[-1])) + "\n")
    told = {
        "seed": arguments.seed,
        "freeze_batch_norm": arguments.freeze_batch_norm,
        "items": {name: len(side) for name, side in sides.items()},
        "chosen_on": arguments.choose_on,
        "chosen": asdict(chosen_epoch(epochs)),
        "epochs": [asdict(epoch) for epoch in epochs],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
