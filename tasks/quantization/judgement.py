"""Other answers of a judged model to the same test items, held against everything that the gate held its own against.

Export judges int8 models so before one is released, and qualify the release once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.champion_judgement import judge_champion
from tasks.champion_rule import broken_rule
from tasks.digests import file_sha256
from tasks.errors import StageInputError
from tasks.gate_rules import judge
from tasks.metrics import IntVector, confusion_matrix
from tasks.model_comparison import measured_again
from tasks.paired_bootstrap import paired_macro_f1_interval
from tasks.paired_tests import accuracy_gain, paired_counts
from tasks.params import Params
from tasks.reports import ChampionVerdict, Estimate, EvaluationReport, PairedCounts, RuleVerdict, Verdict
from tasks.scores import accuracy_estimate, baseline_score, calibration_report, class_scores, macro_f1_estimate
from tasks.tables import BASELINE_PREDICTIONS, CHAMPION_PREDICTIONS, PREDICTIONS, read_table
from tasks.workspace import Workspace

FloatMatrix = npt.NDArray[np.float32]

RANKS = {"worse": 0, "inconclusive": 1, "equivalent": 2, "better": 3}
"""Outcomes against the champion that hang on the answers, from the worst on."""


@dataclass(frozen=True)
class Basis:
    """What was gated: its evaluation and verdict, and the answers that they rest on, of the same test items.

    `gated` has the schema PREDICTIONS, `baselines` are class indices by name, `champion` has CHAMPION_PREDICTIONS.
    """

    evaluation: EvaluationReport
    verdict: Verdict
    gated: pa.Table
    actual: IntVector
    predicted: IntVector
    baselines: dict[str, IntVector]
    champion: pa.Table | None


@dataclass(frozen=True)
class Judgement:
    """Other answers, measured and judged; `faults` are the rules that they break, one sentence each."""

    evaluation: EvaluationReport
    rules: list[RuleVerdict]
    champion: ChampionVerdict | None
    counts: PairedCounts
    accuracy_gain: Estimate
    macro_f1_gain: Estimate
    faults: list[str]


def read_basis(workspace: Workspace, verdict: Verdict) -> Basis:
    """What the gate judged.

    Raises:
        StageInputError: a file is missing or not the one that the verdict names.
    """
    digests = verdict.digests
    compared = verdict.champion is not None and verdict.champion.champion is not None
    for path, digest in (
        (workspace.evaluation, digests.evaluation),
        (workspace.predictions, digests.predictions),
        (workspace.baseline_predictions, digests.baseline_predictions),
        (workspace.champion_predictions, digests.champion_predictions if compared else None),
    ):
        if digest is None and path == workspace.champion_predictions:
            continue
        _check_gated(workspace, path, digest)
    evaluation = EvaluationReport.read(workspace.evaluation)
    gated = read_table(workspace.predictions, PREDICTIONS)
    index = {label: place for place, label in enumerate(evaluation.labels)}
    return Basis(
        evaluation=evaluation,
        verdict=verdict,
        gated=gated,
        actual=_indices(gated["label"].to_pylist(), index),
        predicted=_indices(gated["predicted"].to_pylist(), index),
        baselines=_baselines(workspace, len(gated), index),
        champion=read_table(workspace.champion_predictions, CHAMPION_PREDICTIONS) if compared else None,
    )


def judge_answers(basis: Basis, probabilities: FloatMatrix, params: Params) -> Judgement:
    """The gate's rules, the comparison with the champion and the difference to what was gated, with other answers.

    Args:
        probabilities: (test items, classes) in the order of `basis.gated` and of its labels.
    """
    finite = bool(np.isfinite(probabilities).all())
    answers = probabilities if finite else np.nan_to_num(probabilities, nan=0.0, posinf=0.0, neginf=0.0)
    report = evaluation_with(basis, answers, params)
    predicted = answers.argmax(axis=1).astype(np.int64)
    rules, level = list(judge(report, params.gate)), 1 - 2 * params.export.int8.alpha
    faults = [] if finite else ["some of its probabilities are not numbers"]
    faults += [rule.reason for rule in rules if not rule.passed]
    champion, fault = _against_champion(basis, report, params)
    counts = paired_counts(predicted == basis.actual, basis.predicted == basis.actual)
    return Judgement(
        evaluation=report,
        rules=rules,
        champion=champion,
        counts=counts,
        accuracy_gain=accuracy_gain(counts, level),
        macro_f1_gain=paired_macro_f1_interval(
            basis.actual,
            predicted,
            basis.predicted,
            len(report.labels),
            params.evaluate.bootstrap_samples,
            level,
            params.evaluate.seed,
        ),
        faults=[*faults, *([fault] if fault else [])],
    )


def evaluation_with(basis: Basis, probabilities: FloatMatrix, params: Params) -> EvaluationReport:
    """The evaluation as it reads with other answers; what was compared stays: items, baselines and champion.

    Args:
        probabilities: as `judge_answers` takes them.
    """
    before, settings = basis.evaluation, params.evaluate
    # Their logarithms are logits: they differ from the model's by a number for each item, which softmax takes off.
    logits = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny))
    predicted, classes = probabilities.argmax(axis=1).astype(np.int64), len(before.labels)
    confusion = confusion_matrix(basis.actual, predicted, classes)
    calibration = before.calibration
    names = [before.labels[place] for place in predicted]
    figures = {
        "accuracy": accuracy_estimate(confusion, settings),
        "macro_f1": macro_f1_estimate(confusion, settings),
        "per_class": class_scores(before.labels, confusion, settings.confidence),
        "confusion": confusion.tolist(),
        "baselines": [
            baseline_score(each.name, basis.baselines[each.name], predicted, basis.actual, classes, settings)
            for each in before.baselines
        ],
        "calibration": calibration
        and calibration_report(logits * calibration.temperature, logits, basis.actual, calibration, settings),
        "comparisons": before.comparisons
        if basis.champion is None
        else [measured_again(pair, basis.champion, names, before.labels, settings) for pair in before.comparisons],
    }
    return before.model_copy(update=figures)


def not_as_good(judged: ChampionVerdict, gated: ChampionVerdict) -> str | None:
    """Why an outcome against the champion falls behind the one that was gated; None where it does not."""
    ours, theirs = RANKS.get(judged.outcome), RANKS.get(gated.outcome)
    behind = judged.outcome != gated.outcome if ours is None or theirs is None else ours < theirs
    if not behind and judged.promotable >= gated.promotable:
        return None
    texts = (f"{each.outcome}{'' if each.promotable else ', not promotable'}" for each in (judged, gated))
    return f"against v{gated.version}, which was in production, it is {'; what was gated is '.join(texts)}"


def _against_champion(
    basis: Basis, report: EvaluationReport, params: Params
) -> tuple[ChampionVerdict | None, str | None]:
    """The verdict on the comparison with these answers, and what speaks against them."""
    gated = basis.verdict.champion
    if gated is None or basis.champion is None:
        return None, None
    judged = judge_champion(report.comparisons, params.gate.champion, gated.use, params.promotion.equivalent)
    refused = broken_rule(judged, report.comparisons, params.gate.champion)
    return judged, refused.reason if refused else not_as_good(judged, gated)


def _check_gated(workspace: Workspace, path: Path, digest: str | None) -> None:
    if not path.is_file() or file_sha256(path) != digest:
        raise StageInputError(f"{workspace.relative(path)} is not what the gate judged; run `graft adapt`")


def _baselines(workspace: Workspace, items: int, index: dict[str, int]) -> dict[str, IntVector]:
    table = read_table(workspace.baseline_predictions, BASELINE_PREDICTIONS)
    names, answers = table["baseline"].to_pylist(), _indices(table["predicted"].to_pylist(), index)
    return {names[start]: answers[start : start + items] for start in range(0, len(names), max(1, items))}


def _indices(labels: list[str], index: dict[str, int]) -> IntVector:
    return np.array([index[label] for label in labels], dtype=np.int64)
