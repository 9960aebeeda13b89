"""ONNX models as bytes that hold nothing of the machine that made them."""

from __future__ import annotations

from typing import Any


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
