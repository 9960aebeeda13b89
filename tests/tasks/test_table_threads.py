"""Reading a table leaves nothing running: a thread of Arrow's that outlives the interpreter aborts the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.tables import SPLITS, write_table

READING = """
import os, sys
from pathlib import Path
from tasks.tables import SPLITS, parse_table, read_table
path = Path(sys.argv[1])
before = set(os.listdir("/proc/self/task"))
assert read_table(path, SPLITS).num_rows == parse_table(path.read_bytes(), SPLITS, "it").num_rows == 1000
print(len(set(os.listdir("/proc/self/task")) - before))
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_reading_a_table_starts_no_thread(tmp_path: Path) -> None:
    rows = [dict.fromkeys(SPLITS.names)] * 1000
    write_table(pa.Table.from_pylist(rows, schema=SPLITS), tmp_path / "splits.parquet")
    command = [sys.executable, "-c", READING, str(tmp_path / "splits.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("0\n", "")
