"""Items of one group that stand on different sides for reasons that split may not overrule."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from tasks.components import IntArray
from tasks.grouping import NO_SIDE, SIDES, Items, SideArray, group_roots
from tasks.reports import Leak

OFFICIAL_SPLIT = "official_split"
EARLIER_SPLIT = "earlier_split"


def find_leaks(items: Items, links: IntArray, sides: SideArray, official: SideArray | None) -> list[Leak]:
    """One entry for each settled item that is grouped with a settled item of another side.

    Args:
        items: the accepted items.
        links: (links, 2) numbers of items that are near-duplicates.
        sides: the side of each item that may not change; -1 for new items, which leak nothing.
        official: the sides that the data name, if they do.
    Returns:
        Leaks in the order of the paths, each against the first item of its group.
    """
    settled = pc.sort_indices(items.paths).to_numpy().astype(np.int64)
    settled = settled[sides[settled] != NO_SIDE]
    places = np.full(len(items), -1, dtype=np.int64)
    places[settled] = np.arange(len(settled))
    inner = places[links.reshape(-1, 2)]
    roots = group_roots(items.take(settled), inner[(inner >= 0).all(axis=1)])
    first = settled[roots]
    apart = sides[first] != sides[settled]
    return [
        Leak(
            first=items.path(one),
            first_side=SIDES[sides[one]],
            second=items.path(other),
            second_side=SIDES[sides[other]],
            reason=OFFICIAL_SPLIT if official is not None and official[one] != official[other] else EARLIER_SPLIT,
        )
        for one, other in zip(first[apart], settled[apart], strict=True)
    ]
