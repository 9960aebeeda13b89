"""Which single items are kept out of everything that follows, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from tasks.modalities.images import Inspection
from tasks.params import ValidateParams
from tasks.table_listing import Item


def unusable_reason(found: Inspection, rules: ValidateParams) -> str | None:
    """Why an image is undecodable or hostile (format, pixel cap, size, mode), or None."""
    if found.reason:
        return found.reason
    if found.mode not in rules.modes:
        return f"mode {found.mode} is not allowed (validate.modes)"
    sides = (found.width or 0, found.height or 0)
    if min(sides) < rules.min_side:
        return f"{sides[0]}x{sides[1]} pixels, a side is below {rules.min_side} (validate.min_side)"
    if max(sides) > rules.max_side:
        return f"{sides[0]}x{sides[1]} pixels, a side is above {rules.max_side} (validate.max_side)"
    return None


def conflicting_reasons(items: Sequence[Item], contents: Sequence[str | None]) -> list[str | None]:
    """Per item, which other label its identical content stands under, or None.

    Args:
        items: the listing.
        contents: sha256 per item; None where the item is unusable and takes no part.
    """
    holders: dict[str, dict[str, str]] = defaultdict(dict)
    for item, content in zip(items, contents, strict=True):
        if content and item.label is not None:
            holders[content].setdefault(item.label, item.path)
    reasons: list[str | None] = []
    for item, content in zip(items, contents, strict=True):
        others = [(label, path) for label, path in holders.get(content or "", {}).items() if label != item.label]
        clash = bool(others) and item.label is not None
        reasons.append(f"identical to {others[0][1]}, which is labelled {others[0][0]!r}" if clash else None)
    return reasons
