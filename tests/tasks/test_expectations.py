"""Every rule on the item table has an input that breaks it; the user's own suite runs beside ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import bomb_png, encoded, noise, write, write_classes, write_image
from PIL import Image

from tasks.errors import ParamsError
from tasks.params import Params, ValidateParams
from tasks.reports import RuleResult, ValidationReport
from tasks.validate import check_data

RULES = {
    "labels_present",
    "labels_known",
    "classes_listed",
    "two_classes",
    "items_per_class",
    "one_label_per_content",
    "decodable",
    "min_side",
    "max_side",
    "modes",
    "frames",
    "aspect",
    "official_split_disjoint",
    "brightness",
    "sharpness",
    "copies",
}
Damage = Callable[[Path], None]


def check(root: Path, suite: Path | None = None, labelled: bool | None = None, **rules: Any) -> ValidationReport:
    return check_data(root, Params(validate=ValidateParams(**rules)), suite, labelled)


def rule(report: ValidationReport, name: str) -> RuleResult:
    return next(result for result in report.rules if result.rule == name)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Sound data: two sides, two classes, ten images in each of the four folders."""
    folder = tmp_path / "raw"
    write_classes(folder, {"train/cat": 10, "train/dog": 10, "val/cat": 10, "val/dog": 10})
    return folder


def test_sound_data_break_no_rule_and_every_rule_is_reported(root: Path) -> None:
    report = check(root, labels=["cat", "dog"])
    assert {result.rule for result in report.rules} == RULES
    assert all(result.passed and not result.failing for result in report.rules)
    assert report.passed
    assert report.reasons == []


def add_stray_image(root: Path) -> None:
    write_image(root / "val" / "stray.png", 900)


def add_third_class(root: Path) -> None:
    for number in range(5):
        write_image(root / f"train/cow/{number}.png", 900 + number)


def add_small_class(root: Path) -> None:
    write_image(root / "train/cow/1.png", 900)


def copy_across_sides(root: Path) -> None:
    write(root / "val/cat/copy.png", (root / "train/cat/000.png").read_bytes())


def add_dark_image(root: Path) -> None:
    dark = np.random.default_rng(0).integers(0, 12, (30, 30), dtype=np.uint8)
    write(root / "val/cat/dark.png", encoded(Image.fromarray(dark)))


def add_bright_image(root: Path) -> None:
    bright = np.random.default_rng(0).integers(240, 256, (30, 30), dtype=np.uint8)
    write(root / "val/cat/bright.png", encoded(Image.fromarray(bright)))


def add_flat_image(root: Path) -> None:
    write(root / "val/cat/flat.png", encoded(Image.new("RGB", (40, 40), (90, 120, 130))))


def copy_within_class(root: Path) -> None:
    write(root / "train/cat/copy.png", (root / "train/cat/000.png").read_bytes())


CONTRACTS: list[tuple[str, Damage, dict[str, Any], set[str], str]] = [
    ("labels_present", add_stray_image, {}, {"val/stray.png"}, "1 of 41 items (2.4%) have no label"),
    (
        "labels_known",
        add_third_class,
        {"labels": ["cat", "dog"]},
        {f"train/cow/{number}.png" for number in range(5)},
        "5 of 45 items (11.1%) have an unknown label; known are cat, dog (params.yaml: validate.labels)",
    ),
    (
        "classes_listed",
        lambda root: None,
        {"labels": ["cat", "cow", "dog"]},
        {"cow"},
        "1 of 3 known classes without items",
    ),
    (
        "items_per_class",
        add_small_class,
        {},
        {"train/cow/1.png"},
        "a class needs 5 (params.yaml: validate.min_items_per_class)",
    ),
    (
        "official_split_disjoint",
        copy_across_sides,
        {},
        {"train/cat/000.png", "val/cat/copy.png"},
        "2 of 41 items (4.9%) stand with identical content on more than one side",
    ),
]


@pytest.mark.parametrize(("name", "damage", "rules", "failing", "detail"), CONTRACTS, ids=[row[0] for row in CONTRACTS])
def test_a_contract_rule_is_critical_at_the_first_case(
    root: Path, name: str, damage: Damage, rules: dict[str, Any], failing: set[str], detail: str
) -> None:
    damage(root)
    report = check(root, **rules)
    broken = rule(report, name)
    assert (broken.severity, broken.passed) == ("critical", False)
    assert {item.path for item in broken.failing} == failing
    assert detail in broken.detail
    assert report.reasons == [f"{name}: {broken.detail}"]
    assert not report.passed


