"""The logistic solver against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tasks.logistic import fit_logistic


def blobs(items: int, width: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Overlapping classes (items, width), labels and uneven item weights."""
    generator = np.random.default_rng(seed)
    labels = np.arange(items) % classes
    features = generator.normal(size=(items, width)) * np.geomspace(3, 0.1, width)
    features[:, :classes] += 1.5 * np.eye(classes)[labels]
    return features, labels, generator.uniform(0.5, 2.0, items)


@pytest.mark.parametrize(("items", "width"), [(120, 8), (30, 60)])
@pytest.mark.parametrize("strength", [10.0, 0.3, 0.01])
def test_coefficients_agree_with_scikit_learn(items: int, width: int, strength: float) -> None:
    features, labels, weight = blobs(items, width, classes=3)
    ours = fit_logistic(features, labels, weight, 3, strength, tolerance=1e-9)
    theirs = LogisticRegression(C=1 / strength, tol=1e-10, max_iter=20_000).fit(features, labels, weight)
    np.testing.assert_allclose(ours.weight, theirs.coef_, atol=2e-4 * np.abs(theirs.coef_).max())
    np.testing.assert_allclose(ours.bias, theirs.intercept_ - theirs.intercept_.mean(), atol=2e-3)


def test_two_classes_agree_with_scikit_learns_single_row() -> None:
    features, labels, weight = blobs(80, 5, classes=2)
    ours = fit_logistic(features, labels, weight, 2, strength=0.5, tolerance=1e-9)
    theirs = LogisticRegression(C=2 / 0.5, tol=1e-10, max_iter=20_000).fit(features, labels, weight)
    np.testing.assert_allclose(ours.weight[1] - ours.weight[0], theirs.coef_[0], atol=1e-4)
    np.testing.assert_allclose(ours.bias[1] - ours.bias[0], theirs.intercept_[0], atol=1e-3)


def test_the_start_changes_the_way_but_not_the_goal() -> None:
    features, labels, weight = blobs(60, 10, classes=3)
    elsewhere = fit_logistic(features, labels, weight, 3, strength=30.0)
    cold = fit_logistic(features, labels, weight, 3, strength=0.1, tolerance=1e-9)
    warm = fit_logistic(features, labels, weight, 3, strength=0.1, start=elsewhere, tolerance=1e-9)
    np.testing.assert_allclose(warm.weight, cold.weight, atol=1e-5)


def test_a_whole_weight_counts_as_that_many_copies_of_the_item() -> None:
    features, labels, _ = blobs(30, 4, classes=3)
    copies = 1 + np.arange(30) % 3
    weighted = fit_logistic(features, labels, copies.astype(float), 3, strength=0.2, tolerance=1e-9)
    repeated = fit_logistic(
        np.repeat(features, copies, axis=0), np.repeat(labels, copies), np.ones(copies.sum()), 3, 0.2, tolerance=1e-9
    )
    np.testing.assert_allclose(weighted.weight, repeated.weight, atol=1e-6)


def test_perfectly_separable_classes_end_at_a_finite_solution() -> None:
    features, labels = np.eye(4)[[0, 1, 2, 3] * 3] * 100, np.array([0, 1, 2, 3] * 3)
    model = fit_logistic(features, labels, np.ones(12), 4, strength=1e-3)
    assert np.isfinite(model.weight).all()
    assert (model.logits(features).argmax(axis=1) == labels).all()
