"""Standardisation and principal axes: exact, and safe where a column never changes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from tasks.principal_axes import PrincipalAxes, Standardisation


@pytest.mark.parametrize(("items", "width"), [(40, 9), (9, 40)])
def test_the_axes_keep_every_inner_product_of_the_items(items: int, width: int) -> None:
    features = np.random.default_rng(0).normal(size=(items, width))
    axes = PrincipalAxes.of(features)
    np.testing.assert_allclose(axes.coordinates @ axes.coordinates.T, features @ features.T, atol=1e-9)
    np.testing.assert_allclose(axes.coordinates @ axes.axes.T, features, atol=1e-9)
    np.testing.assert_allclose((axes.coordinates**2).sum(axis=0), axes.variances, atol=1e-9)
    np.testing.assert_allclose(axes.axes.T @ axes.axes, np.eye(min(items, width)), atol=1e-9)


def test_items_in_a_plane_have_two_axes() -> None:
    generator = np.random.default_rng(1)
    features = generator.normal(size=(20, 2)) @ generator.normal(size=(2, 12))
    assert len(PrincipalAxes.of(features).variances) == 2


def test_features_that_are_all_zero_have_no_axis() -> None:
    axes = PrincipalAxes.of(np.zeros((4, 3)))
    assert axes.coordinates.shape == (4, 0)
    assert axes.turn_back(np.zeros((2, 0))).shape == (2, 3)


def test_standardisation_nears_scikit_learns_over_the_root_of_the_width_as_items_grow() -> None:
    features = np.random.default_rng(2).normal(3.0, np.geomspace(1, 4, 16), size=(20_000, 16))
    expected = StandardScaler().fit_transform(features) / 4.0
    np.testing.assert_allclose(Standardisation.of(features).apply(features), expected, rtol=5e-3)


def test_a_column_that_hardly_varies_in_a_few_items_is_not_blown_up() -> None:
    features = np.random.default_rng(2).normal(size=(3, 10))
    features[:, 4] = [1.0, 1.0, 1.0 + 1e-6]
    unseen = np.full((1, 10), 2.0)
    assert abs(Standardisation.of(features).apply(unseen)[0, 4]) < 1.0


@pytest.mark.parametrize("constant", [0.0, 7.3, 1e8, 0.1])
def test_a_constant_column_never_contributes(constant: float) -> None:
    features = np.random.default_rng(3).normal(size=(30, 4))
    features[:, 2] = np.float32(constant)
    learned = Standardisation.of(features)
    np.testing.assert_allclose(learned.apply(features)[:, 2], 0, atol=1e-6)
    np.testing.assert_allclose(PrincipalAxes.of(learned.apply(features)).axes[2], 0, atol=1e-6)


def test_features_that_never_vary_are_all_zero() -> None:
    assert (Standardisation.of(np.full((5, 3), 0.1)).apply(np.full((2, 3), 9.0)) == 0).all()


def test_a_weight_folded_in_gives_the_same_logits_from_raw_features() -> None:
    features = np.random.default_rng(3).normal(5.0, 2.0, size=(30, 4))
    learned = Standardisation.of(features)
    weight, bias = learned.fold_in(np.arange(8.0).reshape(2, 4), np.array([1.0, -1.0]))
    expected = learned.apply(features) @ np.arange(8.0).reshape(2, 4).T + np.array([1.0, -1.0])
    np.testing.assert_allclose(features @ weight.T + bias, expected, atol=1e-9)
