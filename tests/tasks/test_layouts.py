"""From a raw folder or table to the listing of its items."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_files import write

from tasks.errors import DataError
from tasks.layouts import Listing, list_items
from tasks.params import ColumnNames


def touch(root: Path, *names: str) -> None:
    for name in names:
        write(root / name, b"")


def labels(listing: Listing) -> dict[str, str | None]:
    return {item.path: item.label for item in listing.items}


def sides(listing: Listing) -> dict[str, str | None]:
    return {item.path: item.split for item in listing.items}


# class folders


def test_the_outermost_folder_is_the_class_and_nested_folders_belong_to_it(tmp_path: Path) -> None:
    touch(tmp_path, "dog/1.png", "cat/2.JPG", "cat/indoors/3.jpeg", "cat/indoors/night/4.webp")
    listing = list_items(tmp_path)
    assert listing.layout == "class folders"
    assert labels(listing) == {
        "cat/2.JPG": "cat",
        "cat/indoors/3.jpeg": "cat",
        "cat/indoors/night/4.webp": "cat",
        "dog/1.png": "dog",
    }
    assert set(sides(listing).values()) == {None}
    assert [item.path for item in listing.items] == sorted(item.path for item in listing.items)


def test_files_that_are_no_images_are_ignored_and_named(tmp_path: Path) -> None:
    others = ["LICENSE", "SOURCE.md", "labels.csv", ".DS_Store", "cat/Thumbs.db", "cat/.DS_Store", "docs/readme.txt"]
    touch(tmp_path, "cat/1.png", "dog/2.png", *others)
    assert list_items(tmp_path).ignored == sorted(others)
    assert len(list_items(tmp_path).items) == 2


def test_hidden_folders_and_files_are_neither_classes_nor_items(tmp_path: Path) -> None:
    hidden = [".ipynb_checkpoints/1.png", "__MACOSX/cat/._1.png", "cat/.cache/2.png"]
    touch(tmp_path, "cat/1.png", "dog/1.png", *hidden)
    listing = list_items(tmp_path)
    assert set(labels(listing).values()) == {"cat", "dog"}
    assert listing.ignored == sorted(hidden)


def test_formats_that_may_not_be_allowed_are_listed_so_that_they_are_quarantined_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.heic", "cat/2.avif", "dog/3.png")
    assert len(list_items(tmp_path).items) == 3


def test_an_image_beside_class_folders_has_no_label(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.png", "dog/2.png", "stray.png")
    assert labels(list_items(tmp_path))["stray.png"] is None


def test_a_flat_folder_lists_images_without_labels(tmp_path: Path) -> None:
    touch(tmp_path, "1.png", "2.png")
    listing = list_items(tmp_path)
    assert listing.layout == "flat"
    assert labels(listing) == {"1.png": None, "2.png": None}


def test_class_names_may_be_any_unicode(tmp_path: Path) -> None:
    names = {"猫", "chien noir", "größe", "🐶", "-rf", "a|b", '<b> & "c"', "nan", "None", "0", "x" * 250}
    touch(tmp_path, *(f"{name}/1.png" for name in names))
    assert set(labels(list_items(tmp_path)).values()) == names


def test_names_that_differ_in_the_case_of_the_suffix_alone_are_two_items(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "cat/1.JPG", "cat/1.Jpeg", "dog/2.png")
    assert len(list_items(tmp_path).items) == 4


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        ("Cat", "cat", "'Cat' and 'cat'"),
        (unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café"), "(decomposed Unicode, NFD)"),
        ("cat", "cat ", "'cat' and 'cat '"),
    ],
)
def test_class_names_that_look_alike_are_refused_by_name(tmp_path: Path, first: str, second: str, named: str) -> None:
    touch(tmp_path, f"{first}/1.png", f"{second}/2.png")
    with pytest.raises(DataError, match="differ only in case, spaces or Unicode form") as caught:
        list_items(tmp_path)
    assert named in str(caught.value)


def test_missing_and_empty_folders_say_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        list_items(tmp_path / "absent")
    touch(tmp_path, "readme.txt")
    with pytest.raises(DataError, match=r"holds no images \(1 other file ignored\)"):
        list_items(tmp_path)


def test_a_tree_that_cannot_be_read_is_refused_before_any_layout(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.png", "dog/2.png")
    os.mkfifo(tmp_path / "dog" / "3.png")
    with pytest.raises(DataError, match=r"dog/3\.png: a FIFO"):
        list_items(tmp_path)


# split folders


@pytest.mark.parametrize("held_out", ["val", "valid", "validation", "Val"])
def test_train_and_val_folders_are_an_official_split(tmp_path: Path, held_out: str) -> None:
    touch(tmp_path, "train/cat/1.png", "train/dog/a/2.png", f"{held_out}/cat/3.png", "test/dog/4.png", "LICENSE")
    listing = list_items(tmp_path)
    assert listing.layout == "split folders"
    assert sides(listing) == {
        "train/cat/1.png": "train",
        "train/dog/a/2.png": "train",
        f"{held_out}/cat/3.png": "validation",
        "test/dog/4.png": "test",
    }
    assert labels(listing)["train/dog/a/2.png"] == "dog"
    assert listing.ignored == ["LICENSE"]


def test_a_train_folder_alone_gives_classes_but_no_official_split(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.png", "train/dog/2.png")
    listing = list_items(tmp_path)
    assert set(labels(listing).values()) == {"cat", "dog"}
    assert set(sides(listing).values()) == {None}


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.png", "bus/2.png", "car/side/3.png")
    listing = list_items(tmp_path)
    assert listing.layout == "class folders"
    assert set(labels(listing).values()) == {"train", "bus", "car"}


def test_sides_beside_other_folders_are_ambiguous_and_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.png", "test/cat/2.png", "extra/cat/3.png")
    with pytest.raises(DataError, match="test, train beside extra: sides of a split, or classes"):
        list_items(tmp_path)


def test_two_folders_for_one_side_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.png", "val/cat/2.png", "valid/cat/3.png")
    with pytest.raises(DataError, match="val, valid all mean validation"):
        list_items(tmp_path)


def test_images_directly_in_a_side_have_no_label(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.png", "train/dog/2.png", "test/3.png")
    assert labels(list_items(tmp_path))["test/3.png"] is None


# tables


def table(root: Path, text: str, name: str = "labels.csv") -> Path:
    write(root / name, text.encode())
    return root / name


def test_a_table_gives_label_group_side_and_domain(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "a/2.png")
    path = table(tmp_path, "path,label,group,split,domain\na/2.png,dog,g2,val,sketch\n./a/1.png,cat,g1,train,photo\n")
    listing = list_items(path)
    assert (listing.layout, listing.root, listing.ignored) == ("table", tmp_path, [])
    first, second = listing.items
    assert (first.path, first.label, first.group, first.split, first.domain) == (
        "a/1.png",
        "cat",
        "g1",
        "train",
        "photo",
    )
    assert (second.path, second.split) == ("a/2.png", "validation")


def test_a_table_named_beside_the_folder_has_paths_relative_to_the_folder(tmp_path: Path) -> None:
    touch(tmp_path / "raw", "1.png", "2.png")
    path = table(tmp_path, "path,label\n1.png,cat\n2.png,dog\n")
    listing = list_items(tmp_path / "raw", path)
    assert listing.root == tmp_path / "raw"
    assert labels(listing) == {"1.png": "cat", "2.png": "dog"}
    with pytest.raises(DataError, match=r"is a table already; clear data\.table"):
        list_items(path, path)


def test_columns_are_named_by_params_and_a_parquet_table_is_read_the_same(tmp_path: Path) -> None:
    touch(tmp_path, "1.png", "2.png")
    columns = ColumnNames(path="file", label="class")
    csv_path = table(tmp_path, "\ufefffile;class;domain\n1.png;3;x\n2.png;;\n")
    pq.write_table(
        pa.table({"file": ["1.png", "2.png"], "class": [3.0, None], "domain": ["x", None]}), tmp_path / "l.parquet"
    )
    assert list_items(csv_path, None, columns).items == list_items(tmp_path / "l.parquet", None, columns).items
    assert labels(list_items(csv_path, None, columns)) == {"1.png": "3", "2.png": None}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (ColumnNames(), r"no column 'label'.* known: klass, path, split \(params.yaml: data.columns.label\)"),
        (ColumnNames(label="class"), r"no column 'class'; did you mean 'klass'\?"),
        (ColumnNames(label="KLASS"), r"no column 'KLASS'; did you mean 'klass'\?"),
        (ColumnNames(label="klass", group="person"), r"no column 'person'.*data.columns.group"),
    ],
)
def test_a_missing_column_is_named_with_the_nearest_one(tmp_path: Path, columns: ColumnNames, message: str) -> None:
    touch(tmp_path, "1.png")
    with pytest.raises(DataError, match=message):
        list_items(table(tmp_path, "path,klass,split\n1.png,cat,train\n"), None, columns)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("/etc/1.png,cat", r"row 2: '/etc/1.png' is absolute"),
        ("../1.png,cat", r"row 2: '../1.png' leaves the data folder"),
        ("a/../../1.png,cat", r"leaves the data folder"),
        ("a\\1.png,cat", r"uses backslashes; write forward slashes"),
        (",cat", r"row 2: no path"),
        ("1.png,cat\n./1.png,dog", r"has 1 path in more than one row; keep one row for each:\n  1.png"),
        ("2.png,cat", r"2.png: out of reach \(No such file or directory\)"),
        ("alias.png,cat", r"alias.png: a link to a file"),
        ("linked/1.png,cat", r"linked: a link to a folder"),
        ("pipe.png,cat", r"pipe.png: a FIFO"),
        (f"{'x' * 300}.png,cat", r"x.png: out of reach \(File name too long\)"),
        ('1.png,"a\nb"', r"in column 'label' with a line break .*:\n  row 2: 'a\\nb'"),
        ("1.png", r"row 2 has not the header's number of fields"),
        ("1.png,a,b", r"row 2 has not the header's number of fields"),
        ('"1.png,cat', r"not a readable CSV table"),
    ],
)
def test_rows_that_name_no_file_below_the_folder_are_refused(tmp_path: Path, rows: str, message: str) -> None:
    touch(tmp_path, "1.png")
    (tmp_path / "alias.png").symlink_to("1.png")
    (tmp_path / "linked").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match=message):
        list_items(table(tmp_path, f"path,label\n{rows}\n"))


def test_a_table_saved_as_unicode_text_is_told_how_to_save_it(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path\tlabel\n1.png\tcat\n", encoding="utf-16")
    with pytest.raises(DataError, match=r"list\.csv was saved as UTF-16 \(Unicode text\); save it as CSV UTF-8"):
        list_items(tmp_path / "list.csv")


def test_many_missing_files_are_counted(tmp_path: Path) -> None:
    rows = "".join(f"gone/{number:03d}.png,cat\n" for number in range(200))
    (tmp_path / "gone").mkdir()
    with pytest.raises(DataError, match=r"holds 200 entries[\s\S]*and 180 more"):
        list_items(table(tmp_path, f"path,label\n{rows}"))


def test_a_missing_folder_is_named_once_not_with_each_of_its_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds 1 entry that cannot be used as data:\n  gone: out of reach"):
        list_items(table(tmp_path, "path,label\ngone/1.png,cat\ngone/2.png,dog\n"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [("1.png,cat,holdout\n2.png,dog,train", "row 2: 'holdout'"), ("1.png,cat,train\n2.png,dog,", "row 3: no side")],
)
def test_an_unknown_or_partial_official_split_is_refused(tmp_path: Path, rows: str, message: str) -> None:
    touch(tmp_path, "1.png", "2.png")
    with pytest.raises(DataError, match=message):
        list_items(table(tmp_path, f"path,label,split\n{rows}\n"))


@pytest.mark.parametrize("rows", ["1.png,cat,\n2.png,dog,", "1.png,cat,train\n2.png,dog,train"])
def test_a_split_column_with_one_side_or_none_is_no_official_split(tmp_path: Path, rows: str) -> None:
    touch(tmp_path, "1.png", "2.png")
    assert set(sides(list_items(table(tmp_path, f"path,label,split\n{rows}\n"))).values()) == {None}


def test_tables_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels\.csv: out of reach"):
        list_items(tmp_path / "labels.csv")
    write(tmp_path / "latin.csv", "path,label\n1.png,café\n".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8 text"):
        list_items(tmp_path / "latin.csv")
    write(tmp_path / "no.parquet", b"PAR1 and then nothing")
    with pytest.raises(DataError, match="not a readable Parquet table"):
        list_items(tmp_path / "no.parquet")
    with pytest.raises(DataError, match="holds no images"):
        list_items(table(tmp_path, "path,label\n"))
    with pytest.raises(DataError, match=r"labels\.csv is empty; its first row must name the columns, file and label"):
        list_items(table(tmp_path, ""), None, ColumnNames(path="file"))
    with pytest.raises(DataError, match=r"notes\.md is neither a folder nor a CSV or Parquet table; give the"):
        list_items(table(tmp_path, "hello", "notes.md"))


# real packs


@pytest.mark.parametrize(
    ("pack", "layout", "items", "classes", "ignored"),
    [
        ("hymenoptera", "split folders", 397, 2, ["SOURCE.md"]),
        ("dogs_cats", "class folders", 1399, 2, ["LICENSE.source.txt", "SOURCE.md"]),
        ("sign_digits", "class folders", 2062, 10, ["LICENSE.source.txt", "SOURCE.md"]),
        ("pacs_shift/photo", "class folders", 840, 7, []),
    ],
)
def test_real_packs_are_listed(
    real_data: Path, pack: str, layout: str, items: int, classes: int, ignored: list[str]
) -> None:
    listing = list_items(real_data / "data" / pack)
    assert (listing.layout, len(listing.items), listing.ignored) == (layout, items, ignored)
    assert len(set(labels(listing).values())) == classes


def test_the_real_official_split_is_honoured(real_data: Path) -> None:
    listing = list_items(real_data / "data" / "hymenoptera")
    assert Counter(sides(listing).values()) == {"train": 244, "validation": 153}


def test_a_real_table_is_listed_by_its_columns(real_data: Path) -> None:
    listing = list_items(real_data / "data" / "pacs_shift" / "labels.csv", None, ColumnNames(label="class"))
    assert (listing.layout, len(listing.items)) == ("table", 2360)
    assert Counter(sides(listing).values()) == {"train": 1416, "validation": 354, "test": 590}
    assert {item.domain for item in listing.items} == {"photo", "sketch", "art_painting", "cartoon"}
