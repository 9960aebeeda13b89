"""The rows of features.npy, read a block at a time: the whole may be larger than memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.errors import StageInputError
from tasks.tables import EMBEDDING_INDEX, read_table
from tasks.workspace import Workspace

IntArray = npt.NDArray[np.int64]
FloatMatrix = npt.NDArray[np.float32]

_BLOCK = 8192
_DENSE = 2
"""Rows are read in one piece where the piece is at most this many times as long as what is asked of it."""
MEND = "run `graft adapt` (stage embed)"


class Features(Protocol):
    """A (items, width) matrix of finite numbers, in memory or on disk."""

    def __len__(self) -> int: ...
    def __getitem__(self, rows: IntArray | slice, /) -> npt.NDArray[np.floating]: ...


class DamagedFeatures(ValueError):
    """What was read is not what was written."""


class FeatureRows:
    """A matrix of features on disk, or a choice of its rows.

    Rows are read, never mapped: pages of a mapped file count as memory of the process.
    """

    def __init__(
        self,
        file: int,
        path: Path,
        start: int,
        dtype: np.dtype[np.floating],
        width: int,
        rows: IntArray,
        finite: bool = True,
    ) -> None:
        """
        Args:
            finite: False leaves values that are no numbers to whoever reads them.
        """
        self._file, self._path, self._start, self._dtype, self._rows = file, path, start, dtype, rows
        self.width, self._finite = width, finite

    def __len__(self) -> int:
        return len(self._rows)

    def choose(self, rows: IntArray) -> FeatureRows:
        """These rows alone, in this order."""
        chosen = self._rows[rows]
        return FeatureRows(self._file, self._path, self._start, self._dtype, self.width, chosen, self._finite)

    def __getitem__(self, rows: IntArray | slice) -> FloatMatrix:
        """(rows, width) float32, whatever precision the file has.

        Raises:
            DamagedFeatures: a value is infinite or not a number, or the file ends early or cannot be read.
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
        try:
            data = os.pread(self._file, (stop - first) * each, self._start + first * each)
        except OSError as err:
            raise DamagedFeatures(f"rows {first} to {stop - 1}: {err.strerror}") from err
        if len(data) != (stop - first) * each:
            raise DamagedFeatures(f"{self._path} ends before row {stop}")
        values = np.frombuffer(data, dtype=self._dtype).reshape(stop - first, self.width).astype(np.float32)
        if self._finite and not np.isfinite(values).all():
            raise DamagedFeatures(
                f"{self._path} has values that are infinite or not a number (rows {first} to {stop - 1})"
            )
        return values


@contextmanager
def open_item_features(workspace: Workspace, finite: bool = True) -> Iterator[FeatureRows]:
    """The embeddings: a row for each row of their index (`check_index` says whether those are the items at hand).

    Args:
        finite: as `FeatureRows` takes it.
    Raises:
        StageInputError: they are missing, damaged (also where that shows in a row that is read later), or not as many
            as the index names.
    """
    expected = read_table(workspace.embedding_index, EMBEDDING_INDEX).num_rows
    try:
        with open_features(workspace.features, finite) as features:
            if len(features) != expected:
                raise StageInputError(
                    f"{workspace.features} has the shape ({len(features)}, {features.width}), expected {expected} "
                    f"rows, as many as its index names; {MEND}"
                )
            yield features
    except (OSError, DamagedFeatures, EOFError) as err:
        raise StageInputError(f"{workspace.features} cannot be read ({err}); {MEND}") from err


def check_index(workspace: Workspace, items: pa.Table, source: Path, stage: str) -> None:
    """Refuse embeddings of other items than those of a table, or in another order.

    Args:
        items: with the columns of EMBEDDING_INDEX; it was read from `source`, which `stage` brings up to date.
    Raises:
        StageInputError: naming both files.
    """
    if not read_table(workspace.embedding_index, EMBEDDING_INDEX).equals(items.select(EMBEDDING_INDEX.names)):
        raise StageInputError(
            f"{workspace.embedding_index} lists other items than {source}; run `graft adapt` (stage {stage})"
        )


@contextmanager
def open_features(path: Path, finite: bool = True) -> Iterator[FeatureRows]:
    """The rows of a .npy file of (items, width) floating-point numbers.

    Raises:
        OSError: the file cannot be opened.
        DamagedFeatures: it is no such file, or shorter than its header says.
    """
    with path.open("rb") as file:
        shape, by_columns, dtype = _header(file)
        start = file.tell()
        if len(shape) != 2 or by_columns or dtype.kind != "f":
            raise DamagedFeatures(f"shape {shape} of {dtype}, expected rows of floating-point numbers")
        missing = start + shape[0] * shape[1] * dtype.itemsize - os.fstat(file.fileno()).st_size
        if missing > 0:
            raise DamagedFeatures(f"{missing} bytes are missing at its end")
        rows = np.arange(shape[0], dtype=np.int64)
        yield FeatureRows(file.fileno(), path, start, dtype, shape[1], rows, finite)


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[np.floating]]:
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        header: tuple[tuple[int, ...], bool, np.dtype[np.floating]] = read(file)
    except ValueError as err:
        raise DamagedFeatures(str(err)) from err
    return header
