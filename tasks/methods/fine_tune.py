"""Fine-tuning: the last blocks of the pretrained network and its head, from the linear probe on."""

from __future__ import annotations

from collections.abc import Callable

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
from tasks.params import FineTuneParams


class FineTune:
    """Trains to a chosen depth; what lies below stays as it was pretrained, to the byte."""

    name = "fine_tune"
    needs: frozenset[DataNeed] = frozenset({"source_labels"})

    def train(
        self, data: LabelledImages, params: FineTuneParams, judge: bool = True, wanted: Wanted = always
    ) -> TrainedNetwork | UnwantedNetwork:
        """The fine-tuned network of the epoch that judging chose, or what judging said of one that is not wanted.

        Step 0 is the linear probe of the same items. Bit-identical for the same input on the same processor with the
        same number of threads, interrupted or not.

        Raises:
            ParamsError: the network has fewer blocks than are to be trained, or training diverged.
            DataError: a file changed or cannot be read.
            WeightsError: the weights cannot be had.
            StageInputError: the weights are not those that the features were computed with.
        """
        return trained_network(data, params, _probe(params), pretrained=True, judge=judge, wanted=wanted)

    def judge(self, data: LabelledImages, params: FineTuneParams, on_epoch: OnEpoch = ignore) -> Judged:
        """Only the judging: no final model. Raises as `train`."""
        return judged_training(data, params, _probe(params), pretrained=True, on_epoch=on_epoch)


def _probe(params: FineTuneParams) -> Callable[[LabelledFeatures], LinearHead]:
    """What fits the head that training starts from, to the items that it learns from."""
    return lambda features: LinearProbe().adapt(features, params.probe).head
