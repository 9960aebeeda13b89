"""The item table, from a listing and its inspections, by columns: a million rows as objects would fill gigabytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.digests import rows_sha256
from tasks.expectations.conflicts import conflicting_reasons
from tasks.modalities.images import Inspection
from tasks.relabelling import Decided
from tasks.table_listing import Item
from tasks.tables import ITEMS

_BATCH = 8192
_LISTED = ("path", "group", "split", "domain")
_DECIDED = ("label", "status")
_FOUND = pa.schema([field for field in ITEMS if field.name not in (*_LISTED, *_DECIDED)])
_DIGESTED = ("path", "sha256", "label", "group", "split", "domain")


def found_columns(inspections: Iterable[Inspection]) -> pa.Table:
    """What the inspections found, in their order: the item table's columns on the file and its content.

    `reason` is why the file cannot be used, or null.
    """
    names = ["file_bytes" if name == "bytes" else name for name in _FOUND.names]
    batches, waiting = [], iter(inspections)
    while some := list(islice(waiting, _BATCH)):
        columns = [[getattr(found, name) for found in some] for name in names]
        arrays = [pa.array(values, field.type) for values, field in zip(columns, _FOUND, strict=True)]
        batches.append(pa.record_batch(arrays, schema=_FOUND))
    return pa.Table.from_batches(batches, _FOUND)


def item_table(items: Sequence[Item], found: pa.Table, decided: Decided, labelled: bool) -> tuple[pa.Table, pa.Array]:
    """The table (schema ITEMS) of every item but the forgotten ones, under the label that counts.

    A person's word comes before what the file would say, and that before a conflict of labels.

    Args:
        items: the listing.
        found: `found_columns` of the listed files.
        decided: what people decided on them.
        labelled: whether identical content under two labels is a conflict.
    Returns:
        The table, and for each of its rows whether the content may be used: sound, and left out by nobody.
    """
    listed = {name: _column(items, name) for name in _LISTED}
    reason, left_out = found["reason"], pa.chunked_array([pa.array(decided.left_out, pa.string())])
    label = pa.chunked_array([pa.array(decided.labels, pa.string())])
    table = pa.table({**listed, **{name: found[name] for name in _FOUND.names}, "label": label})
    table = table.append_column("left_out", left_out)
    if any(decided.forgotten):
        table = table.filter(pc.invert(pa.array(decided.forgotten)))
        reason, left_out = table["reason"], table["left_out"]
    usable = pc.and_(reason.is_null(), left_out.is_null())
    reason = pc.coalesce(left_out, reason)
    if labelled:
        reason = pc.coalesce(reason, conflicting_reasons(table["path"], table["label"], table["sha256"], usable))
    status = pc.if_else(left_out.is_valid(), "left_out", pc.if_else(reason.is_valid(), "quarantined", "accepted"))
    columns = {name: table[name] for name in table.column_names} | {"reason": reason, "status": status}
    return pa.table([columns[name] for name in ITEMS.names], schema=ITEMS), usable


def data_digest(items: pa.Table) -> str:
    """sha256 over the accepted items' sorted (path, content sha256, label, group, split, domain)."""
    rows = items.select([*_DIGESTED, "status"])
    if not np.array_equal(pc.sort_indices(rows["path"]).to_numpy(), np.arange(rows.num_rows)):
        rows = rows.sort_by("path")
    batches = (batch.filter(pc.equal(batch["status"], "accepted")) for batch in rows.to_batches(max_chunksize=_BATCH))
    return rows_sha256(
        row for batch in batches for row in zip(*(batch[name].to_pylist() for name in _DIGESTED), strict=True)
    )


def _column(items: Sequence[Item], name: str) -> pa.ChunkedArray:
    parts = (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))
    arrays = [pa.array([getattr(item, name) for item in part], pa.string()) for part in parts]
    return pa.chunked_array(arrays, pa.string())
