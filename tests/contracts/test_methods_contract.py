"""Every registered method through the same checks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image
from safetensors.numpy import load as load_tensors
from small_network import (
    FINE_TUNE,
    FROM_SCRATCH,
    NAME,
    PREPROCESS,
    WEIGHTS,
    params_of,
    small_network,
    write_pictures,
    write_weights,
)
from small_network import (
    WIDTH as FEATURES,
)

from tasks.backbones.bodies import body_of
from tasks.backbones.registry import find_backbone
from tasks.backbones.torch_export import FeatureNetwork
from tasks.backbones.weights import LoadedWeights, locate
from tasks.backbones.weights import load as load_weights
from tasks.digests import bytes_sha256, file_sha256
from tasks.errors import DataError, ParamsError, StageInputError
from tasks.methods import network_run
from tasks.methods.contract import DataNeed, FeatureMethod, LabelledFeatures, Method
from tasks.methods.features import read_labelled_items
from tasks.methods.learnable_images import labelled_images
from tasks.methods.linear_probe import LinearProbe
from tasks.methods.network_contract import LabelledImages, NetworkMethod, TrainedNetwork, UnwantedNetwork
from tasks.methods.registry import METHODS, find_method, register
from tasks.metrics import softmax
from tasks.onnx_files import with_linear_head
from tasks.params import AdaptParams, MethodParams, Params
from tasks.reports.backbone import BackboneReport
from tasks.reports.training import EpochScore, TrainingReport
from tasks.training.determinants import TrainingItems
from tasks.training.history import TrainingOutcome
from tasks.training.loop import train
from tasks.workspace import Workspace

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


NETWORK_METHODS = {name: method for name, method in METHODS.items() if isinstance(method, NetworkMethod)}
EVERY_NETWORK_METHOD = pytest.mark.parametrize("name", list(NETWORK_METHODS))
SETTINGS_OF = {"fine_tune": FINE_TUNE, "from_scratch": FROM_SCRATCH}
PER_SIDE = {"train": 16, "validation": 4, "test": 2}


def network_settings(name: str, **changes: Any) -> Any:
    return AdaptParams.model_validate({"method": {**SETTINGS_OF[name], **changes}}).method


def with_own_caches(data: LabelledImages, folder: Path) -> LabelledImages:
    """The same items with nothing kept of any earlier training."""
    return replace(data, cache=folder / "cache", checkpoints=folder / "checkpoints")


def tensors_in(body: bytes) -> dict[str, bytes]:
    return {name: tensor.tobytes() for name, tensor in load_tensors(body).items()}


@dataclass(frozen=True)
class Trainings:
    """Of each method two trainings that know nothing of each other."""

    workspace: Workspace
    data: LabelledImages
    first: dict[str, TrainedNetwork]
    second: dict[str, TrainedNetwork]


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainings]:
    with small_network(), pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("trainings")
        patch.setenv("GRAFT_CACHE_DIR", str(folder / "cache"))
        workspace = write_pictures(folder / "workspace", PER_SIDE)
        backbone = BackboneReport.read(workspace.backbone / "backbone.json")
        items = read_labelled_items(workspace)
        data = replace(labelled_images(workspace, params_of(workspace.root), backbone, items), threads=1)
        first, second = (
            {
                name: method.train(with_own_caches(data, folder / turn), network_settings(name))
                for name, method in NETWORK_METHODS.items()
            }
            for turn in ("first", "second")
        )
        yield Trainings(workspace, with_own_caches(data, folder / "first"), first, second)


@pytest.fixture
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no test looks at the graph, the seconds of its export are spared."""
    monkeypatch.setattr("tasks.methods.network_run.export_body", lambda *_: b"no graph")


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[TrainingItems, TrainingOutcome]]:
    """What each training was given, and what came of it."""
    seen: list[tuple[TrainingItems, TrainingOutcome]] = []

    def recorded(*arguments: Any, **options: Any) -> TrainingOutcome:
        outcome = train(*arguments, **options)
        seen.append((arguments[2], outcome))
        return outcome

    monkeypatch.setattr(network_run, "train", recorded)
    return seen


@EVERY_NETWORK_METHOD
def test_a_network_that_is_trained_anew_has_the_same_bits(trainings: Trainings, name: str) -> None:
    first, second = trainings.first[name], trainings.second[name]
    assert first.head.weight.tobytes() == second.head.weight.tobytes()
    assert first.head.bias.tobytes() == second.head.bias.tobytes()
    assert first.body == second.body
    assert first.graph == second.graph
    assert first.judged.tobytes() == second.judged.tobytes()
    assert first.report == second.report


