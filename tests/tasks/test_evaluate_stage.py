"""Stage evaluate: every figure against the predictions, baselines, intervals, digests, and what it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from head_scene import FAST, NAMES, fast_params, sha, write_evaluated_scene, write_scene
from safetensors.numpy import load_file
from scipy.special import softmax
from sklearn import metrics as reference

from tasks.adapt import adapt
from tasks.digests import file_sha256, folder_sha256
from tasks.errors import StageInputError
from tasks.evaluate import evaluate
from tasks.intervals import wilson_interval
from tasks.params import EvaluateParams, Params
from tasks.reports import EvaluationReport
from tasks.reports.backbone import BackboneReport
from tasks.tables import ITEMS, PREDICTIONS, SPLITS, read_table, write_table
from tasks.workspace import Workspace


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A scene with some mistakes, adapted and evaluated; not to be changed."""
    return write_evaluated_scene(tmp_path_factory.mktemp("evaluated"), distance=3.0)


@pytest.fixture(scope="module")
def report(evaluated: Workspace) -> EvaluationReport:
    return EvaluationReport.read(evaluated.evaluation)


def test_predictions_are_the_head_on_the_features_of_exactly_the_test_items(evaluated: Workspace) -> None:
    rows, splits = (
        read_table(path, schema).to_pydict()
        for path, schema in ((evaluated.predictions, PREDICTIONS), (evaluated.splits, SPLITS))
    )
    tested = [row for row, side in enumerate(splits["side"]) if side == "test"]
    assert rows["path"] == [splits["path"][row] for row in tested]
    assert rows["sha256"] == [splits["sha256"][row] for row in tested]
    assert rows["label"] == [splits["label"][row] for row in tested]
    head = load_file(evaluated.adapted / "head.safetensors")
    features = np.load(evaluated.features)[tested]
    expected = softmax(features @ head["weight"].T + head["bias"], axis=1)
    np.testing.assert_allclose(np.array(rows["probabilities"]), expected, atol=1e-6)
    assert rows["predicted"] == [NAMES[guess] for guess in expected.argmax(axis=1)]
    np.testing.assert_allclose(rows["probability"], expected.max(axis=1), atol=1e-6)


def test_every_figure_agrees_with_scikit_learn_on_the_written_predictions(
    evaluated: Workspace, report: EvaluationReport
) -> None:
    rows = read_table(evaluated.predictions, PREDICTIONS).to_pydict()
    label, predicted = rows["label"], rows["predicted"]
    assert 0.5 < report.accuracy.value < 1
    assert report.accuracy.value == pytest.approx(reference.accuracy_score(label, predicted))
    assert report.macro_f1.value == pytest.approx(reference.f1_score(label, predicted, average="macro"))
    assert report.confusion == reference.confusion_matrix(label, predicted, labels=NAMES).tolist()
    expected = reference.precision_recall_fscore_support(label, predicted, labels=NAMES)
    ours = [[score.precision, score.recall, score.f1, score.items] for score in report.per_class]
    np.testing.assert_allclose(ours, np.transpose(expected))
    assert [score.label for score in report.per_class] == report.labels == list(NAMES)
    assert (report.train_items, report.validation_items, report.test_items) == (36, 12, 60)


def test_every_interval_holds_its_value(report: EvaluationReport) -> None:
    estimates = [report.accuracy, report.macro_f1]
    for baseline in report.baselines:
        estimates += [baseline.accuracy, baseline.macro_f1, baseline.gain]
    assert len(estimates) == 8
    assert all(estimate.low < estimate.value < estimate.high for estimate in estimates)
    assert all(score.recall_low <= score.recall <= score.recall_high for score in report.per_class)
    right = round(report.accuracy.value * 60)
    assert (report.accuracy.low, report.accuracy.high) == wilson_interval(right, 60, 0.95)


def test_baselines_guess_without_the_features_and_the_gain_is_the_difference(report: EvaluationReport) -> None:
    majority, pixels = report.baselines
    assert (majority.name, pixels.name) == ("majority", "raw_pixels")
    assert majority.accuracy.value == pytest.approx(1 / 3)
    assert pixels.accuracy.value < 0.6
    for baseline in report.baselines:
        assert baseline.gain.value == pytest.approx(report.accuracy.value - baseline.accuracy.value)


def test_raw_pixels_win_where_the_label_is_written_in_them(tmp_path: Path) -> None:
    workspace = write_scene(tmp_path, distance=0.0)
    items = read_table(workspace.items, ITEMS)
    pixels = [bytes([40 * NAMES.index(label)]) * 256 for label in items["label"].to_pylist()]
    column = ITEMS.names.index("pixels")
    write_table(items.set_column(column, "pixels", pa.array(pixels, ITEMS.types[column])), workspace.items)
    adapt(workspace, fast_params())
    evaluate(workspace, fast_params())
    pixels_score = EvaluationReport.read(workspace.evaluation).baselines[1]
    assert pixels_score.accuracy.value == 1.0
    assert pixels_score.gain.high < 0


