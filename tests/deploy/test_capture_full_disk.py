"""Captures on a disk that is really full: a small one in memory, mounted for the test; skipped where nobody may."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from capture_scene import Counts, answer, drafts, params, rows_of, wait_for

from deploy.capture import PAUSE_SECONDS, ParquetCapture


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "graft-capture", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("nobody may mount here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_loses_captures_leaves_no_draft_and_later_ones_are_kept(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now, counts = [1000.0], Counts()
    serve = params(small_disk / "captures", content="inputs", rotate_mb=0.5)
    capture = ParquetCapture(serve, counts, clock=lambda: now[0])  # type: ignore[arg-type]
    (small_disk / "other").write_bytes(bytes(800_000))
    capture.start()

    for number in range(3):
        capture.offer(f"lost{number}", os.urandom(180_000), answer(number))
    wait_for(lambda: counts.outcomes["failed"])
    assert "No space left on device" in caplog.text
    assert drafts(small_disk / "captures") == []

    (small_disk / "other").unlink()
    now[0] += PAUSE_SECONDS + 1
    kept = os.urandom(400_000)
    capture.offer("kept", kept, answer(9))
    capture.close()

    rows = rows_of(small_disk / "captures")
    assert [(one["request_id"], one["image"]) for one in rows] == [("kept", kept)]
    assert counts.outcomes == {"failed": 3, "kept": 1}
    assert len(caplog.records) == 1
