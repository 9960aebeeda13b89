"""The golden files: what they cover, and that they are the ones the script renders."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from tasks.golden import golden_files, render
from tasks.preprocess import decode_rgb, read_header


def test_the_files_cover_what_decoders_get_wrong() -> None:
    headers = {file.name: read_header(file.read_bytes()) for file in golden_files()}
    modes = {name: (image.format, image.mode) for name, image in headers.items()}
    assert modes["cmyk.jpg"] == ("JPEG", "CMYK")
    assert modes["grey.jpg"] == ("JPEG", "L")
    assert modes["grey_16bit.png"] == ("PNG", "I;16")
    assert modes["palette_alpha.png"] == ("PNG", "P")
    assert "transparency" in headers["palette_alpha.png"].info
    assert modes["alpha.png"] == ("PNG", "RGBA")
    assert headers["exif_rotated.jpg"].getexif()[0x0112] == 6
    assert max(headers["tiny.png"].size) < 8
    assert headers["odd_size.jpg"].size == (97, 61)
    assert headers["wide.png"].size[0] > 7 * headers["wide.png"].size[1]


def test_the_files_are_small_and_sorted_by_name() -> None:
    files = golden_files()
    assert files == sorted(files)
    assert sum(file.stat().st_size for file in files) < 200_000


def test_the_files_are_the_ones_that_the_script_renders(tmp_path: Path) -> None:
    render(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [file.name for file in golden_files()]
    for file in golden_files():
        kept = np.asarray(decode_rgb(file.read_bytes())).astype(int)
        now = np.asarray(decode_rgb((tmp_path / file.name).read_bytes())).astype(int)
        assert kept.shape == now.shape, file.name
        assert np.abs(kept - now).mean() < 2, file.name


@pytest.mark.parametrize("change", [ImageOps.mirror, ImageOps.flip, lambda image: image.rotate(180)])
def test_a_flip_or_a_turn_shows_in_every_upright_file(change: object) -> None:
    assert callable(change)
    for file in golden_files():
        image = decode_rgb(file.read_bytes())
        difference = np.asarray(image).astype(int) - np.asarray(change(image)).astype(int)
        assert np.abs(difference).mean() > 2, file.name


def test_ignoring_the_orientation_shows() -> None:
    file = next(file for file in golden_files() if file.name == "exif_rotated.jpg")
    assert Image.open(io.BytesIO(file.read_bytes())).size != decode_rgb(file.read_bytes()).size
