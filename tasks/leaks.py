"""Items of one group that stand on different sides for reasons that split may not overrule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.components import IntArray
from tasks.grouping import Item, group_roots
from tasks.reports import Leak, Side

OFFICIAL_SPLIT = "official_split"
EARLIER_SPLIT = "earlier_split"


def find_leaks(
    items: Sequence[Item], links: IntArray, sides: Sequence[Side | None], official: list[Side] | None
) -> list[Leak]:
    """One entry for each settled item that is grouped with a settled item of another side.

    Args:
        items: the accepted items.
        links: (links, 2) numbers of items that are near-duplicates.
        sides: the side of each item that may not change; None for new items, which leak nothing.
        official: the sides that the data name, if they do.
    Returns:
        Leaks in the order of the paths, each against the first item of its group.
    """
    settled = sorted((number for number, side in enumerate(sides) if side), key=lambda number: items[number].path)
    places = np.full(len(items), -1, dtype=np.int64)
    places[settled] = np.arange(len(settled))
    inner = places[links.reshape(-1, 2)]
    roots = group_roots([items[number] for number in settled], inner[(inner >= 0).all(axis=1)])
    leaks = []
    for second, root in zip(settled, roots, strict=True):
        first = settled[root]
        first_side, second_side = sides[first], sides[second]
        if first_side and second_side and first_side != second_side:
            named = official is not None and official[first] != official[second]
            leaks.append(
                Leak(
                    first=items[first].path,
                    first_side=first_side,
                    second=items[second].path,
                    second_side=second_side,
                    reason=OFFICIAL_SPLIT if named else EARLIER_SPLIT,
                )
            )
    return leaks
