"""Captured rows as Parquet: columns, names, and that a reader sees whole files only."""

from __future__ import annotations

import doctest
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from capture_scene import LABELS, drafts, finished, row, rows_of

from deploy import capture_files as module
from deploy.capture_files import CaptureFile, file_name, named_time
from deploy.capture_retention import remove_dead_drafts
from deploy.capture_rows import Captured, Content
from tasks.params.serve import CaptureParams

NOW = datetime(2026, 5, 4, 3, 2, 1, 234567, tzinfo=UTC)
SCORES = [
    "time", "request_id", "model", "version", "digest", "label", "probability", "probabilities", "abstained",
    "image_sha256",
]  # fmt: skip


def written(folder: Path, rows: list[Captured], content: Content = "inputs", abstain_below: float = 0.0) -> Path:
    file = CaptureFile(folder, NOW, rows[0].release, content)
    file.write([one.hashed(content) for one in rows], abstain_below)
    return file.finish()


def test_the_example_holds() -> None:
    assert doctest.testmod(module).failed == 0


def test_every_row_is_read_back_as_it_was_answered(tmp_path: Path) -> None:
    rows = [row(0, b"first", time=NOW), row(1, None, time=NOW), row(2, b"", time=NOW)]

    found = pq.ParquetFile(written(tmp_path / "captures", rows, abstain_below=0.6)).read().to_pylist()

    for one, kept in zip(found, rows, strict=True):
        best = int(kept.probabilities.argmax())
        assert one["time"] == NOW
        assert (one["request_id"], one["model"], one["version"], one["digest"]) == (
            kept.request_id, "made-up", "1", "11111111",
        )  # fmt: skip
        assert one["label"] == LABELS[best]
        assert one["probability"] == kept.probabilities[best]
        assert one["abstained"] == bool(kept.probabilities[best] < 0.6)
        assert np.array_equal(np.float32(one["probabilities"]), kept.probabilities)
        assert np.array_equal(np.float32(one["embedding"]), kept.embedding)
        assert one["image"] == kept.data
        assert one["image_sha256"] == (None if kept.data is None else hashlib.sha256(kept.data).hexdigest())
    assert {one["abstained"] for one in found} == {True, False}


@pytest.mark.parametrize(
    ("content", "columns"),
    [("scores", SCORES), ("embeddings", [*SCORES, "embedding"]), ("inputs", [*SCORES, "embedding", "image"])],
)
def test_a_file_holds_no_more_than_its_content_says(tmp_path: Path, content: Content, columns: list[str]) -> None:
    secret = b"the pixels of somebody" * 100

    file = written(tmp_path, [row(0, secret)], content)

    schema = pq.read_schema(file)
    assert schema.names == columns
    assert "the image's sha256" in str(CaptureParams.model_fields["content"].description), "what is kept is said"
    assert (secret[:40] in file.read_bytes()) == (content == "inputs")
    assert schema.field("probabilities").type == pa.list_(pa.float32())


def test_the_metadata_name_schema_release_and_the_order_of_the_labels(tmp_path: Path) -> None:
    metadata = pq.read_schema(written(tmp_path, [row(0)], "scores")).metadata

    assert metadata[b"graft.capture.schema_version"] == b"1"
    assert metadata[b"graft.capture.content"] == b"scores"
    assert (metadata[b"graft.model"], metadata[b"graft.version"]) == (b"made-up", b"1")
    assert json.loads(metadata[b"graft.labels"]) == list(LABELS)


def test_a_request_id_that_is_no_text_loses_no_row(tmp_path: Path) -> None:
    odd = row(0)
    odd = Captured(odd.time, "a\udcffb", odd.release, odd.data, odd.probabilities, odd.embedding)

    written(tmp_path, [odd, row(1)])

    assert [one["request_id"] for one in rows_of(tmp_path)] == ["a?b", "r1"]


def test_a_reader_sees_a_file_when_it_is_whole(tmp_path: Path) -> None:
    file = CaptureFile(tmp_path, NOW, row(0).release, "scores")
    file.write([row(0), row(1)], 0.0)

    assert finished(tmp_path) == []
    assert len(drafts(tmp_path)) == 1
    (tmp_path / "earlier").mkdir()
    assert ds.dataset(tmp_path, format="parquet").files == []

    done = file.finish()
    assert finished(tmp_path) == [done]
    assert drafts(tmp_path) == []
    assert ds.dataset(tmp_path, format="parquet").count_rows() == 2


def test_names_tell_time_and_process_and_never_meet(tmp_path: Path) -> None:
    names = {file_name(NOW) for _ in range(100)}

    assert len(names) == 100
    assert all(name.startswith(f"20260504T030201.234567Z-{os.getpid()}-") for name in names)
    assert {named_time(name) for name in names} == {NOW.replace(microsecond=0)}


@pytest.mark.parametrize(
    "name",
    [
        "notes.parquet",
        "20260504T030201.234567Z-1-0011223.parquet",
        ".x.draft",
        "20269999T999999.000000Z-1-00112233.parquet",
    ],
)
def test_a_file_of_somebody_else_has_no_time(name: str) -> None:
    assert named_time(name) is None


def test_folder_and_files_are_closed_to_others(tmp_path: Path) -> None:
    file = written(tmp_path / "a" / "captures", [row(0)])

    assert stat.S_IMODE(file.stat().st_mode) & 0o007 == 0
    assert stat.S_IMODE(file.parent.stat().st_mode) & 0o007 == 0


def test_an_abandoned_draft_leaves_nothing(tmp_path: Path) -> None:
    file = CaptureFile(tmp_path, NOW, row(0).release, "inputs")
    file.write([row(0)], 0.0)

    file.abandon()

    assert list(tmp_path.iterdir()) == []


DIES = """
import os, signal, sys
from pathlib import Path
from capture_scene import row
from deploy.capture_files import CaptureFile
folder = Path(sys.argv[1])
for number in range(2):
    file = CaptureFile(folder, row(0).time, row(0).release, "inputs")
    file.write([row(number)], 0.0)
    if number == 0:
        file.finish()
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_killed_process_leaves_whole_files_and_a_draft_that_the_next_start_removes(tmp_path: Path) -> None:
    path = os.pathsep.join(str(folder) for folder in (Path(__file__).parent, *map(Path, sys.path)))
    process = subprocess.Popen(
        [sys.executable, "-c", DIES, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    assert remove_dead_drafts(tmp_path) == []
    (held,) = drafts(tmp_path)

    os.kill(process.pid, signal.SIGKILL)
    process.communicate()

    assert [one["request_id"] for one in rows_of(tmp_path)] == ["r0"]
    assert remove_dead_drafts(tmp_path) == [held]
    assert drafts(tmp_path) == []
    assert len(finished(tmp_path)) == 1
