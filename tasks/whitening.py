"""Embeddings made comparable within one data set: what all its images share is divided out."""

from __future__ import annotations

import math

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


def whiten(features: npt.NDArray[np.floating], typical: IntArray) -> FloatMatrix:
    """Embeddings with the data set's own common directions divided out, as unit rows.

    Raw embeddings of one narrow domain all have a high cosine (0.9 and more for pooled ReLU features), so no threshold
    separates near-duplicates from relatives. After centring and scaling the principal components to equal variance,
    unrelated images have a cosine near 0 whatever the backbone. Two items a component are needed to estimate it.

    Args:
        features: (items, width).
        typical: numbers of the items that mean and components are told from.
    Returns:
        (items, components) unit rows, or zero rows where nothing varies.
    Source: H. Jegou and O. Chum, "Negative evidences and co-occurrences in image retrieval: the benefit of PCA and
        whitening", ECCV 2012.
    """
    centred = features - features[typical].mean(axis=0, dtype=np.float64)
    sample = centred[typical]
    wide = sample.shape[1] > sample.shape[0]
    variances, directions = np.linalg.eigh(sample @ sample.T if wide else sample.T @ sample)
    kept = min(MAX_COMPONENTS, max(1, len(sample) // 2))
    kept = min(kept, int(np.count_nonzero(variances > MIN_VARIANCE * max(float(variances.sum()), 1e-30))))
    variances, directions = variances[::-1][:kept], directions[:, ::-1][:, :kept]
    if wide:
        directions = sample.T @ (directions / np.sqrt(variances))
    white = centred @ (directions / np.sqrt(variances))
    lengths = np.linalg.norm(white, axis=1, keepdims=True)
    unit: FloatMatrix = np.divide(white, lengths, out=np.zeros_like(white), where=lengths > 0).astype(np.float32)
    return unit


def chance_cosine(vectors: FloatMatrix) -> float:
    """The cosine at which one item in a hundred would find a neighbour by chance.

    Where images carry little (8x8 scans), unrelated items of a class are as close as a photo and its crop. The number
    of neighbours within a distance grows with a power of it, the intrinsic dimension, which the distances to the 5th
    and the 20th neighbour tell; it is extrapolated down to 0.01 neighbours. Real duplicates hardly disturb those
    ranks; where they do, the ceiling of 0.9 keeps them linked.

    Args:
        vectors: (items, components) unit rows.
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
    chance_squared = near_squared * math.pow(CHANCE_NEIGHBOURS / near, power)
    return min(MAX_CHANCE_COSINE, 1 - chance_squared)
