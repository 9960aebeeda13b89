"""The fingerprint of the installed engine: features of two engines are never mixed."""

from __future__ import annotations

from importlib.metadata import version

from PIL import features

from tasks.onnx_session import PROVIDER
from tasks.preprocess import PREPROCESS_VERSION
from tasks.reports.engine import Engine

PRECISION = "float32"


def installed_engine() -> Engine:
    """The engine of this environment; imports neither onnxruntime nor torch."""
    codecs = {name: str(features.version(name)) for name in ("jpg", "libjpeg_turbo", "zlib", "libtiff", "webp")}
    return Engine(
        onnxruntime=version("onnxruntime"),
        provider=PROVIDER,
        precision=PRECISION,
        pillow=version("pillow"),
        codecs=codecs,
        preprocess_version=PREPROCESS_VERSION,
    )
