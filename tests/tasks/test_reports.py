"""Reports survive the round trip, are complete or absent, and name what is wrong with a file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import StageInputError
from tasks.reports import (
    SCHEMA_VERSION,
    AdaptationReport,
    EvaluationReport,
    Outcome,
    Report,
    SplitReport,
    ValidationReport,
    Verdict,
    replacing,
    write_bytes,
)
from tasks.reports.backbone import BackboneReport
from tasks.reports.engine import Engine
from tasks.reports.manifest import Manifest
from tasks.reports.pins import SourcePin, WeightsPin
from tasks.reports.qualification import Check, Qualification
from tasks.reports.release_parts import GoldenCases, Labels

KINDS: list[type[Report]] = [
    AdaptationReport,
    BackboneReport,
    Engine,
    EvaluationReport,
    GoldenCases,
    Labels,
    Manifest,
    Outcome,
    Qualification,
    SourcePin,
    SplitReport,
    ValidationReport,
    Verdict,
    WeightsPin,
]
# A report is JSON in UTF-8: no lone surrogates (names of files are checked before), and no infinities.
st.register_type_strategy(str, st.text(st.characters(codec="utf-8"), max_size=12))
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_reports_survive_a_round_trip(kind: type[Report], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("reports") / "report.json"

    @given(st.builds(kind, schema_version=st.just(SCHEMA_VERSION)))
    def check(report: Report) -> None:
        path.write_text(report.to_json(), encoding="utf-8")
        again = kind.read(path)
        assert again == report
        assert again.to_json() == report.to_json()

    check()


def labels_file(folder: Path, **changes: object) -> Path:
    path = folder / "labels.json"
    path.write_text(json.dumps({**Labels(labels=["a", "b"]).model_dump(), **changes}))
    return path


@pytest.mark.parametrize(
    ("version", "tail"),
    [
        (3, ": it was written by a newer Graft; upgrade Graft"),
        (0, "; run `graft adapt` (stage export)"),
        ("two", "; run `graft adapt` (stage export)"),
        (True, "; run `graft adapt` (stage export)"),
    ],
)
def test_another_schema_version_is_refused_with_the_mend_even_where_the_fields_differ(
    tmp_path: Path, version: object, tail: str
) -> None:
    path = labels_file(tmp_path, schema_version=version, colours=["red"])
    with pytest.raises(StageInputError) as caught:
        Labels.read(path)
    assert str(caught.value) == f"{path} has schema_version {version!r}, this Graft reads 1 to 2{tail}"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"schema_version": 1}', b'{"labels": ["a"], "more": 1}', b"\xff\xfe"],
)
def test_a_file_that_is_no_report_is_refused_with_the_mend(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "labels.json"
    path.write_bytes(content)
    with pytest.raises(StageInputError, match=r"labels\.json is not a readable Labels.*; run `graft adapt` \(stage ex"):
        Labels.read(path)


def test_a_missing_report_names_the_stage_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(StageInputError, match=r"cannot be read \(No such file.*\); run `graft adapt` \(stage gate\)"):
        Verdict.read(tmp_path / "gate.json")


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_bytes(path, b"old")

    def fail(draft: Path) -> None:
        draft.write_bytes(b"ne")
        raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"), replacing(path) as draft:
        fail(draft)
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_the_content_is_on_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, seen = tmp_path / "file", []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append((os.fstat(descriptor).st_size, path.exists())))
    write_bytes(path, b"12345")
    assert seen == [(5, False)]
    assert path.read_bytes() == b"12345"


def test_a_qualification_gives_a_reason_for_each_failed_check() -> None:
    checks = [Check(check="size", passed=False, detail="too big"), Check(check="parity", passed=True, detail="fine")]
    assert Qualification(passed=False, manifest_sha256="", checks=checks).reasons == ["size: too big"]
