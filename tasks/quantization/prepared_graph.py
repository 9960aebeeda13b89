"""The fp32 graph as it is quantised: optimised, shapes inferred, and which of its nodes are the network's body."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
HEAD = "head"
ACTIVATIONS = frozenset({"Relu", "Clip", "LeakyRelu"})
QUANTIZED = (
    *("Add", "AveragePool", "Clip", "Concat", "Conv", "ConvTranspose", "Flatten", "Gather", "Gemm"),
    *("GlobalAveragePool", "LeakyRelu", "MatMul", "MaxPool", "Mul", "Pad", "Relu", "Reshape", "Sigmoid"),
    *("Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),
)
"""Kinds of nodes that are computed in int8 inside the body."""


@dataclass(frozen=True)
class PreparedGraph:
    """Node names are unique, in the order of computation.

    Attributes:
        content: the serialised model.
        body: every node from the first with weights to the last one's activation.
        weighted: those of `body` that hold weights.
        outside: normalisation before the body; pooling, head and softmax after it: fp32 in every variant.
    """

    content: bytes
    body: list[str]
    weighted: list[str]
    outside: list[str]


def prepared_graph(model: bytes) -> PreparedGraph:
    """Fold constants and batch-norm, infer every shape, and find the body.

    Args:
        model: a release's fp32 graph, whose head is the node `head`.
    Raises:
        ValueError: it has no node with weights.
    """
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="graft-int8-") as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        before.write_bytes(model)
        quant_pre_process(str(before), str(after), skip_symbolic_shape=True)
        prepared = onnx.load(after)
    _name_nodes(prepared)
    _keep_used_domains(prepared)
    nodes = list(prepared.graph.node)
    constants = {tensor.name for tensor in prepared.graph.initializer}
    places = [place for place, node in enumerate(nodes) if _has_weights(node, constants) and node.name != HEAD]
    if not places:
        raise ValueError("the graph has no node with weights")
    first, last = places[0], places[-1]
    while last + 1 < len(nodes) and nodes[last + 1].op_type in ACTIVATIONS:
        last += 1
    body = [node.name for node in nodes[first : last + 1]]
    outside = [node.name for node in (*nodes[:first], *nodes[last + 1 :])]
    return PreparedGraph(prepared.SerializeToString(), body, [nodes[place].name for place in places], outside)


def _has_weights(node: Any, constants: set[str]) -> bool:
    """Two activations that are multiplied, as in attention, are no weights, but are quantised with their neighbours."""
    return node.op_type in WEIGHTED and any(name in constants for name in list(node.input)[1:2])


def _keep_used_domains(model: Any) -> None:
    """ONNX Runtime names every domain that it knows in a graph that it optimised; other runtimes refuse some."""
    used = {node.domain for node in model.graph.node} | {""}
    kept = [opset for opset in model.opset_import if opset.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _name_nodes(model: Any) -> None:
    """Nodes are left out by name, so each needs one of its own."""
    seen: set[str] = set()
    for place, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_at_{place}"
        seen.add(node.name)
