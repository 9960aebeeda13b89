"""The paired bootstrap of macro-F1 against resampling items one by one."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import f1_score

from tasks import paired_bootstrap
from tasks.metrics import IntVector, confusion_matrix, macro_f1
from tasks.paired_bootstrap import paired_macro_f1_interval, resampled_differences
from tasks.paired_tests import accuracy_gain, paired_counts


def answers(items: int, classes: int, seed: int) -> tuple[IntVector, IntVector, IntVector]:
    """True classes and two models' answers, which are mostly right and often alike."""
    generator = np.random.default_rng(seed)
    true = np.sort(generator.integers(0, classes, items) * generator.integers(1, 3, items) % classes)
    champion = np.where(generator.random(items) < 0.75, true, generator.integers(0, classes, items))
    ours = np.where(generator.random(items) < 0.7, champion, generator.integers(0, classes, items))
    return true, ours, champion


def test_it_draws_from_the_same_distribution_as_resampling_items_one_by_one() -> None:
    true, ours, champion = answers(90, 3, seed=1)
    rows = [np.flatnonzero(true == label) for label in range(3)]
    generator = np.random.default_rng(5)
    slow = []
    for _ in range(1500):
        drawn = np.concatenate([generator.choice(row, len(row)) for row in rows])
        scores = [macro_f1(confusion_matrix(true[drawn], model[drawn], 3)) for model in (ours, champion)]
        slow.append(scores[0] - scores[1])
    fast = resampled_differences(true, ours, champion, 3, 20_000, seed=0)
    levels = [0.025, 0.25, 0.5, 0.75, 0.975]
    np.testing.assert_allclose(np.quantile(fast, levels), np.quantile(slow, levels), atol=0.015)


def test_the_value_is_the_difference_of_both_macro_f1() -> None:
    true, ours, champion = answers(300, 5, seed=2)
    found = paired_macro_f1_interval(true, ours, champion, 5, 500, 0.95, seed=0)
    ours_f1, champion_f1 = (f1_score(true, model, average="macro") for model in (ours, champion))
    assert found.value == pytest.approx(ours_f1 - champion_f1)
    assert -1 <= found.low < found.value < found.high <= 1


def test_pairing_makes_it_narrower_than_two_models_apart() -> None:
    true, ours, champion = answers(400, 4, seed=3)
    together = resampled_differences(true, ours, champion, 4, 4000, seed=0)
    apart = (
        resampled_differences(true, ours, true, 4, 4000, seed=0),
        resampled_differences(true, champion, true, 4, 4000, seed=1),
    )
    assert together.std() < 0.9 * np.hypot(apart[0].std(), apart[1].std())


def test_it_is_repeatable_and_its_seed_matters() -> None:
    data = answers(120, 3, seed=4)
    first = paired_macro_f1_interval(*data, 3, 200, 0.95, seed=7)
    assert paired_macro_f1_interval(*data, 3, 200, 0.95, seed=7) == first
    assert not np.array_equal(
        resampled_differences(*data, 3, 200, seed=7), resampled_differences(*data, 3, 200, seed=8)
    )


def test_the_new_model_and_the_champion_changed_about_give_the_mirrored_difference() -> None:
    true, ours, champion = answers(200, 3, seed=5)
    there = paired_macro_f1_interval(true, ours, champion, 3, 4000, 0.95, seed=0)
    back = paired_macro_f1_interval(true, champion, ours, 3, 4000, 0.95, seed=0)
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low), abs=0.01)


def test_models_that_answer_alike_are_not_called_equal_for_certain() -> None:
    true, ours, _ = answers(150, 3, seed=6)
    found = paired_macro_f1_interval(true, ours, ours.copy(), 3, 300, 0.95, seed=0)
    gain = accuracy_gain(paired_counts(ours == true, ours == true), 0.95)
    assert found.value == 0.0
    assert (found.low, found.high) == pytest.approx((gain.low, gain.high))
    assert found.low < -0.01


def test_no_items_say_nothing() -> None:
    none = np.array([], dtype=np.int64)
    found = paired_macro_f1_interval(none, none, none, 3, 100, 0.95, seed=0)
    assert (found.value, found.low, found.high) == (0.0, -1.0, 1.0)


def test_memory_is_bounded_and_the_chunks_change_nothing_but_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    data = answers(5000, 10, seed=8)
    whole = resampled_differences(*data, 10, 1000, seed=0)
    monkeypatch.setattr(paired_bootstrap, "MAX_CELLS_AT_ONCE", 20_000)
    tracemalloc.start()
    parts = resampled_differences(*data, 10, 1000, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000
    np.testing.assert_allclose(np.quantile(parts, [0.1, 0.5, 0.9]), np.quantile(whole, [0.1, 0.5, 0.9]), atol=0.004)


@pytest.mark.parametrize("broken", ["length", "index"])
def test_other_items_or_classes_are_refused(broken: str) -> None:
    true, ours, champion = answers(30, 3, seed=9)
    with pytest.raises(ValueError, match=r"of one length|is not within"):
        paired_macro_f1_interval(true, ours, champion[:29] if broken == "length" else champion + 2, 3, 50, 0.95, 0)
