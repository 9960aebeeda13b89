"""Images for training: unvaried they are what is served, bit for bit; damage is found; no thread count matters."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import encoded, noise, write
from PIL import Image

from tasks.backbones.torch_export import FeatureNetwork
from tasks.digests import file_sha256
from tasks.errors import DataError
from tasks.params.training import FineTuneParams
from tasks.preprocess import Preprocess
from tasks.training import image_store, sources
from tasks.training.image_store import ImageStore, forget_images, store_key
from tasks.training.pixels import PixelExamples

PREPROCESS = Preprocess(resize=40, crop=32, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
SETTINGS = FineTuneParams(augmentation="strong")
SIZES = [(60, 50), (50, 61), (40, 40), (33, 90), (90, 32), (200, 12), (9, 150), (20, 24), (41, 81), (80, 40)]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Landscapes, portraits, strips and small ones, as PNG and JPEG, one of them turned by its EXIF."""
    found = []
    for place, (width, height) in enumerate(SIZES):
        kind = "JPEG" if place % 2 else "PNG"
        path = tmp_path / "images" / f"{place}.{kind.lower()}"
        write(path, encoded(noise(place, width, height), kind))
        found.append(path)
    exif = Image.Exif()
    exif[0x0112] = 6
    write(tmp_path / "images" / "turned.jpg", encoded(noise(99, 70, 45), "JPEG", exif=exif))
    return [*found, tmp_path / "images" / "turned.jpg"]


def examples(files: list[Path], threads: int = 1, store: ImageStore | None = None) -> PixelExamples:
    return PixelExamples(files, [file_sha256(file) for file in files], PREPROCESS, SETTINGS, threads, store)


def all_of(files: list[Path]) -> np.ndarray:
    return np.arange(len(files))


