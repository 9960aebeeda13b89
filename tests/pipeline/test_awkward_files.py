"""Real awkward files among real photos, the user's whole way: released, each as the table says, in little memory."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from desk import REPOSITORY, make_desk

from tasks.tables import ITEMS, read_table

TABLE = Path(__file__).parents[1] / "tasks" / "awkward_outcomes.csv"
WEIGHTS = "mobilenet_v2-fc41a747.pth"


def test_data_check_refuses_the_pack_and_names_every_file_that_cannot_be_used(real_data: Path, tmp_path: Path) -> None:
    def check(*more: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "flows.cli",
            "data",
            "check",
            str(real_data / "data" / "awkward_images"),
            *more,
        ]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=110)

    refused = {
        f"files/{row['file']}": row["reason"]
        for row in csv.DictReader(TABLE.open(encoding="utf-8"))
        if row["outcome"] == "quarantined"
    }
    told, listed = check(), check("--json")
    assert (told.returncode, listed.returncode) == (2, 2), told.stderr + listed.stderr
    assert "Traceback" not in told.stderr + listed.stderr
    reasons = {item["path"]: item["reason"] for item in json.loads(listed.stdout)["quarantined"]}
    assert reasons.keys() == refused.keys()
    assert all(words in reasons[path] for path, words in refused.items())
    lines = told.stdout.splitlines()
    assert lines[0].startswith(f"67 items, {67 - len(refused)} accepted, {len(refused)} quarantined")
    assert lines[-1] == "refused"
    shown = [path for path in refused if any(line.startswith(f"    {path}: {reasons[path]}") for line in lines)]
    assert (len(shown), f"    and {len(refused) - 20} more (--json names every one)" in lines) == (20, True)
    assert list(tmp_path.iterdir()) == []


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
