"""The one way from bytes to pixels: held against torchvision, and against hostile files."""

from __future__ import annotations

import io
import json
import tracemalloc

import numpy as np
import pytest
from image_files import bomb_png, encoded, noise
from PIL import Image, ImageFile

from tasks.preprocess import Preprocess, UndecodableImage, decode_rgb, read_header, to_rgb

ORIENTATION = 0x0112
SIZES = [(500, 375), (375, 500), (224, 224), (225, 223), (97, 61), (7, 5), (1, 9), (640, 41), (40, 256)]


def preprocess(resize: int = 32, crop: int = 28, interpolation: str = "bilinear") -> Preprocess:
    return Preprocess.model_validate(
        {"resize": resize, "crop": crop, "interpolation": interpolation, "mean": (0, 0, 0), "std": (1, 1, 1)}
    )


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (33, 32), (40, 40), (75, 52)])
def test_pixels_equal_torchvisions_preset(interpolation: str, resize: int, crop: int) -> None:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms._presets import ImageClassification

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    preset = ImageClassification(
        crop_size=crop, resize_size=resize, mean=mean, std=std, interpolation=InterpolationMode(interpolation)
    )
    for seed, size in enumerate(SIZES):
        image = noise(seed, *size)
        ours = preprocess(resize, crop, interpolation).prepare(encoded(image)).astype(np.float64) / 255
        expected = preset(image).permute(1, 2, 0).numpy()
        np.testing.assert_allclose((ours - mean) / std, expected, atol=1e-5, err_msg=str(size))


def test_a_crop_larger_than_the_image_is_padded_as_torchvision_pads() -> None:
    from torchvision.transforms.functional import center_crop

    for width, height in [(20, 31), (31, 20), (19, 19), (64, 9)]:
        image = noise(3, width, height)
        ours = preprocess(min(width, height), 32).fit(image)
        np.testing.assert_array_equal(ours, np.asarray(center_crop(image, [32, 32])))


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(noise(1, 24, 16), exif=exif)


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda pixels: pixels),
        (2, lambda pixels: pixels[:, ::-1]),
        (3, lambda pixels: pixels[::-1, ::-1]),
        (4, lambda pixels: pixels[::-1]),
        (5, lambda pixels: pixels.transpose(1, 0, 2)),
        (6, lambda pixels: np.rot90(pixels, -1)),
        (7, lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda pixels: np.rot90(pixels)),
        (9, lambda pixels: pixels),
    ],
)
def test_the_exif_orientation_is_applied(orientation: int, turn: object) -> None:
    assert callable(turn)
    np.testing.assert_array_equal(np.asarray(decode_rgb(turned(orientation))), turn(np.asarray(noise(1, 24, 16))))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_unreadable_exif_data_count_as_none() -> None:
    data = encoded(noise(1), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    np.testing.assert_array_equal(np.asarray(decode_rgb(data)), np.asarray(Image.open(io.BytesIO(data))))


def test_sixteen_bit_grey_is_scaled_and_not_cut() -> None:
    deep = np.array([[0, 257 * 7, 257 * 128, 65535]], dtype=np.uint16)
    pixels = np.asarray(decode_rgb(encoded(Image.fromarray(deep))))
    assert pixels[0, :, 0].tolist() == [0, 7, 128, 255]
    assert (pixels == pixels[..., :1]).all()


def test_float_grey_with_a_hole_in_it_is_readable() -> None:
    values = np.array([[0.0, 100.4, 300.0, np.nan]], dtype=np.float32)
    assert np.asarray(decode_rgb(encoded(Image.fromarray(values), "TIFF")))[0, :, 0].tolist() == [0, 100, 255, 0]


def test_transparency_is_laid_over_white_in_every_mode_that_has_it() -> None:
    clear = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    clear.putpixel((1, 0), (9, 9, 9, 0))
    grey = Image.new("LA", (2, 1), (40, 255))
    grey.putpixel((1, 0), (9, 0))
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 9, 9, 9])
    palette.putpixel((1, 0), 1)
    assert np.asarray(decode_rgb(encoded(clear)))[0].tolist() == [[255, 0, 0], [255, 255, 255]]
    assert np.asarray(decode_rgb(encoded(grey)))[0].tolist() == [[40, 40, 40], [255, 255, 255]]
    assert np.asarray(decode_rgb(encoded(palette, transparency=1)))[0].tolist() == [[255, 0, 0], [255, 255, 255]]
    half = Image.new("RGBA", (1, 1), (0, 0, 0, 128))
    assert np.asarray(decode_rgb(encoded(half)))[0, 0].tolist() == [127, 127, 127]


