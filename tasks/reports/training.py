"""How a training run went, beside the weights that it gave."""

from __future__ import annotations

from typing import Literal

from tasks.reports.document import Record

JudgedBy = Literal["validation", "cross_validation", "nothing"]


class EpochScore(Record):
    """After one epoch; epoch 0 is the start. Losses are mean log-losses in nats, `loss` at
    the temperature that suits the epoch, `rate` is the head's learning rate.

    Under cross-validation `loss` and `accuracy` are over the items of all folds, each judged while held out, and
    `training_loss` is the mean over the folds.

    `training_loss` is what training lowers: over varied images, with dropout, and with the labels smoothed and the
    classes weighted as the settings say. Beside `loss`, which has none of that, it is no sign of overfitting alone.
    """

    epoch: int
    rate: float
    training_loss: float | None
    loss: float | None
    accuracy: float | None


class BlockState(Record):
    """A block of the network, in the order in which an image meets them, the head last."""

    name: str
    parameters: int
    trained: bool


class ProbeComparison(Record):
    """The trained model against the linear probe on the judged items; the probe saw none of them.

    Losses are mean log-losses in nats, each model's at the temperature that suits it; `loss_gain` is the mean of the
    items' paired differences (above 0: training is better) and `loss_gain_error` the standard error of that mean.
    """

    items: int
    accuracy: float
    loss: float
    probe_accuracy: float
    probe_loss: float
    loss_gain: float | None = None
    loss_gain_error: float | None = None


class TrainingReport(Record):
    """`kept_views` is 0 where the frozen part ran in every epoch. Nothing tells of a resumed run: it ends the same."""

    judged_by: JudgedBy
    judged_items: int
    epochs: list[EpochScore]
    best_epoch: int
    stopped_early: bool
    blocks: list[BlockState]
    batch_norm: str
    against_probe: ProbeComparison | None
    kept_views: int
    device: str
    precision: str
    memory_format: str
