"""Forty thousand synthetic items through validate's table work and split, each a process whose memory is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.million_items import measured, recall
from tasks.tables import SPLITS, read_table
from tasks.workspace import Workspace


@pytest.mark.slow
def test_memory_grows_by_little_with_the_items_and_planted_copies_are_found(tmp_path: Path) -> None:
    peaks = {}
    for count in (10_000, 40_000):
        root = tmp_path / str(count)
        root.mkdir()
        for step in ("make", "validate", "embed", "split"):
            peaks[step, count] = measured(step, root, count).max_rss
        assert recall(root, count) >= 0.97
        assert read_table(Workspace(root).splits, SPLITS).num_rows > 0.98 * count
    # A row of the features in single precision takes 5 KB, and an item as Python objects about 4.
    assert peaks["validate", 40_000] - peaks["validate", 10_000] < 30_000 * 2_500
    assert peaks["split", 40_000] - peaks["split", 10_000] < 30_000 * 4_500
