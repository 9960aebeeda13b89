"""Stage adapt: learn a head, or the network with it, from the labelled training items.

Run by hand: python -m tasks.adapt
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.errors import ParamsError, StageInputError
from tasks.methods.adaptation_text import learning_curves, told
from tasks.methods.adapted_folder import graph_digest, preprocess_digest, write_adapted
from tasks.methods.contract import Adaptation
from tasks.methods.features import LabelledItems, read_labelled_items
from tasks.methods.from_scratch import enough_passes
from tasks.methods.learnable_images import (
    LEARNABLE,
    fitted_sides,
    items_on,
    labelled_images,
    probe_of,
    trained_sides,
)
from tasks.methods.linear_probe import LinearProbe
from tasks.methods.network_contract import LabelledImages, TrainedNetwork, UnwantedNetwork
from tasks.methods.registry import find_network_method
from tasks.params import AdaptParams, LinearProbeParams, Params
from tasks.plots.probe_comparison import no_better_text
from tasks.reports import AdaptationReport, write_bytes
from tasks.reports.backbone import BackboneReport
from tasks.reports.training import TrainingReport
from tasks.stage import run_stage, say
from tasks.temperature import fit_temperature
from tasks.workspace import Workspace

QUICK_FROM_SCRATCH = 150_000_000
"""adapt.from_scratch: auto trains up to so many items x pixels x passes: the embedded sample, not photographs."""


def adapt(workspace: Workspace, params: Params) -> None:
    """Write models/adapted/ and reports/learning_curves.csv. No test item is read beyond its place in the tables.

    Raises:
        StageInputError: splits, embeddings and backbone are missing, damaged or do not belong together.
        DataError: a class has nothing to learn from, or a file changed.
        ParamsError: the settings do not fit the network, or training diverged.
    """
    backbone, items = _inputs(workspace)
    settings, probe_settings = params.adapt, probe_of(params.adapt)
    tested = items.sides.count("test")
    if tested < params.gate.min_test_items:
        say(f"adapt: {tested} test items are fewer than gate.min_test_items ({params.gate.min_test_items})", "warning")
    fitted = items.on(fitted_sides(probe_settings))
    probe = LinearProbe().adapt(fitted.to_learn_from(), probe_settings)
    trained = from_scratch = None
    wants_network = settings.method.name != "linear_probe"
    wants_baseline = wants_from_scratch(settings, items_on(items, LEARNABLE), backbone.preprocess.crop)
    if wants_network or wants_baseline:
        data = labelled_images(workspace, params, backbone, items)
        trained = train(data, settings) if wants_network else None
        from_scratch = train_from_scratch(data, settings) if wants_baseline else None
    kept = trained if isinstance(trained, TrainedNetwork) else None
    learned = _Learned(settings, probe_settings, backbone, items, fitted, probe, trained, kept, from_scratch)
    report = _report(learned)
    write_adapted(workspace.adapted, probe, fitted, report, kept, from_scratch)
    write_bytes(workspace.learning_curves, learning_curves(report).encode())
    say(f"adapt: {told(report)}")


def train(data: LabelledImages, settings: AdaptParams) -> TrainedNetwork | UnwantedNetwork:
    """The network as the configured method trains it; adapt.keep_best has one that is no better left unfinished."""

    def wanted(report: TrainingReport) -> bool:
        return not (settings.keep_best and no_better_text(report))

    return find_network_method(settings.method.name).train(data, settings.method, wanted=wanted)


def train_from_scratch(data: LabelledImages, settings: AdaptParams) -> TrainedNetwork | None:
    """The same network from random weights on the same labels, to its last epoch.

    A baseline that was not asked for and fails is left out with a warning: the model itself is whole.
    """
    try:
        trained = find_network_method("from_scratch").train(data, settings.from_scratch_settings, judge=False)
    except ParamsError as err:
        if settings.from_scratch == "always":
            raise
        say(f"warning: the baseline from random weights is left out: {err}")
        return None
    return trained if isinstance(trained, TrainedNetwork) else None


def wants_from_scratch(settings: AdaptParams, items: int, side: int) -> bool:
    """Whether the baseline from random weights is trained; never beside itself.

    Args:
        items: how many there are to learn from.
        side: of an image, pixels.
    """
    if settings.from_scratch == "never" or settings.method.name == "from_scratch":
        return False
    baseline = settings.from_scratch_settings
    passes = baseline.epochs * enough_passes(baseline, items)
    return settings.from_scratch == "always" or items * side**2 * passes <= QUICK_FROM_SCRATCH


@dataclass(frozen=True)
class _Learned:
    """All that the report tells of."""

    settings: AdaptParams
    probe_settings: LinearProbeParams
    backbone: BackboneReport
    items: LabelledItems
    fitted: LabelledItems
    probe: Adaptation
    trained: TrainedNetwork | UnwantedNetwork | None
    kept: TrainedNetwork | None
    from_scratch: TrainedNetwork | None


def _report(learned: _Learned) -> AdaptationReport:
    probe, kept = learned.probe, learned.kept
    chosen = next((score for score in probe.scores if score.strength == probe.strength), None)
    temperature, calibrated_on, calibration_items = calibration(learned)
    probe_sides = fitted_sides(learned.probe_settings)
    sides = probe_sides if kept is None else trained_sides(kept.report)
    return AdaptationReport(
        method="linear_probe" if kept is None else learned.settings.method.name,
        head=probe.kind if kept is None else "trained",
        labels=learned.fitted.names,
        feature_width=learned.backbone.feature_width,
        graph_sha256=learned.backbone.graph_sha256,
        engine_sha256=learned.backbone.engine_sha256,
        fitted_on=sides,
        fitted_items=items_on(learned.items, sides),
        strength=probe.strength,
        scores=probe.scores,
        out_of_fold_accuracy=chosen.accuracy if chosen else None,
        out_of_fold_loss=chosen.loss if chosen else None,
        adapted_graph_sha256=graph_digest(kept),
        temperature=temperature,
        calibrated_on=calibrated_on,
        calibration_items=calibration_items,
        preprocess_sha256=preprocess_digest(learned.backbone.preprocess),
        probe_fitted_on=None if kept is None else probe_sides,
        probe_fitted_items=None if kept is None else len(learned.fitted.paths),
        from_scratch_graph_sha256=graph_digest(learned.from_scratch),
        training=None if learned.trained is None else learned.trained.report,
        from_scratch=None if learned.from_scratch is None else learned.from_scratch.report,
    )


def calibration(learned: _Learned) -> tuple[float, str | None, int]:
    """The temperature, and what it was fitted on: predictions of items that the predicting model had not seen."""
    if learned.kept is None:
        logits, labels, source = learned.probe.out_of_fold, learned.fitted.labels[learned.probe.scored], "out_of_fold"
    else:
        logits, labels = learned.kept.judged, learned.kept.judged_labels
        source = "validation" if learned.kept.report.judged_by == "validation" else "out_of_fold"
    if not len(labels):
        return 1.0, None, 0
    return fit_temperature(np.asarray(logits, dtype=np.float64), labels), source, len(labels)


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
