"""What review looks at: the accepted items with their groups and labels, and the copies that contradict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.metrics import BoolVector, IntVector
from tasks.overlay import read_corrections
from tasks.reports import ReviewEntry
from tasks.reports.review import SET_ASIDE
from tasks.tables import ITEMS, read_table
from tasks.workspace import Workspace

DECIDE_ONCE = "decide in one row, it holds for every copy"
"""What the reason of such a copy ends with."""


def label_names(splits: pa.Table) -> dict[int, str]:
    """Label by its index."""
    return dict(zip(splits["label_index"].to_pylist(), splits["label"].to_pylist(), strict=True))


def group_numbers(splits: pa.Table) -> IntVector:
    """(items,) group numbers; an item without a group is one of its own."""
    numbers: dict[str, int] = {}
    named = zip(splits["group"].to_pylist(), splits["path"].to_pylist(), strict=True)
    return np.array([numbers.setdefault(group or f"item:{path}", len(numbers)) for group, path in named])


def confirmed_items(splits: pa.Table, workspace: Workspace, aliases: Mapping[str, str]) -> BoolVector:
    """(items,) whether a person's last word on the content is the label that it bears."""
    words = {one.sha256: one.label for one in read_corrections(workspace.corrections) if one.label is not None}
    decided = np.zeros(splits.num_rows, dtype=np.bool_)
    if words:
        rows = zip(splits["sha256"].to_pylist(), splits["label"].to_pylist(), strict=True)
        decided[:] = [
            content in words and aliases.get(words[content], words[content]) == label for content, label in rows
        ]
    return decided


def contradicting_copies(workspace: Workspace) -> list[ReviewEntry]:
    """Files of one content under several labels: validate set them aside, and only a person can say which is right."""
    items = read_table(workspace.items, ITEMS).select(
        ["path", "sha256", "label", "reason", "perceptual_hash", "status"]
    )
    aside = [row for row, status in enumerate(items["status"].to_pylist()) if status == "quarantined"]
    rows = [cells for row in aside for cells in items.slice(row, 1).to_pylist() if cells["perceptual_hash"] is not None]
    of_content: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        of_content[row["sha256"]].append(row)
    entries = []
    for same in of_content.values():
        for row in same:
            other = next((one for one in same if one["label"] != row["label"]), None)
            if other is not None:
                entries.append(
                    ReviewEntry(
                        rank=0,
                        kind="conflicting_near_duplicate",
                        path=row["path"],
                        sha256=row["sha256"],
                        label=row["label"],
                        suggested=None,
                        score=1.0,
                        reason=f"{row['reason']}; {DECIDE_ONCE}",
                        side=SET_ASIDE,
                        other=other["path"],
                        other_label=other["label"],
                    )
                )
    return entries
