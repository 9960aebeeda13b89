"""By which items a training is judged without the test set, and what judging says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tasks.folds import ALWAYS_TRAINING, deal_folds
from tasks.methods.network_contract import LabelledImages
from tasks.metrics import FloatMatrix, IntVector
from tasks.params import TrainingParams
from tasks.reports.training import EpochScore, JudgedBy, ProbeComparison
from tasks.temperature import calibrated_log_losses

if TYPE_CHECKING:
    from tasks.training.history import TrainingOutcome


@dataclass(frozen=True)
class Part:
    """Rows of the items to learn from, and those to judge on, none of which are learned from."""

    learn: IntVector
    judge: IntVector


@dataclass(frozen=True)
class Judging:
    """How training is judged. Several parts: cross-validation, after which all items are learned from."""

    by: JudgedBy
    parts: list[Part]


NOT_JUDGED = Judging("nothing", [])


def judging_of(data: LabelledImages, settings: TrainingParams) -> Judging:
    """Validation, where that side is large enough and training has every class without it; else folds, if they can.

    Items of one class, or of less than half of them, are no judge: whoever always names that class would win.
    """
    items = data.items
    sides, classes = np.array(items.sides), len(items.names)
    train, validation = np.flatnonzero(sides == "train"), np.flatnonzero(sides == "validation")
    complete = len(np.unique(items.labels[train])) == classes
    if complete and len(validation) >= settings.min_validation_items and _can_judge(items.labels[validation], classes):
        return Judging("validation", [Part(train, validation)])
    fold = deal_folds(items.labels, items.groups, settings.folds, settings.seed)
    if not _can_judge(items.labels[fold != ALWAYS_TRAINING], classes):
        return NOT_JUDGED
    held = [index for index in range(settings.folds) if (fold == index).any()]
    return Judging("cross_validation", [Part(np.flatnonzero(fold != one), np.flatnonzero(fold == one)) for one in held])


def _can_judge(labels: IntVector, classes: int) -> bool:
    return len(np.unique(labels)) >= max(2, classes / 2)


def epoch_scores(outcomes: list[TrainingOutcome], logits: FloatMatrix, true: IntVector) -> list[EpochScore]:
    """Scores over all judged items; training losses are the mean of the parts'.

    Args:
        logits: (epochs + 1, items, classes), the parts' one behind the other.
    """
    scores = []
    for epoch, of_epoch in enumerate(logits):
        rows = [outcome.history[epoch] for outcome in outcomes]
        losses = [row.training_loss for row in rows if row.training_loss is not None]
        scores.append(
            EpochScore(
                epoch=epoch,
                rate=rows[0].rate,
                training_loss=float(np.mean(losses)) if losses else None,
                loss=float(calibrated_log_losses(of_epoch, true).mean()),
                accuracy=float(np.mean(of_epoch.argmax(axis=1) == true)),
            )
        )
    return scores


def best_and_last(epochs: list[EpochScore], patience: int) -> tuple[int, int]:
    """The epoch of least judged loss, from 1 on, and the last that was looked at.

    With patience the search ends after so many epochs without a better one, as a single training does.
    """
    best = epochs[1]
    for score in epochs[1:]:
        if (score.loss or 0.0) < (best.loss or 0.0):
            best = score
        if patience and score.epoch - best.epoch >= patience:
            return best.epoch, score.epoch
    return best.epoch, epochs[-1].epoch


def against_probe(true: IntVector, logits: FloatMatrix, probe: FloatMatrix) -> ProbeComparison:
    """Accuracy and mean calibrated log-loss of two models' logits (items, classes) on the judged items."""
    losses, probe_losses = (calibrated_log_losses(one, true) for one in (logits, probe))
    gains = probe_losses - losses
    return ProbeComparison(
        items=len(true),
        accuracy=float(np.mean(logits.argmax(axis=1) == true)),
        loss=float(losses.mean()),
        probe_accuracy=float(np.mean(probe.argmax(axis=1) == true)),
        probe_loss=float(probe_losses.mean()),
        loss_gain=float(gains.mean()),
        loss_gain_error=float(gains.std(ddof=1) / math.sqrt(len(gains))) if len(gains) > 1 else None,
    )
