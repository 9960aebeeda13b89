"""The ways of quantising a graph, from the gentlest to the roughest, and the QDQ graph of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.onnx_files import stripped
from tasks.quantization.activation_ranges import Ranges
from tasks.quantization.prepared_graph import QUANTIZED, PreparedGraph
from tasks.reports.quantization import VariantName


@dataclass(frozen=True)
class Variant:
    """A way of quantising: one scale for each output channel of the weights or one for all, and what stays fp32."""

    name: VariantName
    per_channel: bool
    fp32: tuple[str, ...] = ()


def variants_of(graph: PreparedGraph, sensitive: list[str]) -> list[Variant]:
    """Every variant; each leaves less in fp32, or has coarser scales, than the one before it.

    Args:
        sensitive: nodes that are worth leaving in fp32 (tasks/quantization/sensitivity.py).
    """
    stem = graph.weighted[0]
    return [
        Variant("fp32_sensitive", True, tuple(name for name in graph.body if name == stem or name in set(sensitive))),
        Variant("fp32_stem", True, (stem,)),
        Variant("per_channel", True),
        Variant("per_tensor", False),
    ]


def quantized_graph(graph: PreparedGraph, ranges: Ranges, variant: Variant, reduce_range: bool) -> bytes:
    """The QDQ graph: unsigned activations, signed weights, int32 biases; equal arguments give equal bytes.

    Args:
        reduce_range: 7-bit weights.
    """
    import onnx
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    # The quantiser narrows the ranges before a Relu or Clip in place, by what it leaves out: each gets its own.
    bounds = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    quantizer = QDQQuantizer(
        onnx.load_model_from_string(graph.content),
        per_channel=variant.per_channel,
        reduce_range=reduce_range,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, bounds),
        nodes_to_quantize=[],
        nodes_to_exclude=[*graph.outside, *variant.fp32],
        op_types_to_quantize=list(QUANTIZED),
        extra_options={},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    model = quantizer.model.model
    model.producer_name, model.producer_version = "graft", ""
    onnx.checker.check_model(model)
    return stripped(model)
