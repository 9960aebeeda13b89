"""The pinned releases on today's test items: whole copies, own preprocessing, class names, and fair items only."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from champion_scene import change_release, enthrone, pin, record_use
from small_workspace import CLASSES, change_params, copy_workspace, run_stages

from tasks import champion_scoring
from tasks.champion_scoring import Challenger, champion_predictions, compare_with_pinned
from tasks.digests import file_sha256, folder_sha256
from tasks.errors import StageInputError
from tasks.methods.features import read_labelled_items
from tasks.params import Params, load_params
from tasks.release import manifest_sha256
from tasks.reports import ChampionPin, EvaluationReport, PairedComparison
from tasks.reports.backbone import BackboneReport
from tasks.tables import CHAMPION_PREDICTIONS, PREDICTIONS, SPLITS, read_table, write_table
from tasks.workspace import Workspace


def challenger(workspace: Workspace, wrong: int = 0) -> Challenger:
    """A model that is right on all test items but the first `wrong`."""
    tested = read_labelled_items(workspace).on(["test"])
    predicted = tested.labels.copy()
    predicted[:wrong] = 1 - predicted[:wrong]
    return Challenger(
        names=tested.names,
        paths=tested.paths,
        sha256=tested.sha256,
        labels=tested.labels,
        predicted=predicted,
        adapted="another model",
        backbone=BackboneReport.read(workspace.backbone / "backbone.json"),
    )


def compared(workspace: Workspace, ours: Challenger | None = None, params: Params | None = None) -> PairedComparison:
    (only,) = compare_with_pinned(workspace, params or load_params(workspace.params), ours or challenger(workspace))
    return only.comparison


def answers_of_the_release(workspace: Workspace) -> list[str]:
    """What the release's model called the test items when it was evaluated."""
    predicted: list[str] = read_table(workspace.predictions, PREDICTIONS)["predicted"].to_pylist()
    return predicted


def test_a_release_answers_from_raw_files_as_it_did_when_it_was_evaluated(finished: Workspace) -> None:
    champion = enthrone(finished)
    ours = challenger(finished, wrong=3)
    (only,) = compare_with_pinned(finished, load_params(finished.params), ours)
    then = EvaluationReport.read(finished.evaluation)
    assert only.predicted == answers_of_the_release(finished)
    pair = only.comparison
    assert (pair.against, pair.version, pair.manifest_sha256) == ("champion", 3, champion.manifest_sha256)
    assert (pair.accuracy, pair.macro_f1) == (then.accuracy.value, then.macro_f1.value)
    assert pair.counts is not None
    assert pair.gain is not None
    assert pair.macro_f1_gain is not None
    assert pair.mcnemar_p is not None
    assert pair.counts.items == then.test_items
    assert pair.counts.only_challenger + pair.counts.both == then.test_items - 3
    assert pair.gain.value == pytest.approx(0.7 - then.accuracy.value)
    assert pair.gain.low < pair.gain.value < pair.gain.high
    assert (pair.incomparable, pair.unchanged) == ("", False)


def test_classes_are_aligned_by_name_whatever_their_order(finished: Workspace) -> None:
    enthrone(finished)
    ours = challenger(finished, wrong=2)
    turned = replace(ours, names=ours.names[::-1], labels=1 - ours.labels, predicted=1 - ours.predicted)
    assert compared(finished, turned) == compared(finished, ours)


def test_a_renamed_class_is_compared_where_an_alias_says_so_and_only_there(finished: Workspace) -> None:
    enthrone(finished)
    ours = challenger(finished, wrong=2)
    plain = compared(finished, ours)
    renamed = replace(ours, names=["blaze", "ocean"])
    refused = compared(finished, renamed)
    assert refused.counts is None
    assert "v3 does not know 'blaze' and v3 knows 'ember', which the data have no longer" in refused.incomparable
    assert "data.label_aliases" in refused.incomparable
    aliased = change_params(finished, {"data": {"label_aliases": {"ember": "blaze"}}})
    assert compared(finished, renamed, aliased).counts == plain.counts


