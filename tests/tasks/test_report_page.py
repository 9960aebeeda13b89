from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import page_sources
import pyarrow as pa
import pytest
from image_files import encoded, noise, write
from page_reader import HOSTILE, PageReader, assert_self_contained
from page_sources import Run

from tasks.errors import StageInputError
from tasks.params import Params, parse_params
from tasks.plots.confusion_map import confused_pairs, confusion_map
from tasks.plots.markdown import confusion_markdown, metrics_table, verdict_markdown
from tasks.plots.mistakes import read_mistakes
from tasks.plots.number_text import EN_DASH, MINUS, telling_digits
from tasks.plots.page_rows import headline, rule_row
from tasks.plots.report_page import write_report_page
from tasks.reports import Estimate, ReviewKind, ReviewReport
from tasks.tables import write_table


def page_of(run: Run, folder: Path) -> str:
    workspace = run.write(folder)
    write_report_page(workspace, run.params)
    return workspace.page.read_text(encoding="utf-8")


def test_the_verdict_and_its_rules_come_before_everything_else(tmp_path: Path) -> None:
    run = page_sources.run()
    text = PageReader(page_of(run, tmp_path)).text
    assert "Passed the gate All 7 rules of the gate hold." in text
    assert text.index("Passed the gate") < text.index("gain_ over_ raw_ pixels") < text.index("Bars are 95% intervals")
    assert f"accuracy {run.evaluation.accuracy.value:.3f} 0.800 +" in text


def test_a_refusal_says_what_broke_and_why(tmp_path: Path) -> None:
    run = page_sources.run(["cat", "dog", "bird"], skill=2.0, least_accuracy=0.99)
    page = PageReader(page_of(run, tmp_path))
    assert not run.verdict.passed
    assert "Refused by the gate" in page.text
    assert "Passed the gate" not in page.text
    assert all(reason in page.text for reason in run.verdict.reasons)
    broken = [attributes for tag, attributes in page.tags if tag == "tr" and attributes.get("class") == "broken"]
    assert len(broken) == sum(not rule.passed for rule in run.verdict.rules) > 0


def test_scores_intervals_baselines_and_gains_stand_on_the_page(tmp_path: Path) -> None:
    run = page_sources.run()
    text = PageReader(page_of(run, tmp_path)).text
    for estimate in (run.evaluation.accuracy, run.evaluation.macro_f1):
        assert f"{estimate.value:.3f} {estimate.low:.3f}{EN_DASH}{estimate.high:.3f}" in text
    for baseline in run.evaluation.baselines:
        assert f"{baseline.gain.value:+.3f} {baseline.gain.low:+.3f} to {baseline.gain.high:+.3f}" in text


def test_equal_reports_give_equal_bytes_in_another_folder_and_process(tmp_path: Path) -> None:
    run = page_sources.run(["a", "b"])
    here, there = run.write(tmp_path / "here"), run.write(tmp_path / "elsewhere" / "there")
    write_report_page(here, run.params)
    program = (
        "import sys; from pathlib import Path; from tasks.workspace import Workspace; from tasks.params import Params;"
        "from tasks.plots.report_page import write_report_page as write; write(Workspace(Path(sys.argv[1])), Params())"
    )
    subprocess.run([sys.executable, "-c", program, there.root], check=True, env={"PYTHONHASHSEED": "7"})
    assert here.page.read_bytes() == there.page.read_bytes()


def test_labels_and_paths_are_shown_and_never_run(tmp_path: Path) -> None:
    run = page_sources.run(HOSTILE, skill=3.0)
    page = PageReader(page_of(run, tmp_path))
    assert not {tag for tag, _ in page.tags} & {"script", "img", "iframe", "object", "form"}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on") or name == "style"]
    assert all(label in page.text for label in HOSTILE)


def test_the_page_loads_nothing_and_its_policy_forbids_it(tmp_path: Path) -> None:
    page = page_of(page_sources.run(), tmp_path)
    assert_self_contained(page)
    style = re.search(r"<style>(.*?)</style>", page, re.S)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:" in page


def test_the_page_is_the_same_wherever_data_weights_and_store_lie(tmp_path: Path) -> None:
    run = page_sources.run(["a", "b"])
    moved = {
        "data": {"path": "/home/ada/secret/photos", "table": "/home/ada/secret/list.csv"},
        "backbone": {"weights": "/home/ada/secret/net.pth"},
        "publish": {"store": "/home/ada/secret/store"},
        "limits": {"threads": 3},
    }
    at_home = Run(**{**vars(run), "params": parse_params(moved)})
    page = page_of(at_home, tmp_path / "home")
    assert page == page_of(Run(**{**vars(run), "params": Params()}), tmp_path / "desk")
    assert "secret" not in page
    assert str(tmp_path) not in page


