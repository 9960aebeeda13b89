"""Captures beside the answers: what is sampled, dropped, rotated and lost, and that answering never waits."""

from __future__ import annotations

import errno
import importlib
import logging
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from app_scene import app_of, png
from asgi_client import asking
from capture_scene import LABELS, Counts, answer, begun, drafts, finished, params, row, rows_of, wait_for

from deploy.capture import ParquetCapture, open_capture
from deploy.capture_files import CaptureFile, file_name
from deploy.capture_rotation import Rotation
from tasks.errors import ParamsError
from tasks.params import ServeParams

ROOT = Path(__file__).resolve().parents[2]


def test_a_share_of_0_captures_nothing_and_imports_nothing(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from deploy.capture import open_capture\n"
        "from tasks.params import ServeParams\n"
        "assert open_capture(ServeParams(), None) is None\n"
        "print([name for name in sys.modules if name.startswith('pyarrow')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
    assert not (ROOT / "captures").exists()


def test_a_share_without_pyarrow_ends_the_start_with_the_extra_s_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)

    with pytest.raises(ParamsError, match=r"serve\.capture\.share is 0\.25.*graft\[serve,capture\]"):
        open_capture(params(tmp_path, share=0.25), Counts())  # type: ignore[arg-type]
    assert open_capture(ServeParams(), Counts()) is None  # type: ignore[arg-type]


def test_everything_that_is_offered_is_kept_when_it_closes(tmp_path: Path) -> None:
    capture, counts = begun(tmp_path, content="inputs")
    for number in range(50):
        capture.offer(f"r{number}", bytes([number]) * 10, answer(number))
    capture.close()

    found = rows_of(tmp_path)
    assert [one["request_id"] for one in found] == [f"r{number}" for number in range(50)]
    assert [one["image"] for one in found] == [bytes([number]) * 10 for number in range(50)]
    assert counts.outcomes == {"kept": 50}
    assert drafts(tmp_path) == []


@pytest.mark.parametrize("content", ["scores", "embeddings"])
def test_without_inputs_no_pixels_reach_the_disk(tmp_path: Path, content: str) -> None:
    secret = b"the pixels of somebody" * 50
    capture, _ = begun(tmp_path, content=content)
    capture.offer("r", secret, answer(0))
    capture.close()

    (file,) = finished(tmp_path)
    assert secret[:22] not in file.read_bytes()
    assert ("embedding" in pq.read_schema(file).names) == (content == "embeddings")


def sampled(folder: Path, share: float, seed: int) -> list[str]:
    capture, counts = begun(folder, seed, share=share, queue=10_000)
    for number in range(2000):
        capture.offer(f"r{number}", None, answer(number % 7))
    capture.close()
    found = [one["request_id"] for one in rows_of(folder)]
    assert counts.outcomes["kept"] == len(found)
    return found


def test_the_sample_is_a_share_and_the_same_for_the_same_seed(tmp_path: Path) -> None:
    found = sampled(tmp_path / "a", 0.2, 7)

    assert 300 < len(found) < 500
    assert sampled(tmp_path / "b", 0.2, 7) == found
    assert sampled(tmp_path / "c", 0.2, 8) != found


