"""What is scored is what was judged: the same files give the probabilities that qualify compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scoring_scene import rows_of, scored

from tasks.servable import open_servable
from tasks.tables import PREDICTIONS, read_table
from tasks.workspace import Workspace


def test_the_test_items_have_the_probabilities_that_were_gated(finished_template: Workspace, tmp_path: Path) -> None:
    """The workspace's own release, on its own data, against reports/predictions.parquet."""
    workspace = finished_template
    release = open_servable(workspace.release, qualification=workspace.qualification)
    scored(workspace.raw, tmp_path / "scores.parquet", release)
    rows = {row["path"]: row for row in rows_of(tmp_path / "scores.parquet")}
    gated = read_table(workspace.predictions, PREDICTIONS).to_pylist()
    assert len(gated) >= 4
    for item in gated:
        row = rows[item["path"]]
        assert row["sha256"] == item["sha256"]
        assert row["predicted"] == item["predicted"]
        assert np.abs(np.subtract(row["probabilities"], item["probabilities"])).max() <= 1e-5
    listed = pq.ParquetFile(workspace.items).read(["path", "status"]).to_pylist()
    accepted = {item["path"] for item in listed if item["status"] == "accepted"}
    assert accepted <= {path for path, row in rows.items() if row["error"] is None}


def test_awkward_photos_get_an_answer_or_a_reason(
    real_data: Path, finished_template: Workspace, tmp_path: Path
) -> None:
    """What the data door reads is answered, and what it cannot read has its reason; nothing ends the run."""
    workspace = finished_template
    release = open_servable(workspace.release, qualification=workspace.qualification)
    report = scored(real_data / "data" / "awkward_images", tmp_path / "scores.parquet", release)
    rows = rows_of(tmp_path / "scores.parquet")
    assert report.tally.items == len(rows) > 20
    assert all((row["error"] is None) == (row["predicted"] is not None) for row in rows)
    assert report.tally.scored > 10
    assert report.tally.failed > 3
