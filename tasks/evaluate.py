"""Stage evaluate: predict the test items once and measure the predictions.

Run by hand: python -m tasks.evaluate
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from tasks import metrics
from tasks.adapted_features import features_under
from tasks.champion_scoring import Challenger, Compared, champion_predictions, compare_with_pinned
from tasks.errors import StageInputError
from tasks.methods.adapted_folder import (
    Adapted,
    calibrated,
    preprocess_digest,
    read_adapted,
    read_from_scratch,
    read_probe,
)
from tasks.methods.baselines import baseline_predictions
from tasks.methods.features import LabelledItems, read_labelled_items
from tasks.metrics import FloatMatrix, IntVector
from tasks.params import Params
from tasks.reports import (
    CalibrationReport,
    EvaluationReport,
    PairedComparison,
    write_bytes,
)
from tasks.reports.backbone import BackboneReport
from tasks.scores import accuracy_estimate, baseline_score, calibration_report, class_scores, macro_f1_estimate
from tasks.stage import run_stage, say
from tasks.tables import BASELINE_PREDICTIONS, ITEMS, PREDICTIONS, read_table, write_table
from tasks.verdicts import digest_of, evaluated_digests, test_set_of
from tasks.workspace import Workspace


def evaluate(workspace: Workspace, params: Params) -> None:
    """Write the answers of the model, the champion and the baselines, evaluation.json, metrics.json and plots' tables.

    Everything is computed with the head that is served, which has the temperature in it.

    Raises:
        StageInputError: an earlier stage's file is missing, damaged, or of another model.
        DataError: a file that a trained network has to see changed since it was validated.
    """
    items = read_labelled_items(workspace)
    adapted = _adapted_to(items, workspace)
    tested, fitted = items.on(["test"]), items.on(adapted.report.fitted_on)
    features = features_under(workspace, params, adapted.graph, tested)
    logits = calibrated(adapted.head, adapted.report.temperature).logits(features).astype(np.float64)
    probabilities = metrics.softmax(logits)
    predicted = logits.argmax(axis=1).astype(np.int64)
    write_table(_predictions(tested, predicted, probabilities), workspace.predictions)
    compared = _compared(workspace, params, tested, predicted)
    confusion = metrics.confusion_matrix(tested.labels, predicted, len(items.names))
    guesses = [*_baselines(workspace, params, fitted, tested), *_other_models(workspace, params, tested)]
    write_table(_baseline_predictions(tested, guesses), workspace.baseline_predictions)
    raw = adapted.head.logits(features).astype(np.float64)
    report = EvaluationReport(
        confidence=params.evaluate.confidence,
        labels=items.names,
        train_items=items.sides.count("train"),
        validation_items=items.sides.count("validation"),
        test_items=len(tested.paths),
        accuracy=accuracy_estimate(confusion, params.evaluate),
        macro_f1=macro_f1_estimate(confusion, params.evaluate),
        per_class=class_scores(items.names, confusion, params.evaluate.confidence),
        confusion=confusion.tolist(),
        baselines=[
            baseline_score(name, guess, predicted, tested.labels, len(items.names), params.evaluate)
            for name, guess in guesses
        ],
        digests=evaluated_digests(workspace),
        calibration=calibration_report(raw, logits, tested.labels, adapted.report, params.evaluate)
        if tested.paths
        else None,
        test_set=test_set_of(workspace),
        comparisons=[one.comparison for one in compared],
    )
    report.write(workspace.evaluation)
    write_bytes(workspace.metrics, (json.dumps(flat_metrics(report), indent=2) + "\n").encode())
    write_bytes(workspace.confusion, _confusion_csv(tested, predicted).encode())
    write_bytes(workspace.reliability, _reliability_csv(report.calibration).encode())
    say(_in_a_line(report))


def flat_metrics(report: EvaluationReport) -> dict[str, float | int]:
    """The figures that `dvc metrics` shows and compares."""
    flat: dict[str, float | int] = {"test_items": report.test_items}
    for name, estimate in (("accuracy", report.accuracy), ("macro_f1", report.macro_f1)):
        flat |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    flat["worst_class_recall"] = min(score.recall for score in report.per_class)
    for baseline in report.baselines:
        flat[f"{baseline.name}_accuracy"] = baseline.accuracy.value
        flat[f"{baseline.name}_macro_f1"] = baseline.macro_f1.value
        flat[f"gain_over_{baseline.name}"] = baseline.gain.value
    if report.calibration:
        before, after = report.calibration.before, report.calibration.after
        flat |= {"nll": after.nll.value, "brier": after.brier.value, "ece": after.ece.value}
        flat |= {"ece_uncalibrated": before.ece.value, "temperature": report.calibration.temperature}
    for comparison in report.comparisons:
        if comparison.against == "champion" and comparison.gain is not None and comparison.accuracy is not None:
            flat |= {"champion_accuracy": comparison.accuracy, "gain_over_champion": comparison.gain.value}
    return flat


def _compared(workspace: Workspace, params: Params, tested: LabelledItems, predicted: IntVector) -> list[Compared]:
    """The comparisons with the pinned releases, whose answers are written to champion_predictions.parquet."""
    ours = Challenger(
        names=tested.names,
        paths=tested.paths,
        sha256=tested.sha256,
        labels=tested.labels,
        predicted=predicted,
        adapted=digest_of(workspace.adapted, "adapt"),
        backbone=BackboneReport.read(workspace.backbone / "backbone.json"),
    )
    compared = compare_with_pinned(workspace, params, ours)
    write_table(champion_predictions(ours, compared), workspace.champion_predictions)
    return compared


def _adapted_to(items: LabelledItems, workspace: Workspace) -> Adapted:
    """The adapted model, after checking that it belongs to these items and to the backbone of their features.

    Raises:
        StageInputError: models/adapted/ was made with other labels, another backbone or another preprocessing.
    """
    adapted = read_adapted(workspace.adapted)
    report, backbone = adapted.report, BackboneReport.read(workspace.backbone / "backbone.json")
    preprocessing = preprocess_digest(backbone.preprocess)
    pairs = {
        "labels": (report.labels, items.names),
        "backbone": (report.graph_sha256, backbone.graph_sha256),
        "preprocessing": (report.preprocess_sha256 or preprocessing, preprocessing),
        "feature width": (report.feature_width, items.features.shape[1]),
    }
    differing = [name for name, (then, now) in pairs.items() if then != now]
    if differing:
        raise StageInputError(f"models/adapted/ was made with other {differing[0]}; run `graft adapt` (stage adapt)")
    return adapted


def _baselines(
    workspace: Workspace, params: Params, fitted: LabelledItems, tested: LabelledItems
) -> Iterator[tuple[str, IntVector]]:
    """Name and answers of each baseline that params.yaml asks for."""
    pixels = read_table(workspace.items, ITEMS)
    for name in params.evaluate.baselines:
        yield name, baseline_predictions(name, fitted, tested, pixels)


def _other_models(workspace: Workspace, params: Params, tested: LabelledItems) -> Iterator[tuple[str, IntVector]]:
    """Name and answers of what adapt learned beside the model: the probe, and the network from random weights."""
    probe, from_scratch = read_probe(workspace.adapted), read_from_scratch(workspace.adapted)
    if probe is not None:
        yield "linear_probe", probe.logits(tested.features).argmax(axis=1).astype(np.int64)
    if from_scratch is not None:
        head, graph = from_scratch
        yield "from_scratch", head.logits(features_under(workspace, params, graph, tested)).argmax(axis=1)


def _predictions(tested: LabelledItems, predicted: IntVector, probabilities: FloatMatrix) -> pa.Table:
    rows = {
        "path": tested.paths,
        "sha256": tested.sha256,
        "label": [tested.names[label] for label in tested.labels],
        "predicted": [tested.names[label] for label in predicted],
        "probability": probabilities.max(axis=1, initial=0.0).astype(np.float32),
        "probabilities": list(probabilities.astype(np.float32)),
    }
    return pa.table(rows, schema=PREDICTIONS)


def _baseline_predictions(tested: LabelledItems, guesses: Sequence[tuple[str, IntVector]]) -> pa.Table:
    rows = {
        "path": tested.paths * len(guesses),
        "baseline": [name for name, _ in guesses for _ in tested.paths],
        "predicted": [tested.names[label] for _, guess in guesses for label in guess],
    }
    return pa.table(rows, schema=BASELINE_PREDICTIONS)


def _confusion_csv(tested: LabelledItems, predicted: IntVector) -> str:
    """One row per test item, as the confusion template of `dvc plots` wants it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["actual", "predicted"])
    for actual, guess in zip(tested.labels, predicted, strict=True):
        writer.writerow([tested.names[actual], tested.names[guess]])
    return text.getvalue()


