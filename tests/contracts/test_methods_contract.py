"""Every registered method through the same checks."""

from __future__ import annotations

import json
from typing import Any, get_args

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from tasks.errors import DataError, ParamsError
from tasks.methods.contract import DataNeed, FeatureMethod, LabelledFeatures, Method
from tasks.methods.registry import METHODS, find_method, register
from tasks.metrics import softmax
from tasks.onnx_files import with_linear_head
from tasks.params import AdaptParams, MethodParams, Params

WIDTH = 12
EVERY_METHOD = pytest.mark.parametrize("method", list(METHODS.values()), ids=list(METHODS))
FEATURE_METHODS = {name: method for name, method in METHODS.items() if hasattr(method, "adapt")}
EVERY_FEATURE_METHOD = pytest.mark.parametrize("method", list(FEATURE_METHODS.values()), ids=list(FEATURE_METHODS))


def labelled(per_class: int = 8, classes: int = 3, seed: int = 0) -> LabelledFeatures:
    generator = np.random.default_rng(seed)
    labels = np.tile(np.arange(classes), per_class)
    features = generator.normal(size=(len(labels), WIDTH)) + 4 * np.eye(classes, WIDTH)[labels]
    return LabelledFeatures(features.astype(np.float32), labels, np.arange(len(labels)), classes)


def settings_of(method: Method) -> Any:
    return AdaptParams.model_validate({"method": {"name": method.name}}).method


def identity_backbone() -> bytes:
    """A graph whose embedding is its input."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", WIDTH]) for name in ("image", "embedding")]
    graph = helper.make_graph([helper.make_node("Identity", ["image"], ["embedding"])], "backbone", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


@EVERY_METHOD
def test_the_name_in_the_registry_is_the_name_in_params_and_its_needs_are_known(method: Method) -> None:
    assert METHODS[method.name] is method
    assert settings_of(method).name == method.name
    assert method.needs <= frozenset(get_args(DataNeed))


@EVERY_FEATURE_METHOD
def test_the_same_data_give_the_same_bits(method: FeatureMethod[Any]) -> None:
    first, second = (method.adapt(labelled(), settings_of(method)) for _ in range(2))
    assert first.head.weight.tobytes() == second.head.weight.tobytes()
    assert first.head.bias.tobytes() == second.head.bias.tobytes()
    assert first.scores == second.scores
    np.testing.assert_array_equal(first.out_of_fold, second.out_of_fold)


@EVERY_FEATURE_METHOD
def test_the_learned_head_is_float32_of_the_right_shape_and_predicts_unseen_items(method: FeatureMethod[Any]) -> None:
    head, unseen = method.adapt(labelled(), settings_of(method)).head, labelled(seed=1)
    assert (head.weight.shape, head.weight.dtype) == ((3, WIDTH), np.float32)
    assert (head.bias.shape, head.bias.dtype) == ((3,), np.float32)
    logits = head.logits(unseen.features)
    assert (logits.shape, logits.dtype) == ((24, 3), np.float32)
    assert np.mean(logits.argmax(axis=1) == unseen.labels) > 0.9


@EVERY_FEATURE_METHOD
def test_out_of_fold_logits_belong_to_the_items_that_they_name(method: FeatureMethod[Any]) -> None:
    data = labelled()
    learned = method.adapt(data, settings_of(method))
    assert learned.out_of_fold.shape == (len(learned.scored), 3)
    assert np.mean(learned.out_of_fold.argmax(axis=1) == data.labels[learned.scored]) > 0.8


@EVERY_FEATURE_METHOD
def test_the_order_of_the_classes_is_the_order_of_the_rows(method: FeatureMethod[Any]) -> None:
    data, swap = labelled(), np.array([2, 0, 1])
    renamed = LabelledFeatures(data.features, swap[data.labels], data.groups, 3)
    logits = method.adapt(data, settings_of(method)).head.logits(data.features)
    of_renamed = method.adapt(renamed, settings_of(method)).head.logits(data.features)
    np.testing.assert_array_equal(swap[logits.argmax(axis=1)], of_renamed.argmax(axis=1))


@EVERY_FEATURE_METHOD
def test_the_grafted_graph_gives_the_predictions_that_were_evaluated(method: FeatureMethod[Any]) -> None:
    data = labelled()
    head = method.adapt(data, settings_of(method)).head
    graph = with_linear_head(identity_backbone(), head.weight, head.bias)
    onnx.checker.check_model(onnx.load_model_from_string(graph))
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    logits, probabilities = session.run(["logits", "probabilities"], {"image": data.features})
    expected = head.logits(data.features)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    np.testing.assert_allclose(probabilities, softmax(expected.astype(np.float64)), atol=1e-5)


@EVERY_FEATURE_METHOD
def test_one_class_is_refused_by_name_of_the_mistake(method: FeatureMethod[Any]) -> None:
    data = labelled(classes=1)
    with pytest.raises(DataError, match="two classes"):
        method.adapt(data, settings_of(method))


@EVERY_METHOD
def test_data_without_what_the_method_needs_are_refused_with_both_named(method: Method) -> None:
    with pytest.raises(DataError, match=rf"{method.name}.* needs .*source_labels.*the data offer nothing"):
        find_method(method.name, frozenset())


def test_every_method_of_params_is_registered() -> None:
    schema = json.dumps(Params.model_json_schema()["$defs"])
    assert all(f'"const": "{name}"' in schema for name in METHODS)
    assert set(METHODS) == {part.model_fields["name"].default for part in get_args(get_args(MethodParams)[0])}


def test_a_second_method_of_the_same_name_is_an_error() -> None:
    (method, *_) = METHODS.values()
    with pytest.raises(ValueError, match=f"two methods are named '{method.name}'"):
        register([method, method])


def test_an_unknown_method_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ParamsError, match="unknown method 'linear_prob'; did you mean 'linear_probe'"):
        find_method("linear_prob")
