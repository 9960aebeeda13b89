"""Which groups of items go to one side, so that every class meets its share there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from tasks.components import IntArray

BoolArray = npt.NDArray[np.bool_]

_BLOCK = 65536
"""Groups that are turned into Python numbers at a time."""


@dataclass(frozen=True)
class ClassCounts:
    """How many items of which classes each group has.

    Entries starts[g] to starts[g + 1] of `classes` and `counts` are those of group g.
    """

    starts: IntArray
    classes: IntArray
    counts: IntArray

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """(class, items) pairs of each group in turn."""
        for block in range(0, len(self), _BLOCK):
            bounds = self.starts[block : block + _BLOCK + 1]
            inside = slice(int(bounds[0]), int(bounds[-1]))
            entries = list(zip(self.classes[inside].tolist(), self.counts[inside].tolist(), strict=True))
            starts = (bounds - bounds[0]).tolist()
            yield from (entries[start:stop] for start, stop in pairwise(starts))

    def choose(self, groups: BoolArray) -> ClassCounts:
        """These groups alone."""
        entries = np.repeat(groups, np.diff(self.starts))
        starts = np.concatenate([[0], np.cumsum(np.diff(self.starts)[groups])])
        return ClassCounts(starts.astype(np.int64), self.classes[entries], self.counts[entries])

    def per_class(self, groups: BoolArray, classes: int) -> IntArray:
        """(classes,) items of these groups."""
        chosen = self.choose(groups)
        return np.bincount(chosen.classes, chosen.counts, minlength=classes).astype(np.int64)


def count_classes(groups: IntArray, classes: IntArray, count: int) -> ClassCounts:
    """The counts of `count` groups, given the group and the class of each item."""
    width = int(classes.max(initial=0)) + 1
    keys, counts = np.unique(groups * width + classes, return_counts=True)
    starts = np.searchsorted(keys, np.arange(count + 1) * width)
    return ClassCounts(starts.astype(np.int64), keys % width, counts.astype(np.int64))


def choose_groups(groups: ClassCounts, total: IntArray, held: IntArray, share: float) -> BoolArray:
    """Walk the groups in order and take each one that brings its classes nearer to their share.

    With groups of one class the share is met to within half of its largest group; groups of several classes are
    taken where that lowers the summed deviation. A class never goes to the side whole.

    Args:
        groups: items per class of each group that has no side yet.
        total: (classes,) items that the share is of, settled ones included.
        held: (classes,) items that the side holds already; counted first, so only new groups correct the balance.
        share: ratio in [0, 1].
    Returns:
        (groups,) which of them go to the side.
    """
    wanted: list[float] = (share * total - held).tolist()
    outside: list[int] = (total - held).tolist()
    chosen = np.zeros(len(groups), dtype=np.bool_)
    for place, group in enumerate(groups):
        gain = sum(abs(wanted[label]) - abs(wanted[label] - count) for label, count in group)
        if gain > 0 and all(outside[label] > count for label, count in group):
            chosen[place] = True
            for label, count in group:
                wanted[label] -= count
                outside[label] -= count
    return chosen


def cover_classes(groups: ClassCounts, chosen: BoolArray, total: IntArray, held: IntArray) -> BoolArray:
    """Add the smallest group that can be spared of each class which the side would otherwise lack."""
    covered = chosen.copy()
    holding = held + groups.per_class(chosen, len(total))
    of_entry = np.repeat(np.arange(len(groups)), np.diff(groups.starts))
    for label in np.flatnonzero((total > 0) & (holding == 0)):
        if holding[label]:
            continue
        places = of_entry[groups.classes == label]
        places = places[~covered[places]]
        spare = []
        for place in places:
            entries = slice(groups.starts[place], groups.starts[place + 1])
            classes, counts = groups.classes[entries], groups.counts[entries]
            if (total[classes] - holding[classes] > counts).all():
                spare.append((int(counts.sum()), int(place)))
        if spare:
            place = min(spare)[1]
            covered[place] = True
            entries = slice(groups.starts[place], groups.starts[place + 1])
            holding[groups.classes[entries]] += groups.counts[entries]
    return covered