def test_a_class_that_is_new_or_gone_is_named(finished: Workspace) -> None:
    enthrone(finished)
    ours = challenger(finished)
    more = compared(finished, replace(ours, names=[*ours.names, "slate"]))
    assert "the classes changed: v3 does not know 'slate';" in more.incomparable
    fewer = compared(finished, replace(ours, names=["ember"], labels=0 * ours.labels, predicted=0 * ours.predicted))
    assert "the classes changed: v3 knows 'ocean', which the data have no longer;" in fewer.incomparable


def test_merged_classes_count_as_the_one_they_became(finished: Workspace) -> None:
    enthrone(finished)
    ours = challenger(finished)
    merged = replace(ours, names=["scene"], labels=0 * ours.labels, predicted=0 * ours.predicted)
    params = change_params(finished, {"data": {"label_aliases": dict.fromkeys(CLASSES, "scene")}})
    pair = compared(finished, merged, params)
    assert pair.counts is not None
    assert pair.counts.both == pair.counts.items == 10


def with_sides(workspace: Workspace, side: Callable[[str, str], str]) -> pa.Table:
    rows = read_table(workspace.splits, SPLITS).to_pydict()
    sides = [side(path, was) for path, was in zip(rows["path"], rows["side"], strict=True)]
    return pa.table({**rows, "side": sides}, schema=SPLITS)


@pytest.mark.parametrize("side", ["train", "validation"])
def test_a_test_item_that_the_champion_learned_from_makes_it_incomparable(finished: Workspace, side: str) -> None:
    seen = challenger(finished).paths[4]
    splits = with_sides(finished, lambda path, was: side if path == seen else was)
    ChampionPin(champion=pin(finished, finished.release, 3, splits)).write(finished.champion_pin)
    pair = compared(finished)
    assert pair.counts is None
    assert f"the test set changed: v3 learned from 1 item of it, such as {seen};" in pair.incomparable
    assert "graft promote VERSION --force" in pair.incomparable


def test_a_test_set_that_only_grew_is_comparable(finished: Workspace) -> None:
    """The champion was tested on fewer of its items and knows nothing of the others."""
    new = challenger(finished).paths[:4]
    splits = with_sides(finished, lambda path, was: "left_out" if path in new else was)
    ChampionPin(champion=pin(finished, finished.release, 3, splits)).write(finished.champion_pin)
    pair = compared(finished)
    assert pair.counts is not None
    assert pair.counts.items == 10


def test_a_release_whose_items_nobody_recorded_is_incomparable(finished: Workspace) -> None:
    champion = enthrone(finished)
    unknown = champion.model_copy(update={"items_sha256": None})
    ChampionPin(champion=unknown).write(finished.champion_pin)
    assert "what v3 learned from is not on record" in compared(finished).incomparable


def test_without_test_items_nothing_is_compared(finished: Workspace) -> None:
    enthrone(finished)
    ours = challenger(finished)
    none = replace(ours, paths=[], sha256=[], labels=ours.labels[:0], predicted=ours.predicted[:0])
    assert compared(finished, none).incomparable.startswith("there are no test items; ")


def test_a_release_that_takes_other_input_is_incomparable(finished: Workspace) -> None:
    change_release(finished.release, "preprocess.json", lambda parts: parts.update(crop=30))
    enthrone(finished)
    pair = compared(finished)
    assert pair.counts is None
    assert "v3 takes other input" in pair.incomparable
    assert "preprocess.json crops to 30" in pair.incomparable


def test_a_release_that_this_machine_no_longer_answers_alike_is_incomparable(finished: Workspace) -> None:
    def other_answers(golden: dict[str, list[dict[str, list[float]]]]) -> None:
        golden["cases"][0]["probabilities"] = golden["cases"][0]["probabilities"][::-1]

    change_release(finished.release, "golden/golden.json", other_answers)
    enthrone(finished)
    assert "v3 no longer answers here as it did when it was released" in compared(finished).incomparable


def as_evaluated(workspace: Workspace) -> Challenger:
    return replace(challenger(workspace), adapted=folder_sha256(workspace.adapted))


def never(folder: Path) -> None:
    raise AssertionError(f"{folder} was opened")


