"""What one image file is found to be."""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
from image_files import bomb_png, encoded, noise, write
from PIL import Image, ImageFilter

from tasks.modalities import images
from tasks.modalities.images import inspect, inspect_file, inspect_files
from tasks.params import ValidateParams
from tasks.perceptual_hash import perceptual_hash

RULES = ValidateParams()


def test_a_sound_image_is_described_in_full() -> None:
    data = encoded(noise(1), "JPEG", quality=90)
    found = inspect(data, RULES)
    assert found.reason is None
    assert (found.format, found.mode, found.width, found.height) == ("JPEG", "RGB", 24, 20)
    assert (found.file_bytes, found.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    decoded = Image.open(io.BytesIO(data)).convert("L")
    assert found.perceptual_hash == perceptual_hash(decoded)
    assert found.brightness == pytest.approx(np.asarray(decoded).mean())
    assert found.pixels is not None
    assert len(found.pixels) == 256


def test_an_8x8_image_is_kept_exactly_by_repetition() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    found = inspect(encoded(Image.fromarray(grey)), RULES)
    assert found.pixels == np.repeat(np.repeat(grey, 2, axis=0), 2, axis=1).tobytes()


def test_larger_images_are_averaged_over_areas() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (64, 32), dtype=np.uint8)
    pixels = np.frombuffer(inspect(encoded(Image.fromarray(grey)), RULES).pixels or b"", np.uint8).reshape(16, 16)
    areas = grey.reshape(16, 4, 16, 2).mean(axis=(1, 3))
    assert np.abs(pixels - areas).max() <= 1.0  # two passes, each rounded


def test_orientation_is_applied_before_anything_is_measured_but_size_is_the_stored_one() -> None:
    upright = noise(3, 32, 16)
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    found, expected = inspect(encoded(lying, exif=exif), RULES), inspect(encoded(upright), RULES)
    assert (found.width, found.height) == (16, 32)
    assert (found.pixels, found.perceptual_hash) == (expected.pixels, expected.perceptual_hash)


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    grey = np.random.default_rng(5).integers(0, 256, (9, 7)).astype(np.float64)
    padded = np.pad(grey, 1, mode="edge")
    expected = np.var(
        [
            padded[y, x + 1] + padded[y + 2, x + 1] + padded[y + 1, x] + padded[y + 1, x + 2] - 4 * grey[y, x]
            for y in range(9)
            for x in range(7)
        ]
    )
    assert images.sharpness(Image.fromarray(grey.astype(np.uint8))) == pytest.approx(expected)


def test_blurring_lowers_sharpness_and_a_flat_image_has_none() -> None:
    sharp = noise(7, 200, 200).convert("L")
    assert images.sharpness(sharp.filter(ImageFilter.GaussianBlur(3))) < images.sharpness(sharp) / 100
    assert images.sharpness(Image.new("L", (50, 50), 128)) == 0


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<html><body>404 Not Found</body></html>", "not an image of an allowed format"),
        (encoded(noise(1, 300, 300), "JPEG")[:4000], "broken JPEG data: the file is cut short"),
        (encoded(noise(1, 300, 300))[:4000], "broken PNG data"),
        (bomb_png(), "pixels, more than the 40000000 allowed|more pixels than the 40000000 allowed"),
        (bomb_png(8000, 8000), "8000x8000 is 64000000 pixels, more than the 40000000 allowed"),
        (encoded(noise(1), "TGA"), "not an image of an allowed format"),
    ],
)
def test_what_cannot_be_decoded_has_a_reason_and_still_a_digest(data: bytes, reason: str) -> None:
    found = inspect(data, RULES)
    assert found.reason is not None
    assert re.search(reason, found.reason)
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    assert found.pixels is found.perceptual_hash is found.brightness is found.sharpness is None


def test_a_header_that_can_be_read_is_kept_when_the_pixels_are_broken() -> None:
    found = inspect(encoded(noise(1, 300, 200), "JPEG")[:4000], RULES)
    assert (found.format, found.mode, found.width, found.height) == ("JPEG", "RGB", 300, 200)


def test_formats_and_the_pixel_cap_come_from_params() -> None:
    png = encoded(noise(1))
    assert "allowed format (JPEG)" in (inspect(png, ValidateParams(formats=["JPEG"])).reason or "")
    assert "more than the 479 allowed" in (inspect(png, ValidateParams(max_pixels=479)).reason or "")
    assert inspect(png, ValidateParams(max_pixels=480)).reason is None


def test_files_are_inspected_in_the_order_given_whatever_thread_is_first(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(30)]
    for number, path in enumerate(paths):
        write(path, encoded(noise(number, 8 + 40 * (number % 3), 8)))
    assert list(inspect_files(paths, RULES)) == [inspect_file(path, RULES) for path in paths]