def test_a_path_among_the_shown_parameters_loses_its_folder(tmp_path: Path) -> None:
    params = parse_params({"validate": {"suite": "/home/ada/secret/suite.json"}})
    page = page_of(page_sources.run(params=params), tmp_path)
    assert "secret" not in page
    assert "suite.json" in page


@pytest.mark.parametrize("classes", [2, 3, 10, 20, 21, 50, 100, 130])
def test_every_number_of_classes_gives_a_whole_page(tmp_path: Path, classes: int) -> None:
    labels = [f"class {index:03d}" for index in range(classes)]
    page = PageReader(page_of(page_sources.run(labels, per_class=6, skill=3.0), tmp_path))
    assert page.text.count("class 000") > 2
    counted = sum(attributes.get("class") == "matrix" for tag, attributes in page.tags if tag == "table")
    assert counted == (classes <= 20)
    assert ("The 100 classes with the most errors" in page.text) == (classes > 100)


def test_a_page_without_mistakes_baselines_or_rules_says_so(tmp_path: Path) -> None:
    run = page_sources.run(["ants", "bees"], skill=60.0)
    bare = Run(
        **{
            **vars(run),
            "evaluation": run.evaluation.model_copy(update={"baselines": []}),
            "verdict": run.verdict.model_copy(update={"rules": []}),
            "adaptation": run.adaptation.model_copy(
                update={"scores": [], "out_of_fold_accuracy": None, "out_of_fold_loss": None}
            ),
        }
    )
    text = PageReader(page_of(bare, tmp_path)).text
    assert "None: every test item is predicted as labelled." in text
    assert "No baseline was asked for" in text
    assert "Most frequent errors" not in text
    assert "too few items to choose it out of fold" in text


def test_the_most_confident_mistakes_come_first_and_are_all_counted(tmp_path: Path) -> None:
    run = page_sources.run(skill=2.5)
    write_table(run.predictions, tmp_path / "predictions.parquet")
    mistakes = read_mistakes(tmp_path / "predictions.parquet", run.evaluation.labels, most=5)
    rows = [row for row in run.predictions.to_pylist() if row["label"] != row["predicted"]]
    rows.sort(key=lambda row: (-row["probability"], row["path"]))
    assert mistakes.total == len(rows) > 5
    assert [mistake.path for mistake in mistakes.shown] == [row["path"] for row in rows[:5]]
    first, label = rows[0], run.evaluation.labels.index(rows[0]["label"])
    assert mistakes.shown[0].label_probability == pytest.approx(first["probabilities"][label])


def test_quarantined_files_are_named_up_to_fifty_and_the_rest_counted(tmp_path: Path) -> None:
    run = page_sources.run(["a", "b"])
    broken = [run.validation.quarantined[0].model_copy(update={"path": f"a/torn_{row:03d}.png"}) for row in range(80)]
    many = Run(**{**vars(run), "validation": run.validation.model_copy(update={"quarantined": broken})})
    text = PageReader(page_of(many, tmp_path)).text
    assert "Quarantined (80)" in text
    assert "torn_049.png" in text
    assert "torn_050.png" not in text
    assert "30 more in reports/validation.json" in text


def test_one_thing_is_not_called_things(tmp_path: Path) -> None:
    text = PageReader(page_of(page_sources.run(["a", "b"]), tmp_path)).text
    assert "1 other file ignored" in text
    assert "0 items left out" in text


def test_known_leaks_are_confessed_where_the_scores_stand(tmp_path: Path) -> None:
    run = page_sources.run(["a", "b"])
    sealed = Run(**{**vars(run), "split": run.split.model_copy(update={"leaks": []})})
    assert "has seen, but for 1 leak named under Data. Bars" in PageReader(page_of(run, tmp_path / "leaking")).text
    assert "has seen. Bars" in PageReader(page_of(sealed, tmp_path / "sealed")).text


def test_a_limit_on_the_lower_bound_is_drawn_as_such(tmp_path: Path) -> None:
    params = parse_params({"gate": {"accuracy": {"minimum": 0.7, "judged_on": "lower_bound"}}})
    text = PageReader(page_of(page_sources.run(params=params), tmp_path)).text
    assert "accuracy 0.700 (for the lower end of the bar), macro-F1 0.800." in text


