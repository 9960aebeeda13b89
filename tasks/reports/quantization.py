"""What export found when int8 was asked for: reports/int8.json, its part of the manifest, and the latencies."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from tasks.params.release import Precision
from tasks.reports.comparison import ChampionVerdict, PairedCounts
from tasks.reports.document import Record, Report
from tasks.reports.estimate import Estimate
from tasks.reports.evaluation import EvaluationReport
from tasks.reports.verdict import RuleVerdict

VariantName = Literal["fp32_sensitive", "fp32_stem", "per_channel", "per_tensor"]


class VariantReport(Record):
    """One way of quantising the model, and what became of it.

    Attributes:
        fp32_nodes: weighted nodes of the network that it leaves in fp32.
        size_ratio: its bytes / those of fp32; null where it could not be built.
        distance: mean squared difference of its logits from those of fp32 / the variance of the latter, on items of the
            training set.
        small_enough, fast_enough: against export.int8; how fast stands in reports/int8_timings.json alone.
        as_good: on the test items; null where a gentler variant failed before it, and its figures were not judged.
        counts: test items by who is right, int8 the challenger and fp32 the champion.
        accuracy_gain, macro_f1_gain: of int8 over fp32, at the level 1 - 2 export.int8.alpha.
        reasons: why it is not released; empty where it could be.
    """

    name: VariantName
    fp32_nodes: list[str] = []
    size_ratio: float | None = None
    distance: float | None = None
    small_enough: bool = False
    fast_enough: bool = False
    as_good: bool | None = None
    accuracy: float | None = None
    macro_f1: float | None = None
    counts: PairedCounts | None = None
    accuracy_gain: Estimate | None = None
    macro_f1_gain: Estimate | None = None
    reasons: list[str] = []


class Quantization(Record):
    """The int8 model of a release in its manifest, or why there is none.

    Attributes:
        requested: export.precision.
        variant: the one released; null: the fp32 model is.
        reasons: sentences for people: what the variant showed, or why each failed.
        predictions: sha256 of the answers to the test items that were judged.
        rules: the gate's, with these answers.
        champion: the comparison with the model in production, with these answers; null where none was made.
    """

    requested: Precision
    variant: VariantName | None = None
    reasons: list[str] = []
    calibration_items: int = 0
    size_ratio: float | None = None
    accuracy_gain: Estimate | None = None
    macro_f1_gain: Estimate | None = None
    predictions: str | None = None
    rules: list[RuleVerdict] = []
    champion: ChampionVerdict | None = None


class QuantizationReport(Report):
    """reports/int8.json: every variant, gentlest first, and the released model's own evaluation; holds no time."""

    produced_by: ClassVar[str] = "export"

    requested: Precision
    released: Precision
    quantization: Quantization | None = None
    variants: list[VariantReport] = []
    evaluation: EvaluationReport | None = None


class Latency(Record):
    """Processor time of one image on one thread.

    Attributes:
        model: `fp32` or a variant.
        median_ms: over the rounds, milliseconds.
        speedup: median over the rounds of fp32's time / this model's, measured in the same round.
    """

    model: str
    median_ms: float
    speedup: Estimate


class LatencyReport(Report):
    """reports/int8_timings.json: of this machine, so neither an out nor a dependency of a stage."""

    produced_by: ClassVar[str] = "export"

    rounds: int
    confidence: float
    models: list[Latency]


def int8_evaluation(path: Path) -> EvaluationReport | None:
    """What the released int8 model reaches; None where the fp32 model is released, or export has not run.

    Args:
        path: reports/int8.json.
    Raises:
        StageInputError: the file is not readable.
    """
    return QuantizationReport.read(path).evaluation if path.is_file() else None


def int8_refused(file: Path) -> str | None:
    """Why fp32 was released where int8 was asked for; None: it was not asked for, or int8 is released."""
    if not file.is_file():
        return None
    report = QuantizationReport.read(file)
    if report.requested != "int8" or report.released == "int8":
        return None
    reasons = report.quantization.reasons if report.quantization else []
    return "; ".join(reasons) or "no int8 model earned its place"
