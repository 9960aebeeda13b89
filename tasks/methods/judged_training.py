"""Training a network and judging it without the test set: on the validation side, or by cross-validation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tasks.errors import StageInputError
from tasks.methods.contract import LabelledFeatures, LinearHead
from tasks.methods.judging import (
    NOT_JUDGED,
    Judging,
    against_probe,
    best_and_last,
    epoch_scores,
    judging_of,
)
from tasks.methods.network_contract import (
    Judged,
    LabelledImages,
    OnEpoch,
    TrainedNetwork,
    UnwantedNetwork,
    Wanted,
    always,
    ignore,
)
from tasks.metrics import IntVector
from tasks.params import FineTuneParams, TrainingParams
from tasks.reports.training import EpochScore, TrainingReport
from tasks.stage import Progress, say

if TYPE_CHECKING:
    from tasks.methods.network_run import NetworkRun
    from tasks.training.history import TrainingOutcome

Probe = Callable[[LabelledFeatures], LinearHead]
"""Fits the linear probe to some of the items."""


def trained_network(
    data: LabelledImages,
    settings: TrainingParams,
    probe: Probe,
    pretrained: bool,
    judge: bool = True,
    wanted: Wanted = always,
) -> TrainedNetwork | UnwantedNetwork:
    """Train, choose the epoch by judging, and give the network of that epoch.

    Args:
        pretrained: start from the backbone's weights and the probe, else from random ones.
        judge: False trains on all items to the last epoch, as a baseline beside the model.
        wanted: asked once the network is judged; one that is not wanted is neither trained on all items nor exported.
    """
    run = network_of(data, settings, pretrained, "adapt.method" if judge else "adapt.from_scratch_settings")
    judging = judging_of(data, settings) if judge else NOT_JUDGED
    progress = Progress("adapt", _steps(data, settings, judging))
    judged = _judged(run, data, settings, judging, probe, pretrained, progress, ignore)
    head, scores = judged.head, judged.epochs
    if head is None and not (scores and not wanted(_report(run, settings, judged, scores))):
        until = judged.best_epoch if judging.parts else None
        everyone = np.arange(len(data.files))
        start = probe(features_on(data, everyone)) if pretrained else None
        what = "training" if judge else "the same network from random weights, trained"
        say(f"adapt: {what} on all {len(everyone)} items")
        outcome, head = run.train(everyone, None, start, until, progress.advance, multipliers=judged.multipliers)
        scores = scores or outcome.history
    progress.advance(progress.total - progress.done)
    report = _report(run, settings, judged, scores)
    if head is None or not wanted(report):
        return UnwantedNetwork(report)
    body, graph = run.exported()
    return TrainedNetwork(head, body, graph, judged.rows, judged.logits, data.items.labels[judged.rows], report)


def _report(run: NetworkRun, settings: TrainingParams, judged: Judged, scores: list[EpochScore]) -> TrainingReport:
    return TrainingReport(
        judged_by=judged.by,
        judged_items=len(judged.rows),
        epochs=scores,
        best_epoch=judged.best_epoch if judged.epochs else scores[-1].epoch,
        stopped_early=judged.stopped_early,
        blocks=run.blocks,
        batch_norm=settings.batch_norm if isinstance(settings, FineTuneParams) else "trained",
        against_probe=judged.against_probe,
        kept_views=run.views,
        **run.numerics,
    )


def judged_training(
    data: LabelledImages, settings: TrainingParams, probe: Probe, pretrained: bool, on_epoch: OnEpoch = ignore
) -> Judged:
    """Only the judging of `trained_network`; the trainings are found again when the model itself is trained.

    Args:
        on_epoch: hears of each judged epoch; under cross-validation of the first fold's.
    """
    run, judging = network_of(data, settings, pretrained, "adapt.method"), judging_of(data, settings)
    progress = Progress("adapt", _steps(data, settings, judging, final=False))
    return _judged(run, data, settings, judging, probe, pretrained, progress, on_epoch)


def features_on(data: LabelledImages, rows: IntVector) -> LabelledFeatures:
    """Frozen features of these rows, as the linear probe takes them."""
    items = data.items
    return LabelledFeatures(items.features[rows], items.labels[rows], items.groups[rows], len(items.names))


def network_of(data: LabelledImages, settings: TrainingParams, pretrained: bool, section: str) -> NetworkRun:
    """A network to be trained, from the backbone's weights or random ones.

    Torch is imported here: the linear probe's way stays without it.
    """
    from tasks.backbones.weights import LoadedWeights, load, locate
    from tasks.stage import without_collector

    with without_collector():
        from tasks.methods.network_run import NetworkRun

    if not pretrained:
        return NetworkRun(data, settings, LoadedWeights(None, "random", data.preprocess), settings.seed, section, False)
    weights = load(data.backbone, locate(data.backbone, data.root))
    if weights.sha256 != data.weights_sha256:
        raise StageInputError(
            f"the weights of {data.backbone.name} are not those that the features were computed with; "
            "run `graft adapt` (stage embed)"
        )
    return NetworkRun(data, settings, weights, section=section)


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
        return Judged(judging.by, np.arange(0), [], 0, False, nothing, None, None, None)
    # Folds that ended at different epochs could not be laid side by side: patience is applied to their sum.
    crossed = judging.by == "cross_validation"
    each = settings.model_copy(update={"patience": 0}) if crossed else settings
    outcomes, heads, probes = [], [], []
    count = len(judging.parts)
    say(f"adapt: {count}-fold cross-validation, then all items" if crossed else "adapt: judged on the validation side")
    for place, part in enumerate(judging.parts):
        start = probe(features_on(data, part.learn))
        fold = f"fold {place + 1} of {count}, " if crossed else ""
        heard = _Teller(fold, settings, on_epoch if place == 0 else ignore)
        outcome, head = run.train(
            part.learn, part.judge, start if pretrained else None, None, progress.advance, each, heard
        )
        outcomes.append(outcome)
        heads.append(head)
        probes.append(start.logits(data.items.features[part.judge]))
    rows = np.concatenate([part.judge for part in judging.parts])
    logits = np.concatenate([outcome.judged_logits for outcome in outcomes], axis=1).astype(np.float64)
    epochs = epoch_scores(outcomes, logits, labels[rows])
    best, last = outcomes[0].chosen_epoch, epochs[-1].epoch
    if crossed:
        best, last = best_and_last(epochs, settings.patience)
    return Judged(
        by=judging.by,
        rows=rows,
        epochs=epochs[: last + 1],
        best_epoch=best,
        stopped_early=last < settings.epochs,
        logits=logits[best],
        against_probe=against_probe(labels[rows], logits[best], np.concatenate(probes).astype(np.float64)),
        head=None if crossed else heads[0],
        multipliers=_plateau_of(outcomes) if crossed and settings.schedule == "plateau" else None,
    )


class _Teller:
    """Tells the run's log of every epoch, and whoever else wants to hear."""

    def __init__(self, part: str, settings: TrainingParams, on_epoch: OnEpoch) -> None:
        self._part, self._epochs, self._on_epoch = part, settings.epochs, on_epoch

    def __call__(self, score: EpochScore) -> None:
        figures = "" if score.accuracy is None else f": accuracy {score.accuracy:.3f}, log loss {score.loss:.3f}"
        say(f"adapt: {self._part}epoch {score.epoch} of {self._epochs}{figures}")
        self._on_epoch(score)


def _plateau_of(outcomes: list[TrainingOutcome]) -> list[float]:
    """For each epoch the median of what the folds' plateaus multiplied the rate by: what the last training replays."""
    return [float(one) for one in np.median([outcome.multipliers for outcome in outcomes], axis=0)]
