"""Out-of-fold probabilities of every item from a linear probe: cross-validation that also fits a million items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.folds import ALWAYS_TRAINING, deal_folds
from tasks.logistic import fit_logistic
from tasks.metrics import BoolVector, FloatMatrix, IntVector, softmax
from tasks.principal_axes import PrincipalAxes, Standardisation

STRENGTH = 0.01
TOLERANCE = 1e-3


@dataclass(frozen=True)
class OutOfFold:
    """`probabilities` (items, classes); `scored` (items,) marks the items whose model did not see them."""

    probabilities: FloatMatrix
    scored: BoolVector


def out_of_fold(
    features: npt.NDArray[np.floating], labels: IntVector, groups: IntVector, folds: int, seed: int
) -> OutOfFold:
    classes = int(labels.max()) + 1
    plain = features.astype(np.float32)
    axes = PrincipalAxes.of(Standardisation.of(plain).apply(plain))
    fold = deal_folds(labels, groups, folds, seed)
    logits = np.zeros((len(labels), classes))
    for one in np.unique(fold[fold != ALWAYS_TRAINING]):
        learn = fold != one
        weight = np.ones(int(learn.sum()))
        model = fit_logistic(axes.coordinates[learn], labels[learn], weight, classes, STRENGTH, tolerance=TOLERANCE)
        logits[~learn] = model.logits(axes.coordinates[~learn])
    return OutOfFold(softmax(logits), fold != ALWAYS_TRAINING)
