"""Which side of the split every item belongs to: a pure function of items, links, memory and params."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.components import IntArray
from tasks.errors import DataError, counted
from tasks.grouping import (
    LEFT_OUT,
    NO_SIDE,
    SIDES,
    TEST,
    TRAIN,
    VALIDATION,
    Items,
    SideArray,
    group_keys,
    group_roots,
    side_codes,
)
from tasks.leaks import find_leaks
from tasks.official_split import named_sides
from tasks.params import SplitParams
from tasks.quotas import BoolArray, ClassCounts, choose_groups, count_classes, cover_classes
from tasks.reports import Leak, Side
from tasks.tables import SPLIT_MEMORY

MIN_VALIDATION_ITEMS = 5
"""Fewest validation items of a class; below it nothing is carved and methods use out-of-fold predictions."""

BRIDGES_SPLIT = "bridges_split"

_STRICTEST: tuple[Side, ...] = ("train", "validation", "test")
_NEEDED = (TRAIN, TEST)


@dataclass(frozen=True)
class Division:
    """A side (a number in `grouping.SIDES`) and a group (a number in `Items.sha256`) for every item, in their order."""

    sides: SideArray
    groups: IntArray
    leaks: list[Leak]
    official: bool
    remembered: int
    notes: list[str]


@dataclass(frozen=True)
class _NewGroups:
    """Groups that no side holds yet, in the order in which they are dealt.

    `numbers` are the items of group 0, then of group 1 and so on; `of_number` says which group each is in.
    """

    numbers: IntArray
    of_number: IntArray
    counts: ClassCounts

    def choose(self, groups: BoolArray) -> _NewGroups:
        """These groups alone."""
        kept = groups[self.of_number]
        places = np.cumsum(groups) - 1
        return _NewGroups(self.numbers[kept], places[self.of_number[kept]], self.counts.choose(groups))


def divide(items: Items, links: IntArray, remembered: SideArray, params: SplitParams) -> Division:
    """Put every item on a side.

    Items of one explicit group, of identical content, or chained by `links` are one group and stand together. An
    official split is honoured. Otherwise an item that is remembered keeps its side, a new group that touches
    remembered items joins them, one that touches several sides is left out, and all other groups are dealt by a
    hash of the seed so that every class meets its shares. Validation is carved from train in the same way. The
    result does not depend on the order of the items.

    Args:
        items: the accepted items.
        links: (links, 2) numbers of items that are near-duplicates.
        remembered: the side that a release was judged with each item on; -1 for items that none was.
        params: shares and seed.
    Raises:
        DataError: fewer than two classes, an incomplete official split, or a class without train or test items.
    """
    if len(items.labels) < 2:
        raise DataError(
            f"{len(items.labels)} class in {counted(len(items), 'item')} ({', '.join(items.labels)}); "
            "at least 2 are needed"
        )
    roots = group_roots(items, links)
    official, notes = named_sides(items)
    carved = official is None or VALIDATION not in official
    settled = _settled_sides(roots, official, remembered)
    leaks = find_leaks(items, links, settled, official)
    sides = _join_neighbours(settled, roots)
    keys = group_keys(items, roots)
    new = _new_groups(items, keys, sides, params.seed)
    if official is None:
        new = _deal_side(TEST, new, items, sides, params.test_share)
    if carved:
        notes += _carve_validation(new, items, sides, params.validation_share)
    sides[sides == NO_SIDE] = TRAIN
    _require_both_sides(items, sides, official is not None)
    known = int(np.count_nonzero(remembered != NO_SIDE))
    return Division(sides, keys, leaks, official is not None, known, notes)


def needs_out_of_fold(items: Items, sides: SideArray) -> bool:
    """Whether some class has fewer than 5 validation items, so that nothing may be fitted on them."""
    return bool(items.per_class(sides == VALIDATION).min() < MIN_VALIDATION_ITEMS)


def split_memory(splits: pa.Table, earlier: pa.Table | None = None) -> pa.Table:
    """What a later split must remember of a release that was judged with `splits`.

    Args:
        splits: the release's splits.parquet; items that were left out are not remembered.
        earlier: the memory so far. What `splits` says wins; content that is no longer there is kept, so that it
            returns to its side.
    Returns:
        A SPLIT_MEMORY table, one row per content; content that an official split lists on several sides counts as test.
    """
    rows = splits.filter(pc.is_in(splits["side"], value_set=pa.array(_STRICTEST))).select(SPLIT_MEMORY.names)
    rank = pa.array(side_codes(rows["side"].combine_chunks()))
    ranked = rows.append_column("rank", rank).append_column("place", pa.array(np.arange(rows.num_rows)))
    ranked = ranked.sort_by([("sha256", "ascending"), ("rank", "descending"), ("place", "descending")])
    contents = ranked["sha256"].dictionary_encode().combine_chunks().indices.to_numpy()
    known = ranked.filter(pa.array(np.diff(contents, prepend=-1) != 0)).select(SPLIT_MEMORY.names)
    if earlier is not None:
        gone = pc.invert(pc.is_in(earlier["sha256"], value_set=known["sha256"].combine_chunks()))
        known = pa.concat_tables([known, earlier.select(SPLIT_MEMORY.names).filter(gone)])
    return known.sort_by("sha256").cast(SPLIT_MEMORY).combine_chunks()


def label_order(items: Items, memory: pa.Table) -> IntArray:
    """(classes,) each class's output index: those that releases of these items had keep their order, new ones follow.

    Only what is remembered of content that is still there counts, so that other data sets have no say.
    """
    present = pc.is_in(memory["sha256"], value_set=items.sha256)
    known = memory.filter(pc.and_(present, pc.is_in(memory["label"], value_set=pa.array(items.labels))))
    never = np.iinfo(np.int64).max
    earlier = np.full(len(items.labels), never)
    classes = pc.index_in(known["label"], pa.array(items.labels, pa.string())).to_numpy()
    np.minimum.at(earlier, classes, known["label_index"].to_numpy())
    places = np.empty(len(earlier), dtype=np.int64)
    places[np.argsort(earlier, kind="stable")] = np.arange(len(earlier))
    return places


def earlier_sides(memory: pa.Table, items: Items) -> SideArray:
    """(items,) the side that a SPLIT_MEMORY table has for each item's content; -1 where it has none."""
    rows = pc.index_in(items.sha256, memory["sha256"].combine_chunks())
    return side_codes(memory["side"].combine_chunks().take(rows))[items.contents]


