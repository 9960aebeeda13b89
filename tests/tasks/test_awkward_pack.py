"""The pack of awkward files: what becomes of each, file by file, and what the pack's authors expected."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tasks.modalities.images import inspect_file
from tasks.params import ValidateParams
from tasks.preprocess import decode_rgb

DEFAULTS = ValidateParams()
PERMISSIVE = ValidateParams(
    formats=[*DEFAULTS.formats, "AVIF", "JPEG2000", "ICO"], modes=[*DEFAULTS.modes, "F"], min_side=1
)
EITHER = {"may read or raise", "depends on codec"}
QUARANTINED = {"unreadable", "must be refused", "raises", "raises when strict"}

OUTCOMES = list(csv.DictReader((Path(__file__).parent / "awkward_outcomes.csv").open(encoding="utf-8")))
"""Per file: read or quarantined under the default params, words of the reason, the outcome under PERMISSIVE, and why
this differs from what the pack expects, where it does."""


@pytest.fixture(scope="module")
def pack(real_data: Path) -> Path:
    return real_data / "data" / "awkward_images"


@pytest.fixture(scope="module")
def expected(pack: Path) -> dict[str, str]:
    with (pack / "manifest.csv").open(encoding="utf-8") as file:
        return {row["file"]: row["expected"] for row in csv.DictReader(file)}


def outcome(path: Path, rules: ValidateParams) -> tuple[str, str]:
    reason = inspect_file(path, rules).reason or ""
    return ("quarantined" if reason else "read"), reason


def test_the_table_has_a_row_for_every_file_and_a_reason_for_every_quarantine() -> None:
    assert len({row["file"] for row in OUTCOMES}) == 67
    assert all((row["outcome"] == "quarantined") == bool(row["reason"]) for row in OUTCOMES)


def test_the_table_agrees_with_what_the_pack_expects_or_says_why_not(expected: dict[str, str]) -> None:
    assert {row["file"] for row in OUTCOMES} == expected.keys()
    for row in OUTCOMES:
        asked = expected[row["file"]]
        agrees = asked in EITHER or (
            asked != "should be reported" and row["outcome"] == ("quarantined" if asked in QUARANTINED else "read")
        )
        assert agrees != bool(row["judged_otherwise"]), row


@pytest.mark.parametrize("row", OUTCOMES, ids=[row["file"] for row in OUTCOMES])
def test_each_file_is_read_or_quarantined_as_the_table_says(pack: Path, row: dict[str, str]) -> None:
    path = pack / "files" / row["file"]
    found, reason = outcome(path, DEFAULTS)
    assert (found, row["reason"] in reason) == (row["outcome"], True), reason
    assert outcome(path, PERMISSIVE)[0] == row["allowed_by_params"]


def test_the_eight_turned_landscapes_look_alike(pack: Path) -> None:
    views = [
        np.asarray(decode_rgb((pack / f"files/Landscape_{turn}.jpg").read_bytes()).convert("L").reduce(8), dtype=float)
        for turn in range(1, 9)
    ]
    assert {view.shape for view in views} == {(150, 225)}
    assert max(np.abs(view - views[0]).mean() for view in views) < 0.5


@pytest.mark.slow
def test_checking_the_pack_takes_little_memory_and_says_nothing_else(pack: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; from tasks.params import Params, ValidateParams\n"
        "from tasks.validate import check_data\n"
        "report = check_data(Path(sys.argv[1]), Params(validate=ValidateParams(max_undecodable_share=0.9)))\n"
        "print(report.listed, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    repository = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-c", code, str(pack)], cwd=repository, capture_output=True, text=True, check=True
    )
    listed, peak_kib = (int(number) for number in ran.stdout.split())
    assert listed == 67
    assert peak_kib < 1_000_000
    assert not re.search(r"(?i)tiff|traceback|warning", ran.stderr)
