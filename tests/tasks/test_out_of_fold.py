"""Out-of-fold probabilities: no item is judged by a model that saw it or its group, at any size."""

from pathlib import Path

import numpy as np
import pytest

from tasks.out_of_fold import FEWEST_GROUPS, items_to_learn_from, out_of_fold

WIDTH = 12


def blobs(items: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features around the centres of classes, and the classes."""
    generator = np.random.default_rng(seed)
    labels = np.arange(items) % classes
    return generator.normal(size=(items, WIDTH)) + 2.5 * np.eye(WIDTH)[labels], labels


def test_wrong_labels_get_a_low_probability_and_right_ones_a_high_one() -> None:
    features, truth = blobs(200, 3)
    labels = truth.copy()
    labels[:10] = (truth[:10] + 1) % 3
    probe = out_of_fold(features, labels, np.arange(200), 3, 1000)

    assert probe.scored.all()
    assert probe.given[:10].max() < np.median(probe.given[10:])
    assert (probe.best == truth).mean() > 0.9
    assert (probe.top >= probe.second).all()
    assert (probe.best != probe.runner_up).all()
    np.testing.assert_allclose(probe.probabilities.sum(axis=1), 1)


def test_a_copy_in_the_same_group_cannot_vouch_for_its_label() -> None:
    features, labels = blobs(100, 2)
    features, labels = np.repeat(features, 2, axis=0), np.repeat(labels, 2)
    labels[:2] = 1 - labels[0]
    together = out_of_fold(features, labels, np.repeat(np.arange(100), 2), 2, 1000)
    apart = out_of_fold(features, labels, np.arange(200), 2, 1000)

    assert together.given[0] < apart.given[0]


def test_a_class_of_one_group_is_not_scored() -> None:
    features, labels = blobs(60, 3)
    groups = np.where(labels == 2, 60, np.arange(60))
    probe = out_of_fold(features, labels, np.unique(groups, return_inverse=True)[1], 3, 1000)

    assert probe.scored.tolist() == (labels != 2).tolist()


def test_items_beyond_the_fitted_ones_are_judged_by_a_model_that_never_saw_them(tmp_path: Path) -> None:
    features, truth = blobs(3000, 3)
    labels = truth.copy()
    labels[::50] = (truth[::50] + 1) % 3
    np.save(tmp_path / "features.npy", features.astype(np.float16))
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    probe = out_of_fold(mapped, labels, np.arange(3000), 3, 500)

    assert len(probe.learned) == len(probe.probabilities) == 500
    assert probe.scored.all()
    assert np.median(probe.given[::50]) < 0.2 < 0.8 < np.median(probe.given)
    assert (probe.best == truth).mean() > 0.9


def test_whole_groups_are_learned_from_and_some_of_every_class() -> None:
    generator = np.random.default_rng(3)
    labels = np.where(np.arange(4000) < 60, 1, 0)
    groups = np.unique(
        np.where(labels == 1, np.arange(4000), 5000 + generator.integers(0, 900, 4000)), return_inverse=True
    )[1]
    learned = items_to_learn_from(labels, groups, 2, 400)

    assert 300 < len(learned) <= 400
    assert set(groups[learned]).isdisjoint(groups[np.setdiff1d(np.arange(4000), learned)])
    assert (labels[learned] == 1).sum() >= FEWEST_GROUPS
    assert (np.diff(learned) > 0).all()


@pytest.mark.parametrize("max_fitted", [50, 1000])
def test_the_same_input_gives_the_same_bytes(max_fitted: int) -> None:
    features, labels = blobs(120, 3)
    first, second = (out_of_fold(features, labels, np.arange(120), 3, max_fitted) for _ in range(2))

    assert first.given.tobytes() == second.given.tobytes()
    assert first.probabilities.tobytes() == second.probabilities.tobytes()
