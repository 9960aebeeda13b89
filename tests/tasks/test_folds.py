"""Folds: groups stay together, classes are spread, nobody is asked about a class that was never shown."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.folds import ALWAYS_TRAINING, deal_folds

ITEMS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 25)), min_size=1, max_size=60)


@settings(max_examples=80, deadline=None)
@given(ITEMS, st.integers(2, 7), st.integers(0, 3))
def test_groups_never_straddle_and_every_held_out_class_is_in_training(
    items: list[tuple[int, int]], folds: int, seed: int
) -> None:
    labels, groups = (np.array(column) for column in zip(*items, strict=True))
    fold = deal_folds(labels, groups, folds, seed)
    assert set(fold.tolist()) <= {ALWAYS_TRAINING, *range(folds)}
    for group in np.unique(groups):
        assert len(np.unique(fold[groups == group])) == 1
    for held in np.unique(fold[fold != ALWAYS_TRAINING]):
        assert set(labels[fold == held].tolist()) <= set(labels[fold != held].tolist())
    np.testing.assert_array_equal(fold, deal_folds(labels, groups, folds, seed))


def test_single_items_are_dealt_evenly_within_every_class() -> None:
    labels = np.repeat([0, 1, 2], [50, 33, 7])
    fold = deal_folds(labels, np.arange(90), 5, seed=0)
    for label in range(3):
        counts = np.bincount(fold[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert np.bincount(fold).max() <= 20


def test_a_class_with_fewer_items_than_folds_is_left_out_one_by_one() -> None:
    labels = np.repeat([0, 1], [40, 3])
    fold = deal_folds(labels, np.arange(43), 5, seed=0)
    assert sorted(np.bincount(fold[labels == 1], minlength=5).tolist()) == [0, 0, 1, 1, 1]


def test_a_class_with_a_single_group_stays_in_training() -> None:
    labels, groups = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 3, 3])
    fold = deal_folds(labels, groups, 5, seed=0)
    assert (fold[labels == 1] == ALWAYS_TRAINING).all()
    assert (fold[labels == 0] != ALWAYS_TRAINING).all()


def test_with_one_item_per_class_nothing_is_held_out() -> None:
    assert (deal_folds(np.arange(10), np.arange(10), 5, seed=0) == ALWAYS_TRAINING).all()


def test_another_seed_deals_otherwise() -> None:
    labels = np.repeat([0, 1], 20)
    assert (deal_folds(labels, np.arange(40), 5, 0) != deal_folds(labels, np.arange(40), 5, 1)).any()
