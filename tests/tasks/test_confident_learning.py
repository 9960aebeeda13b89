"""Confident learning against a derivation by hand and figures of cleanlab 2.9.0."""

import numpy as np
import pytest

from tasks.confident_learning import class_thresholds, confident_joint, expected_errors

CLEANLAB_RAW = [[60, 8, 6], [4, 45, 8], [6, 8, 57]]
CLEANLAB_CALIBRATED = [[86, 11, 9], [6, 72, 13], [9, 11, 83]]
"""compute_confident_joint of cleanlab 2.9.0 for noisy_probabilities(300, 3, 11), calibrate=False and True."""


def noisy_probabilities(items: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of three decimals (so that no library's last bits matter) and labels that often disagree."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, items)
    raw = generator.gamma(0.5, size=(items, classes))
    raw[np.arange(items), labels] += generator.gamma(1.0, size=items)
    return np.round(raw / raw.sum(axis=1, keepdims=True), 3), labels


def by_hand(probabilities: np.ndarray, labels: np.ndarray) -> list[list[int]]:
    """Equation 1 of the paper, item by item."""
    classes = probabilities.shape[1]
    thresholds = [float(np.mean(probabilities[labels == one, one])) for one in range(classes)]
    joint = [[0] * classes for _ in range(classes)]
    for row, label in zip(probabilities, labels, strict=True):
        reached = [one for one in range(classes) if row[one] >= thresholds[one] - 1e-6]
        if reached:
            joint[label][max(reached, key=lambda one: (row[one], -one))] += 1
    return joint


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_the_confident_joint_is_the_papers_equation(classes: int) -> None:
    probabilities, labels = noisy_probabilities(400, classes, classes)

    assert confident_joint(probabilities, labels).tolist() == by_hand(probabilities, labels)


def test_the_joint_and_the_errors_agree_with_cleanlab() -> None:
    probabilities, labels = noisy_probabilities(300, 3, 11)

    assert confident_joint(probabilities, labels).tolist() == CLEANLAB_RAW
    errors = expected_errors(probabilities, labels, np.bincount(labels))
    assert np.abs(errors - np.array(CLEANLAB_CALIBRATED) * (1 - np.eye(3))).max() <= 1.0


def test_labels_that_all_hold_have_no_expected_errors() -> None:
    labels = np.arange(30) % 3

    assert expected_errors(np.eye(3)[labels] * 0.7 + 0.1, labels, np.bincount(labels)).sum() == 0


def test_errors_are_counted_for_the_whole_that_a_sample_stands_for() -> None:
    probabilities, labels = noisy_probabilities(300, 3, 11)
    counts = np.bincount(labels)

    tenfold = expected_errors(probabilities, labels, 10 * counts)
    np.testing.assert_allclose(tenfold, 10 * expected_errors(probabilities, labels, counts))


def test_a_class_without_items_or_without_a_confident_one_does_no_harm() -> None:
    probabilities = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.95, 0.05, 0.0]])
    labels = np.array([0, 1, 1])

    assert class_thresholds(probabilities, labels)[2] == 1.0
    assert expected_errors(probabilities, labels, np.array([1, 2, 0])).tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
