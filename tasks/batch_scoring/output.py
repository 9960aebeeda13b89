"""The output: one Parquet file that says of itself what it holds, complete or absent."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.batch_scoring.parts import Parts
from tasks.errors import UserError
from tasks.reports.document import SCHEMA_VERSION
from tasks.reports.scoring import ScoreFault, ScoreTally

NAMED_FAULTS = 20
_KEY, _TALLY = b"graft_score_key", b"graft_tally"


def check_output(output: Path) -> None:
    """Whether scores can be written there.

    Raises:
        UserError: no .parquet name, no such folder, no permission, or something else is there.
    """
    if output.suffix.lower() != ".parquet":
        why = "scores hold lists, which CSV cannot; " if output.suffix.lower() in (".csv", ".tsv") else ""
        raise UserError(f"-o {output}: {why}name a Parquet file: {output.with_suffix('.parquet')}")
    folder = output.parent
    if not folder.is_dir():
        raise UserError(f"-o {output}: there is no folder {folder}; make it (mkdir -p {folder}) or name another")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"-o {output}: {folder} cannot be written; name another folder, or chmod u+wx {folder}")
    if os.path.lexists(output) and _metadata(output) is None:
        raise UserError(f"-o {output}: there is something else than scores of Graft; move it away or give another name")


def finished_tally(output: Path, key: str) -> ScoreTally | None:
    """What a finished output holds, if it is of this key."""
    found = _metadata(output) or {}
    return ScoreTally.model_validate_json(found[_TALLY]) if found.get(_KEY) == key.encode() else None


def _metadata(output: Path) -> dict[bytes, bytes] | None:
    """The file's own words; None where it is no table of scores."""
    if output.is_symlink() or not output.is_file():
        return None
    try:
        with pq.ParquetFile(output, pre_buffer=False) as found:
            words: dict[bytes, bytes] = found.metadata.metadata or {}
    except (OSError, pa.ArrowException):
        return None
    return words if _KEY in words and _TALLY in words else None


def write_output(output: Path, parts: Parts, key: str, words: dict[str, str], left_out: int) -> ScoreTally:
    """Put the parts together, flush, and let the file take its name.

    Args:
        words: of the file's metadata, beside the schema version, the key and the tally.
        left_out: files of the folder that were not looked at.
    """
    draft, tally = parts.folder / "output.parquet", ScoreTally(left_out=left_out)
    with pq.ParquetWriter(draft, parts.schema, compression="zstd", write_page_checksum=True) as writer:
        for table in parts.groups():
            writer.write_table(table, row_group_size=len(table))
            tally = _with(tally, table)
        own = {_KEY.decode(): key, _TALLY.decode(): tally.model_dump_json()}
        writer.add_key_value_metadata({"graft_schema_version": str(SCHEMA_VERSION), **words, **own})
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(output)
    _sync(output.parent)
    return tally


def words_of(release: str, version: int | None, labels: list[str]) -> dict[str, str]:
    """Which release answered, as metadata; `graft_version` is empty where the registry was not asked."""
    named = "" if version is None else f"v{version}"
    return {"graft_release": release, "graft_version": named, "graft_labels": json.dumps(labels, ensure_ascii=False)}


def _with(tally: ScoreTally, table: pa.Table) -> ScoreTally:
    errors = table["error"].combine_chunks()
    failed = errors.drop_null()
    counts = dict(tally.predicted)
    for pair in pc.value_counts(table["predicted"].combine_chunks().drop_null()).to_pylist():
        counts[pair["values"]] = counts.get(pair["values"], 0) + pair["counts"]
    wanted = NAMED_FAULTS - len(tally.faults)
    rows = table.filter(pc.is_valid(errors)).slice(0, wanted).select(["path", "error"]).to_pylist() if wanted else []
    return ScoreTally(
        items=tally.items + len(table),
        scored=tally.scored + len(table) - len(failed),
        failed=tally.failed + len(failed),
        abstained=tally.abstained + (pc.sum(table["abstained"]).as_py() or 0),
        left_out=tally.left_out,
        predicted=dict(sorted(counts.items())),
        faults=[*tally.faults, *(ScoreFault(**row) for row in rows)],
    )


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
