"""Training a network and judging it without the test set: on the validation side, or by cross-validation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tasks.errors import StageInputError
from tasks.folds import deal_folds
from tasks.methods.contract import LabelledFeatures, LinearHead
from tasks.methods.network_contract import Judged, LabelledImages, OnEpoch, TrainedNetwork, ignore
from tasks.metrics import FloatMatrix, IntVector, log_loss
from tasks.params import FineTuneParams, TrainingParams
from tasks.reports.training import EpochScore, JudgedBy, ProbeComparison, TrainingReport
from tasks.stage import Progress

if TYPE_CHECKING:
    from tasks.methods.network_run import NetworkRun
    from tasks.training.loop import TrainingOutcome

Probe = Callable[[LabelledFeatures], LinearHead]
"""Fits the linear probe to some of the items."""


@dataclass(frozen=True)
class Part:
    """Rows of the items to learn from, and those to judge on, none of which are learned from."""

    learn: IntVector
    judge: IntVector


@dataclass(frozen=True)
class Judging:
    """How training is judged. Several parts: cross-validation, after which all items are learned from."""

    by: JudgedBy
    parts: list[Part]


def trained_network(
    data: LabelledImages, settings: TrainingParams, probe: Probe, pretrained: bool, judge: bool = True
) -> TrainedNetwork:
    """Train, choose the epoch by judging, and give the network of that epoch.

    Args:
        pretrained: start from the backbone's weights and the probe, else from random ones.
        judge: False trains on all items to the last epoch.
    """
    run, judging = _network(data, settings, pretrained), judging_of(data, settings) if judge else NOT_JUDGED
    progress = Progress("adapt", _steps(data, settings, judging))
    judged = _judged(run, data, settings, judging, probe, pretrained, progress, ignore)
    head, scores = judged.head, judged.epochs
    if head is None:
        until = judged.best_epoch if judging.parts else None
        everyone = np.arange(len(data.files))
        start = probe(features_on(data, everyone)) if pretrained else None
        outcome, head = run.train(everyone, None, start, until, progress.advance)
        scores = scores or outcome.history
    progress.advance(progress.total - progress.done)
    body, graph = run.exported()
    report = TrainingReport(
        judged_by=judging.by,
        judged_items=len(judged.rows),
        epochs=scores,
        best_epoch=judged.best_epoch if judging.parts else scores[-1].epoch,
        stopped_early=judged.stopped_early,
        blocks=run.blocks,
        batch_norm=settings.batch_norm if isinstance(settings, FineTuneParams) else "trained",
        against_probe=judged.against_probe,
        kept_views=run.views,
        **run.numerics,
    )
    return TrainedNetwork(head, body, graph, judged.rows, judged.logits, report)


def judged_training(
    data: LabelledImages, settings: TrainingParams, probe: Probe, pretrained: bool, on_epoch: OnEpoch = ignore
) -> Judged:
    """Only the judging of `trained_network`; the trainings are found again when the model itself is trained.

    Args:
        on_epoch: hears of each judged epoch; under cross-validation of the first fold's.
    """
    run, judging = _network(data, settings, pretrained), judging_of(data, settings)
    progress = Progress("adapt", _steps(data, settings, judging, final=False))
    return _judged(run, data, settings, judging, probe, pretrained, progress, on_epoch)


def judging_of(data: LabelledImages, settings: TrainingParams) -> Judging:
    """Validation, where that side is large enough and training has every class without it; else folds."""
    items = data.items
    sides, classes = np.array(items.sides), len(items.names)
    train, validation = np.flatnonzero(sides == "train"), np.flatnonzero(sides == "validation")
    complete = len(np.unique(items.labels[train])) == classes
    if complete and len(validation) >= settings.min_validation_items:
        return Judging("validation", [Part(train, validation)])
    fold = deal_folds(items.labels, items.groups, settings.folds, settings.seed)
    held = [index for index in range(settings.folds) if (fold == index).any()]
    parts = [Part(np.flatnonzero(fold != index), np.flatnonzero(fold == index)) for index in held]
    return Judging("cross_validation", parts) if parts else NOT_JUDGED


NOT_JUDGED = Judging("nothing", [])


def features_on(data: LabelledImages, rows: IntVector) -> LabelledFeatures:
    """Frozen features of these rows, as the linear probe takes them."""
    items = data.items
    return LabelledFeatures(items.features[rows], items.labels[rows], items.groups[rows], len(items.names))


def _network(data: LabelledImages, settings: TrainingParams, pretrained: bool) -> NetworkRun:
    """Torch is imported here: the linear probe's way stays without it."""
    from tasks.backbones.weights import LoadedWeights, load, locate
    from tasks.stage import without_collector

    with without_collector():
        from tasks.methods.network_run import NetworkRun

    if not pretrained:
        return NetworkRun(data, settings, LoadedWeights(None, "random", data.preprocess), settings.seed)
    weights = load(data.backbone, locate(data.backbone, data.root))
    if weights.sha256 != data.weights_sha256:
        raise StageInputError(
            f"the weights of {data.backbone.name} are not those that the features were computed with; "
            "run `graft adapt` (stage embed)"
        )
    return NetworkRun(data, settings, weights)


