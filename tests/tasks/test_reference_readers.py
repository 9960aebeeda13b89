"""Pixels against a reader of other descent: OpenCV, which is not built on Pillow."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hostile_files import ORIENTATION_TAG, frames, grey_tiff
from image_files import encoded
from PIL import Image

from tasks.preprocess import decode_rgb

os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
cv2: Any = pytest.importorskip("cv2")

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "JPEG2000", "ICO")
Pixels = npt.NDArray[np.float64]


def ours(data: bytes) -> Pixels:
    return np.asarray(decode_rgb(data, FORMATS)).astype(np.float64)


def opencv(data: bytes) -> Pixels:
    """(height, width, 3) RGB as OpenCV reads it: EXIF of JPEG and TIFF applied, alpha dropped, 16 bits to 8."""
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(read)[..., ::-1].astype(np.float64)


def over_white(data: bytes) -> Pixels:
    """OpenCV's straight alpha, of 8 or 16 bits, laid over white."""
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    values = read / float(np.iinfo(read.dtype).max)
    return np.asarray(255.0 * (values[..., 2::-1] * values[..., 3:] + 1.0 - values[..., 3:]))


def scene(width: int = 61, height: int = 47) -> Image.Image:
    """Smooth gradients with hard edges: what JPEG keeps, and what shows a turn or a swapped channel."""
    y, x = np.mgrid[0:height, 0:width]
    red, green, blue = 255 * x / width, 255 * y / height, np.where((x < 20) & (y > 30), 250, 20)
    return Image.fromarray(np.stack([red, green, blue], -1).astype(np.uint8))


