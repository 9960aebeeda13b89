"""Intervals against scipy, against brute force, and by how often they hold the truth."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from tasks import intervals
from tasks.intervals import bootstrap_macro_f1, paired_gain_interval, resampled_macro_f1, wilson_interval
from tasks.metrics import confusion_matrix, macro_f1


@pytest.mark.parametrize(("successes", "total"), [(0, 1), (0, 30), (1, 7), (29, 30), (30, 30), (812, 1000)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_wilson_agrees_with_scipy(successes: int, total: int, confidence: float) -> None:
    expected = binomtest(successes, total).proportion_ci(confidence, method="wilson")
    assert wilson_interval(successes, total, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_says_nothing_without_trials_and_is_never_certain() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)
    low, high = wilson_interval(20, 20)
    assert low < 0.9
    assert high == 1.0


@pytest.mark.parametrize("successes", [-1, 11])
def test_wilson_refuses_impossible_counts(successes: int) -> None:
    with pytest.raises(ValueError, match=r"not within 0\.\.10"):
        wilson_interval(successes, 10)


def test_the_bootstrap_draws_from_the_same_distribution_as_resampling_items_one_by_one() -> None:
    generator = np.random.default_rng(3)
    actual = np.repeat([0, 1, 2, 3], [40, 25, 10, 5])
    predicted = np.where(generator.random(80) < 0.7, actual, generator.integers(0, 4, 80))
    rows = [np.flatnonzero(actual == label) for label in range(4)]
    slow = []
    for _ in range(1500):
        drawn = np.concatenate([generator.choice(row, len(row)) for row in rows])
        slow.append(macro_f1(confusion_matrix(actual[drawn], predicted[drawn], 4)))
    fast = resampled_macro_f1(confusion_matrix(actual, predicted, 4), 20_000, seed=0)
    np.testing.assert_allclose(
        np.quantile(fast, [0.025, 0.25, 0.5, 0.75, 0.975]),
        np.quantile(slow, [0.025, 0.25, 0.5, 0.75, 0.975]),
        atol=0.015,
    )


def test_a_resample_of_a_class_that_is_only_ever_predicted_counts_as_scikit_learn_counts_it() -> None:
    confusion = confusion_matrix(np.array([0, 0, 1, 1]), np.array([2, 2, 1, 1]), 4)
    expected = f1_score([0, 0, 1, 1], [2, 2, 1, 1], labels=range(4), average="macro", zero_division=0)
    np.testing.assert_allclose(resampled_macro_f1(confusion, 50, seed=1), expected)


def test_the_bootstrap_is_repeatable_and_its_seed_matters() -> None:
    confusion = np.array([[30, 4], [7, 22]])
    assert bootstrap_macro_f1(confusion, 500, 0.95, seed=5) == bootstrap_macro_f1(confusion, 500, 0.95, seed=5)
    assert bootstrap_macro_f1(confusion, 500, 0.95, seed=5) != bootstrap_macro_f1(confusion, 500, 0.95, seed=6)


def test_the_bootstrap_of_ten_thousand_items_and_a_hundred_classes_takes_a_moment() -> None:
    generator = np.random.default_rng(0)
    actual = generator.integers(0, 100, 10_000)
    predicted = np.where(generator.random(10_000) < 0.8, actual, generator.integers(0, 100, 10_000))
    started = time.process_time()
    low, high = bootstrap_macro_f1(confusion_matrix(actual, predicted, 100), 2000, 0.95, seed=0)
    assert time.process_time() - started < 5.0
    assert low < macro_f1(confusion_matrix(actual, predicted, 100)) < high


def test_nothing_can_be_resampled_from_nothing() -> None:
    with pytest.raises(ValueError, match="without items"):
        bootstrap_macro_f1(np.zeros((2, 2), dtype=np.int64), 10, 0.95, seed=0)


def paired(both: int, first: int, second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    right = np.repeat([True, True, False, False], [both, first, second, neither])
    return right, np.repeat([True, False, True, False], [both, first, second, neither])


def test_the_paired_interval_holds_the_true_gain_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(11)
    held = 0
    for _ in range(2000):
        both, first, second, neither = generator.multinomial(60, [0.75, 0.15, 0.04, 0.06])
        _, low, high = paired_gain_interval(*paired(both, first, second, neither))
        held += low <= 0.15 - 0.04 <= high
    assert 0.935 <= held / 2000 <= 0.985


def test_the_paired_interval_is_narrower_than_that_of_independent_samples() -> None:
    gain, low, high = paired_gain_interval(*paired(80, 10, 2, 8))
    first, second = wilson_interval(90, 100), wilson_interval(82, 100)
    assert gain == pytest.approx(0.08)
    assert high - low < (first[1] - first[0]) + (second[1] - second[0])
    assert low < gain < high


def test_swapping_model_and_baseline_mirrors_the_paired_interval() -> None:
    right, baseline = paired(30, 9, 3, 5)
    gain, low, high = paired_gain_interval(right, baseline)
    assert paired_gain_interval(baseline, right) == pytest.approx((-gain, -high, -low))


def test_models_that_agree_everywhere_still_leave_doubt_and_no_items_leave_everything_open() -> None:
    gain, low, high = paired_gain_interval(*paired(20, 0, 0, 5))
    assert gain == 0.0
    assert low <= 0.0 <= high
    assert paired_gain_interval(*paired(0, 0, 0, 0)) == (0.0, -1.0, 1.0)
    _, low, _ = paired_gain_interval(*paired(0, 20, 0, 0))
    assert low < 0.95


def test_the_paired_interval_refuses_other_items() -> None:
    with pytest.raises(ValueError, match="not the same items"):
        paired_gain_interval(np.array([True]), np.array([True, False]))


def test_resampled_means_scatter_as_the_standard_error_says_and_columns_share_their_draws() -> None:
    values = np.random.default_rng(0).exponential(size=400)
    means = intervals.resampled_means(np.column_stack([values, 3 - 2 * values]), 4000, 0)
    assert means.shape == (4000, 2)
    assert means[:, 0].mean() == pytest.approx(values.mean(), abs=0.005)
    assert means[:, 0].std() == pytest.approx(values.std() / 20, rel=0.05)
    np.testing.assert_allclose(means[:, 1], 3 - 2 * means[:, 0])


def test_resampled_means_are_the_same_for_a_seed_however_many_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = np.random.default_rng(1).normal(size=(50, 3))
    means = intervals.resampled_means(columns, 30, 7)
    assert not np.array_equal(means, intervals.resampled_means(columns, 30, 8))
    monkeypatch.setattr(intervals, "MAX_CELLS_AT_ONCE", 200)
    assert intervals.draw_chunks(30, 50) == [4] * 7 + [2]
    np.testing.assert_allclose(intervals.resampled_means(columns, 30, 7), means, atol=1e-15)


def test_no_items_cannot_be_resampled() -> None:
    with pytest.raises(ValueError, match="no items"):
        intervals.resampled_means(np.empty((0, 2)), 10, 0)


def test_the_basic_interval_mirrors_the_percentiles_and_keeps_the_value_and_zero() -> None:
    resampled = np.linspace(0.4, 0.8, 1001)
    assert intervals.percentile_interval(resampled, 0.9) == pytest.approx((0.42, 0.78))
    assert intervals.basic_interval(0.5, resampled, 0.9) == pytest.approx((0.22, 0.58))
    assert intervals.basic_interval(0.3, resampled, 0.9) == pytest.approx((0.0, 0.3))
    assert intervals.basic_interval(0.9, resampled, 0.9) == pytest.approx((0.9, 1.38))
