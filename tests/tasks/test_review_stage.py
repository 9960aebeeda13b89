"""The review stage: what it names, in which order, and what it leaves alone."""

import csv
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import tasks.review as module
from tasks.errors import StageInputError
from tasks.overlay import Correction, write_corrections
from tasks.params import Params, parse_params
from tasks.reports import NearDuplicatePair, ReviewEntry, ReviewReport, SplitReport
from tasks.review import review
from tasks.tables import EMBEDDING_INDEX, ITEMS, SPLITS, write_table
from tasks.workspace import Workspace

LABELS = ("cat", "dog")
PER_CLASS, WIDTH = 60, 16


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


class Scene:
    """What review reads: two classes of unit embeddings, of which single ones are made odd."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root)
        generator = np.random.default_rng(0)
        self.rows: dict[str, dict[str, Any]] = {}
        self.features: dict[str, np.ndarray] = {}
        self.links: list[NearDuplicatePair] = []
        self.aside: list[dict[str, Any]] = []
        for number in range(2 * PER_CLASS):
            label = LABELS[number % 2]
            self.add(
                f"{label}/{number:03d}.png", label, 2.0 + generator.normal(size=WIDTH) + 3 * np.eye(WIDTH)[number % 2]
            )

    def add(self, path: str, label: str, features: np.ndarray, **others: Any) -> None:
        self.features[path] = features
        self.rows[path] = {
            "path": path,
            "sha256": digest(path),
            "label": label,
            "label_index": LABELS.index(label),
            "side": "train",
            **others,
        }

    def relabel(self, path: str) -> None:
        """The other label, so that the features speak against it."""
        label = next(one for one in LABELS if one != self.rows[path]["label"])
        self.rows[path].update(label=label, label_index=LABELS.index(label))

    def run(self, **section: Any) -> ReviewReport:
        ordered = [self.rows[path] for path in sorted(self.rows)]
        write_table(pa.Table.from_pylist(ordered, schema=SPLITS), self.workspace.splits)
        write_table(pa.Table.from_pylist(ordered, schema=EMBEDDING_INDEX), self.workspace.embedding_index)
        accepted = [
            {name: row[name] for name in ("path", "sha256", "label")} | {"status": "accepted"} for row in ordered
        ]
        write_table(pa.Table.from_pylist(accepted + self.aside, schema=ITEMS), self.workspace.items)
        np.save(
            self.workspace.features, np.stack([self.features[path] for path in sorted(self.rows)]).astype(np.float32)
        )
        SplitReport(
            official=False,
            counts={},
            near_duplicates=self.links,
            grouped_items=0,
            tightened=[],
            leaks=[],
            left_out=[],
            out_of_fold=False,
        ).write(self.workspace.split_report)
        review(self.workspace, parse_params({"review": section}) if section else Params())
        return ReviewReport.read(self.workspace.review_report)

    def sheet(self) -> list[dict[str, str]]:
        with self.workspace.review_list.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))


def of_kind(report: ReviewReport, kind: str) -> list[ReviewEntry]:
    return [entry for entry in report.entries if entry.kind == kind]


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(module, "write_validation_page", lambda *_, **__: None)
    return Scene(tmp_path)


def test_a_wrong_label_leads_the_list_with_the_right_one_suggested(scene: Scene) -> None:
    scene.relabel("cat/000.png")
    scene.relabel("dog/001.png")
    report = scene.run()

    first = of_kind(report, "likely_wrong")[:2]
    assert {entry.path for entry in first} == {"cat/000.png", "dog/001.png"}
    assert [(entry.label, entry.suggested) for entry in sorted(first, key=lambda one: one.path)] == [
        ("dog", "cat"),
        ("cat", "dog"),
    ]
    assert "the other images speak for" in first[0].reason
    assert report.accuracy is not None
    assert report.accuracy > 0.9
    assert report.scored == report.items == 2 * PER_CLASS


def test_test_items_are_reviewed_as_well(scene: Scene) -> None:
    scene.relabel("cat/000.png")
    scene.rows["cat/000.png"]["side"] = "test"
    (entry,) = [one for one in scene.run().entries if one.path == "cat/000.png"]

    assert (entry.kind, entry.side) == ("likely_wrong", "test")


def test_near_duplicates_under_two_labels_stand_together_and_first(scene: Scene) -> None:
    scene.add("dog/copy.png", "dog", scene.features["cat/000.png"] * 1.01, group="pair")
    scene.rows["cat/000.png"]["group"] = "pair"
    scene.links = [NearDuplicatePair(first="cat/000.png", second="dog/copy.png", hamming=2, cosine=0.99)]
    first, second = scene.run().entries[:2]

    assert [first.kind, second.kind] == ["conflicting_near_duplicate"] * 2
    assert (first.path, first.other, first.other_label) == ("cat/000.png", "dog/copy.png", "dog")
    assert (second.path, second.other, second.other_label) == ("dog/copy.png", "cat/000.png", "cat")
    assert (first.suggested, second.suggested) == (None, "cat")


def test_files_of_one_content_under_two_labels_are_named_though_no_side_has_them(scene: Scene) -> None:
    same = {"sha256": digest("same"), "status": "quarantined", "perceptual_hash": 1}
    scene.aside = [
        {**same, "path": "cat/x.png", "label": "cat", "reason": "identical to dog/x.png, which is labelled 'dog'"},
        {**same, "path": "dog/x.png", "label": "dog", "reason": "identical to cat/x.png, which is labelled 'cat'"},
        {"path": "dog/y.png", "label": "dog", "sha256": digest("y"), "status": "quarantined", "reason": "empty file"},
    ]
    entries = scene.run().entries

    assert [(one.path, one.side, one.other) for one in entries[:2]] == [
        ("cat/x.png", "quarantined", "dog/x.png"),
        ("dog/x.png", "quarantined", "cat/x.png"),
    ]
    assert entries[0].reason == (
        "identical to dog/x.png, which is labelled 'dog'; decide in one row, it holds for every copy"
    )
    assert "dog/y.png" not in {one.path for one in entries}


def test_a_stranger_is_an_outlier_and_one_between_two_classes_is_uncertain(scene: Scene) -> None:
    scene.add("cat/stranger.png", "cat", -5 * np.ones(WIDTH) + 3 * np.eye(WIDTH)[0])
    between = 2.0 + 1.5 * (np.eye(WIDTH)[0] + np.eye(WIDTH)[1])
    scene.add("dog/between.png", "dog", between)
    kinds = {entry.path: entry.kind for entry in scene.run().entries}

    assert kinds["cat/stranger.png"] == "outlier"
    assert kinds["dog/between.png"] == "uncertain"


def test_an_item_stands_once_and_ranks_count_through(scene: Scene) -> None:
    for number in range(0, 20, 2):
        scene.relabel(f"cat/{number:03d}.png")
    report = scene.run()

    assert len({entry.path for entry in report.entries}) == len(report.entries)
    assert [entry.rank for entry in report.entries] == list(range(1, len(report.entries) + 1))
    assert [row["path"] for row in scene.sheet()] == [entry.path for entry in report.entries]


def test_each_kind_is_cut_and_counted_before_it_was(scene: Scene) -> None:
    for number in range(0, 20, 2):
        scene.relabel(f"cat/{number:03d}.png")
    report = scene.run(max_items=3)

    assert len(of_kind(report, "likely_wrong")) == 3
    assert report.found["likely_wrong"] > 3


def test_zero_items_turn_the_review_off(scene: Scene) -> None:
    scene.relabel("cat/000.png")
    report = scene.run(max_items=0)

    assert report.entries == scene.sheet() == []
    assert "review.max_items is 0" in report.notes[0]


def test_what_a_person_decided_is_not_named_again_unless_the_label_changed_since(scene: Scene) -> None:
    scene.relabel("cat/000.png")
    scene.relabel("cat/002.png")
    corrections = [
        Correction(digest(path), path, label, label, "Ann", "looked at", "2026-11-21")
        for path, label in (("cat/000.png", "dog"), ("cat/002.png", "cat"))
    ]
    write_corrections(scene.workspace.corrections, corrections)
    report = scene.run()

    named = {entry.path for entry in report.entries}
    assert "cat/000.png" not in named
    assert "cat/002.png" in named
    assert report.confirmed == 1


def test_a_class_of_one_group_is_told_of_and_not_judged(scene: Scene) -> None:
    for row in scene.rows.values():
        row["group"] = "one" if row["label"] == "dog" else None
    report = scene.run()

    assert report.scored == PER_CLASS
    assert "'dog'" in report.notes[0]
    assert not [entry for entry in report.entries if entry.label == "dog" and entry.kind == "likely_wrong"]


def test_embeddings_that_tell_nothing_doubt_no_label(scene: Scene) -> None:
    scene.features = {path: np.ones(WIDTH) for path in scene.features}
    report = scene.run()

    assert (report.expected_wrong, report.entries) == (0, [])
    assert "no label is doubted" in report.notes[0]


def test_the_same_input_gives_the_same_bytes(scene: Scene) -> None:
    scene.relabel("cat/000.png")
    scene.run()
    before = scene.workspace.review_list.read_bytes(), scene.workspace.review_report.read_bytes()
    scene.run()

    assert (scene.workspace.review_list.read_bytes(), scene.workspace.review_report.read_bytes()) == before


def test_embeddings_of_other_items_are_refused(scene: Scene) -> None:
    scene.run()
    write_table(EMBEDDING_INDEX.empty_table(), scene.workspace.embedding_index)
    with pytest.raises(StageInputError, match=r"lists other items than .*splits\.parquet; run `graft adapt`"):
        review(scene.workspace, Params())


def test_damaged_features_are_named(scene: Scene) -> None:
    scene.run()
    scene.workspace.features.write_bytes(b"no array")
    with pytest.raises(StageInputError, match=r"features\.npy cannot be read"):
        review(scene.workspace, Params())
    np.save(scene.workspace.features, np.zeros((3, 2)))
    with pytest.raises(StageInputError, match=r"has the shape \(3, 2\), expected 120 rows"):
        review(scene.workspace, Params())
