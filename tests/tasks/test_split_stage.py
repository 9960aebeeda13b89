import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tasks.errors import DataError, StageInputError
from tasks.params import Params, parse_params
from tasks.reports import SplitReport
from tasks.split import split
from tasks.splitting import split_memory
from tasks.tables import EMBEDDING_INDEX, ITEMS, SPLIT_MEMORY, SPLITS, read_table, write_table
from tasks.workspace import Workspace

Row = dict[str, Any]


def row(number: int, label: str, **others: Any) -> Row:
    """A row of the item table with content, hash and features of its own."""
    return {
        "path": f"{label}/{number:04d}.png",
        "label": label,
        "sha256": hashlib.sha256(str(number).encode()).hexdigest(),
        "perceptual_hash": int(np.random.default_rng(number).integers(2**63)),
        "status": "accepted",
        **others,
    }


def rows_of(per_class: int, start: int = 0, **others: Any) -> list[Row]:
    return [row(start + number, "ab"[number % 2], **others) for number in range(2 * per_class)]


def features_of(content: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(int(content[:8], 16)).normal(size=64).astype(np.float32)


class Scene:
    """A workspace with what split reads."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root)
        self.remember(SPLIT_MEMORY.empty_table())

    def remember(self, memory: pa.Table) -> None:
        write_table(memory, self.workspace.splits_lock)

    def place(self, rows: list[Row], alike: dict[str, str] | None = None) -> None:
        """Write items and embeddings; `alike` gives a content the features of another."""
        table = pa.Table.from_pylist(sorted(rows, key=lambda one: str(one["path"])), schema=ITEMS)
        write_table(table, self.workspace.items)
        accepted = table.filter(pc.equal(table["status"], "accepted"))
        write_table(accepted.select(EMBEDDING_INDEX.names), self.workspace.embedding_index)
        contents = [(alike or {}).get(content, content) for content in accepted["sha256"].to_pylist()]
        np.save(self.workspace.features, np.stack([features_of(content) for content in contents]))

    def run(self, **section: Any) -> SplitReport:
        split(self.workspace, parse_params({"split": section}))
        return SplitReport.read(self.workspace.split_report)

    def sides(self) -> dict[str, str]:
        table = read_table(self.workspace.splits, SPLITS)
        return dict(zip(table["path"].to_pylist(), table["side"].to_pylist(), strict=True))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_split_writes_every_accepted_item_once_and_counts_the_sides(scene: Scene) -> None:
    scene.place([*rows_of(60), row(900, "a", status="quarantined", reason="empty file")])
    report = scene.run()
    table = read_table(scene.workspace.splits, SPLITS)
    assert table["path"].to_pylist() == sorted(one["path"] for one in rows_of(60))
    assert report.counts == {
        "train": {"a": 38, "b": 38},
        "validation": {"a": 7, "b": 7},
        "test": {"a": 15, "b": 15},
        "left_out": {},
    }
    assert (report.official, report.out_of_fold) == (False, False)
    assert set(table["reason"].to_pylist()) == {None}


def test_split_again_with_the_memory_of_its_own_result_gives_the_same_bytes(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = rows_of(60)
    rows[3]["perceptual_hash"] = rows[5]["perceptual_hash"]
    scene.place(rows, {rows[3]["sha256"]: rows[5]["sha256"]})
    scene.run()
    first = scene.workspace.splits.read_bytes(), scene.workspace.split_report.read_bytes()
    scene.remember(split_memory(read_table(scene.workspace.splits, SPLITS)))

    scene.run()

    assert (scene.workspace.splits.read_bytes(), scene.workspace.split_report.read_bytes()) == first
    assert "120 of them keep the side" in capsys.readouterr().err


def test_a_new_class_is_appended_whatever_its_name(scene: Scene) -> None:
    scene.place(rows_of(60))
    scene.run()
    scene.remember(split_memory(read_table(scene.workspace.splits, SPLITS)))
    new = [row(5000 + number, "Aardvark") for number in range(40)]
    scene.place([*rows_of(60), *new])

    scene.run()

    table = read_table(scene.workspace.splits, SPLITS)
    order = dict(zip(table["label"].to_pylist(), table["label_index"].to_pylist(), strict=True))
    assert order == {"a": 0, "b": 1, "Aardvark": 2}


def test_the_same_input_gives_the_same_bytes(scene: Scene) -> None:
    scene.place(rows_of(60))
    written = []
    for _ in range(2):
        scene.run()
        written.append((scene.workspace.splits.read_bytes(), scene.workspace.split_report.read_bytes()))
    assert written[0] == written[1]


def test_near_duplicates_and_copies_stand_on_one_side_and_are_reported(scene: Scene) -> None:
    rows = rows_of(60)
    pair, twin = (rows[10], rows[12]), {**rows[20], "path": "a/twin.png"}
    pair[1]["perceptual_hash"] = pair[0]["perceptual_hash"] ^ 0b111
    scene.place([*rows, twin], {pair[1]["sha256"]: pair[0]["sha256"]})
    for seed in range(6):
        report = scene.run(seed=seed)
        sides = scene.sides()
        assert sides[pair[0]["path"]] == sides[pair[1]["path"]]
        assert sides[twin["path"]] == sides[rows[20]["path"]]
    (found,) = report.near_duplicates
    assert (found.first, found.second, found.hamming, found.cosine) == (pair[0]["path"], pair[1]["path"], 3, 1.0)
    assert report.grouped_items == 2


def test_a_new_photo_that_resembles_two_sides_is_left_out_by_name(scene: Scene) -> None:
    old = rows_of(60)
    scene.place(old)
    scene.run()
    before = scene.sides()
    scene.remember(split_memory(read_table(scene.workspace.splits, SPLITS)))
    train, test = (next(one for one in old if before[one["path"]] == side) for side in ("train", "test"))
    bridge = row(5000, "a", group="visit")
    scene.place([*({**one, "group": "visit"} if one in (train, test) else one for one in old), bridge])

    report = scene.run()

    assert {path: side for path, side in scene.sides().items() if path in before} == before
    assert scene.sides()[bridge["path"]] == "left_out"
    assert [(item.path, item.reason) for item in report.left_out] == [(bridge["path"], "bridges_split")]
    assert report.counts["left_out"] == {"a": 1}
    assert {report.leaks[0].first, report.leaks[0].second} == {train["path"], test["path"]}


def test_a_chain_over_its_cap_is_reported_with_its_thresholds(scene: Scene) -> None:
    rows = rows_of(60)
    for number in range(0, 20, 2):
        rows[number]["perceptual_hash"] = rows[0]["perceptual_hash"] ^ (2 ** (number // 2) - 1)
    scene.place(rows, {rows[number]["sha256"]: rows[0]["sha256"] for number in range(0, 20, 2)})
    (chain,) = scene.run().tightened
    assert (chain.items, chain.cap, chain.first) == (10, 3, rows[0]["path"])
    assert chain.max_hamming < 18


def test_an_official_split_with_few_labels_asks_for_out_of_fold(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.place([*rows_of(5, split="train"), *rows_of(50, start=500, split="test")])
    report = scene.run()
    assert report.official
    assert report.out_of_fold
    assert report.counts["validation"] == {}
    assert "nothing is carved for validation" in report.notes[0]
    log = capsys.readouterr().err
    assert "validation 0" in log
    assert f"\n  {report.notes[0]}\n" in log


def test_features_in_half_precision_give_the_same_split(scene: Scene) -> None:
    rows = rows_of(60)
    rows[3]["perceptual_hash"] = rows[5]["perceptual_hash"]
    scene.place(rows, {rows[3]["sha256"]: rows[5]["sha256"]})
    single, sides = scene.run(), scene.sides()
    np.save(scene.workspace.features, np.load(scene.workspace.features).astype(np.float16))

    half = scene.run()

    assert scene.sides() == sides
    assert [(pair.first, pair.second) for pair in half.near_duplicates] == [
        (pair.first, pair.second) for pair in single.near_duplicates
    ]
    assert len(single.near_duplicates) == 1


def test_a_missing_memory_is_refused_with_the_mend(scene: Scene) -> None:
    scene.place(rows_of(20))
    scene.workspace.splits_lock.unlink()
    with pytest.raises(StageInputError, match=r"splits\.lock .*; run `graft adapt`"):
        scene.run()


def test_embeddings_of_other_items_are_refused(scene: Scene) -> None:
    scene.place(rows_of(20))
    index = read_table(scene.workspace.embedding_index, EMBEDDING_INDEX)
    write_table(index.slice(1), scene.workspace.embedding_index)
    with pytest.raises(StageInputError, match=r"lists other items than .*stage embed"):
        scene.run()


@pytest.mark.parametrize("damage", ["truncated", "short", "infinite"])
def test_damaged_features_are_refused(scene: Scene, damage: str) -> None:
    scene.place(rows_of(20))
    file, features = scene.workspace.features, np.load(scene.workspace.features)
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:100])
    elif damage == "short":
        np.save(file, features[1:])
    else:
        features[3, 3] = np.inf
        np.save(file, features)
    with pytest.raises(StageInputError, match=r"features\.npy .*stage embed"):
        scene.run()


def test_nothing_accepted_is_refused(scene: Scene) -> None:
    scene.place(rows_of(20))
    empty = [{**one, "status": "quarantined"} for one in rows_of(20)]
    write_table(pa.Table.from_pylist(empty, schema=ITEMS), scene.workspace.items)
    with pytest.raises(DataError, match=r"no accepted items; .*validation\.json"):
        split(scene.workspace, Params())
