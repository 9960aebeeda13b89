"""The split stage: train, validation and test, with everything that is alike on one side.

python -m tasks.split
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.chains import NearDuplicates, spanning_pairs
from tasks.components import IntArray
from tasks.errors import DataError
from tasks.feature_rows import check_index, open_item_features
from tasks.grouping import LEFT_OUT, SIDES, Items, item_columns
from tasks.near_duplicates import find_near_duplicates
from tasks.params import Params
from tasks.reports import LeftOut, NearDuplicatePair, SplitReport, TightenedChain
from tasks.splitting import BRIDGES_SPLIT, Division, divide, earlier_sides, label_order, needs_out_of_fold
from tasks.stage import run_stage, say
from tasks.tables import ITEMS, SPLIT_MEMORY, SPLITS, read_table, write_table
from tasks.workspace import Workspace

_READ = ["path", "sha256", "label", "group", "split", "perceptual_hash", "status"]


def split(workspace: Workspace, params: Params) -> None:
    """Write splits.parquet and the split report.

    Raises:
        StageInputError: items, embeddings or splits.lock are missing, unreadable or do not belong together.
        DataError: fewer than two classes, an incomplete official split, or a class without train or test items.
    """
    table = read_table(workspace.items, ITEMS, _READ)
    table = table.filter(pc.equal(table["status"], "accepted")).sort_by("path")
    if not table.num_rows:
        raise DataError("no accepted items; reports/validation.json says why each was set aside")
    memory = read_table(workspace.splits_lock, SPLIT_MEMORY)
    check_index(workspace, table, workspace.items, "embed")
    items = item_columns(table)
    content, duplicates = _near_duplicates(workspace, items, table["perceptual_hash"].to_numpy(), params)
    division = divide(items, content[duplicates.pairs], earlier_sides(memory, items), params.split)
    write_table(_splits_table(table, items, division, label_order(items, memory)), workspace.splits)
    report = _report(items, division, content, duplicates)
    report.write(workspace.split_report)
    counts = ", ".join(f"{side} {sum(labels.values())}" for side, labels in report.counts.items())
    said = f"split: {counts} items; {division.remembered} of them keep the side of an earlier release"
    say("\n".join([said, *(f"  {note}" for note in report.notes)]))


def _near_duplicates(
    workspace: Workspace, items: Items, hashes: npt.NDArray[np.uint64], params: Params
) -> tuple[IntArray, NearDuplicates]:
    """The first item with each content, since copies need no second comparison, and the near-duplicates among them."""
    _, content = np.unique(items.contents, return_index=True)
    content = np.sort(content).astype(np.int64)
    with open_item_features(workspace) as features:
        found = find_near_duplicates(
            hashes[content],
            features.choose(content),
            items.classes[content],
            params.split.near_duplicates,
            # By content digest: as good as random, and the same draw when folders are renamed.
            np.argsort(items.contents[content]),
        )
    return content, found


def _splits_table(table: pa.Table, items: Items, division: Division, order: IntArray) -> pa.Table:
    reasons = pa.array([None, BRIDGES_SPLIT], pa.string())
    columns = {
        "path": table["path"],
        "sha256": table["sha256"],
        "label": table["label"],
        "label_index": order[items.classes].astype(np.int32),
        "group": items.sha256.take(pa.array(division.groups)),
        "side": pa.array(SIDES).take(pa.array(division.sides)),
        "reason": reasons.take(pa.array((division.sides == LEFT_OUT).astype(np.int8))),
    }
    return pa.table(columns, schema=SPLITS)


def _report(items: Items, division: Division, content: IntArray, found: NearDuplicates) -> SplitReport:
    def path(place: int) -> str:
        return items.path(content[place])

    counts = {side: items.per_class(division.sides == code).tolist() for code, side in enumerate(SIDES)}
    return SplitReport(
        official=division.official,
        counts={
            side: {label: count for label, count in zip(items.labels, numbers, strict=True) if count}
            for side, numbers in counts.items()
        },
        near_duplicates=[
            NearDuplicatePair(
                first=path(found.pairs[row, 0]),
                second=path(found.pairs[row, 1]),
                hamming=int(found.hamming[row]),
                cosine=round(float(found.cosine[row]), 4),
            )
            for row in spanning_pairs(found)
        ],
        grouped_items=len(np.unique(found.pairs)),
        min_cosine=round(found.min_cosine, 4),
        tightened=[
            TightenedChain(
                first=path(chain.first),
                items=chain.items,
                cap=chain.cap,
                max_hamming=chain.max_hamming,
                min_cosine=round(chain.min_cosine, 4),
            )
            for chain in found.tightened
        ],
        leaks=division.leaks,
        left_out=[
            LeftOut(path=items.path(int(number)), reason=BRIDGES_SPLIT)
            for number in np.flatnonzero(division.sides == LEFT_OUT)
        ],
        out_of_fold=needs_out_of_fold(items, division.sides),
        notes=division.notes,
    )


if __name__ == "__main__":
    run_stage("split", split)