def _reliability_csv(calibration: CalibrationReport | None) -> str:
    """One row per bin with items, of the served probabilities and of those before calibration."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["probabilities", "bin", "confidence", "accuracy", "accuracy_low", "accuracy_high", "items"])
    sides = {"calibrated": calibration.after, "uncalibrated": calibration.before} if calibration else {}
    for name, scores in sides.items():
        for place, row in enumerate(scores.bins, start=1):
            if row.items:
                writer.writerow(
                    [name, place, row.confidence, row.accuracy, row.accuracy_low, row.accuracy_high, row.items]
                )
    return text.getvalue()


def _in_a_line(report: EvaluationReport) -> str:
    figures = f"accuracy {report.accuracy.value:.3f}, macro-F1 {report.macro_f1.value:.3f}"
    if report.calibration:
        figures += f", calibration error {report.calibration.after.ece.value:.3f}"
    lines = [f"evaluate: {figures} on {report.test_items} test items"]
    return "\n".join([*lines, *(f"  {_against(comparison)}" for comparison in report.comparisons)])


def _against(comparison: PairedComparison) -> str:
    """A comparison in a line, before anybody judges it."""
    release = f"{'champion' if comparison.against == 'champion' else 'best so far'} v{comparison.version}"
    if comparison.unchanged:
        return f"{release} is this very model"
    if comparison.gain is None:
        return f"{release} cannot be compared with: {comparison.incomparable}"
    gain = comparison.gain
    return f"{release}: accuracy gained {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"


if __name__ == "__main__":
    run_stage("evaluate", evaluate)
