"""The split that the data themselves name, in folders or in a table's column."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.errors import DataError, counted
from tasks.grouping import NO_SIDE, SIDES, TEST, VALIDATION, Items, SideArray, side_codes

_NAMES = SIDES[:3]


def named_sides(items: Items) -> tuple[SideArray | None, list[str]]:
    """The sides that the data themselves name, with val as test where there is no test.

    Returns:
        A side for every item, or None where no item is held out by name; and notes for the report.
    Raises:
        DataError: an unknown side, or a side for only some of the items.
    """
    counts = np.bincount(items.named[items.named >= 0], minlength=len(items.sides))
    named = {name: int(count) for name, count in zip(items.sides, counts, strict=True) if count}
    if not {"validation", "test"} & named.keys():
        return None, ["the split column names only train; the test set is carved from it"] if "train" in named else []
    if unknown := sorted(named.keys() - set(_NAMES)):
        raise DataError(
            f"unknown split {unknown[0]!r} ({counted(named[unknown[0]], 'item')}); known: {', '.join(_NAMES)}"
        )
    nameless = np.flatnonzero(items.named < 0)
    if len(nameless):
        first = pc.min(items.paths.take(pa.array(nameless))).as_py()
        raise DataError(
            f"{len(nameless)} of {len(items)} items have no split, the first is {first}; "
            "name train, validation or test for each of them, or for none"
        )
    official = side_codes(pa.array(items.sides, pa.string()))[items.named]
    if "test" in named:
        return official, []
    official[official == VALIDATION] = TEST
    return official, ["the official val is the test set"]


def unnamed(items: Items) -> SideArray:
    """No side for any item."""
    return np.full(len(items), NO_SIDE, dtype=np.int8)
