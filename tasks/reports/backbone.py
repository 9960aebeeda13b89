"""Which frozen network computed the features; written as models/backbone/backbone.json beside model.onnx."""

from __future__ import annotations

from typing import ClassVar

from tasks.preprocess import Preprocess
from tasks.reports.document import Report


class BackboneReport(Report):
    """`graph_sha256` is of model.onnx: `image` uint8 (n, crop, crop, 3) to `embedding` float32 (n, feature_width)."""

    produced_by: ClassVar[str] = "embed"

    architecture: str
    weights: str
    weights_sha256: str
    graph_sha256: str
    engine_sha256: str
    feature_width: int
    preprocess: Preprocess