class Blocked:
    """A disk that does not answer until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self.let_go = threading.Event(), threading.Event()
        original = CaptureFile.write

        def write(file: CaptureFile, *arguments: Any) -> None:
            self.entered.set()
            assert self.let_go.wait(60)
            original(file, *arguments)

        monkeypatch.setattr(CaptureFile, "write", write)


def test_while_the_disk_does_not_answer_offers_return_and_what_does_not_fit_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Blocked(monkeypatch)
    capture, counts = begun(tmp_path, queue=8, rotate_mb=1e-6)
    capture.offer("first", b"x", answer(0))
    assert disk.entered.wait(30)

    for number in range(100):
        capture.offer(f"r{number}", b"x", answer(number))

    assert counts.outcomes == {"dropped": 92}
    disk.let_go.set()
    capture.close()
    assert counts.outcomes == {"dropped": 92, "kept": 9}
    assert [one["request_id"] for one in rows_of(tmp_path)] == ["first", *(f"r{number}" for number in range(8))]


def test_the_queue_is_bounded_in_bytes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Blocked(monkeypatch)
    capture, counts = begun(tmp_path, queue=1000, queue_mb=1.0, rotate_mb=1e-6)
    capture.offer("first", b"x", answer(0))
    assert disk.entered.wait(30)

    for number in range(10):
        capture.offer(f"r{number}", bytes(300_000), answer(number))
    capture.offer("small", b"", answer(0))

    assert counts.outcomes == {"dropped": 7}
    disk.let_go.set()
    capture.close()
    assert counts.outcomes == {"dropped": 7, "kept": 5}


def test_a_disk_that_never_answers_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Blocked(monkeypatch)
    capture, counts = begun(tmp_path, rotate_mb=1e-6)
    capture.offer("first", b"x", answer(0))
    assert disk.entered.wait(30)

    capture.close(0.05)

    assert "not written within" in caplog.text
    capture.offer("late", b"x", answer(1))
    assert counts.outcomes["dropped"] == 1
    disk.let_go.set()
    wait_for(lambda: counts.outcomes["kept"])


def test_an_offer_never_raises(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    capture, counts = begun(tmp_path)

    capture.offer("r", b"x", None)  # type: ignore[arg-type]
    capture.offer("r", b"x", None)  # type: ignore[arg-type]
    capture.close()

    assert counts.outcomes == {"failed": 2}
    assert len(caplog.records) == 1


# --- a disk that fails -------------------------------------------------------------------------------------------


def test_on_a_full_disk_rows_are_counted_and_told_once_a_minute_and_later_ones_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    full = True
    original = CaptureFile.write

    def write(file: CaptureFile, *arguments: Any) -> None:
        original(file, *arguments)
        if full:
            raise OSError(errno.ENOSPC, "No space left on device", str(file.draft))

    now = [1000.0]
    monkeypatch.setattr(CaptureFile, "write", write)
    counts = Counts()
    capture = ParquetCapture(params(tmp_path, rotate_mb=1e-6), counts, clock=lambda: now[0])  # type: ignore[arg-type]
    capture.start()

    for number in range(5):
        capture.offer(f"r{number}", b"x", answer(number))
    wait_for(lambda: counts.outcomes["failed"] == 5)
    assert len(caplog.records) == 1
    assert "No space left on device" in caplog.text
    assert list(tmp_path.iterdir()) == []

    now[0] += 61
    capture.offer("r5", b"x", answer(5))
    wait_for(lambda: counts.outcomes["failed"] == 6)
    assert len(caplog.records) == 2

    full = False
    now[0] += 10
    capture.offer("r6", b"x", answer(6))
    wait_for(lambda: counts.outcomes["kept"] == 1)
    capture.close()
    assert [one["request_id"] for one in rows_of(tmp_path)] == ["r6"]
    assert counts.outcomes == {"failed": 6, "kept": 1}


def test_a_folder_that_cannot_be_made_loses_captures_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "captures").write_text("a file stands in the way")
    capture, counts = begun(tmp_path / "captures")
    for number in range(3):
        capture.offer(f"r{number}", b"x", answer(number))
    capture.close()

    assert counts.outcomes == {"failed": 3}
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_folder_that_cannot_be_written_is_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "access", lambda *arguments: False)
    capture, _ = begun(tmp_path / "captures")

    wait_for(lambda: caplog.records)
    assert "may not write into it" in caplog.text
    assert str(tmp_path / "captures") in caplog.text
    capture.close()


def test_rows_survive_that_old_files_cannot_be_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from deploy import capture_rotation

    def sweep(*arguments: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path))

    monkeypatch.setattr(capture_rotation, "sweep", sweep)
    capture, counts = begun(tmp_path)
    capture.offer("r", b"x", answer(0))
    capture.close()

    assert counts.outcomes == {"kept": 1}
    assert "old captures cannot be deleted" in caplog.text


# --- rotation, by a clock in the test's hand ---------------------------------------------------------------------


def rotation(folder: Path, **more: Any) -> Rotation:
    return Rotation(params(folder, **more).capture, 0.0)


def test_a_file_is_finished_at_its_size(tmp_path: Path) -> None:
    files = rotation(tmp_path, content="inputs", rotate_mb=0.1)
    for number in range(12):
        files.add(row(number, os.urandom(30_000)), 0.0)

    assert [len(pq.ParquetFile(file).read()) for file in finished(tmp_path)] == [4, 4, 4]
    assert files.taken() == 12
    assert files.taken() == 0


def test_large_images_go_to_the_disk_before_the_file_is_full(tmp_path: Path) -> None:
    files = rotation(tmp_path, content="inputs", rotate_mb=1000)
    for number in range(3):
        files.add(row(number, bytes(2_100_000)), 0.0)

    (draft,) = drafts(tmp_path)
    assert draft.stat().st_size > 0
    assert finished(tmp_path) == []
    assert files.lose() == 3
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_finished_at_its_age_and_an_empty_one_never(tmp_path: Path) -> None:
    files = rotation(tmp_path, rotate_seconds=300)
    files.tidy(0.0)
    files.rotate(1e6)
    assert finished(tmp_path) == []

    files.add(row(0), 1000.0)
    files.add(row(1), 1250.0)
    files.tidy(1250.0)
    assert files.due(1250.0) == 50.0
    files.rotate(1299.0)
    assert finished(tmp_path) == []
    files.rotate(1300.0)
    assert [one["request_id"] for one in rows_of(tmp_path)] == ["r0", "r1"]


def test_a_file_holds_one_release(tmp_path: Path) -> None:
    files = rotation(tmp_path)
    for number, version in enumerate("112221"):
        files.add(row(number, version=version), 0.0)
    files.finish()

    versions = sorted(tuple(pq.ParquetFile(file).read()["version"].to_pylist()) for file in finished(tmp_path))
    assert versions == [("1",), ("1", "1"), ("2", "2", "2")]
    for file in finished(tmp_path):
        assert (
            pq.read_schema(file).metadata[b"graft.version"].decode()
            in pq.ParquetFile(file).read()["version"].to_pylist()
        )


def test_an_error_between_two_releases_counts_the_row_that_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish(file: CaptureFile) -> Path:
        raise OSError(errno.EIO, "Input/output error")

    files = rotation(tmp_path)
    files.add(row(0), 0.0)
    monkeypatch.setattr(CaptureFile, "finish", finish)

    with pytest.raises(OSError, match="Input/output"):
        files.add(row(1, version="2"), 0.0)
    assert files.lose() == 2


def test_old_captures_and_dead_drafts_go_at_the_start_and_old_ones_at_each_rotation(tmp_path: Path) -> None:
    def put(age: timedelta, draft: bool = False) -> Path:
        name = file_name(datetime.now(UTC) - age)
        file = tmp_path / (f".{name}.draft" if draft else name)
        file.write_bytes(b"")
        return file

    gone = [put(timedelta(days=2)), put(timedelta(seconds=5), draft=True)]
    young = put(timedelta(hours=1))
    files = rotation(tmp_path, keep_days=1.0)

    files.begin()
    files.tidy(0.0)
    assert not any(file.exists() for file in gone)
    later = put(timedelta(days=2))
    files.tidy(1.0)
    assert later.exists()
    files.add(row(0), 2.0)
    files.finish()
    assert files.due(2.0) == 0.0
    files.tidy(2.0)

    assert not later.exists()
    assert young.exists()
    assert files.due(2.0) == 600.0
    files.tidy(602.0)


def test_all_files_together_stay_within_the_bound(tmp_path: Path) -> None:
    files = rotation(tmp_path, content="inputs", rotate_mb=0.1, max_gb=0.0003)
    for number in range(40):
        files.add(row(number, os.urandom(30_000)), 0.0)
        files.tidy(0.0)

    found = [one["request_id"] for one in rows_of(tmp_path)]
    assert sum(file.stat().st_size for file in finished(tmp_path)) <= 300_000
    assert found == [f"r{number}" for number in range(40 - len(found), 40)]
    assert found


# --- the whole way -----------------------------------------------------------------------------------------------


def test_a_running_application_captures_what_it_answers(release_template: Path, tmp_path: Path) -> None:
    capture = {"share": 1.0, "content": "inputs", "folder": str(tmp_path)}
    photos = [png(seed=seed) for seed in range(3)]
    with asking(app_of(release_template, capture=capture, abstain_below=0.9)) as client:
        replies = [client.post("/predict", photo, x_request_id=f"r{place}") for place, photo in enumerate(photos)]
        assert client.post("/predict", b"no image").status == 415

    found = rows_of(tmp_path)
    assert [one["request_id"] for one in found] == ["r0", "r1", "r2"]
    for one, photo, reply in zip(found, photos, replies, strict=True):
        best = reply.json["predictions"][0]
        assert one["image"] == photo
        assert one["label"] == best["label"]
        assert one["probability"] == pytest.approx(best["probability"], abs=1e-6)
        assert one["abstained"] == reply.json["abstained"]
        assert (one["model"], one["digest"]) == (reply.json["model"], reply.json["digest"])
        assert len(one["embedding"]) == 8
    labels = pq.read_schema(finished(tmp_path)[0]).metadata[b"graft.labels"].decode()
    assert all(label in labels for label in LABELS)


def test_an_application_answers_though_nothing_can_be_captured(release_template: Path, tmp_path: Path) -> None:
    (tmp_path / "captures").write_text("a file stands in the way")
    capture = {"share": 1.0, "folder": str(tmp_path / "captures")}
    with asking(app_of(release_template, capture=capture)) as client:
        assert [client.post("/predict", png()).status for _ in range(5)] == [200] * 5
        wait_for(lambda: 'graft_captured_total{outcome="failed"}' in client.get("/metrics").body.decode())


def test_an_application_answers_while_the_disk_does_not(
    release_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Blocked(monkeypatch)
    capture = {"share": 1.0, "folder": str(tmp_path), "queue": 4, "rotate_mb": 1e-6}
    with asking(app_of(release_template, capture=capture)) as client:
        assert client.post("/predict", png()).status == 200
        assert disk.entered.wait(30)

        assert [client.post("/predict", png()).status for _ in range(10)] == [200] * 10

        assert 'graft_captured_total{outcome="dropped"} 6.0' in client.get("/metrics").body.decode()
        disk.let_go.set()
    assert len(rows_of(tmp_path)) == 5


def test_a_capture_that_was_never_started_closes(tmp_path: Path) -> None:
    capture = ParquetCapture(params(tmp_path), Counts())  # type: ignore[arg-type]

    capture.close()

    assert list(tmp_path.iterdir()) == []
