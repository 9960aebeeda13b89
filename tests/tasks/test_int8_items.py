"""Which items an int8 model is calibrated with: the training set's alone, the same ones whatever else there is."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from tasks.digests import bytes_sha256
from tasks.errors import DataError, StageInputError
from tasks.preprocess import Preprocess
from tasks.quantization.learning_items import LearningItems, learning_items, prepared_images
from tasks.tables import SPLITS, write_table
from tasks.workspace import Workspace

SIDES = ("train", "train", "train", "validation", "test", "left_out")


def write_splits(workspace: Workspace, count: int, sides: tuple[str, ...] = SIDES) -> None:
    rows = [
        {
            "path": f"{number:04d}.png",
            "sha256": bytes_sha256(str(number).encode()),
            "label": "rare" if number % 30 == 0 else "common",
            "label_index": int(number % 30 != 0),
            "group": None,
            "side": sides[number % len(sides)],
            "reason": None,
        }
        for number in range(count)
    ]
    write_table(pa.Table.from_pylist(rows, schema=SPLITS), workspace.splits)


@pytest.fixture
def split(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    write_splits(workspace, 600)
    return workspace


def numbers(items: LearningItems) -> tuple[set[int], set[int]]:
    return tuple({int(path[:4]) for path, _ in side} for side in (items.calibration, items.measured))  # type: ignore[return-value]


def test_only_training_items_are_taken_and_none_twice(split: Workspace) -> None:
    calibration, measured = numbers(learning_items(split, 100, seed=0))
    assert len(calibration) == len(measured) == 100
    assert not calibration & measured
    assert {SIDES[number % 6] for number in calibration | measured} == {"train"}


def test_few_items_are_halved(split: Workspace) -> None:
    write_splits(split, 41)
    calibration, measured = numbers(learning_items(split, 100, seed=0))
    assert len(calibration) == len(measured) == 10


def test_rare_classes_are_among_them(split: Workspace) -> None:
    calibration, _ = numbers(learning_items(split, 20, seed=0))
    assert sum(number % 30 == 0 for number in calibration) == 10


def test_another_seed_takes_others_and_the_same_seed_the_same(split: Workspace) -> None:
    first, again, other = (numbers(learning_items(split, 30, seed))[0] for seed in (0, 0, 1))
    assert first == again != other


def test_further_items_change_few_of_them(split: Workspace) -> None:
    before, _ = numbers(learning_items(split, 60, seed=0))
    write_splits(split, 660)
    after, _ = numbers(learning_items(split, 60, seed=0))
    assert len(before & after) >= 45


def test_without_training_items_the_stage_is_named(split: Workspace) -> None:
    write_splits(split, 60, ("test",))
    with pytest.raises(StageInputError, match=r"fewer than two training items; run `graft adapt` \(stage split\)"):
        learning_items(split, 10, seed=0)


def test_a_training_file_that_changed_is_named(finished: Workspace) -> None:
    items = learning_items(finished, 8, seed=0)
    root = finished.root / "data" / "raw"
    preprocess = Preprocess.model_validate_json((finished.release / "preprocess.json").read_bytes())
    assert prepared_images(root, items.calibration, preprocess, 2).shape == (8, 32, 32, 3)
    changed = root / items.calibration[3][0]
    changed.write_bytes(changed.read_bytes() + b"\0")
    with pytest.raises(DataError, match=rf"{changed.name} changed after the data were validated"):
        prepared_images(root, items.calibration, preprocess, 2)
