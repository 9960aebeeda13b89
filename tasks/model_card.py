"""model_card.md: what a release is, for whoever finds the file later."""

from __future__ import annotations

from tasks.params import Params
from tasks.plots.block_picture import depth_text
from tasks.plots.calibration_rows import temperature_text
from tasks.plots.findings import findings
from tasks.plots.number_text import counted_text
from tasks.plots.probe_comparison import judged_text
from tasks.reports import AdaptationReport, BaselineScore, ChampionVerdict, EvaluationReport, Verdict
from tasks.reports.backbone import BackboneReport
from tasks.reports.estimate import Estimate
from tasks.reports.quantization import Quantization, QuantizationReport
from tasks.reports.release_parts import INT8_GOLDEN_TOLERANCE

BASELINES = {"from_scratch": "the same network from scratch"}
CARD = """# {name}

An image classifier for {classes} classes: {labels}.

| | |
|---|---|
| input | `image`: uint8, (batch, {crop}, {crop}, 3), RGB, resized and cropped as preprocess.json says |
| outputs | `logits` and `probabilities` (batch, {classes}), `embedding` (batch, {width}), float32 |
| backbone | {architecture}, weights {weights} (sha256 {weights_sha256}) |
| method | {method} |
| licence | {licence} |

## Measured on {test_items} test items that it never saw

| metric | value | {confidence}% interval |
|---|---|---|
| accuracy | {accuracy} |
| macro-F1 | {macro_f1} |
{calibration}{baselines}
{findings}Trained on {trained_on}. Data digest {data}.

## Gate

{verdict}

{champion}
{precision}
## Limits

It knows only the classes above and gives one of them for any picture. The figures hold for pictures like those of the
test set. {processors}
"""
INT8 = """
## Precision

int8 ({variant}): activations are unsigned 8-bit integers, weights signed ones; normalisation, head and softmax
are fp32. Calibrated on {calibration_items} items of the training set. The figures above are its own.

| against fp32, on the test items | difference | lower bound |
|---|---|---|
| accuracy | {accuracy} |
| macro-F1 | {macro_f1} |
| size of the model | {size} of fp32's | |

The other int8 forms that were tried, and how each was judged: reports/int8.json of the run.
"""
FELL_BACK = """
## Precision

fp32. int8 was asked for, and no int8 model earned its place:

{reasons}
"""
FP32_PROCESSORS = "Across kinds of processors probabilities agree to 1e-4."
INT8_PROCESSORS = """It was measured on a processor of one kind. On another, int8 sums may be rounded
otherwise, so that probabilities near a decision differ by a few hundredths; on one without VNNI (x86) or dot-product
instructions they may overflow as well. A server checks the golden files and refuses a release that it cannot answer to
within {tolerance:g}; where that happens, set export.int8.reduce_range, or release fp32."""


def model_card(
    params: Params,
    backbone: BackboneReport,
    evaluation: EvaluationReport,
    verdict: Verdict,
    adaptation: AdaptationReport,
    precision: QuantizationReport,
) -> str:
    """The card's text; holds no time, host, user or path.

    Args:
        evaluation: of the model that is released, in its own precision.
        adaptation: whose method and depth the card names.
    """
    int8 = precision.quantization if precision.released == "int8" else None
    return CARD.format(
        name=params.export.name,
        classes=len(evaluation.labels),
        labels=", ".join(evaluation.labels),
        crop=backbone.preprocess.crop,
        width=backbone.feature_width,
        architecture=backbone.architecture,
        weights=backbone.weights,
        weights_sha256=backbone.weights_sha256[:12],
        method=_method(adaptation),
        licence=params.export.licence,
        test_items=evaluation.test_items,
        trained_on=_trained_on(adaptation),
        confidence=f"{100 * evaluation.confidence:g}",
        accuracy=_cells(evaluation.accuracy),
        macro_f1=_cells(evaluation.macro_f1),
        calibration=_calibration_rows(evaluation),
        findings=_paragraph(params, evaluation, adaptation),
        baselines="".join(map(_baseline_row, evaluation.baselines)),
        data=evaluation.digests.data,
        verdict="\n".join(f"- {rule.reason}" for rule in (int8.rules if int8 else verdict.rules)),
        champion=_champion(int8.champion if int8 and int8.champion else verdict.champion),
        precision=_precision(precision.quantization),
        processors=INT8_PROCESSORS.format(tolerance=INT8_GOLDEN_TOLERANCE) if int8 else FP32_PROCESSORS,
    )


def _precision(quantization: Quantization | None) -> str:
    """The section on int8; empty where nobody asked for it."""
    if quantization is None:
        return ""
    gains = quantization.accuracy_gain, quantization.macro_f1_gain
    if quantization.variant is None or gains[0] is None or gains[1] is None:
        return FELL_BACK.format(reasons="\n".join(f"- {reason}" for reason in quantization.reasons))
    accuracy, macro_f1 = (f"{gain.value:+.4f} | {gain.low:+.4f}" for gain in gains if gain)
    return INT8.format(
        variant=quantization.variant,
        calibration_items=quantization.calibration_items,
        accuracy=accuracy,
        macro_f1=macro_f1,
        size=f"{quantization.size_ratio:.2f}",
    )


def _champion(champion: ChampionVerdict | None) -> str:
    """What was said of the model that was in production then."""
    if champion is None or champion.outcome == "first":
        return "Nothing was in production when it was judged."
    return f"When v{champion.version} was in production: {'; '.join(champion.reasons)}."


def _method(adaptation: AdaptationReport) -> str:
    """The method whose model this is, and how deep it trained."""
    if adaptation.method == "linear_probe" or adaptation.training is None or not adaptation.training.blocks:
        return adaptation.method
    return f"{adaptation.method} ({depth_text(adaptation.training.blocks)})"


def _trained_on(adaptation: AdaptationReport) -> str:
    """The items that the model learned from, and those that only chose its epoch."""
    items, training = counted_text(adaptation.fitted_items, "item"), adaptation.training
    if adaptation.method == "linear_probe" or training is None or training.judged_by != "validation":
        return items
    return f"{items}; {judged_text(training)} chose the epoch"


def _calibration_rows(evaluation: EvaluationReport) -> str:
    """Rows of the metrics table; none where calibration was not measured."""
    if evaluation.calibration is None:
        return ""
    scores = evaluation.calibration.after
    named = (("log loss (NLL)", scores.nll), ("Brier score", scores.brier), ("calibration error (ECE)", scores.ece))
    return "".join(f"| {name} | {_cells(estimate)} |\n" for name, estimate in named)


def _paragraph(params: Params, evaluation: EvaluationReport, adaptation: AdaptationReport) -> str:
    """What the run found and what the probabilities were calibrated with, one sentence each; may be empty."""
    sentences = findings(params, adaptation, evaluation) if adaptation else []
    if evaluation.calibration is not None:
        sentences.append(temperature_text(evaluation.calibration))
    return f"{' '.join(sentences)}\n\n" if sentences else ""


def _baseline_row(baseline: BaselineScore) -> str:
    name = BASELINES.get(baseline.name, baseline.name.replace("_", " "))
    return f"| accuracy of {name} (baseline) | {_cells(baseline.accuracy)} |\n"


def _cells(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} | {estimate.low:.3f} to {estimate.high:.3f}"
