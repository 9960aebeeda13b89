"""Stage adapt: learn a head, or the network with it, from the labelled training items.

Run by hand: python -m tasks.adapt
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

import numpy as np

from tasks.errors import StageInputError
from tasks.methods.contract import Adaptation
from tasks.methods.features import LabelledItems, read_labelled_items
from tasks.methods.from_scratch import enough_passes
from tasks.methods.head_files import graph_digest, write_adapted
from tasks.methods.linear_probe import LinearProbe
from tasks.methods.network_contract import LabelledImages, TrainedNetwork
from tasks.methods.registry import find_network_method
from tasks.params import AdaptParams, FromScratchParams, LinearProbeParams, Params
from tasks.reports import AdaptationReport, TrainingReport, write_bytes
from tasks.reports.backbone import BackboneReport
from tasks.stage import run_stage, say
from tasks.temperature import fit_temperature
from tasks.workspace import Workspace

QUICK_FROM_SCRATCH = 50_000_000
"""adapt.from_scratch: auto trains up to so many items x pixels x passes: the embedded sample, not photographs."""


def adapt(workspace: Workspace, params: Params) -> None:
    """Write models/adapted/ and reports/learning_curves.csv. No test item is read beyond its place in the tables.

    Raises:
        StageInputError: splits, embeddings and backbone are missing, damaged or do not belong together.
        DataError: a class has nothing to learn from, a file changed, or training diverged.
        ParamsError: the settings do not fit the network.
    """
    backbone, items = _inputs(workspace)
    settings, data = params.adapt, labelled_images(workspace, params, backbone, items)
    probe_settings = probe_of(settings)
    fitted = items.on(fitted_sides(probe_settings))
    probe = LinearProbe().adapt(fitted.to_learn_from(), probe_settings)
    trained = None if settings.method.name == "linear_probe" else train(data, settings)
    kept = None if trained is None or (settings.keep_best and fell_behind(trained.report)) else trained
    from_scratch = train_from_scratch(data, settings) if wants_from_scratch(data, settings) else None
    report = _report(_Learned(settings, probe_settings, backbone, fitted, probe, trained, kept, from_scratch, data))
    write_adapted(workspace.adapted, probe, fitted, report, kept, from_scratch)
    write_bytes(workspace.learning_curves, learning_curves(report).encode())
    say(f"adapt: {told(report)}")


def labelled_images(
    workspace: Workspace, params: Params, backbone: BackboneReport, items: LabelledItems
) -> LabelledImages:
    """What a network may be trained on: every item but those of the test side."""
    root, learnable = workspace.data_root(params.data.path), items.on(["train", "validation"])
    return LabelledImages(
        items=learnable,
        files=[root / path for path in learnable.paths],
        backbone=params.backbone,
        root=workspace.root,
        preprocess=backbone.preprocess,
        weights_sha256=backbone.weights_sha256,
        checkpoints=workspace.checkpoints,
        cache=workspace.cache,
        threads=params.limits.of("adapt").threads,
    )


def probe_of(settings: AdaptParams) -> LinearProbeParams:
    """The settings of the linear probe: the method itself, or what training starts from and is held against."""
    method = settings.method
    if isinstance(method, LinearProbeParams):
        return method
    return LinearProbeParams() if isinstance(method, FromScratchParams) else method.probe


def fitted_sides(settings: LinearProbeParams) -> list[str]:
    """The sides that the probe learns from."""
    return ["train", "validation"] if settings.fit_on_validation else ["train"]


def train(data: LabelledImages, settings: AdaptParams) -> TrainedNetwork:
    """The network as the configured method trains it."""
    return find_network_method(settings.method.name).train(data, settings.method)


def train_from_scratch(data: LabelledImages, settings: AdaptParams) -> TrainedNetwork:
    """The same network from random weights on the same labels, to its last epoch."""
    return find_network_method("from_scratch").train(data, settings.from_scratch_settings, judge=False)


def wants_from_scratch(data: LabelledImages, settings: AdaptParams) -> bool:
    """Whether the baseline from random weights is trained; never beside itself."""
    if settings.from_scratch == "never" or settings.method.name == "from_scratch":
        return False
    baseline = settings.from_scratch_settings
    passes = baseline.epochs * enough_passes(baseline, len(data.files))
    pixels = len(data.files) * data.preprocess.crop**2 * passes
    return settings.from_scratch == "always" or pixels <= QUICK_FROM_SCRATCH


def fell_behind(report: TrainingReport) -> bool:
    """Whether training ended below the probe on the judged items; of equal accuracies the loss decides."""
    against = report.against_probe
    if against is None:
        return False
    return (against.accuracy, -against.loss) < (against.probe_accuracy, -against.probe_loss)


@dataclass(frozen=True)
class _Learned:
    """All that the report tells of."""

    settings: AdaptParams
    probe_settings: LinearProbeParams
    backbone: BackboneReport
    fitted: LabelledItems
    probe: Adaptation
    trained: TrainedNetwork | None
    kept: TrainedNetwork | None
    from_scratch: TrainedNetwork | None
    data: LabelledImages


def _report(learned: _Learned) -> AdaptationReport:
    probe, kept = learned.probe, learned.kept
    chosen = next((score for score in probe.scores if score.strength == probe.strength), None)
    temperature, calibrated_on, calibration_items = calibration(learned)
    return AdaptationReport(
        method="linear_probe" if kept is None else learned.settings.method.name,
        head=probe.kind if kept is None else "trained",
        labels=learned.fitted.names,
        feature_width=learned.backbone.feature_width,
        graph_sha256=learned.backbone.graph_sha256,
        engine_sha256=learned.backbone.engine_sha256,
        fitted_on=fitted_sides(learned.probe_settings),
        fitted_items=len(learned.fitted.paths),
        strength=probe.strength,
        scores=probe.scores,
        out_of_fold_accuracy=chosen.accuracy if chosen else None,
        out_of_fold_loss=chosen.loss if chosen else None,
        adapted_graph_sha256=graph_digest(kept),
        temperature=temperature,
        calibrated_on=calibrated_on,
        calibration_items=calibration_items,
        training=None if learned.trained is None else learned.trained.report,
        from_scratch=None if learned.from_scratch is None else learned.from_scratch.report,
    )


def calibration(learned: _Learned) -> tuple[float, str | None, int]:
    """The temperature, and what it was fitted on: predictions of items that the predicting model had not seen."""
    if learned.kept is None:
        logits, labels, source = learned.probe.out_of_fold, learned.fitted.labels[learned.probe.scored], "out_of_fold"
    else:
        logits, labels = learned.kept.judged, learned.data.items.labels[learned.kept.judged_rows]
        source = "validation" if learned.kept.report.judged_by == "validation" else "out_of_fold"
    if not len(labels):
        return 1.0, None, 0
    return fit_temperature(np.asarray(logits, dtype=np.float64), labels), source, len(labels)


def learning_curves(report: AdaptationReport) -> str:
    """One row per epoch, as `dvc plots` draws it; of a probe alone one row, its out-of-fold figures as epoch 0."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["epoch", "rate", "training_loss", "loss", "accuracy"])
    if report.training is None:
        writer.writerow([0, 0, "", report.out_of_fold_loss, report.out_of_fold_accuracy])
    for score in report.training.epochs if report.training else []:
        writer.writerow([score.epoch, score.rate, score.training_loss, score.loss, score.accuracy])
    return text.getvalue()


