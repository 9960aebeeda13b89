"""What a batch is scored by: the cross-entropy, smoothed and weighted by class as the settings say."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from tasks.metrics import AnyFloatMatrix, IntVector
from tasks.params.training import TrainingParams
from tasks.temperature import calibrated_log_losses


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
    """Mean calibrated log-loss in nats and the share of right items, of (n, classes) logits.

    Calibrated, because the model is served so: a network that learns on grows too sure of itself, and its plain
    log-loss rises while its answers still become better.
    """
    return float(calibrated_log_losses(logits, labels).mean()), float(np.mean(logits.argmax(axis=1) == labels))