def _settled_sides(roots: IntArray, official: SideArray | None, remembered: SideArray) -> SideArray:
    """The sides that may not change; -1 for new items."""
    if official is None:
        return remembered.copy()
    if VALIDATION in official:
        return official.copy()
    tested = np.zeros(len(roots), dtype=np.bool_)
    tested[roots[official == TEST]] = True
    earlier = (remembered == TRAIN) | (remembered == VALIDATION)
    settled = np.where(earlier, remembered, np.where(tested[roots], TRAIN, NO_SIDE))
    return np.where(official == TEST, TEST, settled).astype(np.int8)


def _join_neighbours(settled: SideArray, roots: IntArray) -> SideArray:
    """New items take the side of the settled items of their group, or none where those disagree."""
    known = settled != NO_SIDE
    least, most = np.full(len(roots), LEFT_OUT, dtype=np.int8), np.full(len(roots), NO_SIDE, dtype=np.int8)
    np.minimum.at(least, roots[known], settled[known])
    np.maximum.at(most, roots[known], settled[known])
    around = np.where(most == NO_SIDE, NO_SIDE, np.where(least == most, most, LEFT_OUT))
    return np.where(known, settled, around[roots]).astype(np.int8)


def _new_groups(items: Items, keys: IntArray, sides: SideArray, seed: int) -> _NewGroups:
    """Groups without a side, in the order in which they are dealt: that of a hash of the seed and their key."""
    numbers = np.flatnonzero(sides == NO_SIDE)
    contents, of_number = np.unique(keys[numbers], return_inverse=True)
    names = items.sha256.take(pa.array(contents, pa.int64())).to_pylist()
    digests = b"".join(hashlib.sha256(f"{seed}:{name}".encode()).digest() for name in names)
    words = np.frombuffer(digests, dtype=">u8").reshape(-1, 4)
    dealt = np.lexsort(words.T[::-1])
    places = np.empty(len(dealt), dtype=np.int64)
    places[dealt] = np.arange(len(dealt))
    of_number = places[of_number]
    order = np.argsort(of_number, kind="stable")
    numbers, of_number = numbers[order], of_number[order]
    return _NewGroups(numbers, of_number, count_classes(of_number, items.classes[numbers], len(dealt)))


def _deal_side(side: int, new: _NewGroups, items: Items, sides: SideArray, share: float) -> _NewGroups:
    """Give groups to `side` until every class has its share there; returns the groups that are left."""
    outside = (sides == LEFT_OUT) | ((sides == TEST) if side != TEST else False)
    total, held = items.per_class(~outside), items.per_class(sides == side)
    chosen = choose_groups(new.counts, total, held, share)
    if side == TEST and share > 0:
        chosen = cover_classes(new.counts, chosen, total, held)
    sides[new.numbers[chosen[new.of_number]]] = side
    return new.choose(~chosen)


def _carve_validation(new: _NewGroups, items: Items, sides: SideArray, share: float) -> list[str]:
    """Deal validation, unless some class would get too few; returns notes."""
    carved = sides.copy()
    _deal_side(VALIDATION, new, items, carved, share)
    if needs_out_of_fold(items, carved):
        note = (
            f"nothing is carved for validation: {share:g} of train is fewer than {MIN_VALIDATION_ITEMS} items of some "
            "class; what needs validation uses out-of-fold predictions"
        )
        return [note] if share > 0 else []
    sides[:] = carved
    return []


def _require_both_sides(items: Items, sides: SideArray, official: bool) -> None:
    counts = {side: items.per_class(sides == side) for side in range(len(_STRICTEST))}
    for side in _NEEDED:
        lacking = np.flatnonzero(counts[side] == 0)
        if not len(lacking):
            continue
        numbers = ", ".join(f"{name} {counts[other][lacking[0]]}" for other, name in enumerate(_STRICTEST))
        mend = (
            f"add {SIDES[side]} items of it to the official split"
            if official
            else "add items that are no copies of each other and of other groups, or change split.test_share"
        )
        others = f" (and {counted(len(lacking) - 1, 'more class', 'more classes')})" if len(lacking) > 1 else ""
        raise DataError(f"class {items.labels[lacking[0]]!r} has no {SIDES[side]} items ({numbers}){others}; {mend}")
