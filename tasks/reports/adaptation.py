"""What adapt learned, beside its weights."""

from __future__ import annotations

from typing import ClassVar

from tasks.reports.document import Record, Report
from tasks.reports.training import TrainingReport


class StrengthScore(Record):
    """Out-of-fold scores of one regularisation strength."""

    strength: float
    loss: float
    accuracy: float


class AdaptationReport(Report):
    """Written as models/adapted/adapted.json; the head's weights lie beside it in head.safetensors.

    `method` is whose model this is: linear_probe where a trained one fell behind and adapt.keep_best kept the probe;
    `training` then tells of the model that was not kept. The out-of-fold figures are the probe's; they are null, and
    `scores` empty, where no item could be held out (one item per class).

    Attributes:
        fitted_on: the sides that the model learned from, `fitted_items` how many items lie there; a validation side
            that only judged a training is none of them.
        probe_fitted_on: the same of the linear probe beside a trained network; null: the probe is the model.
        adapted_graph_sha256: of models/adapted/graph.onnx, the network as trained; null: the backbone's own graph.
        temperature: what the logits are divided by before the softmax, so that probabilities are calibrated.
        calibrated_on: `out_of_fold` or `validation`; null: no item could be held out, and the temperature is 1.
        preprocess_sha256: of the preprocessing that the model was made with.
        from_scratch_graph_sha256: of models/adapted/from_scratch/graph.onnx.
        from_scratch: how the same network fared from random weights; null: it was not trained.
    """

    produced_by: ClassVar[str] = "adapt"

    method: str
    head: str
    labels: list[str]
    feature_width: int
    graph_sha256: str
    engine_sha256: str
    fitted_on: list[str]
    fitted_items: int
    strength: float
    scores: list[StrengthScore]
    out_of_fold_accuracy: float | None
    out_of_fold_loss: float | None
    adapted_graph_sha256: str | None = None
    temperature: float = 1.0
    calibrated_on: str | None = None
    calibration_items: int = 0
    training: TrainingReport | None = None
    from_scratch: TrainingReport | None = None
    from_scratch_graph_sha256: str | None = None
    preprocess_sha256: str | None = None
    probe_fitted_on: list[str] | None = None
    probe_fitted_items: int | None = None
