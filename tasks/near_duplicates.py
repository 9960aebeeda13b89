"""Which images are so alike that they must stand on one side of a split.

A pair is a near-duplicate only if two independent measures agree: few differing bits between the perceptual hashes,
and a cosine between the whitened embeddings that is high, also for this data set. Pairs chain into groups; a chain
that grows over its cap is cut by tightening both thresholds for it alone (`tasks.chains`). Up to 10,000 items all are
compared with all; more are compared within cells of neighbours (`tasks.neighbour_cells`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tasks.chains import NearDuplicates, class_caps, hold_caps
from tasks.components import IntArray
from tasks.feature_rows import Features
from tasks.neighbour_cells import ClosePairs, HalfMatrix, Hashes, close_pairs
from tasks.params import NearDuplicateParams
from tasks.whitening import FEWEST_TYPICAL, FloatMatrix, Whitening, chance_cosine, fit_whitening

DISTINCT_HAMMING = 4
"""Items that differ in more bits are typical of a data set."""

EXHAUSTIVE_ITEMS = 10_000
"""So many items are compared with each other; of more items, so many tell what is typical of them all."""

_ROWS, _COLUMNS, _PAIRS = 512, 8192, 65536
"""Block sizes: the memory of the search does not grow with the number of items."""


def find_near_duplicates(
    hashes: Hashes,
    features: Features,
    labels: npt.ArrayLike,
    params: NearDuplicateParams,
    order: IntArray | None = None,
) -> NearDuplicates:
    """The pairs that both measures call near-duplicates, chained groups held under their cap.

    Args:
        hashes: (items,) perceptual hashes of images with different content.
        features: (items, width) embeddings, finite.
        labels: the class of each item.
        params: thresholds, and the largest share of a class that one chain may hold; a chain over several classes is
            held to the cap of the smallest.
        order: the items in an order that has nothing to do with what they show, from which samples of a large data
            set are drawn; as they come unless given.
    """
    order = np.arange(len(hashes)) if order is None else order
    sample = np.sort(order[:EXHAUSTIVE_ITEMS])
    values = features[sample]
    distinct = distinct_items(hashes[sample])
    whitening = fit_whitening(values[distinct])
    typical = whitening.project(values[distinct])
    asked = max(params.min_cosine, chance_cosine(typical, len(typical) * len(hashes) // max(len(sample), 1)))
    params = params.model_copy(update={"min_cosine": asked})
    if len(sample) == len(hashes):
        found = _compare_all(hashes, whitening.project(values), params)
    else:
        del values
        found = close_pairs(hashes, _whitened(features, whitening), order, params)
    unbounded = NearDuplicates(*found, params.min_cosine, [])
    return hold_caps(unbounded, class_caps(labels, params.max_group_share), params)


def _whitened(features: Features, whitening: Whitening) -> HalfMatrix:
    """(items, components) unit rows in half precision: a million items of 192 take 384 MB."""
    single = whitening.single()
    rows = np.empty((len(features), single.components.shape[1]), dtype=np.float16)
    for start in range(0, len(features), _COLUMNS):
        rows[start : start + _COLUMNS] = single.project(features[start : start + _COLUMNS])
    return rows


def _compare_all(hashes: Hashes, vectors: FloatMatrix, params: NearDuplicateParams) -> ClosePairs:
    found = list(_agreeing_blocks(hashes, vectors, params))
    pairs = np.concatenate([np.empty((0, 2), np.int64), *(block[0] for block in found)])
    hamming = np.concatenate([np.empty(0, np.uint8), *(block[1] for block in found)])
    cosine = np.concatenate([np.empty(0, np.float32), *(block[2] for block in found)])
    ascending = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return ClosePairs(pairs[ascending], hamming[ascending], cosine[ascending])


def distinct_items(hashes: npt.NDArray[np.uint64]) -> IntArray:
    """Items that no earlier item resembles within 4 bits: what is typical of a data set is told from them.

    Where every image comes in several versions, versions would otherwise pass for typical neighbours.

    Returns:
        Ascending item numbers; all of them where fewer than 100 would be left.
    """
    repeated = np.zeros(len(hashes), dtype=np.bool_)
    for top, left, bits in _hash_blocks(hashes):
        rows, columns = bits.shape
        later = np.arange(top, top + rows)[:, None] < np.arange(left, left + columns)
        repeated[left : left + columns] |= ((bits <= DISTINCT_HAMMING) & later).any(axis=0)
    distinct = np.flatnonzero(~repeated)
    return distinct if len(distinct) >= FEWEST_TYPICAL else np.arange(len(hashes))


def _agreeing_blocks(
    hashes: npt.NDArray[np.uint64], vectors: FloatMatrix, params: NearDuplicateParams
) -> Iterator[tuple[IntArray, npt.NDArray[np.uint8], npt.NDArray[np.float32]]]:
    """The hash is asked first, since it is a hundred times cheaper; only its pairs are put to the embedding."""
    for top, left, bits in _hash_blocks(hashes):
        rows, columns = np.nonzero(bits <= params.max_hamming)
        ordered = rows + top < columns + left
        rows, columns = rows[ordered], columns[ordered]
        cosine = _pair_cosines(vectors[top : top + _ROWS], vectors[left : left + _COLUMNS], rows, columns)
        agreed = cosine >= params.min_cosine
        pairs = np.stack([rows + top, columns + left], axis=1)[agreed]
        yield pairs.astype(np.int64), bits[rows, columns][agreed], np.minimum(cosine[agreed], 1)


def _pair_cosines(first: FloatMatrix, second: FloatMatrix, rows: IntArray, columns: IntArray) -> FloatMatrix:
    """(pairs,) cosines of chosen rows; one matrix product where so many are chosen that it is cheaper."""
    if len(rows) * 16 > len(first) * len(second):
        dense: FloatMatrix = (first @ second.T)[rows, columns]
        return dense
    parts = np.array_split(np.arange(len(rows)), 1 + len(rows) // _PAIRS)
    return np.concatenate([np.einsum("pc,pc->p", first[rows[part]], second[columns[part]]) for part in parts])


def _hash_blocks(hashes: npt.NDArray[np.uint64]) -> Iterator[tuple[int, int, npt.NDArray[np.uint8]]]:
    """First row, first column and differing bits of blocks that cover every pair of items."""
    for top in range(0, len(hashes), _ROWS):
        for left in range(top, len(hashes), _COLUMNS):
            yield top, left, np.bitwise_count(hashes[top : top + _ROWS, None] ^ hashes[None, left : left + _COLUMNS])
