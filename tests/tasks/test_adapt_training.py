"""Stage adapt where it trains a network: what is kept, by what it is judged, what it writes and what it refuses."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_network import (
    FINE_TUNE,
    FROM_SCRATCH,
    WEIGHTS,
    change_splits,
    params_of,
    small_network,
    write_pictures,
    write_weights,
)
from small_workspace import copy_workspace

from tasks.adapt import adapt, wants_from_scratch
from tasks.digests import folder_sha256
from tasks.errors import DataError, ParamsError, StageInputError
from tasks.methods.adapted_folder import read_adapted, read_from_scratch, read_probe
from tasks.params import AdaptParams
from tasks.plots.probe_comparison import fell_behind
from tasks.reports import AdaptationReport, ProbeComparison
from tasks.tables import SPLITS, read_table
from tasks.workspace import Workspace

PER_SIDE = {"train": 16, "validation": 4, "test": 4}
FORGETFUL = {**FINE_TUNE, "learning_rate": 1.0, "weight_decay": 1.0, "warmup_epochs": 0.0, "schedule": "constant"}
"""Settings under which each step takes every weight back to 0: the network forgets all that it knew."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A workspace as split leaves it, with a cache of its own; copied by every test."""
    with small_network(), pytest.MonkeyPatch.context() as patch:
        patch.delenv("GRAFT_CACHE_DIR", raising=False)
        yield write_pictures(tmp_path_factory.mktemp("pictures") / "workspace", PER_SIDE)


@pytest.fixture
def workspace(template: Workspace, tmp_path: Path) -> Workspace:
    return copy_workspace(template, tmp_path / "workspace")


