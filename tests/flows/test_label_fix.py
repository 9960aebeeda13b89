"""`graft data fix`: a filled-in review list becomes corrections, all of it or nothing."""

import csv
import hashlib
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest
from small_workspace import change_params, make_workspace

from flows.label_fix import FixOptions, fix_here
from tasks.errors import DataError, StageInputError
from tasks.overlay import Correction, read_corrections, write_corrections
from tasks.review_sheet import COLUMNS
from tasks.tables import ITEMS, SPLITS, write_table
from tasks.workspace import Workspace

ANN = FixOptions(who="Ann", why="looked at it")


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


class Desk:
    """A workspace whose data were validated: four items, one of them in the test set, two of one content."""

    def __init__(self, root: Path) -> None:
        self.workspace: Workspace = make_workspace(root, pictures=2)
        self.labels = {"cat/1.png": "cat", "cat/2.png": "cat", "dog/1.png": "dog", "dog/2.png": "dog"}
        self.contents = {path: digest(path) for path in self.labels}
        self.write()

    def write(self) -> None:
        rows = [{"path": path, "label": self.labels[path], "sha256": self.contents[path]} for path in self.labels]
        write_table(
            pa.Table.from_pylist([{**row, "status": "accepted"} for row in rows], schema=ITEMS), self.workspace.items
        )
        sided = [{**row, "side": "test" if row["path"] == "cat/1.png" else "train"} for row in rows]
        write_table(pa.Table.from_pylist(sided, schema=SPLITS), self.workspace.splits)

    def sheet(self, *rows: dict[str, str]) -> Path:
        """A review list; rows name a path and what was filled in."""
        path = self.workspace.root / "filled.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="")
            writer.writeheader()
            for row in rows:
                known = {"label": self.labels.get(row["path"], "cat"), "sha256": self.contents.get(row["path"], "")}
                writer.writerow({**known, **row})
        return path

    def fix(self, *rows: dict[str, str], options: FixOptions = ANN) -> str:
        return fix_here(self.workspace, self.sheet(*rows), options)

    def decided(self) -> list[tuple[str, str, str | None]]:
        return [(one.path, one.was, one.label) for one in read_corrections(self.workspace.corrections)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("fix") / "workspace")


@pytest.fixture
def desk(made: Desk) -> Desk:
    write_corrections(made.workspace.corrections, [])
    made.contents = {path: digest(path) for path in made.labels}
    made.write()
    return made


def row(path: str, corrected: str = "", **others: str) -> dict[str, str]:
    return {"path": path, "corrected_label": corrected, **others}


def test_what_was_filled_in_becomes_corrections_and_empty_rows_are_counted(desk: Desk) -> None:
    said = desk.fix(
        row("cat/1.png", "dog", who="Bob", why="it barks"),
        row("cat/2.png", action="keep"),
        row("dog/1.png", action="leave out"),
        row("dog/2.png", who="Bob"),
    )

    assert desk.decided() == [("cat/1.png", "cat", "dog"), ("cat/2.png", "cat", "cat"), ("dog/1.png", "dog", None)]
    first, second, third = read_corrections(desk.workspace.corrections)
    assert (first.who, first.why, first.sha256) == ("Bob", "it barks", digest("cat/1.png"))
    assert (second.who, third.why) == ("Ann", "looked at it")
    assert "3 rows filled in, 1 row left empty" in said
    assert "cat -> dog: 1" in said
    assert "run `graft adapt`" in said


def test_a_corrected_test_item_is_told_of(desk: Desk) -> None:
    assert "1 test item among them: the test set changes" in desk.fix(row("cat/1.png", "dog"))
    assert "test item" not in desk.fix(row("cat/2.png", "dog"))


