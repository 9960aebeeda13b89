"""The order of an epoch depends on seed, epoch and identity; sampling draws classes equally."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_scene import fine_tune, identities

from tasks.training.batches import SMALLEST_BATCH, Batches


def batches(count: int, labels: np.ndarray | None = None, rows: np.ndarray | None = None, **chosen: object) -> Batches:
    labels = np.zeros(count, dtype=np.int64) if labels is None else labels
    rows = np.arange(count) if rows is None else rows
    return Batches(identities(count), labels, rows, fine_tune(**chosen), SMALLEST_BATCH)


@given(st.integers(2, 200), st.integers(2, 50), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_an_epoch_holds_every_item_once_in_batches_of_two_or_more(count: int, size: int, epoch: int) -> None:
    found = batches(count, batch_size=size).of_epoch(epoch)
    assert sorted(np.concatenate(found).tolist()) == list(range(count))
    assert all(2 <= len(batch) <= size + 1 for batch in found)
    assert len(found) == batches(count, batch_size=size).count


def test_epochs_and_seeds_have_orders_of_their_own_that_do_not_depend_on_what_was_asked_before() -> None:
    first = batches(50)
    orders = [np.concatenate(first.of_epoch(epoch)).tolist() for epoch in (1, 2, 3)]
    assert len({tuple(order) for order in orders}) == 3
    assert np.concatenate(batches(50).of_epoch(3)).tolist() == orders[2]
    assert np.concatenate(batches(50, seed=1).of_epoch(1)).tolist() != orders[0]


def test_an_item_that_is_left_out_leaves_the_others_in_their_order() -> None:
    whole = np.concatenate(batches(50).of_epoch(2))
    rows = np.delete(np.arange(50), 17)
    assert np.concatenate(batches(50, rows=rows).of_epoch(2)).tolist() == whole[whole != 17].tolist()


def test_the_order_is_fair_to_every_place() -> None:
    places = np.array([np.concatenate(batches(10).of_epoch(epoch)) for epoch in range(400)])
    counts = np.array([np.bincount(column, minlength=10) for column in places.T])
    assert counts.min() > 15
    assert counts.max() < 75


@given(st.lists(st.integers(1, 40), min_size=2, max_size=5), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_balanced_sampling_draws_every_class_equally_often(sizes: list[int], epoch: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    drawn = np.concatenate(batches(len(labels), labels, class_balance="sampled").of_epoch(epoch))
    counts = np.bincount(labels[drawn], minlength=len(sizes))
    assert len(drawn) == len(labels)
    assert counts.max() - counts.min() <= 1
    for label, size in enumerate(sizes):
        often = np.bincount(drawn[labels[drawn] == label], minlength=len(labels))[labels == label]
        assert often.max() - often.min() <= 1, f"class of {size} items"


def test_balanced_sampling_comes_to_every_item_of_a_large_class() -> None:
    labels = np.repeat([0, 1], [40, 4])
    sampled = batches(44, labels, class_balance="sampled")
    seen = set().union(*(np.concatenate(sampled.of_epoch(epoch)).tolist() for epoch in range(1, 15)))
    assert seen == set(range(44))


@pytest.mark.parametrize("size", [2, 7, 32])
def test_one_item_is_one_batch(size: int) -> None:
    assert [batch.tolist() for batch in batches(1, batch_size=size).of_epoch(1)] == [[0]]
