import hashlib
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from division_scene import Division, Item, divide, needs_out_of_fold
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tasks.components import IntArray
from tasks.errors import DataError
from tasks.params import SplitParams
from tasks.reports import Side
from tasks.splitting import split_memory
from tasks.tables import SPLIT_MEMORY, SPLITS

PARAMS = SplitParams()
NO_LINKS = np.empty((0, 2), dtype=np.int64)
SIDES = ("train", "validation", "test", "left_out")


def item(
    number: int, label: str, group: str | None = None, official: str | None = None, like: int | None = None
) -> Item:
    """An item whose content is its number's, or that of the item `like`."""
    content = hashlib.sha256(str(number if like is None else like).encode()).hexdigest()
    return Item(f"{label}/{number:04d}.png", content, label, group, official)


def links(*pairs: tuple[int, int]) -> IntArray:
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def two_classes(per_class: int, official: str | None = None, start: int = 0) -> list[Item]:
    return [item(start + number, "ab"[number % 2], official=official) for number in range(2 * per_class)]


def memory_of(items: list[Item], division: Division) -> dict[str, Side]:
    return {one.sha256: side for one, side in zip(items, division.sides, strict=True) if side != "left_out"}


def counts(items: list[Item], division: Division) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {side: Counter() for side in SIDES}
    for one, side in zip(items, division.sides, strict=True):
        found[side][one.label] += 1
    return found


