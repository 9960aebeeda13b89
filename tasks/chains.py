"""Chains of near-duplicates: the closest pairs that hold them together, and the cap that no chain may pass."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.components import IntArray, connected_components
from tasks.params import NearDuplicateParams

SMALLEST_CAP = 2
"""Two images may always be called one, however small their class."""


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


def spanning_pairs(duplicates: NearDuplicates) -> list[int]:
    """Rows of the closest pairs that already chain everything: n - 1 for a group of n items."""
    forest = _Forest()
    order = np.lexsort((duplicates.pairs[:, 1], duplicates.pairs[:, 0], -duplicates.cosine, duplicates.hamming))
    return [int(row) for row in order if forest.join(*map(int, duplicates.pairs[row]))]


def class_caps(labels: npt.ArrayLike, max_share: float) -> IntArray:
    """(items,) the most items that a chain with this item may hold, given the class of each."""
    _, classes, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    caps = [max(SMALLEST_CAP, math.floor(max_share * int(count) + 1e-9)) for count in counts]
    return np.array(caps, dtype=np.int64)[classes] if len(counts) else np.empty(0, np.int64)


def hold_caps(found: NearDuplicates, caps: IntArray, params: NearDuplicateParams) -> NearDuplicates:
    """The pairs without those that would chain more items than the smallest cap among them.

    A chain over its cap is cut at the largest common fraction of both allowances that keeps it under; others keep the
    params' thresholds.
    """
    chains = connected_components(len(caps), found.pairs)
    sizes = np.bincount(chains, minlength=len(caps))
    chain_caps = np.full(len(caps), np.iinfo(np.int64).max)
    np.minimum.at(chain_caps, chains, caps)
    loose = looseness(found.hamming, found.cosine, params)
    kept = np.ones(len(found.pairs), dtype=np.bool_)
    of_pair = chains[found.pairs[:, 0]]
    by_chain = np.argsort(of_pair, kind="stable")
    tightened = []
    for chain in np.flatnonzero(sizes > chain_caps):
        rows = by_chain[slice(*np.searchsorted(of_pair, [chain, chain + 1], sorter=by_chain))]
        limit = _first_excess(found.pairs[rows], loose[rows], caps)
        kept[rows] = loose[rows] < limit
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


def looseness(
    hamming: npt.NDArray[np.uint8], cosine: npt.NDArray[np.float32], params: NearDuplicateParams
) -> npt.NDArray[np.float64]:
    """(pairs,) how much of its two allowances a pair uses: 0 for identical, 1 at the looser threshold."""
    bits = hamming / max(params.max_hamming, 1)
    angle = (1 - cosine.astype(np.float64)) / max(1 - params.min_cosine, 1e-9)
    return np.maximum(bits, angle)


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


def _first_excess(pairs: IntArray, loose: npt.NDArray[np.float64], caps: IntArray) -> float:
    """The looseness at which single linkage first makes a group that is over its cap."""
    forest = _Forest()
    sizes: dict[int, int] = {}
    limits: dict[int, int] = {}
    for row in np.argsort(loose, kind="stable"):
        first, second = (forest.root(int(node)) for node in pairs[row])
        if first == second:
            continue
        size = sizes.get(first, 1) + sizes.get(second, 1)
        limit = min(limits.get(first, int(caps[first])), limits.get(second, int(caps[second])))
        if size > limit:
            return float(loose[row])
        forest.join(first, second)
        sizes[min(first, second)], limits[min(first, second)] = size, limit
    return math.inf
