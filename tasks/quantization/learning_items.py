"""Which items set the scales of an int8 model and which find its sensitive parts: of the training set alone."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.backbones.session import prepare_batch
from tasks.digests import value_sha256
from tasks.errors import StageInputError
from tasks.preprocess import Preprocess, UInt8Image
from tasks.tables import SPLITS, read_table
from tasks.threads import worker_threads
from tasks.workspace import Workspace

Named = tuple[str, str]
"""Path and sha256 of an item."""


@dataclass(frozen=True)
class LearningItems:
    """Disjoint items of the training set: for the ranges of activations, and to measure what a variant changes."""

    calibration: list[Named]
    measured: list[Named]


def learning_items(workspace: Workspace, count: int, seed: int) -> LearningItems:
    """`count` items to calibrate with and as many others to measure by; halves of what there is where that is less.

    They are drawn by a hash of content and seed, in turn from every class, so that rare classes have their activations
    seen and further data change few of them. The test set has no part in it, nor has the validation set.

    Raises:
        StageInputError: the splits are missing or damaged, or hold no training items.
    """
    rows = read_table(workspace.splits, SPLITS, ("path", "sha256", "label", "side")).to_pydict()
    of_class: dict[str, list[tuple[str, Named]]] = defaultdict(list)
    taken: set[str] = set()
    for path, sha256, label, side in zip(rows["path"], rows["sha256"], rows["label"], rows["side"], strict=True):
        if side == "train" and sha256 not in taken:
            taken.add(sha256)
            of_class[label].append((value_sha256([seed, sha256]), (path, sha256)))
    turns = [(turn, drawn, item) for items in of_class.values() for turn, (drawn, item) in enumerate(sorted(items))]
    drawn = [item for _, _, item in sorted(turns)]
    if len(drawn) < 2:
        raise StageInputError("data/splits.parquet has fewer than two training items; run `graft adapt` (stage split)")
    first = min(count, len(drawn) // 2)
    return LearningItems(drawn[:first], drawn[first : 2 * first])


def prepared_images(root: Path, items: list[Named], preprocess: Preprocess, threads: int) -> UInt8Image:
    """(items, crop, crop, 3) in the order of the items, as they are served.

    Raises:
        DataError: a file is gone, changed since it was validated or no longer decodes.
    """
    with ThreadPoolExecutor(worker_threads(threads)) as pool:
        return np.concatenate(
            list(pool.map(lambda item: prepare_batch([root / item[0]], [item[1]], preprocess), items))
        )
