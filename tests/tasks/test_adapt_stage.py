"""Stage adapt: what it writes, that it never learns from the test side, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from head_scene import NAMES, WIDTH, fast_params, write_scene
from safetensors.numpy import load_file

from tasks.adapt import adapt
from tasks.digests import folder_sha256
from tasks.errors import DataError, StageInputError
from tasks.methods.adapted_folder import read_adapted
from tasks.params import AdaptParams, LinearProbeParams, Params
from tasks.reports import AdaptationReport
from tasks.tables import OUT_OF_FOLD, SPLITS, read_table, write_table
from tasks.workspace import Workspace


def with_probe(**settings: object) -> Params:
    return Params(adapt=AdaptParams(method=LinearProbeParams.model_validate(settings), from_scratch="never"))


def replace_column(path: Path, schema: pa.Schema, name: str, values: list[str]) -> None:
    table = read_table(path, schema)
    write_table(table.set_column(schema.names.index(name), name, pa.array(values, pa.string())), path)


def test_the_head_its_report_and_its_out_of_fold_predictions_are_written_and_nothing_else(tmp_path: Path) -> None:
    workspace = write_scene(tmp_path)
    workspace.adapted.mkdir(parents=True)
    (workspace.adapted / "left_behind.bin").write_bytes(b"of an earlier run")
    adapt(workspace, fast_params())
    names = sorted(path.name for path in workspace.adapted.iterdir())
    assert names == ["adapted.json", "head.safetensors", "out_of_fold.parquet"]
    written = read_adapted(workspace.adapted)
    report, head = written.report, written.head
    tensors = load_file(workspace.adapted / "head.safetensors")
    assert tensors["weight"].shape == (3, WIDTH)
    assert tensors["weight"].dtype == tensors["bias"].dtype == np.float32
    np.testing.assert_array_equal(tensors["bias"], head.bias)
    assert report.labels == list(NAMES)
    assert (report.fitted_on, report.fitted_items) == (["train", "validation"], 48)
    assert report.out_of_fold_accuracy is not None
    assert report.out_of_fold_accuracy > 0.8


def test_out_of_fold_rows_are_the_fitted_items_and_agree_with_the_report(tmp_path: Path) -> None:
    workspace = write_scene(tmp_path)
    adapt(workspace, fast_params())
    rows = read_table(workspace.adapted / "out_of_fold.parquet", OUT_OF_FOLD).to_pydict()
    splits = read_table(workspace.splits, SPLITS).to_pydict()
    fitted = [path for path, side in zip(splits["path"], splits["side"], strict=True) if side != "test"]
    assert rows["path"] == fitted
    probabilities = np.array(rows["probabilities"])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    right = [NAMES[guess] == label for guess, label in zip(probabilities.argmax(axis=1), rows["label"], strict=True)]
    report = AdaptationReport.read(workspace.adapted / "adapted.json")
    assert np.mean(right) == pytest.approx(report.out_of_fold_accuracy)


def test_two_checkouts_at_different_paths_get_the_same_bytes(tmp_path: Path) -> None:
    digests = set()
    for folder in ("one", "elsewhere/two"):
        workspace = write_scene(tmp_path / folder)
        adapt(workspace, fast_params())
        digests.add(folder_sha256(workspace.adapted))
    assert len(digests) == 1


def test_no_test_feature_moves_the_head(tmp_path: Path) -> None:
    workspace = write_scene(tmp_path)
    adapt(workspace, fast_params())
    before = folder_sha256(workspace.adapted)
    sides = np.array(read_table(workspace.splits, SPLITS)["side"].to_pylist())
    features = np.load(workspace.features)
    features[sides == "test"] += 1000
    np.save(workspace.features, features)
    adapt(workspace, fast_params())
    assert folder_sha256(workspace.adapted) == before
    features[sides == "train"] *= 2
    np.save(workspace.features, features)
    adapt(workspace, fast_params())
    assert folder_sha256(workspace.adapted) != before


WITHOUT_TORCH = """
import sys
from pathlib import Path
from tasks import adapt as stage
from tasks.params import AdaptParams, Params
from tasks.workspace import Workspace
stage.QUICK_FROM_SCRATCH = 0  # as of many photographs
stage.adapt(Workspace(Path(sys.argv[1])), Params(adapt=AdaptParams(from_scratch=sys.argv[2])))
heavy = {"torch", "torchvision", "lightning_fabric", "optuna", "matplotlib", "prefect", "dvc", "onnx"}
print(sorted(heavy & set(sys.modules)))
"""


@pytest.mark.parametrize("from_scratch", ["never", "auto"])
def test_a_linear_probe_imports_no_torch(tmp_path: Path, from_scratch: str) -> None:
    workspace = write_scene(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(workspace.root), from_scratch],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
    assert (workspace.adapted / "head.safetensors").exists()


def test_the_learning_curve_of_a_probe_is_its_out_of_fold_score(tmp_path: Path) -> None:
    workspace = write_scene(tmp_path)
    adapt(workspace, fast_params())
    report = AdaptationReport.read(workspace.adapted / "adapted.json")
    ((epoch, rate, training_loss, loss, accuracy),) = [
        line.split(",") for line in workspace.learning_curves.read_text().splitlines()[1:]
    ]
    assert (epoch, rate, training_loss) == ("0", "0", "")
    assert (float(loss), float(accuracy)) == (report.out_of_fold_loss, report.out_of_fold_accuracy)


def test_validation_items_are_left_alone_where_params_say_so(tmp_path: Path) -> None:
    workspace = write_scene(tmp_path)
    adapt(workspace, with_probe(fit_on_validation=False))
    report = AdaptationReport.read(workspace.adapted / "adapted.json")
    assert (report.fitted_on, report.fitted_items) == (["train"], 36)


def test_one_label_per_class_is_learned_without_out_of_fold_figures(tmp_path: Path) -> None:
    workspace = write_scene(tmp_path, per_side={"train": 1, "test": 10})
    adapt(workspace, fast_params())
    report = AdaptationReport.read(workspace.adapted / "adapted.json")
    assert (report.out_of_fold_accuracy, report.out_of_fold_loss, report.scores) == (None, None, [])
    assert read_table(workspace.adapted / "out_of_fold.parquet", OUT_OF_FOLD).num_rows == 0


def test_near_duplicates_of_one_group_are_held_out_together(tmp_path: Path) -> None:
    """Under random labels only a copy of the same picture in training could predict the held-out one."""
    workspace = write_scene(tmp_path, names=("bee", "cat"), per_side={"train": 40}, distance=0.0)
    features = np.load(workspace.features)
    features[1::2] = features[::2]
    np.save(workspace.features, features)
    pairs = [f"picture {row // 2}" for row in range(len(features))]
    accuracies = []
    for groups in (pairs, [f"item {row}" for row in range(len(features))]):
        replace_column(workspace.splits, SPLITS, "group", groups)
        adapt(workspace, fast_params())
        accuracies.append(AdaptationReport.read(workspace.adapted / "adapted.json").out_of_fold_accuracy)
    assert accuracies[0] is not None
    assert accuracies[1] is not None
    assert accuracies[0] < 0.7 < accuracies[1]


def test_a_class_whose_every_item_is_in_the_test_set_is_named(tmp_path: Path) -> None:
    workspace = write_scene(tmp_path)
    splits = read_table(workspace.splits, SPLITS).to_pydict()
    sides = ["test" if label == "elk" else side for label, side in zip(splits["label"], splits["side"], strict=True)]
    replace_column(workspace.splits, SPLITS, "side", sides)
    with pytest.raises(DataError, match=r"no item to learn from for 'elk'.*split\.test_share"):
        adapt(workspace, fast_params())


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    workspace = write_scene(tmp_path, names=("bee",))
    with pytest.raises(DataError, match="a classifier needs two"):
        adapt(workspace, fast_params())


def test_items_left_out_by_the_split_are_learned_from_by_nobody(tmp_path: Path) -> None:
    workspace = write_scene(tmp_path, per_side={"train": 12, "left_out": 3, "test": 10})
    adapt(workspace, fast_params())
    assert AdaptationReport.read(workspace.adapted / "adapted.json").fitted_items == 36


def no_features(workspace: Workspace) -> None:
    workspace.features.unlink()


def truncated_features(workspace: Workspace) -> None:
    workspace.features.write_bytes(workspace.features.read_bytes()[:-100])


def other_rows(workspace: Workspace) -> None:
    np.save(workspace.features, np.load(workspace.features)[:-1])


def other_width(workspace: Workspace) -> None:
    np.save(workspace.features, np.load(workspace.features)[:, :-1])


def pickled_features(workspace: Workspace) -> None:
    np.save(workspace.features, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def not_finite(workspace: Workspace) -> None:
    features = np.load(workspace.features)
    features[:, 3] = np.inf
    np.save(workspace.features, features)


def other_content(workspace: Workspace) -> None:
    count = read_table(workspace.splits, SPLITS).num_rows
    replace_column(workspace.splits, SPLITS, "sha256", ["0" * 64] * count)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (no_features, r"features\.npy cannot be read"),
        (truncated_features, r"features\.npy cannot be read"),
        (pickled_features, r"features\.npy cannot be read"),
        (other_rows, r"has the shape \(107, 24\), expected 108 rows, as many as its index names"),
        (other_width, r"23 features an item, models/backbone/ gives 24"),
        (not_finite, r"not finite"),
        (other_content, r"no features of 108 items of data/splits\.parquet, such as bee/000\.png"),
    ],
)
def test_embeddings_that_do_not_fit_are_named_with_the_mend(
    damage: Callable[[Workspace], None], named: str, tmp_path: Path
) -> None:
    workspace = write_scene(tmp_path)
    damage(workspace)
    with pytest.raises(StageInputError, match=rf"{named}.*run `graft adapt`"):
        adapt(workspace, fast_params())


@pytest.mark.parametrize("damage", ["truncated", "missing", "of other labels"])
def test_a_damaged_head_is_refused_by_whoever_reads_it(damage: str, tmp_path: Path) -> None:
    workspace = write_scene(tmp_path)
    adapt(workspace, fast_params())
    path = workspace.adapted / "head.safetensors"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-5])
    elif damage == "missing":
        path.unlink()
    else:
        report = AdaptationReport.read(workspace.adapted / "adapted.json")
        report.model_copy(update={"labels": ["bee", "cat"]}).write(workspace.adapted / "adapted.json")
    with pytest.raises(StageInputError, match=r"head\.safetensors.*run `graft adapt`"):
        read_adapted(workspace.adapted)
