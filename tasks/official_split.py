"""The split that the data themselves name, in folders or in a table's column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import cast

from tasks.errors import DataError, counted
from tasks.grouping import Item
from tasks.reports import Side

_NAMES: tuple[Side, ...] = ("train", "validation", "test")


def named_sides(items: Sequence[Item]) -> tuple[list[Side] | None, list[str]]:
    """The sides that the data themselves name, with val as test where there is no test.

    Returns:
        A side for every item, or None where no item is held out by name; and notes for the report.
    Raises:
        DataError: an unknown side, or a side for only some of the items.
    """
    named = Counter(item.official for item in items)
    held_out = {"validation", "test"} & named.keys()
    if not held_out:
        return None, ["the split column names only train; the test set is carved from it"] if named["train"] else []
    if unknown := sorted({str(name) for name in named} - {*_NAMES, "None"}):
        raise DataError(
            f"unknown split {unknown[0]!r} ({counted(named[unknown[0]], 'item')}); known: {', '.join(_NAMES)}"
        )
    if named[None]:
        first = min(item.path for item in items if item.official is None)
        raise DataError(
            f"{named[None]} of {len(items)} items have no split, the first is {first}; "
            "name train, validation or test for each of them, or for none"
        )
    official = cast(list[Side], [item.official for item in items])
    if "test" in held_out:
        return official, []
    return ["test" if side == "validation" else side for side in official], ["the official val is the test set"]
