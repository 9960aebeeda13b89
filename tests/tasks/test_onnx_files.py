"""ONNX bytes that hold nothing of the machine, and the linear head that is grafted onto a graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tasks.onnx_files import stripped, with_linear_head
from tasks.onnx_session import open_session

WIDTH, CROP = 3, 4
LOCAL = "/home/somebody/checkout/model.py"


def tiny_model() -> onnx.ModelProto:
    """`image` uint8 (batch, 4, 4, 3) to its channels' means; with a path wherever ONNX has room for one."""
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT, doc_string=LOCAL),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["embedding"], keepdims=0),
    ]
    axes = numpy_helper.from_array(np.array([1, 2], dtype=np.int64), "axes")
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", CROP, CROP, 3], LOCAL)
    embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", WIDTH])
    graph = helper.make_graph(nodes, "main_graph", [image], [embedding], [axes], doc_string=LOCAL)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    model.doc_string = LOCAL
    for part in (model, model.graph, model.graph.node[0], model.graph.input[0], model.graph.initializer[0]):
        part.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=LOCAL)
    model.graph.value_info.add(name="pixels", doc_string=LOCAL)
    return model


def test_stripping_leaves_no_path_and_the_same_answers(tmp_path: Path) -> None:
    model = tiny_model()
    assert LOCAL.encode() in model.SerializeToString()
    data = stripped(model)
    assert LOCAL.encode() not in data
    assert b"stack_trace" not in data
    (tmp_path / "model.onnx").write_bytes(data)
    batch = np.random.default_rng(0).integers(0, 256, (2, CROP, CROP, 3), dtype=np.uint8)
    (means,) = open_session(tmp_path / "model.onnx").run(None, {"image": batch})
    np.testing.assert_allclose(means, batch.mean(axis=(1, 2)), rtol=1e-6)


def test_equal_models_give_equal_bytes() -> None:
    assert stripped(tiny_model()) == stripped(tiny_model())
    again = onnx.load_model_from_string(stripped(tiny_model()))
    assert stripped(again) == stripped(tiny_model())


@pytest.mark.parametrize("items", [1, 5])
def test_a_grafted_head_gives_logits_probabilities_and_the_embedding(tmp_path: Path, items: int) -> None:
    generator = np.random.default_rng(1)
    weight = generator.normal(size=(4, WIDTH)).astype(np.float32) / 100
    bias = generator.normal(size=4).astype(np.float32)
    (tmp_path / "model.onnx").write_bytes(with_linear_head(stripped(tiny_model()), weight, bias))
    session = open_session(tmp_path / "model.onnx")
    assert [output.name for output in session.get_outputs()] == ["logits", "probabilities", "embedding"]
    assert [output.shape for output in session.get_outputs()] == [["batch", 4], ["batch", 4], ["batch", WIDTH]]
    batch = generator.integers(0, 256, (items, CROP, CROP, 3), dtype=np.uint8)
    logits, probabilities, embedding = session.run(None, {"image": batch})
    expected = batch.mean(axis=(1, 2)) @ weight.T.astype(np.float64) + bias
    np.testing.assert_allclose(embedding, batch.mean(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_allclose(logits, expected, rtol=1e-5)
    np.testing.assert_allclose(probabilities, np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True), rtol=1e-5)


def test_a_head_of_another_width_is_refused_where_it_is_grafted() -> None:
    with pytest.raises(ValueError, match=r"head takes 5 features, the graph gives 3"):
        with_linear_head(stripped(tiny_model()), np.zeros((2, 5), np.float32), np.zeros(2, np.float32))
