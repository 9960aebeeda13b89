"""Which groups of items go to one side, so that every class meets its share there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence


def choose_groups(
    groups: Sequence[Mapping[str, int]], total: Counter[str], held: Counter[str], share: float
) -> set[int]:
    """Walk the groups in order and take each one that brings its classes nearer to their share.

    With groups of one class the share is met to within half of its largest group; groups of several classes are
    taken where that lowers the summed deviation. A class never goes to the side whole.

    Args:
        groups: items per class of each group that has no side yet.
        total: items per class that the share is of, settled ones included.
        held: items per class that the side holds already; counted first, so only new groups correct the balance.
        share: ratio in [0, 1].
    Returns:
        Places of the groups for the side.
    """
    wanted = {label: share * count - held[label] for label, count in total.items()}
    outside = {label: count - held[label] for label, count in total.items()}
    chosen = set()
    for place, group in enumerate(groups):
        gain = sum(abs(wanted[label]) - abs(wanted[label] - count) for label, count in group.items())
        if gain > 0 and all(outside[label] > count for label, count in group.items()):
            chosen.add(place)
            for label, count in group.items():
                wanted[label] -= count
                outside[label] -= count
    return chosen


def cover_classes(
    groups: Sequence[Mapping[str, int]], chosen: set[int], total: Counter[str], held: Counter[str]
) -> set[int]:
    """Add the smallest group that can be spared of each class which the side would otherwise lack."""
    covered = set(chosen)
    holding = held.copy()
    for place in chosen:
        holding.update(groups[place])
    for label in sorted(label for label in total if not holding[label]):
        spare = [
            (sum(group.values()), place)
            for place, group in enumerate(groups)
            if place not in covered
            and label in group
            and all(total[other] - holding[other] > count for other, count in group.items())
        ]
        if spare and not holding[label]:
            place = min(spare)[1]
            covered.add(place)
            holding.update(groups[place])
    return covered
