"""Which items contradict each other: identical content under two labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from tasks.table_listing import Item


def conflicting_reasons(items: Sequence[Item], contents: Sequence[str | None]) -> list[str | None]:
    """Per item, under which other label its identical content stands too, or None.

    Args:
        items: the listing; items without a label take no part.
        contents: sha256 per item; None where the item is unusable and takes no part.
    """
    holders: dict[str | None, dict[str, str]] = defaultdict(dict)
    for item, content in zip(items, contents, strict=True):
        if content is not None and item.label is not None:
            holders[content].setdefault(item.label, item.path)
    return [_conflict(item, holders.get(content, {})) for item, content in zip(items, contents, strict=True)]


def _conflict(item: Item, first_of_label: dict[str, str]) -> str | None:
    if item.label is None:
        return None
    others = [(label, path) for label, path in first_of_label.items() if label != item.label]
    return f"identical to {others[0][1]}, which is labelled {others[0][0]!r}" if others else None
