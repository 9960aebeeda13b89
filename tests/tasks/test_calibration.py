"""Brier score, calibration error and its bins, against hand computation, scikit-learn and generators of known truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from tasks.calibration import (
    BINS,
    bin_of,
    brier_scores,
    calibration_error,
    calibration_interval,
    confidence_bins,
    errors_by_chance,
)
from tasks.intervals import resampled_means
from tasks.metrics import softmax

CASES = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


def columns(cases: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([confidence for confidence, _ in cases]), np.array([right for _, right in cases])


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_brier_score_agrees_with_scikit_learn(classes: int) -> None:
    generator = np.random.default_rng(classes)
    probabilities = softmax(generator.normal(size=(80, classes)) * 3)
    actual = generator.integers(0, classes, 80)
    expected = reference.brier_score_loss(
        actual,
        probabilities[:, 1] if classes == 2 else probabilities,
        labels=range(classes),
        scale_by_half=False,
    )
    assert brier_scores(probabilities, actual).mean() == pytest.approx(expected)


def test_the_brier_score_is_0_for_certain_truth_and_2_for_certain_error() -> None:
    certain = np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    assert brier_scores(certain, np.array([0, 2])).tolist() == [0.0, 2.0]
    assert certain[0, 0] == 1.0


def test_float32_probabilities_are_scored_in_double_precision() -> None:
    probabilities = np.array([[0.9, 0.1]], dtype=np.float32)
    assert brier_scores(probabilities, np.array([0])).dtype == np.float64


def test_a_bin_is_open_below_and_closed_above_and_the_first_holds_zero() -> None:
    edges = np.array([0.0, 1e-12, 0.2, 0.2000001, 1.0])
    assert bin_of(edges, 5).tolist() == [0, 0, 0, 1, 4]


def test_the_error_is_that_of_a_hand_computation() -> None:
    """Two bins of five: 0.5, 0.6 with one right, and 0.9, 0.9, 1.0 with two right."""
    confidence = np.array([0.50, 0.60, 0.90, 0.90, 1.00])
    right = np.array([True, False, True, False, True])
    bins = confidence_bins(confidence, right, 5)
    assert bins.items.tolist() == [0, 0, 2, 0, 3]
    np.testing.assert_allclose(bins.confidence, [0, 0, 0.55, 0, 14 / 15])
    np.testing.assert_allclose(bins.accuracy, [0, 0, 0.5, 0, 2 / 3])
    assert bins.error == pytest.approx((2 * 0.05 + 3 * (14 / 15 - 2 / 3)) / 5)
    assert calibration_error(confidence, right, 5) == bins.error


@settings(max_examples=60, deadline=None)
@given(CASES)
def test_the_bins_agree_with_scikit_learn_on_confidences_off_the_edges(cases: list[tuple[float, bool]]) -> None:
    """scikit-learn closes its bins below, so confidences on an edge are moved off it."""
    from sklearn.calibration import calibration_curve

    confidence, right = columns(cases)
    confidence = np.clip(confidence, 1e-3, 1 - 1e-3)
    confidence = np.where(np.isclose(confidence * BINS, np.round(confidence * BINS)), 0.51, confidence)
    accuracy, mean = calibration_curve(right, confidence, n_bins=BINS, strategy="uniform", pos_label=True)
    bins = confidence_bins(confidence, right)
    used = bins.items > 0
    np.testing.assert_allclose(bins.accuracy[used], accuracy)
    np.testing.assert_allclose(bins.confidence[used], mean)
    assert bins.error == pytest.approx((bins.items[used] * np.abs(accuracy - mean)).sum() / len(right))


@settings(max_examples=60, deadline=None)
@given(CASES)
def test_the_error_lies_between_the_overall_gap_and_one(cases: list[tuple[float, bool]]) -> None:
    confidence, right = columns(cases)
    overall = abs(confidence.mean() - right.mean())
    assert overall - 1e-12 <= calibration_error(confidence, right) <= 1 + 1e-12


def test_a_perfectly_calibrated_generator_has_an_error_near_zero_and_only_chance_is_left() -> None:
    generator = np.random.default_rng(0)
    for items, greatest in ((500, 0.08), (200_000, 0.005)):
        confidence = generator.uniform(0.3, 1.0, items)
        right = generator.random(items) < confidence
        error, chance = calibration_error(confidence, right), errors_by_chance(confidence, 200, 0).mean()
        assert error < greatest
        assert error == pytest.approx(chance, rel=0.5)


@pytest.mark.parametrize("excess", [0.05, 0.2])
def test_the_error_of_an_overconfident_generator_is_its_excess(excess: float) -> None:
    generator = np.random.default_rng(1)
    confidence = generator.uniform(0.5, 1.0, 200_000)
    right = generator.random(len(confidence)) < confidence - excess
    assert calibration_error(confidence, right) == pytest.approx(excess, abs=0.005)
    assert errors_by_chance(confidence, 20, 0).mean() < 0.005


def test_fewer_items_leave_more_to_chance() -> None:
    confidence = np.random.default_rng(0).uniform(0.5, 1.0, 2000)
    errors = [errors_by_chance(confidence[:items], 200, 0).mean() for items in (30, 150, 2000)]
    assert errors[0] > 1.5 * errors[1] > 2 * errors[2]
    assert errors_by_chance(np.ones(50), 20, 0).tolist() == [0.0] * 20
    assert errors_by_chance(np.empty(0), 20, 0).tolist() == [0.0] * 20


def covered(excess: float, draws: int = 60, items: int = 150) -> tuple[int, int]:
    """How many intervals of drawn test sets hold the true error, and how many of them begin at 0."""
    generator, held, from_zero = np.random.default_rng(4), 0, 0
    for draw in range(draws):
        confidence = generator.uniform(0.5, 1.0, items)
        right = generator.random(items) < confidence - excess
        gaps = np.zeros((items, BINS))
        gaps[np.arange(items), bin_of(confidence)] = confidence - right
        resampled = np.abs(resampled_means(gaps, 200, draw)).sum(axis=1)
        by_chance = errors_by_chance(confidence, 200, draw)
        error = calibration_error(confidence, right)
        low, high = calibration_interval(error, resampled, by_chance, 0.95)
        assert 0 <= low <= error <= high
        held, from_zero = held + (low <= excess <= high), from_zero + (low == 0)
    return held, from_zero


def test_the_interval_of_a_calibrated_model_reaches_zero_and_that_of_a_broken_one_does_not() -> None:
    held, from_zero = covered(excess=0.0)
    assert held == from_zero >= 54
    held, from_zero = covered(excess=0.2)
    assert held >= 45
    assert from_zero <= 3


def test_vectors_of_different_length_and_values_that_are_no_probability_are_refused() -> None:
    with pytest.raises(ValueError, match="two vectors of one length"):
        confidence_bins(np.ones(2), np.ones(3, dtype=bool))
    for bad in (1.5, -0.1, float("nan")):
        with pytest.raises(ValueError, match=r"not within \[0, 1\]"):
            confidence_bins(np.array([bad]), np.array([True]))
