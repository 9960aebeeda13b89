from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tasks.quotas import choose_groups, cover_classes

sizes = st.lists(st.integers(1, 9), min_size=2, max_size=40)


@given(sizes, st.floats(0.05, 0.95))
def test_the_share_of_one_class_is_met_to_within_half_a_group(groups: list[int], share: float) -> None:
    total = Counter(a=sum(groups))
    chosen = choose_groups([{"a": size} for size in groups], total, Counter(), share)

    taken = sum(groups[place] for place in chosen)
    left_alone = [size for place, size in enumerate(groups) if place not in chosen]

    assert left_alone, "a class never goes to one side whole"
    assert abs(taken - share * total["a"]) <= max(groups) / 2 or taken + min(left_alone) >= total["a"]


@given(sizes, st.integers(0, 30), st.floats(0.05, 0.95))
def test_new_groups_correct_what_the_side_holds_already(groups: list[int], held: int, share: float) -> None:
    total = Counter(a=sum(groups) + held)
    chosen = choose_groups([{"a": size} for size in groups], total, Counter(a=held), share)
    taken = sum(groups[place] for place in chosen)
    if held >= share * total["a"]:
        assert taken == 0
    else:
        assert abs(held + taken - share * total["a"]) <= share * total["a"] - held


def test_a_group_of_two_classes_is_taken_only_where_it_helps_both_together() -> None:
    total = Counter(a=20, b=20)
    assert choose_groups([{"a": 4, "b": 4}], total, Counter(), 0.25) == {0}
    assert choose_groups([{"a": 4, "b": 18}], total, Counter(), 0.25) == set()


def test_a_class_that_would_be_lacking_gets_its_smallest_group_that_can_be_spared() -> None:
    groups = [{"a": 15}, {"a": 12}, {"a": 13}, {"b": 1}]
    total = Counter(a=40, b=1)
    assert choose_groups(groups, total, Counter(), 0.1) == set()
    assert cover_classes(groups, set(), total, Counter()) == {1}, "the only group of b cannot be spared"
