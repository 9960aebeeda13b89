"""What computes: the versions that can change a pixel or a feature."""

from __future__ import annotations

from tasks.reports.document import Report


class Engine(Report):
    """data/engine.json: a declared dependency of every stage that decodes images or runs a graph."""

    onnxruntime: str
    provider: str
    precision: str
    pillow: str
    codecs: dict[str, str]
    preprocess_version: int
