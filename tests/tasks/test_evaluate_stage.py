"""Stage evaluate: every figure against the predictions, baselines, intervals, digests, and what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import page_sources
import pyarrow as pa
import pytest
from head_scene import FAST, NAMES, NO_BASELINE, fast_params, sha, write_evaluated_scene, write_scene
from safetensors.numpy import load_file, save_file
from scipy.special import softmax
from sklearn import metrics as reference

from tasks.adapt import adapt
from tasks.calibration import calibration_error
from tasks.digests import file_sha256, folder_sha256
from tasks.errors import StageInputError
from tasks.evaluate import evaluate
from tasks.intervals import wilson_interval
from tasks.params import EvaluateParams, Params, load_params
from tasks.reports import AdaptationReport, CalibrationReport, EvaluationReport
from tasks.reports.backbone import BackboneReport
from tasks.reports.qualification import Qualification
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
    features, temperature = (
        np.load(evaluated.features)[tested],
        AdaptationReport.read(evaluated.adapted / "adapted.json").temperature,
    )
    raw = features @ head["weight"].T + head["bias"]
    assert temperature != 1.0
    assert rows["predicted"] == [NAMES[guess] for guess in raw.argmax(axis=1)]
    expected = softmax(raw / temperature, axis=1)
    np.testing.assert_allclose(np.array(rows["probabilities"]), expected, atol=1e-6)
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
    calibration = calibration_of(report)
    estimates += [calibration.nll_gain]
    for scores in (calibration.before, calibration.after):
        estimates += [scores.nll, scores.brier, scores.ece]
    assert len(estimates) == 15
    assert all(estimate.low < estimate.value < estimate.high for estimate in estimates)
    assert all(score.recall_low <= score.recall <= score.recall_high for score in report.per_class)
    right = round(report.accuracy.value * 60)
    assert (report.accuracy.low, report.accuracy.high) == wilson_interval(right, 60, 0.95)


def calibration_of(report: EvaluationReport) -> CalibrationReport:
    assert report.calibration is not None
    return report.calibration


def test_the_figures_after_calibration_are_those_of_the_written_probabilities(
    evaluated: Workspace, report: EvaluationReport
) -> None:
    rows = read_table(evaluated.predictions, PREDICTIONS).to_pydict()
    actual, probabilities = (
        [NAMES.index(label) for label in rows["label"]],
        np.array(rows["probabilities"], dtype=np.float64),
    )
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    after = calibration_of(report).after
    assert after.nll.value == pytest.approx(reference.log_loss(actual, probabilities, labels=range(3)), rel=1e-5)
    brier = reference.brier_score_loss(actual, probabilities, labels=range(3), scale_by_half=False)
    assert after.brier.value == pytest.approx(brier, rel=1e-5)
    right = probabilities.argmax(axis=1) == actual
    assert after.ece.value == pytest.approx(calibration_error(probabilities.max(axis=1), right), rel=1e-5)
    assert sum(row.items for row in after.bins) == report.test_items
    for row in after.bins:
        assert (row.confidence is None) == (row.accuracy is None) == (not row.items)
        if row.confidence is not None and row.accuracy is not None:
            assert row.low - 1e-6 < row.confidence <= row.high + 1e-6
            assert row.accuracy_low <= row.accuracy <= row.accuracy_high


def test_before_and_after_differ_by_the_temperature_alone(evaluated: Workspace, report: EvaluationReport) -> None:
    calibration, adapted = calibration_of(report), AdaptationReport.read(evaluated.adapted / "adapted.json")
    assert calibration.temperature == adapted.temperature != 1.0
    assert (calibration.calibrated_on, calibration.calibration_items) == ("out_of_fold", 48)
    assert calibration.nll_gain.value == calibration.before.nll.value - calibration.after.nll.value != 0
    path = evaluated.adapted / "head.safetensors"
    head, items = load_file(path), read_table(evaluated.splits, SPLITS).to_pydict()
    tested = [row for row, side in enumerate(items["side"]) if side == "test"]
    raw = np.load(evaluated.features)[tested] @ head["weight"].T + head["bias"]
    actual = np.array(items["label_index"])[tested]
    expected = reference.log_loss(actual, softmax(raw.astype(np.float64), axis=1), labels=range(3))
    assert calibration.before.nll.value == pytest.approx(expected, rel=1e-5)


def test_a_model_whose_head_is_far_too_confident_is_mended_by_its_temperature(
    evaluated: Workspace, report: EvaluationReport, tmp_path: Path
) -> None:
    """The head times 20 and the temperature times 20: before it is overconfident, after it is what it was."""
    shutil.copytree(evaluated.root, tmp_path, dirs_exist_ok=True)
    workspace = Workspace(tmp_path)
    head = load_file(workspace.adapted / "head.safetensors")
    save_file({name: 20 * values for name, values in head.items()}, workspace.adapted / "head.safetensors")
    adapted = AdaptationReport.read(workspace.adapted / "adapted.json")
    hotter = adapted.model_copy(update={"temperature": 20 * adapted.temperature})
    hotter.write(workspace.adapted / "adapted.json")
    evaluate(workspace, fast_params())
    spoilt, sound = calibration_of(EvaluationReport.read(workspace.evaluation)), calibration_of(report)
    assert spoilt.after.nll.value == pytest.approx(sound.after.nll.value, rel=1e-4)
    assert spoilt.before.nll.value > 3 * sound.after.nll.value
    assert spoilt.before.ece.low > 0.05
    assert sound.after.ece.low == 0
    assert spoilt.nll_gain.low > 0
    assert spoilt.before.ece.value == pytest.approx(1 - report.accuracy.value, abs=0.05)


def test_the_reliability_diagram_has_a_row_for_every_bin_with_items(
    evaluated: Workspace, report: EvaluationReport
) -> None:
    with evaluated.reliability.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name, scores in (
        ("calibrated", calibration_of(report).after),
        ("uncalibrated", calibration_of(report).before),
    ):
        drawn = {int(row["bin"]): row for row in rows if row["probabilities"] == name}
        assert sorted(drawn) == [place for place, row in enumerate(scores.bins, start=1) if row.items]
        assert sum(int(row["items"]) for row in drawn.values()) == report.test_items
        gaps = [int(row["items"]) * abs(float(row["confidence"]) - float(row["accuracy"])) for row in drawn.values()]
        assert sum(gaps) / report.test_items == pytest.approx(scores.ece.value)


def test_what_adapt_trained_beside_the_model_is_measured_as_a_baseline(finished: Workspace) -> None:
    """A probe that always says the second class; and, as the network from random weights, the served one itself."""
    params = load_params(finished.params)
    sound = EvaluationReport.read(finished.evaluation)
    assert calibration_of(sound).temperature != 1.0
    assert Qualification.read(finished.qualification).passed
    head = load_file(finished.adapted / "head.safetensors")
    silent = {"weight": np.zeros_like(head["weight"]), "bias": np.array([0.0, 1.0], dtype=np.float32)}
    save_file(silent, finished.adapted / "probe.safetensors")
    scratch = finished.adapted / "from_scratch"
    scratch.mkdir()
    save_file(head, scratch / "head.safetensors")
    shutil.copy(finished.backbone / "model.onnx", scratch / "graph.onnx")
    shutil.copy(finished.backbone / "model.onnx", finished.adapted / "graph.onnx")
    graph, written = file_sha256(scratch / "graph.onnx"), AdaptationReport.read(finished.adapted / "adapted.json")
    told = {
        "adapted_graph_sha256": graph,
        "from_scratch_graph_sha256": graph,
        "from_scratch": page_sources.training(judged_by="nothing", probe=None),
    }
    written.model_copy(update=told).write(finished.adapted / "adapted.json")
    evaluate(finished, params)
    report = EvaluationReport.read(finished.evaluation)
    scores = {score.name: score for score in report.baselines}
    assert list(scores) == ["majority", "raw_pixels", "linear_probe", "from_scratch"]
    assert scores["linear_probe"].accuracy.value == report.per_class[1].items / report.test_items
    probe_gain = report.accuracy.value - scores["linear_probe"].accuracy.value
    assert scores["linear_probe"].gain.value == pytest.approx(probe_gain)
    assert scores["from_scratch"].accuracy == report.accuracy == sound.accuracy
    assert scores["from_scratch"].gain.value == 0
    flat = json.loads(finished.metrics.read_text())
    assert flat["gain_over_linear_probe"] == scores["linear_probe"].gain.value > 0
    assert flat["gain_over_from_scratch"] == 0


def test_the_pixels_of_another_preprocessing_are_refused(finished: Workspace) -> None:
    file = finished.backbone / "backbone.json"
    backbone = BackboneReport.read(file)
    wider = backbone.preprocess.model_copy(update={"resize": backbone.preprocess.crop + 8})
    backbone.model_copy(update={"preprocess": wider}).write(file)
    with pytest.raises(StageInputError, match=r"made with other preprocessing; run `graft adapt` \(stage adapt\)"):
        evaluate(finished, load_params(finished.params))


def test_baselines_learn_from_what_the_model_learned_from(finished: Workspace) -> None:
    """Of the validation side, which only judged, nothing: it holds all items of the largest class."""
    file = finished.adapted / "adapted.json"
    written, params = AdaptationReport.read(file), load_params(finished.params)
    rows = read_table(finished.splits, SPLITS).to_pydict()
    ember = [row for row, label in enumerate(rows["label"]) if label == "ember" and rows["side"][row] != "test"]
    sides = ["validation" if row in ember[1:] else side for row, side in enumerate(rows["side"])]
    others = [row for row, side in enumerate(sides) if side != "test" and rows["label"][row] != "ember"]
    for row in others:
        sides[row] = "train" if row in others[:3] else "left_out"
    sides[ember[0]] = "train"
    sides[next(row for row, side in enumerate(sides) if side == "test" and rows["label"][row] == "ember")] = "left_out"
    write_table(pa.table({**rows, "side": sides}, schema=SPLITS), finished.splits)
    guesses = []
    for fitted_on in (["train", "validation"], ["train"]):
        written.model_copy(update={"fitted_on": fitted_on}).write(file)
        evaluate(finished, params)
        majority = EvaluationReport.read(finished.evaluation).baselines[0]
        guesses.append(majority.accuracy.value)
    tested = [label for label, side in zip(rows["label"], sides, strict=True) if side == "test"]
    share = tested.count("ember") / len(tested)
    assert guesses == pytest.approx([share, 1 - share])
    assert share != 0.5


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
    params = Params(adapt=NO_BASELINE, evaluate=EvaluateParams(bootstrap_samples=200, baselines=["majority"]))
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
    calibration = calibration_of(report)
    assert (flat["nll"], flat["brier"]) == (calibration.after.nll.value, calibration.after.brier.value)
    assert (flat["ece"], flat["ece_uncalibrated"]) == (calibration.after.ece.value, calibration.before.ece.value)
    assert flat["temperature"] == calibration.temperature
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
    for name in ("evaluation", "predictions", "metrics", "confusion", "reliability"):
        assert getattr(again, name).read_bytes() == getattr(evaluated, name).read_bytes()
    before = EvaluationReport.read(again.evaluation)
    evaluate(again, Params(evaluate=FAST.model_copy(update={"seed": 1})))
    after = EvaluationReport.read(again.evaluation)
    assert after.macro_f1.value == before.macro_f1.value
    assert (after.macro_f1.low, after.macro_f1.high) != (before.macro_f1.low, before.macro_f1.high)
    assert after.accuracy == before.accuracy
    old, new = calibration_of(before).after, calibration_of(after).after
    assert (new.nll.value, new.brier.value, new.ece.value) == (old.nll.value, old.brier.value, old.ece.value)
    assert (new.nll.low, new.nll.high) != (old.nll.low, old.nll.high)


def test_without_test_items_nothing_is_claimed(tmp_path: Path) -> None:
    workspace = write_evaluated_scene(tmp_path, per_side={"train": 12})
    report = EvaluationReport.read(workspace.evaluation)
    assert report.test_items == 0
    assert (report.accuracy.value, report.accuracy.low, report.accuracy.high) == (0.0, 0.0, 1.0)
    assert (report.macro_f1.low, report.macro_f1.high) == (0.0, 1.0)
    assert report.calibration is None
    assert "nll" not in json.loads(workspace.metrics.read_text())
    assert len(workspace.reliability.read_text().splitlines()) == 1
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