@EVERY_NETWORK_METHOD
def test_a_finished_training_is_found_again_with_the_same_bits(
    trainings: Trainings, name: str, no_export: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def computed(*_: object) -> float:
        raise AssertionError("an epoch was computed again")

    monkeypatch.setattr("tasks.training.loop._Training._epoch", computed)
    found, first = NETWORK_METHODS[name].train(trainings.data, network_settings(name)), trainings.first[name]
    assert found.head.weight.tobytes() == first.head.weight.tobytes()
    assert found.body == first.body
    assert found.judged.tobytes() == first.judged.tobytes()
    assert found.report == first.report


@EVERY_NETWORK_METHOD
def test_the_exported_graph_gives_the_features_of_the_trained_body(trainings: Trainings, name: str) -> None:
    trained, images = trainings.first[name], np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    weights = LoadedWeights(
        {key: torch.from_numpy(value) for key, value in load_tensors(trained.body).items()}, "", PREPROCESS
    )
    with torch.no_grad():
        expected = FeatureNetwork(body_of(find_backbone(NAME), weights), PREPROCESS)(torch.from_numpy(images)).numpy()
    for count in (1, 3):
        (features,) = onnxruntime.InferenceSession(trained.graph).run(["embedding"], {"image": images[:count]})
        np.testing.assert_allclose(features, expected[:count], atol=1e-4)
    assert np.abs(expected[0] - expected[1]).max() > 1e-2


@EVERY_NETWORK_METHOD
def test_judging_alone_says_what_training_says_and_is_not_done_twice(
    tmp_path: Path, trainings: Trainings, name: str, no_export: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, method, settings = with_own_caches(trainings.data, tmp_path), NETWORK_METHODS[name], network_settings(name)
    heard: list[EpochScore] = []
    judged = method.judge(data, settings, heard.append)
    first = trainings.first[name]
    assert (judged.by, judged.best_epoch) == (first.report.judged_by, first.report.best_epoch)
    assert judged.epochs == first.report.epochs
    assert [score.loss for score in heard] == pytest.approx([score.loss for score in judged.epochs])
    assert judged.logits.tobytes() == first.judged.tobytes()
    monkeypatch.setattr("tasks.training.loop._Training._epoch", None)
    assert method.train(data, settings).body == first.body


@EVERY_NETWORK_METHOD
def test_what_training_is_judged_on_is_never_learned_from(
    tmp_path: Path, trainings: Trainings, name: str, no_export: None
) -> None:
    """Other labels and other pictures on the validation side: the weights of a single epoch stay as they are."""
    settings, data = network_settings(name, epochs=1), with_own_caches(trainings.data, tmp_path)
    judged = np.flatnonzero(np.array(data.items.sides) == "validation")
    files, hashes, labels = list(data.files), list(data.items.sha256), data.items.labels.copy()
    labels[judged] = 1 - labels[judged]
    for row in judged:
        files[row] = tmp_path / f"{row}.png"
        Image.fromarray(np.full((40, 40, 3), int(row), dtype=np.uint8)).save(files[row])
        hashes[row] = file_sha256(files[row])
    poisoned = replace(data, files=files, items=replace(data.items, labels=labels, sha256=hashes))
    clean, other = (NETWORK_METHODS[name].train(each, settings) for each in (data, poisoned))
    assert clean.judged.tobytes() != other.judged.tobytes()
    assert clean.body == other.body
    assert clean.head.weight.tobytes() == other.head.weight.tobytes()
    labels[:2] = 1 - labels[:2]
    assert NETWORK_METHODS[name].train(poisoned, settings).body != clean.body


@EVERY_NETWORK_METHOD
def test_cross_validation_judges_every_item_once_by_a_network_that_did_not_see_its_group(
    tmp_path: Path, trainings: Trainings, name: str, no_export: None, outcomes: list[Any]
) -> None:
    data = with_own_caches(trainings.data, tmp_path)
    pairs = replace(data.items, groups=np.arange(len(data.files)) // 2)
    settings = network_settings(name, min_validation_items=1000, folds=3, epochs=1)
    trained = NETWORK_METHODS[name].train(replace(data, items=pairs), settings)
    assert trained.report.judged_by == "cross_validation"
    assert sorted(trained.judged_rows) == list(range(len(data.files)))
    *folds, final = outcomes
    assert len(folds) == 3
    for items, _ in folds:
        assert not set(pairs.groups[items.learn]) & set(pairs.groups[items.judge])
        assert len(items.learn) + len(items.judge) == len(data.files)
    assert (list(final[0].learn), final[0].judge) == (list(range(len(data.files))), None)


WILD: dict[str, Any] = {"min_validation_items": 1000, "epochs": 6, "learning_rate": 1.0, "warmup_epochs": 0.0}
"""Settings of a cross-validation whose judged loss goes up and down."""


def test_patience_ends_cross_validation_at_the_epoch_where_a_single_training_would_end(
    tmp_path: Path, trainings: Trainings, no_export: None, outcomes: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = [0.9, 0.5, 0.6, 0.7, 0.1]
    rows = [EpochScore(epoch=at, rate=0, training_loss=0, loss=loss, accuracy=0) for at, loss in enumerate(losses)]
    monkeypatch.setattr("tasks.methods.judged_training.epoch_scores", lambda *_: rows)
    data = with_own_caches(trainings.data, tmp_path)
    for patience, best, last in ((2, 1, 3), (3, 4, 4), (0, 4, 4)):
        settings = network_settings("fine_tune", **{**WILD, "folds": 2, "epochs": 4}, patience=patience)
        report = NETWORK_METHODS["fine_tune"].train(data, settings).report
        assert (report.best_epoch, report.stopped_early) == (best, patience == 2)
        assert report.epochs == rows[: last + 1]
        assert outcomes[-1][1].history[-1].epoch == best


def test_after_cross_validation_a_plateau_falls_as_it_fell_in_the_folds(
    tmp_path: Path, trainings: Trainings, no_export: None, outcomes: list[Any]
) -> None:
    data = with_own_caches(trainings.data, tmp_path)
    wild = {**WILD, "folds": 3}
    settings = network_settings("fine_tune", **wild, schedule="plateau", step_epochs=1, step_factor=0.5)
    report = NETWORK_METHODS["fine_tune"].train(data, settings).report
    *folds, (_, final) = outcomes
    median = np.median([outcome.multipliers for _, outcome in folds], axis=0)
    assert median.min() < 1
    assert final.multipliers == list(median[: report.best_epoch])


@EVERY_NETWORK_METHOD
@pytest.mark.parametrize(("least", "trainings_done"), [(9, 2), (1, 1)], ids=["cross_validated", "validated"])
def test_a_network_that_is_not_wanted_once_judged_is_neither_trained_on_nor_exported(
    tmp_path: Path,
    trainings: Trainings,
    monkeypatch: pytest.MonkeyPatch,
    outcomes: list[Any],
    name: str,
    least: int,
    trainings_done: int,
) -> None:
    monkeypatch.setattr("tasks.methods.network_run.export_body", lambda *_: pytest.fail("it was exported"))
    data = with_own_caches(trainings.data, tmp_path)
    settings = network_settings(name, folds=2, min_validation_items=least)
    asked: list[TrainingReport] = []
    left = NETWORK_METHODS[name].train(data, settings, wanted=lambda report: bool(asked.append(report)))
    assert isinstance(left, UnwantedNetwork)
    assert all(items.judge is not None for items, _ in outcomes)
    assert (len(outcomes), {report.against_probe for report in asked}) == (trainings_done, {left.report.against_probe})
    assert left.report.against_probe is not None


@EVERY_NETWORK_METHOD
def test_without_judging_every_item_is_learned_from_to_the_last_epoch(
    tmp_path: Path, trainings: Trainings, name: str, no_export: None, outcomes: list[Any]
) -> None:
    data = with_own_caches(trainings.data, tmp_path)
    trained = NETWORK_METHODS[name].train(data, network_settings(name), judge=False)
    report = trained.report
    assert (report.judged_by, report.judged_items, report.against_probe) == ("nothing", 0, None)
    assert (report.best_epoch, trained.judged.shape) == (2, (0, 2))
    assert [list(items.learn) for items, _ in outcomes] == [list(range(len(data.files)))]


@EVERY_NETWORK_METHOD
def test_a_changed_picture_ends_training_with_its_name(tmp_path: Path, trainings: Trainings, name: str) -> None:
    data = with_own_caches(trainings.data, tmp_path)
    changed = tmp_path / "changed.png"
    changed.write_bytes(data.files[5].read_bytes() + b"\0")
    files = [*data.files[:5], changed, *data.files[6:]]
    with pytest.raises(DataError, match=r"changed\.png changed after the data were validated; run `graft adapt`"):
        NETWORK_METHODS[name].train(replace(data, files=files), network_settings(name))


def test_fine_tuning_leaves_what_is_frozen_as_it_was_pretrained(trainings: Trainings) -> None:
    """Batch norm keeps its statistics in trained blocks too; what is trained has moved."""
    before = tensors_in((trainings.workspace.root / WEIGHTS).read_bytes())
    after = tensors_in(trainings.first["fine_tune"].body)
    assert set(after) == {name for name in before if not name.startswith("fc.")}
    moved = {name for name in after if after[name] != before[name]}
    trained = {"conv.weight", "norm.weight", "norm.bias", "mix.weight", "mix.bias"}
    assert moved == {f"{unit}.{name}" for unit in ("unit2", "unit3") for name in trained}


def test_running_statistics_move_in_trained_blocks_alone_where_they_are_trained(
    tmp_path: Path, trainings: Trainings, no_export: None
) -> None:
    data = with_own_caches(trainings.data, tmp_path)
    trained = NETWORK_METHODS["fine_tune"].train(data, network_settings("fine_tune", batch_norm="trained"))
    before, after = tensors_in((trainings.workspace.root / WEIGHTS).read_bytes()), tensors_in(trained.body)
    moved = {name for name in after if after[name] != before[name] and "running" in name}
    assert moved == {f"{unit}.norm.running_{kind}" for unit in ("unit2", "unit3") for kind in ("mean", "var")}


@pytest.mark.parametrize("changes", [{}, {"keep_frozen": "never"}, {"blocks": "all"}], ids=["kept", "anew", "all"])
def test_fine_tuning_sets_out_from_the_linear_probe_of_what_it_learns_from(
    tmp_path: Path, trainings: Trainings, no_export: None, outcomes: list[Any], changes: dict[str, Any]
) -> None:
    data, settings = with_own_caches(trainings.data, tmp_path), network_settings("fine_tune", epochs=1, **changes)
    trained = NETWORK_METHODS["fine_tune"].train(data, settings)
    ((items, outcome),) = outcomes
    features, labels = data.items.features, data.items.labels
    learned = LabelledFeatures(features[items.learn], labels[items.learn], data.items.groups[items.learn], 2)
    probe = LinearProbe().adapt(learned, settings.probe).head.logits(features[items.judge])
    np.testing.assert_allclose(outcome.judged_logits[0], probe, rtol=1e-3, atol=1e-3)
    assert np.abs(outcome.judged_logits[1] - probe).max() > 1e-2
    assert trained.report.epochs[0].loss == pytest.approx(trained.report.against_probe.probe_loss, rel=1e-3)


def test_a_network_from_scratch_owes_nothing_to_the_pretrained_weights(
    tmp_path: Path, trainings: Trainings, no_export: None
) -> None:
    data = replace(
        with_own_caches(trainings.data, tmp_path), root=tmp_path / "without weights", weights_sha256="of others"
    )
    blank = replace(data, items=replace(data.items, features=np.random.default_rng(0).normal(size=(40, FEATURES))))
    trained = NETWORK_METHODS["from_scratch"].train(blank, network_settings("from_scratch"))
    assert trained.body == trainings.first["from_scratch"].body
    assert {block.trained for block in trained.report.blocks} == {True}


def test_fine_tuning_refuses_weights_that_gave_other_features(tmp_path: Path, trainings: Trainings) -> None:
    write_weights(tmp_path / WEIGHTS, seed=1)
    data = replace(with_own_caches(trainings.data, tmp_path), root=tmp_path)
    with pytest.raises(StageInputError, match=r"weights of alexnet are not those that .*run `graft adapt`"):
        NETWORK_METHODS["fine_tune"].train(data, network_settings("fine_tune"))


def test_more_blocks_than_the_network_has_are_refused_with_their_count(tmp_path: Path, trainings: Trainings) -> None:
    data = with_own_caches(trainings.data, tmp_path)
    with pytest.raises(ParamsError, match=r"adapt\.method\.blocks is 5, but .* has 4 blocks; set it to 1 to 4"):
        NETWORK_METHODS["fine_tune"].train(data, network_settings("fine_tune", blocks=5))


@pytest.mark.parametrize("seed", [0, 3])
def test_a_backbone_without_weights_is_the_one_that_gave_the_features_whatever_the_seed(
    tmp_path: Path, trainings: Trainings, no_export: None, seed: int
) -> None:
    """backbone.weights: none is a network of its own; training starts from it, not from another random one."""
    params = trainings.data.backbone.model_copy(update={"weights": "none"})
    data = with_own_caches(replace(trainings.data, backbone=params, weights_sha256=bytes_sha256(b"none")), tmp_path)
    trained = NETWORK_METHODS["fine_tune"].train(data, network_settings("fine_tune", seed=seed, blocks=1, epochs=1))
    weights = load_weights(params, locate(params, tmp_path))
    expected = body_of(find_backbone(NAME), weights).state_dict()
    found = load_tensors(trained.body)
    for name in ("stem.weight", "unit1.conv.weight", "unit2.mix.bias"):
        np.testing.assert_array_equal(found[name], expected[name].numpy())
