"""The same network from random weights: what there would be without transfer."""

from __future__ import annotations

import math

from tasks.methods.contract import DataNeed, LabelledFeatures, LinearHead
from tasks.methods.judged_training import judged_training, trained_network
from tasks.methods.linear_probe import LinearProbe
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
from tasks.params import FromScratchParams, LinearProbeParams


class FromScratch:
    """Trains every block and the head; nothing of the pretrained weights is used but to be held against."""

    name = "from_scratch"
    needs: frozenset[DataNeed] = frozenset({"source_labels"})

    def train(
        self, data: LabelledImages, params: FromScratchParams, judge: bool = True, wanted: Wanted = always
    ) -> TrainedNetwork | UnwantedNetwork:
        """The network of the epoch that judging chose; of the last one without judging. Raises as fine-tuning does."""
        return trained_network(data, _lengthened(data, params), _probe, pretrained=False, judge=judge, wanted=wanted)

    def judge(self, data: LabelledImages, params: FromScratchParams, on_epoch: OnEpoch = ignore) -> Judged:
        """Only the judging: no final model."""
        return judged_training(data, _lengthened(data, params), _probe, pretrained=False, on_epoch=on_epoch)


def _probe(features: LabelledFeatures) -> LinearHead:
    return LinearProbe().adapt(features, LinearProbeParams()).head


def enough_passes(params: FromScratchParams, items: int) -> int:
    """Passes an epoch for `min_steps` steps in all: random weights need steps, however few the items are.

    >>> enough_passes(FromScratchParams(epochs=60, min_steps=600, batch_size=32), 50)
    5
    """
    steps = params.epochs * math.ceil(items / params.batch_size)
    return max(params.passes, math.ceil(params.min_steps / steps))


def _lengthened(data: LabelledImages, params: FromScratchParams) -> FromScratchParams:
    return params.model_copy(update={"passes": enough_passes(params, len(data.files))})