def test_the_very_model_is_unchanged_and_not_run_again(finished: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    enthrone(finished)
    monkeypatch.setattr(champion_scoring, "ReleaseRun", never)
    pair = compared(finished, as_evaluated(finished))
    assert pair.unchanged
    assert (pair.counts, pair.gain, pair.incomparable) == (None, None, "")


@pytest.mark.parametrize(
    "differing",
    [
        lambda ours: replace(ours, adapted="0" * 64),
        lambda ours: replace(ours, backbone=ours.backbone.model_copy(update={"graph_sha256": "0" * 64})),
        lambda ours: replace(
            ours,
            backbone=ours.backbone.model_copy(
                update={"preprocess": ours.backbone.preprocess.model_copy(update={"resize": 40})}
            ),
        ),
        lambda ours: replace(ours, names=ours.names[::-1], labels=1 - ours.labels, predicted=1 - ours.predicted),
    ],
    ids=["adapted", "backbone", "preprocessing", "labels"],
)
def test_another_head_network_preprocessing_or_order_of_classes_is_another_model(
    finished: Workspace, differing: Callable[[Challenger], Challenger]
) -> None:
    enthrone(finished)
    pair = compared(finished, differing(as_evaluated(finished)))
    assert not pair.unchanged
    assert pair.counts is not None


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def items_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.items.parquet")


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (
            lambda folder: folder.rename(folder.with_name("elsewhere")),
            r"the copy of v3, \.graft/champions/.* is missing",
        ),
        (lambda folder: truncate(folder / "model.onnx"), r"the copy of v3 .*model\.onnx was altered or truncated"),
        (lambda folder: (folder / "model.onnx").unlink(), r"the copy of v3 .*model\.onnx is missing"),
        (
            lambda folder: (folder / "notes.txt").write_text("mine"),
            r"the copy of v3 .*notes\.txt does not belong there",
        ),
        (
            lambda folder: change_release(folder, "preprocess.json", lambda parts: parts.update(resize=40)),
            "the copy of v3, .* holds another release",
        ),
        (lambda folder: items_of(folder).unlink(), r"the copy of v3: .*\.items\.parquet is missing or damaged"),
        (lambda folder: truncate(items_of(folder)), r"the copy of v3: .*\.items\.parquet is missing or damaged"),
    ],
    ids=["gone", "truncated", "file gone", "more", "another", "items gone", "items truncated"],
)
def test_a_copy_that_is_missing_or_damaged_is_named_with_the_mend(
    finished: Workspace, spoil: Callable[[Path], None], complaint: str
) -> None:
    champion = enthrone(finished)
    spoil(finished.pinned_release(champion.manifest_sha256))
    with pytest.raises(StageInputError, match=rf"{complaint}.*; run `graft adapt`, which copies it from the release"):
        compared(finished)


def test_a_missing_pin_is_named_with_the_mend(finished: Workspace) -> None:
    finished.champion_pin.unlink()
    with pytest.raises(StageInputError, match=r"champion\.json is missing; run `graft adapt`, which pins"):
        compare_with_pinned(finished, load_params(finished.params), challenger(finished))


# through the stage


def retrained(workspace: Workspace) -> EvaluationReport:
    """The report on another model than the one that was released."""
    change_params(workspace, {"adapt": {"method": {"head": "ridge"}}})
    run_stages(workspace, "adapt", "evaluate")
    return EvaluationReport.read(workspace.evaluation)


def test_evaluate_writes_the_comparison_its_answers_and_its_figures(finished: Workspace) -> None:
    before, champion = answers_of_the_release(finished), enthrone(finished)
    report = retrained(finished)
    (pair,) = report.comparisons
    assert pair.manifest_sha256 == champion.manifest_sha256
    assert pair.gain is not None
    assert pair.accuracy is not None
    assert pair.gain.value == pytest.approx(report.accuracy.value - pair.accuracy)
    assert pair.macro_f1_gain is not None
    assert pair.macro_f1 is not None
    assert pair.macro_f1_gain.value == pytest.approx(report.macro_f1.value - pair.macro_f1)
    rows = read_table(finished.champion_predictions, CHAMPION_PREDICTIONS).to_pydict()
    gated = read_table(finished.predictions, PREDICTIONS).to_pydict()
    assert [rows[name] for name in ("path", "sha256", "label")] == [gated[name] for name in ("path", "sha256", "label")]
    assert rows["champion"] == before
    assert rows["best"] == [None] * 10
    flat = json.loads(finished.metrics.read_text())
    assert (flat["champion_accuracy"], flat["gain_over_champion"]) == (pair.accuracy, pair.gain.value)
    assert report.digests.champion_pin == file_sha256(finished.champion_pin)
    assert report.digests.champion_predictions == file_sha256(finished.champion_predictions)


