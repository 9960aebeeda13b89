"""The int8 graphs themselves: what is quantised and how, what stays fp32, and that equal inputs give equal bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from small_workspace import picture

from tasks.onnx_session import open_session
from tasks.quantization.activation_ranges import Ranges, activation_ranges
from tasks.quantization.prepared_graph import HEAD, PreparedGraph, prepared_graph
from tasks.quantization.runs import distance, logits_of
from tasks.quantization.sensitivity import LEFT_IN_FP32, PARTS, parts_of, sensitive_nodes
from tasks.quantization.variants import Variant, quantized_graph, variants_of
from tasks.workspace import Workspace

IMAGES = np.stack(
    [np.asarray(picture(label, seed, 32).convert("RGB")) for seed in range(8) for label in ("ember", "ocean")]
)
NORMALISATION = {"Transpose", "Cast", "Mul", "Add"}


@pytest.fixture(scope="module")
def fp32(finished_template: Workspace) -> bytes:
    return (finished_template.release / "model.onnx").read_bytes()


@pytest.fixture(scope="module")
def graph(fp32: bytes) -> PreparedGraph:
    return prepared_graph(fp32)


@pytest.fixture(scope="module")
def ranges(graph: PreparedGraph) -> Ranges:
    return activation_ranges(graph, IMAGES, threads=2)


@pytest.fixture(scope="module")
def built(fp32: bytes, graph: PreparedGraph, ranges: Ranges) -> dict[str, bytes]:
    sensitive = sensitive_nodes(graph, ranges, IMAGES, logits_of(fp32, IMAGES, 2), False, 2)
    return {variant.name: quantized_graph(graph, ranges, variant, False) for variant in variants_of(graph, sensitive)}


def parts(content: bytes) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    """The nodes, the constants by name, and the node that makes each tensor."""
    model = onnx.load_model_from_string(content)
    nodes = list(model.graph.node)
    made = {name: node for node in nodes for name in node.output}
    return nodes, {each.name: each for each in model.graph.initializer}, made


def is_int8(node: Any, made: dict[str, Any]) -> bool:
    """Whether a weighted node takes quantised activations."""
    return node.input[0] in made and made[node.input[0]].op_type == "DequantizeLinear"


def test_activations_are_unsigned_and_weights_signed(built: dict[str, bytes]) -> None:
    for content in built.values():
        nodes, constants, _ = parts(content)
        zeros = {constants[node.input[2]].data_type for node in nodes if node.op_type == "QuantizeLinear"}
        assert zeros == {TensorProto.UINT8}
        weights = {
            constants[node.input[0]].data_type
            for node in nodes
            if node.op_type == "DequantizeLinear" and node.input[0] in constants
        }
        assert TensorProto.INT8 in weights
        assert weights <= {TensorProto.INT8, TensorProto.INT32}  # Biases are int32.


def weight_scales(content: bytes) -> list[tuple[int, int]]:
    """Output channels of each int8 weight, and how many scales it has."""
    nodes, constants, _ = parts(content)
    return [
        (constants[node.input[0]].dims[0], numpy_helper.to_array(constants[node.input[1]]).size)
        for node in nodes
        if node.op_type == "DequantizeLinear"
        and node.input[0] in constants
        and constants[node.input[0]].data_type == TensorProto.INT8
    ]


@pytest.mark.parametrize("name", ["fp32_sensitive", "fp32_stem", "per_channel"])
def test_each_output_channel_has_a_scale_of_its_own(built: dict[str, bytes], name: str) -> None:
    found = weight_scales(built[name])
    assert found
    assert all(channels == scales for channels, scales in found)


def test_per_tensor_weights_have_one_scale(built: dict[str, bytes]) -> None:
    found = weight_scales(built["per_tensor"])
    assert {scales for _, scales in found} == {1}
    assert len(found) == 25  # squeezenet1_0 without its classifier


def test_variants_leave_less_and_less_in_fp32(built: dict[str, bytes]) -> None:
    counts = []
    for content in built.values():
        nodes, _, made = parts(content)
        counts.append(sum(node.op_type == "Conv" and is_int8(node, made) for node in nodes))
    assert list(built) == ["fp32_sensitive", "fp32_stem", "per_channel", "per_tensor"]
    assert counts[0] < counts[1] == 24
    assert counts[2] == counts[3] == 25


def test_the_stem_is_the_first_convolution(built: dict[str, bytes]) -> None:
    nodes, _, made = parts(built["fp32_stem"])
    plain = [node for node in nodes if node.op_type == "Conv" and not is_int8(node, made)]
    assert [node.name for node in plain] == [next(node.name for node in nodes if node.op_type == "Conv")]


def test_normalisation_head_and_softmax_stay_fp32(built: dict[str, bytes]) -> None:
    for content in built.values():
        nodes, _, made = parts(content)
        first = next(place for place, node in enumerate(nodes) if node.op_type in ("Conv", "QuantizeLinear"))
        assert {node.op_type for node in nodes[:first]} >= NORMALISATION
        for name in (HEAD, "softmax"):
            node = next(node for node in nodes if node.name == name)
            assert not is_int8(node, made)
        assert made["embedding"].op_type != "DequantizeLinear"


def test_the_interface_is_that_of_the_fp32_graph(fp32: bytes, built: dict[str, bytes]) -> None:
    def interface(content: bytes) -> list[tuple[str, str, list[Any]]]:
        session = open_session(content)
        return [(part.name, part.type, part.shape) for part in (*session.get_inputs(), *session.get_outputs())]

    expected = interface(fp32)
    assert [name for name, _, _ in expected] == ["image", "logits", "probabilities", "embedding"]
    for content in built.values():
        assert interface(content) == expected
        for size in (1, 3):
            probabilities = open_session(content).run(["probabilities"], {"image": IMAGES[:size]})[0]
            np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-6)


def test_int8_graphs_are_smaller_and_answer_alike(fp32: bytes, built: dict[str, bytes]) -> None:
    reference = logits_of(fp32, IMAGES, 2)
    for content in built.values():
        assert len(content) < 0.9 * len(fp32)
        assert 0 < distance(logits_of(content, IMAGES, 2), reference) < 0.05


def test_equal_inputs_give_equal_bytes_whatever_the_threads(fp32: bytes, ranges: Ranges) -> None:
    again = prepared_graph(fp32)
    assert activation_ranges(again, IMAGES, threads=1) == ranges
    assert activation_ranges(again, IMAGES[::-1].copy(), threads=3) == ranges
    for per_channel in (True, False):
        variant = Variant("per_channel", per_channel)
        first, second = (quantized_graph(graph, ranges, variant, False) for graph in (again, prepared_graph(fp32)))
        assert first == second


def test_a_variant_does_not_hang_on_those_built_before_it(graph: PreparedGraph, ranges: Ranges) -> None:
    alone = quantized_graph(graph, dict(ranges), Variant("per_channel", True), False)
    quantized_graph(graph, ranges, Variant("fp32_stem", True, (graph.weighted[0],)), False)
    assert quantized_graph(graph, ranges, Variant("per_channel", True), False) == alone


def test_the_graph_tells_nothing_of_where_and_when_it_was_made(built: dict[str, bytes]) -> None:
    for content in built.values():
        model = onnx.load_model_from_string(content)
        assert not model.metadata_props
        assert {opset.domain for opset in model.opset_import} == {""}
        assert not model.graph.value_info
        assert (model.producer_name, model.producer_version) == ("graft", "")
        assert b"/tmp" not in content
        assert not any(node.doc_string or node.metadata_props for node in model.graph.node)


def test_seven_bit_weights_keep_half_the_range(graph: PreparedGraph, ranges: Ranges) -> None:
    narrow = quantized_graph(graph, ranges, Variant("per_channel", True), reduce_range=True)
    _, constants, _ = parts(narrow)
    weights = [numpy_helper.to_array(each) for each in constants.values() if each.data_type == TensorProto.INT8]
    assert max(int(np.abs(each.astype(int)).max(initial=0)) for each in weights if each.ndim == 4) <= 64


def test_the_sensitive_parts_are_those_whose_quantisation_costs_most(
    fp32: bytes, graph: PreparedGraph, ranges: Ranges
) -> None:
    """A part whose ranges are ruined is found, wherever it lies."""
    reference = logits_of(fp32, IMAGES, 2)
    stretches = parts_of(graph)
    assert len(stretches) == PARTS
    assert [name for part in stretches for name in part] == graph.body[graph.body.index(stretches[0][0]) :]
    model = onnx.load_model_from_string(graph.content)
    for ruined in (1, 5):
        inside = {name for node in model.graph.node if node.name in set(stretches[ruined]) for name in node.output}
        spoilt = {
            name: (40 * low, 40 * high) if name in inside else (low, high) for name, (low, high) in ranges.items()
        }
        found = sensitive_nodes(graph, spoilt, IMAGES, reference, False, 2)
        assert set(stretches[ruined]) <= set(found)
        assert sum(set(part) <= set(found) for part in stretches) == LEFT_IN_FP32


def test_a_graph_without_weights_is_refused() -> None:
    image = onnx.helper.make_tensor_value_info("image", TensorProto.FLOAT, [None, 4])
    answer = onnx.helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [None, 4])
    plain = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["image"], ["embedding"])], "g", [image], [answer])
    model = onnx.helper.make_model(plain, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    with pytest.raises(ValueError, match="no node with weights"):
        prepared_graph(model.SerializeToString())


def test_distance_is_blind_to_what_softmax_is_blind_to() -> None:
    logits = np.array([[1.0, 2.0], [3.0, -1.0]], dtype=np.float32)
    assert distance(logits + np.array([[5.0], [-7.0]], dtype=np.float32), logits) == pytest.approx(0.0, abs=1e-12)
    assert distance(2 * logits, logits) == pytest.approx(1.0)
    assert distance(np.zeros((2, 2), np.float32), np.zeros((2, 2), np.float32)) == 0.0
