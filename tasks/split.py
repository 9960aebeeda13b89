"""The split stage: train, validation and test, with everything that is alike on one side.

python -m tasks.split
"""

from __future__ import annotations

from collections import Counter
from typing import get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.components import IntArray
from tasks.errors import DataError, StageInputError
from tasks.grouping import Item
from tasks.near_duplicates import NearDuplicates, find_near_duplicates, spanning_pairs
from tasks.params import Params
from tasks.reports import LeftOut, NearDuplicatePair, Side, SplitReport, TightenedChain
from tasks.splitting import BRIDGES_SPLIT, Division, divide, label_order, needs_out_of_fold, remembered_sides
from tasks.stage import run_stage, say
from tasks.tables import EMBEDDING_INDEX, ITEMS, SPLIT_MEMORY, SPLITS, read_table, write_table
from tasks.workspace import Workspace


def split(workspace: Workspace, params: Params) -> None:
    """Write splits.parquet and the split report.

    Raises:
        StageInputError: items, embeddings or splits.lock are missing, unreadable or do not belong together.
        DataError: fewer than two classes, an incomplete official split, or a class without train or test items.
    """
    table = read_table(workspace.items, ITEMS)
    table = table.filter(pc.equal(table["status"], "accepted")).sort_by("path")
    if not table.num_rows:
        raise DataError("no accepted items; reports/validation.json says why each was set aside")
    memory = read_table(workspace.splits_lock, SPLIT_MEMORY)
    features = _read_features(workspace, table)
    content = _first_of_each_content(table)
    duplicates = find_near_duplicates(
        table["perceptual_hash"].to_numpy()[content],
        features[content],
        table["label"].take(content).to_pylist(),
        params.split.near_duplicates,
    )
    items = _items(table)
    division = divide(items, content[duplicates.pairs], remembered_sides(memory), params.split)
    write_table(_splits_table(items, division, label_order(items, memory)), workspace.splits)
    report = _report(items, division, content, duplicates)
    report.write(workspace.split_report)
    counts = ", ".join(f"{side} {sum(labels.values())}" for side, labels in report.counts.items())
    said = f"split: {counts} items; {division.remembered} of them keep the side of an earlier release"
    say("\n".join([said, *(f"  {note}" for note in report.notes)]))


def _read_features(workspace: Workspace, table: pa.Table) -> npt.NDArray[np.floating]:
    index = read_table(workspace.embedding_index, EMBEDDING_INDEX)
    if not index.equals(table.select(EMBEDDING_INDEX.names)):
        raise StageInputError(
            f"{workspace.embedding_index} lists other items than {workspace.items}; run `graft adapt` (stage embed)"
        )
    try:
        features: npt.NDArray[np.floating] = np.load(workspace.features, allow_pickle=False)
    except (OSError, ValueError, EOFError) as err:
        raise StageInputError(f"{workspace.features} cannot be read ({err}); run `graft adapt` (stage embed)") from err
    if features.ndim != 2 or len(features) != index.num_rows or not np.isfinite(features).all():
        raise StageInputError(
            f"{workspace.features} has the shape {features.shape} or infinite values, expected "
            f"({index.num_rows}, width) finite numbers; run `graft adapt` (stage embed)"
        )
    return features


def _first_of_each_content(table: pa.Table) -> IntArray:
    """Rows of the first item with each content: copies need no second comparison."""
    _, first = np.unique(np.asarray(table["sha256"].to_pylist()), return_index=True)
    return np.sort(first).astype(np.int64)


def _items(table: pa.Table) -> list[Item]:
    columns = (table[name].to_pylist() for name in ("path", "sha256", "label", "group", "split"))
    return [Item(*row) for row in zip(*columns, strict=True)]


def _splits_table(items: list[Item], division: Division, labels: list[str]) -> pa.Table:
    index = {label: place for place, label in enumerate(labels)}
    columns = {
        "path": [item.path for item in items],
        "sha256": [item.sha256 for item in items],
        "label": [item.label for item in items],
        "label_index": [index[item.label] for item in items],
        "group": division.groups,
        "side": division.sides,
        "reason": [BRIDGES_SPLIT if side == "left_out" else None for side in division.sides],
    }
    return pa.table(columns, schema=SPLITS)


def _report(items: list[Item], division: Division, content: IntArray, found: NearDuplicates) -> SplitReport:
    paths = [items[row].path for row in content]
    counts: dict[Side, Counter[str]] = {side: Counter() for side in get_args(Side)}
    for item, side in zip(items, division.sides, strict=True):
        counts[side][item.label] += 1
    return SplitReport(
        official=division.official,
        counts={side: dict(sorted(labels.items())) for side, labels in counts.items()},
        near_duplicates=[
            NearDuplicatePair(
                first=paths[found.pairs[row, 0]],
                second=paths[found.pairs[row, 1]],
                hamming=int(found.hamming[row]),
                cosine=round(float(found.cosine[row]), 4),
            )
            for row in spanning_pairs(found)
        ],
        grouped_items=len(np.unique(found.pairs)),
        min_cosine=round(found.min_cosine, 4),
        tightened=[
            TightenedChain(
                first=paths[chain.first],
                items=chain.items,
                cap=chain.cap,
                max_hamming=chain.max_hamming,
                min_cosine=round(chain.min_cosine, 4),
            )
            for chain in found.tightened
        ],
        leaks=division.leaks,
        left_out=[
            LeftOut(path=item.path, reason=BRIDGES_SPLIT)
            for item, side in zip(items, division.sides, strict=True)
            if side == "left_out"
        ],
        out_of_fold=needs_out_of_fold(items, division.sides),
        notes=division.notes,
    )


if __name__ == "__main__":
    run_stage("split", split)