def turned(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    return encoded(scene(), kind, exif=exif)


OPAQUE = {
    "JPEG": encoded(scene(), "JPEG", quality=90),
    "progressive JPEG": encoded(scene(), "JPEG", progressive=True),
    "JPEG 4:4:4": encoded(scene(), "JPEG", subsampling=0),
    "grey JPEG": encoded(scene().convert("L"), "JPEG"),
    "CMYK JPEG, inverted as Adobe does": encoded(scene().convert("CMYK"), "JPEG", quality=95),
    **{f"JPEG turned {turn}": turned("JPEG", turn) for turn in range(1, 9)},
    "PNG": encoded(scene()),
    "grey PNG": encoded(scene().convert("L")),
    "one-bit PNG": encoded(scene().convert("1")),
    "palette PNG": encoded(scene().quantize(32)),
    "GIF": encoded(scene(), "GIF"),
    "animated GIF": frames(1, "GIF", 4),
    "WEBP": encoded(scene(), "WEBP"),
    "animated WEBP": frames(1, "WEBP", 3, lossless=True),
    "BMP": encoded(scene(), "BMP"),
    "palette BMP": encoded(scene().quantize(16), "BMP"),
    "stereo pair": frames(1, "MPO", 2),
    "TIFF of two pages": frames(1, "TIFF", 2),
    **{
        f"TIFF, {packed}": encoded(scene(), "TIFF", compression=packed)
        for packed in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    },
    "fax TIFF": encoded(scene().convert("1"), "TIFF", compression="group4"),
    "CMYK TIFF": encoded(scene().convert("CMYK"), "TIFF"),
    **{f"TIFF turned {turn}": turned("TIFF", turn) for turn in (3, 6, 8)},
}


@pytest.mark.parametrize("kind", OPAQUE)
def test_opaque_images_have_the_pixels_that_opencv_reads(kind: str) -> None:
    expected = opencv(OPAQUE[kind])
    assert ours(OPAQUE[kind]).shape == expected.shape
    np.testing.assert_allclose(ours(OPAQUE[kind]), expected, atol=2 if "CMYK" in kind else 1)


TRANSPARENT = {
    "RGBA PNG": encoded(Image.merge("RGBA", (*scene().split(), scene().getchannel(0)))),
    "grey and alpha PNG": encoded(Image.merge("LA", (scene().convert("L"), scene().getchannel(1)))),
    "palette PNG with a clear entry": encoded(scene().quantize(16), transparency=5),
    "palette PNG with many alphas": encoded(scene().quantize(16), transparency=bytes(range(0, 240, 15))),
    "opaque RGBA PNG": encoded(scene().convert("RGBA")),
}


@pytest.mark.parametrize("kind", TRANSPARENT)
def test_transparent_images_are_what_opencv_reads_laid_over_white(kind: str) -> None:
    np.testing.assert_allclose(ours(TRANSPARENT[kind]), over_white(TRANSPARENT[kind]), atol=1)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_written_by_opencv_are_scaled_to_eight(suffix: str, channels: int) -> None:
    deep = np.random.default_rng(3).integers(0, 65536, (20, 30, channels), dtype=np.uint16)
    deep[0, :2] = [[0] * channels, [65535] * channels]
    done, data = cv2.imencode(suffix, deep)
    assert done
    expected = np.broadcast_to(deep[..., ::-1] / 257.0, (20, 30, 3))
    np.testing.assert_allclose(ours(data.tobytes()), expected, atol=1)  # Pillow cuts colours, we round greys
    assert ours(data.tobytes())[0, :2].tolist() == [[0] * 3, [255] * 3]


@pytest.mark.parametrize(("bits", "white_is"), [(16, 1), (16, 0), (12, 1)])
def test_deep_greys_of_a_tiff_written_without_a_library_keep_their_scale(bits: int, white_is: int) -> None:
    top = 2**bits - 1
    values = np.array([[0, top // 4, top // 2, top]] * 2, dtype=np.uint16)
    expected = np.rint(values * 255.0 / top)
    found = ours(grey_tiff(values, bits, white_is))[..., 0]
    assert found.tolist() == (expected if white_is else 255 - np.rint(values * 255.0 / top)).tolist()


def test_the_clear_value_of_a_deep_grey_becomes_white() -> None:
    deep = np.array([[0, 255, 30_000, 65_535]], dtype=np.uint16)
    data = encoded(Image.fromarray(deep), transparency=255)
    assert ours(data)[0, :, 0].tolist() == [0, 255, 117, 255]


def test_the_clear_colour_of_an_rgb_png_becomes_white_and_no_other() -> None:
    clear = scene().getpixel((3, 3))
    expected = np.asarray(scene()).astype(np.float64)
    expected[(expected == clear).all(axis=-1)] = 255
    np.testing.assert_array_equal(ours(encoded(scene(), transparency=clear)), expected)
    assert (expected != np.asarray(scene())).any()


def test_cie_lab_becomes_srgb_by_the_formula() -> None:
    """Source: CIE 15 and IEC 61966-2-1, adapted from D50 by Bradford (as ICC profiles are)."""
    lab = np.array(
        [[[0, 0, 0], [255, 0, 0], [128, 0, 0], [136, 81, 70], [137, 208, 57], [82, 20, 193]]], dtype=np.uint8
    )
    image = Image.frombytes("LAB", (6, 1), lab.tobytes())
    lightness, a, b = lab[0, :, 0] / 2.55, lab[0, :, 1].astype(np.int8), lab[0, :, 2].astype(np.int8)
    fy = (lightness + 16) / 116
    f = np.stack([fy + a / 500.0, fy, fy - b / 200.0])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * np.array([[0.9642], [1.0], [0.8249]])
    matrix = [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
    linear = np.clip(np.array(matrix) @ xyz, 0, 1)
    srgb = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(ours(encoded(image, "TIFF"))[0], srgb.T, atol=3)


NO_REFERENCE = {
    "old-style-jpeg-compression.tif": "OpenCV does not read it",
    "12bit.cropped.tif": "OpenCV does not read it",
    "10ct_32bit_128.tiff": "OpenCV does not read it",
    "hopper_256x256.ico": "OpenCV does not read it",
    "hopper.Lab.tif": "OpenCV takes a and b for unsigned; held against hopper.gif below",
    "apng_mode_16bit.png": "OpenCV reads no frame of it rightly; torchvision 0.29 reads red, as we do",
    "i_trns.png": "OpenCV leaves the clear value of a deep grey",
    "hopper_orientation_6.webp": "OpenCV applies EXIF to JPEG and TIFF alone",
    "exif_imagemagick_orientation.png": "OpenCV applies EXIF to JPEG and TIFF alone",
}
WITH_ALPHA = {"uncompressed_la.png", "transparent.png", "pil123p.png", "p_trns_single.png"}
WITH_ALPHA |= {"tRNS_null_1x1.png", "iss634.webp"}


@pytest.mark.slow
def test_every_readable_file_of_the_pack_has_the_pixels_of_another_reader(real_data: Path) -> None:
    folder = real_data / "data" / "awkward_images" / "files"
    table = csv.DictReader((Path(__file__).parent / "awkward_outcomes.csv").open(encoding="utf-8"))
    readable = [row["file"] for row in table if row["allowed_by_params"] != "quarantined"]
    compared = [name for name in readable if not NO_REFERENCE.get(name)]
    assert len(compared) >= 30
    for name in compared:
        data = (folder / name).read_bytes()
        expected = over_white(data) if name in WITH_ALPHA and name.endswith("png") else opencv(data)
        np.testing.assert_allclose(ours(data), expected, atol=2, err_msg=name)


def test_what_opencv_leaves_lying_stands_upright_and_lab_looks_like_its_twin(real_data: Path) -> None:
    folder = real_data / "data" / "awkward_images" / "files"
    lying = (folder / "exif_imagemagick_orientation.png").read_bytes()
    np.testing.assert_array_equal(ours(lying), np.rot90(opencv(lying), 2))
    lying = (folder / "hopper_orientation_6.webp").read_bytes()
    np.testing.assert_allclose(ours(lying), np.rot90(opencv(lying), -1), atol=1)
    lab, twin = ours((folder / "hopper.Lab.tif").read_bytes()), ours((folder / "hopper.gif").read_bytes())
    deep = ours((folder / "apng_mode_16bit.png").read_bytes())
    assert (deep == [255, 0, 0]).all()
    assert np.abs((lab - twin).mean(axis=(0, 1))).max() < 1
