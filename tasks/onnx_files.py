"""ONNX models as bytes that hold nothing of the machine that made them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatMatrix = npt.NDArray[np.float32]
FloatVector = npt.NDArray[np.float32]


def stripped(model: Any) -> bytes:
    """A ModelProto as bytes without stack traces, paths, doc strings and value hints; equal models give equal bytes."""
    model.ClearField("metadata_props")
    model.doc_string = ""
    model.ClearField("functions")
    graph = model.graph
    graph.name = "graft"
    graph.doc_string = ""
    graph.ClearField("metadata_props")
    graph.ClearField("value_info")
    for part in [*graph.node, *graph.input, *graph.output, *graph.initializer]:
        part.doc_string = ""
        part.ClearField("metadata_props")
    return bytes(model.SerializeToString(deterministic=True))


def with_linear_head(graph: bytes, weight: FloatMatrix, bias: FloatVector) -> bytes:
    """A feature graph with a linear head grafted onto it.

    Args:
        graph: a model with the output `embedding`, float32 (batch, width).
        weight: (classes, width) float32.
        bias: (classes,) float32.
    Returns:
        a model with the outputs `logits` and `probabilities`, float32 (batch, classes), and `embedding`.
    Raises:
        ValueError: the head is of another width than the graph's features.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_model_from_string(graph)
    embedding = model.graph.output[0]
    batch, width = embedding.type.tensor_type.shape.dim
    classes, taken = weight.shape
    if taken != width.dim_value:
        raise ValueError(f"the head takes {taken} features, the graph gives {width.dim_value}")
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.ascontiguousarray(weight, dtype=np.float32), "head.weight"),
            numpy_helper.from_array(np.ascontiguousarray(bias, dtype=np.float32), "head.bias"),
        ]
    )
    model.graph.node.extend(
        [
            helper.make_node("Gemm", ["embedding", "head.weight", "head.bias"], ["logits"], name="head", transB=1),
            helper.make_node("Softmax", ["logits"], ["probabilities"], name="softmax", axis=1),
        ]
    )
    heads = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch.dim_param, classes])
        for name in ("logits", "probabilities")
    ]
    del model.graph.output[:]
    model.graph.output.extend([*heads, embedding])
    onnx.checker.check_model(model)
    return stripped(model)