@pytest.fixture
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no test looks at the graph, the seconds of its export are spared."""
    monkeypatch.setattr("tasks.methods.network_run.export_body", lambda *_: b"no graph")


def adapted(workspace: Workspace, **settings: Any) -> AdaptationReport:
    """The report of adapt under these settings of the section."""
    adapt(workspace, params_of(workspace.root, **settings))
    return AdaptationReport.read(workspace.adapted / "adapted.json")


def names_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def curves(workspace: Workspace) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(workspace.learning_curves.read_text())))


def poison_test_side(workspace: Workspace) -> int:
    """Delete the files of test items, spoil their features and swap their labels; returns how many there are."""
    rows, features = read_table(workspace.splits, SPLITS).to_pydict(), np.load(workspace.features)
    test = [row for row, side in enumerate(rows["side"]) if side == "test"]
    labels = {"ember": ("ocean", 1), "ocean": ("ember", 0)}
    for row in test:
        (workspace.root / "data" / "raw" / rows["path"][row]).unlink()
        rows["label"][row], rows["label_index"][row] = labels[rows["label"][row]]
    features[test] = np.nan
    np.save(workspace.features, features)
    change_splits(workspace, label=rows["label"], label_index=rows["label_index"])
    return len(test)


def mislabel(workspace: Workspace, every: int) -> None:
    """Give every so-manieth item on a side the other label, so that no model is sure of all."""
    rows = read_table(workspace.splits, SPLITS).to_pydict()
    for row in range(0, len(rows["path"]), every):
        rows["label_index"][row] = 1 - rows["label_index"][row]
        rows["label"][row] = ("ember", "ocean")[rows["label_index"][row]]
    change_splits(workspace, label=rows["label"], label_index=rows["label_index"])


@pytest.mark.parametrize("path", ["here", "deeper/elsewhere"])
def test_a_trained_network_stands_beside_its_probe_with_the_same_bits_at_any_path(
    template: Workspace, tmp_path: Path, path: str, bits: dict[str, str]
) -> None:
    workspace = copy_workspace(template, tmp_path / path)
    report = adapted(workspace, keep_best=False)
    assert names_in(workspace.adapted) == [
        *("adapted.json", "body.safetensors", "graph.onnx", "head.safetensors"),
        *("out_of_fold.parquet", "probe.safetensors"),
    ]
    model, probe = read_adapted(workspace.adapted), read_probe(workspace.adapted)
    assert (report.method, report.head) == ("fine_tune", "trained")
    assert model.graph == workspace.adapted / "graph.onnx"
    assert probe is not None
    assert model.head.weight.shape == probe.weight.shape
    assert not np.array_equal(model.head.weight, probe.weight)
    digest = folder_sha256(workspace.adapted)
    assert bits.setdefault("adapted", digest) == digest


@pytest.fixture(scope="module")
def bits() -> dict[str, str]:
    """Digests that several tests must agree on."""
    return {}


def test_no_test_item_has_a_part_in_training(workspace: Workspace, tmp_path: Path, no_export: None) -> None:
    poisoned = copy_workspace(workspace, tmp_path / "poisoned")
    assert poison_test_side(poisoned) == 8
    for each in (workspace, poisoned):
        adapted(each, keep_best=False, from_scratch="always", from_scratch_settings=FROM_SCRATCH)
    assert folder_sha256(poisoned.adapted) == folder_sha256(workspace.adapted)
    assert poisoned.learning_curves.read_bytes() == workspace.learning_curves.read_bytes()


def test_training_that_ends_below_the_probe_gives_way_to_it_and_the_report_says_so(
    workspace: Workspace, no_export: None, capsys: pytest.CaptureFixture[str]
) -> None:
    report = adapted(workspace, method=FORGETFUL)
    against = report.training.against_probe
    assert against.accuracy < against.probe_accuracy
    assert (report.method, report.head, report.adapted_graph_sha256) == ("linear_probe", "logistic", None)
    assert names_in(workspace.adapted) == ["adapted.json", "head.safetensors", "out_of_fold.parquet"]
    assert read_adapted(workspace.adapted).graph is None
    assert report.calibrated_on == "out_of_fold"
    assert "training ended below the linear probe (" in capsys.readouterr().err
    kept = (workspace.adapted / "head.safetensors").read_bytes()
    probe_alone = adapted(workspace, method={"name": "linear_probe"})
    assert (workspace.adapted / "head.safetensors").read_bytes() == kept
    assert probe_alone.temperature == report.temperature


def test_keep_best_false_takes_what_was_trained_however_it_ended(workspace: Workspace, no_export: None) -> None:
    report = adapted(workspace, method=FORGETFUL, keep_best=False)
    against = report.training.against_probe
    assert against.accuracy < against.probe_accuracy
    assert (report.method, report.head) == ("fine_tune", "trained")
    assert {"body.safetensors", "graph.onnx", "probe.safetensors"} <= set(names_in(workspace.adapted))


@pytest.mark.parametrize(
    ("least", "judged_by", "items", "calibrated_on"),
    [(8, "validation", 8, "validation"), (9, "cross_validation", 40, "out_of_fold")],
)
def test_a_validation_side_judges_where_it_is_large_enough(
    workspace: Workspace, no_export: None, least: int, judged_by: str, items: int, calibrated_on: str
) -> None:
    mislabel(workspace, every=5)
    report = adapted(workspace, method={**FINE_TUNE, "min_validation_items": least}, keep_best=False)
    assert (report.training.judged_by, report.training.judged_items) == (judged_by, items)
    assert (report.calibrated_on, report.calibration_items) == (calibrated_on, items)
    learned = (["train"], 32) if judged_by == "validation" else (["train", "validation"], 40)
    assert (report.fitted_on, report.fitted_items) == learned
    assert (report.probe_fitted_on, report.probe_fitted_items) == (["train", "validation"], 40)
    assert report.training.against_probe.items == items
    assert report.temperature != 1.0


def one_item_a_class(workspace: Workspace) -> None:
    sides = ["left_out"] * 48
    sides[0] = sides[24] = "train"
    change_splits(workspace, side=sides)


def test_of_one_item_a_class_nothing_can_be_held_out_and_the_probe_is_kept(
    workspace: Workspace, no_export: None, capsys: pytest.CaptureFixture[str]
) -> None:
    one_item_a_class(workspace)
    report = adapted(workspace)
    assert (report.method, report.adapted_graph_sha256) == ("linear_probe", None)
    assert (report.training.judged_by, report.training.against_probe) == ("nothing", None)
    said = "training could not be judged, as too few items can be held out; the linear probe is kept"
    assert said in capsys.readouterr().err


def test_one_item_a_class_is_learned_from_without_judging_where_that_is_asked_for(
    workspace: Workspace, no_export: None, capsys: pytest.CaptureFixture[str]
) -> None:
    one_item_a_class(workspace)
    report = adapted(workspace, keep_best=False)
    training = report.training
    assert (training.judged_by, training.judged_items, training.against_probe) == ("nothing", 0, None)
    assert (report.temperature, report.calibrated_on, report.calibration_items) == (1.0, None, 0)
    assert (report.method, training.best_epoch) == ("fine_tune", FINE_TUNE["epochs"])
    assert [row["loss"] for row in curves(workspace)] == ["", "", ""]
    assert "fine_tune to epoch 2 on 2 items, which no item could be held out to judge" in capsys.readouterr().err


def test_items_of_one_class_are_no_judge(workspace: Workspace, no_export: None) -> None:
    """One item of the second class must always be learned from: the folds hold out the first class alone."""
    rows = read_table(workspace.splits, SPLITS).to_pydict()
    seen = rows["label"].index("ocean")
    sides = [
        side if label == "ember" or row == seen else "left_out"
        for row, (side, label) in enumerate(zip(rows["side"], rows["label"], strict=True))
    ]
    change_splits(workspace, side=sides)
    for least in (4, 1000):
        report = adapted(workspace, method={**FINE_TUNE, "min_validation_items": least})
        assert (report.training.judged_by, report.method) == ("nothing", "linear_probe")


def test_a_class_that_training_lacks_without_the_validation_side_is_judged_by_cross_validation(
    workspace: Workspace, no_export: None
) -> None:
    rows = read_table(workspace.splits, SPLITS).to_pydict()
    sides = [
        "validation" if side == "train" and label == "ocean" else side
        for side, label in zip(rows["side"], rows["label"], strict=True)
    ]
    change_splits(workspace, side=sides)
    report = adapted(workspace, method={**FINE_TUNE, "probe": {"fit_on_validation": True}})
    assert report.training.judged_by == "cross_validation"


def test_the_baseline_from_scratch_lies_in_a_folder_of_its_own(workspace: Workspace, no_export: None) -> None:
    report = adapted(workspace, from_scratch="always", from_scratch_settings=FROM_SCRATCH, keep_best=False)
    assert {"from_scratch/graph.onnx", "from_scratch/head.safetensors"} <= set(names_in(workspace.adapted))
    head, graph = read_from_scratch(workspace.adapted) or (None, None)
    assert graph == workspace.adapted / "from_scratch" / "graph.onnx"
    assert not np.array_equal(head.weight, read_adapted(workspace.adapted).head.weight)
    assert (report.from_scratch.judged_by, report.from_scratch.best_epoch) == ("nothing", FROM_SCRATCH["epochs"])
    again = adapted(workspace, from_scratch="never", keep_best=False)
    assert again.from_scratch is None
    assert not (workspace.adapted / "from_scratch").exists()


WILD = {**FROM_SCRATCH, "learning_rate": 10, "clip_norm": None, "optimizer": "sgd", "warmup_epochs": 0.0, "epochs": 12}
"""Settings under which the small network diverges."""


def test_a_baseline_that_diverges_is_left_out_with_a_warning_unless_it_was_asked_for(
    workspace: Workspace, no_export: None, capsys: pytest.CaptureFixture[str]
) -> None:
    probe = {"method": {"name": "linear_probe"}, "from_scratch_settings": WILD}
    report = adapted(workspace, from_scratch="auto", **probe)
    assert (report.method, report.from_scratch) == ("linear_probe", None)
    assert not (workspace.adapted / "from_scratch").exists()
    assert "warning: the baseline from random weights is left out: training diverged" in capsys.readouterr().err
    with pytest.raises(ParamsError, match=r"training diverged .*adapt\.from_scratch_settings\.learning_rate is 10,"):
        adapted(workspace, from_scratch="always", **probe)


@pytest.mark.parametrize("file", ["graph.onnx", "head.safetensors"])
def test_a_baseline_that_is_not_the_one_of_the_report_is_refused(
    workspace: Workspace, no_export: None, file: str
) -> None:
    adapted(workspace, from_scratch="always", from_scratch_settings=FROM_SCRATCH, keep_best=False)
    path = workspace.adapted / "from_scratch" / file
    for damage in (lambda: path.write_bytes(b"another"), path.unlink):
        damage()
        with pytest.raises(StageInputError, match=rf"from_scratch/{file} is .*run `graft adapt`"):
            read_from_scratch(workspace.adapted)


def test_a_trained_network_without_its_probe_is_refused(workspace: Workspace, no_export: None) -> None:
    adapted(workspace, keep_best=False)
    (workspace.adapted / "probe.safetensors").unlink()
    with pytest.raises(StageInputError, match=r"probe\.safetensors is not a readable head .*run `graft adapt`"):
        read_probe(workspace.adapted)


def test_a_network_from_scratch_has_no_baseline_beside_it(workspace: Workspace, no_export: None) -> None:
    report = adapted(workspace, method=FROM_SCRATCH, from_scratch="always", keep_best=False)
    assert (report.method, report.from_scratch) == ("from_scratch", None)
    assert {block.name: block.trained for block in report.training.blocks} == dict.fromkeys(
        ["stem", "unit1", "unit2", "unit3", "head"], True
    )
    assert not (workspace.adapted / "from_scratch").exists()


def test_learning_curves_are_the_epochs_of_the_report(workspace: Workspace, no_export: None) -> None:
    report, rows = adapted(workspace, keep_best=False), curves(workspace)
    assert list(rows[0]) == ["epoch", "rate", "training_loss", "loss", "accuracy"]
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert [float(row["loss"]) for row in rows] == [score.loss for score in report.training.epochs]
    assert rows[0]["training_loss"] == ""


def test_which_blocks_are_trained_stands_in_the_report(workspace: Workspace, no_export: None) -> None:
    blocks = adapted(workspace, keep_best=False).training.blocks
    assert [(block.name, block.trained) for block in blocks] == [
        *(("stem", False), ("unit1", False)),
        *(("unit2", True), ("unit3", True), ("head", True)),
    ]
    assert blocks[0].parameters == 3 * 8 * 9 + 2 * 8
    assert blocks[-1].parameters == 24 * 2 + 2


def test_other_settings_are_another_training_and_the_earlier_one_is_found_again(
    workspace: Workspace, no_export: None
) -> None:
    adapted(workspace, keep_best=False)
    first = folder_sha256(workspace.adapted)
    adapted(workspace, keep_best=False, method={**FINE_TUNE, "seed": 1})
    assert folder_sha256(workspace.adapted) != first
    shutil.rmtree(workspace.root / "data" / "raw")
    adapted(workspace, keep_best=False)
    assert folder_sha256(workspace.adapted) == first


def test_more_blocks_than_there_are_are_refused_by_the_name_of_the_key(workspace: Workspace) -> None:
    with pytest.raises(ParamsError, match=r"adapt\.method\.blocks is 9, but the network has 4 blocks"):
        adapted(workspace, method={**FINE_TUNE, "blocks": 9})


def test_a_picture_that_changed_is_named(workspace: Workspace) -> None:
    rows = read_table(workspace.splits, SPLITS).to_pydict()
    file = workspace.root / "data" / "raw" / rows["path"][rows["side"].index("train")]
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(DataError, match=rf"{file.name} changed after the data were validated; run `graft adapt`"):
        adapted(workspace)


def test_weights_that_gave_other_features_are_refused(workspace: Workspace) -> None:
    write_weights(workspace.root / WEIGHTS, seed=1)
    with pytest.raises(StageInputError, match=r"not those that the features were computed with; run `graft adapt`"):
        adapted(workspace)


def test_the_embedded_sample_is_small_enough_for_its_baseline_from_scratch_and_photographs_are_not() -> None:
    assert wants_from_scratch(AdaptParams(), items=50, side=64)
    assert not wants_from_scratch(AdaptParams(), items=244, side=224)


def test_a_gain_within_its_own_standard_error_leaves_the_probe() -> None:
    clear = ProbeComparison(
        items=50, accuracy=0.94, loss=0.2, probe_accuracy=0.9, probe_loss=0.3, loss_gain=0.1, loss_gain_error=0.04
    )
    assert not fell_behind(clear)
    assert fell_behind(clear.model_copy(update={"loss_gain": 0.03}))
    assert fell_behind(clear.model_copy(update={"accuracy": 0.88}))