def test_the_majority_is_that_of_the_items_learned_from(tmp_path: Path) -> None:
    workspace = write_scene(tmp_path)
    splits = read_table(workspace.splits, SPLITS)
    sides = [
        "left_out" if side == "train" and label != "cat" and int(path[4:7]) > 2 else side
        for path, label, side in zip(*(splits[name].to_pylist() for name in ("path", "label", "side")), strict=True)
    ]
    column = SPLITS.names.index("side")
    write_table(splits.set_column(column, SPLITS.field(column), [sides]), workspace.splits)
    adapt(workspace, fast_params())
    evaluate(workspace, fast_params())
    majority = EvaluationReport.read(workspace.evaluation).baselines[0]
    assert majority.accuracy.value == pytest.approx(1 / 3)


def test_only_the_baselines_of_params_are_measured(tmp_path: Path) -> None:
    params = Params(evaluate=EvaluateParams(bootstrap_samples=200, baselines=["majority"]))
    workspace = write_evaluated_scene(tmp_path, params)
    assert [score.name for score in EvaluationReport.read(workspace.evaluation).baselines] == ["majority"]


def test_metrics_are_flat_numbers_and_confusion_lists_every_test_item(
    evaluated: Workspace, report: EvaluationReport
) -> None:
    flat = json.loads(evaluated.metrics.read_text())
    assert all(isinstance(value, int | float) for value in flat.values())
    assert flat["accuracy"] == report.accuracy.value
    assert flat["macro_f1_low"] == report.macro_f1.low
    assert flat["gain_over_raw_pixels"] == report.baselines[1].gain.value
    assert flat["worst_class_recall"] == min(score.recall for score in report.per_class)
    with evaluated.confusion.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == report.test_items
    counts = reference.confusion_matrix([row["actual"] for row in rows], [row["predicted"] for row in rows])
    assert counts.tolist() == report.confusion


def test_the_digests_are_those_of_the_files(evaluated: Workspace, report: EvaluationReport) -> None:
    assert report.digests.data == sha("data")
    assert report.digests.adapted == folder_sha256(evaluated.adapted)
    assert report.digests.splits == file_sha256(evaluated.splits)
    assert report.digests.predictions == file_sha256(evaluated.predictions)


def test_the_same_workspace_gives_the_same_bytes_and_the_seed_moves_the_bootstrap_alone(
    evaluated: Workspace, tmp_path: Path
) -> None:
    again = write_evaluated_scene(tmp_path, distance=3.0)
    for name in ("evaluation", "predictions", "metrics", "confusion"):
        assert getattr(again, name).read_bytes() == getattr(evaluated, name).read_bytes()
    before = EvaluationReport.read(again.evaluation)
    evaluate(again, Params(evaluate=FAST.model_copy(update={"seed": 1})))
    after = EvaluationReport.read(again.evaluation)
    assert after.macro_f1.value == before.macro_f1.value
    assert (after.macro_f1.low, after.macro_f1.high) != (before.macro_f1.low, before.macro_f1.high)
    assert after.accuracy == before.accuracy


def test_without_test_items_nothing_is_claimed(tmp_path: Path) -> None:
    workspace = write_evaluated_scene(tmp_path, per_side={"train": 12})
    report = EvaluationReport.read(workspace.evaluation)
    assert report.test_items == 0
    assert (report.accuracy.value, report.accuracy.low, report.accuracy.high) == (0.0, 0.0, 1.0)
    assert (report.macro_f1.low, report.macro_f1.high) == (0.0, 1.0)
    assert (report.baselines[0].gain.low, report.baselines[0].gain.high) == (-1.0, 1.0)


def test_a_model_of_another_backbone_is_refused(tmp_path: Path) -> None:
    workspace = write_evaluated_scene(tmp_path)
    path = workspace.backbone / "backbone.json"
    BackboneReport.read(path).model_copy(update={"graph_sha256": sha("another graph")}).write(path)
    with pytest.raises(StageInputError, match="made with other backbone; run `graft adapt`"):
        evaluate(workspace, fast_params())


def test_a_model_of_other_labels_is_refused(tmp_path: Path) -> None:
    workspace = write_evaluated_scene(tmp_path)
    write_scene(tmp_path, names=("bee", "cat", "fox"))
    with pytest.raises(StageInputError, match="made with other labels"):
        evaluate(workspace, fast_params())


def test_an_item_without_pixels_is_named(tmp_path: Path) -> None:
    workspace = write_scene(tmp_path)
    items = read_table(workspace.items, ITEMS)
    write_table(items.slice(1), workspace.items)
    adapt(workspace, fast_params())
    with pytest.raises(StageInputError, match=r"no pixels of bee/000\.png"):
        evaluate(workspace, fast_params())