def test_one_class_is_refused_with_what_is_expected(tmp_path: Path) -> None:
    write_classes(tmp_path, {"everything": 6})
    report = check(tmp_path)
    broken = rule(report, "two_classes")
    assert not broken.passed
    assert broken.detail.startswith("1 class with usable items ('everything'); 2 are needed: a folder for each class, ")
    assert broken.failing == [], "no single file is at fault"


def test_a_class_that_quarantine_empties_is_too_small(root: Path) -> None:
    for number in range(3):
        write(root / f"train/cow/{number}.png", b"broken")
    report = check(root, max_undecodable_share=0.5)
    assert rule(report, "decodable").passed
    assert not rule(report, "items_per_class").passed
    assert report.items_per_label == {"cat": 20, "cow": 0, "dog": 20}
    assert report.labels == ["cat", "dog"]


def add_animation(root: Path) -> None:
    write(root / "val/cat/moving.gif", encoded(noise(800), "GIF", save_all=True, append_images=[noise(801)]))


def add_strip(root: Path) -> None:
    write(root / "val/cat/strip.png", encoded(noise(802, 200, 9)))
    write(root / "val/cat/just.png", encoded(noise(803, 160, 10)))


WARNINGS: list[tuple[str, Damage, set[str], str]] = [
    ("brightness", add_dark_image, {"val/cat/dark.png"}, "mean grey 5."),
    ("brightness", add_bright_image, {"val/cat/bright.png"}, "mean grey 24"),
    ("sharpness", add_flat_image, {"val/cat/flat.png"}, "Laplacian variance 0.00"),
    ("frames", add_animation, {"val/cat/moving.gif"}, "a GIF of several frames"),
    ("aspect", add_strip, {"val/cat/strip.png"}, "200x9 pixels"),
    ("copies", copy_within_class, {"train/cat/000.png", "train/cat/copy.png"}, "2 files have this content"),
]


@pytest.mark.parametrize(("name", "damage", "failing", "reason"), WARNINGS)
def test_a_warning_names_its_items_and_stops_nothing(
    root: Path, name: str, damage: Damage, failing: set[str], reason: str
) -> None:
    damage(root)
    report = check(root)
    warned = rule(report, name)
    assert (warned.severity, warned.passed) == ("warning", False)
    assert {item.path for item in warned.failing} == failing
    assert all(item.reason.startswith(reason) for item in warned.failing)
    assert report.passed
    assert report.quarantined == []


def undecodable(number: int) -> bytes:
    return b"<html>" + str(number).encode()


def tiny(number: int) -> bytes:
    return encoded(noise(number, 7, 30))


def long(number: int) -> bytes:
    return encoded(noise(number, 61, 8))


def floating(number: int) -> bytes:
    return encoded(Image.fromarray(np.full((20, 20), number, dtype=np.float32)), "TIFF")


PER_ITEM: list[tuple[str, Callable[[int], bytes], str, dict[str, Any]]] = [
    ("decodable", undecodable, "not an image of an allowed format", {}),
    ("decodable", lambda number: bomb_png(50_000 + number), "allowed", {}),
    ("min_side", tiny, "7x30 pixels, a side is below 8 (validate.min_side)", {}),
    ("max_side", long, "61x8 pixels, a side is above 60 (validate.max_side)", {"max_side": 60}),
    ("modes", floating, "mode F is not allowed (validate.modes)", {}),
]


@pytest.mark.parametrize(("name", "make", "reason", "rules"), PER_ITEM)
def test_a_bad_item_is_quarantined_and_the_line_stops_above_the_tolerated_share(
    root: Path, name: str, make: Callable[[int], bytes], reason: str, rules: dict[str, Any]
) -> None:
    for number in range(10):
        write(root / f"train/cat/bad{number}.tif", make(number))
    tolerant = check(root, max_undecodable_share=0.2, **rules)
    assert {item.path for item in tolerant.quarantined} == {f"train/cat/bad{number}.tif" for number in range(10)}
    assert all(reason in item.reason for item in tolerant.quarantined)
    assert (rule(tolerant, name).passed, len(rule(tolerant, name).failing)) == (True, 10)
    assert (tolerant.passed, tolerant.listed, tolerant.accepted) == (True, 50, 40)

    strict = check(root, max_undecodable_share=0.19, **rules)
    assert strict.reasons == [f"{name}: {rule(strict, name).detail}"]
    assert "10 of 50 items (20.0%)" in strict.reasons[0]
    assert "at most 19.0% are tolerated (params.yaml: validate.max_undecodable_share)" in strict.reasons[0]


