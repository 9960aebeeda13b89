"""A tiny network and items that are made in code, for tests of training; run as a program, one whole training."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tasks.metrics import IntVector
from tasks.params.training import FineTuneParams, TrainingParams
from tasks.training.determinants import TrainingItems
from tasks.training.freezing import Depth, depth_of
from tasks.training.history import TrainingOutcome
from tasks.training.loop import train
from tasks.training.network import Network

CLASSES, WIDTH, SIDE = 3, 8, 8


class Body(nn.Module):
    """Three blocks of convolution and batch norm, with dropout behind the second."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 3)
        self.stem_norm = nn.BatchNorm2d(WIDTH)
        self.middle = nn.Conv2d(WIDTH, WIDTH, 3)
        self.middle_norm = nn.BatchNorm2d(WIDTH)
        self.drop = nn.Dropout(0.2)
        self.top = nn.Conv2d(WIDTH, WIDTH, 3)
        self.top_norm = nn.BatchNorm2d(WIDTH)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        image = torch.relu(self.stem_norm(self.stem(image)))
        image = self.drop(torch.relu(self.middle_norm(self.middle(image))))
        return torch.relu(self.top_norm(self.top(image))).mean(dim=(2, 3))


class MadeExamples:
    """Images whose channel means tell their class; the variant of an epoch is a shift of brightness."""

    def __init__(self, count: int, pause: float = 0.0) -> None:
        self.labels: IntVector = np.arange(count, dtype=np.int64) % CLASSES
        noise = torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
        self.images = noise + 1.5 * torch.eye(3)[torch.from_numpy(self.labels)][:, :, None, None]
        self.pause = pause

    def __len__(self) -> int:
        return len(self.labels)

    def inputs(self, rows: IntVector, epoch: int) -> tuple[torch.Tensor, ...]:
        time.sleep(self.pause)
        return (self.images[torch.from_numpy(rows)] + 0.01 * epoch,)

    def plain(self, rows: IntVector) -> tuple[torch.Tensor, ...]:
        return (self.images[torch.from_numpy(rows)],)


def made_network(dropout: float = 0.1, **settings: Any) -> tuple[Network, Depth]:
    torch.manual_seed(0)
    body = Body()
    return Network(body, nn.Linear(WIDTH, CLASSES), dropout), depth_of(body, fine_tune(**settings))


def fine_tune(**settings: Any) -> FineTuneParams:
    standard: dict[str, Any] = {"blocks": 2, "epochs": 4, "batch_size": 8, "learning_rate": 0.01, "precision": "fp32"}
    return FineTuneParams(**{**standard, **settings})


def made_items(count: int = 40, judged: int = 10, pause: float = 0.0) -> TrainingItems:
    examples = MadeExamples(count, pause)
    return TrainingItems(
        examples,
        examples.labels,
        identities(count),
        learn=np.arange(count - judged),
        judge=np.arange(count - judged, count) if judged else None,
    )


def identities(count: int) -> Sequence[str]:
    return [f"{number:064x}" for number in range(count)]


def trained(folder: Path, items: TrainingItems | None = None, **settings: Any) -> tuple[Network, TrainingOutcome]:
    """A training of the tiny network from its start; the same settings give the same digest."""
    until = settings.pop("until", None)
    network, depth = made_network(**settings)
    return network, train(
        network,
        depth,
        items or made_items(),
        whole(settings),
        folder=folder,
        determinants={},
        until=until,
    )


def whole(settings: dict[str, Any]) -> TrainingParams:
    return fine_tune(**settings)
