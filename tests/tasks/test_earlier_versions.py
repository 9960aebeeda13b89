"""Files of schema version 1, as Graft 0.1.0 wrote them (tests/golden/v1), are read or named with the mend."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.errors import StageInputError
from tasks.preprocess import Preprocess
from tasks.reports import (
    SCHEMA_VERSION,
    AdaptationReport,
    EvaluationReport,
    Report,
    SplitReport,
    ValidationReport,
    Verdict,
)
from tasks.reports.backbone import BackboneReport
from tasks.reports.engine import Engine
from tasks.reports.manifest import Manifest
from tasks.reports.pins import SourcePin, WeightsPin
from tasks.reports.qualification import Qualification
from tasks.reports.release_parts import GoldenCases, Labels
from tasks.tables import ITEMS, PREDICTIONS, SPLIT_MEMORY, SPLITS, parse_table, read_table, table_bytes

EARLIER = Path(__file__).resolve().parents[1] / "golden" / "v1"
OUTLIVING: list[tuple[str, type[Report]]] = [
    ("release/manifest.json", Manifest),
    ("release/labels.json", Labels),
    ("release/golden/golden.json", GoldenCases),
    ("release/qualification.json", Qualification),
    ("backbone.json", BackboneReport),
    ("engine.json", Engine),
    ("validation.json", ValidationReport),
]
REBUILT: list[tuple[str, type[Report]]] = [
    ("adapted.json", AdaptationReport),
    ("evaluation.json", EvaluationReport),
    ("gate.json", Verdict),
    ("split.json", SplitReport),
    ("source.json", SourcePin),
    ("weights.json", WeightsPin),
]


def without_versions(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_versions(item) for key, item in value.items() if key not in ("schema_version", "version")}
    return [without_versions(item) for item in value] if isinstance(value, list) else value


def as_far_as(before: object, after: object) -> object:
    """What `after` says of the keys of `before`; a later version may have more of them, anywhere."""
    if isinstance(before, dict) and isinstance(after, dict):
        return {key: as_far_as(before[key], after[key]) for key in before}
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [as_far_as(*pair) for pair in zip(before, after, strict=True)]
    return after


@pytest.mark.parametrize(("name", "kind"), OUTLIVING, ids=lambda one: getattr(one, "__name__", one))
def test_what_outlives_a_version_is_read_with_all_that_it_says(name: str, kind: type[Report], tmp_path: Path) -> None:
    before = json.loads((EARLIER / name).read_text())
    assert before["schema_version"] == 1
    report = kind.read(EARLIER / name)
    assert report.schema_version == SCHEMA_VERSION
    after = json.loads(report.to_json())
    assert without_versions(as_far_as(before, after)) == without_versions(before)
    report.write(tmp_path / "again.json")
    assert kind.read(tmp_path / "again.json") == report


@pytest.mark.parametrize(("name", "kind"), REBUILT, ids=lambda one: getattr(one, "__name__", one))
def test_what_a_run_rebuilds_is_read_or_names_the_run(name: str, kind: type[Report]) -> None:
    try:
        assert kind.read(EARLIER / name).schema_version == SCHEMA_VERSION
    except StageInputError as err:
        assert "of an earlier Graft" in str(err)  # noqa: PT017
        assert "run `graft adapt`" in str(err)  # noqa: PT017


def test_the_verdict_inside_an_earlier_manifest_is_upgraded_too() -> None:
    manifest = Manifest.read(EARLIER / "release" / "manifest.json")
    assert manifest.verdict.passed
    assert manifest.verdict.schema_version == SCHEMA_VERSION


def test_an_earlier_releases_preprocessing_is_still_understood() -> None:
    assert Preprocess.model_validate_json((EARLIER / "release" / "preprocess.json").read_text()).crop == 32


def test_an_earlier_split_memory_is_read() -> None:
    memory = parse_table((EARLIER / "splits.lock").read_bytes(), SPLIT_MEMORY, "splits.lock")
    sides = dict(zip(memory["sha256"].to_pylist(), memory["side"].to_pylist(), strict=True))
    assert len(sides) == 40
    assert set(sides.values()) == {"train", "validation", "test"} or set(sides.values()) == {"train", "test"}
    assert memory_version(table_bytes(memory)) == b"2"


@pytest.mark.parametrize(
    ("name", "schema", "lacking"),
    [
        ("items.parquet", ITEMS, {"several_frames"}),
        ("splits.parquet", SPLITS, set()),
        ("predictions.parquet", PREDICTIONS, set()),
    ],
)
def test_an_earlier_table_is_read_and_what_it_lacks_is_null(name: str, schema: pa.Schema, lacking: set[str]) -> None:
    table = read_table(EARLIER / name, schema)
    assert table.schema.equals(schema)
    assert {column for column in schema.names if table[column].null_count == table.num_rows} >= lacking
    assert read_table(EARLIER / name, schema, ["sha256", *lacking]).num_rows == table.num_rows > 0
    assert all(len(sha256) == 64 for sha256 in table["sha256"].to_pylist())


def test_a_table_of_this_version_may_lack_nothing(tmp_path: Path) -> None:
    table = read_table(EARLIER / "items.parquet", ITEMS).drop_columns(["several_frames"])
    with pytest.raises(StageInputError, match=r"has the columns .*; run `graft adapt`"):
        parse_table(table_bytes(table), ITEMS, "items")


def memory_version(data: bytes) -> bytes:
    import pyarrow.parquet as pq

    version: bytes = pq.read_schema(pa.BufferReader(data)).metadata[b"graft_schema_version"]
    return version


@pytest.mark.parametrize(
    ("version", "complaint"),
    [
        ("3", r"memory has schema_version 3, .* written by a newer Graft; upgrade Graft"),
        ("0", r"memory has schema_version 0, this Graft reads 1 to 2; run `graft adapt`"),
        (None, "memory has schema_version 'none'"),
    ],
)
def test_a_table_of_another_version_is_named(version: str | None, complaint: str) -> None:
    import pyarrow.parquet as pq

    table = SPLIT_MEMORY.empty_table().replace_schema_metadata({"graft_schema_version": version} if version else None)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    with pytest.raises(StageInputError, match=complaint):
        parse_table(sink.getvalue().to_pybytes(), SPLIT_MEMORY, "memory")
