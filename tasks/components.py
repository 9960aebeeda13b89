"""Connected components of a graph: what chaining and grouping rest on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


def connected_components(count: int, links: IntArray) -> IntArray:
    """Which component each node belongs to.

    Args:
        count: nodes, numbered from 0.
        links: (links, 2) pairs of nodes.
    Returns:
        (count,) the smallest node of each node's component.
    Source: agrees with scipy.sparse.csgraph.connected_components up to the names of the components.
    """
    roots = np.arange(count, dtype=np.int64)
    while True:
        ends = roots[links]
        lower, upper = ends.min(axis=1, initial=count), ends.max(axis=1, initial=-1)
        if np.array_equal(lower, upper) or not len(links):
            return roots
        np.minimum.at(roots, upper, lower)
        while not np.array_equal(roots, shorter := roots[roots]):
            roots = shorter
