"""Captures beside the answers: what is sampled, dropped, rotated and lost, and that answering never waits."""

from __future__ import annotations

import errno
import importlib
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from capture_scene import Blocked, Counts, answer, begun, drafts, finished, params, rows_of, wait_for

from deploy.capture import ParquetCapture, open_capture
from deploy.capture_files import CaptureFile
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


def test_a_capture_that_was_never_started_closes(tmp_path: Path) -> None:
    capture = ParquetCapture(params(tmp_path), Counts())  # type: ignore[arg-type]

    capture.close()

    assert list(tmp_path.iterdir()) == []