def told(report: AdaptationReport) -> str:
    """What was learned, in a line for the run's log."""
    training = report.training
    against = training.against_probe if training else None
    if training is None or (against and report.adapted_graph_sha256 is None):
        seen = (
            "" if report.out_of_fold_accuracy is None else f", out-of-fold accuracy {report.out_of_fold_accuracy:.3f}"
        )
        text = f"{report.head} head on {report.fitted_items} items, strength {report.strength:.3g}{seen}"
        if against is None:
            return text
        return (
            f"training ended below the linear probe (accuracy {against.accuracy:.3f} against "
            f"{against.probe_accuracy:.3f} on {against.items} items); the probe is kept: {text}"
        )
    judged = "" if against is None else f", accuracy {against.accuracy:.3f} (probe {against.probe_accuracy:.3f})"
    by = training.judged_by.replace("_", "-")
    return f"{report.method} to epoch {training.best_epoch}, judged by {by} on {training.judged_items} items{judged}"


def _inputs(workspace: Workspace) -> tuple[BackboneReport, LabelledItems]:
    backbone = BackboneReport.read(workspace.backbone / "backbone.json")
    items = read_labelled_items(workspace)
    if items.features.shape[1] != backbone.feature_width:
        raise StageInputError(
            f"data/embeddings/ has {items.features.shape[1]} features an item, models/backbone/ gives "
            f"{backbone.feature_width}; run `graft adapt` (stage embed)"
        )
    return backbone, items


if __name__ == "__main__":
    run_stage("adapt", adapt)
