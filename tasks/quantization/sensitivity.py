"""Which part of the network suffers most from int8, found on items of the training set."""

from __future__ import annotations

from tasks.preprocess import UInt8Image
from tasks.quantization.activation_ranges import Ranges
from tasks.quantization.prepared_graph import PreparedGraph
from tasks.quantization.runs import FloatMatrix, distance, logits_of
from tasks.quantization.variants import Variant, quantized_graph

PARTS = 8
"""Stretches of the body that are tried in fp32, with equal numbers of weighted nodes."""

LEFT_IN_FP32 = 2
"""Of them, the ones whose quantisation costs most."""


def parts_of(graph: PreparedGraph) -> list[list[str]]:
    """The body after its first weighted node, cut into PARTS stretches (fewer where it has fewer weighted nodes)."""
    places = [graph.body.index(name) for name in graph.weighted[1:]]
    count = min(PARTS, len(places))
    starts = [places[len(places) * part // count] for part in range(count)]
    return [graph.body[start:end] for start, end in zip(starts, [*starts[1:], len(graph.body)], strict=True)]


def sensitive_nodes(
    graph: PreparedGraph, ranges: Ranges, images: UInt8Image, reference: FloatMatrix, reduce_range: bool, threads: int
) -> list[str]:
    """The nodes of the LEFT_IN_FP32 parts without whose quantisation the logits lie closest to fp32's.

    Each part alone is left in fp32 while all others are quantised; equal distances go to the earlier part.

    Args:
        images: (items, crop, crop, 3) of the training set, others than those that set the ranges.
        reference: (items, classes) logits of fp32 for them.
    """
    parts = parts_of(graph)
    if len(parts) <= LEFT_IN_FP32:
        return [name for part in parts for name in part]
    left = {}
    for place, part in enumerate(parts):
        variant = Variant("fp32_sensitive", True, (graph.weighted[0], *part))
        content = quantized_graph(graph, ranges, variant, reduce_range)
        left[place] = distance(logits_of(content, images, threads), reference)
    worst = sorted(left, key=lambda place: (left[place], place))[:LEFT_IN_FP32]
    return [name for place in sorted(worst) for name in parts[place]]
