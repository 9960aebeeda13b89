"""model_card.md: what a release is, for whoever finds the file later."""

from __future__ import annotations

from tasks.params import Params
from tasks.reports import EvaluationReport, Verdict
from tasks.reports.backbone import BackboneReport
from tasks.reports.evaluation import Estimate

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
{baselines}
Trained on {train_items} items. Data digest {data}.

## Gate

{verdict}

## Limits

It knows only the classes above and gives one of them for any picture. The figures hold for pictures like those of the
test set. Across kinds of processors probabilities agree to 1e-4.
"""


def model_card(params: Params, backbone: BackboneReport, evaluation: EvaluationReport, verdict: Verdict) -> str:
    """The card's text; holds no time, host, user or path."""
    return CARD.format(
        name=params.export.name,
        classes=len(evaluation.labels),
        labels=", ".join(evaluation.labels),
        crop=backbone.preprocess.crop,
        width=backbone.feature_width,
        architecture=backbone.architecture,
        weights=backbone.weights,
        weights_sha256=backbone.weights_sha256[:12],
        method=params.adapt.method.name,
        licence=params.export.licence,
        test_items=evaluation.test_items,
        train_items=evaluation.train_items + evaluation.validation_items,
        confidence=f"{100 * evaluation.confidence:g}",
        accuracy=_cells(evaluation.accuracy),
        macro_f1=_cells(evaluation.macro_f1),
        baselines="".join(
            f"| accuracy of {baseline.name.replace('_', ' ')} (baseline) | {_cells(baseline.accuracy)} |\n"
            for baseline in evaluation.baselines
        ),
        data=evaluation.digests.data,
        verdict="\n".join(f"- {rule.reason}" for rule in verdict.rules),
    )


def _cells(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} | {estimate.low:.3f} to {estimate.high:.3f}"
