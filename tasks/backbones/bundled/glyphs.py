"""Rendered glyphs as endless labelled training images: fonts from matplotlib, bent, rotated, smeared, made coarse.

Everything is drawn from one torch generator, so a seed gives the same images on the same CPU.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CHARACTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
MASTER_SIDE = 48
GLYPH_SIDE = 36
STROKES = (0, 3, 6)
"""Extra pen width of the masters, pixels at FONT_SIZE."""

FONT_SIZE = 96
COARSEST, FINEST = 8, 16
"""Sides to which the images are box-averaged before they are enlarged again: the detail of a small scan."""


@dataclass(frozen=True)
class Masters:
    """Every character in every font and stroke, before any distortion.

    Attributes:
        images: (fonts, characters, strokes, 48, 48) ink in [0, 1]; the glyph's longer side spans 36 pixels.
        fonts: file names of the fonts.
    """

    images: Tensor
    fonts: tuple[str, ...]


def find_fonts() -> list[Path]:
    """The fonts inside matplotlib that draw all CHARACTERS, sorted by name.

    Glyph names decide: symbol fonts fill the same code points with other signs.
    """
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return [path for path in sorted(folder.glob("*.ttf")) if _draws_characters(path)]


def _draws_characters(path: Path) -> bool:
    from matplotlib.ft2font import FT2Font

    font = FT2Font(str(path))
    glyphs = font.get_charmap()
    names = (*DIGIT_NAMES, *CHARACTERS[len(DIGIT_NAMES) :])
    return all(
        ord(character) in glyphs and font.get_glyph_name(glyphs[ord(character)]) == name
        for character, name in zip(CHARACTERS, names, strict=True)
    )


def draw_masters(fonts: list[Path]) -> Masters:
    """Draw every character once per font and stroke."""
    images = np.zeros((len(fonts), len(CHARACTERS), len(STROKES), MASTER_SIDE, MASTER_SIDE), dtype=np.float32)
    for row, path in enumerate(fonts):
        font = ImageFont.truetype(str(path), FONT_SIZE)
        for column, character in enumerate(CHARACTERS):
            for layer, stroke in enumerate(STROKES):
                images[row, column, layer] = _draw(character, font, stroke)
    return Masters(torch.from_numpy(images), tuple(path.name for path in fonts))


def render(masters: Masters, labels: Tensor, fonts: Tensor, generator: torch.Generator) -> Tensor:
    """One distorted rendering per label.

    Args:
        labels: (n,) indices into CHARACTERS.
        fonts: (n,) indices into `masters.fonts`.
        generator: the only source of chance.
    Returns:
        (n, 1, 32, 32) ink in [0, 1], the glyph framed like a scan that was cropped to its ink.
    """
    strokes = torch.randint(len(STROKES), labels.shape, generator=generator)
    ink = masters.images[fonts, labels, strokes].unsqueeze(1)
    grid = _affine_grid(len(labels), generator) + _elastic_field(len(labels), generator)
    bent = functional.grid_sample(ink, grid, align_corners=False)
    framed = functional.grid_sample(bent, _frame_grid(bent, generator), align_corners=False)
    level = _uniform((len(labels), 1, 1, 1), 0.3, 0.6, generator)
    return torch.sigmoid((framed - level) * 12.0)


def coarsen(images: Tensor, side: int, size: int) -> Tensor:
    """Box-average to `side` pixels and enlarge bilinearly to `size`, as a small scan is enlarged for the network.

    Args:
        images: (n, 1, h, w) ink in [0, 1].
    Returns:
        (n, 1, size, size) ink in [0, 1].
    """
    small = functional.adaptive_avg_pool2d(images, side)
    return functional.interpolate(small, size=(size, size), mode="bilinear", align_corners=False)


def _draw(character: str, font: ImageFont.FreeTypeFont, stroke: int) -> np.ndarray:
    left, top, right, bottom = (int(edge) for edge in font.getbbox(character, stroke_width=stroke))
    glyph = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(glyph).text((-left, -top), character, fill=255, font=font, stroke_width=stroke)
    glyph = glyph.crop(glyph.getbbox())
    scale = GLYPH_SIDE / max(glyph.size)
    width, height = (max(1, round(side * scale)) for side in glyph.size)
    canvas = Image.new("L", (MASTER_SIDE, MASTER_SIDE))
    shrunk = glyph.resize((width, height), Image.Resampling.BOX)
    canvas.paste(shrunk, ((MASTER_SIDE - width) // 2, (MASTER_SIDE - height) // 2))
    return np.asarray(canvas, dtype=np.float32) / 255.0


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator) * (high - low) + low


def _affine_grid(count: int, generator: torch.Generator) -> Tensor:
    """(n, 48, 48, 2) sampling positions of a random rotation, shear and stretch."""
    angle = torch.randn(count, generator=generator) * 0.16
    shear = torch.randn(count, generator=generator) * 0.22
    wide = torch.exp(torch.randn(count, generator=generator) * 0.2)
    cos, sin, zero = torch.cos(angle), torch.sin(angle), torch.zeros(count)
    first = torch.stack([cos * wide, cos * shear - sin, zero], dim=1)
    second = torch.stack([sin * wide, sin * shear + cos, zero], dim=1)
    theta = torch.stack([first, second], dim=1)
    return functional.affine_grid(theta, [count, 1, MASTER_SIDE, MASTER_SIDE], align_corners=False)


def _elastic_field(count: int, generator: torch.Generator) -> Tensor:
    """(n, 48, 48, 2) smooth displacements in grid units: coarse noise, a random strength per image, enlarged."""
    strength = _uniform((count, 1, 1, 1), 0.0, 0.2, generator)
    coarse = torch.randn((count, 2, 4, 4), generator=generator) * strength
    size = (MASTER_SIDE, MASTER_SIDE)
    return functional.interpolate(coarse, size=size, mode="bicubic", align_corners=True).permute(0, 2, 3, 1)


def _frame_grid(ink: Tensor, generator: torch.Generator) -> Tensor:
    """(n, 32, 32, 2) positions that crop to the ink: it spans about the frame's height, and keeps its proportions."""
    count = len(ink)
    left, right = _extent(ink.amax(dim=(1, 2)))
    top, bottom = _extent(ink.amax(dim=(1, 3)))
    width, height = right - left, bottom - top
    half_height = 0.5 * height * _uniform((count,), 0.95, 1.25, generator)
    half_width = half_height * _uniform((count,), 0.8, 1.3, generator)
    half_width = torch.maximum(half_width, 0.475 * width)
    shift_x = _uniform((count,), -0.1, 0.1, generator) * half_width
    shift_y = _uniform((count,), -0.06, 0.06, generator) * half_height
    zero = torch.zeros(count)
    theta = torch.stack(
        [
            torch.stack([half_width, zero, (left + right) / 2 + shift_x], dim=1),
            torch.stack([zero, half_height, (top + bottom) / 2 + shift_y], dim=1),
        ],
        dim=1,
    )
    return functional.affine_grid(theta, [count, 1, 32, 32], align_corners=False)


def _extent(profile: Tensor) -> tuple[Tensor, Tensor]:
    """First and last inked position of (n, side) profiles, in grid units from -1 to 1."""
    side = profile.shape[1]
    inked = (profile > 0.3).float()
    inked[:, side // 2] = 1.0
    first = inked.argmax(dim=1)
    last = side - inked.flip(1).argmax(dim=1)
    return first * 2.0 / side - 1.0, last * 2.0 / side - 1.0
