"""Ridge with exact leave-one-out against scikit-learn and against leaving out by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.metrics import log_loss

from tasks.ridge import RidgePath, logit_scale

CLASSES = 3


def problem(items: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(items + width)
    labels = generator.integers(0, CLASSES, items)
    labels[:CLASSES] = range(CLASSES)
    features = generator.normal(size=(items, width)) + np.eye(CLASSES, width)[labels]
    return features, labels, generator.uniform(0.5, 2.0, items)


@pytest.mark.parametrize(("items", "width"), [(60, 7), (20, 45)])
@pytest.mark.parametrize("strength", [1e-2, 1.0, 100.0])
def test_the_model_agrees_with_scikit_learn(items: int, width: int, strength: float) -> None:
    features, labels, weight = problem(items, width)
    ours = RidgePath.of(features, labels, weight, CLASSES, np.arange(items)).model(strength)
    theirs = Ridge(alpha=strength, solver="svd").fit(features, np.eye(CLASSES)[labels], sample_weight=weight)
    np.testing.assert_allclose(ours.weight, theirs.coef_, atol=1e-8)
    np.testing.assert_allclose(ours.bias, theirs.intercept_, atol=1e-8)


@pytest.mark.parametrize(("items", "width"), [(60, 7), (20, 45)])
def test_leave_one_out_agrees_with_scikit_learns_values(items: int, width: int) -> None:
    features, labels, _ = problem(items, width)
    path = RidgePath.of(features, labels, np.ones(items), CLASSES, np.arange(items))
    targets, strengths = np.eye(CLASSES)[labels], [0.1, 1.0, 10.0]
    theirs = RidgeCV(alphas=strengths, store_cv_results=True).fit(features, targets).cv_results_
    for place, strength in enumerate(strengths):
        np.testing.assert_allclose((targets - path.left_out(strength)) ** 2, theirs[:, :, place], atol=1e-8)


@pytest.mark.parametrize(("items", "width"), [(40, 6), (18, 30)])
@pytest.mark.parametrize("largest_group", [1, 4])
def test_leaving_out_in_closed_form_is_leaving_out_and_fitting_anew(items: int, width: int, largest_group: int) -> None:
    features, labels, weight = problem(items, width)
    groups = np.arange(items) // largest_group
    left_out = RidgePath.of(features, labels, weight, CLASSES, groups).left_out(0.7)
    for group in np.unique(groups):
        out = groups == group
        anew = Ridge(alpha=0.7, solver="svd").fit(features[~out], np.eye(CLASSES)[labels[~out]], weight[~out])
        np.testing.assert_allclose(left_out[out], anew.predict(features[out]), atol=1e-7)


def test_a_group_larger_than_the_axes_is_left_out_in_closed_form_too() -> None:
    features, labels, weight = problem(60, 7)
    groups = np.where(np.arange(60) < 40, 0, np.arange(60))
    left_out = RidgePath.of(features, labels, weight, CLASSES, groups).left_out(0.7)
    out = groups == 0
    anew = Ridge(alpha=0.7, solver="svd").fit(features[~out], np.eye(CLASSES)[labels[~out]], weight[~out])
    np.testing.assert_allclose(left_out[out], anew.predict(features[out]), atol=1e-7)


def test_the_logit_scale_has_the_least_log_loss() -> None:
    features, labels, weight = problem(60, 7)
    scores = RidgePath.of(features, labels, np.ones(60), CLASSES, np.arange(60)).left_out(1.0)
    best = logit_scale(scores, labels, weight)

    def loss(scale: float) -> float:
        return log_loss(labels, softmax(scale * scores, axis=1), sample_weight=weight)

    assert loss(best) <= min(loss(best * factor) for factor in np.geomspace(0.3, 3, 21)) + 1e-9


def test_scores_without_a_mistake_get_a_large_but_finite_scale() -> None:
    assert 20 < logit_scale(np.eye(3), np.arange(3), np.ones(3)) < 1e4
