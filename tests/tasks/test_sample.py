"""The embedded sample: what it holds, that it is repeatable, complete or absent, and knows when it is stale."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tasks.digests import folder_sha256
from tasks.sample import draw_labelled, read_scans, sample_is_current, write_sample


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workspace") / "data" / "sample"
    write_sample(folder, labels_per_class=5, seed=0)
    return folder


def test_the_sample_holds_every_scan_once_with_few_labels_on_the_training_side(sample: Path) -> None:
    train = Counter(path.parent.name for path in sample.glob("train/*/*.png"))
    test = Counter(path.parent.name for path in sample.glob("test/*/*.png"))
    assert train == {str(digit): 5 for digit in range(10)}
    assert train.total() + test.total() == 1797
    assert len({path.name for path in sample.rglob("*.png")}) == 1797


def test_no_two_files_of_the_sample_hold_the_same_content(sample: Path) -> None:
    assert len({hashlib.sha256(path.read_bytes()).digest() for path in sample.rglob("*.png")}) == 1797


def test_the_pngs_decode_to_the_scans_and_stand_under_their_labels(sample: Path) -> None:
    digits = load_digits()
    for path in sample.rglob("*.png"):
        index = int(path.stem)
        assert path.parent.name == str(digits.target[index])
        np.testing.assert_array_equal(np.rint(np.asarray(Image.open(path)) / 255 * 16), digits.images[index])


def test_the_same_settings_write_the_same_bytes_and_another_seed_other_labels(sample: Path, tmp_path: Path) -> None:
    write_sample(tmp_path / "again", labels_per_class=5, seed=0)
    write_sample(tmp_path / "other", labels_per_class=5, seed=1)
    assert folder_sha256(tmp_path / "again") == folder_sha256(sample)
    assert folder_sha256(tmp_path / "other") != folder_sha256(sample)


def test_more_labels_with_the_same_seed_keep_the_earlier_ones() -> None:
    _, labels = read_scans()
    few, more = draw_labelled(labels, 5, seed=3), draw_labelled(labels, 20, seed=3)
    assert len(more) == 200
    assert set(few.tolist()) < set(more.tolist())


def test_a_draw_that_leaves_no_test_image_is_refused() -> None:
    labels = np.array([0, 0, 0, 1, 1], dtype=np.int64)
    with pytest.raises(ValueError, match=r"labels_per_class 2 is not within 1\.\.1"):
        draw_labelled(labels, 2, seed=0)


def test_the_sample_is_current_only_for_the_settings_it_was_written_with(sample: Path) -> None:
    assert sample_is_current(sample, 5, 0)
    assert not sample_is_current(sample, 5, 1)
    assert not sample_is_current(sample, 6, 0)
    assert not sample_is_current(sample.with_name("absent"), 5, 0)


@pytest.mark.parametrize("damage", ["truncate", "remove", "add", "no marker", "broken marker"])
def test_a_damaged_sample_is_not_current_and_is_written_anew(damage: str, tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    write_sample(folder, 2, 0)
    before = folder_sha256(folder)
    victim = next(folder.rglob("*.png"))
    if damage == "truncate":
        victim.write_bytes(victim.read_bytes()[:-1])
    elif damage == "remove":
        victim.unlink()
    elif damage == "add":
        victim.with_name("mine.png").write_bytes(b"")
    elif damage == "no marker":
        (tmp_path / ".sample.json").unlink()
    else:
        (tmp_path / ".sample.json").write_text('{"seed": 0')
    assert not sample_is_current(folder, 2, 0)
    write_sample(folder, 2, 0)
    assert sample_is_current(folder, 2, 0)
    assert folder_sha256(folder) == before


def test_an_interrupted_write_leaves_no_half_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(1000))

    def fails_at_the_hundredth(path: Path, data: bytes) -> int:
        if next(calls) == 100:
            raise OSError("no space left on device")
        return original(path, data)

    original = Path.write_bytes
    folder = tmp_path / "sample"
    monkeypatch.setattr(Path, "write_bytes", fails_at_the_hundredth)
    with pytest.raises(OSError, match="no space"):
        write_sample(folder, 2, 0)
    monkeypatch.undo()
    assert not folder.exists()
    write_sample(folder, 2, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".sample.json", "sample"]
