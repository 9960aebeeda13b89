"""The rows of features.npy, read a block at a time: the whole may be larger than memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatMatrix = npt.NDArray[np.float32]

_BLOCK = 8192
_DENSE = 2
"""Rows are read in one piece where the piece is at most this many times as long as what is asked of it."""


class FeatureRows:
    """A matrix of features on disk, or a choice of its rows.

    Rows are read, never mapped: pages of a mapped file count as memory of the process.
    """

    def __init__(
        self, file: int, path: Path, start: int, dtype: np.dtype[np.floating], width: int, rows: IntArray
    ) -> None:
        self._file, self._path, self._start, self._dtype, self._rows = file, path, start, dtype, rows
        self.width = width

    def __len__(self) -> int:
        return len(self._rows)

    def choose(self, rows: IntArray) -> FeatureRows:
        """These rows alone, in this order."""
        return FeatureRows(self._file, self._path, self._start, self._dtype, self.width, self._rows[rows])

    def __getitem__(self, rows: IntArray | slice) -> FloatMatrix:
        """(rows, width) float32, whatever precision the file has.

        Raises:
            ValueError: a value is infinite or not a number, or the file ends early.
        """
        asked = self._rows[rows]
        order = np.argsort(asked, kind="stable")
        ascending = asked[order]
        values = np.empty((len(asked), self.width), dtype=np.float32)
        for part in np.split(np.arange(len(asked)), np.flatnonzero(np.diff(ascending) > _DENSE) + 1):
            for piece in np.array_split(part, 1 + len(part) // _BLOCK):
                if len(piece):
                    first, last = int(ascending[piece[0]]), int(ascending[piece[-1]])
                    values[order[piece]] = self._span(first, last + 1)[ascending[piece] - first]
        return values

    def blocks(self, size: int = _BLOCK) -> Iterator[tuple[slice, FloatMatrix]]:
        """Every row in order, as float32 blocks with the places they have."""
        for start in range(0, len(self), size):
            place = slice(start, min(start + size, len(self)))
            yield place, self[place]

    def _span(self, first: int, stop: int) -> FloatMatrix:
        each = self.width * self._dtype.itemsize
        data = os.pread(self._file, (stop - first) * each, self._start + first * each)
        if len(data) != (stop - first) * each:
            raise ValueError(f"{self._path} ends before row {stop}")
        values = np.frombuffer(data, dtype=self._dtype).reshape(stop - first, self.width).astype(np.float32)
        if not np.isfinite(values).all():
            raise ValueError(f"{self._path} has values that are infinite or not a number (rows {first} to {stop - 1})")
        return values


@contextmanager
def open_features(path: Path) -> Iterator[FeatureRows]:
    """The rows of a .npy file of (items, width) floating-point numbers.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is no such file, or shorter than its header says.
    """
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = read(file)
        start = file.tell()
        if len(shape) != 2 or by_columns or dtype.kind != "f":
            raise ValueError(f"shape {shape} of {dtype}, expected rows of floating-point numbers")
        missing = start + shape[0] * shape[1] * dtype.itemsize - os.fstat(file.fileno()).st_size
        if missing > 0:
            raise ValueError(f"{missing} bytes are missing at its end")
        yield FeatureRows(file.fileno(), path, start, dtype, shape[1], np.arange(shape[0], dtype=np.int64))
