"""The columns of the Parquet tables that stages hand on, and how they are written and read."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.errors import StageInputError
from tasks.reports.document import SCHEMA_VERSION, check_version, replacing

PIXELS_SIDE = 16

ITEMS = pa.schema(
    [
        ("path", pa.string()),
        ("label", pa.string()),
        ("group", pa.string()),
        ("split", pa.string()),
        ("domain", pa.string()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
        ("format", pa.string()),
        ("mode", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("several_frames", pa.bool_()),
        ("perceptual_hash", pa.uint64()),
        ("brightness", pa.float32()),
        ("sharpness", pa.float32()),
        ("pixels", pa.binary(PIXELS_SIDE * PIXELS_SIDE)),
        ("status", pa.string()),
        ("reason", pa.string()),
    ]
)
"""One row per listed item, sorted by path (relative to data.path). `status` is accepted, quarantined or left_out (by a
person); `pixels` is the image as 16x16 grey bytes (box filter), `perceptual_hash` has 64 bits; null where
undecodable."""

ADDED_IN_2 = frozenset({"several_frames"})
"""Columns that tables of schema version 1 lack; they are read as null (not known)."""

EMBEDDING_INDEX = pa.schema([("path", pa.string()), ("sha256", pa.string())])
"""Row i names row i of features.npy; accepted items sorted by path."""

SPLITS = pa.schema(
    [
        ("path", pa.string()),
        ("sha256", pa.string()),
        ("label", pa.string()),
        ("label_index", pa.int32()),
        ("group", pa.string()),
        ("side", pa.string()),
        ("reason", pa.string()),
    ]
)
"""Accepted items sorted by path; `side` is train, validation, test or left_out (with a reason)."""

PREDICTIONS = pa.schema(
    [
        ("path", pa.string()),
        ("sha256", pa.string()),
        ("label", pa.string()),
        ("predicted", pa.string()),
        ("probability", pa.float32()),
        ("probabilities", pa.list_(pa.float32())),
    ]
)
"""Test items sorted by path; `probability` is of the predicted class, `probabilities` in the order of the labels."""

CHAMPION_PREDICTIONS = pa.schema(
    [
        ("path", pa.string()),
        ("sha256", pa.string()),
        ("label", pa.string()),
        ("champion", pa.string()),
        ("best", pa.string()),
    ]
)
"""Test items sorted by path; what the pinned releases call them under today's class names. A column is null where none
is pinned, or where it was not compared."""

BASELINE_PREDICTIONS = pa.schema([("path", pa.string()), ("baseline", pa.string()), ("predicted", pa.string())])
"""What each baseline of the evaluation calls each test item: the baselines one after the other, in its order, the items
sorted by path."""

OUT_OF_FOLD = pa.schema([("path", pa.string()), ("label", pa.string()), ("probabilities", pa.list_(pa.float32()))])
"""Fitted items that were held out once, sorted by path; `probabilities` of the model that did not see them."""

SPLIT_MEMORY = pa.schema(
    [("sha256", pa.string()), ("label", pa.string()), ("label_index", pa.int32()), ("side", pa.string())]
)
"""splits.lock: the side of every item that a release was judged with, sorted by sha256."""

RELEASE_ITEMS = pa.schema([("sha256", pa.binary(32)), ("side", pa.string())])
"""items/<manifest sha256>.parquet on refs/graft/state: what a release was trained on (train, validation) and tested on
(test), by content, sorted."""


def table_bytes(table: pa.Table) -> bytes:
    """A Parquet file with the schema version in its metadata; equal tables give equal bytes."""
    buffer = io.BytesIO()
    versioned = table.replace_schema_metadata({"graft_schema_version": str(SCHEMA_VERSION)})
    pq.write_table(versioned, buffer, compression="zstd")
    return buffer.getvalue()


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table atomically; the bytes are those of `table_bytes`, never held in memory."""
    versioned = table.replace_schema_metadata({"graft_schema_version": str(SCHEMA_VERSION)})
    with replacing(path) as draft:
        pq.write_table(versioned, draft, compression="zstd")


def read_table(path: Path, schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table that has `schema`, or these columns of it alone, in the schema's order.

    Raises:
        StageInputError: as `parse_table`, or it is missing.
    """
    try:
        with path.open("rb") as file:
            return _parse(file, schema, str(path), columns)
    except OSError as err:
        raise StageInputError(f"{path} cannot be read ({err.strerror}); run `graft adapt`") from err


def parse_table(data: bytes, schema: pa.Schema, source: str) -> pa.Table:
    """A table from the bytes of a Parquet file; `source` names it in errors.

    Raises:
        StageInputError: no Parquet, other columns, or a schema version that this Graft does not read. What a table of
            version 1 lacks (`ADDED_IN_2`) is null.
    """
    return _parse(pa.BufferReader(data), schema, source)


def _parse(file: Any, schema: pa.Schema, source: str, columns: Sequence[str] | None = None) -> pa.Table:
    mend = "run `graft adapt`"
    try:
        # Not pq.read_table: that imports pyarrow.dataset and, with it, pandas. And not in Arrow's threads, of which a
        # quick command ends so soon after that the interpreter finds them running, and aborts.
        opened = pq.ParquetFile(file, pre_buffer=False)
        found = opened.schema_arrow
        version = (found.metadata or {}).get(b"graft_schema_version", b"none").decode()
        absent = ADDED_IN_2 - set(found.names) if version == "1" else frozenset()
        same = found.equals(pa.schema([field for field in schema if field.name not in absent]), check_metadata=False)
        asked = [name for name in schema.names if columns is None or name in columns]
        table = opened.read([name for name in asked if name not in absent], use_threads=False) if same else None
    except (OSError, pa.ArrowException) as err:
        raise StageInputError(f"{source} is not a readable Parquet table: {err}; {mend}") from err
    check_version(int(version) if version.isdecimal() else version, source, f"; {mend}")
    if table is None:
        raise StageInputError(f"{source} has the columns {found.names}, expected {schema.names}; {mend}")
    for place, name in enumerate(asked):
        if name in absent:
            table = table.add_column(place, schema.field(name), pa.nulls(table.num_rows, schema.field(name).type))
    return table
