"""What a client may send as an image: formats, pixels, frames, and arrays of the model's size."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from small_release import CROP, photo

from deploy.images import prepared
from tasks.decoding import UndecodableImage
from tasks.params.serve import ServeLimits
from tasks.preprocess import Preprocess

PREPROCESS = Preprocess(resize=CROP, crop=CROP, mean=(0.0,) * 3, std=(1.0,) * 3)
SINGLE, FIRST = ServeLimits(frames="single"), ServeLimits()


def frames(kind: str, count: int = 3, **options: object) -> bytes:
    """An animation or a file of pages, each frame of another colour."""
    pages = [Image.new("RGB", (40, 40), (60 * place, 100, 10)) for place in range(count)]
    file = io.BytesIO()
    pages[0].save(file, kind, save_all=True, append_images=pages[1:], **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_is_taken_or_all_are_refused(kind: str) -> None:
    several, one = frames(kind), frames(kind, 1)
    np.testing.assert_array_equal(prepared(several, PREPROCESS, FIRST), PREPROCESS.prepare(several))
    with pytest.raises(UndecodableImage, match="it has several frames") as caught:
        prepared(several, PREPROCESS, SINGLE)
    assert caught.value.kind == "frames"
    np.testing.assert_array_equal(prepared(one, PREPROCESS, SINGLE), PREPROCESS.prepare(one))


def test_a_photo_with_a_preview_is_one_photo() -> None:
    data = frames("MPO", 2)
    assert Image.open(io.BytesIO(data)).format == "MPO"
    np.testing.assert_array_equal(prepared(data, PREPROCESS, SINGLE), PREPROCESS.prepare(data))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_whatever_follows_the_first_frame_is_an_answer_or_an_undecodable_image(kind: str) -> None:
    data = frames(kind)
    refused = 0
    for length in range(0, len(data), max(1, len(data) // 60)):
        try:
            prepared(data[:length], PREPROCESS, SINGLE)
        except UndecodableImage:
            refused += 1
    assert refused > 20


def test_limits_of_formats_and_pixels_hold() -> None:
    for limits, kind in ((ServeLimits(formats=("PNG",)), "format"), (ServeLimits(max_pixels=100), "pixels")):
        with pytest.raises(UndecodableImage) as caught:
            prepared(photo(1), PREPROCESS, limits)
        assert caught.value.kind == kind


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((CROP, CROP), np.uint8),
        np.zeros((CROP, CROP, 4), np.uint8),
        np.zeros((CROP, CROP, 3), np.float32),
        np.zeros((CROP + 1, CROP, 3), np.uint8),
    ],
)
def test_prepared_pixels_of_another_shape_or_kind_are_refused(array: np.ndarray) -> None:
    with pytest.raises(UndecodableImage, match=r"the model takes uint8 \(32, 32, 3\)"):
        prepared(array, PREPROCESS, FIRST)