def test_files_of_several_frames_are_used_by_their_first_unless_single_images_are_asked_for(root: Path) -> None:
    add_animation(root)
    first = check(root)
    assert (first.quarantined, first.accepted) == ([], 41)
    assert "the first alone is used (params.yaml: validate.frames)" in rule(first, "frames").detail
    single = check(root, frames="single")
    assert [(item.path, item.reason) for item in single.quarantined] == [
        ("val/cat/moving.gif", "holds more than one frame or page; only single images are allowed (validate.frames)")
    ]
    assert "hold more than one frame or page (quarantined)" in rule(single, "frames").detail
    assert single.passed


def test_identical_content_under_two_labels_is_quarantined_with_all_its_copies(root: Path) -> None:
    content = encoded(noise(900))
    copies = ["train/cat/x.png", "train/cat/y.png", "train/dog/x.png"]
    for path in copies:
        write(root / path, content)
    tolerant = check(root, max_conflicting_share=0.1)
    assert [item.path for item in tolerant.quarantined] == copies
    assert tolerant.quarantined[0].reason == "identical to train/dog/x.png, which is labelled 'dog'"
    assert tolerant.quarantined[2].reason == "identical to train/cat/x.png, which is labelled 'cat'"
    assert tolerant.passed

    strict = check(root)
    assert not rule(strict, "one_label_per_content").passed
    assert "3 of 43 items (7.0%)" in strict.reasons[0]
    assert "params.yaml: validate.max_conflicting_share" in strict.reasons[0]


@pytest.mark.parametrize("total", [20, 100, 1000])
def test_exactly_the_tolerated_share_is_tolerated_and_one_item_more_is_not(total: int) -> None:
    from tasks.expectations.rule import mostly

    for bad in range(total):
        assert (total - bad) / total >= mostly(bad / total)
        assert (total - bad - 1) / total < mostly(bad / total)


def test_empty_files_are_no_copies_of_each_other_and_have_no_conflicting_labels(root: Path) -> None:
    for place in ("train/cat", "train/dog", "val/cat"):
        write(root / place / "empty.png", b"")
    report = check(root, max_undecodable_share=0.1)
    assert {item.reason for item in report.quarantined} == {"empty file"}
    assert report.passed
    assert all(rule(report, name).failing == [] for name in ("copies", "one_label_per_content"))


def test_two_hundred_bad_items_are_two_hundred_named_items(root: Path) -> None:
    expected = {f"train/dog/bad{number:03d}.png" for number in range(200)}
    for number, path in enumerate(sorted(expected)):
        write(root / path, undecodable(number))
    report = check(root)
    assert {item.path for item in rule(report, "decodable").failing} == expected
    assert {item.path for item in report.quarantined} == expected


def test_data_without_one_readable_item_are_refused_by_name(tmp_path: Path) -> None:
    for number in range(6):
        write(tmp_path / f"{'cat' if number % 2 else 'dog'}/{number}.png", b"")
    report = check(tmp_path)
    assert [reason.split(":")[0] for reason in report.reasons] == ["two_classes", "items_per_class", "decodable"]
    assert (report.accepted, report.labels) == (0, [])


def test_unlabelled_images_are_judged_by_the_rules_on_images_alone(tmp_path: Path) -> None:
    for number in range(3):
        write_image(tmp_path / f"{number}.png", number)
    write(tmp_path / "copy.png", (tmp_path / "0.png").read_bytes())
    report = check(tmp_path)
    assert report.layout == "flat"
    assert report.passed
    assert {item.path for item in rule(report, "copies").failing} == {"0.png", "copy.png"}
    assert not {result.rule for result in report.rules} & {"labels_present", "two_classes", "items_per_class"}
    assert not check(tmp_path, labelled=True).passed


