"""Which items must stand on one side of the split together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.components import IntArray, connected_components
from tasks.reports import Side

SIDES: tuple[Side, ...] = get_args(Side)
"""Sides by their codes: train 0, validation 1, test 2, left_out 3."""

TRAIN, VALIDATION, TEST, LEFT_OUT = range(4)
NO_SIDE = -1

SideArray = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Items:
    """What sides are decided from, a column each; equal numbers stand for equal names.

    paths: (items,) strings.
    contents: (items,) numbers of content sha256s, ascending as `sha256`, the (contents,) strings, is.
    classes: (items,) numbers of labels, ascending as `labels` is.
    groups: (items,) numbers of explicit groups; -1 without one.
    named: (items,) numbers in `sides`, the official sides as the data name them; -1 without one.
    """

    paths: pa.Array
    contents: IntArray
    sha256: pa.Array
    classes: IntArray
    labels: list[str]
    groups: IntArray
    named: IntArray
    sides: list[str]

    def __len__(self) -> int:
        return len(self.contents)

    def path(self, number: int) -> str:
        return str(self.paths[int(number)])

    def take(self, numbers: IntArray) -> Items:
        """These items alone."""
        columns = (column[numbers] for column in (self.contents, self.classes, self.groups, self.named))
        contents, classes, groups, named = columns
        paths = self.paths.take(pa.array(numbers))
        return Items(paths, contents, self.sha256, classes, self.labels, groups, named, self.sides)

    def per_class(self, chosen: npt.NDArray[np.bool_]) -> IntArray:
        """(classes,) how many of the chosen items each class has."""
        return np.bincount(self.classes[chosen], minlength=len(self.labels))


def item_columns(table: pa.Table) -> Items:
    """The items of a table with the columns path, sha256, label, group and split; an empty group is none."""
    contents, sha256 = _numbered(table["sha256"])
    classes, labels = _numbered(table["label"])
    groups, names = _numbered(table["group"])
    groups[np.isin(groups, np.flatnonzero(pc.equal(names, "").to_numpy(zero_copy_only=False)))] = -1
    named, sides = _numbered(table["split"])
    paths = _one_array(table["path"])
    return Items(paths, contents, sha256, classes, labels.to_pylist(), groups, named, sides.to_pylist())


def side_codes(sides: pa.Array) -> SideArray:
    """Names of sides as codes; -1 for null."""
    codes = pc.index_in(sides, pa.array(SIDES)).fill_null(NO_SIDE)
    return np.asarray(codes.to_numpy(zero_copy_only=False), dtype=np.int8)


def group_roots(items: Items, links: IntArray) -> IntArray:
    """The group of each item, named by its first member.

    Items of one explicit group, of identical content, or chained by `links` (links, 2) are one group.
    """
    parts = [links.reshape(-1, 2)]
    for column in (items.contents, items.groups):
        members = np.flatnonzero(column >= 0)
        _, first, of_member = np.unique(column[members], return_index=True, return_inverse=True)
        linked = np.stack([members, members[first][of_member]], axis=1)
        parts.append(linked[linked[:, 0] != linked[:, 1]])
    return connected_components(len(items), np.concatenate(parts).astype(np.int64))


def group_keys(items: Items, roots: IntArray) -> IntArray:
    """(items,) a content of each item's group that does not depend on the order of the items: that of the smallest
    sha256."""
    keys = np.full(len(items), len(items.sha256), dtype=np.int64)
    np.minimum.at(keys, roots, items.contents)
    return keys[roots]


def _numbered(column: pa.ChunkedArray) -> tuple[IntArray, pa.Array]:
    """Strings as numbers that ascend as they do, and the strings; -1 for null."""
    encoded = _one_array(column).dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    ranks = np.empty(len(order) + 1, dtype=np.int64)
    ranks[order], ranks[-1] = np.arange(len(order)), -1
    indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return ranks[indices], encoded.dictionary.take(pa.array(order))


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined
