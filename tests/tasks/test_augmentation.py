"""Variants of training images: what each preset may do, and that it depends on seed, epoch and item alone."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from image_files import noise
from PIL import Image

from tasks.preprocess import Preprocess, UInt8Image
from tasks.training.augmentation import OPERATIONS, PRESETS, Augmentation, generator_of, varied

PREPROCESS = Preprocess(resize=64, crop=56, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
VARYING = [name for name, preset in PRESETS.items() if preset]
ITEM = "ab" * 32


def photo(seed: int = 0, width: int = 96) -> UInt8Image:
    """A smooth picture in colours, 64 pixels high."""
    return np.asarray(noise(seed, 6, 4).resize((width, 64), Image.Resampling.BICUBIC))


def coordinates() -> UInt8Image:
    """Red says how far right a pixel lies, green how far down, in 256ths of the image."""
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    image[:, :, 0], image[:, :, 1] = np.arange(64) * 4, np.arange(64)[:, None] * 4
    return image


def variants(image: UInt8Image, preset: Augmentation, flip: bool = True, count: int = 60) -> list[UInt8Image]:
    return [varied(image, PREPROCESS, preset, flip, generator_of(0, epoch, ITEM)) for epoch in range(1, count + 1)]


@pytest.mark.parametrize("preset", VARYING)
def test_a_variant_depends_on_seed_epoch_and_item_alone(preset: Augmentation) -> None:
    def variant(seed: int = 0, epoch: int = 1, item: str = ITEM) -> bytes:
        return varied(photo(), PREPROCESS, preset, True, generator_of(seed, epoch, item)).tobytes()

    first = variant()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    assert variant() == first
    assert len({first, variant(seed=1), variant(epoch=2), variant(item="cd" * 32)}) == 4


@pytest.mark.parametrize("preset", VARYING)
def test_nothing_is_drawn_from_the_random_numbers_that_others_use(preset: Augmentation) -> None:
    before = (random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state())
    variants(photo(), preset, count=20)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tobytes() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_none_gives_what_is_served() -> None:
    found = variants(photo(), "none", count=2)
    assert all(np.array_equal(one, PREPROCESS.fit(Image.fromarray(photo()))) for one in found)


@pytest.mark.parametrize("preset", VARYING)
def test_images_are_mirrored_about_half_the_time_and_only_where_a_mirrored_image_keeps_its_label(
    preset: Augmentation,
) -> None:
    dark_left = np.zeros((64, 64, 3), dtype=np.uint8)
    dark_left[:, 32:] = 255

    def mirrored(flip: bool) -> list[bool]:
        pixels = [variant.astype(float) for variant in variants(dark_left, preset, flip)]
        return [bool(one[:, :8].mean() > one[:, -8:].mean()) for one in pixels]

    assert not any(mirrored(flip=False))
    assert 18 <= sum(mirrored(flip=True)) <= 42


@pytest.mark.parametrize(("preset", "smallest"), [("light", 0.6), ("standard", 0.35)])
def test_a_crop_shows_at_least_its_share_of_the_image_in_a_natural_aspect(
    preset: Augmentation, smallest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.training.augmentation._recoloured", lambda picture, *_: picture)
    shares = [_share(variant) for variant in variants(coordinates(), preset, flip=False, count=200)]
    areas = [wide * tall for wide, tall in shares]
    assert smallest - 0.05 < min(areas) < smallest + 0.1
    assert max(areas) > 0.85
    assert all(0.7 < wide / tall < 1.43 for wide, tall in shares)


def _share(variant: UInt8Image) -> tuple[float, float]:
    """Width and height of what a variant of `coordinates` shows, as shares of the whole."""
    right, down = variant[:, :, 0].astype(float), variant[:, :, 1].astype(float)
    return (right.max() - right.min() + 4) / 256, (down.max() - down.min() + 4) / 256


def test_standard_changes_colours_and_light_leaves_them() -> None:
    plain = np.full((64, 64, 3), (200, 100, 50), dtype=np.uint8)
    assert all((one == (200, 100, 50)).all() for one in variants(plain, "light"))
    shades = {tuple(one[0, 0]) for one in variants(plain, "standard")}
    assert len(shades) > 50
    assert all(abs(int(shade[0]) - 200) < 110 for shade in shades)


def test_strong_paints_about_a_quarter_of_the_images_over_in_the_mean_colour() -> None:
    bright = np.full((64, 64, 3), 255, dtype=np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.training.augmentation._recoloured", lambda picture, *_: picture)
        patch.setattr("tasks.training.augmentation._operated", lambda picture, *_: picture)
        painted = [(one == (124, 116, 104)).all(2).mean() for one in variants(bright, "strong", count=200)]
    assert 30 <= sum(share > 0 for share in painted) <= 70
    assert all(0.01 < share < 0.22 for share in painted if share)


@pytest.mark.parametrize("operation", OPERATIONS, ids=[name for name, _, _ in OPERATIONS])
def test_each_operation_of_strong_changes_a_picture_and_keeps_its_size(
    operation: tuple[str, float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.training.augmentation.OPERATIONS", (operation,))
    with_it = variants(photo(), "strong", flip=False, count=8)
    monkeypatch.setattr("tasks.training.augmentation.OPERATIONS", (("identity", 0.0, 0.0),))
    without = variants(photo(), "strong", flip=False, count=8)
    assert all(one.shape == (56, 56, 3) and one.dtype == np.uint8 for one in with_it)
    same = [np.array_equal(one, other) for one, other in zip(with_it, without, strict=True)]
    assert all(same) if operation[0] == "identity" else not all(same)


@pytest.mark.parametrize(("width", "height"), [(640, 8), (8, 640), (1, 1), (56, 56)])
def test_images_of_any_shape_have_variants(width: int, height: int) -> None:
    image = np.full((height, width, 3), 90, dtype=np.uint8)
    for preset in PRESETS:
        assert variants(image, preset, count=3)[0].shape == (56, 56, 3)