class Untouched(torch.nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels


@pytest.mark.parametrize("crop", [32, 40])
@pytest.mark.parametrize("kept", [False, True])
def test_unvaried_pixels_are_those_that_the_served_graph_computes(
    files: list[Path], tmp_path: Path, crop: int, kept: bool
) -> None:
    preprocess = PREPROCESS.model_copy(update={"crop": crop})
    store = ImageStore.under(tmp_path / "store", preprocess) if kept else None
    contents = [file_sha256(file) for file in files]
    served = np.stack([preprocess.prepare(file.read_bytes()) for file in files])
    expected = FeatureNetwork(Untouched(), preprocess)(torch.from_numpy(served))
    found = PixelExamples(files, contents, preprocess, SETTINGS, 1, store)
    for _ in range(2):
        (pixels,) = found.plain(all_of(files))
        assert torch.equal(pixels, expected)
    assert pixels.is_contiguous()


def test_variants_are_the_same_for_any_threads_batches_and_store(files: list[Path], tmp_path: Path) -> None:
    rows, store = all_of(files), ImageStore.under(tmp_path / "store", PREPROCESS)
    (one,) = examples(files).inputs(rows, 3)
    (many,) = examples(files, threads=4, store=store).inputs(rows[::-1].copy(), 3)
    (kept,) = examples(files, threads=3, store=store).inputs(rows, 3)
    single = torch.cat([examples(files).inputs(np.array([row]), 3)[0] for row in rows])
    assert torch.equal(one, many.flip(0))
    assert torch.equal(one, kept)
    assert torch.equal(one, single)
    (later,) = examples(files).inputs(rows, 4)
    assert not any(torch.equal(before, after) for before, after in zip(one, later, strict=True))


def test_a_file_that_changed_is_gone_or_no_longer_decodes_is_named(files: list[Path]) -> None:
    found = examples(files)
    write(files[0], encoded(noise(55)))
    files[1].unlink()
    with pytest.raises(DataError, match=r"0\.png changed after the data were validated; run `graft adapt` again"):
        found.plain(np.array([2, 0]))
    with pytest.raises(DataError, match=r"1\.jpeg cannot be read \(No such file"):
        found.inputs(np.array([1]), 1)
    files[2].write_bytes(files[2].read_bytes()[:200])
    with pytest.raises(DataError, match=r"2\.png cannot be decoded"):
        examples(files[2:]).plain(np.array([0]))


def stored(files: list[Path], folder: Path, most_bytes: int = 10**9) -> ImageStore:
    """A store that holds these images, on disk."""
    store = ImageStore.under(folder, PREPROCESS, most_bytes)
    examples(files, store=store).plain(all_of(files))
    store.flush()
    return ImageStore.under(folder, PREPROCESS, most_bytes)


def test_a_second_run_decodes_nothing(files: list[Path], tmp_path: Path) -> None:
    store, contents = stored(files, tmp_path / "store"), [file_sha256(file) for file in files]
    (expected,) = examples(files).inputs(all_of(files), 1)
    for file in files:
        file.unlink()
    (found,) = PixelExamples(files, contents, PREPROCESS, SETTINGS, 2, store).inputs(all_of(files), 1)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("damage", ["a pixel", "the end", "the file", "the index"])
def test_damaged_pixels_are_decoded_again(
    files: list[Path], tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(files, tmp_path / "store")
    (pixels,), (index,) = (list((tmp_path / "store").glob(f"*/images-*.{kind}")) for kind in ("bin", "json"))
    data = bytearray(pixels.read_bytes())
    data[100] ^= 1
    match damage:
        case "a pixel":
            pixels.write_bytes(data)
        case "the end":
            os.truncate(pixels, len(data) - 100)
        case "the file":
            pixels.unlink()
        case _:
            index.write_bytes(index.read_bytes().replace(b"40", b"41", 1))
    store = ImageStore.under(tmp_path / "store", PREPROCESS)
    (found,) = examples(files, store=store).plain(all_of(files))
    assert torch.equal(found, examples(files).plain(all_of(files))[0])
    assert capsys.readouterr().err.count("will be decoded again") == 1
    store.flush()
    assert len(list((tmp_path / "store").glob("*/images-*"))) in (2, 4)
    (found,) = examples(files, store=ImageStore.under(tmp_path / "store", PREPROCESS)).plain(all_of(files))
    assert torch.equal(found, examples(files).plain(all_of(files))[0])
    assert not capsys.readouterr().err


def test_a_store_keeps_to_its_bytes(files: list[Path], tmp_path: Path) -> None:
    most = 40 * 50 * 3 * 3
    store = stored(files, tmp_path / "store", most)
    held = sum(path.stat().st_size for path in (tmp_path / "store").glob("*/images-*.bin"))
    assert 0 < held <= most
    kept = [store.get(file_sha256(file)) is not None for file in files]
    assert any(kept)
    assert not all(kept)
    (found,) = examples(files, store=store).plain(all_of(files))
    assert torch.equal(found, examples(files).plain(all_of(files))[0])


def test_another_preprocessing_has_a_store_of_its_own(files: list[Path], tmp_path: Path) -> None:
    stored(files, tmp_path / "store")
    other = ImageStore.under(tmp_path / "store", PREPROCESS.model_copy(update={"interpolation": "bicubic"}))
    assert other.get(file_sha256(files[0])) is None


def test_forgotten_items_leave_no_pixels(files: list[Path], tmp_path: Path) -> None:
    stored(files, tmp_path / "store")
    gone = file_sha256(files[0])
    assert forget_images(tmp_path / "store", ["00" * 32]) == 0
    assert ImageStore.under(tmp_path / "store", PREPROCESS).get(gone) is not None
    assert forget_images(tmp_path / "store", [gone]) == 1
    assert not list((tmp_path / "store").glob("*/images-*"))


@pytest.mark.parametrize("name", ["pixels.py", "preprocess.py", "decoding.py"])
def test_images_of_other_code_are_not_found(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before, read = store_key(PREPROCESS), sources.file_sha256
    monkeypatch.setattr(sources, "file_sha256", lambda path: "0" if path.name == name else read(path))
    assert store_key(PREPROCESS) != before


def refuse(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_told_once_and_images_are_decoded_each_time(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(image_store, "write_bytes", refuse)
    monkeypatch.setattr(image_store, "SHARD_BYTES", 5000)
    store = ImageStore.under(tmp_path / "store", PREPROCESS)
    found = examples(files, store=store)
    for _ in range(2):
        assert torch.equal(found.plain(all_of(files))[0], examples(files).plain(all_of(files))[0])
    store.flush()
    told = capsys.readouterr().err
    assert told.count("cannot be kept") == 1
    assert "No space left on device" in told
    assert store.get(found.contents[0]) is None


def test_images_of_another_preprocessing_make_room(files: list[Path], tmp_path: Path) -> None:
    parent, other = tmp_path / "store", PREPROCESS.model_copy(update={"resize": 36})
    stored(files, parent)
    held = sum(file.stat().st_size for file in parent.glob("*/*"))
    ImageStore.under(parent, other, held)
    assert len(list(parent.iterdir())) == 1
    ImageStore.under(parent, other, held - 1)
    assert not list(parent.iterdir())
