"""A workspace as embed and split leave it, with made-up features: what adapt, evaluate and gate start from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.adapt import adapt
from tasks.evaluate import evaluate
from tasks.params import AdaptParams, EvaluateParams, GateParams, Params
from tasks.preprocess import Preprocess
from tasks.reports import ChampionPin, SplitReport, TestUse, ValidationReport
from tasks.reports.backbone import BackboneReport
from tasks.tables import EMBEDDING_INDEX, ITEMS, PIXELS_SIDE, SPLITS, write_table
from tasks.workspace import Workspace

NAMES = ("bee", "cat", "elk")
WIDTH = 24
FAST = EvaluateParams(bootstrap_samples=200)
NO_BASELINE = AdaptParams(from_scratch="never")


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write_scene(
    root: Path,
    *,
    names: Sequence[str] = NAMES,
    per_side: dict[str, int] | None = None,
    distance: float = 5.0,
    seed: int = 0,
) -> Workspace:
    """Write items, embeddings, splits, backbone and validation: `per_side` items of each class on each side.

    Class means lie `distance` standard deviations apart in the features; the pixels carry no label at all.
    """
    workspace = Workspace(root)
    generator = np.random.default_rng(seed)
    sides = [
        side for side, count in (per_side or {"train": 12, "validation": 4, "test": 20}).items() for _ in range(count)
    ]
    rows = sorted((f"{name}/{place:03d}.png", name, side) for name in names for place, side in enumerate(sides))
    means = distance / np.sqrt(2) * np.eye(len(names), WIDTH)
    labels = [names.index(name) for _, name, _ in rows]
    features = (means[labels] + generator.normal(size=(len(rows), WIDTH))).astype(np.float32)
    _write_tables(workspace, rows, features, generator)
    preprocess = Preprocess(resize=8, crop=8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    BackboneReport(
        architecture="made_up",
        weights="none",
        weights_sha256=sha("weights"),
        graph_sha256=sha("graph"),
        engine_sha256=sha("engine"),
        feature_width=WIDTH,
        preprocess=preprocess,
    ).write(workspace.backbone / "backbone.json")
    ValidationReport(
        passed=True,
        data_digest=sha("data"),
        layout="class folders",
        listed=len(rows),
        accepted=len(rows),
        ignored=0,
        ignored_files=[],
        quarantined=[],
        labels=list(names),
        items_per_label={name: len(sides) for name in names},
        rules=[],
    ).write(workspace.validation)
    SplitReport(
        official=False,
        counts={
            side: {name: sides.count(side) for name in names} for side in ("train", "validation", "test", "left_out")
        },
        near_duplicates=[],
        grouped_items=0,
        tightened=[],
        leaks=[],
        left_out=[],
        out_of_fold=False,
    ).write(workspace.split_report)
    ChampionPin().write(workspace.champion_pin)
    TestUse().write(workspace.test_use)
    return workspace


def _write_tables(
    workspace: Workspace, rows: list[tuple[str, str, str]], features: np.ndarray, generator: np.random.Generator
) -> None:
    paths, hashes = [path for path, _, _ in rows], [sha(path) for path, _, _ in rows]
    labels, sides = [label for _, label, _ in rows], [side for _, _, side in rows]
    pixels = [generator.integers(0, 256, PIXELS_SIDE**2, dtype=np.uint8).tobytes() for _ in rows]
    known = {"path": paths, "label": labels, "sha256": hashes, "pixels": pixels, "status": ["accepted"] * len(rows)}
    write_table(
        pa.table({name: known.get(name, [None] * len(rows)) for name in ITEMS.names}, schema=ITEMS), workspace.items
    )
    write_table(pa.table({"path": paths, "sha256": hashes}, schema=EMBEDDING_INDEX), workspace.embedding_index)
    np.save(workspace.features, features)
    blank = [None] * len(rows)
    order = sorted(set(labels))
    columns = {
        "path": paths,
        "sha256": hashes,
        "label": labels,
        "label_index": [order.index(label) for label in labels],
        "group": hashes,
        "side": sides,
        "reason": blank,
    }
    write_table(pa.table(columns, schema=SPLITS), workspace.splits)


def fast_params(**gate: Any) -> Params:
    """Default params with few resamples and the given rules of the gate."""
    return Params(adapt=NO_BASELINE, evaluate=FAST, gate=GateParams.model_validate(gate))


def write_evaluated_scene(root: Path, params: Params | None = None, **settings: Any) -> Workspace:
    """A scene that adapt and evaluate have been through."""
    workspace = write_scene(root, **settings)
    adapt(workspace, params or fast_params())
    evaluate(workspace, params or fast_params())
    return workspace
