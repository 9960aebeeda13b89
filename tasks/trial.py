"""One trial of a search over settings: what would adapt's model score on items that it did not learn from?

It writes no result and reads no item of the test side. Each epoch's figures stand in a marked line, the outcome in the
last one.

Run by the search: python -m tasks.trial PARAMS.json CHECKPOINTS
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from tasks.errors import DataError, GraftError
from tasks.methods.features import read_labelled_items
from tasks.methods.judging import judging_of
from tasks.methods.learnable_images import fitted_sides, labelled_images
from tasks.methods.linear_probe import LinearProbe
from tasks.methods.registry import find_network_method
from tasks.params import LinearProbeParams, Params
from tasks.reports.backbone import BackboneReport
from tasks.reports.training import EpochScore
from tasks.reports.trials import TrialEpoch, TrialOutcome, TrialWord
from tasks.temperature import calibrated_log_losses
from tasks.threads import limit_threads
from tasks.workspace import Workspace

NOTHING_HELD_OUT = (
    "too few items can be held out to judge settings by: nearly every class has items of one group only; add items, "
    "or set the settings by hand"
)


def judge(
    workspace: Workspace, params: Params, checkpoints: Path, on_epoch: Callable[[TrialEpoch], None]
) -> TrialOutcome:
    """The figures of one set of params on held-out items of the train and validation sides.

    Args:
        checkpoints: folder below which each training keeps its state.
    Raises:
        StageInputError: splits, embeddings and backbone are missing, damaged or do not belong together.
        DataError: nothing can be held out, or a class has nothing to learn from.
        ParamsError: the settings do not fit the network, or training diverged.
    """
    method = params.adapt.method
    if isinstance(method, LinearProbeParams):
        return judge_probe(workspace, method)
    return judge_training(workspace, params, checkpoints, on_epoch)


def judge_probe(workspace: Workspace, settings: LinearProbeParams) -> TrialOutcome:
    """Out-of-fold figures of the linear probe; the loss weighs every item alike, whatever the probe learned by."""
    items = read_labelled_items(workspace).on(fitted_sides(settings))
    found = LinearProbe().adapt(items.to_learn_from(), settings)
    true = items.labels[found.scored]
    if not len(true):
        raise DataError(NOTHING_HELD_OUT)
    accuracy = float(np.mean(found.out_of_fold.argmax(axis=1) == true))
    loss = float(calibrated_log_losses(found.out_of_fold, true).mean())
    return TrialOutcome(accuracy=accuracy, loss=loss, items=len(true), judged_by="cross_validation")


def judge_training(
    workspace: Workspace, params: Params, checkpoints: Path, on_epoch: Callable[[TrialEpoch], None]
) -> TrialOutcome:
    """Figures of the epoch that judging chooses: on the validation side, or out of fold where that is too small.

    Args:
        on_epoch: hears of each epoch of the training, or of the first fold's.
    """
    backbone = BackboneReport.read(workspace.backbone / "backbone.json")
    images = labelled_images(workspace, params, backbone, read_labelled_items(workspace))
    data = replace(images, checkpoints=checkpoints)
    settings = params.adapt.method
    if isinstance(settings, LinearProbeParams):
        raise ValueError("the linear probe is no training")
    parts = judging_of(data, settings).parts
    if not parts:
        raise DataError(NOTHING_HELD_OUT)
    of = {"epochs": settings.epochs, "trainings": len(parts)}

    def hear(score: EpochScore) -> None:
        if score.accuracy is not None and score.loss is not None:
            on_epoch(TrialEpoch(epoch=score.epoch, accuracy=score.accuracy, loss=score.loss, **of))

    judged = find_network_method(settings.name).judge(data, settings, hear)
    against = judged.against_probe
    if against is None:
        raise DataError(NOTHING_HELD_OUT)
    return TrialOutcome(
        accuracy=against.accuracy,
        loss=against.loss,
        items=against.items,
        judged_by=judged.by,
        epochs=judged.epochs[-1].epoch,
        best_epoch=judged.best_epoch,
        probe_accuracy=against.probe_accuracy,
        probe_loss=against.probe_loss,
    )


def main(file: Path, checkpoints: Path) -> int:
    """Judge the params in a file; 0 where there is an outcome."""
    params = Params.model_validate_json(file.read_bytes())
    limit_threads(params.limits.of("adapt").threads)
    try:
        outcome = judge(Workspace.find(), params, checkpoints, lambda epoch: _tell(TrialWord(epoch=epoch)))
    except GraftError as err:
        _tell(TrialWord(fault=str(err)))
        return 1
    _tell(TrialWord(outcome=outcome))
    return 0


def _tell(word: TrialWord) -> None:
    print(word.line(), flush=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
