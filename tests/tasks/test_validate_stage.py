"""The validate stage as a whole: what it writes, when it stops the line, and what its digest covers."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from image_files import bomb_png, encoded, noise, write, write_classes

from flows.data_commands import check_here
from tasks.errors import ContractBroken, DataError, ParamsError
from tasks.overlay import Correction, Forgotten, read_corrections, write_corrections, write_forgotten
from tasks.params import Params, parse_params
from tasks.reports import Outcome, ValidationReport
from tasks.stage import run_stage
from tasks.tables import ITEMS, read_table
from tasks.validate import check_data, validate
from tasks.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace whose data/raw holds ten cats and ten dogs."""
    root = tmp_path / "checkout"
    write_classes(root / "data" / "raw", {"cat": 10, "dog": 10})
    write(root / "params.yaml", b"data:\n  path: data/raw\n")
    write(root / "dvc.yaml", b"stages: {}\n")
    return Workspace(root)


def params(path: str | Path = "data/raw", **sections: Any) -> Params:
    data = {"path": str(path), **sections.pop("data", {})}
    return parse_params({"data": data, **sections})


def rows(workspace: Workspace) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_table(workspace.items, ITEMS).to_pylist()
    return found


def digest(workspace: Workspace, chosen: Params | None = None) -> str:
    validate(workspace, chosen or params())
    return ValidationReport.read(workspace.validation).data_digest


