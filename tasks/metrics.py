"""Classification metrics from counts and logits: pure numpy, every ratio without a denominator is 0."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

IntMatrix = npt.NDArray[np.int64]
IntVector = npt.NDArray[np.int64]
BoolVector = npt.NDArray[np.bool_]
FloatMatrix = npt.NDArray[np.float64]
AnyFloatMatrix = npt.NDArray[np.float32] | npt.NDArray[np.float64]
FloatVector = npt.NDArray[np.float64]


def confusion_matrix(actual: IntVector, predicted: IntVector, classes: int) -> IntMatrix:
    """Count items by true and predicted class.

    Args:
        actual: (items,) class indices in 0..classes-1.
        predicted: (items,) class indices in 0..classes-1.
    Returns:
        (classes, classes) counts; row = true class, column = predicted class.
    Raises:
        ValueError: the vectors differ in length or hold an index outside 0..classes-1.
    Source: agrees with scikit-learn confusion_matrix(labels=range(classes)).

    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1]), 2).tolist()
    [[1, 0], [1, 1]]
    """
    if actual.shape != predicted.shape or actual.ndim != 1:
        raise ValueError(f"actual {actual.shape} and predicted {predicted.shape} are not two vectors of one length")
    indices = np.concatenate([actual, predicted])
    if indices.size and not 0 <= indices.min() <= indices.max() < classes:
        raise ValueError(f"class index {indices.min()}..{indices.max()} is not within 0..{classes - 1}")
    cells = np.bincount(actual * classes + predicted, minlength=classes * classes)
    return cells.reshape(classes, classes).astype(np.int64)


def accuracy(confusion: IntMatrix) -> float:
    """Share of items predicted right, in [0, 1].

    Args:
        confusion: (classes, classes) counts; row = true class, column = predicted class.
    Raises:
        ValueError: the matrix is empty or not square.
    Source: agrees with scikit-learn accuracy_score.
    """
    right, actual, _ = _margins(confusion)
    return float(right.sum() / max(actual.sum(), 1))


def precision(confusion: IntMatrix) -> FloatVector:
    """(classes,) share of each class's predictions that are right, in [0, 1]; arguments as `accuracy`.

    Source: agrees with scikit-learn precision_score(average=None, zero_division=0).
    """
    right, _, predicted = _margins(confusion)
    return ratio(right, predicted)


def recall(confusion: IntMatrix) -> FloatVector:
    """(classes,) share of each class's items that are found, in [0, 1]; arguments as `accuracy`.

    Source: agrees with scikit-learn recall_score(average=None, zero_division=0).
    """
    right, actual, _ = _margins(confusion)
    return ratio(right, actual)


def f1(confusion: IntMatrix) -> FloatVector:
    """(classes,) harmonic mean of precision and recall, in [0, 1]; arguments as `accuracy`.

    Source: agrees with scikit-learn f1_score(average=None, zero_division=0).
    """
    right, actual, predicted = _margins(confusion)
    return ratio(2 * right, actual + predicted)


def macro_f1(confusion: IntMatrix) -> float:
    """Unweighted mean of the per-class F1.

    Args:
        confusion: (classes, classes) counts; row = true class, column = predicted class.
    Returns:
        Ratio in [0, 1]; a class with neither item nor prediction counts as 0.
    Raises:
        ValueError: the matrix is empty or not square.
    Source: agrees with scikit-learn f1_score(average="macro", zero_division=0).
    """
    return float(f1(confusion).mean())


def log_softmax(logits: FloatMatrix) -> FloatMatrix:
    """(items, classes) logarithms of the class probabilities; agrees with scipy.special.log_softmax(axis=1)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def softmax(logits: FloatMatrix) -> FloatMatrix:
    """(items, classes) class probabilities, rows adding up to 1; agrees with scipy.special.softmax(axis=1)."""
    return np.exp(log_softmax(logits))


def log_loss(logits: FloatMatrix, actual: IntVector, weight: FloatVector | None = None) -> float:
    """Mean negative log-likelihood of the true class, in nats.

    Args:
        logits: (items, classes), any real number.
        actual: (items,) true class indices.
        weight: (items,) weights of the mean; equal where None.
    Source: agrees with scikit-learn log_loss(sample_weight=weight) on the softmax of the logits.
    """
    losses = -log_softmax(logits)[np.arange(len(actual)), actual]
    return float(np.average(losses, weights=weight))


def ratio(numerator: npt.NDArray[np.generic], denominator: npt.NDArray[np.generic]) -> FloatVector:
    """Element-wise quotient; 0 where the denominator is 0."""
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    return np.asarray(np.divide(numerator, denominator, out=np.zeros(shape), where=denominator != 0))


def _margins(confusion: IntMatrix) -> tuple[IntVector, IntVector, IntVector]:
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1] or not confusion.size:
        raise ValueError(f"a confusion matrix must be square and not empty; this one has shape {confusion.shape}")
    return np.diagonal(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
