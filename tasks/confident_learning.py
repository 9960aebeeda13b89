"""Confident learning: how many given labels are wrong, told by probabilities of models that did not see the items.

Source: C. Northcutt, L. Jiang and I. Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", Journal of
Artificial Intelligence Research 70 (2021), 1373-1411.
"""

from __future__ import annotations

import numpy as np

from tasks.metrics import FloatMatrix, FloatVector, IntMatrix, IntVector

TIE = 1e-6
"""A probability this little below a threshold still reaches it, whatever the last bits say."""


def class_thresholds(probabilities: FloatMatrix, labels: IntVector) -> FloatVector:
    """(classes,) mean probability of a class over the items that are labelled so; 1 for a class without items.

    Args:
        probabilities: (items, classes) out of sample; rows add up to 1.
        labels: (items,) given class indices.
    """
    classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, weights=probabilities[np.arange(len(labels)), labels], minlength=classes)
    return np.asarray(np.divide(sums, counts, out=np.ones(classes), where=counts > 0))


def confident_joint(probabilities: FloatMatrix, labels: IntVector) -> IntMatrix:
    """(classes, classes) counts: row = given label, column = the class that the item confidently is.

    An item confidently is the most probable of the classes whose threshold its probability reaches; where it reaches
    none, it counts nowhere. Arguments as `class_thresholds`.
    Source: agrees with cleanlab 2.9 compute_confident_joint(calibrate=False).
    """
    classes = probabilities.shape[1]
    confident = probabilities >= class_thresholds(probabilities, labels) - TIE
    counted = confident.any(axis=1)
    guess = np.where(confident, probabilities, -1.0).argmax(axis=1)
    cells = np.bincount(labels[counted] * classes + guess[counted], minlength=classes * classes)
    return cells.reshape(classes, classes).astype(np.int64)


def expected_errors(probabilities: FloatMatrix, labels: IntVector, counts: IntVector) -> FloatMatrix:
    """(classes, classes) how many items of a given label (row) really are of another class (column); diagonal 0.

    The confident joint, its rows scaled to `counts` (classes,): how many items bear each label, in this sample or in
    the whole that it was drawn from. Other arguments as `class_thresholds`.
    Source: agrees with cleanlab 2.9 compute_confident_joint(calibrate=True), which rounds to whole items.
    """
    joint = confident_joint(probabilities, labels).astype(np.float64)
    rows = joint.sum(axis=1)
    scaled = joint * np.divide(counts, rows, out=np.zeros(len(joint)), where=rows > 0)[:, None]
    np.fill_diagonal(scaled, 0.0)
    return np.asarray(scaled)
