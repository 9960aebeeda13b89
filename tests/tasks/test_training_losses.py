"""Smoothing, weights and the judge's figures against torch and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight
from training_scene import fine_tune

from tasks.temperature import fit_temperature
from tasks.training.losses import class_weights, log_loss_and_accuracy, summed_loss

LABELS = np.repeat([0, 1, 2], [7, 2, 1]).astype(np.int64)
LOGITS = torch.randn(10, 3, generator=torch.Generator().manual_seed(0)) * 3


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("balance", ["none", "weighted"])
def test_the_sum_over_the_weights_is_torchs_mean(smoothing: float, balance: str) -> None:
    weights = class_weights(LABELS, 3, fine_tune(class_balance=balance))
    targets = torch.from_numpy(LABELS)
    found = summed_loss(LOGITS, targets, weights, smoothing) / weights[targets].sum()
    torchs = torch.nn.CrossEntropyLoss(weight=weights, label_smoothing=smoothing)(LOGITS, targets)
    assert found.item() == pytest.approx(torchs.item(), rel=1e-6)


def test_class_weights_are_scikit_learns_balanced_ones() -> None:
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    assert class_weights(LABELS, 3, fine_tune(class_balance="weighted")).tolist() == pytest.approx(expected.tolist())
    assert class_weights(LABELS, 3, fine_tune(class_balance="sampled")).tolist() == [1, 1, 1]


def test_a_class_without_an_item_weighs_1_and_leaves_the_others_balanced() -> None:
    settings = fine_tune(class_balance="weighted")
    assert class_weights(LABELS, 4, settings).tolist() == [*class_weights(LABELS, 3, settings).tolist(), 1.0]


def test_the_judge_is_scikit_learns_log_loss_and_the_share_of_right_items() -> None:
    loss, accuracy = log_loss_and_accuracy(LOGITS.numpy(), LABELS)
    scaled = LOGITS.double() / fit_temperature(LOGITS.numpy(), LABELS)
    assert loss == pytest.approx(log_loss(LABELS, scaled.softmax(dim=1).numpy()), rel=1e-6)
    assert accuracy == pytest.approx(np.mean(LOGITS.numpy().argmax(axis=1) == LABELS))
