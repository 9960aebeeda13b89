"""Ways in which a release is bad, and the words by which each is refused; of most of them every sha256 holds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from small_release import answer_nan, flip_a_bit, make_release, name_another_class, seal, truncate

from tasks.reports.release_parts import GoldenCases


def change_golden(folder: Path) -> None:
    """Have the golden files ask for other answers, every sha256 in order."""
    file = folder / "golden" / "golden.json"
    cases = GoldenCases.read(file)
    changed = [one.model_copy(update={"probabilities": one.probabilities[::-1]}) for one in cases.cases]
    cases.model_copy(update={"cases": changed}).write(file)
    seal(folder)


def ask_for_nothing(folder: Path) -> None:
    """Have no golden file at all, every sha256 in order."""
    file = folder / "golden" / "golden.json"
    GoldenCases.read(file).model_copy(update={"cases": []}).write(file)
    seal(folder)


def answer_like_another(folder: Path) -> None:
    """Take another model's graph, every sha256 in order: only the golden answers tell."""
    other = make_release(folder.parent / f".{folder.name}-other", seed=77)
    shutil.copy(other / "model.onnx", folder / "model.onnx")
    seal(folder)


SPOILT: list[tuple[Callable[[Path], object], str]] = [
    (truncate, "model.onnx was altered or truncated"),
    (flip_a_bit, "model.onnx was altered or truncated"),
    (name_another_class, "labels.json names 4 classes"),
    (answer_nan, "probabilities differ by nan"),
    (change_golden, "does not answer its golden files"),
    (answer_like_another, "does not answer its golden files"),
    (ask_for_nothing, "names no file"),
]
