"""Reports of a made-up run, consistent among themselves, for whoever draws or words them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.calibration import confidence_bins
from tasks.intervals import wilson_interval
from tasks.model_card import model_card
from tasks.params import GateParams, Minimum, Params, parse_params
from tasks.preprocess import Preprocess
from tasks.reports import (
    AdaptationReport,
    BaselineScore,
    BlockState,
    ClassScore,
    EpochScore,
    Estimate,
    EvaluatedDigests,
    EvaluationReport,
    FailingItem,
    JudgedDigests,
    Leak,
    NearDuplicatePair,
    ProbeComparison,
    RuleResult,
    RuleVerdict,
    Side,
    SplitReport,
    StrengthScore,
    TrainingReport,
    ValidationReport,
    Verdict,
)
from tasks.reports.backbone import BackboneReport
from tasks.reports.evaluation import CalibrationReport, CalibrationScores, ReliabilityBin
from tasks.reports.quantization import QuantizationReport
from tasks.reports.split import TightenedChain
from tasks.reports.training import JudgedBy
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


def calibration_scores(labels: Sequence[str], per_class: int, skill: float, temperature: float) -> CalibrationScores:
    """Scores of the made-up predictions with their logits divided by a temperature."""
    truth, chances = probabilities(labels, per_class, skill)
    odds = chances ** (1 / temperature)
    scaled = odds / odds.sum(axis=1, keepdims=True)
    confidence, right = scaled.max(axis=1), scaled.argmax(axis=1) == truth
    likelihood, hits = scaled[np.arange(len(truth)), truth], np.eye(len(labels))[truth]
    binned = confidence_bins(confidence, right)
    bins = []
    for place, items in enumerate(binned.items.tolist()):
        low, high = wilson_interval(int(binned.right[place]), items, 0.95) if items else (0.0, 1.0)
        bins.append(
            ReliabilityBin(
                low=place / len(binned.items),
                high=(place + 1) / len(binned.items),
                items=items,
                confidence=float(binned.confidence[place]) if items else None,
                accuracy=float(binned.accuracy[place]) if items else None,
                accuracy_low=low,
                accuracy_high=high,
            )
        )
    return CalibrationScores(
        nll=estimate(float(-np.log(likelihood).mean()), 0.04, "bootstrap"),
        brier=estimate(float(((scaled - hits) ** 2).sum(axis=1).mean()), 0.03, "bootstrap"),
        ece=estimate(binned.error, 0.02, "bootstrap"),
        ece_when_calibrated=0.024,
        bins=bins,
    )


def calibration(
    labels: Sequence[str], per_class: int = 40, skill: float = 5.0, temperature: float = 0.75
) -> CalibrationReport:
    """The made-up predictions before and after; a temperature of 1 is that of a model that held nothing out."""
    before = calibration_scores(labels, per_class, skill, 1.0)
    after = calibration_scores(labels, per_class, skill, temperature)
    scaled = temperature != 1
    return CalibrationReport(
        temperature=temperature,
        calibrated_on="out_of_fold" if scaled else None,
        calibration_items=7 * len(labels) if scaled else 0,
        before=before,
        after=after,
        nll_gain=estimate(before.nll.value - after.nll.value, 0.01, "bootstrap, paired"),
    )


def blocks(count: int, trained: int) -> list[BlockState]:
    """A body of `count` blocks that grow, the last `trained` of them trained, and a trained head."""
    body = [
        BlockState(name=f"features.{place}", parameters=900 * (place + 1) ** 2, trained=place >= count - trained)
        for place in range(count)
    ]
    return [*body, BlockState(name="head", parameters=12_810, trained=True)]


def training(
    accuracy: float = 0.962,
    probe: float | None = 0.948,
    epochs: int = 12,
    best: int = 9,
    count: int = 19,
    trained: int = 4,
    judged_by: JudgedBy = "cross_validation",
) -> TrainingReport:
    """A run whose accuracy rises to `accuracy` at the `best` epoch and falls a little after; the loss likewise."""
    start = 0.1 if probe is None else probe
    scores = []
    for epoch in range(epochs + 1):
        rise = 1 - np.exp(-4 * epoch / max(best, 1)) if epoch else 0.0
        late = 0.002 * max(0, epoch - best)
        judged = judged_by != "nothing"
        value = accuracy if epoch == best else start + (accuracy - start) * rise * 0.98 - late
        scores.append(
            EpochScore(
                epoch=epoch,
                rate=1e-3 * min(1.0, epoch) * 0.5 * (1 + np.cos(np.pi * max(epoch - 1, 0) / epochs)),
                training_loss=None if epoch == 0 else 0.9 * float(np.exp(-3 * epoch / epochs)) * (1.2 - start) + 0.02,
                loss=(1.15 - value) * 0.8 + 5 * late if judged else None,
                accuracy=value if judged else None,
            )
        )
    return TrainingReport(
        judged_by=judged_by,
        judged_items=244 if judged_by != "nothing" else 0,
        epochs=scores,
        best_epoch=best,
        stopped_early=False,
        blocks=blocks(count, trained),
        batch_norm="frozen",
        against_probe=None
        if probe is None
        else ProbeComparison(items=244, accuracy=accuracy, loss=0.15, probe_accuracy=probe, probe_loss=0.16),
        kept_views=4 if trained < count else 0,
        device="cpu",
        precision="fp32",
        memory_format="channels_last",
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


def trained_run(
    labels: Sequence[str] = DIGITS,
    per_class: int = 40,
    skill: float = 5.0,
    run_of: TrainingReport | None = None,
    method: str = "fine_tune",
    params: Params | None = None,
) -> Run:
    """A run that trained the network, with its probe and the same network from scratch as baselines.

    Args:
        method: whose model was taken; linear_probe where the trained one fell behind.
    """
    of_probe = run(
        labels, per_class, skill, params=params or parse_params({"adapt": {"method": {"name": "fine_tune"}}})
    )
    ours = of_probe.evaluation.accuracy.value
    further = [baseline("from_scratch", ours - 0.31, ours - 0.32, ours)]
    if method != "linear_probe":
        further.insert(0, baseline("linear_probe", ours - 0.025, ours - 0.03, ours))
    report = of_probe.evaluation.model_copy(
        update={
            "baselines": [*of_probe.evaluation.baselines, *further],
            "calibration": calibration(labels, per_class, skill),
        }
    )
    adapted = of_probe.adaptation.model_copy(
        update={
            "method": method,
            "training": run_of or training(),
            "from_scratch": training(0.64, None, epochs=60, best=52, trained=19),
            "temperature": 0.75,
            "calibrated_on": "out_of_fold",
            "calibration_items": 7 * len(labels),
        }
    )
    judged = verdict(report)
    return replace(of_probe, evaluation=report, adaptation=adapted, verdict=judged)


def card_of(run: Run) -> str:
    """The model card of a run that asked for no int8."""
    precision = QuantizationReport(requested="fp32", released="fp32")
    return model_card(run.params, run.backbone, run.evaluation, run.verdict, run.adaptation, precision)
