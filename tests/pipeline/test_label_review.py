"""The whole way of a wrong label: review names it, a person corrects it, the next run learns from the correction."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from desk import Desk
from small_workspace import CLASSES, picture, run_stages

from flows.cli import app
from tasks.digests import file_sha256
from tasks.reports import ReviewReport, ValidationReport
from tasks.tables import ITEMS, SPLITS, read_table
from tasks.workspace import Workspace

UP_TO_REVIEW = ("validate", "embed", "split", "review")
WRONG = "ember/999.png"


def mislabel(workspace: Workspace) -> None:
    """An ocean in the folder of the embers."""
    picture("ocean", 999).save(workspace.raw / WRONG)


def fill_in(workspace: Workspace, path: str, **cells: str) -> Path:
    """What a person does in a spreadsheet, saved elsewhere."""
    with workspace.review_list.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    (row,) = [row for row in rows if row["path"] == path]
    row.update(cells)
    filled = workspace.root / "filled.csv"
    with filled.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return filled


def raw_files(workspace: Workspace) -> dict[Path, str]:
    return {path: file_sha256(path) for path in sorted(workspace.raw.rglob("*")) if path.is_file()}


def labels(workspace: Workspace, of: Path) -> dict[str, str]:
    table = read_table(of, ITEMS if of == workspace.items else SPLITS).to_pydict()
    return dict(zip(table["path"], table["label"], strict=True))


@pytest.fixture
def reviewed(finished: Workspace) -> Workspace:
    mislabel(finished)
    run_stages(finished, *UP_TO_REVIEW)
    return finished


def test_a_corrected_label_reaches_items_and_splits_and_the_list_names_it_no_more(
    reviewed: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    before = raw_files(reviewed)
    first = ReviewReport.read(reviewed.review_report).entries[0]
    assert (first.path, first.kind, first.label, first.suggested) == (WRONG, "likely_wrong", "ember", "ocean")
    assert WRONG in reviewed.validation_page.read_text()

    filled = fill_in(reviewed, WRONG, corrected_label="ocean", who="Ann", why="it is blue")
    app(args=["data", "fix", str(filled), "--workspace", str(reviewed.root)], standalone_mode=False)
    said = capsys.readouterr().out
    run_stages(reviewed, *UP_TO_REVIEW, "adapt")

    assert "ember -> ocean: 1" in said
    assert labels(reviewed, reviewed.items)[WRONG] == labels(reviewed, reviewed.splits)[WRONG] == "ocean"
    (applied,) = ValidationReport.read(reviewed.validation).overlay.corrected
    assert (applied.path, applied.was, applied.label, applied.who, applied.items) == (WRONG, "ember", "ocean", "Ann", 1)
    assert WRONG not in {entry.path for entry in ReviewReport.read(reviewed.review_report).entries}
    assert raw_files(reviewed) == before


@pytest.mark.slow
def test_a_person_corrects_a_label_by_the_command_line_and_the_next_run_releases_with_it(released: Desk) -> None:
    mislabel(released.workspace)
    assert released.adapt()[0] == 0
    before = raw_files(released.workspace)
    filled = fill_in(released.workspace, WRONG, action="relabel", corrected_label="ocean", who="Ann", why="it is blue")

    tried = released.graft("data", "fix", str(filled), "--dry-run")
    done = released.graft("data", "fix", str(filled))
    code, result, stderr = released.adapt()
    again = released.graft("data", "fix", str(filled))

    assert [tried.returncode, done.returncode, again.returncode] == [0, 0, 0], done.stderr
    assert "run `graft adapt`" in done.stdout
    assert "says all this already" in again.stdout
    assert (code, result["state"], result["unchanged"]) == (0, "released", False), stderr
    assert labels(released.workspace, released.workspace.splits)[WRONG] == "ocean"
    assert sorted(set(labels(released.workspace, released.workspace.items).values())) == sorted(CLASSES)
    assert raw_files(released.workspace) == before