def test_the_same_list_twice_changes_nothing_before_and_after_the_next_run(desk: Desk) -> None:
    rows = [row("cat/1.png", "dog"), row("cat/2.png", action="keep"), row("dog/1.png", action="leave_out")]
    desk.fix(*rows)
    before = desk.workspace.corrections.read_bytes()

    assert "says all this already" in desk.fix(*rows)
    sheet = desk.sheet(*rows)
    items = [
        {"path": path, "label": "dog" if path == "cat/1.png" else label, "sha256": digest(path), "status": "accepted"}
        for path, label in desk.labels.items()
    ]
    write_table(pa.Table.from_pylist(items, schema=ITEMS), desk.workspace.items)
    assert "says all this already" in fix_here(desk.workspace, sheet, ANN)
    assert desk.workspace.corrections.read_bytes() == before


def test_a_trial_writes_nothing(desk: Desk) -> None:
    said = desk.fix(row("cat/1.png", "dog"), options=FixOptions(who="Ann", why="w", dry_run=True))

    assert "cat -> dog: 1" in said
    assert "nothing was written" in said
    assert desk.decided() == []


def test_every_wrong_row_is_named_at_once_and_nothing_is_written(desk: Desk) -> None:
    with pytest.raises(DataError) as caught:
        desk.fix(
            row("cat/1.png", "dog"),
            row("cat/2.png", "Dog"),
            row("dog/1.png", action="relabel"),
            row("dog/2.png", "cat", action="leave_out"),
            row("gone.png", "dog", sha256="0" * 64),
            row("dog/1.png", action="delete"),
            row("cat/2.png", "dog", label="bird"),
            row("cat/1.png", "dog", action="keep"),
        )

    text = str(caught.value)
    assert "7 faults; nothing was written" in text
    assert "row 3 (cat/2.png): unknown label 'Dog'; did you mean 'dog'? known: cat, dog; --new-class 'Dog'" in text
    assert "row 4 (dog/1.png): the action is relabel, but corrected_label is empty" in text
    assert "row 5 (dog/2.png): the action is leave_out, but corrected_label is 'cat'" in text
    assert "row 6 (gone.png): no item has its sha256 (000000000000...)" in text
    assert (
        "row 7 (dog/1.png): unknown action 'delete'; did you mean 'leave_out'? known: keep, leave_out, relabel" in text
    )
    assert "row 8 (cat/2.png): the list says 'bird', but the item is labelled 'cat' by now" in text
    assert "row 9 (cat/1.png): the action is keep, but corrected_label is 'dog'" in text
    assert desk.decided() == []


def test_who_comes_from_git_and_why_must_be_said(desk: Desk) -> None:
    root = desk.workspace.root
    subprocess.run(["git", "config", "user.name", "Grace"], cwd=root, check=True)
    with pytest.raises(DataError, match=r"row 2 \(cat/1\.png\): no why: fill the column in, or give --why"):
        desk.fix(row("cat/1.png", "dog"), options=FixOptions())
    desk.fix(row("cat/1.png", "dog", why="w"), row("cat/2.png", action="keep"), options=FixOptions())

    assert {one.who for one in read_corrections(desk.workspace.corrections)} == {"Grace"}
    assert read_corrections(desk.workspace.corrections)[1].why == "looked at; the label is right"


def test_without_anybody_to_name_the_row_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.label_fix.git_user", lambda _: None)

    with pytest.raises(DataError, match=r"row 2 \(cat/1\.png\): no who: fill the column in, give --who"):
        desk.fix(row("cat/1.png", "dog"), options=FixOptions(why="w"))


def test_a_new_class_must_be_announced(desk: Desk) -> None:
    desk.fix(row("cat/1.png", "bird"), options=FixOptions(who="Ann", why="w", new_classes=["bird"]))

    assert desk.decided() == [("cat/1.png", "cat", "bird")]


def test_a_class_that_params_do_not_allow_is_refused_even_if_announced(desk: Desk) -> None:
    change_params(desk.workspace, {"validate": {"labels": ["cat", "dog"]}})
    try:
        with pytest.raises(DataError, match=r"label 'bird' is not in validate\.labels \(params\.yaml\)"):
            desk.fix(row("cat/1.png", "bird"), options=FixOptions(who="Ann", why="w", new_classes=["bird"]))
    finally:
        change_params(desk.workspace, {"validate": {"labels": None}})


