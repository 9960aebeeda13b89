"""How often contents, labels and sides meet, counted on numbers in place of strings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

IntArray = npt.NDArray[np.int64]


def codes(column: pa.ChunkedArray) -> IntArray:
    """(rows,) equal numbers for equal strings; -1 for null."""
    parts = (chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in column.dictionary_encode().chunks)
    return np.concatenate([np.empty(0, np.int64), *parts]).astype(np.int64, copy=False)


def distinct_of_each(keys: IntArray, values: IntArray) -> IntArray:
    """(rows,) how many different values stand under each row's key; -1 is no value, and 0 the answer for no key."""
    width = int(values.max(initial=0)) + 2
    pairs = np.unique((keys + 1) * width + values + 1)
    counts = np.bincount(pairs[pairs % width > 0] // width, minlength=int(keys.max(initial=0)) + 2)
    counts[0] = 0
    return counts[keys + 1]


def size_of_each(keys: IntArray) -> IntArray:
    """(rows,) how many rows have each row's key; 0 for no key (-1)."""
    counts = np.bincount(keys + 1, minlength=1)
    counts[0] = 0
    return counts[keys + 1]
