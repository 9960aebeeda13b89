"""Which items are unlike all others: the distance to the nearest neighbours of their embeddings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.feature_rows import Features
from tasks.metrics import BoolVector

NEIGHBOURS = 10
MAX_REFERENCE = 4096
"""Neighbours are looked for among all items, or among so many that lie evenly where there are more."""

FENCE = 1.5
"""How many interquartile ranges above the upper quartile a distance is far out."""

BLOCK = 2048

Float32Vector = npt.NDArray[np.float32]


def neighbour_distances(features: Features) -> Float32Vector:
    """(items,) mean cosine distance, in [0, 2], of each item to its 10 nearest others.

    Args:
        features: (items, width), finite; blocks of it are read where it lies on disk.
    Source: Y. Sun, Y. Ming, X. Zhu and Y. Li, "Out-of-Distribution Detection with Deep Nearest Neighbors", ICML 2022
        (unit embeddings), with the mean over the neighbours as in cleanlab 2.9 OutOfDistribution.
    """
    items = len(features)
    reference = np.unique(np.linspace(0, items - 1, min(items, MAX_REFERENCE)).astype(np.int64))
    known, count = _unit_rows(features[reference]), min(NEIGHBOURS, len(reference) - 1)
    if count < 1:
        return np.zeros(items, dtype=np.float32)
    found = np.empty(items, dtype=np.float32)
    for top in range(0, items, BLOCK):
        cosine = _unit_rows(features[top : top + BLOCK]) @ known.T
        own = np.searchsorted(reference, [top, top + len(cosine)])
        cosine[reference[slice(*own)] - top, np.arange(*own)] = -2.0
        nearest = np.partition(cosine, len(reference) - count, axis=1)[:, -count:]
        found[top : top + len(cosine)] = 1.0 - nearest.mean(axis=1)
    return np.maximum(found, 0.0)


def far_out(distances: Float32Vector) -> BoolVector:
    """(items,) whether the distance is above the upper quartile by 1.5 interquartile ranges.

    Source: J. Tukey, "Exploratory Data Analysis", 1977.
    """
    lower, upper = np.quantile(distances, [0.25, 0.75])
    return np.asarray(distances > upper + FENCE * (upper - lower))


def _unit_rows(features: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    rows = np.asarray(features, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0))
