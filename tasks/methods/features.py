"""Frozen features joined to their labels and sides: what adapt learns from and evaluate predicts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from tasks.errors import DataError, StageInputError
from tasks.feature_rows import open_item_features
from tasks.methods.contract import Float32Array, LabelledFeatures
from tasks.metrics import IntVector
from tasks.tables import EMBEDDING_INDEX, SPLITS, read_table
from tasks.workspace import Workspace


@dataclass(frozen=True)
class LabelledItems:
    """Items sorted by path. `features` (items, width) float32; `labels` (items,) index `names`, in the output order."""

    names: list[str]
    paths: list[str]
    sha256: list[str]
    sides: list[str]
    labels: IntVector
    groups: IntVector
    features: Float32Array

    def on(self, sides: Collection[str]) -> LabelledItems:
        """The items on any of these sides."""
        rows = [row for row, side in enumerate(self.sides) if side in sides]
        return LabelledItems(
            self.names,
            [self.paths[row] for row in rows],
            [self.sha256[row] for row in rows],
            [self.sides[row] for row in rows],
            self.labels[rows],
            self.groups[rows],
            self.features[rows],
        )

    def to_learn_from(self) -> LabelledFeatures:
        """The same items as a method takes them.

        Raises:
            DataError: a class has no item to learn from, or there is one class only.
        """
        items = np.bincount(self.labels, minlength=len(self.names))
        empty = [name for name, count in zip(self.names, items, strict=True) if not count]
        if empty:
            raise DataError(
                f"no item to learn from for {', '.join(map(repr, empty))}: every one lies in the test set "
                "(data/splits.parquet); add items of that class, or lower split.test_share in params.yaml"
            )
        if len(self.names) < 2:
            raise DataError(f"the data have {len(self.names)} class {self.names}; a classifier needs two at least")
        return LabelledFeatures(self.features, self.labels, self.groups, len(self.names))


def read_labelled_items(workspace: Workspace) -> LabelledItems:
    """Every item that stands on a side, with its features.

    Raises:
        StageInputError: splits and embeddings are missing, damaged, or not of the same items.
    """
    splits = read_table(workspace.splits, SPLITS)
    index = read_table(workspace.embedding_index, EMBEDDING_INDEX)
    rows = splits.to_pydict()
    place = {key: row for row, key in enumerate(zip(*index.to_pydict().values(), strict=True))}
    placed = [row for row, side in enumerate(rows["side"]) if side != "left_out"]
    wanted = [(rows["path"][row], rows["sha256"][row]) for row in placed]
    strangers = [path for path, sha256 in wanted if (path, sha256) not in place]
    if strangers:
        raise StageInputError(
            f"data/embeddings/ has no features of {len(strangers)} items of data/splits.parquet, such as "
            f"{strangers[0]}; run `graft adapt` (stages embed and split)"
        )
    names = [name for _, name in sorted(set(zip(rows["label_index"], rows["label"], strict=True)))]
    # Whoever learns from an item says whether its features are numbers.
    with open_item_features(workspace, finite=False) as matrix:
        features = matrix[np.array([place[key] for key in wanted], dtype=np.int64)]
    groups = [rows["group"][row] or f"item:{rows['path'][row]}" for row in placed]
    return LabelledItems(
        names=names,
        paths=[path for path, _ in wanted],
        sha256=[sha256 for _, sha256 in wanted],
        sides=[rows["side"][row] for row in placed],
        labels=np.array([rows["label_index"][row] for row in placed], dtype=np.int64),
        groups=np.unique(np.array(groups, dtype=str), return_inverse=True)[1].astype(np.int64),
        features=features,
    )
