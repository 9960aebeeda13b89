"""What a batch is scored by: the cross-entropy, smoothed and weighted by class as the settings say."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from tasks.metrics import AnyFloatMatrix, IntVector
from tasks.params.training import TrainingParams


def class_weights(labels: IntVector, classes: int, settings: TrainingParams) -> torch.Tensor:
    """(classes,) float32: n / (classes * n of the class) where the loss is weighted, else 1; 1 for an absent class.

    Source: agrees with scikit-learn compute_class_weight("balanced").
    """
    if settings.class_balance != "weighted":
        return torch.ones(classes)
    counts = np.bincount(labels, minlength=classes)
    present = np.count_nonzero(counts)
    return torch.from_numpy(np.where(counts > 0, len(labels) / (present * np.maximum(counts, 1)), 1.0)).float()


def summed_loss(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, label_smoothing: float
) -> torch.Tensor:
    """Weighted sum of the items' losses, nats; divided by the sum of their weights it is torch's weighted mean."""
    return F.cross_entropy(logits.float(), targets, weights, reduction="sum", label_smoothing=label_smoothing)


def log_loss_and_accuracy(logits: AnyFloatMatrix, labels: IntVector) -> tuple[float, float]:
    """Mean log-loss in nats, without weights and smoothing, and the share of right items, of (n, classes) logits."""
    scores = torch.from_numpy(logits.astype(np.float64))
    loss = F.cross_entropy(scores, torch.from_numpy(labels.astype(np.int64)))
    return float(loss), float(np.mean(logits.argmax(axis=1) == labels))