def _steps(data: LabelledImages, settings: TrainingParams, judging: Judging, final: bool = True) -> int:
    """Items to learn from, over all epochs and trainings; without the final one where that is not wanted."""
    items = [len(part.learn) for part in judging.parts]
    items += [len(data.files)] if final and judging.by != "validation" else []
    return settings.epochs * settings.passes * sum(items)


def _judged(
    run: NetworkRun,
    data: LabelledImages,
    settings: TrainingParams,
    judging: Judging,
    probe: Probe,
    pretrained: bool,
    progress: Progress,
    on_epoch: OnEpoch,
) -> Judged:
    classes, labels = len(data.items.names), data.items.labels
    nothing = np.zeros((0, classes))
    if not judging.parts:
        return Judged(judging.by, np.arange(0), [], 0, False, nothing, None, None)
    # Folds that ended at different epochs could not be laid side by side: patience is applied to their sum.
    crossed = judging.by == "cross_validation"
    each = settings.model_copy(update={"patience": 0}) if crossed else settings
    outcomes, heads, probes = [], [], []
    for place, part in enumerate(judging.parts):
        start = probe(features_on(data, part.learn))
        heard = on_epoch if place == 0 else ignore
        outcome, head = run.train(
            part.learn, part.judge, start if pretrained else None, None, progress.advance, each, heard
        )
        outcomes.append(outcome)
        heads.append(head)
        probes.append(start.logits(data.items.features[part.judge]))
    rows = np.concatenate([part.judge for part in judging.parts])
    logits = np.concatenate([outcome.judged_logits for outcome in outcomes], axis=1).astype(np.float64)
    epochs = _scores(outcomes, logits, labels[rows])
    best = _best_epoch(epochs, settings.patience) if crossed else outcomes[0].chosen_epoch
    return Judged(
        by=judging.by,
        rows=rows,
        epochs=epochs,
        best_epoch=best,
        stopped_early=outcomes[0].stopped_early,
        logits=logits[best],
        against_probe=_against_probe(labels[rows], logits[best], np.concatenate(probes).astype(np.float64)),
        head=None if crossed else heads[0],
    )


def _scores(outcomes: list[TrainingOutcome], logits: FloatMatrix, true: IntVector) -> list[EpochScore]:
    """Scores over all judged items; training losses are the mean of the parts'."""
    scores = []
    for epoch, of_epoch in enumerate(logits):
        rows = [outcome.history[epoch] for outcome in outcomes]
        losses = [row.training_loss for row in rows if row.training_loss is not None]
        scores.append(
            EpochScore(
                epoch=epoch,
                rate=rows[0].rate,
                training_loss=float(np.mean(losses)) if losses else None,
                loss=log_loss(of_epoch, true),
                accuracy=float(np.mean(of_epoch.argmax(axis=1) == true)),
            )
        )
    return scores


def _best_epoch(epochs: list[EpochScore], patience: int) -> int:
    """The epoch of least judged loss, from 1 on; with patience the search ends after so many without a better one."""
    best = epochs[1]
    for score in epochs[2:]:
        if (score.loss or 0.0) < (best.loss or 0.0):
            best = score
        elif patience and score.epoch - best.epoch >= patience:
            break
    return best.epoch


def _against_probe(true: IntVector, logits: FloatMatrix, probe: FloatMatrix) -> ProbeComparison:
    return ProbeComparison(
        items=len(true),
        accuracy=float(np.mean(logits.argmax(axis=1) == true)),
        loss=log_loss(logits, true),
        probe_accuracy=float(np.mean(probe.argmax(axis=1) == true)),
        probe_loss=log_loss(probe, true),
    )
