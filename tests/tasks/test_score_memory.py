"""Scoring holds a part and a row group, whatever the number of files."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest
from scoring_scene import make_photos, make_table, scored, servable

import tasks.batch_scoring.parts as parts
from tasks.batch_scoring import listing, scoring
from tasks.servable import Servable

REPOSITORY = Path(__file__).resolve().parents[2]


def peaks(folder: Path, release: Servable, rows: int, suffix: str) -> tuple[int, int]:
    """Most bytes of Python's objects and of Arrow's buffers while so many rows of one photo are scored."""
    (path,) = make_photos(folder, 1)
    table = make_table(folder / f"table{rows}{suffix}", ["path", "label"], [(path, str(row)) for row in range(rows)])
    pool, before = pa.proxy_memory_pool(pa.default_memory_pool()), pa.default_memory_pool()
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        scored(table, folder / f"{rows}{suffix}.scores.parquet", release, embeddings=True)
        return tracemalloc.get_traced_memory()[1], pool.max_memory()
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(before)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_eight_times_the_rows_take_no_more_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr(scoring, "PART_ROWS", 64)
    monkeypatch.setattr(parts, "GROUP_ROWS", 128)
    monkeypatch.setattr(listing, "SORTED_AT_ONCE", 64)
    release = servable(tmp_path / "release")
    peaks(tmp_path, release, 64, suffix)  # whatever is made once
    small, large = peaks(tmp_path, release, 256, suffix), peaks(tmp_path, release, 2048, suffix)
    assert large[0] < 1.2 * small[0] + 50_000, "Python"
    assert large[1] < 1.2 * small[1] + 50_000, "Arrow"


RUN = """
import sys
from pathlib import Path
from scoring_scene import scored
from tasks.servable import open_servable
scored(Path(sys.argv[1]), Path(sys.argv[2]), open_servable(Path(sys.argv[3])), embeddings=True)
status = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is told by /proc")
def test_resident_memory_is_the_same_at_ten_times_the_files(tmp_path: Path) -> None:
    """With the sizes that users get: 40,000 rows are 40 parts and more than one sorted piece."""
    servable(tmp_path / "release")
    paths = make_photos(tmp_path / "seeds", 4)
    found = {}
    for rows in (4_000, 40_000):
        folder = tmp_path / str(rows)
        for row in range(rows):
            place = folder / f"{row % 50}" / f"{row}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(tmp_path / "seeds" / paths[row % 4], place)
        environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'tests'}"}
        command = [sys.executable, "-c", RUN, folder, tmp_path / f"{rows}.parquet", tmp_path / "release"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=500)
        found[rows] = int(done.stdout) / 1024
    assert found[40_000] < found[4_000] + 40, f"megabytes: {found}"
