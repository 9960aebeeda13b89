"""A real release behind a real server: the same answers as qualify's, from the files' own bytes."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from desk import make_desk
from served_answers import differences, serving

from tasks.tables import SPLITS, read_table

WEIGHTS = "mobilenet_v2-fc41a747.pth"
TABLE = Path(__file__).parents[1] / "tasks" / "awkward_outcomes.csv"
ALLOWED = 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("pack", ["dogs_cats", "sign_digits"])
def test_a_server_answers_test_images_and_awkward_ones_as_qualify_does(
    real_data: Path, tmp_path: Path, pack: str
) -> None:
    desk, photos = make_desk(tmp_path.resolve()), real_data / "data" / pack
    weights = real_data / "weights" / WEIGHTS
    settings = ["backbone.name=mobilenet_v2", f"backbone.weights={weights}", "backbone.preprocess={}"]
    code, result, stderr = desk.adapt(
        "--data", str(photos), *(part for setting in settings for part in ("--set", setting))
    )
    assert (code, result["state"]) == (0, "released"), stderr
    splits = read_table(desk.workspace.splits, SPLITS).to_pylist()
    tests = [photos / row["path"] for row in splits if row["side"] == "test"]
    awkward = [
        real_data / "data" / "awkward_images" / "files" / row["file"]
        for row in csv.DictReader(TABLE.open(encoding="utf-8"))
        if row["outcome"] == "read"
    ]
    assert (len(tests) >= 300, len(awkward)) == (True, 44)

    (release,) = desk.releases()
    with serving(tmp_path / "log", "--release", str(release)) as address:
        for files in (tests, awkward):
            flips, difference = differences(release, address, files)
            assert flips == 0
            assert difference <= ALLOWED