def test_one_bit_and_cmyk_images_become_rgb() -> None:
    bits = Image.new("1", (2, 1))
    bits.putpixel((1, 0), 1)
    assert np.asarray(decode_rgb(encoded(bits)))[0].tolist() == [[0, 0, 0], [255, 255, 255]]
    ink = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red = np.asarray(decode_rgb(encoded(ink, "JPEG", quality=95)))[4, 4].astype(int)
    assert np.abs(red - [255, 0, 0]).max() <= 4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "I", "F"])
def test_every_allowed_mode_becomes_rgb(mode: str) -> None:
    via = {"RGBa": "RGBA", "PA": "P"}.get(mode, mode)
    image = noise(2, 6, 5).convert("L").convert(via) if via in ("LA", "I", "F") else noise(2, 6, 5).convert(via)
    rgb = to_rgb(image.convert(mode) if mode != via else image)
    assert (rgb.mode, rgb.size) == ("RGB", (6, 5))


def test_of_an_animation_the_first_frame_is_taken() -> None:
    frames = [Image.new("RGB", (9, 9), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.asarray(decode_rgb(data))[4, 4].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<!DOCTYPE html><html></html>", "not an image of an allowed format"),
        (b"\x89PNG\r\n\x1a\n", "^it begins as PNG, but its header is broken or of a kind that cannot be read$"),
        (encoded(noise(1), "PPM"), "not an image of an allowed format"),
        (encoded(noise(1, 200, 200))[:2000], "broken PNG data"),
        (encoded(noise(1, 200, 200), "JPEG")[:2000], "broken JPEG data"),
        (encoded(noise(1, 60, 60), "TIFF")[:200], "begins as .* but its header is broken|broken"),
        (encoded(noise(1, 60, 60), "WEBP")[:60], "begins as .* but its header is broken|broken"),
    ],
)
def test_what_is_no_readable_image_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UndecodableImage, match=reason):
        preprocess().prepare(data)


def test_too_many_pixels_are_refused_from_the_header_without_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(self: ImageFile.ImageFile) -> None:
        raise OSError("pixels were decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", never)
    with pytest.raises(UndecodableImage, match=r"^24x20 is 480 pixels, more than the 479 allowed$"):
        decode_rgb(encoded(noise(1)), max_pixels=479)
    with pytest.raises(UndecodableImage, match="pixels were decoded"):
        decode_rgb(encoded(noise(1)), max_pixels=480)


def test_a_decompression_bomb_costs_no_memory() -> None:
    tracemalloc.start()
    with pytest.raises(UndecodableImage, match="more"):
        decode_rgb(bomb_png())
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_a_format_that_was_not_asked_for_is_not_even_opened() -> None:
    with pytest.raises(UndecodableImage, match=r"allowed format \(PNG\)"):
        read_header(encoded(noise(1), "JPEG"), formats=("PNG",))


@pytest.mark.parametrize("size", [(20_000, 1), (1, 20_000)])
def test_a_long_strip_is_cut_to_its_middle_before_it_is_resized(size: tuple[int, int]) -> None:
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    middle = np.array(pixels.shape[:2]) // 2
    pixels[max(0, middle[0] - 3) : middle[0] + 3, max(0, middle[1] - 3) : middle[1] + 3] = 200
    prepared = preprocess(256, 224).fit(Image.fromarray(pixels))
    assert prepared.shape == (224, 224, 3)
    assert (prepared == 200).all()


def test_preprocess_json_survives_the_round_trip_and_refuses_other_words() -> None:
    ours = preprocess(256, 224, "bicubic")
    document = json.loads(ours.model_dump_json())
    assert Preprocess.model_validate(document) == ours
    for change in ({"version": 3}, {"colour": "BGR"}, {"interpolation": "nearest"}, {"antialias": False}, {"more": 1}):
        with pytest.raises(ValueError, match=next(iter(change))):
            Preprocess.model_validate({**document, **change})
