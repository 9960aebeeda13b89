"""Small releases, photos and tables for the tests of batch scoring."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from small_release import make_release, photo

from tasks.batch_scoring.scoring import ScoreWish, Watch, score
from tasks.params.serve import ServeLimits
from tasks.reports.scoring import ScoreReport
from tasks.servable import Servable, open_servable


def make_photos(folder: Path, count: int = 6) -> list[str]:
    """Photos in nested folders, their paths in order."""
    paths = []
    for seed in range(count):
        path = f"{'abc'[seed % 3]}/{seed:03d}.jpg"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(photo(seed))
        paths.append(path)
    return sorted(paths)


def make_table(table: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    """A CSV or Parquet table, by its suffix."""
    if table.suffix == ".parquet":
        values = list(zip(*rows, strict=True)) if rows else [[] for _ in columns]
        pq.write_table(pa.table(dict(zip(columns, map(list, values), strict=True))), table)
        return table
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return table


def servable(folder: Path, seed: int = 0, **more: Any) -> Servable:
    return open_servable(make_release(folder, seed, **more))


def scored(source: Path, output: Path, release: Servable, watch: Watch | None = None, **more: Any) -> ScoreReport:
    """Score with two threads, by the server's defaults."""
    wish = ScoreWish(source=source, output=output, **{"limits": ServeLimits(), "threads": 2, **more})
    return score(wish, release, watch or Watch())


def rows_of(output: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.ParquetFile(output).read().to_pylist()
    return rows
