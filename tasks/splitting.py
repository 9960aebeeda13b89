"""Which side of the split every item belongs to: a pure function of items, links, memory and params."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tasks.components import IntArray
from tasks.errors import DataError, counted
from tasks.grouping import Item, group_keys, group_roots
from tasks.leaks import find_leaks
from tasks.official_split import named_sides
from tasks.params import SplitParams
from tasks.quotas import choose_groups, cover_classes
from tasks.reports import Leak, Side
from tasks.tables import SPLIT_MEMORY

MIN_VALIDATION_ITEMS = 5
"""Fewest validation items of a class; below it nothing is carved and methods use out-of-fold predictions."""

BRIDGES_SPLIT = "bridges_split"

_STRICTEST: tuple[Side, ...] = ("train", "validation", "test")
_NEEDED: tuple[Side, ...] = ("train", "test")
_ORDER = ("sha256", "label", "label_index")


@dataclass(frozen=True)
class Division:
    """A side for every item, in the order of the items."""

    sides: list[Side]
    groups: list[str]
    leaks: list[Leak]
    official: bool
    remembered: int
    notes: list[str]


@dataclass(frozen=True, slots=True)
class _Group:
    """Items that must stand together and that no side holds yet."""

    members: list[int]
    counts: Counter[str]


def divide(items: Sequence[Item], links: IntArray, remembered: Mapping[str, Side], params: SplitParams) -> Division:
    """Put every item on a side.

    Items of one explicit group, of identical content, or chained by `links` are one group and stand together. An
    official split is honoured. Otherwise an item that is remembered keeps its side, a new group that touches
    remembered items joins them, one that touches several sides is left out, and all other groups are dealt by a
    hash of the seed so that every class meets its shares. Validation is carved from train in the same way. The
    result does not depend on the order of the items.

    Args:
        items: the accepted items.
        links: (links, 2) numbers of items that are near-duplicates.
        remembered: sha256 to the side that a release was judged with.
        params: shares and seed.
    Raises:
        DataError: fewer than two classes, an incomplete official split, or a class without train or test items.
    """
    labels = sorted({item.label for item in items})
    if len(labels) < 2:
        raise DataError(
            f"{len(labels)} class in {counted(len(items), 'item')} ({', '.join(labels)}); at least 2 are needed"
        )
    groups = group_roots(items, links)
    official, notes = named_sides(items)
    carved = official is None or "validation" not in official
    sides = _settled_sides(items, groups, official, remembered)
    leaks = find_leaks(items, links, sides, official)
    dealt = _join_neighbours(sides, groups)
    keys = group_keys(items, groups)
    new = _new_groups(items, groups, keys, dealt, params.seed)
    if official is None:
        new = _deal_side("test", new, items, dealt, params.test_share)
    if carved:
        notes += _carve_validation(new, items, dealt, labels, params.validation_share)
    final: list[Side] = [side or "train" for side in dealt]
    _require_both_sides(items, final, labels, official is not None)
    known = sum(item.sha256 in remembered for item in items)
    return Division(final, [keys[root] for root in groups], leaks, official is not None, known, notes)


def needs_out_of_fold(items: Sequence[Item], sides: Sequence[Side]) -> bool:
    """Whether some class has fewer than 5 validation items, so that nothing may be fitted on them."""
    held = Counter(item.label for item, side in zip(items, sides, strict=True) if side == "validation")
    return any(held[label] < MIN_VALIDATION_ITEMS for label in {item.label for item in items})


def split_memory(splits: pa.Table, earlier: pa.Table | None = None) -> pa.Table:
    """What a later split must remember of a release that was judged with `splits`.

    Args:
        splits: the release's splits.parquet; items that were left out are not remembered.
        earlier: the memory so far. What `splits` says wins; content that is no longer there is kept, so that it
            returns to its side.
    Returns:
        A SPLIT_MEMORY table, one row per content; content that an official split lists on several sides counts as test.
    """
    known: dict[str, dict[str, Any]] = {}
    for row in sorted(_rows(splits), key=lambda row: _STRICTEST.index(row["side"])):
        known[row["sha256"]] = row
    for row in _rows(earlier) if earlier is not None else ():
        known.setdefault(row["sha256"], row)
    return pa.Table.from_pylist([known[sha256] for sha256 in sorted(known)], schema=SPLIT_MEMORY)


def label_order(items: Sequence[Item], memory: pa.Table) -> list[str]:
    """The classes by output index: those that releases of these items had keep their order, new ones are appended.

    Only what is remembered of content that is still there counts, so that other data sets have no say.
    """
    present, labels = {item.sha256 for item in items}, {item.label for item in items}
    earlier: dict[str, int] = {}
    for sha256, label, index in zip(*(memory[name].to_pylist() for name in _ORDER), strict=True):
        if sha256 in present and label in labels:
            earlier[label] = min(earlier.get(label, index), index)
    return sorted(earlier, key=lambda label: (earlier[label], label)) + sorted(labels - earlier.keys())


def remembered_sides(memory: pa.Table) -> dict[str, Side]:
    """sha256 to side of a SPLIT_MEMORY table."""
    return dict(zip(memory["sha256"].to_pylist(), memory["side"].to_pylist(), strict=True))


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    return [row for row in table.select(SPLIT_MEMORY.names).to_pylist() if row["side"] != "left_out"]


def _settled_sides(
    items: Sequence[Item], groups: Sequence[int], official: list[Side] | None, remembered: Mapping[str, Side]
) -> list[Side | None]:
    """The sides that may not change; None for new items."""
    if official is None:
        return [remembered.get(item.sha256) for item in items]
    if "validation" in official:
        return list(official)
    tested = {root for root, side in zip(groups, official, strict=True) if side == "test"}
    settled: list[Side | None] = []
    for item, root, side in zip(items, groups, official, strict=True):
        earlier = remembered.get(item.sha256)
        if side == "test":
            settled.append("test")
        elif earlier in ("train", "validation"):
            settled.append(earlier)
        else:
            settled.append("train" if root in tested else None)
    return settled


def _join_neighbours(sides: Sequence[Side | None], groups: Sequence[int]) -> list[Side | None]:
    """New items take the side of the settled items of their group, or none where those disagree."""
    around: dict[int, set[Side]] = defaultdict(set)
    for side, root in zip(sides, groups, strict=True):
        if side is not None:
            around[root].add(side)
    joined: list[Side | None] = []
    for side, root in zip(sides, groups, strict=True):
        neighbours = around.get(root, set())
        joined.append(side or (None if not neighbours else min(neighbours) if len(neighbours) == 1 else "left_out"))
    return joined


def _new_groups(
    items: Sequence[Item], groups: Sequence[int], keys: Mapping[int, str], sides: Sequence[Side | None], seed: int
) -> list[_Group]:
    """Groups without a side, in the order in which they are dealt."""
    members: dict[int, list[int]] = defaultdict(list)
    for number, (root, side) in enumerate(zip(groups, sides, strict=True)):
        if side is None:
            members[root].append(number)
    dealt = sorted(members, key=lambda root: hashlib.sha256(f"{seed}:{keys[root]}".encode()).digest())
    return [_Group(members[root], Counter(items[number].label for number in members[root])) for root in dealt]


def _deal_side(
    side: Side, new: Sequence[_Group], items: Sequence[Item], sides: list[Side | None], share: float
) -> list[_Group]:
    """Give groups to `side` until every class has its share there; returns the groups that are left."""
    outside: set[Side | None] = {"left_out"} if side == "test" else {"left_out", "test"}
    total = Counter(item.label for item, at in zip(items, sides, strict=True) if at not in outside)
    held = Counter(item.label for item, at in zip(items, sides, strict=True) if at == side)
    counts = [group.counts for group in new]
    chosen = choose_groups(counts, total, held, share)
    if side == "test" and share > 0:
        chosen = cover_classes(counts, chosen, total, held)
    for place in chosen:
        for number in new[place].members:
            sides[number] = side
    return [group for place, group in enumerate(new) if place not in chosen]


def _carve_validation(
    new: list[_Group], items: Sequence[Item], sides: list[Side | None], labels: Sequence[str], share: float
) -> list[str]:
    """Deal validation, unless some class would get too few; returns notes."""
    carved = list(sides)
    _deal_side("validation", new, items, carved, share)
    held = Counter(item.label for item, side in zip(items, carved, strict=True) if side == "validation")
    if min(held[label] for label in labels) < MIN_VALIDATION_ITEMS:
        note = (
            f"nothing is carved for validation: {share:g} of train is fewer than {MIN_VALIDATION_ITEMS} items of some "
            "class; what needs validation uses out-of-fold predictions"
        )
        return [note] if share > 0 else []
    sides[:] = carved
    return []


def _require_both_sides(items: Sequence[Item], sides: Sequence[Side], labels: Sequence[str], official: bool) -> None:
    counts = Counter((at, item.label) for item, at in zip(items, sides, strict=True))
    for side in _NEEDED:
        lacking = [label for label in labels if not counts[side, label]]
        if not lacking:
            continue
        numbers = ", ".join(f"{other} {counts[other, lacking[0]]}" for other in _STRICTEST)
        mend = (
            f"add {side} items of it to the official split"
            if official
            else "add items that are no copies of each other and of other groups, or change split.test_share"
        )
        others = f" (and {counted(len(lacking) - 1, 'more class', 'more classes')})" if len(lacking) > 1 else ""
        raise DataError(f"class {lacking[0]!r} has no {side} items ({numbers}){others}; {mend}")