def test_a_test_set_without_items_is_refused_and_still_drawn(tmp_path: Path) -> None:
    run = page_sources.run(["a", "b"], least_accuracy=1.0)
    none = [[0, 0], [0, 0]]
    scores = [score.model_copy(update={"items": 0, "recall": 0.0}) for score in run.evaluation.per_class]
    unknown = Estimate(value=0.0, low=0.0, high=1.0, method="wilson")
    update = {"test_items": 0, "per_class": scores, "confusion": none, "accuracy": unknown, "macro_f1": unknown}
    evaluation = run.evaluation.model_copy(update=update)
    rules = [page_sources.rule("accuracy", None, 0.8), page_sources.rule("min_test_items", 0.0, 30.0, "count")]
    verdict = run.verdict.model_copy(update={"rules": rules, "passed": False, "reasons": ["no test items"]})
    empty = Run(
        **{**vars(run), "evaluation": evaluation, "verdict": verdict, "predictions": run.predictions.slice(0, 0)}
    )
    text = PageReader(page_of(empty, tmp_path)).text
    assert "2 of the gate's 2 rules are broken" in text
    assert "not available 0.800 none" in text
    assert f"min_ test_ items 0 30 {MINUS}30" in text
    assert "There are no test items." in text


def test_a_missing_report_is_named_with_the_stage_that_writes_it(tmp_path: Path) -> None:
    workspace = page_sources.run().write(tmp_path)
    workspace.split_report.unlink()
    with pytest.raises(StageInputError, match=r"split\.json.*stage split"):
        write_report_page(workspace, Params())
    assert not workspace.page.exists()


def test_a_changed_parameter_stands_beside_its_default(tmp_path: Path) -> None:
    params = parse_params({"split": {"test_share": 0.4}})
    text = PageReader(page_of(page_sources.run(params=params), tmp_path)).text
    assert "Changed from the default: Parameter Value Default split. test_ share 0.4 0.25 All" in text


def test_a_value_just_below_its_limit_never_looks_equal_to_it() -> None:
    row = rule_row(page_sources.rule("accuracy", 0.79996, 0.8))
    assert (row.value, row.limit, row.margin) == ("0.79996", "0.80000", f"{MINUS}0.00004")
    assert telling_digits(0.8, 0.8) == 3


def test_the_headline_agrees_in_number_with_its_rules() -> None:
    passed = page_sources.verdict(page_sources.evaluation(["a", "b"]))
    one = passed.model_copy(update={"rules": [page_sources.rule("accuracy", 0.9, 0.8)]})
    broken = [page_sources.rule("accuracy", 0.7, 0.8)]
    refused = one.model_copy(update={"passed": False, "rules": broken})
    assert headline(passed) == "All 7 rules of the gate hold."
    assert headline(one) == "The gate's only rule holds."
    assert headline(refused).startswith("The gate's only rule is broken;")
    assert headline(refused.model_copy(update={"rules": broken + passed.rules})).startswith(
        "1 of the gate's 8 rules is"
    )


def test_a_rule_without_a_value_is_broken_and_says_so() -> None:
    row = rule_row(page_sources.rule("gain_over_raw_pixels", None, 0.0))
    assert rule_row(page_sources.rule("min_test_items", 1747.0, 30.0, "count")).margin == "+1,717"
    assert (row.value, row.margin, row.passed) == ("not available", "none", False)


def test_the_confusion_map_and_its_pairs_agree_with_the_matrix() -> None:
    report = page_sources.evaluation(page_sources.DIGITS, skill=2.0)
    drawn = confusion_map(report)
    assert [[cell.count for cell in row] for row in drawn.cells] == report.confusion
    assert all(bool(cell.shade) == bool(cell.count) for row in drawn.cells for cell in row)
    worst = max(
        (count, row, column)
        for row, counts in enumerate(report.confusion)
        for column, count in enumerate(counts)
        if row != column
    )
    assert confused_pairs(report)[0].count == worst[0]


def test_a_class_without_test_items_can_be_drawn() -> None:
    report = page_sources.evaluation(["a", "b", "c"])
    empty = report.model_copy(update={"confusion": [[3, 1, 0], [0, 4, 0], [0, 0, 0]]})
    assert [cell.shade for cell in confusion_map(empty).cells[2]] == ["", "", ""]


def test_markdown_keeps_its_columns_whatever_the_labels_hold() -> None:
    report = page_sources.evaluation(["a|b", "<b>bold</b>", "under_score\nline"])
    lines = confusion_markdown(report).splitlines()
    assert len(lines) == 5
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {5}
    assert "<b>" not in "".join(lines)