def test_the_item_table_holds_every_listed_file_sorted_by_path(workspace: Workspace) -> None:
    write(workspace.raw / "cat" / "bad.jpg", b"<html>")
    validate(workspace, params())
    items = rows(workspace)
    assert [row["path"] for row in items] == sorted(row["path"] for row in items)
    assert len(items) == 21
    sound = items[0]
    content = (workspace.raw / "cat/000.png").read_bytes()
    assert (sound["path"], sound["label"], sound["status"], sound["reason"]) == ("cat/000.png", "cat", "accepted", None)
    assert (sound["sha256"], sound["bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
    assert (sound["format"], sound["mode"], sound["width"], sound["height"]) == ("PNG", "RGB", 24, 20)
    assert len(sound["pixels"]) == 256
    bad = next(row for row in items if row["path"] == "cat/bad.jpg")
    assert bad["status"] == "quarantined"
    assert bad["reason"].startswith("not an image of an allowed format")
    assert bad["pixels"] is bad["perceptual_hash"] is bad["brightness"] is bad["sharpness"] is bad["width"] is None


def test_the_report_counts_and_names(workspace: Workspace) -> None:
    write(workspace.raw / "cat" / "bad.jpg", b"<html>")
    write(workspace.raw / "LICENSE", b"free")
    validate(workspace, params())
    report = ValidationReport.read(workspace.validation)
    assert (report.passed, report.layout) == (True, "class folders")
    assert (report.listed, report.accepted, report.ignored) == (21, 20, 1)
    assert report.ignored_files == ["LICENSE"]
    assert [item.path for item in report.quarantined] == ["cat/bad.jpg"]
    assert (report.labels, report.items_per_label) == (["cat", "dog"], {"cat": 10, "dog": 10})


def test_the_same_data_give_the_same_bytes_in_another_checkout_too(workspace: Workspace, tmp_path: Path) -> None:
    write(workspace.raw / "cat" / "bad.jpg", b"<html>")
    validate(workspace, params())
    first = [workspace.items.read_bytes(), workspace.validation.read_bytes()]
    validate(workspace, params())
    assert [workspace.items.read_bytes(), workspace.validation.read_bytes()] == first
    other = Workspace(tmp_path / "another" / "place")
    shutil.copytree(workspace.raw, other.raw)
    validate(other, params())
    assert [other.items.read_bytes(), other.validation.read_bytes()] == first


def test_the_digest_is_that_of_the_accepted_rows(workspace: Workspace) -> None:
    found = digest(workspace)
    lines = [
        json.dumps([f"{name}/{n:03d}.png", sha256(workspace.raw / name / f"{n:03d}.png"), name, None, None, None])
        for name in ("cat", "dog")
        for n in range(10)
    ]
    text = "".join(line.replace(", ", ",") + "\n" for line in lines)
    assert found == hashlib.sha256(text.encode()).hexdigest()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_digest_ignores_what_is_not_accepted(workspace: Workspace) -> None:
    before = digest(workspace)
    write(workspace.raw / "LICENSE", b"free")
    write(workspace.raw / "cat" / "bad.jpg", b"<html>")
    assert digest(workspace) == before


@pytest.mark.parametrize("change", ["content", "path", "label", "new item"])
def test_the_digest_moves_with_every_accepted_fact(workspace: Workspace, change: str) -> None:
    before = digest(workspace)
    first = workspace.raw / "cat" / "000.png"
    if change == "content":
        first.write_bytes(encoded(noise(500)))
    elif change == "path":
        first.rename(first.with_name("renamed.png"))
    elif change == "label":
        first.rename(workspace.raw / "dog" / "from_cat.png")
    else:
        write(workspace.raw / "dog" / "new.png", encoded(noise(501)))
    assert digest(workspace) != before


def test_the_digest_covers_group_split_and_domain(workspace: Workspace) -> None:
    paths = [f"{name}/{number:03d}.png" for name in ("cat", "dog") for number in range(10)]
    seen = set()
    for header, cell in [("group", "g"), ("domain", "g"), ("split", None), ("comment", "g")]:
        cells = [cell or ("train" if number % 2 else "test") for number in range(20)]
        table = "".join(f"{path},{path[:3]},{cell}\n" for path, cell in zip(paths, cells, strict=True))
        write(workspace.raw / "labels.csv", f"path,label,{header}\n{table}".encode())
        seen.add(digest(workspace, params("data/raw/labels.csv")))
    assert len(seen) == 4


def test_a_broken_contract_stops_the_line_after_both_files_are_written(workspace: Workspace) -> None:
    write(workspace.raw / "cow" / "1.png", encoded(noise(500)))
    for number in range(5):
        write(workspace.raw / "cat" / f"bad{number}.png", b"broken")
    with pytest.raises(ContractBroken) as caught:
        validate(workspace, params())
    lines = str(caught.value).splitlines()
    assert lines == [
        "items_per_class: 1 of 26 items (3.8%) belong to a class with too few usable items; a class needs 5 "
        "(params.yaml: validate.min_items_per_class). See reports/validation.html, or reports/validation.json",
        "decodable: 5 of 26 items (19.2%) cannot be decoded (quarantined); at most 5.0% are tolerated "
        "(params.yaml: validate.max_undecodable_share). See reports/validation.html, or reports/validation.json",
    ]
    assert not ValidationReport.read(workspace.validation).passed
    assert len(rows(workspace)) == 26


def test_a_folder_of_hostile_files_is_quarantined_file_by_file(workspace: Workspace) -> None:
    photo = encoded(noise(600, 200, 200), "JPEG")
    hostile = {
        "cat/bomb.png": (bomb_png(), "allowed"),
        "cat/empty.jpg": (b"", "empty file"),
        "cat/page.jpg": (b"<!doctype html><title>404</title>", "not an image of an allowed format"),
        "cat/cut.jpg": (photo[: len(photo) // 2], "broken JPEG data"),
        "dog/garbled.png": (encoded(noise(601))[:60] + bytes(400), "broken PNG data"),
        "dog/riff.webp": (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "an image|broken"),
        "dog/phone.heic": (b"\x00\x00\x00\x18ftypheic", "not an image of an allowed format"),
    }
    for path, (data, _) in hostile.items():
        write(workspace.raw / path, data)
    validate(workspace, params(validate={"max_undecodable_share": 0.5}))
    quarantined = {item.path: item.reason for item in ValidationReport.read(workspace.validation).quarantined}
    assert quarantined.keys() == hostile.keys()
    for path, (_, words) in hostile.items():
        assert any(word in quarantined[path] for word in words.split("|")), (path, quarantined[path])


def test_a_tree_that_cannot_be_read_is_an_error_before_anything_is_written(workspace: Workspace) -> None:
    os.mkfifo(workspace.raw / "cat" / "pipe.png")
    (workspace.raw / "more").symlink_to(workspace.raw / "dog", target_is_directory=True)
    with pytest.raises(DataError, match=r"holds 2 entries[\s\S]*cat/pipe\.png: a FIFO[\s\S]*more: a link to a folder"):
        validate(workspace, params())
    assert not workspace.items.exists()
    assert not workspace.validation.exists()


def test_images_without_class_folders_need_labels(workspace: Workspace) -> None:
    for number in range(3):
        write(workspace.root / "flat" / f"{number}.png", encoded(noise(number)))
    with pytest.raises(DataError, match=r"holds 3 images but no class folders; .*data\.table"):
        validate(workspace, params("flat"))
    assert check_data(workspace.root / "flat", params()).passed


def test_a_table_named_by_params_labels_the_folder(workspace: Workspace) -> None:
    paths = [f"{name}/{number:03d}.png" for name in ("cat", "dog") for number in range(10)]
    text = "".join(f"{path},{'odd' if number % 2 else 'even'}\n" for number, path in enumerate(paths))
    write(workspace.root / "mine" / "labels.csv", f"file,parity\n{text}".encode())
    chosen = {"table": "mine/labels.csv", "columns": {"path": "file", "label": "parity"}}
    validate(workspace, params(data=chosen))
    report = ValidationReport.read(workspace.validation)
    assert (report.layout, report.items_per_label) == ("table", {"even": 10, "odd": 10})


def test_the_users_suite_is_found_from_the_workspace(workspace: Workspace) -> None:
    expectation = {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "format", "value_set": ["JPEG"]}}
    write(workspace.root / "mine.json", json.dumps({"name": "mine", "expectations": [expectation]}).encode())
    with pytest.raises(ContractBroken, match=r"mine\[0\] expect_column_values_to_be_in_set\(format\): 20 of 20"):
        validate(workspace, params(validate={"suite": "mine.json"}))
    with pytest.raises(ParamsError, match=r"absent\.json cannot be read"):
        validate(workspace, params(validate={"suite": "absent.json"}))


def test_the_stage_runs_by_hand_quietly_and_leaves_its_outcome(workspace: Workspace) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "tasks.validate"],
        cwd=workspace.root,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "GRAFT_RUN_ID": "run-7"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stdout) == (0, "")
    lines = found.stderr.splitlines()
    assert all(line.startswith("graft-progress validate ") for line in lines)
    assert lines[-1] == "graft-progress validate 20 20"
    assert Outcome.read(workspace.outcome("validate")) == Outcome(stage="validate", run_id="run-7", state="done")


def test_a_refusal_by_hand_says_so_without_a_traceback(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(workspace.raw / "dog")
    monkeypatch.chdir(workspace.root)
    with pytest.raises(SystemExit) as caught:
        run_stage("validate", validate)
    assert caught.value.code == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "validate refused: two_classes: 1 class with usable items ('cat'); 2" in printed.err
    assert "Traceback" not in printed.err
    outcome = Outcome.read(workspace.outcome("validate"))
    assert (outcome.state, len(outcome.reasons)) == ("refused", 1)


def test_checking_alone_writes_nothing(workspace: Workspace) -> None:
    before = sorted(workspace.root.rglob("*"))
    assert check_data(workspace.raw, params()).passed
    assert sorted(workspace.root.rglob("*")) == before


@pytest.mark.parametrize(
    ("pack", "columns", "listed", "classes"),
    [
        ("hymenoptera", {}, 397, 2),
        ("dogs_cats", {}, 1399, 2),
        ("sign_digits", {}, 2062, 10),
        ("pacs_shift/photo", {}, 840, 7),
        ("pacs_shift/labels.csv", {"label": "class"}, 2360, 7),
    ],
)
@pytest.mark.slow
def test_real_packs_are_accepted_whole(
    real_data: Path, pack: str, columns: dict[str, str], listed: int, classes: int
) -> None:
    report = check_data(real_data / "data" / pack, params(data={"columns": columns}))
    assert report.passed, report.reasons
    assert (report.listed, report.accepted, len(report.labels)) == (listed, listed, classes)
    assert report.quarantined == []


@pytest.mark.slow
def test_real_awkward_files_end_in_a_report_not_in_a_crash(real_data: Path) -> None:
    report = check_data(real_data / "data" / "awkward_images", params())
    reasons = {Path(item.path).name: item.reason for item in report.quarantined}
    for name in ("decompression_bomb.gif", "bmp_b_reallybig.bmp", "png_decompression_dos.png", "broken.png"):
        assert name in reasons
    for name in ("Landscape_6.jpg", "pil_sample_cmyk.jpg", "16bit.cropped.tif", "chi.gif"):
        assert name not in reasons


# what people decided on top of the raw data


def correct(workspace: Workspace, path: str, was: str, label: str | None) -> None:
    row = Correction(sha256(workspace.raw / path), path, was, label, "Ada", "looked again", "2026-11-21")
    write_corrections(workspace.corrections, [*read_corrections(workspace.corrections), row])


def row_of(workspace: Workspace, path: str) -> dict[str, Any]:
    return next(row for row in rows(workspace) if row["path"] == path)


def test_a_correction_changes_the_label_and_the_digest_but_no_file(workspace: Workspace) -> None:
    before = digest(workspace)
    content = (workspace.raw / "cat/000.png").read_bytes()
    correct(workspace, "cat/000.png", "cat", "dog")
    assert digest(workspace) != before
    assert row_of(workspace, "cat/000.png")["label"] == "dog"
    report = ValidationReport.read(workspace.validation)
    assert report.items_per_label == {"cat": 9, "dog": 11}
    (applied,) = report.overlay.corrected
    assert (applied.path, applied.who, applied.why, applied.items) == ("cat/000.png", "Ada", "looked again", 1)
    assert (workspace.raw / "cat/000.png").read_bytes() == content


def test_deleting_the_row_of_a_correction_brings_the_raw_label_back(workspace: Workspace) -> None:
    before = digest(workspace)
    correct(workspace, "cat/000.png", "cat", "dog")
    validate(workspace, params())
    assert row_of(workspace, "cat/000.png")["label"] == "dog"
    header, _ = workspace.corrections.read_text(encoding="utf-8").splitlines()
    workspace.corrections.write_text(header + "\n", encoding="utf-8")
    assert digest(workspace) == before
    assert row_of(workspace, "cat/000.png")["label"] == "cat"


def test_what_a_person_left_out_is_named_and_breaks_no_rule(workspace: Workspace) -> None:
    for number in range(3):
        write(workspace.raw / "cat" / f"bad{number}.jpg", f"<html>{number}".encode())
        correct(workspace, f"cat/bad{number}.jpg", "cat", None)
    validate(workspace, params(validate={"max_undecodable_share": 0.0}))
    report = ValidationReport.read(workspace.validation)
    assert report.passed
    assert (report.listed, report.accepted, report.quarantined) == (23, 20, [])
    assert [item.path for item in report.overlay.left_out] == [f"cat/bad{number}.jpg" for number in range(3)]
    assert report.overlay.left_out[0].reason == "left out by Ada: looked again"
    assert row_of(workspace, "cat/bad0.jpg")["status"] == "left_out"


def test_a_correction_settles_a_conflict_of_identical_images(workspace: Workspace) -> None:
    shutil.copy(workspace.raw / "cat/000.png", workspace.raw / "dog/copy.png")
    with pytest.raises(ContractBroken, match="one_label_per_content"):
        validate(workspace, params())
    correct(workspace, "dog/copy.png", "dog", "cat")
    validate(workspace, params())
    assert row_of(workspace, "dog/copy.png")["label"] == "cat"
    assert ValidationReport.read(workspace.validation).quarantined == []


def test_forgotten_content_is_in_no_table_and_counted_alone(workspace: Workspace) -> None:
    gone = sha256(workspace.raw / "cat/000.png")
    write_forgotten(workspace.forgotten, [Forgotten(gone, "asked by the owner", "Ada", "2026-11-21")])
    validate(workspace, params())
    report = ValidationReport.read(workspace.validation)
    assert (report.listed, report.accepted, report.overlay.forgotten) == (19, 19, 1)
    assert "cat/000.png" not in {row["path"] for row in rows(workspace)}
    assert "cat/000.png" not in report.to_json()
    assert gone not in report.to_json()


def test_aliases_merge_classes_and_the_rules_see_the_new_names(workspace: Workspace) -> None:
    shutil.move(workspace.raw / "cat", workspace.raw / "kitten")
    write(workspace.raw / "puppy" / "0.png", encoded(noise(900)))
    aliases = {"kitten": "cat", "puppy": "dog"}
    validate(workspace, params(data={"label_aliases": aliases}, validate={"labels": ["cat", "dog"]}))
    report = ValidationReport.read(workspace.validation)
    assert report.items_per_label == {"cat": 10, "dog": 11}
    assert [(used.old, used.new, used.items) for used in report.overlay.aliased] == [
        ("kitten", "cat", 10),
        ("puppy", "dog", 1),
    ]


def test_a_misspelled_alias_is_a_warning_that_names_the_nearest_class(workspace: Workspace) -> None:
    validate(workspace, params(data={"label_aliases": {"catt": "lion"}}))
    report = ValidationReport.read(workspace.validation)
    (rule,) = [rule for rule in report.rules if rule.rule == "aliases_used"]
    assert (rule.severity, rule.passed, rule.failing[0].reason) == (
        "warning",
        False,
        "no class 'catt'; did you mean 'cat'? known: cat, dog",
    )


def test_classes_that_differ_in_case_are_merged_by_an_alias(workspace: Workspace) -> None:
    write(workspace.raw / "Cat" / "0.png", encoded(noise(901)))
    with pytest.raises(DataError, match=r"differ only in case.*merge them \(params\.yaml: data\.label_aliases\)"):
        validate(workspace, params())
    validate(workspace, params(data={"label_aliases": {"Cat": "cat"}}))
    assert ValidationReport.read(workspace.validation).items_per_label == {"cat": 11, "dog": 10}


def test_a_data_set_of_which_nothing_is_left_is_an_error(workspace: Workspace) -> None:
    contents = {sha256(path) for path in workspace.raw.rglob("*.png")}
    write_forgotten(workspace.forgotten, [Forgotten(one, "all", "Ada", "2026-11-21") for one in sorted(contents)])
    with pytest.raises(DataError, match=r"every item was left out or forgotten"):
        validate(workspace, params())


def test_a_broken_file_of_decisions_is_named(workspace: Workspace) -> None:
    write(workspace.corrections, b"sha256,label\n")
    with pytest.raises(DataError, match=r"corrections\.csv has no column 'path'"):
        validate(workspace, params())


def test_checking_inside_a_workspace_takes_its_decisions_and_outside_none(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    correct(workspace, "cat/000.png", "cat", "dog")
    monkeypatch.chdir(workspace.root)
    assert check_here(workspace.raw).items_per_label == {"cat": 9, "dog": 11}
    monkeypatch.chdir(workspace.root.parent)
    assert check_here(workspace.raw).items_per_label == {"cat": 10, "dog": 10}