# the user's suite


def suite_file(folder: Path, *expectations: dict[str, Any]) -> Path:
    path = folder / "mine.json"
    path.write_text(json.dumps({"name": "mine", "id": None, "expectations": list(expectations), "meta": {}}))
    return path


def between(column: str, severity: str, **limits: float) -> dict[str, Any]:
    return {
        "type": "expect_column_values_to_be_between",
        "kwargs": {"column": column, **limits},
        "meta": {"owner": "us"},
        "severity": severity,
    }


@pytest.mark.parametrize(
    ("severity", "reported"), [("critical", "critical"), ("warning", "warning"), ("info", "warning")]
)
def test_a_users_expectation_is_judged_with_its_own_severity(
    root: Path, tmp_path: Path, severity: str, reported: str
) -> None:
    report = check(root, suite_file(tmp_path, between("width", severity, min_value=25)))
    own = rule(report, "mine[0] expect_column_values_to_be_between(width)")
    assert (own.severity, own.passed) == (reported, False)
    assert len(own.failing) == 40
    assert own.failing[0].reason == "width = 24"
    assert "40 of 40 items fail (params.yaml: validate.suite)" in own.detail
    assert report.passed == (reported == "warning")


def test_a_users_table_expectation_reports_what_it_observed(root: Path, tmp_path: Path) -> None:
    rows = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1000}}
    held = between("brightness", "critical", min_value=1, max_value=254)
    report = check(root, suite_file(tmp_path, rows, held))
    assert report.reasons == [
        "mine[0] expect_table_row_count_to_be_between(): observed 40 (params.yaml: validate.suite)"
    ]
    assert rule(report, "mine[1] expect_column_values_to_be_between(brightness)").passed


def test_a_suite_as_great_expectations_writes_it_is_read_back(root: Path, tmp_path: Path) -> None:
    import great_expectations as gx
    from great_expectations.expectations.core import expect_column_values_to_match_regex as regex

    expectation = regex.ExpectColumnValuesToMatchRegex(column="path", regex=r"cat", mostly=0.1)
    written = gx.ExpectationSuite(name="theirs", expectations=[expectation]).to_json_dict()
    (tmp_path / "theirs.json").write_text(json.dumps(written))
    own = check(root, tmp_path / "theirs.json").rules[-1]
    assert own.passed
    assert len(own.failing) == 20


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable as JSON"),
        ("[]", "holds no list `expectations`"),
        ('{"expectations": [{"kwargs": {}}]}', r"expectations\[0\] has no `type`"),
        (
            '{"expectations": [{"type": "expect_column_values_to_be_betwen", "kwargs": {}}]}',
            r"unknown expectation '.*_betwen'; did you mean 'expect_column_values_to_be_between'",
        ),
        (
            '{"expectations": [{"type": "expect_column_values_to_be_between", "kwargs": {"colum": "width"}}]}',
            r"expectations\[0\] \(expect_column_values_to_be_between\) is not valid: .*colum",
        ),
        (
            '{"expectations": [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "weight"}}]}',
            r"mine\[0\] .*\(weight\) cannot be evaluated: .*the columns are .*width",
        ),
        (
            '{"expectations": [{"type": "expect_column_values_to_not_be_null", "kwargs": 3}]}',
            r"expectations\[0\] .* is not valid",
        ),
    ],
)
def test_a_broken_suite_is_the_users_error_and_named(root: Path, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "mine.json").write_text(content)
    with pytest.raises(ParamsError, match=message) as caught:
        check(root, tmp_path / "mine.json")
    assert "params.yaml: validate.suite" in str(caught.value)


def test_a_missing_suite_is_the_users_error(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"absent\.json cannot be read \(No such file or directory\)"):
        check(root, tmp_path / "absent.json")


def test_great_expectations_is_told_to_send_nothing_and_to_draw_no_bars(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(root)
    assert os.environ["GX_ANALYTICS_ENABLED"] == "false"
    printed = capsys.readouterr()
    assert printed.out == ""
    assert all(line.startswith("graft-progress validate ") for line in printed.err.splitlines())


def test_the_stage_imports_neither_great_expectations_nor_pandas_before_it_needs_them() -> None:
    heavy = "('great_expectations', 'pandas', 'torch')"
    code = f"import sys, tasks.validate; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
