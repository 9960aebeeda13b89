"""The data page: verdict, quarantine, label review, near-duplicates and charts, in one file that loads nothing."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from data_page_scene import Scene, hostile, page_of, scene
from image_files import encoded, noise, write
from page_reader import HOSTILE, PageReader, assert_self_contained

from tasks.errors import ContractBroken, StageInputError
from tasks.params import parse_params
from tasks.plots.validation_page import DataSources, write_validation_page
from tasks.reports import AppliedCorrection, FailingItem, NearDuplicatePair, OverlayReport, ReviewEntry, UsedAlias
from tasks.tables import write_table
from tasks.validate import check_data, validate
from tasks.workspace import Workspace


def read(sources: DataSources) -> PageReader:
    return PageReader(page_of(sources))


def written(sources: DataSources, root: Path) -> Workspace:
    """A workspace whose files the page is made from; its raw data are data/raw."""
    workspace = Workspace(root)
    sources.report.write(workspace.validation)
    write_table(sources.items, workspace.items)
    if sources.split and sources.review and sources.splits is not None:
        sources.split.write(workspace.split_report)
        sources.review.write(workspace.review_report)
        write_table(sources.splits, workspace.splits)
    return workspace


def test_the_verdict_comes_first_and_a_refusal_says_how_to_mend_it(tmp_path: Path) -> None:
    usable = read(hostile(tmp_path / "a").sources()).text
    assert usable.index("The data may be used") < usable.index("set aside") < usable.index("Sizes and light Of")
    refused = read(hostile(tmp_path / "b", passed=False).sources()).text
    assert "The data are refused 1 critical rule is broken; no later stage runs until it holds." in refused
    assert "4 items cannot be decoded . Mend: Replace or delete the files named below" in refused.replace(
        "decoded.", "decoded ."
    )
    assert "may be used" not in refused


def test_what_was_quarantined_is_named_with_its_reason_and_shown_where_it_can_be(tmp_path: Path) -> None:
    page = read(hostile(tmp_path).sources())
    for path in ("cat/torn.png", "cat/page.jpg", "dog/bomb.png", "dog/empty.png", "dog/tiny.png"):
        assert path in page.text
    assert "Not an image of an allowed format (1)" in page.text
    assert "More pixels than allowed (1)" in page.text
    assert "an HTML page, as failed downloads leave it" in page.text
    assert "dog/tiny.png, labelled dog" in page.pictures
    assert not [name for name in page.pictures if "torn" in name or "bomb" in name]


def test_one_image_under_two_labels_is_one_card_with_both(tmp_path: Path) -> None:
    made = scene(tmp_path)
    made.file("cat/twin.png", encoded(noise(70))).file("dog/twin.png", encoded(noise(70)))
    sources = made.sources()
    twins = [FailingItem(path=f"{label}/twin.png", reason="identical to its twin") for label in ("cat", "dog")]
    rules = [
        rule.model_copy(update={"rule": "one_label_per_content", "failing": twins}) for rule in sources.report.rules[:1]
    ]
    page = read(replace(sources, report=sources.report.model_copy(update={"quarantined": twins, "rules": rules})))
    assert "One image under two labels (2)" in page.text
    assert page.pictures == ["cat/twin.png, labelled cat"]
    assert "cat cat/twin.png dog dog/twin.png" in page.text


def test_identical_pictures_under_two_labels_are_told_alike_all_over_the_page(tmp_path: Path) -> None:
    made = scene(tmp_path)
    for number in (70, 71):
        for label in ("cat", "dog"):
            made.file(f"{label}/twin{number}.png", encoded(noise(number)))
    sources = made.reviewed()
    assert sources.split
    assert sources.review
    twins = [row for row in sources.items.to_pylist() if "twin" in row["path"]]
    entries = [
        ReviewEntry(
            rank=rank,
            kind="conflicting_near_duplicate",
            path=row["path"],
            sha256=row["sha256"],
            label=row["label"],
            suggested=None,
            score=1.0,
            reason="identical",
            side="quarantined",
            other=other["path"],
            other_label=other["label"],
        )
        for rank, (row, other) in enumerate(zip(twins, [*twins[2:], *twins[:2]], strict=True), 1)
    ]
    aside = [FailingItem(path=row["path"], reason="identical to its twin") for row in twins]
    rule = sources.report.rules[0].model_copy(update={"rule": "one_label_per_content", "failing": aside})
    found = {"conflicting_near_duplicate": 4}
    text = read(
        replace(
            sources,
            report=sources.report.model_copy(update={"quarantined": aside, "rules": [rule]}),
            split=sources.split.model_copy(update={"near_duplicates": []}),
            review=sources.review.model_copy(update={"entries": entries, "found": found}),
        )
    ).text
    assert "0 with two labels; and 2 identical pairs with two labels" in text
    assert "One picture under two labels (2 pairs)" in text
    assert "The same picture, labelled differently" in text
    assert "Near-duplicates with two labels" not in text
    assert "None among the accepted images; 2 identical pairs with two labels are set aside" in text
    assert "no two pictures are alike" not in text
    assert "write the decision into data/corrections.csv" not in text
    assert text.count("graft data fix reports/review.csv") == 1


def test_many_files_of_one_fault_are_counted_and_the_rest_is_said_to_be_elsewhere(tmp_path: Path) -> None:
    sources = scene(tmp_path).sources()
    torn = [FailingItem(path=f"cat/torn_{row:03d}.png", reason="broken PNG data: cut short") for row in range(90)]
    report = sources.report.model_copy(update={"quarantined": torn})
    text = read(replace(sources, report=report)).text
    assert "Damaged or cut short (90)" in text
    assert text.count("torn_") == 40
    assert "And 50 more; all in reports/validation.json ." in text.replace("json.", "json .")
    assert (
        "graft data check PATH --json"
        in read(replace(sources, report=report, rest="graft data check PATH --json")).text
    )


def test_near_duplicates_stand_side_by_side_and_those_with_two_labels_come_first(tmp_path: Path) -> None:
    page = read(scene(tmp_path).reviewed())
    text = page.text[page.text.index("2 pairs that both") :]
    assert text.index("cosine 0.951 labels differ") < text.index("cosine 0.999")
    assert "1 with two labels" in text
    assert "two sides" in text
    before = [name.split(",")[0] for name in page.pictures]
    assert before[5:9] == ["cat/04.png", "dog/05.png", "cat/00.png", "cat/02.png"]


def test_pairs_are_capped_and_counted(tmp_path: Path) -> None:
    sources = scene(tmp_path).reviewed()
    assert sources.split
    pair = NearDuplicatePair(first="cat/00.png", second="cat/02.png", hamming=2, cosine=0.97)
    page = read(replace(sources, split=sources.split.model_copy(update={"near_duplicates": [pair] * 100})))
    assert page.text.count("2 of 64 bits apart") == 36
    assert "And 64 more; all in reports/split.json" in page.text


def test_the_label_review_shows_every_kind_and_says_how_to_correct(tmp_path: Path) -> None:
    text = read(scene(tmp_path).reviewed()).text
    kinds = (
        "Near-duplicates with two labels (1 pair)",
        "Likely wrong labels (11)",
        "Outliers (1)",
        "Least certain (1)",
    )
    assert [text.index(kind) for kind in kinds] == sorted(text.index(kind) for kind in kinds)
    assert "cat → dog 0.500 because of likely_wrong cat/02.png" in text
    assert "graft data fix reports/review.csv" in text
    assert "And 10 more; see reports/review.csv" in text
    assert "about 11 labels may be wrong" in text


def test_without_a_review_nothing_is_said_of_labels_and_pairs(tmp_path: Path) -> None:
    text = read(scene(tmp_path).sources()).text
    assert "Label review" not in text
    assert "Near-duplicate" not in text
    assert "Sizes and light" in text


def test_an_empty_review_and_no_pairs_say_so(tmp_path: Path) -> None:
    sources = scene(tmp_path).reviewed()
    assert sources.split
    assert sources.review
    none = sources.review.model_copy(update={"entries": [], "found": {}, "expected_wrong": 0})
    alone = sources.split.model_copy(update={"near_duplicates": []})
    text = read(replace(sources, review=none, split=alone)).text
    assert "no label looks wrong" in text
    assert "no two pictures are alike" in text


def test_people_s_decisions_are_shown_with_who_and_why(tmp_path: Path) -> None:
    sources = scene(tmp_path).sources()
    correction = AppliedCorrection(
        sha256="0" * 64, path="cat/00.png", was="cat", label=None, who="Ada", why="no animal in it", items=1
    )
    overlay = OverlayReport(aliased=[UsedAlias(old="kitty", new="cat", items=3)], corrected=[correction], forgotten=2)
    text = read(replace(sources, report=sources.report.model_copy(update={"overlay": overlay}))).text
    assert "kitty counts as cat (3 items)" in text
    assert "cat/00.png cat left out Ada: no animal in it" in text
    assert "2 forgotten" in text


@pytest.mark.parametrize("wanted", [True, False])
def test_thumbnails_false_leaves_every_image_out(tmp_path: Path, wanted: bool) -> None:
    params = parse_params({"report": {"thumbnails": wanted}})
    page = page_of(replace(hostile(tmp_path).reviewed(), params=params))
    assert ("data:image" in page) == ("<img" in page) == wanted
    assert "cat/00.png" in page


def test_nothing_is_loaded_from_elsewhere_and_nothing_runs(tmp_path: Path) -> None:
    assert_self_contained(page_of(hostile(tmp_path).reviewed()))


def test_hostile_names_are_shown_and_never_run(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    names = [*(name.replace("/", "\N{DIVISION SLASH}")[:60] for name in HOSTILE), "$x^2$ & 'co'", "猫", "~1~"]
    for number, name in enumerate(names):
        write(root / name / f"{number}.png", encoded(noise(number)))
    page = page_of(Scene(root).sources())
    assert_self_contained(page)
    text = PageReader(page).text
    assert all(" ".join(name.split()) in text for name in names)
    assert "<img src=x" not in page


@pytest.mark.parametrize("classes", [1, 2, 24, 25, 130, 700])
def test_every_number_of_classes_gives_a_whole_page(tmp_path: Path, classes: int) -> None:
    sources = scene(tmp_path).sources()
    per_label = {f"class {index:03d}": index + 1 for index in range(classes)}
    page = page_of(replace(sources, report=sources.report.model_copy(update={"items_per_label": per_label})))
    text = PageReader(page).text
    assert (f"the largest has {classes:.3g} times" in text) == (classes > 1)
    assert ("all in reports/validation.json" in text) == (classes > 500)
    assert len(page) < 300_000


def test_data_without_a_usable_item_give_a_page(tmp_path: Path) -> None:
    text = read(Scene(tmp_path, passed=False).file("cat/a.png", b"").file("dog/b.png", b"no").sources()).text
    assert "The data are refused" in text
    assert "Sizes and light" not in text


def test_equal_inputs_give_equal_bytes_elsewhere_in_another_process_and_with_a_matplotlibrc(tmp_path: Path) -> None:
    here = written(scene(tmp_path / "here" / "data" / "raw").reviewed(), tmp_path / "here")
    there = written(scene(tmp_path / "over" / "there" / "data" / "raw").reviewed(), tmp_path / "over" / "there")
    write_validation_page(here, parse_params({"data": {"path": "data/raw"}}), reviewed=True)
    write(tmp_path / "matplotlibrc", b"lines.linewidth: 9\naxes.facecolor: red\nsvg.fonttype: path\n")
    program = (
        "import sys; from pathlib import Path; from tasks.workspace import Workspace;"
        "from tasks.params import parse_params as parse; sys.path.insert(0, sys.argv[2]);"
        "from tasks.plots.validation_page import write_validation_page as write;"
        "write(Workspace(Path(sys.argv[1])), parse({'data': {'path': 'data/raw'}}), reviewed=True)"
    )
    environment = {"PYTHONHASHSEED": "7", "PYTHONPATH": str(Path.cwd()), "MATPLOTLIBRC": str(tmp_path / "matplotlibrc")}
    subprocess.run([sys.executable, "-c", program, there.root, "."], check=True, env=environment)
    assert here.validation_page.read_bytes() == there.validation_page.read_bytes()
    assert str(tmp_path) not in here.validation_page.read_text()


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    workspace = written(scene(tmp_path / "data" / "raw").sources(), tmp_path)
    with pytest.raises(StageInputError, match=r"split\.json.*stage split"):
        write_validation_page(workspace, parse_params({"data": {"path": "data/raw"}}), reviewed=True)


def test_a_page_of_hundreds_of_pictures_stays_below_two_megabytes(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    for number in range(60):
        write(root / "cat" / f"{number}.jpg", encoded(noise(number, 200, 200), "JPEG", quality=95))
    sources = Scene(root).sources()
    every = [FailingItem(path=f"cat/{number}.jpg", reason="mean grey 3") for number in range(60)]
    rules = [
        rule.model_copy(
            update={"rule": name, "severity": "warning", "passed": False, "failing": every[first : first + 24]}
        )
        for rule in sources.report.rules[:1]
        for first, name in enumerate(("brightness", "sharpness", "frames", "aspect", "own_rule", *"abcdefghijklmn"))
    ]
    page = page_of(replace(sources, report=sources.report.model_copy(update={"rules": rules})))
    assert page.count("<img") > 50
    assert "left out to keep the page small" in page
    assert len(page) < 2_000_000


def test_validate_leaves_the_page_when_it_refuses_and_only_then(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    hostile(workspace.raw)
    params = parse_params({"data": {"path": "data/raw"}})
    with pytest.raises(ContractBroken, match=r"See reports/validation\.html"):
        validate(workspace, params)
    page = PageReader(workspace.validation_page.read_text(encoding="utf-8"))
    assert "The data are refused" in page.text
    assert "cat/torn.png" in page.text
    workspace.validation_page.unlink()
    validate(workspace, parse_params({"data": {"path": "data/raw"}, "validate": {"max_undecodable_share": 0.5}}))
    assert not workspace.validation_page.exists()


def test_data_check_draws_a_page_of_any_folder(tmp_path: Path) -> None:
    hostile(tmp_path / "photos")
    page = tmp_path / "out" / "data.html"
    report = check_data(tmp_path / "photos", parse_params({}), page=page)
    text = PageReader(page.read_text(encoding="utf-8")).text
    assert f"{report.listed} files" in text
    assert "dog/tiny.png" in text


def test_every_odd_file_that_the_door_lets_in_gets_a_picture(real_data: Path) -> None:
    sources = Scene(real_data / "data" / "awkward_images" / "files").sources()
    accepted = [row["path"] for row in sources.items.to_pylist() if row["status"] == "accepted"]
    assert len(accepted) > 30
    report = sources.report
    rules = [
        report.rules[0].model_copy(
            update={
                "rule": f"own {first}",
                "severity": "warning",
                "passed": False,
                "failing": [FailingItem(path=path, reason="look") for path in accepted[first : first + 20]],
            }
        )
        for first in range(0, len(accepted), 20)
    ]
    page = page_of(replace(sources, report=report.model_copy(update={"rules": rules})))
    assert_self_contained(page)
    assert "no picture" not in page
    assert "cannot be drawn" not in page
    shown = {name.split(", labelled")[0] for name in PageReader(page).pictures}
    assert len(shown & set(accepted)) == len(
        {row["sha256"] for row in sources.items.to_pylist() if row["path"] in accepted}
    )
