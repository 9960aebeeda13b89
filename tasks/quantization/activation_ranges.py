"""The least and greatest value of every activation on the calibration items."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tasks.onnx_session import open_session
from tasks.preprocess import UInt8Image
from tasks.quantization.prepared_graph import QUANTIZED, PreparedGraph
from tasks.quantization.runs import each_batch

Ranges = dict[str, tuple[float, float]]
"""Name of a tensor to its least and greatest value."""

LEAST, GREATEST = "_ReduceMin", "_ReduceMax"


def activation_ranges(graph: PreparedGraph, images: UInt8Image, threads: int) -> Ranges:
    """Ranges over all images; minima and maxima, so neither batches nor their order change a bit.

    Args:
        images: (items, crop, crop, 3) prepared items of the training set, one at least.
        threads: of inference; 0 takes every core.
    """
    from onnxruntime.quantization.calibrate import MinMaxCalibrater

    with tempfile.TemporaryDirectory(prefix="graft-int8-") as folder:
        plain, watched = Path(folder) / "plain.onnx", Path(folder) / "watched.onnx"
        plain.write_bytes(graph.content)
        MinMaxCalibrater(plain, list(QUANTIZED), augmented_model_path=str(watched)).augment_graph()
        session = open_session(watched)
    names = [part.name for part in session.get_outputs() if part.name.endswith((LEAST, GREATEST))]
    found = {name: [] for name in names}  # type: dict[str, list[float]]
    for values in each_batch(session, names, images, threads):
        for name, value in zip(names, values, strict=True):
            found[name].append(float(value.min() if name.endswith(LEAST) else value.max()))
    tensors = [name.removesuffix(LEAST) for name in names if name.endswith(LEAST)]
    return {tensor: (min(found[tensor + LEAST]), max(found[tensor + GREATEST])) for tensor in tensors}
