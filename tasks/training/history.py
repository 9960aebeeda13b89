"""What was judged so far: the score of each epoch, the best one, and whether it is time to end; and in the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tasks.metrics import IntVector
from tasks.reports.training import EpochScore
from tasks.training.losses import log_loss_and_accuracy
from tasks.training.precision import Numerics


@dataclass(frozen=True)
class TrainingOutcome:
    """How a training went; the network itself holds the weights of the chosen epoch.

    Attributes:
        history: one row for the start (epoch 0) and one for each epoch.
        judged_logits: (epochs + 1, judged items, classes) float32, in the order of `history`; none judged: 0 items.
        chosen_epoch: the one of least judged loss, from 1 on; the last one where nothing was judged.
        stopped_early: whether it ended because no epoch had become better for a while.
        multipliers: for each epoch from 1 on, what a plateau multiplied the rate by; 1 for every other schedule.
    """

    history: list[EpochScore]
    judged_logits: np.typing.NDArray[np.float32]
    chosen_epoch: int
    stopped_early: bool
    numerics: Numerics
    multipliers: list[float]


class History:
    """Rows from epoch 0 (the start) on.

    Attributes:
        scores: one for each row.
        logits: (judged items, classes) of each row, float32; (0, 0) where nothing is judged.
        multipliers: what the schedule's rate was multiplied by in each epoch from 1 on; 1 but for a plateau.
    """

    def __init__(self) -> None:
        self.scores: list[EpochScore] = []
        self.logits: list[torch.Tensor] = []
        self.multipliers: list[float] = []

    @property
    def last_epoch(self) -> int:
        """-1 before the start is judged."""
        return len(self.scores) - 1

    @property
    def best_epoch(self) -> int:
        """Of least judged loss, the earliest of equals; the start is none. 0 where nothing is judged."""
        judged = [(score.loss, score.epoch) for score in self.scores[1:] if score.loss is not None]
        return min(judged)[1] if judged else 0

    def add(self, rate: float, training_loss: float | None, logits: torch.Tensor, labels: IntVector) -> EpochScore:
        """Score the next row by its logits; none of an item: it is not judged."""
        loss, accuracy = log_loss_and_accuracy(logits.numpy(), labels) if len(labels) else (None, None)
        epoch = self.last_epoch + 1
        score = EpochScore(epoch=epoch, rate=rate, training_loss=training_loss, loss=loss, accuracy=accuracy)
        self.scores.append(score)
        self.logits.append(logits)
        return score

    def out_of_patience(self, patience: int) -> bool:
        """Whether so many epochs have passed without a better one; 0 waits for ever."""
        return bool(patience and self.best_epoch) and self.last_epoch - self.best_epoch >= patience

    def record(self) -> dict[str, Any]:
        """What a checkpoint and an outcome hold beside the logits, in types that torch.load takes with weights_only."""
        rows = [score.model_dump() for score in self.scores]
        return {
            "history": rows,
            "multipliers": self.multipliers,
            "best": self.best_epoch,
        }

    def load(self, record: dict[str, Any]) -> None:
        """Take over what `record` gave, and `judged`, the logits of all rows; none: nothing is judged."""
        self.scores = [EpochScore(**row) for row in record["history"]]
        self.logits = list(record["judged"]) or [torch.zeros(0, 0)] * len(self.scores)
        self.multipliers = list(record["multipliers"])

    def judged(self) -> list[torch.Tensor]:
        """The logits of all rows; an empty list where nothing is judged."""
        return [logits for logits in self.logits if logits.numel()]

    def judged_logits(self) -> np.typing.NDArray[np.float32]:
        """(rows, judged items, classes)."""
        return np.stack([logits.numpy() for logits in self.logits])
