"""Reports of a made-up run, consistent among themselves, for whoever draws or words them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.params import GateParams, Minimum, Params
from tasks.preprocess import Preprocess
from tasks.reports import (
    AdaptationReport,
    BaselineScore,
    ClassScore,
    Estimate,
    EvaluatedDigests,
    EvaluationReport,
    FailingItem,
    JudgedDigests,
    Leak,
    NearDuplicatePair,
    RuleResult,
    RuleVerdict,
    Side,
    SplitReport,
    StrengthScore,
    ValidationReport,
    Verdict,
)
from tasks.reports.backbone import BackboneReport
from tasks.reports.split import TightenedChain
from tasks.tables import PREDICTIONS, write_table
from tasks.workspace import Workspace

DIGITS = [str(digit) for digit in range(10)]


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def probabilities(labels: Sequence[str], per_class: int, skill: float) -> tuple[np.ndarray, np.ndarray]:
    """True classes (items,) and probabilities (items, classes); a higher skill makes fewer mistakes."""
    random = np.random.default_rng(7)
    truth = np.repeat(np.arange(len(labels)), per_class)
    logits = random.normal(size=(len(truth), len(labels)))
    logits[np.arange(len(truth)), truth] += skill * random.uniform(0.4, 1.4, size=len(truth))
    odds = np.exp(1.6 * logits)
    return truth, odds / odds.sum(axis=1, keepdims=True)


def predictions(labels: Sequence[str], per_class: int, skill: float) -> pa.Table:
    truth, chances = probabilities(labels, per_class, skill)
    best = chances.argmax(axis=1)
    paths = [f"{labels[true]}/scan_{row:04d}.png" for row, true in enumerate(truth)]
    rows = {
        "path": paths,
        "sha256": [digest(path) for path in paths],
        "label": [labels[true] for true in truth],
        "predicted": [labels[guess] for guess in best],
        "probability": chances.max(axis=1).astype(np.float32),
        "probabilities": list(chances.astype(np.float32)),
    }
    return pa.table(rows, schema=PREDICTIONS).sort_by("path")


def estimate(value: float, width: float, method: str) -> Estimate:
    return Estimate(value=value, low=max(-1.0, value - width), high=min(1.0, value + width), method=method)


def evaluation(labels: Sequence[str], per_class: int = 40, skill: float = 5.0) -> EvaluationReport:
    truth, chances = probabilities(labels, per_class, skill)
    confusion = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(confusion, (truth, chances.argmax(axis=1)), 1)
    hits, predicted = confusion.diagonal(), confusion.sum(axis=0)
    recall, precision = hits / per_class, hits / np.maximum(predicted, 1)
    f1 = 2 * hits / (per_class + predicted)
    accuracy, macro_f1 = hits.sum() / len(truth), float(f1.mean())
    return EvaluationReport(
        confidence=0.95,
        labels=list(labels),
        train_items=5 * len(labels),
        validation_items=2 * len(labels),
        test_items=len(truth),
        accuracy=estimate(accuracy, 0.02, "wilson"),
        macro_f1=estimate(macro_f1, 0.025, "bootstrap"),
        per_class=[
            ClassScore(
                label=label,
                items=per_class,
                predicted=int(predicted[row]),
                precision=precision[row],
                recall=recall[row],
                recall_low=max(0.0, recall[row] - 0.09),
                recall_high=min(1.0, recall[row] + 0.05),
                f1=f1[row],
            )
            for row, label in enumerate(labels)
        ],
        confusion=confusion.tolist(),
        baselines=[
            baseline("majority", 1 / len(labels), 0.05, accuracy),
            baseline("raw_pixels", accuracy * 0.9, accuracy * 0.89, accuracy),
        ],
        digests=EvaluatedDigests(**{name: digest(name) for name in ("data", "adapted", "splits", "predictions")}),
    )


def baseline(name: str, accuracy: float, macro_f1: float, ours: float) -> BaselineScore:
    return BaselineScore(
        name=name,
        accuracy=estimate(accuracy, 0.03, "wilson"),
        macro_f1=estimate(macro_f1, 0.03, "bootstrap"),
        gain=estimate(ours - accuracy, 0.02, "newcombe, paired"),
    )


def rule(name: str, value: float | None, limit: float, judged_on: str = "point") -> RuleVerdict:
    passed = value is not None and value >= limit
    return RuleVerdict(
        rule=name,
        value=value,
        limit=limit,
        margin=None if value is None else value - limit,
        judged_on=judged_on,
        passed=passed,
        reason="" if passed else f"{name} {value} is below {limit} (params.yaml: gate.{name})",
    )


def verdict(report: EvaluationReport, least_accuracy: float = 0.8) -> Verdict:
    rules = [
        rule("accuracy", report.accuracy.value, least_accuracy),
        rule("macro_f1", report.macro_f1.value, 0.8),
        rule("class_recall", min(score.recall for score in report.per_class), 0.5),
        rule("min_test_items", report.test_items, 30, "count"),
        rule("min_test_items_per_class", min(score.items for score in report.per_class), 5, "count"),
        *(rule(f"gain_over_{b.name}", b.gain.low, 0.0, "lower_bound") for b in report.baselines),
    ]
    judged = ("data", "adapted", "splits", "predictions", "evaluation", "gate_params")
    return Verdict(
        passed=all(rule.passed for rule in rules),
        rules=rules,
        reasons=[rule.reason for rule in rules if not rule.passed],
        digests=JudgedDigests(**{name: digest(name) for name in judged}),
    )


def validation(report: EvaluationReport) -> ValidationReport:
    broken = FailingItem(path=f"{report.labels[0]}/torn.png", reason="cannot be decoded (truncated PNG)")
    per_label = {score.label: score.items + 7 for score in report.per_class}
    return ValidationReport(
        passed=True,
        data_digest=digest("data"),
        layout="class folders",
        listed=sum(per_label.values()) + 1,
        accepted=sum(per_label.values()),
        ignored=1,
        ignored_files=["LICENSE"],
        quarantined=[broken],
        labels=report.labels,
        items_per_label=per_label,
        rules=[
            RuleResult(rule="known_label", severity="critical", passed=True, detail="every label is known"),
            RuleResult(
                rule="decodable", severity="critical", passed=True, detail="1 of 471 undecodable", failing=[broken]
            ),
            RuleResult(
                rule="sharpness", severity="warning", passed=False, detail="1 image is blurred", failing=[broken]
            ),
        ],
    )


def split(report: EvaluationReport) -> SplitReport:
    first, second = report.labels[0], report.labels[-1]
    counts: dict[Side, dict[str, int]] = {
        "train": dict.fromkeys(report.labels, 5),
        "validation": dict.fromkeys(report.labels, 2),
        "test": {score.label: score.items for score in report.per_class},
        "left_out": {},
    }
    leak = Leak(
        first=f"{first}/a.png",
        first_side="train",
        second=f"{second}/b.png",
        second_side="test",
        reason="official_split",
    )
    return SplitReport(
        official=False,
        counts=counts,
        near_duplicates=[NearDuplicatePair(first=f"{first}/a.png", second=f"{first}/c.png", hamming=3, cosine=0.981)],
        grouped_items=2,
        tightened=[TightenedChain(first=f"{first}/a.png", items=60, cap=5, max_hamming=6, min_cosine=0.97)],
        leaks=[leak],
        left_out=[],
        out_of_fold=True,
    )


def backbone() -> BackboneReport:
    return BackboneReport(
        architecture="shufflenet_v2_x0_5",
        weights="glyphs",
        weights_sha256=digest("weights"),
        graph_sha256=digest("graph"),
        engine_sha256=digest("engine"),
        feature_width=1024,
        preprocess=Preprocess(resize=64, crop=64, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
    )


def adaptation(report: EvaluationReport) -> AdaptationReport:
    powers = [half / 2 for half in range(-8, 5)]
    scores = [
        StrengthScore(
            strength=10.0**power, loss=0.2 + 0.04 * (power + 1.5) ** 2, accuracy=0.95 - 0.01 * (power + 1) ** 2
        )
        for power in powers
    ]
    return AdaptationReport(
        method="linear_probe",
        head="logistic",
        labels=report.labels,
        feature_width=1024,
        graph_sha256=digest("graph"),
        engine_sha256=digest("engine"),
        fitted_on=["train", "validation"],
        fitted_items=report.train_items + report.validation_items,
        strength=10.0 ** powers[5],
        scores=scores,
        out_of_fold_accuracy=0.948,
        out_of_fold_loss=0.21,
    )


@dataclass(frozen=True)
class Run:
    """The reports of one run; write them where `write_report_page` looks for them."""

    evaluation: EvaluationReport
    verdict: Verdict
    validation: ValidationReport
    backbone: BackboneReport
    split: SplitReport
    adaptation: AdaptationReport
    predictions: pa.Table
    params: Params

    def write(self, root: Path) -> Workspace:
        workspace = Workspace(root)
        self.evaluation.write(workspace.evaluation)
        self.verdict.write(workspace.verdict)
        self.validation.write(workspace.validation)
        self.backbone.write(workspace.backbone / "backbone.json")
        self.split.write(workspace.split_report)
        self.adaptation.write(workspace.adapted / "adapted.json")
        write_table(self.predictions, workspace.predictions)
        return workspace


def run(
    labels: Sequence[str] = DIGITS,
    per_class: int = 40,
    skill: float = 5.0,
    least_accuracy: float = 0.8,
    params: Params | None = None,
) -> Run:
    """A whole run; a lower skill or a higher limit refuses it."""
    report = evaluation(labels, per_class, skill)
    return Run(
        evaluation=report,
        verdict=verdict(report, least_accuracy),
        validation=validation(report),
        backbone=backbone(),
        split=split(report),
        adaptation=adaptation(report),
        predictions=predictions(labels, per_class, skill),
        params=params or Params(gate=GateParams(accuracy=Minimum(minimum=least_accuracy))),
    )
