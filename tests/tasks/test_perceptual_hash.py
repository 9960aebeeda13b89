import io

import numpy as np
import pytest
from PIL import Image

from tasks.perceptual_hash import FREQUENCIES, perceptual_hash


def scene(seed: int, side: int = 160) -> Image.Image:
    """Smooth random blobs: like a photo, most of the energy lies in the low frequencies."""
    cells = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((side, side), Image.Resampling.BICUBIC)


def distance(first: Image.Image, second: Image.Image) -> int:
    return (perceptual_hash(first) ^ perceptual_hash(second)).bit_count()


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(io.BytesIO(file.getvalue()))


def test_the_hash_of_a_known_picture_never_changes() -> None:
    rows, columns = np.mgrid[0:64, 0:64]
    pattern = Image.fromarray(((rows * 37 ^ columns * 101) % 251).astype(np.uint8))
    assert perceptual_hash(pattern) == 0x9655247694E486A5


def test_a_flat_image_hashes_to_zero() -> None:
    assert {perceptual_hash(Image.new("RGB", (37, 52), (grey,) * 3)) for grey in (0, 93, 255)} == {0}


def test_the_hash_has_64_different_frequencies_without_the_mean() -> None:
    assert len(set(FREQUENCIES)) == 64
    assert (0, 0) not in FREQUENCIES


@pytest.mark.parametrize("seed", range(5))
def test_reencoding_and_resizing_flip_few_bits(seed: int) -> None:
    image = scene(seed)
    assert distance(image, as_jpeg(image, 40)) <= 4
    assert distance(image, image.resize((96, 96), Image.Resampling.BICUBIC)) <= 4


@pytest.mark.parametrize("seed", range(5))
def test_a_small_crop_flips_fewer_bits_than_another_picture(seed: int) -> None:
    image = scene(seed)
    assert distance(image, image.crop((0, 0, 152, 152))) <= 18
    assert distance(image, scene(seed + 100)) > 18


def test_turning_the_negative_flips_every_bit_that_is_not_near_zero() -> None:
    image = scene(3)
    negative = Image.fromarray(255 - np.asarray(image))
    assert distance(image, negative) >= 60


def test_colour_and_grey_give_the_same_hash() -> None:
    image = scene(1)
    assert perceptual_hash(image) == perceptual_hash(image.convert("L"))
