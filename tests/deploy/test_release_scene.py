"""The releases that tests are made with: sound ones are servable, spoilt ones are refused for the reason they name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from release_scene import add_release, point
from small_release import CROP, answer_nan, flip_a_bit, name_another_class, photo, truncate

from tasks.errors import ReleaseError
from tasks.reports.prod_pointer import ProdPointer
from tasks.servable import open_servable


def test_a_release_of_the_store_is_servable_and_answers_by_its_weights(store: Path) -> None:
    first = open_servable(store / ProdPointer.read(store / "prod").manifest_sha256)
    second = add_release(store, seed=1)
    point(store, second, version=2)
    assert ProdPointer.read(store / "prod").manifest_sha256 == second
    other = open_servable(store / second, second)
    images = np.stack([first.opened.preprocess.prepare(photo(seed)) for seed in range(20)])
    probabilities = first.opened.answers(images, 4)
    assert len(set(probabilities.argmax(axis=1))) > 1
    assert np.abs(probabilities - other.opened.answers(images, 4)).max() > 0.1


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (truncate, "model.onnx was altered or truncated"),
        (flip_a_bit, "model.onnx was altered or truncated"),
        (name_another_class, "labels.json names 4 classes"),
        (answer_nan, "probabilities differ by nan"),
    ],
)
def test_a_spoilt_release_is_refused(release: Path, spoil: Callable[[Path], object], words: str) -> None:
    spoil(release)
    with pytest.raises(ReleaseError, match=words):
        open_servable(release)


def test_a_release_may_answer_nan_where_no_golden_file_finds_it(release: Path) -> None:
    answer_nan(release, level=255)
    opened = open_servable(release).opened
    white = np.full((2, CROP, CROP, 3), 255, dtype=np.uint8)
    white[1, 0, 0, 0] = 254
    assert np.isnan(opened.answers(white, 2)).all(axis=1).tolist() == [True, False]
