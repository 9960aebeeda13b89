"""Which images are so alike that they must stand on one side of a split.

A pair is a near-duplicate only if two independent measures agree: few differing bits between the perceptual hashes,
and a cosine between the whitened embeddings that is high, also for this data set. Pairs chain into groups; a chain
that grows over its cap is cut by tightening both thresholds for it alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.components import IntArray, connected_components
from tasks.params import NearDuplicateParams
from tasks.whitening import FEWEST_TYPICAL, FloatMatrix, chance_cosine, whiten

DISTINCT_HAMMING = 4
"""Items that differ in more bits are typical of a data set."""

SMALLEST_CAP = 2
"""Two images may always be called one, however small their class."""

_ROWS, _COLUMNS, _PAIRS = 512, 8192, 65536
"""Block sizes: the memory of the search does not grow with the number of items."""


@dataclass(frozen=True)
class TightenedChain:
    """A chain that was over its cap, and the thresholds that brought it under."""

    first: int
    items: int
    cap: int
    max_hamming: int
    min_cosine: float


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of item numbers, first < second, in ascending order, with what the two measures said.

    `min_cosine` is what was asked for: the params' value, or the data's own chance level where that is higher.
    """

    pairs: IntArray
    hamming: npt.NDArray[np.uint8]
    cosine: npt.NDArray[np.float32]
    min_cosine: float
    tightened: list[TightenedChain]


def find_near_duplicates(
    hashes: npt.NDArray[np.uint64],
    features: npt.NDArray[np.floating],
    labels: Sequence[str],
    params: NearDuplicateParams,
) -> NearDuplicates:
    """The pairs that both measures call near-duplicates, chained groups held under their cap.

    Args:
        hashes: (items,) perceptual hashes of images with different content.
        features: (items, width) embeddings, finite.
        labels: the class of each item.
        params: thresholds, and the largest share of a class that one chain may hold; a chain over several classes is
            held to the cap of the smallest.
    """
    distinct = distinct_items(hashes)
    vectors = whiten(features, distinct)
    params = params.model_copy(update={"min_cosine": max(params.min_cosine, chance_cosine(vectors[distinct]))})
    found = list(_agreeing_blocks(hashes, vectors, params))
    pairs = np.concatenate([np.empty((0, 2), np.int64), *(block[0] for block in found)])
    hamming = np.concatenate([np.empty(0, np.uint8), *(block[1] for block in found)])
    cosine = np.concatenate([np.empty(0, np.float32), *(block[2] for block in found)])
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    unbounded = NearDuplicates(pairs[order], hamming[order], cosine[order], params.min_cosine, [])
    return _hold_caps(unbounded, _class_caps(labels, params.max_group_share), params)


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


def spanning_pairs(duplicates: NearDuplicates) -> list[int]:
    """Rows of the closest pairs that already chain everything: n - 1 for a group of n items."""
    forest = _Forest()
    order = np.lexsort((duplicates.pairs[:, 1], duplicates.pairs[:, 0], -duplicates.cosine, duplicates.hamming))
    return [int(row) for row in order if forest.join(*map(int, duplicates.pairs[row]))]


class _Forest:
    """Union-find over the nodes it has met."""

    def __init__(self) -> None:
        self._parents: dict[int, int] = {}

    def root(self, node: int) -> int:
        while (parent := self._parents.get(node, node)) != node:
            self._parents[node] = self._parents.get(parent, parent)
            node = parent
        return node

    def join(self, first: int, second: int) -> bool:
        """Whether the two were apart."""
        first, second = sorted((self.root(first), self.root(second)))
        self._parents[second] = first
        return first != second


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


def _class_caps(labels: Sequence[str], max_share: float) -> IntArray:
    """(items,) the most items that a chain with this item may hold."""
    _, classes, counts = np.unique(np.asarray(labels, dtype=np.str_), return_inverse=True, return_counts=True)
    caps = [max(SMALLEST_CAP, math.floor(max_share * int(count) + 1e-9)) for count in counts]
    return np.array(caps, dtype=np.int64)[classes] if len(counts) else np.empty(0, np.int64)


def _hold_caps(found: NearDuplicates, caps: IntArray, params: NearDuplicateParams) -> NearDuplicates:
    chains = connected_components(len(caps), found.pairs)
    sizes = np.bincount(chains, minlength=len(caps))
    chain_caps = np.full(len(caps), np.iinfo(np.int64).max)
    np.minimum.at(chain_caps, chains, caps)
    looseness = _looseness(found, params)
    kept = np.ones(len(found.pairs), dtype=np.bool_)
    tightened = []
    for chain in np.flatnonzero(sizes > chain_caps):
        rows = np.flatnonzero(chains[found.pairs[:, 0]] == chain)
        limit = _first_excess(found.pairs[rows], looseness[rows], caps)
        kept[rows] = looseness[rows] < limit
        tightened.append(
            TightenedChain(
                first=int(chain),
                items=int(sizes[chain]),
                cap=int(chain_caps[chain]),
                max_hamming=math.ceil(limit * params.max_hamming) - 1,
                min_cosine=1 - limit * (1 - params.min_cosine),
            )
        )
    return NearDuplicates(found.pairs[kept], found.hamming[kept], found.cosine[kept], found.min_cosine, tightened)


def _looseness(found: NearDuplicates, params: NearDuplicateParams) -> npt.NDArray[np.float64]:
    """(pairs,) how much of its two allowances a pair uses: 0 for identical, 1 at the looser threshold."""
    bits = found.hamming / max(params.max_hamming, 1)
    angle = (1 - found.cosine.astype(np.float64)) / max(1 - params.min_cosine, 1e-9)
    return np.maximum(bits, angle)


def _first_excess(pairs: IntArray, looseness: npt.NDArray[np.float64], caps: IntArray) -> float:
    """The looseness at which single linkage first makes a group that is over its cap."""
    forest = _Forest()
    sizes: dict[int, int] = {}
    limits: dict[int, int] = {}
    for row in np.argsort(looseness, kind="stable"):
        first, second = (forest.root(int(node)) for node in pairs[row])
        if first == second:
            continue
        size = sizes.get(first, 1) + sizes.get(second, 1)
        limit = min(limits.get(first, int(caps[first])), limits.get(second, int(caps[second])))
        if size > limit:
            return float(looseness[row])
        forest.join(first, second)
        sizes[min(first, second)], limits[min(first, second)] = size, limit
    return math.inf
