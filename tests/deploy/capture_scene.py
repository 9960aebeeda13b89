"""Answers to capture, made without a model, and what was captured of them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from deploy.capture import ParquetCapture
from deploy.capture_files import CaptureFile
from deploy.capture_rows import Captured, Release
from deploy.engine import Answer
from tasks.params import ServeParams

LABELS = ("ember", "meadow", "ocean")
WIDTH = 8


class Counts:
    """What a capture told the metrics."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()

    def captured(self, outcome: str) -> None:
        self.outcomes[outcome] += 1


def answer(number: int, version: str = "1") -> Any:
    """The answer of a made-up model; another number, another answer."""
    figures = np.random.default_rng(number)
    probabilities = figures.dirichlet(np.ones(len(LABELS))).astype(np.float32)
    model = SimpleNamespace(name="made-up", version=version, digest=version * 8, labels=list(LABELS))
    embedding = figures.normal(size=WIDTH).astype(np.float32)
    return Answer(model, probabilities, np.log(probabilities), embedding)  # type: ignore[arg-type]


def row(number: int, data: bytes | None = b"image", version: str = "1", time: datetime | None = None) -> Captured:
    found = answer(number, version)
    release = Release("made-up", version, version * 8, LABELS)
    return Captured(time or datetime.now(UTC), f"r{number}", release, data, found.probabilities, found.embedding)


def params(folder: Path, abstain_below: float = 0.0, **capture: Any) -> ServeParams:
    """The section `serve` with captures of every request into a folder."""
    section = {"share": 1.0, "folder": str(folder), **capture}
    return ServeParams.model_validate({"abstain_below": abstain_below, "capture": section})


def begun(folder: Path, seed: int | None = None, **more: Any) -> tuple[ParquetCapture, Counts]:
    """A capture whose writer runs."""
    counts = Counts()
    capture = ParquetCapture(params(folder, **more), counts, seed)  # type: ignore[arg-type]
    capture.start()
    return capture, counts


def finished(folder: Path) -> list[Path]:
    """What a reader sees, in the order of time."""
    return sorted(folder.glob("*.parquet"))


def drafts(folder: Path) -> list[Path]:
    return sorted(folder.glob(".*.draft"))


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Every captured row of every file, in the order of time."""
    return [one for file in finished(folder) for one in pq.ParquetFile(file).read().to_pylist()]


def wait_for(true: Callable[[], Any], seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)
    return found


class Blocked:
    """A disk that does not answer until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self.let_go = threading.Event(), threading.Event()
        original = CaptureFile.write

        def write(file: CaptureFile, *arguments: Any) -> None:
            self.entered.set()
            assert self.let_go.wait(60)
            original(file, *arguments)

        monkeypatch.setattr(CaptureFile, "write", write)
