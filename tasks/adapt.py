"""Stage adapt: learn a head from the labelled training items.

Run by hand: python -m tasks.adapt
"""

from __future__ import annotations

from tasks.errors import StageInputError
from tasks.methods.contract import Adaptation
from tasks.methods.features import LabelledItems, read_labelled_items
from tasks.methods.head_files import write_adapted
from tasks.methods.registry import find_method
from tasks.params import LinearProbeParams, Params
from tasks.reports import AdaptationReport
from tasks.reports.backbone import BackboneReport
from tasks.stage import run_stage, say
from tasks.workspace import Workspace


def adapt(workspace: Workspace, params: Params) -> None:
    """Write models/adapted/. No test item is read beyond its place in the tables.

    Raises:
        StageInputError: splits, embeddings and backbone are missing, damaged or do not belong together.
        DataError: a class has nothing to learn from.
    """
    backbone = BackboneReport.read(workspace.backbone / "backbone.json")
    settings = params.adapt.method
    method = find_method(settings.name)
    assert isinstance(settings, LinearProbeParams)
    items = read_labelled_items(workspace)
    if items.features.shape[1] != backbone.feature_width:
        raise StageInputError(
            f"data/embeddings/ has {items.features.shape[1]} features an item, models/backbone/ gives "
            f"{backbone.feature_width}; run `graft adapt` (stage embed)"
        )
    sides = fitted_sides(settings)
    fitted = items.on(sides)
    learned = method.adapt(fitted.to_learn_from(), settings)
    report = _report(settings, backbone, fitted, sides, learned)
    write_adapted(workspace.adapted, learned, report, fitted)
    seen = "" if report.out_of_fold_accuracy is None else f", out-of-fold accuracy {report.out_of_fold_accuracy:.3f}"
    say(f"adapt: {report.head} head on {report.fitted_items} items, strength {report.strength:.3g}{seen}")


def fitted_sides(settings: LinearProbeParams) -> list[str]:
    """The sides that the method learns from."""
    return ["train", "validation"] if settings.fit_on_validation else ["train"]


def _report(
    settings: LinearProbeParams, backbone: BackboneReport, fitted: LabelledItems, sides: list[str], learned: Adaptation
) -> AdaptationReport:
    chosen = next((score for score in learned.scores if score.strength == learned.strength), None)
    return AdaptationReport(
        method=settings.name,
        head=learned.kind,
        labels=fitted.names,
        feature_width=backbone.feature_width,
        graph_sha256=backbone.graph_sha256,
        engine_sha256=backbone.engine_sha256,
        fitted_on=sides,
        fitted_items=len(fitted.paths),
        strength=learned.strength,
        scores=learned.scores,
        out_of_fold_accuracy=chosen.accuracy if chosen else None,
        out_of_fold_loss=chosen.loss if chosen else None,
    )


if __name__ == "__main__":
    run_stage("adapt", adapt)
