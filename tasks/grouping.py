"""Which items must stand on one side of the split together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from tasks.components import IntArray, connected_components


@dataclass(frozen=True, slots=True)
class Item:
    """What a side is decided from. `official` is train, validation, test or None."""

    path: str
    sha256: str
    label: str
    group: str | None = None
    official: str | None = None


def group_roots(items: Sequence[Item], links: IntArray) -> list[int]:
    """The group of each item, named by its first member.

    Items of one explicit group, of identical content, or chained by `links` (links, 2) are one group.
    """
    first: dict[tuple[str, str], int] = {}
    shared = []
    for number, item in enumerate(items):
        shared.append((number, first.setdefault(("sha256", item.sha256), number)))
        if item.group:
            shared.append((number, first.setdefault(("group", item.group), number)))
    united = np.concatenate([np.asarray(shared, dtype=np.int64).reshape(-1, 2), links.reshape(-1, 2)])
    return cast(list[int], connected_components(len(items), united).tolist())


def group_keys(items: Sequence[Item], groups: Sequence[int]) -> dict[int, str]:
    """A name of each group that does not depend on the order of the items: its smallest content sha256."""
    keys: dict[int, str] = {}
    for item, root in zip(items, groups, strict=True):
        keys[root] = min(keys.get(root, item.sha256), item.sha256)
    return keys
