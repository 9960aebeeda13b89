"""What a method that trains the network itself takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from tasks.methods.contract import LinearHead, Method, ParamsT
from tasks.methods.features import LabelledItems
from tasks.metrics import FloatMatrix, IntVector
from tasks.params import BackboneParams
from tasks.preprocess import Preprocess
from tasks.reports.training import EpochScore, JudgedBy, ProbeComparison, TrainingReport

OnEpoch = Callable[[EpochScore], None]
Wanted = Callable[[TrainingReport], bool]
"""Whether a network is still wanted, now that it is judged."""


def ignore(_score: EpochScore) -> None:
    """Hears of an epoch and does nothing."""


def always(_report: TrainingReport) -> bool:
    """Wants every network, however it was judged."""
    return True


@dataclass(frozen=True)
class LabelledImages:
    """The items that a network may learn from, and all it needs to be trained on this machine.

    Attributes:
        items: those on the sides train and validation, with their frozen features.
        files: the raw file of each item.
        backbone: the architecture and its weights, read anew; `root` is what their path starts from.
        preprocess: from file bytes to the network's input, as the backbone's features were computed.
        checkpoints: folder below which each training keeps its state.
        cache: folder for decoded pixels and kept activations.
        threads: of decoding and training; 0 takes every core.
    """

    items: LabelledItems
    files: list[Path]
    backbone: BackboneParams
    root: Path
    preprocess: Preprocess
    weights_sha256: str
    checkpoints: Path
    cache: Path
    threads: int = 0


@dataclass(frozen=True)
class TrainedNetwork:
    """A network that was trained with its head.

    `judged` (items of either side of judging, classes) are logits of the rows `judged_rows` of the training items,
    none of which the model that gave them had seen, `judged_labels` what they are; empty where nothing was judged.

    Attributes:
        body: its tensors by torchvision's names, as a safetensors file.
        graph: the same as an ONNX feature graph (`image` to `embedding`).
    """

    head: LinearHead
    body: bytes
    graph: bytes
    judged_rows: IntVector
    judged: FloatMatrix
    judged_labels: IntVector
    report: TrainingReport


@dataclass(frozen=True)
class UnwantedNetwork:
    """What is left of a network that was judged and not finished, because its report said enough."""

    report: TrainingReport


@dataclass(frozen=True)
class Judged:
    """What judging gave.

    Attributes:
        rows: the judged items.
        epochs: one score an epoch, epoch 0 first.
        logits: (rows, classes) of the chosen epoch.
        head: of the only part's training, whose network is the final one; None after cross-validation.
        multipliers: for each epoch, what the last training multiplies the rate by in a plateau's place.
    """

    by: JudgedBy
    rows: IntVector
    epochs: list[EpochScore]
    best_epoch: int
    stopped_early: bool
    logits: FloatMatrix
    against_probe: ProbeComparison | None
    head: LinearHead | None
    multipliers: list[float] | None


@runtime_checkable
class NetworkMethod(Method, Protocol[ParamsT]):
    """Trains the network itself."""

    def train(
        self, data: LabelledImages, params: ParamsT, judge: bool = True, wanted: Wanted = always
    ) -> TrainedNetwork | UnwantedNetwork:
        """Train; the same input gives the same bits on the same processor, interrupted or not.

        Args:
            judge: False trains once on all items, as a baseline wants it.
            wanted: asked once the network is judged; a network that is not wanted is not finished.
        Raises:
            DataError: a file changed or cannot be read, or training diverged.
            ParamsError: the settings do not fit the network.
        """
        ...

    def judge(self, data: LabelledImages, params: ParamsT, on_epoch: OnEpoch = ignore) -> Judged:
        """Only the judging of `train`, as a search over settings wants it. Raises as `train`."""
        ...
