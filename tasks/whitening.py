"""Embeddings made comparable within one data set: what all its images share is divided out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.components import IntArray

MAX_COMPONENTS = 192
"""Principal components kept by the whitening: fewer link strangers, more lose crops and resizes."""

MIN_VARIANCE = 3e-5
"""Components with a smaller share of the variance are noise, which whitening would blow up."""

FEWEST_TYPICAL = 100
"""Fewer items than this tell nothing of what is typical of a data set."""

NEIGHBOUR_RANKS, CHANCE_NEIGHBOURS, MAX_CHANCE_COSINE = (5, 20), 0.01, 0.9
"""The chance level: which neighbours it is told from, how many it allows an item, how much it may ask for."""

FloatMatrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Whitening:
    """Centring by `mean` (width,), then scaled principal directions `components` (width, components)."""

    mean: npt.NDArray[np.floating]
    components: npt.NDArray[np.floating]

    def single(self) -> Whitening:
        """The same in single precision, which is twice as fast and holds half as much."""
        return Whitening(self.mean.astype(np.float32), self.components.astype(np.float32))

    def project(self, features: npt.NDArray[np.floating]) -> FloatMatrix:
        """(items, components) unit rows, or zero rows where nothing varies."""
        white: npt.NDArray[Any] = (features - self.mean) @ self.components
        lengths = np.linalg.norm(white, axis=1, keepdims=True)
        unit: FloatMatrix = np.divide(white, lengths, out=np.zeros_like(white), where=lengths > 0).astype(
            np.float32, copy=False
        )
        return unit


def fit_whitening(sample: npt.NDArray[np.floating]) -> Whitening:
    """What divides a data set's own common directions out, told from typical items (items, width).

    Raw embeddings of one narrow domain all have a high cosine (0.9 and more for pooled ReLU features), so no threshold
    separates near-duplicates from relatives. After centring and scaling the principal components to equal variance,
    unrelated images have a cosine near 0 whatever the backbone. Two items a component are needed to estimate it.

    Source: H. Jegou and O. Chum, "Negative evidences and co-occurrences in image retrieval: the benefit of PCA and
        whitening", ECCV 2012.
    """
    mean = sample.mean(axis=0, dtype=np.float64)
    centred = sample - mean
    wide = centred.shape[1] > centred.shape[0]
    variances, directions = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    kept = min(MAX_COMPONENTS, max(1, len(centred) // 2))
    kept = min(kept, int(np.count_nonzero(variances > MIN_VARIANCE * max(float(variances.sum()), 1e-30))))
    variances, directions = variances[::-1][:kept], directions[:, ::-1][:, :kept]
    if wide:
        directions = centred.T @ (directions / np.sqrt(variances))
    return Whitening(mean, directions / np.sqrt(variances))


def whiten(features: npt.NDArray[np.floating], typical: IntArray) -> FloatMatrix:
    """(items, components) unit rows: features (items, width) by the whitening that the `typical` items tell."""
    return fit_whitening(features[typical]).project(features)


def chance_cosine(vectors: FloatMatrix, population: int | None = None) -> float:
    """The cosine at which one item in a hundred would find a neighbour by chance.

    Where images carry little (8x8 scans), unrelated items of a class are as close as a photo and its crop. The number
    of neighbours within a distance grows with a power of it, the intrinsic dimension, which the distances to the 5th
    and the 20th neighbour tell; it is extrapolated down to 0.01 neighbours. Real duplicates hardly disturb those
    ranks; where they do, the ceiling of 0.9 keeps them linked.

    Args:
        vectors: (items, components) unit rows.
        population: the number of items that `vectors` are a random sample of; neighbours are so much more numerous
            there. By default they are all there is.
    Returns:
        Cosine in [-1, 0.9]; -1 for fewer than 100 items, which are too few to tell.
    Source: the neighbour-distance estimate of E. Levina and P. Bickel, "Maximum Likelihood Estimation of Intrinsic
        Dimension", NIPS 2004, with medians over at most 2,000 items.
    """
    if len(vectors) < FEWEST_TYPICAL:
        return -1.0
    near, far = NEIGHBOUR_RANKS
    asked = np.unique(np.linspace(0, len(vectors) - 1, 2000).astype(np.int64))
    ranks = [len(vectors) - 1 - near, len(vectors) - 1 - far]
    blocks = [
        np.partition(vectors[rows] @ vectors.T, ranks, axis=1)[:, ranks]
        for rows in np.array_split(asked, math.ceil(len(asked) / 100))
    ]
    near_squared, far_squared = map(float, 1 - np.median(np.concatenate(blocks), axis=0))
    if near_squared <= 0 or far_squared <= near_squared:
        return MAX_CHANCE_COSINE
    power = math.log(far_squared / near_squared) / math.log(far / near)
    allowed = CHANCE_NEIGHBOURS * len(vectors) / max(population or 0, len(vectors))
    chance_squared = near_squared * math.pow(allowed / near, power)
    return min(MAX_CHANCE_COSINE, 1 - chance_squared)