def test_the_best_so_far_is_compared_with_too(finished: Workspace) -> None:
    best = pin(finished, finished.release, version=2)
    retrained(finished)
    run_stages(finished, "gate", "export")
    champion = enthrone(finished, version=5, best=best)
    ours = challenger(finished, wrong=1)
    both = compare_with_pinned(finished, load_params(finished.params), ours)
    pairs = [one.comparison for one in both]
    assert [(pair.against, pair.version) for pair in pairs] == [("champion", 5), ("best", 2)]
    assert [pair.manifest_sha256 for pair in pairs] == [champion.manifest_sha256, best.manifest_sha256]
    table = champion_predictions(ours, both)
    assert [table["champion"].to_pylist(), table["best"].to_pylist()] == [one.predicted for one in both]


def test_the_best_so_far_may_be_the_very_model(finished: Workspace) -> None:
    best = pin(finished, finished.release, version=2)
    retrained(finished)
    run_stages(finished, "gate", "export")
    enthrone(finished, version=5, best=best)
    change_params(finished, {"adapt": {"method": {"head": "logistic"}}})
    run_stages(finished, "adapt", "evaluate")
    champion, same = EvaluationReport.read(finished.evaluation).comparisons
    assert champion.counts is not None
    assert (same.against, same.unchanged, same.counts) == ("best", True, None)
    table = read_table(finished.champion_predictions, CHAMPION_PREDICTIONS)
    assert (table["champion"].null_count, table["best"].null_count) == (0, 10)


def test_with_nothing_in_production_no_release_is_opened_and_the_evaluation_says_what_it_said(
    finished: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = finished.evaluation.read_bytes()
    monkeypatch.setattr(champion_scoring, "ReleaseRun", never)
    run_stages(finished, "evaluate")
    assert finished.evaluation.read_bytes() == before
    report, flat = EvaluationReport.read(finished.evaluation), json.loads(finished.metrics.read_text())
    assert report.comparisons == []
    assert (report.digests.champion_pin, report.digests.champion_predictions) == (None, None)
    assert not [name for name in flat if "champion" in name]
    assert read_table(finished.champion_predictions, CHAMPION_PREDICTIONS).num_rows == 0


def test_a_comparison_and_the_release_give_the_same_bytes_in_another_folder(
    finished: Workspace, tmp_path: Path
) -> None:
    enthrone(finished)
    there = copy_workspace(finished, tmp_path.resolve() / "elsewhere")
    for workspace in (finished, there):
        retrained(workspace)
        record_use(workspace, use=2)
        run_stages(workspace, "gate", "export")
    for name in ("evaluation", "champion_predictions", "metrics", "verdict"):
        assert getattr(there, name).read_bytes() == getattr(finished, name).read_bytes()
    assert manifest_sha256(there.release) == manifest_sha256(finished.release)


def test_a_test_set_is_its_contents_and_labels(finished: Workspace) -> None:
    known = EvaluationReport.read(finished.evaluation).test_set
    assert retrained(finished).test_set == known
    splits, place = read_table(finished.splits, SPLITS), SPLITS.get_field_index("side")
    test = [row for row, side in enumerate(splits["side"].to_pylist()) if side == "test"]
    fewer = ["left_out" if row == test[0] else side for row, side in enumerate(splits["side"].to_pylist())]
    write_table(splits.set_column(place, SPLITS.field(place), [fewer]), finished.splits)
    run_stages(finished, "evaluate")
    assert EvaluationReport.read(finished.evaluation).test_set != known
