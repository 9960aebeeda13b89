"""Items and divisions as plain rows, for tests that think of single items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

import pyarrow as pa

from tasks import splitting
from tasks.components import IntArray
from tasks.grouping import SIDES, Items, item_columns, side_codes
from tasks.params import SplitParams
from tasks.reports import Leak, Side


@dataclass(frozen=True)
class Item:
    """`official` is train, validation, test or None."""

    path: str
    sha256: str
    label: str
    group: str | None = None
    official: str | None = None


@dataclass(frozen=True)
class Division:
    """As `tasks.splitting.Division`, with names in place of numbers."""

    sides: list[Side]
    groups: list[str]
    leaks: list[Leak]
    official: bool
    remembered: int
    notes: list[str]


def columns(items: Sequence[Item]) -> Items:
    """The rows as the columns that split works on."""
    names = ("path", "sha256", "label", "group", "split")
    values = zip(*map(astuple, items), strict=True)
    return item_columns(pa.table({name: pa.array(one, pa.string()) for name, one in zip(names, values, strict=True)}))


def divide(items: Sequence[Item], links: IntArray, remembered: Mapping[str, Side], params: SplitParams) -> Division:
    """`tasks.splitting.divide`, with sides by sha256."""
    held = side_codes(pa.array([remembered.get(item.sha256) for item in items], pa.string()))
    table = columns(items)
    found = splitting.divide(table, links, held, params)
    sides = [SIDES[code] for code in found.sides]
    groups = [table.sha256[number].as_py() for number in found.groups]
    return Division(sides, groups, found.leaks, found.official, found.remembered, found.notes)


def needs_out_of_fold(items: Sequence[Item], sides: Sequence[Side]) -> bool:
    """`tasks.splitting.needs_out_of_fold`, with sides by name."""
    return splitting.needs_out_of_fold(columns(items), side_codes(pa.array(sides, pa.string())))
