"""A data set in small with every kind of fault, as the stages up to review leave it, for tests of the data page."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from image_files import bomb_png, encoded, noise, write
from page_sources import digest

from tasks.modalities.images import inspect_file
from tasks.params import Params
from tasks.plots.validation_page import DataSources, render_validation_page
from tasks.reports import (
    FailingItem,
    NearDuplicatePair,
    ReviewEntry,
    ReviewReport,
    RuleResult,
    SplitReport,
    ValidationReport,
)
from tasks.tables import ITEMS, SPLITS

CLASSES = ("cat", "dog")


@dataclass(frozen=True)
class Scene:
    """Raw files below `root`, labelled by their folder, and what was found in them."""

    root: Path
    params: Params = field(default_factory=Params)
    passed: bool = True

    def file(self, path: str, data: bytes) -> Scene:
        write(self.root / path, data)
        return self

    def sources(self, **changes: Any) -> DataSources:
        """What validate alone knows, with `changes`."""
        files = sorted(path for path in self.root.rglob("*") if path.is_file())
        rows = [self._row(path) for path in files]
        table = pa.Table.from_pylist(rows, schema=ITEMS)
        report = validation_report(rows, self.passed)
        return replace(DataSources(self.params, report, table, self.root), **changes)

    def _row(self, file: Path) -> dict[str, Any]:
        path = file.relative_to(self.root).as_posix()
        found = inspect_file(file, self.params.validate_)
        row: dict[str, Any] = dict.fromkeys(ITEMS.names) | vars(found)
        status = "quarantined" if found.reason else "accepted"
        return row | {"path": path, "label": file.parent.name, "bytes": found.file_bytes, "status": status}

    def reviewed(self, **changes: Any) -> DataSources:
        """With a split and a review of the accepted items."""
        sources = self.sources()
        accepted = [row for row in sources.items.to_pylist() if row["status"] == "accepted"]
        splits = [
            {name: row.get(name) for name in SPLITS.names} | {"side": "test" if number % 3 == 0 else "train"}
            for number, row in enumerate(accepted)
        ]
        made = {"split": split_report([row["path"] for row in accepted]), "review": review_report(accepted)}
        table = pa.Table.from_pylist(splits, schema=SPLITS)
        return replace(sources, splits=table, **{**made, **changes})


def scene(root: Path, **settings: Any) -> Scene:
    """Six cats and six dogs, all different and sound."""
    for number, label in enumerate(CLASSES * 6):
        write(root / label / f"{number:02d}.png", encoded(noise(number)))
    return Scene(root, **settings)


def hostile(root: Path, **settings: Any) -> Scene:
    """`scene` with files that cannot be decoded, a bomb, and one that is too small."""
    made = scene(root, **settings)
    made.file("cat/torn.png", encoded(noise(90))[:200]).file("cat/page.jpg", b"<html>404</html>")
    made.file("dog/bomb.png", bomb_png()).file("dog/empty.png", b"").file("dog/tiny.png", encoded(noise(91, 4, 4)))
    return made


def validation_report(rows: list[dict[str, Any]], passed: bool) -> ValidationReport:
    accepted = [row for row in rows if row["status"] == "accepted"]
    bad = [FailingItem(path=row["path"], reason=row["reason"]) for row in rows if row["status"] != "accepted"]
    small = [item for item in bad if "a side is below" in item.reason]
    labels = sorted({row["label"] for row in rows})
    dark = [FailingItem(path=row["path"], reason="mean grey 3.0") for row in accepted[:2]]
    undecodable = [item for item in bad if item not in small]
    found = f"{len(undecodable)} items cannot be decoded"
    return ValidationReport(
        passed=passed,
        data_digest=digest("data"),
        layout="class folders",
        listed=len(rows),
        accepted=len(accepted),
        ignored=1,
        ignored_files=["LICENSE"],
        quarantined=bad,
        labels=labels,
        items_per_label={label: sum(row["label"] == label for row in accepted) for label in labels},
        rules=[
            RuleResult(rule="two_classes", severity="critical", passed=True, detail="2 classes with usable items"),
            RuleResult(rule="decodable", severity="critical", passed=passed, detail=found, failing=undecodable),
            RuleResult(rule="min_side", severity="critical", passed=True, detail="0 items", failing=small),
            RuleResult(rule="brightness", severity="warning", passed=not dark, detail="2 items are dark", failing=dark),
        ],
    )


def split_report(paths: list[str]) -> SplitReport:
    """Near-duplicates: two of one class, then (less alike) two of different classes."""
    cats, dogs = ([path for path in paths if path.startswith(label)] for label in CLASSES)
    return SplitReport(
        official=False,
        counts={"train": {"cat": 4, "dog": 4}, "validation": {}, "test": {"cat": 2, "dog": 2}, "left_out": {}},
        near_duplicates=[
            NearDuplicatePair(first=cats[0], second=cats[1], hamming=1, cosine=0.999),
            NearDuplicatePair(first=cats[2], second=dogs[2], hamming=4, cosine=0.951),
        ],
        grouped_items=4,
        tightened=[],
        leaks=[],
        left_out=[],
        out_of_fold=True,
    )


def review_report(rows: list[dict[str, Any]]) -> ReviewReport:
    """One entry of each kind; ten more wrong labels were found than are listed."""

    def entry(rank: int, kind: Any, row: dict[str, Any], **more: Any) -> ReviewEntry:
        said = {"suggested": None, "reason": f"because of {kind}", **more}
        named = {name: row[name] for name in ("path", "sha256", "label")}
        return ReviewEntry(rank=rank, kind=kind, score=1.0 / rank, side="train", **named, **said)

    contradicted = {"other": rows[-1]["path"], "other_label": rows[-1]["label"]}
    return ReviewReport(
        items=len(rows),
        scored=len(rows),
        confirmed=1,
        accuracy=0.917,
        expected_wrong=11,
        found={"likely_wrong": 11, "conflicting_near_duplicate": 1, "outlier": 1, "uncertain": 1},
        entries=[
            entry(1, "conflicting_near_duplicate", rows[0], **contradicted),
            entry(2, "likely_wrong", rows[1], suggested="dog"),
            entry(3, "outlier", rows[2]),
            entry(4, "uncertain", rows[3], suggested="dog"),
        ],
    )


def page_of(sources: DataSources) -> str:
    return render_validation_page(sources)
