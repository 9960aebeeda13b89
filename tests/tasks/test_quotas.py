from collections.abc import Mapping, Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.components import IntArray
from tasks.quotas import ClassCounts, choose_groups, count_classes, cover_classes

sizes = st.lists(st.integers(1, 9), min_size=2, max_size=40)


def counts(groups: Sequence[Mapping[int, int]]) -> ClassCounts:
    """Groups given as items per class."""
    items = [(place, label) for place, group in enumerate(groups) for label, size in group.items() for _ in range(size)]
    numbers = np.array(items, dtype=np.int64).reshape(-1, 2)
    return count_classes(numbers[:, 0], numbers[:, 1], len(groups))


def per_class(*numbers: int) -> IntArray:
    return np.array(numbers, dtype=np.int64)


def chosen_places(groups: Sequence[Mapping[int, int]], total: IntArray, held: IntArray, share: float) -> set[int]:
    return set(np.flatnonzero(choose_groups(counts(groups), total, held, share)).tolist())


@given(sizes, st.floats(0.05, 0.95))
def test_the_share_of_one_class_is_met_to_within_half_a_group(groups: list[int], share: float) -> None:
    total = sum(groups)
    chosen = chosen_places([{0: size} for size in groups], per_class(total), per_class(0), share)

    taken = sum(groups[place] for place in chosen)
    left_alone = [size for place, size in enumerate(groups) if place not in chosen]

    assert left_alone, "a class never goes to one side whole"
    assert abs(taken - share * total) <= max(groups) / 2 or taken + min(left_alone) >= total


@given(sizes, st.integers(0, 30), st.floats(0.05, 0.95))
def test_new_groups_correct_what_the_side_holds_already(groups: list[int], held: int, share: float) -> None:
    total = sum(groups) + held
    chosen = chosen_places([{0: size} for size in groups], per_class(total), per_class(held), share)
    taken = sum(groups[place] for place in chosen)
    if held >= share * total:
        assert taken == 0
    else:
        assert abs(held + taken - share * total) <= share * total - held


def test_a_group_of_two_classes_is_taken_only_where_it_helps_both_together() -> None:
    total, none = per_class(20, 20), per_class(0, 0)
    assert chosen_places([{0: 4, 1: 4}], total, none, 0.25) == {0}
    assert chosen_places([{0: 4, 1: 18}], total, none, 0.25) == set()


def test_a_class_that_would_be_lacking_gets_its_smallest_group_that_can_be_spared() -> None:
    groups = [{0: 15}, {0: 12}, {0: 13}, {1: 1}]
    total, none = per_class(40, 1), per_class(0, 0)
    assert chosen_places(groups, total, none, 0.1) == set()
    covered = cover_classes(counts(groups), np.zeros(4, dtype=np.bool_), total, none)
    assert np.flatnonzero(covered).tolist() == [1], "the only group of class 1 cannot be spared"


@given(st.lists(st.dictionaries(st.integers(0, 4), st.integers(1, 5), min_size=1), min_size=1, max_size=30), st.data())
def test_counts_of_groups_are_what_was_counted_also_of_a_choice(
    groups: list[dict[int, int]], data: st.DataObject
) -> None:
    some = np.array(data.draw(st.lists(st.booleans(), min_size=len(groups), max_size=len(groups))), dtype=np.bool_)
    whole = counts(groups)
    assert [dict(group) for group in whole] == groups
    assert [dict(group) for group in whole.choose(some)] == [
        group for group, kept in zip(groups, some, strict=True) if kept
    ]
