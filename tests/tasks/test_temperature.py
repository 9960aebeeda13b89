"""The temperature: a known one is found again, few items are not believed, and no answer ever changes."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from tasks.calibration import calibration_error
from tasks.metrics import log_loss, softmax
from tasks.temperature import COLDEST, HOTTEST, PRIOR_STRENGTH, fit_temperature


def drawn(
    items: int, temperature: float, classes: int = 3, seed: int = 0, spread: float = 3.0
) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `temperature` times too large, and labels drawn from the probabilities of the honest ones."""
    generator = np.random.default_rng(seed)
    honest = generator.normal(0, spread, (items, classes))
    labels = (honest + generator.gumbel(size=honest.shape)).argmax(axis=1)
    return honest * temperature, labels


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5, 8.0])
@pytest.mark.parametrize("classes", [2, 3, 12])
def test_a_known_temperature_is_found_again(temperature: float, classes: int) -> None:
    logits, labels = drawn(8000, temperature, classes)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.06)


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_on_fresh_data_loss_and_calibration_error_are_better_and_near_those_of_honest_logits(
    temperature: float,
) -> None:
    logits, labels = drawn(8000, temperature, seed=1)
    fitted = fit_temperature(logits[:400], labels[:400])
    fresh, truth = logits[400:], labels[400:]
    assert log_loss(fresh / fitted, truth) < log_loss(fresh, truth) - 0.02
    assert log_loss(fresh / fitted, truth) < log_loss(fresh / temperature, truth) + 0.005

    def error(these: np.ndarray) -> float:
        return calibration_error(softmax(these).max(axis=1), these.argmax(axis=1) == truth)

    assert error(fresh / fitted) < 0.03 < error(fresh)


def test_honest_logits_are_not_made_worse_on_fresh_data() -> None:
    for seed in range(20):
        logits, labels = drawn(4000, 1.0, seed=seed)
        fitted = fit_temperature(logits[:200], labels[:200])
        assert log_loss(logits[200:] / fitted, labels[200:]) < log_loss(logits[200:], labels[200:]) + 0.02


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.floats(0.05, 30))
def test_the_answer_of_every_item_stays_and_the_temperature_is_within_its_bounds(
    seed: int, items: int, scale: float
) -> None:
    logits, labels = drawn(items, scale, seed=seed)
    fitted = fit_temperature(logits, labels)
    assert COLDEST <= fitted <= HOTTEST
    np.testing.assert_array_equal((logits / fitted).argmax(axis=1), logits.argmax(axis=1))


@pytest.mark.parametrize("items", [1, 5, 40, 1000])
@pytest.mark.parametrize("scale", [0.2, 1.0, 7.0])
def test_the_fit_is_the_minimum_that_scipy_finds(items: int, scale: float) -> None:
    logits, labels = drawn(items, scale, seed=3)
    weight = np.random.default_rng(0).uniform(0.5, 2.0, items)

    def objective(inverse: float) -> float:
        loss = weight.sum() * log_loss(inverse * logits, labels, weight)
        return loss + PRIOR_STRENGTH * (inverse - 1 - np.log(inverse))

    found = minimize_scalar(objective, bounds=(1 / HOTTEST, 1 / COLDEST), method="bounded", options={"xatol": 1e-10})
    assert fit_temperature(logits, labels, weight) == pytest.approx(1 / found.x, rel=1e-4)


def test_items_without_a_mistake_do_not_drive_the_temperature_to_zero() -> None:
    labels = np.arange(200) % 2
    logits = 3.0 * np.eye(2)[labels]
    fitted = fit_temperature(logits, labels)
    assert 0.3 < fitted < 1.0
    assert softmax(logits / fitted).max() < 1 - 1e-4
    assert fit_temperature(logits[:20], labels[:20]) > fitted


def test_few_items_leave_the_temperature_near_one_and_more_of_the_same_move_it() -> None:
    logits, labels = drawn(400, 6.0, seed=5)
    fitted = [fit_temperature(np.tile(logits, (n, 1)), np.tile(labels, n)) for n in (1, 3, 30)]
    assert fitted[0] < fitted[1] < fitted[2] < 7.5
    wrong = np.array([[2.0, 0.0]])
    alone = [fit_temperature(np.repeat(wrong, n, axis=0), np.ones(n, dtype=np.int64)) for n in (0, 1, 2, 5)]
    assert alone[0] == 1.0
    assert alone == sorted(alone)
    assert alone[1] < 1.7


def test_more_confidence_in_the_same_answers_is_taken_back_by_a_higher_temperature() -> None:
    logits, labels = drawn(300, 1.0, seed=6)
    fitted = [fit_temperature(scale * logits, labels) for scale in (0.5, 1, 2, 4, 8)]
    assert fitted == sorted(fitted)
    assert fitted[-1] / fitted[0] > 8


def test_a_mistake_more_never_lowers_the_temperature() -> None:
    logits, _ = drawn(60, 3.0, classes=2, seed=7)
    order = np.argsort(-np.abs(logits[:, 0] - logits[:, 1]))
    labels, fitted = logits.argmax(axis=1), []
    for row in [None, *order[:20]]:
        if row is not None:
            labels[row] = 1 - labels[row]
        fitted.append(fit_temperature(logits, labels))
    assert fitted == sorted(fitted)


def test_logits_that_tell_nothing_are_softened_to_the_bound_and_equal_ones_are_left_alone() -> None:
    generator = np.random.default_rng(8)
    noise, labels = 500 * generator.normal(size=(2000, 4)), generator.integers(0, 4, 2000)
    assert fit_temperature(noise, labels) == pytest.approx(HOTTEST, rel=1e-3)
    assert fit_temperature(np.zeros((50, 3)), np.zeros(50, dtype=np.int64)) == pytest.approx(1.0)


def test_a_weight_counts_as_so_many_items() -> None:
    logits, labels = drawn(80, 3.0, seed=9)
    weight = np.repeat([1.0, 3.0], 40)
    repeated = np.repeat(np.arange(80), weight.astype(int))
    expected = fit_temperature(logits[repeated], labels[repeated])
    assert fit_temperature(logits, labels, weight) == pytest.approx(expected, rel=1e-8)


def test_the_temperature_is_the_same_for_logits_that_are_shifted_or_single_precision() -> None:
    logits, labels = drawn(300, 2.0, seed=10)
    expected = fit_temperature(logits, labels)
    shifted = logits + np.random.default_rng(0).normal(0, 50, (300, 1))
    assert fit_temperature(shifted, labels) == pytest.approx(expected, rel=1e-8)
    assert fit_temperature(logits.astype(np.float32), labels) == pytest.approx(expected, rel=1e-5)


LOGITS, LABELS = np.zeros((3, 2)), np.array([0, 1, 1])


@pytest.mark.parametrize(
    ("fit", "complaint"),
    [
        (partial(fit_temperature, LOGITS, LABELS[:2]), "not of the same items"),
        (partial(fit_temperature, LOGITS[:, 0], LABELS), "not of the same items"),
        (partial(fit_temperature, LOGITS, LABELS, np.ones(2)), "not of the same items"),
        (partial(fit_temperature, LOGITS, LABELS + 1), r"label 1\.\.2 is not within 0\.\.1"),
        (partial(fit_temperature, LOGITS + np.nan, LABELS), "not finite"),
        (partial(fit_temperature, LOGITS, LABELS, np.array([1.0, -1.0, 1.0])), "negative"),
    ],
)
def test_what_is_no_logit_label_or_weight_is_refused(fit: partial[float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        fit()
