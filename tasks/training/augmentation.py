"""Varying training images: parameters drawn by a generator of their own, pixels moved by Pillow and torchvision."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image
from torchvision.transforms.v2 import functional

from tasks.preprocess import Preprocess, UInt8Image

Augmentation = Literal["none", "light", "standard", "strong"]

ASPECTS = (3 / 4, 4 / 3)
"""Of a random crop, width to height; as torchvision's RandomResizedCrop."""
_TRIES = 10
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Preset:
    """How strongly images are varied.

    Attributes:
        smallest: share of the image's area that a crop has at least.
        colour: brightness, contrast and saturation are multiplied by up to 1 +- this; 0: not at all.
        hue: the colour circle is turned by up to this share of it, in either direction.
        operations: how many operations of `OPERATIONS` are applied.
        erased: probability that a rectangle is painted over with the mean colour.
    """

    smallest: float
    colour: float = 0.0
    hue: float = 0.0
    operations: int = 0
    erased: float = 0.0


PRESETS: dict[Augmentation, Preset | None] = {
    "none": None,
    "light": Preset(smallest=0.6),
    "standard": Preset(smallest=0.35, colour=0.2),
    "strong": Preset(smallest=0.25, colour=0.3, hue=0.05, operations=1, erased=0.25),
}

OPERATIONS: tuple[tuple[str, float, float], ...] = (
    ("identity", 0.0, 0.0),
    ("rotate", -30.0, 30.0),
    ("shear_x", -0.3, 0.3),
    ("shear_y", -0.3, 0.3),
    ("translate_x", -0.15, 0.15),
    ("translate_y", -0.15, 0.15),
    ("sharpness", 0.1, 1.9),
    ("posterize", 4.0, 8.0),
    ("autocontrast", 0.0, 0.0),
    ("equalize", 0.0, 0.0),
)
"""Name, weakest and strongest: geometric ones within RandAugment's ranges, none that inverts colours.

Source: Cubuk et al. 2020, RandAugment; one operation of random strength as in Mueller and Hutter 2021, TrivialAugment.
"""


def generator_of(seed: int, epoch: int, item: str) -> np.random.Generator:
    """The random numbers of one item in one epoch: the same whatever was drawn before, in any thread.

    Args:
        item: sha256 of the item's content.
    """
    digest = hashlib.sha256(f"{seed}:{epoch}:{item}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def varied(
    image: UInt8Image, preprocess: Preprocess, augmentation: Augmentation, flip: bool, draw: np.random.Generator
) -> UInt8Image:
    """A random variant of an image, of the size that the network takes.

    Args:
        image: (height, width, 3) uint8 RGB, upright and uncropped.
        flip: whether half of the variants are mirrored.
        draw: what is drawn from; the same state gives the same pixels.
    Returns:
        (crop, crop, 3) uint8; for augmentation none what `Preprocess.fit` gives.
    """
    preset, picture = PRESETS[augmentation], Image.fromarray(image)
    if preset is None:
        return preprocess.fit(picture)
    box = _random_box(picture.size, preset.smallest, draw)
    side = (preprocess.crop, preprocess.crop)
    picture = picture.resize(side, _FILTERS[preprocess.interpolation], box=box)
    if flip and draw.random() < 0.5:
        picture = functional.horizontal_flip(picture)
    picture = _recoloured(picture, preset, draw)
    fill = [round(255 * value) for value in preprocess.mean]
    for _ in range(preset.operations):
        picture = _operated(picture, fill, draw)
    pixels = np.array(picture, dtype=np.uint8)
    if preset.erased and draw.random() < preset.erased:
        _erase(pixels, fill, draw)
    return pixels


def _random_box(size: tuple[int, int], smallest: float, draw: np.random.Generator) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a crop of random area and aspect; the widest centre crop where none fits.

    Source: torchvision.transforms.v2.RandomResizedCrop.
    """
    width, height = size
    low, high = (math.log(aspect) for aspect in ASPECTS)
    for _ in range(_TRIES):
        area = width * height * draw.uniform(smallest, 1.0)
        aspect = math.exp(draw.uniform(low, high))
        wide, tall = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < tall <= height:
            left, top = int(draw.integers(0, width - wide + 1)), int(draw.integers(0, height - tall + 1))
            return left, top, left + wide, top + tall
    wide = min(width, max(1, round(height * ASPECTS[1])))
    tall = min(height, max(1, round(width / ASPECTS[0])))
    left, top = (width - wide) // 2, (height - tall) // 2
    return left, top, left + wide, top + tall


def _recoloured(picture: Image.Image, preset: Preset, draw: np.random.Generator) -> Image.Image:
    if not preset.colour:
        return picture
    factors = draw.uniform(1 - preset.colour, 1 + preset.colour, 3)
    turn = float(draw.uniform(-preset.hue, preset.hue))
    for change in draw.permutation(4):
        match int(change):
            case 0:
                picture = functional.adjust_brightness(picture, float(factors[0]))
            case 1:
                picture = functional.adjust_contrast(picture, float(factors[1]))
            case 2:
                picture = functional.adjust_saturation(picture, float(factors[2]))
            case _ if preset.hue:
                picture = functional.adjust_hue(picture, turn)
    return picture


def _operated(picture: Image.Image, fill: list[int], draw: np.random.Generator) -> Image.Image:
    changed: Image.Image = picture
    name, weakest, strongest = OPERATIONS[int(draw.integers(len(OPERATIONS)))]
    strength = float(draw.uniform(weakest, strongest))
    match name:
        case "rotate":
            return _moved(picture, fill, angle=strength)
        case "shear_x":
            return _moved(picture, fill, shear=(math.degrees(math.atan(strength)), 0.0))
        case "shear_y":
            return _moved(picture, fill, shear=(0.0, math.degrees(math.atan(strength))))
        case "translate_x":
            return _moved(picture, fill, translate=(round(strength * picture.width), 0))
        case "translate_y":
            return _moved(picture, fill, translate=(0, round(strength * picture.height)))
        case "sharpness":
            changed = functional.adjust_sharpness(picture, strength)
        case "posterize":
            changed = functional.posterize(picture, round(strength))
        case "autocontrast":
            changed = functional.autocontrast(picture)
        case "equalize":
            changed = functional.equalize(picture)
    return changed


def _moved(
    picture: Image.Image,
    fill: list[int],
    angle: float = 0.0,
    translate: tuple[int, int] = (0, 0),
    shear: tuple[float, float] = (0.0, 0.0),
) -> Image.Image:
    """Turned (degrees), shifted (pixels) or sheared (degrees); what comes in at the sides has the mean colour."""
    moved: Image.Image = functional.affine(
        picture,
        angle=angle,
        translate=list(translate),
        scale=1.0,
        shear=list(shear),
        interpolation=functional.InterpolationMode.BILINEAR,
        fill=[float(value) for value in fill],
    )
    return moved


def _erase(pixels: UInt8Image, fill: list[int], draw: np.random.Generator) -> None:
    """Paint a rectangle of 2 to 20 % of the area over, in place. Source: torchvision's RandomErasing."""
    side = pixels.shape[0]
    area, aspect = draw.uniform(0.02, 0.2) * side * side, math.exp(draw.uniform(math.log(0.3), math.log(3.3)))
    tall, wide = (min(side, max(1, round(math.sqrt(value)))) for value in (area * aspect, area / aspect))
    top, left = int(draw.integers(0, side - tall + 1)), int(draw.integers(0, side - wide + 1))
    pixels[top : top + tall, left : left + wide] = fill
