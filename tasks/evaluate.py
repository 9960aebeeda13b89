"""Stage evaluate: predict the test items once and measure the predictions.

Run by hand: python -m tasks.evaluate
"""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pyarrow as pa

from tasks import metrics
from tasks.errors import StageInputError
from tasks.intervals import paired_gain_interval
from tasks.methods.baselines import baseline_predictions
from tasks.methods.contract import LinearHead
from tasks.methods.features import LabelledItems, read_labelled_items
from tasks.methods.head_files import read_head
from tasks.methods.registry import find_method
from tasks.metrics import FloatMatrix, IntVector
from tasks.params import EvaluateParams, Params
from tasks.params.evaluate import Baseline
from tasks.reports import AdaptationReport, BaselineScore, Estimate, EvaluationReport, write_bytes
from tasks.reports.backbone import BackboneReport
from tasks.scores import accuracy_estimate, class_scores, macro_f1_estimate
from tasks.stage import run_stage, say
from tasks.tables import ITEMS, PREDICTIONS, read_table, write_table
from tasks.verdicts import evaluated_digests
from tasks.workspace import Workspace


def evaluate(workspace: Workspace, params: Params) -> None:
    """Write reports/predictions.parquet, evaluation.json, metrics.json and confusion.csv.

    Raises:
        StageInputError: an earlier stage's file is missing, damaged, or of another model.
    """
    items = read_labelled_items(workspace)
    adapted, head = _adapted_to(items, workspace)
    tested, fitted = items.on(["test"]), items.on(adapted.fitted_on)
    logits = find_method(adapted.method).predict(head, tested.features)
    probabilities = metrics.softmax(logits.astype(np.float64))
    predicted = logits.argmax(axis=1).astype(np.int64)
    write_table(_predictions(tested, predicted, probabilities), workspace.predictions)
    confusion = metrics.confusion_matrix(tested.labels, predicted, len(items.names))
    pixels = read_table(workspace.items, ITEMS)
    baselines = [
        _score_baseline(name, baseline_predictions(name, fitted, tested, pixels), predicted, tested, params.evaluate)
        for name in params.evaluate.baselines
    ]
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
        baselines=baselines,
        digests=evaluated_digests(workspace),
    )
    report.write(workspace.evaluation)
    write_bytes(workspace.metrics, (json.dumps(flat_metrics(report), indent=2) + "\n").encode())
    write_bytes(workspace.confusion, _confusion_csv(tested, predicted).encode())
    figures = f"accuracy {report.accuracy.value:.3f}, macro-F1 {report.macro_f1.value:.3f}"
    say(f"evaluate: {figures} on {report.test_items} test items")


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
    return flat


def _adapted_to(items: LabelledItems, workspace: Workspace) -> tuple[AdaptationReport, LinearHead]:
    """The adapted model, after checking that it belongs to these items and to the backbone of their features.

    Raises:
        StageInputError: models/adapted/ was made with other labels or another backbone.
    """
    report, head = read_head(workspace.adapted)
    backbone = BackboneReport.read(workspace.backbone / "backbone.json")
    pairs = {
        "labels": (report.labels, items.names),
        "backbone": (report.graph_sha256, backbone.graph_sha256),
        "feature width": (report.feature_width, items.features.shape[1]),
    }
    differing = [name for name, (then, now) in pairs.items() if then != now]
    if differing:
        raise StageInputError(f"models/adapted/ was made with other {differing[0]}; run `graft adapt` (stage adapt)")
    return report, head


def _score_baseline(
    name: Baseline, guessed: IntVector, predicted: IntVector, tested: LabelledItems, params: EvaluateParams
) -> BaselineScore:
    confusion = metrics.confusion_matrix(tested.labels, guessed, len(tested.names))
    right, right_of_baseline = (tested.labels == answers for answers in (predicted, guessed))
    gain, low, high = paired_gain_interval(right, right_of_baseline, params.confidence)
    return BaselineScore(
        name=name,
        accuracy=accuracy_estimate(confusion, params),
        macro_f1=macro_f1_estimate(confusion, params),
        gain=Estimate(value=gain, low=low, high=high, method="newcombe, paired"),
    )


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


def _confusion_csv(tested: LabelledItems, predicted: IntVector) -> str:
    """One row per test item, as the confusion template of `dvc plots` wants it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["actual", "predicted"])
    for actual, guess in zip(tested.labels, predicted, strict=True):
        writer.writerow([tested.names[actual], tested.names[guess]])
    return text.getvalue()


if __name__ == "__main__":
    run_stage("evaluate", evaluate)