def test_an_alias_stands_for_its_class(desk: Desk) -> None:
    change_params(desk.workspace, {"data": {"label_aliases": {"hound": "dog"}}})
    try:
        desk.fix(row("cat/1.png", "hound"))
    finally:
        change_params(desk.workspace, {"data": {"label_aliases": {}}})

    assert desk.decided() == [("cat/1.png", "cat", "dog")]


def test_two_wishes_for_one_content_are_refused(desk: Desk) -> None:
    desk.contents["dog/2.png"] = desk.contents["cat/1.png"]
    desk.write()
    told = r"row 3 \(dog/2\.png\): wants 'dog', row 2 wants 'cat' for the same content; .* fill in one of its rows and"
    with pytest.raises(DataError, match=told):
        desk.fix(row("cat/1.png", action="keep"), row("dog/2.png", action="keep"))
    with pytest.raises(DataError, match=r"wants it left out, row 2 wants 'dog' for the same"):
        desk.fix(row("cat/1.png", "dog"), row("dog/2.png", action="leave_out"))


@pytest.mark.parametrize("turned", [False, True])
def test_keeping_one_copy_and_leaving_out_the_other_says_which_label_is_right(desk: Desk, turned: bool) -> None:
    desk.contents["dog/2.png"] = desk.contents["cat/1.png"]
    desk.write()
    rows = [row("cat/1.png", action="keep"), row("dog/2.png", action="leave_out")]
    desk.fix(*(reversed(rows) if turned else rows))

    assert [(was, label) for _, was, label in desk.decided()] == [("dog", "cat")]
    assert "says all this already" in desk.fix(*rows)


def test_a_sheet_without_a_filled_in_row_is_told_so(desk: Desk) -> None:
    said = desk.fix(row("cat/1.png"), row("cat/2.png"))

    assert "0 rows filled in, 2 rows left empty" in said
    assert "nothing to do: no row is filled in (corrected_label, or keep or leave_out in action" in said
    assert "already" not in said


def test_rows_of_one_fault_share_a_line(desk: Desk) -> None:
    same = [row("cat/1.png", action="remove")] * 6
    with pytest.raises(DataError) as caught:
        desk.fix(*same, row("dog/1.png", action="relabel"), row("dog/2.png", action="relabel"))

    lines = str(caught.value).splitlines()
    assert "8 faults" in lines[0]
    assert lines[1].strip().startswith("rows 2, 3, 4 and 3 more: unknown action 'remove'; did you mean 'leave_out'?")
    assert lines[2].strip().startswith("rows 8 and 9: the action is relabel")


def test_a_correction_holds_for_every_copy_of_the_content(desk: Desk) -> None:
    desk.contents["dog/2.png"] = desk.contents["cat/1.png"]
    desk.write()
    desk.fix(row("dog/2.png", action="keep"))

    assert desk.decided() == [("dog/2.png", "cat", "dog")]


def test_a_list_older_than_a_correction_is_stale(desk: Desk) -> None:
    done = Correction(digest("cat/1.png"), "cat/1.png", "cat", "dog", "Bob", "w", "2026-11-20")
    write_corrections(desk.workspace.corrections, [done])
    told = r"the list says 'cat', but the item is labelled 'dog' by now .* delete its row in data/corrections\.csv"
    with pytest.raises(DataError, match=told):
        desk.fix(row("cat/1.png", action="keep"))
    desk.fix(row("cat/1.png", "cat", label="dog"))

    assert desk.decided() == [("cat/1.png", "cat", "dog"), ("cat/1.png", "dog", "cat")]


def test_data_that_were_never_validated_are_named(desk: Desk) -> None:
    desk.workspace.items.unlink()

    with pytest.raises(StageInputError, match=r"items\.parquet cannot be read .*run `graft adapt`"):
        desk.fix(row("cat/1.png", "dog"))