def test_markdown_shows_the_twenty_classes_with_the_most_errors() -> None:
    labels = [f"class{index}" for index in range(40)]
    report = page_sources.evaluation(labels, per_class=8, skill=2.5)
    text = confusion_markdown(report)
    errors = {
        label: sum(report.confusion[i]) + sum(row[i] for row in report.confusion) - 2 * report.confusion[i][i]
        for i, label in enumerate(labels)
    }
    shown = re.findall(r"^\| (class\d+) ", text, re.M)
    assert len(shown) == 20
    assert min(errors[label] for label in shown) >= max(errors[label] for label in set(labels) - set(shown))
    assert "The 20 of 40 classes" in text


def test_the_verdict_in_markdown_holds_every_rule_and_reason() -> None:
    report = page_sources.evaluation(["cat", "dog"], skill=1.0)
    text = verdict_markdown(page_sources.verdict(report, least_accuracy=0.999))
    assert text.startswith("## Refused by the gate")
    assert text.count("| holds |") + text.count("| broken |") == 7
    assert "- accuracy" in text


def test_the_metrics_table_has_the_model_and_every_baseline() -> None:
    report = page_sources.evaluation(page_sources.DIGITS)
    rows = metrics_table(report)
    assert [row["model"] for row in rows] == ["this model", "majority", "raw pixels"]
    assert len({tuple(row) for row in rows}) == 1
    assert rows[0]["accuracy"] == f"{report.accuracy.value:.3f}"


def with_raw_files(run: Run, root: Path) -> Run:
    """The run with a real image behind every prediction, in data/raw."""
    rows = run.predictions.to_pylist()
    for number, row in enumerate(rows):
        data = encoded(noise(number))
        write(root / "data" / "raw" / row["path"], data)
        row["sha256"] = hashlib.sha256(data).hexdigest()
    predictions = pa.Table.from_pylist(rows, schema=run.predictions.schema)
    return Run(**{**vars(run), "predictions": predictions})


@pytest.mark.parametrize("wanted", [True, False])
def test_mistakes_are_shown_unless_params_leave_images_out(tmp_path: Path, wanted: bool) -> None:
    params = parse_params({"data": {"path": "data/raw"}, "report": {"thumbnails": wanted}})
    run = with_raw_files(page_sources.run(["a", "b"], per_class=20, skill=1.5, params=params), tmp_path)
    page = page_of(run, tmp_path)
    mistakes = read_mistakes(tmp_path / "reports" / "predictions.parquet", ["a", "b"]).shown
    assert ("data:image" in page) == ("<img" in page) == wanted
    shown = [f"{mistake.path}, labelled {mistake.label}" for mistake in mistakes]
    assert PageReader(page).pictures == (shown if wanted else [])
    assert all(mistake.path in page for mistake in mistakes)
    assert_self_contained(page)


def test_a_raw_file_that_is_gone_or_changed_costs_its_picture_alone(tmp_path: Path) -> None:
    params = parse_params({"data": {"path": "data/raw"}})
    run = with_raw_files(page_sources.run(["a", "b"], per_class=20, skill=1.5, params=params), tmp_path)
    first, second = read_mistakes_of(run, tmp_path)[:2]
    (tmp_path / "data" / "raw" / first).unlink()
    write(tmp_path / "data" / "raw" / second, encoded(noise(999)))
    page = PageReader(page_of(run, tmp_path))
    assert "the file cannot be read" in page.text
    assert "the file is not the one that was validated" in page.text
    assert len(page.pictures) > 0


def read_mistakes_of(run: Run, root: Path) -> list[str]:
    write_table(run.predictions, root / "predictions.parquet")
    return [mistake.path for mistake in read_mistakes(root / "predictions.parquet", run.evaluation.labels).shown]


def test_the_data_page_is_linked_where_review_has_written_it(tmp_path: Path) -> None:
    run = page_sources.run(["a", "b"])
    assert "validation.html" not in page_of(run, tmp_path / "alone")
    workspace = run.write(tmp_path / "reviewed")
    found: dict[ReviewKind, int] = {"likely_wrong": 7}
    review = ReviewReport(items=9, scored=9, confirmed=0, accuracy=0.9, expected_wrong=7, found=found, entries=[])
    review.write(workspace.review_report)
    write_report_page(workspace, run.params)
    page = workspace.page.read_text(encoding="utf-8")
    assert '<a href="validation.html">' in page
    assert "The label review names 7 labels as likely wrong" in page
