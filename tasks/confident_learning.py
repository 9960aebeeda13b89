"""Confident learning: which given labels are likely wrong, from probabilities of models that did not see the item.

Source: C. Northcutt, L. Jiang and I. Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", Journal of
Artificial Intelligence Research 70 (2021), 1373-1411.
"""

from __future__ import annotations

import numpy as np

from tasks.metrics import BoolVector, FloatMatrix, FloatVector, IntMatrix, IntVector

TIE = 1e-6
"""A probability this little below a threshold still reaches it, whatever the last bits say."""


def class_thresholds(probabilities: FloatMatrix, labels: IntVector) -> FloatVector:
    """(classes,) mean probability of a class over the items that are labelled so; 1 for a class without items.

    Args:
        probabilities: (items, classes) out-of-sample, rows add up to 1.
        labels: (items,) given class indices.
    """
    classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, weights=probabilities[np.arange(len(labels)), labels], minlength=classes)
    return np.divide(sums, counts, out=np.ones(classes), where=counts > 0)


def confident_joint(probabilities: FloatMatrix, labels: IntVector) -> IntMatrix:
    """(classes, classes) counts: row = given label, column = the class that the item confidently is.

    An item confidently is the most probable of the classes whose threshold its probability reaches; where it reaches
    none, it counts nowhere. Arguments as `class_thresholds`.
    """
    classes = probabilities.shape[1]
    confident = probabilities >= class_thresholds(probabilities, labels) - TIE
    counted = confident.any(axis=1)
    guess = np.where(confident, probabilities, -1.0).argmax(axis=1)
    cells = np.bincount(labels[counted] * classes + guess[counted], minlength=classes * classes)
    return cells.reshape(classes, classes)


def expected_errors(probabilities: FloatMatrix, labels: IntVector) -> FloatMatrix:
    """(classes, classes) how many items of a given label (row) really are of another class (column); diagonal 0.

    The confident joint with its rows scaled to the given labels' counts. Arguments as `class_thresholds`.
    """
    joint = confident_joint(probabilities, labels).astype(np.float64)
    counts = np.bincount(labels, minlength=len(joint))
    rows = joint.sum(axis=1)
    scaled = joint * np.divide(counts, rows, out=np.zeros(len(joint)), where=rows > 0)[:, None]
    np.fill_diagonal(scaled, 0.0)
    return scaled


def label_margin(probabilities: FloatMatrix, labels: IntVector) -> FloatVector:
    """(items,) probability of the given label minus that of the most probable other class, in [-1, 1].

    The lower, the more the label is doubted: the paper's ranking by normalised margin. Arguments as `class_thresholds`.
    """
    rows = np.arange(len(labels))
    others = probabilities.copy()
    others[rows, labels] = -np.inf
    return np.asarray(probabilities[rows, labels] - others.max(axis=1))


def likely_wrong(probabilities: FloatMatrix, labels: IntVector) -> BoolVector:
    """(items,) whether the label is likely wrong: pruning by noise rate.

    Of each given label and other class, as many items as `expected_errors` counts: those with the largest gain of the
    other class over the label. An item whose most probable class is its label is never one. Arguments as
    `class_thresholds`.
    """
    wrong = np.zeros(len(labels), dtype=np.bool_)
    wanted = np.rint(expected_errors(probabilities, labels)).astype(np.int64)
    for label, other in zip(*np.nonzero(wanted), strict=True):
        members = np.flatnonzero(labels == label)
        gain = probabilities[members, other] - probabilities[members, label]
        worst = np.argsort(-gain, kind="stable")[: wanted[label, other]]
        wrong[members[worst]] = True
    return wrong & (probabilities.argmax(axis=1) != labels)