@st.composite
def data_sets(draw: st.DrawFn, most: int = 80) -> tuple[list[Item], IntArray]:
    """Items of two or three classes with explicit groups, copies and near-duplicates."""
    count = draw(st.integers(30, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    classes = draw(st.integers(2, 3))
    items: list[Item] = []
    for number in range(count):
        group = f"g{rng.integers(count // 3)}" if rng.random() < 0.3 else None
        copied = items[int(rng.integers(len(items)))] if items and rng.random() < 0.1 else None
        label = copied.label if copied else "abc"[int(rng.integers(classes))]
        one = item(number, label, group)
        items.append(replace(one, sha256=copied.sha256) if copied else one)
    linked = rng.integers(0, count, (draw(st.integers(0, count // 10)), 2))
    return items, linked.astype(np.int64)


def divided(items: list[Item], linked: IntArray, memory: dict[str, Side], params: SplitParams = PARAMS) -> Division:
    """The division, where the random data can be divided at all."""
    try:
        return divide(items, linked, memory, params)
    except DataError:
        assume(False)
        raise


def grown(items: list[Item], linked: IntArray, old: int) -> tuple[list[Item], IntArray, Division]:
    """The division of the first `old` items, of which the rest have not been heard yet."""
    inner = linked[(linked < old).all(axis=1)]
    return items[:old], inner, divided(items[:old], inner, {})


@settings(max_examples=60, deadline=None)
@given(data_sets(), st.integers(0, 99))
def test_a_first_split_is_a_partition_and_no_group_stands_on_two_sides(
    data: tuple[list[Item], IntArray], seed: int
) -> None:
    items, linked = data
    division = divided(items, linked, {}, PARAMS.model_copy(update={"seed": seed}))

    assert len(division.sides) == len(division.groups) == len(items)
    assert set(division.sides) <= {"train", "validation", "test"}
    assert division.leaks == []
    together: dict[object, set[Side]] = defaultdict(set)
    for one, side, group in zip(items, division.sides, division.groups, strict=True):
        for key in (("group", one.group), ("sha256", one.sha256), ("united", group)):
            if key[1] is not None:
                together[key].add(side)
    assert all(len(sides) == 1 for sides in together.values())
    assert all(division.sides[first] == division.sides[second] for first, second in linked)


@settings(max_examples=60, deadline=None)
@given(data_sets(), st.floats(0.4, 0.9))
def test_old_items_never_move_and_new_ones_bridge_nothing_when_data_grow(
    data: tuple[list[Item], IntArray], share: float
) -> None:
    items, linked = data
    old, _, before = grown(items, linked, int(len(items) * share))
    memory = memory_of(old, before)

    after = divided(items, linked, memory)

    assert after.sides[: len(old)] == before.sides
    for number in range(len(old), len(items)):
        if items[number].sha256 in memory or after.sides[number] == "left_out":
            continue
        same = {after.sides[other] for other in range(len(items)) if after.groups[other] == after.groups[number]}
        assert same == {after.sides[number]}


@settings(max_examples=60, deadline=None)
@given(data_sets(), st.floats(0.4, 0.9))
def test_a_split_that_remembers_itself_is_settled(data: tuple[list[Item], IntArray], share: float) -> None:
    items, linked = data
    old, _, before = grown(items, linked, int(len(items) * share))
    memory = memory_of(old, before)
    first = divided(items, linked, memory)

    second = divide(items, linked, {**memory, **memory_of(items, first)}, PARAMS)

    assert (second.sides, second.groups, second.leaks) == (first.sides, first.groups, first.leaks)


@settings(max_examples=60, deadline=None)
@given(data_sets(), st.randoms(use_true_random=False))
def test_the_order_of_the_items_does_not_matter(data: tuple[list[Item], IntArray], random: object) -> None:
    items, linked = data
    straight = divided(items, linked, {})
    order = list(range(len(items)))
    random.shuffle(order)  # type: ignore[attr-defined]
    place = {number: at for at, number in enumerate(order)}
    moved = np.array([[place[int(first)], place[int(second)]] for first, second in linked]).reshape(-1, 2)

    mixed = divide([items[number] for number in order], moved.astype(np.int64), {}, PARAMS)

    assert [mixed.sides[place[number]] for number in range(len(items))] == straight.sides
    assert [mixed.groups[place[number]] for number in range(len(items))] == straight.groups


@settings(max_examples=60, deadline=None)
@given(st.integers(20, 120), st.integers(20, 120), st.floats(0.1, 0.5), st.floats(0.1, 0.5), st.integers(0, 9))
def test_a_first_split_of_single_items_meets_its_shares_to_within_one(
    many: int, few: int, test_share: float, validation_share: float, seed: int
) -> None:
    items = [item(number, "a" if number < many else "b") for number in range(many + few)]
    params = SplitParams(test_share=test_share, validation_share=validation_share, seed=seed)
    division = divide(items, NO_LINKS, {}, params)
    found = counts(items, division)
    for label, total in (("a", many), ("b", few)):
        assert abs(found["test"][label] - test_share * total) <= 0.5
        left = total - found["test"][label]
        if found["validation"]:
            assert abs(found["validation"][label] - validation_share * left) <= 0.5


def test_another_seed_gives_another_split() -> None:
    items = two_classes(50)
    splits = {tuple(divide(items, NO_LINKS, {}, SplitParams(seed=seed)).sides) for seed in range(5)}
    assert len(splits) == 5


def test_new_items_alone_correct_the_balance() -> None:
    old, more = two_classes(20), two_classes(20, start=100)
    lopsided: dict[str, Side] = {one.sha256: "test" for one in old if one.label == "a"}
    lopsided |= {one.sha256: "train" for one in old if one.label == "b"}
    items = [*old, *more]
    division = divide(items, NO_LINKS, lopsided, PARAMS)
    assert counts(items, division)["test"] == {"a": 20, "b": 10}
    assert division.remembered == 40


def test_a_new_item_joins_the_side_of_the_old_item_that_it_resembles() -> None:
    old = two_classes(60)
    before = divide(old, NO_LINKS, {}, PARAMS)
    news = [item(1000 + number, one.label) for number, one in enumerate(old)]
    pairs = links(*((number, len(old) + number) for number in range(len(old))))
    after = divide([*old, *news], pairs, memory_of(old, before), PARAMS)
    assert after.sides[len(old) :] == before.sides
    assert set(before.sides) == {"train", "validation", "test"}


def test_a_chain_of_new_items_between_two_sides_is_left_out() -> None:
    old = two_classes(30)
    before = divide(old, NO_LINKS, {}, PARAMS)
    train, test = before.sides.index("train"), before.sides.index("test")
    items = [*old, item(1000, "a"), item(1001, "a"), item(1002, "a")]
    after = divide(items, links((train, 60), (60, 61), (61, test)), memory_of(old, before), PARAMS)
    assert after.sides[:60] == before.sides
    assert after.sides[60:62] == ["left_out", "left_out"]
    assert after.sides[62] != "left_out"
    assert after.leaks == [], "the old items are not linked to each other"


def test_old_items_found_alike_on_two_sides_stay_and_are_reported() -> None:
    old = two_classes(30)
    before = divide(old, NO_LINKS, {}, PARAMS)
    train, test = before.sides.index("train"), before.sides.index("test")
    after = divide(old, links((train, test)), memory_of(old, before), PARAMS)
    first, second = sorted((train, test), key=lambda number: old[number].path)
    assert after.sides == before.sides
    assert [(leak.first, leak.second, leak.reason) for leak in after.leaks] == [
        (old[first].path, old[second].path, "earlier_split")
    ]
    assert after.leaks[0].first_side == before.sides[first]
    assert after.leaks[0].second_side == before.sides[second]


def test_an_official_split_is_honoured_and_validation_carved_from_its_train() -> None:
    items = [*two_classes(50, "train"), *two_classes(10, "test", start=500)]
    division = divide(items, NO_LINKS, {}, PARAMS)
    assert division.official
    assert division.sides[100:] == ["test"] * 20
    assert counts(items, division)["validation"] == {"a": 7, "b": 7}
    assert counts(items, division)["train"] == {"a": 43, "b": 43}


def test_an_official_val_without_test_is_the_test_set() -> None:
    items = [*two_classes(50, "train"), *two_classes(10, "validation", start=500)]
    division = divide(items, NO_LINKS, {}, PARAMS)
    assert division.sides[100:] == ["test"] * 20
    assert counts(items, division)["validation"] == {"a": 7, "b": 7}
    assert "the official val is the test set" in division.notes


def test_a_complete_official_split_is_taken_as_it_is_whatever_is_remembered() -> None:
    parts = ("train", "validation", "test")
    items = [one for start, part in enumerate(parts) for one in two_classes(8, part, start=100 * start)]
    memory: dict[str, Side] = {one.sha256: "test" for one in items}
    assert divide(items, NO_LINKS, memory, PARAMS).sides == [one.official for one in items]


def test_a_group_across_official_sides_stays_and_is_reported_as_a_leak() -> None:
    items = [*two_classes(50, "train"), *two_classes(10, "test", start=500)]
    items[3], items[103] = replace(items[3], group="ann"), replace(items[103], group="ann")
    items[104] = replace(items[104], sha256=items[6].sha256)

    for seed in range(10):
        division = divide(items, links((8, 108)), {}, SplitParams(seed=seed))

        assert [division.sides[place] for place in (3, 6, 8, 103, 104, 108)] == ["train"] * 3 + ["test"] * 3
        assert {(leak.first, leak.second) for leak in division.leaks} == {
            (items[3].path, items[103].path),
            (items[6].path, items[104].path),
            (items[8].path, items[108].path),
        }
        assert {leak.reason for leak in division.leaks} == {"official_split"}


def test_validation_carved_from_an_official_train_is_remembered() -> None:
    items = [*two_classes(50, "train"), *two_classes(10, "test", start=500)]
    before = divide(items, NO_LINKS, {}, PARAMS)
    more = [*items, *two_classes(20, "train", start=800)]
    after = divide(more, NO_LINKS, memory_of(items, before), SplitParams(seed=5))
    assert after.sides[: len(items)] == before.sides
    assert "validation" in after.sides[len(items) :]


def test_an_official_side_wins_over_memory() -> None:
    items = [*two_classes(50, "train"), *two_classes(10, "test", start=500)]
    memory: dict[str, Side] = {one.sha256: "test" for one in items[:100]} | {one.sha256: "train" for one in items[100:]}
    division = divide(items, NO_LINKS, memory, PARAMS)
    assert division.sides[100:] == ["test"] * 20
    assert "test" not in division.sides[:100]


@pytest.mark.parametrize(("per_class", "held"), [(33, 0), (34, 5)])
def test_validation_is_carved_only_where_every_class_gets_five(per_class: int, held: int) -> None:
    items = [item(number, "ab"[number < per_class], official="train") for number in range(per_class + 80)]
    items += two_classes(10, "test", start=500)
    division = divide(items, NO_LINKS, {}, SplitParams(validation_share=0.135))
    assert counts(items, division)["validation"]["b"] == held
    assert needs_out_of_fold(items, division.sides) == (held == 0)
    assert bool(division.notes) == (held == 0)
    if not held:
        assert "validation" not in division.sides
        assert "0.135 of train is fewer than 5 items" in division.notes[0]


def test_a_class_of_two_groups_has_one_on_each_side() -> None:
    items = [item(number, "a", group=f"g{number % 2}") for number in range(30)]
    items += [item(100 + number, "b") for number in range(30)]
    for seed in range(10):
        division = divide(items, NO_LINKS, {}, SplitParams(seed=seed))
        assert counts(items, division)["test"]["a"] == 15


def test_a_split_column_that_names_only_train_leaves_the_test_to_be_carved() -> None:
    division = divide(two_classes(30, "train"), NO_LINKS, {}, PARAMS)
    assert not division.official
    assert "test" in division.sides
    assert "only train" in division.notes[0]


def test_one_class_is_refused() -> None:
    with pytest.raises(DataError, match=r"1 class in 5 items \(a\); at least 2 are needed"):
        divide([item(number, "a") for number in range(5)], NO_LINKS, {}, PARAMS)


def test_a_class_of_one_group_is_refused_with_its_numbers() -> None:
    items = [item(number, "a", group="all") for number in range(9)] + [item(100 + number, "b") for number in range(9)]
    with pytest.raises(DataError, match=r"class 'a' has no test items \(train 9, validation 0, test 0\).*test_share"):
        divide(items, NO_LINKS, {}, PARAMS)


def test_a_class_without_official_train_items_is_refused() -> None:
    items = [*two_classes(10, "train"), *two_classes(10, "test", start=500), item(900, "c", official="test")]
    with pytest.raises(DataError, match=r"class 'c' has no train items.*add train items of it to the official split"):
        divide(items, NO_LINKS, {}, PARAMS)


def test_an_official_split_with_gaps_is_refused_naming_the_first() -> None:
    items = [*two_classes(10, "train"), *two_classes(10, "test", start=500), item(7000, "a")]
    with pytest.raises(DataError, match=r"1 of 41 items have no split, the first is a/7000.png"):
        divide(items, NO_LINKS, {}, PARAMS)


def test_an_unknown_side_is_refused_with_the_known_ones() -> None:
    items = [*two_classes(10, "train"), *two_classes(10, "test", start=500), item(7000, "a", official="dev")]
    with pytest.raises(DataError, match=r"unknown split 'dev' \(1 item\); known: train, validation, test"):
        divide(items, NO_LINKS, {}, PARAMS)


def remembered_sides(memory: pa.Table) -> dict[str, str]:
    return dict(zip(memory["sha256"].to_pylist(), memory["side"].to_pylist(), strict=True))


def splits_table(rows: list[tuple[str, str]]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "path": f"{number}.png",
                "sha256": content,
                "label": "a",
                "label_index": 0,
                "group": content,
                "side": side,
                "reason": None,
            }
            for number, (content, side) in enumerate(rows)
        ],
        schema=SPLITS,
    )


def test_memory_is_sorted_one_row_a_content_and_forgets_what_was_left_out() -> None:
    memory = split_memory(splits_table([("cc", "test"), ("aa", "train"), ("bb", "left_out"), ("aa", "train")]))
    assert memory.schema.equals(SPLIT_MEMORY)
    assert memory["sha256"].to_pylist() == ["aa", "cc"]
    assert remembered_sides(memory) == {"aa": "train", "cc": "test"}


def test_content_on_two_official_sides_is_remembered_as_test() -> None:
    for rows in ([("aa", "test"), ("aa", "train")], [("aa", "train"), ("aa", "test")]):
        assert remembered_sides(split_memory(splits_table(rows))) == {"aa": "test"}


def test_an_older_memory_is_kept_for_content_that_is_gone_and_corrected_for_the_rest() -> None:
    earlier = split_memory(splits_table([("aa", "train"), ("bb", "test"), ("cc", "validation")]))
    merged = split_memory(splits_table([("aa", "test"), ("bb", "left_out"), ("dd", "train")]), earlier)
    assert remembered_sides(merged) == {"aa": "test", "bb": "test", "cc": "validation", "dd": "train"}
    assert split_memory(splits_table([]), merged).equals(merged)
