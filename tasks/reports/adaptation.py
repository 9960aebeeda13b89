"""What adapt learned, beside its weights."""

from __future__ import annotations

from typing import ClassVar

from tasks.reports.document import Record, Report


class StrengthScore(Record):
    """Out-of-fold scores of one regularisation strength."""

    strength: float
    loss: float
    accuracy: float


class AdaptationReport(Report):
    """Written as models/adapted/adapted.json; the head's weights lie beside it in head.safetensors.

    The out-of-fold figures are null, and `scores` empty, where no item could be held out (one item per class).
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
