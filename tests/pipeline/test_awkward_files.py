"""Real awkward files among real photos, the user's whole way: released, each as the table says, in little memory."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import pytest
from desk import make_desk

from tasks.tables import ITEMS, read_table

TABLE = Path(__file__).parents[1] / "tasks" / "awkward_outcomes.csv"
WEIGHTS = "mobilenet_v2-fc41a747.pth"


@pytest.mark.slow
def test_awkward_files_in_one_class_are_read_or_quarantined_and_the_release_is_made(
    real_data: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(real_data / "data" / "dogs_cats", photos)
    odd_name = photos / "-猫 | cats & <b>"
    (photos / "cat").chmod(0o755)
    (photos / "cat").rename(odd_name)
    shutil.copytree(real_data / "data" / "awkward_images" / "files", odd_name, dirs_exist_ok=True)
    desk = make_desk(tmp_path.resolve())
    weights = real_data / "weights" / WEIGHTS
    settings = ["backbone.name=mobilenet_v2", f"backbone.weights={weights}", "backbone.preprocess={}"]

    code, result, stderr = desk.adapt(
        "--data", str(photos), *(part for setting in settings for part in ("--set", setting))
    )

    assert (code, result["state"]) == (0, "released"), stderr
    assert result["accuracy"] >= 0.94
    items = {Path(row["path"]).name: row for row in read_table(desk.workspace.items, ITEMS).to_pylist()}
    for row in csv.DictReader(TABLE.open(encoding="utf-8")):
        found = items[row["file"]]
        assert found["status"] == {"read": "accepted"}.get(row["outcome"], row["outcome"]), row["file"]
        assert row["reason"] in (found["reason"] or "")
    peaks = {stage: float(gb) for stage, gb in re.findall(r"(\w+) done in [\d.]+ s, ([\d.]+) GB at most", stderr)}
    assert {"validate", "embed", "qualify"} <= peaks.keys()
    assert max(peaks.values()) < 1.0, peaks
    assert "tiff" not in stderr.lower(), "the decoder speaks to the user"
