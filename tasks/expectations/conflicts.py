"""Which items contradict each other: identical content under two labels."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.expectations.content_counts import codes, distinct_of_each


def conflicting_reasons(
    paths: pa.ChunkedArray, labels: pa.ChunkedArray, contents: pa.ChunkedArray, usable: pa.ChunkedArray
) -> pa.Array:
    """Per item, under which other label its identical content stands too, or null.

    Args:
        paths: of the listed items.
        labels: null where there is none; such items take no part.
        contents: sha256 per item.
        usable: false where the item takes no part.
    """
    takes_part = pc.and_(usable, labels.is_valid()).to_numpy()
    places = np.flatnonzero(distinct_of_each(np.where(takes_part, codes(contents), -1), codes(labels)) > 1)
    asked = pa.array(places)
    rows = list(zip(*(column.take(asked).to_pylist() for column in (paths, labels, contents)), strict=True))
    holders: dict[str, dict[str, str]] = defaultdict(dict)
    for path, label, content in rows:
        holders[content].setdefault(label, path)
    reasons = np.full(len(paths), None, dtype=object)
    reasons[places] = [_conflict(label, holders[content]) for _, label, content in rows]
    return pa.array(reasons, pa.string())


def _conflict(label: str, first_of_label: dict[str, str]) -> str:
    other, path = next((other, path) for other, path in first_of_label.items() if other != label)
    return f"identical to {path}, which is labelled {other!r}"
